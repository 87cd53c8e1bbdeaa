"""Requests from a command to the daemon."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.control.daemon_lock import Holder
from scheduler.control.sockets import CONNECT_S
from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError, UsageError
from scheduler.core.values.units import format_seconds
from scheduler.core.views import Json
from scheduler.machine.processes import is_stopped

_PATIENCE_S = 10.0  # a daemon that is silent for longer counts as not answering


def ask(holder: Holder, verb: str, *, limit: float | None = None, **request: Any) -> Iterator[Json]:
    """The daemon's answers to one request, as they come. Each may take as long as the requested work.

    limit: seconds for all of it, for requests that need no time.
    Raises: what the daemon's side raised; UnavailableError if it cannot be reached, falls silent, or hangs up.
    """
    if holder.socket is None:
        raise UnavailableError(f"the daemon ({holder}) has no socket", hint="its log says why; then restart it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        patience = _PATIENCE_S if limit is None else limit
        give_up = math.inf if limit is None else time.monotonic() + limit
        connection.settimeout(min(patience, CONNECT_S))
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
                f"the daemon ({holder}) has not answered for {format_seconds(patience)}",
                hint=f"it is suspended (SIGSTOP, Ctrl-Z): resume it with `kill -CONT {holder.pid}`"
                if holder.host == socket.gethostname() and is_stopped(holder.pid)
                else "look at its log, or restart it",
            ) from error
        except (OSError, ValueError) as error:  # ValueError: it was killed in the middle of a line
            raise UnavailableError(
                f"the daemon ({holder}) does not answer: {getattr(error, 'strerror', None) or error}",
                hint="look at its log, or restart it",
            ) from error


_ERRORS: Mapping[int, type[SchedulerError]] = {2: UsageError, 3: RefusedError, 5: UnavailableError}


def answer_of(holder: Holder, verb: str, *, limit: float | None = None, **request: Any) -> Json:
    """The first answer to a request. Raises like `ask`."""
    for answer in ask(holder, verb, limit=limit, **request):
        return answer
    raise UnavailableError(f"the daemon ({holder}) closed the connection without an answer", hint="look at its log")
