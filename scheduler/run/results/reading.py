"""The output of a run, read as what its program prints."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from scheduler.core.values.usage import AgentResult, ResultFormat
from scheduler.run.results.claude import read_claude
from scheduler.run.results.codex import read_codex
from scheduler.run.results.ending import ProcessEnd
from scheduler.run.results.facts import Facts
from scheduler.run.results.gemini import read_gemini
from scheduler.run.results.goose import read_goose
from scheduler.run.results.llm import read_llm
from scheduler.run.results.opencode import read_opencode
from scheduler.run.results.output import Output
from scheduler.run.results.text import read_text


def read_result(
    kind: ResultFormat, stdout: Iterable[bytes], stderr: Iterable[bytes], ending: ProcessEnd
) -> AgentResult:
    """What the whole kept output says. Pure, and never raises, whatever the bytes.

    stdout, stderr: the two streams in pieces of any size, each read once, in memory that does not grow with them.
    """
    out, err = Output(stdout, cut=ending.cut), Output(stderr)
    if kind is ResultFormat.TEXT:
        return read_text(out, err, ending)
    deque(err.objects(), maxlen=0)
    found = Facts()
    match kind:
        case ResultFormat.CLAUDE:
            read_claude(out, found)
        case ResultFormat.CODEX:
            read_codex(out, found)
        case ResultFormat.GEMINI:
            read_gemini(out, err, found, ending)
        case ResultFormat.LLM:
            read_llm(out, found)
        case ResultFormat.OPENCODE:
            read_opencode(out, found, ending)
        case ResultFormat.GOOSE:
            read_goose(out, found)
    return found.result(kind, out, err, ending)
