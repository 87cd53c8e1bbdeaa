"""Empties the outbox: what is due, channel by channel, through helpers that can be killed (F7).

At least once: `sending` is committed before a message goes out, its outcome after. Whoever is killed in between sends
again, with the same token.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scheduler.core.due.events import ping_channel
from scheduler.core.due.sending import Breaker, Waiting, overdue, retry_after, turn
from scheduler.core.messages.digest import digest_of, recovered_of
from scheduler.core.messages.message import message_of
from scheduler.core.messages.payload import payload_of
from scheduler.core.messages.services import fit_of, short_fit
from scheduler.core.values.channels import Channel, ChannelKind, Detail
from scheduler.core.values.events import Event, EventKind, Fit, Message, Subject
from scheduler.core.values.last_lines import last_lines
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.delivery.couriers import Courier, bare_environment
from scheduler.delivery.requests import (
    CommandRequest,
    Described,
    DescribeRequest,
    Ended,
    Outcome,
    PingRequest,
    Request,
    UrlRequest,
    WebhookRequest,
    permanent,
)
from scheduler.delivery.secrets import SecretError, resolve, resolve_url
from scheduler.delivery.webhook import url_of_ping
from scheduler.ledger import lives, outbox, queries, runs, syncs
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.ends_of_files import end_of
from scheduler.machine.log import Log
from scheduler.root.place import Place

HELPERS = 4
LOOK_S = 1.0  # between two looks at the outbox
LONG = 1_000  # bytes of a message; one that is refused and longer is sent again in short
ALIVE = timedelta(seconds=45)  # a daemon gives a sign of life every ten seconds
_NAMESPACE = uuid.UUID("5d0c1c61-9a43-5a0b-9f6e-0b6f3f0f3c55")  # of the ids of runs that pings get
_SHOWN_LINES = 10

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
        self._pool = ThreadPoolExecutor(HELPERS, thread_name_prefix="courier")
        self._under_way: dict[str, _Sent] = {}
        self._known: dict[str, Described] = {}  # by digest
        self._beat_at: datetime | None = None
        self._all: list[Courier] = []

    def look(self) -> float:
        """Send what is due, and record what came of what was sent. Returns the seconds until the next look.

        Raises: UnavailableError.
        """
        self.arrived.clear()
        with self.lend() as store:
            self._settle(store)
            settings = store.read(syncs.settings) or Settings()
            now = self.clock.now()
            by_channel: dict[str, list[Waiting]] = defaultdict(list)
            for row in store.read(outbox.waiting):
                by_channel[row.channel].append(row)
            breakers = store.read(outbox.breakers)
            wake_at = now + timedelta(seconds=LOOK_S)
            for name, rows in by_channel.items():
                found = self._look_at(store, settings, name, rows, breakers.get(name) or Breaker(name=name), now)
                wake_at = min(wake_at, found or wake_at)
            self._heartbeat(store, settings, now)
        return max(0.02, (wake_at - now).total_seconds())

    def close(self) -> None:
        """Kill what is under way: it is sent again by the next sender."""
        for courier in self._all:
            courier.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look_at(
        self, store: Store, settings: Settings, name: str, rows: list[Waiting], breaker: Breaker, now: datetime
    ) -> datetime | None:
        if name in self._under_way:
            return None
        channel = self._channel(store, settings, name, rows)
        over = overdue(rows, now, known=channel is not None)
        for row, status, reason in over:
            store.write(outbox.settle, [row], status=status, reason=reason, now=now)
            _log.warning("not_delivered", channel=name, about=row.event.key, status=status, reason=reason)
        if channel is None:
            return None
        gone = {row.id for row, _, _ in over}
        digest = hashlib.sha256(json.dumps(channel.to_json(), sort_keys=True).encode()).hexdigest()
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
        subjects = [self._subject(store, settings, row.event) for row in rows]
        carry = _Carry(
            channel=channel,
            subjects=tuple(subjects),
            token=rows[0].token,
            again=rows[0].tries > 0,
            at=now,
            environ=self.environ,
            root=str(self.place.now().root),
            described=self._known.get(digest),
        )
        with store.writing() as sql:
            outbox.take(sql, rows, now=now)
            outbox.keep_breaker(sql, breaker)

        def work() -> Outcome:
            try:
                outcome = carry.out(self._courier())
                if carry.described is not None:
                    self._known[digest] = carry.described
                return outcome
            except Exception as error:  # a defect of ours must not keep the outbox from going on
                _log.error("message_not_sent", channel=channel.name, reason=type(error).__name__, exc_info=True)
                return permanent(f"internal error: {type(error).__name__}")
            finally:
                self.arrived.set()

        self._under_way[channel.name] = _Sent(rows, self._pool.submit(work))

    def _courier(self) -> Courier:
        courier: Courier | None = getattr(self._couriers, "courier", None)
        if courier is None:
            courier = self._couriers.courier = Courier(self.environ)
            self._all.append(courier)
        return courier

    def _settle(self, store: Store) -> None:
        for name, sent in [*self._under_way.items()]:
            if not sent.outcome.done():
                continue
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

    def _subject(self, store: Store, settings: Settings, event: Event) -> Subject:
        root, host = self.place.label.name, socket.gethostname()
        if event.job_id == ROOT_JOB_ID:
            return Subject(event=event, root=root, host=host, timezone=settings.timezone)
        job = store.read(queries.job, event.job_id)
        run = None if event.run_n is None else store.read(runs.find_run, event.job_id, event.run_n)
        stderr: tuple[str, ...] = ()
        if run is not None and run.attempts and event.kind is not EventKind.STARTED:
            path = self.place.output(run.job_id, run.n, run.attempts[-1].n, "stderr")
            stderr = tuple(last_lines(end_of(path), _SHOWN_LINES))
        link = None
        if settings.base_url is not None:
            link = f"{settings.base_url}/{f'jobs/{event.job_id}' if run is None else f'runs/{run.id}'}"
        return Subject(
            event=event,
            root=root,
            host=host,
            timezone=settings.timezone if job is None else job.due_by.timezone,
            job_name=None if job is None else job.file.spec.name,
            tries=1 if job is None else job.file.spec.retry.attempts,
            run=run,
            stderr=stderr,
            link=link,
        )

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
            except SecretError as error:
                _log.warning("heartbeat_failed", reason=str(error))
                return
            outcome = self._courier().send(PingRequest(url=url, hidden=hidden))
            if outcome.ended is not Ended.DELIVERED:
                _log.warning("heartbeat_failed", reason=outcome.error)

        self._pool.submit(work)


@dataclass(slots=True, kw_only=True)
class _Carry:
    """One message: rendered for its channel, and sent. In a thread of its own; may take as long as a helper may."""

    channel: Channel
    subjects: tuple[Subject, ...]
    token: str
    again: bool
    at: datetime
    environ: Mapping[str, str]
    root: str
    described: Described | None = None
    _hidden: tuple[str, ...] = field(default=(), init=False, repr=False)

    def out(self, courier: Courier) -> Outcome:
        try:
            resolved = resolve(self.channel, self.environ)
        except SecretError as error:
            return permanent(str(error))
        channel, self._hidden = resolved.channel, resolved.hidden
        match channel.kind:
            case ChannelKind.URL:
                return self._to_service(courier, channel)
            case ChannelKind.WEBHOOK:
                return courier.send(self._webhook(channel))
            case ChannelKind.COMMAND:
                return courier.send(self._command(channel))
            case ChannelKind.PING:
                return courier.send(PingRequest(url=self._ping(channel), hidden=self._hidden))

    def _to_service(self, courier: Courier, channel: Channel) -> Outcome:
        assert channel.url is not None
        if self.described is None:
            found = courier.send(DescribeRequest(url=channel.url, hidden=self._hidden))
            if found.described is None:
                return found
            self.described = found.described
        about = self.described
        fit = fit_of(
            about.scheme,
            service=about.service,
            most=about.body_maxlen,
            most_title=about.title_maxlen,
            markup=about.markup,
            attaches=about.attaches,
        )
        message = self._message(fit, channel.detail)
        outcome = courier.send(self._url_request(channel.url, message))
        if outcome.status in (400, 413) and len(message.body.encode()) > LONG:
            return courier.send(self._url_request(channel.url, self._message(short_fit(fit), Detail.SHORT)))
        return outcome

    def _url_request(self, url: str, message: Message) -> Request:
        attached = message.attachment
        return UrlRequest(
            url=url,
            title=message.title,
            body=message.body,
            markup=message.markup,
            file_name=None if attached is None else attached.name,
            file_text="" if attached is None else attached.text,
            token=self.token,
            hidden=self._hidden,
        )

    def _message(self, fit: Fit, detail: Detail) -> Message:
        *before, last = self.subjects
        if not before:
            return message_of(last, fit, detail, token=self.token, again=self.again)
        failed = (EventKind.FAILURE, EventKind.STOPPED)
        same = all(each.event.kind in failed and each.event.job_id == last.event.job_id for each in before)
        if last.event.kind is EventKind.RECOVERY and same:
            return recovered_of(before, last, fit, detail, token=self.token, again=self.again)
        return digest_of(self.subjects, fit, detail, token=self.token, again=self.again)

    def _payload(self) -> str:
        return json.dumps(payload_of(self.subjects[0], self.token), ensure_ascii=False)

    def _webhook(self, channel: Channel) -> Request:
        assert channel.webhook is not None
        return WebhookRequest(
            url=channel.webhook,
            secrets=channel.secrets,
            body=self._payload(),
            id=self.token,
            timestamp=int(self.at.timestamp()),
            hidden=self._hidden,
        )

    def _command(self, channel: Channel) -> Request:
        env = bare_environment(self.environ, channel.env_from)
        return CommandRequest(
            argv=channel.command, env=tuple(env.items()), cwd=self.root, stdin=self._payload(), hidden=self._hidden
        )

    def _ping(self, channel: Channel) -> str:
        assert channel.ping is not None
        subject = self.subjects[0]
        event, run = subject.event, subject.run
        rid = None if event.run_n is None else str(uuid.uuid5(_NAMESPACE, f"{self.root}/{event.job_id}/{event.run_n}"))
        if event.kind is EventKind.STARTED:
            return url_of_ping(channel.ping, "start", rid=rid)
        if event.kind in (EventKind.SUCCESS, EventKind.RECOVERY, EventKind.ALL_CLEAR, EventKind.TEST):
            return url_of_ping(channel.ping, "success", rid=rid)
        code = run.exit_code if run is not None else event.facts.get("exit_code")
        return url_of_ping(channel.ping, "fail", rid=rid, exit_code=code)
