"""Tasks that cannot be read when their job fires: each a skip with its reason, told as a fault; not a byte leaks."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.facts import Fault
from scheduler.root import reading
from scheduler.root.reading import read_source
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import until

SECRET = "hunter2-correct-horse"
ROOT_FILE = """\
version: 1
defaults: {runner: cat}
runners: {cat: {command: [cat]}}
limits: {task_bytes: 64KiB}
"""


def link(to: str) -> Callable[[Path], None]:
    def make(task: Path) -> None:
        task.symlink_to(to.format(outside=task.parents[2] / "outside"))

    return make


def link_folder(task: Path) -> None:
    task.parent.rmdir()
    task.parent.symlink_to(task.parents[3] / "outside")


def make_device(task: Path) -> None:
    try:
        os.mknod(task, 0o644 | stat.S_IFCHR, os.makedev(1, 5))
    except OSError:  # needs a right that containers do not give: a socket is as little a file
        make_socket(task)


def make_socket(task: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(task.parent)  # a socket's name has room for 100 bytes
        listener.bind(task.name)


def hold(data: bytes, mode: int = 0o644) -> Callable[[Path], None]:
    def make(task: Path) -> None:
        task.write_bytes(data)
        task.chmod(mode)

    return make


def version(task: Path) -> None:
    """A link through such a folder as a mounted volume has, to a file that has another name there."""
    (task.parent / "..v1").mkdir()
    (task.parent / "..v1/other.md").write_text(SECRET)
    task.symlink_to("..v1/other.md")


def hard_link(task: Path) -> None:
    task.hardlink_to(task.parents[1] / "db/state.db")


CONFLICT = f"a\n<<<<<<< ours\n{SECRET}\n=======\nb\n>>>>>>> theirs\n".encode()

# What stands at tasks/NAME.md when NAME fires, the reason of its skip, and a part of what is said.
FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "missing": (lambda task: None, "source_missing", "does not exist"),
    "dangling": (link("gone.md"), "source_missing", "does not exist"),
    "fifo": (os.mkfifo, "source_not_regular", "a FIFO"),
    "device": (make_device, "source_not_regular", "not a regular file"),
    "socket": (make_socket, "source_not_regular", "a socket"),
    "folder": (Path.mkdir, "source_not_regular", "a folder"),
    "absolute": (link("{outside}/secret.md"), "source_outside_root", "leads outside the root"),
    "upwards": (link("../../outside/secret.md"), "source_outside_root", "leads outside the root"),
    "dev": (link("/dev/zero"), "source_outside_root", "leads outside the root"),
    "environ": (link("/proc/self/environ"), "source_outside_root", "leads outside the root"),
    "loop": (link("loop.md"), "source_unreadable", "cannot be read"),
    "git": (link("../.git/config"), "source_outside_root", "hidden component"),
    "git-case": (link("../.GIT/config"), "source_outside_root", "hidden component"),
    "state": (link("../data/secret.md"), "source_outside_root", "state folder"),
    "database": (link("../db/state.db"), "source_outside_root", "the scheduler's own database"),
    "hard-link": (hard_link, "source_outside_root", "the scheduler's own database"),
    "owners": (link("../db/owners/x"), "source_outside_root", "state folder"),
    "version": (version, "source_outside_root", "hidden component"),
    "large": (hold(SECRET.encode() * 5000), "source_too_large", "larger than 65,536 bytes"),
    "binary": (hold(SECRET.encode() + b"\xff"), "source_not_utf8", "not valid UTF-8 at byte offset 21"),
    "conflict": (hold(CONFLICT), "source_conflict_markers", "merge-conflict markers from line 2"),
    "empty": (hold(b" \n"), "source_empty", "empty or only whitespace"),
    "denied": (hold(SECRET.encode(), 0), "source_denied", "permission denied"),
}
# The same of a file that holds job and task: the definition stays, and the text cannot be taken from anywhere.
INLINE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "inline-fifo": (os.mkfifo, "source_not_regular", "a FIFO"),
    "inline-link": (link("{outside}/secret.md"), "source_outside_root", "leads outside the root"),
    "inline-git": (link("../.git/config"), "source_outside_root", "hidden component"),
    "inline-denied": (hold(SECRET.encode(), 0), "source_denied", "permission denied"),
    "inline-invalid": (hold(f"---\nid: [\n---\n{SECRET}\n".encode()), "source_invalid", "cannot be parsed"),
}
ELSEWHERE: dict[str, tuple[str, Callable[[Path], None] | None, str, str]] = {
    "deep": ("tasks/sub/secret.md", link_folder, "source_outside_root", "leads outside the root"),
    # Allowed when the job was made; then --state came to name the folder.
    "claimed": ("data/secret.md", None, "source_outside_root", "state folder"),
}


@contextlib.contextmanager
def without_a_pass_for_all() -> Iterator[Callable[[], None] | None]:
    """What a child of the superuser does first, so that it too may be denied a file."""
    if os.geteuid() != 0:
        yield None
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def drop() -> None:
        for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH; PR_CAPBSET_DROP
            libc.prctl(24, right, 0, 0, 0)

    yield drop


# In a process of its own: a thread of this one would take turns with the test.
SWAP = """
import os, sys
task, secret = sys.argv[1:]
beside = os.path.join(os.path.dirname(task), ".swap")
while True:
    with open(beside, "w") as file:
        file.write("inside\\n")
    os.replace(beside, task)
    os.symlink(secret, beside)
    os.replace(beside, task)
"""


@contextlib.contextmanager
def meanwhile(script: str, *paths: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-S", "-c", script, *map(str, paths)])
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """One job, synced."""
    root = Root(path=tmp_path / "root", clock=None)  # type: ignore[arg-type]
    root.write("scheduler.yaml", ROOT_FILE)
    root.write("tasks/a.md", "good\n")
    root.write("jobs/a.yaml", "id: a\nschedule: '@daily'\ntask_source_path: tasks/a.md\n")
    (tmp_path / "secret.md").write_text(SECRET)
    monkeypatch.chdir(root.path)
    root.sync()
    return root


def test_a_task_that_grows_whenever_it_is_read_is_a_skip(small: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    read, task = reading._read, small.path / "tasks/a.md"

    def grow(file: int, limit: int) -> bytes:
        data = read(file, limit)
        with task.open("a") as more:
            more.write("more\n")
        return data

    with monkeypatch.context() as patch:
        patch.setattr(reading, "_read", grow)
        found = small.cli("run", "a", "--wait", "--json")
    run = found.json["run"]
    assert (found.code, run["status"], run["reason"], run["task_sha256"]) == (1, "skipped", "source_changed", None)
    assert small.job("a")["consecutive_errors"] == 1


def test_a_path_that_no_file_may_name_is_refused_at_the_fire_too(small: Root, tmp_path: Path) -> None:
    """No sync lets one in. A database that was changed by hand, or comes from elsewhere, may hold one all the same."""
    small.git("init", "-q", "--template=")
    (small.path / ".git/secret").write_text(SECRET)
    (small.path / ".scheduler/secret").write_text(SECRET)
    (small.path / ".env").write_text(SECRET)
    bad = ("../secret.md", str(tmp_path / "secret.md"), "tasks/../../secret.md", ".git/secret", ".env")
    for path in (*bad, ".scheduler/secret", ".scheduler/state.db", "/proc/self/environ", "/dev/zero", "./tasks/a.md"):
        small.write("jobs/a.yaml", f"id: a\nschedule: '@daily'\ntask_source_path: {path}\n")
        refused = small.cli("sync", "--json")
        assert (refused.code, refused.json["updated"], len(refused.problems)) == (1, [], 1)
        assert small.job("a")["task_source_path"] == "tasks/a.md", "the last good definition stays"
        small.sql(f"UPDATE definitions SET spec = json_set(spec, '$.task_source_path', '{path}')")
        found = small.cli("run", "a", "--wait", "--json")
        run = found.json["run"]
        assert (found.code, run["status"], run["reason"]) == (1, "skipped", "source_outside_root"), path
        assert SECRET not in found.stdout + found.stderr + refused.stdout + refused.stderr
        small.sql("UPDATE definitions SET spec = json_set(spec, '$.task_source_path', 'tasks/a.md')")
    small.write("jobs/a.yaml", "id: a\nschedule: '@daily'\ntask_source_path: tasks/a.md\n")
    assert small.ok("run", "a", "--wait").stdout == "good\n"


def test_a_link_swapped_in_between_the_check_and_the_open_never_leads_out(small: Root, tmp_path: Path) -> None:
    task = small.path / "tasks/a.md"
    results: list[bytes | str] = []
    with meanwhile(SWAP, task, tmp_path / "secret.md"):
        give_up = time.monotonic() + 60
        while not ({b"inside\n", "source_outside_root"} <= set(results) and len(results) >= 2_000):
            assert time.monotonic() < give_up, set(results)
            found = read_source(small.path, "tasks/a.md", limit=100)
            results.append(found.reason if isinstance(found, Fault) else found.data)
        runs = [small.cli("run", "a", "--wait", "--json").json["run"] for _ in range(5)]
    assert set(results) <= {b"inside\n", b"good\n", "source_outside_root", "source_changed"}
    assert {run["result"] for run in runs} <= {"inside\n", None}
    assert SECRET.encode() not in small.db.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="drops a right, reads /proc")
def test_every_task_that_cannot_be_read_is_a_told_fault_and_nothing_of_it_is_seen_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Root(path=tmp_path / "root", clock=None)  # type: ignore[arg-type]
    root.write("scheduler.yaml", ROOT_FILE)
    root.write("data/secret.md", "no secret yet\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.md").write_text(SECRET)
    paths = {name: f"tasks/{name}.md" for name in FAULTS} | {name: each[0] for name, each in ELSEWHERE.items()}
    for name, path in paths.items():
        if name != "claimed":
            root.write(path, "good\n")
        root.write(f"jobs/{name}.yaml", f"id: {name}\nschedule: {{every: 1s}}\ntask_source_path: {path}\n")
    for name in INLINE:
        paths[name] = f"jobs/{name}.md"
        root.write(paths[name], f"---\nid: {name}\nschedule: {{every: 1s}}\n---\ngood\n")
    root.git("init", "-q", "--template=")
    root.git("config", "remote.origin.url", f"https://x:{SECRET}@example.com/")
    monkeypatch.chdir(root.path)
    db = ("--db", str(root.path / "db/state.db"))
    before = root.ok("sync", *db, "--json").json
    assert sorted(before["created"]) == sorted(paths)

    faults = {**FAULTS, **INLINE}
    expected = {name: each[1:] for name, each in faults.items()} | {n: e[2:] for n, e in ELSEWHERE.items()}
    makers = {name: each[0] for name, each in faults.items()} | {n: e[1] for n, e in ELSEWHERE.items() if e[1]}
    root.write("data/secret.md", SECRET)
    (root.path / "db/owners").mkdir(exist_ok=True)
    (root.path / "db/owners/x").write_text(SECRET)
    for name, make in makers.items():
        (root.path / paths[name]).unlink()
        make(root.path / paths[name])
    os.chdir(root.path)

    options = (*db, "--state", str(root.path / "data"))
    with without_a_pass_for_all() as drop:
        daemon = Served(root, *options, before=drop)
        try:

            def row(name: str) -> Any:
                found = root.json("history", name, *options)["runs"]
                return next((run for run in found if run["reason"] == expected[name][0]), None)

            rows = {name: until(functools.partial(row, name), f"the skip of {name}") for name in expected}
            for name in expected:
                daemon.says(f"run_skipped run_id={name}:")
        finally:
            daemon.process.terminate()
            daemon.ended()

    said = "".join(daemon.lines)
    listed = root.ok("list", *options).stdout
    jobs = {job["id"]: job for job in root.json("list", *options)["jobs"]}
    for name, (reason, words) in expected.items():
        run, job = rows[name], jobs[name]
        assert (run["status"], run["trigger"], run["task_sha256"], run["result"]) == ("skipped", "schedule", None, None)
        assert words in run["error"], name
        (line,) = [each for each in daemon.lines if f"run_skipped run_id={run['id']} " in each]
        assert " WARNING " in line
        assert f"reason={reason} " in line
        streak = [row for row in root.json("audit", name, *options)["audit"] if row["action"] == "failure"]
        assert streak[0]["after"]["reason"] == reason
        assert (job["consecutive_errors"] > 0, job["run_count"]) == (True, 0)
        (mark,) = [row for row in listed.splitlines() if row.startswith(f"{name} ")]
        assert "failing" in mark
        if reason == "source_denied" and os.geteuid() == 0:
            continue  # not to this process
        for left in root.json("history", name, *options)["runs"]:
            if left["status"] == "queued":  # the daemon was stopped between its claim and its start
                root.ok("cancel", left["id"], *options)
        by_hand = root.cli("run", name, "--wait", *options)
        assert (by_hand.code, words in by_hand.stderr + by_hand.stdout) == (1, True), (name, by_hand)
        said += by_hand.stdout + by_hand.stderr
    assert "could not start" in root.cli("doctor", *options).stdout

    for command in ("list", "audit", "doctor", "validate", "sync"):
        for form in ((), ("--json",)):
            found = root.cli(command, *form, *options)
            said += found.stdout + found.stderr
    assert SECRET not in said
    kept = [file for folder in ("db", "data") for file in (root.path / folder).rglob("*") if file.is_file()]
    holding = {file.name for file in kept if SECRET.encode() in file.read_bytes()}
    assert holding == {"secret.md", "x"}, "those that were put there"
