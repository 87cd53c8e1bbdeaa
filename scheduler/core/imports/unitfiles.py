"""Unit files of systemd: systemd.syntax(7), the command lines of systemd.service(5), the spans of systemd.time(7)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from scheduler.core.imports.secrets import quoted
from scheduler.core.values.texts import InputError

_SECONDS = {
    "": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "usec": 1e-6, "µs": 1e-6,
    "m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400, "w": 604800, "week": 604800, "weeks": 604800,
    "M": 2629800, "month": 2629800, "months": 2629800, "y": 31557600, "year": 31557600, "years": 31557600,
}  # fmt: skip
_LONGEST_SPAN = 200  # characters
_SPAN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Zµ]*)")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_PREFIXES = re.compile(r"[@:+!|-]*")


@dataclass(slots=True)
class Unit:
    """One unit with its drop-ins: the values of each key in their order, as `Section.Key`, and their lines."""

    values: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def all(self, key: str) -> Sequence[str]:
        return self.values.get(key, ())

    def last(self, key: str) -> str | None:
        found = self.values.get(key)
        return found[-1] if found else None

    def flag(self, key: str) -> bool:
        return (self.last(key) or "").lower() in ("1", "yes", "y", "true", "t", "on")


def read_unit(*texts: str) -> Unit:
    """texts: of the unit, then of its drop-ins. An empty value deletes those before it."""
    unit = Unit()
    for number, text in enumerate(texts):
        section = ""
        for line, each in _logical_lines(text):
            if found := re.fullmatch(r"\[([^\]]+)\]", each):
                section = found[1]
                continue
            name, equals, value = (part.strip() for part in each.partition("="))
            if not equals:
                continue
            key = f"{section}.{name}"
            if value:
                unit.values.setdefault(key, []).append(value)
                unit.lines.setdefault(key, line if number == 0 else 1)
            else:
                unit.values.pop(key, None)
    return unit


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, with those that a backslash continues joined, and where each begins."""
    held, begin = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not held):
            continue
        begin = begin if held else number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        yield begin, (held + line).strip()
        held = ""
    if held.strip():
        yield begin, held.strip()


def span(text: str) -> timedelta | None:
    """`5min 20s`, `1h30m`, `90`: None for `infinity`. Raises: InputError."""
    if text == "infinity":
        return None
    if len(text) > _LONGEST_SPAN:
        raise InputError(f"{quoted(text)} is not a span of time of systemd.time(7)")
    total, at = 0.0, 0
    while at < len(text):
        found = _SPAN.match(text, at)
        if found is None or found[2] not in _SECONDS or len(found[1]) > 15:
            raise InputError(f"{quoted(text)} is not a span of time of systemd.time(7)")
        total += float(found[1]) * _SECONDS[found[2]]
        at = found.end() + len(text[found.end() :]) - len(text[found.end() :].lstrip())
    if not 0 <= total < 10 * 31557600:
        raise InputError(f"{quoted(text)} is longer than ten years")
    return timedelta(seconds=round(total, 6))


def words_of(text: str, specifiers: Mapping[str, str]) -> list[str]:
    """The items of a value, without their quotes; escapes and specifiers replaced. Raises: InputError."""
    return [_replaced(word, specifiers) for word, _ in _items(text)]


def _items(text: str) -> Iterator[tuple[str, bool]]:
    """The items of a value, and whether each has a quote or an escape."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        word, quote, marked = "", "", False
        while at < len(text) and (quote or not text[at].isspace()):
            if text[at] == "\\" and (found := _ESCAPE.match(text, at)):
                word, marked, at = word + _escaped(found), True, found.end()
                continue
            if text[at] == quote:
                quote = ""
            elif not quote and text[at] in "'\"":
                quote, marked = text[at], True
            else:
                word += text[at]
            at += 1
        if quote:
            raise InputError(f"a {quote} is open at the end of {quoted(text)}")
        yield word, marked


def _escaped(found: re.Match[str]) -> str:
    for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
        if found[group]:
            code = int(found[group], base)
            return chr(code) if 0 < code < 0x110000 else found[0]
    return _ESCAPES.get(found[5], found[5] if found[5] in "\\\"';" else found[0])


def _replaced(word: str, specifiers: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == "%":
            return "%"
        if name not in specifiers:
            raise InputError(f"the specifier %{name} cannot be replaced here", hint="write its value in the unit")
        return specifiers[name]

    return re.sub(r"%(.)", value, word, flags=re.DOTALL)


def commands(text: str, specifiers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The command lines of one ExecStart for a POSIX shell, each with its prefixes. Raises: InputError."""
    line: list[str] = []
    for word, marked in [*_items(text), (";", False)]:
        if word != ";" or marked:
            line.append(word)
        elif line:
            yield _command(line, specifiers)
            line = []


def _command(line: Sequence[str], specifiers: Mapping[str, str]) -> tuple[str, str]:
    prefixes = _PREFIXES.match(line[0])
    assert prefixes is not None
    first = line[0][prefixes.end() :]
    rest = [*line[1:]]
    if "@" in prefixes[0] and rest:  # the next word is what the program is told that it is called
        rest.pop(0)
    if not first:
        raise InputError(f"{quoted(' '.join(line))} names no program")
    literal = ":" in prefixes[0]
    if literal:  # no variable is replaced, and so not the home folder either
        specifiers = {key: value for key, value in specifiers.items() if "$" not in value}
    program = _argument(_replaced(first.replace("$", "$$"), specifiers), literal=False)
    arguments = [_argument(_replaced(each, specifiers), literal=literal) for each in rest]
    return " ".join([program, *arguments]), prefixes[0]


def _argument(word: str, *, literal: bool) -> str:
    """A word for a shell: variables where systemd replaces them, everything else as it is."""
    if literal or "$" not in word:
        return shlex.quote(word)
    if found := re.fullmatch(r"\$([A-Za-z_][A-Za-z0-9_]*)", word):
        return f"${{{found[1]}-}}"  # split at blanks, by systemd too
    parts, at = [], 0
    for found in _VARIABLE.finditer(word):
        parts += [double_quoted(word[at : found.start()]), f"${{{found[1]}-}}" if found[1] else r"\$"]
        at = found.end()
    inner = "".join([*parts, double_quoted(word[at:])])
    return f'"{inner}"' if re.search(r"(?<!\\)\$", inner) else shlex.quote(word.replace("$$", "$"))


def double_quoted(text: str) -> str:
    """The inner part of a double-quoted word of a shell."""
    return re.sub(r'([\\"$`])', r"\\\1", text)
