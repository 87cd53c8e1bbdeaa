"""The end of a run: written even if the database is busy, and logged (F5, F7)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core.due.accounts import is_interrupted, tries, waits_for_probe
from scheduler.core.due.budgets import affords_retry
from scheduler.core.due.due import may_still_start
from scheduler.core.due.events import is_worth_a_warning
from scheduler.core.due.place import PLACE
from scheduler.core.due.policy import retry_at
from scheduler.core.values.facts import Job
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.core.values.runs import Ending, Run, RunStatus
from scheduler.ledger import accounts, queries, rows, runs
from scheduler.ledger.put_back import OF_COPY
from scheduler.ledger.store import Store
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.run.engine import Why

if TYPE_CHECKING:
    from sqlite3 import Connection

END_TRIES = 6  # each waits for the database as long as a command does

_log = Log(__name__)


class EndNotWrittenError(UnavailableError):
    """A run whose outcome is known but could not be written. Nobody may write another outcome.

    write_end: writes the outcome, given a store that accepts it. Until then the run counts as under way.
    """

    def __init__(self, message: str, *, hint: str, write_end: Callable[[Store], Run]) -> None:
        super().__init__(message, hint=hint)
        self.write_end = write_end


def end_attempt(store: Store, run: Run, ending: Ending, job: Job, why: Why | None, now: datetime) -> Run:
    """Write how an attempt ended, and with it the run, unless the run is tried again.

    A run that a person cancelled or a newer run replaced (`why`) is not tried again, even if it ended by itself at
    that moment. Retries on a locked database, which must not turn the outcome into another one.
    """
    again = retried_at(run, ending, job, why, now)

    def write_end(store: Store) -> Run:
        return _write_end(store, run, ending, again, why, now)

    for left in reversed(range(END_TRIES)):
        try:
            ended = write_end(store)
            crash_point("after_end")
            return ended
        except UnavailableError as error:
            if not left:
                raise EndNotWrittenError(
                    _not_saved(run, ending, error),
                    hint="a daemon tries again; without one, the next sync marks it interrupted. Its output is kept",
                    write_end=write_end,
                ) from error
    raise AssertionError("the last try returns or raises")


def retried_at(run: Run, ending: Ending, job: Job, why: Why | None, now: datetime) -> datetime | None:
    """When a run whose attempt ended so is tried again; None if it is not. why: somebody ended it."""
    if why in ("cancelled", "replaced") or not affords_retry(run.reserved, run.attempts[:-1], ending):
        return None
    return _again(job, run, ending, now)


def _again(job: Job, run: Run, ending: Ending, now: datetime) -> datetime | None:
    retry, attempts = job.file.spec.retry, tries(run.attempts)
    return retry_at(retry, attempts=attempts, status=ending.status, end_class=ending.end_class, now=now)


def another_try(
    sql: Connection, run: Run, ending: Ending, *, again: datetime | None, why: Why | None, now: datetime
) -> Run | None:
    """Write the end of an attempt that another one follows: its retry, or the probe of its account. None if none does.

    An attempt that a quota or a credential has ended parks its account, whatever follows.
    again: when `retry` asks for it.
    """
    reason = "retry"
    if ending.account is not None:
        park = accounts.park(sql, ending, now=now)
        may = why not in ("cancelled", "replaced") and affords_retry(run.reserved, run.attempts[:-1], ending)
        if may and waits_for_probe(run, ending):
            again, reason = park.until, park.reason
    if again is None:
        return None
    known = queries.job(sql, run.job_id)
    if known is None or known.archived:
        return None
    return runs.end_try(sql, run, ending, retry_at=again, reason=reason, now=now)


def end_later(
    run: Run, ending: Ending, job: Job, why: Why | None, now: datetime, error: SchedulerError
) -> tuple[Callable[[Store], Run], str]:
    """What writes an end that could not be written now, and a sentence that says so."""
    again = retried_at(run, ending, job, why, now)
    return lambda store: _write_end(store, run, ending, again, why, now), _not_saved(run, ending, error)


def _not_saved(run: Run, ending: Ending, error: SchedulerError) -> str:
    return f"{run.id} ended ({_words(ending)}), but the result could not be saved: {error}"


def _write_end(store: Store, run: Run, ending: Ending, again: datetime | None, why: Why | None, now: datetime) -> Run:
    """again: when the run is tried again, unless its job has been archived meanwhile."""
    with store.writing() as sql:
        waits = another_try(sql, run, ending, again=again, why=why, now=now)
        return waits or runs.finish(sql, run, ending, now=now)


def abandon(store: Store, run: Run, error: BaseException, owner: str, now: datetime) -> None:
    """End a run that an internal error stopped before its outcome was known. A run that has ended stays as it is."""

    def write_end(store: Store) -> Run:
        return give_up(store, run, error, now=now, owner=owner)

    try:
        write_end(store)
    except UnavailableError as second:
        raise EndNotWrittenError(
            f"{run.id} was abandoned ({error}), and that could not be saved: {second}",
            hint="a daemon tries again; without one, the next sync marks it interrupted",
            write_end=write_end,
        ) from error


def give_up(store: Store, run: Run, error: BaseException, *, now: datetime, owner: str | None = None) -> Run:
    """End a run that an internal error stopped. A run that has ended stays as it is.

    owner: who gives it up. A run that another process has taken over stays as it is.
    """
    ending = Ending(status=RunStatus.INTERRUPTED, reason="scheduler_error", error=f"{type(error).__name__}: {error}")
    return store.write(runs.finish, run, ending, owner=owner, now=now)


def end_unstarted(store: Store, run: Run, why: Why, now: datetime) -> Run:
    """End a run that was stopped before its process existed, or while it waits. No error of the job.

    The scheduler's own stop is nobody's wish that a slot is not served: such a run waits for the next daemon.
    Changes nothing if another process has taken over the run meanwhile.
    """
    if why == "interrupted":
        return store.write(put_back, run, now=now)
    return store.write(runs.finish, run, Ending(status=RunStatus.CANCELLED, reason=why), expected=run.status, now=now)


def put_back(
    sql: Connection, run: Run, *, now: datetime, said: str = "the scheduler stopped", reason: str = "shutdown"
) -> Run:
    """Let a run that provably never started wait for its turn again, or end it if it is too late for that (F4).

    A manual run is not made up for: the person who asked for it has seen it fail.
    said, reason: why it has not started.
    """
    said = f"{said} before the run started"
    job = queries.job(sql, run.job_id)
    runs.take_back(sql, run, now=now)
    if run.fire_time is None and len(run.attempts) <= 1:
        ending = Ending(status=RunStatus.INTERRUPTED, reason=reason, error=said)
        return runs.finish(sql, run, ending, now=now)
    if run.fire_time is not None and job is not None and not may_still_start(job, run.fire_time, now):
        return runs.skip(
            sql, run, reason="missed", message=f"{said}, and it is now too late to start", fault=False, now=now
        )
    return rows.the_run(sql, run.job_id, run.n)


def end_orphan(store: Store, run: Run, now: datetime, *, left: Sequence[int] = ()) -> Run:
    """End a run whose owner has died. It is tried again only if its `retry` says so (F4).

    left: pids of its processes that could not be ended.
    """
    error = "the process that ran it ended before the run finished"
    if left:
        error += f"; still running: {', '.join(map(str, left))}"
    ending = Ending(status=RunStatus.INTERRUPTED, reason="owner_died", error=error)
    again = None
    job = store.read(queries.job, run.job_id)
    may = run.reason != OF_COPY and affords_retry(run.reserved, run.attempts[:-1], ending)
    if job is not None and run.attempts and may:
        again = _again(job, run, ending, now)
    return _write_end(store, run, ending, again, None, now)


def start_anew(store: Store, run: Run, now: datetime) -> Run:
    """Put back a run whose owner has died before it could start it."""
    said = "the process that was to run it ended"
    return store.write(put_back, run, now=now, said=said, reason="owner_died")


def tell_end(store: Store, run: Run) -> Run:
    """Log how a run ended and whether it stopped its job (F7), or that it is tried again."""
    if is_interrupted(run):
        assert run.retry_at is not None
        why = "its account is parked; its next attempt is the probe"
        _log.info("run_waits", why, run_id=run.id, reason=run.reason, until=instant(run.retry_at))
        return run
    if run.retry_at is not None:
        last = run.attempts[-1]
        _log.info(
            "attempt_failed",
            "a retry is scheduled",
            run_id=run.id,
            attempt=last.n,
            status=last.status.value,
            retry_at=instant(run.retry_at),
        )
        return run
    if not run.status.finished:
        if run.reason == PLACE:
            _log.info("run_waits", "its place is unavailable; the run starts once it is restored", run_id=run.id)
        elif run.status is RunStatus.QUEUED and not run.attempts:
            why = "the process that was to run it has ended; the run waits to start again"
            _log.warning("run_not_started", why, run_id=run.id)
        return run  # another process has it
    _log_end(run)
    if run.finished_at is not None and run.status not in (RunStatus.SUCCEEDED, RunStatus.CANCELLED):
        job = store.read(queries.job, run.job_id)
        if job is not None and job.runtime.stopped_at == run.finished_at:
            _log.warning(
                "job_stopped",
                f"edit its definition or task, or run `scheduler resume {job.id}`, to start it again",
                job_id=job.id,
                reason=job.runtime.stop_reason,
            )
    return run


def _log_end(run: Run) -> None:
    """Log one line per end (F7)."""
    _log.log(
        logging.WARNING if is_worth_a_warning(run) else logging.INFO,
        f"run_{run.status.value}",
        run_id=run.id,
        reason=run.reason,
        error=run.error,
        fire_time=run.fire_time and instant(run.fire_time),
        duration_ms=run.duration_ms,
        cost=run.cost and f"{run.cost.amount.normalize():f} {run.cost.currency}",
        model=run.agent and run.agent.model_served,
        task=run.task_sha256 and run.task_sha256[:12],
        revision=run.provenance.revision and run.provenance.revision[:12],
    )


def _words(ending: Ending) -> str:
    if ending.exit_code is not None:
        return f"{ending.status}, exit code {ending.exit_code}"
    return ending.status
