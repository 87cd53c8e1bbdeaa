"""Faults of the place, and one-shots whose file is away, as people see them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.faces.conftest import Root

ONCE = "---\nid: once\nschedule: {{at: {at}}}\ntask: Now.\n"


def cut_out(root: Root) -> Callable[[], None]:
    """A one-shot in a minute, cut out of a file of several; returns what brings it back."""
    at = (root.clock.now() + timedelta(minutes=1)).isoformat()
    whole = (root.path / "jobs/clock.yaml").read_text()
    root.write("jobs/clock.yaml", whole + ONCE.format(at=f'"{at}"'))
    root.sync()
    root.write("jobs/clock.yaml", whole)
    root.sync()
    assert root.job("once")["status"] == "archived"
    return lambda: root.write("jobs/clock.yaml", whole + ONCE.format(at=f'"{at}"'))


def test_a_one_shot_that_came_while_it_was_cut_out_has_a_row_and_is_told_from_one_that_ran(lived_in: Root) -> None:
    bring_back = cut_out(lived_in)
    lived_in.clock.advance(timedelta(minutes=2))
    bring_back()
    lived_in.sync()
    (row,) = lived_in.runs("once")
    assert (row["status"], row["reason"], row["slots"]) == ("skipped", "missed", 1)
    told = lived_in.json("explain", "once", "--at", row["fire_time"])
    assert (told["why"], told["text"]) == (
        "missed", "no file defined the job when it was due, and its schedule has no later slot",
    )  # fmt: skip
    (line,) = (line for line in lived_in.ok("list").stdout.splitlines() if line.startswith("once"))
    assert "completed/never ran" in line
    lived_in.sync()
    assert len(lived_in.runs("once")) == 1


def test_a_one_shot_that_is_back_in_time_runs_and_is_told_from_one_that_never_did(lived_in: Root) -> None:
    bring_back = cut_out(lived_in)
    bring_back()
    lived_in.sync()
    lived_in.clock.advance(timedelta(minutes=1))
    lived_in.cli("serve", "--once", "-q")
    assert [run["status"] for run in lived_in.runs("once")] == ["succeeded"]
    (line,) = (line for line in lived_in.ok("list").stdout.splitlines() if line.startswith("once"))
    assert "completed" in line
    assert "never ran" not in line


def test_a_one_shot_whose_runner_is_gone_runs_once_it_is_back(lived_in: Root) -> None:
    program = lived_in.path / "agent.sh"
    lived_in.write("agent.sh", "#!/bin/sh\ncat\n")
    program.chmod(0o755)
    lived_in.edit("scheduler.yaml", "command: [cat]", "command: [./agent.sh]")
    at = lived_in.clock.now() + timedelta(minutes=1)
    lived_in.write("jobs/once.yaml", ONCE.removeprefix("---\n").format(at=f'"{at.isoformat()}"'))
    lived_in.sync()
    away = program.rename(program.with_name("away"))
    lived_in.clock.advance(timedelta(minutes=1))
    lived_in.cli("serve", "--once", "-q")
    (run,) = lived_in.runs("once")
    assert (run["status"], run["reason"], run["error"]) == ("queued", "place", None)
    told = lived_in.json("explain", "once", "--at", run["fire_time"])
    assert told["why"] == "waiting"
    assert any("agent.sh" in each["text"] for each in told["evidence"])
    assert lived_in.job("triage")["waiting"]["reason"] == "runner_missing"
    assert lived_in.json("explain", "triage", "--at", "+30d")["why"] in ("waiting", "not_due")
    away.rename(program)
    lived_in.clock.advance(timedelta(minutes=30))
    lived_in.cli("serve", "--once", "-q")
    (run,) = lived_in.runs("once")
    assert (run["status"], run["result"]) == ("succeeded", "Now.")
