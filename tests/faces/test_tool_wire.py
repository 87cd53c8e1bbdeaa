"""Lines that are no messages: each is answered, and by its id where it has one."""

from __future__ import annotations

import io
from typing import Any

import anyio
import pytest

from scheduler.tool import wire
from scheduler.tool.wire import Messages, fault_of, too_long

CALL = '{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "schedule", "arguments": %s}}'
LAST = '{"method": "tools/call", "params": {"id": 1, "arguments": %s}, "jsonrpc": "2.0", "id": "a \\" b"}'


@pytest.mark.parametrize(
    ("line", "id_", "code", "said"),
    [
        (CALL % '{"task": "a\\ud800"}', 7, -32700, "lone surrogate"),
        (LAST % '{"task": "\\udc00 x"}', 'a " b', -32700, "is not valid JSON"),
        (CALL % '{"\\ud800": 1}', 7, -32700, "lone surrogate"),
        (CALL % ("[" * 200 + "]" * 200), 7, -32700, "nested too deep"),
        (LAST % ("[" * 5_000 + "]" * 5_000), 'a " b', -32700, "nested too deep"),
        (CALL % "{", 7, -32700, "not valid JSON"),
        (CALL % "NaN?", 7, -32700, "not valid JSON"),
        ("[" * 100_000, None, -32700, "not valid JSON"),
        ('"' + '\\"' * 1_000_000, None, -32700, "not valid JSON"),
        ('{"id": 1' + ', "id": 1' * 10_000, 1, -32700, "not valid JSON"),
        ("{", None, -32700, "not valid JSON"),
        ("\0", None, -32700, "not valid JSON"),
        ("[]", None, -32600, "not a JSON-RPC 2.0 message"),
        ("null", None, -32600, "not a JSON-RPC 2.0 message"),
        ('{"jsonrpc": "2.0"}', None, -32600, "not a JSON-RPC 2.0 message"),
        ('{"jsonrpc": "1.0", "id": 3, "method": "ping"}', 3, -32600, "not a JSON-RPC 2.0 message"),
        ('{"jsonrpc": "2.0", "id": 3, "method": 5}', 3, -32600, "not a JSON-RPC 2.0 message"),
        ('{"jsonrpc": "2.0", "id": null, "method": "ping"}', None, -32600, "the id of a request"),
        ('{"jsonrpc": "2.0", "id": true, "method": "ping"}', None, -32600, "the id of a request"),
        ('{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', None, -32600, "the id of a request"),
        ('{"jsonrpc": "2.0", "id": {"x": 1}, "method": "ping"}', None, -32600, "the id of a request"),
        ('{"jsonrpc": "2.0", "id": "\\ud800", "method": "ping"}', None, -32700, "lone surrogate"),
        ('{"jsonrpc": "2.0", "id": 3, "result": 5}', None, -32600, "answers no request"),
    ],
)
def test_a_line_that_is_no_message_is_an_error_by_its_id(line: str, id_: Any, code: int, said: str) -> None:
    found = fault_of(line)
    assert found is not None
    assert (found.id, found.error.code) == (id_, code)
    assert said in found.error.message
    assert found.model_dump_json(), "it can be sent"


@pytest.mark.parametrize(
    "line",
    [
        CALL % '{"task": "\\ud83c\\udf89"}',
        CALL % '{"id": null}',
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        '{"jsonrpc": "2.0", "id": 3, "result": {}}',
        '{"jsonrpc": "2.0", "id": "x", "method": "ping"}',
    ],
)
def test_a_message_passes(line: str) -> None:
    assert fault_of(line) is None


def test_a_line_that_is_too_long_is_answered_and_the_next_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_LINE", 200)
    good = '{"jsonrpc": "2.0", "id": 3, "method": "ping"}\n'
    lines = CALL % f'"{"x" * 1_000}"' + "\n" + "\n" + good + "x" * 200 + "\n" + good.rstrip("\n")

    class Writer:
        sent: list[Any] = []  # noqa: RUF012

        async def send(self, found: Any) -> None:
            self.sent.append(found.message)

    async def read() -> list[str]:
        messages = Messages(io.BytesIO(lines.encode()))
        messages.answer_to(Writer())
        return [line async for line in messages]

    assert anyio.run(read) == [good, good.rstrip("\n")]
    assert [(each.id, each.error.code) for each in Writer.sent] == [(7, -32600), (None, -32600)]
    assert "more than 200 bytes" in too_long("{").error.message
