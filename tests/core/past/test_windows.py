"""The sum over a window is the sum of what `explain` says of each slot in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.past.explain import explain
from scheduler.core.past.windows import MOST_EXCEPTIONS, Covered, Rows, ServedSlots, Window, explain_window
from scheduler.core.times.fires import coming
from scheduler.core.values.runs import AuditRow, Run, RunStatus
from scheduler.core.values.spec import JobSpec, Schedule
from tests.core.past.test_explain import CREATED, HOUR, HOURLY, MINUTE, NOON, ledger, pause, row, run, skip

DAY = 24 * HOUR


def window(
    start: datetime,
    end: datetime,
    *,
    runs: Sequence[Run] = (),
    audit: Sequence[AuditRow] = (),
    definitions: Sequence[tuple[datetime, JobSpec]] = (),
    now: datetime = NOON + 10 * DAY,
    by_hand: int = 0,
    **known: object,
) -> Window:
    found = ledger(*definitions, audit=audit, **known)
    return explain_window(
        found, start, end, rows_of(runs, start, end, by_hand), now=now, total=len(odd(runs, start, end))
    )


def within(runs: Sequence[Run], start: datetime, end: datetime) -> list[Run]:
    return [each for each in runs if each.fire_time is not None and start <= each.fire_time < end]


def odd(runs: Sequence[Run], start: datetime, end: datetime) -> list[Run]:
    return [each for each in within(runs, start, end) if each.status is not RunStatus.SUCCEEDED]


def rows_of(runs: Sequence[Run], start: datetime, end: datetime, by_hand: int = 0) -> Rows:
    """What the database answers (tests/shell/test_windows.py), of rows in memory."""

    def sums(found: Sequence[Run]) -> Covered | None:
        if not found:
            return None
        first, last = found[0].fire_time, max(each.fire_time_last or NOON for each in found)
        assert first is not None
        return Covered(slots=sum(each.slots for each in found), first=first, last=last)

    def reaching(at: datetime) -> Run | None:
        before = [each for each in runs if each.fire_time is not None and each.fire_time < at]
        return before[-1] if before and (before[-1].fire_time_last or NOON) >= at else None

    served = []
    inside = within(runs, start, end)
    by_kind = sorted(inside, key=lambda each: (each.status, each.reason or ""))
    for (status, reason), found in groupby(by_kind, key=lambda each: (each.status, each.reason)):
        total = sums(list(found))
        assert total is not None
        served.append(ServedSlots(status=status, reason=reason, slots=total.slots, first=total.first, last=total.last))
    stretches = [list(found) for ran, found in groupby(inside, key=lambda each: each.started_at is not None) if not ran]
    idle = [total for each in stretches if (total := sums(each)) is not None]
    return Rows(
        served=served,
        covered=lambda a, b: sums(within(runs, a, b)),
        reaching=reaching,
        idle=max(idle, key=lambda each: each.last - each.first, default=None),
        exceptions=odd(runs, start, end)[: MOST_EXCEPTIONS + 1],
        by_hand=by_hand,
    )


def counts(found: Window) -> Counter[str]:
    """Of slots, by the answer that `explain` gives."""
    told: Counter[str] = Counter()
    for each in found.served:
        told[(each.reason or "") if each.status is RunStatus.SKIPPED else "fired"] += each.slots
    for stretch in found.without_row:
        told[stretch.why] += stretch.slots
    return told


MINUTELY = replace(HOURLY, schedule=Schedule(timezone="UTC", every=MINUTE))


def test_an_hour_of_a_minutely_job_says_how_many_ran_and_lists_the_rest() -> None:
    rows = [run(NOON + n * MINUTE, n=n) for n in range(60)]
    rows[13] = skip("overlap", NOON + 13 * MINUTE)
    rows[14] = skip("overlap", NOON + 14 * MINUTE)
    rows[40] = replace(rows[40], status=RunStatus.FAILED, reason="exit_code")
    found = window(NOON, NOON + HOUR, runs=rows, definitions=[(CREATED, MINUTELY)])
    assert (found.text, found.slots) == ("58 ran, 2 overlap", 60)
    assert {(each.status.value, each.reason, each.slots) for each in found.served} == {
        ("succeeded", None, 57), ("failed", "exit_code", 1), ("skipped", "overlap", 2),
    }  # fmt: skip
    assert found.longest_gap == Covered(slots=2, first=NOON + 13 * MINUTE, last=NOON + 14 * MINUTE)
    assert [each.at for each in found.exceptions] == [NOON + n * MINUTE for n in (13, 14, 40)]
    assert (found.without_row, found.more_exceptions, found.beside) == ((), 0, ())


def test_the_start_belongs_to_the_window_and_the_end_does_not() -> None:
    rows = [run(NOON + n * HOUR) for n in range(3)]
    assert window(NOON, NOON + 2 * HOUR, runs=rows).text == "2 ran"
    assert window(NOON, NOON + 2 * HOUR + MINUTE, runs=rows).text == "3 ran"


def test_rows_that_reach_into_the_window_or_beyond_it_count_for_what_lies_inside() -> None:
    rows = [
        skip("missed", NOON - 5 * HOUR, NOON + HOUR, 7),
        run(NOON + 2 * HOUR),
        skip("paused", NOON + 3 * HOUR, NOON + 9 * HOUR, 7),
    ]
    found = window(NOON, NOON + 5 * HOUR, runs=rows)
    assert counts(found) == {"missed": 2, "fired": 1, "paused": 2}
    whole = window(NOON - 4 * HOUR, NOON, runs=rows[:1])
    assert (counts(whole), whole.served[0].first) == ({"missed": 4}, NOON - 4 * HOUR)


def test_exceptions_are_bounded_and_the_rest_is_counted() -> None:
    rows = [skip("overlap", NOON + n * MINUTE) for n in range(59)]
    found = window(NOON, NOON + HOUR, runs=rows, definitions=[(CREATED, MINUTELY)])
    assert (len(found.exceptions), found.more_exceptions) == (MOST_EXCEPTIONS, 59 - MOST_EXCEPTIONS)


def test_slots_without_a_row_say_why() -> None:
    audit = [row("stop", NOON + HOUR + MINUTE, "status", "stopped"), row("resume", NOON + 4 * HOUR + MINUTE, "status")]
    rows = [run(NOON), run(NOON + HOUR), run(NOON + 5 * HOUR)]
    found = window(NOON, NOON + 8 * HOUR, runs=rows, audit=audit, now=NOON + 6 * HOUR - MINUTE)
    assert counts(found) == {"fired": 3, "stopped": 3, "will_fire": 2}
    assert found.text == "3 ran, 3 stopped, 2 will fire"
    assert found.longest_gap == Covered(slots=3, first=NOON + 2 * HOUR, last=NOON + 4 * HOUR)
    down = window(NOON, NOON + 4 * HOUR, runs=rows[:1], now=NOON + 4 * HOUR, daemon=False)
    assert counts(down) == {"fired": 1, "daemon_down": 3}


def test_a_window_without_a_slot_names_those_on_either_side() -> None:
    found = window(NOON + MINUTE, NOON + 2 * MINUTE)
    assert (found.text, found.slots, [each.at for each in found.beside]) == ("no slot", 0, [NOON, NOON + HOUR])
    assert window(NOON + MINUTE, NOON + 2 * MINUTE, by_hand=2).text == "no slot, 2 started by hand"


def test_a_window_without_a_slot_says_first_how_the_job_stood() -> None:
    def told(
        start: datetime = NOON + MINUTE, end: datetime = NOON + 2 * MINUTE, **known: Any
    ) -> tuple[str | None, str]:
        found = window(start, end, **known)
        assert (found.text, found.slots) == ("no slot", 0)
        return found.beside[0].why, found.beside[0].text

    manual = replace(HOURLY, schedule=Schedule(timezone="UTC", manual=True))
    assert told(definitions=[(CREATED, manual)]) == ("manual", "the schedule is manual: the job only runs by hand")
    assert told(audit=[pause(NOON - MINUTE, reason="deploy")])[0] == "paused"
    assert told(audit=[row("stop", NOON - MINUTE, "status", "stopped")])[0] == "stopped"
    why, text = told(CREATED - 2 * HOUR, CREATED - HOUR)
    assert (why, text.startswith("the job did not exist before ")) == ("did_not_exist", True)


moments = st.integers(-40, 60).map(lambda n: NOON + n * 20 * MINUTE)


History = tuple[list[Run], list[AuditRow], list[tuple[datetime, JobSpec]], datetime]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Rows from the first slot to a cursor, as a daemon writes them, and what operators and files did meanwhile."""
    specs = [
        HOURLY,
        replace(HOURLY, schedule=Schedule(timezone="UTC", every=20 * MINUTE)),
        replace(HOURLY, enabled=False),
    ]
    changed = sorted(draw(st.lists(moments.filter(lambda at: at > CREATED), max_size=2, unique=True)))
    definitions = [(CREATED, specs[0]), *((at, draw(st.sampled_from(specs))) for at in changed)]
    audit = draw(
        st.lists(
            st.one_of(
                moments.map(pause),
                moments.map(lambda at: row("resume", at, "pause")),
                st.builds(row, st.sampled_from(["archive", "revive", "stop", "arm"]), moments),
            ),
            max_size=4,
        )
    )
    audit.sort(key=lambda each: each.at)
    now = draw(moments.filter(lambda at: at > CREATED))
    until = draw(moments)
    rows: list[Run] = []
    ends = [at for at, _ in definitions[1:]]
    for generation, ((since, spec), end) in enumerate(zip(definitions, [*ends, None], strict=True), 1):
        bound = min(until, now) if end is None else min(end, until, now)
        slots = coming(spec.due_by, after=since, until=bound, count=1000) if spec.enabled and bound > since else []
        while slots:
            taken = draw(st.integers(1, min(5, len(slots))))
            part, slots = slots[:taken], slots[taken:]
            kind = draw(st.sampled_from(["ran", "missed", "overlap"]))
            made = [run(at) for at in part] if kind == "ran" else [skip(kind, part[0], part[-1], taken)]
            rows += [replace(each, generation=generation) for each in made]
    return rows, audit, definitions, now


def is_of(run: Run, slot: datetime) -> bool:
    """True if the row served the slot: a skip may have served several."""
    return run.fire_time is not None and run.fire_time <= slot <= (run.fire_time_last or run.fire_time)


@given(histories(), moments, st.integers(1, 60).map(lambda n: n * 10 * MINUTE))
def test_the_sum_is_that_of_each_slot(
    history: tuple[list[Run], list[AuditRow], list[tuple[datetime, JobSpec]], datetime],
    start: datetime,
    length: timedelta,
) -> None:
    rows, audit, definitions, now = history
    known = ledger(*definitions, audit=audit, runs=rows)
    end = start + length
    slots = set[datetime]()
    for definition, following in zip(known.definitions, [*known.definitions[1:], None], strict=True):
        stop = end if following is None else min(end, following.since)
        begin = max(start, definition.since)
        for slot in coming(definition.spec.due_by, after=begin - MINUTE / 60, until=stop, count=1000):
            # At the instant of a change, both definitions were in force for a moment: a row says that it was served.
            if slot < stop or (slot < end and any(is_of(run, slot) for run in rows)):
                slots.add(slot)
    expected = Counter(explain(known, slot, now=now).why for slot in slots)
    found = window(start, end, runs=rows, audit=audit, definitions=definitions, now=now)
    assert counts(found) == expected
    assert found.slots == expected.total()
