"""What a monitor reads: whether the root is served, and its gauges and counters."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from scheduler.core.due.place import PlaceFault, holding
from scheduler.core.formats.globs import matches_job
from scheduler.core.past.presence import DaemonState
from scheduler.core.values.facts import JobSummary, Status
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.ledger import lives, places, queries, syncs, tallies
from scheduler.ledger.store import Store
from scheduler.ledger.tallies import Gauge, RunTally, Tally
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
        held = _gauge("scheduler_held", "1 while syncs are held.", {"": int(bool(held_in(root, store)))})
        rest = () if store is None else _of_store(store, root.clock.now(), jobs=jobs, patterns=patterns)
        return "".join([held, *rest])


def _of_store(store: Store, now: datetime, *, jobs: bool, patterns: Sequence[str]) -> Iterator[str]:
    """One metric after the other."""
    ids = _ids(store, patterns)
    active = [run for run in store.read(queries.active_runs) if run.job_id in ids]
    problems = [each for each in store.read(syncs.problems) if not patterns or each.job_id in ids]
    yield _gauge("scheduler_problems", "Problems in the files.", {"": len(problems)})
    yield _gauge("scheduler_active_runs", "Runs that have not ended.", {"": len(active)})
    faults = store.read(places.open_faults)
    held = [job for job in store.read(queries.sketches) if job.id in ids and not job.archived] if faults else []
    yield _gauge("scheduler_waiting", "Jobs that wait, by reason.", _by("reason", _waiting(held, active, faults, now)))
    revision, dirty = store.read(tallies.applied_revision)
    info = {} if revision is None else {_labels(revision=revision, dirty=str(dirty).lower()): 1}
    yield _gauge("scheduler_revision_info", "The commit of the last sync, and whether files differ from it.", info)
    life = store.read(lives.last_life)
    beat = {} if life is None else {"": life.seen.timestamp()}
    yield _gauge("scheduler_heartbeat_timestamp_seconds", "The last sign of life of a daemon.", beat)
    syncs_by = {each.label: each.count for each in store.read(tallies.sync_tallies)}
    yield _counter("scheduler_sync_total", "Syncs, by result.", _by("result", syncs_by))
    if jobs:
        gauges = [each for each in store.read(tallies.gauges) if each.job_id in ids]
        yield from _of_jobs(gauges, store.read(tallies.last_successes))
    yield from _of_runs((each for each in store.read(tallies.run_tallies) if each.job_id in ids), jobs=jobs)
    for name, words, label, read, unit in (
        ("scheduler_skips_total", "Skipped slots.", "reason", tallies.skip_tallies, 1),
        ("scheduler_cost_usd_total", "What ended runs have cost in US dollars.", "model", tallies.cost_tallies, 10**9),
        ("scheduler_tokens_total", "Tokens of ended runs. The kinds do not overlap.", "kind", tallies.token_tallies, 1),
    ):
        mine = (each for each in store.read(read) if each.job_id in ids)
        yield _counter(name, words, _summed(mine, label, unit=unit, jobs=jobs))


def _ids(store: Store, patterns: Sequence[str]) -> Collection[str]:
    """The jobs that match the patterns; all of them if there are none."""
    if not patterns:
        return set(store.read(queries.job_ids))
    return {job_id for job_id, tags in store.read(queries.tags).items() if matches_job(job_id, tags, patterns)}


def _waiting(
    jobs: Iterable[JobSummary], active: Iterable[Run], faults: Sequence[PlaceFault], now: datetime
) -> Mapping[str, int]:
    """How many jobs wait, by reason: their slots for a place that is gone, or a run of theirs.

    jobs: those that a fault may hold.
    """
    reasons = {run.job_id: run.reason or TURN for run in active if run.status is RunStatus.QUEUED}
    for job in jobs:
        fault = holding(faults, job)
        if fault is not None and job.status(now, waits=True) is Status.WAITING:
            reasons[job.id] = fault.reason
    return Counter(reasons.values())


def _of_jobs(jobs: Sequence[Gauge], successes: Mapping[str, datetime]) -> Iterator[str]:
    labels = {job.job_id: _labels(job=job.job_id) for job in jobs}
    yield _gauge(
        "scheduler_next_fire_timestamp_seconds",
        "The next slot.",
        {labels[job_id]: at.timestamp() for job_id, at, _ in jobs if at is not None},
    )
    yield _gauge(
        "scheduler_last_success_timestamp_seconds",
        "The end of the last run that succeeded.",
        {labels[job_id]: at.timestamp() for job_id, at in successes.items() if job_id in labels},
    )
    yield _gauge(
        "scheduler_consecutive_errors",
        "Failures since the last success.",
        {labels[job_id]: errors for job_id, _, errors in jobs},
    )


def _of_runs(found: Iterable[RunTally], *, jobs: bool) -> Iterator[str]:
    """found: those of a job one after the other."""
    ended: dict[str, int] = {}
    durations: dict[str, tuple[int, int]] = {}
    delays: dict[str, tuple[int, int]] = {}
    for job_id, rows in itertools.groupby(found, key=lambda each: each.job_id if jobs else ""):
        started = duration_ms = punctual = delay_ms = 0
        for each in rows:
            labels = _with_job(job_id, f'status="{each.status}",trigger="{each.trigger}"')
            ended[labels] = ended.get(labels, 0) + each.runs
            started, duration_ms = started + each.started, duration_ms + each.duration_ms
            punctual, delay_ms = punctual + each.punctual, delay_ms + each.delay_ms
        labels = _labels(job=job_id)
        durations[labels], delays[labels] = (started, duration_ms), (punctual, delay_ms)
    yield _counter("scheduler_runs_total", "Runs that have ended.", ended)
    yield _summary("scheduler_run_duration_seconds", "How long ended runs took.", durations)
    words = "From the slot to the start of ended runs that were not caught up."
    yield _summary("scheduler_start_delay_seconds", words, delays)


def _summed(found: Iterable[Tally], label: str, *, unit: int, jobs: bool) -> Mapping[str, float]:
    """By labels. unit: how many of what was counted are 1."""
    if jobs:  # each row has labels of its own
        told = {_with_job(job, _pair(label, of)): count for job, of, count in found}
    else:
        sums = Counter[str]()
        for each in found:
            sums[each.label] += each.count
        told = {_labels(**{label: of}): count for of, count in sums.items()}
    return told if unit == 1 else {labels: count / unit for labels, count in told.items()}


def _by(label: str, values: Mapping[str, float]) -> Mapping[str, float]:
    return {_labels(**{label: name}): value for name, value in sorted(values.items())}


def _labels(**values: str) -> str:
    """job: empty for all of them, which has no label."""
    pairs = ",".join([_pair(name, value) for name, value in values.items() if value or name != "job"])
    return f"{{{pairs}}}" if pairs else ""


def _with_job(job_id: str, pairs: str) -> str:
    return f"{{{_pair('job', job_id)},{pairs}}}" if job_id else f"{{{pairs}}}"


@functools.lru_cache(maxsize=20_000)
def _pair(name: str, value: str) -> str:
    """Cached: each job has a dozen values."""
    return f'{name}="{value.translate(_ESCAPES)}"'


def _gauge(name: str, words: str, values: Mapping[str, float]) -> str:
    """values: by labels."""
    return _head(name, words, "gauge") + _lines(name, values)


def _counter(name: str, words: str, values: Mapping[str, float]) -> str:
    return _head(name, words, "counter") + _lines(name, values)


def _lines(name: str, values: Mapping[str, float]) -> str:
    return "".join([f"{name}{labels} {value}\n" for labels, value in values.items()])


def _summary(name: str, words: str, found: Mapping[str, tuple[int, int]]) -> str:
    """found: by labels, how many and the sum of their milliseconds."""
    lines = [
        f"{name}_sum{labels} {sum_ms / 1000}\n{name}_count{labels} {count}\n"
        for labels, (count, sum_ms) in found.items()
        if count
    ]
    return _head(name, words, "summary") + "".join(lines)


def _head(name: str, words: str, kind: str) -> str:
    return f"# HELP {name} {words}\n# TYPE {name} {kind}\n"
