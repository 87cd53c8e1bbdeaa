"""How a run ended, and what an error message says of it: its class, and when a limit resets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any

from scheduler.core.values.usage import EndClass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnd:
    """What the scheduler knows of a run besides its output."""

    command: Sequence[str]  # of the runner, the program first
    exit_code: int | None
    at: datetime  # aware; when it ended
    zone: tzinfo = UTC  # of the process, for programs that print local times
    stopped: EndClass | None = None  # if the scheduler ended it: timeout, cancelled or interrupted
    cut: bool = False  # the kept output lacks bytes

    @property
    def failed(self) -> bool:
        return self.exit_code != 0


_QUOTA = re.compile(
    r"usage limit|rate.?limit|quota|resource.?exhausted|too many requests|credit balance|payment required"
    r"|insufficient (?:credit|balance|funds)|hit your (?:\w+ ){0,2}limit",
    re.I,
)
_CREDENTIAL = re.compile(
    r"unauthori[sz]ed|unauthenticated|authentication|not logged in|log ?in again|(?:please|/) ?login|api.?key"
    r"|no key found|token (?:has |is )?expired|oauth|sign in again|invalid credential",
    re.I,
)
_TRANSIENT = re.compile(
    r"overloaded|server error|service unavailable|bad gateway|gateway time-?out|connection (?:reset|refused|error)"
    r"|network error|fetch failed|stream disconnected|econn\w+|enotfound|etimedout|high demand|at capacity"
    r"|request timed out|timeout waiting",
    re.I,
)


def class_of_status(status: Any) -> EndClass | None:
    """The class of an HTTP status, if it has one."""
    if not isinstance(status, int) or isinstance(status, bool):
        return None
    if status in (401, 403):
        return EndClass.CREDENTIAL
    if status in (402, 429):
        return EndClass.QUOTA
    return EndClass.TRANSIENT if status == 408 or 500 <= status < 600 else None


def class_of_message(message: str | None) -> EndClass | None:
    """The class of an error that the program itself words. Never to be asked about what a model wrote."""
    for pattern, found in (
        (_QUOTA, EndClass.QUOTA),
        (_CREDENTIAL, EndClass.CREDENTIAL),
        (_TRANSIENT, EndClass.TRANSIENT),
    ):
        if message and pattern.search(message):
            return found
    return None


_CLOCK = re.compile(r"try again at (?:([A-Z][a-z]{2}) (\d{1,2})(?:st|nd|rd|th), (\d{4}) )?(\d{1,2}):(\d\d) ([AP]M)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WAIT = re.compile(
    r"(?:reset|retry|try again)\w*\s+(?:after|in)\s+(?=\d)"
    r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m(?!s))?(?:(\d{1,7})(?:\.\d+)?s)?",
    re.I,
)


def reset_of_message(message: str | None, ending: ProcessEnd) -> datetime | None:
    """The instant in UTC that a message about a limit names: a local time of the process, or a time to wait."""
    if not message:
        return None
    try:
        if found := _CLOCK.search(message):
            return _local(found, ending)
        if found := _WAIT.search(message):
            days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
            wait = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
            return (ending.at + wait).astimezone(UTC) if wait else None
    except (ValueError, OverflowError):
        pass
    return None


def _local(found: re.Match[str], ending: ProcessEnd) -> datetime | None:
    month, day, year, hour, minute, half = found.groups()
    hours = int(hour) % 12 + (12 if half == "PM" else 0)
    if month is not None:
        if month not in _MONTHS:
            return None
        named = datetime(int(year), _MONTHS.index(month) + 1, int(day), hours, int(minute), tzinfo=ending.zone)
        return named.astimezone(UTC)
    # Without a date it is the day on which the message was written: mostly today, just after midnight yesterday.
    today = ending.at.astimezone(ending.zone).replace(hour=hours, minute=int(minute), second=0, microsecond=0)
    if today - ending.at > timedelta(hours=23):
        today -= timedelta(days=1)
    return today.astimezone(UTC)


def reset_of_headers(headers: Any, ending: ProcessEnd) -> datetime | None:
    """The instant in UTC at which `retry-after` or `retry-after-ms` of an HTTP answer ends."""
    if not isinstance(headers, dict):
        return None
    lower = {str(key).lower(): str(value).strip()[:60] for key, value in headers.items()}
    try:
        if (wait := lower.get("retry-after-ms")) is not None:
            return (ending.at + timedelta(milliseconds=float(wait))).astimezone(UTC)
        wait = lower.get("retry-after")
        if wait is None:
            return None
        if re.fullmatch(r"[0-9.]+", wait):
            return (ending.at + timedelta(seconds=float(wait))).astimezone(UTC)
        named = parsedate_to_datetime(wait)
        return (named if named.tzinfo else named.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def reset_of_epoch(seconds: Any) -> datetime | None:
    """An instant given as whole seconds since 1970."""
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds < 253_402_300_800:
        return None
    return datetime.fromtimestamp(seconds, UTC)
