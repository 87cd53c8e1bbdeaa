"""Real servers on this machine that take messages, each in one thread. What they were sent is in `received`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message as Mail
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.helpers import until


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request over HTTP."""

    method: str
    target: str  # path and query
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


@dataclass(slots=True)
class HttpSink:
    """Answers each request as its mode says.

    mode: an HTTP status; `hang` answers nothing, `drip` a byte of a header now and then, for ever; `close` hangs up in
    the middle of an answer.
    """

    mode: int | str = 200
    headers: dict[str, str] = field(default_factory=dict)  # of the answers
    body: bytes = b"ok"
    received: list[Received] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        writer.close() if isinstance(self.mode, int) else writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if not (first := await reader.readline()):
            return False
        method, target, _ = first.decode().split(" ", 2)
        headers = {}
        while (line := (await reader.readline()).decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(method=method, target=target, headers=headers, body=body))
        match self.mode:
            case "hang":
                await reader.read()
            case "drip":
                writer.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                while not writer.is_closing():
                    writer.write(b".")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            case "close":
                writer.write(b"HTTP/1.1 2")
                await writer.drain()
            case status:
                lines = [f"HTTP/1.1 {status} As told", f"Content-Length: {len(self.body)}", "Connection: close"]
                lines += [f"{name}: {value}" for name, value in self.headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + self.body)
                await writer.drain()
        return False


@dataclass(slots=True)
class SmtpSink:
    """Takes mail. mode: `ok`, `mute` says nothing at all, `drip` its greeting byte by byte, for ever."""

    mode: str = "ok"
    answer: str = "250 OK"  # to a recipient
    received: list[Mail] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """For Apprise."""
        return f"mailto://127.0.0.1:{self.port}?from=from@example.com&to=to@example.com&mode=insecure"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.received.append(message_from_bytes(envelope.content))
        return "250 OK"

    async def serve_badly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            if self.mode == "mute":
                await reader.read()
            while not writer.is_closing():
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.transport.abort()


@contextlib.contextmanager
def http_sink(mode: int | str = 200, **options: Any) -> Iterator[HttpSink]:
    sink = HttpSink(mode=mode, **options)
    with _looping() as loop:
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(sink.serve, "127.0.0.1", 0), loop).result()
        sink.port = server.sockets[0].getsockname()[1]
        try:
            yield sink
        finally:
            loop.call_soon_threadsafe(server.close)


@contextlib.contextmanager
def smtp_sink(mode: str = "ok") -> Iterator[SmtpSink]:
    sink = SmtpSink(mode=mode)

    async def start(loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        if mode == "ok":
            return await loop.create_server(lambda: SMTP(sink, loop=loop), "127.0.0.1", 0)
        return await asyncio.start_server(sink.serve_badly, "127.0.0.1", 0)

    with _looping() as loop:
        server = asyncio.run_coroutine_threadsafe(start(loop), loop).result()
        sink.port = server.sockets[0].getsockname()[1]
        try:
            yield sink
        finally:
            loop.call_soon_threadsafe(server.close)


@contextlib.contextmanager
def _looping() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _end_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def nobody() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def soon(sink: HttpSink | SmtpSink, count: int) -> None:
    """Wait until so many messages have come."""
    until(lambda: len(sink.received) >= count, f"{count} messages")


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)
