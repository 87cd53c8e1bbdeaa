"""What an edit answers beside its diff: the schedule in words, the next fires, more power, and what it kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faces.conftest import TRIAGE, Root
from tests.faces.test_editing import edit, refused, talk

LOS_ANGELES = {"timezone": "America/Los_Angeles"}


def proposed(root: Root, *args: str) -> Any:
    return edit(root, *args)["proposed"]


@pytest.mark.parametrize("where", [(), ("--commit",), ("--branch", "b")], ids=["in place", "commit", "branch"])
def test_a_new_cron_keeps_the_zone_beside_the_old_one_and_says_so(lived_in: Root, where: tuple[str, ...]) -> None:
    found = edit(lived_in, "update", "triage", "--set", "schedule=0 7 * * *", *where)
    assert found["applied"] == ("pending_branch" if "--branch" in where else "now")
    told = found["proposed"]
    assert (told["schedule_text"], told["kept"], told["dropped"]) == (
        "at 07:00, every day, America/Los_Angeles",
        LOS_ANGELES,
        {},
    )
    assert [(each["local"], each["timezone"]) for each in told["next_fires"]][:2] == [
        ("2026-03-02T07:00:00-08:00", "America/Los_Angeles"),
        ("2026-03-03T07:00:00-08:00", "America/Los_Angeles"),
    ]
    assert (told["changed"], told["widens"]) == (["schedule"], [])
    text = lived_in.git("show", "b:jobs/triage.yaml") + "\n" if "--branch" in where else ""
    text = text or (lived_in.path / "jobs/triage.yaml").read_text()
    assert text == TRIAGE.replace("0 9 * * MON-FRI", "0 7 * * *")


def test_another_kind_drops_what_has_no_meaning_beside_it_and_a_person_reads_both(lived_in: Root) -> None:
    edit(lived_in, "update", "triage", "--set", "schedule.jitter=30s", "--commit")
    found = talk(lived_in, "update", "triage", "--set", "schedule={every: 2h}", "--branch", "b")
    assert found.stderr.splitlines()[:3] == [
        "schedule: every 2 hours; each run starts up to 30 seconds later",
        "  next fire: 2026-03-02 11:00:00 Europe/Berlin",
        "  kept: jitter 30s; dropped: timezone America/Los_Angeles",
    ]
    found = talk(lived_in, "update", "triage", "--set", "schedule.at=2027-01-31T09:00:00Z")
    assert "  kept: jitter 30s; dropped: timezone America/Los_Angeles\n" in found.stderr
    found = talk(lived_in, "update", "triage", "--set", "schedule=manual")
    assert "schedule: only by hand\n  next fire: none\n  dropped: jitter 30s\n" in found.stderr
    assert "schedule: manual\n" in (lived_in.path / "jobs/triage.yaml").read_text()


def test_a_key_that_was_kept_and_does_not_fit_is_named_as_such(lived_in: Root) -> None:
    edit(lived_in, "update", "triage", "--set", "schedule.jitter=30s")
    told = refused(lived_in, "update", "triage", "--set", "schedule={every: 10s}", code=2)
    assert "jitter 30s is too long" in told
    assert "(kept from the current schedule: jitter 30s)" in told
    assert "give jitter in the new schedule, or set it to null there" in told
    found = edit(lived_in, "update", "triage", "--set", "schedule={every: 10s, jitter: null}")
    assert found["proposed"]["schedule_text"] == "every 10 seconds"
    told = refused(lived_in, "update", "triage", "--set", "schedule=61 * * * *", code=2)
    assert "kept from" not in told


def test_a_part_is_unset_in_the_same_edit(lived_in: Root) -> None:
    told = proposed(lived_in, "update", "triage", "--set", "schedule=0 7 * * *", "--unset", "schedule.timezone")
    assert (told["schedule_text"], told["kept"], told["dropped"]) == ("at 07:00, every day, Europe/Berlin", {}, {})
    assert 'schedule: {cron: "0 7 * * *"}\n' in (lived_in.path / "jobs/triage.yaml").read_text()
    again = ("update", "triage", "--set", "schedule=0 8 * * *", "--unset", "schedule.timezone")
    assert "schedule.timezone is not in jobs/triage.yaml" in refused(lived_in, *again, code=2)


def test_an_edit_that_leaves_the_schedule_alone_says_so_in_json_alone(lived_in: Root) -> None:
    told = proposed(lived_in, "update", "triage", "--set", "owner=me")
    assert (told["changed"], told["kept"], len(told["next_fires"])) == (["owner"], {}, 5)
    assert "schedule:" not in talk(lived_in, "update", "triage", "--set", "owner=you").stderr
    told = edit(lived_in, "update", "triage", "--task-file", "-", text="Other.\n")["proposed"]
    assert (told["changed"], told["schedule_text"]) == ([], "at 09:00, Monday to Friday, America/Los_Angeles")


def test_what_widens_is_told_against_the_definition_in_force(lived_in: Root) -> None:
    found = edit(lived_in, "update", "heartbeat", "--set", "timeout=9m", "--branch", "b")
    assert found["proposed"]["widens"] == ["timeout_ms"]
    found = talk(lived_in, "update", "heartbeat", "--set", "name=x", "--branch", "b")
    assert "gives more power: timeout\n" in found.stderr, "the branch as a whole is what somebody merges"
    assert proposed(lived_in, "update", "heartbeat", "--set", "timeout=1m")["widens"] == []


def test_a_new_job_tells_its_schedule_and_a_deleted_one_has_none(lived_in: Root) -> None:
    new = ("create", "new", "--set", "schedule={cron: '0 8 * * *', timezone: Asia/Tokyo}", "--set", "task=x")
    found = talk(lived_in, *new, "--branch", "b")
    assert "schedule: at 08:00, every day, Asia/Tokyo\n  next fire: 2026-03-03 00:00:00 Europe/Berlin\n" in found.stderr
    told = proposed(lived_in, *new)
    assert (told["changed"], told["widens"]) == ([], [])
    assert proposed(lived_in, "delete", "new") is None


def test_next_fires_are_none_where_none_come(lived_in: Root) -> None:
    assert proposed(lived_in, "update", "triage", "--set", "enabled=false")["next_fires"] == []
    lived_in.ok("pause", "heartbeat")
    assert proposed(lived_in, "update", "heartbeat", "--set", "schedule=0 5 * * *")["next_fires"] == []
    lived_in.ok("pause", "heartbeat", "--until", "2026-03-05T00:00:00Z")
    told = proposed(lived_in, "update", "heartbeat", "--set", "schedule=0 6 * * *")
    assert told["next_fires"][0]["local"].startswith("2026-03-05T06:00")


def test_a_rollback_to_a_commit_keeps_nothing_of_todays_schedule(lived_in: Root) -> None:
    before = lived_in.git("rev-parse", "HEAD")
    edit(lived_in, "update", "triage", "--set", "schedule.jitter=30s", "--commit")
    told = proposed(lived_in, "rollback", "triage", "--to", f"commit:{before}")
    assert (told["kept"], told["schedule_text"]) == ({}, "at 09:00, Monday to Friday, America/Los_Angeles")
