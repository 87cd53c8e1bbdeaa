"""Channels that are programs: they read the event as JSON from stdin."""

from __future__ import annotations

import contextlib
import os
import threading
from subprocess import PIPE, STDOUT
from typing import IO, Final

from scheduler.delivery.requests import CommandRequest, Outcome, delivered, permanent, plain_words, transient
from scheduler.machine import orphans

KEPT_BYTES: Final = 4 * 1024
_LAST_WORDS_S = 0.5  # for output after the end: a child of the program may hold the pipe for ever


def run_channel_command(request: CommandRequest) -> Outcome:
    """Run the program to its end, in this process's group, so that it never outlives it."""
    try:
        child = orphans.start(
            request.argv, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=dict(request.env), cwd=request.cwd, bufsize=0
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        missing = error.filename == request.cwd
        what = "the working folder" if missing else "the program"
        return permanent(f"cannot start {what} {error.filename}: {error.strerror}")
    except ValueError as error:
        return permanent(f"cannot start the program {request.argv[0]}: {error}")
    except OSError as error:
        return transient(f"cannot start the program {request.argv[0]}: {error.strerror}")
    assert child.stdin is not None
    assert child.stdout is not None
    kept = bytearray()
    reader = threading.Thread(target=_keep_tail, args=(child.stdout, kept), daemon=True)
    writer = threading.Thread(target=_write, args=(child.stdin, request.stdin.encode()), daemon=True)
    reader.start()
    writer.start()
    code = child.wait()
    reader.join(_LAST_WORDS_S)
    if code == 0:
        return delivered()
    how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
    said = _last_line(bytes(kept))
    return transient(f"{how}: {said}" if said else how)


def _write(pipe: IO[bytes], content: bytes) -> None:
    with contextlib.suppress(OSError), pipe:  # a program need not read
        view = memoryview(content)
        while view:
            view = view[os.write(pipe.fileno(), view) :]


def _keep_tail(pipe: IO[bytes], kept: bytearray) -> None:
    with contextlib.suppress(OSError, ValueError), pipe:
        while part := os.read(pipe.fileno(), 64 * 1024):
            kept += part
            del kept[: -KEPT_BYTES - 1]


def _last_line(output: bytes) -> str:
    if len(output) > KEPT_BYTES:  # the first word may be the rest of a secret, which nobody would recognize
        output = output.partition(b"\n" if b"\n" in output.rstrip() else b" ")[2]
    lines = map(plain_words, reversed(output.decode(errors="replace").splitlines()))
    return next(filter(None, lines), "")
