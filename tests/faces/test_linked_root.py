"""A root that people name by a link, as `current -> releases/1`: its history follows the name, or they are told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scheduler.root.place import locate
from tests.faces.conftest import Root


def _point(link: Path, target: Path) -> None:
    new = link.with_name("new")
    new.symlink_to(target)
    new.replace(link)


@pytest.fixture
def released(root: Root, monkeypatch: pytest.MonkeyPatch) -> tuple[Root, Path, Path]:
    """A root that was synced and has run by the name of a link, the link, and the next release."""
    current, following = root.path.parent / "current", root.path.parent / "next"
    shutil.copytree(root.path, following, symlinks=True)
    current.symlink_to(root.path)
    monkeypatch.chdir(root.path.parent)
    assert root.cli("--root", "current", "sync").code == 0
    assert root.cli("--root", "current", "run", "heartbeat", "--wait").code == 0
    return root, current, following


@pytest.mark.parametrize("command", ["sync", "list", "serve --once", "run heartbeat", "history heartbeat"])
def test_a_link_that_leads_to_a_root_without_history_starts_none(
    released: tuple[Root, Path, Path], command: str
) -> None:
    root, current, following = released
    _point(current, following)
    done = root.cli("--root", "current", *command.split())
    assert done.code == 3
    assert f"used to lead to {root.path}, and the history is in {root.path}/.scheduler/state.db" in done.stderr
    assert f"mv {root.path}/.scheduler {following}/.scheduler" in done.stderr
    assert not (following / ".scheduler").exists()


def test_the_hint_brings_the_history_along(released: tuple[Root, Path, Path]) -> None:
    root, current, following = released
    _point(current, following)
    hint = root.cli("--root", "current", "sync").stderr.partition("run: ")[2].partition(";")[0]
    subprocess.run(hint.split(), check=True)
    assert root.cli("--root", "current", "sync").code == 0
    [run] = root.cli("--root", "current", "history", "heartbeat", "--json").json["runs"]
    assert run["id"] == "heartbeat:1"
    assert root.cli("--root", "current", "run", "heartbeat", "--wait").code == 0


def test_a_new_history_is_started_where_it_is_asked_for_and_is_then_the_one_of_the_link(
    released: tuple[Root, Path, Path],
) -> None:
    root, current, following = released
    _point(current, following)
    assert root.cli("--root", "current", "sync", "--new-state").code == 0
    assert root.cli("--root", "current", "sync").code == 0
    assert root.cli("--root", "current", "history", "heartbeat", "--json").json["runs"] == []


def test_a_history_outside_of_all_releases_goes_on(released: tuple[Root, Path, Path]) -> None:
    root, current, following = released
    (root.path / ".scheduler").rename(root.path.parent / "kept")
    state = ("--root", "current", "--state", "kept")
    assert root.cli(*state, "sync").code == 0
    _point(current, following)
    assert root.cli(*state, "sync").code == 0
    assert root.cli(*state, "run", "heartbeat", "--wait").code == 0
    assert [run["id"] for run in root.cli(*state, "history", "heartbeat", "--json").json["runs"]] == [
        "heartbeat:2",
        "heartbeat:1",
    ]


def test_who_stands_in_a_linked_root_has_named_it_by_the_link(
    released: tuple[Root, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, current, following = released
    _point(current, following)
    monkeypatch.chdir(current / "jobs")
    monkeypatch.setenv("PWD", str(current / "jobs"))
    assert root.cli("list").code == 3
    monkeypatch.setenv("PWD", str(root.path))  # of somebody who went elsewhere without a shell
    assert root.cli("list").code == 0


def test_a_release_that_is_gone_is_told_with_the_copy_that_is_left(released: tuple[Root, Path, Path]) -> None:
    root, current, following = released
    place = locate("current", None, None, environ=os.environ, cwd=root.path.parent)
    assert place.backups is not None
    place.backups.mkdir(parents=True)
    copy = place.backups / "20260301T000000Z.db"
    assert root.cli("--root", "current", "backup", str(copy)).code == 0
    shutil.rmtree(root.path)
    _point(current, following)
    done = root.cli("--root", "current", "sync")
    assert done.code == 3
    assert f"which is gone; there is a backup from 2026-03-01 00:00:00 UTC; it now leads to {following}" in done.stderr
    assert f"scheduler restore {copy}" in done.stderr
    assert root.cli("--root", "current", "restore", str(copy)).code == 0
    assert root.cli("--root", "current", "sync").code == 0
    assert [run["id"] for run in root.cli("--root", "current", "history", "heartbeat", "--json").json["runs"]] == [
        "heartbeat:1"
    ]


def test_two_roots_that_no_link_names_have_a_history_each(root: Root) -> None:
    root.sync()
    other = root.path.parent / "other"
    shutil.copytree(root.path, other, ignore=shutil.ignore_patterns(".scheduler"))
    assert root.cli("--root", str(other), "sync").code == 0
