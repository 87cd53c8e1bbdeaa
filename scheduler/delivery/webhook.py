"""HTTP of our own: signed webhooks (standardwebhooks.com) and pings. No redirect is followed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, build_opener
from urllib.request import Request as HttpRequest

from scheduler.core.values.units import format_seconds
from scheduler.delivery.requests import (
    Outcome,
    PingRequest,
    WebhookRequest,
    outcome_of,
    permanent,
    plain_words,
    transient,
)

SILENCE_S: Final = 10.0  # without a byte; the whole is limited by whoever waits for this process
MOST_ANSWER: Final = 64 * 1024
MOST_WAIT_S: Final = 24 * 3600.0
_SECRET_PREFIX = "whsec_"


def post_webhook(request: WebhookRequest) -> Outcome:
    """POST the event with its signature."""
    body = request.body.encode()
    try:
        signed = signature(request.secrets, request.id, request.timestamp, body)
    except ValueError as error:
        return permanent(str(error))
    headers = {
        "Content-Type": "application/json",
        "webhook-id": request.id,
        "webhook-timestamp": str(request.timestamp),
    }
    if signed:
        headers["webhook-signature"] = signed
    return _call("POST", request.url, body, headers)


def get_ping(request: PingRequest) -> Outcome:
    """GET the URL."""
    return _call("GET", request.url, None, {})


def signature(secrets: tuple[str, ...], token: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one for each secret. Raises: ValueError if a secret is not what it says."""
    signed = f"{token}.{timestamp}.".encode() + body
    made = (hmac.digest(_key(each), signed, hashlib.sha256) for each in secrets)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in made)


def _key(secret: str) -> bytes:
    """The bytes of a secret: base64 after `whsec_`, as the specification writes them, or else the text itself."""
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    text = secret.removeprefix(_SECRET_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError("the secret of the webhook starts with whsec_, but no base64 follows")
    return key


def url_of_ping(
    url: str, end: Literal["start", "success", "fail"], *, rid: str | None = None, exit_code: int | None = None
) -> str:
    """The URL of one ping, as healthchecks.io has them. A query that the URL already has is kept.

    rid: the UUID of the run, which joins a start and its end. exit_code: of a failure, if its program had one (1-255).
    What is no URL is returned as it is: whoever calls it says so without quoting it.
    """
    try:
        scheme, host, path, query, _ = urlsplit(url)
    except ValueError:
        return url
    if end == "start":
        path = f"{path.rstrip('/')}/start"
    elif end == "fail":
        known = exit_code is not None and 0 < exit_code < 256
        path = f"{path.rstrip('/')}/{exit_code if known else 'fail'}"
    if rid is not None:
        query = "&".join(filter(None, (query, urlencode({"rid": rid}))))
    return urlunsplit((scheme, host, path, query, ""))


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        """Make a redirect the answer: followed, a POST becomes a GET without its body, and counts as delivered."""


def _call(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Outcome:
    try:
        bare, credentials = _without_user(url)
        asked = HttpRequest(
            bare, data=body, method=method, headers={"User-Agent": "gitops-scheduler", **credentials, **headers}
        )
        with build_opener(_NoRedirect).open(asked, timeout=SILENCE_S) as answer:
            return outcome_of(answer.status, "")
    except HTTPError as error:
        return _refused(error)
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            return transient(f"the certificate is not valid: {error.reason.verify_message}")
        return transient(_words(error.reason))
    except (ValueError, http.client.InvalidURL) as error:
        return permanent(f"not a URL that can be called: {error}")
    except (OSError, http.client.HTTPException) as error:
        return transient(_words(error))


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """The URL without its user name and password, and the header that has them instead. Raises: ValueError."""
    scheme, host, path, query, _ = urlsplit(url)
    if scheme not in ("http", "https"):
        raise ValueError("it must start with https:// or http://")
    user, at, host = host.rpartition("@")
    encoded = base64.b64encode(unquote(user).encode()).decode()
    return urlunsplit((scheme, host, path, query, "")), {"Authorization": f"Basic {encoded}"} if at else {}


def _refused(error: HTTPError) -> Outcome:
    with error:
        said = _first_line(error)
    status = http.client.responses.get(error.code, "")
    words = f"HTTP {error.code}{f' {status}' if status else ''}{f': {said}' if said else ''}"
    if 300 <= error.code < 400:
        words = f"{words}. Redirects are not followed: write the URL that it leads to"
    return outcome_of(error.code, words, retry_after(error.headers.get("Retry-After"), error.headers.get("Date")))


def _first_line(error: HTTPError) -> str:
    try:
        text = error.read(MOST_ANSWER).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    if "<html" in text.lower():
        return ""
    return next(filter(None, map(plain_words, text.splitlines())), "")


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds to wait, from seconds or an HTTP date, at most a day; None if the header is absent or nonsense.

    date: the answer's own, so that a clock that is wrong here changes nothing.
    """
    if value is None:
        return None
    if (text := value.strip()).isascii() and text.isdigit():
        return min(float(text), MOST_WAIT_S)
    until, now = _http_date(text), _http_date(date)
    if until is None:
        return None
    return min(max((until - (now or datetime.now(UTC))).total_seconds(), 0.0), MOST_WAIT_S)


def _http_date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {format_seconds(SILENCE_S)}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or type(error).__name__
