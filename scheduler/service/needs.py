"""What needs a person, and what waits for an instant: one line for each, worst first. All faces show these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from scheduler.core.access.tokens import ends_soon
from scheduler.core.due.budgets import OVER
from scheduler.core.due.place import PlaceFault
from scheduler.core.due.reach import Reach
from scheduler.core.past.presence import DaemonState
from scheduler.core.values.facts import JobSummary, Status, SyncState
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import Problem
from scheduler.core.values.texts import counted
from scheduler.core.values.usage import EndClass
from scheduler.ledger import access, budgets, queries
from scheduler.ledger.standing import ProblemsByJob, first_failure, newest_change
from scheduler.ledger.store import Store
from scheduler.service.presence import FoundDaemon

if TYPE_CHECKING:
    from scheduler.core.answers import ChangeSinceJson, FailingJson, NeedJson, OverdueJson
    from scheduler.core.values.events import ChangeSince

MOST = 20  # lines of a kind; the rest are counted
TOKEN_ENDS = timedelta(days=3)  # before its end, a token needs a person


def need(
    kind: str,
    text: str,
    *,
    job_id: str | None = None,
    run: str | None = None,
    since: datetime | str | None = None,
    until: datetime | None = None,
    change: ChangeSinceJson | None = None,
    urgent: bool = True,
    count: int = 1,
) -> NeedJson:
    return {
        "kind": kind,
        "urgent": urgent,
        "count": count,
        "job_id": job_id,
        "run": run,
        "since": instant(since) if isinstance(since, datetime) else since,
        "until": None if until is None else instant(until),
        "text": text,
        "change": change,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """By what it is decided who needs a person. The jobs are at least those that may; none of them is archived."""

    daemon: FoundDaemon
    expected: bool  # jobs that need a daemon
    jobs: Sequence[JobSummary]
    statuses: Sequence[Status]
    held: str | None = None
    troubles: Sequence[str] = ()
    never_synced: bool = False
    failing: Sequence[FailingJson] = ()
    overdue: Sequence[OverdueJson] = ()
    lost: Sequence[PlaceFault] = ()
    problems: Sequence[Problem] = ()
    channels: Sequence[Reach] = ()


def listed(store: Store | None, seen: Evidence, now: datetime) -> list[NeedJson]:
    """Everything that needs a person or waits for an instant, worst first."""
    of_all = () if store is None else _of_root(store, seen.jobs, seen.channels, now)
    return [*_of_daemon(seen), *_of_jobs(store, seen, now), *of_all]


def is_gone(daemon: FoundDaemon, *, expected: bool) -> bool:
    """True if there is no daemon that answers, though jobs need one."""
    state = daemon.presence.state
    gone = state in (DaemonState.DEAD, DaemonState.STOPPED, DaemonState.NEVER)
    return state is DaemonState.SILENT or (gone and expected)


def _of_daemon(seen: Evidence) -> Iterator[NeedJson]:
    """What keeps all jobs from firing, or the files from being applied."""
    daemon, presence = seen.daemon, seen.daemon.presence
    if is_gone(daemon, expected=seen.expected):
        hint = f"; {presence.hint}" if presence.hint else ""
        yield need("daemon", f"{presence.message}{hint}", since=presence.seen_at)
    else:
        yield from (need("trouble", each) for each in seen.troubles)
    if seen.held and daemon.says.get("held_long"):
        yield need("held", f"sync is held: {seen.held}", since=daemon.says.get("held_since"))
    if seen.never_synced:
        yield need("unsynced", "this root has never been synced; run `scheduler sync`")


def _of_jobs(store: Store | None, seen: Evidence, now: datetime) -> Iterator[NeedJson]:
    """What concerns jobs and their files."""
    jobs, statuses, failing, overdue = seen.jobs, seen.statuses, seen.failing, seen.overdue
    stopped = [job for job, each in zip(jobs, statuses, strict=True) if each is Status.STOPPED]
    failed = {each["id"]: each for each in failing}
    for job in stopped[:MOST]:
        its = failed.pop(job.id, None)
        first = None if store is None else store.read(first_failure, job.id)
        yield need(
            "stopped",
            job.stop_reason or "too many errors",
            job_id=job.id,
            run=None if its is None else its["run"],
            since=job.stopped_at if first is None else first.finished_at or first.requested_at,
            change=None if its is None else its["change"],
        )
    yield from _more("stopped", stopped)
    gone = {job.id for job in stopped}
    rest = [each for each in failing if each["id"] not in gone]
    for each in rest[:MOST]:
        first = None if store is None else store.read(first_failure, each["id"])
        since = each["at"] if first is None else instant(first.finished_at or first.requested_at)
        yield need(
            "failing", _failing_text(each), job_id=each["id"], run=each["run"], since=since, change=each["change"]
        )
    yield from _more("failing", rest)
    for late in overdue[:MOST]:
        since_then = parse_instant(late["since"])
        changed = None if store is None else store.read(newest_change, late["id"], since_then)
        yield need("overdue", late["message"], job_id=late["id"], since=late["since"], change=change_json(changed))
    yield from _more("overdue", overdue)
    yield from _places(seen.lost, jobs, statuses)
    yield from _files(jobs, seen.problems)
    yield from _guarded(jobs)
    paused = [job for job in jobs if outlasts(job, now)]
    for job in paused[:MOST]:
        assert job.pause is not None
        end = _end(job)
        assert end is not None
        by = f" by {job.pause.by}" if job.pause.by else ""
        text = f"paused{by} beyond the end of its schedule: it will not run again"
        yield need("paused", text, job_id=job.id, since=job.pause.at, until=end)
    yield from _more("paused", paused)


def _failing_text(each: FailingJson) -> str:
    times = "its latest run" if each["consecutive_errors"] == 1 else f"{each['consecutive_errors']} runs in a row"
    how = (each["error"] or each["reason"] or each["status"] or "failed").strip().partition("\n")[0]
    return f"{times}: {how}"


def change_json(found: ChangeSince | None) -> ChangeSinceJson | None:
    return None if found is None else cast("ChangeSinceJson", found.to_json())


def _more(kind: str, all_of_it: Sequence[object]) -> Iterator[NeedJson]:
    if len(all_of_it) > MOST:
        more = len(all_of_it) - MOST
        yield need(kind, f"and {more} more", urgent=kind != "budget", count=more)


def _places(lost: Sequence[PlaceFault], jobs: Sequence[JobSummary], statuses: Sequence[Status]) -> Iterator[NeedJson]:
    """One line for each fault of the place that keeps a job waiting; a limit that resets comes last."""
    if not lost:
        return
    waiting = [job for job, each in zip(jobs, statuses, strict=True) if each is Status.WAITING]
    first: dict[str, list[JobSummary]] = {}
    for job in waiting:
        for fault in lost:
            if fault.holds(job):
                first.setdefault(fault.key, []).append(job)
                break
    for fault in sorted(lost, key=lambda each: not each.needs_a_person):
        held = first.get(fault.key)
        if held:
            more = "" if len(held) == 1 else f" ({counted(len(held), 'job')} waiting)"
            yield need(
                "waiting" if fault.needs_a_person else EndClass.QUOTA.value,
                f"{fault.message}{more}",
                job_id=held[0].id if len(held) == 1 else None,
                since=fault.since,
                until=fault.until,
                urgent=fault.needs_a_person,
            )


def _files(jobs: Sequence[JobSummary], problems: Sequence[Problem]) -> Iterator[NeedJson]:
    errors = [each for each in problems if each.is_error]
    by_job, told = ProblemsByJob(errors), set[Problem]()
    wrong = [job for job in jobs if job.sync_state in (SyncState.INVALID, SyncState.CONFLICT)]
    for job in wrong[:MOST]:
        mine = by_job.of(job)
        said = mine[0].in_words if mine else f"its file {job.path} cannot be used"
        yield need("invalid", f"{said}; the last good definition is in force", job_id=job.id, since=job.updated_at)
    yield from _more("invalid", wrong)
    for job in wrong:
        told |= set(by_job.of(job))
    others = [each for each in errors if each not in told]
    for problem in others[:MOST]:
        yield need("invalid", problem.in_words, job_id=None)
    yield from _more("invalid", others)


def _guarded(jobs: Iterable[JobSummary]) -> Iterator[NeedJson]:
    held = [job.id for job in jobs if job.sync_state is SyncState.HELD]
    if held:
        some = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
        yield need("guard", f"the guard holds {counted(len(held), 'job')} that would be archived: {some}")


def _end(job: JobSummary) -> datetime | None:
    """When the schedule of a job ends; None if it does not."""
    ends = [entry.ends for entry in job.due_by.entries]
    return None if None in ends else max(each for each in ends if each is not None)


def outlasts(job: JobSummary, now: datetime) -> bool:
    """True if a job is paused beyond the end of its schedule."""
    if job.status(now) is not Status.PAUSED or (end := _end(job)) is None:
        return False
    return job.pause is not None and (job.pause.until is None or job.pause.until > end)


def _of_root(store: Store, jobs: Sequence[JobSummary], channels: Sequence[Reach], now: datetime) -> Iterator[NeedJson]:
    """Budgets, channels and tokens."""
    from scheduler.core.views import amount_json
    from scheduler.ledger.spent_by import limits

    for limit in store.read(limits, now):
        if limit.spent + limit.reserved >= limit.limit:
            text = f"budget.{limit.key} of scheduler.yaml is reached: {amount_json(limit.spent)} spent"
            yield need("budget", text, until=limit.frees_at, urgent=False)
    present = {job.id for job in jobs}
    ids = [each for each in store.read(queries.newest_skip_is, OVER) if each in present]
    refused = [
        job
        for job in store.read(queries.summaries, ids)
        if job.last_skip_at is not None and (job.last_run_at is None or job.last_run_at <= job.last_skip_at)
    ]
    for job in refused[:MOST]:
        its = store.read(queries.job, job.id)
        found = None if its is None else store.read(budgets.spending_of, its.file.spec, now)
        if found is not None and found.refused:
            text = f"its slots are skipped: {found.refused}"
            yield need("budget", text, job_id=job.id, until=found.frees_at, urgent=False)
    yield from _more("budget", refused)
    for channel in channels:
        if channel.is_dead:
            waits = f"; {counted(channel.waiting, 'message')} waiting" if channel.waiting else ""
            text = f"{channel.who} is dead: {channel.breaker.last_error}{waits}"
            yield need("channel", text, job_id=channel.job_id, since=channel.breaker.open_since)
    for token in store.read(access.tokens):
        if ends_soon(token, now, within=TOKEN_ENDS):
            yield need("token", f"token {token.name} expires", until=token.expires_at)


def counted_kinds(needs: Iterable[NeedJson], *kinds: str) -> Counter[str]:
    """How many lines of these kinds there are."""
    return Counter(each["kind"] for each in needs if each["kind"] in kinds)
