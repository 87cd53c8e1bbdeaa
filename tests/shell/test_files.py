"""The files of a root: on disk and in a commit, one and the same look finds the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scheduler.core.plan.desired import Desired
from scheduler.core.values.facts import Fault
from scheduler.core.values.settings import RunnerSpec, Settings, TaskInput
from scheduler.git.objects import AbsentError, find_commit, read_blobs
from scheduler.git.tree import Tree
from scheduler.root.committed import CommitFiles
from scheduler.root.desired import read_desired
from scheduler.root.files import Files, WorkingTree
from scheduler.root.listing import list_job_files
from scheduler.root.place import Place

SETTINGS = Settings(
    runners={"cat": RunnerSpec(name="cat", command=("cat",), input=TaskInput.STDIN)},
    defaults={"runner": "cat"},
    jobs=("jobs/**", "*.yaml"),
)
JOB = "id: {}\nschedule: {{every: 1h}}\ntask_source_path: {}\n"
FILES: dict[str, str | bytes] = {
    "top.yaml": JOB.format("top", "texts/a.md"),
    "jobs/a.yaml": JOB.format("a", "texts/a.md"),
    "jobs/deep/er/b.yml": JOB.format("b", "texts/by-folder/c.md"),
    "jobs/deep/c.yaml": JOB.format("c", "texts/aa.md"),
    "jobs/deep/d.yaml": JOB.format("d", "texts/latin.md"),
    "jobs/deep/e.yaml": JOB.format("e", "texts/large.md"),
    "jobs/deep/f.yaml": JOB.format("f", "texts"),
    "jobs/folder.yaml/g.yaml": JOB.format("g", "texts/circle.md"),
    "jobs/notes.txt": "no job",
    "jobs/broken.yaml": "id: [\n",
    "jobs/large.yaml": "#" * 1_100_000,
    "jobs/.hidden/h.yaml": JOB.format("h", "texts/a.md"),
    "jobs/i.yaml~": JOB.format("i", "texts/a.md"),
    "texts/a.md": "A.\n",
    "texts/folder/c.md": "C.\n",
    "texts/latin.md": b"\xff",
    "texts/large.md": "x" * 2_000_000,
    "texts/.hidden.md": "hidden",
    "mounted/..2024/x.md": "X.\n",
    os.fsdecode(b"jobs/\xff/j.yaml"): JOB.format("j", "texts/a.md"),
    "jobs/new\nline.yaml": JOB.format("k", "texts/out.md"),
}
LINKS = {
    "texts/by-folder": "folder/../folder",
    "texts/out.md": "../../out.md",
    "texts/absolute.md": "/etc/hostname",
    "texts/circle.md": "circle.md",
    "texts/dangling.md": "nowhere/x.md",
    "texts/dot.md": ".hidden.md",
    "texts/through.md": "a.md/x",
    "mounted/..data": "..2024",
    "mounted/x.md": "..data/x.md",
    "jobs/linked.yaml": "a.yaml",
    "jobs/gone.yaml": "nowhere.yaml",
    "jobs/folder": "deep",
    "jobs/folder.md": "deep",
}
PATHS = (
    *FILES, *LINKS, "texts", "texts/", "texts/by-folder/c.md", "texts/a.md/x", "nowhere", "nowhere/x", "../out.md",
    "mounted/..data/x.md", "texts/./a.md", "jobs/folder/c.yaml", "texts/circle.md/x",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files") / "root"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)
    for path, target in LINKS.items():
        (root / path).symlink_to(target)
    for args in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]):
        subprocess.run(["git", *args], cwd=root, check=True)
    return root


@pytest.fixture(scope="module")
def both(root: Path) -> tuple[Files, Files]:
    return WorkingTree(Place(root=root, state=root / ".s", db=root / ".s/state.db")), committed(root)


def committed(root: Path) -> CommitFiles:
    return CommitFiles(root, find_commit(root, "HEAD"))


@pytest.mark.parametrize("path", [*PATHS, "/etc/hostname"], ids=ascii)
@pytest.mark.parametrize("limit", [10, 1_048_576])
def test_a_file_is_read_alike(both: tuple[Files, Files], path: str, limit: int) -> None:
    disk, commit = (files.read(path, limit=limit) for files in both)
    assert commit == disk


@pytest.mark.parametrize("path", PATHS, ids=ascii)
def test_a_path_leads_to_the_same_place(both: tuple[Files, Files], path: str) -> None:
    disk, commit = ((files.leads_to(path), files.is_folder(path)) for files in both)
    assert commit == disk


@pytest.mark.parametrize("path", ["texts/a.md", "texts/by-folder", "texts", "texts/new.md", "new/x.md", "texts/a.md/x"])
def test_a_name_is_free_alike_but_below_a_file(both: tuple[Files, Files], path: str) -> None:
    disk, commit = (files.is_free(path) for files in both)
    assert commit == (disk and path != "texts/a.md/x"), "git would put a folder in the place of the file"


def test_job_files_are_listed_alike(both: tuple[Files, Files]) -> None:
    disk, commit = (list_job_files(files, SETTINGS.jobs) for files in both)
    assert commit == disk
    assert "jobs/folder.md" in disk.paths
    assert "jobs/folder" not in disk.paths


def test_all_of_it_is_read_alike_and_many_at_once_as_each_alone(both: tuple[Files, Files]) -> None:
    def read(files: Files) -> Desired:
        return read_desired(files, SETTINGS, Tree())

    disk, commit = map(read, both)
    assert commit == disk
    assert any("did you mean 'texts/a.md'" in problem.hint for problem in disk.problems)
    fresh = committed(both[1].root)
    assert list(fresh.read_all(PATHS * 2, limit=1000)) == [both[0].read(path, limit=1000) for path in PATHS * 2]


def test_more_than_forty_links_lead_nowhere(tmp_path: Path) -> None:
    for n in range(42):
        (tmp_path / f"l{n}").symlink_to(f"l{n + 1}")
    (tmp_path / "l42").write_text("x")
    for args in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]):
        subprocess.run(["git", *args], cwd=tmp_path, check=True)
    files = committed(tmp_path)
    assert not isinstance(files.read("l2", limit=9), Fault)
    found = files.read("l1", limit=9)
    assert isinstance(found, Fault)
    assert "Too many levels of symbolic links" in found.message


def test_what_git_does_not_have_is_told_from_what_a_commit_does_not_hold(root: Path) -> None:
    with pytest.raises(AbsentError) as raised:
        list(read_blobs(root, ["f" * 40]))
    assert raised.value.said == f"lacks {'f' * 40}"
