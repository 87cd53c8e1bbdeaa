"""The tries that a worker has: running ones, and ended ones whose end is not known to have come home."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from scheduler.core.values.runs import Ending, RunStatus
from scheduler.machine.log import Log
from scheduler.machine.processes import end_processes, identify
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.command import TRY
from scheduler.run.temporal.hosting import Host
from scheduler.run.temporal.journal import Journal, Record, key_of
from scheduler.run.temporal.lifeline import Lifeline, now
from scheduler.run.temporal.spec import ExchangeError, Outcome, Spec

End = Literal["", "closed", "fence"]  # why a worker ends a run that nobody has cancelled

_log = Log(__name__)


@dataclass(eq=False, slots=True, kw_only=True)
class Live:
    """A try that this worker has begun."""

    record: Record
    spec: Spec
    cancel: Cancel = field(default_factory=Cancel)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: dict[str, Any] | None = None  # once `done`
    pid: int = 0
    why: End = ""

    def end(self, why: End) -> None:
        if not self.why:
            self.why = why
        self.cancel.request("interrupted" if why == "fence" else "cancelled", grace=self.spec.grace)


class Lives:
    """Everything happens in the loop's thread, but for what a try does."""

    def __init__(self, host: Host, journal: Journal, lifeline: Lifeline) -> None:
        most = host.settings.max_running
        self.running: dict[str, Live] = {}  # by workflow id
        self.ended: dict[str, Record] = {}  # of which nobody knows whether their end has come home
        self.host, self._journal, self._lifeline = host, journal, lifeline
        self._places = asyncio.Semaphore(most)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="run")
        self._tasks: set[asyncio.Task[None]] = set()
        self._contact = self._looked_at = now()

    # -- from the journal ----------------------------------------------------------------------------

    def recover(self) -> None:
        """End what an earlier worker has left behind. Blocks."""
        for record in self._journal:
            if record.outcome is None:
                record = self._died(record)
            self.ended[record.workflow_id] = record
        self.host.tidy(lambda key: self._journal.find(key) is not None)

    def _died(self, record: Record) -> Record:
        left = end_processes(record.process, _told(record))
        error = "its worker died; its processes were ended"
        if left:
            error = f"its worker died; still running: {', '.join(map(str, left))}"
        ending = Ending(status=RunStatus.INTERRUPTED, reason="worker_died", error=error)
        try:
            spec = Spec.from_json(record.spec)
        except ExchangeError:  # of another version
            outcome = Outcome.of(ending, host=self.host.name, queue=record.queue).to_json()
        else:
            begun = self._journal.started_at(record.key)
            if record.process is None or begun is None:
                outcome = Outcome.of(ending, host=self.host.name, queue=record.queue).to_json()
            else:
                pid = record.process.pid
                found = self.host.outcome(spec, record.key, ending, record.queue, pid=pid, spawned_at=begun)
                written = found.stdout.total + found.stderr.total
                outcome = replace(found, output_bytes=written).to_json()
        self._journal.end(record.key, outcome)
        _log.warning("worker_died", run_id=str(record.spec.get("run_id")), workflow=record.workflow_id)
        return replace(record, outcome=outcome)

    # -- from its start to its end ---------------------------------------------------------------------

    async def begin(self, record: Record, task: bytes, *, skew: timedelta = timedelta(0)) -> Live | dict[str, Any]:
        """Start a try, or find it: a task may be delivered twice. The outcome, if it has ended or is refused.

        skew: by how much the clock of this host is ahead.
        """
        if (live := self.running.get(record.workflow_id)) is not None:
            return live
        known = self.ended.get(record.workflow_id)
        if known is not None and known.execution == record.execution and known.outcome is not None:
            return dict(known.outcome)
        if known is not None:  # the id is free again at the server, so its end has long been fetched
            self.forget(record.workflow_id)
        try:
            spec = Spec.from_json(record.spec)
        except ExchangeError as error:
            return self._refused("runner_refused_by_host", f"{self.host.name} cannot read it: {error}", record)
        spec = replace(spec, not_after=spec.not_after + skew)
        live = self.running[record.workflow_id] = Live(record=record, spec=spec)
        try:
            why = "" if await asyncio.to_thread(self._journal.begin, record) else "its journal has it already"
        except OSError as error:
            why = f"its journal cannot be written: {error.strerror}"
        if why:
            del self.running[record.workflow_id]
            return self._refused("runner_start_failed", f"{self.host.name} does not start it: {why}", record)
        work = asyncio.get_running_loop().create_task(self._carry_out(live, task))
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)
        return live

    def _refused(self, reason: str, message: str, record: Record) -> dict[str, Any]:
        found = Outcome(status="unstarted", reason=reason, error=message, host=self.host.name, queue=record.queue)
        return found.to_json()

    async def _carry_out(self, live: Live, task: bytes) -> None:
        record, loop = live.record, asyncio.get_running_loop()
        try:
            async with self._places:
                self._lifeline.expect(record.key, _told(record), live.spec.lost_after.total_seconds())
                outcome = await loop.run_in_executor(
                    self._threads,
                    lambda: self.host.carry_out(
                        live.spec,
                        task,
                        record.workflow_id,
                        record.queue,
                        live.cancel,
                        lambda pid: self._spawned(live, pid),
                    ),
                )
            if now() - self._looked_at >= live.spec.lost_after.total_seconds():  # the lifeline has ended it
                live.why = live.why or "fence"
            found = _as_meant(outcome, live.why).to_json()
        except Exception as error:  # its process is gone: `execute` leaves none behind
            _log.exception("run_abandoned", run_id=live.spec.run_id)
            text = f"{type(error).__name__}: {error}"
            status: Literal["interrupted", "unstarted"] = "interrupted" if live.pid else "unstarted"
            failed = Outcome(status=status, reason="engine_error", error=text, host=self.host.name, queue=record.queue)
            found = failed.to_json()
        finally:
            self._lifeline.arrived(record.key)
            if live.pid:
                self._lifeline.remove(live.pid)
        try:
            await asyncio.to_thread(self._journal.end, record.key, found)
        except OSError as error:  # it is told from memory; if this worker dies first, it was `worker_died`
            _log.warning("journal_not_written", run_id=live.spec.run_id, error=str(error))
        live.outcome = found
        self.ended[record.workflow_id] = replace(record, outcome=found)
        del self.running[record.workflow_id]
        live.done.set()
        _log.info("run_ended", run_id=live.spec.run_id, status=found["status"], reason=found.get("reason"))

    def _spawned(self, live: Live, pid: int) -> None:
        """In the thread of the try, before anything else happens to its process."""
        self._lifeline.add(pid, live.spec.lost_after.total_seconds())
        self._lifeline.arrived(live.record.key)
        live.pid = pid
        with contextlib.suppress(OSError):  # a later worker finds it by its environment
            self._journal.started(live.record.key, identify(pid))
        _log.info("run_started", run_id=live.spec.run_id, attempt=live.spec.attempt, pid=pid)

    def forget(self, workflow_id: str) -> None:
        """Its workflow is closed: nobody will ask."""
        self.ended.pop(workflow_id, None)
        self._journal.forget(key_of(workflow_id))

    # -- the fence -------------------------------------------------------------------------------------

    def contact(self, since: float) -> None:
        """since: by `lifeline.now`, when the question was asked that the server has answered."""
        self._contact = max(self._contact, since)
        self._lifeline.contact()

    def fence(self) -> None:
        """End what the server must by now take for lost."""
        at = now()
        asleep, self._looked_at = at - self._looked_at, at  # this process was stopped, or its machine suspended
        silent = max(at - self._contact, asleep)
        for live in list(self.running.values()):
            if silent >= live.spec.lost_after.total_seconds() and not live.why:
                _log.error("cut_off", run_id=live.spec.run_id, silent_s=round(silent, 1))
                live.end("fence")

    def interrupt(self, grace_s: float) -> None:
        """The worker stops."""
        for live in list(self.running.values()):
            live.cancel.request("interrupted", grace=min(live.spec.grace, timedelta(seconds=grace_s)))

    async def empty(self, timeout_s: float) -> bool:
        """Wait until nothing runs. False if something does after that time."""
        end = time.monotonic() + timeout_s
        while self.running:
            left = end - time.monotonic()
            if left <= 0:
                return False
            waits = [asyncio.ensure_future(each.done.wait()) for each in self.running.values()]
            _, late = await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for each in late:
                each.cancel()
        return True


def _told(record: Record) -> dict[str, str]:
    """What is in the environment of the processes of a try."""
    return {"SCHEDULER_RUN_ID": str(record.spec.get("run_id", "")), TRY: record.workflow_id}


def _as_meant(outcome: Outcome, why: End) -> Outcome:
    """With the reason that only the worker knows."""
    if why != "fence" or not (outcome.status == "interrupted" or outcome.reason == "signal"):
        return outcome
    return replace(
        outcome,
        status="interrupted",
        reason="worker_lost",
        exit_code=None,
        error="its worker was cut off, and has ended it",
    )


def beat_of(live: Live, queue: str, host: Host) -> Mapping[str, Any]:
    sizes = 0
    for stream in ("stdout", "stderr"):
        with contextlib.suppress(OSError):
            sizes += host.output(live.record.key, stream).stat().st_size
    return {"host": host.name, "queue": queue, "pid": live.pid, "bytes": sizes}
