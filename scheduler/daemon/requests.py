"""Requests to a daemon, from commands or from its own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scheduler.control.server import BEAT, Handler
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.runs import Trigger
from scheduler.core.values.settings import Settings
from scheduler.core.views import Json
from scheduler.ledger import claims, queries, syncs, told
from scheduler.machine.disks import lack_of_room
from scheduler.machine.orphans import left_here
from scheduler.root.settings import read_settings
from scheduler.run.local.prepare import troubles
from scheduler.run.temporal.engine import told_of_server

if TYPE_CHECKING:
    from scheduler.daemon.daemon import Daemon

HANDED_OVER_S = 2.0
LISTENS_S = 0.5  # so soon it is known that who has waited for a run has gone


def _given(request: Json, name: str, kind: type[Any], *, optional: bool = False) -> Any:
    """The value of `name` in a request. Raises: UsageError if it is missing or has another type."""
    value = request.get(name)
    if value is None and optional:
        return None
    if type(value) is not kind or (isinstance(value, str) and not _is_text(value)):
        raise UsageError(f"not a request: {name} must be of type {kind.__name__}; nothing was done")
    return value


def _is_text(value: str) -> bool:
    """True if the text can be stored and sent: a lone surrogate cannot."""
    return value.encode("utf-8", "replace").decode() == value


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests to one daemon, from any thread. Raises: SchedulerError, as the requesting command would."""

    daemon: Daemon

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "wake": lambda _: [self.wake()],
            "sync": self._sync,
            "run": lambda given: self._run(given, Trigger.MANUAL),
            "rerun": lambda given: self._run(given, Trigger.RERUN),
            "cancel": lambda given: [self.cancel(_given(given, "run_id", str))],
            "runners": lambda _: [self.runners()],
            "status": lambda _: [self.status()],
        }

    def _run(self, given: Json, trigger: Trigger) -> Iterator[Json]:
        return self.run(
            _given(given, "job_id", str),
            trigger,
            _given(given, "actor", str),
            task_of=_given(given, "task_of", int, optional=True),
            wait=_given(given, "wait", bool),
            check=bool(_given(given, "check", bool, optional=True)),
            watched=bool(_given(given, "watched", bool, optional=True)),
        )

    def _sync(self, given: Json) -> list[Json]:
        confirmed = _given(given, "confirmed", str, optional=True)
        return [self.sync(_given(given, "actor", str), confirmed, now_anyway=_given(given, "now_anyway", bool))]

    def wake(self) -> Json:
        """Look at once: the database has changed."""
        self.daemon.agenda.poke()
        self.daemon.places.ring()
        return {}

    def sync(self, actor: str, confirmed: str | None, *, now_anyway: bool) -> Json:
        daemon = self.daemon
        daemon.ready.wait()
        if daemon.follower is not None:
            daemon.follower.look()
        return daemon.resync.sync_now(actor=actor, confirmed=confirmed, now_anyway=now_anyway).report().to_json()

    def run(
        self,
        job_id: str,
        trigger: Trigger,
        actor: str,
        *,
        task_of: int | None = None,
        wait: bool,
        check: bool = False,
        watched: bool = False,
    ) -> Iterator[Json]:
        """Yield the run's number once it is claimed; with `wait`, again once it has ended, and beats meanwhile."""
        daemon = self.daemon
        daemon.ready.wait()
        if daemon.told_to_stop:
            raise UnavailableError("the daemon is stopping", hint="try again once it has restarted")
        if trouble := lack_of_room(daemon.place.db.parent, daemon.place.outputs):
            raise UnavailableError(trouble, hint="nothing was started")
        with daemon.stores.lend() as store:
            daemon.recover(store)
            if (job := store.read(queries.job, job_id)) is None:
                raise UsageError(f"there is no job {job_id!r}")
            if (probed := daemon.duties.probe_of(job)) is not None:
                raise RefusedError(
                    f"account {probed[0]!r} is parked, and {probed[1]} is probing it; nothing was started",
                    hint=f"wait for it: `scheduler output {probed[1]} --follow`",
                )
            with store.writing() as sql:
                claim = claims.claim_manual(
                    sql,
                    job_id,
                    trigger=trigger,
                    requested_by=actor,
                    owner=daemon.owner.id,
                    max_running=daemon.engine.places,
                    now=daemon.clock.now(),
                    task_of=task_of,
                    check=check,
                    watched=watched,
                    waits=True,
                )
                daemon.engine.begin(sql, claim.runs)
        (run,) = claim.runs
        ended = threading.Event()
        daemon.duties.hand_over(claim, done=lambda _: ended.set())
        yield {"n": run.n}
        if wait:
            try:
                while not ended.wait(LISTENS_S):
                    yield BEAT
            except GeneratorExit:  # who has waited has gone, and will not see how the run ends
                if watched:
                    with daemon.stores.lend() as store:
                        store.write(told.watch, job_id, run.n, watched=False)
                raise
            yield {"n": run.n}

    def cancel(self, run_id: str) -> Json:
        give_up = time.monotonic() + HANDED_OVER_S
        while not (found := self.daemon.engine.cancel(run_id)) and time.monotonic() < give_up:
            time.sleep(0.05)  # claimed just now, and on its way to the engine
        return {"found": found}

    def runners(self) -> Json:
        """What keeps runners from starting: only this process knows its environment."""
        daemon = self.daemon
        place = daemon.place.now()
        settings, _ = read_settings(place)
        if settings is None:
            with daemon.stores.lend() as store:
                settings = store.read(syncs.settings) or Settings()
        return {"runners": troubles(settings, place.root, daemon.environ)}

    def status(self) -> Json:
        daemon, resync, start = self.daemon, self.daemon.resync, self.daemon.clockwork.next_start
        return {
            "silent": daemon.duties.silent or "",
            "trouble": [each for each in dict.fromkeys((*daemon.troubles(), daemon.duties.unusable())) if each],
            "backup": daemon.nightly.trouble,
            "left": [[each.pid, str(each)] for each in left_here(daemon.engine.under_way)],
            "unwatched": resync.unwatched,
            "engine": "" if daemon.temporal is None else told_of_server(daemon.temporal.engine),
            "few_files": daemon.duties.few_files(),
            "held": resync.held,
            "held_since": None if resync.held_since is None else instant(resync.held_since),
            "held_long": resync.held_long,
            "next_start": None if start is None else instant(start),
        }
