"""Runs that are tried again: the text they had, one row, and a back-off that holds no place (F2, F4, F5)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import Root
from tests.faces.served import TICK, Served, ran, root, serve
from tests.helpers import LONG_S, until

__all__ = ["root", "serve"]  # fixtures

Serve = Callable[..., Served]

# It leaves a try to whoever is there for ten seconds, and looks again after as many; a test need not wait that long.
HASTY = """
import datetime, scheduler.cli, scheduler.daemon.clockwork as clockwork, scheduler.daemon.daemon as daemon
clockwork.LOOK_AGAIN_S, daemon.RETRY_LATE = 1.0, datetime.timedelta(seconds=1)
scheduler.cli.main()
"""
FLAKY = """\
id: flaky
schedule: {{cron: "0 0 1 1 *"}}
task_source_path: scripts/flaky.sh
runner: sh
retry: {retry}
"""


def flaky(root: Root, retry: str, *lines: str, every: str = "") -> None:
    """A job whose script writes a line for each attempt to a file outside of the root."""
    root.write("scripts/flaky.sh", "\n".join([f'echo "$SCHEDULER_ATTEMPT" >> {log(root)}', *lines, ""]))
    text = FLAKY.format(retry=retry)
    root.write("jobs/flaky.yaml", text.replace('{cron: "0 0 1 1 *"}', f"{{every: {every}}}") if every else text)


def log(root: Root) -> Path:
    return root.path.parent / "attempts"


def attempts(root: Root) -> list[str]:
    return log(root).read_text().split() if log(root).exists() else []


def newest(root: Root, job_id: str = "flaky") -> Any:
    return root.runs(job_id)[0]


def put_off(root: Root) -> Any:
    return until(
        lambda: next((run for run in root.runs("flaky") if run["reason"] == "retry"), None), "a run that waits"
    )


def test_a_run_that_fails_is_tried_again_with_the_text_that_it_had(root: Root) -> None:
    edit = f"echo 'echo another text' > {root.path}/scripts/flaky.sh"
    flaky(root, "{attempts: 3, delay: 1s, backoff: 1}", edit, 'test "$SCHEDULER_ATTEMPT" = 3', "echo third")
    root.sync()
    run = root.run("flaky")
    assert (run["status"], run["result"], run["retry_at"]) == ("succeeded", "third\n", None)
    assert attempts(root) == ["1", "2", "3"]
    assert [(each["n"], each["status"], each["exit_code"]) for each in run["attempts"]] == [
        (1, "failed", 1),
        (2, "failed", 1),
        (3, "succeeded", 0),
    ]
    assert 'test "$SCHEDULER_ATTEMPT"' in root.ok("task", "flaky:1").stdout
    assert root.ok("output", "flaky:1").stdout == "third\n"
    job = root.job("flaky")
    assert (job["run_count"], job["consecutive_errors"], job["last_run_status"]) == (1, 0, "succeeded")
    assert len(root.runs("flaky")) == 1


def test_once_its_attempts_are_used_up_a_run_has_failed_once(root: Root) -> None:
    flaky(root, "{attempts: 2, delay: 1s}", "echo bad >&2; exit 4")
    root.sync()
    found = root.cli("run", "flaky", "--wait", "--json")
    assert (found.code, found.json["run"]["status"], found.json["run"]["exit_code"]) == (1, "failed", 4)
    assert (attempts(root), root.job("flaky")["consecutive_errors"]) == (["1", "2"], 1)
    assert [row["action"] for row in root.json("audit", "flaky")["audit"]].count("failure") == 1


def test_once_leaves_to_the_next_daemon_what_waits_behind_a_run_that_is_to_be_tried_again(
    root: Root, serve: Serve
) -> None:
    flaky(root, "{attempts: 3, delay: 1h, max_delay: 1h}\ncatch_up: all", "exit 1", every="1s")
    daemon = serve()
    until(lambda: root.runs("flaky"), "a fire")
    daemon.process.kill()
    daemon.ended()
    began = time.time()
    until(lambda: time.time() > began + 3.5, "slots that nobody serves")
    assert root.cli("serve", "--once").code == 1
    statuses = [run["status"] for run in root.runs("flaky")]
    assert statuses.count("queued") >= 2, "one that is to be tried again, and those behind it"


def test_an_end_that_the_job_does_not_name_is_not_followed_by_another_try(root: Root) -> None:
    flaky(root, "{attempts: 3, delay: 1s, on: [timed_out]}", "exit 4")
    root.sync()
    assert root.cli("run", "flaky", "--wait").code == 1
    assert attempts(root) == ["1"]


def test_the_back_off_counts_as_active_and_holds_no_place(root: Root, serve: Serve) -> None:
    root.edit("scheduler.yaml", "version: 1\n", "version: 1\nlimits: {max_running: 1}\n")
    flaky(root, "{attempts: 2, delay: 3s}", 'test "$SCHEDULER_ATTEMPT" = 2', every="1s")
    serve()
    first = put_off(root)
    assert (first["status"], first["attempts"][0]["status"]) == ("queued", "failed")
    until(lambda: newest(root)["reason"] == "overlap", "a slot that finds the job active")
    until(lambda: newest(root, "tick")["started_at"] or newest(root, "tick")["reason"] != "capacity", "another job")
    run_id = first["id"]
    done = until(
        lambda: next((run for run in root.runs("flaky") if run["id"] == run_id and run["finished_at"]), None), "its end"
    )
    assert (done["status"], len(done["attempts"])) == ("succeeded", 2)
    between = [
        run for run in root.runs("tick") if first["retry_at"][:19] > (run["started_at"] or "")[:19] > done["started_at"]
    ]
    assert between, "the only place was free meanwhile"


def test_a_back_off_survives_a_restart(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 2, delay: 2s}", 'test "$SCHEDULER_ATTEMPT" = 2')
    daemon = serve()
    root.ok("run", "flaky")
    put_off(root)
    assert daemon.stop() == 0
    assert newest(root)["status"] == "queued"
    serve()
    done = until(lambda: newest(root)["finished_at"] and newest(root), "the second try")
    assert (done["status"], attempts(root)) == ("succeeded", ["1", "2"])


def test_a_run_whose_daemon_was_killed_is_tried_again_only_if_the_job_says_so(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 2, delay: 1s, on: [interrupted]}", 'test "$SCHEDULER_ATTEMPT" = 2 || sleep 60')
    root.write("jobs/slow.yaml", 'id: slow\nschedule: "@yearly"\ntask: sleep 60\nrunner: sh\n')
    daemon = serve()
    root.ok("run", "flaky")
    root.ok("run", "slow")
    until(lambda: attempts(root) == ["1"] and newest(root, "slow")["status"] == "running", "both")
    daemon.process.kill()
    daemon.ended()
    serve()
    done = until(lambda: newest(root)["finished_at"] and newest(root), "the second try")
    assert (done["status"], [each["status"] for each in done["attempts"]]) == (
        "succeeded",
        ["interrupted", "succeeded"],
    )
    assert newest(root, "slow")["status"] == "interrupted"
    assert attempts(root) == ["1", "2"]


def test_a_daemon_killed_between_opening_a_try_and_its_process_starts_that_try(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 3, delay: 1s, on: [failed, interrupted]}", 'test "$SCHEDULER_ATTEMPT" = 3')
    daemon = serve(SCHEDULER_CRASH_AT="after_retry")
    root.ok("run", "flaky")
    assert daemon.ended() == -signal.SIGKILL
    serve()
    done = until(lambda: newest(root)["finished_at"] and newest(root), "the third try")
    assert [each["status"] for each in done["attempts"]] == ["failed", "failed", "succeeded"]
    assert (done["status"], attempts(root), root.job("flaky")["run_count"]) == ("succeeded", ["1", "2", "3"], 1)


def test_a_run_that_waits_to_be_tried_again_can_be_cancelled(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 3, delay: 1h}", "exit 1")
    daemon = serve()
    root.ok("run", "flaky")
    run_id = put_off(root)["id"]
    assert "cancelled" in root.ok("cancel", run_id).stderr
    assert (newest(root)["status"], root.job("flaky")["consecutive_errors"]) == ("cancelled", 0)
    root.ok("run", "flaky")
    put_off(root)
    assert daemon.stop(signal.SIGTERM) == 0, "a back-off keeps no daemon from ending"
    assert "cancelled" in root.ok("cancel", "flaky:2").stderr, "nor does it need one"
    assert attempts(root) == ["1", "1"]


def test_what_a_restored_copy_says_is_to_be_tried_again_is_not(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 3, delay: 1s, on: [failed, interrupted]}", "exit 1")
    daemon = serve()
    root.ok("run", "flaky")
    put_off(root)
    copy = root.path.parent / "copy.db"
    root.ok("backup", str(copy))
    until(lambda: newest(root)["finished_at"], "its end, which the copy does not know")
    assert daemon.stop() == 0
    tried = attempts(root)
    root.ok("restore", str(copy))
    serve()
    done = until(lambda: newest(root)["finished_at"] and newest(root), "its end here")
    assert (done["id"], done["status"], done["reason"]) == ("flaky:1", "interrupted", "owner_died")
    assert attempts(root) == tried


def test_a_job_that_is_archived_meanwhile_is_not_tried_again(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 3, delay: 2s}", "exit 5")
    serve()
    root.ok("run", "flaky")
    put_off(root)
    root.delete("jobs/flaky.yaml")
    root.ok("sync")
    done = until(lambda: newest(root)["finished_at"] and newest(root), "its end")
    assert (done["status"], done["exit_code"], len(done["attempts"])) == ("failed", 5, 1)
    assert attempts(root) == ["1"]


def test_a_daemon_that_comes_while_somebody_waits_in_the_foreground_takes_the_next_try(
    root: Root, serve: Serve
) -> None:
    flaky(root, "{attempts: 2, delay: 3s}", 'test "$SCHEDULER_ATTEMPT" = 2')
    root.write("jobs/tick.yaml", TICK + "enabled: false\n")
    root.sync()
    foreground = root.start("run", "flaky", "--wait")
    put_off(root)
    serve()
    done = until(lambda: newest(root)["finished_at"] and newest(root), "the second try")
    foreground.communicate(timeout=30)
    assert (done["status"], attempts(root)) == ("succeeded", ["1", "2"])
    assert ran(root, "first\n") is None


@pytest.mark.parametrize("delay", ["1s", "1h"])
def test_once_leaves_what_is_to_be_tried_again_later_to_the_next(root: Root, delay: str) -> None:
    flaky(root, f"{{attempts: 2, delay: {delay}}}", 'test "$SCHEDULER_ATTEMPT" = 2', every="1s")
    root.write("jobs/tick.yaml", TICK + "enabled: false\n")
    root.sync()

    def once() -> int:
        return root.process("serve", "--once", "-q").code

    code = until(lambda: once() if not attempts(root) else None, "a slot")
    assert (code, attempts(root)) == (1, ["1"])
    if delay == "1h":
        assert (once(), attempts(root)) == (1, ["1"])
    else:
        until(lambda: once() in (0, 1) and attempts(root)[:2] == ["1", "2"], "the second try")


def test_a_run_that_waits_in_the_foreground_ends_there_as_soon_as_somebody_cancels_it(root: Root) -> None:
    flaky(root, "{attempts: 2, delay: 1h}", "exit 1")
    root.sync()
    foreground = root.start("run", "flaky", "--wait")
    run_id = put_off(root)["id"]
    root.ok("cancel", run_id)
    _, told = foreground.communicate(timeout=15)
    assert "flaky:1 cancelled" in str(told)
    assert newest(root)["status"] == "cancelled"


def test_who_stops_waiting_in_the_foreground_does_not_end_what_a_daemon_goes_on_with(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 2, delay: 3s}", 'test "$SCHEDULER_ATTEMPT" = 2 && sleep 5')
    root.write("jobs/tick.yaml", TICK + "enabled: false\n")
    root.sync()
    foreground = root.start("run", "flaky", "--wait")
    put_off(root)
    time.sleep(0.5)  # it waits by now, and holds no lock
    foreground.send_signal(signal.SIGSTOP)  # so that the daemon is the first
    serve()
    until(lambda: attempts(root) == ["1", "2"], "the second try")
    foreground.send_signal(signal.SIGINT)
    foreground.send_signal(signal.SIGCONT)
    foreground.communicate(timeout=15)
    assert newest(root)["status"] == "running"
    done = until(lambda: newest(root)["finished_at"] and newest(root), "the end of the second try")
    assert (done["status"], [each["status"] for each in done["attempts"]]) == ("succeeded", ["failed", "succeeded"])


def test_who_waits_in_the_foreground_sees_the_end_of_what_a_daemon_goes_on_with(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 2, delay: 3s}", 'test "$SCHEDULER_ATTEMPT" = 2 && sleep 3 && echo second')
    root.write("jobs/tick.yaml", TICK + "enabled: false\n")
    root.sync()
    foreground = root.start("run", "flaky", "--wait")
    put_off(root)
    time.sleep(0.5)
    foreground.send_signal(signal.SIGSTOP)
    serve()
    until(lambda: attempts(root) == ["1", "2"], "the second try")
    foreground.send_signal(signal.SIGCONT)
    out, told = foreground.communicate(timeout=15)
    assert (foreground.returncode, "second" in str(out), "flaky:1 succeeded" in str(told)) == (0, True, True)


def test_what_a_foreground_left_to_be_tried_again_is_taken_by_the_daemon_that_is_there(
    root: Root, serve: Serve
) -> None:
    flaky(root, "{attempts: 2, delay: 1s}", 'test "$SCHEDULER_ATTEMPT" = 2 || { sleep 4; exit 1; }')
    root.write("jobs/tick.yaml", TICK + "enabled: false\n")
    root.sync()
    foreground = root.start("run", "flaky", "--wait")
    until(lambda: attempts(root) == ["1"], "the first try")
    serve(command=(sys.executable, "-c", HASTY, "serve"))
    put_off(root)
    foreground.kill()
    foreground.communicate(timeout=15)
    done = until(lambda: newest(root)["finished_at"] and newest(root), "the second try")
    assert (done["status"], attempts(root)) == ("succeeded", ["1", "2"])


def test_following_a_run_shows_each_try_from_its_start(root: Root, serve: Serve) -> None:
    go = root.path.parent / "go"
    os.mkfifo(go)
    last = f'test "$SCHEDULER_ATTEMPT" = 2 || {{ read line < {go}; exit 1; }}'
    flaky(root, "{attempts: 2, delay: 1s}", 'echo "this is try $SCHEDULER_ATTEMPT"', last)
    serve()
    root.ok("run", "flaky")
    with root.start("output", "flaky:1", "--follow") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "this is try 1\n"
        go.write_text("go\n")
        assert following.communicate(timeout=LONG_S)[0] == "this is try 2\n"


def test_a_try_that_is_stopped_with_its_daemon_is_followed_by_another_and_is_no_error(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 2, delay: 1s, on: [interrupted]}", 'test "$SCHEDULER_ATTEMPT" = 2 || sleep 60')
    daemon = serve("--grace", "0")
    root.ok("run", "flaky")
    until(lambda: attempts(root) == ["1"], "the first try")
    assert daemon.stop(signal.SIGTERM) == 0
    waits = newest(root)
    assert (waits["status"], waits["reason"], waits["attempts"][0]["status"]) == ("queued", "retry", "interrupted")
    assert root.job("flaky")["consecutive_errors"] == 0
    serve()
    done = until(lambda: newest(root)["finished_at"] and newest(root), "the second try")
    assert (done["status"], attempts(root)) == ("succeeded", ["1", "2"])


def test_a_run_that_no_daemon_has_taken_over_can_be_cancelled_beside_one(root: Root, serve: Serve) -> None:
    flaky(root, "{attempts: 2, delay: 1h}", "sleep 4; exit 1")
    root.write("jobs/tick.yaml", TICK + "enabled: false\n")
    root.sync()
    foreground = root.start("run", "flaky", "--wait")
    until(lambda: attempts(root) == ["1"], "the first try")
    serve()
    put_off(root)
    assert "cancelled" in root.ok("cancel", "flaky:1").stderr
    foreground.communicate(timeout=15)
    assert (newest(root)["status"], attempts(root)) == ("cancelled", ["1"])
