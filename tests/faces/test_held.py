"""A sync while git is half way through something: held, visible, overridden by `--now` (design S8)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.daemon.resync import HELD_LONG, Resync
from scheduler.ledger import audit
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.sync.passes import Passes
from tests.faces.conftest import Root
from tests.helpers import git

HELD = "a merge is in progress in the repository"
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
        told = [row.action for row in store.read(audit.read_audit, ROOT_JOB_ID)]
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
            assert "disk is full" in resync.loop.trouble
        for _ in range(2):
            resync._look("rescan")
    told = [each.getMessage().split()[0] for each in caplog.records if each.name == "scheduler.daemon.resync"]
    assert told == ["sync_held", "sync_failed", "sync_held_long", "sync_resumed"]


# -- worktree.branch ---------------------------------------------------------------------------------


@pytest.fixture
def on_main(root: Root) -> Root:
    """A root of which only the branch main is synced."""
    root.git("branch", "-M", "main")
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text() + "worktree: {branch: main}\n")
    root.commit()
    assert root.sync()["held"] is None
    return root


ELSEWHERE = "the branch 'feature/x' is checked out, but worktree.branch is 'main'"


def switch_away(root: Root) -> None:
    """To a branch with another schedule, that names itself in scheduler.yaml."""
    root.git("switch", "-qc", "feature/x")
    root.edit("scheduler.yaml", "branch: main", "branch: feature/x")
    root.edit("jobs/heartbeat.md", FIRST, 'schedule: "30 * * * *"')
    root.commit()


def test_another_branch_is_held_by_the_last_good_setting_and_seen_everywhere(on_main: Root) -> None:
    before = on_main.facts()
    switch_away(on_main)
    found = on_main.cli("sync")
    assert found.code == 3
    assert f"held: {ELSEWHERE}" in found.stderr
    assert on_main.facts() == before
    assert on_main.json("list")["summary"]["held"] == ELSEWHERE
    assert on_main.json("show", "heartbeat")["held"] == ELSEWHERE
    for asked in (
        ("list",),
        ("show", "heartbeat"),
        ("plan",),
        ("next",),
        ("next", "heartbeat"),
        ("explain", "heartbeat"),
    ):
        assert f"held: {ELSEWHERE}" in on_main.cli(*asked).stderr
    checks = on_main.cli("doctor", "--json").json["checks"]
    assert any(each["status"] == "warning" and ELSEWHERE in each["message"] for each in checks)
    on_main.git("switch", "-q", "main")
    assert on_main.sync()["held"] is None
    assert on_main.json("show", "heartbeat")["held"] is None


def test_now_never_takes_another_branch(on_main: Root) -> None:
    before = on_main.facts()
    switch_away(on_main)
    found = on_main.cli("sync", "--now", "--json")
    assert (found.code, found.json["held"], found.json["updated"]) == (3, ELSEWHERE, [])
    assert on_main.facts() == before
    told = on_main.cli("sync", "--now").stderr
    assert "sync --now" not in told, "what does not help is no hint"
    plan = on_main.cli("plan", "--json")
    assert (plan.code, plan.json["held"]) == (3, ELSEWHERE)


def test_now_takes_what_a_merge_has_left_on_the_branch(on_main: Root) -> None:
    merge_half_way(on_main)
    assert on_main.cli("sync", "--now", "--json").json["held"] is None


def test_a_detached_head_is_another_branch_even_at_the_same_commit(on_main: Root) -> None:
    on_main.git("switch", "-q", "--detach")
    held = on_main.cli("sync", "--json").json["held"]
    assert held == f"HEAD is detached at {on_main.git('rev-parse', 'HEAD')[:12]}, but worktree.branch is 'main'"


@pytest.mark.parametrize("how", [(), ("--dry-run",), ("--wait",)])
def test_a_run_on_another_branch_is_refused(on_main: Root, how: tuple[str, ...]) -> None:
    switch_away(on_main)
    on_main.write("prompts/triage.md", "Of the branch.\n")
    found = on_main.cli("run", "triage", *how)
    assert found.code == 3
    assert f"{ELSEWHERE}; nothing was started" in found.stderr
    assert on_main.runs("triage") == []
    on_main.git("stash", "-q")
    on_main.git("switch", "-q", "main")
    assert on_main.run("triage")["result"] == "Sort the inbox.\n"


def test_an_earlier_text_is_not_run_on_another_branch_either(on_main: Root) -> None:
    first = on_main.run("triage")
    switch_away(on_main)
    assert on_main.cli("run", "triage", "--task-of", first["id"]).code == 3


def test_a_slot_on_another_branch_waits_and_has_the_text_of_its_own(on_main: Root) -> None:
    switch_away(on_main)
    on_main.write("prompts/triage.md", "Of the branch.\n")
    on_main.commit()
    assert fired(on_main, "triage") == ("queued", "place", None)
    job = on_main.job("triage")
    assert (job["consecutive_errors"], job["run_count"]) == (0, 0)
    on_main.git("switch", "-q", "main")
    on_main.cli("serve", "--once", "-q")
    (run,) = on_main.runs("triage")
    assert (run["status"], run["result"]) == ("succeeded", "Sort the inbox.\n")


def test_a_broken_scheduler_yaml_on_another_branch_is_held_all_the_same(on_main: Root) -> None:
    on_main.git("switch", "-qc", "feature/x")
    on_main.write("scheduler.yaml", "version: [1\n")
    assert on_main.cli("sync", "--json").json["held"] == ELSEWHERE


def test_a_linked_working_tree_has_a_branch_of_its_own(on_main: Root, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    on_main.git("worktree", "add", "-q", "-b", "feature/x", str(linked))
    assert on_main.cli("--root", str(linked), "sync", "--json").json["held"] == ELSEWHERE
    assert on_main.sync()["held"] is None


def test_a_plan_marks_a_change_of_what_counts_as_wider(on_main: Root) -> None:
    on_main.edit("scheduler.yaml", "{branch: main}", "{dirty: run}")
    (change,) = on_main.cli("plan", "--json").json["root_changed"]
    assert (change["field"], change["before"], change["widens"]) == ("worktree.branch", "main", True)


def test_before_the_first_sync_the_file_itself_says_which_branch_is_meant(root: Root) -> None:
    root.git("switch", "-qc", "feature/x")
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text() + "worktree: {branch: main}\n")
    found = root.cli("sync", "--json")
    assert (found.code, found.json["held"], found.json["created"]) == (3, ELSEWHERE, [])
    assert root.json("list")["summary"]["held"] == ELSEWHERE


def test_with_a_branch_and_no_repository_a_sync_is_held_and_says_why(on_main: Root) -> None:
    (on_main.path / ".git").rename(on_main.path / "no-git")
    held = on_main.cli("sync", "--json").json["held"]
    assert held == f"worktree.branch is 'main', but {str(on_main.path)!r} is not in a git repository"


def test_where_neither_a_file_nor_git_tells_the_branch_a_sync_is_held(on_main: Root) -> None:
    (on_main.path / ".git/HEAD").write_text("ref: refs/heads/.invalid\n")  # what stands there with reftables
    held = on_main.cli("sync", "--json").json["held"]
    assert held == "worktree.branch is 'main', but git does not say which branch is checked out"


def test_a_branch_kept_in_a_reftable_is_asked_of_git(on_main: Root) -> None:
    if subprocess.run(["git", "-C", on_main.path, "refs", "migrate", "--ref-format=reftable"], check=False).returncode:
        pytest.skip("this git has no reftables")
    assert on_main.sync()["held"] is None
    switch_away(on_main)
    assert on_main.cli("sync", "--json").json["held"] == ELSEWHERE
    on_main.git("switch", "-q", "--detach")
    assert "detached" in on_main.cli("sync", "--json").json["held"]


# -- worktree.dirty ----------------------------------------------------------------------------------


@pytest.fixture
def committed_only(root: Root) -> Root:
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text() + "worktree: {dirty: skip}\n")
    root.commit()
    root.sync()
    return root


def fired(root: Root, job_id: str) -> tuple[str, str | None, str | None]:
    """How the next slot of a job ended, and what of its text the run knows."""
    due = datetime.fromisoformat(root.json("next", job_id, "-n", "1")["fires"][0]["fire_time"])
    root.clock.advance(due - root.clock.now())
    root.cli("serve", "--once", "-q")
    run = root.runs(job_id)[0]
    return run["status"], run["reason"], run["dirty"]


SKIPPED = ("skipped", "source_dirty", None)
RUN = ("succeeded", None, None)


def test_only_a_committed_task_file_fires_by_the_clock(committed_only: Root) -> None:
    assert fired(committed_only, "triage") == RUN
    committed_only.write("prompts/triage.md", "Not yet committed.\n")
    assert fired(committed_only, "triage") == SKIPPED
    job = committed_only.job("triage")
    assert job["consecutive_errors"] == 1
    assert committed_only.runs("triage")[0]["error"] == (
        "'prompts/triage.md' has uncommitted changes, and worktree.dirty is skip"
    )
    committed_only.commit()
    assert fired(committed_only, "triage") == RUN


def test_a_task_in_a_job_file_counts_by_that_file(committed_only: Root) -> None:
    committed_only.edit("jobs/heartbeat.md", "once an hour", "every hour")
    assert fired(committed_only, "heartbeat") == SKIPPED
    committed_only.git("checkout", "-q", "jobs/heartbeat.md")
    assert fired(committed_only, "heartbeat") == RUN


def test_a_task_that_no_commit_holds_is_skipped(committed_only: Root) -> None:
    committed_only.write("jobs/new.yaml", 'id: new\nschedule: "@hourly"\ntask: New.\n')
    committed_only.sync()
    assert fired(committed_only, "new") == SKIPPED
    assert "'jobs/new.yaml' is not committed" in committed_only.runs("new")[0]["error"]


def test_where_git_does_not_know_nothing_fires_and_the_skip_says_why(committed_only: Root) -> None:
    (committed_only.path / ".git").rename(committed_only.path / "no-git")
    assert fired(committed_only, "heartbeat") == SKIPPED
    assert "is not in a git repository" in committed_only.runs("heartbeat")[0]["error"]


def test_a_person_may_try_a_text_before_it_is_committed(committed_only: Root) -> None:
    committed_only.write("prompts/triage.md", "Tried.\n")
    run = committed_only.run("triage")
    assert (run["status"], run["result"], run["dirty"]) == ("succeeded", "Tried.\n", "modified")


def test_a_prompt_that_shows_a_conflict_in_a_fence_runs_unless_git_calls_it_unmerged(on_main: Root) -> None:
    shown = "# Merge\n\n```\n<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> x\n```\n"
    on_main.write("prompts/shown.md", shown)
    on_main.write("jobs/shown.yaml", "id: shown\nschedule: {every: 1h}\ntask_source_path: prompts/shown.md\n")
    on_main.commit()
    on_main.sync()
    assert on_main.run("shown")["result"] == shown
    blob = on_main.git("rev-parse", "HEAD:prompts/shown.md")
    stages = "".join(f"100644 {blob} {stage}\tprompts/shown.md\n" for stage in (1, 2, 3))
    on_main.git("update-index", "--force-remove", "prompts/shown.md")
    git(on_main.path, "update-index", "--index-info", stdin=stages.encode())
    refused = on_main.cli("run", "shown", "--wait", "--json").json["run"]
    assert (refused["status"], refused["reason"]) == ("skipped", "source_conflict_markers")
    on_main.git("add", "prompts/shown.md")
    assert on_main.run("shown")["result"] == shown
