"""What a chart reads of the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.ledger import chart, of_text
from scheduler.ledger.rows import stamp
from scheduler.ledger.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OLD, NEW, ODD = "a" * 64, "b" * 64, "a" * 7 + "c" * 57


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with Store.open(tmp_path / "state.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as found:
        found.row_factory = sqlite3.Row
        yield found


def add(
    sql: sqlite3.Connection,
    n: int,
    at: datetime,
    *,
    status: str = "succeeded",
    by_hand: bool = False,
    last: datetime | None = None,
    text: str | None = None,
    task_of: int | None = None,
) -> None:
    columns = {
        "job_id": "j", "n": n, "trigger": "manual" if by_hand else "schedule", "status": status,
        "fire_time": None if by_hand else stamp(at), "fire_time_last": None if last is None else stamp(last),
        "slots": 1 if last is None else (last - at) // HOUR + 1, "requested_at": stamp(at), "finished_at": stamp(at),
        "started_at": stamp(at), "generation": 1, "task_sha256": text, "task_of": task_of, "reason": None,
    }  # fmt: skip
    names = ", ".join(f'"{name}"' for name in columns)
    sql.execute(f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(columns))})", list(columns.values()))


def test_a_window_has_its_slots_runs_by_hand_and_the_skip_that_reaches_into_it(sql: sqlite3.Connection) -> None:
    add(sql, 1, START - 9 * HOUR)
    add(sql, 2, START - 3 * HOUR, status="skipped", last=START + HOUR)
    add(sql, 3, START + 2 * HOUR)
    add(sql, 4, START + 2 * HOUR + HOUR / 2, by_hand=True)
    add(sql, 5, START + 5 * HOUR)
    found = {mark.n: mark for mark in chart.marks(sql, "j", START, START + 5 * HOUR, most=10)}
    assert sorted(found) == [2, 3, 4]
    assert (found[2].slots, found[2].last) == (5, START + HOUR)
    assert found[4].by_hand


def test_the_newest_rows_of_a_window_are_read(sql: sqlite3.Connection) -> None:
    for n in range(1, 9):
        add(sql, n, START + n * HOUR)
    assert sorted(mark.n for mark in chart.marks(sql, "j", START, START + 99 * HOUR, most=3)) == [6, 7, 8]
    assert chart.oldest(sql, "j", most=3) == START + 6 * HOUR
    assert chart.oldest(sql, "other", most=3) is None


def test_a_job_fails_since_the_first_failure_after_its_last_success(sql: sqlite3.Connection) -> None:
    assert chart.failing_since(sql, "j") is None
    for n, status in enumerate(["failed", "succeeded", "failed", "timed_out", "failed"], 1):
        add(sql, n, START + n * HOUR, status=status)
    assert chart.failing_since(sql, "j") == START + 3 * HOUR
    sql.execute("DELETE FROM runs WHERE n = 2")
    assert chart.failing_since(sql, "j") == START + HOUR


def test_texts_are_found_by_how_they_begin_also_those_that_begin_alike(sql: sqlite3.Connection) -> None:
    for n, text in enumerate([OLD, NEW, OLD, None], 1):
        add(sql, n, START + n * HOUR, text=text)
    assert of_text.texts_like(sql, "j", "", most=5) == [OLD, NEW]
    assert of_text.texts_like(sql, "j", "b", most=5) == [NEW]
    assert of_text.texts_like(sql, "j", OLD, most=5) == [OLD]
    assert of_text.texts_like(sql, "j", "c", most=5) == []
    assert of_text.texts_like(sql, "other", "a", most=5) == []
    add(sql, 5, START + 5 * HOUR, text=ODD)
    assert [run.n for run in of_text.runs_with_text(sql, "j", ODD, limit=5)] == [5]
    assert [run.n for run in of_text.runs_with_text(sql, "j", OLD, limit=5)] == [3, 1]
    assert of_text.texts_like(sql, "j", "aaaaaaa", most=5) in ([OLD], [ODD])
    assert of_text.texts_like(sql, "j", OLD, most=5) == [OLD]
    assert of_text.texts_like(sql, "j", ODD[:9], most=5) == [ODD]


def test_the_text_before_one_is_the_last_other_one_that_the_job_itself_had(sql: sqlite3.Connection) -> None:
    add(sql, 1, START, text=OLD)
    add(sql, 2, START + HOUR, text=ODD, task_of=9)
    add(sql, 3, START + 2 * HOUR, text=NEW)
    assert of_text.text_before(sql, "j", NEW) == OLD
    assert of_text.text_before(sql, "j", OLD) is None
    assert of_text.text_before(sql, "j", "d" * 64) == NEW  # it has not run yet
