"""What needs a person: the same lines in status, on the page Now and in `top`, worst first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.faces.conftest import Root


def needs(root: Root, kind: str | None = None) -> list[dict[str, Any]]:
    return [each for each in root.json("status")["needs"] if kind in (None, each["kind"])]


def test_a_root_that_was_never_synced_says_so(root: Root) -> None:
    assert [each["kind"] for each in needs(root)] == ["daemon", "unsynced"]


def test_a_file_that_broke_names_its_place_and_since_when_it_is_broken(lived_in: Root) -> None:
    lived_in.clock.advance(timedelta(hours=1))
    lived_in.edit("jobs/flaky.yaml", '"@daily"', '"@dayly"')
    lived_in.cli("sync")
    (need,) = needs(lived_in, "invalid")
    broke = lived_in.json("show", "flaky")["job"]["updated_at"]
    lived_in.clock.advance(timedelta(hours=1))
    lived_in.cli("sync")
    assert needs(lived_in, "invalid")[0]["since"] == broke
    assert (need["job_id"], need["since"], need["urgent"]) == ("flaky", broke, True)
    assert "jobs/flaky.yaml:2" in need["text"]
    assert "last good definition" in need["text"]


def test_a_broken_file_without_a_job_has_a_line_of_its_own(lived_in: Root) -> None:
    lived_in.write("jobs/new.yaml", "{id: new, schedule: never-ever, task: x}\n")
    lived_in.cli("sync")
    (need,) = needs(lived_in, "invalid")
    assert need["job_id"] is None
    assert "jobs/new.yaml" in need["text"]


def test_a_job_that_is_paused_beyond_the_end_of_its_schedule_will_not_run_again(root: Root) -> None:
    root.write("jobs/ends.yaml", "{id: ends, schedule: {every: 1h}, expires: 2026-03-05T00:00:00Z, task: x}\n")
    root.sync()
    root.ok("pause", "ends", "--until", "2026-03-04T00:00:00Z")
    assert needs(root, "paused") == []
    root.ok("pause", "ends")
    (need,) = needs(root, "paused")
    assert (need["job_id"], need["until"]) == ("ends", "2026-03-05T00:00:00Z")
    assert "1 paused beyond the end of the schedule" in root.json("status")["attention"]
    assert "will not run again" in root.ok("status").stdout
    assert "‖ paused" in root.ok("top", "--once").stdout


def test_a_token_is_named_three_days_before_it_expires(root: Root) -> None:
    root.sync()
    root.ok("token", "create", "ci", "--role", "viewer", "--expires", "5d")
    assert needs(root, "token") == []
    root.clock.advance(timedelta(days=3))
    (need,) = needs(root, "token")
    assert need["text"] == "token ci expires"
    assert "1 token about to expire" in root.json("status")["attention"]
    root.ok("token", "revoke", "ci")
    assert needs(root, "token") == []


def test_the_guard_counts_what_it_holds(root: Root) -> None:
    for n in range(6):
        root.write(f"jobs/many/{n}.yaml", f"{{id: many-{n}, schedule: {{every: 1h}}, task: x}}\n")
    root.sync()
    root.delete(*(f"jobs/many/{n}.yaml" for n in range(6)), "jobs/clock.yaml")
    root.cli("sync")
    root.clock.advance(timedelta(minutes=1))
    root.cli("sync")
    held = root.json("status")["summary"]["guarded"]
    assert held > 6
    (need,) = needs(root, "guard")
    assert f"holds {held} jobs" in need["text"]


def test_a_stopped_job_comes_before_a_failing_one_and_only_the_first_twenty_of_a_kind_have_a_line(root: Root) -> None:
    root.write("scripts/bad.sh", "exit 1\n")
    for n in range(22):
        more = ", failure_limit: 1" if n == 21 else ""
        job = f"{{id: bad-{n:02}, schedule: {{every: 1h}}, runner: shell, task_source_path: scripts/bad.sh{more}}}\n"
        root.write(f"jobs/bad/{n}.yaml", job)
    root.sync()
    for n in range(22):
        root.cli("run", f"bad-{n:02}", "--wait")
    root.clock.advance(timedelta(minutes=1))
    kinds = [each["kind"] for each in needs(root) if each["kind"] in ("stopped", "failing")]
    assert kinds == ["stopped"] * kinds.count("stopped") + ["failing"] * kinds.count("failing")
    assert kinds.count("failing") == 21
    assert "and " in needs(root, "failing")[-1]["text"]
