"""Looks at processes for the ends of runs: what goes wrong in one, or hangs elsewhere, keeps no other end waiting."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.values.runs import Ending
from scheduler.machine import orphans
from scheduler.machine.hands import Hands
from scheduler.machine.reactor import Reactor
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.capture import Capture
from scheduler.run.local.census import Census
from scheduler.run.local.command import Execution
from scheduler.run.local.prepare import Invocation
from scheduler.run.local.room import FILES_OF_A_RUN

LONG = 30.0
TOLD = {"SCHEDULER_RUN_ID": "a:1", "SCHEDULER_ROOT": "/nowhere"}


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    with contextlib.closing(Reactor()) as found:
        yield found


def turns_until(reactor: Reactor, come: Callable[[], object]) -> None:
    give_up = time.monotonic() + LONG
    while not come():
        assert time.monotonic() < give_up
        reactor.turn(0.01)


def run(reactor: Reactor, census: Census, where: Path, script: str) -> tuple[Execution, list[Ending | Exception]]:
    ended: list[Ending | Exception] = []
    execution = Execution(
        Invocation(
            argv=("/bin/sh", "-c", script), cwd=where, env={"PATH": "/bin:/usr/bin"}, stdin=None, task_file=None
        ),
        reactor=reactor,
        census=census,
        timeout=timedelta(minutes=5),
        scratch=where,
        stdout=str(where / "stdout"),
        stderr=str(where / "stderr"),
        output_limit=4_000_000,
        cancel=Cancel(),
        ended=ended.append,
    )
    assert execution.start() is None
    return execution, ended


def test_a_disk_that_hangs_keeps_no_look_at_processes_waiting(reactor: Reactor) -> None:
    census, hangs = Census(reactor, Hands("ends", most=1), Hands("output", most=1)), threading.Event()
    found: list[object] = []
    try:
        census.write(lambda: hangs.wait(LONG), lambda _: None)
        census.ask(TOLD, found.append, everywhere=True)
        turns_until(reactor, lambda: found)
        assert found == [[]]
    finally:
        hangs.set()


def test_the_output_of_a_loud_run_is_completed_in_another_thread(
    reactor: Reactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of its tail is copied: as much as a quarter of the limit."""
    joined, real = list[threading.Thread](), Capture._join

    def join(self: Capture, file: object) -> None:
        joined.append(threading.current_thread())
        real(self, file)  # type: ignore[arg-type]

    monkeypatch.setattr(Capture, "_join", join)
    census = Census(reactor, Hands("ends", most=1), Hands("output", most=1))
    _, ended = run(reactor, census, tmp_path, "yes | head -c 3000000")
    turns_until(reactor, lambda: ended)
    (end,) = ended
    assert isinstance(end, Ending), end
    assert (end.status, len(joined)) == ("succeeded", 1)
    assert threading.main_thread() not in joined
    kept = (tmp_path / "stdout").read_bytes()
    assert b"\n[... 1000000 bytes not kept ...]\n" in kept
    assert len(kept) == 2_000_000 + len(b"\n[... 1000000 bytes not kept ...]\n")


def test_an_adopted_process_that_is_dying_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr(orphans, "_adopts", True)
    monkeypatch.setattr(orphans, "_running_adopted", lambda: ([2_000_000_000], False))
    monkeypatch.setattr(orphans, "is_dying", lambda _: True)
    monkeypatch.setattr(orphans, "sleep", sleep)
    assert orphans.has_adopted()
    assert orphans.strangers(None) == []


def test_a_loud_run_has_no_more_files_open_than_it_is_given_room_for(reactor: Reactor, tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    script = "yes | head -c 2500000; yes | head -c 2500000 >&2; read line < go"
    os.mkfifo(tmp_path / "go")
    execution, _ = run(reactor, Census(reactor), tmp_path, script)
    try:
        captures = execution._captures
        turns_until(reactor, lambda: all(each.total == 2_500_000 for each in captures))
        assert len(set(Path("/proc/self/fd").iterdir()) - before) <= FILES_OF_A_RUN
        assert all(each._ring is not None for each in captures)
    finally:
        execution.give_up()
