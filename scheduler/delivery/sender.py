"""Empties the outbox: what is due, channel by channel, through helpers that can be killed (F7).

At least once: `sending` is committed before a message goes out, its outcome after. Whoever is killed in between sends
again, with the same token.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler.core.due.events import ping_channel
from scheduler.core.due.sending import Breaker, Waiting, overdue, retry_after, turn
from scheduler.core.values.channels import Channel, ChannelKind
from scheduler.core.values.settings import Settings
from scheduler.delivery.carrying import Carry
from scheduler.delivery.couriers import Courier
from scheduler.delivery.requests import Described, Ended, Outcome, PingRequest, permanent
from scheduler.delivery.secrets import SecretError, resolve_url
from scheduler.delivery.subjects import job_json_of, subject_of
from scheduler.ledger import lives, outbox, queries, syncs
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.log import Log
from scheduler.root.place import Place

HELPERS = 4  # for messages
PING_HELPERS = 2  # for pings and the heartbeat, which wait for no service that hangs
LOOK_S = 1.0  # between two looks at the outbox
LONGEST = timedelta(hours=1)  # the same, without anything that changes the database
ALIVE = timedelta(seconds=45)  # a daemon gives a sign of life every ten seconds
_NEVER = datetime.min.replace(tzinfo=UTC)
_WITHOUT_JOB = (ChannelKind.URL, ChannelKind.PING)  # whose messages have no JSON

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class _Sent:
    """One message on its way."""

    rows: tuple[Waiting, ...]
    outcome: Future[Outcome]


@dataclass(eq=False, kw_only=True)
class Sender:
    """One loop of one process. Its helpers do what may hang."""

    place: Place
    clock: Clock
    lend: Lend
    environ: Mapping[str, str]
    spread: Callable[[], float] = lambda: random.uniform(-1, 1)

    def __post_init__(self) -> None:
        self.arrived = threading.Event()  # an outcome
        self._couriers = threading.local()
        self._messages = ThreadPoolExecutor(HELPERS, thread_name_prefix="courier")
        self._pings = ThreadPoolExecutor(PING_HELPERS, thread_name_prefix="pinger")
        self._under_way: dict[str, _Sent] = {}
        self._known: dict[str, Described] = {}  # by digest
        self._beat: Future[None] | None = None
        self._beat_at: datetime | None = None
        self._all: list[Courier] = []
        self._settings = Settings()
        self._seen: tuple[int, int] | None = None  # the connection and its state of the database at the last look
        self._quiet = (_NEVER, _NEVER)  # from the last look until this, nothing is due unless the database changes

    def look(self) -> float:
        """Send what is due, and record what came of what was sent. Returns the seconds until the next look.

        Raises: UnavailableError.
        """
        self.arrived.clear()
        before, self._seen = self._seen, None  # if this look fails, the next one assumes nothing
        with self.lend() as store:
            settled, now = self._settle(store), self.clock.now()
            seen = (id(store), store.read(outbox.version))
            begun, until = self._quiet
            if settled or seen != before or not begun <= now < until:
                self._quiet = (now, self._look_at_all(store, now))
            self._heartbeat(store, self._settings, now)
            self._seen = seen
        if not self._under_way and (self._beat is None or self._beat.done()):
            for courier in self._all:
                courier.leave_if_idle()
        return min(LOOK_S, max(0.02, (self._quiet[1] - now).total_seconds()))

    @property
    def is_idle(self) -> bool:
        """True if nothing is on its way: after a look, nothing was due."""
        return not self._under_way

    def close(self) -> None:
        """Kill what is under way: it is sent again by the next sender."""
        for courier in self._all:
            courier.close()
        self._messages.shutdown(wait=False, cancel_futures=True)
        self._pings.shutdown(wait=False, cancel_futures=True)

    def _look_at_all(self, store: Store, now: datetime) -> datetime:
        """Send what is due. Returns when something may be due next, if nothing else happens."""
        self._settings = settings = store.read(syncs.settings) or Settings()
        by_channel: dict[str, list[Waiting]] = defaultdict(list)
        for row in store.read(outbox.waiting):
            by_channel[row.channel].append(row)
        breakers = store.read(outbox.breakers)
        wake_at = now + LONGEST
        for name, rows in by_channel.items():
            if name not in self._under_way:
                found = self._look_at(store, settings, name, rows, breakers.get(name) or Breaker(name=name), now)
                wake_at = min(wake_at, found or wake_at, *(row.give_up_at for row in rows if row.give_up_at > now))
        return wake_at

    def _look_at(
        self, store: Store, settings: Settings, name: str, rows: list[Waiting], breaker: Breaker, now: datetime
    ) -> datetime | None:
        channel = self._channel(store, settings, name, rows)
        over = overdue(rows, now, known=channel is not None)
        for row, status, reason in over:
            store.write(outbox.settle, [row], status=status, reason=reason, now=now)
            _log.warning("not_delivered", channel=name, about=row.event.key, status=status, reason=reason)
        if channel is None:
            return None
        gone = {row.id for row, _, _ in over}
        digest = channel.digest
        breaker = breaker.reached_by(digest)
        merges = channel.kind is ChannelKind.URL
        pause = timedelta(seconds=self._known[digest].pause_s) if digest in self._known else timedelta(0)
        found = turn([row for row in rows if row.id not in gone], breaker, now, merges=merges, pause=pause)
        if not found.send:
            return found.wake_at
        self._send(store, settings, channel, digest, found.send, breaker, now)
        return None

    def _channel(self, store: Store, settings: Settings, name: str, rows: list[Waiting]) -> Channel | None:
        if not name.startswith(ping_channel("")):
            return settings.channels.get(name)
        job = store.read(queries.job, rows[0].event.job_id)
        url = None if job is None else job.file.spec.ping
        return None if url is None else Channel(name=name, ping=url)

    def _send(
        self,
        store: Store,
        settings: Settings,
        channel: Channel,
        digest: str,
        rows: tuple[Waiting, ...],
        breaker: Breaker,
        now: datetime,
    ) -> None:
        place = self.place.now()
        carry = Carry(
            channel=channel,
            subjects=tuple(subject_of(store, place, settings, row.event) for row in rows),
            job=None if channel.kind in _WITHOUT_JOB else job_json_of(store, rows[0].event, now),
            token=rows[0].token,
            again=rows[0].may_have_come,
            at=now,
            environ=self.environ,
            root=str(place.root),
            described=self._known.get(digest),
        )
        with store.writing() as sql:
            outbox.take(sql, rows, now=now)
            outbox.keep_breaker(sql, breaker)
            crash_point("before_sending")

        def work() -> Outcome:
            try:
                outcome = carry.out(self._courier())
                if carry.described is not None:
                    self._known[digest] = carry.described
                return outcome
            except Exception as error:  # a defect of ours must not keep the outbox from going on
                _log.error("message_not_sent", channel=channel.name, reason=type(error).__name__, exc_info=True)
                return permanent(f"internal error: {type(error).__name__}")

        pool = self._pings if channel.kind is ChannelKind.PING else self._messages
        outcome = pool.submit(work)
        self._under_way[channel.name] = _Sent(rows, outcome)
        outcome.add_done_callback(lambda _: self.arrived.set())

    def _courier(self) -> Courier:
        courier: Courier | None = getattr(self._couriers, "courier", None)
        if courier is None:
            courier = self._couriers.courier = Courier(self.environ)
            self._all.append(courier)
        return courier

    def _settle(self, store: Store) -> bool:
        """Record what came of what was sent. True if something did."""
        over = [(name, sent) for name, sent in self._under_way.items() if sent.outcome.done()]
        for name, sent in over:
            crash_point("after_sent")
            outcome, now = sent.outcome.result(), self.clock.now()
            breaker = store.read(outbox.breakers).get(name) or Breaker(name=name)
            was_dead = breaker.dead
            with store.writing() as sql:
                if outcome.ended is Ended.DELIVERED:
                    breaker = breaker.after_success(now)
                    outbox.settle(sql, sent.rows, status="delivered", now=now)
                else:
                    error = outcome.error or "no reason was given"
                    breaker = breaker.after_failure(error, now, permanent=outcome.ended is Ended.PERMANENT)
                    wait = retry_after(sent.rows[0].tries + 1, spread=self.spread(), asked_s=outcome.retry_after_s)
                    outbox.put_off(sql, sent.rows, until=now + wait, reason=error)
                outbox.keep_breaker(sql, breaker)
            crash_point("after_outcome")
            del self._under_way[name]
            keys = ",".join(row.event.key for row in sent.rows[:5])
            if outcome.ended is Ended.DELIVERED:
                _log.info("delivered", channel=name, about=keys, n=len(sent.rows))
            else:
                _log.warning("not_sent", "it is tried again", channel=name, about=keys, reason=outcome.error)
            if breaker.dead and not was_dead:
                _log.warning("channel_dead", "its messages wait for up to a day", channel=name, reason=outcome.error)
            elif was_dead and not breaker.dead:
                _log.warning("channel_back", channel=name)
        return bool(over)

    def _heartbeat(self, store: Store, settings: Settings, now: datetime) -> None:
        """Call the heartbeat as long as the database shows a daemon that works and fires."""
        beat = settings.alerts.heartbeat
        if beat is None or (self._beat_at is not None and self._beat_at <= now < self._beat_at + beat.every):
            return
        life = store.read(lives.last_life)
        if life is None or life.over or life.silent or not life.seen <= now < life.seen + ALIVE:
            return
        self._beat_at = now

        def work() -> None:
            try:
                url, hidden = resolve_url(beat.url, self.environ)
                outcome = self._courier().send(PingRequest(url=url, hidden=hidden))
                if outcome.ended is not Ended.DELIVERED:
                    _log.warning("heartbeat_failed", reason=outcome.error)
            except SecretError as error:
                _log.warning("heartbeat_failed", reason=str(error))
            except Exception as error:  # the next one may go well
                _log.error("heartbeat_failed", reason=type(error).__name__, exc_info=True)

        self._beat = self._pings.submit(work)
