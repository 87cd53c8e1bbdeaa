"""The verbs for what ran, what it wrote, what changed, and why: history, task, output, audit, explain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scheduler.core import views
from scheduler.core.past.grouped import grouped
from scheduler.core.past.why import why_it_ran
from scheduler.core.values.facts import Fault
from scheduler.core.values.instants import instant
from scheduler.core.values.last_lines import last_lines
from scheduler.core.values.problems import RefusedError, Remedy, UnavailableError, UnknownError, UsageError
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger import budgets, lives, outbox, places, queries, runs, syncs
from scheduler.ledger.audit import read_activity, read_audit
from scheduler.machine.ends_of_files import end_of
from scheduler.service.jobs import held_in
from scheduler.service.presence import find_daemon
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import (
        ActivityJson,
        AuditJson,
        ExplainJson,
        ExplainWindowJson,
        HistoryJson,
        PresentTaskJson,
        ShowRunJson,
    )
    from scheduler.core.past.explain import Ledger
    from scheduler.core.values.facts import Job
    from scheduler.ledger.store import Store


MOST_AT_ONCE = 2_000  # rows of changes that are read for one page
NEWEST = 50  # default number of rows of a history or an audit
SHOWN_LINES = 10  # lines of output in the view of one run
MOST_WINDOW = timedelta(days=3660)  # a cron expression takes some microseconds per calendar day


def history(
    root: Root,
    job_id: str | None = None,
    *,
    count: int | None = None,
    status: RunStatus | None = None,
    since: datetime | None = None,
    failed: bool = False,
    before: int | None = None,
    prefix: bool = False,
) -> HistoryJson:
    """Runs and skips of a job, or of all jobs, newest first. For all jobs: active runs first, then the last ended.

    since: leave out runs that ended before. failed: only failures, including skips because of a fault.
    before: only runs of the job with a lower number, to go on where an earlier answer has ended.
    """
    store = root.store() if job_id is None else root.need_store(job_id)
    if store is None:
        return {"runs": [], "more": False}
    with store:
        found = store.read(
            queries.recent_runs,
            job_id=None if job_id is None else root.find_job(store, job_id, prefix=prefix).id,
            since=since,
            failed=failed,
            status=status,
            before=before,
            limit=None if count is None else count + 1,
        )
        sent = store.read(outbox.deliveries_of, found[:count])
    return {
        "runs": [views.run_json(run, sent.get(run.id, ())) for run in found[:count]],
        "more": len(found) > len(found[:count]),
    }


def show_run(root: Root, run_id: str, *, prefix: bool = False) -> ShowRunJson:
    """One run: why it exists, who asked for it, its attempts, how it ended, and its last lines of output."""
    run = run_of(root, run_id, prefix=prefix)
    attempt = last_attempt(run)
    lines: dict[str, list[str]] = {}
    for stream in ("stdout", "stderr"):
        lines[stream] = last_lines(end_of(root.place.output(run.job_id, run.n, attempt, stream)), SHOWN_LINES)
    store = root.store()
    if store is None:
        sent = {}
    else:
        with store:
            sent = store.read(outbox.deliveries_of, [run])
    shown = views.run_json(run, sent.get(run.id, ()))
    return {"run": shown, "why": why_it_ran(run), "last_lines": lines, "timezone": _zone(root, run)}


def last_attempt(run: Run) -> int:
    return run.attempts[-1].n if run.attempts else 1


def _zone(root: Root, run: Run) -> str:
    job = root.known(run.job_id)
    return "UTC" if job is None else job.file.spec.schedule.timezone


def present_task(root: Root, job_id: str, *, prefix: bool = False) -> PresentTaskJson:
    """The text that a run of the job would get now, and where it comes from.

    Raises: RefusedError with the reason of the skip if a run would get none.
    """
    from scheduler.run.fire import from_disk

    with root.job(job_id, prefix=prefix) as (store, job):
        if job.archived:
            raise RefusedError(
                f"job {job.id!r} is archived: no file defines it now",
                hint=f"`scheduler versions {job.id}` lists its earlier texts",
            )
        passes = root.passes()
        found = passes.look_again(store.read(syncs.observed, job_id=job.id), job.id, root.clock.now())
        if isinstance(found, Fault):
            raise RefusedError(f"job {job.id!r} has no usable text now: {found.message} [{found.reason}]")
        _, job, settings = found
        ready = from_disk(passes, job, settings, Trigger.MANUAL)
        if isinstance(ready, Fault):
            raise RefusedError(f"job {job.id!r} has no usable text now: {ready.message} [{ready.reason}]")
    return {
        "job_id": job.id,
        "run_id": None,
        "task": ready.task.text.decode(),
        "task_sha256": ready.task.sha256,
        "source_path": ready.task.source_path,
        "revision": ready.provenance.revision,
        "dirty": ready.provenance.dirty,
    }


def run_of(root: Root, run_id: str, *, prefix: bool = False) -> Run:
    """The run named by `JOB:N`. Raises: UsageError."""
    job_id, _, number = run_id.rpartition(":")
    if not job_id or not number.isascii() or not number.isdigit() or len(number) > 15:
        raise UsageError(f"{run_id!r} is not a run", hint="a run is JOB:N, such as heartbeat:12")
    with root.job(job_id, prefix=prefix) as (store, job):
        run = store.read(runs.find_run, job.id, int(number))
        if run is None:
            newest = store.read(queries.runs, job.id, limit=1)
            hint = f"its newest run is {newest[0].id}" if newest else "it has not run yet"
            raise UnknownError(f"job {job.id!r} has no run {number}", hint=hint)
        return run


def run_to_read(root: Root, name: str, *, prefix: bool = False) -> Run:
    """The run named by `JOB:N`, or the newest started run of a job. Raises: UsageError."""
    if ":" in name:
        return run_of(root, name, prefix=prefix)
    with root.job(name, prefix=prefix) as (store, job):
        run = store.read(queries.newest_started, job.id)
    if run is None:
        raise UsageError(f"job {job.id!r} has not run yet", hint=f"`scheduler explain {job.id}` says why")
    return run


def task(root: Root, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes, bytes | None]:
    """The exact text that a run received, and what its check printed, if that was added to it.

    Raises: UsageError if it never got one.
    """
    run = run_of(root, run_id, prefix=prefix)
    if run.task_sha256 is None:
        raise UsageError(f"{run.id} has no text: it is {run.status.value} ({run.reason})")
    with root.open() as store:
        text = store.read(queries.text_of, run.task_sha256, store.path)
        added = None if run.check_sha256 is None else store.read(queries.text_of, run.check_sha256, store.path)
    return run, text, added


def audit(root: Root, job_id: str | None = None, *, count: int | None = None, prefix: bool = False) -> AuditJson:
    """Changes, oldest first: the newest `count` rows."""
    store = root.store() if job_id is None or job_id == ROOT_JOB_ID else root.need_store(job_id)
    if store is None:
        return {"audit": [], "more": False}
    with store:
        known = job_id if job_id is None or job_id == ROOT_JOB_ID else root.find_job(store, job_id, prefix=prefix).id
        rows = store.read(read_audit, known, limit=None if count is None else count + 1)
    shown = rows if count is None else rows[-count:]
    return {"audit": [views.audit_json(row) for row in shown], "more": len(shown) < len(rows)}


def activity(
    root: Root,
    *,
    job_id: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    before: int | None = None,
    count: int = NEWEST,
) -> ActivityJson:
    """What anybody changed, newest first, also in archived jobs. A job, actor or action that is unknown has no rows.

    A change of many jobs at once is one row, with their ids; beyond MOST_AT_ONCE rows, it is continued in the next.
    """
    store = root.store()
    if store is None:
        return {"rows": [], "before": None}
    limit = 4 * count
    with store:
        while True:
            found = store.read(read_activity, job_id=job_id, actor=actor, action=action, before=before, limit=limit)
            lines = list(grouped(found))
            whole = len(found) < limit  # there are no older rows
            if whole or len(lines) > count or limit >= MOST_AT_ONCE:
                break
            limit = min(4 * limit, MOST_AT_ONCE)
    end = min(count, len(lines))
    while end < len(lines) and lines[end].seq == lines[end - 1].seq:  # what came at once is not split by the cursor
        end += 1
    return {
        "rows": [{**views.audit_json(each.row), "job_ids": list(each.job_ids)} for each in lines[:end]],
        "before": None if not lines or (whole and end == len(lines)) else lines[end - 1].seq,
    }


def explain_job(root: Root, job_id: str, *, at: datetime | None = None, prefix: bool = False) -> ExplainJson:
    """Why the job did, did not or will not fire at an instant. Default: the newest slot that was due.

    For an instant between two slots: the state of the job then, and what happened to both slots.
    """
    from scheduler.core.past.explain import explain, newest_slot

    now = root.clock.now()
    with root.job(job_id, prefix=prefix) as (store, job):
        moment = newest_slot(job, now) if at is None else at
        ledger = _ledger(root, store, job, moment, now)
        held = held_in(root, store)
        _tell_troubles(root, store, job, now)
    return views.explain_json(job.id, moment, explain(ledger, moment, now=now), held=held)


def _tell_troubles(root: Root, store: Store, job: Job, now: datetime) -> None:
    """What keeps a daemon that is there from firing now, such as a link that leads to another root."""
    daemon = find_daemon(root, store, [job], now)
    for trouble in daemon.troubles if daemon.says else ():
        root.tell(trouble)


def explain_slots(
    root: Root,
    job_id: str,
    *,
    at: datetime | None = None,
    start: datetime | None = None,
    until: datetime | None = None,
    prefix: bool = False,
) -> ExplainJson | ExplainWindowJson:
    """`explain_job` for one instant, or `explain_between` from `start` on. Raises: UsageError for a mix of both."""
    if start is None:
        if until is not None:
            raise UsageError("{to} needs {from}", arguments=("to", "from"), remedy=Remedy.GIVE_START)
        return explain_job(root, job_id, at=at, prefix=prefix)
    if at is not None:
        message = "{at} cannot be combined with {from} or {to}"
        raise UsageError(message, hint="leave one of them out", arguments=("at", "from", "to"))
    return explain_between(root, job_id, start, until, prefix=prefix)


def explain_run_of(root: Root, run_id: str, *, prefix: bool = False) -> ExplainJson:
    """Why a run started, and why it ended as it did."""
    from scheduler.core.past.explain import explain_run

    now, run = root.clock.now(), run_of(root, run_id, prefix=prefix)
    with root.job(run.job_id) as (store, job):
        ledger = _ledger(root, store, job, run.fire_time or run.requested_at, now)
        held = held_in(root, store)
    found = views.explain_json(job.id, run.fire_time or run.requested_at, explain_run(ledger, run, now=now), held=held)
    return {**found, "run": run.id, "status": run.status.value, "reason": run.reason}


def explain_between(
    root: Root, job_id: str, start: datetime, end: datetime | None = None, *, prefix: bool = False
) -> ExplainWindowJson:
    """What happened to the slots from one instant up to another (exclusive; default: now).

    Raises: UsageError for an invalid window, or one that reaches too far ahead.
    """
    from scheduler.core.past.windows import MOST_EXCEPTIONS, Rows, explain_window
    from scheduler.ledger import windows

    now = root.clock.now()
    until = now if end is None else end
    if until <= start:
        message = f"{{to}} is not after {{from}} ({instant(until)}, {instant(start)})"
        raise UsageError(message, arguments=("to", "from"))
    if until - start > MOST_WINDOW:
        raise UsageError(f"the window is longer than {MOST_WINDOW.days:,} days", hint="choose a shorter window")
    with root.job(job_id, prefix=prefix) as (store, job):
        window = (job.id, start, until)
        served = store.read(windows.served, *window)
        rows = Rows(
            served=served,
            covered=lambda a, b: store.read(windows.covered, job.id, a, b),
            reaching=lambda at: store.read(windows.reaching, job.id, at),
            idle=store.read(windows.longest_idle, *window),
            exceptions=store.read(windows.exceptions, *window, most=MOST_EXCEPTIONS),
            by_hand=store.read(windows.by_hand, *window),
        )
        total = store.read(windows.exception_count, *window)
        found = explain_window(_ledger(root, store, job, start, now), start, until, rows, now=now, total=total)
        held = held_in(root, store)
    return views.explain_window_json(job.id, start, until, found, held=held)


def _ledger(root: Root, store: Store, job: Job, moment: datetime, now: datetime) -> Ledger:
    """What is known about a job around an instant."""
    from scheduler.core.past.explain import MOST_EVIDENCE, Ledger

    around, kept_from = store.read(queries.slots_around, job.id, moment)
    spending = store.read(budgets.spending_of, job.file.spec, now) if moment > now else None
    return Ledger(
        job=job,
        definitions=store.read(queries.definitions, job.id),
        audit=store.read(read_audit, job.id),
        runs=around,
        beside=store.read(queries.under_way_at, moment, most=MOST_EVIDENCE + 1),
        lives=store.read(lives.lives, now),
        daemon=root.daemon(of_any_root=True) is not None,
        kept_from=kept_from,
        refused="" if spending is None else spending.refused,
        refused_until=None if spending is None else spending.frees_at,
        places=store.read(places.told_faults),
    )


def output(root: Root, run_id: str, *, prefix: bool = False) -> tuple[Run, bytes, bytes]:
    """The captured stdout and stderr of a run's last attempt; for a job, of its newest run."""
    run = run_to_read(root, run_id, prefix=prefix)
    attempt = last_attempt(run)
    files = [root.place.output(run.job_id, run.n, attempt, stream) for stream in ("stdout", "stderr")]
    if run.output_bytes and not any(file.exists() for file in files):
        left = f"; `scheduler history {run.job_id} --json` still has its beginning (`result`)" if run.result else ""
        raise UnavailableError(
            f"the output of {run.id} is gone: {files[0]} does not exist",
            hint=f"retention.output_days in scheduler.yaml has passed, or the run was imported{left}",
        )
    return run, kept(files[0]), kept(files[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """A part of one stream of an attempt."""

    run: Run
    data: bytes
    start: int  # of `data`, in bytes
    total: int  # bytes of the stream at present


def output_part(
    root: Root,
    run_id: str,
    stream: Literal["stdout", "stderr"],
    *,
    start: int | None,
    most: int,
    attempt: int | None = None,
) -> OutputPart:
    """At most `most` bytes of a stream, from `start` on, or its end: a long output is never read whole.

    attempt: by default the last one. Raises: UnknownError for a run or an attempt that is not there.
    """
    run = run_of(root, run_id)
    last = last_attempt(run)
    if attempt is not None and attempt > last:
        raise UnknownError(f"{run.id} has had no attempt {attempt}", hint=f"its last attempt is {last}")
    path = root.place.output(run.job_id, run.n, attempt or last, stream)
    try:
        total = path.stat().st_size
    except FileNotFoundError:
        total = 0
    begin = max(0, total - most) if start is None else min(start, total)
    return OutputPart(run=run, data=kept(path, start=begin, most=most), start=begin, total=total)


def answer_of(root: Root, run_id: str, *, prefix: bool = False) -> str:
    """What the agent of a run has answered. Raises: UsageError if there is no answer."""
    run = run_to_read(root, run_id, prefix=prefix)
    if run.agent is None:
        why = f"is {run.status.value}" if run.end_class is None else "printed plain text"
        raise UsageError(f"{run.id} {why}, so it has no answer", hint="leave out --answer to print all that it wrote")
    return run.result or ""


def kept(path: Path, *, start: int = 0, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(most)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UnavailableError(f"cannot read the output {path}: {error.strerror}") from error
