"""Sample messages: how a channel shows each kind of event. Nothing in them has happened, and each says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from scheduler.core.messages.message import SAMPLE
from scheduler.core.messages.phrases import is_of_root
from scheduler.core.values.events import EventKind, Phase, Subject
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Attempt, Run, RunStatus, Trigger
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat

JOB_ID = "example"
SAMPLES = (EventKind.TEST, *(kind for kind in EventKind if kind not in (EventKind.TEST, EventKind.STARTED)))
_TOOK = timedelta(seconds=41)
_LASTED = timedelta(hours=2)
_ANSWER = """\
**2 mails** need an answer:

| sender | about | age |
|---|---|---:|
| Grace | the budget | 2 d |
| Edsger | the review | 5 h |

Nothing else is *urgent*.
"""
_FAILED = (EventKind.FAILURE, EventKind.STOPPED)
_ANSWERED = (EventKind.SUCCESS, EventKind.RECOVERY, EventKind.OTHER_MODEL)
_BEGIN = (EventKind.FLAPPING, EventKind.OVERDUE, EventKind.OVER_BUDGET)
_LASTS = (*_BEGIN, EventKind.STOPPED, EventKind.RECOVERY, EventKind.ALL_CLEAR)
_TEXTS = {
    EventKind.OVER_BUDGET: "the runs of today have cost 20.14 USD of 20 USD",
    EventKind.PROBLEMS: "files have errors; their jobs keep the last good definition",
    EventKind.GUARD: "the guard keeps 12 jobs from being archived: a, b, c and 9 more",
    EventKind.HELD: "edits have waited for a quarter of an hour: a merge is not finished",
    EventKind.REMOTE: "the remote origin could not be fetched: could not resolve host",
    EventKind.SILENT: "nothing fires: the disk is full",
    EventKind.BACKUP: "there is no new backup: permission denied",
    EventKind.PLACE: "the program of runner agent is gone: claude is not found",
    EventKind.CHANNEL: "channel other has delivered nothing for a while: HTTP 401 Unauthorized",
}


def as_sample(subject: Subject) -> Subject:
    """What a test message shows: the sample that its event asks for. Any other subject as it is."""
    event = subject.event
    asked = event.facts.get(SAMPLE)
    if event.kind is not EventKind.TEST or asked not in SAMPLES or asked == EventKind.TEST:
        return subject
    kind = EventKind(asked)
    facts: dict[str, Any] = {SAMPLE: kind.value}
    if kind in _TEXTS:
        facts["text"] = _TEXTS[kind]
    if is_of_root(kind):
        if kind is EventKind.PROBLEMS:
            facts["members"] = ["jobs/example.yaml:3: unknown key 'scedule'"]
        shown = replace(event, kind=kind, phase=Phase.BEGINS, facts=facts, since=event.at - timedelta(minutes=15))
        return replace(subject, event=shown)
    run = _run(kind, event.at)
    since = event.at - _LASTED
    about: dict[str, Any] = {"since": since, "times": 3} if kind in _LASTS else {}
    if kind is EventKind.OVERDUE:
        facts["text"] = f"no success since {instant(since.replace(microsecond=0))}"
    if kind is EventKind.STOPPED:
        facts["stop_reason"] = "3 failures in a row"
    phase = Phase.BEGINS if kind in _BEGIN else Phase.ONCE
    n = None if run is None else run.n
    shown = replace(event, kind=kind, phase=phase, job_id=JOB_ID, run_n=n, facts=facts, **about)
    stderr = ("Connecting to mail.example.com", "ConnectionError: connection refused") if kind in _FAILED else ()
    return replace(subject, event=shown, run=run, stderr=stderr)


def _run(kind: EventKind, at: datetime) -> Run | None:
    """The run that an event of this kind is about. None if it is about none."""
    slot = (at - _TOOK).replace(second=0, microsecond=0)
    values: dict[str, Any] = {
        "n": 7, "job_id": JOB_ID, "trigger": Trigger.SCHEDULE, "fire_time": slot, "requested_at": slot, "generation": 1,
    }  # fmt: skip
    if kind is EventKind.SKIP:
        return Run(**values, status=RunStatus.SKIPPED, reason="overlap")
    if kind in _FAILED:
        status, code = RunStatus.FAILED, 3
        values["error"] = "exit code 3: connection refused"
    elif kind in _ANSWERED:
        status, code = RunStatus.SUCCEEDED, 0
        values |= _answered(kind)
    else:
        return None
    values |= {"started_at": slot, "finished_at": slot + _TOOK, "duration_ms": 41_000, "exit_code": code}
    return Run(**values, status=status, attempts=(Attempt(n=1, status=status, started_at=slot),))


def _answered(kind: EventKind) -> Mapping[str, Any]:
    """What an agent said and cost."""
    served = "small-1" if kind is EventKind.OTHER_MODEL else "large-2"
    agent = AgentResult(
        format=ResultFormat.CLAUDE, end_class=EndClass.OK, text=_ANSWER, model_asked="large", model_served=served
    )
    cost = Cost(amount=Decimal("0.0421"), currency="USD", basis=CostBasis.REPORTED)
    return {"result": _ANSWER, "agent": agent, "cost": cost}
