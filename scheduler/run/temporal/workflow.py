"""The workflow of one try, under a name that never changes its meaning: a change gets another name.

Open: somebody may have its process. Closed: nobody may. So it is not closed before the process is known to be gone.
Imports only the standard library and temporalio, since a sandbox imports this module again. No retries: those are the
control plane's.
"""

from __future__ import annotations

import asyncio
import builtins
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as LateError

_ONCE = RetryPolicy(maximum_attempts=1)
_BACKSTOP = timedelta(seconds=60)
_DAY = timedelta(days=1)  # for a free place on a worker that has taken the run


@workflow.defn(name="scheduler-run-1")
class Run:
    def __init__(self) -> None:
        self._host = ""
        self._queue = ""  # that only the worker polls which has the process, or its record

    @workflow.signal(name="here")
    def here(self, host: str, queue: str) -> None:
        """The worker that has begun the run tells where to ask for it."""
        self._host, self._queue = host, queue

    @workflow.run
    async def run(self, spec: dict[str, Any], task: bytes) -> dict[str, Any]:
        left = datetime.fromisoformat(spec["not_after"]) - workflow.now()
        if left <= timedelta(0):
            return _outcome("unstarted", "capacity", "no worker was there in time")
        try:
            return await self._activity("run", [spec, task], spec, left)
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError):  # the worker has ended what it had begun
                return _outcome("interrupted", "engine_error", f"{cause.type}: {cause.message}")
            if not isinstance(cause, LateError):
                return _outcome("cancelled", "cancelled", "cancelled before it started")
            if cause.type == TimeoutType.SCHEDULE_TO_START:
                return _outcome("unstarted", "capacity", "no worker took it in time")
            self._seen(cause)
        return await self._ask(spec)

    async def _ask(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Ask the host for its run for `lost_after`: its worker may have been cut off, or be back with its journal."""
        patience = timedelta(milliseconds=spec["lost_after_ms"])
        deadline = workflow.now() + patience
        while (left := deadline - workflow.now()) > timedelta(0):
            try:
                if not self._queue:
                    await workflow.wait_condition(lambda: bool(self._queue), timeout=left)
                    continue
                found = await self._activity("attach", [spec, _is_cancelled()], spec, left, queue=self._queue)
            except builtins.TimeoutError:
                break
            except asyncio.CancelledError:  # whoever has it is told when it is asked
                continue
            except ActivityError as error:
                if isinstance(error.cause, LateError) and self._seen(error.cause):
                    deadline = workflow.now() + patience  # it was there again
                elif isinstance(error.cause, ApplicationError):
                    await workflow.sleep(1)
                continue
            if found["status"] != "unknown":
                return found
            self._queue = ""  # that host has never begun it
        host = f" on {self._host}" if self._host else ""
        return _outcome("interrupted", "worker_lost", f"its worker{host} was not heard of any more", host=self._host)

    async def _activity(
        self, name: str, args: list[Any], spec: dict[str, Any], left: timedelta, queue: str | None = None
    ) -> dict[str, Any]:
        longest = timedelta(milliseconds=spec["timeout_ms"] + spec["grace_ms"]) + _BACKSTOP + _DAY
        found: dict[str, Any] = await workflow.execute_activity(
            name,
            args=args,
            task_queue=queue,
            result_type=dict,
            retry_policy=_ONCE,
            schedule_to_start_timeout=left,
            start_to_close_timeout=longest,
            heartbeat_timeout=timedelta(milliseconds=spec["heartbeat_ms"]),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return found

    def _seen(self, error: LateError) -> bool:
        """True if it had beaten. Its last beat says where it is."""
        for each in error.last_heartbeat_details[:1]:
            self.here(str(each.get("host", "")), str(each.get("queue", "")))
            return True
        return False


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _outcome(status: str, reason: str, error: str, host: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"version": 1, "status": status, "reason": reason, "error": error}
    return {**found, "host": host} if host else found


@workflow.defn(name="scheduler-output-1")
class Output:
    """Fetches a piece of each stream from the host that keeps them. It is started on that host's queue."""

    @workflow.run
    async def run(self, handle: str, starts: dict[str, int], wait_s: float) -> dict[str, Any]:
        found: dict[str, Any] = await workflow.execute_activity(
            "output",
            args=[handle, starts, wait_s],
            result_type=dict,
            retry_policy=_ONCE,
            start_to_close_timeout=timedelta(seconds=30),
        )
        return found
