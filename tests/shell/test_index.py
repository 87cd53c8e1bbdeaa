"""What git tracks, by its index read by hand, against what `git ls-files` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.git.index import tracked_at
from tests.helpers import git

NAMES = ["a", "state", "state.md", "state/b", "state/deep/ü", "state/deep/" + "x" * 200, "z" * 4000, "zz/state/c"]


def _repository(folder: Path, *options: str) -> Path:
    git(folder, "init", "--quiet", *options)
    for name in NAMES:
        if name == "state" or len(name) > 255:
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    git(folder, "add", "--all")
    return folder


def _told(folder: Path, path: str) -> list[str]:
    names = git(folder, "-c", "core.quotePath=false", "ls-files", "-z", "--", path).split("\0")
    return sorted(f"{folder}/{name}" for name in names if name)


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_an_index_of_every_version_is_read_as_git_reads_it(tmp_path: Path, version: str, kind: str) -> None:
    folder = _repository(tmp_path, f"--object-format={kind}")
    git(folder, "update-index", "--index-version", version)
    if version == "3":
        git(folder, "update-index", "--skip-worktree", "state/b")  # asks for the longer flags
    for path in ("state", "state/deep", "state/b", "a", "none", "zz/state", "stat"):
        assert sorted(tracked_at(folder / path)) == _told(folder, path), path


def test_a_split_index_and_a_linked_worktree_are_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "top"
    folder.mkdir()
    _repository(folder)
    git(folder, "commit", "--quiet", "-m", "x")
    git(folder, "update-index", "--split-index")
    assert sorted(tracked_at(folder / "state")) == _told(folder, "state")
    git(folder, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    assert sorted(tracked_at(tmp_path / "linked/state")) == _told(tmp_path / "linked", "state")


def test_a_torn_index_and_a_folder_in_no_repository_track_nothing(tmp_path: Path) -> None:
    assert tracked_at(tmp_path / "state") == []
    folder = _repository(tmp_path)
    index = folder / ".git/index"
    data = index.read_bytes()
    for size in (0, 3, 12, 40, 100):
        index.write_bytes(data[:size])
        assert tracked_at(folder / "state") == []
