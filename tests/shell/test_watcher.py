"""File events as "look again": what rings, what does not, and what is said when events cannot be had."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scheduler.root import watcher as module
from scheduler.root.watcher import Watcher

PATIENCE_S = 20.0
INOTIFY = "watchdog.observers.inotify_c"
linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify")


class Rings:
    """Counts calls, and lets a test wait for the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def __call__(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    @contextmanager
    def expected(self) -> Iterator[None]:
        before = self._count
        yield
        with self._changed:
            assert self._changed.wait_for(lambda: self._count > before, PATIENCE_S), "nothing rang"


@contextmanager
def watching(*folders: Path) -> Iterator[tuple[Watcher, Rings]]:
    rings = Rings()
    watcher = Watcher(rings)
    try:
        assert watcher.cover(folders) is bool(folders)
        assert watcher.trouble == ""
        yield watcher, rings
    finally:
        watcher.stop()


def count_rings(folder: Path, action: Callable[[Watcher], object]) -> int:
    """How often `action` rings, exactly: events are told in order, and the end of a last folder names that folder."""
    last = folder.parent / "last"
    last.mkdir()
    told = threading.Event()
    troubles: list[str] = []

    def changed() -> None:
        troubles.append(watcher.trouble)
        if str(last) in watcher.trouble:
            told.set()

    watcher = Watcher(changed)
    try:
        watcher.cover([folder, last])
        action(watcher)
        last.rmdir()
        assert told.wait(PATIENCE_S)
    finally:
        watcher.stop()
    return len(troubles) - 1


def inotify_instances() -> int:
    found = 0
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found += fd.readlink() == Path("anon_inode:inotify")
        except FileNotFoundError:  # the listing's own
            continue
    return found


def failing(monkeypatch: pytest.MonkeyPatch, call: str, code: int, only: Callable[..., bool] = lambda *_: True) -> None:
    """Has the system call answer as the kernel does when it refuses."""
    real: Callable[..., int] = getattr(sys.modules[INOTIFY], call)

    def refuse(*arguments: object) -> int:
        if not only(*arguments):
            return real(*arguments)
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(f"{INOTIFY}.{call}", refuse)


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/a.yaml").write_text("id: a\n")
    return tmp_path / "jobs"


@pytest.fixture(params=[pytest.param("_Inotify", marks=linux), "_Plain"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of watching keep the same promises."""
    monkeypatch.setattr(module, "_SYSTEM", getattr(module, request.param))


def append(folder: Path) -> None:
    with (folder / "a.yaml").open("a") as file:
        file.write("enabled: false\n")


def save_by_rename(folder: Path) -> None:
    (folder / ".a.tmp").write_text("id: b\n")
    (folder / ".a.tmp").replace(folder / "a.yaml")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a plain write": append,
    "a truncating save": lambda folder: (folder / "a.yaml").write_text("id: b\n"),
    "a save by rename": save_by_rename,
    "a file moved in": lambda folder: (folder.parent / "outside").replace(folder / "b.yaml"),
    "a file moved out": lambda folder: (folder / "a.yaml").replace(folder.parent / "b.yaml"),
    "a new file": lambda folder: (folder / "b.yaml").touch(),
    "a deletion": lambda folder: (folder / "a.yaml").unlink(),
    "a new folder": lambda folder: (folder / "more").mkdir(),
    "a new symlink": lambda folder: (folder / "link").symlink_to("a.yaml"),
    "a changed mode": lambda folder: (folder / "a.yaml").chmod(0o600),
}


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_in_a_covered_folder_rings(jobs: Path, change: Callable[[Path], object]) -> None:
    (jobs.parent / "outside").touch()
    with watching(jobs) as (_, rings), rings.expected():
        change(jobs)


@linux
def test_reading_rings_nothing(jobs: Path) -> None:
    def read(_: Watcher) -> None:
        assert list(os.walk(jobs))
        assert (jobs / "a.yaml").read_text()
        assert (jobs / "a.yaml").stat()
        os.close(os.open(jobs, os.O_RDONLY | os.O_DIRECTORY))

    assert count_rings(jobs, read) == 0
    assert count_rings(jobs, lambda _: (jobs / "more").mkdir()) == 1, "else the count proves nothing"


@linux
def test_a_change_outside_the_covered_folders_rings_nothing(jobs: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (jobs / "deep").mkdir()

    def write(_: Watcher) -> None:
        (tmp_path / "other/b.yaml").write_text("id: b\n")
        (jobs / "deep/b.yaml").write_text("id: b\n")
        (tmp_path / "b.yaml").write_text("id: b\n")

    assert count_rings(jobs, write) == 0


@linux
def test_covering_the_same_folders_again_rings_nothing_and_adds_nothing(jobs: Path) -> None:
    def again(watcher: Watcher) -> None:
        assert watcher.cover([jobs, jobs.parent / "last"]) is False

    assert count_rings(jobs, again) == 0


@linux
def test_a_folder_is_watched_until_the_cover_that_leaves_it_out(jobs: Path) -> None:
    def leave_out(watcher: Watcher) -> None:
        assert watcher.cover([jobs.parent / "last"]) is False
        (jobs / "b.yaml").touch()

    assert count_rings(jobs, leave_out) == 0


@pytest.mark.usefixtures("either")
def test_reads_before_a_change_do_not_ring_whatever_the_system(jobs: Path) -> None:
    rang_at: list[bool] = []
    written = threading.Event()

    def changed() -> None:
        rang_at.append((jobs / "sentinel").exists())
        if rang_at[-1]:
            written.set()

    watcher = Watcher(changed)
    watcher.cover([jobs])
    for _ in range(20):
        assert (jobs / "a.yaml").read_text()
    (jobs / "sentinel").mkdir()
    assert written.wait(PATIENCE_S)
    watcher.stop()
    assert all(rang_at)


@pytest.mark.usefixtures("either")
def test_a_folder_is_watched_from_the_cover_that_names_it(jobs: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    with watching(jobs) as (watcher, rings):
        assert watcher.cover([jobs, prompts]) is True
        with rings.expected():
            (prompts / "a.md").touch()
        assert watcher.cover([prompts]) is False
        with rings.expected():
            (prompts / "b.md").touch()


@pytest.mark.usefixtures("either")
def test_a_folder_that_does_not_exist_is_no_trouble_and_is_watched_once_it_does(jobs: Path) -> None:
    later = jobs / "later"
    with watching(jobs) as (watcher, rings):
        assert watcher.cover([jobs, later, jobs / "a.yaml"]) is False
        assert watcher.trouble == ""
        with rings.expected():
            later.mkdir()
        assert watcher.cover([jobs, later]) is True
        with rings.expected():
            (later / "b.yaml").touch()


@pytest.mark.usefixtures("either")
def test_of_a_folder_with_names_only_these_ring_and_what_happens_to_itself(jobs: Path) -> None:
    rung: list[str] = []
    last = threading.Event()

    def changed() -> None:
        rung.append("noise" if not (jobs / "wanted").exists() else "wanted")
        if rung[-1] == "wanted":
            last.set()

    watcher = Watcher(changed)
    try:
        assert watcher.cover({jobs: {"wanted", "other"}}) is True
        for number in range(5):
            (jobs / f"noise{number}").write_text("x")
            (jobs / f"noise{number}").rename(jobs / "more")
            (jobs / "more").unlink()
        (jobs / "wanted").touch()
        assert last.wait(PATIENCE_S)
        assert set(rung) == {"wanted"}
        last.clear()
        (jobs / "wanted").rename(jobs / "unwanted")
        (jobs / "unwanted").rename(jobs / "wanted")
        assert last.wait(PATIENCE_S), "a name that goes or comes is both names of a rename"
        last.clear()
        jobs.rename(jobs.with_name("elsewhere"))
        (jobs.with_name("elsewhere")).rename(jobs)
        if module._SYSTEM is getattr(module, "_Inotify", None):
            assert last.wait(PATIENCE_S)
    finally:
        watcher.stop()


@pytest.mark.usefixtures("either")
def test_a_name_that_is_wanted_from_now_on_counts_as_something_new(jobs: Path) -> None:
    watcher = Watcher(Rings())
    try:
        assert watcher.cover({jobs: {"a"}}) is True
        assert watcher.cover({jobs: {"a"}}) is False
        assert watcher.cover({jobs: {"a", "b"}}) is True, "b may have come before it was wanted"
        assert watcher.cover({jobs: {"b"}}) is False
        assert watcher.cover({jobs: None}) is True
        assert watcher.cover({jobs: {"b"}}) is False
    finally:
        watcher.stop()


@linux
def test_an_ignored_name_rings_nothing_though_all_of_its_folder_counts(jobs: Path) -> None:
    seen: list[tuple[Path, str]] = []
    rings = Rings()

    def ignores(folder: Path, name: str) -> bool:
        seen.append((folder, name))
        return name == "state.db-wal"

    watcher = Watcher(rings, ignores=ignores)
    try:
        watcher.cover([jobs])
        with rings.expected():
            (jobs / "state.db-wal").touch()
            (jobs / "state.db-wal").unlink()
            (jobs / "more").mkdir()
        assert rings._count == 1
        assert {name for _, name in seen} == {"state.db-wal", "more"}
        assert {folder for folder, _ in seen} == {jobs}
    finally:
        watcher.stop()


@linux
def test_where_watches_are_few_the_first_folders_of_a_mapping_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("z", "m", "a")]
    for folder in folders:
        folder.mkdir()
    left = [2]

    def none_left(*_: object) -> bool:
        left[0] -= 1
        return left[0] < 0

    watcher = Watcher(Rings())
    try:
        failing(monkeypatch, "inotify_add_watch", errno.ENOSPC, none_left)
        watcher.cover(dict.fromkeys(folders))
        assert watcher.blind.startswith(f"changes in {tmp_path}/a are not seen")
    finally:
        watcher.stop()


@linux
def test_a_covered_folder_moved_away_rings(jobs: Path, tmp_path: Path) -> None:
    with watching(jobs) as (_, rings), rings.expected():
        jobs.rename(tmp_path / "old")


@linux
def test_a_folder_moved_away_is_not_watched_after_the_next_cover(jobs: Path, tmp_path: Path) -> None:
    def move(watcher: Watcher) -> None:
        jobs.rename(tmp_path / "old")
        assert watcher.cover([jobs, tmp_path / "last"]) is False
        for name in "bcde":
            (tmp_path / "old" / name).mkdir()

    assert count_rings(jobs, move) <= 1, "the move itself, if it was told before the cover"


@pytest.mark.usefixtures("either")
def test_a_folder_put_in_the_place_of_another_is_watched_instead(jobs: Path, tmp_path: Path) -> None:
    with watching(jobs) as (watcher, rings):
        jobs.rename(tmp_path / "old")
        jobs.mkdir()
        assert watcher.cover([jobs]) is True
        assert watcher.cover([jobs]) is False
        with rings.expected():
            (jobs / "b.yaml").touch()


@linux
def test_a_folder_removed_and_made_again_is_watched_even_if_it_has_the_same_inode_number(jobs: Path) -> None:
    with watching(jobs) as (watcher, rings):
        for _ in range(20):
            shutil.rmtree(jobs)
            jobs.mkdir()
            assert watcher.cover([jobs]) is True
        with rings.expected():
            (jobs / "b.yaml").touch()


@pytest.mark.usefixtures("either")
def test_the_removal_of_a_covered_folder_rings(jobs: Path) -> None:
    with watching(jobs) as (watcher, rings):
        with rings.expected():
            shutil.rmtree(jobs)
        assert watcher.cover([jobs]) is False
        assert watcher.trouble == ""


@linux
def test_hundreds_of_folders_take_one_inotify_instance_and_one_thread(tmp_path: Path) -> None:
    folders = [tmp_path / f"{number:03}" for number in range(300)]
    for folder in folders:
        folder.mkdir()
    instances, threads = inotify_instances(), threading.active_count()
    with watching(*folders) as (_, rings):
        assert inotify_instances() == instances + 1
        assert threading.active_count() == threads + 1
        for folder in folders[::50]:
            with rings.expected():
                (folder / "b.yaml").touch()
    assert inotify_instances() == instances


@linux
def test_without_an_inotify_instance_trouble_names_the_limit_until_a_cover_succeeds(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rings = Rings()
    watcher = Watcher(rings)
    with monkeypatch.context() as full:
        failing(full, "inotify_init", errno.EMFILE)
        assert watcher.cover([jobs]) is False
    assert "fs.inotify.max_user_instances" in watcher.trouble
    assert watcher.cover([jobs]) is True
    assert watcher.trouble == ""
    with rings.expected():
        (jobs / "b.yaml").touch()
    watcher.stop()


@linux
@pytest.mark.parametrize(
    ("code", "said"), [(errno.ENOSPC, "fs.inotify.max_user_watches"), (errno.EACCES, "Permission denied")]
)
def test_a_folder_refused_by_the_kernel_is_named_and_the_others_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    with watching(folders[0]) as (watcher, rings):
        with monkeypatch.context() as full:
            failing(full, "inotify_add_watch", code, lambda _, path, __: path[-1:] in b"bc")
            assert watcher.cover(folders) is True
            assert watcher.cover(folders) is False
        assert said in watcher.trouble
        assert f"{tmp_path}/b and 1 more" in watcher.trouble
        with rings.expected():
            (folders[3] / "b.yaml").touch()
        assert watcher.cover(folders) is True
        assert watcher.trouble == ""
        with rings.expected():
            (folders[1] / "b.yaml").touch()


@linux
def test_lost_events_ring_and_are_told_as_trouble_until_the_next_cover(jobs: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("the kernel's queue is too long to fill here")
    stuck, go_on, overflowed = threading.Event(), threading.Event(), threading.Event()

    def changed() -> None:
        stuck.set()
        go_on.wait(PATIENCE_S)
        if "overflowed" in watcher.trouble:
            overflowed.set()

    watcher = Watcher(changed)
    watcher.cover([jobs])
    (jobs / "b.yaml").touch()
    assert stuck.wait(PATIENCE_S)
    for _ in range(limit // 2 + 4_000):  # alternating: equal events in a row count as one
        os.utime(jobs / "a.yaml")
        os.utime(jobs / "b.yaml")
    go_on.set()
    assert overflowed.wait(PATIENCE_S)
    assert watcher.cover([jobs]) is False
    assert watcher.trouble == ""
    watcher.stop()


@pytest.mark.usefixtures("either")
def test_a_callback_that_raises_is_logged_and_called_again(jobs: Path, caplog: pytest.LogCaptureFixture) -> None:
    rings = Rings()

    def changed() -> None:
        rings()
        raise ValueError("bad day")

    watcher = Watcher(changed)
    watcher.cover([jobs])
    for name in ("b.yaml", "c.yaml"):
        with rings.expected():
            (jobs / name).touch()
    watcher.stop()
    assert "bad day" in caplog.text


@linux
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_reader_is_trouble_and_the_next_cover_starts_another(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, instances = set(threading.enumerate()), inotify_instances()

    def die(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    with watching(jobs) as (watcher, rings):
        with monkeypatch.context() as broken:
            broken.setattr(f"{INOTIFY}.InotifyFD.handle_event", die)
            (reader,) = set(threading.enumerate()) - threads
            (jobs / "b.yaml").touch()
            reader.join(PATIENCE_S)
        assert "died" in watcher.trouble
        assert watcher.cover([jobs]) is True
        assert watcher.trouble == ""
        with rings.expected():
            (jobs / "c.yaml").touch()
    assert inotify_instances() == instances


@pytest.mark.usefixtures("either")
def test_stop_may_be_repeated_and_leaves_no_thread_and_no_instance_behind(jobs: Path) -> None:
    threads = set(threading.enumerate())
    instances = inotify_instances() if sys.platform == "linux" else 0
    watcher = Watcher(Rings())
    watcher.stop()
    with watching(jobs, jobs.parent) as (watcher, _):
        watcher.stop()
        watcher.stop()
        assert watcher.cover([jobs]) is False
        assert watcher.trouble == ""
    assert set(threading.enumerate()) == threads
    if sys.platform == "linux":
        assert inotify_instances() == instances


@linux
def test_stopping_and_uncovering_ring_nothing(jobs: Path) -> None:
    rung: list[str] = []
    watcher = Watcher(lambda: rung.append(watcher.trouble))
    watcher.cover([jobs, jobs.parent])
    watcher.cover([jobs])
    watcher.stop()
    assert rung == []
