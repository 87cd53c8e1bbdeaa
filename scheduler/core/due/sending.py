"""When a message is sent, with which others, and what its outcome means for its channel (F7, ADR 57)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.core.values.events import Event, EventKind

BACKOFF = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 1800))  # then hourly
HOUR = timedelta(hours=1)
PATIENCE = timedelta(days=1)  # then a delivery is given up
WINDOW = timedelta(seconds=60)  # after a message: what comes meanwhile is one digest
MOST_WAITING = 1_000  # of a channel; beyond it, the oldest results are dropped
MOST_MERGED = 1_000
OPENS_AFTER, OPENS_OVER = 5, timedelta(minutes=1)  # failures in a row, over at least this time
PROBES = tuple(timedelta(minutes=m) for m in (1, 2, 4, 8, 16, 30))
DEAD_AFTER = timedelta(minutes=15)  # an open breaker is told elsewhere
UNKNOWN = "unknown whether it arrived"  # in the reason of a try that may have
_ALONE = (EventKind.SUCCESS, EventKind.STARTED, EventKind.TEST)  # a message with a result is merged with no other


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A delivery that is not over."""

    id: int
    channel: str
    event: Event
    tries: int
    next_at: datetime | None
    give_up_at: datetime
    token: str
    may_have_come: bool = False  # the outcome of an earlier try is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is known of a channel. While it is open, one message at a time tries whether the channel works again."""

    name: str
    digest: str = ""  # of how it is reached
    failures: int = 0
    failing_at: datetime | None = None
    open_since: datetime | None = None
    probes: int = 0
    probe_at: datetime | None = None
    last_ok_at: datetime | None = None
    last_error: str | None = None
    sent_at: datetime | None = None  # the last message

    def reached_by(self, digest: str) -> Breaker:
        """An edit of the channel closes it: somebody has probably repaired it."""
        return self if digest == self.digest else Breaker(name=self.name, digest=digest, last_ok_at=self.last_ok_at)

    @property
    def dead(self) -> bool:
        return self.open_since is not None

    def after_success(self, now: datetime) -> Breaker:
        return Breaker(name=self.name, digest=self.digest, last_ok_at=now, sent_at=now)

    def after_failure(self, error: str, now: datetime, *, permanent: bool) -> Breaker:
        failing_at = self.failing_at if self.failing_at is not None and self.failing_at <= now else now
        failed = replace(self, failures=self.failures + 1, failing_at=failing_at, last_error=error, sent_at=now)
        opens = permanent or (failed.failures >= OPENS_AFTER and now - failing_at >= OPENS_OVER)
        if not self.dead and not opens:
            return failed
        wait = PROBES[min(self.probes, len(PROBES) - 1)]
        return replace(failed, open_since=self.open_since or now, probes=self.probes + 1, probe_at=now + wait)


@dataclass(frozen=True, slots=True)
class Turn:
    """What to send now on a channel, as one message; or when to look again."""

    send: tuple[Waiting, ...] = ()
    wake_at: datetime | None = None


def retry_after(tries: int, *, spread: float, asked_s: float | None = None) -> timedelta:
    """How long a message waits after so many tries. spread: -1 to 1, of a fifth. asked_s: what the service wants."""
    if asked_s is not None:
        return min(timedelta(seconds=max(1.0, asked_s)), HOUR)
    return (BACKOFF[tries - 1] if tries <= len(BACKOFF) else HOUR) * (1 + 0.2 * spread)


def overdue(rows: Sequence[Waiting], now: datetime, *, known: bool) -> list[tuple[Waiting, str, str]]:
    """The rows that are over without having been sent, with status and reason. known: the channel still exists."""
    if not known:
        return [(row, "dropped", "channel_removed") for row in rows]
    over = [
        (row, "dropped", "too_late") if row.event.kind is EventKind.STARTED else (row, "error", "gave_up")
        for row in rows
        if row.give_up_at <= now
    ]
    too_many = len(rows) - len(over) - MOST_WAITING
    if too_many > 0:
        gone = {row.id for row, _, _ in over}
        results = [row for row in rows if row.event.kind is EventKind.SUCCESS and row.id not in gone]
        over += [(row, "dropped", "overflow") for row in results[:too_many]]
    return over


def turn(
    rows: Sequence[Waiting], breaker: Breaker, now: datetime, *, merges: bool, pause: timedelta = timedelta(0)
) -> Turn:
    """rows: of one channel, oldest first. merges: it is for people, who want one message about many events."""
    if not rows:
        return Turn()
    tests = tuple(row for row in rows if row.event.kind is EventKind.TEST and row.tries == 0)
    if tests:  # a person waits for the answer
        return Turn(send=tests[:1])
    if breaker.probe_at is not None and now < breaker.probe_at <= now + PROBES[-1]:
        return Turn(wake_at=breaker.probe_at)
    head = rows[0]
    failing = breaker.failures > 0  # neither repaired nor known to work since
    if failing and not breaker.dead and head.next_at is not None and now < head.next_at <= now + 1.2 * HOUR:
        return Turn(wake_at=head.next_at)
    if breaker.dead:
        return Turn(send=(head,))
    quiet = breaker.sent_at if breaker.sent_at is not None and breaker.sent_at <= now else None
    if quiet is not None and now < quiet + pause:
        return Turn(wake_at=quiet + pause)
    alone = next((row for row in rows if not merges or row.event.kind in _ALONE), None)
    merged = [row for row in rows if row.event.kind not in _ALONE] if merges else []
    if not merged:
        return Turn(send=(head,))
    if quiet is not None and now < quiet + WINDOW and head.tries == 0:
        return Turn(wake_at=quiet + WINDOW) if alone is None else Turn(send=(alone,))
    if head.event.kind in _ALONE:
        return Turn(send=(head,))
    return Turn(send=tuple(merged[:MOST_MERGED]))
