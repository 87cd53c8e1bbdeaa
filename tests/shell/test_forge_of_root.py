"""The forge of a root: from its own repository, or from the remote that it follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.git.folder import origin_url
from scheduler.service.forge import forge_of_root
from tests.helpers import git
from tests.web.bare import service_root

URL = "https://ann:SECRET@github.com/example/jobs.git"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "--template=")
    git(tmp_path, "remote", "add", "upstream", "https://gitlab.com/other/jobs")
    git(tmp_path, "remote", "add", "origin", URL)
    (tmp_path / "ops/jobs").mkdir(parents=True)
    for each in (tmp_path, tmp_path / "ops/jobs"):
        (each / "scheduler.yaml").write_text("version: 1\n")
    return tmp_path


def test_the_remote_that_counts_is_origin(folder: Path) -> None:
    assert origin_url(folder) == URL
    forge = forge_of_root(service_root(folder))
    assert forge is not None
    assert (forge.url, forge.folder) == ("https://github.com/example/jobs", "")


def test_a_root_below_the_top_of_its_repository_is_found_from_there(folder: Path) -> None:
    forge = forge_of_root(service_root(folder / "ops/jobs"))
    assert forge is not None
    assert forge.file("abc", "a.yaml") == "https://github.com/example/jobs/blob/abc/ops/jobs/a.yaml"


def test_a_linked_worktree_has_the_remote_of_its_repository(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    linked = tmp_path_factory.mktemp("linked") / "tree"
    git(folder, "worktree", "add", "-q", "--detach", str(linked))
    assert origin_url(linked) == URL


def test_without_a_repository_or_a_remote_there_are_no_links(tmp_path: Path) -> None:
    (tmp_path / "scheduler.yaml").write_text("version: 1\n")
    assert forge_of_root(service_root(tmp_path)) is None
    git(tmp_path, "init", "-q", "--template=")
    assert origin_url(tmp_path) == ""
    assert forge_of_root(service_root(tmp_path)) is None


def test_a_configuration_that_cannot_be_read_is_no_fault(folder: Path) -> None:
    (folder / ".git/config").write_bytes(b'[remote "origin"]\n\turl = \xff\xfe\n')
    assert forge_of_root(service_root(folder)) is None
    (folder / ".git/config").unlink()
    assert forge_of_root(service_root(folder)) is None
