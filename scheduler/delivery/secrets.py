"""Resolve the references of a channel, and keep their values out of every word that is kept, logged or shown."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, quote_plus, unquote

from scheduler.core.values.channels import Channel
from scheduler.core.values.references import Reference, filled

MOST_BYTES: Final = 64 * 1024  # of a file that contains a secret
HIDDEN: Final = "[hidden]"
SHORT: Final = (
    4  # fewer characters are hidden as a word only: `25` in `425`, or `me` in `timeout`, tells nobody a secret
)
_DELIMITERS = re.compile(r"[\s/@:?&=#,;+]+")  # where Apprise may take a URL apart


class SecretError(Exception):
    """A reference that cannot be resolved. The words name the reference, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A channel whose references have been replaced by their values. Its repr is as secret as they are."""

    channel: Channel
    hidden: tuple[str, ...]  # the values


def resolve(channel: Channel, environ: Mapping[str, str]) -> Resolved:
    """Read what the channel refers to, at each send: a fixed secret then needs no restart. Raises: SecretError."""
    values: dict[Reference, str] = {}

    def lookup(reference: Reference) -> str:
        if reference not in values:
            values[reference] = read_reference(reference, environ)
        return values[reference]

    def of(text: str | None) -> str | None:
        return None if text is None else filled(text, lookup)

    changed = replace(
        channel,
        url=of(channel.url),
        webhook=of(channel.webhook),
        ping=of(channel.ping),
        secrets=tuple(filled(each, lookup, url=False) for each in channel.secrets),
    )
    return Resolved(channel=changed, hidden=tuple(values.values()))


def resolve_url(url: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """A URL outside a channel, such as a job's ping or the heartbeat, and what to hide. Raises: SecretError."""
    values: list[str] = []

    def lookup(reference: Reference) -> str:
        values.append(read_reference(reference, environ))
        return values[-1]

    return filled(url, lookup), tuple(values)


def read_reference(reference: Reference, environ: Mapping[str, str]) -> str:
    """The value, without one newline at its end. Raises: SecretError."""
    if reference.kind == "env":
        if not (value := environ.get(reference.name, "")):
            how = "is empty" if reference.name in environ else "is not set"
            raise SecretError(f"{reference}: the variable {how}. Set it in the environment of the scheduler")
    else:
        value = _content(reference).removesuffix("\n").removesuffix("\r")
        if not value:
            raise SecretError(f"{reference}: the file is empty. Write the secret into it")
    if any(ord(each) < 32 or ord(each) == 127 for each in value):
        raise SecretError(f"{reference}: the value contains a control character, such as a newline. Remove it")
    return value


def _content(reference: Reference) -> str:
    try:  # a FIFO without a writer would hang the sender
        file = os.open(reference.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as opened:
            content = opened.read(MOST_BYTES + 1) or b""
    except OSError as error:
        raise SecretError(f"{reference}: cannot read the file: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise SecretError(f"{reference}: the file has more than {MOST_BYTES // 1024} KiB. Put only the secret in it")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{reference}: the file is not UTF-8") from None


class Scrubber:
    """Replaces secrets in words: as they are, percent-encoded, in Basic credentials, and the parts of them."""

    def __init__(self, values: Iterable[str]) -> None:
        found = {form for value in values for form in _forms(value)} - {""}
        ordered = sorted(found, key=lambda each: (-len(each), each))  # a secret may contain another
        self._pattern = re.compile("|".join(map(_matching, ordered))) if ordered else None

    def __call__(self, words: str) -> str:
        return words if self._pattern is None else self._pattern.sub(HIDDEN, words)


def _matching(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= SHORT else rf"(?<!\w){escaped}(?!\w)"


def _forms(value: str) -> Iterable[str]:
    rest = value.partition("://")[2] or value
    pieces = [value, rest, *(each for each in _DELIMITERS.split(rest) if len(each) >= SHORT)]
    if "@" in rest:
        pieces.append(rest.rpartition("@")[0])  # user:password, as Basic credentials contain it
    for piece in pieces:
        for form in {piece, unquote(piece)}:
            yield from (form, quote(form, safe=""), quote(form), quote_plus(form), repr(form)[1:-1])
            encoded = b64encode(form.encode()).decode().rstrip("=")
            if len(form) >= SHORT:
                yield encoded
