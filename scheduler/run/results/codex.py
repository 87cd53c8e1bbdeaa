"""`codex exec --json`: the last message of the agent, and the totals of the last turn."""

from __future__ import annotations

import re
from typing import Any

from scheduler.core.values.usage import Tokens
from scheduler.run.results.facts import Facts
from scheduler.run.results.output import Output, inside, name_of, text_of

_REROUTED = re.compile(r"model rerouted: (\S+) -> ([^\s,(]+)")


def read_codex(out: Output, found: Facts) -> None:
    said: str | None = None
    events = 0
    for each in out.objects():
        kind = each.get("type")
        events += isinstance(kind, str) and kind.startswith(("thread.", "turn.", "item."))
        match kind:
            case "thread.started":
                found.take_session(each.get("thread_id"))
            case "item.completed" if inside(each, "item", "type") == "agent_message":
                found.text = text_of(inside(each, "item", "text")) or found.text
            case "item.completed" if inside(each, "item", "type") == "error":
                if moved := _REROUTED.search(text_of(inside(each, "item", "message")) or ""):
                    found.model = name_of(moved[2])
            case "turn.started":
                found.failed, found.error = None, None
            case "turn.completed":
                found.failed = False
                found.tokens = _tokens(each.get("usage"), found)
            case "turn.failed":
                found.failed = True
                found.error = text_of(inside(each, "error", "message"))
            case "error":  # not final by itself: it may be followed by another try
                said = text_of(each.get("message")) or said
    if found.failed is not False:
        found.error = found.error or said
    if found.failed is None:
        found.misfit("no turn has ended" if events else "there are no events; the command needs --json")


def _tokens(usage: Any, found: Facts) -> Tokens | None:
    """The totals of the thread. Cached input is a part of the input here."""
    whole, cached = found.count(inside(usage, "input_tokens")), found.count(inside(usage, "cached_input_tokens"))
    return (
        Tokens(
            input=None if whole is None else max(0, whole - (cached or 0)),
            output=found.count(inside(usage, "output_tokens")),
            cache_read=cached,
            cache_write=found.count(inside(usage, "cache_write_input_tokens")),
            reasoning=found.count(inside(usage, "reasoning_output_tokens")),
        )
        or None
    )
