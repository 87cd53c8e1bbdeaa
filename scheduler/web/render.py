"""Templates: everything is escaped, and what a terminal or a writing direction would act on is made visible."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from scheduler.core.messages.phrases import event_words
from scheduler.core.past.chart import Timeline
from scheduler.core.past.codes import action_words, plain, reason_words, state_words
from scheduler.core.past.outcome import SIGNS, tone_of
from scheduler.core.plan.clocks import PART
from scheduler.core.plan.headline import times_as_many
from scheduler.core.times.moments import wall_time, with_wall_times
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.texts import counted, json_text
from scheduler.core.values.units import rough, rough_seconds
from scheduler.web.assets import static
from scheduler.web.draw.clock import strip
from scheduler.web.draw.lanes import lanes
from scheduler.web.links import Links

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
MOST_OF_A_VALUE = 200  # characters
PARTS_A_WEEK = timedelta(weeks=1) // PART
_TICKED = re.compile("`([^`\n]+)`")
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def clean(text: str) -> str:
    """The text without escape sequences, and with other invisible characters as `<U+202E>`. Keeps line ends."""
    return _HIDDEN.sub(lambda found: f"<U+{ord(found[0]):04X}>", _ANSI.sub("", text.replace("\r\n", "\n")))


def duration(ms: float | None) -> str:
    """Milliseconds as people read them; empty if unknown."""
    return "" if ms is None else rough(ms)


def ago(text: str | None, now: datetime) -> str:
    """How long ago an instant is, or how far ahead, in its largest unit."""
    if not text:
        return "never"
    seconds = round((now - parse_instant(text)).total_seconds())
    words = rough_seconds(abs(seconds))
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def money(amount: object, currency: str) -> str:
    """An amount with two digits after the point, or as many as show anything of it."""
    value = float(str(amount))
    digits = 2 if value == 0 or abs(value) >= 0.01 else 4
    return f"{value:,.{digits}f} {currency}"


@pass_context
def when(context: Context, text: str | None, zone: str = "") -> Markup:
    """An instant as `<time>`, in the zone of the page, or in `zone` where the page shows each job in its own."""
    if not text:
        return Markup("never")
    return Markup('<time datetime="{}">{}</time>').format(text, _in_zone(context, text, zone))


def _in_zone(context: Context, text: str, zone: str = "") -> str:
    return wall_time(parse_instant(text), _zone(context, zone))


@pass_context
def since(context: Context, text: str | None) -> Markup:
    """An instant as `<time>` that says how long ago it is; the script keeps it up to date."""
    if not text:
        return Markup("never")
    return Markup('<time data-ago datetime="{}" title="{}">{}</time>').format(
        text, _in_zone(context, text), ago(text, context["frame"].now)
    )


@pass_context
def lasting(context: Context, text: str) -> Markup:
    """How long something has lasted that began at an instant; the script keeps it up to date."""
    words = ago(text, context["frame"].now).removesuffix(" ago")
    return Markup('<time data-ago data-lasting datetime="{}" title="{}">{}</time>').format(
        text, _in_zone(context, text), words
    )


def clock(counts: tuple[int, ...], both: Iterable[tuple[int, ...] | None], label: str) -> Markup:
    """The strip of one side of a clock, in the scale of both."""
    most = max((max(side) for side in both if side), default=0)
    return Markup(strip(counts, most=most or 1, label=label, grid=PARTS_A_WEEK))


@pass_context
def chart(context: Context, found: Timeline, zone: str, at: str | None) -> Markup:
    """The chart of a job, in the zone of the page or else of the job. at: the instant that the page explains."""
    asked = {name: text for name, text in context["frame"].query.items() if name != "at"}
    drawn = lanes(
        found,
        zone=context["frame"].zone or zone,
        link=lambda instant: f"{Links().here(asked, at=instant)}#answer",
        at=None if at is None else parse_instant(at),
        money=lambda amount: money(amount, found.currency or ""),
    )
    return Markup(drawn)


@pass_context
def told(context: Context, text: str, zone: str = "") -> str:
    """A text of the scheduler with the instants in it as `when` shows them."""
    return with_wall_times(text, _zone(context, zone))


@pass_context
def said(context: Context, text: str, zone: str = "") -> Markup:
    """As `told`, with its commands and keys as code."""
    return with_code(told(context, text, zone))


def with_code(text: str) -> Markup:
    """A text of the scheduler in which what stands between backticks, a command or a key, is code."""
    code = Markup("<code>{}</code>")
    parts = _TICKED.split(clean(text))
    return Markup("").join(code.format(part) if at % 2 else part for at, part in enumerate(parts))


def _zone(context: Context, zone: str) -> str:
    """The zone of the page, otherwise this one of a job, otherwise that of the root."""
    return context["frame"].zone or zone or context["frame"].root_zone


def value(found: Any, field: str = "") -> str:
    """The value of a key before or after a change, on one line. field: its name, which may have a unit."""
    match found:
        case None:
            return "not set"
        case int() if field.endswith("_ms"):
            return duration(found)
        case str():
            text = found[:7] if _HASH.fullmatch(found) else found
        case dict():  # when and by whom is said beside it
            kept = {name: each for name, each in found.items() if each is not None and name not in ("at", "by")}
            text = ", ".join(f"{name.removesuffix('_ms')} {value(each, name)}" for name, each in kept.items())
        case _:
            text = json_text(found)
    return text if len(text) <= MOST_OF_A_VALUE else text[: MOST_OF_A_VALUE - 1] + "…"


def coded(words: Callable[[str], str]) -> Callable[[str], Markup]:
    """What writes a code in these words, with the code itself as title if that is another."""

    def written(code: str) -> Markup:
        told = clean(words(code))
        known = Markup('<span title="{}">{}</span>').format(clean(code), told)
        return Markup.escape(told) if told == code else known

    return written


def _finalize(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("scheduler.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": when, "since": since, "lasting": lasting, "instant": instant}
    made.filters |= {"told": told, "said": said, "with_code": with_code}
    made.filters |= {"duration": duration, "clean": clean, "value": value}
    made.filters |= {"reason": coded(reason_words), "state": coded(state_words), "action": coded(action_words)}
    made.filters |= {"event": coded(event_words), "plain": coded(plain)}
    made.globals |= {
        "links": Links(),
        "static": static,
        "money": money,
        "counted": counted,
        "clock": clock,
        "sign": SIGNS.__getitem__,
        "tone": tone_of,
        "chart": chart,
        "times_as_many": times_as_many,
        "fresh_key": lambda: secrets.token_urlsafe(12),
    }
    return made


def render(template: str, values: Mapping[str, Any], *, zone: str = "") -> str:
    """A page whose links all carry this zone."""
    values = {"links": Links(zone), **values}
    return environment().get_template(f"{template}.html").render(values)
