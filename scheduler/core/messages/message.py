"""The message about one event: a title that says it all, the facts, what helps to judge, and where to read on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from scheduler.core.messages.cut import size_of, trimmed
from scheduler.core.messages.defuse import fenced, named, on_one_line, quoted, sentence
from scheduler.core.messages.phrases import (
    WHY_ENDED,
    command_about,
    is_of_root,
    lasted,
    ordinal,
    predicate,
    split_error,
    usual_hint,
    when,
)
from scheduler.core.messages.results import attachment_of, result_of, shown_result
from scheduler.core.past.codes import reason_words
from scheduler.core.past.why import who
from scheduler.core.times.moments import with_wall_times
from scheduler.core.values.budget import amount_text
from scheduler.core.values.channels import Detail
from scheduler.core.values.events import EventKind, Fit, Markup, Message, Phase, Subject
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.core.values.texts import counted
from scheduler.core.values.usage import EndClass

SAMPLE = "sample"  # the fact that marks an event that has not happened: the kind that it shows
STDERR_LINES = 10
MEMBERS = 20  # of a list, such as the errors of files
_LONGEST_ROOT, _LONGEST_JOB, _LONGEST_TITLE = 40, 100, 250
_TOKEN = 4  # characters: enough to recognize a message that came twice
_LEAST_RESULT = 60  # less than this says nothing
_ENDED = (EventKind.FAILURE, EventKind.STOPPED)
_ANSWERED = (EventKind.SUCCESS, EventKind.OTHER_MODEL)
_SEPARATOR = " · "
_NOT_IN_LINKS = re.compile(r"[`<>\s]")


def message_of(subject: Subject, fit: Fit, detail: Detail, *, token: str, again: bool = False) -> Message:
    """The message about an event, within the limits of a service.

    token: of the delivery, the same over all tries. again: an earlier try may have arrived.
    """
    if detail is Detail.SHORT:
        subject = replace(subject, stderr=())  # not shown, so the error is: it is often the last of these lines
    title = title_of(subject, predicate_of(subject), fit, again=again)
    facts = [line for line in facts_of(subject, fit.markup) if line]
    foot = foot_of(subject, fit.markup, token)
    room = _room_for(title, facts, foot, fit)
    blocks: list[str] = []
    attachment = None
    event, run, found = subject.event, subject.run, result_of(subject.run)
    if detail is not Detail.SHORT:
        answers = event.kind in _ANSWERED or (event.kind in _ENDED and run is not None and run.agent is not None)
        if event.kind in _ENDED:
            shown = _stderr(subject.stderr, fit, room // 2 if answers and found is not None else room)
            blocks += [shown] if shown else []
            room -= size_of(shown, in_bytes=fit.in_bytes) + 1 if shown else 0
        if answers and run is not None and found is not None and room > _LEAST_RESULT:
            text, is_whole = shown_result(found, fit, room - 2, where=f"scheduler output {run.id}")
            blocks += [f"\n{text}\n"] if text else []
            if detail is Detail.FULL and fit.attaches and not is_whole:
                attachment = attachment_of(found, run)
    return assembled(title, facts, blocks, foot, fit, attachment=attachment)


def predicate_of(subject: Subject) -> str:
    event, run = subject.event, subject.run
    status = event.facts.get("status") if run is None else run.status
    if event.kind is EventKind.FAILURE and status == RunStatus.SKIPPED and event.phase is not Phase.LASTS:
        return "could not start"
    if event.kind is EventKind.CHANNEL and event.facts.get("channel"):
        return predicate(event.kind, event.phase).replace("a channel", f"channel {event.facts['channel']}")
    return predicate(event.kind, event.phase)


def title_of(subject: Subject, said: str, fit: Fit, *, again: bool) -> str:
    """`[prompts-prod] heartbeat failed`: what it says is kept whole, names are shortened if they must be."""
    event = subject.event
    most = fit.most_title or min(_LONGEST_TITLE, fit.most // 2)
    end = " (sent again)" if again else ""
    mark = "TEST: " if SAMPLE in event.facts else ""
    about_root = event.job_id == ROOT_JOB_ID or is_of_root(event.kind)
    where = f"{subject.root} on {subject.host}" if about_root and subject.host else subject.root
    name = "" if event.job_id == ROOT_JOB_ID else subject.job_name or event.job_id
    room = most - len(mark) - len(said) - len(end) - 4
    place = named(where, max(min(_LONGEST_ROOT, room // 2), 2))
    job = named(name, max(min(_LONGEST_JOB, room - len(place)), 2))
    if name and is_of_root(event.kind):
        job += ":"
    return trimmed(f"[{place}] {mark}{f'{job} ' if job else ''}{named(said, most)}{end}", most)


def facts_of(subject: Subject, markup: Markup) -> Iterator[str]:
    """The lines of facts, the most telling first. One may be empty."""
    event, told = subject.event, subject.event.facts
    text = with_wall_times(str(told.get("text") or ""), subject.timezone)
    if SAMPLE in told:
        yield "this is a test message; none of this has happened"
    match event.kind:
        case EventKind.FAILURE | EventKind.STOPPED | EventKind.SUCCESS | EventKind.STARTED:
            yield _SEPARATOR.join(filter(None, [_how_it_ended(subject, markup), _try(subject), _why_now(subject)]))
            if event.kind in _ENDED:
                yield _what_it_said(subject, markup)
                yield _streak(subject)
            if event.phase is Phase.ENDS:
                yield _recovered(subject)
            if event.kind is EventKind.STOPPED:
                yield sentence(_stop(subject), markup)
            yield _change(subject, markup)
            yield _spent(subject, markup)
            if event.kind is EventKind.SUCCESS and subject.run is not None and result_of(subject.run) is None:
                yield "no output"
        case EventKind.RECOVERY:
            yield _recovered(subject)
            yield _SEPARATOR.join(filter(None, [_how_it_ended(subject, markup), _try(subject), _why_now(subject)]))
            yield _change(subject, markup)
            yield _spent(subject, markup)
        case EventKind.SKIP:
            yield _skipped(subject, markup)
            yield _slots(subject)
        case EventKind.OTHER_MODEL:
            agent = None if subject.run is None else subject.run.agent
            asked = told.get("asked") if agent is None else agent.model_asked
            served = told.get("served") if agent is None else agent.model_served
            yield f"asked for {quoted(str(asked), markup)}, answered by {quoted(str(served), markup)}"
            yield _SEPARATOR.join(filter(None, [_how_it_ended(subject, markup), _why_now(subject)]))
            yield _spent(subject, markup)
        case EventKind.FLAPPING if event.phase is not Phase.ENDS:
            yield f"{counted(event.times or 0, 'change')}{_since(subject)}" if event.times else ""
            if event.run_n is not None:
                last = replace(subject, stderr=())  # not shown, so the error is
                yield _SEPARATOR.join(filter(None, [_how_it_ended(last, markup), _try(last), _why_now(last)]))
                yield "" if _known(last, "status") == RunStatus.SUCCEEDED else _what_it_said(last, markup)
            yield "until it is steady for an hour, it is told once an hour"
        case _:
            pass
    yield sentence(text, markup)
    members = [str(each) for each in told.get("members") or ()]
    yield from (f"- {sentence(each, markup, 300)}" for each in members[:MEMBERS])
    if len(members) > MEMBERS:
        yield f"- and {len(members) - MEMBERS:,} more"
    if is_of_root(event.kind) or event.kind in (EventKind.OVERDUE, EventKind.ALL_CLEAR, EventKind.OVER_BUDGET):
        yield _course(subject)
    yield sentence(str(told.get("hint") or usual_hint(event.kind, event.phase)), markup)


def _known(subject: Subject, key: str) -> Any:
    """A fact of the run, or of the event once the run is gone."""
    return subject.event.facts.get(key) if subject.run is None else getattr(subject.run, key)


def _how_it_ended(subject: Subject, markup: Markup) -> str:
    """How the process ended, and how long it took; empty while it runs."""
    duration, status = _known(subject, "duration_ms"), _known(subject, "status")
    took = "" if duration is None else lasted(timedelta(milliseconds=int(duration)))
    if status in (None, RunStatus.RUNNING):
        return ""
    if status == RunStatus.SUCCEEDED:
        return f"took {took}" if took else ""
    how, said = cause_of(subject)
    if status == RunStatus.SKIPPED:
        return sentence(f"{how}: {said}" if said else how, markup)
    joined = " after " if status == RunStatus.TIMED_OUT or how not in WHY_ENDED.values() else f"{_SEPARATOR}took "
    return sentence(how, markup) + (f"{joined}{took}" if took else "")


def cause_of(subject: Subject) -> tuple[str, str]:
    """Why a run failed, in our words, and what it said last, or the error. Not safe to send yet."""
    how, said = split_error(str(_known(subject, "error") or ""))
    status, code, reason = (_known(subject, key) for key in ("status", "exit_code", "reason"))
    if subject.run is not None and subject.run.agent is not None and subject.run.end_class in WHY_ENDED:
        how = WHY_ENDED[subject.run.end_class]
    elif status == RunStatus.TIMED_OUT:
        how = WHY_ENDED[EndClass.TIMEOUT]
    elif status == RunStatus.SKIPPED:
        how = str(reason or status)
    if not how:
        how = f"exit code {code}" if code else str(status or reason or "").replace("_", " ")
    return how, next((line for line in said.splitlines() if line.strip()), "")


def _what_it_said(subject: Subject, markup: Markup) -> str:
    """The error in the process's own words, unless its last lines, or the line before, say it anyway."""
    how, said = cause_of(subject)
    skipped = _known(subject, "status") == RunStatus.SKIPPED
    if skipped or not said or said == how or any(said.strip() in line for line in subject.stderr[-STDERR_LINES:]):
        return ""
    return quoted(said, markup, 300)


def _try(subject: Subject) -> str:
    tries = 0 if subject.run is None else len(subject.run.attempts)
    return f"try {tries} of {max(subject.tries, tries)}" if tries and max(subject.tries, tries) > 1 else ""


def _why_now(subject: Subject) -> str:
    """The slot, or who requested the run."""
    run, zone = subject.run, subject.timezone
    if run is None:
        return when(subject.event.at, zone)
    if run.fire_time is None:
        return f"run by {on_one_line(who(run.requested_by), 60)}, {when(run.requested_at, zone)}"
    more = f" (the last of {run.slots:,} slots)" if run.slots > 1 else ""
    return when(run.fire_time_last or run.fire_time, zone, exact=True) + more


def _streak(subject: Subject) -> str:
    event = subject.event
    if event.kind not in _ENDED or (event.times or 0) < 2:
        return ""
    return f"{ordinal(event.times or 0)} time in a row{_since(subject, ',')}"


def _since(subject: Subject, comma: str = "") -> str:
    since = subject.event.since
    return "" if since is None else f"{comma} since {when(since, subject.timezone)}"


def _stop(subject: Subject) -> str:
    job_id, reason = subject.event.job_id, subject.event.facts.get("stop_reason")
    said = f"stopped: {reason}" if reason else "stopped"
    return f"{said}; edit its definition or task, or run `scheduler resume {job_id}`, to start it again"


def _recovered(subject: Subject) -> str:
    event = subject.event
    times = f"failed {counted(event.times, 'time')}" if event.times else "failed before"
    return times + _since(subject, ",")


def _skipped(subject: Subject, markup: Markup) -> str:
    reason = str(_known(subject, "reason") or "")
    said = reason_words(reason)
    error = str(_known(subject, "error") or "")
    return sentence(f"{said}: {error}" if error else said, markup)


def _slots(subject: Subject) -> str:
    run, zone = subject.run, subject.timezone
    if run is None:
        slots = subject.event.facts.get("slots") or subject.event.times or 1
        return f"{counted(int(slots), 'slot')}, {when(subject.event.at, zone)}"
    if run.slots > 1 and run.fire_time is not None and run.fire_time_last is not None:
        first, last = (when(each, zone, exact=True) for each in (run.fire_time, run.fire_time_last))
        return f"{run.slots:,} slots, {first} to {last}"
    return f"1 slot, {_why_now(subject)}"


def _change(subject: Subject, markup: Markup) -> str:
    """What differs since the last success: the first suspect."""
    change = subject.change
    if change is None:
        return ""
    to = f"{change.to[:6]}…" if len(change.to) > 12 else f"generation {change.to}"
    said = f"{change.what} {to} changed"
    commit = change.commit
    if commit is None:
        return f"{said} since the last success, in no known commit"
    author = quoted(commit.author, Markup.TEXT, 60).replace("](", "] (").replace("<", "‹").replace("`", "'")
    subject_line = quoted(commit.subject, markup, 100)
    shown = subject_line if markup is Markup.MARKDOWN else f'"{subject_line}"'
    return f"{said} in {on_one_line(commit.id[:7], 7)} by {author}: {shown}"


def _spent(subject: Subject, markup: Markup) -> str:
    """Cost and model of an agent."""
    run = subject.run
    if run is None:
        return ""
    model = None if run.agent is None else run.agent.model_served or run.agent.model_asked
    cost = "" if run.cost is None else amount_text(round(run.cost.amount, 4), run.cost.currency)
    return _SEPARATOR.join(filter(None, ["" if model is None else quoted(model, markup, 60), cost]))


def _course(subject: Subject) -> str:
    """Since when a condition lasts, or how long it lasted."""
    event = subject.event
    if event.kind is EventKind.OVERDUE and event.facts.get("text"):
        return ""  # which says it
    if event.since is None:
        return "" if event.phase is Phase.ONCE else when(event.at, subject.timezone)
    since = when(event.since, subject.timezone)
    if event.phase is Phase.ENDS or event.kind is EventKind.ALL_CLEAR:
        return f"lasted {lasted(event.at - event.since)}, since {since}"
    return f"since {since}"


def foot_of(subject: Subject, markup: Markup, token: str) -> list[str]:
    """Where there is more: a command, a link, and what names this message."""
    event, run = subject.event, subject.run
    tick = "`" if markup is Markup.MARKDOWN else ""
    command = ""
    if event.job_id != ROOT_JOB_ID and not is_of_root(event.kind):
        run_id = None if event.run_n is None else f"{event.job_id}:{event.run_n}"
        if run_id is None:
            command = command_about(event.kind, event.job_id)
        elif _known(subject, "status") == RunStatus.SKIPPED or (run is not None and not run.attempts):
            command = f"scheduler show {run_id}"
        else:
            command = f"scheduler output {run_id}"
    pointer = f"{tick}{on_one_line(command, 150).replace('`', '')}{tick}" if command else ""
    return [
        _SEPARATOR.join(filter(None, [pointer, short_token(token)])),
        *([] if not subject.link else [_NOT_IN_LINKS.sub("", on_one_line(subject.link, 500))]),
    ]


def short_token(token: str) -> str:
    """What people compare: `#k3f9`."""
    return f"#{''.join(filter(str.isalnum, token.rpartition('_')[2]))[:_TOKEN]}"


def _stderr(lines: Sequence[str], fit: Fit, most: int) -> str:
    """The last lines that fit, as code if the service has it."""
    kept = [on_one_line(line) for line in lines[-STDERR_LINES:]]
    while kept:
        text = "\n".join(kept)
        shown = fenced(text) if fit.markup is Markup.MARKDOWN else f"stderr:\n{text}"
        if size_of(shown, in_bytes=fit.in_bytes) < most:
            return shown
        kept = kept[1:]
    return ""


def _room_for(title: str, facts: Sequence[str], foot: Sequence[str], fit: Fit) -> int:
    """What remains of a body beside its facts and its foot."""
    return _whole_room(title, fit) - size_of("\n".join([*facts, "", *foot]), in_bytes=fit.in_bytes)


def _whole_room(title: str, fit: Fit) -> int:
    """A service without titles is given the title as the first line of the body."""
    return fit.most - (0 if fit.most_title else size_of(title, in_bytes=fit.in_bytes) + 2)


def assembled(
    title: str, facts: Sequence[str], blocks: Sequence[str], foot: Sequence[str], fit: Fit, **more: Any
) -> Message:
    """The message, never above its limit. What does not fit goes: the blocks, then facts from their end on.

    The foot has up to half of a small body.
    """
    most = _whole_room(title, fit)
    kept = list(foot)
    while kept and size_of("\n".join(kept), in_bytes=fit.in_bytes) > most // 2:
        kept.pop()
    room = most - (size_of("\n".join(["", *kept]), in_bytes=fit.in_bytes) if kept else 0)
    lines = [*facts, *blocks]
    while len(lines) > 1 and size_of("\n".join(lines), in_bytes=fit.in_bytes) > room:
        lines.pop()
    text = trimmed("\n".join(lines), room, in_bytes=fit.in_bytes)
    return Message(title=title, body="\n".join(filter(None, [text, *kept])), markup=fit.markup, **more)
