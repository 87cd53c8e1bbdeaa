"""Characters that do not show, or look like plain ones: called by their names, as nobody finds them by looking."""

from __future__ import annotations

import unicodedata

from scheduler.core.values.texts import short

_PLAIN = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u2217\u22c6\u204e\u00d7", "*"),
    "\u2215": "/",
    "\u2044": "/",
}
_LONGEST = 200


def plain_hint(text: str) -> str:
    """The hint for a value that has to be plain and holds something that only looks so; empty where it does not."""
    odd = next((c for c in text[:_LONGEST] if not c.isascii() and _plain(c) != c), None)
    if odd is None:
        return ""
    plain = "".join(map(_plain, text[:_LONGEST])).strip().strip("\"'")
    return f"it holds {_name(odd)}; write {short(plain)[1:-1]}" if plain else f"it holds {_name(odd)}; delete it"


def same_looking(word: str, near: str) -> str:
    """What tells two different words apart that look the same; empty where they do not look so."""
    if word == near or _looks(word) != _looks(near):
        return ""
    at = next((n for n, (a, b) in enumerate(zip(word, near, strict=False)) if a != b), min(len(word), len(near)))
    return f"{_names(near[at : at + 2])} where this has {_names(word[at : at + 2])}"


def _looks(text: str) -> str:
    return unicodedata.normalize("NFC", "".join(map(_plain, unicodedata.normalize("NFC", text))))


def _plain(char: str) -> str:
    if char.isascii():
        return char
    if (plain := _PLAIN.get(char)) is not None:
        return plain
    if unicodedata.category(char) in ("Cf", "Zl", "Zp"):
        return ""
    folded = unicodedata.normalize("NFKC", char)
    return folded if folded.isascii() and len(folded) == 1 else char


def _names(text: str) -> str:
    return " and ".join(map(_name, text)) or "nothing"


def _name(char: str) -> str:
    return f"{unicodedata.name(char, 'a character without a name')} (U+{ord(char):04X})"
