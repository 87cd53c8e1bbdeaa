"""The sums of the ledger over a window, against the same sums of rows in memory; and what they cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.core.past.windows import Covered, ServedSlots
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.ledger import windows
from scheduler.ledger.rows import insert, stamp
from scheduler.ledger.store import Store
from tests.core.past.test_explain import HOUR, MINUTE, NOON, run, skip
from tests.core.past.test_windows import odd, rows_of


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database of this version, without its rules about which jobs there are."""
    with Store.open(tmp_path / "state.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def put(sql: sqlite3.Connection, rows: Iterable[Run]) -> None:
    sql.execute("DELETE FROM runs")
    for n, each in enumerate(rows, 1):
        insert(
            sql, "runs", job_id=each.job_id, n=n, trigger=each.trigger.value, status=each.status.value,
            reason=each.reason, fire_time=each.fire_time, fire_time_last=each.fire_time_last, slots=each.slots,
            requested_at=each.requested_at, started_at=each.started_at, generation=1,
        )  # fmt: skip


KINDS = {
    "succeeded": lambda at: run(at),
    "failed": lambda at: run(at, RunStatus.FAILED, reason="exit_code"),
    "overlap": lambda at: skip("overlap", at),
    "missed": lambda at: skip("missed", at, at + 3 * MINUTE, 4),
    "claimed": lambda at: run(at, RunStatus.CLAIMED, started_at=None),
}


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=25), st.integers(-5, 60), st.integers(1, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sums_are_those_of_the_rows(sql: sqlite3.Connection, kinds: list[str], first: int, length: int) -> None:
    rows, at = [], NOON
    for kind in kinds:
        rows.append(KINDS[kind](at))
        at = (rows[-1].fire_time_last or at) + MINUTE
    put(sql, rows)
    start, end = NOON + first * MINUTE, NOON + (first + length) * MINUTE
    expected = rows_of(rows, start, end)

    def key(each: ServedSlots) -> tuple[str, str]:
        return each.status, each.reason or ""

    assert sorted(windows.served(sql, "job", start, end), key=key) == sorted(expected.served, key=key)
    assert windows.covered(sql, "job", start, end) == expected.covered(start, end)
    assert windows.exception_count(sql, "job", start, end) == len(odd(rows, start, end))
    told = windows.exceptions(sql, "job", start, end, most=20)
    assert [each.fire_time for each in told] == [each.fire_time for each in expected.exceptions][:20]
    reaches, expected_reach = windows.reaching(sql, "job", start), expected.reaching(start)
    assert (reaches and reaches.fire_time) == (expected_reach and expected_reach.fire_time)
    idle = windows.longest_idle(sql, "job", start, end)
    assert (idle and idle.last - idle.first) == (expected.idle and expected.idle.last - expected.idle.first)


def test_slots_that_were_taken_back_and_runs_by_hand_are_no_slots(sql: sqlite3.Connection) -> None:
    by_hand = replace(run(NOON), fire_time=None, fire_time_last=None, trigger=Trigger.MANUAL)
    put(sql, [skip("void", NOON), by_hand, replace(by_hand, trigger=Trigger.RERUN, requested_at=NOON + HOUR)])
    assert windows.served(sql, "job", NOON, NOON + HOUR) == []
    assert windows.covered(sql, "job", NOON, NOON + HOUR) is None
    assert (windows.by_hand(sql, "job", NOON, NOON + HOUR), windows.by_hand(sql, "job", NOON, NOON + 2 * HOUR)) == (
        1,
        2,
    )


def test_a_year_of_minutely_slots_is_summed_without_reading_its_rows_one_by_one(sql: sqlite3.Connection) -> None:
    """By the steps that SQLite takes, which no load of the machine changes; and no sort of all rows."""
    minutes = 20_000

    def rows() -> Iterator[tuple[object, ...]]:
        for n in range(minutes):
            at = stamp(NOON + n * MINUTE)
            status, reason, started = ("skipped", "overlap", None) if n % 1000 in (3, 4) else ("succeeded", None, at)
            yield "job", n + 1, "schedule", status, reason, at, at, 1, at, started, 1

    sql.execute("BEGIN")
    sql.executemany(
        'INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, fire_time_last, slots, requested_at,'
        " started_at, generation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows(),
    )
    sql.execute("COMMIT")
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def cost(query: object, start: datetime, end: datetime) -> int:
        nonlocal steps
        steps = 0
        sql.set_progress_handler(count, 100)
        query(sql, "job", start, end)  # type: ignore[operator]
        sql.set_progress_handler(None, 100)
        return steps * 100

    end = NOON + timedelta(minutes=minutes)
    for query in (windows.served, windows.covered, windows.longest_idle, windows.exception_count):
        assert cost(query, NOON, end) < 60 * minutes, query
        assert cost(query, NOON, NOON + HOUR) < 60 * 60 + 2000, query
    assert windows.longest_idle(sql, "job", NOON, end) == Covered(
        slots=2, first=NOON + 3 * MINUTE, last=NOON + 4 * MINUTE
    )
