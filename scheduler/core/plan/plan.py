"""The plan that turns observed state into desired state: a pure function of values (S1-S6).

`plan`, `sync --dry-run` and every pass of the daemon share it. Each action carries the complete file-owned facts and
the cursor that its job ends up with, so that applying a plan computes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from scheduler.core.plan.action import Action, Change, to_archive, to_create, to_keep, to_update
from scheduler.core.plan.claimants import Claim, claims_by_id, conflicts, emptied, lookalikes, names_in, no_job
from scheduler.core.plan.desired import NO_REST, Desired, Read, Rest
from scheduler.core.plan.guard import Guard, guarded, within_limit
from scheduler.core.plan.inherited import default_changes, follows_setting
from scheduler.core.times.fires import next_fire
from scheduler.core.values.facts import Dirty, Job, SyncState
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.settings import ROOT_FILE, Settings, is_inherited_setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one pass does, ordered by job id."""

    actions: tuple[Action, ...] = ()
    guard: Guard | None = None
    problems: tuple[Problem, ...] = ()  # sorted: those of the files and of the plan
    root_changes: Mapping[str, Change] = field(default_factory=dict)
    default_changes: Mapping[str, Change] = field(default_factory=dict)  # of a job that writes nothing of its own
    settings: Settings
    revision: str | None = None
    first: bool = False  # no scheduler.yaml was in force before
    dirty: Dirty | None = None  # the worst of the job files; None if all are as committed
    sources: Mapping[str, Read] = field(default_factory=dict)  # as in `Desired`
    others: int = 0  # unarchived jobs that it leaves out: they stay as they are, in step with their files

    def after(self, job: Job) -> Job:
        """A job as it is once the plan is applied."""
        for action in self.actions:
            if action.job_id == job.id:
                return replace(job, file=action.after, next_run_at=action.next_run_at)
        return job

    def users(self, runner: str) -> list[str]:
        """The jobs that use this runner, also for their check, once the plan is applied."""
        after = [action.after for action in self.actions]
        return [facts.spec.id for facts in after if facts.archived_at is None and runner in facts.spec.runners]

    def told(self, channel: str) -> list[str]:
        """The jobs that deliver to this channel, once the plan is applied."""
        after = [action.after for action in self.actions]
        return [facts.spec.id for facts in after if facts.archived_at is None and channel in facts.spec.deliver]

    def users_by_file(self) -> Mapping[str, Sequence[str]]:
        """For each file the jobs that it makes up, by what it says or what it runs, once the plan is applied."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for facts in (action.after for action in self.actions if action.after.archived_at is None):
            runners = (self.settings.runners[name] for name in facts.spec.runners if name in self.settings.runners)
            programs = (path for runner in runners for path, _ in runner.files)
            for path in {ROOT_FILE, facts.path, *facts.spec.task_paths, *programs}:
                found[path].append(facts.spec.id)
        return found

    @property
    def new_pairs(self) -> list[Action]:
        """The jobs that are added or come back: each pair of a job and its runner is power that was not there."""
        return [each for each in self.actions if each.verb in ("create", "revive")]

    def followers(self, setting: str) -> list[str]:
        """The jobs whose definition changes as this default of scheduler.yaml does."""
        if not is_inherited_setting(setting):
            return []
        return [each.job_id for each in self.actions if follows_setting(setting, each.changes, self.default_changes)]

    @property
    def nothing_to_do(self) -> bool:
        return not self.root_changes and not any(action.writes for action in self.actions)

    @property
    def states(self) -> dict[str, int]:
        """How many unarchived jobs are in each sync state."""
        states = [action.after.sync_state for action in self.actions if action.after.archived_at is None]
        return {state.value: states.count(state) + self.others * (state is SyncState.SYNCED) for state in SyncState}

    @property
    def losses(self) -> frozenset[str]:
        """Jobs it archives, holds, or marks invalid or in conflict. For a moment, half a save looks like that too."""
        return frozenset(
            action.job_id
            for action in self.actions
            if action.writes
            and (
                action.verb == "archive" or (action.verb == "keep" and action.after.sync_state is not SyncState.SYNCED)
            )
        )

    def deferring(self, ids: Collection[str], observed: Mapping[str, Job]) -> Plan:
        """The same plan, except that these jobs stay as they are."""
        if not ids:
            return self
        waits = self.guard is not None and set(self.guard.ids) <= set(ids)
        return replace(
            self,
            actions=tuple(_kept(observed[each.job_id]) if each.job_id in ids else each for each in self.actions),
            guard=None if waits else self.guard,
        )


def _kept(job: Job) -> Action:
    return to_keep(job, job.file.sync_state)


def plan(
    desired: Desired,
    observed: Mapping[str, Job],
    *,
    previous: Settings | None,
    now: datetime,
    confirmed: str | None = None,
    rest: Rest = NO_REST,
) -> Plan:
    """Actions that turn `observed` into `desired`, one per job, ordered by id.

    Pure and idempotent: after plan and apply, a second plan yields only what the guard or a problem holds back.
    With a `rest`, the same actions as a plan of all files, without those that would do nothing.
    previous: the settings in force, for the audit of scheduler.yaml; None on a first pass.
    confirmed: the token of a guard that a person has confirmed.
    """
    claims = claims_by_id(desired, observed)
    problems = [*desired.problems, *emptied(desired, observed, claims)]
    problems += lookalikes(*names_in(desired)) if rest.similar is None else rest.similar
    if not rest.jobs and all(job.archived for job in observed.values()):  # what becomes of others is said of each
        problems += no_job(desired)
    actions: list[Action] = []
    for job_id in sorted(claims.keys() | observed.keys()):
        job = observed.get(job_id)
        named = claims.get(job_id, [])
        if len(named) > 1:
            problems += conflicts(job_id, named)
        action = _settle_claims(job_id, named, job, now)
        if action is not None:
            actions.append(action)
    actions, limit_problems = within_limit(actions, desired, rest.jobs)
    problems += limit_problems
    problems += [problem for action in actions for problem in _past(action, claims.get(action.job_id, []), now)]
    actions, guard = guarded(actions, observed, desired.settings.prune, now, confirmed, rest.jobs)
    return Plan(
        actions=tuple(actions),
        guard=guard,
        problems=tuple(sorted(set(problems))),
        root_changes=root_changes(previous, desired.settings),
        default_changes=default_changes(previous, desired.settings),
        settings=desired.settings,
        revision=desired.revision,
        first=previous is None,
        dirty=_dirty(desired, rest),
        sources=desired.sources,
        others=rest.jobs,
    )


def _dirty(desired: Desired, rest: Rest) -> Dirty | None:
    states = {rest.dirty, *(found.provenance.dirty for found in desired.found)}
    worst: tuple[Dirty, ...] = ("modified", "untracked", "converted")
    return next((state for state in worst if state in states), None)


def plan_one(desired: Desired, job: Job, *, previous: Settings | None, now: datetime) -> Plan | None:
    """The partial pass of F1: what the job's own file says about it now. None if the file no longer names the job.

    It may update the job or mark it invalid. It never creates, archives, revives or settles a conflict.
    """
    claims = claims_by_id(desired, {job.id: job}).get(job.id, [])
    if not claims and job.file.sync_state in (SyncState.SYNCED, SyncState.INVALID):
        return None  # a held or conflicting job continues with its last good definition
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


def _settle_claims(job_id: str, claims: Sequence[Claim], job: Job | None, now: datetime) -> Action | None:
    """The action for one id, according to its claims (S2). None if nothing is known and nothing can be created."""
    if len(claims) > 1:
        return None if job is None else to_keep(job, SyncState.CONFLICT)
    if not claims:
        if job is None or job.archived:
            return None if job is None else _kept(job)
        return to_archive(job, now)
    claim = claims[0]
    if not claim.readable:
        return None if job is None else to_keep(job, SyncState.INVALID)
    assert claim.found is not None
    if job is None:
        flawed = claim.found.task_sha256 is None or claim.found.check_fault
        return None if flawed else to_create(claim.found, now)
    return to_update(job, claim.found, now)


def _past(action: Action, claims: Sequence[Claim], now: datetime) -> Iterable[Problem]:
    """The warning for a new or rescheduled job whose last slot has already passed."""
    if not (action.verb == "create" or action.rescheduled):
        return
    schedule = action.after.spec.due_by
    if schedule.manual or next_fire(schedule, after=now) is not None:
        return
    last = max((last for entry in schedule.entries if (last := entry.at or entry.ends) is not None), default=now)
    assert claims[0].found is not None, "a schedule is new or changes by its one readable claim"
    document = claims[0].found.document
    said = f"{instant(last)} has already passed" if last <= now else f"no slot is left up to {instant(last)}"
    message = f"{said}, so job {action.job_id!r} will never run by itself"
    hint = "set a later instant, or start the job by hand with `scheduler run`"
    place = action.after.path, *document.schedule_place
    yield Problem(*place, "schedule.past", message, hint, Severity.WARNING, action.job_id)


def root_changes(previous: Settings | None, settings: Settings) -> dict[str, Change]:
    """Settings that differ, by dotted name: `runners.shell.command`, `defaults.timeout`. None on a first pass."""
    if previous is None or previous == settings:
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
