"""The client of Temporal: follows ids, and says what becomes of them. It knows no rule and no row.

One asyncio loop, a task for each id; whatever is asked of an id is done in order. Its whole surface on the server is
`Server`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from scheduler.machine.log import Log

LOOK_S = 5.0  # between two looks whether a worker has a run, and after an answer that the server gave no
SHORT_S = 0.5  # before the first of them, if few are out
FEW = 10
CANCEL_S = 2.0  # for a worker to answer a cancel of what nobody has begun
HEALTH_S = 15.0
RPC = timedelta(seconds=10)
OURS = "no worker took it in time"  # the reason of a workflow that was ended by its own control plane

_log = Log(__name__)


class AlreadyError(Exception):
    """The id has been used. database: whose it is; empty if nobody can tell."""

    def __init__(self, database: str) -> None:
        super().__init__(database)
        self.database = database


class UnknownError(Exception):
    """There is no such id."""


class UnreachableError(Exception):
    """The server gave no answer, or none that says anything."""


class RefusedByServerError(Exception):
    """The server will never accept that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the server knows of an id."""

    database: str
    closed: bool
    begun: bool = False  # a worker has it
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The end of a workflow: its outcome, or the word for how it ended without one."""

    outcome: Mapping[str, Any] | None = None
    word: str = ""
    text: str = ""
    ours: bool = False


class Server(Protocol):
    """What is used of a server. Each raises UnreachableError; all but `start` and `health` UnknownError."""

    async def start(self, handle: str, queue: str, spec: Mapping[str, Any], task: bytes) -> None:
        """Raises: AlreadyError, RefusedByServerError."""
        ...

    async def describe(self, handle: str) -> Seen: ...

    async def result(self, handle: str) -> Closed:
        """Waits for it."""
        ...

    async def cancel(self, handle: str) -> None: ...

    async def terminate(self, handle: str, reason: str) -> None: ...

    async def health(self) -> float | None:
        """Seconds for which closed ids are known. None if the server does not tell."""
        ...


class Client:
    """Does what it is told, and says what it sees."""

    def __init__(self, server: Server, say: Callable[[Mapping[str, Any]], None], *, database: str) -> None:
        self._server, self._say, self._database = server, say, database
        self._asked: dict[str, asyncio.Queue[Mapping[str, Any]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reached: bool | None = None

    def tell(self, asked: Mapping[str, Any]) -> None:
        """do: start, watch, cancel, end, forget, of an `id`."""
        handle = asked["id"]
        if asked["do"] == "forget":
            self._asked.pop(handle, None)
            if (task := self._tasks.pop(handle, None)) is not None:
                task.cancel()
            return
        if handle not in self._tasks:
            self._asked[handle] = asyncio.Queue()
            self._tasks[handle] = asyncio.get_running_loop().create_task(self._follow(handle, self._asked[handle]))
        self._asked[handle].put_nowait(asked)

    async def keep_well(self) -> None:
        """Say now and then whether the server is reached."""
        while True:
            try:
                retention = await self._server.health()
                self._is_reached(retention)
            except UnreachableError as error:
                self._not_reached(error)
            await asyncio.sleep(HEALTH_S)

    def _is_reached(self, retention: float | None = None) -> None:
        if not self._reached or retention is not None:
            self._say({"is": "reached", "retention_s": retention})
        self._reached = True

    def _not_reached(self, error: Exception) -> None:
        if self._reached is not False:
            self._say({"is": "unreachable", "text": str(error)})
        self._reached = False

    async def _sure(self, what: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Ask until there is an answer: an error of the network says nothing about what has happened."""
        wait = SHORT_S
        while True:
            try:
                answer = await what()
            except UnreachableError as error:
                self._not_reached(error)
                await asyncio.sleep(wait)
                wait = min(LOOK_S, wait * 2)
                continue
            self._is_reached()
            return answer

    async def _follow(self, handle: str, asked: asyncio.Queue[Mapping[str, Any]]) -> None:
        waits: asyncio.Task[None] | None = None
        try:
            while True:
                what = await asked.get()
                try:
                    found = await self._do(handle, what)
                except UnknownError:
                    self._say({"is": "unknown", "id": handle})
                    continue
                except RefusedByServerError as error:
                    self._say({"is": "closed", "id": handle, "word": "refused", "text": str(error)})
                    continue
                if found and (waits is None or waits.done()):
                    waits = asyncio.get_running_loop().create_task(self._to_end(handle))
        finally:
            if waits is not None:
                waits.cancel()

    async def _do(self, handle: str, what: Mapping[str, Any]) -> bool:
        """True if its end is to be awaited."""
        server = self._server
        match what["do"]:
            case "start":
                try:
                    task = base64.b64decode(what["task"])
                    await self._sure(lambda: server.start(handle, what["queue"], what["spec"], task))
                except AlreadyError as error:
                    self._whose(handle, error.database)
                self._say({"is": "accepted", "id": handle})
            case "watch":
                seen: Seen = await self._sure(lambda: server.describe(handle))
                self._whose(handle, seen.database)
            case "cancel":
                await self._sure(lambda: server.cancel(handle))
                await asyncio.sleep(CANCEL_S)
                await self._end_unbegun(handle)
            case "end":
                await self._end_unbegun(handle)
            case _:
                return False
        return True

    async def _end_unbegun(self, handle: str) -> None:
        """End what no worker has: none would ever see that it was cancelled, or that it is too late."""
        seen: Seen = await self._sure(lambda: self._server.describe(handle))
        if not seen.closed and not seen.begun:
            await self._sure(lambda: self._server.terminate(handle, OURS))

    def _whose(self, handle: str, database: str) -> None:
        if database and database != self._database:
            self._say({"is": "elsewhere", "id": handle, "database": database})

    async def _to_end(self, handle: str) -> None:
        look = asyncio.get_running_loop().create_task(self._until_begun(handle))
        try:
            found: Closed = await self._sure(lambda: self._server.result(handle))
        except UnknownError:
            self._say({"is": "unknown", "id": handle})
            return
        finally:
            look.cancel()
        if found.outcome is not None:
            self._say({"is": "ended", "id": handle, "outcome": dict(found.outcome)})
        else:
            self._say({"is": "closed", "id": handle, "word": found.word, "text": found.text, "ours": found.ours})

    async def _until_begun(self, handle: str) -> None:
        """Say when a worker has it: the ledger shows it as running from then on. Looks seldom where many are out."""
        wait = SHORT_S * max(1.0, len(self._tasks) / FEW)
        with contextlib.suppress(UnknownError):
            while True:
                await asyncio.sleep(wait)
                seen: Seen = await self._sure(lambda: self._server.describe(handle))
                if seen.begun:
                    self._say({"is": "running", "id": handle, "host": seen.host})
                    return
                wait = min(LOOK_S, wait * 2)
