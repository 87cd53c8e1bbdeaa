"""Runs with `workdir: fresh` in a root that follows a remote: their worktrees are of the commit that is applied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers import call, git
from tests.remote.world import World

ROOT_FILE = """\
version: 1
defaults: {runner: sh}
runners: {sh: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**"], workdirs: [fresh]}}
retention: {worktree_days: 0, worktrees: 1}
"""
JOB = "id: hello\nschedule: manual\ntask_source_path: scripts/hello.sh\nworkdir: fresh\n"
LOOK = "pwd; git rev-parse HEAD; git symbolic-ref HEAD; touch ignored.log\n"
WORK = "echo new > new.txt; git add new.txt; git -c user.name=t -c user.email=t@example.com commit -qm work\n"


def run(world: World) -> dict[str, Any]:
    told = json.loads(call("--root", str(world.root), "run", "hello", "--wait", "--json").stdout)
    return dict(told["run"])


def branches(world: World) -> list[str]:
    return git(world.followed.store, "for-each-ref", "--format=%(refname:short)", "refs/heads/run").split()


@pytest.mark.parametrize("path", ["", "team"])
def test_a_worktree_is_of_the_applied_commit_and_its_work_outlives_the_next_one(world: World, path: str) -> None:
    top = f"{path}/" if path else ""
    files = {"scheduler.yaml": ROOT_FILE, "jobs/hello.yaml": JOB, "scripts/hello.sh": LOOK + WORK}
    first = world.begin({f"{top}{name}": text for name, text in files.items()} | {".gitignore": "*.log\n"})
    world.clone(path=path)
    call("--root", str(world.root), "sync")
    found = run(world)
    folder = world.followed.state / "worktrees/hello"
    assert found["result"] == f"{folder / '1' / path}\n{first}\nrefs/heads/run/hello/1\n", found["error"]
    worktree = {"branch": "run/hello/1", "commit": first, "folder": None, "commits": 1, "files": 1}
    assert found["worktree"] == {**worktree, "insertions": 1, "deletions": 0}
    second = world.push({f"{top}scripts/hello.sh": f"{LOOK}exit 1\n"})
    world.look()
    found = run(world)
    assert (found["status"], found["result"].split("\n")[1]) == ("failed", second)
    assert found["worktree"]["folder"] == f"{folder}/2"
    assert (branches(world), (folder / "2").is_dir()) == (["run/hello/1", "run/hello/2"], True)
    run(world)
    assert json.loads(call("--root", str(world.root), "gc", "--json").stdout)["worktrees"] == 1
    assert sorted(each.name for each in folder.iterdir() if each.is_dir()) == ["3"]
    assert branches(world) == ["run/hello/1", "run/hello/3"]
    assert git(world.followed.store, "show", f"run/hello/1:{top}new.txt") == "new"
