"""`gemini -p --output-format json` and `stream-json`. An error of the first is a JSON document on stderr."""

from __future__ import annotations

from typing import Any

from scheduler.core.values.usage import EndClass, Tokens
from scheduler.run.results.ending import ProcessEnd
from scheduler.run.results.facts import Facts
from scheduler.run.results.output import TEXT_BYTES, Json, Output, inside, name_of, text_of

_AUTH, _QUOTA = 41, 429 % 256  # exit codes: a status leaves as its lowest eight bits


def read_gemini(out: Output, err: Output, found: Facts, ending: ProcessEnd) -> None:
    said: list[str] = []
    last: Json | None = None
    streamed = False
    for each in out.objects():
        match each.get("type"):
            case "init":
                streamed = True
                found.take_session(each.get("session_id"))
                found.model = name_of(each.get("model"))
            case "message" if each.get("role") == "assistant":
                streamed = True
                if sum(map(len, said)) < TEXT_BYTES:
                    said.append(text_of(each.get("content")) or "")
            case "result":
                streamed, last = True, each
            case None if last is None and _is_answer(each):
                last = each
    if last is None and not streamed:
        whole = out.document()
        last = whole if isinstance(whole, dict) and _is_answer(whole) else None
    found.text = text_of("".join(said)) or None
    if last is not None:
        _answer(last, found)
    told = inside(last, "error") or inside(err.document() if ending.failed else None, "error")
    if told is not None:
        _error(told, found)
    if ending.exit_code == _AUTH:
        found.end_class = EndClass.CREDENTIAL
    elif ending.exit_code == _QUOTA:
        found.end_class = EndClass.QUOTA
    if last is None and told is None:
        found.misfit("there is no result; the command needs --output-format json or stream-json")


def _is_answer(value: Json) -> bool:
    return any(key in value for key in ("response", "stats", "error"))


def _answer(last: Json, found: Facts) -> None:
    if last.get("session_id") is not None:
        found.take_session(last["session_id"])
    found.text = text_of(last.get("response")) or found.text
    if "status" in last:
        found.failed = last["status"] != "success"
    stats = last.get("stats")
    models = inside(stats, "models")
    most = -1
    for key, each in models.items() if isinstance(models, dict) else ():
        name = name_of(key)
        if name is None:
            continue
        counts = inside(each, "tokens") if isinstance(inside(each, "tokens"), dict) else each
        found.by_model[name] = tokens = _tokens(counts, found)
        if (tokens.output or 0) > most and (found.model is None or found.model not in found.by_model):
            most, found.model = tokens.output or 0, name
    if not found.by_model and isinstance(stats, dict):
        found.tokens = _tokens(stats, found) or None


def _tokens(counts: Any, found: Facts) -> Tokens:
    """Of a document (prompt, candidates, thoughts) or a stream (input_tokens, output_tokens).

    Cached tokens are a part of the prompt, and thoughts come on top of the candidates.
    """
    cached, thoughts = found.count(inside(counts, "cached")), found.count(inside(counts, "thoughts"))
    whole = found.count(inside(counts, "prompt"))
    if whole is None:
        whole = found.count(inside(counts, "input_tokens"))
    output = found.count(inside(counts, "candidates"))
    if output is not None:
        output += thoughts or 0
    else:
        output = found.count(inside(counts, "output_tokens"))
    return Tokens(
        input=None if whole is None else max(0, whole - (cached or 0)),
        output=output,
        cache_read=cached,
        reasoning=thoughts,
    )


def _error(told: Any, found: Facts) -> None:
    found.failed = True
    found.error = text_of(inside(told, "message")) or text_of(told)
    found.status = inside(told, "code")
