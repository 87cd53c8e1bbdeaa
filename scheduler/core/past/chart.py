"""What happened to one job in a window of time, on one axis: texts, changes, slots, and what kept it from running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Literal

from scheduler.core.past.figures import Measured, figures
from scheduler.core.past.timeline import Changes
from scheduler.core.past.why import who
from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Commit
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import AuditRow, Life, RunStatus, is_fault
from scheduler.core.values.usage import EndClass

Outcome = Literal[
    "succeeded", "failed", "timed_out", "interrupted", "cancelled", "could_not_start", "skipped", "under_way"
]
BACK, AHEAD = 60, 6  # slots before and after now in a window that nobody has chosen
LEAST = timedelta(minutes=2)  # of such a window
NOTICEABLE = 200  # parts of a window: an absence shorter than one is not drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark(Stored):
    """One row of the ledger: a run, or consecutive slots that were skipped for one reason."""

    n: int
    at: datetime  # its slot; of a run by hand, when it was requested
    last: datetime | None = None  # the last one of several slots
    slots: int = 1
    by_hand: bool = False
    status: RunStatus
    reason: str | None = None
    started: datetime | None = None
    duration_ms: int | None = None
    end_class: EndClass | None = None
    cost: Decimal | None = None
    currency: str | None = None
    text: str | None = None  # sha256
    borrowed: bool = False  # the text is that of an earlier run
    model: str | None = None  # that answered

    @property
    def outcome(self) -> Outcome:
        if not self.status.finished:
            return "under_way"
        if self.status is RunStatus.SKIPPED:
            return "could_not_start" if is_fault(self.reason) else "skipped"
        return self.status.value  # type: ignore[return-value]

    @property
    def measured(self) -> Measured:
        return Measured(
            status=self.status,
            end_class=self.end_class,
            duration_ms=self.duration_ms,
            cost=self.cost,
            currency=self.currency,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Band(Stored):
    """A text, while it was in force, and how the runs of the window did with it."""

    text: str  # sha256
    start: datetime
    end: datetime
    since: datetime | None = None  # when it came; None if that is not known
    commit: Commit | None = None
    by: str | None = None  # who changed it
    n: int = 0  # runs that say something about the text
    duration_ms: int | None = None  # median
    cost: Decimal | None = None  # median, in the currency of the timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Stored):
    """A change."""

    at: datetime
    kind: Literal["text", "definition", "model"]
    words: str
    by: str | None = None
    commit: Commit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch(Stored):
    """A time in which the job did not fire."""

    start: datetime
    end: datetime
    kind: Literal["paused", "stopped", "archived", "no daemon", "observing"]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline(Stored):
    """Everything in [start, end), each kind in the order of time."""

    start: datetime
    end: datetime
    now: datetime
    marks: tuple[Mark, ...]
    more: bool  # earlier rows of the window are left out
    coming: tuple[datetime, ...]  # slots after now
    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    stretches: tuple[Stretch, ...]
    currency: str | None  # of the costs that can be compared


def timeline(
    *,
    start: datetime,
    end: datetime,
    now: datetime,
    marks: Sequence[Mark],
    more: bool,
    coming: Sequence[datetime],
    audit: Sequence[AuditRow],
    root_audit: Sequence[AuditRow] = (),
    lives: Sequence[Life],
    alive: bool,
    since: datetime,
) -> Timeline:
    """Arrange what was read. marks: of the window, in any order. audit: of the job up to `end`, oldest first.

    root_audit: of the runner's settings. lives: by when they began. alive: the last of them goes on.
    since: when the job was created.
    """
    marks = sorted(marks, key=lambda mark: (mark.at, mark.n))
    currencies = Counter(mark.currency for mark in marks if mark.cost is not None and mark.currency is not None)
    currency = currencies.most_common(1)[0][0] if currencies else None
    until = min(end, now)
    bands = _with_medians(_bands(audit, marks, start, until), marks, currency)
    ticks = [*_changes(audit, bands), *_models(audit, root_audit, marks)]
    stretches = [*_kept(audit, now, end), *_absences(lives, max(start, since), until, alive=alive, over=end - start)]
    return Timeline(
        start=start,
        end=end,
        now=now,
        marks=tuple(marks),
        more=more,
        coming=tuple(slot for slot in coming if max(start, now) < slot < end),
        bands=tuple(bands),
        ticks=tuple(sorted((each for each in ticks if start <= each.at < end), key=lambda each: each.at)),
        stretches=tuple(_cut(stretches, start, end)),
        currency=currency,
    )


def default_window(slots: Sequence[datetime], coming: Sequence[datetime], oldest: datetime, now: datetime) -> timedelta:
    """How far back a window reaches that nobody has chosen. slots: the newest up to now. oldest: of all that happened.

    A job that is younger than its slots is not shown with an empty past.
    """
    first = slots[0] if slots else oldest
    gap = (now - first) / max(1, len(slots))
    if not slots and coming:
        gap = coming[0] - now
    back = now - first + gap
    return max(LEAST, min(back, (now - oldest) * 1.1))


def window_end(coming: Sequence[datetime], back: timedelta, now: datetime) -> datetime:
    """Where such a window ends: some slots ahead, if they are not too far from what has happened."""
    near = [slot for slot in coming if slot - now <= back / 4]
    return (near[-1] if near else now) + back / 40


def _bands(audit: Sequence[AuditRow], marks: Sequence[Mark], start: datetime, until: datetime) -> list[Band]:
    """Texts by when they came, according to changes, and to runs where no change tells."""
    changes = Changes(audit)
    came = [
        (row.at, (row.after or {}).get("task_sha256") if row.action == "create" else row.after)
        for row in audit
        if row.action in ("create", "task")
    ]
    came += [(mark.started, mark.text) for mark in marks if mark.started is not None and not mark.borrowed]
    known = sorted((at, text) for at, text in came if isinstance(text, str))
    firsts = [next(group) for _, group in groupby(known, key=lambda each: each[1])]
    found = []
    for (at, text), (following, _) in pairwise([*firsts, (until, "")]):
        if following > start and at < until:
            origin = changes.text(text, at)
            band = Band(text=text, start=max(at, start), end=min(following, until))
            if origin is not None:
                band = replace(band, since=origin.since, commit=origin.commit, by=who(origin.actor))
            found.append(band)
    return found


def _with_medians(bands: Sequence[Band], marks: Sequence[Mark], currency: str | None) -> list[Band]:
    measured: dict[str | None, list[Measured]] = {}
    for mark in marks:
        measured.setdefault(mark.text, []).append(mark.measured)
    found = []
    for band in bands:
        own = measured.get(band.text, [])
        told = figures(own)
        priced = figures(each for each in own if each.currency == currency).cost if currency is not None else None
        took = told.duration_ms
        found.append(
            replace(
                band,
                n=told.n,
                duration_ms=None if took is None else round(took.value),
                cost=None if priced is None else priced.value,
            )
        )
    return found


def _changes(audit: Sequence[AuditRow], bands: Sequence[Band]) -> Iterable[Tick]:
    """What came with a text, and what changed of the definition; changes of one moment are one."""
    for band in bands:
        if band.since is not None and band.since >= band.start:
            words = f"text {band.text[:7]}"
            yield Tick(at=band.start, kind="text", words=words, by=band.by, commit=band.commit)
    rows = [row for row in audit if row.action in ("create", "update", "revive") and row.field != "model"]
    for at, group in groupby(rows, key=lambda row: row.at):
        same = list(group)
        names = dict.fromkeys((row.field or row.action).removesuffix("_ms") for row in same)
        words = "created" if same[0].action == "create" else ", ".join(names).replace("_", " ")
        yield Tick(at=at, kind="definition", words=words, by=who(same[0].actor), commit=same[0].commit)


def _models(audit: Sequence[AuditRow], root_audit: Sequence[AuditRow], marks: Sequence[Mark]) -> Iterable[Tick]:
    """When another model was asked for, and when another one has answered."""
    for row in (*audit, *root_audit):
        if row.field is not None and row.field.rpartition(".")[2] == "model" and row.action != "create":
            yield Tick(
                at=row.at, kind="model", words=f"asks for {row.after or 'the default'}", by=who(row.actor),
                commit=row.commit,
            )  # fmt: skip
    answered = [(mark.at, mark.model) for mark in marks if mark.model is not None]
    for (_, before), (at, model) in pairwise(answered):
        if before != model:
            yield Tick(at=at, kind="model", words=f"{model} answers, before {before}")


_STATES: dict[str, Literal["stopped", "archived"]] = {"stop": "stopped", "archive": "archived"}


def _kept(audit: Sequence[AuditRow], now: datetime, end: datetime) -> Iterable[Stretch]:
    """When the job was paused, stopped or archived."""
    last = end  # of what goes on
    paused: Stretch | None = None
    others: dict[str, Stretch] = {}
    for row in audit:
        if row.field == "pause":
            if paused is not None:
                yield replace(paused, end=min(paused.end, row.at))
            paused = None
            if isinstance(row.after, dict):
                until = row.after.get("until")
                words = f"paused by {who(row.after.get('by'))}"
                words += f": {row.after['reason']}" if row.after.get("reason") else ""
                paused = Stretch(
                    start=row.at, end=last if until is None else parse_instant(until), kind="paused", words=words
                )
        elif row.action in _STATES:
            kind = _STATES[row.action]
            words = "stopped after errors" if kind == "stopped" else "archived: no file defined it"
            others.setdefault(kind, Stretch(start=row.at, end=last, kind=kind, words=words))
        ends = "archived" if row.action == "revive" else "stopped" if row.after == "active" else ""
        if ends in others:
            yield replace(others.pop(ends), end=row.at)
    yield from (each for each in (paused, *others.values()) if each is not None)


def _absences(
    lives: Sequence[Life], start: datetime, until: datetime, *, alive: bool, over: timedelta
) -> Iterable[Stretch]:
    """When no daemon was running that fires, up to now."""
    at = start
    least = over / NOTICEABLE
    for number, life in enumerate(lives):
        seen = until if alive and number == len(lives) - 1 else life.seen
        if life.began - at > least:
            yield Stretch(start=at, end=min(life.began, until), kind="no daemon", words="no daemon was running")
        if life.silent and seen > start:
            yield Stretch(start=max(at, life.began), end=seen, kind="observing", words=f"only observing: {life.silent}")
        at = max(at, seen)
    if until - at > least:
        yield Stretch(start=at, end=until, kind="no daemon", words="no daemon was running")


def _cut(stretches: Iterable[Stretch], start: datetime, end: datetime) -> list[Stretch]:
    inside = (replace(each, start=max(each.start, start), end=min(each.end, end)) for each in stretches)
    return sorted((each for each in inside if each.start < each.end), key=lambda each: each.start)
