"""Whether a webhook of a git forge is genuine. Its body is a hint only: nothing in it is believed.

The first of the known signature headers that is present decides. A bad one is never rescued by another, or a sender
could choose the weakest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MOST_BYTES = 1024 * 1024  # of a body
MOST_AGE = timedelta(minutes=5)  # of a signature that has a time, in both directions
LEAST_SECRET = 16  # characters
KEPT_FOR, MOST_KEPT = timedelta(days=30), 10_000  # deliveries that are remembered
_MOST_HEADER = 1_000  # characters

_STANDARD_PREFIX = "whsec_"
_EVENTS = ("x-github-event", "x-forgejo-event", "x-gitea-event", "x-gogs-event", "x-gitlab-event")
_PUSHES = ("push", "create", "delete", "push hook", "tag push hook", "system hook")
_IDS = ("x-github-delivery", "x-forgejo-delivery", "x-gitea-delivery", "x-gitlab-event-uuid", "idempotency-key")

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Genuine:
    """A webhook that somebody with a secret has sent."""

    is_push: bool  # False for a ping, an issue, and whatever else a forge tells
    keys: tuple[str, ...]  # by which the delivery is known again: hashes, of its id and of what was signed


@dataclass(frozen=True, slots=True)
class Bad:
    """Why a webhook is refused."""

    message: str
    hint: str = ""


def secrets_in(text: str) -> tuple[str, ...]:
    """The secrets in a text, separated by white space: two while one replaces the other."""
    return tuple(text.split())


def weak(secrets: Sequence[str]) -> bool:
    """True if one of the secrets can be guessed."""
    return any(len(each) < LEAST_SECRET for each in secrets)


def is_signed(headers: Headers) -> bool:
    """True if the headers have any signature at all, so that the body is worth reading."""
    return any(name.lower() in _CHECKS for name, _ in headers)


def check_hook(headers: Headers, body: bytes, secrets: Sequence[str], now: datetime) -> Genuine | Bad:
    """Check a webhook by its headers and its raw body. Takes the same time for every wrong signature."""
    given: dict[str, list[str]] = {}
    for name, value in headers:
        given.setdefault(name.lower(), []).append(value)
    found = next((name for name in _CHECKS if name in given), None)
    if found is None:
        return Bad(
            "the webhook has no signature", f"set its secret in the forge; accepted headers: {', '.join(_CHECKS)}"
        )
    if any(
        len(given.get(name, ())) > 1 or len(value) > _MOST_HEADER for name in _READ for value in given.get(name, ())
    ):
        return Bad("a header of the webhook is repeated or too long")
    headers_once = {name: values[0] for name, values in given.items()}
    checked = _CHECKS[found](headers_once, body, secrets, now)
    if isinstance(checked, Bad):
        return checked
    event = next((headers_once[name] for name in _EVENTS if name in headers_once), None)
    keys = tuple(hashlib.sha256(each).hexdigest() for each in checked)
    return Genuine(is_push=event is None or event.lower() in _PUSHES, keys=keys)


# What each check returns: what identifies the delivery, before hashing.
_Check = Callable[[dict[str, str], bytes, Sequence[str], datetime], "tuple[bytes, ...] | Bad"]


def _standard(headers: dict[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[bytes, ...] | Bad:
    """Standard Webhooks (standardwebhooks.com, version 1): GitLab's signing token, and others."""
    name, at, signatures = (headers.get(f"webhook-{each}", "") for each in ("id", "timestamp", "signature"))
    if not (name and at.isascii() and at.isdigit() and len(at) < 12):
        return Bad("the webhook has webhook-signature, but no valid webhook-id and webhook-timestamp")
    signed = b".".join((name.encode(), at.encode(), body))
    given = [each.removeprefix("v1,").encode() for each in signatures.split(" ") if each.startswith("v1,")]
    good = False
    for secret in secrets:
        if (key := _standard_key(secret)) is not None:
            right = base64.b64encode(hmac.digest(key, signed, "sha256"))
            for each in given:
                good |= hmac.compare_digest(right, each)
    if not good:
        return Bad("webhook-signature does not match", "use the same secret here and in the forge")
    if abs(now - datetime.fromtimestamp(int(at), UTC)) > MOST_AGE:
        return Bad("webhook-timestamp is more than 5 minutes off", "check the clocks of both machines")
    return (b"webhook-id\0" + name.encode(),)


def _standard_key(secret: str) -> bytes | None:
    if not secret.startswith(_STANDARD_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _signed_body(header: str, prefix: str = "") -> _Check:
    """The hexadecimal HMAC-SHA256 of the body. It has no time, so the same body counts once, whatever its id."""

    def check(headers: dict[str, str], body: bytes, secrets: Sequence[str], _: datetime) -> tuple[bytes, ...] | Bad:
        given, good = headers[header].encode(), False
        for secret in secrets:
            right = prefix + hmac.digest(secret.encode(), body, "sha256").hex()
            good |= hmac.compare_digest(right.encode(), given)
        if not good:
            return Bad(f"{header} does not match", "use the same secret here and in the forge")
        return (b"body\0" + body, *_ids(headers))

    return check


def _token(headers: dict[str, str], body: bytes, secrets: Sequence[str], _: datetime) -> tuple[bytes, ...] | Bad:
    """GitLab's older way: the secret itself. Nothing is signed, so only the id tells one delivery from another."""
    given, good = headers["x-gitlab-token"].encode(), False
    for secret in secrets:
        good |= hmac.compare_digest(secret.encode(), given)
    if not good:
        return Bad("x-gitlab-token does not match", "use the same secret here and in the forge")
    return _ids(headers) or (b"body\0" + body,)


def _ids(headers: dict[str, str]) -> tuple[bytes, ...]:
    return tuple(f"{name}\0{headers[name]}".encode() for name in _IDS if headers.get(name))


_CHECKS: dict[str, _Check] = {
    "webhook-signature": _standard,
    "x-hub-signature-256": _signed_body("x-hub-signature-256", "sha256="),
    "x-forgejo-signature": _signed_body("x-forgejo-signature"),
    "x-gitea-signature": _signed_body("x-gitea-signature"),
    "x-gitlab-token": _token,
}
_READ = (*_CHECKS, *_EVENTS, *_IDS, "webhook-id", "webhook-timestamp")
