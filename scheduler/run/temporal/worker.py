"""The worker: takes runs from queues, keeps in touch with the server, answers for what it has, and drains when told.

Three workers of the library a queue: one for workflows, which stops last, so that an end that comes while this one
drains is still carried home; one for runs; one on the queue of this host, for questions about its runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.machine.log import Log
from scheduler.run.temporal.codec import marks
from scheduler.run.temporal.connect import connect, renew_key
from scheduler.run.temporal.hosting import Host, piece_of
from scheduler.run.temporal.journal import Record, key_of
from scheduler.run.temporal.lifeline import now
from scheduler.run.temporal.lives import Live, Lives, beat_of
from scheduler.run.temporal.spec import HEAD_BYTES, PIECE_BYTES, Piece, host_queue, worker_identity
from scheduler.run.temporal.workflow import Output, Run

MOST_BEAT_S = 5.0  # a beat is a write of the server; a cancel comes with the answer to one
FIRST_BEAT_S = 1.0  # most runs are short, and end before it
CONTACT_S = 5.0
ASK = timedelta(seconds=5)
CONNECT_S = 1.0
MOST_WAIT_S, GROWN_S = 10.0, 0.1  # of a reader for more output, and between two looks whether there is more
HOME_S = 5.0  # for the ends of a draining worker to come home
_FOREVER = timedelta(days=365)
_OURS = ("run", "attach")

_log = Log(__name__)


class TemporalWorker:
    def __init__(self, host: Host, lives: Lives) -> None:
        self._host, self._lives = host, lives
        self._client: Client | None = None
        self._asked = asyncio.Event()  # somebody wants to know what became of its workflow
        self._ended: set[str] = set()  # at the last look
        self._silent: set[str] = set()  # ended ones whose workflow was open at the last look

    # -- activities ------------------------------------------------------------------------------------

    @activity.defn(name="run")
    async def run_activity(self, spec: dict[str, Any], task: bytes) -> dict[str, Any]:
        info = activity.info()
        assert info.workflow_id is not None
        assert info.workflow_run_id is not None
        record = Record(workflow_id=info.workflow_id, execution=info.workflow_run_id, queue=info.task_queue, spec=spec)
        # The latest start is an instant of other clocks; the server has just told what they show.
        skew = datetime.now(UTC) - info.started_time
        found = await self._lives.begin(record, task, skew=skew)
        return found if isinstance(found, dict) else await self._until_ended(found)

    @activity.defn(name="attach")
    async def attach_activity(self, spec: dict[str, Any], cancelled: bool) -> dict[str, Any]:
        """The outcome of a run that this host has begun: now, or once it has ended."""
        handle = activity.info().workflow_id or ""
        if (live := self._lives.running.get(handle)) is not None:
            if cancelled:
                live.cancel.request("cancelled", grace=live.spec.grace)
            return await self._until_ended(live)
        record = self._lives.ended.get(handle)
        if record is None or record.outcome is None:
            return {"version": 1, "status": "unknown"}
        return dict(record.outcome)

    @activity.defn(name="output")
    async def output_activity(self, handle: str, starts: dict[str, int], wait_s: float) -> dict[str, Any]:
        """A piece of each stream, as soon as there is one, the run has ended, or the wait is over."""
        key, until = key_of(handle), now() + min(wait_s, MOST_WAIT_S)
        while True:
            ended = handle not in self._lives.running  # asked before the look: what it adds meanwhile is fetched next
            pieces = await asyncio.to_thread(self._pieces, key, starts, ended)
            if ended or now() >= until or any(each.data for each in pieces.values()):
                return {name: each.to_json() for name, each in pieces.items()}
            await asyncio.sleep(GROWN_S)

    def _pieces(self, key: str, starts: dict[str, int], ended: bool) -> dict[str, Piece]:
        return {
            name: piece_of(self._host.output(key, name), max(0, starts.get(name, 0)), PIECE_BYTES, ended)
            for name in HEAD_BYTES
        }

    async def _until_ended(self, live: Live) -> dict[str, Any]:
        beat_s = min(MOST_BEAT_S, live.spec.heartbeat.total_seconds() / 4)
        queue = host_queue(live.record.queue, self._host.name)
        wait_s = min(FIRST_BEAT_S, beat_s)
        while not live.done.is_set():
            try:
                await asyncio.wait_for(live.done.wait(), wait_s)
            except TimeoutError:
                activity.heartbeat(beat_of(live, queue, self._host))
                wait_s = beat_s
            except asyncio.CancelledError:
                why = activity.cancellation_details()
                if why is not None and why.cancel_requested:
                    live.cancel.request("cancelled", grace=live.spec.grace)
                elif why is None or not why.worker_shutdown:  # the server has given this activity up
                    self._asked.set()
                    raise
        assert live.outcome is not None
        return live.outcome

    # -- what becomes of what it has -------------------------------------------------------------------

    async def _look_after(self) -> None:
        """Ask for each run what became of its workflow: nobody tells that beats do not arrive."""
        looked = now()
        while True:
            beats = [each.spec.heartbeat for each in self._lives.running.values()]
            beat_s = min((each.total_seconds() / 3 for each in beats), default=CONTACT_S)
            everybody = self._asked.is_set() or now() - looked >= beat_s
            self._asked.clear()
            if everybody:
                looked = now()
            await self._look(everybody=everybody)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), min(1.0, max(0.05, looked + beat_s - now())))

    async def _look(self, *, everybody: bool = True) -> None:
        """everybody: also who runs, and who has ended just now, and is at home with the answer to the next question."""
        some = asyncio.Semaphore(16)

        async def one(record: Record) -> None:
            async with some:
                await self._look_at(record)

        before, self._ended = self._ended, set(self._lives.ended)
        records = [each for name, each in self._lives.ended.items() if everybody or name in before]
        if everybody:
            records += [each.record for each in self._lives.running.values()]
        await asyncio.gather(*(one(each) for each in records))

    async def _look_at(self, record: Record) -> None:
        assert self._client is not None
        workflow, asked_at = self._client.get_workflow_handle(record.workflow_id, run_id=record.execution), now()
        live = self._lives.running.get(record.workflow_id)
        try:
            found = await workflow.describe(rpc_timeout=ASK)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                self._closed(record, live)
            return  # not reached: the fence decides
        except Exception as error:  # another key: the server was reached, and says nothing
            _log.warning("not_understood", workflow=record.workflow_id, error=str(error))
            return
        self._lives.contact(asked_at)
        if found.status is not WorkflowExecutionStatus.RUNNING:
            self._closed(record, live)
            return
        begun = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        pending = found.raw_description.pending_activities
        if any(each.activity_type.name in _OURS and each.state == begun for each in pending):
            self._silent.discard(record.workflow_id)
            return
        if live is None and record.workflow_id not in self._silent:  # its end may be on its way
            self._silent.add(record.workflow_id)
            return
        queue = host_queue(record.queue, self._host.name)
        with contextlib.suppress(RPCError):
            await workflow.signal("here", args=[self._host.name, queue], rpc_timeout=ASK)

    def _closed(self, record: Record, live: Live | None) -> None:
        """Nobody may own its process any more."""
        self._silent.discard(record.workflow_id)
        if live is not None and not live.done.is_set():
            if not live.why:
                _log.warning("workflow_closed", run_id=live.spec.run_id)
            live.end("closed")
        elif record.workflow_id in self._lives.ended:
            self._lives.forget(record.workflow_id)

    async def _keep_contact(self) -> None:
        assert self._client is not None
        reached = True
        while True:
            asked_at = now()
            try:
                await self._client.service_client.check_health(timeout=ASK)
            except RPCError as error:
                renew_key(self._client, error, self._host.settings.server, self._host.environ)
                if reached:
                    _log.warning("server_unreachable", error=error.message)
                reached = False
            else:
                self._lives.contact(asked_at)
                if not reached:
                    _log.info("server_reached")
                reached = True
            fences = [each.spec.lost_after.total_seconds() for each in self._lives.running.values()]
            self._lives.fence()
            await asyncio.sleep(min(CONTACT_S, min(fences, default=CONTACT_S) / 8))

    async def _fence(self) -> None:
        """Beside the questions, each of which may take as long as the network wants."""
        while True:
            self._lives.fence()
            await asyncio.sleep(min(1.0, CONTACT_S / 4))

    # -- its life --------------------------------------------------------------------------------------

    async def serve(self, client: Client, stop: asyncio.Event, again: asyncio.Event, *, grace_s: float) -> None:
        """Until `stop` is set and what runs has ended. `again`: end it at once."""
        self._client = client
        queues, most = self._host.settings.queues, self._host.settings.max_running
        throttle = timedelta(seconds=0.2)  # our own beats are rare enough
        runs, others = list[Worker](), list[Worker]()
        for queue in queues:
            runner = UnsandboxedWorkflowRunner()  # the module is frozen, and tests replay it in the sandbox
            others.append(
                Worker(
                    client,
                    task_queue=queue,
                    workflows=[Run],
                    workflow_runner=runner,
                    sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),  # a dead worker has its own queue
                )
            )
            others.append(
                Worker(
                    client,
                    task_queue=host_queue(queue, self._host.name),
                    workflows=[Output],
                    activities=[self.attach_activity, self.output_activity],
                    workflow_runner=runner,
                    max_concurrent_activity_task_polls=1,  # a poll of a dead connection swallows a task
                    max_concurrent_activities=most + 100,
                    max_heartbeat_throttle_interval=throttle,
                    default_heartbeat_throttle_interval=throttle,
                    graceful_shutdown_timeout=_FOREVER,
                )
            )
            runs.append(
                Worker(
                    client,
                    task_queue=queue,
                    activities=[self.run_activity],
                    max_concurrent_activities=most,
                    max_concurrent_activity_task_polls=2,
                    max_heartbeat_throttle_interval=throttle,
                    default_heartbeat_throttle_interval=throttle,
                    graceful_shutdown_timeout=_FOREVER,
                )
            )
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(each.run()) for each in (*runs, *others)]
        beside = [loop.create_task(each) for each in (self._look_after(), self._keep_contact(), self._fence())]
        try:
            _log.info("worker_serving", host=self._host.name, queues=",".join(queues), max_running=most)
            await self._until(stop, tasks + beside)
            _log.info("worker_stopping", running=len(self._lives.running), grace_s=grace_s)
            down = [loop.create_task(each.shutdown()) for each in runs]
            await self._drain(again, grace_s)
            await asyncio.gather(*down)
            if not again.is_set():  # else a later worker tells, from the journal
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._all_home(), HOME_S)
            await asyncio.gather(*(each.shutdown() for each in others))
        finally:
            for each in (*beside, *tasks):
                each.cancel()
            await asyncio.gather(*beside, *tasks, return_exceptions=True)
        _log.info("worker_stopped")

    async def _until(self, stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
        """Raises: UnavailableError if one of our tasks has ended by itself."""
        waits = asyncio.ensure_future(stop.wait())
        done, _ = await asyncio.wait([waits, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if waits in done:
            return
        waits.cancel()
        error = next(each.exception() for each in done)
        self._lives.interrupt(0)
        await self._lives.empty(CONTACT_S)
        raise UnavailableError(f"the worker cannot go on: {error}") from error

    async def _drain(self, again: asyncio.Event, grace_s: float) -> None:
        empty = asyncio.ensure_future(self._lives.empty(float(grace_s)))
        second = asyncio.ensure_future(again.wait())
        await asyncio.wait([empty, second], return_when=asyncio.FIRST_COMPLETED)
        empty.cancel()
        if self._lives.running:
            self._lives.interrupt(0 if again.is_set() else 10)
            empty = asyncio.ensure_future(self._lives.empty(float(3600)))
            await asyncio.wait([empty, second], return_when=asyncio.FIRST_COMPLETED)
            if self._lives.running:
                self._lives.interrupt(0)
            await empty
        second.cancel()

    async def _all_home(self) -> None:
        while self._lives.ended:
            await self._look()
            await asyncio.sleep(0.1)


async def connected(host: Host, stop: asyncio.Event) -> Client | None:
    """A client, as soon as the server answers. None if the worker is to stop. Raises: RefusedError."""
    said = ""
    while not stop.is_set():
        try:
            server = host.settings.server
            identity = worker_identity(host.name, marks(server.keys, host.environ))
            return await connect(server, host.environ, identity=identity)
        except UnavailableError as error:
            if str(error) != said:
                said = str(error)
                _log.warning("server_unreachable", error=said, hint=error.hint)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CONNECT_S)
    return None


async def serve(make: Callable[[], tuple[Host, Lives]], grace_s: float) -> None:
    """Serve until SIGTERM or SIGINT. make: called in the loop. Raises: SchedulerError."""
    loop, stop, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def heard() -> None:
        (again if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard)
    host, lives = make()
    await asyncio.to_thread(lives.recover)
    client = await connected(host, stop)
    if client is not None:
        await TemporalWorker(host, lives).serve(client, stop, again, grace_s=grace_s)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Raises: SchedulerError."""
    try:
        return asyncio.run(work)
    except (RPCError, RuntimeError) as error:
        if isinstance(error, SchedulerError):
            raise
        raise UnavailableError(f"the worker cannot go on: {error}") from error
