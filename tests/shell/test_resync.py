"""What the daemon makes of files as people and programs save them, and what it watches."""

from __future__ import annotations

import hashlib
import logging
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scheduler.core.values.facts import SyncState
from scheduler.daemon import resync as module
from scheduler.ledger import audit, syncs
from scheduler.root.place import Place
from scheduler.sync import aside, look
from scheduler.sync.passes import Passes
from scheduler.sync.synced import Synced
from tests.helpers import ROOT_FILE, git
from tests.shell.live import Live, job_text, live, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "jobs").mkdir(parents=True)
    (root / "prompts").mkdir()
    (root / "scheduler.yaml").write_text(ROOT_FILE)
    return root


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if text in record.getMessage()]


def passes(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """All of them so far; those that changed nothing are told at the level DEBUG."""
    return said(caplog, "synced cause=")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One root for all who only save files in it."""
    root = tmp_path_factory.mktemp("shared")
    (root / "jobs").mkdir()
    (root / "prompts").mkdir()
    # As wide as it gets: an editor's files beside a job file match too.
    (root / "scheduler.yaml").write_text(ROOT_FILE + 'jobs: ["jobs/**"]\n')
    with live(root) as found:
        yield found


# -- one file, saved ---------------------------------------------------------------------------


def vim(path: Path, data: bytes) -> None:
    """backupcopy=no, as strace shows it: a try whether files can be made here, a swap file, the old one moved away."""
    swap = path.with_name(f".{path.name}.swp")
    swap.write_bytes(b"b0VIM 9.0" + data)
    (path.parent / "4913").touch()
    (path.parent / "4913").unlink()
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    with path.open("wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    path.chmod(0o644)
    backup.unlink()
    swap.unlink()


def vim_in_place(path: Path, data: bytes) -> None:
    """backupcopy=yes: the old text is copied aside, and the file is cut to nothing and written."""
    swap, backup = path.with_name(f".{path.name}.swp"), path.with_name(path.name + "~")
    swap.write_bytes(b"b0VIM 9.0" + data)
    shutil.copy2(path, backup)
    with path.open("r+b") as file:
        file.truncate()
        file.write(data)
        os.fsync(file.fileno())
    backup.unlink()
    swap.unlink()


def emacs(path: Path, data: bytes) -> None:
    lock = path.with_name(f".#{path.name}")
    lock.symlink_to("a@host.4711:1700000000")
    path.with_name(f"#{path.name}#").write_bytes(data)  # its own save, every now and then
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_bytes(data)
    path.with_name(f"#{path.name}#").unlink()
    lock.unlink()
    # The backup stays.


def rename(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_bytes(data)
    beside.replace(path)


def hidden_rename(path: Path, data: bytes) -> None:
    """rsync, and editors that think of watchers."""
    beside = path.with_name(f".{path.name}.a1B2c3")
    beside.write_bytes(data)
    beside.chmod(0o644)
    beside.replace(path)


def jetbrains(path: Path, data: bytes) -> None:
    new, old = path.with_name(path.name + "___jb_tmp___"), path.with_name(path.name + "___jb_old___")
    new.write_bytes(data)
    path.rename(old)
    new.rename(path)
    old.unlink()


def sed(path: Path, data: bytes) -> None:
    beside = path.with_name("sedAb12Cd")
    beside.write_bytes(data)
    beside.chmod(0o644)
    beside.rename(path)


def truncate(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        time.sleep(0.2)
        file.write(data)


def in_place(path: Path, data: bytes) -> None:
    """rsync --inplace: block by block, and only then cut."""
    with path.open("r+b") as file:
        for at in range(0, len(data), 16):
            file.write(data[at : at + 16])
            file.flush()
        file.truncate()


def delete_and_make(path: Path, data: bytes) -> None:
    path.unlink()
    time.sleep(0.2)
    path.write_bytes(data)


def move_in(path: Path, data: bytes) -> None:
    outside = path.parent.parent / f"{path.name}.elsewhere"
    outside.write_bytes(data)
    outside.replace(path)


def relink(path: Path, data: bytes) -> None:
    """A link that comes to lead to another file, outside of any folder of job files."""
    versions = path.parent.parent / "versions"
    versions.mkdir(exist_ok=True)
    target = versions / f"{hashlib.sha256(data).hexdigest()}{path.suffix}"
    target.write_bytes(data)
    beside = path.with_name(f".{path.name}.link")
    beside.symlink_to(target)
    beside.replace(path)


SAVES = [vim, vim_in_place, emacs, rename, hidden_rename, jetbrains, sed, truncate, in_place, delete_and_make, move_in]


@pytest.mark.parametrize("save", SAVES, ids=lambda save: save.__name__)
def test_a_job_file_and_its_task_as_people_save_them_are_one_edit_each(
    shared: Live, save: Callable[[Path, bytes], None]
) -> None:
    name = save.__name__
    job, task = shared.root / f"jobs/{name}.yaml", shared.root / f"prompts/{name}.md"
    task.write_text("first\n")
    job.write_text(job_text(name, task=f"task_source_path: prompts/{name}.md"))
    until(lambda: shared.job(name), "the job")
    save(job, job_text(name, name="second", task=f"task_source_path: prompts/{name}.md").encode())
    until(lambda: shared.named(name) == "second", "the new definition")
    text = b"second, and longer than the one before\n"
    save(task, text)
    until(lambda: shared.text(name) == hashlib.sha256(text).hexdigest(), "the new text")
    found = shared.job(name)
    assert found is not None
    assert (found.file.sync_state, found.file.generation) == (SyncState.SYNCED, 2)
    assert shared.actions(name) == ["update", "task"]


def test_a_link_that_comes_to_lead_elsewhere_is_a_move_and_its_target_is_watched(shared: Live) -> None:
    job = shared.root / "jobs/relink.yaml"
    relink(job, job_text("relink").encode())
    until(lambda: shared.job("relink"), "the job")
    relink(job, job_text("relink", name="second").encode())
    until(lambda: shared.named("relink") == "second", "the new target")
    rename(Path(os.path.realpath(job)), job_text("relink", name="third").encode())
    until(lambda: shared.named("relink") == "third", "the edit of the target, in a folder that no glob names")
    assert shared.actions("relink") == ["update", "move", "update"]


def test_an_emptied_file_that_stays_empty_for_long_keeps_its_job_and_is_mended_by_the_rest_of_the_save(
    shared: Live,
) -> None:
    job = shared.root / "jobs/slow.yaml"
    job.write_text(job_text("slow"))
    before = until(lambda: shared.job("slow"), "the job")
    with job.open("w") as file:
        until(lambda: (found := shared.job("slow")) and found.file.sync_state is SyncState.INVALID, "the mark")
        file.write(job_text("slow", name="second"))
    until(lambda: shared.named("slow") == "second", "the edit")
    after = shared.job("slow")
    assert after is not None
    assert (after.file.sync_state, after.next_run_at) == (SyncState.SYNCED, before.next_run_at)
    assert shared.actions("slow") == ["sync_state", "update", "sync_state"]


def test_what_an_editor_leaves_beside_a_job_file_is_no_job_and_no_problem(shared: Live) -> None:
    (shared.root / "jobs/left.yaml").write_text(job_text("left"))
    for name in (
        ".left.yaml.swp",
        "4913",
        "left.yaml~",
        "#left.yaml#",
        "left.yaml___jb_tmp___",
        "left.yaml___jb_old___",
    ):
        (shared.root / "jobs" / name).write_text(job_text("copy"))
    (shared.root / "jobs/.#left.yaml").symlink_to("a@host.4711:1700000000")
    (shared.root / "jobs/last.yaml").write_text(job_text("last"))
    until(lambda: shared.job("last"), "the file that was written last")
    until(lambda: not shared.problems(), "no problem")
    assert shared.job("copy") is None


def test_a_job_whose_task_is_missing_becomes_one_when_the_task_comes_whatever_its_folder(shared: Live) -> None:
    (shared.root / "jobs/early.yaml").write_text(job_text("early", task="task_source_path: later/deep/er/early.md"))
    until(lambda: "task.missing" in shared.problems(), "the problem")
    (shared.root / "later/deep/er").mkdir(parents=True)
    (shared.root / "later/deep/er/early.md").write_text("hi\n")
    until(lambda: shared.job("early"), "the job")


# -- many files --------------------------------------------------------------------------------


def test_three_hundred_files_at_once_are_one_sync(root: Path) -> None:
    (root.parent / "new").mkdir()
    for i in range(300):
        (root.parent / f"new/j{i}.yaml").write_text(job_text(f"j{i}"))
    with live(root) as found:
        began = time.monotonic()
        for file in (root.parent / "new").iterdir():
            file.rename(root / "jobs" / file.name)
        took = time.monotonic() - began
        until(lambda: found.job("j299") and found.job("j0"), "the jobs")
        until(lambda: all(found.job(f"j{i}") for i in range(300)), "all of them")
        with found.stores.lend() as store:  # the log would hold what the root of other tests is told too
            made = {store.read(audit.read_audit, f"j{i}")[0].at for i in range(300)}
        if took < module.SETTLE_S:  # else this machine has made pauses in it
            assert len(made) == 1, made
        assert len(made) <= 1 + took / module.SETTLE_S


def test_files_written_while_the_first_of_them_is_read_are_applied_with_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (root / f"jobs/{name}.yaml").write_text(job_text(name))
    with live(root) as found:
        until(lambda: found.job("c"), "the jobs")
        time.sleep(6 * module.QUIET_S)  # so that the next edit is not waited for
        read = look.look_at_edits
        looks: list[list[str]] = []

        def then_write(*given: Any, **more: Any) -> Any:
            looked = read(*given, **more)
            looks.append(sorted(given[5]))
            if len(looks) == 1:
                for name in "bc":
                    (root / f"jobs/{name}.yaml").write_text(job_text(name, name="second"))
                until(lambda: len(found.resync._watcher.heard() or {}) > 1, "their events")
            return looked

        monkeypatch.setattr("scheduler.sync.passes.look_at_edits", then_write)
        (root / "jobs/a.yaml").write_text(job_text("a", name="second"))
        until(lambda: all(found.named(name) == "second" for name in "abc"), "the edits")
        with found.stores.lend() as store:
            at = {store.read(audit.read_audit, name)[-1].at for name in "abc"}
    assert looks == [["jobs/a.yaml"], ["jobs/a.yaml", "jobs/b.yaml", "jobs/c.yaml"]]
    assert len(at) == 1


def test_a_burst_of_more_files_than_the_daemon_reads_itself_is_synced_and_goes_on_from_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = aside.FEW_FILES + 50
    (root.parent / "new").mkdir()
    for i in range(count):
        (root.parent / f"new/j{i}.yaml").write_text(job_text(f"j{i}"))
    with live(root) as found:
        (root / "jobs/here.yaml").write_text(job_text("here"))
        until(lambda: found.job("here"), "a job that was read here")
        with monkeypatch.context() as patch:
            patch.setattr("scheduler.sync.passes.look", lambda *_, **__: pytest.fail("so many files were read here"))
            for file in (root.parent / "new").iterdir():
                file.rename(root / "jobs" / file.name)
            until(lambda: all(found.job(f"j{i}") for i in range(count)), "all of them")
        (root / "jobs/j7.yaml").write_text(job_text("j7", name="second"))
        until(lambda: found.named("j7") == "second", "the edit")
        (root / "jobs/j8.yaml").unlink()
        until(lambda: "archive" in found.actions("j8"), "the archive")


def test_a_burst_that_does_not_end_is_synced_in_its_middle(root: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.wait(module.SETTLE_S / 5):
            (root / "jobs/noise.txt").write_text(str(n := n + 1))

    with live(root) as found:
        thread = threading.Thread(target=write)
        thread.start()
        try:
            (root / "jobs/a.yaml").write_text(job_text("a"))
            until(lambda: found.job("a"), "the job")
        finally:
            stop.set()
            thread.join()


def test_more_changes_than_the_kernel_keeps_lead_to_a_full_look(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 200_000:
        pytest.skip("this kernel keeps too many events")
    (root / "jobs/a").touch()
    (root / "jobs/b").touch()
    hold, held = threading.Event(), threading.Event()

    def ignores(folder: Path, name: str) -> bool:
        if name == "hold":  # the thread that reads the events
            held.set()
            hold.wait(60)
        return name in ("a", "b", "hold", "late.yaml")  # only the overflow may ring

    with live(root) as found:
        found.resync._watcher._ignores = ignores
        (root / "jobs/hold").touch()
        assert held.wait(60)
        for _ in range(most // 2 + 5_000):  # it has read some already; equal neighbours are told once, so take turns
            os.utime(root / "jobs/a")
            os.utime(root / "jobs/b")
        (root / "jobs/late.yaml").write_text(job_text("late"))
        hold.set()
        until(lambda: found.job("late"), "the job nobody was told of")
        assert len(said(caplog, "events_lost")) == 1
        assert found.resync.unwatched == ""


def test_polling_takes_no_more_than_a_tenth_of_the_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with live(root) as found:
        assert found.resync._rescan_s() == module.RESCAN_S
        monkeypatch.setattr(module.Resync, "unwatched", "no inotify watches are left")
        waits = []
        for found.resync._took_s in (0.01, 2.0, 100.0):
            waits.append(found.resync._rescan_s())
        assert waits == [module.RESCAN_UNWATCHED_S, 20.0, module.RESCAN_S]


# -- git ---------------------------------------------------------------------------------------


@pytest.fixture
def repository(root: Path) -> Path:
    (root / "jobs/a.yaml").write_text(job_text("a"))
    (root / ".gitignore").write_text(".scheduler/\n")
    git(root, "init", "-q", "--template=")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def stands(found: Live) -> tuple[str | None, str | None]:
    job = found.job("a")
    assert job is not None
    return job.file.revision, job.file.dirty


@pytest.mark.parametrize("kept", ["loose", "packed", "detached", "worktree", "nested branch"])
def test_a_commit_that_touches_no_file_is_seen_by_its_ref(repository: Path, kept: str, tmp_path: Path) -> None:
    root = repository
    match kept:
        case "packed":
            git(root, "pack-refs", "--all", "--prune")
        case "detached":
            git(root, "checkout", "-q", "--detach")
        case "nested branch":
            git(root, "checkout", "-qb", "team/new/branch")
            git(root, "pack-refs", "--all", "--prune")
        case "worktree":
            git(root, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
            root = tmp_path / "linked"
    first = git(root, "rev-parse", "HEAD")
    with live(root) as found:
        assert stands(found) == (first, None)
        rename(root / "jobs/a.yaml", job_text("a", name="second").encode())
        until(lambda: stands(found) == (first, "modified"), "the edit")
        git(root, "commit", "-qam", "second")
        second = git(root, "rev-parse", "HEAD")
        until(lambda: stands(found) == (second, None), "the commit")
        git(root, "reset", "-q", "--soft", "HEAD~1")
        until(lambda: stands(found) == (first, "modified"), "the way back")


def test_a_repository_made_later_and_a_branch_that_is_born_are_seen(root: Path) -> None:
    (root / "jobs/a.yaml").write_text(job_text("a"))
    (root / ".gitignore").write_text(".scheduler/\n")
    with live(root) as found:
        assert stands(found) == (None, None)
        git(root, "init", "-q", "--template=")
        until(lambda: stands(found) == (None, "untracked"), "the repository")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "first")
        until(lambda: stands(found) == (git(root, "rev-parse", "HEAD"), None), "the commit")


def test_looking_at_a_repository_and_working_beside_head_wake_nobody(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with live(repository) as found:
        git(repository, "update-ref", "refs/heads/other", "HEAD")
        os.utime(repository / "jobs/a.yaml")  # so that `status` rewrites its index
        until(lambda: said(caplog, "synced cause=watch"), "what that has rung")
        time.sleep(3 * module.QUIET_S)
        before = len(passes(caplog))
        git(repository, "status")
        git(repository, "update-ref", "refs/heads/other", git(repository, "commit-tree", "-m", "x", "HEAD^{tree}"))
        git(repository, "tag", "x")
        git(repository, "fetch", "-q", ".", "main:refs/remotes/here/main")
        git(repository, "gc", "-q")
        found.resync.passes.tree()
        time.sleep(4 * module.SETTLE_S)
        since = passes(caplog)[before:]
        # `gc` packs the refs and removes the file of the branch, which may be news of HEAD: looks that find nothing.
        assert len(since) <= 2, since
        assert all(each.levelname == "DEBUG" for each in since)


# -- the root ----------------------------------------------------------------------------------


def test_a_root_that_is_removed_and_comes_back_loses_no_job_and_is_watched_again(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "jobs/a.yaml").write_text(job_text("a"))
    with live(root, state=tmp_path / "state") as found:
        before = found.job("a")
        shutil.copytree(root, tmp_path / "copy")
        shutil.rmtree(root)
        until(lambda: found.resync.loop.trouble, "the trouble")
        assert found.resync.loop.trouble == f"the root {root} is gone; nothing was applied"
        assert found.job("a") == before
        (tmp_path / "copy").rename(root)
        until(lambda: not found.resync.loop.trouble, "the end of it")
        rename(root / "jobs/a.yaml", job_text("a", name="second").encode())
        until(lambda: found.named("a") == "second", "an edit")
        assert found.actions("a") == ["update"]
        (root / "jobs/b.yaml").write_text(job_text("b"))
        until(lambda: found.job("b"), "a new file")
        assert found.resync.unwatched == ""


def test_a_root_named_by_a_link_is_served_and_a_link_that_leads_elsewhere_is_told(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "jobs/a.yaml").write_text(job_text("a"))
    shutil.copytree(root, tmp_path / "next")
    (tmp_path / "current").symlink_to("root")
    with live(root, named=tmp_path / "current") as found:
        rename(tmp_path / "current/jobs/a.yaml", job_text("a", name="second").encode())
        until(lambda: found.named("a") == "second", "an edit by the link")
        assert found.resync.place.moved == ""
        (tmp_path / "current.new").symlink_to("next")
        (tmp_path / "current.new").replace(tmp_path / "current")
        until(lambda: said(caplog, "root_moved"), "the warning")
        assert found.resync.place.moved == (
            f"{tmp_path}/current now leads to {tmp_path}/next, not to {root}: no new runs start until the link is"
            " restored or the daemon is restarted"
        )
        rename(root / "jobs/a.yaml", job_text("a", name="third").encode())
        until(lambda: found.named("a") == "third", "an edit of the root that is served")


def test_a_database_inside_the_root_rings_no_bell(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "scheduler.yaml").write_text(ROOT_FILE + 'jobs: ["jobs/**"]\n')
    (root / "jobs/a.yaml").write_text(job_text("a"))
    with live(root, db=root / "jobs/state.db") as found:
        (root / "jobs/b.yaml").write_text(job_text("b"))
        until(lambda: found.job("b"), "the job")
        time.sleep(4 * module.QUIET_S)
        before = len(passes(caplog))
        for _ in range(10):
            found.resync.sync_now(actor="scheduler", cause="sync")  # writes, and opens and closes connections
        time.sleep(4 * module.SETTLE_S)
        assert len(passes(caplog)) == before + 10
        assert found.problems() == [], "nor is it a job file that is none"


# -- a mounted ConfigMap -----------------------------------------------------------------------


class ConfigMap:
    """A volume as the kubelet's atomic writer keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._n = 0
        folder.mkdir(exist_ok=True)

    def write(self, **files: str) -> None:
        """File names are given with _ for a dot."""
        payload = {name.replace("_", "."): text for name, text in files.items()}
        self._n += 1
        version = f"..2024_11_25_10_00_{self._n:02}.{self._n:09}"
        (self.folder / version).mkdir()
        for name, text in payload.items():
            (self.folder / version / name).write_text(text)
        data = self.folder / "..data"
        before = data.readlink() if data.is_symlink() else None
        (self.folder / "..data_tmp").symlink_to(version)
        (self.folder / "..data_tmp").rename(data)
        for name in payload:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for entry in self.folder.iterdir():
            if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in payload:
                entry.unlink()
        if before is not None:
            shutil.rmtree(self.folder / before)


def test_a_swap_of_a_configmap_below_the_root_is_an_edit_and_no_move(root: Path) -> None:
    jobs, prompts = ConfigMap(root / "jobs"), ConfigMap(root / "prompts")
    source = "task_source_path: prompts/p.md"
    prompts.write(p_md="first\n")
    b = "---\nid: b\nschedule: {every: 1h}\n---\nhello\n"
    jobs.write(a_yaml=job_text("a", task=source), b_md=b)
    with live(root) as found:
        assert found.problems() == []
        first = found.job("a")
        assert first is not None
        assert (first.file.path, first.file.revision, first.file.dirty) == ("jobs/a.yaml", None, None)
        jobs.write(
            a_yaml=job_text("a", name="second", task=source), b_md="---\nid: b\nschedule: {every: 1h}\n---\nhi\n"
        )
        until(lambda: found.named("a") == "second", "the swap of the jobs")
        prompts.write(p_md="second\n")
        until(lambda: found.text("a") == hashlib.sha256(b"second\n").hexdigest(), "the swap of the tasks")
        assert (found.actions("a"), found.actions("b")) == (["update", "task"], ["task"])
        jobs.write(a_yaml=job_text("a", name="third", task=source))
        until(lambda: (gone := found.job("b")) and gone.archived, "the job whose key was removed")
        assert found.actions("a") == ["update", "task", "update"]


def test_a_configmap_may_be_the_whole_root(tmp_path: Path) -> None:
    volume = ConfigMap(tmp_path / "root")
    settings = ROOT_FILE + 'jobs: ["*.yaml"]\n'
    volume.write(scheduler_yaml=settings, a_yaml=job_text("a", task="task_source_path: p.md"), p_md="first\n")
    with live(tmp_path / "root", state=tmp_path / "state") as found:
        for n in range(5):
            text = f"text {n}\n"
            volume.write(
                scheduler_yaml=settings + f"limits: {{max_running: {n + 1}}}\n",
                a_yaml=job_text("a", name=f"name {n}", task="task_source_path: p.md"),
                p_md=text,
            )
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            until(lambda sha256=sha256: found.text("a") == sha256, "the swap")  # type: ignore[misc]
            assert found.named("a") == f"name {n}"
        assert set(found.actions("a")) == {"update", "task"}
        assert found.problems() == []
        with found.stores.lend() as store:
            settings_now = store.read(syncs.observed).settings
        assert settings_now is not None
        assert settings_now.limits.max_running == 5


# -- what is watched ---------------------------------------------------------------------------


def watches() -> int:
    """Of all inotify instances of this process."""
    found = 0
    for fd in Path("/proc/self/fdinfo").iterdir():
        try:
            found += fd.read_text().count("inotify wd:")
        except OSError:
            continue
    return found


def test_only_folders_of_job_files_tasks_and_refs_are_watched(repository: Path) -> None:
    root = repository
    for i in range(1000):
        (root / f"node_modules/p{i}").mkdir(parents=True)
    (root / "jobs/team").mkdir()
    (root / "prompts/deep").mkdir()
    (root / "prompts/other/deeper").mkdir(parents=True)
    (root / "prompts/deep/p.md").write_text("hi\n")
    (root / "jobs/b.yaml").write_text(job_text("b", task="task_source_path: prompts/deep/p.md"))
    before = watches()
    with live(root):
        # The root, jobs, jobs/team; prompts, prompts/deep; .git, refs, refs/heads; the state folder.
        assert watches() - before == 9


def test_an_idle_root_is_left_alone(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    with live(repository):
        time.sleep(2 * module.SETTLE_S)
        before, used = len(passes(caplog)), resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(1)
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert len(passes(caplog)) == before
        assert after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime < 0.05


def test_head_is_followed_through_packing_switching_and_detaching(repository: Path) -> None:
    root = repository

    def edit_and_commit(text: str) -> None:
        before = git(root, "rev-parse", "HEAD")
        rename(root / "jobs/a.yaml", job_text("a", name=text).encode())
        until(lambda: stands(found) == (before, "modified"), f"the edit {text}")
        git(root, "commit", "-qam", text)
        until(lambda: stands(found) == (git(root, "rev-parse", "HEAD"), None), f"the commit {text}")

    with live(root) as found:
        edit_and_commit("before")
        git(root, "pack-refs", "--all", "--prune")
        edit_and_commit("packed")
        git(root, "gc", "-q", "--prune=now")
        edit_and_commit("after gc")
        git(root, "switch", "-qc", "team/side")
        edit_and_commit("on a new branch")
        git(root, "switch", "-q", "--detach")
        edit_and_commit("detached")


def test_a_script_that_a_runner_names_is_watched_wherever_it_lies(root: Path) -> None:
    (root / "tools/bin").mkdir(parents=True)
    (root / "tools/bin/agent.sh").write_text("cat\n")
    (root / "scheduler.yaml").write_text(
        "version: 1\ndefaults: {runner: r}\nrunners: {r: {command: [sh, tools/bin/agent.sh]}}\n"
    )
    (root / "jobs/a.yaml").write_text(job_text("a"))
    with live(root) as found:

        def known() -> tuple[tuple[str, str], ...]:
            with found.stores.lend() as store:
                settings = store.read(syncs.settings)
            return () if settings is None else settings.runners["r"].files

        was = until(known, "the script in the settings")
        (root / "tools/bin/agent.sh").write_text("cat -n\n")
        until(lambda: known() != was, "the other script")


# -- turns, taken by hand ----------------------------------------------------------------------


class Turns:
    """A root whose thread is not started: each turn is taken by the test, by a clock of its own."""

    def __init__(self, found: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found = found
        self.now = 1000.0
        self.deep: list[str] = []  # of each pass
        self.after: Callable[[], object] = lambda: None  # what happens as soon as a pass has read the files
        run = Passes.sync

        def sync(passes: Passes, *given: Any, **named: Any) -> Synced:
            self.deep.append(named["deep"])
            result = run(passes, *given, **named)
            self.after()
            return result

        monkeypatch.setattr(Passes, "sync", sync)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=time.sleep))
        monkeypatch.setattr(
            found.resync._watcher, "take", lambda: {f"{found.root}/{path}": True for path in self.heard}
        )
        monkeypatch.setattr(found.resync._watcher, "_changed", lambda: None)
        found.resync.loop.bell.clear()
        self.heard: list[str] = []
        self._turns = found.resync._turns()
        self.wait_s = next(self._turns)

    def __call__(self, *heard: str, after_s: float = 1.0) -> None:
        """One turn, some time later. heard: the files that were written; none, and nothing has rung."""
        self.now, self.heard = self.now + after_s, list(heard)
        if heard:
            self.found.resync.loop.bell.set()
        self.wait_s = next(self._turns)


@pytest.fixture
def turns(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turns]:
    (root / "jobs/a.yaml").write_text(job_text("a"))
    found = Live(Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db"))
    found.resync.sync_now(actor="scheduler", cause="start")
    by_hand = Turns(found, monkeypatch)
    by_hand("jobs/.nothing.swp")  # all folders are newly watched
    assert by_hand.deep.pop() == ""
    yield by_hand
    found.resync.stop()
    found.stores.close()


@pytest.mark.parametrize("written", ["jobs/a.yaml", "jobs/none.yaml"], ids=["an edit", "more than an edit"])
def test_events_do_not_put_off_the_comparison_of_bytes(turns: Turns, written: str) -> None:
    for _ in range(8):
        turns(written, after_s=module.RESCAN_S / 2)
    assert turns.deep.count("some") == 4


def test_a_quiet_root_is_compared_once_a_minute(turns: Turns) -> None:
    assert 0 < turns.wait_s < module.RESCAN_S
    for _ in range(3):
        turns(after_s=turns.wait_s)
    assert turns.deep == ["some"] * 3


def test_a_folder_that_is_newly_watched_is_looked_at_once_more_whatever_else_is_heard(turns: Turns) -> None:
    late = turns.found.root / "jobs/new/late.yaml"
    late.parent.mkdir()
    turns.after = lambda: late.write_text(job_text("late"))  # before the folder is watched
    turns("jobs/new")
    assert turns.found.job("late") is None
    turns("jobs/.nothing.swp")
    assert turns.found.job("late") is not None


def test_so_is_the_folder_of_a_task_that_an_edit_names_first(turns: Turns) -> None:
    task = turns.found.root / "new/task.md"
    task.parent.mkdir()
    task.write_text("first")
    (turns.found.root / "jobs/a.yaml").write_text(job_text("a", task="task_source_path: new/task.md"))
    turns("jobs/a.yaml")
    assert turns.deep == []
    before = turns.found.text("a")
    task.write_text("second")
    turns("jobs/.nothing.swp")
    assert turns.found.text("a") != before
