"""The rules for URLs of channels. No message repeats what may be a secret."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from typing import Any, TypeGuard
from urllib.parse import SplitResult, parse_qsl, urlsplit

from scheduler.core.formats.private_parts import private_parts
from scheduler.core.formats.rules import RUNNER_PATTERN, _refuse, runner_command, shown
from scheduler.core.values.references import is_reference, misspelt, references_of, with_references_as
from scheduler.core.values.texts import short

_REFERENCE = r"\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:/[^{}]+)\}"
REFERENCE_PATTERN = f"^{_REFERENCE}$"
HTTP_PATTERN = r"^https?://[^\s]+$"
CALLED_PATTERN = rf"^({_REFERENCE}|https?://)[^\s]*$"
PING_PATTERN = rf"^({_REFERENCE}|https?://[^\s$]+)$"
SERVICE_PATTERN = rf"^({_REFERENCE}|[A-Za-z][A-Za-z0-9_+.-]*://)[^\r\n]*$"

_AS_REFERENCE = "write ${env:NAME} or ${file:/path} in its place, and put the secret there"
_SHORTEST, _LONGEST = timedelta(seconds=10), timedelta(days=1)
_STAND_IN = "referencexreference"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]*(?=://)")
# Addresses that are themselves the permission to post.
_HOOK_PAGES = re.compile(
    r"(hooks\.slack\.com/(services|workflows|triggers)/|([a-z]+\.)?discord(app)?\.com/api/(v\d+/)?webhooks/"
    r"|api\.telegram\.org/bot|chat\.googleapis\.com/v1/spaces/|[a-z0-9.-]+\.webhook\.office\.com/"
    r"|maker\.ifttt\.com/|events\.pagerduty\.com/integration/|hc-ping\.com/)[^/?#]",
    re.IGNORECASE,
)
_PRIVATE_NAMES = re.compile(
    r"(.*[_-])?(token|key|apikey|secret|password|pass|passwd|pwd|auth|sig|signature|code)", re.IGNORECASE
)
# What tokens of well-known services begin with.
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(xox[a-z]-|tk_[A-Za-z0-9]{16}|gh[a-z]_[A-Za-z0-9]{16}|github_pat_|glpat-|whsec_|sk-[A-Za-z0-9]{16})"
)


def is_channel_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(RUNNER_PATTERN[1:-1], value) is not None


def channel_name(text: str) -> str:
    if not is_channel_name(text):
        near = re.sub(r"[^A-Za-z0-9._-]+", "-", text[:200]).strip("._-")[:64]
        message = (
            f"channel name {short(text)} is not valid; allowed: 1-64 letters, digits and . _ -, starting with a "
            "letter or digit"
        )
        raise _refuse("channel.name", message, f"write {near}" if near else "")
    return text


def no_duplicates(names: list[str]) -> list[str]:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise _refuse("value.invalid", f"channel {short(twice)} is listed twice", "delete one of them")
    return names


def not_nothing(names: list[str]) -> list[str]:
    if not names:
        raise _refuse("value.empty", "the list is empty, so nobody is told anything", "write deliver: [] for that")
    return names


def service_url(text: str) -> str:
    """A URL of Apprise. Which services exist is not checked here."""
    _check_references(text)
    _one_address(text)
    if references_of(text[:2]) or text.startswith("${"):
        return text
    scheme = _SCHEME.match(text)
    if scheme is None:
        hint = "write a URL of a service, such as ntfys://ntfy.example.com/topic, or ${env:NAME}"
        raise _refuse("channel.url", "the text is not a URL", hint)
    found = _split(text)
    if (place := _literal_secret(scheme[0].lower(), found)) is not None:
        raise _refuse("channel.literal-secret", f"the URL contains a secret: {place}", _AS_REFERENCE)
    return text


def called_url(text: str) -> str:
    """An http or https URL that may contain references."""
    _check_references(text)
    if re.search(r"\s", text):
        raise _refuse("channel.url", "the URL contains a space or a line end", "write %20, or delete it")
    if text.startswith("${"):
        return text
    if not re.match(r"https?://[^/?#]", text, re.IGNORECASE):
        scheme = _SCHEME.match(text)
        said = f"a URL that starts with {scheme[0]}://" if scheme else "no URL"
        raise _refuse("channel.url", f"http or https is needed, but this is {said}", "write https://...")
    if (place := _literal_secret("https", _split(text))) is not None:
        raise _refuse("channel.literal-secret", f"the URL contains a secret: {place}", _AS_REFERENCE)
    return text


def ping_url(text: str) -> str:
    """The URL of one job. Anyone who can edit a job file can write it, so it cannot add a variable to an address."""
    if references_of(text) and not is_reference(text):
        hint = "write ping: ${env:NAME}, and put the whole URL there"
        raise _refuse("channel.reference", "a ping is a URL without references, or a reference to all of it", hint)
    return called_url(text)


def base_url(text: str) -> str:
    if not re.fullmatch(HTTP_PATTERN[1:-1], text, re.IGNORECASE) or "$" in text or _split(text).username is not None:
        message = f"{short(re.sub('//.*@', '//', text))} is not an http or https address"
        raise _refuse("channel.url", message, "write one like https://scheduler.internal")
    return text


def secret(text: str) -> str:
    if not is_reference(text):
        if "${" in text:
            _check_references(text)
        raise _refuse("channel.literal-secret", "the secret itself is written here", _AS_REFERENCE)
    return text


def one_or_two(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if value is None or (isinstance(value, list) and not 1 <= len(value) <= 2):
        message = f"secret has {len(value)} items; allowed: 1-2" if value is not None else "secret has no value"
        hint = "write ${env:NAME}, or two of them while the secret is changed"
        raise _refuse("value.empty" if not value else "value.invalid", message, hint)
    if not isinstance(value, list):
        raise _refuse("value.type", f"secret must be text or a list, not {shown(value)}", "write ${env:NAME}")
    return value


def command(words: list[str]) -> list[str]:
    runner_command(words)
    for word in words:
        if references_of(word) or "{task" in word:
            message = f"{short(word)} is passed to the program as it is: nothing is replaced in a channel's command"
            hint = "name the variable in env_from, and read it in the program"
            raise _refuse("channel.command", message, hint)
    return words


def beat(value: timedelta) -> timedelta:
    if not _SHORTEST <= value <= _LONGEST:
        raise _refuse("value.range", "every is outside 10s-1d", "write every: 1m")
    return value


def _one_address(text: str) -> None:
    if len(text.splitlines()) != 1 or not text.strip():
        raise _refuse("channel.url", "the URL is blank or has more than one line", "write it on one line")


def _check_references(text: str) -> None:
    for index, found in misspelt(text):
        # What looks like a reference is shown: it names a secret at most. A default in it may be one.
        said = short(found) if re.fullmatch(r"\$\{[A-Za-z_:./-]*\}", found) else "a reference"
        name = re.search(r"[A-Za-z_][A-Za-z0-9_]*", found.removeprefix("${env:"))
        hint = "write ${env:NAME} or ${file:/path}"
        if name is not None and re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", found):
            hint = f"write ${{env:{name[0]}}}"
        message = f"{said} is not one that is known; allowed: ${{env:NAME}} and ${{file:/path}}"
        raise _refuse("channel.reference", message, hint, index)


def _split(text: str) -> SplitResult:
    try:
        found = urlsplit(with_references_as(text, _STAND_IN))
        _ = found.username, found.hostname
    except ValueError:
        raise _refuse("channel.url", "the URL cannot be read", "check its brackets and its port") from None
    return found


def _literal_secret(scheme: str, found: SplitResult) -> str | None:
    """Which part of a URL is a secret that is written out, or None."""
    page = f"{found.hostname or ''}{found.path}"
    if scheme in ("http", "https"):
        if _HOOK_PAGES.match(page) and _STAND_IN not in page:
            return "the address itself permits posting"
        private = ""
    else:
        private = private_parts(scheme, user=found.username is not None, password=found.password is not None)
    if found.password and _STAND_IN not in found.password:
        return "the password"
    if "u" in private and found.username and _STAND_IN not in found.username:
        return "the part before @"
    if "h" in private and found.hostname and _STAND_IN not in found.hostname:
        return "the part after ://"
    if "P" in private and found.path.strip("/") and _STAND_IN not in found.path:
        return "the path"
    if _TOKENS.search(found.geturl()):
        return "it has the form of a token"
    for name, value in parse_qsl(found.query):
        if _PRIVATE_NAMES.fullmatch(name.lstrip("+-:")) and value and _STAND_IN not in value:
            return f"the value of {short(name)}"
    return None
