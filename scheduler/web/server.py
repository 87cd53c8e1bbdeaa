"""The server below the application: how many clients it holds at once, and how long each of them may take.

A client that sends or reads slowly holds a connection. There is a limit of connections, and beyond it the one that
has made no progress for longest makes room for the new one, so that slow clients lock nobody out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from types import FrameType
from typing import Any

import anyio.to_thread
import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from scheduler.service.listening import BACKLOG
from scheduler.web.events import end_streams

THREADS = 8  # for routes: more would only wait for the database
MOST_CONNECTIONS = 200
MOST_HEAD = 32 * 1024  # bytes of a request line with its headers
REQUEST_S = 20.0  # for a whole request to arrive, with its body
IDLE_S = 30  # between two requests
READ_S = 30.0  # for a client to read LEAST_READ of its answer
LEAST_READ = 64 * 1024
SWEEP_TICKS = 10  # of 100 ms
DRAIN_S = 5


class Connection(H11Protocol):
    """One client, and since when it has made no progress."""

    transport: Any  # None before the connection is made
    cycle: Any  # None before the first request

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.since = time.monotonic()
        self.ended = False  # by the server, possibly before it is gone
        self._unread = 0  # bytes of the answer, at the last progress

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        there = [each for each in all_of(self.connections) if not each.ended]
        if len(there) > MOST_CONNECTIONS:
            slow = [each for each in there if each is not self and each.waits]
            if slow:
                min(slow, key=lambda each: each.since).end()
            else:
                self.app = _busy

    def data_received(self, data: bytes) -> None:
        if self._is_kept:  # the first bytes of another request
            self.since = time.monotonic()
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.since, self._unread = time.monotonic(), self.transport.get_write_buffer_size()

    def on_response_complete(self) -> None:
        if not self.flow.write_paused:
            self.since = time.monotonic()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():  # nobody reads the rest
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(400, "Bad Request", f"this is no HTTP/1.1, or has more than {MOST_HEAD:,} bytes of headers")
        else:  # in the middle of the answer to the request before
            self.transport.abort()

    @property
    def _is_kept(self) -> bool:
        """True between two requests: it ends after IDLE_S by itself."""
        return self.timeout_keep_alive_task is not None

    @property
    def _sends(self) -> bool:
        """True while a request has not arrived, or not with its whole body."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    @property
    def waits(self) -> bool:
        """True while the server waits for this client: for a request, or until it reads an answer."""
        return self._sends or self.flow.write_paused or self.transport.is_closing()

    def sweep(self, now: float) -> None:
        """End it if it takes too long."""
        if self.flow.write_paused or self.transport.is_closing():
            unread = self.transport.get_write_buffer_size()
            if unread <= self._unread - LEAST_READ:
                self.since, self._unread = now, unread
            elif now - self.since > READ_S:
                self.transport.abort()
        elif self._sends and not self._is_kept and now - self.since > REQUEST_S:
            self.end()

    def end(self) -> None:
        """End it, and say why if there was no answer yet."""
        self.ended = True
        if self.conn.our_state is h11.IDLE and not self._is_kept:
            self._answer(408, "Request Timeout", "the request did not arrive in time")
        elif self.transport.get_write_buffer_size() or self.cycle is None or not self.cycle.response_complete:
            self.transport.abort()
        else:
            self.transport.close()

    def _answer(self, status: int, title: str, detail: str) -> None:
        headers, body = _problem(status, title, detail)
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()


def all_of(connections: Iterable[object]) -> list[Connection]:
    return [each for each in connections if isinstance(each, Connection)]


def _problem(status: int, title: str, detail: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    told = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body = json.dumps(told).encode()
    headers = {"content-type": "application/problem+json", "content-length": str(len(body)), "connection": "close"}
    return [(name.encode(), value.encode()) for name, value in headers.items()], body


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    headers, body = _problem(503, "Service Unavailable", "too many requests are under way")
    await send({"type": "http.response.start", "status": 503, "headers": [*headers, (b"retry-after", b"1")]})
    await send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    """Serves an application until a signal."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                ws="none",
                http=Connection,
                backlog=BACKLOG,  # asyncio also accepts so many at once, each with a file that is open
                h11_max_incomplete_event_size=MOST_HEAD,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._app = app

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await super().startup(sockets)  # type: ignore[arg-type]

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_TICKS == 0:
            now = time.monotonic()
            for each in all_of(self.server_state.connections):
                each.sweep(now)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        end_streams(self._app)  # they would go on for as long as their clients
        super().handle_exit(sig, frame)
