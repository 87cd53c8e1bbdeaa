"""Late and overlapping runs in a real daemon: catch-up, concurrency, and a full house."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.helpers import until

__all__ = ["root", "serve"]  # fixtures

Serve = Callable[..., Served]


def marks(root: Root) -> list[str]:
    path = root.path.parent / "marks"
    return path.read_text().split() if path.exists() else []


def job(root: Root, job_id: str, keys: str, *lines: str, every: str = "1s") -> None:
    """A job whose script marks when it starts and when it ends, outside of the root."""
    begin, end = (f'echo "{what}$SCHEDULER_RUN_ID" >> {root.path.parent}/marks' for what in ("+", "-"))
    root.write(f"scripts/{job_id}.sh", "\n".join([begin, *lines, end, ""]))
    root.write(
        f"jobs/{job_id}.yaml",
        f"id: {job_id}\nschedule: {{every: {every}}}\ntask_source_path: scripts/{job_id}.sh\nrunner: sh\n{keys}\n",
    )


def gate(root: Root) -> Path:
    """What `held` waits for."""
    return root.path.parent / "open"


def held(root: Root) -> str:
    return f"while [ ! -e {gate(root)} ]; do sleep 0.02; done"


def by_slot(root: Root, job_id: str) -> list[Any]:
    return sorted((run for run in root.runs(job_id) if run["fire_time"]), key=lambda run: run["fire_time"])


def most_at_once(events: list[str]) -> int:
    return max(itertools.accumulate(1 if event.startswith("+") else -1 for event in events))


def without_holes(runs: list[Any]) -> bool:
    """Whether the rows of a job that is due each second cover each second once."""
    slots = [moment for run in runs for moment in (run["fire_time"], run["fire_time_last"])]
    seconds = [datetime.fromisoformat(slot).timestamp() for slot in slots]
    spans = list(zip(seconds[::2], seconds[1::2], strict=True))
    return all(nxt[0] == last[1] + 1 for last, nxt in itertools.pairwise(spans)) and all(
        run["slots"] == last - first + 1 for run, (first, last) in zip(runs, spans, strict=True)
    )


def later(root: Root, job_id: str, seconds: int) -> None:
    """Waits until so many slots have passed after the last row."""
    last = datetime.fromisoformat(by_slot(root, job_id)[-1]["fire_time_last"]).timestamp()
    until(lambda: time.time() > last + seconds + 0.2, "slots that nobody serves")


def test_all_slots_of_an_outage_run_one_after_another_and_none_twice(root: Root, serve: Serve) -> None:
    job(root, "all", "catch_up: all")
    daemon = serve()
    until(lambda: len(by_slot(root, "all")) > 1, "two fires")
    daemon.process.kill()
    daemon.ended()
    later(root, "all", 4)
    again = serve()
    said = again.says("catching_up job_id=all")
    assert "slots=" in said
    until(lambda: by_slot(root, "all")[-1]["trigger"] == "schedule", "a slot in time")
    assert again.stop() == 0
    runs = by_slot(root, "all")
    caught_up = [run for run in runs if run["trigger"] == "catch_up"]
    assert len(caught_up) >= 4
    assert without_holes(runs)
    assert {run["status"] for run in caught_up} <= {"succeeded", "queued"}, "a stop leaves queued what waits"
    assert most_at_once(marks(root)) == 1
    started = [mark[1:] for mark in marks(root) if mark.startswith("+")]
    assert len(started) == len(set(started))


def test_latest_runs_once_and_none_runs_nothing_of_what_was_missed(root: Root, serve: Serve) -> None:
    job(root, "latest", "catch_up: {policy: latest, within: 1m}", every="1s")
    job(root, "none", "catch_up: none", every="1s")
    daemon = serve()
    until(lambda: all(by_slot(root, each) for each in ("latest", "none")), "fires")

    def caught_up() -> bool:
        return any(run["trigger"] == "catch_up" for run in by_slot(root, "latest"))

    for _ in range(10):  # a daemon that takes more than a second to start finds a newer slot, which is in time
        if caught_up():
            break
        assert daemon.stop() == 0
        for each in ("latest", "none"):
            later(root, each, 3)
        seen = {each: len(by_slot(root, each)) for each in ("latest", "none")}
        daemon = serve()
        for each, rows in seen.items():
            until(lambda each=each, rows=rows: len(by_slot(root, each)) > rows + 1, "fires")  # type: ignore[misc]
    until(lambda: by_slot(root, "none")[-1]["status"] == "succeeded", "a fire in time")
    for each, times in (("latest", 1), ("none", 0)):
        runs = by_slot(root, each)
        assert [run["trigger"] for run in runs].count("catch_up") == times
        assert without_holes(runs)
        assert any(run["reason"] == "missed" and run["slots"] >= 2 for run in runs)


def test_queue_lets_the_newest_slot_wait(root: Root, serve: Serve) -> None:
    job(root, "busy", "concurrency: queue", held(root))
    serve()
    until(lambda: any(run["reason"] == "overlap" for run in root.runs("busy")), "one that gave way")
    runs = by_slot(root, "busy")
    assert [run["status"] for run in runs if run["status"] != "skipped"] == ["running", "queued"]
    gate(root).touch()
    until(lambda: len([mark for mark in marks(root) if mark.startswith("-")]) >= 2, "the end of both")
    assert without_holes(by_slot(root, "busy"))
    assert most_at_once(marks(root)) == 1


def test_queued_slots_survive_a_kill(root: Root, serve: Serve) -> None:
    job(root, "busy", "concurrency: queue", held(root))
    daemon = serve()
    waiting = until(lambda: next((run for run in root.runs("busy") if run["status"] == "queued"), None), "a queued run")
    daemon.process.kill()
    daemon.ended()
    root.edit("jobs/busy.yaml", "every: 1s", "every: 1h")  # nothing newer takes its place
    gate(root).touch()
    serve()
    (first, *_) = by_slot(root, "busy")
    assert (first["status"], first["reason"]) == ("interrupted", "owner_died")
    reason = until(lambda: next(r["reason"] for r in root.runs("busy") if r["id"] == waiting["id"]), "its turn")
    assert reason == "superseded", "the edit took its slot away"


def test_replace_ends_what_runs_and_that_is_no_failure(root: Root, serve: Serve) -> None:
    job(root, "newest", "concurrency: replace\nretry: {attempts: 3, delay: 1s}", "trap 'exit 7' TERM", held(root))
    serve()
    replaced = until(lambda: [run for run in root.runs("newest") if run["reason"] == "replaced"][1:], "two victims")
    assert {(run["status"], run["exit_code"]) for run in replaced} == {("cancelled", 7)}
    assert root.job("newest")["consecutive_errors"] == 0
    assert [row["action"] for row in root.json("audit", "newest")["audit"]].count("failure") == 0
    gate(root).touch()
    until(lambda: any(run["status"] == "succeeded" for run in root.runs("newest")), "the newest one")
    assert without_holes(by_slot(root, "newest"))


def test_allow_runs_several_at_once(root: Root, serve: Serve) -> None:
    job(root, "many", "concurrency: allow", held(root))
    serve()
    until(lambda: most_at_once(marks(root)) >= 3 if marks(root) else False, "three at once")
    assert {run["status"] for run in root.runs("many")} <= {"running", "claimed"}
    gate(root).touch()


def test_a_job_that_fills_the_house_keeps_no_other_out(root: Root, serve: Serve) -> None:
    root.edit("scheduler.yaml", "version: 1\n", "version: 1\nlimits: {max_running: 2}\n")
    job(root, "many", "concurrency: allow\ncatch_up: all", "sleep 0.4", every="1s")
    job(root, "more", "concurrency: allow\ncatch_up: all", "sleep 4", every="1s")
    job(root, "modest", "catch_up: {within: 1m}", every="2s")
    serve()
    until(lambda: any(run["status"] == "succeeded" for run in root.runs("modest")), "its turn")
    assert most_at_once(marks(root)) <= 2


@pytest.mark.parametrize(
    ("keys", "answer"), [("forbid", 3), ("queue", 0), ("replace", 0), ("allow", 0)], ids=lambda each: str(each)
)
def test_a_run_by_hand_follows_the_concurrency_of_its_job(root: Root, serve: Serve, keys: str, answer: int) -> None:
    job(root, "hand", f"concurrency: {keys}", 'trap "exit 7" TERM', held(root), every="1h")
    serve()
    assert root.cli("run", "hand").code == 0
    until(lambda: [mark for mark in marks(root) if mark.startswith("+")], "the first")
    found = root.cli("run", "hand", "--json")
    assert found.code == answer, found
    if not answer:
        second = found.json["run"]["id"]
        assert second == "hand:2"
        if keys == "queue":
            assert root.cli("run", "hand").code == 3, "one waits already"
        if keys == "replace":
            until(lambda: root.runs("hand")[-1]["finished_at"], "the end of the first")
    gate(root).touch()
    until(lambda: all(run["finished_at"] for run in root.runs("hand")), "their ends")
    ends = {
        "forbid": [("succeeded", None)],
        "queue": [("succeeded", None)] * 2,
        "replace": [("succeeded", None), ("cancelled", "replaced")],
        "allow": [("succeeded", None)] * 2,
    }
    assert [(run["status"], run["reason"]) for run in root.runs("hand")] == ends[keys]


def test_without_a_daemon_a_run_that_would_have_to_wait_is_refused(root: Root) -> None:
    job(root, "hand", "concurrency: queue", held(root), every="1h")
    root.sync()
    with root.start("run", "hand") as first:
        until(lambda: marks(root), "the first")
        refused = root.cli("run", "hand")
        gate(root).touch()
        first.communicate(timeout=30)
    assert first.returncode == 0
    assert refused.code == 3
    assert "its concurrency is queue" in refused.stderr
    assert len(root.runs("hand")) == 1


def test_what_waits_when_its_job_is_paused_is_skipped(root: Root, serve: Serve) -> None:
    job(root, "all", "catch_up: all", held(root))
    daemon = serve()
    until(lambda: by_slot(root, "all"), "a fire")
    daemon.process.kill()
    daemon.ended()
    later(root, "all", 3)
    serve()
    until(lambda: len([run for run in root.runs("all") if run["status"] == "queued"]) >= 2, "a line")
    root.ok("pause", "all", "--reason", "enough")
    gate(root).touch()
    until(lambda: not [run for run in root.runs("all") if run["status"] in ("queued", "running", "claimed")], "an end")
    waited = [run for run in root.runs("all") if run["trigger"] == "catch_up"]
    assert {run["reason"] for run in waited} <= {None, "paused"}
    assert any(run["reason"] == "paused" for run in waited)
