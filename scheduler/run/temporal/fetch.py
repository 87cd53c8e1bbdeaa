"""Asks the host that ran a try for its output. For a command: each call waits for its answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError

from scheduler.core.values.engines import EngineSettings
from scheduler.core.values.problems import UnavailableError
from scheduler.run.temporal.connect import connect
from scheduler.run.temporal.spec import HEAD_BYTES, OUTPUT_WORKFLOW, ExchangeError, Piece, host_queue

ANSWER_S = 10.0  # of a worker, beyond the wait that it is asked for


class Fetcher:
    def __init__(self, settings: EngineSettings, environ: Mapping[str, str]) -> None:
        """Raises: UnavailableError, RefusedError."""
        self._runner = asyncio.Runner()
        try:
            self._client: Client = self._runner.run(connect(settings, environ))
        except BaseException:
            self._runner.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()

    def pieces(
        self, handle: str, queue: str, host: str, starts: Mapping[str, int], *, wait_s: float = 0
    ) -> dict[str, Piece]:
        """What follows `starts` in stdout and stderr, as soon as there is more, or after `wait_s`.

        Raises: UnavailableError if the host does not answer.
        """
        return self._runner.run(self._pieces(handle, queue, host, starts, wait_s))

    async def _pieces(
        self, handle: str, queue: str, host: str, starts: Mapping[str, int], wait_s: float
    ) -> dict[str, Piece]:
        try:
            found: Any = await self._client.execute_workflow(
                OUTPUT_WORKFLOW,
                args=[handle, dict(starts), wait_s],
                id=f"output/{uuid.uuid4()}",
                task_queue=host_queue(queue, host),
                execution_timeout=timedelta(seconds=wait_s + ANSWER_S),
                result_type=dict,
            )
            return {name: Piece.from_json(found.get(name)) for name in HEAD_BYTES}
        except (RPCError, WorkflowFailureError) as error:
            raise UnavailableError(
                f"host {host} does not answer", hint="its worker must run; `scheduler output RUN` prints what came home"
            ) from error
        except ExchangeError as error:
            raise UnavailableError(f"what host {host} answers cannot be read: {error}") from error
