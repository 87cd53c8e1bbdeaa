"""Channels: where events are told, and how much each is told. No value here contains a secret, only its reference."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from scheduler.core.values.codec import Stored, unsaid
from scheduler.core.values.references import Reference, references_of


class ChannelKind(StrEnum):
    """How a channel is reached. Each is also the key that says so in scheduler.yaml."""

    URL = "url"  # a service that Apprise knows
    WEBHOOK = "webhook"  # a signed POST of the event as JSON
    COMMAND = "command"  # a program that reads the event as JSON
    PING = "ping"  # a service that misses pings


class Detail(StrEnum):
    """How much of a run a message contains."""

    SHORT = "short"  # the title and the facts
    NORMAL = "normal"  # also the last lines of stderr, and the answer as far as the service can show it
    FULL = "full"  # also the whole answer, where a service takes files


class DeliverOn(StrEnum):
    """What a job tells."""

    SUCCESS = "success"
    FAILURE = "failure"  # the first of a streak, then daily
    EVERY_FAILURE = "every_failure"
    RECOVERY = "recovery"
    SKIP = "skip"


DEFAULT_DELIVER_ON = (DeliverOn.FAILURE, DeliverOn.RECOVERY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel(Stored):
    """One entry of `channels` in scheduler.yaml, with exactly one of url, webhook, command and ping."""

    name: str
    url: str | None = unsaid(None)  # an Apprise URL
    webhook: str | None = unsaid(None)  # http or https
    secrets: tuple[str, ...] = unsaid(())  # one reference, or two while a secret is rotated: of a webhook
    command: tuple[str, ...] = unsaid(())  # argv
    env_from: tuple[str, ...] = unsaid(())  # names passed through from the scheduler's own environment: to a command
    ping: str | None = unsaid(None)  # http or https
    detail: Detail = unsaid(Detail.NORMAL)
    # The files of the root that the command names, by path, and what each holds. Filled in by code that reads the root.
    files: tuple[tuple[str, str], ...] = unsaid(())

    @property
    def kind(self) -> ChannelKind:
        return next(kind for kind in ChannelKind if getattr(self, kind.value))

    @property
    def digest(self) -> str:
        """SHA-256 of how it is reached. Another one means that somebody has edited it."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @property
    def references(self) -> tuple[Reference, ...]:
        """What must be resolved before a message can be sent."""
        written = (self.url, self.webhook, self.ping, *self.secrets)
        return tuple(each for text in written if text is not None for each in references_of(text))


EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Stored):
    """A URL to be called as long as the daemon works."""

    url: str
    every: timedelta = EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts(Stored):
    """Who is told what concerns the root and the daemon."""

    deliver: tuple[str, ...] = ()
    heartbeat: Heartbeat | None = None
