"""A run in the foreground against real files, processes and a real database: what ran, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.answers import JobJson
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.runs import RunStatus
from scheduler.ledger import runs
from scheduler.ledger.owners import Owner, is_alive
from scheduler.ledger.store import Store
from scheduler.machine.processes import identify
from scheduler.root.place import Place
from scheduler.run.ends import END_TRIES, EndNotWrittenError
from scheduler.run.local.cancel import Cancel
from scheduler.service.history import audit, history, task
from scheduler.service.jobs import show_job
from scheduler.service.root import Root
from scheduler.service.run import dry_run_job, run_job
from scheduler.service.sync import sync
from tests.fakes import FakeClock
from tests.helpers import ROOT_FILE

JOB = "id: hello\nschedule: {every: 1h}\ntask_source_path: prompts/hello.md\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "prompts").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scheduler.yaml").write_text(ROOT_FILE)
    (tmp_path / "jobs/hello.yaml").write_text(JOB)
    (tmp_path / "prompts/hello.md").write_text("say hello\n")
    return tmp_path


@pytest.fixture
def seen(root: Path) -> Root:
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
    found = Root(place=place, actor="user:test", environ=dict(os.environ), clock=FakeClock(), absent_grace=timedelta(0))
    sync(found)
    return found


def run(seen: Root, job_id: str = "hello") -> object:
    return run_job(seen, job_id, cancel=Cancel())


def job(seen: Root, job_id: str = "hello") -> JobJson:
    return show_job(seen, job_id)["job"]


def test_the_text_on_disk_runs_and_every_earlier_one_can_be_read_back(seen: Root, root: Path) -> None:
    first = run_job(seen, "hello", cancel=Cancel())
    saved = root / "prompts/.hello.md.swp"
    saved.write_text("say goodbye\n")
    saved.replace(root / "prompts/hello.md")  # as an editor saves
    second = run_job(seen, "hello", cancel=Cancel())
    assert (first.result, second.result) == ("say hello\n", "say goodbye\n")
    assert task(seen, "hello:1")[1] == b"say hello\n"
    assert task(seen, "hello:2")[1] == b"say goodbye\n"
    assert [each["id"] for each in history(seen, "hello")["runs"]] == ["hello:2", "hello:1"]
    assert (job(seen)["run_count"], job(seen)["generation"]) == (2, 1)


def test_a_definition_edited_since_the_last_sync_counts_at_once(seen: Root, root: Path) -> None:
    (root / "jobs/hello.yaml").write_text(JOB + "name: Renamed\n")
    finished = run_job(seen, "hello", cancel=Cancel())
    assert finished.generation == 2
    assert (job(seen)["name"], job(seen)["generation"]) == ("Renamed", 2)
    assert [row["cause"] for row in audit(seen, "hello")["audit"]][-1] == "run"


def test_a_runner_edited_since_the_last_sync_counts_at_once_and_is_audited(seen: Root, root: Path) -> None:
    (root / "scheduler.yaml").write_text(ROOT_FILE.replace("[cat]", "[echo, other]"))
    assert run_job(seen, "hello", cancel=Cancel()).result == "other\n"
    assert [row["field"] for row in audit(seen, "@root")["audit"]] == [None, "runners.cat.command"]


def test_a_broken_job_file_runs_its_last_good_definition_with_the_text_on_disk(seen: Root, root: Path) -> None:
    (root / "jobs/hello.yaml").write_text("id: [\n")
    (root / "prompts/hello.md").write_text("new text\n")
    finished = run_job(seen, "hello", cancel=Cancel())
    assert (finished.status, finished.result) == (RunStatus.SUCCEEDED, "new text\n")
    assert job(seen)["sync_state"] == "invalid"


def test_an_inline_task_cannot_be_taken_from_a_broken_file(seen: Root, root: Path) -> None:
    (root / "jobs/inline.yaml").write_text("id: inline\nschedule: {every: 1h}\ntask: hi\n")
    sync(seen)
    (root / "jobs/inline.yaml").write_text("id: inline\nschedule: [\ntask: hi\n")
    finished = run_job(seen, "inline", cancel=Cancel())
    assert (finished.status, finished.reason) == (RunStatus.SKIPPED, "source_invalid")


def test_a_broken_scheduler_yaml_leaves_the_last_good_settings_in_force(seen: Root, root: Path) -> None:
    (root / "scheduler.yaml").write_text("version: 2\n")
    assert run_job(seen, "hello", cancel=Cancel()).result == "say hello\n"


def test_a_job_file_that_is_gone_is_a_recorded_skip(seen: Root, root: Path) -> None:
    (root / "jobs/hello.yaml").unlink()
    finished = run_job(seen, "hello", cancel=Cancel())
    assert (finished.status, finished.reason) == (RunStatus.SKIPPED, "source_missing")
    assert job(seen)["sync_state"] == "synced", "only a sync archives"


def test_an_archived_job_is_not_run_and_gets_no_row(seen: Root, root: Path) -> None:
    run_job(seen, "hello", cancel=Cancel())
    (root / "jobs/other.yaml").write_text(JOB.replace("hello", "other", 1))
    (root / "jobs/hello.yaml").unlink()
    sync(seen)
    with pytest.raises(RefusedError, match="archived"):
        run(seen)
    assert len(history(seen, "hello")["runs"]) == 1


def test_an_id_that_only_a_file_names_says_to_sync(seen: Root, root: Path) -> None:
    (root / "jobs/new.yaml").write_text(JOB.replace("hello", "new", 1))
    with pytest.raises(UsageError) as error:
        run(seen, "new")
    assert "jobs/new.yaml:1" in str(error.value)
    assert "scheduler sync" in error.value.hint


# -- crashes -----------------------------------------------------------------------------------


def child(root: Path, code: str, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "scheduler", "--root", str(root), "run", code, "--wait"],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("point", "attempts", "marks"), [("after_claim", 0, 0), ("before_spawn", 0, 0), ("before_end", 1, 1)]
)
def test_a_kill_at_any_point_leaves_one_interrupted_run_that_nothing_repeats(
    seen: Root, root: Path, point: str, attempts: int, marks: int
) -> None:
    (root / "scripts/mark.sh").write_text(f"echo x >> {root}/marks\n")
    (root / "jobs/mark.yaml").write_text(
        "id: mark\nschedule: {every: 1h}\ntask_source_path: scripts/mark.sh\nrunner: sh\n"
    )
    sync(seen)
    killed = child(root, "mark", SCHEDULER_CRASH_AT=point)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    sync(seen)  # anybody who comes next tidies up
    (found,) = history(seen, "mark")["runs"]
    assert (found["status"], found["reason"], len(found["attempts"])) == ("interrupted", "owner_died", attempts)
    written = (root / "marks").read_text().count("x") if (root / "marks").exists() else 0
    assert written == marks, "the mark that the child itself writes"
    assert run_job(seen, "mark", cancel=Cancel()).status == "succeeded"


def test_a_killed_owner_has_its_child_ended_before_the_next_run_starts(seen: Root, root: Path) -> None:
    long_job(root, "echo $$ > {started}\nexec sleep 1000\n")
    sync(seen)
    owner = child(root, "long")
    with (root / "started").open() as pipe:
        pid = int(pipe.read())  # the child runs: its parent has noted it by the time it can be asked
    with Store.open(seen.place.db) as store:
        while store.read(runs.active)[0].process is None:
            pass
    before = identify(pid)
    owner.send_signal(signal.SIGKILL)
    owner.communicate(timeout=60)
    assert identify(pid) == before, "the child of a killed owner lives on until somebody looks"
    sync(seen)
    (found,) = history(seen, "long")["runs"]
    assert found["status"] == "interrupted"
    while not _ended(pid):  # SIGKILL has been sent; the kernel may take a moment
        pass


def _ended(pid: int) -> bool:
    """Gone, or a zombie that nobody has reaped yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


LONG = "id: long\nschedule: {every: 1h}\ntask_source_path: scripts/long.sh\nrunner: sh\n"


def long_job(root: Path, script: str) -> None:
    os.mkfifo(root / "started")
    (root / "scripts/long.sh").write_text(script.format(started=root / "started"))
    (root / "jobs/long.yaml").write_text(LONG)


def test_a_child_whose_pid_was_never_noted_is_ended_by_who_comes_next(seen: Root, root: Path) -> None:
    long_job(root, "echo $$ > {started}\nexec sleep 1000\n")
    sync(seen)
    owner = child(root, "long", SCHEDULER_CRASH_AT="after_spawn")
    pid = int((root / "started").read_text())
    owner.communicate(timeout=60)
    assert owner.returncode == -signal.SIGKILL
    with Store.open(seen.place.db) as store:
        assert store.read(runs.active)[0].process is None
    assert sync(seen).recovered[0] == "long:1"
    while not _ended(pid):
        pass


def test_what_a_dead_leader_left_in_its_group_is_ended_too(seen: Root, root: Path) -> None:
    long_job(root, "sleep 1000 & echo $! > {started}\nexec sleep 1000\n")
    sync(seen)
    owner = child(root, "long")
    pid = int((root / "started").read_text())
    with Store.open(seen.place.db) as store:
        while (process := store.read(runs.active)[0].process) is None:
            pass
    owner.send_signal(signal.SIGKILL)
    owner.communicate(timeout=60)
    os.kill(process.pid, signal.SIGKILL)  # the leader; its child lives on in the group
    while not _ended(process.pid):
        pass
    assert not _ended(pid)
    sync(seen)
    while not _ended(pid):
        pass


def test_an_end_that_meets_a_locked_database_is_written_as_it_was(
    seen: Root, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = runs.finish
    refusals = iter(range(2))

    def finish(*args: Any, **kwargs: Any) -> Any:
        if next(refusals, None) is not None:
            raise UnavailableError("locked")
        return written(*args, **kwargs)

    monkeypatch.setattr(runs, "finish", finish)
    assert run_job(seen, "hello", cancel=Cancel()).status == "succeeded"
    assert history(seen, "hello")["runs"][0]["result"] == "say hello\n"


def test_a_held_job_runs_with_the_text_on_disk(seen: Root, root: Path) -> None:
    (root / "jobs/hello.yaml").unlink()
    held = sync(seen)
    assert held.json["guard"] is not None
    assert run_job(seen, "hello", cancel=Cancel()).result == "say hello\n"


def test_a_dry_run_shows_what_a_run_would_do_now(seen: Root, root: Path) -> None:
    (root / "prompts/other.md").write_text("other\n")
    (root / "jobs/hello.yaml").write_text(JOB.replace("hello.md", "other.md"))
    assert dry_run_job(seen, "hello")["task"] == "other\n"
    assert history(seen, "hello")["runs"] == []
    assert job(seen)["task_source_path"] == "prompts/hello.md", "it has applied nothing"


def test_a_file_that_is_absent_for_a_moment_is_looked_for_again(seen: Root, root: Path) -> None:
    patient = replace(seen, absent_grace=timedelta(minutes=5))
    (root / "jobs/hello.yaml").rename(root / "kept")

    def bring_back(*_: object) -> None:
        threading.Timer(0.3, lambda: (root / "kept").rename(root / "jobs/hello.yaml")).start()

    assert run_job(patient, "hello", cancel=Cancel(), claimed=bring_back).status == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_the_run_as_cancelled_and_counts_no_error(
    seen: Root, root: Path, number: signal.Signals
) -> None:
    long_job(root, "echo $$ > {started}\nexec sleep 1000\n")
    sync(seen)
    owner = child(root, "long")
    (root / "started").read_text()
    owner.send_signal(number)
    owner.communicate(timeout=60)
    assert owner.returncode == 1
    assert history(seen, "long")["runs"][0]["status"] == "cancelled"
    assert job(seen, "long")["consecutive_errors"] == 0


def test_a_second_run_is_refused_while_the_first_lives_and_leaves_no_row(seen: Root, root: Path) -> None:
    long_job(root, "echo $$ > {started}\nexec sleep 1000\n")
    sync(seen)
    owner = child(root, "long")
    (root / "started").read_text()
    with pytest.raises(RefusedError, match="already running"):
        run(seen, "long")
    assert len(history(seen, "long")["runs"]) == 1
    owner.send_signal(signal.SIGTERM)
    owner.communicate(timeout=60)


def test_an_owner_is_alive_until_it_lets_go(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    assert is_alive(tmp_path, owner.id)
    owner.release()
    assert not is_alive(tmp_path, owner.id)
    assert list(tmp_path.iterdir()) == []


def test_an_outcome_that_could_never_be_written_is_not_replaced_by_another(
    seen: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = runs.finish
    refusals = iter(range(END_TRIES))

    def finish(*args: Any, **kwargs: Any) -> Any:
        if next(refusals, None) is not None:
            raise UnavailableError("locked")
        return written(*args, **kwargs)

    monkeypatch.setattr(runs, "finish", finish)
    with pytest.raises(EndNotWrittenError, match="succeeded, exit code 0"):
        run(seen)
    assert history(seen, "hello")["runs"][0]["status"] == "running"


def test_a_wait_for_an_absent_file_can_be_cancelled_and_counts_nothing(seen: Root, root: Path) -> None:
    (root / "jobs/hello.yaml").unlink()
    cancel = Cancel()
    cancel.request()
    finished = run_job(replace(seen, absent_grace=timedelta(minutes=5)), "hello", cancel=cancel)
    assert finished.status == "cancelled"
    found = job(seen)
    assert (found["run_count"], found["consecutive_errors"], found["last_run_at"]) == (0, 0, None)


def test_a_hang_up_that_nohup_ignores_does_not_end_the_run(seen: Root, root: Path) -> None:
    os.mkfifo(root / "go")
    long_job(root, "echo $$ > {started}\nread x < " + str(root / "go") + "\n")
    sync(seen)
    owner = subprocess.Popen(
        ["nohup", sys.executable, "-m", "scheduler", "--root", str(root), "run", "long", "--wait"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    (root / "started").read_text()
    owner.send_signal(signal.SIGHUP)
    (root / "go").write_text("go\n")
    owner.communicate(timeout=60)
    assert owner.returncode == 0


def test_many_syncs_at_once_all_succeed(seen: Root, root: Path) -> None:
    command = [sys.executable, "-m", "scheduler", "--root", str(root), "sync"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(8)]
    results = [(child.communicate(timeout=120)[1], child.returncode) for child in children]
    assert [code for _, code in results] == [0] * 8, results


def test_a_run_is_not_killed_because_its_process_cannot_be_noted(
    seen: Root, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that fills up, or a lock, right after the start: what has begun may not be begun a second time."""

    def refuse(*_: object, **__: object) -> None:
        raise UnavailableError("the database is locked by another process")

    monkeypatch.setattr(runs, "record_process", refuse)
    finished = run_job(seen, "hello", cancel=Cancel())
    assert (finished.status, finished.result) == (RunStatus.SUCCEEDED, "say hello\n")
    assert "process_not_recorded run_id=hello:1" in caplog.text


def test_a_task_file_that_cannot_be_removed_does_not_change_how_the_run_ended(
    seen: Root, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has become read-only while it ran."""
    (root / "scripts/s.sh").write_text("echo done; exit 3\n")
    (root / "jobs/s.yaml").write_text("id: s\nschedule: {every: 1h}\ntask_source_path: scripts/s.sh\nrunner: sh\n")
    sync(seen)
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.name.startswith("task-"):
            raise OSError(30, "Read-only file system")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    finished = run_job(seen, "s", cancel=Cancel())
    assert (finished.status, finished.exit_code, finished.result) == (RunStatus.FAILED, 3, "done\n")


@pytest.mark.parametrize("left", ["", "*\n"], ids=["emptied by a full disk", "whole"])
def test_a_state_folder_is_always_ignored_by_git(seen: Root, left: str) -> None:
    ignore = seen.place.state / ".gitignore"
    ignore.write_text(left)
    sync(seen)
    assert ignore.read_text() == "*\n"
