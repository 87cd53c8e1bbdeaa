"""Protocol lines on standard input. A line that is not a message is answered with an error, never ignored, because
its sender may be waiting."""

from __future__ import annotations

import fcntl
import json
import os
import re
from typing import Any, BinaryIO, cast

import anyio
import mcp_types as types
from anyio.to_thread import run_sync
from mcp.shared.message import SessionMessage

MOST_LINE = 8 * 1024 * 1024  # bytes per message: a task of any size, with its escapes
_NO_JSON, _NO_REQUEST = -32700, -32600
# Text without an end extends to the end of the line. Searching for the end from each quote would take too long.
_TEXT = r'"(?:[^"\\]|\\.)*+"?'
_TOKEN = re.compile(_TEXT + r"|[{}\[\]]", re.DOTALL)
_VALUE = re.compile(rf"\s*:\s*({_TEXT}|[^\s,}}\]]+)", re.DOTALL)


class Messages:
    """The lines that are messages, for the SDK to read. `answer` must be set for the others."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._answer: Any = None
        self._ready = anyio.Event()

    def answer_to(self, writer: Any) -> None:
        """writer: the stream of messages to the client."""
        self._answer = writer
        self._ready.set()

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> str:
        while True:
            raw = await run_sync(self._read)
            if not raw:
                raise StopAsyncIteration
            line = raw.decode("utf-8", "replace")
            if not line.strip():
                continue
            error = fault_of(line) if len(raw) <= MOST_LINE else too_long(line)
            if error is None:
                return line
            await self._ready.wait()
            await self._answer.send(SessionMessage(error))

    def _read(self) -> bytes:
        """Read a line. Of a line that is too long, only its start plus one byte above the limit."""
        line = rest = self._source.readline(MOST_LINE + 1)
        while len(rest) > MOST_LINE and not rest.endswith(b"\n"):
            rest = self._source.readline(MOST_LINE + 1)
        return line


def own_stdin() -> BinaryIO:
    """Standard input for this process alone. Child processes get an empty one, so they cannot steal a message."""
    wire = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(wire, "rb")


def fault_of(line: str) -> types.JSONRPCError | None:
    """The error answer to a line that is not a message, or None if it is one."""
    keys = _top_keys(line)
    given = keys.get("id")
    known = _id(given)
    try:
        types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError as error:
        (first, *_) = cast("Any", error).errors(include_url=False, include_input=False)
        if first["type"] == "json_invalid":
            why = str(first.get("ctx", {}).get("error", ""))
            if "recursion limit" in why:
                why = "it is nested too deep"
            elif re.search(r"\\u[dD][89a-fA-F]", line) and ("surrogate" in why or "hex escape" in why):
                why = f"it contains a lone surrogate: {why}"
            return _error(known, _NO_JSON, f"the line is not valid JSON: {why}; nothing was done")
        if "method" not in keys and ("result" in keys or "error" in keys):
            return _error(None, _NO_REQUEST, "the line answers no request; nothing was done")
        return _error(known, _NO_REQUEST, "the line is not a JSON-RPC 2.0 message; nothing was done")
    if given is not None and known is None and "method" in keys:
        # Otherwise it would count as a notification, which gets no answer.
        told = "the id of a request must be text or a whole number; nothing was done"
        return _error(None, _NO_REQUEST, told)
    return None


def too_long(start: str) -> types.JSONRPCError:
    """The answer to a line of which only the start was read."""
    told = f"the message has more than {MOST_LINE:,} bytes; nothing was done"
    return _error(_id(_top_keys(start).get("id")), _NO_REQUEST, told)


def _error(request: int | str | None, code: int, message: str) -> types.JSONRPCError:
    return types.JSONRPCError(jsonrpc="2.0", id=request, error=types.ErrorData(code=code, message=message))


def _id(text: str | None) -> int | str | None:
    """The id as written, if it is valid."""
    try:
        found = None if text is None or len(text) > 1_000 else json.loads(text)
    except ValueError:
        return None
    if isinstance(found, str):
        return found if found.encode("utf-8", "replace").decode() == found else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _top_keys(line: str) -> dict[str, str]:
    """The outermost keys, each with its value as written, even of a line that no parser accepts."""
    keys: dict[str, str] = {}
    depth = 0
    for token in _TOKEN.finditer(line):
        text = token[0]
        if text in ("{", "["):
            depth += 1
        elif text in ("}", "]"):
            depth -= 1
        elif depth == 1 and len(text) <= 20 and (value := _VALUE.match(line, token.end())) is not None:
            keys.setdefault(text[1:-1], value[1])
    return keys
