"""Whether an agent may make an edit: the policy `agents` in scheduler.yaml, applied to the files it would write."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scheduler.core.edits import agents
from scheduler.core.edits.agents import Denied
from scheduler.core.edits.jobedit import Opened
from scheduler.core.formats.shapes import JobShape
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import RefusedError
from scheduler.core.values.settings import Agents
from scheduler.ledger import syncs
from scheduler.root.place import INSIDE_A_RUN
from scheduler.root.settings import read_settings
from scheduler.service.edit.trees import (
    EditFiles,
    document_after,
    is_job_path,
    is_own_check,
    open_job,
    own_files,
    sharing,
)
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.service.edit.drafts import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What one agent may do with one verb."""

    policy: Agents
    verb: str
    where: str  # how we know that this is an agent, as the start of a sentence; can be empty

    def target(self, target: Target, job_id: str) -> Target:
        """Where the edit goes: as strict as the policy requires, or stricter. Raises: RefusedError."""
        if target.branch is not None:
            self._need(agents.check_branch(target.branch))
            return target
        match self.policy.edits:
            case "branch":
                return replace(target, commit=False, branch=agents.BRANCHES + job_id)
            case "commit":
                return replace(target, commit=True)
        return target

    def check_job(self, job: Job) -> None:
        """Check that the policy covers the job. Raises: RefusedError."""
        self._need(agents.check_job(self.policy, self.verb, job.id, job.file.spec.tags))

    def check_named(self, names: Iterable[str], task: str | None) -> None:
        """Check keys by name alone. This comes before other errors in them, whose hints would not help.

        Raises: RefusedError.
        """
        keys = [name.split(".")[0] for name in names] + ([] if task is None else ["task"])
        # Names that are not keys cannot be allowed; the reader reports them.
        fields = [key for key in keys if key in JobShape.model_fields]
        self._need(agents.check_fields(self.policy, tuple(dict.fromkeys(fields))))

    def check(
        self, files: EditFiles, job_id: str, written: Mapping[str, bytes | None], *, gone: bool, known: Job | None
    ) -> None:
        """Check what an edit writes, by real paths. gone: it deletes the job; known: the job as of the last sync.

        Raises: RefusedError.
        """
        before = None if self.verb == "create" else open_job(files, job_id)
        own, task = own_files(files, before)
        after = None if gone else document_after(files, job_id, written, before, own, task)
        # Tags that the job gets in this edit, or got in a file that no sync has seen, grant nothing.
        is_new = known is None and before is None
        for tags in self._tags(before, after, known):
            self._need(agents.check_job(self.policy, self.verb, job_id, tags, is_new=is_new))
        fields: list[str] = []
        if after is not None:
            fields += _changed(before, after)
            self._check_source(files, before, after)
        for path in written:
            if path == task:
                fields.append("task")
            elif path != own:
                self._need(self._new_file(files, path))
            if path != own:
                fields += ["check"] * is_own_check(files, path, job_id)
                self._check_sharing(files, path, job_id)
        self._need(agents.check_fields(self.policy, tuple(dict.fromkeys(fields))))

    def _tags(self, before: Opened | None, after: Opened | None, known: Job | None) -> Iterable[tuple[str, ...]]:
        if known is not None:
            yield known.file.spec.tags
        elif before is not None:
            yield _tags_of(before)
        if before is None and after is not None:
            yield _tags_of(after)

    def _check_source(self, files: EditFiles, before: Opened | None, after: Opened) -> None:
        """Check a newly named task file: the next edit could write it as the job's own."""
        now = after.keys.get("task_source_path")
        was = None if before is None else before.keys.get("task_source_path")
        if not isinstance(now, str) or now == was:
            return
        real = files.leads_to(now)
        if not isinstance(was, str) or files.leads_to(was) != real:
            self._need(_task_file(self.policy, files, real))

    def _new_file(self, files: EditFiles, path: str) -> Denied | None:
        settings = files.settings
        if not is_job_path(path, settings):
            return _task_file(self.policy, files, path)
        suffix = posixpath.splitext(path)[1]
        hint = "move it to {near}" if self.verb == "mv" else "write its file elsewhere: {path}"
        return agents.check_agent_path(
            self.policy, path, hint=hint, fits=lambda each: is_job_path(each, settings) and each.endswith(suffix)
        )

    def _check_sharing(self, files: EditFiles, path: str, job_id: str) -> None:
        others = set(sharing(files, path, job_id))
        for document in files.documents():
            if document.id in others:
                tags = () if document.spec is None else document.spec.tags
                self._need(agents.check_job(self.policy, self.verb, str(document.id), tags))

    def _need(self, denied: Denied | None) -> None:
        if denied is not None:
            raise RefusedError(self.where + denied.message, hint=denied.hint, give=denied.give)


def _task_file(policy: Agents, files: EditFiles, path: str) -> Denied | None:
    def fits(near: str) -> bool:
        """True if the file is not in a folder of job files, where a text with that ending would count as one."""
        return not is_job_path(f"{posixpath.splitext(near)[0]}.md", files.settings)

    return agents.check_agent_path(policy, path, hint="keep the task elsewhere: {task_source_path}", fits=fits)


def permission_for(root: Root, verb: str) -> Permission:
    """The permission for this verb. Raises: RefusedError if agents may not use the verb at all."""
    inside, policy = root.environ.get(INSIDE_A_RUN), _policy(root)
    where = f"this is inside run {inside} ({INSIDE_A_RUN} is set), and " if inside else ""
    denied = agents.check_verb(policy, verb)
    if denied is not None or policy is None:
        assert denied is not None
        raise RefusedError(where + denied.message, hint=denied.hint)
    return Permission(policy=policy, verb=verb, where=where)


def need_permission(root: Root, verb: str, job_id: str | None = None) -> None:
    """Check that an agent may do this. Raises: RefusedError; UsageError for an unknown job."""
    permission = permission_for(root, verb)
    if job_id is not None:
        with root.job(job_id) as (_, job):
            permission.check_job(job)


def by_agent(root: Root) -> bool:
    """True if an agent is asking: through the tool, or from inside a run."""
    return root.actor.startswith("agent:") or bool(root.environ.get(INSIDE_A_RUN))


def _policy(root: Root) -> Agents | None:
    """The policy for agents as of the last sync; before the first sync, as in scheduler.yaml.

    So an edit of scheduler.yaml allows nothing until a sync has applied it, and `plan` shows it first.
    """
    with root.store() or contextlib.nullcontext() as store:
        settings = None if store is None else store.read(syncs.settings)
    settings = settings or read_settings(root.place)[0]
    return None if settings is None else settings.agents


def _changed(before: Opened | None, after: Opened) -> list[str]:
    fields = list(agents.changed_keys({} if before is None else before.keys, after.keys))
    body = after.document.text if after.has_body else None
    earlier = before.document.text if before is not None and before.has_body else None
    return [*fields, "task"] if body != earlier else fields


def _tags_of(opened: Opened) -> tuple[str, ...]:
    spec = opened.document.spec
    return () if spec is None else tuple(spec.tags)
