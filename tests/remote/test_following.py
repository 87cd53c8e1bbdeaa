"""A root that is kept from a real bare remote: what becomes the root, what does not, and that it comes right again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.remote import fetching, following
from scheduler.remote.checkouts import remove_old
from scheduler.remote.following import NotApplicableError
from scheduler.root.followed import Followed, hold
from scheduler.root.place import locate
from tests.helpers import ROOT_FILE, call, git
from tests.remote.world import JOB, World


def where(world: World, cwd: Path, **environ: str) -> Path:
    return locate(None, None, None, environ=environ, cwd=cwd).root


# -- the first time --------------------------------------------------------------------------------


def test_a_clone_is_a_root_of_one_commit_from_wherever_one_stands_in_it(world: World) -> None:
    commit = world.begin()
    made = world.clone()
    assert (made.commit, made.remote.branch, made.folder) == (commit, "main", world.root)
    folder = world.followed.commits / commit
    for cwd in (world.root, world.root / "current", world.root / "current/jobs", folder / "prompts"):
        assert where(world, cwd) == folder
    assert where(world, world.folder, SCHEDULER_ROOT=str(folder)) == folder
    place = locate(str(world.root), None, None, environ={}, cwd=world.folder)
    assert (place.state, place.db) == (world.root / ".scheduler", world.root / ".scheduler/state.db")
    assert place.label == world.root
    assert git(world.root / "current", "rev-parse", "HEAD") == commit
    assert git(world.root / "current", "status", "--porcelain") == ""


def test_a_run_of_an_earlier_commit_edits_the_root_that_it_belongs_to(world: World) -> None:
    first = world.begin()
    world.clone()
    before, inside = world.followed.commits / first, {"SCHEDULER_RUN_ID": "a:1"}
    place = locate(None, None, None, environ={**inside, "SCHEDULER_ROOT": str(before)}, cwd=world.root)
    assert (place.label, place.db) == (world.root, world.root / ".scheduler/state.db")
    assert where(world, before / "jobs", SCHEDULER_ROOT=str(world.folder / "gone"), **inside) == before


def test_a_state_folder_elsewhere_is_found_by_the_root_and_no_other_is_taken(world: World) -> None:
    world.begin()
    state = world.folder / "state"
    from scheduler.machine.clock import SystemClock
    from scheduler.service.clone import Wanted, clone

    clone(Wanted(url=str(world.bare)), world.root, state, environ=os.environ, clock=SystemClock())
    place = locate(str(world.root), None, None, environ={}, cwd=world.folder)
    assert place.state == state
    with pytest.raises(UsageError, match="its state must stay in"):
        locate(str(world.root), str(world.folder / "other"), None, environ={}, cwd=world.folder)


def test_files_are_written_raw_and_read_only(world: World) -> None:
    world.begin()
    blobs = {"a.txt": b"one\ntwo\n", "b.txt": b"$Id$ one\r\ntwo\n", "c.md": b"\xff\xfe raw"}
    world.write({".gitattributes": "* text=auto eol=crlf ident\n*.txt filter=upper working-tree-encoding=UTF-16\n"})
    git(world.desk, "add", "--all")
    for path, data in blobs.items():  # as they are, whatever the attributes say
        made = git(world.desk, "hash-object", "-w", "--no-filters", "--stdin", stdin=data)
        git(world.desk, "update-index", "--add", "--cacheinfo", f"100644,{made},{path}")
    tool = git(world.desk, "hash-object", "-w", "--no-filters", "--stdin", stdin=b"#!/bin/sh\n")
    git(world.desk, "update-index", "--add", "--cacheinfo", f"100755,{tool},run.sh")
    link = git(world.desk, "hash-object", "-w", "--no-filters", "--stdin", stdin=b"prompts/hello.md")
    git(world.desk, "update-index", "--add", "--cacheinfo", f"120000,{link},link.md")
    git(world.desk, "update-index", "--add", "--cacheinfo", f"160000,{git(world.desk, 'rev-parse', 'HEAD')},sub")
    git(world.desk, "commit", "--quiet", "-m", "raw")
    git(world.desk, "push", "--quiet", "origin", "main")
    world.clone()
    root = world.root / "current"
    assert {path: (root / path).read_bytes() for path in blobs} == blobs
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o555
    assert stat.S_IMODE((root / "a.txt").stat().st_mode) == 0o444
    assert stat.S_IMODE((root / "jobs").stat().st_mode) == 0o555
    assert os.readlink(root / "link.md") == "prompts/hello.md"  # noqa: PTH115
    assert list((root / "sub").iterdir()) == []


def test_a_folder_of_the_repository_can_be_the_root(world: World) -> None:
    commit = world.begin({"ops/scheduler.yaml": ROOT_FILE, "ops/jobs/hello.yaml": JOB, "other.txt": "x"})
    with pytest.raises(NotApplicableError, match=r"has no scheduler.yaml") as raised:
        world.clone()
    assert "ops" in raised.value.hint
    assert not world.root.exists()
    world.clone(path="ops")
    assert where(world, world.root) == world.followed.commits / commit / "ops"
    assert where(world, world.root / "current/jobs") == world.followed.commits / commit / "ops"


@pytest.mark.parametrize("wanted", [{"branch": "mian"}, {"tag": "v9"}])
def test_a_name_that_the_remote_does_not_have_is_told_with_those_it_has(world: World, wanted: dict[str, str]) -> None:
    world.begin()
    with pytest.raises(UsageError, match=r"has no (branch 'mian'|tag 'v9')") as raised:
        world.clone(**wanted)
    assert raised.value.hint in ("did you mean 'main'?", "the remote has: none")
    assert not world.root.exists()


def test_what_is_there_already_is_never_overwritten(world: World) -> None:
    world.begin()
    world.root.mkdir()
    (world.root / "mine").write_text("x")
    with pytest.raises(RefusedError, match="not empty"):
        world.clone()
    (world.root / "mine").unlink()
    world.clone()
    with pytest.raises(RefusedError, match="already follows the branch main of "):
        world.clone()
    assert world.read("prompts/hello.md") == "hello 0\n"


def test_an_empty_remote_and_one_that_is_not_there_leave_nothing_behind(world: World) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        world.clone()
    world.bare.mkdir()
    git(world.bare, "init", "--quiet", "--bare")
    with pytest.raises(UnavailableError, match="is not a branch"):
        world.clone()
    assert not world.root.exists()


# -- what comes then -------------------------------------------------------------------------------


def test_a_new_commit_becomes_the_root_and_the_old_one_goes_when_nobody_holds_it(world: World) -> None:
    first = world.begin()
    world.clone()
    place = locate(str(world.root), None, None, environ={}, cwd=world.folder)
    second = world.push({"prompts/hello.md": "hello 1\n"})
    assert world.look().commit == second
    assert (place.root / "prompts/hello.md").read_text() == "hello 0\n"
    new = place.now()
    assert (new.root / "prompts/hello.md").read_text() == "hello 1\n"
    assert new.now() is new
    world.look()
    assert (world.followed.commits / first).is_dir()
    del place
    world.look()
    assert [each.name for each in world.followed.commits.iterdir()] == [second]
    assert [each.name for each in (world.followed.store / "worktrees").iterdir()] == [second]


def test_a_commit_that_is_being_removed_cannot_be_held(world: World) -> None:
    commit = world.begin()
    world.clone()
    folder = world.followed.commits / commit
    ours = hold(folder)
    assert ours is not None
    assert hold(folder, alone=True) is None
    del ours
    alone = hold(folder, alone=True)
    assert alone is not None
    assert hold(folder) is None
    del alone
    remove_old(world.followed, keep=())
    assert hold(folder) is None
    with pytest.raises(UnavailableError, match="does not lead to the folder of a commit"):
        Followed(world.followed.state / "nothing").pin()


def test_a_tag_is_followed_where_it_goes(world: World) -> None:
    first = world.begin()
    git(world.desk, "tag", "-a", "-m", "one", "live")
    git(world.desk, "push", "--quiet", "origin", "live")
    world.clone(tag="live")
    second = world.push({"prompts/hello.md": "hello 1\n"})
    assert world.look().commit == first
    git(world.desk, "tag", "-f", "live")
    git(world.desk, "push", "--quiet", "--force", "origin", "live")
    assert world.look().commit == second


def test_a_rewritten_history_is_applied_told_and_what_ran_before_is_kept(world: World) -> None:
    first = world.begin()
    world.clone()
    second = world.push({"prompts/hello.md": "hello 1\n"})
    world.look()
    third = world.push({"prompts/hello.md": "hello 2\n"}, amend=True)
    found = world.look()
    assert (found.commit, found.rewritten, found.trouble) == (third, second, "")
    world.look()
    git(world.followed.store, "--git-dir=.", "gc", "--prune=now", "--quiet")
    assert git(world.root / "current", "show", f"{second}:prompts/hello.md") == "hello 1"
    assert git(world.root / "current", "log", "--format=%H").split() == [third, first]


def test_a_branch_that_is_gone_and_a_remote_that_is_away_leave_the_last_good_commit(world: World) -> None:
    first = world.begin()
    world.clone()
    git(world.bare, "update-ref", "-d", "refs/heads/main")
    found = world.look()
    assert found.commit == first
    assert "branch main of" in found.trouble
    assert "is gone" in found.trouble
    away = world.bare.rename(world.folder / "away.git")
    again = world.look()
    assert "cannot be reached" in again.trouble
    assert (again.commit, again.failures, again.trouble_since) == (first, 2, found.trouble_since)
    assert world.read("prompts/hello.md") == "hello 0\n"
    away.rename(world.bare)
    second = world.push({"prompts/hello.md": "hello 1\n"})
    found = world.look()
    assert (found.commit, found.trouble, found.failures, found.trouble_since) == (second, "", 0, None)


def test_a_commit_without_a_root_file_is_not_applied_until_it_is_back(world: World) -> None:
    first = world.begin()
    world.clone()
    bad = world.push({"scheduler.yaml": None})
    found = world.look()
    assert (found.commit, found.tip) == (first, bad)
    assert f"commit {bad[:12]} has no scheduler.yaml" in found.trouble
    second = world.push({"scheduler.yaml": ROOT_FILE})
    assert world.look().commit == second


def test_what_is_followed_can_be_changed_by_editing_its_file(world: World) -> None:
    world.begin()
    world.clone()
    git(world.desk, "checkout", "--quiet", "-b", "next")
    world.write({"prompts/hello.md": "next\n"})
    git(world.desk, "commit", "--quiet", "--all", "-m", "next")
    git(world.desk, "push", "--quiet", "origin", "next")
    text = world.followed.file.read_text()
    world.followed.file.write_text(text.replace('"main"', '"next"'))
    assert world.look().trouble == ""
    assert world.read("prompts/hello.md") == "next\n"
    world.followed.file.write_text(text.replace('"main"', "main"))
    with pytest.raises(UnavailableError, match=r"followed.json.*is not JSON"):
        world.look()
    assert world.read("prompts/hello.md") == "next\n"


# -- faults ----------------------------------------------------------------------------------------


def _no_head(store: Path) -> None:
    (store / "HEAD").unlink()


def _no_objects(store: Path) -> None:
    shutil.rmtree(store / "objects")


def _no_store(store: Path) -> None:
    shutil.rmtree(store)


def _torn_objects(store: Path) -> None:
    for path in store.joinpath("objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garbled_refs(store: Path) -> None:
    for path in store.joinpath("refs/remotes").rglob("*"):
        if path.is_file():
            path.write_text("garbage\n")


@pytest.mark.parametrize("packed", [False, True], ids=["loose", "packed"])
@pytest.mark.parametrize("news", [False, True], ids=["nothing new", "a new commit"])
@pytest.mark.parametrize("damage", [_no_head, _no_objects, _no_store, _torn_objects, _garbled_refs])
def test_a_damaged_store_is_made_anew_and_its_root_stays(
    world: World, damage: object, news: bool, packed: bool
) -> None:
    assert callable(damage)
    first = world.begin()
    world.clone()
    git(world.followed.store, "--git-dir=.", "update-ref", "refs/heads/mine", first)
    if packed:
        git(world.followed.store, "--git-dir=.", "gc", "--quiet")
    damage(world.followed.store)
    newest = world.push({"prompts/hello.md": "hello 1\n"}) if news else first
    found = world.look()
    assert (found.commit, found.trouble) == (newest, "")
    assert git(world.root / "current", "status", "--porcelain") == ""
    git(world.root / "current", "rev-list", "--objects", "HEAD")
    assert world.look().trouble == ""
    third = world.push({"prompts/hello.md": "hello 2\n"})
    assert world.look().commit == third


def test_a_branch_that_was_not_pushed_outlives_a_store_that_is_made_anew(world: World) -> None:
    first = world.begin()
    world.clone()
    store = world.followed.store
    made = git(store, "--git-dir=.", "commit-tree", "-m", "mine", "-p", first, f"{first}^{{tree}}")
    git(store, "--git-dir=.", "update-ref", "refs/heads/mine", made)
    for path in (store / "refs/remotes").rglob("main"):
        path.write_text("garbage\n")
    assert world.look().trouble == ""
    assert git(store, "--git-dir=.", "rev-parse", "refs/heads/mine") == made


def _git_that(world: World, fails: str) -> dict[str, str]:
    """An environment whose git does this at each fetch, and else what git does."""
    real = shutil.which("git")
    folder = world.folder / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "git"
    script.write_text(f'#!/bin/sh\nfor each; do if [ "$each" = fetch ]; then {fails}; fi; done\nexec {real} "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_disk_that_is_full_during_a_fetch_is_no_damage_to_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.begin()
    world.clone()
    world.push({"prompts/hello.md": "hello 1\n"})
    with monkeypatch.context() as patch:
        fails = "echo 'fatal: write error: No space left on device' >&2; exit 128"
        patch.setenv("PATH", _git_that(world, fails)["PATH"])
        found = world.look()
    assert "No space left on device" in found.trouble
    assert found.commit == first
    assert not list(world.followed.state.glob("*damaged*"))
    assert world.look().trouble == ""


def test_a_disk_without_room_is_said_before_anything_is_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.begin()
    world.clone()
    world.push({"prompts/hello.md": "hello 1\n"})
    with monkeypatch.context() as patch:
        patch.setattr(following, "lack_of_room", lambda *_: "the disk is full")
        found = world.look()
    assert (found.commit, found.trouble) == (first, "the disk is full")


def test_a_remote_that_hangs_is_given_up_and_its_git_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.begin()
    world.clone()
    pid = world.folder / "pid"
    with monkeypatch.context() as patch:
        patch.setattr(fetching, "SILENCE_S", 1.0)
        patch.setenv("PATH", _git_that(world, f"echo $$ > {pid}; exec sleep 600")["PATH"])
        found = world.look()
    assert "said nothing for 1s" in found.trouble
    assert found.commit == first
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_locks_that_a_killed_git_has_left_are_taken_away(world: World) -> None:
    world.begin()
    world.clone()
    second = world.push({"prompts/hello.md": "hello 1\n"})
    lock = world.followed.store / "refs/remotes/origin/main.lock"
    lock.write_text("")
    os.utime(lock, (time.time() - 3600,) * 2)
    pack = world.followed.store / "objects/pack/tmp_pack_x"
    pack.write_text("x")
    os.utime(pack, (time.time() - 3600,) * 2)
    assert world.look().commit == second
    assert not pack.exists()


def _tree(world: World, *entries: tuple[str, str, str]) -> str:
    """A tree that `git add` would never make. entries: mode, name, id."""
    data = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(object_id) for mode, name, object_id in entries)
    return git(world.desk, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=data)


def test_trees_that_would_write_outside_of_their_folder_are_refused(world: World) -> None:
    first = world.begin()
    world.clone()
    blob = git(world.desk, "hash-object", "-w", "--stdin", stdin=b"x")
    root_file = git(world.desk, "rev-parse", "HEAD:scheduler.yaml")
    link = git(world.desk, "hash-object", "-w", "--stdin", stdin=b"/tmp")
    inner = _tree(world, ("100644", "b", blob))
    for odd in (
        [("40000", ".git", inner)],
        [("40000", "..", inner)],
        [("40000", ".", inner)],
        [("100644", ".GIT", blob)],
        [("120000", "a", link), ("40000", "a", inner)],
    ):
        tree = _tree(world, *odd, ("100644", "scheduler.yaml", root_file))
        commit = git(world.desk, "commit-tree", "-m", "odd", "-p", first, tree)
        git(world.bare, "fetch", "--quiet", str(world.desk), "+" + commit + ":refs/heads/main")
        found = world.look()
        assert found.commit == first, odd
        assert "which is not a possible file name" in found.trouble, odd
    assert not Path("/tmp/b").exists()


@pytest.mark.parametrize(
    ("mode", "name", "data", "why"),
    [
        ("120000", "a", b"x\0y", "the link 'a', whose target has a NUL byte"),
        ("120000", "a", b"", "the link 'a', whose target is empty"),
        ("120000", "a", b"x" * 5000, "the link 'a', whose target has 5,000 bytes"),
        ("100644", "n" * 300, b"x", "a file name of 300 bytes"),
        ("100644", "ü" * 128, b"x", "a file name of 256 bytes"),
    ],
    ids=["NUL", "empty", "long target", "long name", "bytes, not characters"],
)
def test_a_commit_that_no_folder_can_hold_is_not_applied_and_everybody_says_why(
    world: World, mode: str, name: str, data: bytes, why: str
) -> None:
    first = world.begin()
    world.clone()
    blob = git(world.desk, "hash-object", "-w", "--literally", "--stdin", stdin=data)
    entries = [("100644", "scheduler.yaml", git(world.desk, "rev-parse", "HEAD:scheduler.yaml")), (mode, name, blob)]
    tree = _tree(world, *sorted(entries, key=lambda entry: entry[1].encode()))
    commit = git(world.desk, "commit-tree", "-m", "odd", "-p", first, tree)
    git(world.bare, "fetch", "--quiet", str(world.desk), f"+{commit}:refs/heads/main")
    found = world.look()
    assert (found.commit, found.failures, found.exit_code) == (first, 0, 3)
    assert f"commit {commit[:12]} has {why}" in found.trouble
    assert "free some space" not in found.hint
    for command in ("sync", "list", "doctor"):
        done = call("--root", str(world.root), command)
        assert why in done.stdout + done.stderr, command
    [problem] = call("--root", str(world.root), "plan", "--base", first, "--head", commit, "--json").json["problems"]
    assert problem["code"] == "file.impossible"
    assert why in problem["message"]
    assert [each.name for each in world.followed.commits.iterdir()] == [first]


def _crowd(world: World, first: str, depth: int) -> str:
    """A commit whose tree names 10 ** depth files in a handful of objects."""
    blob = git(world.desk, "hash-object", "-w", "--stdin", stdin=b"x")
    tree = _tree(world, *(("100644", str(n), blob) for n in range(10)))
    for _ in range(depth - 1):
        tree = _tree(world, *(("40000", str(n), tree) for n in range(10)))
    root_file = git(world.desk, "rev-parse", "HEAD:scheduler.yaml")
    top = _tree(world, ("40000", "a", tree), ("100644", "scheduler.yaml", root_file))
    return git(world.desk, "commit-tree", "-m", "many", "-p", first, top)


def test_a_commit_of_ten_million_files_in_a_few_objects_is_given_up_at_a_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.git.objects.MOST_FILES", 5_000)
    first = world.begin()
    world.clone()
    commit = _crowd(world, first, 7)
    git(world.bare, "fetch", "--quiet", str(world.desk), f"+{commit}:refs/heads/main")
    found = world.look()
    assert (found.commit, found.exit_code) == (first, 3)
    assert f"commit {commit[:12]} has more than 5,000 files" in found.trouble
    done = call("--root", str(world.root), "plan", "--base", first, "--head", commit)
    assert done.code == 5
    assert "has more than 5,000 files" in done.stderr
    monkeypatch.setattr("scheduler.git.objects.MOST_BYTES", 1000)
    monkeypatch.setattr("scheduler.git.objects.MOST_FILES", 500_000)
    assert call("--root", str(world.root), "plan", "--base", first, "--head", commit).code == 5


def test_files_that_would_fill_the_disk_are_not_written_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.begin()
    world.clone()
    monkeypatch.setattr("scheduler.remote.checkouts._MOST_OF_ROOM", 0.0)
    world.push({"prompts/hello.md": "hello 1\n"})
    found = world.look()
    assert (found.commit, found.exit_code) == (first, 5)
    assert "it would fill the disk" in found.trouble
    assert [each.name for each in world.followed.commits.iterdir()] == [first]


@pytest.mark.parametrize("point", ["before_commit_is_there", "before_switch", "after_switch"])
def test_a_look_that_is_killed_leaves_one_whole_commit_and_the_next_goes_on(world: World, point: str) -> None:
    first = world.begin()
    world.clone()
    second = world.push({"prompts/hello.md": "hello 1\n"})
    command = [sys.executable, "-m", "scheduler", "--root", str(world.root), "sync"]
    killed = subprocess.run(command, env={**os.environ, "SCHEDULER_CRASH_AT": point}, capture_output=True, check=False)
    assert killed.returncode == -9
    text = {first: "hello 0\n", second: "hello 1\n"}
    commit = world.followed.commit()
    assert commit == (second if point == "after_switch" else first)
    assert world.read("prompts/hello.md") == text[commit]
    subprocess.run(command, capture_output=True, check=True)
    assert world.followed.commit() == second
    assert world.look().trouble == ""
    assert [each.name for each in world.followed.commits.iterdir()] == [second]


# -- signatures ------------------------------------------------------------------------------------


def test_only_commits_that_somebody_on_the_list_has_signed_are_applied(world: World) -> None:
    world.begin()
    good, other = world.key("good"), world.key("other")
    with pytest.raises(NotApplicableError, match="is not signed"):
        world.clone(signers=world.signers(good))
    assert not world.root.exists()
    first = world.push({"prompts/hello.md": "hello 1\n"}, sign=good)
    world.clone(signers=world.signers(good))
    unsigned = world.push({"prompts/hello.md": "hello 2\n"})
    found = world.look()
    assert (found.commit, found.tip) == (first, unsigned)
    assert f"commit {unsigned[:12]} is not signed, and this root applies only signed commits" in found.trouble
    world.push({"prompts/hello.md": "hello 3\n"}, sign=other)
    assert "is signed, but not by a key in allowed_signers" in world.look().trouble
    assert world.read("prompts/hello.md") == "hello 1\n"
    last = world.push({"prompts/hello.md": "hello 4\n"}, sign=good)
    assert (world.look().commit, world.look().trouble) == (last, "")
    world.followed.signers.write_text(world.signers(other).read_text())  # the key of who has left
    assert "not by a key in allowed_signers" in world.look().trouble
    world.followed.signers.unlink()
    assert "allowed_signers, is gone" in world.look().trouble
    assert world.read("prompts/hello.md") == "hello 4\n"


def test_an_old_signed_commit_cannot_be_brought_back_without_a_new_signature(
    signed: tuple[World, Path, str, str],
) -> None:
    world, _, old, new = signed
    git(world.desk, "push", "--quiet", "--force", "origin", f"{old}:refs/heads/main")
    found = world.look()
    assert found.commit == new
    assert f"went back to {old[:12]}, which is older than {new[:12]}" in found.trouble
    git(world.desk, "push", "--quiet", "--force", "origin", f"{new}:refs/heads/main")
    assert world.look().trouble == ""


def test_a_signature_of_another_kind_and_the_users_own_settings_do_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = world.key("good")
    world.begin()
    first = world.push({}, sign=key)
    world.clone(signers=world.signers(key))
    raw = git(world.desk, "cat-file", "commit", "HEAD")
    header, _, message = raw.partition("\n\n")
    lines = [line for line in header.splitlines() if not line.startswith(("gpgsig", " "))]
    pgp = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n aaaa\n -----END PGP SIGNATURE-----"
    forged = git(
        world.desk,
        "hash-object", "-t", "commit", "-w", "--stdin",
        stdin="\n".join([*lines, pgp, "", message + "\n"]).encode(),
    )  # fmt: skip
    git(world.desk, "push", "--quiet", "--force", "origin", f"{forged}:refs/heads/main")
    yes = world.folder / "yes"
    yes.write_text('#!/bin/sh\necho "[GNUPG:] GOODSIG x y"\necho "[GNUPG:] TRUST_ULTIMATE"\nexit 0\n')
    yes.chmod(0o755)
    home = world.folder / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[gpg]\n\tprogram = {yes}\n[gpg "ssh"]\n\tprogram = {yes}\n')
    monkeypatch.setenv("HOME", str(home))
    found = world.look()
    assert found.commit == first
    assert f"commit {forged[:12]} is not signed with an SSH key" in found.trouble


def test_the_signature_of_a_tag_vouches_for_its_commit(world: World) -> None:
    key = world.key("good")
    first = world.begin()
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    git(world.desk, *signing, "tag", "-s", "-m", "one", "live")
    git(world.desk, "push", "--quiet", "origin", "live")
    world.clone(tag="live", signers=world.signers(key))
    world.push({"prompts/hello.md": "hello 1\n"})
    git(world.desk, "tag", "-f", "-a", "-m", "two", "live")
    git(world.desk, "push", "--quiet", "--force", "origin", "live")
    found = world.look()
    assert found.commit == first
    assert "the tag is not signed, and the commit is not signed" in found.trouble


@pytest.mark.parametrize("text", ["", "# nobody\n", "just words\n", "a@example.com ssh-ed25519\n"])
def test_a_list_of_signers_that_names_none_is_refused_before_anything_is_made(world: World, text: str) -> None:
    world.begin()
    path = world.folder / "signers"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"lists no signer|not an allowed signer"):
        world.clone(signers=path)
    assert not world.root.exists()
