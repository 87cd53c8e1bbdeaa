"""How one daemon holds a database, and how commands find it and speak to it.

The daemon holds a lock on a file beside the database, which says who it is and where its socket is, and on another
outside of the root, where nobody deletes it together with the state folder. A request is one
line of JSON, each answer too. Requests carry no facts that only they know: what a command writes stands in the
database, and "look again" is enough to make the daemon see it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError, UsageError
from scheduler.core.views import Json
from scheduler.root.place import Place, make_private, unusable

Reply = Callable[[Json], None]
Handler = Callable[[Json, Reply], None]

_ADDRESS_BYTES = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_OWN_FOLDER = "scheduler-"  # of a socket that finds no other place
_REQUEST_BYTES = 1024 * 1024
_LOCK_TRIES_S = 1.0  # somebody who only looks holds the lock for a moment
_START_S = 5.0  # between taking the lock and listening
_CONNECT_S = 5.0
_BEAT_S = 2.0  # how often a daemon says that it is still at it
_PATIENCE_S = 10.0  # until a daemon that has not said anything counts as one that does not answer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The daemon that holds a database."""

    pid: int
    host: str
    root: str
    since: str
    socket: str | None  # None: it could not make one; it sees changes at its next rescan
    db: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, serving {self.root} since {self.since}"


def _lock_path(place: Place) -> Path:
    return place.db.with_name(place.db.name + ".daemon")


# -- the daemon's side -----------------------------------------------------------------------


class Hold:
    """One database held by this process, until `release`.

    Two locks say so: one beside the database, which everybody who shares that sees, and a mark outside of the root,
    which is still there when the state folder is deleted under the daemon. A socket stands beside each.
    """

    def __init__(self, place: Place, *, since: str, listen: bool = True) -> None:
        """
        listen: False for who only keeps daemons away meanwhile.
        Raises: UnavailableError where another daemon holds it, naming that one.
        """
        self._sockets: list[_Listener] = []
        beside = _lock_path(place)
        try:
            make_private(beside.parent)
            self._locks = [_Lock(beside, place)]
        except OSError as error:
            raise unusable(beside.parent, error) from error
        if place.mark is not None:
            try:
                make_private(place.mark.parent)
                self._locks.append(_Lock(place.mark, place))
            except OSError as error:
                why = "no command finds this daemon once its state folder is deleted"
                _log.warning("no_mark path=%s error=%r: %s", place.mark, error.strerror, why)
            except UnavailableError:
                self._locks[0].close()
                raise
        self._mark = self._locks[1].path if len(self._locks) > 1 else None
        if listen:
            self._sockets = _listen(beside.with_suffix(".sock"), self._mark and self._mark.with_suffix(".sock"))
        paths = [each.path for each in self._sockets]
        self.holder = Holder(
            pid=os.getpid(),
            host=socket.gethostname(),
            root=str(place.label),
            since=since,
            socket=str(paths[0]) if paths else None,
            db=str(place.db),
        )
        try:
            for lock, path in zip(self._locks, (paths[:1], paths[-1:]), strict=False):
                lock.write(replace(self.holder, socket=str(path[0]) if path else None))
        except OSError as error:
            self.release()
            raise unusable(beside.parent, error) from error

    @property
    def listeners(self) -> list[socket.socket]:
        return [each.socket for each in self._sockets]

    def release(self) -> None:
        for each in self._sockets:
            each.close()
        for lock in self._locks:
            # The one beside the database stays, for whoever cannot see the mark: unlinked, a second daemon could lock
            # a new one while somebody still looks at this.
            lock.close(unlink=lock.path == self._mark)

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class _Lock:
    """One file, locked, that says who has locked it."""

    def __init__(self, path: Path, place: Place) -> None:
        """Raises: UnavailableError where a daemon has it; OSError where no file can be made."""
        self.path = path
        give_up = time.monotonic() + _LOCK_TRIES_S
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _try_lock(self._file, fcntl.LOCK_EX):
                if _is_file_at(self._file, path):
                    break  # else it was unlinked before it was locked
            elif time.monotonic() > give_up:
                holder = _read(self._file)
                os.close(self._file)
                raise UnavailableError(
                    f"the database {place.db} is held by another daemon: {holder or 'one that is just starting'}",
                    hint="there is one daemon per database: stop that one, or name another database with --db",
                )
            os.close(self._file)
            time.sleep(0.02)
        dead = _read(self._file)
        if dead is not None:
            _tidy(dead)

    def write(self, holder: Holder) -> None:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(asdict(holder)).encode(), 0)

    def close(self, *, unlink: bool = False) -> None:
        if unlink and _is_file_at(self._file, self.path):
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk
            os.ftruncate(self._file, 0)
        os.close(self._file)


class _Listener:
    """A socket that listens at a path of the file system."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError where the file system knows none, or the path is too long."""
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)  # of a daemon that was killed: the lock is ours
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
                if self.path.parent.name.startswith(_OWN_FOLDER):
                    self.path.parent.rmdir()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for requests
        self.socket.close()


def _listen(beside: Path, mark: Path | None) -> list[_Listener]:
    """Listens beside the database, and once more where no deletion of that folder reaches."""
    found = [each for each in (_listener(beside),) if each is not None]
    outside = None if mark is None else _listener(mark)
    for folder in (tempfile.gettempdir(), "/tmp"):
        if outside is None:
            try:
                outside = _listener(Path(tempfile.mkdtemp(prefix=_OWN_FOLDER, dir=folder)) / "socket")  # mode 0700
            except OSError as error:
                _log.warning("no_socket folder=%s error=%r", folder, error.strerror)
    return found if outside is None else [*found, outside]


def _listener(path: Path) -> _Listener | None:
    """None where the path is too long, or its file system knows no sockets."""
    try:
        return _Listener(path) if len(os.fsencode(path)) <= _ADDRESS_BYTES else None
    except OSError as error:
        _log.warning("no_socket path=%s error=%r", path, error.strerror)
        return None


def _tidy(dead: Holder) -> None:
    """Removes the socket's folder that a killed daemon has left behind."""
    if dead.socket is not None and Path(dead.socket).parent.name.startswith(_OWN_FOLDER):
        with contextlib.suppress(OSError):
            if Path(dead.socket).parent.stat().st_uid == os.geteuid():
                Path(dead.socket).unlink(missing_ok=True)
                Path(dead.socket).parent.rmdir()


def _is_file_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(file, _REQUEST_BYTES, 0)))
    except (ValueError, TypeError):
        return None


class Server:
    """Answers requests, each in a thread of its own."""

    def __init__(self, listener: socket.socket, handlers: Mapping[str, Handler]) -> None:
        self._listener = listener
        self._handlers = handlers
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._listener.fileno() < 0:
                    return
                time.sleep(0.1)  # no descriptor left: the one who asks waits meanwhile
                continue
            threading.Thread(target=self._serve, args=(connection,), name="request", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        sending = threading.Lock()

        def reply(answer: Json) -> None:
            with sending, contextlib.suppress(OSError):  # whoever asked has gone
                connection.sendall(json.dumps(answer, ensure_ascii=False).encode() + b"\n")

        with connection, contextlib.suppress(OSError):
            connection.settimeout(_CONNECT_S)
            request = _line(connection)
            connection.settimeout(None)
            try:
                found = json.loads(request)
                handler = self._handlers[found["verb"]]
            except (ValueError, KeyError, TypeError) as error:
                reply(_refusal(2, f"not a request: {type(error).__name__} {error}"))
                return
            # Raises where whoever asked has given up, as at a daemon that was stopped: nobody expects it done any more.
            connection.sendall(b'{"accepted": true}\n')
            done = threading.Event()
            # However long it takes, whoever asked can tell it from a daemon that was stopped or hangs.
            with contextlib.suppress(RuntimeError):  # no thread is left: a short answer comes all the same
                threading.Thread(target=_beat, args=(reply, done), name="beat", daemon=True).start()
            try:
                handler(found, reply)
            except SchedulerError as error:
                reply(_refusal(error.exit_code, str(error), error.hint))
            except Exception as error:
                _log.exception("request_failed verb=%s", found["verb"])
                reply(_refusal(5, f"{type(error).__name__}: {error}", "see the daemon's log"))
            finally:
                done.set()


def _beat(reply: Reply, done: threading.Event) -> None:
    while not done.wait(_BEAT_S):
        reply({"accepted": True})


def _refusal(exit_code: int, error: str, hint: str = "") -> Json:
    return {"error": error, "hint": hint, "exit_code": exit_code}


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < _REQUEST_BYTES:
        piece = connection.recv(65_536)
        if not piece:
            break
        data += piece
    return data


# -- the command's side ----------------------------------------------------------------------


def find(place: Place) -> Holder | None:
    """The daemon that holds this database now; one that is just starting is waited for.

    Also one whose database is gone, or stands in the root's other default place: its mark says so.
    """
    give_up = time.monotonic() + _START_S
    while True:
        held = False
        for path in (_lock_path(place), place.mark):
            found = None if path is None else _holder_at(path)
            if isinstance(found, Holder):
                return found
            held = held or found is not None
        if not held:
            return None
        if time.monotonic() > give_up:
            raise UnavailableError(f"a daemon holds {place.db}, but does not say who it is", hint="try again")
        time.sleep(0.05)


def _holder_at(path: Path) -> Holder | Literal["nameless"] | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a read-only file system may hold it
    except OSError:
        return None
    try:
        if _try_lock(file, fcntl.LOCK_SH):  # shared: others who look at the same moment are no daemon
            return None
        return _read(file) or "nameless"
    finally:
        os.close(file)


def ask(holder: Holder, verb: str, *, limit: float | None = None, **request: Any) -> Iterator[Json]:
    """The daemon's answers to one request, as they come; each may take as long as what was asked for.

    limit: seconds for all of it, where an answer needs no time.
    Raises: what the daemon's side raised; UnavailableError where it cannot be reached, falls silent, or hangs up.
    """
    if holder.socket is None:
        raise UnavailableError(f"the daemon ({holder}) has no socket", hint="its log says why; restart it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        patience = _PATIENCE_S if limit is None else limit
        give_up = math.inf if limit is None else time.monotonic() + limit
        connection.settimeout(min(patience, _CONNECT_S))
        try:
            connection.connect(holder.socket)
            connection.sendall(json.dumps({"verb": verb, **request}).encode() + b"\n")
            connection.settimeout(patience)
            with connection.makefile("rb") as answers:
                while line := answers.readline():
                    answer = json.loads(line)
                    if time.monotonic() > give_up:
                        raise TimeoutError
                    if "error" in answer:
                        error = _ERRORS.get(answer["exit_code"], UnavailableError)
                        raise error(answer["error"], hint=answer["hint"])
                    if "accepted" not in answer:
                        yield answer
        except TimeoutError as error:
            raise UnavailableError(
                f"the daemon ({holder}) does not answer: nothing came from it for {patience:g} seconds",
                hint=f"it has been stopped (SIGSTOP, Ctrl-Z): `kill -CONT {holder.pid}` lets it go on"
                if _is_stopped(holder)
                else "look at its log, or restart it",
            ) from error
        except (OSError, ValueError) as error:  # the latter: it was killed in the middle of a line
            raise UnavailableError(
                f"the daemon ({holder}) does not answer: {getattr(error, 'strerror', None) or error}",
                hint="look at its log, or restart it",
            ) from error


def _is_stopped(holder: Holder) -> bool:
    """As far as /proc tells: False elsewhere."""
    if holder.host != socket.gethostname():
        return False
    try:
        stat = Path(f"/proc/{holder.pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


_ERRORS: Mapping[int, type[SchedulerError]] = {2: UsageError, 3: RefusedError, 5: UnavailableError}


def answer_of(holder: Holder, verb: str, *, limit: float | None = None, **request: Any) -> Json:
    """The first answer to a request. Raises like `ask`."""
    for answer in ask(holder, verb, limit=limit, **request):
        return answer
    raise UnavailableError(f"the daemon ({holder}) hung up without an answer", hint="look at its log")
