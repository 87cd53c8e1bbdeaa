"""What is news, and for whom: the one rule behind the audit, the log and all messages (F7, ADR 57).

What lasts is a streak: failures of a job, an overdue job, a fault of the root. It is told when it begins, once a day
while it lasts, and when it ends. One that begins and ends all the time is told as that, once an hour.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.core.due.accounts import NO_ERRORS
from scheduler.core.due.budgets import OVER
from scheduler.core.values.channels import DeliverOn
from scheduler.core.values.codec import Stored
from scheduler.core.values.events import Event, EventKind, Phase
from scheduler.core.values.runs import Run, RunStatus
from scheduler.core.values.usage import EndClass

AGAIN = timedelta(days=1)  # what lasts is told again
FLAPPING = timedelta(hours=1)  # so far back edges count; also how often what flaps is told
MOST_EDGES = 3  # beginnings and ends in that time, then it flaps
BENIGN = (
    "overlap",
    "paused",
    "missed",
    "superseded",
    "capacity",
    "nothing_to_do",
    OVER,
    "elsewhere",
)  # nobody's fault (F7)
TOLD_SKIPS = ("overlap", "missed", "superseded", "capacity")  # to those who ask for skips


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak(Stored):
    """Something wrong that lasts, or lasted: what has been told of it."""

    key: str  # such as failure/JOB
    event: str  # the key of the event that began it
    since: datetime
    told_at: datetime
    times: int = 1
    open: bool = True
    members: tuple[str, ...] = ()  # of what consists of several things, sorted
    edges: tuple[datetime, ...] = ()  # when it began or ended lately
    flapping: datetime | None = None  # when that was last told; None: it does not flap


@dataclass(frozen=True, slots=True)
class Step:
    """A streak after it was looked at, and what is news about it."""

    streak: Streak
    phase: Phase | None  # None: nothing
    flaps: bool = False  # the news is that it begins and ends all the time

    def course(self, *, flaps: bool) -> tuple[datetime, int]:
        """Since when, and how often: of what flaps, the changes that count."""
        edges = self.streak.edges
        return (edges[0], len(edges)) if flaps and edges else (self.streak.since, self.streak.times)


def gone_wrong(before: Streak | None, *, key: str, event: str, at: datetime, members: Collection[str] = ()) -> Step:
    """Something is wrong: for the first time, again, or still. event: the key of the event that this would be."""
    found = tuple(sorted(members))
    if before is None or not before.open:
        edges = (*_recent(before, at), at)
        flapping = before.flapping if before is not None else None
        begun = Streak(key=key, event=event, since=at, told_at=at, members=found, edges=edges, flapping=flapping)
        return _edge(begun, at) or Step(begun, Phase.BEGINS)
    lasts = replace(before, times=before.times + 1, members=found)
    if lasts.flapping is not None and _recent(lasts, at):
        return _hourly(lasts, at)
    if lasts.flapping is None and is_told(before, at=at, members=found):
        return Step(lasts, None)
    return Step(replace(lasts, told_at=at, flapping=None), Phase.LASTS)


def is_told(streak: Streak, *, at: datetime, members: Collection[str] = ()) -> bool:
    """True if what lasts was told lately, with all its parts."""
    return streak.told_at <= at < streak.told_at + AGAIN and set(members) <= set(streak.members)


def gone_well(before: Streak | None, *, at: datetime) -> Step | None:
    """It is not wrong, or no longer. None if it was not."""
    if before is None or not before.open:
        return None
    ended = replace(before, open=False, edges=(*_recent(before, at), at))
    return _edge(ended, at) or Step(ended, Phase.ENDS)


def steady(before: Streak, *, at: datetime) -> Step | None:
    """What has flapped may have calmed down, whichever way. None if not."""
    if before.flapping is None or _recent(before, at):
        return None
    calm = replace(before, flapping=None, told_at=at, edges=())
    return Step(calm, Phase.LASTS) if before.open else Step(calm, Phase.ENDS, flaps=True)


def _edge(streak: Streak, at: datetime) -> Step | None:
    """The step of what flaps. None if it does not."""
    if streak.flapping is not None:
        return _hourly(streak, at)
    if len(streak.edges) < MOST_EDGES:
        return None
    return Step(replace(streak, flapping=at), Phase.BEGINS, flaps=True)


def _hourly(streak: Streak, at: datetime) -> Step:
    assert streak.flapping is not None
    if streak.flapping <= at < streak.flapping + FLAPPING:
        return Step(streak, None)
    return Step(replace(streak, flapping=at), Phase.LASTS, flaps=True)


def _recent(streak: Streak | None, at: datetime) -> tuple[datetime, ...]:
    """The edges that still count. Those of a clock that was ahead do not."""
    return () if streak is None else tuple(edge for edge in streak.edges if at - FLAPPING < edge <= at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the file of a job asks for."""

    deliver: tuple[str, ...] = ()
    on: tuple[DeliverOn, ...] = ()
    ping: str | None = None

    def __bool__(self) -> bool:
        return bool(self.deliver or self.ping)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """An event and who is told of it."""

    event: Event
    channels: tuple[str, ...] = ()
    if_told: bool = False  # only those that have been told, or still are to be told, how it began
    audited: bool = True


def ping_channel(job_id: str) -> str:
    """The channel of a job's own ping. No other channel can have this name."""
    return f"ping:{job_id}"


def is_error(status: RunStatus, reason: str | None, end_class: EndClass | None) -> bool:
    """True if a run that has started ended as an error of its job, not of a person, its account or its place (F7)."""
    if status in (RunStatus.SUCCEEDED, RunStatus.CANCELLED) or reason == "shutdown":
        return False
    return end_class not in NO_ERRORS


def is_worth_a_warning(run: Run) -> bool:
    """True if the log's line about the end of a run is a warning."""
    if run.status is RunStatus.SKIPPED:
        return run.reason not in BENIGN
    return run.status not in (RunStatus.SUCCEEDED, RunStatus.CANCELLED) and run.end_class not in NO_ERRORS


def news_of_failure(
    asked: Asked, before: Streak | None, event: Event, *, stopped: bool, watched: bool
) -> tuple[Streak, list[News]]:
    """What is news when a run has failed, or a fault has kept it from running.

    event: with its key, of the kind `failure`.
    stopped: it has stopped its job. watched: a person waits for this run, and sees how it ends.
    """
    step = gone_wrong(before, key=f"failure/{event.job_id}", event=event.key, at=event.at)
    streak = step.streak
    if watched:  # the channels have heard nothing yet: the next failure that nobody watches is news to them
        heard_at = before.told_at if before is not None and before.open else event.at - AGAIN
        flapping = None if before is None else before.flapping
        streak = replace(streak, told_at=heard_at, flapping=flapping, edges=_recent(before, event.at))
    kind = EventKind.STOPPED if stopped else EventKind.FLAPPING if step.flaps else EventKind.FAILURE
    is_news = step.phase is not None or stopped
    since, times = step.course(flaps=kind is EventKind.FLAPPING)
    told = replace(event, kind=kind, phase=step.phase or Phase.LASTS, streak=streak.event, since=since, times=times)
    wanted = asked.on if is_news else tuple(on for on in asked.on if on is DeliverOn.EVERY_FAILURE)
    speaks = not watched and (DeliverOn.FAILURE in wanted or DeliverOn.EVERY_FAILURE in wanted)
    channels = (asked.deliver if speaks else ()) + _pings(asked, event)
    return streak, [News(event=told, channels=channels, audited=is_news)]


def news_of_success(asked: Asked, before: Streak | None, event: Event) -> tuple[Streak | None, list[News]]:
    """What is news when a run has succeeded. event: with its key, of the kind `success`."""
    step = gone_well(before, at=event.at)
    results = asked.deliver if DeliverOn.SUCCESS in asked.on else ()
    news = []
    if step is not None:
        streak = step.streak
        event = replace(event, streak=streak.event, since=streak.since, times=streak.times)
        if step.phase is not None:
            kind = EventKind.FLAPPING if step.flaps else EventKind.RECOVERY
            hears = DeliverOn.RECOVERY in asked.on or (step.flaps and DeliverOn.FAILURE in asked.on)
            since, times = step.course(flaps=step.flaps)
            key = f"{event.key}/{kind}"
            back = replace(event, key=key, kind=kind, phase=step.phase, since=since, times=times)
            # Whoever gets the result anyway reads there that it is the first after failures.
            listeners = asked.deliver if hears and not (results and not step.flaps) else ()
            news.append(News(event=back, channels=listeners, if_told=not step.flaps))
            event = event if step.flaps else replace(event, phase=Phase.ENDS)
    news.append(News(event=event, channels=results + _pings(asked, event), audited=False))
    return None if step is None else step.streak, news


def news_of_skip(asked: Asked, event: Event, reason: str) -> list[News]:
    """What is news when slots were skipped for a benign reason. event: with its key, of the kind `skip`."""
    if reason == OVER:
        return [_over_budget(asked, event, DeliverOn.FAILURE, DeliverOn.SKIP)]
    if reason not in TOLD_SKIPS:
        return []
    pings = _pings(asked, event) if reason == "missed" else ()
    return [News(event=event, channels=_on(asked, DeliverOn.SKIP) + pings, audited=False)]


def news_of_budget(asked: Asked, event: Event) -> list[News]:
    """What is news when a program has stopped at the budget of its run: no failure of the job, but no success either.

    event: with its key, of the kind `over_budget`.
    """
    pinged = [News(event=event, channels=_pings(asked, event), audited=False)] if asked.ping else []
    return [_over_budget(asked, event, DeliverOn.FAILURE), *pinged]


def _over_budget(asked: Asked, event: Event, *kinds: DeliverOn) -> News:
    """Told once a day."""
    facts = {**event.facts, "text": event.facts.get("error") or ""}
    key = f"budget/{event.job_id}/{event.at.date().isoformat()}"
    over = replace(event, key=key, kind=EventKind.OVER_BUDGET, facts=facts)
    return News(event=over, channels=_on(asked, *kinds), audited=False)


def news_of_model(asked: Asked, run: Run, at: datetime) -> list[News]:
    """Another model has answered than the one asked for: told once a day for each of the two."""
    agent = run.agent
    if agent is None or not agent.other_model:
        return []
    facts = {"asked": agent.model_asked, "served": agent.model_served}
    event = Event(
        key=f"model/{run.job_id}/{agent.model_served}/{at.date().isoformat()}",
        at=at,
        kind=EventKind.OTHER_MODEL,
        job_id=run.job_id,
        run_n=run.n,
        facts=facts,
    )
    return [News(event=event, channels=heard_of(asked), audited=False)]


def news_of_start(asked: Asked, event: Event) -> list[News]:
    """The first attempt begins: only a ping is told."""
    return [News(event=event, channels=_pings(asked, event), audited=False)] if asked.ping else []


def news_of_alarm(asked: Asked, event: Event) -> News:
    """A job is overdue, or no longer."""
    if event.kind is not EventKind.ALL_CLEAR:
        return News(event=event, channels=heard_of(asked))
    return News(event=event, channels=_on(asked, DeliverOn.RECOVERY), if_told=True)


def heard_of(asked: Asked) -> tuple[str, ...]:
    """The channels that are told when something is wrong with the job."""
    return _on(asked, DeliverOn.FAILURE)


def _on(asked: Asked, *kinds: DeliverOn) -> tuple[str, ...]:
    every = (*kinds, DeliverOn.EVERY_FAILURE) if DeliverOn.FAILURE in kinds else kinds
    return asked.deliver if set(asked.on).intersection(every) else ()


def _pings(asked: Asked, event: Event) -> tuple[str, ...]:
    return () if asked.ping is None else (ping_channel(event.job_id),)


def facts_of_run(run: Run) -> dict[str, object]:
    """What a message needs of a run, if its row is gone by then."""
    found: dict[str, object] = {
        "status": run.status.value,
        "reason": run.reason,
        "error": run.error,
        "exit_code": run.exit_code,
        "duration_ms": run.duration_ms,
        "trigger": run.trigger.value,
    }
    return {name: value for name, value in found.items() if value is not None}
