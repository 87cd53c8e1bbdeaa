"""Three in the morning: what failed and why, what runs, who ran it, is anybody needed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.group import RunType, SomeOf
from scheduler.core.values.problems import UnavailableError
from scheduler.service.root import Root as ServiceRoot
from tests.faces.conftest import Root
from tests.fakes import FakeClock
from tests.helpers import REPOSITORY


def was_there(root: Root, *, over: bool = False, once: bool = False) -> None:
    """A daemon served this database a minute ago, and is gone."""
    at = (root.clock.now() - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    root.sql(
        "INSERT INTO lives (owner, began_at, seen_at, over, once)"
        f" VALUES ('1-a', '{at}', '{at}', {int(over)}, {int(once)})"
    )


def check(root: Root, name: str) -> list[tuple[str, str]]:
    found = root.cli("doctor", "--json").json["checks"]
    return [(each["status"], each["message"]) for each in found if each["name"] == name]


# -- history -------------------------------------------------------------------------------------


@pytest.fixture
def night(root: Root) -> Root:
    """A night: one job succeeds, one fails at one, at two, one could not start at three, one was skipped benignly."""
    root.sync()
    root.clock.advance(timedelta(minutes=60))
    root.run("heartbeat")
    for _ in range(2):
        root.clock.advance(timedelta(minutes=60))
        root.cli("run", "flaky", "--wait")
    root.clock.advance(timedelta(minutes=60))
    root.delete("prompts/triage.md")
    root.cli("run", "triage", "--wait")
    root.write("prompts/triage.md", "Back.\n")
    root.ok("pause", "tick")
    root.clock.advance(timedelta(minutes=1))
    root.cli("serve", "--once", "-q")
    return root


def ids(found: Any) -> list[str]:
    return [run["id"] for run in found["runs"]]


def test_history_without_a_job_is_of_all_jobs_newest_first(night: Root) -> None:
    found = ids(night.json("history"))
    assert found.index("triage:1") < found.index("flaky:2") < found.index("flaky:1") < found.index("heartbeat:1")
    assert {each.partition(":")[0] for each in found} >= {"tick", "triage", "flaky", "heartbeat"}


def test_which_of_my_jobs_failed_last_night_is_one_command(night: Root) -> None:
    assert ids(night.json("history", "--failed")) == ["triage:1", "flaky:2", "flaky:1"]
    assert ids(night.json("history", "--failed", "--since", "-90m")) == ["triage:1", "flaky:2"]
    assert ids(night.json("history", "--failed", "--since", "90m")) == ["triage:1", "flaky:2"]
    assert ids(night.json("history", "flaky", "--since", "90m")) == ["flaky:2"]
    assert ids(night.json("history", "--status", "succeeded"))[-1] == "heartbeat:1"
    shown = night.ok("history", "--failed").stdout
    assert "exit code 3: to the other stream" in shown
    assert "source_missing" in shown


def test_history_says_where_it_ends_and_what_it_did_not_find(night: Root) -> None:
    cut = night.ok("history", "--failed", "-n", "2")
    assert "only the newest 2; -n shows more" in cut.stderr
    assert night.json("history", "--failed", "-n", "2")["more"] is True
    assert night.json("history", "--failed", "-n", "3")["more"] is False
    assert "no such runs" in night.ok("history", "--failed", "--since", "-1s").stderr
    assert night.cli("history", "--since", "yesterdaj").code == 2


def test_history_is_cut_at_fifty_rows_unless_more_are_asked_for(lived_in: Root) -> None:
    columns = "n, requested_at, started_at, finished_at"
    lived_in.sql(
        f'INSERT INTO runs (job_id, {columns}, "trigger", status, generation)'
        " WITH RECURSIVE c(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM c WHERE x < 61)"
        " SELECT 'heartbeat', x, at, at, at, 'manual', 'succeeded', 1 FROM c, (SELECT '2026-03-02T08:32:30.000000Z' at)"
    )
    assert len(lived_in.json("history", "heartbeat")["runs"]) == 50
    assert len(lived_in.json("history", "heartbeat", "-n", "100")["runs"]) == 61
    assert len(lived_in.json("history")["runs"]) == 50


def test_history_of_a_root_never_synced_is_empty_and_says_so(root: Root) -> None:
    found = root.ok("history")
    assert (found.stdout, "never been synced" in found.stderr) == ("", True)
    assert root.json("history") == {"runs": [], "more": False}


def test_history_and_show_name_whoever_ran_it_by_hand(lived_in: Root) -> None:
    lived_in.sql("UPDATE runs SET requested_by = 'user:nina'")
    assert "manual nina" in lived_in.ok("history", "heartbeat").stdout
    assert "run by nina" in lived_in.ok("show", "heartbeat:1").stdout
    assert "by nina" in lived_in.ok("log", "heartbeat").stdout


@pytest.mark.parametrize("job", [None, "busy"])
@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize("since", [True, False])
def test_no_history_scans_the_whole_ledger(lived_in: Root, job: str | None, failed: bool, since: bool) -> None:
    from scheduler.ledger import queries
    from scheduler.ledger.store import Store

    asked: list[str] = []
    with Store.open(lived_in.db) as store, store.reading() as sql:
        sql.set_trace_callback(asked.append)
        queries.recent_runs(sql, job_id=job, failed=failed, since=lived_in.clock.now() if since else None, limit=50)
        queries.active_runs(sql)
        sql.set_trace_callback(None)
        plans = [sql.execute(f"EXPLAIN QUERY PLAN {each}").fetchall() for each in asked if "FROM runs" in each]
    details = [row["detail"] for plan in plans for row in plan]
    assert len(plans) == 2 + (since and job is not None)  # how many rows there are since then
    used = ("USING INDEX", "COVERING INDEX", "PRIMARY KEY", "TEMP B-TREE", "subquery")
    assert all(any(word in each for word in used) for each in details), details
    if failed and job is None:
        assert "runs_failed" in details[0], details


# -- one run -------------------------------------------------------------------------------------


def test_show_of_a_run_says_why_who_how_it_ended_and_what_it_wrote_last(lived_in: Root) -> None:
    found = lived_in.json("show", "flaky:1")
    assert found["run"]["error"] == "exit code 3: to the other stream"
    assert found["last_lines"] == {"stdout": ["out of luck"], "stderr": ["to the other stream"]}
    assert found["why"].startswith("run by ")
    shown = lived_in.ok("show", "flaky:1").stdout
    for word in ("failed/exit_code", "exit code    3", "to the other stream", "scripts/flaky.sh"):
        assert word in shown, shown
    unknown = lived_in.cli("show", "flaky:7")
    assert (unknown.code, "its newest run is flaky:1" in unknown.stderr) == (2, True)


def test_show_of_a_run_whose_output_is_gone_says_so(lived_in: Root) -> None:
    for file in (lived_in.path / ".scheduler/runs").rglob("*"):
        if file.is_file():
            file.unlink()
    found = lived_in.ok("show", "flaky:1")
    assert "the output has been deleted" in found.stderr


def test_what_a_run_printed_steers_no_terminal_wherever_it_is_shown(root: Root) -> None:
    root.write("scripts/flaky.sh", "printf '\\033]0;owned\\007\\033[31mbad\\033[0m\\033[2J news\\n' >&2; exit 1\n")
    root.sync()
    root.cli("run", "flaky", "--wait")
    for args in (("show", "flaky:1"), ("history",), ("list",), ("status",), ("show", "flaky")):
        found = root.cli(*args)
        assert "\x1b" not in found.stdout + found.stderr
    assert root.job("flaky")["last_run_error"] == "exit code 1: bad news"


def test_the_newest_run_goes_by_the_name_of_its_job(lived_in: Root) -> None:
    lived_in.delete("scripts/flaky.sh")
    lived_in.cli("run", "flaky", "--wait")  # a skip: it has written nothing
    found = lived_in.ok("output", "flaky")
    assert (found.stdout, found.stderr) == ("out of luck\n", "to the other stream\n")
    assert lived_in.json("output", "flaky")["run_id"] == "flaky:1"
    never = lived_in.cli("output", "triage")
    assert (never.code, "job 'triage' has not run yet" in never.stderr) == (2, True)
    assert "did you mean 'flaky'" in lived_in.cli("output", "flakky").stderr


def test_the_task_of_a_job_is_the_text_that_it_would_get_now(lived_in: Root) -> None:
    assert lived_in.ok("task", "heartbeat").stdout == "You are woken once an hour.\n"
    lived_in.write("prompts/triage.md", "Sort it, saved a moment ago.\n")
    assert lived_in.ok("task", "triage").stdout == "Sort it, saved a moment ago.\n"
    found = lived_in.json("task", "triage")
    assert (found["run_id"], found["source_path"], found["dirty"]) == (None, "prompts/triage.md", "modified")
    lived_in.delete("prompts/triage.md")
    gone = lived_in.cli("task", "triage")
    assert (gone.code, "[source_missing]" in gone.stderr) == (3, True)
    lived_in.delete("jobs/flaky.yaml")
    lived_in.cli("sync")
    archived = lived_in.cli("task", "flaky")
    assert (archived.code, "versions flaky" in archived.stderr) == (3, True)


def test_completion_offers_jobs_and_after_a_colon_their_runs(lived_in: Root) -> None:
    import click

    from scheduler.cli.group import cli

    context = click.Context(cli, info_name="scheduler")
    show = next(each for each in cli.commands["show"].params if each.name == "job")
    assert isinstance(show.type, RunType)
    words = [each.value for each in show.type.shell_complete(context, show, "fl")]
    assert words == ["flaky"]
    assert [each.value for each in show.type.shell_complete(context, show, "flaky:")] == ["flaky:1"]
    status = next(each for each in cli.commands["list"].params if each.name == "status")
    assert isinstance(status.type, SomeOf)
    assert "active,running" in [each.value for each in status.type.shell_complete(context, status, "active,ru")]


# -- list ----------------------------------------------------------------------------------------


def test_list_takes_several_statuses_and_the_filters_running_and_failing(lived_in: Root) -> None:
    def listed(statuses: str) -> list[str]:
        return [job["id"] for job in lived_in.json("list", "--status", statuses)["jobs"]]

    assert listed("failing") == ["flaky"]
    assert listed("disabled,failing") == ["flaky", "retired"]
    assert listed("running") == []
    lived_in.sql("UPDATE runs SET status = 'running', finished_at = NULL WHERE job_id = 'heartbeat'")
    assert listed("running, failing") == ["flaky", "heartbeat"]
    found = lived_in.json("list")["summary"]
    assert (found["running"], found["failing"]) == (1, 1)


def test_list_shows_since_when_a_job_runs(lived_in: Root) -> None:
    assert "RUNNING" not in lived_in.ok("list").stdout
    lived_in.sql("UPDATE runs SET status = 'running', finished_at = NULL WHERE job_id = 'heartbeat'")
    header, *rows = lived_in.ok("list").stdout.splitlines()
    assert "RUNNING" in header
    (row,) = [row for row in rows if row.startswith("heartbeat")]
    assert row[header.index("RUNNING") :].startswith("2m ")


def test_list_says_that_the_newest_slot_could_not_start(lived_in: Root) -> None:
    lived_in.delete("scripts/flaky.sh")
    lived_in.clock.advance(timedelta(minutes=1))
    lived_in.cli("run", "flaky", "--wait")
    lived_in.clock.advance(timedelta(seconds=20))
    (row,) = [row for row in lived_in.ok("list").stdout.splitlines() if row.startswith("flaky")]
    assert "skipped: source_missing 20s ago" in row
    assert "failed" not in row.replace("failing", "")


# -- the daemon ----------------------------------------------------------------------------------


@pytest.mark.parametrize("over", [False, True])
def test_a_daemon_that_is_gone_is_an_error_everywhere_and_at_once(lived_in: Root, over: bool) -> None:
    was_there(lived_in, over=over)
    said = "the daemon was stopped at" if over else "the daemon is dead, last seen at"
    first = lived_in.ok("list").stderr.splitlines()[0]
    assert first.startswith(f"error: {said} 2026-03-02 09:32:00 Europe/Berlin: no job fires; run `scheduler serve`"), (
        first
    )
    assert lived_in.json("list")["troubles"][0].startswith(said)
    assert lived_in.json("list")["daemon"]["state"] == ("stopped" if over else "dead")
    ((severity, message),) = check(lived_in, "daemon")
    assert (severity, message.startswith(said)) == ("error", True)
    assert lived_in.cli("doctor").code == 1
    status = lived_in.cli("status", "--exit-code")
    assert (status.code, said in status.stdout) == (1, True)
    for command in ("list", "doctor", "status"):
        found = lived_in.cli(command)
        assert "all is well" not in found.stdout + found.stderr


def test_without_a_job_to_fire_nobody_misses_the_daemon(root: Root) -> None:
    for path in ("jobs/heartbeat.md", "jobs/triage.yaml", "jobs/flaky.yaml"):
        root.delete(path)
    root.write("jobs/clock.yaml", "id: retired\nenabled: false\nschedule: {every: 1h30m}\ntask: Nothing.\n")
    root.sync()
    was_there(root)
    assert [status for status, _ in check(root, "daemon")] == ["warning"]
    assert root.cli("status", "--exit-code").code == 0
    assert "error" not in root.ok("list").stderr


def test_where_no_daemon_ever_was_it_is_not_serving_yet(root: Root) -> None:
    assert check(root, "daemon") == [("warning", "not serving yet: no daemon has run here")]
    root.sync()
    assert check(root, "daemon") == [("warning", "not serving yet: no daemon has run here, so no job fires")]
    assert "all is well" not in root.cli("doctor").stdout
    assert root.ok("list").stderr.startswith("not serving yet: ")
    assert root.json("list")["troubles"] == []
    assert root.cli("status", "--exit-code").code == 1, "a monitor must not be content with a root that nobody serves"


def test_who_serves_once_by_a_timer_has_no_dead_daemon(lived_in: Root) -> None:
    assert lived_in.cli("serve", "--once", "-q").code == 0
    ((status, message),) = check(lived_in, "daemon")
    assert (status, "`serve --once` ran last, at " in message) == ("warning", True)
    assert lived_in.json("list")["troubles"] == []
    assert lived_in.json("status")["attention"] == ["1 failing"]


# -- status --------------------------------------------------------------------------------------


def test_status_of_a_root_that_is_well_asks_for_nobody(root: Root) -> None:
    root.sync()
    was_there(root, over=True, once=True)
    found = root.json("status")
    assert (found["healthy"], found["exit_code"], found["attention"]) == (True, 0, [])
    assert [each["job_id"] for each in found["next"]][:2] == ["tick", "heartbeat"]
    assert root.cli("status", "--exit-code").code == 0
    assert root.ok("status").stdout.splitlines()[-1] == "nothing needs attention"


def test_status_has_what_runs_and_what_fails_with_the_reason(lived_in: Root) -> None:
    lived_in.sql("UPDATE runs SET status = 'running', finished_at = NULL WHERE job_id = 'heartbeat'")
    found = lived_in.json("status")
    assert [(each["id"], each["trigger"]) for each in found["running"]] == [("heartbeat:1", "manual")]
    assert [(each["id"], each["run"], each["error"]) for each in found["failing"]] == [
        ("flaky", "flaky:1", "exit code 3: to the other stream")
    ]
    assert found["summary"]["failing"] == 1
    assert "1 failing" in found["attention"]
    assert lived_in.ok("status").code == 0, "without --exit-code it only tells"
    assert lived_in.cli("status", "--exit-code").code == 1
    assert lived_in.cli("status", "--exit-code", "--json").code == 1


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (lambda root: root.sql("UPDATE jobs SET stopped_at = updated_at WHERE id = 'tick'"), "1 stopped"),
        (lambda root: root.write("jobs/triage.yaml", "id: triage\nshedule: 1\n"), "1 on the last good definition"),
        (lambda root: root.write("jobs/new.yaml", "id: new\nshedule: 1\n"), "3 errors in the files"),
        (lambda root: root.clock.advance(timedelta(hours=2)), "2 overdue"),
    ],
)
def test_each_thing_that_needs_a_person_is_named(root: Root, trouble: Callable[[Root], None], said: str) -> None:
    root.sync()
    was_there(root, over=True, once=True)
    trouble(root)
    root.cli("sync")
    assert said in root.json("status")["attention"]
    assert root.cli("status", "--exit-code").code == 1


def test_status_fits_one_screen_however_much_there_is(root: Root) -> None:
    for i in range(40):
        root.write(f"jobs/n{i:02}.yaml", f"id: n{i:02}\nschedule: '@daily'\ntask: x\n")
    root.sync()
    root.sql("UPDATE jobs SET consecutive_errors = 1 WHERE id GLOB 'n[0-9]*'")
    found = root.ok("status").stdout.splitlines()
    assert len(found) <= 24
    assert "         and 35 more: scheduler list --status failing" in found, "\n".join(found)


def test_status_of_a_root_never_synced_says_so_and_has_the_jobs_of_its_files(root: Root) -> None:
    found = root.ok("status")
    assert "this root has never been synced" in found.stdout
    assert "nothing needs attention" not in found.stdout
    told, listed = root.json("status"), root.json("list")
    assert (told["summary"]["total"], told["summary"]["active"]) == (len(listed["jobs"]), listed["summary"]["active"])
    assert told["attention"] == ["no daemon is running", "never synced"]
    assert [each["job_id"] for each in told["next"]][:2] == ["tick", "heartbeat"]
    assert root.cli("status", "--exit-code").code == 1
    assert not root.db.exists()


def test_a_daemon_that_does_not_answer_is_told_once(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object, **__: object) -> None:
        raise UnavailableError("the daemon does not answer", hint="restart it")

    monkeypatch.setattr(ServiceRoot, "daemon", silent)
    text = lived_in.ok("status").stdout
    assert text.count("the daemon does not answer") == 2, text  # in its row, and as what needs a person
    assert "trouble" not in text


def test_status_says_that_the_guard_holds_jobs_and_does_not_call_them_invalid(lived_in: Root) -> None:
    for path in ("jobs/heartbeat.md", "jobs/triage.yaml", "jobs/flaky.yaml", "jobs/clock.yaml"):
        lived_in.delete(path)
    assert lived_in.cli("sync").code == 3
    found = lived_in.json("status")
    assert (found["summary"]["guarded"], found["summary"]["invalid"]) == (6, 0)
    assert "6 held by the guard" in found["attention"]
    text = lived_in.ok("status").stdout
    assert ", 6 held by the guard" in text
    assert "invalid" not in text
    assert "`scheduler sync` names the ways out" in text


# -- at 80 columns -------------------------------------------------------------------------------


def on_terminal(root: Root, *args: str, columns: int = 80) -> list[str]:
    """What a command shows on a terminal of that width, line by line; without its talk."""
    ours, its_own = pty.openpty()
    fcntl.ioctl(its_own, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler", *args],
        cwd=root.path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"},
        stdout=its_own,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_own)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
        while found := os.read(ours, 65536):
            shown += found
    os.close(ours)
    process.wait()
    return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def eventful(root: Root) -> Root:
    """With long names, several authors and texts, and failures."""
    root.sync()
    for text in ("exit 3", "echo psql: could not connect to server: connection refused >&2; exit 2", "exit 0"):
        root.clock.advance(timedelta(minutes=7))
        root.write("scripts/flaky.sh", text + "\n")
        root.git("add", "-A")
        author = "Bartholomew Featherstonehaugh <b@example.com>"
        root.git("commit", "-qm", "Make the flaky job a little less flaky than before", f"--author={author}")
        root.sync()
        root.cli("run", "flaky", "--wait")
    root.edit("jobs/heartbeat.md", '"0 * * * *"', '"*/20 * * * *"')
    root.sync()
    was_there(root)
    return root


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ("list", "succeeded 2"),
        ("history", "TRIGGER"),
        ("history flaky --failed", "exit code 2: ps"),
        ("audit", "BY"),
        ("audit flaky", "BY"),
        ("log flaky", "exit_code"),
        ("log heartbeat", "schedule cron 0 * * * *"),
        ("versions flaky", "SUCCESS"),
        ("next", "Europe/Berlin"),
        ("status", "needs attention"),
        ("doctor", "error"),
    ],
)
def test_at_80_columns_no_line_wraps_and_what_matters_is_left(eventful: Root, command: str, needs: str) -> None:
    shown = on_terminal(eventful, *command.split())
    assert shown
    assert not [line for line in shown if len(line) > 80]
    assert any(needs in line for line in shown), "\n".join(shown)


def test_the_audit_is_newest_first_for_a_person_and_says_who(eventful: Root) -> None:
    header, *rows = on_terminal(eventful, "audit", columns=120)
    assert header.split()[:4] == ["AT", "JOB", "BY", "CHANGE"]
    moments = [row[:19] for row in rows if row[:2] == "20"]
    assert moments == sorted(moments, reverse=True)
    assert "user:" in rows[0]
    assert [row["at"] for row in eventful.json("audit")["audit"]] == sorted(
        row["at"] for row in eventful.json("audit")["audit"]
    ), "scripts get it as ever: oldest first"


@pytest.mark.parametrize("command", ["list", "history", "show flaky", "status", "doctor"])
def test_json_is_indented_at_a_terminal_and_one_line_in_a_pipe(lived_in: Root, command: str) -> None:
    assert len(on_terminal(lived_in, *command.split(), "--json")) > 5
    assert len(lived_in.cli(*command.split(), "--json").stdout.splitlines()) == 1


def test_top_draws_the_status_on_the_other_screen_until_ctrl_c(lived_in: Root) -> None:
    ours, its_own = pty.openpty()
    fcntl.ioctl(its_own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler", "top", "--every", "0.2"],
        cwd=lived_in.path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=its_own,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_own)
    shown = b""
    while shown.count(b"Needs you") < 2:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):
        while found := os.read(ours, 65536):
            shown += found
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert shown.startswith(b"\x1b[?1049h")
    assert shown.endswith(b"\x1b[?1049l"), "the screen is as it was before"


# -- the recipes of docs/how-to/be-told-of-silence.md ---------------------------------------------


@dataclass(frozen=True)
class Host:
    """A machine with `scheduler` and `mail` on its PATH, by its own clock."""

    root: Root
    bin: Path
    mailbox: Path

    def sh(self, command: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(["sh", "-c", command], cwd=self.root.path, env=env, text=True, capture_output=True)

    def cron(self) -> str:
        """Does what the line of the page does, and gives the mails."""
        page = (REPOSITORY / "docs/how-to/be-told-of-silence.md").read_text()
        (line,) = re.findall(r"^\*/10 \* \* \* \*  (.*)$", page, re.MULTILINE)
        self.mailbox.unlink(missing_ok=True)
        done = self.sh(line.replace("/srv/jobs", str(self.root.path)))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "cron would mail this itself"
        return self.mailbox.read_text() if self.mailbox.exists() else ""


@pytest.fixture
def host(committed: Path, tmp_path: Path) -> Host:
    shutil.copytree(committed, tmp_path / "root")
    found = Host(Root(path=tmp_path / "root", clock=FakeClock()), tmp_path / "bin", tmp_path / "mails")
    found.bin.mkdir()
    for name, text in {
        "scheduler": f'exec {sys.executable} -m scheduler "$@"',
        "mail": f'{{ echo "$@"; cat; }} >> {found.mailbox}',
    }.items():
        (found.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (found.bin / name).chmod(0o755)
    assert found.sh("scheduler sync && scheduler serve --once -q").returncode == 0
    return found


def test_the_monitor_of_the_docs_mails_what_needs_a_person_and_nothing_else(host: Host) -> None:
    assert host.cron() == ""
    host.root.sql("UPDATE jobs SET consecutive_errors = 1, last_run_status = 'failed' WHERE id = 'flaky'")
    mail = host.cron()
    assert "ops@example.com" in mail
    assert "needs attention: 1 failing" in mail
    host.root.sql("UPDATE jobs SET consecutive_errors = 0")
    host.root.sql("UPDATE lives SET once = 0, over = 0")
    assert "the daemon is dead" in host.cron()
    host.root.db.write_bytes(b"no database")
    assert host.cron(), "it is told as well that nobody can tell"


def test_the_exit_codes_that_the_docs_promise_are_those_of_the_commands(host: Host) -> None:
    def codes() -> list[str]:
        commands = ("scheduler status --exit-code", "scheduler doctor", "scheduler doctor --strict")
        return [host.sh(f"{command} >/dev/null 2>&1; echo $?").stdout.strip() for command in commands]

    assert codes() == ["0", "0", "1"], "that no daemon stays is a warning"
    host.root.sql("UPDATE jobs SET consecutive_errors = 1, last_run_status = 'failed' WHERE id = 'flaky'")
    assert codes() == ["1", "0", "1"]
    host.root.sql("UPDATE jobs SET consecutive_errors = 0")
    host.root.sql("UPDATE lives SET once = 0, over = 0")
    assert codes() == ["1", "1", "1"]
    host.root.sql("UPDATE lives SET once = 1")
    host.root.edit("jobs/flaky.yaml", "id: flaky", "id: flaky\nexpect_every: 1h")
    host.sh("scheduler sync")
    host.root.sql("UPDATE jobs SET activated_at = '2020-01-01T00:00:00.000000Z' WHERE id = 'flaky'")
    assert codes()[:2] == ["1", "1"]
    assert host.sh("scheduler doctor | grep overdue").returncode == 0, "grep's, as the page says"


# -- the guard -----------------------------------------------------------------------------------


def way_back(root: Root) -> str:
    found = root.cli("sync")
    assert found.code == 3
    (line,) = [line for line in found.stderr.splitlines() if line.startswith("  to restore the files: ")]
    return line.removeprefix("  to restore the files: ")


@pytest.mark.parametrize("lose", [["rm", "-r", "jobs"], ["git", "rm", "-rq", "jobs"]])
def test_the_guard_prints_the_command_that_puts_the_files_back(lived_in: Root, lose: list[str]) -> None:
    subprocess.run(lose, cwd=lived_in.path, check=True)
    assert lived_in.cli("plan", "--json").json["guard"]["put_back"] == way_back(lived_in)
    elsewhere = lived_in.cli("--root", str(lived_in.path), "sync")
    assert elsewhere.code == 3
    subprocess.run(way_back(lived_in), shell=True, cwd=lived_in.path, check=True)
    assert lived_in.sync()["guard"] is None
    assert lived_in.git("status", "--porcelain") == ""


def test_where_a_commit_has_removed_the_files_the_guard_says_how_to_find_it(lived_in: Root) -> None:
    lived_in.git("rm", "-rq", "jobs")
    lived_in.git("commit", "-qm", "Remove all")
    said = way_back(lived_in)
    command = re.findall("`([^`]+)`", said)[0]
    shown = subprocess.run(command, shell=True, cwd=lived_in.path, check=True, text=True, capture_output=True)
    assert "Remove all" in shown.stdout


def test_from_another_folder_the_way_back_names_the_root(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(lived_in.path / "jobs")
    monkeypatch.chdir(lived_in.path.parent)
    found = lived_in.cli("--root", "root", "sync")
    assert f"  to restore the files: git -C {lived_in.path} restore --staged --worktree jobs\n" in found.stderr
