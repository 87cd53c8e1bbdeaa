"""One output stream of a run, kept in one file: all of it, or head and tail around a marker."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import IO

from scheduler.core.values.last_lines import TAIL_BYTES

RESULT_BYTES = 64 * 1024  # interface.md: how much of stdout a run shows as its result


class Capture:
    """A growing file with exactly the stream's bytes up to `limit`, and head, marker and tail after `close`.

    The first byte creates the file: a silent stream has none. Needs a few KiB of memory and at most twice the limit on
    disk, however much is written. If the process dies before `close`, the file has the stream's first `limit` bytes,
    in order.

    A full disk does not raise: a reader that stops would block the writing program. `error` and `truncated` report
    it.
    """

    def __init__(self, path: str | Path, *, limit: int) -> None:
        """path: created with mode 0600, and its folder with it."""
        self.total = 0  # bytes of the stream, kept or not
        self.error: str | None = None
        self._path = path
        self._limit = max(limit, 2)  # room for a head and a tail
        self._head_limit = self._limit // 2
        self._tail_limit = self._limit - self._head_limit
        self._prefix: bytearray | None = bytearray() if self._limit < RESULT_BYTES else None  # None: the file has it
        self._tail = b""
        self._file: IO[bytes] | None = None
        self._ring: IO[bytes] | None = None  # all after the head, in an unnamed file that overwrites its oldest
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - of a run that had this number before a restore, if there was one

    @property
    def truncated(self) -> bool:
        return self.total > self._limit or self.error is not None

    @property
    def closes_slowly(self) -> bool:
        """True if `close` copies up to half of the limit."""
        return self._ring is not None and self._file is not None and self.error is None

    @property
    def prefix(self) -> bytes:
        """The stream's first 64 KiB."""
        if self.total <= TAIL_BYTES:
            return self._tail
        if self._prefix is None:
            self._prefix = bytearray(b"" if self._file is None else os.pread(self._file.fileno(), RESULT_BYTES, 0))
        return bytes(self._prefix)

    @property
    def tail(self) -> bytes:
        """The stream's last 4 KiB, also where the disk is full."""
        return self._tail

    def write(self, data: bytes) -> None:
        start = self.total
        try:
            if self.error is None:
                self._keep(data, start)
        except OSError as error:
            self.error = f"output could not be saved: {error.strerror}"
            if self._prefix is None:  # from here on, only memory has it
                self._prefix = bytearray(self.prefix[:start])
        self.total = start + len(data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        if self._prefix is not None:
            self._prefix += data[: max(0, RESULT_BYTES - len(self._prefix))]

    def _keep(self, data: bytes, start: int) -> None:
        if self._file is None:
            self._file = _create(self._path)
        _write_all(self._file, data[: max(0, self._limit - start)])
        if start + len(data) > self._head_limit:
            past_head = data[max(0, self._head_limit - start) :]
            self._write_ring(past_head, at=max(0, start - self._head_limit))

    def _write_ring(self, data: bytes, *, at: int) -> None:
        if self._ring is None:
            self._ring = tempfile.TemporaryFile(dir=Path(self._path).parent, buffering=0)  # noqa: SIM115
        while data:
            place = at % self._tail_limit
            piece = data[: self._tail_limit - place]
            self._ring.seek(place)
            _write_all(self._ring, piece)
            at += len(piece)
            data = data[len(piece) :]

    def close(self) -> None:
        """Put the tail in its place. May be repeated."""
        if self._file is None:
            return
        try:
            self.prefix  # noqa: B018 - while the file can be read, and has it
            if self.total > self._limit and self.error is None:
                self._join(self._file)
        except OSError as error:
            self.error = f"output could not be saved: {error.strerror}"
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            if self._ring is not None:
                self._ring.close()

    def _join(self, file: IO[bytes]) -> None:
        assert self._ring is not None
        oldest = (self.total - self._head_limit) % self._tail_limit
        file.truncate(self._head_limit)
        file.seek(self._head_limit)
        _write_all(file, b"\n[... %d bytes not kept ...]\n" % (self.total - self._limit))
        _copy(self._ring, file, start=oldest, length=self._tail_limit - oldest)
        _copy(self._ring, file, start=0, length=oldest)


def _create(path: str | Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except FileNotFoundError:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, flags, 0o600)
    return open(handle, "r+b", buffering=0)  # noqa: PTH123


def _copy(source: IO[bytes], target: IO[bytes], *, start: int, length: int) -> None:
    source.seek(start)
    while length and (chunk := source.read(min(length, 64 * 1024))):
        _write_all(target, chunk)
        length -= len(chunk)


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of it: an unbuffered file may accept less than it is given."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
