"""The words of messages: instants with their zones, durations, counts, causes, titles."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from scheduler.core.values.events import EventKind, Phase
from scheduler.core.values.instants import on_the_clock
from scheduler.core.values.units import rough
from scheduler.core.values.usage import EndClass

# What the scheduler says of an end, before what the process said last (run/local/outcome.py).
_END = re.compile(
    r"((?:not finished after \S+(?: s)?; |cancelled; |replaced by a newer run; |interrupted: the scheduler stopped; )?"
    r"(?:exit code [0-9]+|ended by [^\s:;]+))(?:[:;] |$)"
)


def when(at: datetime, zone: str, *, day: bool = True, exact: bool = False) -> str:
    """An instant: `2027-03-02 02:00 PST (10:00 UTC)`. day: with its date. exact: with its seconds, if there are any."""
    at = at if exact else at.replace(second=0)
    local, zone = on_the_clock(at, zone)
    utc = at.astimezone(UTC)
    said = _clock(local, day=day)
    if zone == "UTC":
        return f"{said} UTC"
    name = local.tzname() or ""
    other = _clock(utc, day=day and utc.date() != local.date())
    return f"{said} {name if name.isalpha() else zone} ({other} UTC)"


def _clock(at: datetime, *, day: bool) -> str:
    shape = "%H:%M:%S" if at.second else "%H:%M"
    return f"{at.date().isoformat()} {at.strftime(shape)}" if day else at.strftime(shape)


def span_words(first: datetime, last: datetime) -> str:
    """A period in UTC: `03:00–05:10 UTC`, with its dates if it is not within one day."""
    first, last = (each.astimezone(UTC).replace(second=0) for each in (first, last))
    day = first.date() != last.date()
    return f"{_clock(first, day=day)}–{_clock(last, day=day)} UTC"


def lasted(duration: timedelta) -> str:
    """A duration as people say it: `420ms`, `4.2s`, `41s`, `2h14m`."""
    return rough(max(duration / timedelta(milliseconds=1), 0))


def ordinal(n: int) -> str:
    """1st, 2nd, 31st, 112th."""
    ending = "th" if n // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"


def split_error(error: str) -> tuple[str, str]:
    """How a process ended, in our words, and what it said last. Either can be empty."""
    found = _END.match(error)
    return (found[1], error[found.end() :]) if found is not None else ("", error)


WHY_ENDED = {  # what the program of an agent said, more telling than its exit code
    EndClass.QUOTA: "the account's limit is reached",
    EndClass.CREDENTIAL: "the login is missing, expired or rejected",
    EndClass.TRANSIENT: "the service is overloaded or not reached",
    EndClass.BUDGET: "the program's own cap on spending is reached",
    EndClass.REFUSED: "denied permissions made it give up",
    EndClass.TIMEOUT: "timed out",
}
_OF_JOB = {
    EventKind.STARTED: "started",
    EventKind.SUCCESS: "succeeded",
    EventKind.FAILURE: "failed",
    EventKind.STOPPED: "failed and is stopped",
    EventKind.RECOVERY: "recovered",
    EventKind.SKIP: "was skipped",
    EventKind.FLAPPING: "keeps failing and recovering",
    EventKind.OVERDUE: "is overdue",
    EventKind.ALL_CLEAR: "is no longer overdue",
    EventKind.OVER_BUDGET: "is over its budget",
    EventKind.OTHER_MODEL: "was answered by another model",
}
_OF_JOB_IN_PHASE = {
    (EventKind.SUCCESS, Phase.ENDS): "succeeded again",
    (EventKind.FAILURE, Phase.LASTS): "is still failing",
    (EventKind.FLAPPING, Phase.LASTS): "still fails and recovers",
    (EventKind.FLAPPING, Phase.ENDS): "is steady again",
    (EventKind.OVERDUE, Phase.LASTS): "is still overdue",
    (EventKind.OVERDUE, Phase.ENDS): "is no longer overdue",
    (EventKind.OVER_BUDGET, Phase.LASTS): "is still over its budget",
    (EventKind.OVER_BUDGET, Phase.ENDS): "is within its budget again",
}
_OF_ROOT = {
    EventKind.PROBLEMS: ("errors in the files", "still errors in the files", "no more errors in the files"),
    EventKind.GUARD: (
        "the prune guard holds jobs back",
        "the prune guard still holds jobs back",
        "the prune guard holds nothing back any more",
    ),
    EventKind.HELD: ("sync is held", "sync is still held", "sync is no longer held"),
    EventKind.REMOTE: ("the remote does not answer", "the remote still does not answer", "the remote answers again"),
    EventKind.SILENT: ("no jobs are fired", "still no jobs are fired", "jobs are fired again"),
    EventKind.BACKUP: ("the backup failed", "backups still fail", "backups work again"),
    EventKind.PLACE: ("jobs wait", "jobs still wait", "jobs no longer wait"),
    EventKind.CHANNEL: ("a channel is dead", "a channel is still dead", "a channel works again"),
    EventKind.TEST: ("test message", "test message", "test message"),
}


def event_words(kind: str) -> str:
    """What an event is, whatever its phase: `failed`, `a channel is dead`."""
    found = EventKind(kind)
    return _OF_JOB[found] if found in _OF_JOB else _OF_ROOT[found][0]


_HINTS = {
    EventKind.PROBLEMS: "`scheduler validate` shows each error; jobs keep their last good definition",
    EventKind.GUARD: "`scheduler plan` shows the jobs, and the command that confirms their removal",
    EventKind.HELD: "`scheduler status` says what holds it; until then, edits have no effect",
    EventKind.REMOTE: "`scheduler doctor` says what is wrong; until then, jobs run as last fetched",
    EventKind.SILENT: "`scheduler doctor` says what is wrong",
    EventKind.BACKUP: "`scheduler backup PATH` makes one now and says what is wrong",
    EventKind.PLACE: "`scheduler status` lists the jobs; they go on by themselves once it is resolved",
    EventKind.CHANNEL: "`scheduler channels test NAME` sends a message and says what is wrong",
}
# Where there is more, if no run is: a command and the job.
_COMMANDS = {EventKind.FLAPPING: "history", EventKind.ALL_CLEAR: "history", EventKind.OVER_BUDGET: "show"}
_PLURAL = {
    EventKind.SUCCESS: ("success", "successes"),
    EventKind.FAILURE: ("failure", "failures"),
    EventKind.STOPPED: ("job stopped", "jobs stopped"),
    EventKind.RECOVERY: ("recovery", "recoveries"),
    EventKind.SKIP: ("skip", "skips"),
    EventKind.FLAPPING: ("job that fails and recovers", "jobs that fail and recover"),
    EventKind.OVERDUE: ("job overdue", "jobs overdue"),
    EventKind.ALL_CLEAR: ("job no longer overdue", "jobs no longer overdue"),
    EventKind.OVER_BUDGET: ("budget event", "budget events"),
    EventKind.OTHER_MODEL: ("answer by another model", "answers by another model"),
}


def predicate(kind: EventKind, phase: Phase) -> str:
    """What a title says: of its job, or of the root."""
    if kind in _OF_ROOT:
        begins, lasts, ends = _OF_ROOT[kind]
        return {Phase.LASTS: lasts, Phase.ENDS: ends}.get(phase, begins)
    return _OF_JOB_IN_PHASE.get((kind, phase)) or _OF_JOB[kind]


def usual_hint(kind: EventKind, phase: Phase) -> str:
    """What to do about a condition of the root, if nobody said; nothing once it is over."""
    return "" if phase is Phase.ENDS else _HINTS.get(kind, "")


def command_about(kind: EventKind, job_id: str) -> str:
    """What tells more about a job after an event without a run."""
    return f"scheduler {_COMMANDS.get(kind, 'explain')} {job_id}"


def how_many(kind: EventKind, n: int) -> str:
    """Events of one kind in a digest: `17 failures`."""
    one, more = _PLURAL.get(kind, ("event", "events"))
    return f"{n:,} {one if n == 1 else more}"


def is_of_root(kind: EventKind) -> bool:
    return kind in _OF_ROOT
