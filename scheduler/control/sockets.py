"""The daemon's listening sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path

from scheduler.machine.log import Log

_log = Log(__name__)

REQUEST_BYTES = 1024 * 1024
CONNECT_S = 5.0
_ADDRESS_BYTES = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
OWN_FOLDER = "scheduler-"  # prefix of the folder for a socket without a better place


class Listener:
    """A socket that listens at a path of the file system."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError if the file system has no sockets, or the path is too long."""
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)  # left by a killed daemon: the lock is ours
            self.socket.bind(str(path))
            path.chmod(0o600)
            self.socket.listen(64)
            self._inode = path.stat().st_ino
        except OSError:
            self.socket.close()
            raise

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
                if self.path.parent.name.startswith(OWN_FOLDER):
                    self.path.parent.rmdir()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for requests
        self.socket.close()


def listen(beside: Path, mark: Path | None) -> list[Listener]:
    """Listen beside the database, and again where deleting that folder has no effect."""
    found = [each for each in (_listener(beside),) if each is not None]
    outside = None if mark is None else _listener(mark)
    for folder in (tempfile.gettempdir(), "/tmp"):
        if outside is None:
            try:
                outside = _listener(Path(tempfile.mkdtemp(prefix=OWN_FOLDER, dir=folder)) / "socket")  # mode 0700
            except OSError as error:
                _log.warning("no_socket", folder=folder, error=error.strerror)
    return found if outside is None else [*found, outside]


def _listener(path: Path) -> Listener | None:
    """None if the path is too long, or its file system has no sockets."""
    try:
        return Listener(path) if len(os.fsencode(path)) <= _ADDRESS_BYTES else None
    except OSError as error:
        _log.warning("no_socket", path=path, error=error.strerror)
        return None
