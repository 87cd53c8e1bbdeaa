"""What `versions` and `diff` count in the database is what one counts run by run."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from scheduler.core.values.runs import RunStatus
from scheduler.ledger import queries
from scheduler.ledger.rows import stamp
from scheduler.ledger.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
JUDGED = ("succeeded", "failed", "timed_out")
REST = {"blob": None, "dirty": None, "executable": False}
A = {"path": "a.sh", "sha256": "1", **REST}
FILES = (None, *(json.dumps(each) for each in ([], [A], [{**A, "blob": "x"}], [{**A, "sha256": None}])))
TOOK = (0, 1, 2, 5, 5, 1000, 3_599_999, 3_600_000, 90_000_000)


def _row(chance: random.Random, n: int) -> dict[str, Any]:
    status = chance.choice(list(RunStatus)).value
    ends = status not in ("queued", "claimed", "running")
    begins = status not in ("skipped", "queued", "claimed") and chance.random() < 0.9
    at = START + timedelta(minutes=chance.randrange(3000))
    took = chance.choice(TOOK) if begins and ends else None
    return {
        "job_id": chance.choice("jk"),
        "n": n,
        "trigger": "manual",
        "status": status,
        "reason": chance.choice(("overlap", "source_missing", "runner_gone")) if status == "skipped" else None,
        "requested_at": stamp(at - timedelta(minutes=chance.randrange(50))),
        "started_at": stamp(at) if begins else None,
        "finished_at": stamp(at + timedelta(milliseconds=took or 0)) if ends else None,
        "duration_ms": took,
        "task_sha256": chance.choice(("t1", "t2", None)) if begins else None,
        "source_path": chance.choice(("jobs/a.yaml", "jobs/b.yaml")),
        "source_blob": chance.choice((None, "blob")),
        "dirty": chance.choice((None, "modified", "converted")),
        "runner_files": chance.choice(FILES),
        "generation": 1,
    }


@pytest.fixture(params=range(12))
def history(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[sqlite3.Connection, list[dict[str, Any]]]]:
    chance = random.Random(request.param)
    rows = [_row(chance, n) for n in range(1, chance.randrange(2, 120))]
    with Store.open(tmp_path / "state.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "state.db")) as sql:
        sql.row_factory = sqlite3.Row
        names, marks = ", ".join(f'"{name}"' for name in rows[0]), ", ".join("?" * len(rows[0]))
        sql.executemany(f"INSERT INTO runs ({names}) VALUES ({marks})", [tuple(row.values()) for row in rows])
        yield sql, rows


def _content(row: dict[str, Any]) -> tuple[object, ...]:
    files = json.loads(row["runner_files"] or "[]")
    return row["task_sha256"], tuple((each["path"], each["sha256"], each["executable"]) for each in files)


def test_versions_are_counted_as_run_by_run(history: tuple[sqlite3.Connection, list[dict[str, Any]]]) -> None:
    sql, rows = history
    by_content: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["job_id"] == "j" and row["started_at"] and row["task_sha256"]:
            by_content.setdefault(_content(row), []).append(row)
    expected: list[object] = []
    for mine in sorted(by_content.values(), key=lambda each: -each[-1]["n"]):
        took = [row["duration_ms"] for row in mine if row["duration_ms"] is not None and row["status"] in JUDGED]
        clean = [row for row in mine if row["source_blob"] and row["dirty"] in (None, "converted")]
        expected.append(
            (
                *(mine[0]["n"], mine[-1]["n"], len(mine), Counter(row["status"] for row in mine)),
                round(median(took)) if took else None,
                (clean[-1]["n"], clean[-1]["source_path"]) if clean else None,
            )
        )
    found: list[object] = [
        (
            *(each.first.n, each.last.n, each.runs, each.statuses),
            None if (middle := each.figures.duration_ms) is None else round(middle.value),
            None if each.committed is None else (each.committed.n, each.committed.source_path),
        )
        for each in queries.used_versions(sql, "j")
    ]
    assert found == expected


def test_statuses_between_two_instants_are_counted_as_run_by_run(
    history: tuple[sqlite3.Connection, list[dict[str, Any]]],
) -> None:
    sql, rows = history
    for first, last in ((0, 3000), (0, 10), (1000, 1100), (2000, 2900)):
        start, end = START + timedelta(minutes=first), START + timedelta(minutes=last)
        moments = [
            (row["started_at"] or row["finished_at"] or row["requested_at"], row["status"])
            for row in rows
            if row["job_id"] == "j"
        ]
        expected = Counter(status for at, status in moments if stamp(start) < at <= stamp(end))
        assert queries.statuses_between(sql, "j", start, end) == expected
