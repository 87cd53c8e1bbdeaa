"""`goose run --output-format json` and `stream-json`: messages, and metadata at the end. It names no model."""

from __future__ import annotations

from typing import Any

from scheduler.core.values.usage import Tokens
from scheduler.run.results.facts import Facts
from scheduler.run.results.output import Output, inside, mappings, text_of


def read_goose(out: Output, found: Facts) -> None:
    metadata: Any = None
    events = 0
    for each in out.objects():
        match each.get("type"):
            case "message":
                events += 1
                found.text = _said(each.get("message")) or found.text
            case "error":
                events += 1
                found.failed = True
                found.error = text_of(each.get("error")) or text_of(inside(each, "error", "message")) or found.error
            case "complete":
                events += 1
                metadata = each
            case None if "messages" in each and "metadata" in each:
                events += 1
                metadata = each["metadata"]
                _messages(each, found)
    if not events:
        whole = out.document()
        if isinstance(whole, dict) and isinstance(whole.get("messages"), list):
            events += 1
            _messages(whole, found)
            metadata = whole.get("metadata") or out.last_of("metadata")
    if not isinstance(metadata, dict):
        found.misfit(
            "there is no metadata at the end"
            if events
            else "there are no messages; the command needs --output-format json"
        )
        return
    found.take_cost(metadata.get("cost_usd"))
    found.tokens = (
        Tokens(
            input=found.count(metadata.get("input_tokens")),
            output=found.count(metadata.get("output_tokens")),
            cache_read=found.count(metadata.get("cache_read_input_tokens")),
            cache_write=found.count(metadata.get("cache_write_input_tokens")),
        )
        or None
    )
    if metadata.get("status") not in (None, "completed"):
        found.failed = True
        found.error = found.error or text_of(metadata.get("error")) or text_of(metadata.get("status"))


def _messages(whole: dict[str, Any], found: Facts) -> None:
    for each in mappings(whole.get("messages")):
        found.text = _said(each) or found.text


def _said(message: Any) -> str | None:
    if inside(message, "role") != "assistant":
        return None
    parts = mappings(inside(message, "content"))
    return text_of("\n".join(text for each in parts if (text := text_of(each.get("text"))))) or None
