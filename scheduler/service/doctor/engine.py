"""Whether what jobs for workers need is there: the server, its memory, and somebody who takes runs from each queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core.formats.queues import queue_of
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import names
from scheduler.core.values.units import format_duration
from scheduler.root.place import Place
from scheduler.run.temporal.setup import engine_file, has_library, read_engine
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

    where = f"{found.address}, namespace {found.namespace!r}"
    try:
        retention, asked = asyncio.run(asyncio.wait_for(_asked(found, sorted(queues), environ), LIMIT_S))
    except (UnreachableError, TimeoutError, SchedulerError) as error:
        why = str(error) or f"no answer within {LIMIT_S:.0f} seconds"
        hint = "check address, namespace, tls and api_key in engine.yaml; due runs wait for their server"
        yield Check("engine", "error", f"{where} is not reached: {why}", hint)
        return
    yield Check("engine", "ok", f"{where} is reached")
    yield from judge_retention(retention, [job for each in queues.values() for job in each])
    yield from judge_queues(asked, queues, datetime.now(UTC))


async def _asked(
    found: EngineSettings, queues: Iterable[str], environ: Mapping[str, str]
) -> tuple[float | None, dict[str, datetime | None]]:
    from scheduler.run.temporal.server import connect

    server = await connect(found, "", environ)
    return await server.health(), {queue: await server.asked_at(queue) for queue in queues}


def judge_retention(retention_s: float | None, jobs: Iterable[Job]) -> Iterator[Check]:
    """After it, the server no longer knows whether a slot has run: it is the length of the promise."""
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
        hint = f"temporal operator namespace update --retention {int(least.total_seconds() // 3600)}h"
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
