"""Plain text: the answer is what the program wrote, and its exit code says how it ended."""

from __future__ import annotations

from collections import deque

from scheduler.core.values.last_lines import last_line
from scheduler.core.values.usage import AgentResult, EndClass, ResultFormat, model_asked
from scheduler.run.results.ending import ProcessEnd
from scheduler.run.results.output import Output, name_of


def read_text(out: Output, err: Output, ending: ProcessEnd) -> AgentResult:
    """Classes need a format: of plain text, no word is taken for an error of the account."""
    for each in (out, err):
        deque(each.objects(), maxlen=0)
    ended = EndClass.TASK if ending.failed else EndClass.OK
    return AgentResult(
        format=ResultFormat.TEXT,
        end_class=ending.stopped or ended,
        text=None if out.blank else out.start,
        error=(last_line(err.end.encode()) or None) if ending.failed else None,
        model_asked=name_of(model_asked(ending.command)),
    )
