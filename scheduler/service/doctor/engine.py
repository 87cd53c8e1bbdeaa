"""Whether what jobs for workers need is there: the server, its memory, and somebody who takes runs from each queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core.formats.queues import queue_of
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import names
from scheduler.core.values.units import format_duration, format_seconds
from scheduler.root.place import Place
from scheduler.run.temporal.setup import engine_file, has_library, read_engine
from scheduler.run.temporal.spec import of_identity
from scheduler.service.doctor.checks import Check

if TYPE_CHECKING:
    from scheduler.core.values.engines import EngineSettings

LEAST_RETENTION = timedelta(hours=72)
LIVING = timedelta(minutes=2)  # a worker asks more often; the server lists dead ones for some minutes
LIMIT_S = 10.0


def check_engine(place: Place, settings: Settings, jobs: Iterable[Job], environ: Mapping[str, str]) -> Iterator[Check]:
    """Asks the server. Nothing if no job is for workers, and no engine is set up."""
    queues: dict[str, list[Job]] = {}
    for job in jobs:
        queue = queue_of(job.file.spec, settings.runners.get(job.file.spec.runner))
        if queue is not None and not job.archived:
            queues.setdefault(queue, []).append(job)
    found = read_engine(place)
    if found is None:
        if queues:
            waiting = names([job.id for each in queues.values() for job in each])
            hint = f"write {engine_file(place)}, or task_queue: local"
            yield Check("engine", "error", f"no engine for workers is set up; these jobs wait: {waiting}", hint)
        return
    if not has_library():
        yield Check("engine", "error", "engine.yaml needs a library", "pip install 'gitops-scheduler[temporal]'")
        return
    yield from _check_server(found, queues, environ)


def _check_server(
    found: EngineSettings, queues: Mapping[str, list[Job]], environ: Mapping[str, str]
) -> Iterator[Check]:
    from scheduler.run.temporal.client import UnreachableError
    from scheduler.run.temporal.codec import marks

    where = f"{found.address}, namespace {found.namespace!r}"
    try:
        ours = marks(found.keys, environ)
        retention, asked = asyncio.run(asyncio.wait_for(_asked(found, sorted(queues), environ), LIMIT_S))
    except (UnreachableError, TimeoutError, SchedulerError) as error:
        why = str(error) or f"no answer within {format_seconds(LIMIT_S)}"
        hint = getattr(error, "hint", "") or "check address, namespace, tls and api_key in engine.yaml"
        yield Check("engine", "error", f"{where} is not reached: {why}", f"{hint}; due runs wait for their server")
        return
    yield Check("engine", "ok", f"{where} is reached")
    flags = f"--namespace {found.namespace} --address {found.address}"
    yield from judge_retention(retention, [job for each in queues.values() for job in each], flags)
    now = datetime.now(UTC)
    yield from judge_queues({queue: max(each.values(), default=None) for queue, each in asked.items()}, queues, now)
    yield from judge_keys(asked, ours, now)


async def _asked(
    found: EngineSettings, queues: Iterable[str], environ: Mapping[str, str]
) -> tuple[float | None, dict[str, dict[str, datetime]]]:
    from scheduler.run.temporal.server import connect

    server = await connect(found, "", environ)
    return await server.health(), {queue: await server.pollers(queue) for queue in queues}


def judge_retention(retention_s: float | None, jobs: Iterable[Job], flags: str) -> Iterator[Check]:
    """After it, the server no longer knows whether a slot has run: it is the length of the promise.

    flags: by which Temporal's own command finds the namespace.
    """
    if retention_s is None:
        yield Check("engine", "warning", "the server does not tell its retention", "it must be 72h or more")
        return
    within = [each.file.spec.catch_up.within for each in jobs]
    least = max([LEAST_RETENTION, *(2 * each for each in within if each is not None)])
    kept = timedelta(seconds=retention_s)
    if kept < least:
        message = (
            f"the namespace forgets closed runs after {format_duration(kept)}; after that, nobody knows whether a slot"
            " has run"
        )
        hint = f"temporal operator namespace update --retention {int(least.total_seconds() // 3600)}h {flags}"
        yield Check("engine", "error", message, hint)


def judge_queues(
    asked: Mapping[str, datetime | None], queues: Mapping[str, list[Job]], now: datetime
) -> Iterator[Check]:
    """A server lists workers for minutes after their end: when they last asked counts."""
    for queue, at in asked.items():
        if at is None or now - at > LIVING:
            waiting = names([job.id for job in queues[queue]])
            since = "" if at is None else f" since {at:%Y-%m-%dT%H:%M:%SZ}"
            message = f"no worker has asked for runs of queue {queue!r}{since}; its jobs: {waiting}"
            yield Check("engine", "warning", message, "start `scheduler worker` on a host that serves it")


def judge_keys(asked: Mapping[str, Mapping[str, datetime]], ours: Sequence[str], now: datetime) -> Iterator[Check]:
    """asked: when each worker last asked, by queue and identity. ours: marks of our keys; the first encrypts."""
    keys: dict[str, tuple[str, ...]] = {}
    for each in asked.values():
        for identity, at in sorted(each.items(), key=lambda item: item[1]):  # after a restart, the newer one counts
            if (found := of_identity(identity)) is not None and now - at <= LIVING:
                keys[found[0]] = found[1]
    hint = "give engine.yaml and every worker.yaml the same encryption.keys, and restart"
    for host, theirs in sorted(keys.items()):
        if ours and ours[0] not in theirs:
            has = f"has {', '.join(map(_id, theirs))}" if theirs else "has no key"
            same = ", of another content" if _id(ours[0]) in map(_id, theirs) else ""
            message = f"worker {host} cannot read what is sent with key {_id(ours[0])}: it {has}{same}"
            yield Check("engine", "error", f"{message}; runs that it takes hang until they are too late", hint)
        elif theirs and theirs[0] not in ours:
            message = f"worker {host} encrypts outcomes with key {_id(theirs[0])}, which engine.yaml does not have"
            yield Check("engine", "error", message, hint)


def _id(mark: str) -> str:
    return mark.rpartition("-")[0]
