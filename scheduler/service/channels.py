"""Channels and what was sent through them: list, test, retry."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core.due.events import News, ping_channel
from scheduler.core.due.reach import Reach
from scheduler.core.due.sending import Breaker
from scheduler.core.messages.cut import size_of
from scheduler.core.messages.message import SAMPLE
from scheduler.core.values.channels import Channel, ChannelKind
from scheduler.core.values.events import Event, EventKind, Fit, Message
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, UnknownError, UsageError, meant
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.ledger import outbox, syncs, told
from scheduler.ledger.audit import append_audit
from scheduler.ledger.reach import reach
from scheduler.ledger.rows import stamp
from scheduler.ledger.store import Store
from scheduler.root.settings import read_settings
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import (
        ChannelJson,
        ChannelsJson,
        DeliveriesJson,
        DeliveryJson,
        MessageJson,
        RehearsedJson,
        TestedJson,
    )

TEST_S = 45.0  # for the answer to a test message: two helpers may take their whole time
LOOK_S = 0.1
_TOKEN = "msg_dryrun"  # of a message that is sent to nobody


def channels(root: Root) -> ChannelsJson:
    """The channels of scheduler.yaml, and how sending to each of them goes."""
    with root.store() or contextlib.nullcontext() as store:
        settings = _settings(root, store)
        known = {} if store is None else {each.name: each for each in store.read(reach)}
    return {
        "channels": [
            _channel_json(known.get(name) or Reach(channel=each, breaker=Breaker(name=name)), settings)
            for name, each in sorted(settings.channels.items())
        ]
    }


def _channel_json(found: Reach, settings: Settings) -> ChannelJson:
    channel, breaker = found.channel, found.breaker.reached_by(found.channel.digest)
    return {
        "name": channel.name,
        "kind": channel.kind.value,
        "detail": channel.detail.value,
        "references": [str(each) for each in channel.references],
        "alerts": channel.name in settings.alerts.deliver,
        "waiting": found.waiting,
        "last_ok_at": None if breaker.last_ok_at is None else instant(breaker.last_ok_at),
        "dead_since": None if breaker.open_since is None else instant(breaker.open_since),
        "error": breaker.last_error if breaker.failures else None,
    }


def try_channel(
    root: Root, name: str, kind: EventKind = EventKind.TEST, *, wait: Callable[[float], object] = time.sleep
) -> TestedJson:
    """Send one real message, as the daemon would: with its environment, through its sender.

    kind: of event that the message shows, as a sample. wait: for so many seconds; true if it is to be given up.
    Raises: UsageError for a channel that scheduler.yaml does not have; RefusedError without a daemon, whose environment
    has the secrets.
    """
    if root.daemon() is None:
        raise RefusedError(
            "no daemon is running, and only a daemon sends: its environment has the secrets",
            hint="start `scheduler serve`",
        )
    now = root.clock.now()
    with Store.open(root.place.db, create=False) as store:
        event = _test(_known(name, _settings(root, store)), kind, now)
        row = root.audit_row(ROOT_JOB_ID, "test", field=f"channel:{name}", after=True)
        with store.writing() as sql:
            append_audit(sql, [row])
            told.tell(sql, [News(event=event, channels=(name,))], now=now)
        root.wake()
        give_up = time.monotonic() + TEST_S
        found = None
        while time.monotonic() < give_up:
            found = store.read(outbox.delivery_of, event.key)
            if found is not None and (found["status"] != "pending" or found["error"]):
                break
            if wait(LOOK_S):
                break
        if found is None or found["status"] == "pending":  # nobody wants a test message tomorrow
            store.write(outbox.withdraw, event.key, now=root.clock.now())
    delivered = found is not None and found["status"] == "delivered"
    error = None if delivered else (found and found["error"]) or f"no answer within {TEST_S:.0f}s"
    return {"channel": name, "sample": kind.value, "delivered": delivered, "error": error}


def rehearse_channel(root: Root, name: str, kind: EventKind = EventKind.TEST) -> RehearsedJson:
    """What a test would send, by the file as it is now and the environment of this process. Nothing is sent.

    Raises: UsageError for a channel that scheduler.yaml does not have.
    """
    from scheduler.delivery.couriers import Courier
    from scheduler.delivery.rehearsal import rehearse
    from scheduler.delivery.subjects import subject_of_root

    with root.store() or contextlib.nullcontext() as store:
        settings = read_settings(root.place)[0] or _settings(root, store)
    channel = _known(name, settings)
    subject = subject_of_root(root.place, settings, _test(channel, kind, root.clock.now()))
    courier = Courier(root.environ)
    try:
        found = rehearse(channel, subject, environ=root.environ, courier=courier, token=_TOKEN)
    finally:
        courier.close()
    return {
        "channel": name,
        "kind": channel.kind.value,
        "sample": kind.value,
        "service": found.service,
        "detail": channel.detail.value,
        "references": [{"reference": str(each), "error": fault} for each, fault in found.references.items()],
        "message": None if found.message is None or found.fit is None else _message_json(found.message, found.fit),
        "payload": found.payload,
        "error": found.error,
        "ready": found.error is None and not any(found.references.values()),
    }


def _message_json(message: Message, fit: Fit) -> MessageJson:
    return {
        "title": message.title,
        "body": message.body,
        "markup": message.markup.value,
        "size": size_of(message.body, in_bytes=fit.in_bytes),
        "most": fit.most,
        "unit": "bytes" if fit.in_bytes else "characters",
        "attachment": None if message.attachment is None else message.attachment.name,
    }


def _test(channel: Channel, kind: EventKind, now: datetime) -> Event:
    """The event of a test. Raises: UsageError for a sample that the channel cannot show."""
    facts = {SAMPLE: kind.value}
    if kind is EventKind.TEST:
        facts = {"text": f"if you can read this, channel {channel.name} works"}
    elif channel.kind is ChannelKind.PING:
        hint = "leave the kind out: a test calls its URL as a success does"
        raise UsageError(f"channel {channel.name} is a ping, which shows no kind of event", hint=hint)
    key = f"test/{channel.name}/{stamp(now)}"
    return Event(key=key, at=now, kind=EventKind.TEST, job_id=ROOT_JOB_ID, facts=facts)


def deliveries(root: Root, job_id: str | None, *, channel: str | None, failed: bool, count: int) -> DeliveriesJson:
    """What was sent and what waits, newest first."""
    with root.store() or contextlib.nullcontext() as store:
        if store is None:
            return {"deliveries": []}
        job = None if job_id is None else root.find_job(store, job_id).id
        return {"deliveries": store.read(outbox.newest, job, channel=channel, failed=failed, limit=count)}


def delivery(root: Root, number: int) -> DeliveryJson:
    """Raises: UsageError if there is none of this number."""
    with root.store() or contextlib.nullcontext() as store:
        found = None if store is None else store.read(outbox.delivery, number)
    if found is None:
        raise UnknownError(f"there is no delivery {number}", hint="`scheduler deliveries` lists them")
    return found


def retry_delivery(root: Root, number: int) -> DeliveryJson:
    """Let a delivery that was given up or dropped wait again. Raises: UsageError, RefusedError."""
    found = delivery(root, number)
    if found["status"] == "delivered":
        raise RefusedError(f"delivery {number} has arrived", hint="`scheduler channels test NAME` sends a message")
    name = found["channel"]
    with root.store() or contextlib.nullcontext() as known:
        if not name.startswith(ping_channel("")) and name not in _settings(root, known).channels:
            hint = "write it into scheduler.yaml again first"
            raise RefusedError(f"delivery {number} cannot be sent: there is no channel {name}", hint=hint)
    now = root.clock.now()
    with Store.open(root.place.db, create=False) as store, store.writing() as sql:
        append_audit(sql, [root.audit_row(ROOT_JOB_ID, "retry", field=f"delivery:{number}", after=True)])
        outbox.retry(sql, number, now=now)
    root.wake()
    return delivery(root, number)


def _settings(root: Root, store: Store | None) -> Settings:
    """Those in force; before the first sync, those of the file."""
    return (store and store.read(syncs.settings)) or read_settings(root.place)[0] or Settings()


def _known(name: str, settings: Settings) -> Channel:
    if (found := settings.channels.get(name)) is None:
        known = sorted(settings.channels)
        told_of = f"the channels are {', '.join(known)}" if known else "scheduler.yaml has no channels"
        raise UnknownError(f"there is no channel {name!r}", hint=meant(name, known) or told_of)
    return found
