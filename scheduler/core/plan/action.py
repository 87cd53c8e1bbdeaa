"""What a plan does to one job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from scheduler.core.due.due import first_fire, lost_while_away, unserved
from scheduler.core.plan.desired import Found
from scheduler.core.values.budget import limits_of, wider_budget
from scheduler.core.values.facts import Dirty, FileFacts, Job, SyncState, TaskDirty
from scheduler.core.values.runs import Skip
from scheduler.core.values.spec import FRESH, HERE, CheckSpec, JobSpec

Change = tuple[Any, Any]  # before, after, as plain JSON values


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What happens to one job. `after` and `next_run_at` are its complete file-owned facts and cursor."""

    verb: Literal["create", "update", "archive", "revive", "keep"]
    job_id: str
    before: FileFacts | None
    after: FileFacts
    next_run_at: datetime | None
    cursor: datetime | None = None  # as it was seen
    moves_cursor: bool = False  # only from there; otherwise claims move it
    changes: Mapping[str, Change] = field(default_factory=dict)  # definition fields that differ
    skips: tuple[Skip, ...] = ()  # S6: slots of the old schedule that no run served
    arms: bool = False  # a stopped job whose version changed starts again (design section 5)
    writes: bool = False  # the row differs from what the store holds

    @property
    def moved_from(self) -> str | None:
        return self.before.path if self.before is not None and self.before.path != self.after.path else None

    @property
    def is_change(self) -> bool:
        """True if a person would call it a change: more than a new line number, or a commit of unchanged content."""
        return (
            self.verb != "keep"
            or self.moved_from is not None
            or self.task_change is not None
            or (self.before is not None and self.before.sync_state is not self.after.sync_state)
        )

    @property
    def rescheduled(self) -> bool:
        """True if a known job has other slots than before: its schedule changed, and not only the jitter (S6)."""
        return self.before is not None and _rescheduled(self.before.spec, self.after.spec)

    @property
    def completes(self) -> bool:
        """True if this change leaves an enabled job without any future fire, such as a one-shot in the past.

        A job that only runs by hand has none to lose.
        """
        started = self.verb in ("create", "revive") or self.rescheduled or "enabled" in self.changes
        fires = self.after.spec.enabled and self.after.archived_at is None and not self.after.spec.schedule.manual
        return started and fires and self.next_run_at is None

    @property
    def widens(self) -> tuple[str, ...]:
        """Definition fields through which the change gives the job more power than it had."""
        if self.before is None:
            return ()
        return widened(self.before.spec, self.after.spec)

    @property
    def commits(self) -> tuple[tuple[Literal["path", "task"], Dirty], ...]:
        """Which of the job's two files have been committed unchanged, and what they were until then."""
        old, new = self.before, self.after
        if old is None or self.verb == "archive" or old.path != new.path or new.revision is None:
            return ()
        found: list[tuple[Literal["path", "task"], Dirty]] = []
        if old.file_sha256 == new.file_sha256 and (was := _committed(old.dirty, new.dirty)):
            found.append(("path", was))
        same = (old.task_sha256, old.spec.task_source_path) == (new.task_sha256, new.spec.task_source_path)
        if same and (was := _committed(old.task_dirty, new.task_dirty)):
            found.append(("task", was))
        return tuple(found)

    @property
    def task_change(self) -> Change | None:
        """The task's sha256 before and after, if a known job's text has changed."""
        if self.before is None or self.before.task_sha256 == self.after.task_sha256:
            return None
        return self.before.task_sha256, self.after.task_sha256


def _committed(before: TaskDirty | None, after: TaskDirty | None) -> Dirty | None:
    """What a file was until somebody committed it. None if nobody has."""
    return before if (before == "modified" or before == "untracked") and after in (None, "converted") else None


def to_keep(job: Job, state: SyncState) -> Action:
    after = job.file if job.archived else replace(job.file, sync_state=state)
    return Action(
        verb="keep", job_id=job.id, before=job.file, after=after, next_run_at=job.next_run_at, writes=after != job.file
    )


def _facts(found: Found, now: datetime) -> FileFacts:
    """What the files say about a job that is not known yet."""
    spec = found.document.spec
    assert spec is not None
    return FileFacts(
        spec=spec,
        generation=1,
        path=found.document.path,
        line=found.document.line,
        revision=found.provenance.revision,
        dirty=found.provenance.dirty,
        file_sha256=found.file_sha256,
        task_sha256=found.task_sha256,
        activated_at=now,
        task_dirty=found.task_dirty,
    )


def to_create(found: Found, now: datetime) -> Action:
    after = _facts(found, now)
    return Action(
        verb="create",
        job_id=after.spec.id,
        before=None,
        after=after,
        next_run_at=first_fire(after.spec, after=now),
        moves_cursor=True,
        writes=True,
    )


def to_update(job: Job, found: Found, now: datetime) -> Action:
    before, after = job.file, _facts(found, now)
    spec = after.spec
    revived = job.archived
    changes = definition_changes(before.spec, spec)
    rescheduled = _rescheduled(before.spec, spec)
    switched = spec.enabled != before.spec.enabled
    restarts = revived or rescheduled or (switched and spec.enabled)
    activated_at = now if restarts else before.activated_at
    # A faulty task keeps the sha256 that was last read. Edits are compared with it once the task is back.
    task_sha256 = before.task_sha256 if found.task_sha256 is None else found.task_sha256
    task_dirty: TaskDirty | None = found.task_dirty
    if found.task_sha256 is None:  # back unchanged, it is news only if it was committed in the meantime
        task_dirty = before.task_dirty if before.task_dirty in ("modified", "untracked") else "unread"
    read_anew = (
        bool(changes)
        or revived
        or (before.path, before.task_sha256) != (after.path, task_sha256)
        or before.dirty != after.dirty
        or (before.task_dirty != task_dirty and task_dirty != "unread")
    )
    after = replace(
        after,
        generation=before.generation + bool(changes),
        # A commit that does not touch this job is no news for it: its revision stays.
        revision=after.revision if read_anew else before.revision,
        task_sha256=task_sha256,
        activated_at=activated_at,
        task_dirty=task_dirty,
    )
    arms = job.runtime.stopped_at is not None and after.version != before.version
    # S6: an edit that leaves the schedule alone, such as one of the prompt, does not move the next fire.
    moves = restarts or switched or arms
    due_from = now if arms else activated_at
    next_run_at = first_fire(spec, after=due_from) if moves else job.next_run_at
    if revived:
        skips = lost_while_away(job, spec, now)
    else:
        skips = unserved(job, now) if rescheduled or switched or arms else ()
    return Action(
        verb="revive" if revived else "update" if changes else "keep",
        job_id=job.id,
        before=before,
        after=after,
        next_run_at=next_run_at,
        cursor=job.next_run_at,
        moves_cursor=moves,
        changes=changes,
        skips=skips,
        arms=arms,
        writes=after != before or next_run_at != job.next_run_at,
    )


def to_archive(job: Job, now: datetime) -> Action:
    return Action(
        verb="archive",
        job_id=job.id,
        before=job.file,
        after=replace(job.file, archived_at=now, sync_state=SyncState.SYNCED),
        next_run_at=None,
        cursor=job.next_run_at,
        moves_cursor=True,
        skips=unserved(job, now),
        writes=True,
    )


def _rescheduled(before: JobSpec, after: JobSpec) -> bool:
    return before != after and before.due_by.timing != after.due_by.timing


def definition_changes(before: JobSpec, after: JobSpec) -> dict[str, Change]:
    if before == after:
        return {}
    old, new = before.to_json(), after.to_json()
    return {name: (old[name], new[name]) for name in new if old[name] != new[name]}


def widened(old: JobSpec, new: JobSpec) -> tuple[str, ...]:
    """Definition fields through which a job has more power than before."""
    return tuple(
        name
        for name, wider in (
            ("runner", new.runner != old.runner),
            ("env", not set(new.env) <= set(old.env)),
            ("timeout_ms", new.timeout > old.timeout),
            ("model", new.model != old.model),  # it may cost more
            ("args", not set(new.args) <= set(old.args)),
            ("workdir", new.workdir not in (old.workdir, FRESH)),
            ("task_queue", new.task_queue not in (None, HERE, old.task_queue)),  # other machines
            ("check", new.check is not None and _widens(old.check, new.check)),
            ("budget", wider_budget(limits_of(old.budget), limits_of(new.budget))),
            ("deliver", not set(new.deliver) <= set(old.deliver)),
            ("ping", new.ping is not None and new.ping != old.ping),
        )
        if wider
    )


def _widens(old: CheckSpec | None, new: CheckSpec) -> bool:
    """True if a check starts something else, takes longer, or now adds what it prints to what the job is given."""
    if old is None or (old.runner, old.task, old.task_source_path) != (new.runner, new.task, new.task_source_path):
        return True
    return new.timeout > old.timeout or (new.output != old.output and new.output == "append")
