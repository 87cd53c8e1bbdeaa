"""Live hints: server-sent events that say what has changed, so that an open page asks for it again.

One thread looks at the database while anybody listens, and none otherwise. A stream never holds more than a bounded
set of hints: if a client reads too slowly it gets `reload` instead, and if it does not read at all it is dropped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scheduler.core.formats.globs import matches_job
from scheduler.core.values.access import Caller
from scheduler.core.values.hints import RELOAD, Hint, Position, read_position
from scheduler.core.values.problems import SchedulerError
from scheduler.machine.log import Log
from scheduler.service.hints import Hints
from scheduler.service.root import Root
from scheduler.web.calls import AccessError, Guard, Viewer

PATH = "/api/events"
LOOK_S = 0.2  # between two looks
HEARTBEAT_S = 15.0  # a proxy closes a connection that is silent for longer
RECHECK_S = 60.0  # whether the caller may still read
STUCK_S = 30.0  # a client that accepts nothing for so long is dropped
RETRY_MS = 2_000  # after this, a browser connects again
MOST_STREAMS, MOST_EACH = 64, 8  # in all, and of one caller
MOST_PENDING = 256  # hints that wait for a client to read them

_log = Log(__name__)
router = APIRouter()


@dataclass(eq=False, slots=True, kw_only=True)
class Stream:
    """One listener. Belongs to the event loop."""

    caller: Caller
    position: str = ""  # of the newest hint
    pending: dict[Hint, None] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def tell(self, found: Iterable[Hint]) -> None:
        """Add hints to what waits to be read; too many of them become one `reload`."""
        for hint in found:
            self.pending[hint] = None
        if len(self.pending) > MOST_PENDING or RELOAD in self.pending:
            self.pending = {RELOAD: None}
        if self.pending:
            self.news.set()

    def end(self) -> None:
        self.ended = True
        self.news.set()

    def take(self) -> bytes:
        """What waits, as events; empty if nothing does."""
        self.news.clear()
        found, self.pending = self.pending, {}
        return "".join(f"id: {self.position}\ndata: {hint}\n\n" for hint in found).encode()


class Streams:
    """The listeners of this process, and the thread that looks for them."""

    def __init__(self, root: Root, *, look_s: float = LOOK_S) -> None:
        self._root, self._look_s = root, look_s
        self._loop = asyncio.get_running_loop()
        self._streams: set[Stream] = set()
        self._watch: _Watch | None = None
        self._ended = False

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def watching(self) -> bool:
        return self._watch is not None

    def open(self, caller: Caller) -> Stream:
        """Raises: AccessError if there are too many."""
        own = sum(each.caller.actor == caller.actor for each in self._streams)
        if self._ended or len(self._streams) >= MOST_STREAMS or own >= MOST_EACH:
            why = "the server is stopping" if self._ended else f"too many live streams are open ({own} of them yours)"
            raise AccessError(503, why, hint="close other pages, or ask at intervals", retry_after_s=10)
        stream = Stream(caller=caller)
        self._streams.add(stream)
        if self._watch is None:
            self._watch = _Watch(self._root, self._look_s, self._heard)
        return stream

    def close(self, stream: Stream) -> None:
        self._streams.discard(stream)
        if not self._streams and self._watch is not None:
            self._watch.stopping.set()
            self._watch = None

    def end(self) -> None:
        """End all streams, because the server stops. Safe in any thread."""
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._ended = True
        for stream in self._streams:
            stream.end()

    async def begin(self, stream: Stream, after: Position | None) -> None:
        """Wait until changes are noticed, then add what has changed since `after`."""
        watch = self._watch
        if watch is None:
            return
        position, found = await run_sync(watch.begin, after)
        stream.position = stream.position or position
        if found:
            tags = await run_sync(self._tags, found) if stream.caller.jobs else {}
            stream.tell(visible(found, stream.caller, tags))

    def _tags(self, found: Iterable[Hint]) -> Mapping[str, tuple[str, ...]]:
        with Hints(self._root) as hints:
            return hints.tags({each.job_id for each in found if each.job_id is not None})

    def _heard(self, watch: _Watch, found: tuple[Hint, ...], position: str) -> None:
        """Called in the thread that looks."""
        tags: Mapping[str, tuple[str, ...]] = {}
        if found and any(each.caller.jobs for each in tuple(self._streams)):
            tags = watch.tags(found)

        def tell() -> None:
            for stream in self._streams:
                stream.position = position
                stream.tell(visible(found, stream.caller, tags))

        if found:
            self._loop.call_soon_threadsafe(tell)


class _Watch:
    """The thread that looks at the database while anybody listens."""

    def __init__(self, root: Root, look_s: float, heard: Callable[[_Watch, tuple[Hint, ...], str], None]) -> None:
        self.stopping = threading.Event()
        self._root, self._look_s, self._heard = root, look_s, heard
        self._hints = Hints(root)
        self._looked = threading.Event()
        self._trouble = ""
        threading.Thread(target=self._run, name="hints", daemon=True).start()

    def tags(self, found: Iterable[Hint]) -> Mapping[str, tuple[str, ...]]:
        return self._hints.tags({each.job_id for each in found if each.job_id is not None})

    def begin(self, after: Position | None) -> tuple[str, tuple[Hint, ...]]:
        """The position from which on changes are noticed, and what changed between `after` and then."""
        self._looked.wait(STUCK_S)
        now = self._hints.position
        position = "" if now is None else now.written()
        if after is None:
            return position, ()
        try:
            with Hints(self._root) as hints:
                return position, hints.since(after)
        except SchedulerError:
            return position, (RELOAD,)

    def _run(self) -> None:
        with self._hints:
            while not self.stopping.is_set():
                self._look()
                self._looked.set()
                self.stopping.wait(self._look_s)

    def _look(self) -> None:
        try:
            found = self._hints.look()
            now = self._hints.position
            if not self.stopping.is_set():
                self._heard(self, found, "" if now is None else now.written())
            self._trouble = ""
        except RuntimeError:  # the event loop is closed
            self.stopping.set()
        except SchedulerError as error:  # a locked or a lost database: the next look tries again
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("hints_failed", reason=self._trouble)


def visible(found: Iterable[Hint], caller: Caller, tags: Mapping[str, tuple[str, ...]]) -> list[Hint]:
    """The hints that a caller may see: those of other jobs are left out, without a trace."""
    if not caller.jobs:
        return list(found)
    return [
        each
        for each in found
        if each.job_id is None or matches_job(each.job_id, tags.get(each.job_id, ()), caller.jobs)
    ]


def streams_of(app: FastAPI) -> Streams:
    """The streams of this application. Call it in its event loop."""
    found: Streams | None = getattr(app.state, "streams", None)
    if found is None:
        found = app.state.streams = Streams(app.state.root)
    return found


def end_streams(app: FastAPI) -> None:
    """End all streams, so that a server that stops need not wait for them. Safe in any thread."""
    found: Streams | None = getattr(app.state, "streams", None)
    if found is not None:
        found.end()


class _Events(Response):
    media_type = "text/event-stream"

    def __init__(self, streams: Streams, stream: Stream, request: Request, after: Position | None) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._streams, self._stream, self._request, self._after = streams, stream, request, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as group:

                async def listen() -> None:
                    while not (await receive())["type"].endswith("disconnect"):
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(listen)
                await self._write(scope, send)
                group.cancel_scope.cancel()
        finally:
            self._streams.close(self._stream)

    async def _write(self, scope: Scope, send: Send) -> None:
        async def write(part: bytes, *, more: bool = True) -> None:
            with anyio.fail_after(STUCK_S):
                await send({"type": "http.response.body", "body": part, "more_body": more})

        stream, checked_at = self._stream, time.monotonic()
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            await write(f"retry: {RETRY_MS}\n\n".encode())
            await self._streams.begin(stream, self._after)
            if stream.position:  # without data: it is remembered, and no event is dispatched
                await write(f"id: {stream.position}\n\n".encode())
            while not stream.ended:
                with anyio.move_on_after(HEARTBEAT_S):
                    await stream.news.wait()
                if stream.ended:
                    break
                if time.monotonic() >= checked_at + RECHECK_S:
                    checked_at = time.monotonic()
                    if not await run_sync(self._still_allowed):
                        break
                await write(stream.take() or b":\n\n")
            await write(b"", more=False)
        except TimeoutError:
            _log.warning("stream_dropped", "the client does not read", actor=stream.caller.actor)

    def _still_allowed(self) -> bool:
        """False once the session or token is revoked. A database that cannot be read revokes nothing."""
        guard: Guard = self._request.app.state.guard
        try:
            caller = guard.caller(self._request)
        except AccessError as error:
            return error.status not in (401, 403)
        except SchedulerError:
            return True
        return caller.jobs == self._stream.caller.jobs


@router.get(
    PATH,
    response_class=Response,
    responses={200: {"description": "Hints, as server-sent events", "content": {"text/event-stream": {}}}},
)
async def events(
    request: Request,
    call: Viewer,
    last_event_id: Annotated[str, Header(max_length=2_000)] = "",
    after: Annotated[str, Query(max_length=2_000, description="As Last-Event-ID, which counts if both are sent.")] = "",
) -> Response:
    """Say what changes: `job:ID`, `run:ID:N`, `sync`, or `reload` for all of it.

    A run's hint stands for its job as well. `Last-Event-ID` continues after an interruption without a gap.
    """
    streams = streams_of(request.app)
    written = last_event_id or after  # a browser sends the header once it connects again
    position = read_position(written)
    stream = streams.open(call.caller)
    if written and position is None:
        stream.tell([RELOAD])
    return _Events(streams, stream, request, position)
