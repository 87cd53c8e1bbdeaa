"""Events: what somebody may want to be told, as it is stored, and what a message about it needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Commit
from scheduler.core.values.runs import Run


class EventKind(StrEnum):
    # of a job
    STARTED = "started"  # told to a ping alone
    SUCCESS = "success"
    FAILURE = "failure"
    STOPPED = "stopped"  # a failure that reached failure_limit
    RECOVERY = "recovery"  # the first success after failures
    SKIP = "skip"  # slots that did not run, for a benign reason
    FLAPPING = "flapping"  # it fails and recovers all the time, so it is told once an hour
    OVERDUE = "overdue"
    ALL_CLEAR = "all_clear"  # no longer overdue
    OVER_BUDGET = "over_budget"
    OTHER_MODEL = "other_model"  # another model answered than the one asked for
    # of the root
    PROBLEMS = "problems"  # errors in files
    GUARD = "guard"  # a pass would archive too many jobs
    HELD = "held"  # a merge or rebase holds the passes
    REMOTE = "remote"  # the remote of a followed root
    SILENT = "silent"  # nothing fires here
    BACKUP = "backup"
    PLACE = "place"  # a place fault: an account is parked, a folder or a program is gone
    CHANNEL = "channel"  # a channel that is dead
    TEST = "test"


class Phase(StrEnum):
    """Where in its course a condition is told."""

    ONCE = "once"  # an event without a course
    BEGINS = "begins"
    LASTS = "lasts"
    ENDS = "ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Stored):
    """What happened, once."""

    key: str  # the same whoever records it, and whenever
    at: datetime
    kind: EventKind
    phase: Phase = Phase.ONCE
    job_id: str  # or ROOT_JOB_ID
    run_n: int | None = None
    streak: str | None = None  # the key of the event that began the course
    since: datetime | None = None  # when the course began
    times: int | None = None  # how often it has happened in the course
    facts: Mapping[str, Any] = field(default_factory=dict)  # JSON: what a message needs once the run's row is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSince(Stored):
    """What is different in a job since its last success."""

    what: str  # "text", "definition", or "text and definition"
    to: str  # the new text's SHA-256, or the generation
    commit: Commit | None = None  # that made the newest of these changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One event with what a message says of it. What is unknown, or has been deleted, is None or empty."""

    event: Event
    root: str  # its name
    host: str = ""
    job_name: str | None = None
    timezone: str = "UTC"  # IANA, of the job
    tries: int = 1  # that the job has at most
    run: Run | None = None
    stderr: tuple[str, ...] = ()  # its last lines, safe to print
    change: ChangeSince | None = None
    link: str | None = None  # to the run, or the job


class Markup(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a service can show."""

    service: str = ""  # its name, such as Slack
    most: int = 1_000  # of a body
    in_bytes: bool = False  # the limit counts bytes of UTF-8, not characters
    most_title: int = 250  # characters; 0 if it has no titles
    markup: Markup = Markup.TEXT
    attaches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as a service is given it, cut to its limits."""

    title: str
    body: str
    markup: Markup = Markup.TEXT
    attachment: Attachment | None = None
