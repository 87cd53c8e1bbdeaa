"""What may be read in haste, and what is left to a careful look: never a text that F1 or F2 would not give."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from scheduler.core.values.facts import Job
from scheduler.core.values.runs import Trigger
from scheduler.core.values.settings import Settings
from scheduler.git.tree import Commits
from scheduler.ledger import queries, syncs
from scheduler.ledger.store import Store
from scheduler.machine import clock, mounts
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.root.unchanged import Unchanged
from scheduler.run.fire import Ready, from_disk
from scheduler.run.plain import InlineTexts, Look
from scheduler.service.root import Root
from scheduler.service.sync import sync
from scheduler.sync.passes import Passes
from tests.fakes import FakeClock

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
ROOT_FILE = """\
version: 1
defaults: {runner: sh}
runners:
  sh: {command: [sh, "{task_file}"], input: file}
  own: {command: [./bin/own.sh], input: stdin}
"""


@dataclass
class Here:
    root: Path
    service: Root
    passes: Passes

    def git(self, *words: str) -> None:
        subprocess.run([*GIT, *words], cwd=self.root, check=True, capture_output=True)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(exist_ok=True, parents=True)
        (self.root / path).write_text(text)

    def sync(self) -> None:
        sync(self.service)
        self.passes.tree()  # as the pass of a daemon leaves it

    def look(
        self, job_id: str, trigger: Trigger = Trigger.SCHEDULE, change: Callable[[], None] | None = None
    ) -> object:
        with Store.open(self.service.place.db) as store:
            job, settings = store.read(queries.job, job_id), store.read(syncs.settings)
        assert job is not None
        return self.ready(job, settings, trigger, change)

    def ready(
        self, job: Job, settings: Settings | None, trigger: Trigger, change: Callable[[], None] | None
    ) -> Ready | None:
        with Look(self.passes, settings, InlineTexts()) as look:
            if change is not None:
                change()
            found = look.ready(job, trigger)
            if found is not None:  # then it is what a careful look gives
                careful = from_disk(self.passes, job, found.settings, trigger)
                assert isinstance(careful, Ready)
                assert replace(found, task=careful.task) == careful
                assert (found.task.text, found.task.source) == (careful.task.text, careful.task.source)
                assert found.task.source_path == careful.task.source_path
            return found if look.stands() else None


@pytest.fixture
def here(tmp_path: Path) -> Here:
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    service = Root(place=place, actor="user:test", environ=dict(os.environ), clock=FakeClock())
    passes = Passes(place=place, clock=FakeClock(), parsed=Parsed(), commits=Commits())
    found = Here(tmp_path, service, passes)
    found.write("scheduler.yaml", ROOT_FILE)
    found.write("bin/own.sh", "#!/bin/sh\ncat\n")
    (tmp_path / "bin/own.sh").chmod(0o755)
    found.write("jobs/apart.yaml", "id: apart\nschedule: {every: 1h}\ntask_source_path: tasks/apart.md\n")
    found.write("tasks/apart.md", "say hello\n")
    found.write("jobs/inline.yaml", "id: inline\nschedule: {every: 1h}\ntask: hi\n")
    found.write("jobs/notes.md", "---\nid: notes\nschedule: {every: 1h}\nrunner: own\n---\nRead the notes.\n")
    found.git("init", "-q", "-b", "main")
    found.git("add", "-A")
    found.git("commit", "-qm", "first")
    found.sync()
    return found


JOBS = ["apart", "inline", "notes"]


@pytest.mark.parametrize("job_id", JOBS)
def test_what_is_as_the_last_pass_read_it_is_plain(here: Here, job_id: str) -> None:
    found = here.look(job_id)
    assert isinstance(found, Ready)
    assert found.provenance.dirty is None
    assert len(found.provenance.revision or "") == 40
    assert [each.path for each in found.runner_files] == (["bin/own.sh"] if job_id == "notes" else [])


@pytest.mark.parametrize("job_id", JOBS)
def test_outside_a_repository_too(here: Here, job_id: str) -> None:
    shutil.rmtree(here.root / ".git")
    here.passes = replace(here.passes, commits=Commits())
    here.sync()
    found = here.look(job_id)
    assert isinstance(found, Ready)
    assert found.provenance.revision is None


def edit_task(here: Here) -> None:
    here.write("tasks/apart.md", "say goodbye\n")


def same_size(here: Here) -> None:
    path = here.root / "tasks/apart.md"
    before = path.stat()
    here.write("tasks/apart.md", "say hullo\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def delete_task(here: Here) -> None:
    (here.root / "tasks/apart.md").unlink()


def edit_job(here: Here) -> None:
    here.write("jobs/apart.yaml", "id: apart\nschedule: {every: 2h}\ntask_source_path: tasks/apart.md\n")


def link_task(here: Here) -> None:
    (here.root / "tasks/apart.md").rename(here.root / "tasks/there.md")
    (here.root / "tasks/apart.md").symlink_to("there.md")


def link_folder(here: Here) -> None:
    (here.root / "tasks").rename(here.root / "there")
    (here.root / "tasks").symlink_to("there")


def edit_settings(here: Here) -> None:
    here.write("scheduler.yaml", ROOT_FILE + "limits: {task_bytes: 5}\n")


def break_settings(here: Here) -> None:
    here.write("scheduler.yaml", "version: 2\n")


def edit_runner_file(here: Here) -> None:
    here.write("bin/own.sh", "#!/bin/sh\necho other\n")


def merge(here: Here) -> None:
    (here.root / ".git/MERGE_HEAD").write_text("0" * 40)


def commit(here: Here) -> None:
    here.git("commit", "-q", "--allow-empty", "-m", "next")


def uncommit(here: Here) -> None:
    """Synced, and not as committed: whether git's own conversions explain it, only git can say."""
    edit_task(here)
    here.sync()


def unmount(here: Here) -> None:
    (here.root / "tasks").rename(here.root / "lost")


CHANGES = [
    edit_task,
    same_size,
    delete_task,
    edit_job,
    link_task,
    link_folder,
    edit_settings,
    break_settings,
    edit_runner_file,
    merge,
    commit,
    uncommit,
    unmount,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_left_to_a_careful_look(here: Here, change: Callable[[Here], None]) -> None:
    assert isinstance(here.look("apart"), Ready)
    change(here)
    assert here.look("apart") is None


@pytest.mark.parametrize("change", [edit_task, same_size, delete_task, edit_job, link_task, unmount])
def test_what_changes_during_the_look_too(here: Here, change: Callable[[Here], None]) -> None:
    assert here.look("apart", change=lambda: change(here)) is None


def test_a_file_that_somebody_may_still_be_writing_is_not_read_in_haste(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.root / "tasks/apart.md"
    monkeypatch.setattr(clock, "file_time", lambda: path.stat().st_mtime + 0.5)
    assert here.look("apart") is None
    monkeypatch.setattr(clock, "file_time", lambda: path.stat().st_mtime + 1.5)
    assert isinstance(here.look("apart"), Ready)


def test_a_program_that_somebody_may_still_be_writing_is_not_started_in_haste(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(here.root / "bin/own.sh", (2_000_000_000, 2_000_000_000))
    monkeypatch.setattr(clock, "file_time", lambda: 2_000_000_000.5)
    assert here.look("notes") is None
    assert isinstance(here.look("apart"), Ready)


def test_another_branch_that_is_checked_out_during_the_look_gives_nothing(here: Here) -> None:
    here.write("scheduler.yaml", ROOT_FILE + "worktree: {branch: main}\n")
    here.git("commit", "-qam", "branch")
    here.sync()
    assert isinstance(here.look("apart"), Ready)
    assert here.look("apart", change=lambda: here.git("checkout", "-qb", "other")) is None


def test_an_uncommitted_text_is_left_to_a_careful_look_where_it_is_skipped(here: Here) -> None:
    here.write("scheduler.yaml", ROOT_FILE + "worktree: {dirty: skip}\n")
    here.write("jobs/new.yaml", "id: new\nschedule: {every: 1h}\ntask: hi\n")
    here.git("add", "scheduler.yaml")
    here.git("commit", "-qm", "skip")
    here.sync()
    assert here.look("new") is None
    assert isinstance(here.look("new", Trigger.MANUAL), Ready), "a person may try out a text"
    assert isinstance(here.look("apart"), Ready)


def test_conflict_markers_in_a_fence_are_left_to_a_careful_look(here: Here) -> None:
    here.write("tasks/apart.md", "Explain:\n\n```\n<<<<<<< a\n=======\n>>>>>>> b\n```\n")
    here.git("commit", "-qam", "markers")
    here.sync()
    assert here.look("apart") is None


@pytest.mark.parametrize("what", ["archived", "no_task", "runner"])
def test_a_job_in_a_special_state_is_left_to_a_careful_look(here: Here, what: str) -> None:
    with Store.open(here.service.place.db) as store:
        job, settings = store.read(queries.job, "apart"), store.read(syncs.settings)
    assert job is not None
    match what:
        case "archived":
            job = replace(job, file=replace(job.file, archived_at=job.file.activated_at))
        case "no_task":
            job = replace(job, file=replace(job.file, task_sha256=None))
        case "runner":
            job = replace(job, file=replace(job.file, spec=replace(job.file.spec, runner="gone")))
    assert here.ready(job, settings, Trigger.SCHEDULE, None) is None


def table(*mounted: tuple[Path, str]) -> str:
    lines = ["25 0 8:1 / / rw - ext4 /dev/sda1 rw"]
    lines += [f"{30 + n} 25 0:{n} / {path} rw - {kind} server:/x rw" for n, (path, kind) in enumerate(mounted)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("folder", "kind", "plain"),
    [
        ("tasks", "nfs4", False),
        ("tasks", "fuse.sshfs", False),
        ("tasks", "fuse.mine", False),
        ("tasks", "ext4", True),
        ("tasks", "tmpfs", True),
        (".", "nfs", False),
        ("..", "cifs", False),
        ("bin", "nfs", False),
        ("jobs/other", "nfs", True),
        ("task", "nfs", True),
    ],
)
def test_what_waits_for_a_server_is_not_read_in_the_thread_that_fires(
    here: Here, monkeypatch: pytest.MonkeyPatch, folder: str, kind: str, plain: bool
) -> None:
    path = Path(os.path.normpath(here.root / folder))
    monkeypatch.setattr(mounts, "_table", lambda: table((path, kind)))
    assert isinstance(here.look("apart"), Ready) is plain


def test_the_schedulers_own_files_are_not_read_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"rows")
    os.link(tmp_path / "state.db", tmp_path / "a.md")
    digest = hashlib.sha256(b"rows").hexdigest()
    found = (tmp_path / "state.db").stat()
    with Unchanged(tmp_path, frozenset({(found.st_dev, found.st_ino)})) as files:
        assert files.read("a.md", digest) is None
    with Unchanged(tmp_path, frozenset()) as files:
        assert files.read("a.md", digest) == b"rows"


def test_a_path_that_leads_out_or_is_hidden_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/.hidden").write_bytes(b"x")
    (tmp_path / "out.md").write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    with Unchanged(tmp_path / "in", frozenset()) as files:
        for path in ("../out.md", ".hidden", "", "/etc/passwd", "a\0b", "gone/a.md"):
            assert files.read(path, digest) is None


@pytest.mark.parametrize("ours", [False, True])
def test_a_file_swapped_between_the_look_and_the_open_is_closed_unless_it_is_the_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ours: bool
) -> None:
    for name in ("job", "other"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (1, 1))
    found, opened, open_ = (tmp_path / "other").stat(), [], os.open

    def swap(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "job":
            (tmp_path / "other").replace(tmp_path / "job")
        opened.append(open_(path, flags, mode, dir_fd=dir_fd))
        return opened[-1]

    with Unchanged(tmp_path, frozenset({(found.st_dev, found.st_ino)} if ours else ())) as files:
        monkeypatch.setattr(os, "open", swap)
        assert files.read("job", hashlib.sha256(b"x").hexdigest()) is None
        (file,) = opened
        if ours:
            os.close(file)  # left open: closing it releases the locks of SQLite in this process
        else:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(file)


def test_a_look_keeps_no_descriptor_open(here: Here) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    here.look("apart")
    before = opened()
    for _ in range(3):
        for job_id in JOBS:
            here.look(job_id)
    edit_task(here)
    here.look("apart")
    assert opened() == before
