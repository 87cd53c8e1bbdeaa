from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.formats import jobfile
from scheduler.core.formats.jobfile import JobFile, read_job_file
from scheduler.core.values.facts import Fault, Task
from scheduler.core.values.settings import Limits, RunnerSpec, Settings, TaskInput
from scheduler.core.values.spec import JobSpec, Schedule
from scheduler.root import reading
from scheduler.root.files import WorkingTree
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.root.reading import identities, read_file, read_source
from scheduler.root.tasks import check_text, guessed_text, read_task

SETTINGS = Settings(
    runners={"sh": RunnerSpec(name="sh", command=("sh", "{task_file}"), input=TaskInput.FILE)},
    limits=Limits(task_bytes=1000),
)


def reason(found: object) -> str:
    assert isinstance(found, Fault), found
    return found.reason


def message(found: object) -> str:
    assert isinstance(found, Fault), found
    return found.message


def spec(job_id: str = "a", task_source_path: str | None = None) -> JobSpec:
    schedule = Schedule(timezone="UTC", cron="0 * * * *")
    return JobSpec(id=job_id, name=job_id, schedule=schedule, runner="sh", task_source_path=task_source_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    where = tmp_path / "root"
    (where / "prompts").mkdir(parents=True)
    (where / "prompts/a.md").write_bytes(b"do it\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"hunter2")
    return where


# -- reading safely --------------------------------------------------------------------------


def test_a_regular_file_is_read_whole(root: Path) -> None:
    data = bytes(range(256)) * 10_000
    (root / "prompts/a.md").write_bytes(data)
    assert read_file(root, "prompts/a.md", limit=len(data)) == data


def test_one_byte_over_the_limit_is_too_large(root: Path) -> None:
    assert read_file(root, "prompts/a.md", limit=6) == b"do it\n"
    assert reason(read_file(root, "prompts/a.md", limit=5)) == "source_too_large"


def test_a_file_that_grows_past_the_limit_is_read_no_further(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "prompts/a.md").write_bytes(b"x" * 10)
    asked: list[int] = []

    def endless(_: int, count: int) -> bytes:
        asked.append(count)
        return b"x" * count

    monkeypatch.setattr(os, "read", endless)
    assert reason(read_file(root, "prompts/a.md", limit=20)) == "source_too_large"
    assert asked == [21]


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "..", "../outside/secret", "prompts/../../outside/secret", "prompts/../prompts/a.md"),
        *("./prompts/a.md", "prompts/./a.md", ".env", "prompts/.hidden/x", "", "prompts//a.md", "prompts/"),
    ],
)
def test_a_path_that_is_not_plainly_below_the_root_is_refused(root: Path, path: str) -> None:
    (root / ".env").write_bytes(b"secret")
    assert reason(read_file(root, path, limit=100)) == "source_outside_root"


@pytest.mark.parametrize("path", ["gone.md", "gone/a.md", "prompts/a.md/deeper"])
def test_what_is_not_there_is_missing(root: Path, path: str) -> None:
    assert reason(read_file(root, path, limit=100)) == "source_missing"


def test_a_root_that_is_gone_has_no_files(tmp_path: Path) -> None:
    assert reason(read_file(tmp_path / "gone", "a", limit=100)) == "source_missing"


@pytest.mark.parametrize("path", ["a\0b", "a\udfffb"])
def test_a_name_no_file_can_have_is_unreadable(root: Path, path: str) -> None:
    assert reason(read_file(root, path, limit=100)) == "source_unreadable"


def test_a_link_that_stays_inside_is_read_under_its_real_path(root: Path) -> None:
    (root / "link.md").symlink_to("prompts/a.md")
    (root / "folder").symlink_to(root / "prompts")
    (root / "prompts/again.md").symlink_to("../link.md")
    for path in ("link.md", "folder/a.md", "folder/again.md"):
        found = read_source(root, path, limit=100)
        assert not isinstance(found, Fault)
        assert (found.path, found.data) == ("prompts/a.md", b"do it\n")


def test_the_root_itself_may_be_reached_by_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    (root / "link.md").symlink_to("prompts/a.md")
    assert read_file(tmp_path / "alias", "prompts/a.md", limit=100) == b"do it\n"
    assert read_file(tmp_path / "alias", "link.md", limit=100) == b"do it\n"


@pytest.mark.parametrize("target", ["../outside/secret", "/etc/passwd", "/proc/self/environ", "../outside/not-there"])
def test_a_link_that_leaves_the_root_is_refused_without_a_word_of_its_content(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    found = read_file(root, "link", limit=100)
    assert reason(found) == "source_outside_root"
    assert "hunter2" not in message(found)


def test_a_linked_folder_that_leaves_the_root_is_refused(root: Path) -> None:
    (root / "folder").symlink_to("../outside")
    assert reason(read_file(root, "folder/secret", limit=100)) == "source_outside_root"


def test_a_link_to_a_sibling_whose_name_starts_like_the_roots_leaves_the_root(root: Path) -> None:
    twin = root.with_name("root-twin")
    twin.mkdir()
    (twin / "a").write_bytes(b"x")
    (root / "link").symlink_to(twin / "a")
    assert reason(read_file(root, "link", limit=100)) == "source_outside_root"


def test_a_link_into_a_hidden_folder_is_refused(root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git/config").write_bytes(b"x")
    (root / "link").symlink_to(".git/config")
    assert reason(read_file(root, "link", limit=100)) == "source_outside_root"


@pytest.fixture
def mounted(root: Path) -> Path:
    """A folder as Kubernetes mounts a ConfigMap."""
    (root / "cfg/..2024_11").mkdir(parents=True)
    (root / "cfg/..2024_11/a.md").write_bytes(b"v1\n")
    (root / "cfg/..data").symlink_to("..2024_11")
    (root / "cfg/a.md").symlink_to("..data/a.md")
    return root


def swap_version(root: Path, version: str, data: bytes) -> None:
    (root / "cfg" / version).mkdir()
    (root / "cfg" / version / "a.md").write_bytes(data)
    before = (root / "cfg/..data").readlink()
    (root / "cfg/..data_tmp").symlink_to(version)
    (root / "cfg/..data_tmp").replace(root / "cfg/..data")
    shutil.rmtree(root / "cfg" / before)


def test_a_file_of_a_mounted_volume_is_known_by_its_path_without_the_version(mounted: Path) -> None:
    (mounted / "elsewhere.md").symlink_to("cfg/a.md")
    for path in ("cfg/a.md", "elsewhere.md"):
        found = read_source(mounted, path, limit=100)
        assert not isinstance(found, Fault)
        assert (found.path, found.real, found.data) == ("cfg/a.md", "cfg/..2024_11/a.md", b"v1\n")
    swap_version(mounted, "..2024_12", b"v2\n")
    found = read_source(mounted, "cfg/a.md", limit=100)
    assert not isinstance(found, Fault)
    assert (found.path, found.real, found.data) == ("cfg/a.md", "cfg/..2024_12/a.md", b"v2\n")


def test_nobody_names_a_version_and_no_other_hidden_file_is_reached_through_one(mounted: Path) -> None:
    (mounted / "cfg/..2024_11/.env").write_bytes(b"hunter2")
    (mounted / "cfg/..2024_11/.git").mkdir()
    (mounted / "cfg/..2024_11/.git/config").write_bytes(b"hunter2")
    (mounted / "cfg/..2024_11/b.md").write_bytes(b"hunter2")
    (mounted / "cfg/...").mkdir()
    (mounted / "cfg/.../c.md").write_bytes(b"hunter2")
    (mounted / "cfg/env").symlink_to("..data/.env")
    (mounted / "cfg/config").symlink_to("..data/.git/config")
    (mounted / "cfg/other-name.md").symlink_to("..data/b.md")
    (mounted / "outside-of-it.md").symlink_to("cfg/..data/b.md")
    (mounted / "dots.md").symlink_to("cfg/.../c.md")
    written = ("cfg/..data/a.md", "cfg/..2024_11/a.md", "..data/a.md")
    linked = ("cfg/env", "cfg/config", "cfg/other-name.md", "outside-of-it.md", "dots.md")
    for path in (*written, *linked):
        found = read_file(mounted, path, limit=100)
        assert reason(found) == "source_outside_root", path
        assert "hidden component" in message(found)


def test_while_versions_are_swapped_every_read_is_one_of_them_whole(mounted: Path) -> None:
    stop = threading.Event()

    def swap() -> None:
        n = 0
        while not stop.is_set():
            swap_version(mounted, f"..v{(n := n + 1)}", b"%d\n" % n * 50)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        last = 0
        for _ in range(400):
            found = read_source(mounted, "cfg/a.md", limit=10_000)
            if isinstance(found, Fault):
                assert found.reason == "source_changed", "never missing, never refused"
                continue
            texts = set(found.data.split())
            assert len(texts) == 1
            text = texts.pop()
            if text != b"v1":
                assert int(text) >= last, "never an earlier one again"
                last = int(text)
    finally:
        stop.set()
        thread.join()
    assert last > 1


def test_a_dangling_link_inside_is_missing_and_a_loop_is_unreadable(root: Path) -> None:
    (root / "dangling").symlink_to("gone.md")
    (root / "loop").symlink_to("loop")
    assert reason(read_file(root, "dangling", limit=100)) == "source_missing"
    assert reason(read_file(root, "loop", limit=100)) == "source_unreadable"


def test_the_state_folder_is_closed_whatever_it_is_called(root: Path, tmp_path: Path) -> None:
    state = root / "state"
    (state / "runs").mkdir(parents=True)
    (state / "runs/out").write_bytes(b"x")
    (root / "link").symlink_to("state/runs/out")
    (tmp_path / "alias").symlink_to(state)
    for forbidden in (state, tmp_path / "alias"):
        for path in ("state/runs/out", "link"):
            assert reason(read_file(root, path, limit=100, forbidden=identities([forbidden]))) == "source_outside_root"
    assert read_file(root, "link", limit=100, forbidden=identities([root / "other"])) == b"x"


def test_the_state_folder_is_closed_under_another_name_that_the_file_system_gives_it(root: Path) -> None:
    """As a case-insensitive one does: here by a mount of the same folder elsewhere."""
    for name in ("state", "STATE", "prompts/deep"):
        (root / name).mkdir()
    (root / "state/secret").write_bytes(b"hunter2")
    look = (
        "import sys; from pathlib import Path; from scheduler.root.reading import identities, read_source\n"
        "root = Path(sys.argv[1]); closed = identities([root / 'state'])\n"
        "for path in ('STATE/secret', 'prompts/deep/secret'):\n"
        "    print(read_source(root, path, limit=9, forbidden=closed))"
    )
    mounts = 'mount --bind "$1/state" "$1/STATE" && mount --bind "$1/state" "$1/prompts/deep" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-Urm", "sh", "-euc", mounts, "sh", str(root), sys.executable, look]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(reading.__file__).parents[1])
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if done.returncode:
        pytest.skip(f"needs a mount of its own: {done.stderr}")
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("is in the state folder" in line and "hunter2" not in line for line in lines)


@pytest.mark.parametrize("end", ["", "-shm"])
def test_a_database_that_is_asked_for_as_a_task_keeps_the_locks_of_this_process(
    root: Path, tmp_path: Path, end: str
) -> None:
    """POSIX: whoever closes any descriptor of a file loses all locks on it, and SQLite would never know."""
    database = tmp_path / "state.db"
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {'wal' if end else 'delete'}")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("BEGIN IMMEDIATE")
    (root / "hard").hardlink_to(f"{database}{end}")
    closed = identities([database, Path(f"{database}-shm")])
    assert reason(read_file(root, "hard", limit=100_000, forbidden=closed)) == "source_outside_root"
    intrude = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    second = subprocess.run([sys.executable, "-c", intrude, database], capture_output=True, text=True)
    assert "database is locked" in second.stderr
    connection.close()


def test_only_regular_files_are_read_and_a_fifo_does_not_block(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        here = os.open(".", os.O_RDONLY)
        os.chdir(root)  # a socket's name has room for 100 bytes
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
            os.close(here)
        for path in ("fifo", "folder", "socket"):
            found = read_file(root, path, limit=100)
            assert reason(found) == "source_not_regular"
            assert path in message(found)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.EACCES, "source_denied"), (errno.EPERM, "source_denied"), (errno.EIO, "source_unreadable")],
)
def test_what_the_system_refuses_has_its_own_reason(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: str
) -> None:
    real = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a.md":
            raise OSError(code, os.strerror(code))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert reason(read_file(root, "prompts/a.md", limit=100)) == expected


def test_no_descriptor_is_left_open(root: Path) -> None:
    (root / "link").symlink_to("prompts/a.md")
    (root / "out").symlink_to("../outside/secret")
    os.mkfifo(root / "fifo")
    before = os.listdir("/dev/fd")  # noqa: PTH208
    for path in ("prompts/a.md", "link", "out", "fifo", "gone", "prompts/gone", "prompts", "a\0"):
        read_file(root, path, limit=100)
        read_file(root, path, limit=1)
    assert os.listdir("/dev/fd") == before  # noqa: PTH208


# -- unchanged while read --------------------------------------------------------------------

Meanwhile = Callable[[Callable[[], object], int], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Does something right after each of the first `times` reads."""
    monkeypatch.setattr(reading, "_PAUSE_S", 0)
    real = os.read

    def install(action: Callable[[], object], times: int) -> None:
        left = [times]

        def read(file: int, count: int) -> bytes:
            data = real(file, count)
            if left[0]:
                left[0] -= 1
                action()
            return data

        monkeypatch.setattr(os, "read", read)

    return install


def rewritten(path: Path) -> Callable[[], object]:
    return lambda: path.write_bytes(b"another text\n")


def replaced(path: Path) -> Callable[[], object]:
    def action() -> None:
        path.with_name("new").write_bytes(b"another text\n")
        path.with_name("new").replace(path)

    return action


def folder_swapped(path: Path) -> Callable[[], object]:
    def action() -> None:
        if not path.parent.with_name("old").exists():
            path.parent.rename(path.parent.with_name("old"))
            path.parent.mkdir()
        replaced(path)()

    return action


@pytest.mark.parametrize("change", [rewritten, replaced, folder_swapped])
def test_a_file_changed_while_it_was_read_is_read_again(
    root: Path, meanwhile: Meanwhile, change: Callable[[Path], Callable[[], object]]
) -> None:
    meanwhile(change(root / "prompts/a.md"), 1)
    assert read_file(root, "prompts/a.md", limit=100) == b"another text\n"


def test_a_file_that_keeps_changing_is_given_up(root: Path, meanwhile: Meanwhile) -> None:
    meanwhile(replaced(root / "prompts/a.md"), 1000)
    assert reason(read_file(root, "prompts/a.md", limit=100)) == "source_changed"


def test_a_change_that_restores_size_and_mtime_is_seen(root: Path, meanwhile: Meanwhile) -> None:
    path = root / "prompts/a.md"
    os.utime(path, ns=(1, 1))

    before = path.stat().st_ctime_ns

    def sly() -> None:
        path.write_bytes(b"DO IT\n")
        while path.stat().st_ctime_ns <= before:  # the file system's clock ticks every few milliseconds
            os.utime(path, ns=(1, 1))
        os.utime(path, ns=(1, 1))

    meanwhile(sly, 1)
    assert read_file(root, "prompts/a.md", limit=100) == b"DO IT\n"


def test_a_file_removed_while_it_was_read_is_missing(root: Path, meanwhile: Meanwhile) -> None:
    meanwhile((root / "prompts/a.md").unlink, 1)
    assert reason(read_file(root, "prompts/a.md", limit=100)) == "source_missing"


def test_a_read_that_ends_before_the_file_does_is_not_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PAUSE_S", 0)
    real = os.read
    answers = [b"do", b""]  # as if it were emptied and written again within one tick of the file system's clock
    monkeypatch.setattr(os, "read", lambda file, count: answers.pop(0) if answers else real(file, count))
    assert read_file(root, "prompts/a.md", limit=100) == b"do it\n"


@pytest.mark.parametrize("victim", ["prompts", "prompts/a.md"])
def test_a_name_swapped_for_a_link_after_it_was_looked_at_leads_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    """Each time it is looked at it is plain, each time it is opened it is a link."""
    monkeypatch.setattr(reading, "_PAUSE_S", 0)
    outside = root.parent / "outside"
    (outside / "a.md").write_bytes(b"hunter2")
    where, was = root / victim, root / "was"
    target = outside if victim == "prompts" else outside / "a.md"
    open_ = os.open

    def open_swapped(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path != where.name or dir_fd is None:
            return open_(path, flags, mode, dir_fd=dir_fd)
        where.rename(was)
        where.symlink_to(target)
        try:
            return open_(path, flags, mode, dir_fd=dir_fd)
        finally:
            where.unlink()
            was.rename(where)

    monkeypatch.setattr(os, "open", open_swapped)
    assert reason(read_file(root, "prompts/a.md", limit=100)) == "source_changed"


# -- what may be a task ----------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"x", "\ufeffé\n".encode(), b"a\0b", b"---\nid: a\n---\n", b"=======\n"])
def test_plain_text_may_be_a_task(data: bytes) -> None:
    assert check_text(data) is None


def test_text_that_is_not_utf8_is_refused_with_the_offset_and_without_the_bytes() -> None:
    found = check_text(b"secret\xff\xfe")
    assert found == Fault(reason="source_not_utf8", message="not valid UTF-8 at byte offset 6")


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", "\ufeff\n".encode(), "\u00a0\u2003".encode()])
def test_a_text_of_nothing_but_white_space_is_empty(data: bytes) -> None:
    assert reason(check_text(data)) == "source_empty"


CONFLICT = "a\n<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> branch\nb\n"


@pytest.mark.parametrize("text", [CONFLICT, CONFLICT.replace("\n", "\r\n"), CONFLICT.replace("ours\n", "||||||| x\n")])
def test_a_merge_conflict_is_refused_at_its_first_line(text: str) -> None:
    found = check_text(text.encode())
    assert found == Fault(reason="source_conflict_markers", message="merge-conflict markers from line 2")


@pytest.mark.parametrize(
    "text",
    [
        "<<<<<<< a\n>>>>>>> b\n",
        "=======\n<<<<<<< a\n>>>>>>> b\n",
        "<<<<<<< a\n>>>>>>> b\n=======\n",
        "<<<<<<< a\n======== \n>>>>>>> b\n",
        "<<<<<<< a\n=======x\n>>>>>>> b\n",
        "<<<<<<<\n=======\n>>>>>>> b\n",
        "<<<<<<< a\n=======\n>>>>>>>\n",
        " <<<<<<< a\n =======\n >>>>>>> b\n",
        "<<<<<<< a\n=======\n",
    ],
)
def test_lines_that_only_resemble_a_conflict_are_text(text: str) -> None:
    assert check_text(text.encode()) is None


@pytest.mark.parametrize("text", [CONFLICT, CONFLICT.replace("\n", "\r\n")])
@pytest.mark.parametrize(
    ("before", "after", "is_text"),
    [
        ("```\n", "```\n", True),
        ("~~~~ diff\n", "~~~~~\n", True),
        ("   ```text\n", "  ```\n", True),
        ("# How to merge\n\n```\n", "```\n\nand so on\n", True),
        ("```\n", "", False),  # a fence that never closes
        ("```\n", "~~~\n", False),
        ("````\n", "```\n", False),
        ("```\nx\n```\n", "```\nx\n```\n", False),  # between two fences
        ("``` a`b\n", "```\n", False),
        ("    ```\n", "    ```\n", False),  # an indented block
        ("```\n", f"```\n{CONFLICT}", False),  # an example, and a real one behind it
        (f"```\n{CONFLICT}{CONFLICT}", "```\n", True),
    ],
)
def test_a_conflict_inside_one_fence_is_text(text: str, before: str, after: str, is_text: bool) -> None:
    assert (check_text((before + text + after).encode()) is None) == is_text


@pytest.mark.parametrize(
    "text",
    [
        "<<<<<<< a\n```\nours\n=======\n```\ntheirs\n>>>>>>> b\n```\n",
        "```\n<<<<<<< a\nours\n```\n=======\n```\n>>>>>>> b\n```\n",
        "```\n<<<<<<< a\n=======\n```\n>>>>>>> b\n",
    ],
)
def test_a_conflict_that_crosses_a_fence_is_none_that_it_shows(text: str) -> None:
    assert reason(check_text(text.encode())) == "source_conflict_markers"


LINES = st.sampled_from(["<<<<<<< a", "=======", ">>>>>>> b", "x", "<<<<<<<", "========"])


@given(st.lists(LINES, max_size=8))
def test_conflict_markers_count_in_order_with_anything_between(lines: list[str]) -> None:
    expected = any(
        lines[i].startswith("<<<<<<< ") and lines[j] == "=======" and lines[k].startswith(">>>>>>> ")
        for i in range(len(lines))
        for j in range(i + 1, len(lines))
        for k in range(j + 1, len(lines))
    )
    found = check_text("\n".join([*lines, "end"]).encode())
    assert (found is not None) == expected


# -- the task of a job -----------------------------------------------------------------------


def disk(root: Path, state: str = ".scheduler") -> WorkingTree:
    return WorkingTree(Place(root=root, state=root / state, db=root / state / "state.db"))


def test_a_task_file_is_the_task_whole_with_its_front_matter(root: Path) -> None:
    data = b"---\nid: not-a-job\n---\nbody\r\n"
    (root / "prompts/a.md").write_bytes(data)
    found = read_task(disk(root), spec(task_source_path="prompts/a.md"), "jobs/a.yaml", SETTINGS)
    assert found == Task(text=data, source_path="prompts/a.md", source=data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff", "source_not_utf8"),
        (b"", "source_empty"),
        (CONFLICT.encode(), "source_conflict_markers"),
        (b"x" * 1001, "source_too_large"),
    ],
)
def test_a_task_file_that_is_no_task_is_a_fault(root: Path, data: bytes, expected: str) -> None:
    (root / "prompts/a.md").write_bytes(data)
    assert reason(read_task(disk(root), spec(task_source_path="prompts/a.md"), "jobs/a.yaml", SETTINGS)) == expected


def test_a_task_file_in_the_state_folder_is_refused(root: Path) -> None:
    found = read_task(disk(root, state="prompts"), spec(task_source_path="prompts/a.md"), "j.yaml", SETTINGS)
    assert reason(found) == "source_outside_root"


def yaml(job_id: str, task: str) -> str:
    return f'id: {job_id}\nschedule: "0 * * * *"\nrunner: sh\ntask: |\n  {task}\n'


def job_file(root: Path, text: str, name: str = "job.yaml") -> bytes:
    (root / name).write_bytes(text.encode())
    return text.encode()


def test_an_inline_task_comes_from_the_one_document_with_the_jobs_id(root: Path) -> None:
    source = job_file(root, yaml("a", "first") + "---\n" + yaml("b", "second"))
    found = read_task(disk(root), spec("b"), "job.yaml", SETTINGS)
    assert found == Task(text=b"second\n", source_path="job.yaml", source=source)


def test_a_markdown_body_is_the_task(root: Path) -> None:
    source = job_file(root, '---\nid: a\nschedule: "0 * * * *"\nrunner: sh\n---\nDo it.\n', "job.md")
    found = read_task(disk(root), spec("a"), "job.md", SETTINGS)
    assert found == Task(text=b"Do it.\n", source_path="job.md", source=source)


def test_the_text_is_read_from_disk_every_time(root: Path) -> None:
    job_file(root, yaml("a", "first"))
    read_task(disk(root), spec(), "job.yaml", SETTINGS)
    job_file(root, yaml("a", "second"))
    found = read_task(disk(root), spec(), "job.yaml", SETTINGS)
    assert isinstance(found, Task)
    assert found.text == b"second\n"


def test_a_file_that_was_parsed_is_parsed_again_only_where_it_or_the_settings_are_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = Parsed()
    times: list[str] = []

    def counted(path: str, data: bytes, settings: Settings) -> JobFile:
        times.append(path)
        return read_job_file(path, data, settings)

    monkeypatch.setattr(jobfile, "read_job_file", counted)

    def text(settings: Settings = SETTINGS) -> bytes:
        found = read_task(disk(root), spec(), "job.yaml", settings, parsed=parsed)
        assert isinstance(found, Task)
        return found.text

    def a_pass(settings: Settings = SETTINGS) -> None:
        source = read_source(root, "job.yaml", limit=1000)
        assert not isinstance(source, Fault)
        parsed.start(settings)
        parsed.read(source, source.sha256, settings)

    job_file(root, yaml("a", "first"))
    assert (text(), len(times)) == (b"first\n", 1)
    a_pass()
    assert (text(), len(times)) == (b"first\n", 2)
    job_file(root, yaml("a", "other"))
    assert (text(), len(times)) == (b"other\n", 3)
    a_pass()
    assert (text(), len(times)) == (b"other\n", 4)
    others = replace(SETTINGS, defaults={"owner": "me"})
    assert (text(others), len(times)) == (b"other\n", 5)
    parsed.start(others)
    assert (text(), len(times)) == (b"other\n", 6)


@pytest.mark.parametrize(
    "text",
    [
        yaml("other", "x"),
        yaml("a", "x") + "---\n" + yaml("a", "y"),
        'id: a\nschedule: "0 * * * *"\nrunner: sh\ntask_source_path: prompts/a.md\n',
        "id: a\n  broken: [\n",
    ],
)
def test_a_job_file_without_exactly_one_text_for_the_job_is_invalid(root: Path, text: str) -> None:
    job_file(root, text)
    assert reason(read_task(disk(root), spec(), "job.yaml", SETTINGS)) == "source_invalid"


def test_a_conflict_anywhere_in_a_job_file_is_its_reason(root: Path) -> None:
    job_file(root, yaml("a", "x") + "---\n" + CONFLICT)
    assert reason(read_task(disk(root), spec(), "job.yaml", SETTINGS)) == "source_conflict_markers"


def test_the_task_limit_counts_the_text_and_not_the_job_file(root: Path) -> None:
    job_file(root, f"# {'c' * 2000}\n" + yaml("a", "x" * 999))
    assert isinstance(read_task(disk(root), spec(), "job.yaml", SETTINGS), Task)
    job_file(root, yaml("a", "x" * 1000))
    assert reason(read_task(disk(root), spec(), "job.yaml", SETTINGS)) == "source_too_large"


def test_a_job_file_over_one_mebibyte_is_too_large(root: Path) -> None:
    job_file(root, yaml("a", "x") + "#" * 1024 * 1024)
    assert reason(read_task(disk(root), spec(), "job.yaml", SETTINGS)) == "source_too_large"


def test_an_inline_task_of_white_space_is_empty(root: Path) -> None:
    job_file(root, '---\nid: a\nschedule: "0 * * * *"\nrunner: sh\n---\n \n', "job.md")
    assert reason(read_task(disk(root), spec(), "job.md", SETTINGS)) in {"source_empty", "source_invalid"}


def test_a_job_file_that_is_gone_is_missing(root: Path) -> None:
    assert reason(read_task(disk(root), spec(), "job.yaml", SETTINGS)) == "source_missing"


def test_reading_opens_nothing_for_writing(root: Path) -> None:
    (root / "prompts/a.md").chmod(stat.S_IRUSR)
    assert read_file(root, "prompts/a.md", limit=100) == b"do it\n"


HEAD = b"id: a\nschedule: {every: 1h}\n"
USUAL = {
    "a line": HEAD + b"task: say hello\n",
    "the last line": HEAD + b"task: say hello",
    "in quotes": HEAD + b"task: 'say: hello'\nname: x\n",
    "in double quotes": HEAD + b'task: "say: hello"\n',
    "a block": HEAD + b"task: |\n  say\n    hello\n\n  twice\n\nname: x\n",
    "a block without its line end": HEAD + b"task: |-\n    say\n    hello\n",
    "the second document": HEAD + b"task: other\n---\nid: b\nschedule: {every: 1h}\ntask: say hello\n",
    "Markdown": b"---\n" + HEAD + b"---\n# Hello\n\n---\n\nSay it.\n",
}


def texts_of(data: bytes) -> list[bytes]:
    name = "a.md" if data.startswith(b"---\nid") else "a.yaml"
    found = read_job_file(name, data, replace(SETTINGS, defaults={"runner": "sh"}))
    return [each.text for each in found.documents if each.text is not None]


@pytest.mark.parametrize("data", USUAL.values(), ids=USUAL)
def test_a_text_that_is_written_as_usual_is_found_without_the_parser(data: bytes) -> None:
    text = texts_of(data)[-1]
    assert guessed_text(data, hashlib.sha256(text).hexdigest()) == text


@pytest.mark.parametrize(
    "task",
    [b"task: >\n  say\n  hello\n", b"task: say\n  hello\n", b'task: "say\\n"\n', b"task: 'it''s'\n", b"task: a # b\n"],
)
def test_a_text_that_is_written_otherwise_is_left_to_the_parser(task: bytes) -> None:
    (text,) = texts_of(HEAD + task)
    assert guessed_text(HEAD + task, hashlib.sha256(text).hexdigest()) is None


@given(
    st.lists(
        st.sampled_from([b"task:", b" |", b"|-", b"\n", b"  ", b"a", b"'", b'"', b"---", b"#", b"\r"]), max_size=30
    )
)
def test_no_guess_is_believed_that_is_another_text(pieces: list[bytes]) -> None:
    wanted = hashlib.sha256(b"a").hexdigest()
    assert guessed_text(b"".join(pieces), wanted) in (None, b"a")
