"""The verb that takes runs from queues: worker, and its check."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError
from scheduler.machine.clock import Clock, SystemClock
from scheduler.machine.locks import Lock

if TYPE_CHECKING:
    from scheduler.core.values.engines import WorkerSettings
    from scheduler.run.temporal.hosting import Host

GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check has looked at."""

    ok: bool
    what: str
    message: str
    hint: str = ""


def need_extra() -> None:
    """Raises: UnavailableError if the libraries of the extra are not there."""
    from scheduler.run.temporal.setup import has_library

    if not has_library():
        raise UnavailableError("workers need the extra `temporal`", hint="pip install 'gitops-scheduler[temporal]'")


def config_file(given: str | None, environ: Mapping[str, str]) -> Path:
    if given is not None:
        return Path(os.path.abspath(given))  # noqa: PTH100 - links are the operator's business
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")  # noqa: PTH118
    return Path(home, "scheduler", "worker.yaml")


def work(config: Path, environ: Mapping[str, str], *, grace: timedelta = GRACE, clock: Clock | None = None) -> None:
    """Take runs from the queues of a worker.yaml until SIGTERM; what runs then gets `grace`.

    Raises: UsageError, RefusedError, UnavailableError.
    """
    need_extra()
    from scheduler.run.temporal.setup import read_worker

    settings = read_worker(config)
    with contextlib.ExitStack() as cleanup:
        host = _host(settings, environ, clock or SystemClock(), cleanup)
        from scheduler.run.temporal.journal import Journal
        from scheduler.run.temporal.lifeline import Lifeline
        from scheduler.run.temporal.lives import Lives
        from scheduler.run.temporal.worker import run, serve

        try:
            journal, lifeline = Journal(host.state / "journal"), Lifeline()
        except OSError as error:
            raise UnavailableError(f"{host.state} cannot be used: {error.strerror}") from error
        cleanup.callback(lifeline.close)
        run(serve(lambda: (host, Lives(host, journal, lifeline)), grace.total_seconds()))


def _host(settings: WorkerSettings, environ: Mapping[str, str], clock: Clock, cleanup: contextlib.ExitStack) -> Host:
    from scheduler.root.place import make_private
    from scheduler.run.temporal.hosting import Host

    name, state = _name(settings), _state(settings, environ)
    make_private(state)
    (state / "runs").mkdir(mode=0o700, exist_ok=True)
    (state / "scratch").mkdir(mode=0o700, exist_ok=True)
    try:
        cleanup.enter_context(Lock(state / "lock", wait=0))
    except BlockingIOError:
        raise RefusedError(
            f"a worker named {name} is running on this machine already",
            hint="give this one another name in its worker.yaml: name: NAME",
        ) from None
    return Host(
        name=name, settings=settings, state=state, environ=environ, commits=_commits(settings, state, environ, clock)
    )


def _commits(settings: WorkerSettings, state: Path, environ: Mapping[str, str], clock: Clock):  # type: ignore[no-untyped-def]
    from scheduler.run.temporal.commits import Commits

    if settings.root is None:
        return None
    return Commits.open(state / "root", settings.root, settings.allowed_signers, clock=clock, environ=environ)


def _name(settings: WorkerSettings) -> str:
    return settings.name or socket.gethostname()


def _state(settings: WorkerSettings, environ: Mapping[str, str]) -> Path:
    if settings.state is not None:
        return Path(settings.state).expanduser().absolute()
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME", "/"), ".local/state")  # noqa: PTH118
    return Path(home, "scheduler", "workers", _name(settings))


def check(config: Path, environ: Mapping[str, str], clock: Clock | None = None) -> list[Finding]:
    """What a worker with this file could serve. Starts nothing. Raises: UsageError, RefusedError, UnavailableError."""
    need_extra()
    from scheduler.run.temporal.setup import read_worker

    settings = read_worker(config)
    found = [Finding(ok=True, what="file", message=f"{config} is sound")]
    found += asyncio.run(_server(settings, environ))
    found.append(Finding(ok=True, what="queues", message=", ".join(settings.queues)))
    found += _runners(settings, environ)
    if settings.root is not None:
        found.append(_root(settings, environ, clock or SystemClock()))
    return found


async def _server(settings: WorkerSettings, environ: Mapping[str, str]) -> list[Finding]:
    from scheduler.run.temporal.connect import connect, probe

    server = settings.server
    try:
        client = await connect(server, environ)
        words = await probe(client)
    except SchedulerError as error:
        return [Finding(ok=False, what="server", message=str(error), hint=error.hint)]
    reached = Finding(ok=True, what="server", message=f"{server.address} answers, namespace {server.namespace}")
    keys = ", ".join(each.id for each in server.keys) or "none: the server can read texts and outputs"
    if words:
        return [reached, Finding(ok=False, what="keys", message=words, hint="give all hosts the same keys")]
    return [reached, Finding(ok=True, what="keys", message=keys)]


def _runners(settings: WorkerSettings, environ: Mapping[str, str]) -> list[Finding]:
    from scheduler.run.local.prepare import Tools

    if settings.runners is None:
        return [Finding(ok=True, what="runners", message="any")]
    found = []
    for name, runner in sorted(settings.runners.items()):
        if runner is None:
            found.append(Finding(ok=True, what="runner", message=f"{name}: as its commit defines it"))
            continue
        program = Tools(runner, Path("/nonexistent"), environ).program(
            {**environ, **dict(runner.env)}.get("PATH", os.defpath)
        )
        ok = isinstance(program, str) or runner.command[0].startswith("./")
        message = program if isinstance(program, str) else f"{program.message}"
        lacks = [each for each in runner.env_from if not environ.get(each)]
        more = f"; not set here: {', '.join(lacks)}" if lacks else ""
        found.append(Finding(ok=ok and not lacks, what="runner", message=f"{name}: {message}{more}"))
    return found


def _root(settings: WorkerSettings, environ: Mapping[str, str], clock: Clock) -> Finding:
    assert settings.root is not None
    try:
        commits = _commits(settings, _state(settings, environ) / "check", environ, clock)
        trouble = commits.look()
        commit = commits.followed.commit()
    except (SchedulerError, OSError) as error:
        return Finding(ok=False, what="root", message=str(error), hint=getattr(error, "hint", ""))
    if trouble:
        return Finding(ok=False, what="root", message=trouble)
    return Finding(ok=True, what="root", message=f"{settings.root.words}, up to {(commit or '')[:12]}")
