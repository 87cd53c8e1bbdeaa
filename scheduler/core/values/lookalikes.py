"""Characters that are invisible or look like plain ones. Messages name them, because nobody can spot them by eye."""

from __future__ import annotations

import re
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
# Cyrillic and Greek letters that look like Latin ones. They count as such only in a word that also has Latin letters.
_LETTERS = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u051d\u03bf"
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
        "aeopcyxijsdhqwoABEKMHOPCTYXIJSABEZHIKMNOPTYX",
        strict=True,
    )
)
_WORD = re.compile(r"[^\W\d_]+")
_LONGEST = 200


def plain_hint(text: str) -> str:
    """The hint for a value that must be plain but contains a lookalike, or an empty string if it has none."""
    text = text[:_LONGEST]
    plains = _plains(text)
    odd = next((c for c, plain in zip(text, plains, strict=True) if plain != c), None)
    if odd is None:
        return ""
    plain = "".join(plains).strip().strip("\"'")
    return f"it contains {_name(odd)}; write {short(plain)[1:-1]}" if plain else f"it contains {_name(odd)}; delete it"


def doubtful_hint(text: str) -> str:
    """The hint for free text with a character that was probably not intended, or an empty string.

    Only if the rest of it is plain ASCII. A dash or an apostrophe inside prose is fine.
    """
    plains = _plains(text[:_LONGEST])
    if text.isascii() or not "".join(plains).isascii():
        return ""
    odd = [at for at, plain in enumerate(plains) if plain not in ("", text[at])]  # invisible characters have their own
    prose = " " in text.strip()
    doubtful = [at for at in odd if not prose or at in (0, len(text) - 1) or plains[at].isspace() or text[at].isalpha()]
    return plain_hint(text) if doubtful else ""


def same_looking(word: str, near: str) -> str:
    """What distinguishes two different words that look the same; empty if they do not look the same."""
    if word == near or _looks(word) != _looks(near):
        return ""
    at = next((n for n, (a, b) in enumerate(zip(word, near, strict=False)) if a != b), min(len(word), len(near)))
    end = at + (1 if word[at + 1 :] == near[at + 1 :] else 2)  # a letter and its accent may be two
    return f"{_names(near[at:end])} where this has {_names(word[at:end])}"


def _looks(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", "".join(_LETTERS.get(each, _plain(each)) for each in composed))


def _plains(text: str) -> list[str]:
    """The plain form of each character: usually the character itself; an empty string if it is invisible."""
    plains = list(map(_plain, text))
    for word in () if text.isascii() else _WORD.finditer(text):
        latin = "".join(_LETTERS.get(each, each) for each in word[0])
        if latin != word[0] and latin.isascii() and any(map(str.isascii, word[0])):
            plains[word.start() : word.end()] = latin
    return plains


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
