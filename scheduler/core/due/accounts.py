"""What the class of an end means: for its job, for the next attempt, and for the account that its runner uses.

A quota or a credential is nobody's failure. The account is parked: none of its jobs starts before a probe, a single
run, has shown that it works again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from json import dumps
from typing import Literal

from scheduler.core.values.codec import Stored
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Attempt, Ending, Run, RunStatus
from scheduler.core.values.settings import RunnerSpec
from scheduler.core.values.usage import EndClass

GRACE = timedelta(minutes=1)  # after a reset that a program has told
UNTOLD = timedelta(hours=1)  # between two probes of an account whose reset nobody knows
FURTHEST = timedelta(days=7)  # the longest windows of limits are a week; a later reset is not waited for unprobed

PARKING = (EndClass.QUOTA, EndClass.CREDENTIAL)
NO_ERRORS = (*PARKING, EndClass.BUDGET)  # ends that are no failure of the job
_SAYS_NOTHING = (None, EndClass.CANCELLED, EndClass.INTERRUPTED)  # of the account


@dataclass(frozen=True, slots=True, kw_only=True)
class Park(Stored):
    """Why an account is parked, and until when: then a probe may start."""

    reason: Literal["quota", "credential"]
    message: str
    since: datetime
    until: datetime
    told: bool  # the program named the reset; otherwise `until` is a guess
    runners: tuple[str, ...]  # that use the account, sorted
    mark: str  # of their definitions: an edit is a reason to probe at once

    def within_reach(self, now: datetime) -> Park:
        """The same if the clock has not gone back; else with an end that is no further away than it can have been."""
        latest = now + (FURTHEST + GRACE if self.told else UNTOLD)
        return self if self.until <= latest else replace(self, until=latest)


def parked(ending: Ending, *, known: Park | None, runners: Mapping[str, RunnerSpec], now: datetime) -> Park:
    """The park after a run of an account has ended with a quota or a credential.

    known: the park so far, if there is one. Several runs may meet one limit: what a program has told counts more than
    a guess, and of two instants the later one. After a probe, what it has met counts alone.
    runners: those of the account.
    """
    assert ending.agent is not None
    agent = ending.agent
    assert agent.end_class in PARKING
    reason: Literal["quota", "credential"] = "quota" if agent.end_class is EndClass.QUOTA else "credential"
    until, told = now + UNTOLD, False
    if reason == "quota" and agent.reset_at is not None and not (known and agent.reset_at <= now):
        # A reset that has passed is believed once.
        until, told = min(max(agent.reset_at, now), now + FURTHEST) + GRACE, True
    what = agent.limit or agent.error or ending.error or ""
    new = Park(
        reason=reason,
        message=": ".join(filter(None, (_WORDS[reason], what.partition("\n")[0][:200]))),
        since=now if known is None else known.since,
        until=until,
        told=told,
        runners=tuple(sorted(runners)),
        mark=mark_of(runners),
    )
    if known is not None and known.until > now and (known.told, known.until) > (told, until):
        return replace(new, reason=known.reason, message=known.message, until=known.until, told=known.told)
    return new


_WORDS = {"quota": "the limit of the account is reached", "credential": "the account's login was refused"}


def mark_of(runners: Mapping[str, RunnerSpec]) -> str:
    """What changes if the definition of one of these runners does."""
    told = [[name, runner.to_json()] for name, runner in sorted(runners.items())]
    return sha256(dumps(told, sort_keys=True).encode()).hexdigest()


def waits_for_probe(run: Run, ending: Ending) -> bool:
    """True if a run whose last attempt has ended so gets one more attempt once its account is due for a probe.

    A slot gets that once: nothing is retried for ever. A person who asked for a run has seen it fail.
    """
    if ending.end_class not in PARKING or run.fire_time is None:
        return False
    return not any(each.end_class in PARKING for each in run.attempts)


def is_interrupted(run: Run) -> bool:
    """True for a run that waits for the probe of its account."""
    return run.status is RunStatus.QUEUED and run.retry_at is not None and run.reason in PARKING


def frees(run: Run, before: int) -> bool:
    """True if a probe shows that its account works: its attempt ended with anything but a quota or a credential.

    before: the number of attempts that the run had when it became the probe.
    """
    if len(run.attempts) <= before:
        return False
    return run.attempts[-1].end_class not in (*PARKING, *_SAYS_NOTHING)


def parks_anew(run: Run) -> bool:
    """True if the last attempt of a run has parked its account."""
    return bool(run.attempts) and run.attempts[-1].end_class in PARKING


def tries(attempts: Sequence[Attempt]) -> int:
    """How many attempts count against `retry.attempts`: all but those that a parked account cut short."""
    return sum(each.end_class not in PARKING for each in attempts)


def park_text(account: str, park: Park, now: datetime) -> str:
    """One line for people."""
    due = "a probe is due" if park.until <= now else f"probed at {instant(park.until.replace(microsecond=0))}"
    since = instant(park.since.replace(microsecond=0))
    return f"account {account!r}: {park.message} (since {since}; {due})"


def of_account(account: str, runners: Iterable[RunnerSpec]) -> dict[str, RunnerSpec]:
    """The runners that use an account, by name."""
    return {each.name: each for each in runners if each.uses == account}
