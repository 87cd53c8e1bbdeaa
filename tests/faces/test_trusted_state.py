"""State is what this host has written: never what a repository holds, nor what another user made beforehand."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faces.conftest import Root

FOLLOWED = json.dumps({"version": 1, "url": "/somewhere/else.git", "branch": "main"})


def _force(root: Root, *paths: str) -> None:
    root.git("add", "-f", "--", *paths)
    root.git("commit", "-q", "-m", "a change")


def _followed(root: Root) -> str:
    root.write(".scheduler/followed.json", FOLLOWED)
    _force(root, ".scheduler")
    return ".scheduler/followed.json"


def _database(root: Root) -> str:
    (root.path / ".scheduler").mkdir()
    with sqlite3.connect(root.path / ".scheduler/state.db") as made:
        made.execute("CREATE TABLE jobs (id)")
    _force(root, ".scheduler")
    return ".scheduler/state.db"


def _outputs(root: Root) -> str:
    root.write(".scheduler/runs/heartbeat/1.1.stdout", "all is well\n")
    _force(root, ".scheduler")
    return ".scheduler/runs/heartbeat/1.1.stdout"


def _linked_folder(root: Root) -> str:
    root.write("data/followed.json", FOLLOWED)
    (root.path / ".scheduler").symlink_to("data")
    _force(root, ".scheduler", "data")
    return ".scheduler"


def _link_of_a_clone(root: Root) -> str:
    root.write("data/followed.json", FOLLOWED)
    root.write("data/commits/x/scheduler.yaml", "version: 1\n")
    (root.path / "current").symlink_to("data/commits/x")
    _force(root, "current", "data")
    return "current"


def _submodule(root: Root) -> str:
    inner = root.path.parent / "inner"
    inner.mkdir()
    (inner / "followed.json").write_text(FOLLOWED)
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "x")):
        root.git("-C", str(inner), *command)
    root.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "-f", str(inner), ".scheduler")
    root.git("commit", "-q", "-m", "a change")
    return ".scheduler"


PLANTED = [_followed, _database, _outputs, _linked_folder, _submodule]


@pytest.mark.parametrize("plant", PLANTED)
def test_no_command_uses_state_that_a_repository_holds(root: Root, plant: Callable[[Root], str]) -> None:
    path = plant(root)
    for command in (
        ["list"],
        ["sync"],
        ["plan"],
        ["run", "heartbeat"],
        ["serve", "--once"],
        ["doctor"],
        ["pause", "x"],
    ):
        done = root.cli(*command)
        assert done.code == 3, command
        assert f"git tracks {root.path / path}" in done.stderr
        assert "git rm -r --cached" in done.stderr


@pytest.mark.parametrize("plant", [*PLANTED, _link_of_a_clone])
@pytest.mark.parametrize("head", [(), ("--head", "HEAD")], ids=["the files", "a commit"])
def test_a_review_names_planted_state_as_an_error_that_gives_power(
    root: Root, plant: Callable[[Root], str], head: tuple[str, ...]
) -> None:
    root.git("tag", "base")
    path = plant(root)
    done = root.cli("plan", "--base", "base", *head, "--json")
    assert done.code == 1
    assert (path, 1, 1, "state.tracked") in done.problems
    [change] = [each for each in done.json["root_changed"] if each["field"] == "state.tracked"]
    assert change["widens"]
    assert path in change["after"]
    for style, said in (
        ("text", "! the repository state.tracked"),
        ("markdown", "Gives more power"),
        ("github", "::warning title=more power::state.tracked"),
    ):
        assert said in root.cli("plan", "--base", "base", *head, "--format", style).stdout


def test_validate_names_planted_state(root: Root) -> None:
    path = _followed(root)
    done = root.cli("validate", "--json")
    assert (path, 1, 1, "state.tracked") in done.problems
    assert done.code == 1


def test_a_link_that_a_repository_holds_leads_to_no_root(root: Root) -> None:
    _link_of_a_clone(root)
    root.sync()
    assert "heartbeat" in root.cli("list").stdout


def test_a_root_among_commits_is_not_followed_by_a_file_of_the_repository(root: Root) -> None:
    inner = root.path / "x/commits/y"
    inner.mkdir(parents=True)
    shutil.copy(root.path / "scheduler.yaml", inner)
    root.git("add", "-A")
    root.git("commit", "-q", "-m", "a root below")
    root.git("tag", "base")
    root.write("x/followed.json", FOLLOWED)
    _force(root, "x/followed.json")
    done = root.cli("--root", str(inner), "list")
    assert done.code == 3
    assert f"git tracks {root.path}/x/" in done.stderr
    for head in ((), ("--head", "HEAD")):
        found = root.cli("--root", str(inner), "plan", "--base", "base", *head, "--json")
        assert [code for *_, code in found.problems if code == "state.tracked"] == ["state.tracked"]


def test_state_that_leaves_the_repository_is_used_again(root: Root) -> None:
    root.sync()
    _force(root, ".scheduler/state.db")
    assert root.cli("list").code == 3
    root.git("rm", "-q", "-r", "--cached", ".scheduler")
    assert root.cli("list").code == 0


def test_files_that_say_nothing_may_be_tracked(root: Root) -> None:
    root.write(".scheduler/.gitignore", "*\n")
    root.write(".scheduler/.gitkeep", "")
    _force(root, ".scheduler/.gitignore", ".scheduler/.gitkeep")
    root.sync()
    assert root.cli("plan", "--base", "HEAD~1").code == 0


def test_a_named_folder_of_the_tree_may_hold_other_files_and_no_tracked_state(root: Root) -> None:
    root.write("ops/notes.md", "ours\n")
    _force(root, "ops/notes.md")
    assert root.cli("--state", "ops", "sync").code == 0
    _force(root, "ops/state.db")
    assert root.cli("--state", "ops", "list").code == 3
    (root.path / "way").symlink_to("../elsewhere")
    (root.path.parent / "elsewhere").mkdir()
    assert root.cli("--state", "way/state", "sync").code == 0
    _force(root, "way")
    assert f"git tracks {root.path}/way" in root.cli("--state", "way/state", "list").stderr


def test_a_named_database_is_not_taken_from_the_tree_either(root: Root) -> None:
    root.write("ops/notes.md", "ours\n")
    _force(root, "ops/notes.md")
    assert root.cli("--db", "ops/jobs.db", "sync").code == 0
    _force(root, "ops/jobs.db")
    found = root.cli("--db", "ops/jobs.db", "list")
    assert (found.code, f"git tracks {root.path}/ops/jobs.db" in found.stderr) == (3, True), found
    assert root.cli("--db", "ops/jobs.db", "validate").code == 0
    root.sync()
    database = root.path / ".scheduler/state.db"
    database.unlink()
    database.symlink_to("../ops/jobs.db")
    assert f"git tracks {root.path}/ops/jobs.db" in root.cli("list").stderr


def test_a_daemon_does_not_take_a_database_that_a_pull_has_put_there(root: Root) -> None:
    root.sync()
    place = root.path / ".scheduler"
    shutil.rmtree(place)
    _database(root)
    done = root.cli("serve", "--once", "--new-state")
    assert done.code == 3
    assert "git tracks" in done.stderr


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files away")


@needs_root
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_state_folder_that_another_user_made_beforehand_is_refused(root: Root, kind: str) -> None:
    root.path.chmod(0o777)
    made = root.path / ".scheduler"
    if kind == "link":
        made.symlink_to(root.path.parent)
    else:
        made.mkdir()
    os.chown(made, 12345, 12345, follow_symlinks=False)
    for command in (["list"], ["sync"], ["serve", "--once"]):
        done = root.cli(*command)
        assert done.code == 3
        assert (
            f"the state folder {made} belongs to 12345, who is neither you nor the owner of {root.path}" in done.stderr
        )
    assert list(made.iterdir() if kind == "folder" else []) == []
    os.chown(root.path, 12345, 12345)
    assert "belongs to" not in root.cli("list").stderr


@needs_root
@pytest.mark.parametrize(("mode", "code"), [(0o1777, 3), (0o755, 0)], ids=["for anybody to make", "made on purpose"])
def test_a_named_state_folder_of_another_user_is_refused_where_anybody_could_make_it(
    root: Root, mode: int, code: int
) -> None:
    shared = root.path.parent / "shared"
    (shared / "state").mkdir(parents=True)
    shared.chmod(mode)
    os.chown(shared / "state", 12345, 12345)
    assert root.cli("--state", str(shared / "state"), "sync").code == code


def test_planted_state_is_found_in_what_a_commit_holds_by_any_spelling(tmp_path: Path) -> None:
    from scheduler.root.trusted import state_among

    links = {"current": "/x/commits/y", "sub/current": "/x/commits/y"}
    paths = [".Scheduler/state.db", ".scheduler", ".scheduler/.gitignore", "current", "sub/current", "a/.scheduler/x"]
    assert state_among(tmp_path, links, paths) == [".Scheduler/state.db", ".scheduler", "current"]
    assert state_among(tmp_path, {"current": "rel/1"}, ["current"]) == []
