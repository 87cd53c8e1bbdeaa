"""Plain values as YAML text: in the existing quotes, and so that every reader sees the same value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from scheduler.core.formats.yamlfile import read_yaml, resolve_scalar
from scheduler.core.values.texts import TextError

WIDTH = 100  # of a line; a longer list or mapping is written one item per line

_SIMPLE = re.compile(r"[A-Za-z_/](?:[\w./@+-]| (?! ))*(?<! )|[\w./@+-]*[A-Za-z][\w./@+-]*", re.ASCII)
# What JSON leaves as it is, but YAML does not allow or treats as a line ending.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_NOT_LITERAL = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_OTHER_READERS = yaml.resolver.Resolver()
_BOOLEANS = frozenset("yYnN")  # YAML 1.1 says so, though PyYAML does not


def value_of(text: str) -> Any:
    """The value that a person gives on a command line, by the rules of YAML.

    Text that starts with a bracket or a quote must be valid YAML. Anything else is one plain value: a number, true,
    false and null are what they look like, and text may contain what YAML would require quotes for, such as `*/5 * * *
    *`.
    Raises: TextError.
    """
    bare = text.strip()
    if bare[:1] in ("{", "[", '"', "'") and bare:
        (found,) = read_yaml(f"value: {bare}\n") or (None,)
        if found is None or found.flaws or list(found.data) != ["value"]:
            why = found.flaws[0].message if found is not None and found.flaws else "it is more than one value"
            raise TextError("yaml.syntax", why)
        return found.data["value"]
    return text if "\n" in text else resolve_scalar(bare)


def inline(value: Any, *, flow: bool = False, style: str | None = None) -> str:
    """`value` on one line.

    flow: it will be inside [ ] or { }.
    style: the quotes to keep if the text allows them: "'", '"', "" for none; None: as few as are safe.
    """
    match value:
        case dict():
            pairs = ", ".join(f"{key_text(key)}: {inline(each, flow=True)}" for key, each in value.items())
            return f"{{{pairs}}}"
        case list():
            return f"[{', '.join(inline(each, flow=True) for each in value)}]"
        case str():
            return _text(value, flow, style)
    return _bare(value)


def _bare(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return repr(value)


def _text(text: str, flow: bool, style: str | None) -> str:
    if style == "'" and "\n" not in text and not _NOT_LITERAL.search(text):
        return "'" + text.replace("'", "''") + "'"
    if style == "" and is_plain(text, flow=flow):
        return text
    if style is None and _SIMPLE.fullmatch(text) and is_plain(text, flow=flow):
        return text
    return in_json(text)


def in_json(value: Any) -> str:
    """`value` as JSON that is also YAML."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def is_json(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def is_plain(text: str, *, flow: bool = False) -> bool:
    """True if text needs no quotes here, nor for a reader of YAML 1.1, to which `on` and `1:30` are not text."""
    if not text or len(text) > 1000 or "\n" in text or "\r" in text or text in _BOOLEANS:
        return False
    if _OTHER_READERS.resolve(yaml.ScalarNode, text, (True, False)) != "tag:yaml.org,2002:str":  # type: ignore[no-untyped-call]
        return False
    try:
        found = read_yaml(f"{{k: {text}}}" if flow else f"k: {text}\n")
    except TextError:
        return False
    return len(found) == 1 and not found[0].flaws and found[0].data == {"k": text}


def key_text(key: str) -> str:
    return (
        key if re.fullmatch(r"[A-Za-z_][\w.-]*", key, re.ASCII) and is_plain(key, flow=True) else _text(key, True, '"')
    )


def literal(text: str, *, indent: int, step: int, newline: str) -> tuple[str, str] | None:
    """`text` as a literal block: its header, and its lines without the last line ending. None if it has no such form.

    indent: columns before the key that it belongs to. step: how much further its lines are indented.
    """
    if not text.strip() or _NOT_LITERAL.search(text):
        return None
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    chomping = ("-", "", "+")[min(ends, 2)]
    lines = body.split("\n") + [""] * (ends - 1)
    first = next(line for line in lines if line.strip())
    indicator = str(step) if first.startswith((" ", "\t")) or any(line and not line.strip() for line in lines) else ""
    pad = " " * (indent + step)
    return f"|{indicator}{chomping}", newline.join(pad + line if line else "" for line in lines)


def block(value: Any, *, indent: int, newline: str) -> Iterator[str]:
    """The lines of a list or mapping, one item per line; none if it is empty."""
    pad = " " * indent
    if isinstance(value, dict):
        for key, each in value.items():
            yield from pair(key, each, indent=indent, newline=newline)
    elif isinstance(value, list):
        for each in value:
            yield f"{pad}- {inline(each)}"


def pair(key: str, value: Any, *, indent: int, newline: str) -> list[str]:
    """A key with its value, as the lines of a block mapping whose keys are indented by `indent` columns."""
    head = f"{' ' * indent}{key_text(key)}:"
    if isinstance(value, str) and "\n" in value:
        found = literal(value, indent=indent, step=2, newline=newline)
        if found is not None:
            return [f"{head} {found[0]}", *found[1].split(newline)]
    short = f"{head} {inline(value)}"
    if isinstance(value, dict | list) and value and len(short) > WIDTH:
        return [head, *block(value, indent=indent + 2, newline=newline)]
    return [short]
