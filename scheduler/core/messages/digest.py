"""One message about many events: counted by kind, and grouped by what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, timedelta

from scheduler.core.messages.defuse import on_one_line, quoted, sentence
from scheduler.core.messages.message import assembled, cause_of, facts_of, foot_of, predicate_of, short_token, title_of
from scheduler.core.messages.phrases import how_many, is_of_root, span_words, when
from scheduler.core.values.channels import Detail
from scheduler.core.values.events import EventKind, Fit, Markup, Message, Subject
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.core.values.texts import counted

_NAMED = 8  # jobs in one line
_GROUPS = 12  # causes in one message
_FAILED = (EventKind.FAILURE, EventKind.STOPPED)
_NAME = 60


def digest_of(subjects: Sequence[Subject], fit: Fit, detail: Detail, *, token: str, again: bool = False) -> Message:
    """subjects: at least one, of one root, in the order of their events.

    `17 failures since 03:00 UTC: a, b, c and 14 more`, then each cause with its jobs; the other kinds; and what
    concerns the root line by line, first.
    """
    failed = [each for each in subjects if each.event.kind in _FAILED]
    of_root = [each for each in subjects if is_of_root(each.event.kind)]
    others = [each for each in subjects if each.event.kind not in _FAILED and not is_of_root(each.event.kind)]
    kinds = Counter(each.event.kind for each in others)
    counts = [how_many(EventKind.FAILURE, len(failed))] if failed else []
    counts += [how_many(kind, n) for kind, n in kinds.most_common()]
    counts += [predicate_of(of_root[0]) if len(of_root) == 1 else counted(len(of_root), "alert")] if of_root else []
    tick = "`" if fit.markup is Markup.MARKDOWN else ""
    facts = [f"- {sentence(_of_root(each), fit.markup)}" for each in of_root]
    if failed:
        facts.append(f"{counts[0]} since {_since(failed)}: {_jobs(failed)}")
        stopped = [each for each in failed if each.event.kind is EventKind.STOPPED]
        if stopped:
            facts.append(f"- stopped, until an edit or {tick}scheduler resume JOB{tick}: {_jobs(stopped)}")
        if detail is not Detail.SHORT or len(failed) > _NAMED:
            facts += _causes(failed, fit.markup)
    for kind in kinds:
        found = [each for each in others if each.event.kind is kind]
        facts.append(f"{how_many(kind, len(found))} since {_since(found)}: {_jobs(found)}")
    foot = [f"{tick}scheduler status{tick} · {short_token(token)}"]
    title = title_of(_anonymous(subjects[0], with_host=bool(of_root)), ", ".join(counts), fit, again=again)
    return assembled(title, facts, (), foot, fit)


def recovered_of(
    failures: Sequence[Subject], recovery: Subject, fit: Fit, detail: Detail, *, token: str, again: bool = False
) -> Message:
    """The message about failures that nobody was told before their recovery came.

    failures: at least one, of the job of the recovery, in the order of their events.
    """
    event, first, last = recovery.event, failures[0].event, failures[-1].event
    times = event.times or last.times or len(failures)
    begun = event.since or first.since or first.at
    title = title_of(recovery, f"failed {counted(times, 'time')} and recovered", fit, again=again)
    same_day = begun.astimezone(UTC).date() == event.at.astimezone(UTC).date()
    span = span_words(begun, last.at) if last.at - begun >= timedelta(minutes=1) else when(begun, "UTC")
    well = when(event.at, "UTC", day=not same_day)
    facts = [f"failed {counted(times, 'time')}, {span}; well again since {well}"]
    facts += [f"last failure: {_cause(failures[-1], fit.markup)}"]
    if detail is not Detail.SHORT:
        facts += [line for line in list(facts_of(recovery, fit.markup))[1:] if line]
    return assembled(title, facts, (), foot_of(recovery, fit.markup, token), fit)


def _anonymous(subject: Subject, *, with_host: bool) -> Subject:
    """For the title of a message about several jobs: the root alone."""
    event = replace(subject.event, job_id=ROOT_JOB_ID, kind=EventKind.TEST)
    return replace(subject, event=event, host=subject.host if with_host else "")


def _of_root(subject: Subject) -> str:
    said = predicate_of(subject)
    text = str(subject.event.facts.get("text") or "")
    return f"{said}: {text}" if text else said


def _since(subjects: Sequence[Subject]) -> str:
    """The first and the last of them, in UTC: their jobs may have different zones."""
    first, last = subjects[0].event.at, subjects[-1].event.at
    return when(first, "UTC", day=first.astimezone(UTC).date() != last.astimezone(UTC).date())


def _jobs(subjects: Sequence[Subject]) -> str:
    """Each job once, those with most events first, and how often if more than once."""
    times = Counter(each.event.job_id for each in subjects)
    names = [on_one_line(job_id, _NAME) + (f" ({n}×)" if n > 1 else "") for job_id, n in times.most_common(_NAMED)]
    more = len(times) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _cause(subject: Subject, markup: Markup) -> str:
    how, said = cause_of(subject)
    how = sentence(how or "failed", markup)
    return f"{how}, {quoted(said, markup, 100)}" if said else how


def _causes(failed: Sequence[Subject], markup: Markup) -> Iterator[str]:
    """What failed for one cause, the most frequent first."""
    by_cause: dict[str, list[Subject]] = {}
    for each in failed:
        by_cause.setdefault(_cause(each, markup), []).append(each)
    ordered = sorted(by_cause.items(), key=lambda found: -len(found[1]))
    one = len(ordered) == 1
    for cause, found in ordered[:_GROUPS]:
        yield f"- all: {cause}" if one else f"- {len(found):,} of them: {cause}: {_jobs(found)}"
    if len(ordered) > _GROUPS:
        rest = sum(len(found) for _, found in ordered[_GROUPS:])
        yield f"- {rest:,} of them: {counted(len(ordered) - _GROUPS, 'other cause')}"
