"""The plan that turns observed state into desired state: a pure function of values (S1-S6).

`plan`, `sync --dry-run` and every pass of the daemon share it. Each action carries the complete
file-owned facts and cursor its job ends up with, so that applying a plan computes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from scheduler.core.due.due import first_fire, unserved
from scheduler.core.times.fires import next_fire
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.spec import (
    Dirty,
    FileFacts,
    Job,
    JobSpec,
    Provenance,
    Prune,
    Settings,
    Skip,
    SyncState,
    TaskDirty,
    instant,
)

if TYPE_CHECKING:  # brings the YAML reader with it
    from scheduler.core.formats.jobfile import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One job document, and what the disk says of its task and its file."""

    document: Document
    task_sha256: str | None  # None: the task is at fault, or the document is
    provenance: Provenance = field(default_factory=Provenance)
    file_sha256: str = ""
    task_dirty: Dirty | None = None  # of the file of the task, where that is another one


@dataclass(frozen=True, slots=True)
class Read:
    """Where the bytes of a file that was read stand in git; `path` is the one that git knows it by."""

    path: str
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the files say, as one pass read them."""

    settings: Settings
    found: tuple[Found, ...] = ()
    broken: frozenset[str] = frozenset()  # paths that exist but cannot be read or parsed
    empty: frozenset[str] = frozenset()  # paths that hold no document
    unlistable: frozenset[str] = frozenset()  # folders that cannot be listed
    revision: str | None = None
    problems: tuple[Problem, ...] = ()  # of the files themselves; the plan adds its own
    sources: Mapping[str, Read] = field(default_factory=dict)  # every file that was read, by the path it was named by


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
    moves_cursor: bool = False  # from there, and from nowhere else; otherwise it is left to those who claim
    changes: Mapping[str, Change] = field(default_factory=dict)  # definition fields that differ
    skips: tuple[Skip, ...] = ()  # S6: the old schedule's slots that no run served
    arms: bool = False  # a stopped job whose version changed starts anew (design section 5)
    writes: bool = False  # the row differs from what the store holds

    @property
    def moved_from(self) -> str | None:
        return self.before.path if self.before is not None and self.before.path != self.after.path else None

    @property
    def is_change(self) -> bool:
        """Whether a person would call it a change: more than a new line number or a commit of what was there."""
        return (
            self.verb != "keep"
            or self.moved_from is not None
            or self.task_change is not None
            or (self.before is not None and self.before.sync_state is not self.after.sync_state)
        )

    @property
    def rescheduled(self) -> bool:
        """Whether a known job has other slots than before: its schedule changed, and not only the jitter (S6)."""
        return self.before is not None and _rescheduled(self.before.spec, self.after.spec)

    @property
    def completes(self) -> bool:
        """Whether this change leaves an enabled job without any fire to come, such as a one-shot in the past."""
        started = self.verb in ("create", "revive") or self.rescheduled or "enabled" in self.changes
        return started and self.after.spec.enabled and self.after.archived_at is None and self.next_run_at is None

    @property
    def widens(self) -> tuple[str, ...]:
        """Definition fields through which the change gives the job more power than it had."""
        if self.before is None:
            return ()
        old, new = self.before.spec, self.after.spec
        return tuple(
            name
            for name, wider in (
                ("runner", new.runner != old.runner),
                ("env", not set(new.env) <= set(old.env)),
                ("timeout_ms", new.timeout > old.timeout),
            )
            if wider
        )

    @property
    def commits(self) -> tuple[tuple[Literal["path", "task"], Dirty], ...]:
        """Which of the job's two files somebody has committed as they were, and what they had been until then."""
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
        """The task's sha256 before and after, where a known job's text is another one."""
        if self.before is None or self.before.task_sha256 == self.after.task_sha256:
            return None
        return self.before.task_sha256, self.after.task_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Archives that wait for a person (S4); `token` confirms exactly this set."""

    ids: tuple[str, ...]
    token: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one pass does, ordered by job id."""

    actions: tuple[Action, ...] = ()
    guard: Guard | None = None
    problems: tuple[Problem, ...] = ()  # sorted: the files' and the plan's own
    root_changes: Mapping[str, Change] = field(default_factory=dict)
    settings: Settings
    revision: str | None = None
    first: bool = False  # no scheduler.yaml was in force before
    dirty: Dirty | None = None  # the worst of the job files: None when all are as committed
    sources: Mapping[str, Read] = field(default_factory=dict)  # as of `Desired`

    def after(self, job: Job) -> Job:
        """A job as it stands once the plan is applied."""
        for action in self.actions:
            if action.job_id == job.id:
                return replace(job, file=action.after, next_run_at=action.next_run_at)
        return job

    @property
    def nothing_to_do(self) -> bool:
        return not self.root_changes and not any(action.writes for action in self.actions)

    @property
    def losses(self) -> frozenset[str]:
        """Jobs it archives, holds, or marks invalid or in conflict: for a moment, half a save looks like that too."""
        return frozenset(
            action.job_id
            for action in self.actions
            if action.writes
            and (
                action.verb == "archive" or (action.verb == "keep" and action.after.sync_state is not SyncState.SYNCED)
            )
        )

    def deferring(self, ids: Collection[str], observed: Mapping[str, Job]) -> Plan:
        """The same plan, but these jobs stay as they are."""
        if not ids:
            return self
        waits = self.guard is not None and set(self.guard.ids) <= set(ids)
        return replace(
            self,
            actions=tuple(
                _as_it_is(observed[action.job_id]) if action.job_id in ids else action for action in self.actions
            ),
            guard=None if waits else self.guard,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """Something that speaks for an id: a document that names it, or a file that cannot be read and last held it."""

    path: str
    line: int
    found: Found | None  # None: the file or the document cannot be read

    @property
    def readable(self) -> bool:
        return self.found is not None and self.found.document.spec is not None


def plan(
    desired: Desired,
    observed: Mapping[str, Job],
    *,
    previous: Settings | None,
    now: datetime,
    confirmed: str | None = None,
) -> Plan:
    """Actions that turn `observed` into `desired`, one per job, ordered by id.

    Pure and idempotent: plan, apply, plan again yields only what the guard or a problem holds back.
    previous: the settings in force, for the audit of scheduler.yaml; None on a first pass.
    confirmed: the token of a guard that a person has confirmed.
    """
    claims = _claims(desired, observed)
    problems = [*desired.problems, *_emptied(desired, observed, claims), *_lookalikes(desired)]
    actions: list[Action] = []
    for job_id in sorted(claims.keys() | observed.keys()):
        job = observed.get(job_id)
        named = claims.get(job_id, [])
        if len(named) > 1:
            problems += _conflicts(job_id, named)
        action = _settle_claims(job_id, named, job, now)
        if action is not None:
            actions.append(action)
    actions, limit_problems = _within_limit(actions, desired)
    problems += limit_problems
    problems += [problem for action in actions for problem in _past(action, claims.get(action.job_id, []), now)]
    actions, guard = _guarded(actions, observed, desired.settings.prune, now, confirmed)
    return Plan(
        actions=tuple(actions),
        guard=guard,
        problems=tuple(sorted(set(problems))),
        root_changes=root_changes(previous, desired.settings),
        settings=desired.settings,
        revision=desired.revision,
        first=previous is None,
        dirty=_dirty(desired),
        sources=desired.sources,
    )


def _committed(before: TaskDirty | None, after: TaskDirty | None) -> Dirty | None:
    """What a file was until somebody committed it; None where nobody has."""
    return before if (before == "modified" or before == "untracked") and after in (None, "converted") else None


def _dirty(desired: Desired) -> Dirty | None:
    states = {found.provenance.dirty for found in desired.found}
    worst: tuple[Dirty, ...] = ("modified", "untracked", "converted")
    return next((state for state in worst if state in states), None)


def plan_one(desired: Desired, job: Job, *, previous: Settings | None, now: datetime) -> Plan | None:
    """The partial pass of F1: what the job's own file says of it now; None where it no longer names the job.

    It may update or mark invalid; it never creates, archives, revives or settles a conflict.
    """
    claims = _claims(desired, {job.id: job}).get(job.id, [])
    if not claims and job.file.sync_state in (SyncState.SYNCED, SyncState.INVALID):
        return None  # a held job, or one that others claim, goes on by its last good definition
    action = None
    if len(claims) == 1 and not job.archived and job.file.sync_state is not SyncState.CONFLICT:
        action = _settle_claims(job.id, claims, job, now)
    return Plan(
        actions=() if action is None else (action,),
        problems=desired.problems,
        root_changes=root_changes(previous, desired.settings),
        settings=desired.settings,
        revision=desired.revision,
        first=previous is None,
        sources=desired.sources,
    )


# -- claims (S2, S3) -------------------------------------------------------------------------


def _claims(desired: Desired, observed: Mapping[str, Job]) -> dict[str, list[_Claim]]:
    claims: defaultdict[str, list[_Claim]] = defaultdict(list)
    nameless: set[str] = set()
    for found in desired.found:
        document = found.document
        if document.id is None:
            nameless.add(document.path)
        else:
            claims[document.id].append(_Claim(path=document.path, line=document.line, found=found))
    for job_id, named in claims.items():
        # A document with an error speaks for an id it last held, or that nothing else claims; no more (S2).
        held_at = {observed[job_id].file.path} if job_id in observed else set()
        readable = {claim.path for claim in named if claim.readable}
        if readable:
            # Also one in the file that would hold it from now on: else the next pass would judge otherwise.
            claims[job_id] = [claim for claim in named if claim.readable or claim.path in held_at | readable]
    for job in observed.values():
        if job.archived:
            continue
        path = job.file.path
        unreadable = path in desired.broken or _inside(path, desired.unlistable)
        named_here = any(claim.path == path for claim in claims[job.id])
        if unreadable or (path in nameless and not named_here):
            claims[job.id].append(_Claim(path=path, line=job.file.line, found=None))
        elif path in desired.empty and not claims[job.id]:
            # A truncating save empties a file for a moment. A job that stands elsewhere has moved there.
            claims[job.id].append(_Claim(path=path, line=1, found=None))
    return {job_id: sorted(named, key=lambda c: (c.path, c.line)) for job_id, named in claims.items() if named}


def _inside(path: str, folders: Iterable[str]) -> bool:
    return any(folder in ("", ".") or path.startswith(folder + "/") for folder in folders)


def _emptied(
    desired: Desired, observed: Mapping[str, Job], claims: Mapping[str, Sequence[_Claim]]
) -> Iterable[Problem]:
    for path in sorted(desired.empty):
        held = [
            job.id
            for job in observed.values()
            if job.file.path == path and not job.archived and any(c.path == path for c in claims.get(job.id, ()))
        ]
        if held:
            names = ", ".join(repr(job_id) for job_id in sorted(held))
            yield Problem(
                path=path,
                line=1,
                column=1,
                code="file.emptied",
                message=f"the file held {names} and now holds no job; the last good definition stays in force",
                hint="to archive its jobs, delete the file; to keep them, restore its text",
            )


def _conflicts(job_id: str, claims: Sequence[_Claim]) -> Iterable[Problem]:
    for claim in claims:
        others = ", ".join(f"{c.path}:{c.line}" for c in claims if c is not claim)
        yield Problem(
            path=claim.path,
            line=claim.line,
            column=1,
            code="id.duplicate",
            message=f"id {job_id!r} is claimed here and by {others}; neither is applied",
            hint="keep the id in one place; give the other document an id of its own",
            job_id=job_id,
        )


def across_files(desired: Desired) -> list[Problem]:
    """The problems that only several files together have, as files alone show them."""
    claims = _claims(desired, {})
    found = [problem for job_id, named in claims.items() if len(named) > 1 for problem in _conflicts(job_id, named)]
    return [*found, *_lookalikes(desired)]


def _lookalikes(desired: Desired) -> Iterator[Problem]:
    """Warnings for ids and file names that are different to the scheduler, and not to a person or another system."""
    documents = [found.document for found in desired.found]
    ids: defaultdict[str, dict[str, Document]] = defaultdict(dict)
    for document in documents:
        if document.id is not None:
            ids[re.sub("[._-]", "", document.id)].setdefault(document.id, document)
    for alike in ids.values():
        for job_id, document in alike.items() if len(alike) > 1 else ():
            other = next(each for each in alike.values() if each.id != job_id)
            yield Problem(
                path=document.path,
                line=document.line,
                column=1,
                code="id.similar",
                message=f"id {job_id!r} is that of {other.path}:{other.line}, {other.id!r}, but for . _ and -",
                hint="keep both if they are two jobs; an id that was changed makes a new job",
                severity=Severity.WARNING,
                job_id=job_id,
            )
    names: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted({document.path for document in documents} | desired.broken | desired.empty):
        names[path.casefold()].append(path)
    for paths in names.values():
        for path in paths if len(paths) > 1 else ():
            other_path = next(each for each in paths if each != path)
            yield Problem(
                path=path,
                line=1,
                column=1,
                code="file.case",
                message=f"its name and {other_path!r} differ by upper and lower case only",
                hint="rename one: where case does not count, as on macOS, a checkout holds only one of them",
                severity=Severity.WARNING,
            )


def _settle_claims(job_id: str, claims: Sequence[_Claim], job: Job | None, now: datetime) -> Action | None:
    """The action for one id by its claims (S2); None: nothing is known and nothing can be created."""
    if len(claims) > 1:
        return None if job is None else _keep(job, SyncState.CONFLICT)
    if not claims:
        if job is None or job.archived:
            return None if job is None else _keep(job, job.file.sync_state)
        return _archive(job, now)
    claim = claims[0]
    if not claim.readable:
        return None if job is None else _keep(job, SyncState.INVALID)
    assert claim.found is not None
    if job is None:
        return None if claim.found.task_sha256 is None else _create(claim.found, now)
    return _update(job, claim.found, now)


def _past(action: Action, claims: Sequence[_Claim], now: datetime) -> Iterable[Problem]:
    """The warning for a job that is added or gets another schedule when the last of its slots has already passed."""
    if not (action.verb == "create" or action.rescheduled):
        return
    schedule = action.after.spec.due_by
    if next_fire(schedule, after=now) is not None:
        return
    last = max((last for entry in schedule.entries if (last := entry.at or entry.ends) is not None), default=now)
    assert claims[0].found is not None, "a schedule is new or changes by its one readable claim"
    document = claims[0].found.document
    said = f"{instant(last)} has already passed" if last <= now else f"no slot is left up to {instant(last)}"
    yield Problem(
        path=action.after.path,
        line=document.schedule_line,
        column=document.schedule_column,
        code="schedule.past",
        message=f"{said}: job {action.job_id!r} will never run by itself",
        hint="set a later instant, or start it by hand with `scheduler run`",
        severity=Severity.WARNING,
        job_id=action.job_id,
    )


# -- one job ---------------------------------------------------------------------------------


def _keep(job: Job, state: SyncState) -> Action:
    after = job.file if job.archived else replace(job.file, sync_state=state)
    return Action(
        verb="keep",
        job_id=job.id,
        before=job.file,
        after=after,
        next_run_at=job.next_run_at,
        writes=after != job.file,
    )


def _as_it_is(job: Job) -> Action:
    return Action(verb="keep", job_id=job.id, before=job.file, after=job.file, next_run_at=job.next_run_at)


def _create(found: Found, now: datetime) -> Action:
    spec = found.document.spec
    assert spec is not None
    after = FileFacts(
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
    return Action(
        verb="create",
        job_id=spec.id,
        before=None,
        after=after,
        next_run_at=first_fire(spec, after=now),
        moves_cursor=True,
        writes=True,
    )


def _update(job: Job, found: Found, now: datetime) -> Action:
    spec = found.document.spec
    assert spec is not None
    before = job.file
    revived = job.archived
    changes = definition_changes(before.spec, spec)
    rescheduled = _rescheduled(before.spec, spec)
    switched = spec.enabled != before.spec.enabled
    restarts = revived or rescheduled or (switched and spec.enabled)
    activated_at = now if restarts else before.activated_at
    # A task at fault keeps the sha256 last read: it is what an edit is compared with once it is back.
    task_sha256 = before.task_sha256 if found.task_sha256 is None else found.task_sha256
    task_dirty: TaskDirty | None = found.task_dirty
    if found.task_sha256 is None:  # back as it was, it is news of a commit, or of one of what nobody had committed
        task_dirty = before.task_dirty if before.task_dirty in ("modified", "untracked") else "unread"
    read_anew = (
        bool(changes)
        or revived
        or (before.path, before.task_sha256) != (found.document.path, task_sha256)
        or before.dirty != found.provenance.dirty
        or (before.task_dirty != task_dirty and task_dirty != "unread")
    )
    after = FileFacts(
        spec=spec,
        generation=before.generation + bool(changes),
        path=found.document.path,
        line=found.document.line,
        # A commit that does not touch this job is no news of it: its revision stays.
        revision=found.provenance.revision if read_anew else before.revision,
        dirty=found.provenance.dirty,
        file_sha256=found.file_sha256,
        task_sha256=task_sha256,
        activated_at=activated_at,
        task_dirty=task_dirty,
    )
    arms = job.runtime.stopped_at is not None and after.version != before.version
    # S6: an edit that leaves the schedule alone, such as one of the prompt, does not move the next fire.
    moves = restarts or switched or arms
    due_from = now if arms else activated_at
    next_run_at = first_fire(spec, after=due_from) if moves else job.next_run_at
    skips = unserved(job, now) if not revived and (rescheduled or switched or arms) else ()
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


def _archive(job: Job, now: datetime) -> Action:
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


# -- limits over all jobs --------------------------------------------------------------------


def _within_limit(actions: Sequence[Action], desired: Desired) -> tuple[list[Action], list[Problem]]:
    """Drops the creations that `limits.max_jobs` leaves no room for; known jobs always stay."""
    limit = desired.settings.limits.max_jobs
    room = limit - sum(a.verb != "create" and a.after.archived_at is None for a in actions)
    kept: list[Action] = []
    problems: list[Problem] = []
    for action in actions:
        if action.verb == "create" and room <= 0:
            problems.append(
                Problem(
                    path=action.after.path,
                    line=action.after.line,
                    column=1,
                    code="limit.max-jobs",
                    message=f"job {action.job_id!r} is not created: the root already holds {limit} jobs",
                    hint="raise limits.max_jobs in scheduler.yaml",
                    job_id=action.job_id,
                )
            )
            continue
        room -= action.verb == "create"
        kept.append(action)
    return kept, problems


def _guarded(
    actions: Sequence[Action], observed: Mapping[str, Job], prune: Prune, now: datetime, confirmed: str | None
) -> tuple[list[Action], Guard | None]:
    """Turns the archives into held jobs where there are too many to believe (S4)."""
    archives = tuple(action.job_id for action in actions if action.verb == "archive")
    before = sum(not job.archived for job in observed.values())
    left = sum(action.after.archived_at is None for action in actions)
    why = _why_guarded(len(archives), before=before, left=left, prune=prune)
    token = guard_token(archives)
    if not why or confirmed == token:
        return list(actions), None
    held = [
        _keep(observed[action.job_id], SyncState.HELD) if action.verb == "archive" else action for action in actions
    ]
    return held, Guard(ids=archives, token=token, why=why)


def _why_guarded(archives: int, *, before: int, left: int, prune: Prune) -> str:
    if not archives:
        return ""
    if left == 0:
        return f"no job would be left: all {archives} would be archived"
    if archives > prune.max_jobs:
        return f"{archives} jobs would be archived, more than prune.max_jobs ({prune.max_jobs})"
    if archives > 3 and archives * 100 > prune.max_percent * before:
        return f"{archives} of {before} jobs would be archived, more than prune.max_percent ({prune.max_percent} %)"
    return ""


def guard_token(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:12]


# -- scheduler.yaml --------------------------------------------------------------------------


def root_changes(previous: Settings | None, settings: Settings) -> dict[str, Change]:
    """Settings that differ, by dotted name: `runners.shell.command`, `defaults.timeout`; none on a first pass."""
    if previous is None:
        return {}
    old, new = _flat(previous.to_json()), _flat(settings.to_json())
    return {
        name: (old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def _flat(found: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        elif value != {}:
            flat[f"{prefix}{name}"] = value
    return flat
