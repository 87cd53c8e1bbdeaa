"""`explain` on a real root, with and without a daemon; and what operators have left different from the files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.helpers import until

__all__ = ["root", "serve"]  # fixtures

Serve = Callable[..., Served]


def explained(root: Root, *args: str) -> Any:
    return root.json("explain", "tick", *args)


def kinds(found: Any, kind: str) -> list[Any]:
    return [each for each in found["evidence"] if each["kind"] == kind]


def first_fire(root: Root) -> Any:
    return until(lambda: next((run for run in root.runs("tick") if run["status"] == "succeeded"), None), "a fire")


def test_a_slot_that_fired_is_traced_to_its_run_its_text_and_its_commit(root: Root, serve: Serve) -> None:
    serve()
    run = first_fire(root)
    found = explained(root, "--at", run["fire_time"])
    assert (found["job_id"], found["at"], found["fired"], found["why"]) == ("tick", run["fire_time"], True, "fired")
    (of_run,) = kinds(found, "run")
    assert (of_run["run"], of_run["revision"]) == (run["id"], run["revision"])
    assert run["task_sha256"][:12] in of_run["text"]
    (definition,) = kinds(found, "definition")
    assert definition["revision"] == root.git("rev-parse", "HEAD").strip()
    said = root.ok("explain", "tick", "--at", run["fire_time"]).stdout
    shown = run["fire_time"].replace("T", " ").replace("Z", " UTC")
    assert said.startswith(f"tick at {shown}: fired\n")
    assert run["id"] in said


def covers(run: Any, slot: datetime) -> bool:
    first, last = (datetime.fromisoformat(run[key]) for key in ("fire_time", "fire_time_last"))
    return run["reason"] == "missed" and first <= slot <= last


def test_a_daemon_that_was_killed_is_the_evidence_of_what_was_missed(root: Root, serve: Serve) -> None:
    root.edit("jobs/tick.yaml", "id: tick", "id: tick\ncatch_up: none")
    daemon = serve()
    first_fire(root)
    daemon.process.kill()
    daemon.ended()
    gone = time.time()
    # Neither the slot that the kill may have kept from starting, nor one that the next daemon was late for.
    slot = datetime.fromtimestamp(int(gone) + 1, UTC)
    until(lambda: time.time() > gone + 2.5, "slots that nobody serves")
    down = explained(root)
    assert (down["why"], down["fired"]) == ("daemon_down", False)
    serve()
    until(lambda: any(covers(run, slot) for run in root.runs("tick")), "a skip")
    found = explained(root, "--at", slot.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert found["why"] == "missed"
    (told,) = kinds(found, "daemon")
    assert told["text"].startswith("no daemon was running from ")
    assert "(last seen) to " in told["text"]


def test_a_daemon_that_only_observed_says_so(root: Root, serve: Serve) -> None:
    root.edit("jobs/tick.yaml", "id: tick", "id: tick\ncatch_up: none")
    daemon = serve("--observe")
    daemon.says(" serving root=")
    until(lambda: "--observe" in str(explained(root)["evidence"]), "a slot that passes while it only observes")
    assert explained(root)["why"] == "daemon_down"
    assert explained(root, "--at", "2100-01-01T00:00:00Z")["why"] == "will_not_fire_here"
    assert daemon.stop() == 0


def test_a_pause_is_told_with_who_and_why_and_shown_wherever_jobs_are(root: Root, serve: Serve) -> None:
    serve()
    first_fire(root)
    root.ok("pause", "tick", "--reason", "deploy")
    paused = until(lambda: next((run for run in root.runs("tick") if run["reason"] == "paused"), None), "a skip")
    found = explained(root, "--at", paused["fire_time"])
    assert found["why"] == "paused"
    assert "(deploy)" in kinds(found, "pause")[0]["text"]
    assert "paused/deploy" in root.ok("list").stdout
    (drift,) = root.json("plan")["drift"]
    assert (drift["id"], drift["status"], drift["reason"], drift["by"][:5]) == ("tick", "paused", "deploy", "user:")
    for command in ("plan", "sync"):
        assert "paused by hand: tick since " in root.cli(command).stderr
    root.ok("resume", "tick")
    assert root.json("plan")["drift"] == []
    assert explained(root, "--at", paused["fire_time"])["why"] == "paused", "what came later changes nothing"


def test_without_a_daemon_everything_has_an_answer(root: Root) -> None:
    root.sync()
    assert explained(root, "--at", "2000-01-01T00:00:00Z")["why"] == "did_not_exist"
    ahead = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=500_000)
    assert explained(root, "--at", ahead.isoformat())["why"] == "daemon_down"
    coming = explained(root, "--at", ahead.replace(microsecond=0).isoformat())
    assert (coming["why"], "none is now" in coming["text"]) == ("will_fire", True)
    root.edit("jobs/tick.yaml", "id: tick", "id: tick\nenabled: false")
    root.sync()
    assert explained(root, "--at", ahead.isoformat())["why"] == "disabled"
    (root.path / "jobs/tick.yaml").unlink()
    root.cli("sync")
    assert explained(root, "--at", ahead.isoformat())["why"] in ("archived", "disabled")
    assert root.cli("explain", "nobody").code == 2


def test_a_job_whose_next_slot_is_skipped_shows_the_one_after_it(root: Root) -> None:
    root.edit("jobs/tick.yaml", "every: 1s", "every: 1h")
    root.sync()
    before = root.job("tick")
    root.ok("pause", "tick", "--next")
    job = root.job("tick")
    assert (job["next_run_at"], before["next_fire_at"]) == (before["next_run_at"], before["next_run_at"])
    hour_later = datetime.fromisoformat(before["next_run_at"]) + timedelta(hours=1)
    assert datetime.fromisoformat(job["next_fire_at"]) == hour_later
    line = next(line for line in root.ok("list").stdout.splitlines() if line.startswith("tick"))
    assert " in 1" in line or "in 2h" in line or "in 59m" in line, line


def test_a_stopped_job_says_so_at_any_instant_and_its_run_why_it_failed(root: Root, serve: Serve) -> None:
    root.edit("jobs/tick.yaml", "id: tick", "id: tick\nrunner: sh\nfailure_limit: 1\ncatch_up: none")
    root.edit("jobs/tick.yaml", "task_source_path: prompts/tick.md", "task: echo no room >&2; exit 2")
    serve()
    until(lambda: root.job("tick")["status"] == "stopped", "the stop")
    ahead = (datetime.now(UTC) + timedelta(minutes=5)).replace(microsecond=500_000)
    found = explained(root, "--at", ahead.isoformat())
    assert (found["why"], found["evidence"][0]["kind"]) == ("stopped", "stop")
    assert [each["why"] for each in kinds(found, "fire")] == ["stopped", "stopped"]
    failed = next(run for run in root.runs("tick") if run["status"] == "failed")
    found = root.json("explain", failed["id"])
    assert (found["run"], found["status"], found["reason"], found["fired"]) == (
        failed["id"],
        "failed",
        "exit_code",
        True,
    )
    assert f"its slot {failed['fire_time']} was due" in found["text"]
    assert "it failed with exit code 2 after" in found["text"]
    assert len(kinds(found, "attempt")) == 1
    window = explained(root, "--from", failed["fire_time"], "--to", ahead.isoformat())
    assert window["served"][0]["status"] == "failed"
    assert window["without_row"][-1]["why"] == "stopped"
    assert window["text"].startswith("1 ran, ")
    assert window["exceptions"][0]["run"] == failed["id"]


def test_a_run_by_hand_says_who_started_it_and_a_cancelled_one_who_ended_it(root: Root, serve: Serve) -> None:
    root.edit("jobs/tick.yaml", "{every: 1s}", "manual\nrunner: sh")
    root.edit("jobs/tick.yaml", "task_source_path: prompts/tick.md", "task: sleep 60")
    root.sync()
    serve()
    run = root.json("run", "tick")["run"]["id"]
    until(lambda: root.json("history", "tick")["runs"][0]["status"] == "running", "the start")
    assert "it is running since" in root.ok("explain", run).stdout
    root.ok("cancel", run)
    said = root.ok("explain", run).stdout
    assert said.startswith(f"{run}: cancelled")
    assert re.search(r"user:\w+ started it by hand at .*; user:\w+ cancelled it after", said), said


def test_a_window_that_makes_no_sense_is_refused(root: Root) -> None:
    root.sync()
    for args, said in {
        ("--to", "now"): "--to needs --from",
        ("--from", "-1h", "--at", "now"): "--at cannot be combined",
        ("--from", "now", "--to", "-1h"): "--to is not after --from",
        ("--from", "0001-01-02T00:00:00Z"): "longer than",
    }.items():
        found = root.cli("explain", "tick", *args)
        assert (found.code, said in found.stderr) == (2, True), found
    found = root.cli("explain", "tick:1", "--at", "now")
    assert (found.code, "is a single run" in found.stderr) == (2, True)
    assert root.cli("explain", "tick:99").code == 2
