"""`claude -p --output-format json` and `stream-json`: the last object of type `result` counts."""

from __future__ import annotations

from typing import Any

from scheduler.core.values.usage import EndClass, Tokens
from scheduler.run.results.ending import reset_of_epoch
from scheduler.run.results.facts import Facts
from scheduler.run.results.output import Json, Output, inside, mappings, name_of, text_of


def read_claude(out: Output, found: Facts) -> None:
    last: Json | None = None
    answering: str | None = None
    for each in out.objects():
        match each.get("type"):
            case "result":
                last = each
            case "system" if each.get("subtype") == "init":
                found.take_session(each.get("session_id"))
                answering = name_of(each.get("model")) or answering
            case "assistant" if each.get("parent_tool_use_id") is None:
                answering = name_of(inside(each, "message", "model")) or answering
                found.text = _said(each) or found.text
            case "rate_limit_event":
                _limit(each.get("rate_limit_info"), found)
    if last is None:
        whole = out.document()
        last = whole if isinstance(whole, dict) and whole.get("type") == "result" else None
    found.model = answering
    if last is None:
        found.misfit("there is no result; the command needs --output-format stream-json --verbose, or json")
        return
    _result(last, found)


def _result(last: Json, found: Facts) -> None:
    found.failed = last.get("is_error") is not False
    if not isinstance(last.get("is_error"), bool):
        found.misfit("the result does not say is_error")
    text = text_of(last.get("result"))
    found.text = found.text if text is None else text
    found.take_session(last.get("session_id"))
    found.take_cost(last.get("total_cost_usd"))
    _usage(last.get("modelUsage"), found)
    for each in mappings(last.get("permission_denials")):
        found.deny(each.get("tool_name"))
    subtype, reason = last.get("subtype"), last.get("terminal_reason")
    if not found.failed:
        return
    errors = last.get("errors")
    told = "\n".join(each for each in errors if isinstance(each, str)) if isinstance(errors, list) else ""
    found.error = text_of(told) or text or name_of(subtype)
    found.status = last.get("api_error_status")
    if subtype == "error_max_budget_usd" or reason == "budget_exhausted":
        found.end_class = EndClass.BUDGET
    elif subtype in ("error_max_turns", "error_max_structured_output_retries"):
        found.end_class = EndClass.TASK
    elif found.limit is not None:
        found.end_class = EndClass.QUOTA


def _usage(models: Any, found: Facts) -> None:
    """Sums by model: `usage` beside it is the main loop alone."""
    most = -1
    served: str | None = None
    for key, each in models.items() if isinstance(models, dict) else ():
        name = name_of(key)
        if name is None or not isinstance(each, dict):
            continue
        found.by_model[name] = tokens = Tokens(
            input=found.count(each.get("inputTokens")),
            output=found.count(each.get("outputTokens")),
            cache_read=found.count(each.get("cacheReadInputTokens")),
            cache_write=found.count(each.get("cacheCreationInputTokens")),
            reasoning=found.count(each.get("thinkingTokens")),
        )
        if (tokens.output or 0) > most:
            most, served = tokens.output or 0, name
    if found.model not in found.by_model:
        found.model = served or found.model


def _limit(info: Any, found: Facts) -> None:
    """The newest event counts: a limit that was reached may have been lifted while the program waited."""
    if inside(info, "status") == "rejected":
        found.limit = name_of(inside(info, "rateLimitType")) or "rate limit"
        found.reset_at = reset_of_epoch(inside(info, "resetsAt"))
    else:
        found.limit = found.reset_at = None


def _said(message: Json) -> str | None:
    content = inside(message, "message", "content")
    texts = [text_of(each.get("text")) for each in mappings(content) if each.get("type") == "text"]
    return text_of("\n".join(each for each in texts if each)) or None
