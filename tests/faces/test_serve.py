"""`scheduler serve` as a user meets it: a real process, files saved as editors save them, commands beside it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.machine.proc import is_living
from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.served import TICK, Served, ran
from tests.helpers import ROOT_FILE, Result, ended, until

root, serve = served.root, served.serve  # the fixtures

# -- what the daemon is for --------------------------------------------------------------------


def test_a_prompt_saved_by_rename_is_what_the_next_fire_runs(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    until(lambda: ran(root, "first\n"), "a fire")
    root.write("prompts/tick.md", "second\n")
    run = until(lambda: ran(root, "second\n"), "a fire with the new text")
    assert root.ok("task", run["id"]).stdout == "second\n"
    assert (run["trigger"], run["dirty"]) == ("schedule", "modified")
    first = ran(root, "first\n")
    assert root.ok("task", first["id"]).stdout == "first\n"
    assert first["dirty"] is None


def test_a_markdown_job_added_later_fires_without_a_restart(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    root.write("jobs/agents/new/hello.md", "---\nid: hello\nschedule: {every: 1s}\n---\nHello.\n")
    until(lambda: root.cli("show", "hello").code == 0, "the job")
    assert until(lambda: ran(root, "Hello.\n", "hello"), "its fire")["source_path"] == "jobs/agents/new/hello.md"


def test_a_job_whose_file_is_removed_is_archived_and_its_history_stays(
    root: Root, serve: Callable[..., Served]
) -> None:
    root.write("jobs/other.yaml", "id: other\nschedule: {every: 1h}\ntask: x\n")
    serve()
    until(lambda: ran(root, "first\n"), "a fire")
    root.delete("jobs/tick.yaml")
    until(lambda: root.job("tick")["status"] == "archived", "the archive")
    assert ran(root, "first\n")
    (archived,) = [row for row in root.json("audit", "tick")["audit"] if row["action"] == "archive"]
    assert archived["cause"] == "watch"


def test_a_move_in_two_steps_is_a_move(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    text = (root.path / "jobs/tick.yaml").read_text()
    root.delete("jobs/tick.yaml")
    root.write("jobs/moved/tock.yaml", text)
    until(lambda: root.job("tick")["source_path"] == "jobs/moved/tock.yaml", "the move")
    actions = {row["action"] for row in root.json("audit", "tick")["audit"]}
    assert "archive" not in actions


def test_a_broken_edit_changes_nothing_but_the_sync_state(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/daily.yaml", "id: daily\nschedule: '@daily'\ntask: x\n")
    serve()
    before = root.job("daily")
    root.write("jobs/daily.yaml", "id: daily\nschedule: '@nightly'\ntask: x\n")
    after = until(lambda: (job := root.job("daily"))["sync_state"] == "invalid" and job, "the mark")
    changed = {key for key in before if before[key] != after[key]}
    assert changed <= {"sync_state", "problems", "updated_at", "task_sha256", "version"}
    assert [problem["code"] for problem in after["problems"]] == ["schedule.cron"]
    root.write("jobs/daily.yaml", "id: daily\nschedule: '@daily'\ntask: x\n")
    until(lambda: root.job("daily")["sync_state"] == "synced", "the mark to go")


def test_a_truncating_save_is_never_taken_for_a_loss(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    path = root.path / "jobs/tick.yaml"
    for number in range(5):
        path.write_text("")  # what an editor that writes in place shows for a moment
        path.write_text(TICK + f"name: Number {number}\n")
    until(lambda: root.job("tick")["name"] == "Number 4", "the last save")
    assert "sync_state" not in {row["action"] for row in root.json("audit", "tick")["audit"]}


def test_a_loss_is_believed_after_its_second_whatever_else_changes_in_the_root(
    root: Root, serve: Callable[..., Served]
) -> None:
    root.write("jobs/daily.yaml", "id: daily\nschedule: '@daily'\ntask: x\n")
    serve()
    stop = threading.Event()

    def noise() -> None:
        while not stop.wait(0.05):
            (root.path / "log").write_text(str(time.monotonic()))

    thread = threading.Thread(target=noise)
    thread.start()
    try:
        root.write("jobs/daily.yaml", "id: [\n")
        until(lambda: root.job("daily")["sync_state"] == "invalid", "the mark")
    finally:
        stop.set()
        thread.join()
    marks = [row["cause"] for row in root.json("audit", "daily")["audit"] if row["action"] == "sync_state"]
    assert marks == ["watch"], "no rescan had to find it"


def test_a_problem_is_told_once_in_the_log(root: Root, serve: Callable[..., Served]) -> None:
    daemon = serve()
    root.write("jobs/new.yaml", "id: new\nschedule: x\ntask: x\n")
    daemon.says("problem path=jobs/new.yaml ")
    root.delete("jobs/new.yaml")
    daemon.says("problems_gone")
    assert sum("problem path=jobs/new.yaml" in line for line in daemon.lines) == 1


def test_the_log_says_how_many_the_guard_holds_and_when_it_holds_none_any_more(
    root: Root, serve: Callable[..., Served]
) -> None:
    for i in range(25):
        root.write(f"jobs/many/j{i:02}.yaml", f"id: j{i:02}\nschedule: '@daily'\ntask: one\n")
    root.commit()
    daemon = serve()
    shutil.rmtree(root.path / "jobs/many")
    told = daemon.says("guard_holds jobs=j00,")
    assert " more=5: " in told
    root.edit("jobs/tick.yaml", "id: tick", "id: tick\nname: Renamed")
    until(lambda: root.job("tick")["name"] == "Renamed", "the edit")
    root.git("checkout", "-q", "--", "jobs")
    daemon.says("guard_holds_no_more")
    assert sum("guard_holds_no_more" in line for line in daemon.lines) == 1


def test_a_checkout_of_many_files_archives_nothing_it_brings_back(root: Root, serve: Callable[..., Served]) -> None:
    for i in range(60):
        root.write(f"jobs/many/j{i}.yaml", f"id: j{i}\nschedule: '@daily'\ntask: one\n")
    root.commit()
    root.git("checkout", "-qb", "next")
    for i in range(60):
        root.write(f"jobs/many/j{i}.yaml", f"id: j{i}\nname: Next {i}\nschedule: '@daily'\ntask: two\n")
    root.commit()
    root.git("checkout", "-q", "main")
    serve()
    root.git("checkout", "-q", "next")
    until(lambda: all(root.job(f"j{i}")["name"] == f"Next {i}" for i in range(60)), "the branch")
    actions = {row["action"] for row in root.json("audit")["audit"]}
    assert not actions & {"archive", "revive", "sync_state"}


def test_edits_wait_while_git_is_half_way_and_count_when_it_is_done(root: Root, serve: Callable[..., Served]) -> None:
    daemon = serve()
    root.git("bisect", "start")
    root.edit("jobs/tick.yaml", "id: tick", "id: tick\nname: Renamed")
    daemon.says("sync_held reason='a bisect is in progress in the repository'")
    root.write("prompts/tick.md", "second\n")
    until(lambda: ran(root, "second\n"), "a run with the text on disk")
    assert root.job("tick")["generation"] == 1
    root.git("bisect", "reset")
    daemon.says("sync_held_no_more")
    until(lambda: root.job("tick")["generation"] == 2, "the edit")
    assert root.job("tick")["name"] == "Renamed"


def test_a_job_that_keeps_failing_is_stopped_and_starts_again_once_it_is_mended(
    root: Root, serve: Callable[..., Served]
) -> None:
    root.write("scripts/flaky.sh", "exit 3\n")
    flaky = "id: flaky\nschedule: {every: 1s}\ntask_source_path: scripts/flaky.sh\nrunner: sh\nfailure_limit: 2\n"
    root.write("jobs/flaky.yaml", flaky)
    daemon = serve()
    daemon.says("job_stopped job_id=flaky reason='2 errors in a row'")
    job = root.job("flaky")
    assert (job["status"], job["stop_reason"], job["run_count"]) == ("stopped", "2 errors in a row", 2)
    assert "stopped/failing 2" in root.ok("list").stdout
    assert any("too many errors" in each["message"] for each in root.cli("doctor", "--json").json["checks"])
    root.write("prompts/tick.md", "second\n")
    until(lambda: ran(root, "second\n"), "slots that pass meanwhile")
    root.write("scripts/flaky.sh", "echo mended\n")
    run = until(lambda: ran(root, "mended\n", "flaky"), "a run of the mended script")
    assert run["fire_time"] > root.json("audit", "flaky")["audit"][-1]["at"][:19], "nothing is made up for"
    assert [each["reason"] for each in root.runs("flaky") if each["status"] == "skipped"] == []
    assert root.job("flaky")["consecutive_errors"] == 0


def test_resume_starts_a_stopped_job_again(root: Root, serve: Callable[..., Served]) -> None:
    broken = "id: broken\nschedule: {every: 1s}\ntask: exit 3\nrunner: sh\nfailure_limit: 1\n"
    root.write("jobs/broken.yaml", broken)
    daemon = serve()
    daemon.says("job_stopped job_id=broken")
    assert root.cli("run", "broken", "--wait").code == 1, "by hand it may still run"
    assert root.job("broken")["status"] == "stopped"
    assert "broken is active" in root.ok("resume", "broken").stderr
    until(lambda: root.job("broken")["run_count"] == 3, "another fire")
    until(lambda: root.job("broken")["status"] == "stopped", "the next error counts from there")
    assert [row["action"] for row in root.json("audit", "broken")["audit"] if row["field"] == "status"] == [
        "stop",
        "resume",
        "stop",
    ]


def test_a_resume_that_lifts_a_pause_and_starts_a_stopped_job_again_is_told_as_both(
    root: Root, serve: Callable[..., Served]
) -> None:
    root.write("jobs/broken.yaml", "id: broken\nschedule: {every: 1s}\ntask: exit 3\nrunner: sh\nfailure_limit: 1\n")
    serve().says("job_stopped job_id=broken")
    pause = root.json("pause", "broken")["job"]["paused"]
    root.ok("resume", "broken")
    told = [row for row in root.json("audit", "broken")["audit"] if row["action"] == "resume"]
    assert [(row["field"], row["before"], row["after"]) for row in told] == [
        ("pause", pause, None),
        ("status", "stopped", "active"),
    ]


def test_a_task_that_is_back_as_it_was_is_no_edit_and_doctor_says_what_starts_the_job(
    root: Root, serve: Callable[..., Served]
) -> None:
    root.write("scripts/lost.sh", "echo found\n")
    root.write("scripts/kept.sh", "echo kept\n")  # an empty folder would be a place that is gone
    lost = "id: lost\nschedule: {every: 1s}\ntask_source_path: scripts/lost.sh\nrunner: sh\nfailure_limit: 1\n"
    root.write("jobs/lost.yaml", lost)
    daemon = serve()
    root.delete("scripts/lost.sh")
    daemon.says("job_stopped job_id=lost")
    root.write("scripts/lost.sh", "echo found\n")
    daemon.says("problems_gone")
    assert root.json("sync")["problems"] == []
    assert root.job("lost")["status"] == "stopped"
    hints = [each["hint"] for each in root.cli("doctor", "--json").json["checks"] if "too many" in each["message"]]
    assert ["or run `scheduler resume JOB`" in hint for hint in hints] == [True]
    root.ok("resume", "lost")
    until(lambda: ran(root, "found\n", "lost"), "a run")


def test_a_daemon_that_lets_its_runs_end_says_that_it_is_stopping(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/slow.yaml", "id: slow\nschedule: '@yearly'\ntask: sleep 1000\nrunner: sh\n")
    daemon = serve()
    root.ok("run", "slow")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.says("stopping signal=SIGTERM")
    time.sleep(0.5)  # its threads end meanwhile, as they should
    assert root.json("list")["troubles"] == ["the daemon is stopping: running jobs may finish, no new ones start"]
    root.ok("cancel", "slow:1")
    assert daemon.ended() == 0


def test_a_job_is_completed_once_it_has_expired(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    until(lambda: ran(root, "first\n"), "a run")
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    root.write("jobs/tick.yaml", TICK + f"expires: {soon:%Y-%m-%dT%H:%M:%SZ}\n")
    until(lambda: root.job("tick")["status"] == "completed", "its end")
    until(lambda: root.runs("tick")[0]["status"] == "succeeded", "the end of its last run")
    assert root.runs("tick")[0]["fire_time"] == f"{soon:%Y-%m-%dT%H:%M:%SZ}"
    root.write("jobs/tick.yaml", TICK)
    until(lambda: root.runs("tick")[0]["fire_time"] > f"{soon:%Y-%m-%dT%H:%M:%SZ}", "another fire")


def test_an_edit_of_the_schedule_counts_at_once(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/tick.yaml", TICK.replace("1s", "1h"))
    serve()
    assert root.runs("tick") == []
    root.write("jobs/tick.yaml", TICK)
    until(lambda: ran(root, "first\n"), "a fire by the new schedule")


# -- commands beside it ------------------------------------------------------------------------


def test_a_second_daemon_says_who_holds_the_database(root: Root, serve: Callable[..., Served]) -> None:
    first = serve()
    second = serve(waits=False)
    assert second.ended() == 5
    assert f"process {first.process.pid} on" in "".join(second.lines)
    assert first.stop() == 0
    third = serve()
    assert third.stop() == 0


def test_a_run_goes_through_the_daemon(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/env.yaml", "id: env\nschedule: '@daily'\ntask: 'echo $ONLY_THERE'\nrunner: sh\n")
    root.edit("scheduler.yaml", "tasks:", "env_from: [ONLY_THERE], tasks:")
    serve(ONLY_THERE="the daemon's own")
    found = root.cli("run", "env", "--wait")
    assert (found.code, found.stdout) == (0, "the daemon's own\n")
    assert "foreground" not in found.stderr
    started = root.json("run", "env")["run"]
    assert (started["id"], started["trigger"]) == ("env:2", "manual")
    assert root.ok("output", "env:2", "--follow").stdout == "the daemon's own\n"
    refused = root.cli("run", "nothing")
    assert (refused.code, "there is no job 'nothing'" in refused.stderr) == (2, True)


def test_a_sync_goes_through_the_daemon_and_answers_the_same(root: Root, serve: Callable[..., Served]) -> None:
    daemon = serve()
    root.write("jobs/tick.yaml", TICK.replace("1s", "1h") + "tag: [x]\n")
    found = root.cli("sync", "--json")
    assert found.code == 1
    assert found.problems == [("jobs/tick.yaml", 4, 1, "key.unknown")]
    assert found.json["guard"] is None
    daemon.says("cause=sync")
    root.delete("jobs/tick.yaml")
    guarded = root.cli("sync", "--json")
    assert guarded.code == 3
    token = guarded.json["guard"]["token"]
    assert root.cli("sync", "--confirm-prune", "wrong").code == 3
    assert root.json("sync", "--confirm-prune", token)["archived"] == ["tick"]


def test_a_pause_and_a_resume_count_at_once(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    until(lambda: ran(root, "first\n"), "a fire")
    paused = root.json("pause", "tick", "--reason", "deploy")["job"]
    assert (paused["status"], paused["paused"]["reason"], paused["paused"]["until"]) == ("paused", "deploy", None)
    ranges = until(
        lambda: [run for run in root.runs("tick") if run["reason"] == "paused" and run["slots"] > 1], "two skips"
    )
    assert len(ranges) == 1
    runs = root.job("tick")["run_count"]
    assert root.json("resume", "tick")["job"]["status"] == "active"
    until(lambda: root.job("tick")["run_count"] > runs, "the next fire")
    assert [row["action"] for row in root.json("audit", "tick")["audit"]][-2:] == ["pause", "resume"]


def test_cancel_ends_a_run_of_the_daemon(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/long.yaml", "id: long\nschedule: '@daily'\ntask: 'echo on; exec sleep 1000'\nrunner: sh\n")
    serve()
    root.ok("run", "long")
    until(lambda: root.cli("output", "long:1").stdout == "on\n", "its output")
    assert root.json("cancel", "long:1")["run"]["status"] == "cancelled"
    again = root.cli("cancel", "long:1")
    assert (again.code, "has already ended: cancelled" in again.stderr) == (3, True)
    assert root.job("long")["consecutive_errors"] == 0


def test_a_queued_run_is_cancelled_before_it_starts_and_more_places_start_the_others(
    root: Root, serve: Callable[..., Served]
) -> None:
    root.delete("jobs/tick.yaml")
    root.write("scheduler.yaml", ROOT_FILE + "limits: {max_running: 1}\n")
    serve()
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    for i in range(4):
        root.write(
            f"jobs/q{i}.yaml",
            f"id: q{i}\nschedule: {{at: '{soon}'}}\ntask: 'echo q{i} >> marks; exec sleep 1000'\nrunner: sh\n",
        )
    root.ok("sync")
    until(lambda: [run for i in range(4) for run in root.runs(f"q{i}")][3:], "the slot")
    assert [root.runs(f"q{i}")[0]["status"] for i in (1, 2, 3)] == ["queued"] * 3
    assert root.json("cancel", "q1:1")["run"]["status"] == "cancelled"
    root.write("scheduler.yaml", ROOT_FILE + "limits: {max_running: 4}\n")
    until(lambda: (root.path / "marks").read_text().split() and all(
        root.runs(f"q{i}")[0]["status"] == "running" for i in (0, 2, 3)), "the others")  # fmt: skip
    for i in (0, 2, 3):
        assert root.json("cancel", f"q{i}:1")["run"]["status"] == "cancelled"
    assert "q1" not in (root.path / "marks").read_text()


def is_stopped_without_a_lock(daemon: Served, root: Root) -> bool:
    """Stops it. If it was writing, it goes on."""
    daemon.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED)
    with contextlib.closing(sqlite3.connect(root.db, timeout=0, isolation_level=None)) as sql:
        try:
            sql.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            daemon.process.send_signal(signal.SIGCONT)
            return False
        sql.execute("ROLLBACK")
        return True


def test_a_daemon_that_hangs_is_not_waited_for_for_ever(
    root: Root, serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.control.client._PATIENCE_S", 0.5)
    monkeypatch.setattr("scheduler.service.doctor.examine.STATUS_S", 0.5)
    root.edit("jobs/tick.yaml", "{every: 1s}", "'@yearly'")
    daemon = serve()
    root.ok("sync")
    try:
        until(lambda: is_stopped_without_a_lock(daemon, root), "a moment in which it writes nothing")
        for command in (("sync",), ("run", "tick"), ("doctor",)):
            found = root.cli(*command)
            assert (found.code, "has not answered" in found.stderr + found.stdout) == (5, True)
        assert root.cli("pause", "tick").code == 0, "the database is the truth"
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert daemon.stop() == 0


def test_a_database_held_for_another_root_is_refused_by_name(
    root: Root, serve: Callable[..., Served], tmp_path: Path
) -> None:
    serve()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/scheduler.yaml").write_text(ROOT_FILE)
    elsewhere = ("--root", str(tmp_path / "other"), "--db", str(root.path / ".scheduler/state.db"))
    for command in ("sync", "serve"):
        found = root.cli(*elsewhere, command)
        assert found.code in (3, 5)
        assert str(root.path) in found.stderr
    assert root.cli(*elsewhere, "doctor").code == 1


def test_a_job_file_moved_at_its_fire_runs_from_its_new_place(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    until(lambda: ran(root, "first\n"), "a fire")
    for _ in range(6):
        (root.path / "jobs/tick.yaml").rename(root.path / "jobs/tock.yaml")
        until(lambda: root.job("tick")["source_path"] == "jobs/tock.yaml", "the move")
        (root.path / "jobs/tock.yaml").rename(root.path / "jobs/tick.yaml")
        until(lambda: root.job("tick")["source_path"] == "jobs/tick.yaml", "the move back")
    count = root.job("tick")["run_count"]
    until(lambda: root.job("tick")["run_count"] > count, "another fire")
    assert not [run for run in root.runs("tick") if run["reason"] == "source_missing"]


def test_a_prompt_saved_by_deleting_and_writing_is_waited_for(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    prompt = root.path / "prompts/tick.md"
    for i in range(6):
        prompt.unlink()
        time.sleep(0.1)
        prompt.write_text("")
        time.sleep(0.1)
        prompt.write_text(f"save {i}\n")
        time.sleep(0.1)
    until(lambda: ran(root, "save 5\n"), "the last save")
    assert {run["status"] for run in root.runs("tick")} <= {"succeeded", "skipped", "running", "claimed"}
    assert {run["reason"] for run in root.runs("tick")} <= {None, "overlap", "missed"}


def test_an_output_that_is_cut_is_followed_to_its_tail(root: Root, serve: Callable[..., Served]) -> None:
    root.write("scheduler.yaml", ROOT_FILE + "limits: {output_bytes: 4KiB}\n")
    root.write("jobs/big.yaml", "id: big\nschedule: '@daily'\ntask: 'seq 1 20000'\nrunner: sh\n")
    serve()
    root.ok("run", "big")
    shown = root.process("output", "big:1", "--follow").stdout
    assert shown.startswith("1\n2\n3\n")
    assert "bytes not kept" in shown
    assert shown.endswith("19999\n20000\n")


def test_cancel_ends_a_run_in_somebodys_foreground(root: Root) -> None:
    root.write("jobs/long.yaml", "id: long\nschedule: '@daily'\ntask: 'exec sleep 1000'\nrunner: sh\n")
    root.sync()
    foreground = root.start("run", "long", "--wait")
    until(lambda: any(run["status"] == "running" for run in root.runs("long")), "the run")
    assert root.json("cancel", "long:1")["run"]["status"] == "cancelled"
    assert ended(foreground).code == 1


def test_ctrl_c_ends_the_waiting_and_not_the_run(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/long.yaml", "id: long\nschedule: '@daily'\ntask: 'exec sleep 1000'\nrunner: sh\n")
    serve()
    waiting = root.start("run", "long", "--wait")
    until(lambda: any(run["status"] == "running" for run in root.runs("long")), "the run")
    waiting.send_signal(signal.SIGINT)
    found = ended(waiting)
    assert (found.code, "long:1 continues in the daemon" in found.stderr) == (130, True)
    assert root.runs("long")[0]["status"] == "running"
    root.ok("cancel", "long:1")


def test_many_commands_at_once_do_no_harm(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    commands = [("sync",), ("pause", "tick"), ("resume", "tick"), ("list",), ("doctor",), ("history", "tick")] * 2
    found: list[Result] = [ended(each) for each in [root.start(*command) for command in commands]]
    assert {result.code for result in found} == {0}, found


def test_output_is_followed_while_it_grows(root: Root, serve: Callable[..., Served]) -> None:
    os.mkfifo(root.path / "go")
    script = "'echo one; echo oops >&2; read x < go; echo two'"
    root.write("jobs/slow.yaml", f"id: slow\nschedule: '@daily'\ntask: {script}\nrunner: sh\n")
    serve()
    root.ok("run", "slow")
    following = root.start("output", "slow:1", "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() == "one\n"
    (root.path / "go").write_text("go\n")
    assert following.stdout.readline() == "two\n"
    rest = ended(following)
    assert (rest.code, rest.stderr) == (0, "oops\n")


# -- how it starts and stops -------------------------------------------------------------------


def test_on_an_empty_database_it_says_which_jobs_it_is_about_to_own(root: Root, serve: Callable[..., Served]) -> None:
    first = serve()
    assert "about to create 1 job: tick" in first.says("new_database")
    first.stop()
    second = serve()
    assert not any("new_database" in line for line in second.lines)


def test_observe_syncs_and_fires_nothing(root: Root, serve: Callable[..., Served]) -> None:
    daemon = serve("--observe")
    daemon.says("observing reason=--observe")
    root.write("jobs/new.yaml", "id: new\nschedule: {every: 1s}\ntask: x\n")
    until(lambda: root.cli("show", "new").code == 0, "the job")
    time.sleep(1.5)  # a slot goes by
    assert (root.runs("tick"), root.runs("new")) == ([], [])
    root.sql("UPDATE jobs SET next_run_at = '2026-01-01T00:00:00.000000Z'")
    well = root.json("doctor")
    assert any("only observes" in check["message"] for check in well["checks"]), "and that nothing fires is no illness"


def test_hosts_decides_where_it_fires_and_counts_like_any_edit(root: Root, serve: Callable[..., Served]) -> None:
    root.write("scheduler.yaml", ROOT_FILE + "hosts: [nowhere-*]\n")
    daemon = serve()
    assert "hosts in scheduler.yaml is nowhere-*" in daemon.says("observing")
    root.write("scheduler.yaml", ROOT_FILE + "hosts: ['*']\n")
    daemon.says("firing_resumed")
    until(lambda: ran(root, "first\n"), "a fire")


def test_once_runs_what_is_due_and_ends(root: Root) -> None:
    def due_in(seconds: int) -> datetime:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        for job_id, task in (("good", "exit 0"), ("bad", "exit 3")):
            root.write(
                f"jobs/{job_id}.yaml",
                f"id: {job_id}\nschedule: {{at: '{at.isoformat()}'}}\ntask: '{task}'\nrunner: sh\n",
            )
        root.sync()
        return at

    root.write("jobs/tick.yaml", TICK.replace("1s", "30d"))
    due_in(3600)
    assert root.process("serve", "--once").code == 0, "nothing is due"
    soon = due_in(4)
    until(lambda: datetime.now(UTC) > soon, "the slot")
    assert root.process("serve", "--once").code == 1, "one of the runs failed"
    assert [root.runs(job_id)[0]["status"] for job_id in ("good", "bad")] == ["succeeded", "failed"]
    assert (root.runs("tick"), root.job("good")["status"]) == ([], "completed")
    assert root.process("serve", "--once").code == 0


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--listen", "nowhere"), 2, "is not an address to listen on"),
        (("--listen", "0.0.0.0:8484"), 3, "can be reached from other machines"),
        (("--trust-proxy", "10.0.0.1"), 2, "needs --user-header too"),
        (("--user-header", "Remote-User"), 2, "needs --trust-proxy too"),
        (("--trust-proxy", "0.0.0.0/0", "--user-header", "Remote-User"), 2, "is every address"),
        (("--trust-proxy", "proxy", "--user-header", "Remote-User"), 2, "is not a network"),
        (("--trust-proxy", "10.0.0.1", "--user-header", "Remote-User: x"), 2, "is not a header for the name of a user"),
        (("--allow-host", "https://jobs.example"), 2, "is not a host name"),
        (("--allow-host", "jobs.example:443"), 2, "is not a host name"),
        (("--observe", "--once"), 2, "leave one of them out"),
    ],
)
def test_what_is_not_built_is_refused(root: Root, args: tuple[str, ...], code: int, said: str) -> None:
    found = root.process("serve", *args)
    assert (found.code, said in found.stderr) == (code, True)
    assert not (root.path / ".scheduler").exists()


def test_a_database_that_is_gone_with_outputs_left_behind_is_refused_until_somebody_says_so(
    root: Root, serve: Callable[..., Served]
) -> None:
    root.sync()
    root.ok("run", "tick", "--wait")
    for file in (root.path / ".scheduler").glob("state.db*"):
        file.unlink()
    for command in ("serve", "sync"):
        refused = root.process(command)
        assert (refused.code, "--new-state" in refused.stderr) == (3, True)
    daemon = serve("--new-state")
    daemon.says("new_database")
    (kept,) = (root.path / ".scheduler").glob("runs.before-*")
    assert (kept / "tick/1.1.stdout").read_text() == "first\n"


def test_a_database_deleted_under_it_stops_the_firing_and_is_not_made_anew(
    root: Root, serve: Callable[..., Served]
) -> None:
    daemon = serve()
    until(lambda: ran(root, "first\n"), "a fire")
    root.git("clean", "-qfdx")
    daemon.says("database_gone reason=")
    assert not (root.path / ".scheduler/state.db").exists()
    assert daemon.stop() == 0


def test_doctor_tells_what_is_wrong_by_its_exit_code(root: Root, serve: Callable[..., Served]) -> None:
    serve()
    until(lambda: ran(root, "first\n"), "a fire")
    well = root.json("doctor")
    assert well["healthy"]
    names = {"files", "git", "state", "database", "jobs", "daemon", "backup"}
    assert names <= {check["name"] for check in well["checks"]}
    root.write("jobs/bad.yaml", "id: bad\n")
    ill = root.cli("doctor", "--json")
    assert (ill.code, ill.json["healthy"]) == (1, False)
    assert [check["name"] for check in ill.json["checks"] if check["status"] == "error"] == ["files"]


def test_doctor_knows_a_slot_that_nobody_served(root: Root) -> None:
    root.sync()
    root.sql("UPDATE jobs SET activated_at = '2026-01-01T00:00:00.000000Z' WHERE id = 'tick'")
    root.sql("UPDATE jobs SET next_run_at = '2031-01-01T00:00:00.000000Z'")  # the cursor of a program that lost one
    found = root.cli("doctor")
    assert found.code == 1
    assert "a slot was due over a minute ago and has neither run nor been skipped: tick" in found.stdout


def test_once_answers_while_it_runs(root: Root) -> None:
    os.mkfifo(root.path / "go")
    soon = datetime.now(UTC) + timedelta(seconds=2)
    root.write("jobs/slow.yaml", f"id: slow\nschedule: {{at: '{soon.isoformat()}'}}\ntask: 'read x < go'\nrunner: sh\n")
    root.write("jobs/tick.yaml", TICK.replace("1s", "30d"))
    root.sync()
    until(lambda: datetime.now(UTC) > soon, "the slot")
    once = root.start("serve", "--once")
    until(lambda: any(run["status"] == "running" for run in root.runs("slow")), "the run")
    assert root.cli("run", "tick", "--wait").stdout == "first\n"
    assert root.json("doctor")["healthy"]
    (root.path / "go").write_text("go\n")
    assert ended(once).code == 0


def test_a_request_that_makes_no_sense_is_answered(root: Root, serve: Callable[..., Served]) -> None:
    import socket

    serve()
    holder = json.loads((root.path / ".scheduler/state.db.daemon").read_text())
    for nonsense in (b"nonsense\n", b"{}\n", b'{"verb": "fly"}\n', b"[1]\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(holder["socket"]))
            connection.sendall(nonsense)
            assert json.loads(connection.makefile().readline())["exit_code"] == 2
    assert root.cli("sync").code == 0


def test_a_state_folder_with_a_long_path_is_no_hindrance(root: Root, serve: Callable[..., Served]) -> None:
    state = root.path / ("d" * 120)
    daemon = serve("--state", str(state))
    assert root.json("--state", str(state), "doctor")["healthy"]
    assert daemon.stop() == 0


# -- what a run leaves behind ------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
@pytest.mark.parametrize("hidden", [False, True], ids=["with its id", "without its id"])
def test_what_a_run_has_detached_is_ended_with_it_or_named(
    root: Root, serve: Callable[..., Served], hidden: bool
) -> None:
    script = "setsid sh -c 'echo $$ > pid; exec sleep 1000' > /dev/null 2>&1 &\nuntil [ -s pid ]; do sleep 0.01; done\n"
    root.write("scripts/leaves.sh", script.replace("setsid", "env -i PATH=$PATH setsid" if hidden else "setsid"))
    root.write(
        "jobs/leaves.yaml", "id: leaves\nschedule: {every: 1h}\nrunner: sh\ntask_source_path: scripts/leaves.sh\n"
    )
    serve()
    assert root.process("run", "leaves", "--wait").code == 0
    pid = int((root.path / "pid").read_text())
    run = root.runs("leaves")[0]
    doctor = [each for each in root.cli("doctor", "--json").json["checks"] if each["name"] == "left"]
    assert run["status"] == "succeeded"
    if not hidden:
        assert (run["error"], doctor, is_living(pid)) == (None, [], False)
        return
    named = f"{pid} (sleep: it has no SCHEDULER_RUN_ID)"
    try:
        assert run["error"] == f"still running: {named}"
        assert [(each["status"], named in each["message"]) for each in doctor] == [("warning", True)]
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), "its end, reaped by the daemon")


def test_a_daemon_holds_its_fires_while_the_link_that_names_its_root_leads_elsewhere(
    root: Root, serve: Callable[..., Served]
) -> None:
    current, following = root.path.parent / "current", root.path.parent / "next"
    shutil.copytree(root.path, following)
    current.symlink_to(root.path)
    daemon = serve("--root", str(current))
    until(lambda: ran(root, "first\n"), "a run")
    (root.path.parent / "new").symlink_to(following)
    (root.path.parent / "new").replace(current)
    daemon.says(f"{current} now leads to {following}")
    assert f"{current} now leads to {following}" in root.cli("explain", "tick").stderr
    (root.path / "prompts/tick.md").write_text("stale\n")
    assert daemon.alive
    current.unlink()
    (root.path / "prompts/tick.md").write_text("back\n")
    current.symlink_to(root.path)
    until(lambda: ran(root, "back\n"), "a run again")
    assert ran(root, "stale\n") is None


def test_a_root_without_any_job_is_told_once_in_the_log(root: Root, serve: Callable[..., Served]) -> None:
    for path in (root.path / "jobs").iterdir():
        path.unlink()
    daemon = serve()
    daemon.says("problem path=scheduler.yaml line=1 column=1 code=jobs.none")
    root.write("jobs/new.yaml", "id: new\nschedule: '@daily'\ntask: x\n")
    daemon.says("problems_gone")
    assert sum("code=jobs.none" in line for line in daemon.lines) == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_each_synced_line_of_the_log_says_how_long_the_pass_took(
    root: Root, serve: Callable[..., Served], form: str
) -> None:
    mark = '"event": "synced"' if form == "json" else " synced cause="
    daemon = serve("--log-format", form, waits=False)
    daemon.says(mark)
    root.write("jobs/new.yaml", "id: new\nschedule: '@daily'\ntask: x\n")
    until(lambda: sum(mark in line for line in daemon.lines) >= 2, "a second pass")
    lines = [line for line in daemon.lines if mark in line]
    if form == "json":
        took = [json.loads(line)["duration_ms"] for line in lines]
    else:
        took = [int(found[1]) for line in lines if (found := re.search(r" duration_ms=(\d+)$", line.rstrip()))]
    assert len(took) == len(lines)
    assert all(isinstance(each, int) and 0 <= each < 60_000 for each in took)


def test_a_killed_daemon_is_an_error_before_any_slot_is_late(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/tick.yaml", "id: tick\nschedule: '@yearly'\ntask_source_path: prompts/tick.md\n")
    daemon = serve()
    assert root.json("status")["daemon"]["state"] == "serving"
    assert root.cli("status", "--exit-code").code == 0
    assert root.json("list")["troubles"] == []
    until(lambda: root.json("status")["next"], "a next fire")
    daemon.kill()
    assert root.json("status")["daemon"]["state"] == "dead"
    assert root.cli("status", "--exit-code").code == 1
    assert root.cli("doctor").code == 1
    again = serve()
    assert root.cli("status", "--exit-code").code == 0
    again.tell(signal.SIGTERM)
    until(lambda: not again.alive, "the end of the daemon")
    assert root.json("status")["daemon"]["state"] == "stopped"
    assert root.cli("doctor").code == 1
