"""The daemon's answers to requests."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping

from scheduler.control.sockets import CONNECT_S, REQUEST_BYTES
from scheduler.core.values.problems import SchedulerError
from scheduler.core.views import Json
from scheduler.machine.log import Log

_BEAT_S = 2.0  # how often a daemon says that it is still working

_log = Log(__name__)

BEAT: Json = {"accepted": True}  # the daemon is still working

Reply = Callable[[Json], bool]  # False: the client has gone
# The answers to a request, each sent as it comes. A generator is closed once the client has gone.
Handler = Callable[[Json], Iterable[Json]]


class Server:
    """Answers requests, each in its own thread."""

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
                time.sleep(0.1)  # no descriptor left: the client waits meanwhile
                continue
            threading.Thread(target=self._serve, args=(connection,), name="request", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        sending = threading.Lock()

        def reply(answer: Json) -> bool:
            with sending, contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")
                return True
            return False

        with connection, contextlib.suppress(OSError):
            connection.settimeout(CONNECT_S)
            request = _line(connection)
            connection.settimeout(None)
            try:
                found = json.loads(request)
                handler = self._handlers[found["verb"]]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reply(_refusal(2, f"not a request: {type(error).__name__} {error}"))
                return
            # Raises if the client has given up, as with a stopped daemon: nobody expects the work any more.
            connection.sendall(b'{"accepted": true}\n')
            done = threading.Event()
            # However long the work takes, the client can tell it from a daemon that was stopped or hangs.
            with contextlib.suppress(RuntimeError):  # no thread is left: a short answer comes all the same
                threading.Thread(target=_beat, args=(reply, done), name="beat", daemon=True).start()
            try:
                answers = handler(found)
                for answer in answers:
                    if not reply(answer) and isinstance(answers, Generator):
                        answers.close()
            except SchedulerError as error:
                reply(_refusal(error.exit_code, str(error), error.hint))
            except Exception as error:
                _log.exception("request_failed", verb=found["verb"])
                reply(_refusal(5, f"{type(error).__name__}: {error}", "see the daemon's log"))
            finally:
                done.set()


def _beat(reply: Reply, done: threading.Event) -> None:
    while not done.wait(_BEAT_S):
        reply(BEAT)


def _refusal(exit_code: int, error: str, hint: str = "") -> Json:
    return {"error": error, "hint": hint, "exit_code": exit_code}


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < REQUEST_BYTES:
        piece = connection.recv(65_536)
        if not piece:
            break
        data += piece
    return data
