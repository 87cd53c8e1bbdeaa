"""Locks that the kernel releases when their holder dies (flock(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

_TICK_S = 0.02


class Lock(contextlib.AbstractContextManager["Lock"]):
    """A lock on a file or folder, held until `close`.

    It locks what the path names at that moment. A clean-up may see a new file before it is locked, mistake it for a
    dead owner's and delete it. A lock on a file without a name would then protect nothing.
    """

    def __init__(
        self, path: Path, flags: int = os.O_RDWR | os.O_CREAT, *, shared: bool = False, wait: float | None = None
    ) -> None:
        """
        flags: how to open the path. wait: seconds to wait for other holders; None waits forever.
        Raises: BlockingIOError if others hold it for longer; OSError.
        """
        self.path = path
        give_up = None if wait is None else time.monotonic() + wait
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait is None else fcntl.LOCK_NB)
        while True:
            self.file = os.open(path, flags | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self.file, how)
                if self.is_named():
                    return
            except BlockingIOError:
                if give_up is None or time.monotonic() >= give_up:
                    self.close()
                    raise
                time.sleep(_TICK_S)
            except BaseException:
                self.close()
                raise
            self.close()

    def is_named(self) -> bool:
        """True if the path still names the locked file."""
        try:
            return os.path.samestat(os.fstat(self.file), self.path.stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        file, self.file = self.file, -1
        if file >= 0:
            os.close(file)

    def __exit__(self, *_: object) -> None:
        self.close()
