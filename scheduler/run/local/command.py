"""The command runner: turns a task into a process group, and its end into an Ending (design sections 3 and F2)."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar

from scheduler.core.values.facts import Fault
from scheduler.core.values.runs import Ending
from scheduler.machine import orphans
from scheduler.machine.proc import ticks_since_boot
from scheduler.machine.processes import has_living_member
from scheduler.machine.reactor import Reactor, Timer
from scheduler.machine.spawning import Child
from scheduler.run.engine import Why
from scheduler.run.local.cancel import GRACE, Cancel
from scheduler.run.local.capture import Capture
from scheduler.run.local.census import Census
from scheduler.run.local.outcome import ending_of, judge, why_not_started
from scheduler.run.local.prepare import TASK_FILE, Invocation, cannot_start, encode, is_absence

_CHUNK = 64 * 1024  # read from a stream in one turn: a loud run takes turns with the others
_DRAIN_BYTES = 16 * 1024 * 1024  # more than any pipe can hold
_LOUD_BYTES = 1024 * 1024  # of a stream: from here on, no write to a slow disk may hold up other runs
_REMNANT_GRACE = timedelta(seconds=2)
_REMNANT_TICK_S = 0.02
_LONGEST_TICK_S = 0.2
_KNOWN_BY = ("SCHEDULER_RUN_ID", "SCHEDULER_ROOT")
TRY = "SCHEDULER_WORKFLOW_ID"  # on a worker: the databases of two control planes may number their runs alike

T = TypeVar("T")


class Execution:
    """One process of a run in its own process group, with its output, from its start to its end.

    Everything happens in the reactor's thread. Members of the group that outlive its leader are ended the same way,
    within 2 s. So are processes that left the group and carry the run's id: after a timeout or a cancel wherever they
    are, after a normal end if this process adopted them. The error of the Ending names those that could not be ended;
    pipes that they hold are not waited for.
    """

    def __init__(
        self,
        invocation: Invocation,
        *,
        reactor: Reactor,
        census: Census,
        timeout: timedelta,
        scratch: Path,
        stdout: str,
        stderr: str,
        output_limit: int,
        cancel: Cancel,
        ended: Callable[[Ending | Exception], None],
        grace: timedelta = GRACE,
    ) -> None:
        """
        scratch: the folder for the private copy of the task; created if absent. output_limit: bytes kept, half for
        each stream. cancel: ends the run like a timeout, with KILL at `kill_at`. It also brings a later KILL forward;
        call `notice` after each request.
        ended: called once, after `start` has returned True; with an error of ours, nothing runs on either.
        grace: between TERM and KILL at a timeout.
        """
        self.pid = 0  # also the number of the group
        self.since = 0.0  # monotonic: when it started
        self._invocation, self._reactor, self._census = invocation, reactor, census
        self._timeout, self._grace, self._cancel, self._ended = timeout, grace, cancel, ended
        self._scratch = scratch
        self._captures = Capture(stdout, limit=output_limit // 2), Capture(stderr, limit=output_limit // 2)
        told = {name: invocation.env[name] for name in _KNOWN_BY if name in invocation.env}
        self._born = 0  # clock ticks after boot
        self._told = told if len(told) == len(_KNOWN_BY) else {}  # without both, no process is known to be the run's
        if self._told and TRY in invocation.env:
            self._told[TRY] = invocation.env[TRY]
        self._pipes: dict[int, Capture] = {}
        self._end = -1  # becomes readable when the leader ends
        self._task_file: Path | None = None
        self._child: Child | None = None
        self._why: Literal["timeout"] | Why | None = None  # we ended it
        self._kill_at = math.inf
        self._given_up = math.inf
        self._timers: list[Timer] = []  # the deadline, and the KILL
        self._tick_s = _REMNANT_TICK_S
        self._strays: set[int] = set()  # who was told to end
        self._left: list[orphans.Orphan] = []  # processes that could not be ended
        self._writing = 0  # streams that somebody else is writing to disk now
        self._over = False

    # -- the start ---------------------------------------------------------------------------------

    def start(self) -> Fault | Ending | None:
        """Start the process. None if it runs now.

        Fault reasons: runner_start_failed, runner_cwd_missing. After these, and after the Ending of a run that was
        cancelled, nothing ran and no output file is left.
        """
        if (why := self._cancel.why) is not None:
            return ending_of(why, None, f"{why} before it started", self._captures)
        try:
            started = self._start()
        except (OSError, ValueError) as error:
            started = cannot_start("start_failed", f"a file of the run could not be created: {error}")
        if isinstance(started, Fault):
            self._release()
            return started
        self._child, self.pid, self.since = started, started.pid, time.monotonic()
        try:
            self._end = _watch_end(started)
            self._reactor.watch(self._end, self._guarded(self._leader_ended))
            for file in self._pipes:
                self._reactor.watch(file, self._reader(file))
        except Exception:  # no descriptor, no memory: nothing runs on unwatched
            self._kill_unfinished()
            self._release()
            raise
        self._at(self.since + self._timeout.total_seconds(), self._late)
        if self._cancel.is_set():
            self.notice()
        return None

    def _start(self) -> Child | Fault:
        argv = self._arguments()
        self._born = ticks_since_boot()
        ours: list[int] = []
        try:
            ours.append(_opened_input(self._invocation.stdin))
            for capture in self._captures:
                read, write = os.pipe()
                self._pipes[read] = capture
                ours.append(write)
                os.set_blocking(read, False)
            return self._spawned(argv, *ours)
        finally:
            for file in ours:
                os.close(file)

    def _spawned(self, argv: list[bytes], stdin: int, stdout: int, stderr: int) -> Child | Fault:
        program, cwd = self._invocation.argv[0], os.fspath(self._invocation.cwd)
        try:
            return orphans.spawn(argv, cwd=cwd, env=self._invocation.env, stdin=stdin, stdout=stdout, stderr=stderr)
        except OSError as error:
            if is_absence(error) and error.filename == cwd:
                return cannot_start("cwd_missing", f"the working directory {cwd!r} is gone")
            return cannot_start("start_failed", f"{program!r} {why_not_started(Path(program), error)}")
        except ValueError as error:  # a NUL in an argument or variable, or `=` in a name
            return cannot_start("start_failed", f"{program!r} could not be started: {error}")

    def _arguments(self) -> list[bytes]:
        """argv as the kernel gets it, with the path of the private file for {task_file}. Raises: OSError."""
        invocation = self._invocation
        argv = [os.fsencode(invocation.argv[0]), *map(encode, invocation.argv[1:])]
        if invocation.task_file is None:
            return argv
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._scratch, prefix="task-")  # mode 0600
        self._task_file = Path(name)
        with open(handle, "wb") as file:  # noqa: PTH123
            file.write(invocation.task_file)
        path = os.fsencode(os.path.abspath(name))  # noqa: PTH100 - the child has another working directory
        return [argv[0], *(each.replace(encode(TASK_FILE), path) for each in argv[1:])]

    # -- while it runs -----------------------------------------------------------------------------

    def notice(self) -> None:
        """Do what `cancel` asks for. Harmless if it asks for nothing, and after the end."""
        if self._over or self._child is None or self._child.returncode is not None or not self._cancel.is_set():
            return
        if self._why is None:
            self._stop(self._cancel.why or "cancelled")
        else:
            self._plan_kill()

    def _late(self) -> None:
        if self._child is not None and self._child.returncode is None and self._why is None:
            self._stop("timeout")

    def _stop(self, why: Literal["timeout"] | Why) -> None:
        self._why = why
        self._signal(signal.SIGTERM)
        if self._told:
            self._census.ask(self._told, self._guarded_with(self._tell), everywhere=True, beside=self.pid)
        if why == "timeout":
            self._kill_at = time.monotonic() + self._grace.total_seconds()
        self._plan_kill()

    def _plan_kill(self) -> None:
        if (kill_at := self._hastened()) < math.inf:
            self._at(kill_at, self._kill)

    def _kill(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._signal(signal.SIGKILL)

    def _hastened(self) -> float:
        """The earlier of our moment for KILL and the one of `cancel`, which a request can move at any time."""
        asked = self._cancel.kill_at
        return self._kill_at if asked is None else min(self._kill_at, asked)

    def _reader(self, file: int) -> Callable[[], None]:
        return self._guarded(lambda: self._read_some(file))

    def _read_some(self, file: int) -> None:
        capture = self._pipes[file]
        data = _read(file)
        if data is None:
            return
        if not data:
            self._close_pipe(file)
        elif capture.total < _LOUD_BYTES:
            capture.write(data)
        else:
            self._reactor.unwatch(file)  # nothing more is read until this is written
            self._writing += 1

            def written(_: object) -> None:
                self._writing -= 1
                if self._child is not None and self._child.returncode is None and file in self._pipes:
                    self._reactor.watch(file, self._reader(file))

            self._census.write(lambda: capture.write(data), self._guarded_with(written))

    # -- the end -----------------------------------------------------------------------------------

    def _leader_ended(self) -> None:
        """Reap it, and look whether its group lives on.

        While the leader is a zombie, nobody else gets its number or its group's. So every signal sent before this
        reaches our own group.
        """
        assert self._child is not None
        self._reactor.unwatch(self._end)
        os.close(self._end)
        self._end = -1
        self._child.reap(wait=True)
        if self._why is None:
            self._kill_at = time.monotonic() + min(self._grace, _REMNANT_GRACE).total_seconds()
        if not self._group_exists():
            self._group_gone()
            return
        if self._why is None:
            self._signal(signal.SIGTERM)
        self._look_at_group()

    def _look_at_group(self) -> None:
        """End the group's survivors: KILL at `kill_at` or sooner. They are not our children: no event tells of them."""
        if self._group_exists():
            self._census.aside(lambda: has_living_member(self.pid), self._guarded_with(self._group_seen))
        else:
            self._group_gone()

    def _group_seen(self, lives: bool) -> None:
        now = time.monotonic()
        if not lives or now >= self._given_up:
            self._group_gone()
        elif now < self._hastened():
            self._again(self._look_at_group, self._hastened())
        else:
            if self._given_up == math.inf:
                self._given_up = now + 1  # nothing survives KILL, but a killed process takes a moment
                self._signal(signal.SIGKILL)
            self._again(self._look_at_group, self._given_up)

    def _again(self, look: Callable[[], None], most: float) -> None:
        self._at(min(most, time.monotonic() + self._tick_s), self._guarded(look))
        self._tick_s = min(2 * self._tick_s, _LONGEST_TICK_S)

    def _group_gone(self) -> None:
        self._tick_s, self._given_up = _REMNANT_TICK_S, math.inf
        if self._told:
            self._look_for_strays()
        else:
            self._finish()

    def _look_for_strays(self) -> None:
        found = self._guarded_with(self._strays_found)
        self._census.ask(self._told, found, everywhere=self._why is not None)

    def _strays_found(self, left: Sequence[orphans.Orphan]) -> None:
        """End processes that left the group: TERM unless already told, KILL at `kill_at`. Survivors go in `_left`."""
        now = time.monotonic()
        if now >= self._hastened():  # includes what a dying process has started meanwhile
            self._given_up = min(self._given_up, now + 1)
            self._left = [replace(each, why=orphans.send(each, self._told, signal.SIGKILL)) for each in left]
        else:
            self._left = list(left)
            self._tell(each for each in left if each.pid not in self._strays)
        if not left or all(each.why for each in self._left) or now >= self._given_up:
            self._finish()
        else:
            self._again(self._look_for_strays, self._given_up if now >= self._hastened() else self._hastened())

    def _tell(self, strays: Iterable[orphans.Orphan]) -> None:
        for each in strays:
            orphans.send(each, self._told, signal.SIGTERM)
            self._strays.add(each.pid)

    def _finish(self) -> None:
        """Read what is left in the pipes, up to a limit: a process that left the group may write forever."""
        if self._writing:  # one piece of a stream: the rest comes after it
            self._at(time.monotonic() + _REMNANT_TICK_S, self._guarded(self._finish))
            return
        assert self._child is not None
        assert self._child.returncode is not None
        rest: list[tuple[Capture, bytes]] = []
        for file, capture in self._pipes.items():
            left = _DRAIN_BYTES
            while left > 0 and (data := _read(file)):
                rest.append((capture, data))
                left -= len(data)
        if not any(capture.closes_slowly or capture.total >= _LOUD_BYTES for capture in self._captures):
            self._save(rest)
            self._saved()
        else:
            self._writing += 1

            def saved(_: object) -> None:
                self._writing -= 1
                self._saved()

            self._census.write(lambda: self._save(rest), self._guarded_with(saved))

    def _save(self, rest: Sequence[tuple[Capture, bytes]]) -> None:
        """Complete the outputs. A loud one has its tail copied, so this may take long."""
        for capture, data in rest:
            capture.write(data)
        for capture in self._captures:
            capture.close()

    def _saved(self) -> None:
        assert self._child is not None
        assert self._child.returncode is not None
        if self._told:
            self._left += self._census.strangers(since=self._born)
        self._release()
        self._ended(judge(self._why, self._child.returncode, self._timeout, self._captures, self._left))

    # -- what all of it needs ----------------------------------------------------------------------

    def _at(self, moment: float, what: Callable[[], None]) -> None:
        self._timers = [each for each in self._timers if each.what is not None]
        self._timers.append(self._reactor.at(moment, what))

    def _guarded(self, step: Callable[[], None]) -> Callable[[], None]:
        """Whatever goes wrong in a step ends the run: nobody would take the next one."""

        def guarded() -> None:
            if not self._over:
                try:
                    step()
                except Exception as error:
                    self._fail(error)

        return guarded

    def _guarded_with(self, step: Callable[[T], None]) -> Callable[[T | Exception], None]:
        def guarded(found: T | Exception) -> None:
            if isinstance(found, Exception):
                self._fail(found)
            else:
                self._guarded(lambda: step(found))()

        return guarded

    def _fail(self, error: Exception) -> None:
        if not self._over:
            self.give_up()
            self._ended(error)

    def give_up(self) -> None:
        """Kill what still runs, and tell nobody."""
        if not self._over:
            self._kill_unfinished()
            self._release()

    def _kill_unfinished(self) -> None:
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._child.reap(wait=True)

    def _release(self) -> None:
        self._over = True
        for timer in self._timers:
            timer.cancel()
        for file in list(self._pipes):
            self._close_pipe(file)
        if self._end >= 0:
            self._reactor.unwatch(self._end)
            os.close(self._end)
            self._end = -1
        if not self._writing:  # otherwise another thread has them
            for capture in self._captures:
                capture.close()
        if self._task_file is not None:
            with contextlib.suppress(OSError):  # the disk has become read-only; how the run ended matters more
                self._task_file.unlink(missing_ok=True)

    def _close_pipe(self, file: int) -> None:
        del self._pipes[file]
        self._reactor.unwatch(file)
        os.close(file)

    def _group_exists(self) -> bool:
        """True if the group still has members. Asked after the leader was reaped.

        The kernel gives the group's number to a new process only once the group is empty. So if a process has that
        number, the group with that number is a stranger's.
        """
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            pass
        except PermissionError:
            return False
        else:
            return False
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and (self._child.returncode is None or self._group_exists()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
                if number == signal.SIGTERM:
                    os.killpg(self.pid, signal.SIGCONT)  # a stopped process would not see TERM otherwise


def execute(
    invocation: Invocation,
    *,
    timeout: timedelta,
    scratch: Path,
    stdout: Path,
    stderr: Path,
    output_limit: int,
    on_spawn: Callable[[int], None],
    cancel: Cancel,
    grace: timedelta = GRACE,
) -> Ending | Fault:
    """Run one process to its end in the calling thread, for a run in the foreground. See `Execution`.

    on_spawn: called with the pid before anything else happens. If it raises, the group is killed.
    """
    reactor, ended = Reactor(), list[Ending | Exception]()
    try:
        execution = Execution(
            invocation,
            reactor=reactor,
            census=Census(reactor),
            timeout=timeout,
            scratch=scratch,
            stdout=os.fspath(stdout),
            stderr=os.fspath(stderr),
            output_limit=output_limit,
            cancel=cancel,
            ended=ended.append,
            grace=grace,
        )
        if (found := execution.start()) is not None:
            return found
        try:
            on_spawn(execution.pid)
            with cancel.listening(lambda: reactor.call(execution.notice)):
                while not ended:
                    reactor.turn(math.inf)
                    execution.notice()  # a signal handler may have asked in the moment before this thread slept
        finally:
            execution.give_up()
    finally:
        reactor.close()
    if isinstance(ended[0], Exception):
        raise ended[0]
    return ended[0]


def _read(file: int) -> bytes | None:
    """What is there to read; empty at the end of the stream, None if nothing is there now."""
    try:
        return os.read(file, _CHUNK)
    except BlockingIOError:
        return None


def _opened_input(data: bytes | None) -> int:
    """A descriptor to read the task from, and nothing else: a file without a name, or /dev/null. Raises: OSError."""
    if data is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("task", os.MFD_CLOEXEC)
    else:  # macOS
        with tempfile.TemporaryFile(buffering=0) as nameless:
            file = os.dup(nameless.fileno())
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.lseek(file, 0, os.SEEK_SET)
    except BaseException:
        os.close(file)
        raise
    return file


def _watch_end(child: Child) -> int:
    """A descriptor that becomes readable once the process has ended. The caller closes it. It stays unreaped."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):  # Linux before 5.3, or a sandbox without it
            return os.pidfd_open(child.pid)
    with contextlib.ExitStack() as unstarted:
        ours, its_own = os.pipe()
        unstarted.callback(os.close, ours)
        unstarted.callback(os.close, its_own)
        threading.Thread(target=_hang_up_at_end, args=(child, its_own), daemon=True).start()
        unstarted.pop_all()
    return ours


def _hang_up_at_end(child: Child, line: int) -> None:
    try:
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        else:  # macOS: reaped here, its number is unguarded for a few instructions
            child.reap(wait=True)
    finally:
        os.close(line)
