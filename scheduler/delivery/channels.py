"""Send through Apprise. Only the helper process imports this: it takes 50 MB and a fifth of a second.

Apprise tells neither the HTTP status nor Retry-After. Both have to be read from the line that a failed try logs.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote

import apprise
from apprise.attachment.memory import AttachMemory
from apprise.exception import AppriseException
from apprise.result import AppriseResultStatus

from scheduler.core.due.sending import UNKNOWN
from scheduler.core.values.events import Markup
from scheduler.delivery.requests import (
    Described,
    Ended,
    Outcome,
    UrlRequest,
    delivered,
    outcome_of,
    permanent,
    plain_words,
    transient,
)

Service = Any  # an apprise.NotifyBase: its types do not declare what is set and read here

SERVICE_S: Final = 60.0  # a net: whoever waits for this process ends it sooner
# The one place that reads Apprise's words. ntfy has codes of its own, which begin with the status: 42901.
_STATUS = re.compile(r"\berror=(\d{3})(?:\d\d)?\b")
_TOLD = frozenset({"WARNING", "ERROR", "CRITICAL"})
_REASON = re.compile(r"Socket Exception: (.*)")  # of a mail server, logged at DEBUG alone
_SMTP_STATUS = re.compile(r"\((\d{3}), b['\"](.*?)['\"]\)")
_SMTP_NEEDS_A_PERSON = frozenset({530, 534, 535, 538, 550, 551, 553})  # the login, or the address
_WITHOUT_FILES = frozenset({"ntfy"})  # it moves the message into the query of the URL when there is a file
_MAIL = frozenset({"mailto", "mailtos"})


class NotAServiceError(Exception):
    """The URL is for no service that Apprise knows, or lacks something that the service needs."""


def send_message(request: UrlRequest, service: Service | None = None) -> Outcome:
    """Send one message. service: from `service_of`, if it has been made already."""
    try:
        service = service or service_of(request.url)
    except NotAServiceError as error:
        return permanent(str(error))
    if _is_mail(service):  # a second Message-ID would stand beside the one that Apprise writes
        service.headers["References"] = f"<{quote(request.token)}@gitops-scheduler>"
    found = apprise.Apprise(asset=service.asset)
    found.add(service)
    attached = request.attachment if _attaches(service) else None
    memory: Any = AttachMemory  # untyped
    with _reasons_of_mail(service) as level:
        result = found.notify(
            title=request.title,
            body=request.body,
            body_format=apprise.NotifyFormat(request.markup.value),
            attach=None if attached is None else apprise.AppriseAttachment(memory(attached.text, name=attached.name)),
            log_level=level,
        )
    lines = [
        entry.message
        for each in result.results
        for entry in each.logs()
        if entry.level in _TOLD or _REASON.match(entry.message)
    ]
    return outcome_of_result(result.status, lines, str(service.service_name))


@contextlib.contextmanager
def _reasons_of_mail(service: Service) -> Iterator[int]:
    """Let Apprise log at DEBUG what a mail server answered. Never for HTTP, where that contains URLs and headers."""
    if not _is_mail(service):
        yield logging.WARNING
        return
    logger = logging.getLogger("apprise")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield logging.DEBUG
    finally:
        logger.setLevel(level)
        logger.propagate = propagate


def outcome_of_result(status: AppriseResultStatus, lines: Iterable[str], service: str) -> Outcome:
    """What the status and the log lines of a try mean. A service with several targets counts as its worst."""
    said = list(map(plain_words, lines))
    match status:
        case AppriseResultStatus.SUCCESS:
            return delivered()
        case AppriseResultStatus.NOMATCH:
            return permanent("the URL has nobody to send to")
        case AppriseResultStatus.TIMEOUT:
            return transient(f"{service} did not answer in time; {UNKNOWN}")
    codes = [int(found[1]) for each in said if (found := _STATUS.search(each))]
    words = next((each for each in said if _STATUS.search(each)), "") or (said[-1] if said else "")
    words = words or f"{service} did not accept the message"
    if reason := next((found[1] for each in said if (found := _REASON.match(each))), ""):
        return _outcome_of_mail(reason)
    outcomes = [outcome_of(code, words) for code in codes if not 200 <= code < 300]
    if not outcomes:
        return transient(words)
    # A target that would take the message is worth another try, one that needs a person is reported at the end.
    return next((each for each in outcomes if each.ended is Ended.TRANSIENT), outcomes[0])


def _outcome_of_mail(reason: str) -> Outcome:
    if (found := _SMTP_STATUS.search(reason)) is None:
        return transient(f"the mail server: {reason}")
    words = f"the mail server answered {found[1]} {found[2]}"
    return permanent(words) if int(found[1]) in _SMTP_NEEDS_A_PERSON else transient(words)


def describe_service(url: str) -> Outcome:
    """What is known of the service without sending anything."""
    try:
        service = service_of(url)
    except NotAServiceError as error:
        return permanent(str(error))
    name, scheme = str(service.service_name), _scheme(url)
    if scheme not in _schemes(service):  # an address of the service's own, such as https://hooks.slack.com/…
        scheme = min(_schemes(service))
    formats = {str(getattr(each, "value", each)) for each in service._formats()}
    markdown = not _is_mail(service) and Markup.MARKDOWN in formats
    return Outcome(
        ended=Ended.DELIVERED,
        described=Described(
            service=name,
            scheme=scheme,
            masked=f"{scheme}://… ({name})",
            body_maxlen=service.body_maxlen,
            title_maxlen=service.title_maxlen,
            markup=Markup.MARKDOWN if markdown else Markup.TEXT,
            attaches=_attaches(service),
            pause_s=float(service.request_rate_per_sec),
        ),
    )


def service_of(url: str) -> Service:
    """The service, set as every message needs it. Raises: NotAServiceError."""
    asset = apprise.AppriseAsset(http_redirects=False, service_timeout=SERVICE_S)
    service: Service
    try:
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except (AppriseException, TypeError, ValueError) as error:
        raise NotAServiceError(f"not a URL of a service: {str(error).rstrip('.')}") from None
    if service is None:  # also with suppress_exceptions=False
        raise NotAServiceError(f"Apprise knows no service for {_scheme(url)}:// with such a URL")
    service.redirects = False  # else a 302 becomes a GET without the message, and counts as sent; `?redirect=yes` too
    service.overflow_mode = apprise.OverflowMode.TRUNCATE
    service.throttle = lambda *args, **kwargs: None  # the sender waits: here, several targets would outlast the limit
    if hasattr(service, "include_image"):
        service.include_image = False
    if _is_mail(service):  # an agent's HTML stays out of mail
        service._format_override = apprise.NotifyFormat.TEXT
    return service


def _attaches(service: Service) -> bool:
    """Whether a file arrives: a webhook of Slack drops it, and the try still counts as a success."""
    if not service.attachment_support or _schemes(service) & _WITHOUT_FILES:
        return False
    return "slack" not in _schemes(service) or getattr(service, "mode", "") == "bot"


def _is_mail(service: Service) -> bool:
    return bool(_schemes(service) & _MAIL)


def _schemes(service: Service) -> set[str]:
    """All that lead to this kind of service."""
    return set(service.schemas())


def _scheme(url: str) -> str:
    """Apprise's schemes have letters and digits; anything else may be a part of a secret."""
    scheme, colon, _ = url.partition("://")
    return scheme.lower() if colon and scheme.isalnum() and len(scheme) <= 20 else "?"
