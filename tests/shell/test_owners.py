"""Locks of living and dead owners, and the processes that a dead one has left."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.ledger.owners import Owner, is_alive, tidy
from scheduler.machine.processes import Process, end_processes, identify

# Of this process alone: tests run side by side, and each looks at all processes of the machine.
RUN, OTHER = f"x-{os.getpid()}:1", f"x-{os.getpid()}:2"
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def dead(folder: Path) -> str:
    """The id of an owner that was killed, with all that it has left."""
    leave = "import os, sys; from pathlib import Path; from scheduler.ledger.owners import Owner\n"
    leave += "o = Owner(Path(sys.argv[1]));"
    leave += "o.scratch.mkdir(); (o.scratch / 'task-1').touch(); print(o.id, flush=True); os.kill(os.getpid(), 9)"
    found = subprocess.run([sys.executable, "-c", leave, str(folder)], stdout=subprocess.PIPE, text=True)
    assert found.returncode == -signal.SIGKILL
    return found.stdout.strip()


def test_what_killed_owners_have_left_is_tidied_and_a_living_one_is_let_be(tmp_path: Path) -> None:
    with Owner(tmp_path) as alive:
        alive.scratch.mkdir()
        gone = [dead(tmp_path), dead(tmp_path)]
        tidy(tmp_path)
        assert sorted(each.name for each in tmp_path.iterdir()) == [f"{alive.id}.lock", f"{alive.id}.scratch"]
        assert is_alive(tmp_path, alive.id)
        assert not any(is_alive(tmp_path, each) for each in gone)


def test_tidying_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    tidy(tmp_path / "owners")


def test_an_owner_whose_new_file_is_tidied_before_it_is_locked_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, tidied = fcntl.flock, list[bool]()

    def late(file: int, operation: int) -> None:
        if not tidied:
            tidied.append(True)
            tidy(tmp_path)
            assert list(tmp_path.iterdir()) == [], "nobody holds it yet"
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with Owner(tmp_path) as owner:
        assert is_alive(tmp_path, owner.id)
        assert [each.name for each in tmp_path.iterdir()] == [f"{owner.id}.lock"]


def test_whoever_tidies_removes_no_file_but_the_one_whose_lock_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of a dead lock and its locking somebody else may have removed it, and an owner come anew."""
    lock = tmp_path / "1-a.lock"
    lock.touch()
    flock, holders = fcntl.flock, list[int]()

    def late(file: int, operation: int) -> None:
        if not holders:
            lock.unlink()
            holders.append(os.open(lock, os.O_RDWR | os.O_CREAT))
            flock(holders[0], fcntl.LOCK_EX)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert is_alive(tmp_path, "1-a")
    assert lock.exists()
    os.close(holders[0])


def test_owners_that_start_while_others_tidy_are_alive(tmp_path: Path) -> None:
    done = threading.Event()

    def keep_tidying() -> None:
        while not done.is_set():
            tidy(tmp_path)

    threads = [threading.Thread(target=keep_tidying) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        for _ in range(300):
            with Owner(tmp_path) as owner:
                assert is_alive(tmp_path, owner.id)
    finally:
        done.set()
        for each in threads:
            each.join()
    assert list(tmp_path.iterdir()) == []


# -- processes -------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process with its own group that is no run of anybody."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


@needs_proc
@pytest.mark.parametrize(
    "changed",
    [
        lambda known: replace(known, started=(known.started or 0) - 1),
        lambda known: replace(known, boot_id="00000000-0000-0000-0000-000000000000"),
        lambda known: replace(known, started=None),
        lambda known: replace(known, boot_id=None),
    ],
    ids=["another start", "another boot", "start unknown", "boot unknown"],
)
def test_a_process_that_has_a_dead_childs_number_by_now_is_not_ended(
    stranger: subprocess.Popen[bytes], changed: Callable[[Process], Process]
) -> None:
    end_processes(changed(identify(stranger.pid)), {"SCHEDULER_RUN_ID": RUN, "SCHEDULER_ROOT": "/x"})
    with pytest.raises(subprocess.TimeoutExpired):
        stranger.wait(0.1)


@needs_proc
def test_the_very_process_is_ended_with_its_group(stranger: subprocess.Popen[bytes]) -> None:
    end_processes(identify(stranger.pid), {"SCHEDULER_RUN_ID": RUN, "SCHEDULER_ROOT": "/x"})
    assert stranger.wait(60) == -signal.SIGKILL


@needs_proc
def test_a_run_is_found_in_whatever_commits_folder_its_last_attempt_was(tmp_path: Path) -> None:
    told = {"SCHEDULER_RUN_ID": RUN, "SCHEDULER_ROOT": f"{tmp_path}/commits/2/sub"}
    with subprocess.Popen(["sleep", "1000"], env={**told, "PATH": os.defpath}, start_new_session=True) as left:
        end_processes(None, {"SCHEDULER_RUN_ID": RUN}, root_below=tmp_path / "comm")
        with pytest.raises(subprocess.TimeoutExpired):
            left.wait(0.1)
        end_processes(None, {"SCHEDULER_RUN_ID": RUN}, root_below=tmp_path / "commits")
        assert left.wait(60) == -signal.SIGKILL


@needs_proc
def test_where_the_number_is_anothers_the_run_is_still_found_by_what_it_was_told(
    stranger: subprocess.Popen[bytes],
) -> None:
    told = {"SCHEDULER_RUN_ID": RUN, "SCHEDULER_ROOT": "/x"}
    with subprocess.Popen(["sleep", "1000"], env={**told, "PATH": os.defpath}, start_new_session=True) as left:
        reused = replace(identify(stranger.pid), started=1)
        end_processes(reused, {**told, "SCHEDULER_RUN_ID": OTHER})
        with pytest.raises(subprocess.TimeoutExpired):
            left.wait(0.1)
        end_processes(reused, told)
        assert left.wait(60) == -signal.SIGKILL
    assert stranger.poll() is None
