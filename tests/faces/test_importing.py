"""import and export on a real root: files, counters, runs; twice, half way, with a daemon, and into another root."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from scheduler.core.values.problems import UnavailableError
from scheduler.machine.users import local_zone
from scheduler.root import writing
from scheduler.service.imports import importing
from tests.faces.conftest import Root, contents
from tests.run.results.shapes import WHOLE

HEARTBEAT = "6f1c0c3e-0b43-4a3f-8a0e-3b1f6a1d2e3f"
JOBS = """CREATE TABLE scheduled_jobs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT, enabled INTEGER NOT NULL DEFAULT 1,
    schedule_kind TEXT NOT NULL, schedule_value TEXT NOT NULL, task TEXT NOT NULL,
    delivery_channel TEXT, delivery_target TEXT, status TEXT NOT NULL DEFAULT 'active',
    last_run_at TEXT, last_run_status TEXT, last_run_duration_ms INTEGER, last_run_error TEXT,
    last_delivery_status TEXT, next_run_at TEXT, run_count INTEGER NOT NULL DEFAULT 0,
    consecutive_errors INTEGER NOT NULL DEFAULT 0, delete_after_run INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT '2026-01-01 00:00:00', created_by TEXT DEFAULT 'agent',
    updated_at TEXT NOT NULL DEFAULT '2026-01-02 00:00:00')"""
LOG = """CREATE TABLE scheduler_audit_log (id INTEGER PRIMARY KEY, job_id TEXT, job_name TEXT, action TEXT,
    previous_status TEXT, new_status TEXT, actor TEXT, detail TEXT, created_at TEXT)"""
COUNTED = (
    "run_count",
    "consecutive_errors",
    "last_run_at",
    "last_run_status",
    "last_run_duration_ms",
    "last_run_error",
    "last_delivery_status",
    "created_at",
    "created_by",
)


def phantom(path: Path, *rows: dict[str, Any], log: Sequence[tuple[Any, ...]] = ()) -> Path:
    """A database of Phantom's with these rows."""
    connection = sqlite3.connect(path)
    connection.execute(JOBS)
    connection.execute(LOG)
    for row in rows:
        whole = {"schedule_kind": "cron", "schedule_value": '{"expr": "0 * * * *", "tz": "UTC"}', "task": "Go.", **row}
        connection.execute(
            f"INSERT INTO scheduled_jobs ({', '.join(whole)}) VALUES ({', '.join('?' * len(whole))})",
            tuple(whole.values()),
        )
    connection.executemany(f"INSERT INTO scheduler_audit_log VALUES (NULL, {', '.join('?' * 8)})", log)
    connection.commit()
    connection.close()
    return path


def rows() -> list[dict[str, Any]]:
    return [
        {
            "id": HEARTBEAT,
            "name": "Hourly heartbeat",
            "description": "Looks at the inbox",
            "schedule_value": '{"expr": "0 * * * *", "tz": "America/Los_Angeles"}',
            "task": "You are woken.\nLook at the inbox.",
            "delivery_channel": "slack",
            "delivery_target": "C0123",
            "run_count": 42,
            "consecutive_errors": 2,
            "last_run_at": "2026-02-28T10:00:00.123Z",
            "last_run_status": "error",
            "last_run_duration_ms": 1234,
            "last_run_error": "boom",
            "last_delivery_status": "delivered",
        },
        {"id": "Bad Id!", "name": "Hourly heartbeat", "status": "paused", "created_at": "2026-01-03 00:00:00"},
        {"id": "dead", "name": "Dead", "status": "failed", "run_count": 10, "consecutive_errors": 10},
        {
            "id": "often",
            "name": "Often",
            "schedule_kind": "every",
            "schedule_value": '{"intervalMs": 5400000}',
            "next_run_at": "2026-03-01T12:40:00.000Z",
            "enabled": 0,
        },
        {
            "id": "once",
            "name": "Once",
            "schedule_kind": "at",
            "schedule_value": '{"at": "2030-01-01T01:00:00+01:00"}',
            "delete_after_run": 1,
        },
    ]


LOGGED = [
    ("dead", "Dead", "fail", "active", "failed", "scheduler", "10 errors", "2026-02-01 00:00:00"),
    ("gone", "Gone", "delete", "active", None, "agent", None, "2026-02-01 00:00:00"),
]


def codes(found: Any) -> list[tuple[int, str, str]]:
    return [(each["line"], each["code"], each["severity"]) for each in found["problems"]]


def files(root: Root) -> dict[str, bytes]:
    return {path: data for path, data in contents(root.path).items() if not path.startswith((".scheduler/", ".git/"))}


# -- Phantom -----------------------------------------------------------------------------------


def test_jobs_of_phantom_come_with_their_files_counters_status_and_audit(root: Root, tmp_path: Path) -> None:
    before = files(root)
    found = root.json("import", "phantom", str(phantom(tmp_path / "p.db", *rows(), log=LOGGED)))
    assert codes(found) == [
        (1, "import.audit", "warning"),
        (1, "import.retry", "warning"),
        (2, "import.id-mapped", "warning"),
    ]
    after = files(root)
    assert {path: after[path] for path in before} == before
    assert after["jobs/imported/hourly-heartbeat.yaml"].decode() == (
        "# Phantom delivered the result to slack C0123: no channel in scheduler.yaml is called slack-C0123 or C0123\n"
        f"id: {HEARTBEAT}\n"
        "name: Hourly heartbeat\n"
        "description: Looks at the inbox\n"
        'schedule: {cron: "0 * * * *", timezone: America/Los_Angeles}\n'
        "task_source_path: prompts/imported/hourly-heartbeat.md\n"
        "failure_limit: 10\n"
        "retry: {attempts: 6, delay: 30s, backoff: 3, max_delay: 1h}\n"
    )
    assert after["prompts/imported/hourly-heartbeat.md"] == b"You are woken.\nLook at the inbox.\n"
    job = root.job(HEARTBEAT)
    assert {name: job[name] for name in COUNTED} == {
        "run_count": 42,
        "consecutive_errors": 2,
        "last_run_at": "2026-02-28T10:00:00.123000Z",
        "last_run_status": "failed",
        "last_run_duration_ms": 1234,
        "last_run_error": "boom",
        "last_delivery_status": "delivered",
        "created_at": "2026-01-01T00:00:00Z",
        "created_by": "agent",
    }
    statuses = {each["id"]: each["status"] for each in root.json("list")["jobs"]}
    mapped = next(each["id"] for each in found["jobs"] if each["line"] == 2)
    assert [statuses[each] for each in (HEARTBEAT, mapped, "dead", "often", "once")] == [
        "active",
        "paused",
        "stopped",
        "disabled",
        "active",
    ]
    assert (
        root.json("next", "often", "-n", "1", "--from", "2026-03-01T12:00:00Z")["fires"][0]["fire_time"]
        == "2026-03-01T12:40:00Z"
    )
    audit = root.json("audit", "dead")["audit"]
    told = [each for each in audit if each["action"] == "phantom.fail"]
    assert [(each["before"], each["after"], each["at"], each["actor"]) for each in told] == [
        ("active", "failed", "2026-02-01T00:00:00Z", "phantom:scheduler")
    ]
    assert [each["actor"] for each in audit if each["action"] == "import"] == ["user:tester"]
    assert root.ok("validate").stdout == ""


def test_what_keeps_an_imported_job_from_firing_is_explained(root: Root, tmp_path: Path) -> None:
    source = phantom(
        tmp_path / "p.db",
        {"id": "held", "name": "Held", "status": "paused", "updated_at": "2026-02-01 00:00:00"},
        {"id": "dead", "name": "Dead", "status": "failed", "consecutive_errors": 10},
    )
    root.json("import", "phantom", str(source))
    root.clock.advance(timedelta(hours=2))
    at = root.json("explain", "dead")["at"]
    assert root.json("explain", "dead", "--at", at)["why"] == "stopped"
    evidence = root.json("explain", "held", "--at", at)["evidence"]
    assert "paused at 2026-02-01T00:00:00Z by phantom (paused in Phantom)" in [each["text"] for each in evidence]
    assert root.json("explain", "held", "--at", "2026-02-03T00:00:00Z")["why"] == "elsewhere"


def test_a_second_import_changes_nothing_and_an_edited_file_stays(root: Root, tmp_path: Path) -> None:
    source = phantom(tmp_path / "p.db", *rows())
    root.json("import", "phantom", str(source))
    root.run("dead")
    before, facts = files(root), root.facts()
    found = root.json("import", "phantom", str(source))
    assert {each["files"] for each in found["jobs"]} == {"unchanged"}
    assert {each["history"] for each in found["jobs"]} == {"already"}
    assert (files(root), root.facts()) == (before, facts)
    root.edit("prompts/imported/dead.md", "Go.", "Go on.")
    root.edit("jobs/imported/once.yaml", "name: Once", "name: Never")
    root.move("jobs/imported/often.yaml", "jobs/mine.yaml")
    before = files(root)
    found = root.json("import", "phantom", str(source))
    assert sorted(each["id"] for each in found["jobs"] if each["files"] == "kept") == ["dead", "once"]
    (moved,) = [each for each in found["jobs"] if each["id"] == "often"]
    assert (moved["file"], moved["files"]) == ("jobs/mine.yaml", "unchanged")
    assert files(root) == before


def test_rows_that_cannot_be_carried_are_told_and_the_others_come(root: Root, tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"schedule_value": "{"},
        {"schedule_value": '{"expr": "0 0 30 2 *", "tz": "UTC"}'},
        {"schedule_value": '{"expr": "0 0 * * *", "tz": "Mars/Olympus"}'},
        {"schedule_value": '{"tz": "UTC"}'},
        {"schedule_kind": "moon"},
        {"schedule_kind": "every", "schedule_value": '{"intervalMs": 1500}'},
        {"schedule_kind": "every", "schedule_value": '{"intervalMs": -1}'},
        {"schedule_kind": "at", "schedule_value": '{"at": "tomorrow"}'},
        {"task": "   "},
        {"task": b"\xff\xfe"},
        {"delete_after_run": 1},
        {"task": "<<<<<<< a\nx\n=======\ny\n>>>>>>> b\n"},
    ]
    source = phantom(
        tmp_path / "p.db",
        *[{"id": f"bad-{n}", "name": "Bad", **row} for n, row in enumerate(bad)],
        {"id": "good", "name": "Good", "run_count": "many", "last_run_at": "yesterday"},
        {"id": None, "name": "Nobody"},
    )
    found = root.cli("import", "phantom", str(source), "--json")
    assert found.code == 1
    assert [each["id"] for each in found.json["jobs"]] == ["good"]
    wrong = [each for each in found.json["problems"] if each["severity"] == "error"]
    assert sorted(each["line"] for each in wrong) == [*range(1, 13), 14]
    assert all(each["message"] and each["path"] == str(source) for each in wrong)
    assert root.job("good")["run_count"] == 0
    assert [line for line, code, _ in codes(found.json) if code == "import.fact"] == [13, 13]


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", 5, "is empty"),
        (b"no database at all, but long enough to have a header" * 9, 5, "damaged"),
        (None, 5, "cannot read "),
    ],
)
def test_a_database_that_is_none_changes_nothing(
    root: Root, tmp_path: Path, data: bytes | None, code: int, said: str
) -> None:
    source, before = tmp_path / "p.db", contents(root.path)
    if data is not None:
        source.write_bytes(data)
    found = root.cli("import", "phantom", str(source))
    assert (found.code, found.stdout) == (code, "")
    assert said in found.stderr
    assert contents(root.path) == before


def test_a_damaged_database_and_one_without_jobs_are_refused(root: Root, tmp_path: Path) -> None:
    source = phantom(tmp_path / "p.db", *[{"id": f"j{n}", "name": "x" * 500} for n in range(200)])
    data = bytearray(source.read_bytes())
    data[8192:40960] = b"\x5a" * (40960 - 8192)
    source.write_bytes(data)
    found = root.cli("import", "phantom", str(source))
    assert (found.code, found.stdout) == (5, "")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE x (y)").connection.close()
    found = root.cli("import", "phantom", str(tmp_path / "other.db"))
    assert found.code == 2
    assert "no table scheduled_jobs" in found.stderr


def test_what_phantom_has_just_written_is_read_and_nothing_is_left_beside_its_database(
    root: Root, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    source = phantom(folder / "p.db", {"id": "a", "name": "A"})
    with sqlite3.connect(source, isolation_level=None) as live:
        live.execute("PRAGMA journal_mode = WAL")
        live.execute("UPDATE scheduled_jobs SET run_count = 7")
        before = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
        root.json("import", "phantom", str(source))
        assert {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")} == before
    live.close()
    assert root.job("a")["run_count"] == 7


def test_half_a_transaction_of_a_process_that_is_gone_is_not_read(root: Root, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    source = phantom(folder / "p.db", *[{"id": f"j{n}", "name": f"J {n}", "description": "x" * 900} for n in range(99)])
    write = (
        "import os, sqlite3, sys\n"
        "sql = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "sql.execute('PRAGMA cache_size = 1')\n"
        "sql.execute('BEGIN')\n"
        "sql.execute('UPDATE scheduled_jobs SET run_count = 9, description = NULL')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", write, source], check=True)
    assert source.with_name("p.db-journal").stat().st_size
    before = contents(folder)
    root.json("import", "phantom", str(source))
    assert [root.job(f"j{n}")["run_count"] for n in (0, 50, 98)] == [0, 0, 0]
    assert contents(folder) == before


def test_a_database_that_its_owner_holds_is_said_to_be_locked(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.service.imports.phantom_db.PATIENCE", timedelta(0))
    source = phantom(tmp_path / "p.db", {"id": "a", "name": "A"})
    owner = sqlite3.connect(source, isolation_level=None)
    owner.execute("BEGIN IMMEDIATE")
    assert root.cli("import", "phantom", str(source), "--dry-run").code == 0
    owner.execute("COMMIT")
    owner.execute("BEGIN EXCLUSIVE")
    found = root.cli("import", "phantom", str(source))
    assert (found.code, found.stdout) == (5, "")
    assert "is locked by another process" in found.stderr
    assert "stop Phantom" in found.stderr
    owner.close()


def test_what_is_no_file_is_not_waited_for(root: Root, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.db")
    found = root.cli("import", "phantom", str(tmp_path / "p.db"))
    assert (found.code, found.stdout) == (2, "")
    assert "is not a file" in found.stderr


@pytest.mark.parametrize("made", ["TABLE scheduled_jobs ({}) WITHOUT ROWID", "VIEW scheduled_jobs AS SELECT * FROM x"])
def test_rows_without_numbers_are_counted(root: Root, tmp_path: Path, made: str) -> None:
    with sqlite3.connect(tmp_path / "p.db") as sql:
        sql.execute("CREATE TABLE x (id TEXT PRIMARY KEY, name, schedule_kind, schedule_value, task)")
        sql.execute(
            """INSERT INTO x VALUES ('a', 'A', 'cron', '{"expr": "0 * * * *"}', 'Go'), ('b', 'B', '', '', 'Go')"""
        )
        sql.execute(f"CREATE {made.format('id TEXT PRIMARY KEY, name, schedule_kind, schedule_value, task')}")
        if "TABLE" in made:
            sql.execute("INSERT INTO scheduled_jobs SELECT * FROM x")
    result = root.cli("import", "phantom", str(tmp_path / "p.db"), "--json")
    assert result.code == 1
    found = result.json
    assert [each["id"] for each in found["jobs"]] == ["a"]
    assert (2, "import.schedule", "error") in codes(found)


def test_whoever_syncs_first_a_job_begins_with_its_past(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.sync()
    create = writing.create

    def create_and_sync(*args: Any, **more: Any) -> None:
        create(*args, **more)
        root.cli("sync")  # as a daemon would that has seen the file

    monkeypatch.setattr(writing, "create", create_and_sync)
    source = phantom(tmp_path / "p.db", {"id": "a", "name": "A", "status": "paused", "run_count": 3})
    root.json("import", "phantom", str(source))
    job = root.job("a")
    assert (job["status"], job["run_count"], job["generation"]) == ("paused", 3, 1)
    made = [each["at"] for each in root.json("audit", "a")["audit"] if each["action"] in ("create", "import")]
    assert len(made) == 2
    assert len(set(made)) == 1


def test_what_cannot_be_written_leaves_neither_a_file_nor_a_past(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.sync()
    before, create = files(root), writing.create

    def full(where: Path, path: str, data: bytes, **more: Any) -> None:
        if path.endswith("dead.yaml"):
            raise UnavailableError("the disk is full")
        create(where, path, data, **more)

    source = phantom(tmp_path / "p.db", *rows())
    with monkeypatch.context() as patch:
        patch.setattr(writing, "create", full)
        found = root.cli("import", "phantom", str(source))
    assert (found.code, found.stdout) == (5, "")
    assert files(root) == before
    root.write("jobs/dead.yaml", 'id: dead\nschedule: "@daily"\ntask: x\n')
    root.sync()
    assert (root.job("dead")["run_count"], root.job("dead")["status"]) == (0, "active")
    found = root.json("import", "phantom", str(source))
    assert {each["id"]: each["history"] for each in found["jobs"]}["dead"] == "carried"
    assert (root.job("dead")["run_count"], root.job("dead")["status"]) == (10, "stopped")
    assert files(root)["jobs/dead.yaml"] == b'id: dead\nschedule: "@daily"\ntask: x\n'


def test_files_that_no_sync_could_take_over_are_told_and_taken_over_by_the_next(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.sync()
    source = phantom(tmp_path / "p.db", *rows())

    def full(*_: Any, **__: Any) -> None:
        raise UnavailableError("the disk is full", hint="free some space; nothing was written")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "sync", full)
        result = root.cli("import", "phantom", str(source), "--json")
        assert result.code == 5
        assert root.cli("import", "phantom", str(source)).code == 5
    found = result.json
    assert (found["applied"], found["fault"]) == ("next_sync", "the disk is full")
    assert "`scheduler sync` applies them" in found["why"]
    assert {each["files"] for each in found["jobs"]} == {"written"}
    root.sync()
    assert (root.job("dead")["run_count"], root.job("dead")["status"]) == (10, "stopped")


def test_a_job_with_runs_of_its_own_keeps_its_counters(lived_in: Root, tmp_path: Path) -> None:
    before = lived_in.facts()
    source = phantom(tmp_path / "p.db", {"id": "flaky", "name": "Flaky", "run_count": 9})
    found = lived_in.json("import", "phantom", str(source))
    assert tuple(sorted((code for _, code, _ in codes(found)), reverse=True))[1:] == (
        "import.own-history",
        "import.kept",
    )
    assert lived_in.facts() == before


def test_an_import_that_is_killed_between_two_files_is_finished_by_the_next(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = phantom(tmp_path / "p.db", *rows(), log=LOGGED)
    with monkeypatch.context() as patch:
        patch.setenv("SCHEDULER_CRASH_AT", "edit_between_files")
        assert root.process("import", "phantom", str(source)).code == -signal.SIGKILL
    assert root.process("sync").code == 0
    found = root.json("import", "phantom", str(source))
    assert [each["files"] for each in found["jobs"]] == ["written"] * 5
    assert {each["history"] for each in found["jobs"]} == {"carried"}
    assert (root.job(HEARTBEAT)["run_count"], root.job("dead")["status"]) == (42, "stopped")
    assert root.ok("validate").stdout == ""


@pytest.mark.parametrize("point", ["edit_before_link", "edit_after_link"])
def test_what_a_kill_leaves_beside_a_file_is_gone_after_the_next_import(root: Root, tmp_path: Path, point: str) -> None:
    source = phantom(tmp_path / "p.db", *rows())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEDULER_CRASH_AT", point)
        assert root.process("import", "phantom", str(source)).code == -signal.SIGKILL
    left = [each for each in files(root) if each.endswith(".tmp")]
    assert len(left) == 1
    root.write("prompts/imported/.mine.0123abcd.tmp", "not of an edit")
    root.json("import", "phantom", str(source))
    assert [each for each in files(root) if each.endswith(".tmp")] == ["prompts/imported/.mine.0123abcd.tmp"]
    root.json("update", HEARTBEAT, "--set", "timeout=3m")


def test_a_job_whose_place_is_taken_is_left_out_with_its_past(root: Root, tmp_path: Path) -> None:
    root.write("jobs/imported/dead.yaml", 'id: other\nschedule: "@daily"\ntask: x\n')
    root.write("prompts/imported/often.md", "mine\n")
    found = root.cli("import", "phantom", str(phantom(tmp_path / "p.db", *rows())), "--json")
    states = {each["id"]: (each["files"], each["history"]) for each in found.json["jobs"]}
    assert states["dead"][0] == "written", "another job's file is gone round"
    assert (found.code, states["often"]) == (1, ("left_out", None))
    root.write("jobs/often.yaml", 'id: often\nschedule: "@daily"\ntask: x\n')
    root.sync()
    assert [each["action"] for each in root.json("audit", "often")["audit"]] == ["create"]


# -- crontab -----------------------------------------------------------------------------------

TAB = """\
# What this machine does
MAILTO=ops@example.com
PATH=/usr/local/bin:/usr/bin:/bin
5 0 * * * /bin/a
*/7 9-17 * * mon-fri /bin/b
15,45 */6 1,15 * * /bin/c
30 4 1 * sun /bin/d
0 0 29 2 * /bin/e
@hourly /bin/f
@daily /bin/g
@midnight /bin/h
@weekly /bin/i
@monthly /bin/j
@yearly /bin/k
@annually /bin/l
0-20/10 3 * jan-mar,dec 7 /bin/m
\t10  5\t* * *\t/bin/n  with  spaces
CRON_TZ=America/New_York
0 9 * * 1-5 /bin/o
CRON_TZ=Asia/Kolkata
@daily cat%one%two
30 1 * * * echo 100\\% > /dev/null
"""
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def expected(line: str, zone: str, count: int) -> list[str]:
    """When cron runs a line, by another reader of crontabs."""
    words = line.split()
    expression = MACROS.get(words[0], " ".join(words[:5]))
    start = datetime(2026, 3, 1, 12, tzinfo=UTC).astimezone(ZoneInfo(zone))
    fires = croniter(expression, start)
    return [fires.get_next(datetime).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for _ in range(count)]


def test_next_agrees_with_cron_about_every_line(root: Root, tmp_path: Path) -> None:
    (tmp_path / "tab").write_text(TAB)
    found = root.json("import", "crontab", str(tmp_path / "tab"), "--timezone", "Europe/London")
    lines = TAB.splitlines()
    assert [each["line"] for each in found["jobs"]] == [
        n for n, line in enumerate(lines, 1) if line.strip()[0] in "0123456789*@"
    ]
    zones = {"o": "America/New_York", "cat": "Asia/Kolkata", "echo": "Asia/Kolkata"}
    for job in found["jobs"]:
        fires = root.json("next", job["id"], "-n", "5", "--from", "2026-03-01T12:00:00Z")["fires"]
        zone = zones.get(job["id"], "Europe/London")
        assert [each["fire_time"] for each in fires] == expected(lines[job["line"] - 1], zone, 5), job
        assert {each["timezone"] for each in fires} == {zone}
    assert root.ok("validate").stdout == ""
    before = files(root)
    again = root.json("import", "crontab", str(tmp_path / "tab"), "--timezone", "Europe/London")
    assert {each["files"] for each in again["jobs"]} == {"unchanged"}
    assert files(root) == before
    run = root.run("cat")
    assert (run["status"], run["result"]) == ("succeeded", "one\ntwo\n")


def test_commands_stand_in_the_job_file_where_the_runner_may_run_that(root: Root, tmp_path: Path) -> None:
    (tmp_path / "tab").write_text("# Says hello\n0 3 * * * hello --world\n")
    root.ok("import", "crontab", str(tmp_path / "tab"), "--timezone", "Europe/Berlin")
    assert files(root)["jobs/imported/hello.yaml"].decode() == (
        'id: hello\ndescription: Says hello\nschedule: "0 3 * * *"\n'
        "task_source_path: scripts/imported/hello.sh\nrunner: shell\ntimeout: 1d\n"
    )
    root.edit("scheduler.yaml", '["scripts/**"]', '["scripts/**", "jobs/**"]')
    root.ok("import", "crontab", str(tmp_path / "tab"), "--timezone", "Europe/Berlin", "--to", "jobs/two")
    (tmp_path / "tab").write_text("0 3 * * * bye\n")
    root.ok("import", "crontab", str(tmp_path / "tab"), "--timezone", "Europe/Berlin", "--to", "jobs/two")
    assert files(root)["jobs/two/bye.yaml"].decode() == (
        'id: bye\nschedule: "0 3 * * *"\nrunner: shell\ntimeout: 1d\n'
        "task: |\n  export SHELL=/bin/sh\n  cd  # cron starts in the home folder\n  bye\n"
    )


def test_another_crontab_with_a_line_of_that_name_is_not_taken_for_an_edit(root: Root, tmp_path: Path) -> None:
    tab = tmp_path / "tab"
    tab.write_text("0 3 * * * /bin/hello\n")
    root.ok("import", "crontab", str(tab))
    tab.write_text("0 4 * * * /bin/hello\n")
    found = root.cli("import", "crontab", str(tab), "--json")
    assert (found.code, [(code, severity) for _, code, severity in codes(found.json)][-1]) == (
        0,
        ("import.timeout", "warning"),
    )
    assert ("import.kept", "warning") in [(code, severity) for _, code, severity in codes(found.json)]
    tab.write_text("0 3 * * * /opt/other/hello\n")
    found = root.cli("import", "crontab", str(tab), "--json")
    assert found.code == 1
    assert ("import.kept", "error") in [(code, severity) for _, code, severity in codes(found.json)]


TWO = "0 3 * * * hello\n0 4 * * * bye\n"


def test_an_import_says_how_no_job_comes_to_run_twice(root: Root, tmp_path: Path) -> None:
    tab = tmp_path / "tab"
    tab.write_text(TWO)
    found = root.ok("import", "crontab", str(tab))
    told = found.stderr.splitlines()[-1]
    assert (
        told == "the crontab still runs these jobs: remove its lines (`crontab -e`) before you start `scheduler serve`"
    )
    assert "the crontab still runs" not in root.ok("import", "crontab", str(tab)).stderr, "nothing new"


def test_paused_jobs_fire_only_once_they_are_resumed(root: Root, tmp_path: Path) -> None:
    tab = tmp_path / "tab"
    tab.write_text(TWO)
    found = root.ok("import", "crontab", str(tab), "--paused")
    assert found.stderr.splitlines()[-2:] == [
        "these jobs are paused, and the crontab still runs them: remove its lines (`crontab -e`), then:",
        "  scheduler resume hello bye",
    ]
    job = root.job("hello")
    assert (job["status"], job["paused"]["until"], job["paused"]["by"]) == ("paused", None, job["created_by"])
    assert job["paused"]["reason"] == "imported"
    again = root.json("import", "crontab", str(tab), "--paused")
    assert (again["paused"], {each["history"] for each in again["jobs"]}) == ([], {None})
    root.ok("resume", "hello", "bye")
    assert [root.job(each)["status"] for each in ("hello", "bye")] == ["active", "active"]
    root.json("import", "crontab", str(tab), "--paused")
    assert root.job("hello")["status"] == "active", "what is there already stays as it is"


def test_a_job_that_comes_back_by_an_import_is_paused_too(root: Root, tmp_path: Path) -> None:
    tab = tmp_path / "tab"
    tab.write_text(TWO)
    root.ok("import", "crontab", str(tab))
    root.cli("run", "hello", "--wait")
    root.delete("jobs/imported/hello.yaml", "scripts/imported/hello.sh")
    root.ok("sync")
    found = root.json("import", "crontab", str(tab), "--paused")
    assert found["paused"] == ["hello"]
    assert [each["history"] for each in found["jobs"]] == [None, None]
    assert not [each for each in found["problems"] if each["code"] == "import.own-history"]
    assert (root.job("hello")["status"], root.job("hello")["run_count"]) == ("paused", 1)
    assert root.job("bye")["status"] == "active"


def test_paused_jobs_of_phantom_keep_their_past_and_their_own_pauses(root: Root, tmp_path: Path) -> None:
    found = root.json("import", "phantom", str(phantom(tmp_path / "p.db", *rows(), log=LOGGED)), "--paused")
    assert HEARTBEAT in found["paused"]
    job = root.job(HEARTBEAT)
    assert (job["status"], job["run_count"]) == ("paused", 42)
    (own,) = [each["id"] for each in found["jobs"] if each["id"].startswith("bad-id-")]
    assert root.job(own)["paused"]["reason"] != "imported"


def test_files_alone_are_written_so_that_ids_can_be_changed_before_the_first_sync(root: Root, tmp_path: Path) -> None:
    tab = tmp_path / "tab"
    tab.write_text(TWO)
    found = root.cli("import", "crontab", str(tab), "--no-sync", "--json")
    assert (found.code, found.json["applied"], found.json["live"]) == (0, "next_sync", False)
    assert not root.db.exists()
    told = root.ok(
        "import", "crontab", str(tab), "--no-sync", "--to", "jobs/other", "--prefix", "x-"
    ).stderr.splitlines()[-1]
    assert told == "not synced yet: change ids in these files if you want, then run `scheduler sync`"
    root.edit("jobs/imported/hello.yaml", "id: hello", "id: greeting")
    created = root.sync()["created"]
    assert {"bye", "greeting"} < {*created}
    assert "hello" not in created
    assert root.cli("import", "crontab", str(tab), "--no-sync", "--paused").code == 2


def test_a_prefix_begins_the_ids_of_a_crontab_and_of_nothing_else(root: Root, tmp_path: Path) -> None:
    tab = tmp_path / "tab"
    tab.write_text(TWO)
    found = root.json("import", "crontab", str(tab), "--prefix", "web-")
    assert [(each["id"], each["file"]) for each in found["jobs"]] == [
        ("web-hello", "jobs/imported/web-hello.yaml"),
        ("web-bye", "jobs/imported/web-bye.yaml"),
    ]
    assert {each["files"] for each in root.json("import", "crontab", str(tab), "--prefix", "web-")["jobs"]} == {
        "unchanged"
    }
    for wrong in ("Web", "web ", "-x", "a/b"):
        assert root.cli("import", "crontab", str(tab), f"--prefix={wrong}").code == 2
    assert root.cli("import", "phantom", str(tab), "--prefix", "x").code == 2


def test_a_dry_run_shows_the_ids_that_an_import_would_give(root: Root, tmp_path: Path) -> None:
    (tmp_path / "tab").write_text("@daily su - www -c 'cd /x && ./deploy.sh'\n")
    found = root.ok("import", "crontab", str(tmp_path / "tab"), "--dry-run", "--prefix", "web-", "--paused")
    assert found.stdout.splitlines()[0] == "would write jobs/imported/web-deploy.yaml: web-deploy"
    assert "resume" not in found.stderr


def test_no_imported_job_is_ended_by_the_timeout_of_the_roots_other_jobs(root: Root, tmp_path: Path) -> None:
    (tmp_path / "tab").write_text(TWO)
    found = root.json("import", "crontab", str(tmp_path / "tab"))
    assert root.job("heartbeat")["timeout_ms"] == 5 * 60_000
    assert {root.job(each["id"])["timeout_ms"] for each in found["jobs"]} == {24 * 3_600_000}


def test_no_run_may_import_jobs(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tab").write_text("0 3 * * * hello\n")
    monkeypatch.setenv("SCHEDULER_RUN_ID", "tick:1")
    before = contents(root.path)
    assert root.cli("import", "crontab", str(tmp_path / "tab")).code == 3
    assert root.cli("import", "crontab", str(tmp_path / "tab"), "--dry-run").code == 0
    assert contents(root.path) == before


def test_a_dry_run_says_the_same_and_writes_nothing(root: Root, tmp_path: Path) -> None:
    (tmp_path / "tab").write_text("0 3 * * * hello\n@reboot x\n")
    before = contents(root.path)
    dry = root.cli("import", "crontab", str(tmp_path / "tab"), "--dry-run", "--json")
    assert (dry.code, dry.json["applied"]) == (1, "dry_run")
    assert contents(root.path) == before
    wet = root.cli("import", "crontab", str(tmp_path / "tab"), "--json")
    assert (wet.json["written"], wet.json["problems"]) == (dry.json["written"], dry.json["problems"])


def test_what_stands_in_the_way_is_not_overwritten(root: Root, tmp_path: Path) -> None:
    root.write("scripts/imported/hello.sh", "mine\n")
    (tmp_path / "tab").write_text("0 3 * * * hello\n0 4 * * * bye\n")
    found = root.cli("import", "crontab", str(tmp_path / "tab"), "--json")
    assert found.code == 1
    assert [each["line"] for each in found.json["problems"] if each["code"] == "import.in-the-way"] == [1]
    assert files(root)["scripts/imported/hello.sh"] == b"mine\n"
    assert "jobs/imported/hello.yaml" not in files(root)
    assert "jobs/imported/bye.yaml" in files(root)


def test_five_thousand_lines_become_as_many_jobs_with_names_of_their_own(root: Root, tmp_path: Path) -> None:
    lines = [f"{n % 60} {n % 24} * * * /opt/{n % 700}/task --n {n}" for n in range(5_000)]
    (tmp_path / "tab").write_bytes("\r\n".join(lines).encode())
    found = root.json("import", "crontab", str(tmp_path / "tab"), "--dry-run")
    assert len({each["id"] for each in found["jobs"]}) == len({each["file"] for each in found["jobs"]}) == 5_000


def test_what_has_no_end_is_no_crontab(root: Root) -> None:
    found = root.cli("import", "crontab", "/dev/zero")
    assert (found.code, found.stdout) == (2, "")
    assert "larger than 10,485,760 bytes" in found.stderr


@pytest.mark.parametrize(
    ("zone", "told"), [("Europe/Berlin", "Europe/Berlin"), (":Asia/Tokyo", "Asia/Tokyo"), ("Etc/UTC", "UTC")]
)
def test_the_zone_of_the_machine_is_that_of_its_crontab(zone: str, told: str) -> None:
    assert local_zone({"TZ": zone}) == told


def test_a_zone_that_has_no_name_has_to_be_said(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tab").write_text("0 3 * * * hello\n")
    monkeypatch.setenv("TZ", "CET-1CEST")
    found = root.cli("import", "crontab", str(tmp_path / "tab"))
    assert (found.code, "--timezone" in found.stderr) == (2, True)


def test_a_root_without_a_shell_is_told_what_to_add(root: Root, tmp_path: Path) -> None:
    (tmp_path / "tab").write_text("0 3 * * * hello\n")
    before = contents(root.path)
    found = root.cli("import", "crontab", str(tmp_path / "tab"), "--runner", "agent")
    assert (found.code, "is not a shell" in found.stderr, "runners: {shell" in found.stderr) == (2, True, True)
    found = root.cli("import", "phantom", str(phantom(tmp_path / "p.db", *rows())), "--runner", "shell")
    assert (found.code, "as scripts" in found.stderr) == (2, True)
    assert contents(root.path) == before


# -- export ------------------------------------------------------------------------------------


def another(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """An empty root with the same scheduler.yaml."""
    folder.mkdir()
    (folder / "scheduler.yaml").write_bytes((root.path / "scheduler.yaml").read_bytes())
    monkeypatch.chdir(folder)
    return Root(path=folder, clock=root.clock)


def exported(root: Root, path: Path, *args: str) -> Path:
    path.write_text(root.ok("export", *(args or ("--all",))).stdout)
    return path


def test_jobs_counters_and_runs_are_the_same_after_a_way_through_an_export(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lived_in
    root.edit("scheduler.yaml", "runners:\n", "channels: {slack-C0123: {command: [cat]}}\nrunners:\n")
    root.json("import", "phantom", str(phantom(tmp_path / "p.db", *rows(), log=LOGGED)))
    assert root.job(HEARTBEAT)["deliver"] == ["slack-C0123"]
    root.edit("prompts/imported/hourly-heartbeat.md", "inbox", "outbox")
    root.run(HEARTBEAT)
    root.edit("jobs/heartbeat.md", "Hourly heartbeat", "Another name")
    root.ok("pause", "triage", "--reason", "enough")
    root.sync()
    root.clock.advance(timedelta(minutes=1))
    root.run("heartbeat")
    before = root.facts()
    audit = {each: root.json("audit", each)["audit"] for each in before}
    assert any(row["commit"] for row in audit["heartbeat"])
    text = root.ok("task", f"{HEARTBEAT}:1").stdout
    source = exported(root, tmp_path / "jobs.jsonl")
    there = another(root, tmp_path / "there", monkeypatch)
    found = there.json("import", "export", str(source))
    assert (found["problems"], found["applied"]) == ([], "now")
    after = there.facts()
    for facts, runs in (*before.values(), *after.values()):
        del facts["activated_at"]  # since when it is in force there
        for run in runs:
            del run["deliveries"]  # messages stay where they are sent from
        if facts["id"] == "tick":
            del facts["next_run_at"]  # the slots that nobody served here are not due there
    assert after == before
    assert there.ok("task", f"{HEARTBEAT}:1").stdout == text
    for job_id, rows_before in audit.items():
        told = [each for each in there.json("audit", job_id)["audit"] if each["cause"] != "import"]
        assert told == [each for each in rows_before if each["cause"] != "import"]
    assert {path: data for path, data in files(root).items() if path in files(there)} == files(there)
    gone = there.cli("output", f"{HEARTBEAT}:1")
    assert (gone.code, f"`scheduler history {HEARTBEAT} --json` still has its beginning" in gone.stderr) == (5, True)
    # It goes on where it was, and a second time nothing happens.
    assert there.run(HEARTBEAT)["id"] == f"{HEARTBEAT}:2"
    facts, kept = there.facts(), files(there)
    assert {each["files"] for each in there.json("import", "export", str(source))["jobs"]} == {"unchanged"}
    assert (there.facts(), files(there)) == (facts, kept)
    assert there.json("sync")["updated"] == []


def test_one_document_of_several_is_exported_alone_and_gets_into_another_folder(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = exported(lived_in, tmp_path / "jobs.jsonl", "tick", "retired")
    there = another(lived_in, tmp_path / "there", monkeypatch)
    there.json("import", "export", str(source), "--to", "jobs/here")
    assert list(files(there)) == ["scheduler.yaml", "jobs/here/clock.yaml"]
    assert sorted(there.facts()) == ["retired", "tick"]


def test_a_file_of_several_jobs_comes_back_to_the_byte(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (f'id: {each}  # it\nschedule: "0 5 * * *"\nrunner: agent\ntask: Go.\n' for each in ("one", "two"))
    text = f"# Both of them.\n\n---\n# The first.\n{one}# Behind it.\n---\n# The second.\n{two}# The end.\n"
    root.write("jobs/both.yaml", text)
    root.sync()
    source = exported(root, tmp_path / "jobs.jsonl", "two", "one")
    there = another(root, tmp_path / "there", monkeypatch)
    assert there.json("import", "export", str(source))["problems"] == []
    assert files(there)["jobs/both.yaml"].decode() == text


def test_what_an_agents_run_was_comes_through_an_export(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lived_in
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/claude"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{WHOLE['claude'][1].decode()}\nEND\n")
    program.chmod(0o755)
    root.edit("scheduler.yaml", "runners:\n", f"runners:\n  claude: {{command: [{program}], input: stdin}}\n")
    root.write("jobs/asks.yaml", "id: asks\nschedule: manual\nrunner: claude\ntask: Look.\n")
    root.sync()
    root.run("asks")
    (told,) = root.runs("asks")
    assert (told["end_class"], told["cost_usd"], bool(told["tokens"])) == ("ok", 0.0423, True)
    source = exported(root, tmp_path / "jobs.jsonl")
    there = another(root, tmp_path / "there", monkeypatch)
    there.json("import", "export", str(source))
    assert there.runs("asks") == [told]


def test_an_archived_job_comes_with_its_history_and_its_file_revives_it(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lived_in
    text = files(root)["jobs/heartbeat.md"]
    (root.path / "jobs/heartbeat.md").unlink()
    assert root.sync()["archived"]
    source = exported(root, tmp_path / "jobs.jsonl", "heartbeat")
    assert any(json.loads(line).get("id") == "heartbeat" for line in root.ok("export", "--all").stdout.splitlines())
    there = another(root, tmp_path / "there", monkeypatch)
    assert there.json("import", "export", str(source), "--dry-run")["jobs"][0]["files"] == "archived"
    assert there.json("list")["jobs"] == []
    found = there.json("import", "export", str(source))
    assert [(each["file"], each["files"], each["history"]) for each in found["jobs"]] == [(None, "archived", "carried")]
    assert (found["problems"], found["applied"], found["written"]) == ([], "now", [])
    before, after = root.facts()["heartbeat"], there.facts()["heartbeat"]
    for facts, _ in (before, after):
        del facts["activated_at"]
    assert after == before
    assert (after[0]["status"], len(after[1]) > 0) == ("archived", True)
    assert there.json("import", "export", str(source))["jobs"][0]["history"] == "already"
    assert there.json("sync")["archived"] == []
    there.write("jobs/heartbeat.md", text)
    assert there.json("sync")["revived"]
    assert there.runs("heartbeat")[0]["id"] == before[1][0]["id"]


def test_the_history_of_an_archived_job_goes_to_the_file_that_names_it_here(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lived_in
    text = files(root)["jobs/heartbeat.md"]
    (root.path / "jobs/heartbeat.md").unlink()
    root.sync()
    source = exported(root, tmp_path / "jobs.jsonl", "heartbeat")
    there = another(root, tmp_path / "there", monkeypatch)
    there.write("jobs/heartbeat.md", text)
    found = there.json("import", "export", str(source))
    assert [(each["file"], each["files"]) for each in found["jobs"]] == [("jobs/heartbeat.md", "kept")]
    assert there.job("heartbeat")["status"] == "active"
    assert there.runs("heartbeat")[0]["id"] == root.runs("heartbeat")[0]["id"]


def test_a_job_that_stands_in_another_file_here_is_not_claimed_by_a_second_one(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = exported(lived_in, tmp_path / "jobs.jsonl", "tick", "retired")
    there = another(lived_in, tmp_path / "there", monkeypatch)
    there.write("jobs/mine.yaml", 'id: tick\nschedule: "0 5 * * *"\nrunner: agent\ntask: Go.\n')
    there.sync()
    found = there.json("import", "export", str(source))
    assert [(each["id"], each["file"], each["files"]) for each in found["jobs"]] == [
        ("tick", "jobs/mine.yaml", "kept"),
        ("retired", "jobs/clock.yaml", "written"),
    ]
    assert (found["applied"], [code for _, code, _ in codes(found)]) == ("now", ["import.kept"])
    assert {each["sync_state"] for each in there.json("list")["jobs"]} == {"synced"}


def test_files_of_one_name_from_several_folders_get_names_of_their_own_in_one(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):
        root.write(
            f"jobs/{folder}/x.md", f'---\nid: {folder}\nschedule: "0 5 * * *"\nrunner: agent\n---\nGo {folder}.\n'
        )
    root.sync()
    source = exported(root, tmp_path / "jobs.jsonl", "a", "b")
    there = another(root, tmp_path / "there", monkeypatch)
    found = there.json("import", "export", str(source), "--to", "jobs/here")
    assert len({each["file"] for each in found["jobs"]}) == 2
    assert sorted(there.facts()) == ["a", "b"]
    assert {each["files"] for each in there.json("import", "export", str(source), "--to", "jobs/here")["jobs"]} == {
        "unchanged"
    }
    for folder in ("../x", "elsewhere"):
        assert there.cli("import", "export", str(source), "--to", folder).code == 2


def test_other_defaults_make_another_generation_and_are_told(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = exported(lived_in, tmp_path / "jobs.jsonl", "heartbeat")
    there = another(lived_in, tmp_path / "there", monkeypatch)
    there.edit("scheduler.yaml", "timeout: 5m", "timeout: 6m")
    assert [code for _, code, _ in codes(there.json("import", "export", str(source)))] == ["import.definition"]
    assert (there.job("heartbeat")["generation"], there.runs("heartbeat")[0]["generation"]) == (2, 1)


def test_an_export_that_is_cut_off_or_changed_is_refused_whole(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = exported(lived_in, tmp_path / "jobs.jsonl").read_text().splitlines(keepends=True)
    there = another(lived_in, tmp_path / "there", monkeypatch)
    before = contents(there.path)

    def changed(kind: str, **more: Any) -> list[str]:
        n = next(n for n, line in enumerate(good) if json.loads(line)["kind"] == kind)
        return [*good[:n], json.dumps({**json.loads(good[n]), **more}) + "\n", *good[n + 1 :]]

    bad = [
        [],
        good[:-1],
        good[:5],
        good[1:],
        [*good[:3], *good[4:]],
        [*good, good[1]],
        [*good[:-1], good[1], good[-1]],
        changed("export", format=2),
        changed("text", text="another"),
        changed("run", status="running"),
        changed("run", n=99),
        changed("run", generation=9),
        changed("run", requested_at="yesterday"),
        changed("definition", digest="0" * 64),
        changed("job", facts={}),
        changed("run", error="\ud800"),
        changed("audit", after=["\ud800"]),
        changed("definition", spec={"env": []}),
        [line for line in good[:-1] for line in ([line, line] if '"kind": "run"' in line else [line])] + good[-1:],
        ["[" * 100_000],
        changed("job", archived={"at": "yesterday"}),
        changed("job", file={"path": "../x.yaml", "text": "", "number": 0, "task_path": None, "task": None}),
    ]
    for number, lines in enumerate(bad):
        (tmp_path / "bad.jsonl").write_text("".join(lines))
        found = there.cli("import", "export", str(tmp_path / "bad.jsonl"))
        assert (number, found.code, found.stdout) == (number, 2, "")
        assert "bad.jsonl:" in found.stderr
    assert contents(there.path) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task_path": "CLAUDE.md"}, "has a task for 'CLAUDE.md', but its job file names 'prompts/triage.md'"),
        ({"task_path": "scheduler.yaml"}, "has a task for 'scheduler.yaml'"),
        ({"task_path": None}, "has a task for None"),
        ({"task": {"text": "x" * 300_000}}, "its task has 300,000 bytes; the limit is 262,144"),
    ],
    ids=["another file", "the settings", "none", "too long"],
)
def test_a_task_that_the_job_file_does_not_name_or_that_is_too_long_is_not_written(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str
) -> None:
    source = exported(lived_in, tmp_path / "jobs.jsonl", "triage")
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    next(line for line in lines if line["kind"] == "job")["file"].update(change)
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    there = another(lived_in, tmp_path / "there", monkeypatch)
    done = there.cli("import", "export", str(source), "--json")
    assert done.code == 1
    assert any(why in problem["message"] for problem in done.json["problems"])
    assert list(files(there)) == ["scheduler.yaml"]
    assert files(there) == {"scheduler.yaml": files(lived_in)["scheduler.yaml"]}


@pytest.mark.parametrize("archived", [False, True])
def test_a_text_of_a_past_run_that_is_too_long_leaves_its_job_out_and_no_other_and_can_be_imported_later(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archived: bool
) -> None:
    root = lived_in
    root.write("prompts/triage.md", "x" * 2_000)
    root.sync()
    run = root.run("triage")
    root.write("prompts/triage.md", "Sort the inbox.\n")
    if archived:
        root.delete("jobs/triage.yaml")
    root.sync()
    source = exported(root, tmp_path / "jobs.jsonl", "triage", "heartbeat")
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    line = next(n for n, each in enumerate(lines, 1) if each["kind"] == "text" and len(each["text"]) == 2_000)
    there = another(root, tmp_path / "there", monkeypatch)
    there.write("scheduler.yaml", (there.path / "scheduler.yaml").read_text() + "limits: {task_bytes: 1KiB}\n")
    done = there.cli("import", "export", str(source), "--json")
    assert done.code == 1
    (problem,) = done.json["problems"]
    assert (problem["line"], problem["code"], problem["job_id"]) == (line, "import.task", "triage")
    assert problem["message"] == (
        f"the task text of {run['id']} has 2,000 bytes; the limit is 1,024; triage was left out, with its history"
    )
    assert problem["hint"] == "raise limits.task_bytes in scheduler.yaml to 2000B or more, and import again"
    assert there.runs("heartbeat")[0]["id"] == root.runs("heartbeat")[0]["id"]
    assert there.cli("show", "triage").code == 2
    there.edit("scheduler.yaml", "1KiB", "2000B")
    assert there.json("import", "export", str(source))["problems"] == []
    assert there.runs("triage")[0]["id"] == run["id"]


def test_what_the_settings_of_this_root_let_run_and_change_the_jobs_that_come_is_said(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = exported(lived_in, tmp_path / "jobs.jsonl", "flaky", "triage", "heartbeat")
    there = another(lived_in, tmp_path / "there", monkeypatch)
    text = (there.path / "scheduler.yaml").read_text()
    there.write("scheduler.yaml", text + "agents: {jobs: ['tag:agent'], verbs: [update, run]}\n")
    dry = there.ok("import", "export", str(source), "--dry-run").stderr
    assert "runner agent (cat; any task) would run " in dry
    assert "runner shell (sh -eu {task_file}; tasks scripts/**) would run flaky" in dry
    assert "agents could update, run: " in dry
    found = there.json("import", "export", str(source))
    assert [(each["name"], each["tasks"], sorted(each["jobs"])) for each in found["runners"]] == [
        ("agent", None, ["heartbeat", "triage"]),
        ("shell", ["scripts/**"], ["flaky"]),
    ]
    assert found["agents"]["verbs"] == ["update", "run"]
    assert sorted(found["agents"]["jobs"]) == ["heartbeat", "triage"]
    again = there.json("import", "export", str(source))
    assert (again["runners"], again["agents"]) == ([], None), "nothing came"
