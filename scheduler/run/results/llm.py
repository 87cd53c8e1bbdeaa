"""`llm PROMPT --json`: the rows of its log, one for each response; the last is the answer."""

from __future__ import annotations

from typing import Any

from scheduler.core.values.usage import Tokens, all_tokens
from scheduler.run.results.facts import Facts
from scheduler.run.results.output import Output, mappings, name_of, text_of


def read_llm(out: Output, found: Facts) -> None:
    for _ in out.objects():
        pass
    whole = out.document()
    rows = [each for each in mappings(whole) if "response" in each or "model" in each]
    if not rows:
        found.misfit("there are no rows; the command needs --json")
        return
    used: dict[str, list[Tokens]] = {}
    for each in rows:
        model = name_of(each.get("resolved_model")) or name_of(each.get("model"))
        if "resolved_model" not in each:  # cut off
            model = None
        found.model = model or found.model
        found.text = text_of(each.get("response")) or found.text
        if each.get("conversation_id") is not None:
            found.take_session(each["conversation_id"])
        used.setdefault(model or "", []).append(_tokens(each, found))
    if out.cut or "" in used:  # rows may be missing: their sum would be too low
        return
    for name, tokens in used.items():
        if total := all_tokens(tokens):
            found.by_model[name] = total


def _tokens(row: dict[str, Any], found: Facts) -> Tokens:
    return Tokens(input=found.count(row.get("input_tokens")), output=found.count(row.get("output_tokens")))
