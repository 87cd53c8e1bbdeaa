"""The tool server: the Model Context Protocol through the SDK. `Tool` is the same on every transport.

A call blocks a thread, never the protocol. A call that is cancelled, or whose client has gone, starts nothing new.
An edit that has begun is completed before this process ends.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import anyio
import mcp_types as types
from anyio.to_thread import run_sync
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

from scheduler import __version__
from scheduler.core.values.access import Caller
from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError, UsageError
from scheduler.core.values.texts import json_text
from scheduler.machine.signals import is_ignored
from scheduler.run.local.cancel import Cancel
from scheduler.service.root import Root
from scheduler.tool.arguments import EDIT_TOOL, READ_TOOL, TOOLS
from scheduler.tool.calls import WAITS, Json, answer, error_json
from scheduler.tool.reach import EDITS
from scheduler.tool.schema import DESCRIPTIONS, TITLES, input_schema
from scheduler.tool.wire import Messages, own_stdin

MOST_BYTES = 1_000_000  # per answer: more is of no use to a model


def serve_tool(root: Root) -> None:
    """Serve until the client disconnects or a signal arrives."""
    try:
        anyio.run(_Stdio(root).serve)
    except BaseExceptionGroup as group:
        # Remains of a client that disconnected while we were writing to it.
        _, rest = group.split((OSError, anyio.ClosedResourceError, anyio.BrokenResourceError))
        if rest is not None:
            raise rest from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """On whose behalf a call is made."""

    root: Root
    caller: Caller | None = None  # None for whoever started the server


Context = ServerRequestContext[Any]


class Tool:
    """The tools and their calls."""

    def __init__(self, asked: Callable[[Context], Asked]) -> None:
        """asked: on whose behalf a call is made. Raises: SchedulerError if nobody may."""
        self._asked = asked
        self._calls: set[Cancel] = set()
        self._ended: anyio.Event | None = None  # set once no call is left; exists once no more are accepted
        # Edits of one root wait for each other anyway. A run that is waited for must not block reads.
        self._edits = anyio.CapacityLimiter(1)
        self._waits = anyio.CapacityLimiter(32)
        self._others = anyio.CapacityLimiter(4)

    def server(self) -> Server[Any]:
        return Server(
            "scheduler",
            version=__version__,
            instructions=f"The jobs of a scheduler. {READ_TOOL} reads them, {EDIT_TOOL} edits and runs them.",
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def end(self) -> None:
        """Accept no more calls, and wait for work that has begun."""
        self._ended = anyio.Event()
        for cancel in tuple(self._calls):
            cancel.request()
        if self._calls:
            await self._ended.wait()

    async def _list(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(name) for name in TOOLS])

    async def _call(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            if params.name not in TOOLS:
                raise UsageError(f"there is no tool {params.name!r}", hint=f"the tools are {' and '.join(TOOLS)}")
            return _result(await self._answer(self._asked(context), params.arguments or {}, params.name))
        except SchedulerError as error:
            return _result(error_json(error), is_error=True)
        except OSError as error:
            return _result(error_json(UnavailableError(str(error))), is_error=True)
        except Exception as error:  # a bug of ours: tell the agent, and keep serving
            traceback.print_exc()
            told = UnavailableError(f"internal error of the scheduler: {type(error).__name__}: {error}")
            return _result(error_json(told), is_error=True)

    async def _answer(self, asked: Asked, arguments: Mapping[str, Any], tool: str) -> Json:
        """Answer from a thread. If the call is cancelled, still wait for work that has begun."""
        if self._ended is not None:
            raise UnavailableError("the tool server is being stopped")
        action = arguments.get("action")
        limiter = self._edits if action in EDITS else self._waits if action in WAITS else self._others
        cancel, done = Cancel(), anyio.Event()
        results: list[Json | Exception] = []

        def work() -> Json:
            if cancel.is_set():  # while it was waiting for its turn
                raise RefusedError("the call was cancelled; nothing was done")
            root = replace(asked.root, place=asked.root.place.now())
            return answer(root, arguments, cancel, tool, asked.caller)

        async def in_a_thread() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    results.append(await run_sync(work, limiter=limiter))
                except Exception as error:
                    results.append(error)
            done.set()

        self._calls.add(cancel)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(in_a_thread)
                try:
                    await done.wait()
                except anyio.get_cancelled_exc_class():
                    cancel.request()
                    raise
        finally:
            self._calls.discard(cancel)
            if self._ended is not None and not self._calls:
                self._ended.set()
        (found,) = results
        if isinstance(found, Exception):
            raise found
        return found


class _Stdio:
    """The tool on standard input and output, until the client disconnects or a signal arrives."""

    def __init__(self, root: Root) -> None:
        asked = Asked(root=replace(root, place=root.place.loose()))
        self._tool = Tool(lambda _: asked)

    async def serve(self) -> None:
        server = self._tool.server()
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_by_signal)
            messages = Messages(own_stdin())
            async with stdio_server(stdin=cast("Any", messages)) as (reader, writer):
                messages.answer_to(writer)
                await server.run(reader, writer, server.create_initialization_options())
            group.cancel_scope.cancel()

    async def _end_by_signal(self) -> None:
        """End the process here once running work is done, because a thread that waits for stdin cannot be stopped."""
        numbers = [n for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if not is_ignored(n)]
        with anyio.open_signal_receiver(*numbers) as signals:
            async for number in signals:
                await self._tool.end()
                os._exit(128 + number)


def _tool(name: str) -> types.Tool:
    reads = name == READ_TOOL
    return types.Tool(
        name=name,
        title=TITLES[name],
        description=DESCRIPTIONS[name],
        input_schema=input_schema(name),
        annotations=types.ToolAnnotations(
            read_only_hint=reads, destructive_hint=not reads, idempotent_hint=reads, open_world_hint=not reads
        ),
    )


def _result(found: Json, *, is_error: bool = False) -> types.CallToolResult:
    raw = json.dumps(found, ensure_ascii=False)
    # A lone surrogate, from a name that is not UTF-8, would end the stream in the middle of an answer.
    if not raw.isascii() and (clean := raw.encode("utf-8", "replace").decode()) != raw:
        found = json.loads(clean)
    text = json_text(found)
    if len(text) > MOST_BYTES:
        too_long = UsageError(
            f"the call was done, but its answer has {len(text):,} characters; the limit is {MOST_BYTES:,}",
            hint="ask for less: a smaller n, one job, a tag",
        )
        return _result(error_json(too_long), is_error=True)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=found, is_error=is_error
    )
