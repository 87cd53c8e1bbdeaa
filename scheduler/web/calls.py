"""How a route learns who asks, and which root: `call: Viewer`, `call: Operator`, and so on, as a parameter.

The guard answers who asks; a route names the role that it needs. Nothing else in this room decides about access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

from fastapi import Depends, Request

from scheduler.core.formats.globs import matches_job
from scheduler.core.values.access import Caller, Role
from scheduler.core.values.problems import SchedulerError, UnknownError
from scheduler.service.root import Root


class AccessError(SchedulerError):
    """The caller is unknown (401), may not do this (403), or has to wait (429)."""

    def __init__(self, status: int, message: str, *, hint: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.retry_after_s = status, retry_after_s


class Guard(Protocol):
    """Decides who asks."""

    def caller(self, request: Request) -> Caller:
        """Raises: AccessError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that was let in: `root` writes audit rows in the name of `caller`."""

    root: Root
    caller: Caller

    def sees(self, job_id: str, tags: Iterable[str]) -> bool:
        """True unless the caller is limited to other jobs."""
        return not self.caller.jobs or matches_job(job_id, tags, self.caller.jobs)

    def need_job(self, job_id: str) -> None:
        """Check that the caller may know of this job. Raises: UnknownError, as for a job that does not exist."""
        if self.caller.jobs:
            job = self.root.known(job_id)
            if not self.sees(job_id, () if job is None else job.file.spec.tags):
                raise UnknownError(f"there is no job {job_id!r}", hint="this token is limited to some jobs")

    def need_run(self, run_id: str) -> None:
        self.need_job(run_id.rpartition(":")[0] or run_id)

    def need_all(self) -> None:
        """Check that the caller is not limited to some jobs. Raises: AccessError."""
        if self.caller.jobs:
            raise AccessError(403, f"{self.caller.actor} is limited to some jobs, and this concerns all of them")


def _calling(needed: Role) -> Callable[[Request], Call]:
    def calling(request: Request) -> Call:
        guard: Guard = request.app.state.guard
        root: Root = request.app.state.root
        caller = guard.caller(request)
        if not caller.role.allows(needed):
            raise AccessError(
                403,
                f"{caller.actor} has the role {caller.role.value}; this needs {needed.value}",
                hint="`scheduler token create --role` makes a token with another role",
            )
        return Call(root=replace(root, actor=caller.actor, place=root.place.now()), caller=caller)

    return calling


Viewer = Annotated[Call, Depends(_calling(Role.VIEWER))]
Operator = Annotated[Call, Depends(_calling(Role.OPERATOR))]
Approver = Annotated[Call, Depends(_calling(Role.APPROVER))]
Admin = Annotated[Call, Depends(_calling(Role.ADMIN))]
