"""A worker that runs the product's workflow and does nothing: what a server and the library of Temporal allow."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from scheduler.run.temporal.workflow import Run


@activity.defn(name="run")
async def nothing(spec: dict[str, Any], task: bytes) -> dict[str, Any]:
    return {"version": 1, "status": "succeeded"}


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address)
    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue=queue, workflows=[Run], activities=[nothing], workflow_runner=runner):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
