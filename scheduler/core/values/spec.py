"""The values everything else speaks of: what files say, what the store holds, what runs did.

Desired state (`JobSpec`, `Settings`) and observed state (`Job`, `Run`) are different types on
purpose: a definition can be compared and replaced, a history cannot.
Instants are aware UTC; durations are `timedelta`, or whole milliseconds in names ending in `_ms`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from scheduler.core.values.instants import instant, milliseconds, parse_instant

# -- desired state ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a job is due: one entry, with exactly one of `cron`, `every`, `at`; or several entries, united."""

    timezone: str  # IANA name; never the machine's zone; of several entries the first one's
    cron: str | None = None  # 5 fields, 6 with the second first, or a macro such as @hourly, as written
    every: timedelta | None = None  # at whole multiples since the Unix epoch, plus `phase`
    at: datetime | None = None  # aware UTC
    phase: timedelta = timedelta(0)  # of `every`, and shorter
    starts: datetime | None = None  # aware UTC; slots before it do not count
    ends: datetime | None = None  # aware UTC; nor do those after it
    jitter: timedelta = timedelta(0)  # a run starts less than this after its slot; no part of the slot
    union: tuple[Schedule, ...] = ()  # two entries or more, in the order of the file; the jitter is that of all

    @property
    def entries(self) -> tuple[Schedule, ...]:
        return self.union or (self,)

    @property
    def timing(self) -> Schedule:
        """The schedule without its jitter and the order of its entries: equal timings name the same slots (S6)."""
        if self.union:
            entries = sorted(self.union, key=lambda entry: json.dumps(entry.to_json(), sort_keys=True))
            return Schedule(timezone=entries[0].timezone, union=tuple(entries))
        return replace(self, jitter=timedelta(0)) if self.jitter else self

    def until(self, last: datetime) -> Schedule:
        """The same without the slots after `last`."""
        if self.union:
            return replace(self, union=tuple(entry.until(last) for entry in self.union))
        return replace(self, ends=last if self.ends is None else min(self.ends, last))

    def to_json(self) -> dict[str, Any]:
        # What is not set is not said, so that definitions stored before a key existed are equal still.
        jitter = {"jitter_ms": milliseconds(self.jitter)} if self.jitter else {}
        if self.union:
            return {"any": [entry.to_json() for entry in self.union], "timezone": self.timezone, **jitter}
        found: dict[str, Any] = {}
        if self.cron is not None:
            found["cron"] = self.cron
        elif self.every is not None:
            found["every_ms"] = milliseconds(self.every)
        elif self.at is not None:
            found["at"] = instant(self.at)
        if self.phase:
            found["phase_ms"] = milliseconds(self.phase)
        found["timezone"] = self.timezone
        if self.starts is not None:
            found["starts"] = instant(self.starts)
        if self.ends is not None:
            found["ends"] = instant(self.ends)
        return {**found, **jitter}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Schedule:
        every = found.get("every_ms")
        at, starts, ends = (None if (text := found.get(key)) is None else parse_instant(text) for key in _INSTANTS)
        return cls(
            timezone=found["timezone"],
            cron=found.get("cron"),
            every=None if every is None else timedelta(milliseconds=every),
            at=at,
            phase=timedelta(milliseconds=found.get("phase_ms", 0)),
            starts=starts,
            ends=ends,
            jitter=timedelta(milliseconds=found.get("jitter_ms", 0)),
            union=tuple(cls.from_json(entry) for entry in found.get("any", ())),
        )


_INSTANTS = ("at", "starts", "ends")  # of a schedule


FAILURE_LIMIT = 10


class Concurrency(StrEnum):
    """What happens to a slot that comes due while the job still runs."""

    FORBID = "forbid"  # it is skipped, `overlap`
    QUEUE = "queue"  # it waits; a newer one takes its place
    REPLACE = "replace"  # what runs is ended first
    ALLOW = "allow"  # it runs beside


class CatchUpPolicy(StrEnum):
    """Which of the slots that passed while nobody was there are run after all."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """What becomes of missed slots. `within`: how late one may start; None: by the rule of `due.patience`."""

    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    within: timedelta | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy.value,
            "within_ms": None if self.within is None else milliseconds(self.within),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> CatchUp:
        within = found["within_ms"]
        return cls(
            policy=CatchUpPolicy(found["policy"]), within=None if within is None else timedelta(milliseconds=within)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Whether a run that did not succeed is tried again, and when. `attempts` counts the first try too."""

    attempts: int = 1
    delay: timedelta = timedelta(seconds=30)  # before the second try
    backoff: float = 2  # by which each further delay is longer
    max_delay: timedelta = timedelta(hours=1)
    on: tuple[str, ...] = ("failed", "timed_out")  # statuses of an attempt

    def to_json(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            "delay_ms": milliseconds(self.delay),
            "backoff": self.backoff,
            "max_delay_ms": milliseconds(self.max_delay),
            "on": list(self.on),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Retry:
        return cls(
            attempts=found["attempts"],
            delay=timedelta(milliseconds=found["delay_ms"]),
            backoff=found["backoff"],
            max_delay=timedelta(milliseconds=found["max_delay_ms"]),
            on=tuple(found["on"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Desired state of one job: its resolved definition (defaults merged), never what happened to it.

    The task text is not part of it, and neither is the file it stands in: editing a prompt or
    moving a file changes no definition.
    """

    id: str  # stable; written in the file, so it survives a rename
    name: str
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    enabled: bool = True
    schedule: Schedule
    task_source_path: str | None = None  # None: the text stands in the job file itself
    runner: str
    env: tuple[tuple[str, str], ...] = ()  # sorted by name
    timeout: timedelta = timedelta(minutes=30)
    concurrency: Concurrency = Concurrency.FORBID
    failure_limit: int = FAILURE_LIMIT  # errors in a row that stop the job; 0: none do
    expires: datetime | None = None  # aware UTC; no slot after it is due
    retry: Retry = Retry()
    expect_every: timedelta | None = None  # without a success for longer than that, somebody is told
    catch_up: CatchUp = CatchUp()

    def to_json(self) -> dict[str, Any]:
        """The definition by field, as the store keeps it and `changes` compares it."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "owner": self.owner,
            "tags": list(self.tags),
            "enabled": self.enabled,
            "schedule": self.schedule.to_json(),
            "task_source_path": self.task_source_path,
            "runner": self.runner,
            "env": dict(self.env),
            "timeout_ms": milliseconds(self.timeout),
            "concurrency": self.concurrency.value,
            "failure_limit": self.failure_limit,
            "expires": None if self.expires is None else instant(self.expires),
            "retry": self.retry.to_json(),
            "expect_every_ms": None if self.expect_every is None else milliseconds(self.expect_every),
            "catch_up": self.catch_up.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> JobSpec:
        """Keys that a definition stored by an earlier version does not have yet get their defaults."""
        return cls(
            id=found["id"],
            name=found["name"],
            description=found["description"],
            owner=found["owner"],
            tags=tuple(found["tags"]),
            enabled=found["enabled"],
            schedule=Schedule.from_json(found["schedule"]),
            task_source_path=found["task_source_path"],
            runner=found["runner"],
            env=tuple(sorted(found["env"].items())),
            timeout=timedelta(milliseconds=found["timeout_ms"]),
            concurrency=Concurrency(found["concurrency"]),
            failure_limit=found.get("failure_limit", FAILURE_LIMIT),
            expires=None if (expires := found.get("expires")) is None else parse_instant(expires),
            retry=Retry.from_json(found["retry"]) if "retry" in found else Retry(),
            expect_every=None if (every := found.get("expect_every_ms")) is None else timedelta(milliseconds=every),
            catch_up=CatchUp.from_json(found["catch_up"]) if "catch_up" in found else CatchUp(),
        )

    @property
    def due_by(self) -> Schedule:
        """The schedule as far as the job is due by it: up to `expires`."""
        if self.expires is None:
            return self.schedule
        return self.schedule.until(self.expires)

    @property
    def digest(self) -> str:
        """sha256 of the definition; equal digests are equal definitions.

        A key that earlier versions did not know counts only where it is set, so that their digests stay.
        """
        said = {name: value for name, value in self.to_json().items() if _LATER_DEFAULTS.get(name, ...) != value}
        text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


# Keys that came later, and what a definition that does not say them means.
_LATER_DEFAULTS = {
    "failure_limit": FAILURE_LIMIT,
    "expires": None,
    "retry": Retry().to_json(),
    "catch_up": CatchUp().to_json(),
    "expect_every_ms": None,
}


# -- where a text comes from -----------------------------------------------------------------


# -- observed state: one job, its columns grouped by who may write them ------------------------


# -- the ledger ------------------------------------------------------------------------------
