"""Locks on files and folders."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from scheduler.machine.locks import Lock


def test_a_lock_is_for_one_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with Lock(path):
        for shared in (False, True):
            with pytest.raises(BlockingIOError):
                Lock(path, shared=shared, wait=0)
    with Lock(path, os.O_RDONLY, wait=0):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_shared_lock_keeps_away_only_who_wants_it_alone(tmp_path: Path) -> None:
    one, another = (Lock(tmp_path, os.O_RDONLY, shared=True, wait=0) for _ in range(2))
    for each in (one, another):
        with pytest.raises(BlockingIOError):
            Lock(tmp_path, os.O_RDONLY, wait=0)
        each.close()
    Lock(tmp_path, os.O_RDONLY, wait=0).close()


@pytest.mark.parametrize("wait", [None, 60.0])
def test_a_lock_is_waited_for(tmp_path: Path, wait: float | None) -> None:
    lock = Lock(tmp_path / "x.lock")
    timer = threading.Timer(0.1, lock.close)
    timer.start()
    with Lock(tmp_path / "x.lock", wait=wait):
        timer.join()


def test_a_lock_that_is_not_let_go_of_is_given_up_after_the_wait(tmp_path: Path) -> None:
    with Lock(tmp_path / "x.lock"):
        start = time.monotonic()
        with pytest.raises(BlockingIOError):
            Lock(tmp_path / "x.lock", wait=0.1)
        assert time.monotonic() - start >= 0.1


def test_a_file_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock, removed = tmp_path / "x.lock", fcntl.flock, list[bool]()

    def late(file: int, operation: int) -> None:
        if not removed:
            removed.append(True)
            path.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with Lock(path) as lock:
        assert lock.is_named()
        path.unlink()
        assert not lock.is_named()


def test_what_is_not_there_and_is_not_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "x.lock", os.O_RDONLY, wait=0)
