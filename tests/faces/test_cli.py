"""The command line as people and shells meet it: what it prints, how it ends, what it remembers."""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler import __version__
from scheduler.core.due.events import News
from scheduler.core.due.sending import Breaker
from scheduler.core.values.channels import Channel
from scheduler.core.values.events import Event, EventKind
from scheduler.core.values.facts import summary_of
from scheduler.core.values.instants import parse_instant
from scheduler.ledger import outbox, queries, syncs, told
from scheduler.ledger.store import Store
from tests.faces.conftest import FILES, JOBS, ROOT_FILE, Root
from tests.helpers import REPOSITORY, Result, call, ended

GOLDEN = REPOSITORY / "tests/golden/cli"

# -- golden: the text of every command ----------------------------------------------------------


def fresh(root: Root) -> None:
    """As it is."""


def synced(root: Root) -> None:
    root.sync()


def ran(root: Root) -> None:
    root.sync()
    root.clock.advance(timedelta(minutes=1))
    root.run("heartbeat")
    root.clock.advance(timedelta(minutes=1))
    assert root.cli("run", "flaky", "--wait").code == 1
    root.clock.advance(timedelta(minutes=90))


def held_back(root: Root) -> None:
    ran(root)
    root.ok("pause", "heartbeat", "--reason", "deploy", "--until", "+3h")
    root.clock.advance(timedelta(minutes=34))


def edited(root: Root) -> None:
    ran(root)
    root.edit("jobs/heartbeat.md", '"0 * * * *"', '"*/20 * * * *"')
    root.edit("jobs/heartbeat.md", "MODE: calm", "MODE: wild")
    root.write("prompts/triage.md", "Sort the inbox, and answer.\n")
    root.move("jobs/clock.yaml", "jobs/team/clock.yaml")
    root.delete("jobs/flaky.yaml")
    root.write("jobs/new.yaml", "id: new\nschedule: {at: 2026-03-01T00:00:00Z}\ntask: Too late.\n")
    root.edit("scheduler.yaml", "[sh, -eu,", "[sh, -eux,")
    root.commit()


def scheduled(root: Root) -> None:
    """With a list of schedules, two of which name times that daylight saving moves."""
    root.write(
        "jobs/season.yaml",
        """\
id: season
schedule:
  - {cron: "30 2 * * *", jitter: 2m}
  - {cron: "15 1 * * SUN", timezone: America/New_York, jitter: 2m, ends: "2027-01-01T00:00:00Z"}
  - {every: 12h, phase: 10m, jitter: 2m}
task: Say what the season brings.
""",
    )
    root.sync()


def rescheduled(root: Root) -> None:
    """With schedules that say the same in other words, or differ in their jitter."""
    scheduled(root)
    root.write("jobs/slow.yaml", "id: slow\nschedule: {every: 36h}\ntask: Take your time.\n")
    root.write("jobs/fast.yaml", 'id: fast\nschedule: ["@hourly", {cron: "30 8 * * *"}]\ntask: Hurry.\n')
    root.sync()
    root.edit("jobs/season.yaml", "jitter: 2m", "jitter: 90s")
    root.edit("jobs/slow.yaml", "every: 36h", "every: 36h, timezone: Asia/Tokyo")
    root.edit("jobs/fast.yaml", "@hourly", "0 * * * *")
    root.edit("jobs/heartbeat.md", '"0 * * * *"', '{cron: "5 * * * *", jitter: 1m30s}')


def resynced(root: Root) -> None:
    edited(root)
    root.sync()


def broken(root: Root) -> None:
    ran(root)
    root.write("jobs/heartbeat.md", "---\nid: heartbeat\n")
    root.edit("jobs/triage.yaml", "schedule:", "shedule:")
    root.write("jobs/other.yaml", "id: flaky\nschedule: '@daily'\ntask: Mine.\n")
    root.write("jobs/late.yaml", "id: late\nschedule: '@daily'\ntask_source_path: prompts/lost.md\n")


def spoiled(root: Root) -> None:
    """What is wrong with files rather than with what they say."""
    ran(root)
    root.edit("scheduler.yaml", "version: 1\n", 'version: 1\njobs: ["jobs/*"]\n')
    jobs = root.path / "jobs"
    (jobs / "folder.yaml").mkdir()
    os.mkfifo(jobs / "pipe.yaml")
    (jobs / "dangling.yaml").symlink_to("nowhere.yaml")
    (jobs / "outside.yaml").symlink_to("../../outside.yaml")
    root.write("jobs/large.yaml", "#" * (1024 * 1024 + 1))
    root.write("jobs/latin.yaml", "id: latin\nname: Café\n".encode("latin-1"))
    root.write("jobs/merged.md", "---\nid: merged\n---\n<<<<<<< HEAD\nOne.\n=======\nTwo.\n>>>>>>> other\n")
    root.write("jobs/notes.txt", "no job\n")
    root.write("jobs/report-a.yaml", "id: disk-report\nschedule: '@daily'\ntask: One.\n")
    root.write("jobs/report-b.yaml", "id: disk_report\nschedule: '@daily'\ntask: Two.\n")
    root.write("prompts/triage.md", b"\xff")


def outgrown(root: Root) -> None:
    """What only a pass over all files and the database can find."""
    ran(root)
    root.edit("scheduler.yaml", "version: 1\n", "version: 1\nlimits: {max_jobs: 6}\n")
    root.write("jobs/triage.yaml", "# later\n")
    root.edit("jobs/clock.yaml", "2030", "2020")
    root.write("jobs/more.yaml", "id: more\nschedule: '@daily'\ntask: One too many.\n")


def broken_and_synced(root: Root) -> None:
    broken(root)
    assert root.cli("sync").code == 1


def emptied(root: Root) -> None:
    ran(root)
    shutil.rmtree(root.path / "jobs")


def without_root_file(root: Root) -> None:
    ran(root)
    root.delete("scheduler.yaml")


def prompt_gone(root: Root) -> None:
    ran(root)
    root.delete("prompts/triage.md")


def unheard(root: Root) -> None:
    """With a channel that is dead, one that works, a ping that is dead, and messages that wait."""
    root.edit("scheduler.yaml", "timeout: 5m}", "timeout: 5m, deliver: [mail, ci]}")
    root.edit("scheduler.yaml", "runners:", f"{CHANNELS}runners:")
    root.edit("jobs/flaky.yaml", "id: flaky", "id: flaky\nping: '${env:HC}'")
    ran(root)
    now = root.clock.now()
    with Store.open(root.db, create=False) as store, store.writing() as sql:
        event = Event(key="run/flaky/1/failure", at=now, kind=EventKind.FAILURE, job_id="flaky", run_n=1)
        told.tell(sql, [News(event=event, channels=("mail", "ci"))], now=now)
        first = [each for each in outbox.waiting(sql) if each.channel == "ci"]
        outbox.take(sql, first, now=now)
        outbox.settle(sql, first, status="delivered", now=now)
        settings = syncs.settings(sql)
        assert settings is not None
        mail, ping = settings.channels["mail"], Channel(name="ping:flaky", ping="${env:HC}")
        outbox.keep_breaker(sql, Breaker(name="ci").after_success(now))
        for channel, error in ((mail, "HTTP 401 Unauthorized: wrong password"), (ping, "HTTP 404 Not Found")):
            broken = Breaker(name=channel.name, digest=channel.digest)
            outbox.keep_breaker(sql, broken.after_failure(error, now - timedelta(hours=1), permanent=True))


CHANNELS = """\
channels:
  mail: {url: "mailtos://${env:SMTP}@example.com", detail: full}
  ci: {webhook: "https://ci.example.com/hook", secret: "${env:HOOK}"}
  old: {command: [cat]}
"""
GOLDEN_CASES: dict[str, tuple[Callable[[Root], None], str]] = {
    "validate": (fresh, "validate"),
    "validate-problems": (broken, "validate"),
    "validate-files": (spoiled, "validate"),
    "plan-problems": (outgrown, "plan"),
    "validate-github": (broken, "validate --format github"),
    "plan-first": (fresh, "plan"),
    "plan-nothing": (synced, "plan"),
    "plan-changes": (edited, "plan"),
    "plan-schedules": (rescheduled, "plan"),
    "sync-first": (fresh, "sync"),
    "sync-nothing": (synced, "sync"),
    "sync-changes": (edited, "sync"),
    "sync-problems": (broken, "sync"),
    "sync-guard": (emptied, "sync"),
    "sync-guard-wrong-token": (emptied, "sync --confirm-prune 000000000000"),
    "sync-root-gone": (without_root_file, "sync"),
    "list-never-synced": (fresh, "list"),
    "list": (ran, "list"),
    "list-changed": (resynced, "list"),
    "list-archived": (resynced, "list --status archived"),
    "list-problems": (broken_and_synced, "list --problems"),
    "show": (ran, "show heartbeat"),
    "show-failed": (ran, "show flaky"),
    "show-invalid": (broken_and_synced, "show triage"),
    "next": (synced, "next -n 2"),
    "next-range": (synced, "next triage --from 2026-03-05T00:00:00Z --to 2026-03-09T16:00:00Z"),
    "next-gap": (scheduled, "next season --from 2026-03-28T12:00:00Z --to 2026-03-30T06:00:00Z"),
    "next-fold": (scheduled, "next season heartbeat --from 2026-10-24T23:20:00Z --to 2026-10-25T06:00:00Z"),
    "show-list": (scheduled, "show season"),
    "next-none": (synced, "next retired --from 2026-03-05T00:00:00Z --to 2026-03-05T00:01:00Z"),
    "run": (synced, "run heartbeat --wait"),
    "run-foreground": (synced, "run heartbeat"),
    "run-failed": (synced, "run flaky --wait"),
    "run-skipped": (prompt_gone, "run triage --wait"),
    "run-dry": (synced, "run heartbeat --dry-run"),
    "history": (ran, "history flaky"),
    "history-none": (ran, "history triage"),
    "explain-run": (ran, "explain flaky:1"),
    "explain-paused": (held_back, "explain heartbeat --at +5m"),
    "explain-no-daemon": (ran, "explain heartbeat --at 11:01"),
    "explain-window": (held_back, "explain heartbeat --from 09:00 --to '2026-03-02 16:00'"),
    "explain-other-zone": (ran, "explain triage --from today --to tomorrow --utc"),
    "audit": (resynced, "audit"),
    "audit-job": (resynced, "audit flaky"),
    "audit-root": (resynced, "audit @root"),
    "channels": (unheard, "channels list"),
    "channels-dry-run": (unheard, "channels test mail --dry-run --kind failure"),
    "deliveries": (unheard, "deliveries"),
    "status-channels": (unheard, "status"),
    "list-channels": (unheard, "list"),
    "unknown-job": (ran, "show heartbeet"),
    "unknown-command": (fresh, "hystory heartbeat"),
}


def rendered(root: Root, command: str) -> str:
    """A command, what it answered, and nothing that differs between two machines."""
    found = root.cli(*shlex.split(command))
    text = f"$ scheduler {command}\n{found.stdout}"
    if found.stderr:
        text += f"[stderr]\n{found.stderr}"
    text += f"[exit {found.code}]\n"
    for number, commit in enumerate(root.git("rev-list", "--reverse", "HEAD").split(), start=1):
        known = f"c{number:06}".ljust(40, "0")  # of the same length, so that columns stay where they are
        for length in (40, 12, 7):
            text = text.replace(commit[:length], known[:length])
    return text.replace(str(root.path), "ROOT").replace(shutil.which("cat") or "", "/bin/cat")


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_a_command_prints_what_its_golden_file_holds(root: Root, name: str) -> None:
    prepare, command = GOLDEN_CASES[name]
    prepare(root)
    found = rendered(root, command)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(found)
    assert found == golden.read_text()


def test_every_golden_file_has_its_command() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(GOLDEN_CASES)


# -- shown when done ------------------------------------------------------------------------------


def test_an_edited_prompt_runs_under_the_same_id_with_all_its_past(root: Root) -> None:
    root.sync()
    first_commit = root.git("rev-parse", "HEAD")
    first = root.run("triage")
    before = root.job("triage")
    assert (first["status"], first["result"], first["generation"]) == ("succeeded", "Sort the inbox.\n", 1)
    assert first["source_blob"] == root.git("rev-parse", f"{first_commit}:prompts/triage.md")
    assert (first["revision"], first["dirty"]) == (first_commit, None)

    root.write("prompts/triage.md", "Sort the inbox, oldest first.\n")  # no sync: the text is read when the job runs
    second = root.run("triage")
    assert second["result"] == "Sort the inbox, oldest first.\n"
    assert (second["revision"], second["dirty"]) == (first_commit, "modified")
    assert second["source_blob"] == first["source_blob"]
    second_commit = root.commit()
    root.sync()
    third = root.run("triage")
    assert (third["revision"], third["dirty"]) == (second_commit, None)
    assert third["source_blob"] == root.git("rev-parse", "HEAD:prompts/triage.md") != first["source_blob"]

    after = root.job("triage")
    assert (after["run_count"], before["run_count"]) == (3, 1)
    assert {name: after[name] for name in ("id", "generation", "created_at", "activated_at", "next_run_at")} == {
        name: before[name] for name in ("id", "generation", "created_at", "activated_at", "next_run_at")
    }
    assert root.runs("triage") == [third, second, first]
    assert root.ok("task", "triage:1").stdout == "Sort the inbox.\n"
    assert root.ok("task", "triage:2").stdout == "Sort the inbox, oldest first.\n"
    assert root.ok("task", "triage:3").stdout == root.ok("output", "triage:3").stdout


def test_a_prompt_that_git_does_not_know_is_untracked(root: Root) -> None:
    root.write("jobs/new.yaml", "id: new\nschedule: '@daily'\ntask_source_path: prompts/new.md\n")
    root.write("prompts/new.md", "New.\n")
    root.sync()
    run = root.run("new")
    assert (run["revision"], run["dirty"], run["source_blob"]) == (root.git("rev-parse", "HEAD"), "untracked", None)
    assert root.job("new")["dirty"] == "untracked"


def test_outside_a_repository_a_run_has_no_commit_and_is_not_dirty(root: Root) -> None:
    shutil.rmtree(root.path / ".git")
    root.sync()
    run = root.run("triage")
    assert (run["status"], run["revision"], run["dirty"], run["source_blob"]) == ("succeeded", None, None, None)


def test_an_inline_task_records_its_job_file(root: Root) -> None:
    root.sync()
    run = root.run("tick")
    assert (run["result"], run["source_path"], run["task_bytes"]) == ("Tick.", "jobs/clock.yaml", len("Tick."))
    assert run["source_blob"] == root.git("rev-parse", "HEAD:jobs/clock.yaml")
    root.edit("jobs/clock.yaml", "task: Tick.", "task: Tock.")
    run = root.run("tick")
    assert (run["result"], run["dirty"], run["generation"]) == ("Tock.", "modified", 1)


def test_the_definition_that_a_file_holds_now_runs_without_a_sync(root: Root) -> None:
    root.sync()
    root.edit("jobs/heartbeat.md", "description: Looks at the inbox", "description: Looks twice")
    run = root.run("heartbeat")
    assert run["generation"] == 2
    assert root.job("heartbeat")["description"] == "Looks twice"
    changed = [row for row in root.json("audit", "heartbeat")["audit"] if row["field"] == "description"]
    assert [(row["before"], row["after"], row["cause"]) for row in changed] == [
        ("Looks at the inbox", "Looks twice", "run")
    ]


def test_rename_archive_and_revival_keep_id_counters_and_history(lived_in: Root) -> None:
    root = lived_in
    runs = root.runs("flaky")
    created = root.job("flaky")["created_at"]

    root.move("jobs/flaky.yaml", "jobs/team/luck.yaml")
    root.commit()
    assert root.sync()["moved"] == [{"id": "flaky", "from": "jobs/flaky.yaml", "to": "jobs/team/luck.yaml"}]
    assert root.runs("flaky") == runs
    assert root.job("flaky")["source_path"] == "jobs/team/luck.yaml"

    root.delete("jobs/team/luck.yaml")
    assert root.sync()["archived"] == ["flaky"]
    job = root.job("flaky")
    assert (job["status"], job["sync_state"], job["run_count"], job["next_run_at"]) == ("archived", "archived", 1, None)
    assert root.runs("flaky") == runs
    refused = root.cli("run", "flaky", "--wait")
    assert (refused.code, refused.stdout) == (3, "")
    assert root.runs("flaky") == runs
    assert "flaky" not in root.ok("list").stdout

    root.write("jobs/back.yaml", "id: flaky\nschedule: '@daily'\ntask: I am back.\n")
    assert root.sync()["revived"] == ["flaky"]
    run = root.run("flaky")
    assert (run["id"], run["result"]) == ("flaky:2", "I am back.")
    job = root.job("flaky")
    assert (job["status"], job["run_count"], job["created_at"]) == ("active", 2, created)
    assert root.runs("flaky") == [run, *runs]
    assert root.ok("task", "flaky:1").stdout == (root.path / "scripts/flaky.sh").read_text()


# -- how commands end -----------------------------------------------------------------------------


def guarded(root: Root) -> tuple[str, ...]:
    shutil.rmtree(root.path / "jobs")
    return ("sync",)


def archived(root: Root) -> tuple[str, ...]:
    root.delete("jobs/flaky.yaml")
    root.sync()
    return ("run", "flaky", "--wait")


def misspelt_key(root: Root) -> tuple[str, ...]:
    root.edit("jobs/triage.yaml", "schedule:", "shedule:")
    return ()


def only_a_warning(root: Root) -> tuple[str, ...]:
    root.write("jobs/new.yaml", "id: new\nschedule: {at: 2026-03-01T00:00:00Z}\ntask: Too late.\n")
    return ("sync",)


def guarded_and_misspelt(root: Root) -> tuple[str, ...]:
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text() + "prune: {max_jobs: 0}\n")
    root.delete("jobs/flaky.yaml")
    misspelt_key(root)
    return ("sync",)


def changed(root: Root) -> tuple[str, ...]:
    root.edit("jobs/triage.yaml", "0 9 *", "0 8 *")
    return ("plan", "--exit-code")


def damaged(root: Root) -> tuple[str, ...]:
    root.db.write_bytes(b"not a database" * 100)
    return ("list",)


@pytest.mark.parametrize(
    ("prepare", "args", "code"),
    [
        (fresh, ("validate",), 0),
        (fresh, ("plan", "--exit-code"), 0),
        (fresh, ("list", "--status", "archived"), 0),
        (fresh, ("next", "retired"), 0),
        (fresh, ("history", "triage"), 0),
        (fresh, ("show", "flaky"), 0),
        (fresh, ("run", "triage", "--wait"), 0),
        (fresh, ("run", "triage"), 0),
        (only_a_warning, (), 0),
        (misspelt_key, ("validate",), 1),
        (misspelt_key, ("plan",), 1),
        (misspelt_key, ("sync",), 1),
        (misspelt_key, ("sync", "--dry-run"), 1),
        (misspelt_key, ("list",), 0),
        (fresh, ("run", "flaky", "--wait"), 1),
        (fresh, ("run", "flaky"), 1),
        (fresh, ("show",), 2),
        (fresh, ("list", "--statsu", "active"), 2),
        (fresh, ("list", "--status", "asleep"), 2),
        (fresh, ("shw", "flaky"), 2),
        (fresh, ("show", "flakey"), 2),
        (fresh, ("task", "flakky"), 2),
        (fresh, ("cancel", "flaky"), 2),
        (fresh, ("task", "flaky:99"), 2),
        (fresh, ("next", "--from", "someday"), 2),
        (fresh, ("validate", "jobs/absent.yaml"), 2),
        (fresh, ("--root", "prompts", "list"), 2),
        (guarded, (), 3),
        (guarded, ("plan",), 3),
        (guarded, ("plan", "--exit-code"), 3),
        (guarded, ("sync", "--dry-run"), 3),
        (guarded, ("sync", "--confirm-prune", "000000000000"), 3),
        (guarded_and_misspelt, (), 3),
        (archived, (), 3),
        (changed, (), 4),
        (changed, ("plan",), 0),
        (damaged, (), 5),
        (damaged, ("sync",), 5),
        (fresh, ("--root", "absent", "list"), 5),
    ],
)
def test_a_command_ends_with_its_exit_code(
    lived_in: Root, prepare: Callable[[Root], tuple[str, ...] | None], args: tuple[str, ...], code: int
) -> None:
    prepared = prepare(lived_in)
    found = lived_in.cli(*(args or prepared or ()))
    assert found.code == code, found


@pytest.mark.parametrize(
    ("prepare", "args", "code"),
    [(misspelt_key, ("validate",), 1), (changed, (), 4), (guarded, (), 3), (fresh, ("show", "flakey"), 2)],
)
def test_a_real_process_ends_with_the_same_code(
    lived_in: Root, prepare: Callable[[Root], tuple[str, ...] | None], args: tuple[str, ...], code: int
) -> None:
    prepared = prepare(lived_in)
    assert lived_in.process(*(args or prepared or ())).code == code


def test_a_reader_that_leaves_early_sees_no_complaint(lived_in: Root) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        found = lived_in.process("list", stdout=write)
    finally:
        os.close(write)
    told = [
        line
        for line in found.stderr.splitlines()
        if not line.startswith(("warning: a slot was due", "not serving yet"))
    ]
    assert (found.code, told) == (0, [])


def test_a_process_of_its_own_runs_a_job_and_tells_it_apart_from_its_talk(root: Root) -> None:
    assert root.process("sync").code == 0
    found = root.process("run", "heartbeat", "--wait")
    assert (found.code, found.stdout) == (0, "You are woken once an hour.\n")
    assert "heartbeat:1 succeeded in " in found.stderr
    assert root.process("output", "heartbeat:1").stdout == "You are woken once an hour.\n"


def test_what_a_child_wrote_comes_back_on_the_same_streams(lived_in: Root) -> None:
    found = lived_in.ok("output", "flaky:1")
    assert (found.stdout, found.stderr) == ("out of luck\n", "to the other stream\n")


# -- one run at a time ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A job that has started and waits for a word."""

    process: subprocess.Popen[str]  # the scheduler
    word: int  # where the job reads it

    def let_go(self) -> None:
        os.write(self.word, b"done\n")

    def end(self) -> Result:
        return ended(self.process)


@contextmanager
def running_job(root: Root) -> Iterator[Running]:
    started, word = root.path.parent / "started", root.path.parent / "word"
    root.write("scripts/flaky.sh", f"echo yes > {started}\nread answer < {word}\necho $answer\n")
    ends = []
    for fifo in (started, word):
        os.mkfifo(fifo)
        ends.append(os.open(fifo, os.O_RDWR))  # for both, so that no side waits for the other to appear
    process = root.start("run", "flaky", "--wait")
    try:
        assert select.select([ends[0]], [], [], 60)[0], "the job did not start"
        yield Running(process=process, word=ends[1])
    finally:
        if process.poll() is None:
            process.kill()
            ended(process)
        for end in ends:
            os.close(end)


def test_a_job_that_runs_is_not_started_again_and_the_refusal_leaves_no_row(root: Root) -> None:
    root.sync()
    with running_job(root) as running:
        refused = root.cli("run", "flaky", "--wait", "--json")
        assert (refused.code, refused.stdout) == (3, "")
        assert "flaky:1" in refused.stderr
        assert [(run["id"], run["status"]) for run in root.runs("flaky")] == [("flaky:1", "running")]
        root.edit("jobs/flaky.yaml", "@daily", "@hourly")
        root.sync()  # an edit made meanwhile stands
        running.let_go()
        found = running.end()
    assert (found.code, found.stdout) == (0, "done\n")
    assert [(run["id"], run["status"], run["generation"]) for run in root.runs("flaky")] == [
        ("flaky:1", "succeeded", 1)
    ]
    job = root.job("flaky")
    assert (job["generation"], job["schedule"]["cron"], job["run_count"]) == (2, "@hourly", 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_cancels_its_run(root: Root, number: signal.Signals) -> None:
    root.sync()
    with running_job(root) as running:
        running.process.send_signal(number)
        found = running.end()
    assert found.code == 1
    (run,) = root.runs("flaky")
    assert (run["status"], run["attempts"][0]["status"]) == ("cancelled", "cancelled")


# -- options and where the root is ----------------------------------------------------------------


@pytest.mark.parametrize("command", [["list"], ["show", "flaky"], ["validate"], ["plan"], ["history", "flaky"]])
def test_global_options_stand_before_and_after_the_command(
    lived_in: Root, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--root", "root", "--state", "root/.scheduler", "--json"]
    before, after = call(*options, *command), call(*command, *options)
    between = call("--root", "root", command[0], *options[2:], *command[1:])
    assert before.code == 0
    assert before.json.keys() == after.json.keys() == between.json.keys()
    if "duration_ms" not in before.json:
        assert before.json == after.json == between.json


def test_quiet_says_nothing_but_errors(lived_in: Root) -> None:
    assert lived_in.ok("-q", "sync").stderr == lived_in.ok("sync", "-q").stderr == ""
    assert lived_in.ok("sync").stderr != ""
    assert "heartbeat" in lived_in.cli("-q", "show", "heartbeet").stderr


def test_the_root_is_the_nearest_folder_upwards_or_the_one_that_is_named(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = lived_in.ok("list").stdout
    monkeypatch.chdir(lived_in.path / "prompts")
    assert call("list").stdout == listed
    monkeypatch.chdir(tmp_path)
    lost = call("list")
    assert (lost.code, lost.stdout) == (2, "")
    assert "init" in lost.stderr
    monkeypatch.setenv("SCHEDULER_ROOT", str(lived_in.path))
    assert call("list").stdout == listed
    monkeypatch.setenv("SCHEDULER_STATE", str(tmp_path / "elsewhere"))
    assert call("list", "--json").json["synced"] is False
    assert call("--state", str(lived_in.path / ".scheduler"), "list").stdout == listed
    monkeypatch.setenv("SCHEDULER_DB", str(lived_in.db))
    assert call("list").stdout == listed
    assert call("list", "--db", str(tmp_path / "absent.db"), "--json").json["synced"] is False
    assert not (tmp_path / "absent.db").exists()


def test_the_version_is_told() -> None:
    assert call("--version").stdout == f"scheduler, version {__version__}\n"


def test_every_command_explains_itself(root: Root) -> None:
    commands = re.findall(r"^  ([a-z]+) ", root.ok("--help").stdout.partition("Look:")[2], re.MULTILINE)
    assert {"init", "validate", "plan", "sync", "list", "show", "next", "run", "history", "output", "task"} < {
        *commands,
        "audit",
    }
    for command in commands:
        assert "--json" in root.ok(command, "--help").stdout


# -- names that are not known ---------------------------------------------------------------------

OF_A_JOB = [["show"], ["next"], ["run"], ["run", "--wait"], ["run", "--dry-run"], ["history"], ["audit"]]
OF_A_RUN = [["output"], ["task"]]


@pytest.mark.parametrize("command", [*OF_A_JOB, *OF_A_RUN])
def test_an_unknown_job_is_a_usage_error_that_names_the_nearest(lived_in: Root, command: list[str]) -> None:
    word = "heartbeet:1" if command in OF_A_RUN else "heartbeet"
    before = lived_in.facts()
    found = lived_in.cli(*command, word)
    assert (found.code, found.stdout) == (2, "")
    assert "there is no job 'heartbeet'" in found.stderr
    assert "did you mean 'heartbeat'?" in found.stderr
    assert lived_in.facts() == before


@pytest.mark.parametrize("command", [*OF_A_JOB, *OF_A_RUN])
@pytest.mark.parametrize("ever_synced", [True, False])
def test_a_job_that_only_a_file_names_asks_for_a_sync(root: Root, command: list[str], ever_synced: bool) -> None:
    if ever_synced:
        root.sync()
    elif command[0] == "run":
        return  # it syncs first
    root.write("jobs/new.yaml", "# first line\nid: new\nschedule: '@daily'\ntask: New.\n")
    found = root.cli(*command, "new:1" if command in OF_A_RUN else "new")
    assert (found.code, found.stdout) == (2, "")
    assert "jobs/new.yaml:2" in found.stderr
    assert "scheduler sync" in found.stderr


def test_a_prefix_is_not_an_id_in_a_pipe(lived_in: Root) -> None:
    assert lived_in.cli("show", "heart").code == 2
    assert lived_in.cli("run", "heart", "--wait").code == 2


def test_a_unique_prefix_reads_for_a_person_at_a_terminal_and_never_runs(
    lived_in: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.cli.group.Globals.prefix", True)
    assert lived_in.ok("show", "hear").stdout.startswith("heartbeat\n")
    assert lived_in.ok("task", "hear:1").stdout == "You are woken once an hour.\n"
    several = lived_in.cli("show", "t")
    assert several.code == 2
    assert "tick, triage" in several.stderr
    assert lived_in.cli("run", "hear", "--wait").code == 2
    assert len(lived_in.runs("heartbeat")) == 1


# -- a root never synced --------------------------------------------------------------------------


@pytest.mark.parametrize("json", [[], ["--json"]])
@pytest.mark.parametrize("command", ["next", "audit"])
def test_reading_a_root_never_synced_answers_empty_and_says_so(root: Root, command: str, json: list[str]) -> None:
    found = root.ok(command, *json)
    assert "never been synced" in found.stderr
    if json:
        assert [found.json[name] for name in ("fires", "audit") if name in found.json] == [[]]
    else:
        assert found.stdout == ""
    assert not (root.path / ".scheduler").exists()


def test_list_on_a_root_never_synced_is_what_the_files_say_and_what_a_sync_then_makes(root: Root) -> None:
    root.write("jobs/bad.yaml", "id: bad\nschedule: '@daily'\ntask: x\ntag: [x]\n")
    found = root.cli("list", "--json")
    assert (found.code, found.json["synced"]) == (0, False)
    assert "never been synced" in found.stderr
    assert "scheduler sync" in found.stderr
    assert not (root.path / ".scheduler").exists()
    before = {job["id"]: job for job in found.json["jobs"]}
    assert tuple(before) == JOBS
    assert {job["sync_state"] for job in before.values()} == {"unsynced"}
    assert {job[name] for job in before.values() for name in ("created_at", "created_by", "activated_at")} == {None}
    assert [each["code"] for each in found.json["problems"]] == ["key.unknown"]
    assert root.cli("sync").code == 1
    after = root.json("list")
    assert after["synced"] is True
    own = {"sync_state", "created_at", "created_by", "activated_at", "updated_at"}
    for job in after["jobs"]:
        assert {name: value for name, value in job.items() if name not in own} == {
            name: value for name, value in before[job["id"]].items() if name not in own
        }
    assert {**found.json["summary"]} == after["summary"]
    assert found.json["problems"] == after["problems"]


def test_list_on_a_root_never_synced_takes_what_is_asked_for_and_shows_problems(root: Root) -> None:
    root.write("jobs/bad.yaml", "id: bad\nschedule: '@daily'\ntask: x\ntag: [x]\n")
    assert [job["id"] for job in root.json("list", "--tag", "hourly")["jobs"]] == ["heartbeat"]
    assert [job["id"] for job in root.json("list", "--status", "disabled")["jobs"]] == ["retired"]
    assert root.json("list", "--problems")["jobs"] == []
    assert "did you mean 'tags'?" in root.ok("list", "--problems").stderr
    root.write("scheduler.yaml", "version: 2\n")
    broken = root.json("list")
    assert (broken["jobs"], [each["code"] for each in broken["problems"]]) == ([], ["version.unknown"])
    assert not (root.path / ".scheduler").exists()


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_run_on_a_root_never_synced_syncs_it_first_and_says_so(root: Root, wait: list[str]) -> None:
    found = root.ok("run", "heartbeat", *wait)
    assert found.stdout == "You are woken once an hour.\n"
    assert found.stderr.splitlines()[0] == "this root had never been synced, so it was synced first; 6 jobs created"
    assert [job["id"] for job in root.json("list")["jobs"]] == list(JOBS)
    assert {row["cause"] for row in root.json("audit", "heartbeat")["audit"] if row["action"] == "create"} == {"run"}
    assert "synced" not in root.ok("run", "heartbeat", "--wait").stderr


def test_run_syncs_for_no_job_that_could_not_run_after_it(root: Root) -> None:
    root.write("jobs/bad.yaml", "id: bad\nschedule: '@daily'\ntask: x\ntag: [x]\n")
    for job in ("hartbeat", "bad"):
        found = root.cli("run", job, "--wait")
        assert (found.code, found.stdout) == (2, "")
        assert "did you mean" in found.stderr
        assert not (root.path / ".scheduler").exists()


def test_run_syncs_no_root_whose_history_is_gone_and_none_that_has_one(root: Root) -> None:
    root.sync()
    root.write("jobs/new.yaml", "id: new\nschedule: '@daily'\ntask: New.\n")
    assert root.cli("run", "new").code == 2  # a sync of a database that knows jobs is a decision of its own
    assert root.json("list")["summary"]["total"] == 6
    root.run("heartbeat")
    root.db.unlink()
    for command in (["run", "heartbeat"], ["list"]):
        found = root.cli(*command)
        assert (found.code, found.stdout) == (3, "")
    assert not root.db.exists()


def test_run_starts_nothing_where_the_first_sync_is_held(root: Root) -> None:
    root.write("scheduler.yaml", ROOT_FILE + "worktree: {branch: elsewhere}\n")
    listed = root.ok("list")
    assert "held: the branch" in listed.stderr
    for dry in ([], ["--dry-run"]):
        found = root.cli("run", "heartbeat", *dry)
        assert (found.code, found.stdout) == (3, "")
        assert "nothing was started" in found.stderr
    assert root.json("list")["synced"] is False


def test_a_dry_run_on_a_root_never_synced_shows_what_would_start_and_writes_nothing(root: Root) -> None:
    found = root.ok("run", "heartbeat", "--dry-run")
    assert found.stdout.endswith("You are woken once an hour.\n")
    assert not (root.path / ".scheduler").exists()
    root.sync()
    assert root.ok("run", "heartbeat", "--dry-run").stdout == found.stdout


@pytest.mark.parametrize("command", [["validate"], ["plan"], ["sync", "--dry-run"]])
def test_a_look_at_the_files_leaves_no_trace(root: Root, command: list[str]) -> None:
    before = root.git("status", "--short", "--ignored")
    assert root.cli(*command).code == 0
    assert root.git("status", "--short", "--ignored") == before == ""


# -- completion -----------------------------------------------------------------------------------


def completed(monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    words = line.split(" ")
    with monkeypatch.context() as patch:
        patch.setenv("_SCHEDULER_COMPLETE", "bash_complete")
        patch.setenv("COMP_WORDS", line)
        patch.setenv("COMP_CWORD", str(len(words) - 1))
        found = call()
    assert found.stderr == ""
    return [each.removeprefix("plain,") for each in found.stdout.splitlines() if each]


@pytest.mark.parametrize("command", ["show", "run --wait", "history", "audit", "next"])
def test_completion_knows_the_jobs(lived_in: Root, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert completed(monkeypatch, f"scheduler {command} ") == list(JOBS)
    assert completed(monkeypatch, f"scheduler {command} t") == ["tick", "triage"]


@pytest.mark.parametrize("command", ["output", "task"])
def test_completion_knows_the_runs(lived_in: Root, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    lived_in.run("heartbeat")
    assert completed(monkeypatch, f"scheduler {command} ") == ["flaky:1", "heartbeat:2", "heartbeat:1"]
    assert completed(monkeypatch, f"scheduler {command} heartbeat:2") == ["heartbeat:2"]


def test_completion_knows_commands_and_values(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(monkeypatch, "scheduler va") == ["validate"]
    assert completed(monkeypatch, "scheduler list --status dis") == ["disabled"]


def test_completion_looks_where_the_options_point(
    lived_in: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed(monkeypatch, "scheduler show f") == []
    assert completed(monkeypatch, "scheduler --root root show f") == ["flaky"]
    assert completed(monkeypatch, "scheduler show --root root f") == ["flaky"]


def test_completion_is_silent_where_nothing_can_be_read(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(monkeypatch, "scheduler show ") == []
    assert not (root.path / ".scheduler").exists()
    root.sync()
    root.db.write_bytes(b"not a database" * 100)
    assert completed(monkeypatch, "scheduler show ") == []


def test_a_shell_gets_its_completion_script(root: Root) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_SCHEDULER_COMPLETE" in root.ok("completion", shell).stdout


@pytest.mark.parametrize(("until", "minutes"), [("+2h", 120), ("+1h30m", 90)])
def test_a_pause_ends_at_an_offset_from_now(lived_in: Root, until: str, minutes: int) -> None:
    paused = lived_in.json("pause", "heartbeat", "--until", until)["job"]["paused"]
    assert parse_instant(paused["until"]) - parse_instant(paused["at"]) == timedelta(minutes=minutes)


def test_several_jobs_are_paused_and_resumed_at_once_or_none_of_them(lived_in: Root) -> None:
    found = lived_in.json("pause", "heartbeat", "triage", "--reason", "a release")
    assert [each["job"]["status"] for each in found["jobs"]] == ["paused", "paused"]
    assert [line.split(" is ")[0] for line in lived_in.ok("resume", "heartbeat", "triage").stderr.splitlines()] == [
        "heartbeat",
        "triage",
    ]
    assert lived_in.cli("pause", "heartbeat", "triagge").code == 2
    assert lived_in.job("heartbeat")["paused"] is None
    assert lived_in.json("pause", "heartbeat")["job"]["status"] == "paused"


# -- pause --next ------------------------------------------------------------------------------


def test_pause_next_skips_one_slot_and_goes_on_with_the_one_after_it(lived_in: Root) -> None:
    paused = lived_in.json("pause", "heartbeat", "--next", "--reason", "a release")["job"]["paused"]
    assert (paused["until"], paused["reason"]) == ("2026-03-02T09:00:01Z", "a release")
    lived_in.clock.advance(timedelta(hours=1, minutes=28))  # 10:01 UTC
    lived_in.ok("serve", "--once", "-q")
    newest, skipped = lived_in.runs("heartbeat")[:2]
    assert (newest["fire_time"], newest["status"]) == ("2026-03-02T10:00:00Z", "succeeded")
    assert (skipped["fire_time"], skipped["slots"], skipped["reason"]) == ("2026-03-02T09:00:00Z", 1, "paused")
    assert lived_in.job("heartbeat")["status"] == "active"


@pytest.mark.parametrize(
    ("job", "args", "code", "said"),
    [
        ("heartbeat", ("--until", "+1h"), 2, "leave --until out"),
        ("retired", (), 3, "is disabled: it has no next slot to skip"),
    ],
)
def test_pause_next_is_refused_where_it_means_nothing(
    lived_in: Root, job: str, args: tuple[str, ...], code: int, said: str
) -> None:
    found = lived_in.cli("pause", job, "--next", *args)
    assert (found.code, said in found.stderr) == (code, True), found.stderr
    assert lived_in.job(job)["paused"] is None


def test_pause_next_does_not_shorten_a_pause(lived_in: Root) -> None:
    lived_in.ok("pause", "heartbeat")
    found = lived_in.cli("pause", "heartbeat", "--next")
    assert (found.code, "is already paused" in found.stderr) == (3, True)
    assert lived_in.job("heartbeat")["paused"]["until"] is None


def test_a_slot_that_a_pause_held_back_does_not_run_because_of_the_next_pause(lived_in: Root) -> None:
    lived_in.ok("pause", "heartbeat", "--next")  # 09:00
    lived_in.clock.advance(timedelta(minutes=37))  # 09:10 UTC, and nobody has served it yet
    lived_in.ok("pause", "heartbeat", "--next", "--reason", "another release")
    lived_in.ok("serve", "--once", "-q")
    (newest, *_) = lived_in.runs("heartbeat")
    assert (newest["fire_time"], newest["status"], newest["reason"]) == ("2026-03-02T09:00:00Z", "skipped", "paused")
    assert lived_in.job("heartbeat")["paused"]["until"] == "2026-03-02T10:00:01Z"


def test_a_slot_that_is_paused_before_its_jitter_is_over_does_not_run(lived_in: Root) -> None:
    lived_in.write("jobs/late.yaml", 'id: late\nschedule: {cron: "0 * * * *", jitter: 20m}\ntask: Hi.\n')
    lived_in.sync()
    lived_in.clock.advance(timedelta(minutes=27, seconds=1))  # 09:00:01, and it starts later
    lived_in.ok("pause", "late", "--next")
    lived_in.clock.advance(timedelta(minutes=30))
    lived_in.ok("serve", "--once", "-q")
    (only,) = lived_in.runs("late")
    assert (only["fire_time"], only["status"], only["reason"]) == ("2026-03-02T09:00:00Z", "skipped", "paused")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["rm", "triage"], "did you mean 'delete'?"),
        (["unpause", "triage"], "did you mean 'resume'?"),
        (["execute", "triage"], "did you mean 'run'?"),
        (["ls"], "did you mean 'list'?"),
        (["ps"], "did you mean 'status'?"),
        (["list", "--status", "enabled"], "did you mean 'active'?"),
        (["list", "--status", "failing,runing"], "did you mean 'running'?"),
        (["list", "--status", ","], "no status was given"),
    ],
)
def test_a_word_of_another_tool_leads_to_ours(root: Root, args: list[str], said: str) -> None:
    found = root.cli(*args)
    assert (found.code, said in found.stderr) == (2, True), found


def test_a_root_without_any_job_is_said_by_sync_and_by_a_list_that_has_nothing_else(root: Root) -> None:
    root.delete(*(path for path in FILES if path.startswith("jobs/")))
    said = "scheduler.yaml:1:1: warning: no jobs found"
    found = root.ok("sync")
    assert said in found.stderr
    found = root.ok("list")
    assert (found.stdout, found.stderr.count(said)) == ("", 1)
    root.write("jobs/a.yaml", "id: a\nschedule: '@daily'\ntask: x\n")
    assert "no job is found" not in root.ok("sync").stderr
    assert "no job is found" not in root.ok("list").stderr


def test_the_summary_of_a_job_says_what_the_job_says(lived_in: Root) -> None:
    lived_in.write(
        "jobs/full.yaml",
        "id: full\ntags: [a, b]\nschedule: [{cron: '0 3 * * *'}, {every: 5m}]\nexpires: 2030-01-01T00:00:00Z\n"
        "expect_every: 1d\nrunner: agent\ntask: x\n",
    )
    lived_in.sync()
    lived_in.ok("pause", "heartbeat", "--reason", "quiet", "--until", "+2h")
    with Store.open(lived_in.path / ".scheduler/state.db") as store:
        jobs, summaries = store.read(queries.jobs), store.read(queries.summaries)
    assert summaries == list(map(summary_of, jobs))
    assert {job.id for job in summaries if job.pause} == {"heartbeat"}
    assert {job.expect_every for job in summaries} == {None, timedelta(days=1)}
    assert {job.last_run_status for job in summaries} > {"succeeded", "failed"}
