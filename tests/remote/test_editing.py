"""Edits of a root that is kept from a remote: on a branch, pushed or not, and never in its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scheduler.core.values.problems import UnavailableError
from scheduler.remote import fetching
from tests.helpers import ROOT_FILE, call, git, settle_environment
from tests.remote.world import World


def scheduler(world: World, *args: str, code: int = 0) -> tuple[str, str]:
    """What a command says on stdout and stderr."""
    found = call("--root", str(world.root), *args)
    assert found.code == code, found.stdout + found.stderr
    return found.stdout, found.stderr


def name_of(world: World, revision: str) -> str | None:
    text = git(world.bare, "show", f"{revision}:jobs/hello.yaml")
    return next((line.removeprefix("name: ") for line in text.splitlines() if line.startswith("name: ")), None)


@pytest.fixture
def root(world: World) -> World:
    world.begin()
    world.clone()
    scheduler(world, "sync")
    return world


@pytest.mark.parametrize(
    "verb",
    [
        ("update", "hello", "--set", "name=x"),
        ("update", "hello", "--set", "name=x", "--commit"),
        ("create", "other", "--set", "schedule=0 5 * * *", "--set", "task=x"),
        ("delete", "hello"),
        ("mv", "hello", "jobs/other.yaml"),
        ("rollback", "hello", "--to", "commit:HEAD"),
    ],
    ids=lambda verb: f"{verb[0]}{len(verb)}",
)
def test_an_edit_without_a_branch_is_refused_and_names_what_is_followed(root: World, verb: tuple[str, ...]) -> None:
    _, said = scheduler(root, *verb, code=3)
    assert f"follows the branch main of {root.bare}" in said
    assert "--branch B" in said
    assert "--push" in said
    assert git(root.root / "current", "status", "--porcelain") == ""


def test_a_branch_stays_here_until_it_is_pushed(root: World) -> None:
    out, _ = scheduler(root, "update", "hello", "--set", "name=One", "--branch", "tune", "--json")
    found = json.loads(out)
    assert (found["applied"], found["branch"]) == ("pending_branch", "tune")
    assert git(root.bare, "branch", "--list", "tune") == ""
    out, _ = scheduler(root, "update", "hello", "--set", "name=Two", "--branch", "tune", "--push", "--json")
    found = json.loads(out)
    assert found["applied"] == "pending_branch"
    assert f"branch tune of {root.bare}" in found["why"]
    assert name_of(root, "tune") == "Two"
    assert git(root.bare, "rev-list", "--count", "main..tune") == "2"
    assert name_of(root, "main") is None


def test_an_edit_goes_on_from_what_a_reviewer_has_pushed_and_anew_once_that_is_merged(root: World) -> None:
    scheduler(root, "update", "hello", "--set", "name=One", "--branch", "tune", "--push")
    git(root.desk, "fetch", "--quiet", "origin")
    git(root.desk, "checkout", "--quiet", "tune")
    root.write({"prompts/hello.md": "reviewed\n"})
    git(root.desk, "commit", "--quiet", "--all", "-m", "review")
    git(root.desk, "push", "--quiet", "origin", "tune")
    scheduler(root, "update", "hello", "--set", "name=Two", "--branch", "tune", "--push")
    assert git(root.bare, "show", "tune:prompts/hello.md") == "reviewed"
    git(root.bare, "update-ref", "refs/heads/main", "refs/heads/tune")
    git(root.bare, "update-ref", "-d", "refs/heads/tune")
    scheduler(root, "sync")
    assert root.read("prompts/hello.md") == "reviewed\n"
    root.push({"prompts/hello.md": "later\n"})  # rewrites main, from where the desk stands
    scheduler(root, "sync")
    scheduler(root, "update", "hello", "--set", "name=Three", "--branch", "other", "--push")
    assert git(root.bare, "rev-list", "--count", "main..other") == "1"
    assert git(root.bare, "show", "other:prompts/hello.md") == "later"


def test_what_was_not_pushed_and_has_gone_on_elsewhere_is_refused(root: World) -> None:
    scheduler(root, "update", "hello", "--set", "name=One", "--branch", "tune")
    git(root.desk, "push", "--quiet", "origin", "HEAD:refs/heads/tune")
    root.write({"prompts/hello.md": "theirs\n"})
    git(root.desk, "commit", "--quiet", "--all", "-m", "theirs")
    git(root.desk, "push", "--quiet", "origin", "HEAD:refs/heads/tune")
    _, said = scheduler(root, "update", "hello", "--set", "name=Two", "--branch", "tune", "--push", code=3)
    assert "has new commits at" in said
    assert "nothing was written" in said


def test_a_remote_that_does_not_take_a_branch_leaves_the_commit_for_another_try(root: World) -> None:
    hook = root.bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no pushes on Fridays >&2\nexit 1\n")
    hook.chmod(0o755)
    edit = ("update", "hello", "--set", "name=One", "--branch", "tune", "--push")
    _, said = scheduler(root, *edit, code=3)
    assert "rejected branch 'tune': pre-receive hook declined" in said
    assert "is on the local branch tune" in said
    hook.unlink()
    _, said = scheduler(root, *edit)
    assert "nothing to do: the files already say this" in said
    assert name_of(root, "tune") == "One"


def test_a_remote_that_is_away_is_told_and_the_branch_goes_on_from_here(root: World) -> None:
    away = root.bare.rename(root.folder / "away.git")
    _, said = scheduler(root, "update", "hello", "--set", "name=One", "--branch", "tune")
    assert "using the branch as last fetched" in said
    _, said = scheduler(root, "update", "hello", "--set", "name=Two", "--branch", "tune", "--push", code=5)
    assert "is on the local branch tune" in said
    away.rename(root.bare)
    scheduler(root, "update", "hello", "--set", "name=Two", "--branch", "tune", "--push")
    assert name_of(root, "tune") == "Two"


def test_what_is_followed_can_be_pushed_to_and_is_applied_at_once(root: World) -> None:
    edit = ("update", "hello", "--set", "name=One", "--branch", "main")
    _, said = scheduler(root, *edit, code=3)
    assert "add --push" in said
    out, _ = scheduler(root, *edit, "--push", "--json")
    assert json.loads(out)["applied"] == "now"
    assert json.loads(out)["job"]["name"] == "One"
    assert name_of(root, "main") == "One"


def test_an_edit_without_a_signature_is_not_pushed_to_where_only_signed_ones_are_applied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin()
    key = world.key("good")
    first = world.push({}, sign=key)
    world.clone(signers=world.signers(key))
    scheduler(world, "sync")
    edit = ("update", "hello", "--set", "name=x", "--branch", "main", "--push")
    _, said = scheduler(world, *edit, code=3)
    assert "is not signed, and this root applies only signed commits; nothing was pushed" in said
    assert git(world.bare, "rev-parse", "main") == first
    settings = (("gpg.format", "ssh"), ("user.signingkey", str(key)), ("commit.gpgSign", "true"))
    settle_environment(monkeypatch, world.folder / "home")
    for name, value in settings:
        git(world.folder, "config", "--global", name, value)
    told, _ = scheduler(world, *edit, "--json")
    assert (json.loads(told)["applied"], json.loads(told)["job"]["name"]) == ("now", "x")
    assert name_of(world, "main") == "x"


def test_what_was_pushed_and_not_taken_yet_is_not_called_applied(root: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> str:
        raise UnavailableError("the remote is away")

    monkeypatch.setattr(fetching, "fetch", away)  # after the push
    told, _ = scheduler(root, "update", "hello", "--set", "name=later", "--branch", "main", "--push", "--json")
    assert json.loads(told)["applied"] == "next_sync"
    assert name_of(root, "main") == "later"


def test_what_cannot_be_a_branch_is_said_before_the_remote_is_asked(root: World) -> None:
    _, said = scheduler(root, "update", "hello", "--set", "name=x", "--branch", "bad..name", code=2)
    assert said.startswith("error: 'bad..name' cannot be the name of a branch")


def test_only_a_root_that_follows_a_remote_pushes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.root.mkdir()
    scheduler(world, "init", str(world.root))
    scheduler(world, "sync")
    _, said = scheduler(world, "update", "example-hello", "--set", "name=x", "--branch", "b", "--push", code=2)
    assert "follows no remote" in said
    _, said = scheduler(world, "update", "example-hello", "--set", "name=x", "--push", code=2)
    assert "only a branch can be pushed" in said


def test_what_would_write_files_by_other_ways_is_refused_too(root: World) -> None:
    table = root.folder / "crontab"
    table.write_text("0 5 * * * echo hi\n")
    shell = '  shell: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**", "jobs/**"]}\n'
    root.push({"scheduler.yaml": ROOT_FILE + shell})
    scheduler(root, "sync")
    _, said = scheduler(root, "import", "crontab", str(table), code=3)
    assert f"follows the branch main of {root.bare} and cannot be edited here" in said
    scheduler(root, "import", "crontab", str(table), "--dry-run")
    _, said = scheduler(root, "hooks", "install", code=3)
    assert "hooks are not needed" in said


def test_history_from_elsewhere_comes_to_a_root_that_has_the_files_already(root: World, tmp_path: Path) -> None:
    scheduler(root, "run", "hello", "--wait")
    lines, _ = scheduler(root, "export", "hello")
    exported = tmp_path / "jobs.jsonl"
    exported.write_text(lines)
    other = World(tmp_path / "other")
    other.folder.mkdir()
    root.bare.rename(other.bare)
    other.clone()
    scheduler(other, "import", "export", str(exported))
    out, _ = scheduler(other, "history", "hello", "--json")
    assert [run["id"] for run in json.loads(out)["runs"]] == ["hello:1"]


def test_a_sync_that_could_not_fetch_or_may_not_apply_says_so_and_ends_with_its_code(world: World) -> None:
    world.begin()
    world.clone()
    assert "looked" not in scheduler(world, "sync")[1]
    away = world.bare.rename(world.folder / "away.git")
    out, said = scheduler(world, "sync", code=5)
    assert "cannot be reached" in said
    assert "stays" in said
    away.rename(world.bare)
    world.push({"scheduler.yaml": None})
    out, said = scheduler(world, "sync", "--json", code=3)
    assert "has no scheduler.yaml" in said
    assert json.loads(out)["unchanged"] == 1
    world.push({"scheduler.yaml": ROOT_FILE})
    assert "error" not in scheduler(world, "sync")[1]
