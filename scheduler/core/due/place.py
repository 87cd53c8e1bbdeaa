"""Faults of the place: causes that are no job's own fault (F7).

While such a fault lasts, the due slots of the affected jobs wait behind the cursor, and no error is counted. Everything
else that keeps a run from starting is the job's own fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from scheduler.core.due.accounts import Park, park_text
from scheduler.core.due.due import LATE, patience
from scheduler.core.due.waiting import OUTAGE
from scheduler.core.times.fires import next_fire, start_delay
from scheduler.core.values.facts import Fault, Job, Watched
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Run
from scheduler.core.values.spec import CatchUpPolicy

PLACE = "place"  # reason of a queued run that was claimed just before its place was found to be gone


class Cause(StrEnum):
    """What is wrong with the place; also the reason that users see."""

    ROOT = "root_missing"
    BRANCH = "other_branch"
    FOLDER = "folder_missing"
    RUNNER = "runner_missing"
    WORKDIR = "workdir_missing"
    ENGINE = "engine_missing"  # a job is for workers, and no engine that has any is set up here
    HELD = "sync_held"
    ACCOUNT = "account"  # parked: its limit is reached, or its login was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFault:
    """One fault of the place, and which jobs it keeps waiting."""

    cause: Cause
    # The folder, runner, account or working directory, or the job that a held sync or a missing engine keeps waiting.
    name: str = ""
    message: str = field(default="", compare=False)
    since: datetime | None = field(default=None, compare=False)
    park: Park | None = field(default=None, compare=False)  # of an account

    @property
    def reason(self) -> str:
        """The reason that users see."""
        return self.cause.value if self.park is None else self.park.reason

    @property
    def needs_a_person(self) -> bool:
        """False for a limit, which resets by itself."""
        return self.park is None or self.park.reason != "quota"

    @property
    def until(self) -> datetime | None:
        """When it may be over. None if nobody knows."""
        return None if self.park is None else self.park.until

    @property
    def told(self) -> Any:
        """What `fault_of_key` needs, as JSON."""
        return self.message if self.park is None else self.park.to_json()

    @property
    def key(self) -> str:
        """The key that identifies it in the audit."""
        return f"{self.cause}:{self.name}" if self.name else self.cause.value

    def holds(self, job: Watched) -> bool:
        """True if the slots of a job wait for it."""
        match self.cause:
            case Cause.ROOT | Cause.BRANCH:
                return True
            case Cause.FOLDER:
                paths = (job.path, job.task_source_path or "")
                return any(path.startswith(f"{self.name}/") for path in paths)
            case Cause.RUNNER:
                return job.runner == self.name and not job.sets_path
            case Cause.WORKDIR:
                return job.workdir == self.name
            case Cause.HELD | Cause.ENGINE:
                return job.id == self.name
            case Cause.ACCOUNT:
                return self.park is not None and job.runner in self.park.runners


def holding(faults: Iterable[PlaceFault], job: Watched) -> PlaceFault | None:
    """The first of these faults that the slots of a job wait for."""
    return next((each for each in faults if each.holds(job)), None)


def place_texts(faults: Iterable[PlaceFault]) -> list[str]:
    """One line for each fault, for people."""
    found = []
    for each in faults:
        if each.park is not None:
            found.append(f"jobs wait until a probe succeeds; no errors are counted: {each.message}")
            continue
        since = "" if each.since is None else f" (since {instant(each.since.replace(microsecond=0))})"
        found.append(f"jobs wait until this is resolved; no errors are counted: {each.message}{since}")
    return found


def fault_of_key(key: str, told: Any, since: datetime) -> PlaceFault | None:
    """The fault with this audit key. None if this version does not know it.

    told: its message, or the park of an account as JSON.
    """
    cause, _, name = key.partition(":")
    if cause == Cause.ACCOUNT:
        return None if not isinstance(told, dict) else fault_of_account(name, Park.from_json(told), since)
    return PlaceFault(cause=Cause(cause), name=name, message=told, since=since) if cause in set(Cause) else None


def fault_of_account(name: str, park: Park, now: datetime) -> PlaceFault:
    """now: decides only whether the message says that a probe is due."""
    return PlaceFault(cause=Cause.ACCOUNT, name=name, message=park_text(name, park, now), since=park.since, park=park)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a look at the place shows. Each text says what is wrong; an empty text means nothing is."""

    root: str = ""
    folder: str = ""  # a missing or empty folder above the job's file or its task
    folder_trouble: str = ""
    folder_known: bool = True  # the job was read from there before, so the path is not a typo
    held: str = ""


_READING = ("source_missing", "source_unreadable", "source_denied")
_STARTING = ("runner_not_found", "runner_cwd_missing", "runner_start_failed")
_WORKDIR = "runner_workdir_missing"


def fault_of_place(fault: Fault, job: Job, sight: Sight) -> PlaceFault | None:
    """The fault of the place that keeps a run of this job from starting. None if the fault is the job's own."""
    of_source = fault.reason.startswith("source_")
    if sight.root and (of_source or fault.reason in (*_STARTING, _WORKDIR, Cause.BRANCH)):
        return PlaceFault(cause=Cause.ROOT, message=sight.root)
    if fault.reason == Cause.ENGINE:
        return PlaceFault(cause=Cause.ENGINE, name=job.id, message=fault.message)
    if fault.reason == Cause.BRANCH:
        return PlaceFault(cause=Cause.BRANCH, message=fault.message)
    if sight.folder and sight.folder_known and fault.reason in _READING:
        return PlaceFault(cause=Cause.FOLDER, name=sight.folder, message=sight.folder_trouble)
    if fault.reason == _WORKDIR and job.workdir is not None:
        return PlaceFault(cause=Cause.WORKDIR, name=job.workdir, message=fault.message)
    if fault.reason in _STARTING and not job.sets_path:
        runner = job.file.spec.runner
        return PlaceFault(cause=Cause.RUNNER, name=runner, message=f"runner {runner!r}: {fault.message}")
    if of_source and sight.held:
        return PlaceFault(cause=Cause.HELD, name=job.id, message=f"{sight.held}, and {fault.message}")
    return None


def missed_meanwhile(job: Job, run: Run, now: datetime, *, back_at: datetime | None) -> str:
    """Why a run that waited for its place does not start now that the place is back. Empty if it starts.

    As for slots that waited behind the cursor, the default of `catch_up.within` counts from the recovery.
    """
    assert run.fire_time is not None
    spec = job.file.spec
    late = now - run.fire_time - start_delay(spec.due_by, job.id)
    if late <= LATE:
        return ""
    if spec.catch_up.policy is CatchUpPolicy.NONE:
        return "its place was unavailable when it was due, and catch_up is none"
    if spec.catch_up.within is None and back_at is not None:
        late = min(late, now - back_at)
    longest = patience(spec, run.fire_time, next_fire(spec.due_by, after=run.fire_time))
    return "its place was unavailable for longer than catch_up.within" if late > longest else ""


def why_no_longer(job: Job, now: datetime) -> tuple[str, str] | None:
    """Why a waiting run of a slot is not started any more, because of its job: a reason and a sentence. Or None."""
    if job.archived:  # its file was removed on purpose: no fault, and no error once it is back
        return "superseded", "its job was archived while it waited"
    if job.runtime.stopped_at is not None:
        return "missed", "its job was stopped while it waited, after too many errors"
    if job.pause is not None and job.pause.covers(now):
        return "paused", "its job was paused while it waited"
    return None


def lacks_too_long(job: Job, run: Run, since: datetime, now: datetime, *, alone: bool) -> bool:
    """True if a waiting run has lacked only capacity since then, for longer than its slot may.

    alone: the runs of its job exclude each other.
    """
    assert run.fire_time is not None
    if run.reason in (OUTAGE, PLACE):
        return False
    since = max(since, run.requested_at)  # not its slot: jitter and the outage before a catch-up are not waiting
    last = job.runtime
    if alone and last.last_run_at is not None:  # it may have waited for that run in an earlier daemon
        since = max(since, last.last_run_at + timedelta(milliseconds=last.last_run_duration_ms or 0))
    following = next_fire(job.file.spec.due_by, after=run.fire_time)
    return now - since > patience(job.file.spec, run.fire_time, following)
