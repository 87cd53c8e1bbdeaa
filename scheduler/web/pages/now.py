"""Now: whether all is well, what needs a person and what changed just before, and the hours around now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.past.worded import hours_in_words
from scheduler.core.values.instants import parse_instant
from scheduler.service.now import now
from scheduler.service.root import Root
from scheduler.web.draw import ribbon as draw

if TYPE_CHECKING:
    from scheduler.core.answers import StatusJson
    from scheduler.core.now import ChangedJson, RibbonJson, SpentTodayJson

_ENDED = ("failed", "succeeded", "other", "skipped")
_HOUR = 60 // draw.PART  # parts


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What `top` shows as well."""

    status: StatusJson
    timezone: str  # of the root
    counts: dict[str, int]  # of jobs, by the outcome of the latest run
    ribbon: RibbonJson
    spent: list[SpentTodayJson]  # today
    changes: list[ChangedJson]  # the newest first

    @property
    def hours(self) -> list[dict[str, object]]:
        """The rows of the table beside the ribbon: of each hour in which there is something, what is in it."""
        parts, found = self.ribbon["parts"], []
        for place in range(0, len(parts), _HOUR):
            some = parts[place : place + _HOUR]
            sums = {name: sum(each[name] for each in some) for name in (*_ENDED, "coming")}  # type: ignore[literal-required]
            if any(sums.values()):
                found.append({"at": some[0]["at"], **sums})
        return found

    @property
    def said(self) -> str:
        """What the ribbon shows, in words."""
        sums = {name: sum(int(str(each[name])) for each in self.hours) for name in (*_ENDED, "coming")}
        return hours_in_words(sums, len(self.ribbon["running"]), self.ribbon["often"])

    @property
    def svg(self) -> str:
        at, bars = parse_instant(self.status["at"]), []
        for each in self.ribbon["running"]:
            minutes = (at - parse_instant(each["started_at"])).total_seconds() / 60
            usual = None if each["usual_ms"] is None else each["usual_ms"] / 60_000
            bars.append(draw.Bar(since=minutes, usual=usual))
        parts = [
            draw.Part(**{name: each[name] for name in (*_ENDED, "coming")})  # type: ignore[literal-required]
            for each in self.ribbon["parts"]
        ]
        return draw.ribbon(parts, bars, self.said)


def page(root: Root, query: Mapping[str, str]) -> View:
    return View(**now(root))
