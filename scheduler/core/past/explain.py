"""Why a job did, did not or will not fire at an instant: one answer, with its evidence.

The answer describes the state at that instant: the definition and the pause of that time. A later edit does not change
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from scheduler.core.due.accounts import is_interrupted
from scheduler.core.due.due import is_slot, patience
from scheduler.core.due.place import fault_of_key
from scheduler.core.past.codes import reason_words, state_words
from scheduler.core.past.past import IMPORT
from scheduler.core.past.timeline import Changes, Origin
from scheduler.core.past.why import WHY_SKIPPED
from scheduler.core.times.fires import TICK, next_fire, span, start_delay
from scheduler.core.times.words import describe
from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Commit, Job, NoCommit
from scheduler.core.values.instants import instant, milliseconds, parse_instant
from scheduler.core.values.runs import Attempt, AuditRow, Definition, Life, Run, RunStatus, Trigger
from scheduler.core.values.spec import CatchUpPolicy
from scheduler.core.values.units import format_duration, rough

MOST_EVIDENCE = 20  # of one kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is known about one job."""

    job: Job
    definitions: Sequence[Definition]  # by when they took effect
    audit: Sequence[AuditRow]  # of this job, oldest first
    runs: Sequence[Run]  # rows whose slots are at, just before and just after the instant
    beside: Sequence[Run] = ()  # runs in progress at the instant, of any job
    lives: Sequence[Life] = ()  # by when they began
    daemon: bool = False  # one is running now: that of the last life
    places: Sequence[AuditRow] = ()  # when faults of the place began and ended, oldest first
    refused: str = ""  # why the budget allows no run now
    refused_until: datetime | None = None  # None: as long as nothing is changed
    kept_from: datetime | None = None  # slots before this may have had rows that were deleted since


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence(Stored):
    """One fact that the answer rests on."""

    kind: str  # run, fire, definition, pause, stop, archive, daemon, job
    at: datetime | None = None
    text: str
    run: str | None = None
    actor: str | None = None
    revision: str | None = None
    commit: Commit | None = None  # the commit that brought the definition, or the text of a run
    no_commit: NoCommit | None = None
    why: str | None = None  # of a fire: what became of that slot, as in an answer


@dataclass(frozen=True, slots=True)
class Answer(Stored):
    fired: bool = field(default=False, kw_only=True)
    why: str  # stable; docs/reference/problems.md lists them
    text: str
    evidence: tuple[Evidence, ...] = ()


def explain(ledger: Ledger, at: datetime, *, now: datetime) -> Answer:
    """Explain why the job did, did not, or will not fire at an instant."""
    definition = _in_force(ledger, at)
    if definition is None:
        if at >= ledger.job.created_at and (came := _came(ledger, at)) is not None:
            return _elsewhere(ledger, came)
        by = ledger.job.created_by
        made = Evidence(kind="job", at=ledger.job.created_at, text=f"created by {by}", actor=by)
        return Answer("did_not_exist", f"the job did not exist before {told_instant(ledger.job.created_at)}", (made,))
    rows = [run for run in ledger.runs if _covers(ledger, run, at)]
    row = next((run for run in rows if run.reason != "void"), None)
    answer = _of_row(ledger, row, at, definition, now) if row is not None else _without_row(ledger, definition, at, now)
    if row is None:  # the clock was set back: the skipped slot is in the future again, and will be due again
        answer = replace(answer, evidence=(*answer.evidence, *(told_run(ledger, run) for run in rows)))
    return replace(answer, evidence=(*answer.evidence, _defined(ledger, definition)))


def explain_run(ledger: Ledger, run: Run, *, now: datetime) -> Answer:
    """Explain why a run was started and why it ended as it did; for a skip, why nothing was started."""
    at = run.fire_time or run.requested_at
    definition = next((each for each in ledger.definitions if each.generation == run.generation), None)
    defined = () if definition is None else (_defined(ledger, definition),)
    if definition is not None and run.fire_time is not None and not run.attempts:
        answer = _of_row(ledger, run, at, definition, now)
        return replace(answer, evidence=(*answer.evidence, *defined))
    evidence = [told_run(ledger, run), *(_attempt(each) for each in run.attempts)]
    if run.error and run.error != f"exit code {run.exit_code}":
        evidence.append(Evidence(kind="error", at=run.finished_at, text=run.error))
    cancelled = [row for row in ledger.audit if row.action == "cancel" and row.after == run.id]
    evidence += [_audit(row, "cancel", "cancelled") for row in cancelled[-1:]]
    told = f"{_cause(run, definition)}; {_how_ended(run, definition, cancelled[-1] if cancelled else None)}"
    started = bool(run.attempts)
    why = "fired" if started else "not_started" if run.status.finished else "waiting"
    return Answer(why, told, (*evidence, *defined), fired=started)


def _cause(run: Run, definition: Definition | None) -> str:
    match run.trigger:
        case Trigger.MANUAL:
            return f"{run.requested_by or 'somebody'} started it by hand at {told_instant(run.requested_at)}"
        case Trigger.RERUN:
            text = "" if run.task_of is None else f", with the text of {run.job_id}:{run.task_of}"
            return f"{run.requested_by or 'somebody'} ran it again at {told_instant(run.requested_at)}{text}"
    slot = run.fire_time or run.requested_at
    if run.trigger is Trigger.CATCH_UP:
        policy = "" if definition is None else f": {definition.spec.catch_up.policy.value}"
        return f"its slot {told_instant(slot)} was missed, and catch_up{policy} ran it late"
    delay = timedelta() if definition is None else start_delay(definition.spec.due_by, run.job_id)
    late = timedelta() if run.started_at is None else run.started_at - slot - delay
    told = f"its slot {told_instant(slot)} was due"
    told += f", and starts {format_duration(delay)} later (jitter)" if delay else ""
    return told + (f", and it started {format_duration(_whole(late))} late" if late >= _LATE else "")


_LATE = timedelta(seconds=2)  # the normal delay of a fire is not worth mentioning


def _whole(duration: timedelta) -> timedelta:
    return timedelta(seconds=duration // timedelta(seconds=1))


def _how_ended(run: Run, definition: Definition | None, cancelled: AuditRow | None) -> str:
    took = "" if run.duration_ms is None else f" after {rough(run.duration_ms)}"
    limit = "" if definition is None else f" of {format_duration(definition.spec.timeout)}"
    match run.status:
        case RunStatus.SUCCEEDED:
            told = f"it succeeded{took}"
        case RunStatus.TIMED_OUT:
            told = f"its timeout{limit} ended it{took}"
        case RunStatus.CANCELLED:
            told = f"{cancelled.actor if cancelled is not None else 'somebody'} cancelled it{took}"
        case RunStatus.INTERRUPTED:
            told = f"the process that ran it died{took}"
        case RunStatus.QUEUED if is_interrupted(run) and run.retry_at is not None:
            told = f"its {run.reason} ended it{took}; it is the probe of its account at {told_instant(run.retry_at)}"
        case RunStatus.QUEUED if run.retry_at is not None:
            told = f"it is retried at {told_instant(run.retry_at)}"
        case RunStatus.QUEUED | RunStatus.CLAIMED:
            told = "it is queued"
        case RunStatus.RUNNING:
            told = "it is running" + ("" if run.started_at is None else f" since {told_instant(run.started_at)}")
        case RunStatus.FAILED if run.exit_code == 0 and run.error:
            told = f"it failed{took}: {run.error}"
        case RunStatus.FAILED if run.exit_code is not None:
            told = f"it failed with exit code {run.exit_code}{took}"
        case _:
            told = f"it ended as {_end(run)}"
    if definition is None or definition.spec.retry.attempts == 1 or not run.attempts:
        return told
    retry = definition.spec.retry
    unpaid = "" if run.status not in retry.on or len(run.attempts) >= retry.attempts else _unpaid(run)
    return f"{told}, in attempt {len(run.attempts)} of {retry.attempts}{unpaid}"


def _unpaid(run: Run) -> str:
    """That a run was not tried again because nothing of its budget was left."""
    reserved, cost = run.reserved, run.cost
    if reserved is None or not reserved.amount or not run.status.finished:
        return ""
    if cost is None or cost.currency != reserved.currency:
        return "; not tried again, as its cost is unknown and could be all of budget.per_run"
    return "; not tried again, as budget.per_run is spent" if cost.amount >= reserved.amount else ""


def _attempt(attempt: Attempt) -> Evidence:
    told = [state_words(attempt.status), reason_words(attempt.reason) if attempt.reason else ""]
    told += [] if attempt.exit_code is None else [f"exit code {attempt.exit_code}"]
    if attempt.finished_at is not None:
        told.append(f"after {rough(milliseconds(attempt.finished_at - attempt.started_at))}")
    text = ", ".join(filter(None, told))
    return Evidence(
        kind="attempt", at=attempt.started_at, text=f"attempt {attempt.n}, {told_instant(attempt.started_at)}: {text}"
    )


def newest_slot(job: Job, now: datetime) -> datetime:
    """The default instant for `explain`: the newest slot whose start has come, or else the next slot, or else now."""
    schedule = job.file.spec.due_by
    latest = now - start_delay(schedule, job.id)
    if latest >= job.created_at and (found := span(schedule, start=job.created_at, until=latest)) is not None:
        return found.last
    return next_fire(schedule, after=now) or now


def _of_row(ledger: Ledger, row: Run, at: datetime, definition: Definition, now: datetime) -> Answer:
    evidence = [told_run(ledger, row)]
    if row.status is RunStatus.QUEUED:
        told = "it waits for its retry" if row.retry_at is not None else "it is queued"
        if is_interrupted(row):
            told = "its account is parked; it runs again as the probe"
        if lost := _lost(ledger, now):
            told, evidence = "it waits until its place is available again", [*evidence, *lost]
        return Answer("waiting", told, (*evidence, *_house(ledger, row, at)), fired=bool(row.attempts))
    if row.status is RunStatus.CLAIMED:
        told = "is about to start" if ledger.daemon else "has not started: the next daemon starts it, or says why not"
        if lost := _lost(ledger, now):
            told, evidence = "waits until its place is available again", [*evidence, *lost]
        return Answer("waiting", f"{row.id} is claimed, and {told}", tuple(evidence))
    if row.status is not RunStatus.SKIPPED:
        late = " late (catch-up)" if row.trigger is Trigger.CATCH_UP else ""
        began = "" if row.started_at is None else f", started at {told_instant(row.started_at)}"
        if row.started_at is None:
            return Answer(
                "not_started", f"{row.id} was claimed, but ended before it started: {_end(row)}", tuple(evidence)
            )
        return Answer("fired", f"{row.id} ran{late}{began}: {_end(row)}", tuple(evidence), fired=True)
    reason = row.reason or "skipped"
    told = WHY_SKIPPED.get(reason, row.error or reason_words(reason))
    if reason == "missed" and _lost(ledger, at):
        told = "its place was unavailable when it was due"
    match reason:
        case "missed" if (away := _last(ledger, at, on="archive", off="revive")) is not None:
            told = "no file defined the job when it was due, and its schedule has no later slot"
            evidence.append(_audit(away, "archive", f"archived; its file was {away.before}"))
        case "missed":
            evidence += _lost(ledger, at) or _absence(ledger, at, definition)
        case "paused":
            evidence += _paused(ledger, at, definition)
        case "overlap":
            evidence += [told_run(ledger, run) for run in ledger.beside if run.job_id == row.job_id]
        case "capacity":
            evidence += _house(ledger, row, at)
    if row.error and reason in WHY_SKIPPED:
        told = f"{told}: {row.error}"
    return Answer(reason, told, tuple(evidence))


def _house(ledger: Ledger, row: Run, at: datetime) -> list[Evidence]:
    return [told_run(ledger, run) for run in ledger.beside[:MOST_EVIDENCE] if run.id != row.id]


def _without_row(ledger: Ledger, definition: Definition, at: datetime, now: datetime) -> Answer:
    spec, job = definition.spec, ledger.job
    delay = start_delay(spec.due_by, job.id)
    if (archived := _last(ledger, at, on="archive", off="revive")) is not None:
        return Answer(
            "archived",
            f"no file has defined the job since {told_instant(archived.at)}",
            (_audit(archived, "archive", f"archived; its file was {archived.before}"),),
        )
    if not spec.enabled:
        return Answer("disabled", "its file said enabled: false")
    if not is_slot(spec.due_by, at):
        return _no_slot(ledger, definition, at, now)
    activated = _activated(ledger, at)
    if at <= activated:
        return Answer(
            "before_activation", f"the schedule has applied since {told_instant(activated)}; earlier slots do not run"
        )
    if (stopped := _stopped(ledger, at)) is not None:
        return stopped
    if at + delay > now:
        return _to_come(ledger, definition, at, delay, now)
    if (came := _came(ledger, at)) is not None:  # no daemon of this database was involved
        return _elsewhere(ledger, came)
    if ledger.kept_from is not None and at < ledger.kept_from:
        return Answer("no_record", "retention removed the history of that time (retention.runs)")
    if lost := _lost(ledger, now):
        return Answer("waiting", "it waits until its place is available again; then catch_up decides", tuple(lost))
    evidence = _absence(ledger, now, definition)
    if paused := _paused(ledger, at, definition):
        return Answer("paused", WHY_SKIPPED["paused"], (*paused, *evidence))
    if not ledger.daemon or not ledger.lives or ledger.lives[-1].silent:
        catch_up = spec.catch_up
        following = next_fire(spec.due_by, after=at)
        limit = patience(spec, at, following)
        then = (
            "the next daemon skips it"
            if catch_up.policy is CatchUpPolicy.NONE or now - at > limit
            else f"the next daemon decides by catch_up: {catch_up.policy.value}"
        )
        told = f"no daemon that fires jobs has been running: {then}"
        return Answer("daemon_down", told, tuple(evidence))
    return Answer(
        "not_served",
        "the slot is due but has neither run nor been skipped; `scheduler doctor` says what is wrong",
        tuple(evidence),
    )


def _came(ledger: Ledger, at: datetime) -> AuditRow | None:
    """The import that brought the job here, if it was later."""
    came = next((row for row in reversed(ledger.audit) if row.action == IMPORT), None)
    return came if came is not None and at <= came.at else None


def _elsewhere(ledger: Ledger, came: AuditRow) -> Answer:
    told = f"the job was imported at {told_instant(came.at)}, without a run of that time"
    source = came.after.get("source") if isinstance(came.after, dict) else None
    return Answer("elsewhere", told, (_audit(came, "job", f"imported from {source or 'elsewhere'}"),))


def _no_slot(ledger: Ledger, definition: Definition, at: datetime, now: datetime) -> Answer:
    """Explain an instant between slots: the state of the job then, and the outcome of the slots on either side."""
    schedule = definition.spec.due_by
    if schedule.manual:
        return Answer("manual", "the schedule is manual: the job only runs by hand", ())
    state = _state(ledger, definition, at, now)
    running = [told_run(ledger, run) for run in ledger.beside if run.job_id == ledger.job.id]
    evidence = [replace(each, text=f"running then: {each.text}") for each in running]
    after = _slot_after(ledger, at)
    evidence += slots_beside(ledger, at, now)
    if state is not None:
        return replace(state, evidence=(*state.evidence, *evidence))
    if after is None:
        ended = "it has expired" if definition.spec.expires is not None else "no slot is left"
        return Answer("completed", f"the schedule has no time after that: {ended}", tuple(evidence))
    return Answer("not_due", f"that instant is not a scheduled time: {describe(schedule)}", tuple(evidence))


def _state(ledger: Ledger, definition: Definition, at: datetime, now: datetime) -> Answer | None:
    """Why nothing runs around an instant, regardless of the schedule."""
    if at <= now and (came := _came(ledger, at)) is not None:
        return _elsewhere(ledger, came)
    if (stopped := _stopped(ledger, at)) is not None:
        return stopped
    if paused := _paused(ledger, at, definition):
        return Answer("paused", "it is paused then" if at > now else WHY_SKIPPED["paused"], tuple(paused))
    moment = min(at, now)
    if lost := _lost(ledger, moment):
        return Answer("waiting", "slots wait until its place is available again", tuple(lost))
    if _fires(ledger, moment):
        return None
    there = tuple(_absence(ledger, moment, definition))
    if at > now and ledger.daemon:
        return Answer("will_not_fire_here", "the daemon here fires no jobs", there)
    return Answer("daemon_down", f"no daemon that fires jobs {'is' if at > now else 'was'} running", there)


def _fires(ledger: Ledger, at: datetime) -> bool:
    """True if a daemon that fires jobs was running at a past instant."""
    life = next((life for life in reversed(ledger.lives) if life.began <= at), None)
    if life is None or life.silent:
        return False
    return at <= life.seen or (ledger.daemon and life is ledger.lives[-1])


def _stopped(ledger: Ledger, at: datetime) -> Answer | None:
    stopped = _last(ledger, at, on="stop", off="arm")
    if stopped is None:
        return None
    told = f"too many errors in a row stopped it at {told_instant(stopped.at)}"
    return Answer("stopped", told, (_audit(stopped, "stop", "stopped"),))


def slots_beside(ledger: Ledger, at: datetime, now: datetime) -> list[Evidence]:
    """The slots before and after an instant that is not a slot, and their outcome."""
    slots = (_slot_before(ledger, at), _slot_after(ledger, at))
    return [_beside(ledger, slot, at, now) for slot in slots if slot is not None]


def _beside(ledger: Ledger, slot: datetime, at: datetime, now: datetime) -> Evidence:
    """The outcome of the slot before or after an instant."""
    found = explain(ledger, slot, now=now)
    row = next((run for run in ledger.runs if run.reason != "void" and _covers(ledger, run, slot)), None)
    where = f"the fire {'before' if slot < at else 'after'}: {told_instant(slot)}"
    told = f"{where}: {found.why.replace('_', ' ')}: {found.text}"
    if row is None:
        return Evidence(kind="fire", at=slot, text=told, why=found.why)
    return replace(told_run(ledger, row), kind="fire", at=slot, text=told, why=found.why)


def _slot_before(ledger: Ledger, at: datetime) -> datetime | None:
    """The newest slot before an instant, according to the definitions in force at the time and to the rows."""
    found, until = None, at - TICK
    for definition in reversed(ledger.definitions):
        if definition.since > until or definition.spec.due_by.manual:
            until = min(until, definition.since - TICK)
            continue
        slots = span(definition.spec.due_by, start=max(definition.since, at - _FAR), until=until)
        if slots is not None:
            found = slots.last
            break
        until = definition.since - TICK
    rows = [run.fire_time_last or run.fire_time for run in ledger.runs if run.reason != "void"]
    known = [moment for moment in rows if moment is not None and moment < at]
    return max([*known, *([] if found is None else [found])], default=None)


def _slot_after(ledger: Ledger, at: datetime) -> datetime | None:
    """The first slot after an instant, by the definitions in force at the time. A slot that an edit removed is none."""
    ends = [each.since for each in ledger.definitions[1:]]
    for definition, until in zip(ledger.definitions, [*ends, None], strict=True):
        if (until is not None and until <= at) or definition.spec.due_by.manual:
            continue
        slot = next_fire(definition.spec.due_by, after=max(at, definition.since))
        if slot is not None and (until is None or slot < until):
            return slot
    return None


def _to_come(ledger: Ledger, definition: Definition, at: datetime, delay: timedelta, now: datetime) -> Answer:
    if paused := _paused(ledger, at, definition):
        return Answer("paused", "it is paused then", tuple(paused))
    if lost := _lost(ledger, now):
        return Answer("waiting", "it is due then, and waits until its place is available again", tuple(lost))
    start = f", and starts at {told_instant(at + delay)} (jitter)" if delay else ""
    if not ledger.daemon or not ledger.lives:
        return Answer(
            "will_fire",
            f"it is due then{start}, if a daemon is running; none is now",
            tuple(_absence(ledger, at, definition)),
        )
    if silent := ledger.lives[-1].silent:
        return Answer("will_not_fire_here", f"the daemon here fires no jobs: {silent}")
    if ledger.refused and (ledger.refused_until is None or at < ledger.refused_until):
        return Answer("budget", f"it is due then, and skipped if the budget is as it is now: {ledger.refused}")
    return Answer("will_fire", f"it is due then{start}")


_FAR = timedelta(days=4 * 366)


def _in_force(ledger: Ledger, at: datetime) -> Definition | None:
    return next((each for each in reversed(ledger.definitions) if each.since <= at), None)


def _covers(ledger: Ledger, run: Run, at: datetime) -> bool:
    if run.fire_time is None or not run.fire_time <= at <= (run.fire_time_last or run.fire_time):
        return False
    if at in (run.fire_time, run.fire_time_last):
        return True
    spec = next((each.spec for each in ledger.definitions if each.generation == run.generation), None)
    return spec is not None and is_slot(spec.due_by, at)


def _last(ledger: Ledger, at: datetime, *, on: str, off: str) -> AuditRow | None:
    """The latest row with action `on`, if no row with action `off` had reversed it by that instant."""
    found = None
    for row in ledger.audit:
        if row.at > at:
            break
        if row.action == on:
            found = row
        elif row.action == off or (off == "arm" and row.action == "resume" and row.field == "status"):
            found = None
    return found


def _activated(ledger: Ledger, at: datetime) -> datetime:
    """When the schedule in force at that instant took effect (S6)."""
    first, *later = ledger.definitions
    activated, known = first.since, first.spec
    for definition in later:
        if definition.since > at:
            break
        spec = definition.spec
        if known.due_by.timing != spec.due_by.timing or (spec.enabled and not known.enabled):
            activated = definition.since
        known = spec
    revived = [row.at for row in ledger.audit if row.action == "revive" and row.at <= at]
    return max([activated, *revived])


def _paused(ledger: Ledger, at: datetime, definition: Definition) -> list[Evidence]:
    """The pause that covered a slot, even if it began after the slot, as long as the run had not started."""
    delay = start_delay(definition.spec.due_by, ledger.job.id)
    for row in reversed(ledger.audit):
        if row.field != "pause" or row.at > at + delay:
            continue
        if row.after is None:
            return []
        until = row.after["until"]
        if parse_instant(row.after["at"]) - delay > at or (until is not None and at >= parse_instant(until)):
            return []
        told = [f"paused at {told_instant(parse_instant(row.after['at']))}"]
        told += [] if until is None else [f"until {told_instant(parse_instant(until))}"]
        told += [f"by {row.after['by']}"] if row.after["by"] else []
        told += [f"({row.after['reason']})"] if row.after["reason"] else []
        return [Evidence(kind="pause", at=parse_instant(row.after["at"]), text=" ".join(told), actor=row.after["by"])]
    return []


_NOTICED = timedelta(minutes=1)  # a fire may find its place unavailable up to this long after its slot


def _lost(ledger: Ledger, at: datetime) -> list[Evidence]:
    """The faults of the place that kept the job from starting at an instant, and when they ended."""
    found: dict[str, Evidence] = {}
    for row in ledger.places:
        key = row.field or ""
        if row.after is not None:
            fault = fault_of_key(key, row.after, row.at)
            if fault is not None and fault.holds(ledger.job) and row.at <= at + _NOTICED:
                text = f"{fault.message} [{fault.reason}], since {told_instant(row.at)}"
                found[key] = Evidence(kind="place", at=row.at, text=text)
        elif row.at <= at:
            found.pop(key, None)
        elif key in found and " to " not in found[key].text:
            text = found[key].text.replace("], since ", "], from ") + f" to {told_instant(row.at)}"
            found[key] = replace(found[key], text=text)
    return list(found.values())


def _absence(ledger: Ledger, at: datetime, definition: Definition) -> list[Evidence]:
    """The daemon at an instant. If none was running, or none that fires jobs, from when to when."""

    def told(text: str, moment: datetime | None = None) -> list[Evidence]:
        return [Evidence(kind="daemon", at=moment, text=text)]

    before = [life for life in ledger.lives if life.began <= at]
    after = next((life for life in ledger.lives if life.began > at), None)
    if not before:
        if after is None:
            return told("no daemon has run yet")
        return told(f"no daemon had run before {told_instant(after.began)}", after.began)
    last = before[-1]
    if at <= last.seen or (ledger.daemon and after is None):
        if last.silent:
            return told(f"the daemon has fired no jobs since {told_instant(last.began)}: {last.silent}", last.began)
        delay = start_delay(definition.spec.due_by, ledger.job.id)
        if after is None or at + delay <= last.seen:
            return told(f"a daemon was running, since {told_instant(last.began)}", last.began)
    until = "" if after is None else f" to {told_instant(after.began)}"
    how = "stopped" if last.over else "last seen"
    return told(f"no daemon was running from {told_instant(last.seen)} ({how}){until}", last.seen)


def told_instant(moment: datetime) -> str:
    """The format of instants in all messages. A screen converts them to its own zone."""
    return instant(moment.replace(microsecond=0))


def told_run(ledger: Ledger, run: Run) -> Evidence:
    """A run as evidence: how it ended, and the text that it ran."""
    slots = "" if run.slots == 1 else f", one of {run.slots} slots"
    task = "" if run.task_sha256 is None else f", text {run.task_sha256[:12]}"
    return Evidence(
        kind="run",
        run=run.id,
        at=run.started_at or run.fire_time or run.requested_at,
        text=f"{run.id}: {_end(run)}{slots}{task}",
        revision=run.provenance.revision,
        actor=run.requested_by,
        **_brought(Changes(ledger.audit).text(run.task_sha256, run.started_at or run.requested_at)),
    )


def _brought(origin: Origin | None) -> dict[str, Any]:
    return {} if origin is None else {"commit": origin.commit, "no_commit": origin.no_commit}


def _end(run: Run) -> str:
    told = state_words(run.status) + ("" if run.reason is None else f", {reason_words(run.reason)}")
    return told if run.duration_ms is None else f"{told}, after {rough(run.duration_ms)}"


def _audit(row: AuditRow, kind: str, text: str) -> Evidence:
    return Evidence(
        kind=kind, at=row.at, text=f"{text} by {row.actor} ({row.cause})", actor=row.actor, revision=row.revision
    )


def _defined(ledger: Ledger, definition: Definition) -> Evidence:
    edits = (row for row in ledger.audit if row.action in ("create", "update") and row.at == definition.since)
    row = next(edits, None)
    return Evidence(
        kind="definition",
        at=definition.since,
        text=f"definition {definition.generation}, in force since {told_instant(definition.since)}",
        actor=None if row is None else row.actor,
        revision=None if row is None else row.revision,
        **_brought(Changes(ledger.audit).definition_at(definition.since)),
    )
