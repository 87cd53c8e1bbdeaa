"""Why a job did, did not or will not fire at an instant: one answer, with its evidence.

The answer describes the state at that instant: the definition and the pause of that time. A later edit does not change
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from scheduler.core.due.due import is_slot, patience
from scheduler.core.due.place import fault_of_key
from scheduler.core.past.past import IMPORT
from scheduler.core.past.timeline import Changes, Origin
from scheduler.core.times.fires import next_fire, span, start_delay
from scheduler.core.times.words import describe
from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Commit, Job, NoCommit
from scheduler.core.values.instants import on_the_clock, parse_instant
from scheduler.core.values.runs import AuditRow, Definition, Life, Run, RunStatus, Trigger
from scheduler.core.values.spec import CatchUpPolicy
from scheduler.core.values.units import format_duration

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
        return Answer("did_not_exist", f"the job did not exist before {_on(ledger, ledger.job.created_at)}", (made,))
    rows = [run for run in ledger.runs if _covers(ledger, run, at)]
    row = next((run for run in rows if run.reason != "void"), None)
    answer = _of_row(ledger, row, at, definition, now) if row is not None else _without_row(ledger, definition, at, now)
    if row is None:  # the clock has gone back: the skipped time has not come after all, and the slot is due again
        answer = replace(answer, evidence=(*answer.evidence, *(_run(ledger, run) for run in rows)))
    return replace(answer, evidence=(*answer.evidence, _defined(ledger, definition)))


def newest_slot(job: Job, now: datetime) -> datetime:
    """The default instant for `explain`: the newest slot whose start has come, or else the next slot, or else now."""
    schedule = job.file.spec.due_by
    latest = now - start_delay(schedule, job.id)
    if latest >= job.created_at and (found := span(schedule, start=job.created_at, until=latest)) is not None:
        return found.last
    return next_fire(schedule, after=now) or now


def _of_row(ledger: Ledger, row: Run, at: datetime, definition: Definition, now: datetime) -> Answer:
    evidence = [_run(ledger, row)]
    if row.status is RunStatus.QUEUED:
        told = "it waits to be tried again" if row.retry_at is not None else "it waits for its turn"
        if lost := _lost(ledger, now):
            told, evidence = "it waits until its place is there again", [*evidence, *lost]
        return Answer("waiting", told, (*evidence, *_house(ledger, row, at)), fired=bool(row.attempts))
    if row.status is not RunStatus.SKIPPED:
        late = ", caught up with" if row.trigger is Trigger.CATCH_UP else ""
        began = "" if row.started_at is None else f", started at {_on(ledger, row.started_at)}"
        if row.started_at is None:
            return Answer(
                "not_started", f"{row.id} was claimed, and ended before it started: {_end(row)}", tuple(evidence)
            )
        return Answer("fired", f"{row.id} ran{late}{began}: {_end(row)}", tuple(evidence), fired=True)
    reason = row.reason or "skipped"
    told = _SKIPPED.get(reason, row.error or reason)
    if reason == "missed" and _lost(ledger, at):
        told = "its place was gone when it was due"
    match reason:
        case "missed" if (away := _last(ledger, at, on="archive", off="revive")) is not None:
            told = "no file named the job when it was due, and a one-shot has no later slot"
            evidence.append(_audit(away, "archive", f"archived; its file was {away.before}"))
        case "missed":
            evidence += _lost(ledger, at) or _absence(ledger, at, definition)
        case "paused":
            evidence += _paused(ledger, at, definition)
        case "overlap":
            evidence += [_run(ledger, run) for run in ledger.beside if run.job_id == row.job_id]
        case "capacity":
            evidence += _house(ledger, row, at)
    if row.error and reason in _SKIPPED:
        told = f"{told}: {row.error}"
    return Answer(reason, told, tuple(evidence))


_SKIPPED = {
    "missed": "nobody was there to serve it in time",
    "paused": "it was paused",
    "overlap": "the job was still running, or waiting, when the slot came",
    "capacity": "no place became free in time",
    "superseded": "an edit had taken the slot away before it was served",
}


def _house(ledger: Ledger, row: Run, at: datetime) -> list[Evidence]:
    return [_run(ledger, run) for run in ledger.beside[:MOST_EVIDENCE] if run.id != row.id]


def _without_row(ledger: Ledger, definition: Definition, at: datetime, now: datetime) -> Answer:
    spec, job = definition.spec, ledger.job
    delay = start_delay(spec.due_by, job.id)
    if (archived := _last(ledger, at, on="archive", off="revive")) is not None:
        return Answer(
            "archived",
            f"no file named the job from {_on(ledger, archived.at)} on",
            (_audit(archived, "archive", f"archived; its file was {archived.before}"),),
        )
    if not spec.enabled:
        return Answer("disabled", "its file said enabled: false")
    if not is_slot(spec.due_by, at):
        return _no_slot(ledger, definition, at, now)
    activated = _activated(ledger, at)
    if at <= activated:
        return Answer(
            "before_activation", f"the schedule came into force at {_on(ledger, activated)}, and nothing is made up for"
        )
    if (stopped := _last(ledger, at, on="stop", off="arm")) is not None:
        return Answer(
            "stopped",
            f"too many errors in a row had stopped it at {_on(ledger, stopped.at)}",
            (_audit(stopped, "stop", "stopped"),),
        )
    if at + delay > now:
        return _to_come(ledger, definition, at, delay, now)
    if (came := _came(ledger, at)) is not None:  # no daemon of this database was involved
        return _elsewhere(ledger, came)
    if ledger.kept_from is not None and at < ledger.kept_from:
        return Answer("no_record", "retention has thrown away rows of that time (retention.runs)")
    if lost := _lost(ledger, now):
        return Answer("waiting", "it waits until its place is there again, and catch_up decides then", tuple(lost))
    evidence = [*_paused(ledger, at, definition), *_absence(ledger, now, definition)]
    if not ledger.daemon or not ledger.lives or ledger.lives[-1].silent:
        catch_up = spec.catch_up
        following = next_fire(spec.due_by, after=at)
        limit = patience(spec, at, following)
        then = (
            "it is skipped once one is"
            if catch_up.policy is CatchUpPolicy.NONE or now - at > limit
            else f"catch_up: {catch_up.policy.value} decides once one is"
        )
        told = f"no daemon that fires has been there to serve it: {then}"
        return Answer("daemon_down", told, tuple(evidence))
    return Answer(
        "not_served",
        "the slot is due, and nobody has served it: `scheduler doctor` says what is wrong",
        tuple(evidence),
    )


def _came(ledger: Ledger, at: datetime) -> AuditRow | None:
    """The import that brought the job here, if it was later."""
    came = next((row for row in reversed(ledger.audit) if row.action == IMPORT), None)
    return came if came is not None and at <= came.at else None


def _elsewhere(ledger: Ledger, came: AuditRow) -> Answer:
    told = f"the job came here at {_on(ledger, came.at)}, and no run of that instant came with it"
    source = came.after.get("source") if isinstance(came.after, dict) else None
    return Answer("elsewhere", told, (_audit(came, "job", f"imported from {source or 'elsewhere'}"),))


def _no_slot(ledger: Ledger, definition: Definition, at: datetime, now: datetime) -> Answer:
    schedule = definition.spec.due_by
    if schedule.manual:
        return Answer("manual", "the schedule is manual: the job only runs by hand", ())
    before = span(schedule, start=max(ledger.job.created_at, at - _FAR), until=at)
    after = next_fire(schedule, after=at)
    evidence = []
    if before is not None:
        row = next((run for run in ledger.runs if _covers(ledger, run, before.last)), None)
        evidence.append(
            Evidence(kind="fire", at=before.last, text=f"the fire before: {_on(ledger, before.last)}")
            if row is None
            else replace(_run(ledger, row), kind="fire", at=before.last)
        )
    if after is None:
        ended = "it has expired" if definition.spec.expires is not None else "no fire was left"
        return Answer("completed", f"the schedule names no instant from then on: {ended}", tuple(evidence))
    evidence.append(Evidence(kind="fire", at=after, text=f"the fire after: {_on(ledger, after)}"))
    return Answer("not_due", f"the schedule does not name that instant: {describe(schedule)}", tuple(evidence))


def _to_come(ledger: Ledger, definition: Definition, at: datetime, delay: timedelta, now: datetime) -> Answer:
    if paused := _paused(ledger, at, definition):
        return Answer("paused", "it is paused then", tuple(paused))
    if lost := _lost(ledger, now):
        return Answer("waiting", "it is due then, and waits until its place is there again", tuple(lost))
    start = f", and starts at {_on(ledger, at + delay)} (jitter)" if delay else ""
    if not ledger.daemon or not ledger.lives:
        return Answer(
            "will_fire",
            f"it is due then{start}, if a daemon is there; none is now",
            tuple(_absence(ledger, at, definition)),
        )
    if silent := ledger.lives[-1].silent:
        return Answer("will_not_fire_here", f"the daemon here fires nothing: {silent}")
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
    """The row that made it so, if it was so at that instant."""
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
    """When the schedule of that time came into force (S6)."""
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
    """The pause that covered a slot. A slot that had not started when the pause began counts."""
    delay = start_delay(definition.spec.due_by, ledger.job.id)
    for row in reversed(ledger.audit):
        if row.field != "pause" or row.at > at + delay:
            continue
        if row.after is None:
            return []
        until = row.after["until"]
        if parse_instant(row.after["at"]) - delay > at or (until is not None and at >= parse_instant(until)):
            return []
        told = [f"paused at {_on(ledger, parse_instant(row.after['at']))}"]
        told += [] if until is None else [f"until {_on(ledger, parse_instant(until))}"]
        told += [f"by {row.after['by']}"] if row.after["by"] else []
        told += [f"({row.after['reason']})"] if row.after["reason"] else []
        return [Evidence(kind="pause", at=parse_instant(row.after["at"]), text=" ".join(told), actor=row.after["by"])]
    return []


_NOTICED = timedelta(minutes=1)  # a fire may find its place gone this long after its slot


def _lost(ledger: Ledger, at: datetime) -> list[Evidence]:
    """What of the place kept the job from starting at an instant, and until when."""
    found: dict[str, Evidence] = {}
    for row in ledger.places:
        key = row.field or ""
        if row.after is not None:
            fault = fault_of_key(key, row.after, row.at)
            if fault is not None and fault.holds(ledger.job) and row.at <= at + _NOTICED:
                text = f"{fault.message} [{fault.cause}], from {_on(ledger, row.at)} on"
                found[key] = Evidence(kind="place", at=row.at, text=text)
        elif row.at <= at:
            found.pop(key, None)
        elif key in found and " to " not in found[key].text:
            text = found[key].text.removesuffix(" on") + f" to {_on(ledger, row.at)}"
            found[key] = replace(found[key], text=text)
    return list(found.values())


def _absence(ledger: Ledger, at: datetime, definition: Definition) -> list[Evidence]:
    """Whether a daemon was running at an instant. If none was, or none that fired: from when to when."""

    def told(text: str, moment: datetime | None = None) -> list[Evidence]:
        return [Evidence(kind="daemon", at=moment, text=text)]

    before = [life for life in ledger.lives if life.began <= at]
    after = next((life for life in ledger.lives if life.began > at), None)
    if not before:
        if after is None:
            return told("no daemon has been seen yet")
        return told(f"no daemon had been seen before {_on(ledger, after.began)}", after.began)
    last = before[-1]
    if at <= last.seen or (ledger.daemon and after is None):
        if last.silent:
            return told(f"the daemon fired nothing from {_on(ledger, last.began)} on: {last.silent}", last.began)
        delay = start_delay(definition.spec.due_by, ledger.job.id)
        if after is None or at + delay <= last.seen:
            return told(f"a daemon was there, since {_on(ledger, last.began)}", last.began)
    until = "" if after is None else f" to {_on(ledger, after.began)}"
    how = "stopped" if last.over else "last seen"
    return told(f"no daemon was there from {_on(ledger, last.seen)} ({how}){until}", last.seen)


def _on(ledger: Ledger, moment: datetime) -> str:
    local, zone = on_the_clock(moment, ledger.job.file.spec.schedule.timezone)
    text = f"{local:%Y-%m-%d %H:%M:%S}"
    return f"{text} {zone}"


def _run(ledger: Ledger, run: Run) -> Evidence:
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
    told = run.status.value if run.reason is None else f"{run.status.value}, {run.reason}"
    return (
        told if run.duration_ms is None else f"{told}, after {format_duration(timedelta(milliseconds=run.duration_ms))}"
    )


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
        text=f"definition {definition.generation}, in force since {_on(ledger, definition.since)}",
        actor=None if row is None else row.actor,
        revision=None if row is None else row.revision,
        **_brought(Changes(ledger.audit).definition_at(definition.since)),
    )
