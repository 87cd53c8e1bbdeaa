"""The command runner: turns a task into a process group, and its end into an Ending (design sections 3 and F2)."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Literal

from scheduler.core.values.facts import Fault
from scheduler.core.values.last_lines import last_line
from scheduler.core.values.runs import Ending, RunStatus
from scheduler.machine import orphans
from scheduler.machine.proc import started_at
from scheduler.machine.processes import has_living_member
from scheduler.run.engine import Why
from scheduler.run.local.cancel import GRACE, Cancel, longest_wait
from scheduler.run.local.capture import RESULT_BYTES, Capture
from scheduler.run.local.prepare import TASK_FILE, Invocation, cannot_start, encode, is_absence

_CHUNK = 64 * 1024
_DRAIN_BYTES = 16 * 1024 * 1024  # more than any pipe can hold
_REMNANT_GRACE = timedelta(seconds=2)
_REMNANT_TICK_S = 0.02
_MOST_NAMED = 10  # processes named in the error of a run
_KNOWN_BY = ("SCHEDULER_RUN_ID", "SCHEDULER_ROOT")


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
    """Run one process to its end, in its own process group, and keep its output.

    scratch: the folder for the private copy of the task; created if absent.
    output_limit: bytes kept, half for each stream. on_spawn: called with the pid, which is also the group's id, before
    anything else happens. If it raises, the group is killed. grace: between TERM and KILL at a timeout.
    cancel: ends the run like a timeout, with KILL at `kill_at`. It also brings a later KILL forward.
    Members of the group that outlive its leader are ended the same way, within 2 s. So are processes that left the
    group and carry the run's id: after a timeout or a cancel wherever they are, after a normal end if this process
    adopted them. The error of the Ending names those that could not be ended; pipes that they hold are not waited for.
    On Linux the calling thread does all of this. Without pidfd, a second thread waits for the leader's end.

    Fault reasons: runner_start_failed, runner_cwd_missing. After these, nothing ran and no output file is left.
    """
    with contextlib.ExitStack() as cleanup:
        captures = []
        try:
            argv = cleanup.enter_context(_arguments(invocation, scratch))
            for path in (stdout, stderr):
                captures.append(Capture(path, limit=output_limit // 2))
                cleanup.callback(captures[-1].close)
            process = cancel.why or _spawn(invocation, argv)
        except (OSError, ValueError) as error:
            process = cannot_start("start_failed", f"a file of the run could not be created: {error}")
        if isinstance(process, Fault):
            for path in (stdout, stderr)[: len(captures)]:
                path.unlink(missing_ok=True)
            return process
        if isinstance(process, str):
            return _ending(process, None, f"{process} before it started", captures)
        cleanup.enter_context(process)
        cleanup.callback(_kill_unfinished, process)  # if anything below raises, no process runs on unwatched
        on_spawn(process.pid)
        told = {name: invocation.env[name] for name in _KNOWN_BY if name in invocation.env}
        with _Attempt(process, captures, invocation.stdin, cancel, told) as attempt:
            why = attempt.run(timeout, grace)
        for capture in captures:
            capture.close()
        return _judge(why, process.returncode, timeout, captures, attempt.left)


def _kill_unfinished(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _arguments(invocation: Invocation, scratch: Path) -> Iterator[list[bytes]]:
    """argv as the kernel gets it, with the path of the private file for {task_file}. Raises: OSError."""
    argv = [os.fsencode(invocation.argv[0]), *map(encode, invocation.argv[1:])]
    if invocation.task_file is None:
        yield argv
        return
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=scratch, prefix="task-")  # mode 0600
    try:
        with open(handle, "wb") as file:  # noqa: PTH123
            file.write(invocation.task_file)
        path = os.fsencode(os.path.abspath(name))  # noqa: PTH100 - the child has another working directory
        yield [argv[0], *(each.replace(encode(TASK_FILE), path) for each in argv[1:])]
    finally:
        with contextlib.suppress(OSError):  # the disk has become read-only; how the run ended matters more
            Path(name).unlink()


def _spawn(invocation: Invocation, argv: list[bytes]) -> subprocess.Popen[bytes] | Fault:
    program = invocation.argv[0]
    try:
        return orphans.start(
            argv,
            cwd=invocation.cwd,
            env=invocation.env,
            stdin=subprocess.DEVNULL if invocation.stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        if is_absence(error) and error.filename == invocation.cwd:
            return cannot_start("cwd_missing", f"the working directory {str(invocation.cwd)!r} is gone")
        return cannot_start("start_failed", f"{program!r} {_why_not_started(Path(program), error)}")
    except ValueError as error:  # a NUL in an argument or variable, or `=` in a name
        return cannot_start("start_failed", f"{program!r} could not be started: {error}")


_SHEBANG_BYTES = 256  # Linux reads this many


def _why_not_started(program: Path, error: OSError) -> str:
    """Why execve(2) failed. Some of its errors are about another file than the one it was given."""
    try:
        with program.open("rb") as file:
            head = file.read(_SHEBANG_BYTES)
    except OSError:
        head = b"?"
    found = re.match(rb"#![ \t]*([^ \t\n]*)", head)
    interpreter = "" if found is None else os.fsdecode(found[1])
    named = f"could not be started: the interpreter {interpreter!r} in its first line"
    match error.errno:
        case errno.ENOENT if interpreter.endswith("\r"):
            return f"{named} does not exist; save it with LF line ends"
        case errno.ENOENT if interpreter:
            return f"{named} does not exist"
        case errno.EACCES if interpreter and os.access(program, os.X_OK):
            return f"{named} is not executable"
        case errno.ENOENT if not program.exists():
            return "is gone"
        case errno.ENOEXEC if not head:
            return "could not be started: it is empty"
        case errno.ENOEXEC if head.startswith(b"\x7fELF"):
            return "could not be started: it is built for another kind of machine, or damaged"
        case errno.ENOEXEC:
            return "could not be started: it is neither a program nor a script with a first line such as #!/bin/sh"
        case errno.EAGAIN | errno.ENOMEM:
            return f"could not be started: the system allows no more processes now ({error.strerror})"
    return f"could not be started: {error.strerror}"


def _watch_end(process: subprocess.Popen[bytes]) -> int:
    """A descriptor that becomes readable once the process has ended. The caller closes it. The process stays unreaped.

    While the leader is a zombie, nobody else gets its number or its group's. So every signal sent before `wait`
    reaches our own group.
    """
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):  # Linux before 5.3, or a sandbox without it
            return os.pidfd_open(process.pid)
    with contextlib.ExitStack() as unstarted:
        ours, its_own = os.pipe()
        unstarted.callback(os.close, ours)
        unstarted.callback(os.close, its_own)
        threading.Thread(target=_hang_up_at_end, args=(process, its_own), daemon=True).start()
        unstarted.pop_all()
    return ours


def _hang_up_at_end(process: subprocess.Popen[bytes], line: int) -> None:
    try:
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:  # macOS: reaped here, its number is unguarded for a few instructions
            process.wait()
    finally:
        os.close(line)


class _Doorbell:
    """Lets other threads and signal handlers end a `select`. The closer makes sure that nobody rings it afterwards."""

    def __init__(self) -> None:
        self.fd, self._button = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._button, False)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._button, b"\0")

    def answer(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, _CHUNK)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._button)


class _Attempt(contextlib.AbstractContextManager["_Attempt"]):
    """A started process with its pipes. One selector waits for them, the process's end, its deadline and `cancel`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        captures: Sequence[Capture],
        stdin: bytes | None,
        cancel: Cancel,
        told: Mapping[str, str],
    ) -> None:
        """told: variables that its descendants carry wherever they go."""
        self._process = process
        self._told = told if len(told) == len(_KNOWN_BY) else {}  # without both, no process is known to be the run's
        self.left: list[orphans.Orphan] = []  # processes that could not be ended
        self._started = started_at(process.pid)
        self._cancel = cancel
        self._ended = False  # the leader has ended; it may still be a zombie
        assert process.stdout is not None
        assert process.stderr is not None
        self._captures: dict[IO[bytes], Capture] = {process.stdout: captures[0], process.stderr: captures[1]}
        self._unsent = memoryview(stdin or b"")
        with contextlib.ExitStack() as cleanup:
            self._bell = _Doorbell()
            cleanup.callback(self._bell.close)
            self._end = _watch_end(process)
            cleanup.callback(os.close, self._end)
            self._selector = cleanup.enter_context(selectors.DefaultSelector())
            self._selector.register(self._bell.fd, selectors.EVENT_READ)
            self._selector.register(self._end, selectors.EVENT_READ)
            for pipe in self._captures:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, selectors.EVENT_READ)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                self._selector.register(process.stdin, selectors.EVENT_WRITE)
            cleanup.enter_context(cancel.listening(self._bell.ring))  # exited first: no ring reaches a closed bell
            self._cleanup = cleanup.pop_all()

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def run(self, timeout: timedelta, grace: timedelta) -> Literal["timeout"] | Why | None:
        """Why we ended it, or None. Returns once the leader has ended, its group is gone and the pipes are drained."""
        deadline = time.monotonic() + timeout.total_seconds()
        why: Literal["timeout"] | Why | None = None
        strays: set[int] = set()
        if self._ends(lambda: 0 if self._cancel.is_set() else deadline):
            kill_at = time.monotonic() + min(grace, _REMNANT_GRACE).total_seconds()
        else:
            why = self._cancel.why or "timeout"
            self._signal(signal.SIGTERM)
            strays = self._signal_strays(signal.SIGTERM, everywhere=True)
            kill_at = time.monotonic() + grace.total_seconds() if why == "timeout" else math.inf
            if not self._ends(lambda: self._hastened(kill_at)):
                self._signal(signal.SIGKILL)
                self._ends(lambda: math.inf)
        self._process.wait()
        self._end_remnants(kill_at, told=why is not None)
        self._end_strays(kill_at, strays, everywhere=why is not None)
        self._drain()
        return why

    def _ends(self, until: Callable[[], float]) -> bool:
        """True if the leader ends before `until` (monotonic seconds), which is called again after each event."""
        while not self._ended and time.monotonic() < (moment := until()):
            self._pump(moment)
        self._pump(0)  # notice an end that has already happened
        return self._ended

    def _hastened(self, kill_at: float) -> float:
        """The earlier of `kill_at` and the one of `cancel`, which a request can move while we wait."""
        asked = self._cancel.kill_at
        return kill_at if asked is None else min(kill_at, asked)

    def _pump(self, until: float) -> None:
        """Move the available data and wait for more, until that moment (monotonic seconds) or a ring."""
        wait = min(until - time.monotonic(), longest_wait())
        for key, _ in self._selector.select(max(0, wait)):
            if key.fileobj == self._bell.fd:
                self._bell.answer()
            elif key.fileobj == self._end:
                self._ended = True
                self._selector.unregister(self._end)  # it would stay ready forever
            elif key.fileobj is self._process.stdin:
                self._feed(self._process.stdin)
            else:
                self._read(key.fileobj)  # type: ignore[arg-type]

    def _feed(self, pipe: IO[bytes]) -> None:
        try:
            if self._unsent:
                self._unsent = self._unsent[os.write(pipe.fileno(), self._unsent[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the process does not read its input, which is its own choice
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._selector.unregister(pipe)
            pipe.close()

    def _read(self, pipe: IO[bytes]) -> int:
        """The number of bytes read now; 0 at the end of the stream, or if no data is available."""
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return 0
        if data:
            self._captures[pipe].write(data)
        else:
            self._selector.unregister(pipe)
            pipe.close()
        return len(data)

    def _drain(self) -> None:
        """Read what is left in the pipes, up to a limit: a process that left the group may write forever."""
        for pipe in self._captures:
            left = _DRAIN_BYTES
            while left > 0 and not pipe.closed and (count := self._read(pipe)):
                left -= count

    def _end_remnants(self, kill_at: float, *, told: bool) -> None:
        """End the group's survivors: TERM unless already told, KILL at `kill_at` or sooner."""
        if not told:
            self._signal(signal.SIGTERM)
        self._await_group(lambda: self._hastened(kill_at))
        self._signal(signal.SIGKILL)
        # Nothing survives this, but a killed process takes a moment to release the pipes.
        given_up = time.monotonic() + 1
        self._await_group(lambda: given_up)

    def _await_group(self, until: Callable[[], float]) -> None:
        # They are not our children, so no event reports their end. This is the only place that polls.
        tick = _REMNANT_TICK_S
        while self._group_exists() and has_living_member(self._process.pid) and (now := time.monotonic()) < until():
            self._pump(min(until(), now + tick))
            tick = min(2 * tick, 10 * _REMNANT_TICK_S)

    def _end_strays(self, kill_at: float, told: set[int], *, everywhere: bool) -> None:
        """End processes that left the group: TERM unless already `told`, KILL at `kill_at`. Survivors go in `left`."""
        if not self._told:
            return
        orphans.reap()  # zombies of the group are adopted, too
        tick, given_up = _REMNANT_TICK_S, math.inf
        while (now := time.monotonic()) < given_up:
            left = orphans.of_run(self._told, everywhere=everywhere)
            if now >= self._hastened(kill_at):  # includes what a dying process has started meanwhile
                given_up = min(given_up, now + 1)
                self.left = [replace(each, why=orphans.send(each, self._told, signal.SIGKILL)) for each in left]
            else:
                self.left = left
                told |= self._tell(each for each in left if each.pid not in told)
            if not left or all(each.why for each in self.left):
                break
            self._pump(min(now + tick, given_up) if now >= kill_at else min(now + tick, self._hastened(kill_at)))
            tick = min(2 * tick, 10 * _REMNANT_TICK_S)
        self.left += orphans.strangers(self._started)

    def _signal_strays(self, number: signal.Signals, *, everywhere: bool) -> set[int]:
        if not self._told:
            return set()
        return self._tell(orphans.of_run(self._told, everywhere=everywhere, beside=self._process.pid), number)

    def _tell(self, strays: Iterable[orphans.Orphan], number: signal.Signals = signal.SIGTERM) -> set[int]:
        known = list(strays)
        for each in known:
            orphans.send(each, self._told, number)
        return {each.pid for each in known}

    def _group_exists(self) -> bool:
        """True if the group still has members. Asked after the leader was reaped.

        The kernel gives the group's number to a new process only once the group is empty. So if a process has that
        number, the group with that number is a stranger's.
        """
        try:
            os.kill(self._process.pid, 0)
        except ProcessLookupError:
            pass
        except PermissionError:
            return False
        else:
            return False
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None or self._group_exists():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
                if number == signal.SIGTERM:
                    os.killpg(self._process.pid, signal.SIGCONT)  # a stopped process would not see TERM otherwise


def _judge(
    why: Literal["timeout"] | Why | None,
    returncode: int,
    timeout: timedelta,
    captures: Sequence[Capture],
    left: Sequence[orphans.Orphan] = (),
) -> Ending:
    named = f"still running: {', '.join(map(str, left[:_MOST_NAMED]))}" if left else None
    if len(left) > _MOST_NAMED:
        named = f"{named} and {len(left) - _MOST_NAMED} more"
    exit_code = returncode if returncode >= 0 else None
    ended = f"exit code {returncode}" if returncode >= 0 else f"ended by {_signal_name(-returncode)}"
    match why:
        case "cancelled":
            ended = f"cancelled; {ended}"
        case "replaced":
            ended = f"replaced by a newer run; {ended}"
        case "interrupted":
            ended = f"interrupted: the scheduler stopped; {ended}"
        case "timeout":
            ended = f"not finished after {timeout.total_seconds():g} s; {ended}"
        case None if returncode == 0:
            return _ending("succeeded", 0, named, captures)
    if why in (None, "timeout"):  # nobody else has ended it: what it said last is the cause, or where it hung
        ended = ": ".join(filter(None, (ended, _last_words(captures))))
    return _ending(why or "failed", exit_code, "; ".join(filter(None, (ended, named))), captures)


def _last_words(captures: Sequence[Capture]) -> str:
    """The last line of stderr; of stdout, where nothing was said there, as when a script has joined them."""
    return next(filter(None, (last_line(each.tail) for each in reversed(captures))), "")


def _ending(
    end: Literal["succeeded", "failed", "timeout"] | Why,
    exit_code: int | None,
    error: str | None,
    captures: Sequence[Capture],
) -> Ending:
    status, reason = {
        "succeeded": (RunStatus.SUCCEEDED, None),
        "failed": (RunStatus.FAILED, "signal" if exit_code is None else "exit_code"),
        "timeout": (RunStatus.TIMED_OUT, "timeout"),
        "cancelled": (RunStatus.CANCELLED, "cancelled"),
        "replaced": (RunStatus.CANCELLED, "replaced"),
        "interrupted": (RunStatus.INTERRUPTED, "shutdown"),
    }[end]
    lost = next((each.error for each in captures if each.error is not None), None)
    return Ending(
        status=status,
        reason=reason,
        exit_code=exit_code,
        error="; ".join(each for each in (error, lost) if each is not None) or None,
        result=_text(captures[0].prefix),
        output_bytes=sum(each.total for each in captures),
        truncated=any(each.truncated for each in captures),
    )


def _text(prefix: bytes) -> str:
    """Decode, leaving out a character that the 64 KiB limit cut in two."""
    return getincrementaldecoder("utf-8")("replace").decode(prefix, final=len(prefix) < RESULT_BYTES)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
