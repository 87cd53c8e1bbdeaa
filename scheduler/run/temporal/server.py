"""Temporal's own client behind the few calls that `client` uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import PendingActivityState, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import TerminatedError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from scheduler.core.values.engines import EngineSettings
from scheduler.run.temporal.client import (
    OURS,
    RPC,
    AlreadyError,
    Closed,
    RefusedByServerError,
    Seen,
    UnknownError,
    UnreachableError,
)
from scheduler.run.temporal.connect import RENEW, renew_key
from scheduler.run.temporal.connect import connect as connected
from scheduler.run.temporal.spec import WORKFLOW

DATABASE = "database"  # in the memo of a workflow


async def connect(settings: EngineSettings, database: str, environ: Mapping[str, str]) -> TemporalServer:
    """Raises: as `connect.connect`."""
    client = await connected(settings, environ)
    return TemporalServer(client, database, lambda error: renew_key(client, error, settings, environ))


class TemporalServer:
    def __init__(self, client: Client, database: str, refused: Callable[[RPCError], None]) -> None:
        """refused: told of an error by which the server may refuse our key."""
        self._client, self._database, self._refused = client, database, refused

    async def start(self, handle: str, queue: str, spec: Mapping[str, Any], task: bytes) -> None:
        try:
            await self._client.start_workflow(
                WORKFLOW,
                args=[dict(spec), task],
                id=handle,
                task_queue=queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                memo={DATABASE: self._database},
                rpc_timeout=RPC,
            )
        except WorkflowAlreadyStartedError:
            try:
                raise AlreadyError((await self.describe(handle)).database) from None
            except UnknownError:  # deleted just now
                raise UnreachableError("its id was in use a moment ago") from None
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise RefusedByServerError(error.message) from error
            raise _unreachable(error) from error

    async def describe(self, handle: str) -> Seen:
        try:
            found = await self._client.get_workflow_handle(handle).describe(rpc_timeout=RPC)
            memo = await found.memo()
        except RPCError as error:
            raise _of(error) from error
        begun, host = False, None
        for each in found.raw_description.pending_activities:
            if each.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED:
                begun, host = True, _host(each.last_worker_identity)
        closed = found.status is not WorkflowExecutionStatus.RUNNING
        return Seen(database=str(memo.get(DATABASE, "")), closed=closed, begun=begun, host=host)

    async def result(self, handle: str) -> Closed:
        workflow: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(handle, result_type=dict)
        try:
            return Closed(outcome=await workflow.result())
        except WorkflowFailureError as error:
            cause = error.cause
            ours = isinstance(cause, TerminatedError) and OURS in str(cause)
            word = "terminated" if isinstance(cause, TerminatedError) else type(cause).__name__
            return Closed(word=word, text=f"{type(cause).__name__}: {cause}", ours=ours)
        except RPCError as error:
            raise _of(error) from error

    async def cancel(self, handle: str) -> None:
        try:
            await self._client.get_workflow_handle(handle).cancel(rpc_timeout=RPC)
        except RPCError as error:
            raise _of(error) from error

    async def terminate(self, handle: str, reason: str) -> None:
        try:
            await self._client.get_workflow_handle(handle).terminate(reason=reason, rpc_timeout=RPC)
        except RPCError as error:
            raise _of(error) from error

    async def health(self) -> float | None:
        asked = DescribeNamespaceRequest(namespace=self._client.namespace)
        try:
            found = await self._client.workflow_service.describe_namespace(asked, timeout=RPC)
        except RPCError as error:
            self._refused(error)
            if error.status is RPCStatusCode.PERMISSION_DENIED:
                return None
            raise _unreachable(error) from error
        kept: Duration = found.config.workflow_execution_retention_ttl
        return float(kept.ToTimedelta().total_seconds()) or None

    async def pollers(self, queue: str) -> dict[str, datetime]:
        """Who has asked for runs of a queue, and when last: workers by their identity, dead ones of a while ago too."""
        asked = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
        try:
            found = await self._client.workflow_service.describe_task_queue(asked, timeout=RPC)
        except RPCError as error:
            raise _unreachable(error) from error
        return {each.identity: each.last_access_time.ToDatetime(tzinfo=UTC) for each in found.pollers}


def _host(identity: str) -> str | None:
    """The host of a worker, which is behind the last @ of its identity."""
    return identity.rpartition("@")[2] or None


def _of(error: RPCError) -> Exception:
    """Without its namespace, the server knows no id, and that says nothing about runs."""
    if error.status is RPCStatusCode.NOT_FOUND and not _lacks_namespace(error):
        return UnknownError()
    return _unreachable(error)


def _lacks_namespace(error: RPCError) -> bool:
    status = error.grpc_status
    return any(each.type_url.endswith("NamespaceNotFoundFailure") for each in status.details)


def _unreachable(error: RPCError) -> UnreachableError:
    refused = error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
    return UnreachableError(f"{error.status.name.lower()}: {error.message}" + (f"; {RENEW}" if refused else ""))
