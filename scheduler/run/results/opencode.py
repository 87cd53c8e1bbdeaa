"""`opencode run --format json`: events; cost and tokens are the sums of its steps."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from scheduler.core.values.usage import Tokens, all_tokens
from scheduler.run.results.ending import ProcessEnd, reset_of_headers
from scheduler.run.results.facts import Facts
from scheduler.run.results.output import TEXT_BYTES, Output, inside, name_of, text_of


def read_opencode(out: Output, found: Facts, ending: ProcessEnd) -> None:
    said: list[str] = []
    costs: list[Decimal | None] = []
    tokens: list[Tokens] = []
    steps = ended = events = 0
    for each in out.objects():
        if "sessionID" in each:
            found.take_session(each["sessionID"])
        match each.get("type"):
            case "text":
                events += 1
                if sum(map(len, said)) < TEXT_BYTES and (text := text_of(inside(each, "part", "text"))):
                    said.append(text)
            case "step_start":
                events += 1
                steps += 1
            case "step_finish":
                ended += 1
                events += 1
                costs.append(found.amount(inside(each, "part", "cost")))
                tokens.append(_tokens(inside(each, "part", "tokens"), found))
            case "error":
                events += 1
                _error(each.get("error"), found, ending)
            case "done":
                rejected = each.get("rejected")
                for one in rejected if isinstance(rejected, list) else ():
                    found.deny(one if isinstance(one, str) else _tool(one))
    found.text = text_of("\n".join(said)) or None
    if not events:
        found.misfit("there are no events; the command needs --format json")
    if out.cut or steps > ended or not ended:  # of a step that is missing, nobody knows the cost
        return
    known = [each for each in costs if each is not None]
    found.cost = sum(known, Decimal(0)) if len(known) == len(costs) else None
    found.tokens = all_tokens(tokens)


def _tokens(counts: Any, found: Facts) -> Tokens:
    """Reasoning comes on top of the output here."""
    output, reasoning = found.count(inside(counts, "output")), found.count(inside(counts, "reasoning"))
    return Tokens(
        input=found.count(inside(counts, "input")),
        output=None if output is None else output + (reasoning or 0),
        cache_read=found.count(inside(counts, "cache", "read")),
        cache_write=found.count(inside(counts, "cache", "write")),
        reasoning=reasoning,
    )


def _error(error: Any, found: Facts, ending: ProcessEnd) -> None:
    found.failed = True
    name, message = name_of(inside(error, "name")), text_of(inside(error, "data", "message"))
    found.error = message or name
    found.status = inside(error, "data", "statusCode")
    if found.status is None and name == "ProviderAuthError":
        found.status = 401
    found.reset_at = reset_of_headers(inside(error, "data", "responseHeaders"), ending) or found.reset_at


def _tool(rejected: Any) -> Any:
    return inside(rejected, "tool") or inside(rejected, "permission") or inside(rejected, "type")
