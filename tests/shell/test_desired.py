"""The working tree as desired state: what counts as a job file, and what cannot be read is named."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.core.plan.claimants import no_job
from scheduler.core.plan.desired import Desired
from scheduler.core.values.problems import Severity, UnavailableError, UsageError
from scheduler.core.values.settings import RunnerSpec, Settings, TaskInput
from scheduler.git.tree import Tree
from scheduler.root.desired import read_desired
from scheduler.root.files import WorkingTree
from scheduler.root.place import Place, locate

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
    return read_desired(WorkingTree(place), settings, Tree(), only=only)


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


def test_a_mounted_configmap_gives_each_job_once_whatever_its_version(root: Path) -> None:
    write(root, "jobs/..2024_11/a.yaml", "a")
    (root / "jobs/..data").symlink_to("..2024_11")
    (root / "jobs/a.yaml").symlink_to("..data/a.yaml")
    (root / "jobs/second-name.yaml").symlink_to("a.yaml")
    first = read(root)
    assert [each.document.path for each in first.found] == ["jobs/a.yaml"]
    assert codes(first) == []
    (root / "jobs/..2024_11").rename(root / "jobs/..2024_12")
    dangling = read(root)
    assert codes(dangling) == [("jobs/a.yaml", "file.missing"), ("jobs/second-name.yaml", "file.missing")]
    assert "jobs/a.yaml" in dangling.broken, "so its job stays as it is"


def test_the_blob_of_a_mounted_file_is_that_of_the_file_and_not_of_the_link(root: Path) -> None:
    write(root, "jobs/..2024_11/a.yaml", "a")
    (root / "jobs/..data").symlink_to("..2024_11")
    (root / "jobs/a.yaml").symlink_to("..data/a.yaml")
    link, real = "a" * 40, hashlib.sha1((root / "jobs/a.yaml").read_bytes()).hexdigest()
    tree = Tree(revision="c" * 40, in_repository=True, blobs={"jobs/a.yaml": link, "jobs/..2024_11/a.yaml": real})
    place = Place(root=root.resolve(), state=root / "state", db=root / "state/state.db")
    for known, expected in ((tree, real), (Tree(), None)):
        (found,) = read_desired(WorkingTree(place), SETTINGS, known).found
        assert found.provenance.blob == expected
        assert found.provenance.revision == known.revision


def test_what_the_scheduler_and_editors_put_beside_job_files_is_neither_job_nor_problem(root: Path) -> None:
    wide = replace(SETTINGS, jobs=("jobs/**",))
    write(root, "jobs/a.yaml", "a")
    write(root, "jobs/state.db.yaml", "named-like-it")
    for name in ("state.db", "state.db-wal", "state.db-shm", "state.db.lock", "state.db.sock", "owners/x.lock"):
        write(root, f"jobs/{name}", "no")
    for name in ("a.yaml~", "#a.yaml#", "4913", "a.yaml___jb_tmp___", "a.yaml___jb_old___", ".a.yaml.swp"):
        write(root, f"jobs/{name}", "no")
    write(root, "jobs/kept/runs/x.yaml", "no")
    (root / "jobs/linked-folder").symlink_to("kept")
    place = Place(root=root.resolve(), state=root / "jobs/../jobs/kept", db=root / "jobs/./state.db")
    desired = read_desired(WorkingTree(place), wide, Tree())
    assert sorted(filter(None, ids(desired))) == ["a", "named-like-it"]
    assert codes(desired) == []


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


def test_a_root_named_by_a_link_is_where_it_leads_and_keeps_the_name(root: Path, tmp_path: Path) -> None:
    (root / "scheduler.yaml").write_text("version: 1\n")
    (tmp_path / "current").symlink_to("root")
    place = locate("current", None, None, environ={}, cwd=tmp_path)
    assert (place.root, place.named) == (root.resolve(), tmp_path / "current")


def test_a_folder_without_scheduler_yaml_is_no_root(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"it has no scheduler\.yaml"):
        locate(str(tmp_path), None, None, environ={}, cwd=tmp_path)
    with pytest.raises(UnavailableError, match="cannot read the root"):
        locate(str(tmp_path / "gone"), None, None, environ={}, cwd=tmp_path)


# -- what is not read --------------------------------------------------------------------------


def test_job_files_that_no_glob_reads_are_a_warning(root: Path) -> None:
    write(root, "jobs/ok.yaml")
    for folder in ("jobs/real", "team", "Jobs"):
        (root / folder).mkdir()
    for name, target in (("team", "../team"), ("away", "/"), ("alias", "real"), (".hidden", "../team")):
        (root / "jobs" / name).symlink_to(target)
    (root / "other").symlink_to("team")
    for name in ("u.YAML", "p.Md", "v.YML", "notes.txt", "real/x.Yaml"):
        (root / "jobs" / name).write_text("id: x\n")
    found = read(root)
    assert all(each.severity is Severity.WARNING for each in found.problems)
    assert codes(found) == [
        ("Jobs", "file.unread"),
        ("jobs/away", "folder.link"),
        ("jobs/p.Md", "file.unread"),
        ("jobs/real/x.Yaml", "file.unread"),
        ("jobs/team", "folder.link"),
        ("jobs/u.YAML", "file.unread"),
        ("jobs/v.YML", "file.unread"),
    ]


def test_a_root_without_any_job_is_a_warning(root: Path) -> None:
    (root / "jobs/page.md").write_text("# About\n")
    found = list(no_job(read(root)))
    assert [(each.path, each.code, each.severity) for each in found] == [
        ("scheduler.yaml", "jobs.none", Severity.WARNING)
    ]
    (root / "jobs/a.yaml").write_text("id: a\n  bad")
    assert list(no_job(read(root))) == []


def test_hidden_characters_of_a_task_file_are_a_warning_where_the_job_names_it(root: Path) -> None:
    write(root, "jobs/a.yaml", task="task_source_path: prompts/a.md")
    (root / "prompts").mkdir()
    (root / "prompts/a.md").write_text("\ufeffhi" + "".join(chr(0xE0000 + ord(each)) for each in "rm"))
    (problem,) = read(root).problems
    assert (problem.code, problem.severity, problem.line, problem.column, problem.job_id) == (
        *("text.hidden", Severity.WARNING, 3, 19, "a"),
    )
    assert problem.message.startswith("prompts/a.md holds 2 invisible characters")
    assert problem.message.endswith(", at 1:3; they spell 'rm'")
    (root / "prompts/a.md").write_text("hi \u2764\ufe0f\n")
    assert read(root).problems == ()


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("\u201cprompts/a.md\u201d", "it contains LEFT DOUBLE QUOTATION MARK (U+201C); write prompts/a.md"),
        (
            "prompts/a\u00a0b.md",
            "did you mean 'prompts/a b.md'? It looks the same, but has SPACE (U+0020) where this has NO-BREAK SPACE",
        ),
        ("prompts/\u0430.md", "did you mean 'prompts/a.md'? It looks the same, but has LATIN SMALL LETTER A (U+0061)"),
        ("prompts\u2044a.md", "it contains FRACTION SLASH (U+2044); write prompts/a.md"),
    ],
)
def test_a_task_that_is_missing_for_a_character_that_looks_plain_is_told_its_name(
    root: Path, path: str, hint: str
) -> None:
    (root / "prompts").mkdir()
    (root / "prompts/a.md").write_text("hi")
    (root / "prompts/a b.md").write_text("hi")
    write(root, "jobs/a.yaml", task=f"task_source_path: {path}")
    (problem,) = read(root).problems
    assert problem.code == "task.missing"
    assert problem.hint.startswith(hint)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(("command", "is_refused"), [(("{task}",), True), (("--", "{task}"), False)])
def test_a_task_that_would_be_an_option_is_an_error_at_its_key(
    root: Path, inline: bool, command: tuple[str, ...], is_refused: bool
) -> None:
    agent = RunnerSpec(name="agent", command=("agent", *command), input=TaskInput.ARG)
    (root / "a.md").write_text("- [ ] x\n")
    write(root, "jobs/a.yaml", task="runner: agent\n" + ("task: '- [ ] x'" if inline else "task_source_path: a.md"))
    found = read(root, settings=replace(SETTINGS, runners={**SETTINGS.runners, "agent": agent}))
    assert codes(found) == ([("jobs/a.yaml", "runner.task-option")] if is_refused else [])
    assert [each.task_sha256 is None for each in found.found] == [is_refused]
