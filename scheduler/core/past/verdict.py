"""How a job does, in a sentence or two: since when, how many runs of which text, and what came before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from scheduler.core.past.why import who
from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Pause, Status
from scheduler.core.values.instants import on_the_clock
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.texts import errors_in_a_row

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August"]
_MONTHS += ["September", "October", "November", "December"]
_NEAR = {-1: "yesterday", 0: "today", 1: "tomorrow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRecord:
    """How the runs of a text did that say something about it."""

    sha256: str
    by: str | None = None  # who wrote it
    succeeded: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is known about a job now."""

    status: Status
    now: datetime
    zone: str  # of the times in the sentence
    pause: Pause | None = None
    stopped_at: datetime | None = None
    stop_reason: str | None = None
    archived_at: datetime | None = None
    waiting: str = ""  # for what
    overdue: str = ""  # what is
    errors: int = 0  # in a row
    failing_since: datetime | None = None  # the first failure after the last success
    last_at: datetime | None = None  # None: it has never run
    last_status: RunStatus | None = None
    text: TextRecord | None = None  # that ran last
    before: TextRecord | None = None  # the other text that ran before it
    running_since: datetime | None = None
    next_at: datetime | None = None
    served: bool = True  # a daemon is running, so that its slots are fired


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Stored):
    tone: Literal["good", "bad", "wait", "quiet"]
    sign: str  # says the same as the tone
    word: str
    text: str  # sentences


def judge(found: Condition) -> Verdict:
    """The sentences begin with the word."""
    tone, sign, word, rest = _head(found)
    text = " ".join(filter(None, (f"{word}{rest}", _running(found), _next(found))))
    return Verdict(tone=tone, sign=sign, word=word, text=text)


def _head(found: Condition) -> tuple[Literal["good", "bad", "wait", "quiet"], str, str, str]:
    failing = _failing(found) if found.errors else ""
    too = f" It has failed{failing}" if failing else ""
    match found.status:
        case Status.ARCHIVED:
            return "quiet", "○", "Archived", f"{_since(found, found.archived_at)}: no file defines it."
        case Status.DISABLED:
            return "wait", "○", "Disabled", f": its file says enabled: false.{too}"
        case Status.STOPPED:
            why = f" after {found.stop_reason}" if found.stop_reason else ""
            told = f"{_since(found, found.stopped_at)}{why}; it starts again when somebody resumes it."
            return "bad", "■", "Stopped", told + too
        case Status.PAUSED if found.pause is not None:
            pause = found.pause
            told = _since(found, pause.at) + (f" by {who(pause.by)}" if pause.by else "")
            told += f", until {spoken(pause.until, found.now, found.zone)}" if pause.until else ""
            told += f": {pause.reason.rstrip('.')}." if pause.reason else "."
            return "wait", "‖", "Paused", told + too
        case Status.WAITING:
            return "wait", "…", "Waiting", f": {found.waiting or 'its place is unavailable'}.{too}"
    if failing:
        late = f" Overdue: {found.overdue.rstrip('.')}." if found.overdue else ""
        return "bad", "✕", "Failing", failing + late
    if found.overdue:
        return "bad", "!", "Overdue", f": {found.overdue.rstrip('.')}."
    if found.last_at is None:
        if found.running_since is not None:
            return "quiet", "▶", "Running", " for the first time."
        return "quiet", "○", "Never run", "."
    if found.last_status is not RunStatus.SUCCEEDED:
        return "quiet", "○", "Idle", _last_run(found)
    return "good", "✓", "Healthy", _last_run(found)


def _failing(found: Condition) -> str:
    since = _since(found, found.failing_since)
    text, before = found.text, found.before
    failed = 0 if text is None else text.n - text.succeeded
    if text is None or not failed:
        return f"{since}: {errors_in_a_row(found.errors)}."
    if text.succeeded:
        again = f"{text.succeeded} of {text.n} runs with that text succeeded"
        return f"{since}: {errors_in_a_row(found.errors)} with {_named(text)}; in all, {again}."
    told = f"{since}: {failed} of {text.n} {'run' if text.n == 1 else 'runs'} with {_named(text)} failed"
    if before is not None and before.n:
        told += f"; with the text before it, {before.succeeded} of {before.n} succeeded"
    return f"{told}."


def _last_run(found: Condition) -> str:
    assert found.last_at is not None
    ended = {None: "ended", RunStatus.CANCELLED: "was cancelled"}.get(found.last_status, str(found.last_status))
    told = f": its last run, {spoken(found.last_at, found.now, found.zone)}, {ended.replace('_', ' ')}"
    text = found.text
    if text is None or not text.n:
        return f"{told}."
    return f"{told}; {text.succeeded} of {text.n} {'run' if text.n == 1 else 'runs'} with {_named(text)} succeeded."


def _named(text: TextRecord) -> str:
    return f"text {text.sha256[:7]}" + (f" by {text.by}" if text.by else "")


def _running(found: Condition) -> str:
    if found.running_since is None:
        return ""
    return f"It has been running since {spoken(found.running_since, found.now, found.zone)}."


def _next(found: Condition) -> str:
    match found.status:
        case Status.MANUAL:
            return "It runs only by hand."
        case Status.COMPLETED:
            return "Its schedule has no time left."
        case Status.ACTIVE if found.next_at is not None:
            at = spoken(found.next_at, found.now, found.zone)
            return f"Next: {at}." if found.served else f"Next slot: {at}, if a daemon is running then; none is now."
    return ""


def _since(found: Condition, at: datetime | None) -> str:
    return "" if at is None else f" since {spoken(at, found.now, found.zone)}"


def spoken(at: datetime, now: datetime, zone: str) -> str:
    """An instant as people say it: by its day if that is near, otherwise by its date."""
    local, zone = on_the_clock(at, zone)
    today = on_the_clock(now, zone)[0].date()
    days = (local.date() - today) // timedelta(days=1)
    if days in _NEAR:
        day = _NEAR[days]
    elif abs(days) < 7:
        day = _WEEKDAYS[local.weekday()]
    else:
        day = f"{local.day} {_MONTHS[local.month - 1]}" + ("" if local.year == today.year else f" {local.year}")
    seconds = ":%S" if abs(at - now) < timedelta(minutes=2) else ""
    return f"{day} {local.strftime('%H:%M' + seconds)}"
