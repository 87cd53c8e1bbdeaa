"""Workers as processes, a control plane as small as can be, and what runs write down."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from scheduler.core.values.settings import RunnerSpec, TaskInput
from scheduler.run.temporal.spec import WORKFLOW, Spec, workflow_id
from tests.helpers import REPOSITORY, Daemon

BEAT = timedelta(seconds=2)


def spec_of(text: bytes, **more: Any) -> Spec:
    """A try of `sh`, in a scratch folder, that beats every half second."""
    now = datetime.now(UTC)
    known: dict[str, Any] = {
        "run_id": "train:7",
        "job_id": "train",
        "attempt": 1,
        "fire_time": now,
        "trigger": "schedule",
        "requested_at": now,
        "revision": None,
        "dirty": None,
        "blob": None,
        "task_sha256": hashlib.sha256(text).hexdigest(),
        "source_path": "tasks/train.sh",
        "runner": RunnerSpec(name="sh", command=("sh", "-eu"), input=TaskInput.STDIN, cwd="scratch"),
        "cwd": "scratch",
        "timeout": timedelta(seconds=60),
        "grace": timedelta(seconds=1),
        "not_after": now + timedelta(seconds=30),
        "lost_after": timedelta(seconds=20),
        "heartbeat": BEAT,
        "output_limit": 1024 * 1024,
    }
    return Spec(**{**known, **more})


async def started(client: Client, queue: str, text: bytes, **more: Any) -> WorkflowHandle[Any, dict[str, Any]]:
    """Hand a try over, as a control plane does."""
    return await client.start_workflow(
        WORKFLOW,
        args=[spec_of(text, **more).to_json(), text],
        id=workflow_id(f"r-{uuid.uuid4()}", "train", uuid.uuid4()),
        task_queue=queue,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        memo={"database": "d"},
        result_type=dict,
    )


class WorkerHost:
    """One host: its folder, its worker.yaml, and the process of its worker."""

    def __init__(self, folder: Path, address: str, *, queue: str, name: str = "w1", more: str = "") -> None:
        self.folder, self.name, self.queue = folder / name, name, queue
        self.folder.mkdir(parents=True)
        self.file = self.folder / "worker.yaml"
        runners = "" if "runners:" in more else "runners: any\n"
        self.write(f"temporal: {{address: '{address}'}}\nname: {name}\nstate: {self.state}\n"
                   f"queues: [{queue}]\n{runners}{more}")  # fmt: skip
        self.worker: Daemon | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o600)

    def start(self, *args: str, waits: bool = True, ahead_s: int = 0, **env: str) -> Daemon:
        """ahead_s: by how much the clock of this host is ahead."""
        module = ("tests.temporal.shifted", str(ahead_s)) if ahead_s else ("scheduler",)
        command = [sys.executable, "-m", *module, "worker", "--config", str(self.file), *args]
        self.worker = Daemon(command, {**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, cwd=self.folder)
        if waits:
            self.worker.says("worker_serving")
        return self.worker

    def signal(self, number: int) -> None:
        assert self.worker is not None
        os.kill(self.worker.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.worker is not None
        self.worker.ended()

    def stop(self) -> None:
        if self.worker is not None and self.worker.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGTERM)
            self.worker.ended()
