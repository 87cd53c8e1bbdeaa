"""What a monitor reads: whether the root is served, and its gauges and counters."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from scheduler.core.due.place import PlaceFault, holding
from scheduler.core.formats.globs import matches_job
from scheduler.core.past.presence import DaemonState
from scheduler.core.values.facts import JobSummary, Status
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.ledger import lives, places, queries, syncs, tallies
from scheduler.ledger.store import Store
from scheduler.ledger.tallies import RunTally, Tally
from scheduler.service.jobs import held_in
from scheduler.service.presence import find_daemon
from scheduler.service.root import Root

TURN = "turn"  # why a run waits that only needs a free place, or the end of an earlier run of its job
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def readiness(root: Root) -> str:
    """Why this root is not served now, in general words, because anybody may ask; empty if it is."""
    try:
        with root.store() or contextlib.nullcontext() as store:
            if store is None:
                return "the root was never synced"
            store.read(queries.job_ids, since=2**62)
            found = find_daemon(root, store, [], root.clock.now())
    except SchedulerError:
        return "the database cannot be read"
    fine = found.presence.state in (DaemonState.SERVING, DaemonState.OBSERVING)
    return "" if fine else "no daemon answers"


def metrics(root: Root, *, jobs: bool = True, patterns: Sequence[str] = ()) -> str:
    """Gauges and counters in the text format of Prometheus, of jobs that match the patterns.

    jobs: whether counters have a label for the job, and what is of one job alone is there.
    """
    with root.store() or contextlib.nullcontext() as store:
        lines = [
            *_gauge("scheduler_held", "1 while syncs are held.", {"": int(bool(held_in(root, store)))}),
            *([] if store is None else _of_store(store, root.clock.now(), jobs=jobs, patterns=patterns)),
        ]
    return "".join(f"{line}\n" for line in lines)


def _of_store(store: Store, now: datetime, *, jobs: bool, patterns: Sequence[str]) -> Iterator[str]:
    seen = [job for job in store.read(queries.sketches) if not patterns or matches_job(job.id, job.tags, patterns)]
    ids = {job.id for job in seen}
    present = [job for job in seen if not job.archived]
    active = [run for run in store.read(queries.active_runs) if run.job_id in ids]
    problems = [each for each in store.read(syncs.problems) if not patterns or each.job_id in ids]
    yield from _gauge("scheduler_problems", "Problems in the files.", {"": len(problems)})
    yield from _gauge("scheduler_active_runs", "Runs that have not ended.", {"": len(active)})
    waiting = _waiting(present, active, store.read(places.open_faults), now)
    yield from _gauge("scheduler_waiting", "Jobs that wait, by reason.", _by("reason", waiting))
    revision, dirty = store.read(tallies.applied_revision)
    info = {} if revision is None else {_labels(revision=revision, dirty=str(dirty).lower()): 1}
    yield from _gauge("scheduler_revision_info", "The commit of the last sync, and whether files differ from it.", info)
    life = store.read(lives.last_life)
    beat = {} if life is None else {"": life.seen.timestamp()}
    yield from _gauge("scheduler_heartbeat_timestamp_seconds", "The last sign of life of a daemon.", beat)
    syncs_by = {each.label: each.count for each in store.read(tallies.sync_tallies)}
    yield from _counter("scheduler_sync_total", "Syncs, by result.", _by("result", syncs_by))
    if jobs:
        yield from _of_jobs(present, store.read(tallies.last_successes))
    yield from _of_runs([each for each in store.read(tallies.run_tallies) if each.job_id in ids], jobs=jobs)
    for name, words, label, read, unit in (
        ("scheduler_skips_total", "Skipped slots.", "reason", tallies.skip_tallies, 1),
        ("scheduler_cost_usd_total", "What ended runs have cost in US dollars.", "model", tallies.cost_tallies, 10**9),
        ("scheduler_tokens_total", "Tokens of ended runs. The kinds do not overlap.", "kind", tallies.token_tallies, 1),
    ):
        mine = [each for each in store.read(read) if each.job_id in ids]
        yield from _counter(name, words, _summed(mine, label, unit=unit, jobs=jobs))


def _waiting(
    jobs: Sequence[JobSummary], active: Iterable[Run], faults: Sequence[PlaceFault], now: datetime
) -> Mapping[str, int]:
    """How many jobs wait, by reason: their slots for a place that is gone, or a run of theirs."""
    reasons = {run.job_id: run.reason or TURN for run in active if run.status is RunStatus.QUEUED}
    for job in jobs if faults else ():
        fault = holding(faults, job)
        if fault is not None and job.status(now, waits=True) is Status.WAITING:
            reasons[job.id] = fault.reason
    return Counter(reasons.values())


def _of_jobs(jobs: Sequence[JobSummary], successes: Mapping[str, datetime]) -> Iterator[str]:
    labels = {job.id: _labels(job=job.id) for job in jobs}
    yield from _gauge(
        "scheduler_next_fire_timestamp_seconds",
        "The next slot.",
        {labels[job.id]: job.next_run_at.timestamp() for job in jobs if job.next_run_at is not None},
    )
    yield from _gauge(
        "scheduler_last_success_timestamp_seconds",
        "The end of the last run that succeeded.",
        {labels[job_id]: at.timestamp() for job_id, at in successes.items() if job_id in labels},
    )
    yield from _gauge(
        "scheduler_consecutive_errors",
        "Failures since the last success.",
        {labels[job.id]: job.consecutive_errors for job in jobs},
    )


def _of_runs(found: Sequence[RunTally], *, jobs: bool) -> Iterator[str]:
    runs, durations, delays = Counter[tuple[str, str, str]](), Counter[str](), Counter[str]()
    timed, punctual = Counter[str](), Counter[str]()
    for each in found:
        job = each.job_id if jobs else ""
        runs[job, each.status, each.trigger] += each.runs
        durations[job] += each.duration_ms
        timed[job] += each.started
        delays[job] += each.delay_ms
        punctual[job] += each.punctual
    ended = {_labels(job=job, status=status, trigger=trigger): n for (job, status, trigger), n in runs.items()}
    yield from _counter("scheduler_runs_total", "Runs that have ended.", ended)
    yield from _summary("scheduler_run_duration_seconds", "How long ended runs took.", durations, timed)
    words = "From the slot to the start of ended runs that were not caught up."
    yield from _summary("scheduler_start_delay_seconds", words, delays, punctual)


def _summed(found: Iterable[Tally], label: str, *, unit: int, jobs: bool) -> Mapping[str, float]:
    """By labels. unit: how many of what was counted are 1."""
    if jobs:  # each row has labels of its own
        told = {f"{{{_pair('job', job)},{_pair(label, of)}}}": count for job, of, count in found}
    else:
        sums = Counter[str]()
        for each in found:
            sums[each.label] += each.count
        told = {_labels(**{label: of}): count for of, count in sums.items()}
    return told if unit == 1 else {labels: count / unit for labels, count in told.items()}


def _by(label: str, values: Mapping[str, float]) -> Mapping[str, float]:
    return {_labels(**{label: name}): value for name, value in sorted(values.items())}


def _labels(*, job: str = "", **values: str) -> str:
    """job: empty for all of them, which has no label."""
    of_job = _pair("job", job) if job else ""
    for name, value in values.items():
        of_job += f",{_pair(name, value)}" if of_job else _pair(name, value)
    return f"{{{of_job}}}" if of_job else ""


@functools.lru_cache(maxsize=20_000)
def _pair(name: str, value: str) -> str:
    """Cached: each job has a dozen values."""
    return f'{name}="{value.translate(_ESCAPES)}"'


def _gauge(name: str, words: str, values: Mapping[str, float]) -> Iterator[str]:
    yield from _head(name, words, "gauge")
    yield from (f"{name}{labels} {value}" for labels, value in values.items())


def _counter(name: str, words: str, values: Mapping[str, float]) -> Iterator[str]:
    yield from _head(name, words, "counter")
    yield from (f"{name}{labels} {value}" for labels, value in values.items())


def _summary(name: str, words: str, sums_ms: Mapping[str, int], counts: Mapping[str, int]) -> Iterator[str]:
    """By job."""
    yield from _head(name, words, "summary")
    for job, count in counts.items():
        if count:
            labels = _labels(job=job)
            yield f"{name}_sum{labels} {sums_ms[job] / 1000}"
            yield f"{name}_count{labels} {count}"


def _head(name: str, words: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
