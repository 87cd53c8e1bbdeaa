"""What commands ask of the database costs the same with ten times the history: counted in SQLite's own steps."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.core.values.runs import RunStatus
from scheduler.ledger import (
    chart,
    lives,
    of_text,
    places,
    queries,
    runs,
    spent_by,
    standing,
    strips,
    tallies,
    told,
    windows,
)
from scheduler.ledger.rows import stamp
from scheduler.ledger.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FEW, MANY = 3_000, 30_000
OLD, NEW = "a" * 64, "b" * 64
JOBS = ["j", *(f"j{n}" for n in range(50))]
ROW = (
    '(job_id, n, "trigger", status, reason, fire_time, requested_at, started_at, finished_at, duration_ms, generation)'
)


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, sqlite3.Connection]]:
    """Two databases with one run a minute, all of one job but every tenth, and a failure and a skip at the end."""
    found = {}
    for rows in (FEW, MANY):
        path = tmp_path_factory.mktemp("growth") / "state.db"
        with Store.open(path):
            pass
        sql = sqlite3.connect(path, isolation_level=None)
        sql.row_factory = sqlite3.Row
        sql.execute("PRAGMA synchronous = OFF")
        sql.execute("BEGIN")
        sql.executemany(f"INSERT INTO runs {ROW} VALUES (?, ?, 'schedule', ?, ?, ?, ?, ?, ?, ?, 1)", _rows(rows))
        failures = ((stamp(START + n * MINUTE), "j", "failure", "agent", "run") for n in range(rows))
        sql.execute(
            "INSERT INTO audit (at, job_id, action, before, after, actor, cause)"
            " VALUES (?, 'j', 'pause', 'null', 'null', 'a', 'a')",
            [stamp(START)],
        )
        sql.executemany("INSERT INTO audit (at, job_id, action, actor, cause) VALUES (?, ?, ?, ?, ?)", failures)
        sql.execute("UPDATE runs SET task_sha256 = CASE WHEN n > ? THEN ? ELSE ? END", (rows - 100, NEW, OLD))
        sql.execute("COMMIT")
        found[rows] = sql
    yield found
    for sql in found.values():
        sql.close()


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    for n in range(1, count + 1):
        at, job = START + n * MINUTE, "j" if n % 10 else f"j{n // 10 % 50}"
        status, reason = {count - 1: ("failed", "exit_code"), count: ("skipped", "overlap")}.get(n, ("succeeded", None))
        started = None if status == "skipped" else stamp(at)
        yield job, n, status, reason, stamp(at), stamp(at), started, stamp(at + timedelta(seconds=2)), 2000


def steps(sql: sqlite3.Connection, query: Callable[[sqlite3.Connection], object]) -> int:
    """In hundreds of SQLite's instructions."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    sql.set_progress_handler(step, 100)
    try:
        query(sql)
    finally:
        sql.set_progress_handler(None, 0)
    return taken


def _end(sql: sqlite3.Connection) -> datetime:
    (rows,) = sql.execute("SELECT max(rowid) FROM runs").fetchone()
    return START + int(rows) * MINUTE


def _day(query: Callable[..., object]) -> Callable[[sqlite3.Connection], object]:
    return lambda sql: query(sql, "j", _end(sql) - timedelta(days=1), _end(sql))


QUERIES: dict[str, Callable[[sqlite3.Connection], object]] = {
    "history": lambda sql: queries.recent_runs(sql, limit=50),
    "history of a job": lambda sql: queries.recent_runs(sql, job_id="j", limit=50),
    "history --failed": lambda sql: queries.recent_runs(sql, failed=True, limit=50),
    "history of a job, --failed": lambda sql: queries.recent_runs(sql, job_id="j", failed=True, limit=50),
    "history --since": lambda sql: queries.recent_runs(sql, since=_end(sql) - timedelta(hours=1), limit=50),
    "history of a job, --since": lambda sql: queries.recent_runs(
        sql, job_id="j", since=_end(sql) - timedelta(minutes=20), limit=50
    ),
    **{
        f"history --status {each}": lambda sql, each=each: queries.recent_runs(sql, status=each, limit=50)  # type: ignore[misc]
        for each in RunStatus
    },
    **{
        f"history of a job, --status {each}": lambda sql, each=each: queries.recent_runs(  # type: ignore[misc]
            sql, job_id="j", status=each, limit=50
        )
        for each in RunStatus
    },
    "explain": lambda sql: queries.slots_around(sql, "j", _end(sql)),
    "explain an old slot": lambda sql: queries.slots_around(sql, "j", START + timedelta(hours=10)),
    "what ran beside an old slot": lambda sql: queries.under_way_at(sql, START + timedelta(hours=10), most=3),
    "a window: served": _day(windows.served),
    "a window: covered": _day(windows.covered),
    "a window: idle": _day(windows.longest_idle),
    "a window: by hand": _day(windows.by_hand),
    "diff: what ran since": lambda sql: queries.statuses_between(
        sql, "j", _end(sql) - timedelta(minutes=20), _end(sql)
    ),
    "status: runs under way": queries.active_runs,
    "status: newest run of a job": lambda sql: queries.newest_started(sql, "j"),
    "list": queries.summaries,
    "list --json": queries.jobs,
    "chart: rows": _day(functools.partial(chart.marks, most=500)),
    "chart: how far back": lambda sql: chart.oldest(sql, "j", most=60),
    "chart: changes": lambda sql: chart.changes_until(sql, "j", _end(sql)),
    "chart: changes of a model": lambda sql: chart.models_between(sql, "agent", START, _end(sql)),
    "failing since": lambda sql: chart.failing_since(sql, "j"),
    "newest versions": lambda sql: queries.used_versions(sql, "j", newest=1_000, most=20),
    "a version": lambda sql: queries.used_versions(sql, "j", text=OLD, newest=1_000),
    "texts that begin with": lambda sql: of_text.texts_like(sql, "j", "a", most=5),
    "a text that begins with": lambda sql: of_text.texts_like(sql, "j", OLD[:12], most=5),
    "runs with a text": lambda sql: of_text.runs_with_text(sql, "j", OLD, limit=50),
    "older runs with a text": lambda sql: of_text.runs_with_text(sql, "j", OLD, before=2_000, limit=50),
    "the text before": lambda sql: of_text.text_before(sql, "j", NEW),
    "the runs of a text that nobody has": lambda sql: of_text.runs_with_text(sql, "j", "c" * 64, limit=50),
    "told alarms": lambda sql: told.streaks(sql, "alarm/"),
    "place faults": places.open_faults,
    "runs with an owner": runs.active,
    "last daemon": lives.last_life,
    "metrics: ends": tallies.run_tallies,
    "metrics: skips": tallies.skip_tallies,
    "metrics: costs": tallies.cost_tallies,
    "metrics: tokens": tallies.token_tallies,
    "metrics: gauges": tallies.gauges,
    "metrics: tags": queries.tags,
    "metrics: last successes": tallies.last_successes,
    "now: what ended lately": lambda sql: strips.ended_since(sql, _end(sql) - timedelta(hours=6), _end(sql), 5_000),
    "now: usual durations": lambda sql: strips.usual_ms(sql, JOBS),
    "now: newest failures": lambda sql: queries.newest_failures(sql, JOBS),
    "now: newest skips": lambda sql: queries.newest_skip_is(sql, "over_budget"),
    "now: first failure": lambda sql: standing.first_failure(sql, "j"),
    "now: what was spent": lambda sql: spent_by.spent_of(sql, "@root", _end(sql) - timedelta(days=1), _end(sql)),
    "jobs: all of them": queries.sketches,
    "jobs: strips": lambda sql: strips.strips(sql, JOBS, 5),
    "jobs: newest changes": lambda sql: strips.newest_changes(sql, JOBS),
    "jobs: costs": lambda sql: strips.costs_since(sql, JOBS, _end(sql) - timedelta(days=7)),
}


@pytest.mark.parametrize("name", QUERIES)
def test_ten_times_the_history_takes_no_more_steps(histories: dict[int, sqlite3.Connection], name: str) -> None:
    few, many = (steps(histories[rows], QUERIES[name]) for rows in (FEW, MANY))
    assert many <= 1.5 * few + 10


def test_the_strips_of_a_page_are_thirty_rows_for_each_job(histories: dict[int, sqlite3.Connection]) -> None:
    found = strips.strips(histories[MANY], JOBS, 30)
    assert {job_id: len(rows) for job_id, rows in found.items()} == dict.fromkeys(JOBS, 30)
    assert all(rows == sorted(rows, key=lambda row: row.at) for rows in found.values())
    assert found["j0"][-1].at == START + timedelta(minutes=MANY)


def test_what_ended_lately_is_read_up_to_a_limit_newest_first(histories: dict[int, sqlite3.Connection]) -> None:
    sql = histories[MANY]
    found = strips.ended_since(sql, START, _end(sql) + MINUTE, 100)
    assert (len(found), found[0].status, found[1].failed) == (100, "skipped", True)


def test_the_steps_of_a_scan_do_grow(histories: dict[int, sqlite3.Connection]) -> None:
    few, many = (steps(histories[rows], lambda sql: queries.run_count(sql, "j")) for rows in (FEW, MANY))
    assert many > 5 * few


def test_what_ran_beside_an_instant_may_be_long_or_still_running(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as sql:
        sql.row_factory = sqlite3.Row
        at, hour = START, timedelta(hours=1)
        kinds = {"short": 2 * MINUTE, "over": -MINUTE, "long": 30 * hour, "just long": 61 * MINUTE, "running": None}
        for job_id, rest in kinds.items():
            end, begun = None if rest is None else at + rest, at - 2 * MINUTE
            took = None if end is None else (end - begun) // timedelta(milliseconds=1)
            status = "running" if end is None else "succeeded"
            row = (job_id, 1, "schedule", status, None, stamp(begun), stamp(begun), stamp(begun))
            marks = ", ".join("?" * 11)
            sql.execute(f"INSERT INTO runs {ROW} VALUES ({marks})", (*row, end and stamp(end), took, 1))
        found = {run.job_id for run in queries.under_way_at(sql, at, most=10)}
    assert found == kinds.keys() - {"over"}
