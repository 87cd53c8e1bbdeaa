"""A sync while git is half way through something: held, visible, overridden by `--now` (design S8)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import pytest

from scheduler.config import Place
from scheduler.core.models import ROOT_JOB_ID
from scheduler.passes import Passes
from scheduler.resync import HELD_LONG, Resync
from scheduler.store import Store
from tests.faces.conftest import Root

HELD = "a merge is half way in the repository"
FIRST = 'schedule: "0 * * * *"'


def merge_half_way(root: Root) -> None:
    """A merge that changed one job and stopped at a conflict in the prompt of another."""
    root.git("switch", "-qc", "other")
    root.edit("jobs/heartbeat.md", FIRST, 'schedule: "30 * * * *"')
    root.write("prompts/triage.md", "Theirs.\n")
    root.commit()
    root.git("switch", "-q", "-")
    root.write("prompts/triage.md", "Ours.\n")
    root.commit()
    found = subprocess.run(["git", "-C", root.path, "merge", "other"], capture_output=True, check=False)
    assert found.returncode == 1


def test_a_sync_in_the_middle_of_a_merge_changes_nothing_and_says_so(lived_in: Root) -> None:
    before = lived_in.facts()
    merge_half_way(lived_in)
    found = lived_in.cli("sync")
    assert found.code == 3
    assert f"held: {HELD}" in found.stderr
    assert "sync --now" in found.stderr
    assert lived_in.facts() == before
    answer = lived_in.cli("sync", "--json")
    assert (answer.code, answer.json["held"], answer.json["updated"]) == (3, HELD, [])


def test_a_held_sync_is_seen_in_list_plan_and_doctor(lived_in: Root) -> None:
    merge_half_way(lived_in)
    assert lived_in.json("list")["summary"]["held"] == HELD
    assert f"held: {HELD}" in lived_in.ok("list").stderr
    plan = lived_in.cli("plan", "--json")
    assert (plan.code, plan.json["held"], [each["id"] for each in plan.json["updated"]]) == (3, HELD, ["heartbeat"])
    checks = lived_in.cli("doctor", "--json").json["checks"]
    assert any(each["status"] == "warning" and HELD in each["message"] for each in checks)


def test_the_merge_once_done_or_aborted_the_sync_goes_on(lived_in: Root) -> None:
    merge_half_way(lived_in)
    assert lived_in.cli("sync").code == 3
    lived_in.git("merge", "--abort")
    assert lived_in.sync()["held"] is None
    assert lived_in.json("list")["summary"]["held"] is None


def test_now_takes_the_files_as_they_are(lived_in: Root) -> None:
    merge_half_way(lived_in)
    found = lived_in.cli("sync", "--now", "--json")
    assert (found.json["held"], [each["id"] for each in found.json["updated"]]) == (None, ["heartbeat"])
    assert found.code == 1, "the conflict markers in the prompt are a problem all the same"


def test_the_command_that_confirms_an_archive_meanwhile_is_whole(lived_in: Root) -> None:
    merge_half_way(lived_in)
    for path in (lived_in.path / "jobs").iterdir():
        path.unlink()
    told = [
        line.split(" sync ")[1].split()
        for asked in (("plan",), ("sync", "--now"))
        for line in lived_in.cli(*asked).stderr.splitlines()
        if "--confirm-prune" in line
    ]
    assert len(told) == 2
    assert told[0] == told[1]
    assert lived_in.cli("sync", *told[0], "--json").json["archived"]


def test_a_run_meanwhile_has_the_last_good_definition_and_the_task_on_disk(lived_in: Root) -> None:
    merge_half_way(lived_in)
    lived_in.edit("jobs/heartbeat.md", "env: {MODE: calm}", "env: {MODE: wild}")
    assert lived_in.run("heartbeat")["status"] == "succeeded"
    assert lived_in.job("heartbeat")["generation"] == 1
    refused = lived_in.cli("run", "triage", "--wait", "--json").json["run"]
    assert (refused["status"], refused["reason"]) == ("skipped", "source_conflict_markers")


@contextlib.contextmanager
def kept_in_step(root: Root) -> Iterator[tuple[Resync, Store]]:
    """A daemon's resync without its thread, and the one store that it is lent."""
    place = Place(root=root.path, state=root.path / ".scheduler", db=root.path / ".scheduler/state.db")
    with Store.open(place.db) as store:
        resync = Resync(
            place=place,
            passes=Passes(place=place, clock=root.clock),
            lend=lambda: contextlib.nullcontext(store),
            recover=lambda _: [],
            applied=lambda: None,
        )
        try:
            yield resync, store
        finally:
            resync.stop()


def test_one_that_is_forgotten_is_told_once(lived_in: Root, caplog: pytest.LogCaptureFixture) -> None:
    with kept_in_step(lived_in) as (resync, store):
        merge_half_way(lived_in)
        for passed in (timedelta(0), HELD_LONG, timedelta(minutes=1)):
            lived_in.clock.advance(passed)
            resync.sync_now(actor="scheduler")
        told = [row.action for row in store.audit(ROOT_JOB_ID)]
        assert told.count("held") == 1
        assert [each.levelname for each in caplog.records if "sync_held_long" in each.message] == ["WARNING"]
        assert resync.held_long
        lived_in.git("merge", "--abort")
        assert resync.sync_now(actor="scheduler").held == ""
        assert (resync.held, resync.held_long) == ("", False)


def test_one_that_is_forgotten_while_nothing_can_be_written_fills_no_log(
    lived_in: Root, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    with kept_in_step(lived_in) as (resync, store):
        merge_half_way(lived_in)
        resync._look("rescan")
        lived_in.clock.advance(HELD_LONG)
        with monkeypatch.context() as full:
            full.setattr(store, "read_only", "its disk is full")
            for _ in range(3):
                resync._look("rescan")
            assert "disk is full" in resync.trouble
        for _ in range(2):
            resync._look("rescan")
    told = [each.getMessage().split()[0] for each in caplog.records if each.name == "scheduler.resync"]
    assert told == ["sync_held", "sync_failed", "sync_held_long", "sync_resumed"]
