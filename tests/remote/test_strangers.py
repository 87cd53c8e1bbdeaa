"""What people meet who follow a remote in their own way: other hosts, other users, other repositories."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.git import run as git_run
from scheduler.machine.clock import SystemClock
from scheduler.machine.folders import remove_tree
from scheduler.remote.following import Follow
from scheduler.service.clone import Wanted, clone
from tests.fakes import FakeClock
from tests.helpers import ROOT_FILE, call, git, until
from tests.remote.test_editing import scheduler
from tests.remote.test_serving import serving
from tests.remote.world import World

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")


def _rewrite_followed(world: World, **changes: str) -> None:
    content = json.loads(world.followed.file.read_text())
    world.followed.file.write_text(json.dumps(content | changes))


# -- what a repository may hold --------------------------------------------------------------


def test_a_commit_that_holds_a_state_folder_of_its_own_steers_nothing(world: World) -> None:
    world.begin()
    world.clone()
    evil = world.followed.file.read_text().replace(str(world.bare), "/somewhere/else.git")
    commit = world.push({".scheduler/followed.json": evil})
    scheduler(world, "sync")
    done = subprocess.run(
        [sys.executable, "-m", "scheduler", "list", "--json"],
        cwd=world.root / "current",
        capture_output=True,
        text=True,
        check=True,
    )
    assert [job["id"] for job in json.loads(done.stdout)["jobs"]] == ["hello"]
    assert world.look().commit == commit


def test_attributes_convert_nothing_and_nothing_is_said_of_them(world: World) -> None:
    first = world.begin()
    world.clone()
    attributes = "prompts/* text eol=crlf ident working-tree-encoding=ISO-8859-1\n"
    world.push({"prompts/hello.md": "hello $Id$\n"})
    commit = world.push({".gitattributes": attributes})

    def told(*command: str) -> Any:
        return json.loads(scheduler(world, *command, "--json")[0])

    assert told("sync")["problems"] == []
    assert (world.look().commit, world.read("prompts/hello.md")) == (commit, "hello $Id$\n")
    assert told("validate")["problems"] == []
    for head in ((), ("--head", commit)):
        found = told("plan", "--base", first, *head)
        assert (found["problems"], found["root_changed"]) == ([], [])
    assert told("run", "hello", "--wait")["run"]["dirty"] is None


def test_a_repository_of_sha256_ids_is_followed_also_where_another_was_before(world: World) -> None:
    world.begin()
    world.clone()
    bare, desk = world.folder / "new.git", world.folder / "new"
    for path, kind in ((bare, ("--bare",)), (desk, ())):
        git(world.folder, "init", "--quiet", "--object-format=sha256", *kind, str(path))
    for name, text in {"scheduler.yaml": ROOT_FILE, "jobs/x.yaml": "id: x\nschedule: {every: 1h}\ntask: hi\n"}.items():
        (desk / name).parent.mkdir(exist_ok=True)
        (desk / name).write_text(text)
    git(desk, "add", "--all")
    git(desk, "commit", "--quiet", "-m", "first")
    git(desk, "push", "--quiet", str(bare), "HEAD:refs/heads/main")
    commit = git(desk, "rev-parse", "HEAD")
    assert len(commit) == 64
    _rewrite_followed(world, url=str(bare))
    found = world.look()
    assert (found.commit, found.trouble) == (commit, "")
    other = World(world.folder / "other")
    other.folder.mkdir()
    bare.rename(other.bare)
    assert other.clone().commit == commit
    assert git(other.root / "current", "status", "--porcelain") == ""


def test_a_shallow_remote_is_refused_by_what_it_is(world: World) -> None:
    world.begin()
    world.push({"prompts/hello.md": "hello 1\n"})
    whole = world.bare.rename(world.folder / "whole.git")
    git(world.folder, "clone", "--quiet", "--bare", "--depth=1", f"file://{whole}", str(world.bare))
    with pytest.raises(UnavailableError, match="is a shallow clone and lacks earlier commits"):
        world.clone()
    assert not world.root.exists()


def test_a_tag_of_a_file_is_refused_by_what_it_is(world: World) -> None:
    world.begin()
    blob = git(world.desk, "rev-parse", "HEAD:prompts/hello.md")
    git(world.desk, "push", "--quiet", "origin", f"{blob}:refs/tags/blob")
    with pytest.raises(UnavailableError, match="is not a commit"):
        world.clone(tag="blob")


# -- sync ------------------------------------------------------------------------------------


def test_the_first_sync_that_mends_scheduler_yaml_is_kept(world: World) -> None:
    world.begin({"scheduler.yaml": "version: 7\n", "jobs/hello.yaml": "id: hello\nschedule: {every: 1h}\ntask: x\n"})
    world.clone()
    scheduler(world, "sync", code=1)
    world.push({"scheduler.yaml": ROOT_FILE})
    scheduler(world, "sync")
    told, _ = scheduler(world, "list", "--json")
    assert [job["id"] for job in json.loads(told)["jobs"]] == ["hello"]


def test_another_folder_of_the_same_commit_is_read_by_the_sync_that_takes_it(world: World) -> None:
    world.begin()
    world.clone()
    world.push({"sub/scheduler.yaml": ROOT_FILE, "sub/jobs/x.yaml": "id: x\nschedule: {every: 1h}\ntask: hi\n"})
    scheduler(world, "sync")
    _rewrite_followed(world, path="sub")
    told, _ = scheduler(world, "sync", "--json")
    assert json.loads(told)["created"] == ["x"]


def test_a_sync_that_cannot_take_what_the_remote_has_says_why_and_by_its_exit_code(world: World) -> None:
    world.begin()
    world.clone()
    scheduler(world, "sync")
    away = world.bare.rename(world.folder / "away.git")
    _, said = scheduler(world, "sync", code=5)
    assert said.count("cannot be reached") == 1
    away.rename(world.bare)
    bad = world.push({"scheduler.yaml": None})
    _, said = scheduler(world, "sync", code=3)
    assert f"commit {bad[:12]} has no scheduler.yaml" in said
    world.push({"scheduler.yaml": ROOT_FILE})
    scheduler(world, "sync")


def test_the_sync_that_takes_a_commit_is_held_by_what_that_says_of_the_branch(world: World) -> None:
    world.begin()
    world.clone()
    world.push({"scheduler.yaml": ROOT_FILE + "worktree: {branch: other}\n"})
    _, said = scheduler(world, "sync", code=3)
    assert "worktree.branch is 'other'" in said


def test_each_trouble_has_a_time_of_its_own(world: World) -> None:
    world.begin()
    world.clone()
    clock = FakeClock(datetime(2026, 5, 1, tzinfo=UTC))
    follow = Follow(followed=world.followed, clock=clock, environ=os.environ)
    away = world.bare.rename(world.folder / "away.git")
    first = follow.look()
    world.bare.write_text("no folder, so that git says something else\n")
    clock.advance(timedelta(hours=1))
    second = follow.look()
    assert first.trouble != second.trouble
    assert (first.trouble_since, second.trouble_since) == ("2026-05-01T00:00:00Z", "2026-05-01T00:00:00Z")
    world.bare.unlink()
    away.rename(world.bare)
    world.push({"scheduler.yaml": None})
    clock.advance(timedelta(hours=1))
    assert (third := follow.look()).trouble_since == "2026-05-01T02:00:00Z"
    clock.advance(timedelta(hours=1))
    assert follow.look().trouble_since == third.trouble_since


def test_somebody_who_switches_in_a_commits_folder_does_not_change_what_it_is(world: World) -> None:
    first = world.begin()
    second = world.push({"other.txt": "x\n"})
    world.clone()
    git(world.root / "current", "update-ref", "--no-deref", "HEAD", first)
    assert world.look().trouble == ""
    assert git(world.root / "current", "rev-parse", "HEAD") == second


def test_nothing_is_made_inside_of_what_is_kept_from_a_remote(world: World) -> None:
    world.begin()
    world.clone()
    _, said = scheduler(world, "init", str(world.root), code=3)
    assert "follows the branch main" in said
    assert not (world.root / "scheduler.yaml").exists()
    wanted, inner = Wanted(url=str(world.bare)), world.root / "current/inner"
    with pytest.raises(RefusedError, match="inside a checkout"):
        clone(wanted, inner, None, environ=os.environ, clock=SystemClock())


def test_who_has_signed_a_commit_that_is_refused_is_all_that_is_said_of_it(world: World) -> None:
    world.begin()
    good, other = world.key("good"), world.key("other")
    world.push({}, sign=good)
    world.clone(signers=world.signers(good))
    bad = world.push({}, sign=other)
    why = 'is signed, but not by a key in allowed_signers (Good "git" signature with ED25519 key SHA256:'
    assert world.look().trouble.startswith(f"commit {bad[:12]} {why}")


def test_an_error_in_what_says_what_is_followed_is_seen_in_the_list_and_by_serve_once(world: World) -> None:
    world.begin()
    world.clone()
    scheduler(world, "sync")
    _rewrite_followed(world, branche="main")
    _, said = scheduler(world, "list")
    assert "unknown key 'branche'" in said
    scheduler(world, "serve", "--once", code=5)
    scheduler(world, "run", "hello", "--wait")


def test_a_secret_that_a_person_writes_into_the_url_is_shown_by_nothing(world: World) -> None:
    world.begin()
    world.clone()
    scheduler(world, "sync")
    for url in ("https://TOKEN@example.com/x", "https://u:a@TOKEN@example.com/x", "https://example.com/x?t=TOKEN"):
        _rewrite_followed(world, url=url)
        for command in (["list"], ["doctor"], ["sync"], ["doctor", "--json"]):
            done = call("--root", str(world.root), *command)
            assert "TOKEN" not in done.stdout + done.stderr
        assert "contains a user, a query or a fragment" in scheduler(world, "list")[1]


@pytest.mark.parametrize("lost", ["current", "commits"])
def test_a_root_whose_commit_is_lost_is_set_right_by_the_next_sync_and_by_a_daemon(world: World, lost: str) -> None:
    world.begin()
    world.clone()
    scheduler(world, "sync")

    def lose() -> None:
        if lost == "commits":
            remove_tree(world.followed.commits)
        else:
            world.followed.current.unlink()

    lose()
    _, said = scheduler(world, "plan", code=5)
    assert "does not lead to the folder of a commit" in said
    scheduler(world, "list")
    scheduler(world, "sync")
    assert world.read("prompts/hello.md") == "hello 0\n"
    lose()
    with serving(world):
        pass
    assert world.read("prompts/hello.md") == "hello 0\n"


# -- other users, full machines --------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files away")
def test_a_store_of_another_user_is_not_taken_for_a_damaged_one(world: World) -> None:
    first = world.begin()
    world.clone()
    for here, _, names in os.walk(world.root):
        for name in (".", *names):
            os.chown(Path(here, name), 12345, 12345, follow_symlinks=False)
    found = world.look()
    assert (found.commit, found.trouble) == (first, "")
    assert list(world.followed.state.glob("*damaged*")) == []


def test_a_git_that_cannot_be_run_is_no_damage_to_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.begin()
    world.clone()
    started = git_run._started

    def too_many(options: list[str], **rest: object) -> object:
        if "ls-tree" in options:
            raise git_run.GitError("git could not be started: [Errno 24] Too many open files")
        return started(options, **rest)  # type: ignore[arg-type]

    second = world.push({"prompts/hello.md": "hello 1\n"})
    with monkeypatch.context() as patch:
        patch.setattr(git_run, "_started", too_many)
        found = world.look()
    assert "Too many open files" in found.trouble
    assert found.commit == first
    assert list(world.followed.state.glob("*damaged*")) == []
    assert world.look().commit == second


def test_a_root_that_was_moved_is_no_worktree_to_prune(world: World) -> None:
    world.begin()
    world.clone()
    moved = World(world.folder / "there")
    moved.folder.mkdir()
    world.root.rename(moved.root)
    assert moved.look().trouble == ""
    assert "prunable" not in git(moved.root / "current", "worktree", "list")


# -- remotes that hang -----------------------------------------------------------------------


@pytest.fixture
def mute() -> object:
    """The URL of a server that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"git://127.0.0.1:{server.getsockname()[1]}/jobs.git"


def _fetches(world: World) -> bool:
    return (world.followed.store / "scheduler.git.json").exists()


@needs_proc
def test_a_git_that_a_killed_scheduler_has_left_is_ended_by_the_next_look(world: World, mute: str) -> None:
    world.begin()
    world.clone()
    _rewrite_followed(world, url=mute)
    with subprocess.Popen(
        [sys.executable, "-m", "scheduler", "--root", world.root, "sync"], stderr=subprocess.PIPE
    ) as killed:
        until(lambda: _fetches(world), "a fetch")
        pid = json.loads((world.followed.store / "scheduler.git.json").read_text())["pid"]
        killed.kill()
    os.kill(pid, 0)  # it lives: a remote that hangs would keep it for ever
    _rewrite_followed(world, url=str(world.bare))
    assert world.look().trouble == ""
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(), "its end")


def test_a_daemon_that_is_stopped_in_the_middle_of_a_fetch_leaves_no_trouble(world: World, mute: str) -> None:
    world.begin()
    world.clone()
    before = world.look()
    _rewrite_followed(world, url=mute)
    with serving(world) as service:
        until(lambda: _fetches(world), "a fetch")
        service.daemon.send_signal(signal.SIGTERM)
        service.daemon.wait(30)
    assert world.followed.looked() == before
    until(lambda: not _fetches(world), "its end")
