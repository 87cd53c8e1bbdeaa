"""An event as JSON, for programs: not cut, and nothing in it neutralised."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from scheduler.core import views
from scheduler.core.messages.message import SAMPLE
from scheduler.core.values.events import EventKind
from scheduler.core.values.instants import instant
from scheduler.core.values.settings import ROOT_JOB_ID

if TYPE_CHECKING:
    from scheduler.core import answers
    from scheduler.core.values.events import Subject


def payload_of(subject: Subject, token: str, *, job: answers.JobJson | None = None) -> answers.EventJson:
    """The body of a webhook and the input of a command. job: None if it is not known, or the event is of the root."""
    event, change = subject.event, subject.change
    return {
        "token": token,
        "key": event.key,
        "kind": (EventKind.TEST if SAMPLE in event.facts else event.kind).value,  # no program may act on a sample
        "phase": event.phase.value,
        "at": instant(event.at),
        "root": subject.root,
        "host": subject.host,
        "job_id": None if event.job_id == ROOT_JOB_ID else event.job_id,
        "since": None if event.since is None else instant(event.since),
        "times": event.times,
        "facts": dict(event.facts),
        "job": job,
        "run": None if subject.run is None else views.run_json(subject.run),
        "stderr": list(subject.stderr),
        "change": None
        if change is None
        else {
            "what": change.what,
            "to": change.to,
            "commit": None if change.commit is None else cast("answers.CommitJson", change.commit.to_json()),
        },
        "link": subject.link,
    }
