"""Starting a program: what `subprocess.Popen` does, without what a run does not need."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scheduler.machine.open_files import give_back

_fork_exec: Any
try:
    from _posixsubprocess import fork_exec as _fork_exec
except ImportError:  # not CPython
    _fork_exec = None

if TYPE_CHECKING:
    from subprocess import Popen

_ERROR_BYTES = 50_000  # as much as the child may say about why it did not start
_MOST_ERRNO = 0xFFF


class Child:
    """A started process. Only its starter reaps it."""

    __slots__ = ("__weakref__", "_popen", "pid", "returncode")

    def __init__(self, pid: int, popen: Popen[bytes] | None = None) -> None:
        self.pid = pid
        self.returncode: int | None = None  # as `subprocess.Popen` has it: negative for a signal
        self._popen = popen  # kept, since it would complain if it went before its process

    def reap(self, *, wait: bool = False) -> bool:
        """True once the process has ended. wait: until it has."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, 0 if wait else os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                if self._popen is not None:
                    self._popen.returncode = self.returncode
        return self.returncode is not None


def spawn(argv: Sequence[bytes], *, cwd: str, env: Mapping[str, str], stdin: int, stdout: int, stderr: int) -> Child:
    """Start argv[0], an absolute path, in a session of its own, with these three descriptors and no other.

    Raises: OSError, with `filename` as `subprocess.Popen` sets it; ValueError for what no program can be given.
    """
    if _fork_exec is not None:
        try:
            child = Child(_fork(argv, cwd, env, stdin, stdout, stderr))
        except TypeError:  # its arguments are nobody's promise: another Python has others
            pass
        else:
            give_back(child.pid)
            return child
    import subprocess

    popen = subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0, start_new_session=True
    )
    give_back(popen.pid)
    return Child(popen.pid, popen)


def _fork(argv: Sequence[bytes], cwd: str, env: Mapping[str, str], stdin: int, stdout: int, stderr: int) -> int:
    """Half of what `subprocess.Popen` takes: it makes objects of pipes, and looks for a program's path."""
    told, tell = os.pipe()
    try:
        try:
            arguments: tuple[Any, ...] = (
                argv,
                (argv[0],),
                True,  # close_fds
                (tell,),
                cwd,
                _environment(env),
                stdin,
                -1,
                -1,
                stdout,
                -1,
                stderr,
                told,
                tell,
                True,  # restore_signals
                True,  # start_new_session
                -1,  # process_group
                None,
                None,
                None,
                -1,  # umask
                None,  # preexec_fn
                True,  # allow_vfork
            )
            pid: int = _fork_exec(*arguments)
        finally:
            os.close(tell)
        said = b""
        while len(said) < _ERROR_BYTES and (
            part := os.read(told, _ERROR_BYTES)
        ):  # ends once the program has taken over
            said += part
    finally:
        os.close(told)
    if said:
        os.waitpid(pid, 0)
        raise _not_started(said, argv[0], cwd)
    return pid


def _environment(env: Mapping[str, str]) -> list[bytes]:
    """As execve(2) takes it. Raises: ValueError."""
    if any("=" in name for name in env):
        raise ValueError("illegal environment variable name")
    found = os.fsencode("\0".join([f"{name}={value}" for name, value in env.items()])).split(b"\0")
    if len(found) != len(env):
        raise ValueError("embedded null byte")
    return found


def _not_started(said: bytes, program: bytes, cwd: str) -> OSError:
    """The error that the child reports as `OSError:ERRNO:noexec`, or without `noexec` if it is about its program."""
    _, code, about = said.split(b":", 2)
    number = int(code, 16) & _MOST_ERRNO
    return OSError(number, os.strerror(number), cwd if about.startswith(b"noexec") else os.fsdecode(program))
