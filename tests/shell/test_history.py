"""Which commit changed a file, as real histories tell it: with merges, renames, reverts, and shallow clones."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from scheduler.core.values.facts import Commit, NoCommit
from scheduler.git.history import last_changes
from scheduler.git.tree import head, read_tree
from tests.helpers import GIT, git
from tests.shell import test_git
from tests.shell.test_git import ODD, commit, write

home, root, fake_git = test_git.home, test_git.root, test_git.fake_git  # the fixtures


def who(root: Path, path: str, *, timeout: float = 30) -> Commit | NoCommit | None:
    """Who gave the path what HEAD holds of it; None where nobody is found."""
    revision = head(root)
    assert revision is not None
    key = path, read_tree(root).blobs.get(path)
    return last_changes(root, [revision], [key], timeout=timeout).get(key)


def said(root: Path, subject: str, files: Mapping[str, bytes], author: str = "A") -> str:
    """The commit of these files by this author."""
    for path, data in files.items():
        write(root, path, data)
    git(root, "add", "-A")
    git(root, "-c", f"user.name={author}", "-c", f"user.email={author}@example.com", "commit", "-qm", subject)
    return git(root, "rev-parse", "HEAD")


def test_the_newest_commit_that_changed_the_file_is_named_with_its_author_and_not_head(root: Path) -> None:
    said(root, "first", {"a": b"1", "b": b"1"})
    wanted = said(root, "second\n\nwith a body", {"a": b"2"}, author="Zoë")
    said(root, "of another file", {"b": b"2"}, author="B")
    found = who(root, "a")
    assert isinstance(found, Commit)
    assert (found.id, found.author, found.email, found.subject) == (wanted, "Zoë", "Zoë@example.com", "second")
    assert found.date.timestamp() == int(git(root, "show", "-s", "--format=%at", wanted))


def test_the_first_commit_counts_whatever_the_repository_says_about_showing_it(root: Path) -> None:
    git(root, "config", "log.showRoot", "false")
    first = said(root, "first", {"a": b"1"})
    assert getattr(who(root, "a"), "id", None) == first


def test_a_merge_is_named_only_where_it_made_the_file_unlike_that_of_every_parent(root: Path) -> None:
    said(root, "base", {"a": b"1\n2\n3\n4\n5\n", "b": b"1"})
    git(root, "switch", "-qc", "side")
    on_side = said(root, "on the side", {"a": b"one\n2\n3\n4\n5\n", "b": b"side"}, author="S")
    git(root, "switch", "-q", "main")
    said(root, "on main", {"c": b"1"})
    git(root, "merge", "-q", "--no-ff", "-m", "merge", "side")
    assert getattr(who(root, "a"), "id", None) == on_side
    git(root, "switch", "-qc", "other", "HEAD~1")
    said(root, "one line", {"a": b"1\n2\n3\n4\nfive\n"})
    git(root, "merge", "-q", "--no-ff", "-m", "both", "side")
    both = git(root, "rev-parse", "HEAD")
    assert (root / "a").read_bytes() == b"one\n2\n3\n4\nfive\n"
    assert getattr(who(root, "a"), "id", None) == both
    assert getattr(who(root, "b"), "id", None) == on_side


def test_a_side_whose_text_a_merge_left_behind_is_not_named(root: Path) -> None:
    said(root, "base", {"a": b"1"})
    ours = said(root, "ours", {"a": b"2"})
    git(root, "switch", "-qc", "side", "HEAD~1")
    said(root, "theirs, later", {"a": b"3"})
    git(root, "switch", "-q", "main")
    git(root, "merge", "-q", "-s", "ours", "-m", "merge", "side")
    assert getattr(who(root, "a"), "id", None) == ours


def test_a_renamed_file_is_new_under_its_name_and_a_deleted_one_has_somebody_who_deleted_it(root: Path) -> None:
    said(root, "first", {"a": b"text"})
    git(root, "mv", "a", "b")
    renamed = said(root, "renamed", {}, author="R")
    assert getattr(who(root, "b"), "id", None) == renamed
    assert getattr(who(root, "a"), "id", None) == renamed, "the rename has taken it away"
    assert who(root, "never") is None


def test_a_revert_is_who_brought_the_text_back_and_a_mode_changes_no_text(root: Path) -> None:
    said(root, "first", {"a": b"1"})
    said(root, "second", {"a": b"2"})
    back = said(root, "back", {"a": b"1"})
    assert getattr(who(root, "a"), "id", None) == back
    (root / "a").chmod(0o755)
    said(root, "executable", {})
    assert getattr(who(root, "a"), "id", None) == back


def test_where_a_shallow_clone_was_cut_nobody_is_named(root: Path, tmp_path: Path) -> None:
    said(root, "first", {"a": b"1", "b": b"1"})
    latest = said(root, "second", {"b": b"2"})
    said(root, "third", {"c": b"1"})
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=2", f"file://{root}", clone], check=True)
    assert git(clone, "log", "-1", "--format=%H", "--", "a") == latest, "git itself names the commit at the cut"
    assert who(clone, "a") == "shallow"
    assert getattr(who(clone, "c"), "subject", None) == "third"


@pytest.mark.parametrize("path", [ODD, "-n", ":(glob)**", "über/naïve", "tab\there", ":100644 x", "\x01" + "a" * 40])
def test_odd_names_and_subjects_are_only_text(root: Path, path: str) -> None:
    said(root, "first", {path: b"1"})
    subject = ':100644 "x" \x01 und "naïve"'
    wanted = said(root, subject, {path: b"2", "other": b"1"}, author="O'Brien <x")
    found = who(root, path)
    assert isinstance(found, Commit)
    assert (found.id, found.subject) == (wanted, subject)


def test_many_files_are_found_in_one_walk_that_ends_when_all_are_found(
    root: Path, fake_git: Callable[[str], None], tmp_path: Path
) -> None:
    said(root, "old", {"old": b"1"})
    many = {f"jobs/{n}": b"1" for n in range(300)}
    first = said(root, "all", many)
    second = said(root, "one", {"jobs/7": b"2"})
    fake_git(f'echo call >> {tmp_path}/calls; exec {GIT} "$@"')
    wanted = {(path, blob) for path, blob in read_tree(root).blobs.items() if path in many}
    (tmp_path / "calls").unlink()
    found = last_changes(root, [second], wanted, timeout=30)
    by_path = {path: each.id for (path, _), each in found.items() if isinstance(each, Commit)}
    assert by_path == {**dict.fromkeys(many, first), "jobs/7": second}
    assert (tmp_path / "calls").read_text().count("call") == 1


def test_names_are_relative_to_a_root_below_the_top(root: Path) -> None:
    wanted = said(root, "first", {"a": b"outer", "sub/a": b"inner"})
    said(root, "outer only", {"a": b"2"})
    assert getattr(who(root / "sub", "a"), "id", None) == wanted


def test_a_history_that_takes_too_long_names_what_it_had_told_by_then(
    root: Path, fake_git: Callable[[str], None]
) -> None:
    revision = said(root, "first", {"a": b"1"})
    blobs = read_tree(root).blobs
    fake_git(f'{GIT} "$@"; sleep 60')
    wanted = [("a", blobs["a"]), ("b", "1" * 40)]
    found = last_changes(root, [revision], wanted, timeout=1)
    assert [getattr(each, "id", None) for each in found.values()] == [revision]


def test_a_commit_that_is_gone_and_a_git_that_is_gone_name_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = said(root, "first", {"a": b"1"})
    key = "a", read_tree(root).blobs["a"]
    assert list(last_changes(root, ["1" * 40, revision], [key], timeout=30)) == [key]
    monkeypatch.setenv("PATH", str(root))
    assert last_changes(root, [revision], [key], timeout=30) == {}


def test_a_date_that_no_calendar_has_is_no_error(root: Path) -> None:
    write(root, "a", b"1")
    git(root, "add", "-A")
    tree = git(root, "write-tree")
    raw = f"tree {tree}\nauthor A <a@example.com> 99999999999999 +0000\ncommitter A <a@example.com> 0 +0000\n\nx\n"
    made = subprocess.run(
        ["git", "-C", root, "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        input=raw.encode(), capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    git(root, "update-ref", "HEAD", made)
    found = who(root, "a")
    assert isinstance(found, Commit)
    assert found.date.year >= 1970


def test_grafts_and_replaced_commits_do_not_change_who_it_was(root: Path) -> None:
    first = said(root, "first", {"a": b"1"})
    second = said(root, "second", {"b": b"1"})
    other = git(root, "commit-tree", "-m", "forged", f"{first}^{{tree}}")
    git(root, "replace", first, other)
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/grafts").write_text(f"{second}\n")
    assert git(root, "log", "--format=%s") == "second", "git itself believes in the graft"
    found = who(root, "a")
    assert getattr(found, "id", None) == first
    assert os.environ.get("GIT_GRAFT_FILE") is None
    assert commit(root, c=b"1") == head(root)
