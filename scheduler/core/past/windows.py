"""The outcome of all slots in a time window: totals, slots without a row, and exceptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from scheduler.core.past.codes import plain
from scheduler.core.past.explain import Evidence, Ledger, explain, slots_beside, told_instant, told_run
from scheduler.core.times.fires import TICK, span
from scheduler.core.values.codec import Stored
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import Definition, Run, RunStatus

MOST_EXCEPTIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered(Stored):
    """A number of slots, with the first and the last one."""

    slots: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSlots(Stored):
    """Slots whose rows have the same status and reason."""

    status: RunStatus
    reason: str | None
    slots: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved(Stored):
    """Consecutive slots without a row, all for the same reason."""

    why: str  # as in the answer of `explain`
    text: str
    slots: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a job in a window [start, end). A row belongs to the window that contains its first slot."""

    served: Sequence[ServedSlots]
    covered: Callable[[datetime, datetime], Covered | None]  # the slots of rows in [a, b)
    reaching: Callable[[datetime], Run | None]  # the row with slots both before an instant and at or after it
    idle: Covered | None  # the longest stretch of consecutive slots for which nothing was started
    exceptions: Sequence[Run]  # oldest first, one more than are shown
    by_hand: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Stored):
    text: str
    slots: int
    served: tuple[ServedSlots, ...]
    without_row: tuple[Unserved, ...]
    by_hand: int
    longest_gap: Covered | None
    exceptions: tuple[Evidence, ...]
    more_exceptions: int  # rows
    beside: tuple[Evidence, ...]  # if the window has no slot: the state of the job, and the slots on either side


def explain_window(ledger: Ledger, start: datetime, end: datetime, rows: Rows, *, now: datetime, total: int) -> Window:
    """Explain the outcome of the slots in [start, end).

    ledger: includes the rows around `start`. total: the number of rows that are not successes.
    """
    last = end - TICK
    served = _clipped(ledger, rows, start, last)
    bare = replace(ledger, runs=(), beside=())
    without = [each for a, b in _stretches(ledger, start, end, now) for each in _unserved(bare, rows, a, b - TICK, now)]
    slots = sum(each.slots for each in served) + sum(each.slots for each in without)
    known = min([each.since for each in ledger.definitions], default=start)
    beside = () if slots else (*_state(ledger, last, now), *slots_beside(ledger, min(max(start, known), end), now))
    told = [_exception(ledger, run) for run in rows.exceptions[:MOST_EXCEPTIONS]]
    return Window(
        text=_text(served, without, rows.by_hand),
        slots=slots,
        served=tuple(served),
        without_row=tuple(_joined(without)),
        by_hand=rows.by_hand,
        longest_gap=_longest_gap(rows, without, now),
        exceptions=tuple(told),
        more_exceptions=max(0, total - len(told)),
        beside=beside,
    )


def _state(ledger: Ledger, at: datetime, now: datetime) -> tuple[Evidence, ...]:
    """Why no run could start at the end of a window without slots. Empty if only the schedule has none there."""
    found = explain(ledger, at, now=now)
    if found.why == "not_due":
        return ()
    return (Evidence(kind="job", at=at, text=found.text, why=found.why),)


def _text(served: Sequence[ServedSlots], without: Sequence[Unserved], by_hand: int) -> str:
    ran = sum(each.slots for each in served if each.status is not RunStatus.SKIPPED)
    counts = {"ran": ran} if ran else {}
    for each in served:
        if each.status is RunStatus.SKIPPED:
            name = plain(each.reason or "skipped")
            counts[name] = counts.get(name, 0) + each.slots
    for stretch in without:
        name = plain(stretch.why)
        counts[name] = counts.get(name, 0) + stretch.slots
    told = [f"{count} {name}" for name, count in counts.items()] or ["no slot"]
    return ", ".join([*told, *([f"{by_hand} started by hand"] if by_hand else [])])


def _clipped(ledger: Ledger, rows: Rows, start: datetime, last: datetime) -> list[ServedSlots]:
    """The rows of the window, plus the slots of rows that reach into it, minus the slots that reach beyond it."""
    into, beyond = rows.reaching(start), rows.reaching(last + TICK)
    found = list(rows.served)
    for run, first, final, sign in ((into, start, last, 1), (beyond, last + TICK, None, -1)):
        if run is None or run.fire_time is None or (sign < 0 and run.fire_time < start):
            continue
        ends = run.fire_time_last or run.fire_time
        part = _slots_of(ledger, run, first, ends if final is None else min(ends, final))
        if part is None:
            continue
        alike = (n for n, each in enumerate(found) if (each.status, each.reason) == (run.status, run.reason))
        place = next(alike, None)
        if sign > 0 and place is None:
            found.append(
                ServedSlots(status=run.status, reason=run.reason, slots=part.slots, first=part.first, last=part.last)
            )
        elif place is not None:
            was = found[place]
            inside = _slots_of(ledger, run, run.fire_time, last)
            final_slot = was.last if sign > 0 or inside is None else inside.last
            found[place] = replace(
                was,
                slots=was.slots + sign * part.slots,
                first=min(was.first, part.first) if sign > 0 else was.first,
                last=max(was.last, part.last) if sign > 0 else final_slot,
            )
    return found


def _slots_of(ledger: Ledger, run: Run, first: datetime, last: datetime) -> Covered | None:
    """The slots of a row between two instants, inclusive."""
    spec = next((each.spec for each in ledger.definitions if each.generation == run.generation), None)
    part = None if spec is None or first > last else span(spec.due_by, start=first, until=last)
    return None if part is None else Covered(slots=part.count, first=part.first, last=part.last)


def _stretches(ledger: Ledger, start: datetime, end: datetime, now: datetime) -> list[tuple[datetime, datetime]]:
    """The parts [a, b) of the window, in each of which the state of the job and its schedule did not change."""
    marks = {start, end, now}
    known: Definition | None = None
    for definition in ledger.definitions:
        spec = definition.spec
        if known is None or (known.spec.due_by, known.spec.enabled) != (spec.due_by, spec.enabled):
            marks.add(definition.since)
            known = definition
    for row in ledger.audit:
        if row.action in ("archive", "revive", "stop", "arm", "resume", "import"):
            marks.add(row.at)
        if row.field == "pause" and row.after is not None:
            marks |= {parse_instant(row.after[name]) for name in ("at", "until") if row.after[name]}
    marks |= {mark + TICK for mark in marks}  # a slot at the exact instant of a change can belong to either side
    return list(pairwise(sorted(mark for mark in marks if start <= mark <= end)))


def _unserved(ledger: Ledger, rows: Rows, start: datetime, last: datetime, now: datetime) -> list[Unserved]:
    """The slots of a stretch without a row: before its rows, after them, or (which should not happen) between them."""
    definition = next((each for each in reversed(ledger.definitions) if each.since <= start), None)
    if definition is None or definition.spec.due_by.manual:
        return []
    schedule = definition.spec.due_by
    expected = span(schedule, start=start, until=last)
    if expected is None:
        return []
    have = rows.covered(start, last + TICK)
    into, beyond = rows.reaching(start), rows.reaching(last + TICK)
    reaches = None if into is None else _slots_of(ledger, into, start, min(into.fire_time_last or start, last))
    over = None
    if beyond is not None and beyond.fire_time is not None and beyond.fire_time >= start:
        over = _slots_of(ledger, beyond, last + TICK, beyond.fire_time_last or last)
    slots = sum(each.slots for each in (have, reaches) if each is not None) - (0 if over is None else over.slots)
    if slots >= expected.count:
        return []
    parts = [each for each in (have, reaches) if each is not None]
    if not parts:
        return [_unserved_part(ledger, expected.first, expected.last, expected.count, now)]
    found = []
    missing = expected.count - slots
    first_row, last_row = min(each.first for each in parts), max(each.last for each in parts)
    for part in (
        span(schedule, start=start, until=first_row - TICK) if first_row > start else None,
        span(schedule, start=last_row + TICK, until=last) if last_row < last else None,
    ):
        if part is not None and missing > 0:
            found.append(_unserved_part(ledger, part.first, part.last, part.count, now))
            missing -= part.count
    if missing > 0:
        told = "slots between these have neither run nor been skipped; `scheduler doctor` says what is wrong"
        found.append(Unserved(why="not_served", text=told, slots=missing, first=first_row, last=last_row))
    return found


def _unserved_part(ledger: Ledger, first: datetime, last: datetime, slots: int, now: datetime) -> Unserved:
    found = explain(ledger, last, now=now)
    return Unserved(why=found.why, text=found.text, slots=slots, first=first, last=last)


def _joined(parts: Sequence[Unserved]) -> list[Unserved]:
    """The parts, with neighbours merged if they have the same reason."""
    found: list[Unserved] = []
    for part in parts:
        if found and (found[-1].why, found[-1].text) == (part.why, part.text):
            found[-1] = replace(found[-1], slots=found[-1].slots + part.slots, last=part.last)
        else:
            found.append(part)
    return found


def _longest_gap(rows: Rows, without: Sequence[Unserved], now: datetime) -> Covered | None:
    """The longest stretch of at least two consecutive slots, up to now, for which nothing was started."""
    parts = [Covered(slots=each.slots, first=each.first, last=each.last) for each in without if each.last <= now]
    found: list[Covered] = []
    for part in sorted([*parts, *([] if rows.idle is None else [rows.idle])], key=lambda each: each.first):
        if found and rows.covered(found[-1].last + TICK, part.first) is None:
            found[-1] = replace(part, slots=found[-1].slots + part.slots, first=found[-1].first)
        else:
            found.append(part)
    return max((each for each in found if each.slots > 1), key=lambda each: each.last - each.first, default=None)


def _exception(ledger: Ledger, run: Run) -> Evidence:
    found = told_run(ledger, run)
    slot, last = run.fire_time or run.requested_at, run.fire_time_last
    when = told_instant(slot) + (f" to {told_instant(last)}" if run.slots > 1 and last is not None else "")
    return replace(found, at=slot, text=f"{when}: {found.text}" + (f": {run.error}" if run.error else ""))
