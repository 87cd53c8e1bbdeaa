"""The working tree as desired state: what counts as a job file, and what cannot be read is named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.config import Place, locate
from scheduler.core.models import RunnerSpec, Settings, TaskInput
from scheduler.core.problems import UnavailableError, UsageError
from scheduler.core.reconcile import Desired
from scheduler.git import Tree
from scheduler.source import read_desired

SETTINGS = Settings(
    runners={"cat": RunnerSpec(name="cat", command=("cat",), input=TaskInput.STDIN)}, defaults={"runner": "cat"}
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/jobs").mkdir(parents=True)
    return tmp_path / "root"


def write(root: Path, path: str, job_id: str = "a", task: str = "task: hi") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(f"id: {job_id}\nschedule: {{every: 1h}}\n{task}\n")


def read(root: Path, only: str | None = None, settings: Settings = SETTINGS) -> Desired:
    place = Place(root=root.resolve(), state=root.resolve() / "state", db=root.resolve() / "state/state.db")
    return read_desired(place, settings, Tree(), only=only)


def ids(desired: Desired) -> list[str | None]:
    return [found.document.id for found in desired.found]


def codes(desired: Desired) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in desired.problems]


def test_every_job_file_the_globs_name_is_read_once(root: Path) -> None:
    write(root, "jobs/a.yaml", "a")
    write(root, "jobs/deep/er/b.yml", "b")
    (root / "jobs/c.md").write_text("---\nid: c\nschedule: {every: 1h}\n---\nhello\n")
    write(root, "elsewhere/d.yaml", "d")
    (root / "jobs/notes.txt").write_text("no job")
    assert sorted(filter(None, ids(read(root)))) == ["a", "b", "c"]


def test_dot_folders_symlinked_folders_and_the_state_folder_are_never_entered(root: Path) -> None:
    write(root, "jobs/.hidden/a.yaml", "a")
    write(root, "other/b.yaml", "b")
    (root / "jobs/link").symlink_to(root / "other")
    write(root, "jobs/.c.yaml", "c")
    assert ids(read(root)) == []


def test_a_symlinked_file_counts_once_by_its_real_path(root: Path) -> None:
    write(root, "shared/a.yaml")
    (root / "jobs/a.yaml").symlink_to("../shared/a.yaml")
    (root / "jobs/again.yaml").symlink_to("../shared/a.yaml")
    found = read(root).found
    assert [each.document.path for each in found] == ["shared/a.yaml"]


def test_a_symlink_out_of_the_root_is_refused_and_named(root: Path) -> None:
    (root.parent / "secret.yaml").write_text("id: secret\n")
    (root / "jobs/a.yaml").symlink_to("../../secret.yaml")
    desired = read(root)
    assert codes(desired) == [("jobs/a.yaml", "file.outside-root")]
    assert "jobs/a.yaml" in desired.broken


def test_a_dangling_symlink_breaks_the_file_it_led_to_and_the_one_it_replaced(root: Path) -> None:
    (root / "jobs/a.yaml").symlink_to("../shared/a.yaml")
    desired = read(root)
    assert codes(desired) == [("jobs/a.yaml", "file.missing")]
    assert desired.broken == {"jobs/a.yaml", "shared/a.yaml"}


def test_a_folder_or_a_fifo_named_like_a_job_file_is_named_and_blocks_nothing(root: Path) -> None:
    write(root, "jobs/folder.yaml/inner.yaml", "inner")
    os.mkfifo(root / "jobs/pipe.yaml")
    desired = read(root)
    assert codes(desired) == [("jobs/folder.yaml", "file.not-regular"), ("jobs/pipe.yaml", "file.not-regular")]
    assert ids(desired) == ["inner"]


def test_a_folder_that_cannot_be_listed_is_named_never_taken_for_empty(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "jobs/deep/a.yaml")
    listed = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    desired = read(root)
    assert (desired.unlistable, codes(desired)) == (frozenset({"jobs/deep"}), [("jobs/deep", "folder.unreadable")])


def test_a_root_that_is_gone_is_an_error_and_not_an_empty_root(root: Path) -> None:
    (root / "jobs").rmdir()
    root.rmdir()
    with pytest.raises(UnavailableError, match="nothing was applied"):
        read(root)


@pytest.mark.parametrize("glob", ["jobs/**", "**", "jobs/*", "jobs/**/*"])
def test_a_folder_is_no_job_file_where_a_glob_names_everything(root: Path, glob: str) -> None:
    write(root, "jobs/team/a.yaml", "a")
    write(root, "jobs/b.yaml", "b")
    (root / "state").mkdir()
    (root / "jobs/empty").mkdir()
    (root / "jobs/link").symlink_to(root / "jobs/team")
    (root / "jobs/nowhere").symlink_to("gone")
    (root / "jobs/loop").symlink_to("loop")
    found = read(root, settings=replace(SETTINGS, jobs=(glob,)))
    assert ids(found) == (["b"] if glob == "jobs/*" else ["b", "a"])
    assert codes(found) == [("jobs/loop", "file.unreadable"), ("jobs/nowhere", "file.missing")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (None, "task.missing"),
        (b"\xff\xfe", "task.unreadable"),
        (b"x" * 300_000, "task.unreadable"),
        (b"<<<<<<< a\nx\n=======\ny\n>>>>>>> b\n", "task.unreadable"),
        (b" \n", "task.unreadable"),
    ],
    ids=["missing", "binary", "too large", "conflict markers", "empty"],
)
def test_a_task_at_fault_is_a_problem_at_its_key(root: Path, data: bytes | None, code: str) -> None:
    write(root, "jobs/a.yaml", task="task_source_path: prompts/p.md")
    if data is not None:
        (root / "prompts").mkdir()
        (root / "prompts/p.md").write_bytes(data)
    desired = read(root)
    (problem,) = desired.problems
    assert (problem.path, problem.line, problem.column, problem.code) == ("jobs/a.yaml", 3, 19, code)
    assert desired.found[0].task_sha256 is None
    assert desired.found[0].document.spec is not None


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("prompts/reprot.md", "did you mean 'prompts/report.md'?"),
        ("prompts/Report.md", "did you mean 'prompts/report.md'?"),
        ("reprot.md", "did you mean 'report.md'?"),
        ("prompts/xyzzy.txt", "create the file, or correct the path"),
        ("gone/report.md", "create the file, or correct the path"),
        ("linked/reprot.md", "create the file, or correct the path"),
    ],
)
def test_a_task_that_is_missing_has_the_nearest_name_as_its_hint(root: Path, path: str, hint: str) -> None:
    (root / "prompts").mkdir()
    for each in ("prompts/report.md", "report.md"):
        (root / each).write_text("Write.\n")
    (root / "linked").symlink_to("prompts")
    write(root, "jobs/a.yaml", task=f"task_source_path: {path}")
    (problem,) = read(root).problems
    assert (problem.code, problem.hint) == ("task.missing", hint)


def test_a_partial_read_sees_one_file_and_an_absent_one_is_no_problem(root: Path) -> None:
    write(root, "jobs/a.yaml", "a")
    write(root, "jobs/b.yaml", "b")
    assert ids(read(root, only="jobs/b.yaml")) == ["b"]
    gone = read(root, only="jobs/c.yaml")
    assert (gone.found, gone.broken, gone.problems) == ((), frozenset(), ())


# -- where a root lies -------------------------------------------------------------------------


def test_a_root_is_the_nearest_folder_upwards_with_a_scheduler_yaml(root: Path) -> None:
    (root / "scheduler.yaml").write_text("version: 1\n")
    place = locate(None, None, None, environ={}, cwd=root / "jobs")
    assert (place.root, place.db) == (root.resolve(), root.resolve() / ".scheduler/state.db")


def test_options_win_over_the_environment(root: Path, tmp_path: Path) -> None:
    (root / "scheduler.yaml").write_text("version: 1\n")
    environ = {"SCHEDULER_ROOT": "/nowhere", "SCHEDULER_STATE": str(tmp_path / "s"), "SCHEDULER_DB": "/x.db"}
    place = locate(str(root), None, str(tmp_path / "my.db"), environ=environ, cwd=tmp_path)
    assert (place.root, place.state, place.db) == (root.resolve(), tmp_path / "s", tmp_path / "my.db")
    assert place.owners.parent == place.db.parent, "who shares a database must share its locks"


def test_a_folder_without_scheduler_yaml_is_no_root(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no scheduler\.yaml"):
        locate(str(tmp_path), None, None, environ={}, cwd=tmp_path)
    with pytest.raises(UnavailableError, match="cannot be read"):
        locate(str(tmp_path / "gone"), None, None, environ={}, cwd=tmp_path)
