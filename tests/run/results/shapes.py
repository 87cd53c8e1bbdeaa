"""What each program prints, after the shapes that docs and sources of the programs give; written for these tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from scheduler.core.values.usage import AgentResult, ResultFormat
from scheduler.run.results.ending import ProcessEnd
from scheduler.run.results.reading import read_result

AT = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
SESSION = "0b6c1a52-7d3e-4f10-9a55-3f1b2c4d5e6f"


def lines(*objects: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in objects)


CLAUDE_RESULT: dict[str, Any] = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "duration_ms": 4210,
    "num_turns": 3,
    "result": "Three mails need an answer — “today”.",
    "session_id": SESSION,
    "total_cost_usd": 0.0423,
    "usage": {"input_tokens": 4, "output_tokens": 90},
    "modelUsage": {
        "claude-haiku-4-5": {"inputTokens": 300, "outputTokens": 20, "costUSD": 0.0004},
        "claude-opus-4-6": {
            "inputTokens": 12,
            "outputTokens": 410,
            "cacheReadInputTokens": 18000,
            "cacheCreationInputTokens": 2100,
            "costUSD": 0.0419,
        },
    },
    "permission_denials": [{"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "rm -r x"}}],
    "terminal_reason": "completed",
}
CLAUDE_INIT: dict[str, Any] = {"type": "system", "subtype": "init", "session_id": SESSION, "model": "claude-opus-4-6"}


def claude_said(text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {
        "type": "assistant",
        "parent_tool_use_id": None,
        "message": {"model": "claude-opus-4-6", "content": content},
    }


def claude_limit(status: str, resets_at: Any = 1_796_158_800) -> dict[str, Any]:
    info = {"status": status, "resetsAt": resets_at, "rateLimitType": "five_hour", "utilization": 1.0}
    return {"type": "rate_limit_event", "rate_limit_info": info}


def claude_error(**more: Any) -> dict[str, Any]:
    kept = {key: value for key, value in CLAUDE_RESULT.items() if key not in ("permission_denials",)}
    return {**kept, "is_error": True, "result": "API Error: it did not work", **more}


CODEX: list[dict[str, Any]] = [
    {"type": "thread.started", "thread_id": SESSION},
    {"type": "turn.started"},
    {"type": "error", "message": "stream disconnected, trying again 1/5"},
    {
        "type": "item.completed",
        "item": {"id": "i0", "type": "error", "message": "model rerouted: gpt-5.2 -> gpt-5-mini"},
    },
    {"type": "item.completed", "item": {"id": "i1", "type": "agent_message", "text": "Looking."}},
    {"type": "item.completed", "item": {"id": "i2", "type": "command_execution", "command": "ls", "exit_code": 0}},
    {"type": "item.completed", "item": {"id": "i3", "type": "agent_message", "text": "All is well."}},
    {
        "type": "turn.completed",
        "usage": {
            "input_tokens": 24763,
            "cached_input_tokens": 24448,
            "output_tokens": 122,
            "reasoning_output_tokens": 64,
        },
    },
]
GEMINI: dict[str, Any] = {
    "session_id": SESSION,
    "response": "Nothing to do.",
    "stats": {
        "models": {
            "gemini-3-pro": {
                "api": {"totalRequests": 2},
                "tokens": {
                    "input": 4000, "prompt": 9000, "candidates": 40, "total": 9140, "cached": 5000, "thoughts": 100,
                    "tool": 0,
                },
            }
        }
    },
}  # fmt: skip
GEMINI_STREAM: list[dict[str, Any]] = [
    {"type": "init", "session_id": SESSION, "model": "gemini-3-pro"},
    {"type": "message", "role": "user", "content": "Look."},
    {"type": "message", "role": "assistant", "content": "Nothing ", "delta": True},
    {"type": "message", "role": "assistant", "content": "to do.", "delta": True},
    {
        "type": "result",
        "status": "success",
        "stats": {"total_tokens": 9140, "input_tokens": 9000, "output_tokens": 140, "cached": 5000},
    },
]
LLM = [
    {
        "id": "01m8tyxzy5123x5wrz92hrbr6c",
        "model": "gpt-5",
        "resolved_model": "gpt-5-2026-08-07",
        "conversation_id": "01m8tyxzy4fbz09jvqdsgsx9pd",
        "input_tokens": 20,
        "output_tokens": 13,
        "token_details": None,
        "prompt": "say hi",
        "response": "Hi!",
    }
]
OPENCODE: list[dict[str, Any]] = [
    {"type": "step_start", "timestamp": 1, "sessionID": "ses_1", "part": {"type": "step-start"}},
    {"type": "text", "timestamp": 2, "sessionID": "ses_1", "part": {"type": "text", "text": "First."}},
    {
        "type": "step_finish",
        "timestamp": 3,
        "sessionID": "ses_1",
        "part": {
            "cost": 0.01,
            "tokens": {"input": 100, "output": 20, "reasoning": 5, "cache": {"read": 7, "write": 3}},
        },
    },
    {"type": "step_start", "timestamp": 4, "sessionID": "ses_1", "part": {"type": "step-start"}},
    {"type": "text", "timestamp": 5, "sessionID": "ses_1", "part": {"type": "text", "text": "Done."}},
    {
        "type": "step_finish",
        "timestamp": 6,
        "sessionID": "ses_1",
        "part": {"cost": 0.02, "tokens": {"input": 50, "output": 10, "reasoning": 0, "cache": {"read": 0, "write": 0}}},
    },
]
GOOSE: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Look."}]},
        {"role": "assistant", "content": [{"type": "toolRequest", "toolCall": {"metadata": {"cost_usd": 9}}}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Two files changed."}]},
    ],
    "metadata": {"total_tokens": 130, "input_tokens": 100, "output_tokens": 30, "cost_usd": 0.5, "status": "completed"},
}
GOOSE_STREAM: list[dict[str, Any]] = [
    {"type": "message", "message": GOOSE["messages"][2]},
    {"type": "complete", "total_tokens": 130, "input_tokens": 100, "output_tokens": 30, "cost_usd": 0.5},
]

WHOLE: dict[str, tuple[ResultFormat, bytes]] = {
    "claude": (ResultFormat.CLAUDE, json.dumps(CLAUDE_RESULT).encode()),
    "claude-stream": (ResultFormat.CLAUDE, lines(CLAUDE_INIT, claude_said("Reading."), CLAUDE_RESULT)),
    "codex": (ResultFormat.CODEX, lines(*CODEX)),
    "gemini": (ResultFormat.GEMINI, json.dumps(GEMINI, indent=2).encode()),
    "gemini-stream": (ResultFormat.GEMINI, lines(*GEMINI_STREAM)),
    "llm": (ResultFormat.LLM, json.dumps(LLM, indent=2).encode()),
    "opencode": (ResultFormat.OPENCODE, lines(*OPENCODE)),
    "goose": (ResultFormat.GOOSE, json.dumps(GOOSE, indent=2).encode()),
    "goose-stream": (ResultFormat.GOOSE, lines(*GOOSE_STREAM)),
    "text": (ResultFormat.TEXT, b"All is well.\n"),
}


def read(
    kind: ResultFormat,
    stdout: bytes,
    stderr: bytes = b"",
    *,
    exit_code: int | None = 0,
    command: tuple[str, ...] = (),
    **more: Any,
) -> AgentResult:
    pieces = [stdout[at : at + 1000] for at in range(0, len(stdout), 1000)]
    ending = ProcessEnd(command=command or (kind.value,), exit_code=exit_code, at=AT, **more)
    return read_result(kind, pieces, [stderr], ending)
