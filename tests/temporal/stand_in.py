"""A worker as small as it can be: takes runs from a queue, starts their command, and returns how it ended.

It has no journal, no lifeline and no fence: tests of the control plane do not kill it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.exceptions import TimeoutError as NotInTimeError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from scheduler.core.values.runs import Ending, RunStatus
from scheduler.run.temporal.spec import WORKFLOW, Outcome, Spec, Stream


@workflow.defn(name=WORKFLOW)
class Run:
    @workflow.run
    async def run(self, spec: dict[str, Any], task: bytes) -> dict[str, Any]:
        left = datetime.fromisoformat(spec["not_after"]) - workflow.now()
        if left <= timedelta(0):
            return Outcome(status="unstarted", reason="capacity", error="it came too late").to_json()
        try:
            found: dict[str, Any] = await workflow.execute_activity(
                "run",
                args=[spec, task],
                result_type=dict,
                retry_policy=RetryPolicy(maximum_attempts=1),
                schedule_to_start_timeout=left,
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(minutes=5),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            return found
        except ActivityError as error:
            if isinstance(error.cause, NotInTimeError):
                return Outcome(status="unstarted", reason="capacity", error="nobody took it").to_json()
            raise


@activity.defn(name="run")
async def carry_out(given: dict[str, Any], task: bytes) -> dict[str, Any]:
    spec = Spec.from_json(given)
    assert hashlib.sha256(task).hexdigest() == spec.task_sha256
    host = activity.info().task_queue + "-host"
    env = {
        "PATH": "/usr/bin:/bin",
        "SCHEDULER_RUN_ID": spec.run_id,
        "SCHEDULER_ATTEMPT": str(spec.attempt),
        "SCHEDULER_FIRE_TIME": "-" if spec.fire_time is None else spec.fire_time.isoformat(),
    }
    begun = datetime.now(UTC)
    process = await asyncio.create_subprocess_exec(
        *spec.runner.command, stdin=-1, stdout=-1, stderr=-1, env=env, start_new_session=True
    )
    talk = asyncio.ensure_future(process.communicate(task))
    cancelled = False
    while not talk.done():
        try:
            activity.heartbeat()
            await asyncio.wait([talk], timeout=0.2)
        except asyncio.CancelledError:
            cancelled = True
            process.kill()
    out, err = talk.result()
    status, reason = RunStatus.SUCCEEDED, None
    if cancelled:
        status, reason = RunStatus.CANCELLED, "cancelled"
    elif process.returncode:
        status, reason = RunStatus.FAILED, "exit_code"
    ending = Ending(
        status=status,
        reason=reason,
        exit_code=None if cancelled else process.returncode,
        result=out.decode(),
        output_bytes=len(out) + len(err),
    )
    streams = {"stdout": Stream.of(out, len(out), 64 * 1024), "stderr": Stream.of(err, len(err), 32 * 1024)}
    times = {"spawned_at": begun, "finished_at": datetime.now(UTC)}
    return Outcome.of(ending, host=host, pid=process.pid, **times, **streams).to_json()


async def main() -> None:
    address, queue = sys.argv[1:]
    client = await Client.connect(address, identity=f"stand-in@{queue}-host")
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Run],
        activities=[carry_out],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=timedelta(seconds=0.2),
        default_heartbeat_throttle_interval=timedelta(seconds=0.2),
    )
    async with worker:
        print("ready", file=sys.stderr, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
