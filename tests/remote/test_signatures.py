"""What a signature vouches for: one content, wanted now, under the name that is followed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.remote.following import NotApplicableError
from tests.helpers import git
from tests.remote.world import World

JUNK = "gpgsig-sha256 junk"
SSH = "-----BEGIN SSH SIGNATURE-----"


def _twin(world: World, commit: str, change: Callable[[str], str]) -> str:
    """A commit with the same signed content under another id, made without a key."""
    raw = git(world.desk, "cat-file", "commit", commit) + "\n"
    header, _, message = raw.partition("\n\n")
    changed = f"{change(header)}\n\n{message}".encode()
    return git(world.desk, "hash-object", "-t", "commit", "-w", "--stdin", stdin=changed)


def _point(world: World, commit: str, ref: str = "refs/heads/main") -> None:
    git(world.desk, "push", "--quiet", "--force", "origin", f"{commit}:{ref}")


def _allow(world: World, commit: str) -> None:
    content = json.loads(world.followed.file.read_text())
    world.followed.file.write_text(json.dumps(content | {"accept": commit}))


@pytest.mark.parametrize(
    "change",
    [
        lambda header: f"{header}\n{JUNK}",
        lambda header: f"{header}\n{JUNK}\n and more of it",
        lambda header: header.replace(" -----END SSH SIGNATURE-----", " -----END SSH SIGNATURE-----\n ", 1),
    ],
    ids=["another header", "a header of two lines", "a longer signature"],
)
@pytest.mark.parametrize("which", ["the one before", "the one in force"])
def test_a_signed_content_under_another_id_is_not_taken_for_a_new_commit(
    signed: tuple[World, Path, str, str], change: Callable[[str], str], which: str
) -> None:
    world, _, old, new = signed
    _point(world, _twin(world, old if which == "the one before" else new, change))
    found = world.look()
    assert found.commit == new
    assert f"does not build on {new[:12]}, the commit in force" in found.trouble
    assert world.read("prompts/hello.md") == "pay 2\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.replace("gpgsig -----BEGIN", "gpgsig x\n -----BEGIN", 1),
        lambda header: header.replace("gpgsig -----BEGIN", "gpgsig -----BEGIN PGP MESSAGE-----\n -----BEGIN", 1),
        lambda header: header.split("\n -----END", 1)[0],
        lambda header: f"{header.split('gpgsig', 1)[0]}gpgsig {SSH}\n  -----END SSH SIGNATURE-----",
        lambda header: f"{header.split('gpgsig', 1)[0]}note {SSH}",
    ],
    ids=["text before it", "of another kind before it", "no end", "nothing in it", "in another header"],
)
def test_a_signature_that_git_cannot_read_is_the_fault_of_the_commit_and_not_of_the_store(
    signed: tuple[World, Path, str, str], change: Callable[[str], str]
) -> None:
    world, _, _, new = signed
    child = git(world.desk, "commit-tree", "-p", new, "-m", "x", f"{new}^{{tree}}")
    header = git(world.desk, "cat-file", "commit", new).partition("\n\n")[0]
    signature = header[header.index("gpgsig") :]
    _point(world, _twin(world, child, lambda own: change(f"{own}\n{signature}")))
    found = world.look()
    assert (found.commit, found.failures) == (new, 0)
    assert "this root applies only signed commits" in found.trouble
    assert not [*world.followed.state.glob("store.git.*")]


def test_a_branch_that_leaves_the_commit_in_force_needs_an_operator_once(signed: tuple[World, Path, str, str]) -> None:
    world, key, old, new = signed
    amended = world.push({"prompts/hello.md": "pay 3\n"}, sign=key, amend=True)
    found = world.look()
    assert found.commit == new
    assert f'add "accept": "{amended}" to {world.followed.file}' in found.hint
    _allow(world, amended)
    assert (world.look().commit, world.look().trouble) == (amended, "")
    assert "accept" not in json.loads(world.followed.file.read_text())
    _point(world, old)
    _allow(world, old)
    assert world.look().commit == old
    _point(world, new)  # builds on the one in force, and was left behind on purpose
    found = world.look()
    assert found.commit == old
    assert f"commit {new[:12]} has the same signed content as {new[:12]}, which was in force before" in found.trouble
    _point(world, _twin(world, new, lambda header: f"{header}\n{JUNK}"))
    assert f"has the same signed content as {new[:12]}" in world.look().trouble


def test_a_lost_link_or_store_does_not_let_an_old_commit_in(signed: tuple[World, Path, str, str]) -> None:
    world, _, old, new = signed
    _point(world, old)
    world.followed.current.unlink()
    assert f"does not build on {new[:12]}" in world.look().trouble or "went back to" in world.look().trouble
    assert world.followed.commit() is None
    world.followed.store.rename(world.followed.state / "away.git")
    found = world.look()
    assert f"leads to {old[:12]}, which does not build on {new[:12]}" in found.trouble
    _point(world, new)
    assert (world.look().commit, world.look().trouble) == (new, "")


def test_a_leave_that_is_no_commit_is_refused_by_its_key(signed: tuple[World, Path, str, str]) -> None:
    world, *_ = signed
    _allow(world, "main")
    assert "accept is 'main'; write the full id of one commit" in world.followed.standing().trouble


def _tag(world: World, name: str, *, key: Path, stored: str) -> None:
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    git(world.desk, *signing, "tag", "-f", "-s", "-m", "x", name)
    _point(world, git(world.desk, "rev-parse", f"refs/tags/{name}"), f"refs/tags/{stored}")


@pytest.mark.parametrize("commit_too", [False, True], ids=["only the tag is signed", "the commit is signed too"])
def test_a_tag_that_was_signed_under_another_name_vouches_for_nothing(world: World, commit_too: bool) -> None:
    world.begin()
    key = world.key("good")
    sign = key if commit_too else None
    first = world.push({}, sign=sign)
    _tag(world, "prod", key=key, stored="prod")
    world.clone(tag="prod", signers=world.signers(key))
    second = world.push({"prompts/hello.md": "an experiment\n"}, sign=sign)
    _tag(world, "experiment", key=key, stored="prod")
    found = world.look()
    assert found.commit == first
    assert f"{second[:12]} has the tag 'prod', whose signed name is 'experiment'" in found.trouble
    _tag(world, "prod", key=key, stored="prod")
    assert (world.look().commit, world.look().trouble) == (second, "")


def test_a_tag_of_another_name_makes_no_clone(world: World) -> None:
    world.begin()
    key = world.key("good")
    _tag(world, "v1/prod", key=key, stored="prod")
    with pytest.raises(NotApplicableError, match="the tag 'prod', whose signed name is 'v1/prod'"):
        world.clone(tag="prod", signers=world.signers(key))
    assert not world.root.exists()
