"""What a caller over HTTP may do with the tool: by role, and by the patterns of jobs of a token.

`agents` in scheduler.yaml applies besides, as it does on standard input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduler.core.formats.globs import matches_job
from scheduler.core.values.access import Caller, Role
from scheduler.core.values.problems import RefusedError, UsageError
from scheduler.service.channels import delivery
from scheduler.service.root import Root
from scheduler.tool.arguments import READS, Call

EDITS = ("update", "create", "delete", "mv", "rollback")
_NO_JOBS = ("text:", "commit:")  # of `rollback`: a text or a commit of the job itself


def needed_role(action: str) -> Role:
    return Role.VIEWER if action in READS else Role.APPROVER if action in EDITS else Role.OPERATOR


def check_reach(root: Root, call: Call, caller: Caller) -> None:
    """Check that the caller may make this call. Raises: RefusedError; UsageError for a job that is not known."""
    needed = needed_role(call.action)
    if not caller.role.allows(needed):
        raise RefusedError(
            f"{caller.actor} has the role {caller.role.value}; {call.action} needs {needed.value}",
            hint="ask a person for a token with another role",
        )
    if not caller.jobs or call.action == "list":  # a list leaves the others out
        return
    named = [*dict.fromkeys(_jobs(root, call))]
    if not named:
        raise RefusedError(
            f"{caller.actor} reaches only the jobs {', '.join(caller.jobs)}, so {call.action} must name one of them",
            hint='"action": "list" shows them',
        )
    for job_id in named:
        job = root.known(job_id)
        tags = () if job is None else job.file.spec.tags
        if not matches_job(job_id, tags, caller.jobs):
            raise RefusedError(
                f"{caller.actor} reaches only the jobs {', '.join(caller.jobs)}, and not {job_id}",
                hint='"action": "list" shows them',
            )
        if job is None and call.action != "create":  # the start of an id would name another job
            raise UsageError(f"there is no job {job_id!r}", hint='"action": "list" shows all jobs')


def sees(caller: Caller | None, job_id: str, tags: Any) -> bool:
    """True if a list shows that job to the caller."""
    return caller is None or not caller.jobs or matches_job(job_id, tags, caller.jobs)


def _jobs(root: Root, call: Call) -> Iterator[str]:
    """The jobs that a call names, also by their runs."""
    given = call.given
    for name in ("job", "run", "before", "after", "task_of", "to"):
        value = getattr(given, name, None)
        if isinstance(value, str) and not value.startswith(_NO_JOBS):
            yield value.partition(":")[0]
    yield from getattr(given, "jobs", ())
    if call.action == "retry_delivery" and (job_id := delivery(root, given.id)["job_id"]) is not None:
        yield job_id
