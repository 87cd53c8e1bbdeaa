"""What is thrown away by `gc` and by a daemon once a day, and what always stays."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from scheduler.ledger import gc
from scheduler.ledger.store import Store
from scheduler.maintenance.retention import EVERY, Housekeeping
from scheduler.root.place import Place
from tests.faces.conftest import Root

DAYS_91 = timedelta(days=91)


def keep(root: Root, retention: str) -> None:
    text = (root.path / "scheduler.yaml").read_text()
    root.write("scheduler.yaml", text + f"retention: {retention}\n")
    root.sync()


def outputs(root: Root, job_id: str) -> set[str]:
    return {path.name.partition(".")[0] for path in (root.path / ".scheduler/runs" / job_id).iterdir()}


def age(root: Root, by: timedelta = DAYS_91) -> None:
    """As if every output so far had been written that long ago."""
    then = (root.clock.now() - by).timestamp()
    for path in (root.path / ".scheduler/runs").rglob("*.std*"):
        os.utime(path, (then, then))


def numbers(root: Root, job_id: str) -> list[int]:
    return sorted(int(run["id"].rpartition(":")[2]) for run in root.runs(job_id))


def texts(root: Root) -> int:
    with contextlib.closing(sqlite3.connect(root.path / ".scheduler/state.db")) as sql:
        (count,) = sql.execute("SELECT count(*) FROM texts").fetchone()
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert sql.execute("PRAGMA foreign_key_check").fetchall() == []
    return int(count)


def test_outputs_age_out_but_those_of_the_last_run_and_the_last_success(lived_in: Root) -> None:
    lived_in.run("heartbeat")
    assert lived_in.cli("run", "heartbeat", "--wait").code == 0
    lived_in.write("scripts/flaky.sh", "echo fine\n")
    lived_in.run("flaky")
    lived_in.write("scripts/flaky.sh", "echo no; exit 1\n")
    assert lived_in.cli("run", "flaky", "--wait").code == 1
    age(lived_in)
    would = lived_in.ok("gc", "--dry-run")
    assert would.stdout.startswith("would delete captured output of 3 runs (")
    assert (outputs(lived_in, "heartbeat"), outputs(lived_in, "flaky")) == ({"1", "2", "3"}, {"1", "2", "3"})
    found = lived_in.json("gc")
    assert (found["outputs"], found["runs"], found["texts"], found["dry_run"]) == (3, 0, 0, False)
    assert found["output_bytes"] > 0
    assert (outputs(lived_in, "heartbeat"), outputs(lived_in, "flaky")) == ({"3"}, {"2", "3"})
    gone = lived_in.cli("output", "heartbeat:1")
    assert (gone.code, "retention.output_days" in gone.stderr) == (5, True)
    assert len(lived_in.runs("heartbeat")) == 3, "the rows stay, and so do their results"
    assert all(run["result"] for run in lived_in.runs("heartbeat"))
    assert lived_in.ok("task", "heartbeat:1").stdout
    (row,) = [row for row in lived_in.json("audit", "@root")["audit"] if row["action"] == "gc"]
    assert row["after"] == {name: found[name] for name in ("outputs", "output_bytes", "runs", "texts", "worktrees")}
    assert "nothing to delete" in lived_in.ok("gc").stderr


@pytest.mark.parametrize("retention", ["{output_days: 0}", "{output_days: 92}"])
def test_outputs_stay_as_long_as_they_are_to(lived_in: Root, retention: str) -> None:
    lived_in.run("heartbeat")
    keep(lived_in, retention)
    age(lived_in)
    assert lived_in.json("gc")["outputs"] == 0
    assert outputs(lived_in, "heartbeat") == {"1", "2"}


def test_rows_beyond_what_is_kept_go_skips_first_and_then_the_oldest_runs(lived_in: Root) -> None:
    lived_in.write("prompts/triage.md", "The first text.\n")
    lived_in.run("triage")
    lived_in.write("prompts/triage.md", "The second text.\n")
    lived_in.run("triage")
    (lived_in.path / "prompts/triage.md").unlink()
    assert lived_in.cli("run", "triage", "--wait").code == 1  # 3: skipped
    lived_in.write("prompts/triage.md", "The third text.\n")
    for _ in range(9):
        lived_in.run("triage")
    assert numbers(lived_in, "triage") == [*range(1, 13)]
    before = texts(lived_in)
    keep(lived_in, "{runs: 10}")
    assert lived_in.json("gc", "--dry-run")["runs"] == 2
    found = lived_in.json("gc")
    assert (found["outputs"], found["runs"], found["texts"]) == (1, 2, 1)
    assert numbers(lived_in, "triage") == [2, *range(4, 13)]
    assert texts(lived_in) == before - 1
    assert outputs(lived_in, "triage") == {str(n) for n in (2, *range(4, 13))}
    assert lived_in.ok("task", "triage:2").stdout == "The second text.\n", "a text that a kept run needs stays"
    assert lived_in.job("triage")["run_count"] == 11
    assert lived_in.run("triage")["id"] == "triage:13", "no number is given again"
    assert lived_in.json("gc")["runs"] == 1


def test_the_last_success_the_last_run_and_the_newest_slot_stay_however_old(lived_in: Root) -> None:
    lived_in.write("scripts/flaky.sh", "echo fine\n")
    lived_in.run("flaky")  # 2
    lived_in.clock.advance(timedelta(days=1))
    lived_in.ok("serve", "--once", "-q")  # 3: the slot of midnight, too late
    assert lived_in.runs("flaky")[0]["reason"] == "missed"
    lived_in.write("scripts/flaky.sh", "exit 1\n")
    for _ in range(12):
        assert lived_in.cli("run", "flaky", "--wait").code == 1  # 4 to 15
    keep(lived_in, "{runs: 10}")
    lived_in.ok("gc")
    assert numbers(lived_in, "flaky") == [2, 3, *range(8, 16)]
    lived_in.ok("serve", "--once", "-q")
    assert numbers(lived_in, "flaky") == [2, 3, *range(8, 16)], "no slot comes due again"


def test_a_daemon_collects_once_a_day_and_tells_what(lived_in: Root, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="scheduler")
    place = Place(root=lived_in.path, state=lived_in.path / ".scheduler", db=lived_in.path / ".scheduler/state.db")
    with Store.open(place.db) as store:
        keeper = Housekeeping(place=place, clock=lived_in.clock, lend=lambda: contextlib.nullcontext(store))
        lived_in.run("heartbeat")
        age(lived_in)
        keeper.look()
        assert outputs(lived_in, "heartbeat") == {"2"}
        keeper = Housekeeping(place=place, clock=lived_in.clock, lend=lambda: contextlib.nullcontext(store))
        lived_in.run("heartbeat")
        age(lived_in)
        lived_in.clock.advance(EVERY - timedelta(seconds=1))
        keeper.look()
        assert outputs(lived_in, "heartbeat") == {"2", "3"}
        lived_in.clock.advance(timedelta(seconds=1))
        keeper.look()
        assert outputs(lived_in, "heartbeat") == {"3"}
    assert caplog.text.count("gc outputs=1 ") == 2


def test_serve_once_collects_too(lived_in: Root) -> None:
    lived_in.run("heartbeat")
    age(lived_in)
    lived_in.ok("serve", "--once", "-q")
    assert outputs(lived_in, "heartbeat") == {"2"}


def test_a_folder_that_cannot_be_emptied_is_told_and_stops_nothing(
    lived_in: Root, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(root=lived_in.path, state=lived_in.path / ".scheduler", db=lived_in.path / ".scheduler/state.db")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    lived_in.run("heartbeat")
    age(lived_in)
    monkeypatch.setattr(Path, "unlink", refuse)
    with Store.open(place.db) as store:
        Housekeeping(place=place, clock=lived_in.clock, lend=lambda: contextlib.nullcontext(store)).look()
    assert "gc_failed" in caplog.text


def test_a_root_never_synced_has_nothing_to_throw_away(root: Root) -> None:
    assert root.json("gc") == {"outputs": 0, "output_bytes": 0, "runs": 0, "texts": 0, "worktrees": 0, "dry_run": False}


def test_an_output_that_somebody_else_deletes_meanwhile_ends_no_gc(
    lived_in: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a daemon that collects at the same time."""
    for _ in range(11):
        lived_in.run("heartbeat")
    keep(lived_in, "{runs: 10}")
    delete_texts = gc.delete_texts

    def slow(sql: Connection, sha256s: Sequence[str], *, since: int) -> int:
        for path in (lived_in.path / ".scheduler/runs/heartbeat").glob("1.*"):
            path.unlink()
        return delete_texts(sql, sha256s, since=since)

    monkeypatch.setattr(gc, "delete_texts", slow)
    assert lived_in.cli("gc", "--json").code == 0
    assert "1" not in outputs(lived_in, "heartbeat")


def test_texts_that_a_gc_cut_short_has_left_go_with_the_next(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(12):
        lived_in.write("prompts/triage.md", f"Text {n}.\n")
        lived_in.run("triage")
    keep(lived_in, "{runs: 10}")
    before = texts(lived_in)
    with monkeypatch.context() as patch:
        patch.setattr(gc, "delete_texts", lambda *_, **__: 0)
        lived_in.ok("gc")
    assert texts(lived_in) == before
    assert lived_in.json("gc")["texts"] > 0
    assert texts(lived_in) < before


def test_gc_says_that_an_edit_of_retention_does_not_count_yet(lived_in: Root) -> None:
    assert "warning" not in lived_in.ok("gc").stderr
    text = (lived_in.path / "scheduler.yaml").read_text()
    lived_in.write("scheduler.yaml", text + "retention: {runs: 10}\n")
    assert "the change applies after the next sync" in lived_in.ok("gc", "--dry-run").stderr
    lived_in.write("scheduler.yaml", text + "retention: {runs: 3}\n")
    assert "scheduler.yaml is missing or invalid, so the last good `retention` applies" in lived_in.ok("gc").stderr


def keeper_of(root: Root) -> Housekeeping:
    place = Place(root=root.path, state=root.path / ".scheduler", db=root.path / ".scheduler/state.db")
    return Housekeeping(place=place, clock=root.clock, lend=lambda: Store.open(place.db))


def test_beside_a_daemon_another_process_collects_from_the_second_day_on(
    lived_in: Root, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="scheduler")
    keeper = keeper_of(lived_in)
    lived_in.run("heartbeat")
    age(lived_in)
    keeper.beside()
    assert keeper.child is None, "a new root has nothing old"
    lived_in.clock.advance(EVERY)
    keeper.beside()
    assert keeper.child is not None
    keeper.beside()
    keeper.child.wait(60)
    assert outputs(lived_in, "heartbeat") == {"2"}
    assert lived_in.json("audit", "@root")["audit"][-1]["actor"] == "scheduler"
    keeper.beside()
    assert (keeper.child, caplog.text.count("gc outputs=1 "), "gc_failed" in caplog.text) == (None, 1, False)


@pytest.mark.parametrize("end", ["killed", "left alone"])
def test_a_collecting_process_that_is_killed_or_left_alone_ends_and_is_told_of(
    lived_in: Root, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    keeper = keeper_of(lived_in)
    keeper.beside()
    lived_in.clock.advance(EVERY)
    with contextlib.closing(sqlite3.connect(lived_in.path / ".scheduler/state.db", isolation_level=None)) as sql:
        lived_in.run("heartbeat")
        age(lived_in)
        sql.execute("BEGIN IMMEDIATE")  # so that it cannot finish
        keeper.beside()
        assert keeper.child is not None
        assert keeper.child.stdin is not None
        if end == "killed":
            keeper.child.kill()
        else:
            keeper.child.stdin.close()
            keeper.child.stdin = None
        assert keeper.child.wait(60) != 0
        sql.execute("ROLLBACK")
    keeper.beside()
    assert "gc_failed" in caplog.text
    assert texts(lived_in) > 0
    lived_in.clock.advance(EVERY)
    keeper.look()
    assert outputs(lived_in, "heartbeat") == {"2"}


def test_a_text_that_a_run_has_got_since_is_not_deleted(lived_in: Root) -> None:
    with Store.open(lived_in.path / ".scheduler/state.db") as store:
        (sha256,) = store._connection.execute(
            "SELECT task_sha256 FROM runs WHERE task_sha256 NOTNULL LIMIT 1"
        ).fetchone()
        store._connection.execute("INSERT INTO texts VALUES ('unused', 'x')")
        unused, since = store.read(gc.unused_texts)
        assert unused == ["unused"]
        with store.unchecked():
            assert store.write(gc.delete_texts, ["unused", sha256], since=since) == 1
    assert texts(lived_in) > 0
