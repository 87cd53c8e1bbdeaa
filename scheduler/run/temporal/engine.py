"""Hands runs over to workers, and writes how they end. The client of Temporal is a process of its own (`client`).

The ledger is the list of what is out there: a row is on disk before anything is sent, and after a restart each row is
followed again by its id. Whatever the client says may be said twice. Everything here happens in the reactor's thread.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from scheduler.core.due.checked import with_output
from scheduler.core.due.due import LATE, patience
from scheduler.core.times.fires import next_fire
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import TEMPORAL, Elsewhere, Ending, Run, RunStatus, is_fault
from scheduler.core.values.settings import SCRATCH
from scheduler.ledger import handed, queries, runs
from scheduler.ledger.batches import Pinned
from scheduler.ledger.database import LockedError
from scheduler.ledger.handed import Handed
from scheduler.ledger.pool import Lend
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.machine.reactor import Reactor
from scheduler.root.place import Place
from scheduler.run import ends
from scheduler.run.fire import HandOver
from scheduler.run.temporal.home import keep_output, times
from scheduler.run.temporal.spec import HEARTBEAT, LOST_AFTER, ExchangeError, Outcome, Spec, workflow_id
from scheduler.run.temporal.states import Says, Step, next_step

if TYPE_CHECKING:
    from sqlite3 import Connection

    from scheduler.ledger.store import Store

GRACE = timedelta(seconds=10)  # between TERM and KILL
MANUAL_PATIENCE = timedelta(minutes=10)  # for a worker, of whoever has asked for a run
LONGEST = timedelta(days=30)  # of any patience
SLACK = timedelta(seconds=20)  # after the latest start, for a worker that has just begun
LOOK_S = 5.0
BUSY_S = 0.05  # between two tries while the database is locked
LOCK = timedelta(milliseconds=20)
OUTCOME_UNKNOWN = "outcome_unknown"
ENGINE_ERROR = "engine_error"

Say = Callable[[Mapping[str, Any]], None]

_log = Log(__name__)


@dataclass(eq=False, slots=True)
class _Out:
    """A try that is out there, as far as this process knows."""

    handed: Handed
    why: Literal["cancelled", "replaced"] | None = None  # somebody has ended it
    said: deque[Mapping[str, Any]] = field(default_factory=deque)  # by the client, not written yet

    @property
    def not_after(self) -> datetime:
        return parse_instant(self.handed.spec["not_after"])


@dataclass(eq=False, kw_only=True)
class TemporalEngine:
    """The runs that workers have. `home` is told of each end, with the run; None if nobody here can say."""

    place: Place
    lend: Lend
    clock: Clock
    reactor: Reactor
    root_id: str
    home: Callable[[str, Run | None], None]
    say: Say = lambda _: None  # to the client; it may be lost
    max_out: int = 1000
    lost_after: timedelta = LOST_AFTER
    heartbeat: timedelta = HEARTBEAT
    kind: str = TEMPORAL
    retention: timedelta | None = None  # of closed ids, once the server has told
    reached: bool | None = None  # None: not tried yet
    since: datetime | None = None  # when the server was first not reached
    trouble: str = ""  # why it is not

    def __post_init__(self) -> None:
        self._out: dict[str, _Out] = {}  # by handle
        self._handles: dict[str, str] = {}  # by run id

    @property
    def out(self) -> tuple[str, ...]:
        """The runs that were handed over and have not ended."""
        return tuple(self._handles)

    def begin(self, store: Store) -> list[Run]:
        """The runs that an earlier daemon has handed over, which are followed from now on."""
        found = [each for each in store.read(handed.out) if each.handle not in self._out]
        for each in found:
            self._keep(each)
            self._watch(each.handle)
        return [each.run for each in found]

    def client_began(self) -> None:
        """A new client knows nothing: follow each id anew."""
        for handle in tuple(self._out):
            self._watch(handle)

    def hand_over(self, found: HandOver) -> None:
        run, now = found.run, self.clock.now()
        handle = workflow_id(self.root_id, run.job_id, run.fire_time or uuid.uuid4(), found.attempt)
        self._hand_over(found, handle, self._spec(found, now))

    def _hand_over(self, found: HandOver, handle: str, spec: Spec) -> None:
        run, ready = found.run, found.ready
        pinned = Pinned(
            generation=ready.job.file.generation,
            task=ready.task,
            provenance=ready.provenance,
            runner_files=ready.runner_files,
            check_output=ready.check_output,
        )
        try:
            with self.lend() as store, store.writing(wait=LOCK) as sql:
                sent = spec.to_json()
                kept = handed.hand_over(
                    sql, run, handle=handle, queue=found.queue, spec=sent, pinned=pinned, now=self.clock.now()
                )
        except LockedError:
            self.reactor.at(time.monotonic() + BUSY_S, lambda: self._hand_over(found, handle, spec))
            return
        except SchedulerError as error:
            _log.error("not_handed_over", run_id=run.id, error=str(error), hint=error.hint)
            self.home(run.id, run)  # it is looked at again
            return
        if kept is None:  # somebody else has it, or has ended it
            with self.lend() as store:
                self.home(run.id, store.read(runs.find_run, run.job_id, run.n))
            return
        out = self._keep(kept)
        crash_point("before_start_workflow")
        self._start(out, ready.given.text)

    def cancel(self, run_id: str, why: Literal["cancelled", "replaced"]) -> None:
        """End a run that is out there. Whoever has it tells how it ended."""
        handle = self._handles.get(run_id)
        if handle is not None:
            self._out[handle].why = self._out[handle].why or why
            self.say({"do": "cancel", "id": handle})

    def look(self) -> None:
        """Give up what nobody has begun in time: no worker would ever see that it is too late."""
        now = self.clock.now()
        for handle, out in self._out.items():
            if not out.handed.begun and now > out.not_after + SLACK:
                self.say({"do": "end", "id": handle})

    def turns(self) -> None:
        """Look now and then, from now on."""
        self.look()
        self.reactor.at(time.monotonic() + LOOK_S, self.turns)

    # -- what the client says --------------------------------------------------------------------------

    def heard(self, said: Mapping[str, Any]) -> None:
        """
        said: `is` with what, and `id` if it is about a run: accepted; running, with host; ended, with outcome; closed,
        with word and text; unknown; elsewhere, with database. Without an id: reached, with retention_s; unreachable,
        with text.
        """
        what = said["is"]
        if "id" not in said:
            self._heard_of_server(what, said)
            return
        out = self._out.get(said["id"])
        if out is None:
            return  # its end is written
        out.said.append(said)
        if len(out.said) == 1:
            self._write_down(out)

    def _write_down(self, out: _Out) -> None:
        """What was said of a run, in that order: whose it is comes before its end, which means another thing then."""
        while out.said:
            try:
                with self.lend() as store:
                    self._heard(store, out, out.said[0]["is"], out.said[0])
            except LockedError:
                self.reactor.at(time.monotonic() + BUSY_S, lambda: self._write_down(out))
                return
            except SchedulerError as error:  # a full disk, a lost database: the row stays
                _log.error("end_not_written", run_id=out.handed.run.id, error=str(error))
                self.reactor.at(time.monotonic() + LOOK_S, lambda: self._write_down(out))
                return
            out.said.popleft()

    def _heard_of_server(self, what: str, said: Mapping[str, Any]) -> None:
        if what == "reached":
            if said.get("retention_s"):
                self.retention = timedelta(seconds=said["retention_s"])
            if self.reached is False:
                _log.warning("engine_back", "runs with workers are followed again")
            self.reached, self.since, self.trouble = True, None, ""
        elif what == "unreachable":
            if self.reached is not False:
                _log.warning("engine_lost", "runs with workers go on; their ends are written later", error=said["text"])
                self.since = self.clock.now()
            self.reached, self.trouble = False, said["text"]

    def _heard(self, store: Store, out: _Out, what: str, said: Mapping[str, Any]) -> None:
        if what == "accepted":
            crash_point("after_start_workflow")
        elif what == "running":
            self._begun(store, out, said.get("host"))
        elif what == "elsewhere":
            self._elsewhere(store, out, said["database"])
        elif what == "unknown":
            self._unknown(store, out)
        elif what == "ended":
            try:
                outcome = Outcome.from_json(said["outcome"])
            except ExchangeError as error:
                self._lost(store, out, ENGINE_ERROR, f"what the worker reported cannot be read: {error}")
                return
            self._ended(store, out, outcome)
        elif what == "closed":
            ours = said.get("word") == "terminated" and said.get("ours") and not out.handed.begun
            if ours and out.why is not None:
                self._finish(store, out, Ending(status=RunStatus.CANCELLED, reason=out.why), at=self.clock.now())
            elif ours:
                self._too_late(store, out)
            else:
                self._lost(store, out, ENGINE_ERROR, f"its workflow ended without a result: {said['text']}")

    def _unknown(self, store: Store, out: _Out) -> None:
        kept, now = out.handed, self.clock.now()
        if out.why is not None and not kept.begun:
            self._finish(store, out, Ending(status=RunStatus.CANCELLED, reason=out.why), at=now)
            return
        step = next_step(Says.UNKNOWN, handed_at=kept.at, not_after=out.not_after, now=now, retention=self.retention)
        if kept.run.elsewhere is not None or step is Step.LOST or kept.begun:
            text = "its id is no longer known there: nobody can say how it ended. It is not started again by itself"
            self._lost(store, out, OUTCOME_UNKNOWN, text)
        elif step is Step.START:
            self._start(out, self._text(store, kept.run))
        else:
            self._too_late(store, out)

    def _begun(self, store: Store, out: _Out, host: str | None) -> None:
        if out.handed.begun and (host is None or out.handed.run.host is not None):
            return
        if out.handed.run.elsewhere is None:
            with store.writing(durable=False, wait=LOCK) as sql:
                handed.begin(sql, out.handed, host=host, at=self.clock.now())
            self._reread(store, out)

    def _elsewhere(self, store: Store, out: _Out, database: str) -> None:
        if out.handed.run.elsewhere is None:
            with store.writing(wait=LOCK) as sql:
                handed.note_elsewhere(sql, out.handed.run, Elsewhere(database=database))
            self._reread(store, out)
            _log.info("run_elsewhere", run_id=out.handed.run.id, database=database)

    def _reread(self, store: Store, out: _Out) -> None:
        out.handed = store.read(handed.the_handed, out.handed.run) or out.handed

    # -- ends ------------------------------------------------------------------------------------------

    def _ended(self, store: Store, out: _Out, outcome: Outcome) -> None:
        kept, now = out.handed, self.clock.now()
        if outcome.status == "unstarted" and kept.run.elsewhere is None:
            self._unstarted(store, out, outcome)
            return
        begun, at = times(outcome, handed_at=kept.at, now=now)
        ending = outcome.ending
        if ending.account is not None:  # the one that its runner uses, whatever a worker says
            ending = replace(ending, account=Spec.from_json(kept.spec).runner.uses)
        if kept.run.elsewhere is not None:
            self._ended_elsewhere(store, out, outcome, at)
            return
        never = outcome.status == "cancelled" and outcome.spawned_at is None
        if never and not kept.begun:
            self._finish(store, out, Ending(status=RunStatus.CANCELLED, reason=out.why or "cancelled"), at=now)
            return
        if ending.status is RunStatus.CANCELLED:
            ending = replace(ending, reason=out.why or "cancelled")
        error = self._keep_output(kept, outcome)
        if error:
            ending = replace(ending, error="; ".join(filter(None, (ending.error, error))))
        self._finish(store, out, ending, at=at, begun=begun, host=outcome.host)

    def _unstarted(self, store: Store, out: _Out, outcome: Outcome) -> None:
        """A worker, or the server, says that no process has existed."""
        reason = outcome.reason or "capacity"
        if reason == "capacity" or not is_fault(reason):
            self._too_late(store, out, outcome.error)
            return
        message = outcome.error or f"the worker refused it: {reason}"
        if out.handed.attempt > 1:
            self._finish(
                store,
                out,
                Ending(status=RunStatus.FAILED, reason=reason, error=message),
                at=self.clock.now(),
                begins=True,
            )
            return
        self._skip(store, out, reason, message, fault=True)

    def _too_late(self, store: Store, out: _Out, why: str | None = None) -> None:
        queue = out.handed.queue
        message = f"no worker of queue {queue!r} took it in time" + (f": {why}" if why else "")
        if out.handed.attempt == 1:
            self._skip(store, out, "capacity", message, fault=False)
            return
        last = out.handed.run.attempts[-1]  # a retry that nobody took: it ends as it had
        run = out.handed.run
        ending = Ending(
            status=last.status,
            reason=last.reason,
            exit_code=last.exit_code,
            error="; ".join(filter(None, (run.error, message))),
            result=run.result,
            output_bytes=run.output_bytes,
            truncated=run.truncated,
            agent=run.agent,
        )
        self._finish(store, out, ending, at=self.clock.now())

    def _lost(self, store: Store, out: _Out, reason: str, text: str) -> None:
        kept = out.handed
        if kept.run.elsewhere is not None:
            outcome = Outcome(status="interrupted", reason=reason, error=text)
            self._ended_elsewhere(store, out, outcome, self.clock.now(), known=reason != OUTCOME_UNKNOWN)
            return
        ending = Ending(status=RunStatus.INTERRUPTED, reason=reason, error=text)
        again = reason != OUTCOME_UNKNOWN
        begun = None if kept.begun else kept.at
        self._finish(store, out, ending, at=self.clock.now(), begun=begun, begins=True, again=again)

    def _ended_elsewhere(self, store: Store, out: _Out, outcome: Outcome, at: datetime, *, known: bool = True) -> None:
        run = out.handed.run
        assert run.elsewhere is not None
        found = Elsewhere(
            database=run.elsewhere.database,
            status=outcome.status if known else None,
            reason=outcome.reason,
            finished_at=at if known else None,
            host=outcome.host,
        )
        message = f"another control plane ({found.database[:12]}) has this slot: {found.status or 'its end is unknown'}"
        with store.writing(wait=LOCK) as sql:
            ended = handed.end_elsewhere(sql, run, found, message=message, now=self.clock.now())
        self._gone(out, ended)

    def _skip(self, store: Store, out: _Out, reason: str, message: str, *, fault: bool) -> None:
        run = out.handed.run
        if run.elsewhere is not None:
            outcome = Outcome(status="unstarted", reason=reason, error=message)
            self._ended_elsewhere(store, out, outcome, self.clock.now())
            return
        with store.writing(wait=LOCK) as sql:
            ended = runs.skip(sql, run, reason=reason, message=message, fault=fault, now=self.clock.now())
            handed.come_home(sql, run)
        self._gone(out, ends.tell_end(store, ended))

    def _finish(
        self,
        store: Store,
        out: _Out,
        ending: Ending,
        *,
        at: datetime,
        begun: datetime | None = None,
        host: str | None = None,
        begins: bool = False,
        again: bool = True,
    ) -> None:
        """Write an end, and with it that the try began, if that is not written yet. As for a local run (F5).

        begun: when it began; None, without `begins`: it never did. again: whether `retry` counts.
        """
        crash_point("before_finish")
        with store.writing(wait=LOCK) as sql:
            ended = self._write_end(sql, out, ending, at, begun or (at if begins else None), host, again=again)
        crash_point("after_end")
        self._gone(out, ends.tell_end(store, ended))

    def _write_end(
        self,
        sql: Connection,
        out: _Out,
        ending: Ending,
        at: datetime,
        begun: datetime | None,
        host: str | None,
        *,
        again: bool,
    ) -> Run:
        kept = handed.the_handed(sql, out.handed.run)
        if kept is None or kept.handle != out.handed.handle:  # written before, by whoever was asked twice
            return runs.find_run(sql, out.handed.run.job_id, out.handed.run.n) or out.handed.run
        run = kept.run if begun is None else handed.begin(sql, kept, host=host, at=begun)
        job = queries.job(sql, run.job_id)
        waits = None
        if begun is not None and job is not None:
            retry_at = ends.retried_at(run, ending, job, out.why, at) if again else None
            waits = ends.another_try(sql, run, ending, again=retry_at, why=out.why, now=at)
        ended = waits or runs.finish(sql, run, ending, now=at)
        handed.come_home(sql, run)
        crash_point("before_end_commit")
        return ended

    def _gone(self, out: _Out, ended: Run) -> None:
        handle, run_id = out.handed.handle, out.handed.run.id
        self._out.pop(handle, None)
        self._handles.pop(run_id, None)
        self.say({"do": "forget", "id": handle})
        self.home(run_id, ended)

    # -- what is sent ----------------------------------------------------------------------------------

    def _keep(self, found: Handed) -> _Out:
        out = self._out[found.handle] = _Out(found)
        self._handles[found.run.id] = found.handle
        return out

    def _watch(self, handle: str) -> None:
        if handle in self._out:
            self.say({"do": "watch", "id": handle})
            if self._out[handle].why is not None:
                self.say({"do": "cancel", "id": handle})

    def _start(self, out: _Out, text: bytes) -> None:
        kept = out.handed
        task = base64.b64encode(text).decode()
        self.say({"do": "start", "id": kept.handle, "queue": kept.queue, "spec": dict(kept.spec), "task": task})

    def _text(self, store: Store, run: Run) -> bytes:
        """The pinned text of a run, with what its check printed."""
        assert run.task_sha256 is not None
        text = store.read(queries.text_of, run.task_sha256, store.path)
        if run.check_sha256 is None:
            return text
        return with_output(text, store.read(queries.text_of, run.check_sha256, store.path))

    def _spec(self, found: HandOver, now: datetime) -> Spec:
        run, ready = found.run, found.ready
        spec = ready.job.file.spec
        return Spec(
            run_id=run.id,
            job_id=run.job_id,
            attempt=found.attempt,
            fire_time=run.fire_time,
            trigger=run.trigger.value,
            requested_at=run.requested_at,
            revision=ready.provenance.revision,
            dirty=ready.provenance.dirty,
            blob=ready.provenance.blob,
            task_sha256=ready.given.sha256,
            source_path=ready.task.source_path,
            runner=replace(ready.runner, files=()),
            tags=spec.tags,
            env=spec.env,
            model=spec.model,
            args=spec.args,
            workdir=spec.workdir,
            expect=spec.expect,
            budget=found.budget,
            prices=ready.settings.prices,
            cwd="scratch" if ready.runner.cwd == SCRATCH else "root",
            timeout=spec.timeout,
            grace=GRACE,
            not_after=now + patience_of(found),
            lost_after=self.lost_after,
            heartbeat=self.heartbeat,
            output_limit=ready.settings.limits.output_bytes,
        )

    def _keep_output(self, kept: Handed, outcome: Outcome) -> str:
        """Why the output could not be kept. Empty if it is."""
        run = kept.run
        try:
            for name in ("stdout", "stderr"):
                path = self.place.output(run.job_id, run.n, kept.attempt, name)
                keep_output(path, getattr(outcome, name), outcome.host, run.id)
        except OSError as error:
            return f"output could not be saved: {error.strerror}"
        return ""


def patience_of(found: HandOver) -> timedelta:
    """How long a try waits for a worker."""
    run, spec = found.run, found.ready.job.file.spec
    if run.fire_time is None:
        return MANUAL_PATIENCE
    longest = patience(spec, run.fire_time, next_fire(spec.due_by, after=run.fire_time))
    return min(max(longest, LATE), LONGEST)


def told_of_server(engine: TemporalEngine) -> str:
    """Why runs are not handed over now, for people. Empty if they are."""
    if engine.reached is not False:
        return ""
    since = "" if engine.since is None else f" since {instant(engine.since)}"
    return f"Temporal not reached{since}: {engine.trouble}"
