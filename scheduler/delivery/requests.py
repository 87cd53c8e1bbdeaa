"""What the helper process is asked, and what it answers: each one line of JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scheduler.core.values.codec import Stored, unsaid
from scheduler.core.values.events import Attachment, Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRequest(Stored):
    """Send a message to a service that Apprise knows."""

    url: str
    title: str
    body: str
    markup: Markup = Markup.TEXT
    file_name: str | None = unsaid(None)  # of an attachment
    file_text: str = unsaid("")
    token: str  # the same over all tries
    hidden: tuple[str, ...] = ()  # resolved secrets, which no answer may contain; so in every request

    @property
    def attachment(self) -> Attachment | None:
        return None if self.file_name is None else Attachment(name=self.file_name, text=self.file_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest(Stored):
    """POST a signed event."""

    url: str
    secrets: tuple[str, ...]  # two while one replaces the other; none for no signature
    body: str  # JSON
    id: str  # the token
    timestamp: int  # seconds since 1970
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest(Stored):
    """Run a program that reads the event from stdin."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]  # the whole environment
    cwd: str
    stdin: str
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PingRequest(Stored):
    """GET a URL."""

    url: str
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeRequest(Stored):
    """Say which service an Apprise URL is for. Nothing is sent."""

    url: str
    hidden: tuple[str, ...] = ()


Request = UrlRequest | WebhookRequest | CommandRequest | PingRequest | DescribeRequest

_KINDS: dict[str, type[Request]] = {
    "url": UrlRequest,
    "webhook": WebhookRequest,
    "command": CommandRequest,
    "ping": PingRequest,
    "describe": DescribeRequest,
}


class Ended(StrEnum):
    """How a try ended."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"  # worth another try
    PERMANENT = "permanent"  # a person must change something first


@dataclass(frozen=True, slots=True, kw_only=True)
class Described(Stored):
    """What is known of a service before anything is sent."""

    service: str  # such as Slack
    scheme: str
    masked: str  # the scheme and the service, nothing of the rest of the URL
    body_maxlen: int
    title_maxlen: int  # 0 if it has no titles
    markup: Markup
    attaches: bool
    pause_s: float  # between two messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Stored):
    """How one try ended, in words without secrets."""

    ended: Ended
    error: str | None = unsaid(None)
    retry_after_s: float | None = unsaid(None)
    status: int | None = unsaid(None)  # of HTTP
    described: Described | None = unsaid(None)  # the answer to a DescribeRequest


def delivered(status: int | None = None) -> Outcome:
    return Outcome(ended=Ended.DELIVERED, status=status)


def transient(error: str, *, retry_after_s: float | None = None, status: int | None = None) -> Outcome:
    return Outcome(ended=Ended.TRANSIENT, error=error, retry_after_s=retry_after_s, status=status)


def permanent(error: str, *, status: int | None = None) -> Outcome:
    return Outcome(ended=Ended.PERMANENT, error=error, status=status)


TOO_MANY = 429
RATE_LIMIT_WAIT_S = 60.0  # after a 429 that names no time
NEEDS_A_PERSON = frozenset({400, 401, 403, 404, 410, 413})


def outcome_of(status: int, error: str, retry_after_s: float | None = None) -> Outcome:
    """What an HTTP status means for the message, redirects included: nobody follows them."""
    if 200 <= status < 300:
        return delivered(status)
    if status in NEEDS_A_PERSON:
        return permanent(error, status=status)
    if status == TOO_MANY and retry_after_s is None:
        retry_after_s = RATE_LIMIT_WAIT_S
    return transient(error, retry_after_s=retry_after_s, status=status)


def plain_words(text: str) -> str:
    """Somebody else's text as one line for an error: printable, without runs of blanks. Not cut: it has secrets yet."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def line_of(request: Request) -> bytes:
    """The request as a line."""
    kind = next(name for name, each in _KINDS.items() if each is type(request))
    return json.dumps({"kind": kind, **request.to_json()}).encode() + b"\n"


def request_of(line: bytes) -> Request:
    """The request that a line contains. Raises: ValueError, KeyError, TypeError, AttributeError."""
    found: dict[str, Any] = json.loads(line)
    return _KINDS[found["kind"]].from_json(found)
