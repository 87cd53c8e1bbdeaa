"""Characters that a person does not see but a program reads: where they are in a text, and what they spell."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.core.values.texts import Lines, counted

# Default_Ignorable_Code_Point of Unicode 15, and the letters and signs that are blank.
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_EMOJI_STYLE, _JOINERS, _MARKS = "\ufe0f", "\u200c\u200d", "\u061c\u200e\u200f"
_EMOJI = re.compile("[#*0-9\u203c\u2049\u2122\u2139\u2194-\u21aa\u2934\u2935\u3030]")  # those that are no "So"
_MOST_PLACES = 5
_TAGS = 0xE0000  # what is added to a letter to make its tag
_REGIONS = ("gbeng", "gbsct", "gbwls")  # whose flags are written with tags
_FLAGS = re.compile(
    f"\U0001f3f4(?:{'|'.join(''.join(chr(_TAGS + ord(each)) for each in name) for name in _REGIONS)})\U000e007f"
)

HIDDEN_HINT = 'delete them, or write them as escapes such as "\\u200b" in double quotes'


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """The hidden characters of one text."""

    places: tuple[int, ...]  # the index of each one that does not follow another; ascending
    first: str
    count: int
    spelled: str  # what tags or variation selectors among them say, decoded; empty if nothing


def hides(text: str, index: int) -> bool:
    """True if the character at `index` is invisible. An emoji's own variation selector is part of the emoji."""
    each = text[index]
    if _HIDDEN.fullmatch(each) is None:
        return False
    return each != _EMOJI_STYLE or not (index and _is_emoji(text[index - 1]))


def without_hidden(text: str) -> str:
    """What shows of a text, for a comparison with what a person sees."""
    return text if text.isascii() else _HIDDEN.sub("", text)


def find_hidden(text: str) -> Hidden | None:
    """The hidden characters that no script and no emoji needs."""
    places = _needless(text)
    if not places:
        return None
    spelled = b"".join(_bytes(text[index]) for index in places).decode(errors="replace")
    begins = tuple(at for before, at in zip([-2, *places], places, strict=False) if at > before + 1)
    return Hidden(places=begins, first=text[places[0]], count=len(places), spelled=spelled)


def without_needless(text: str) -> str:
    """A text without the hidden characters that no script and no emoji needs."""
    places = set(_needless(text))
    return "".join(each for index, each in enumerate(text) if index not in places) if places else text


def _needless(text: str) -> list[int]:
    """The indexes of the hidden characters that no script and no emoji needs, ascending."""
    if text.isascii():
        return []
    flags = {index for flag in _FLAGS.finditer(text) for index in range(*flag.span())}
    right_to_left: bool | None = None
    places = []
    for found in _HIDDEN.finditer(text):
        index = found.start()
        if index in flags or not hides(text, index) or (found[0] in _JOINERS and _joins(text, index)):
            continue
        if found[0] in _MARKS:
            if right_to_left is None:
                right_to_left = any(unicodedata.bidirectional(each) in ("R", "AL") for each in text if each > "\u0590")
            if right_to_left:
                continue
        places.append(index)
    return places


def _is_emoji(each: str) -> bool:
    return unicodedata.category(each) in ("So", "Sk") or _EMOJI.fullmatch(each) is not None


def _joins(text: str, index: int) -> bool:
    """True if a joiner is where writing needs one: between emoji, or after a letter that is not Latin."""
    before = text[index - 1] if index else ""
    if not before or index + 1 == len(text):
        return False
    if before == _EMOJI_STYLE or _is_emoji(before):
        return _is_emoji(text[index + 1])
    return "\u0600" <= before <= "\u1cff" and unicodedata.category(before)[0] in "LM"


def _bytes(each: str) -> bytes:
    """The byte that a tag or a variation selector stands for."""
    code = ord(each)
    if 0xE0020 <= code <= 0xE007E:
        return bytes([code - _TAGS])
    if 0xFE00 <= code <= 0xFE0F:
        return bytes([code - 0xFE00])
    return bytes([code - 0xE0100 + 16]) if 0xE0100 <= code <= 0xE01EF else b""


def names_of(found: Hidden, lines: Lines) -> str:
    """For a message: how many, the first by its number and name, where they stand, and what they spell.

    lines: of the text in which they were found.
    """
    name = unicodedata.name(found.first, "").lower()
    first = f"U+{ord(found.first):04X}{f' ({name})' if name else ''}"
    said = f"{found.count} invisible characters, the first {first}"
    said = f"an invisible character, {first}" if found.count == 1 else said
    named = ["{}:{}".format(*lines.place(index)) for index in found.places[:_MOST_PLACES]]
    more = len(found.places) - len(named)
    last = [counted(more, "more place")] if more else [named.pop()]
    said += f", at {' and '.join([', '.join(named), *last] if named else last)}"
    spelled = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in found.spelled[:200])
    return said + (f"; they spell {spelled!r}" if spelled.strip("\N{REPLACEMENT CHARACTER} ") else "")


def each_shown(text: str) -> Iterator[tuple[str, bool]]:
    """Each character, and whether it shows as itself."""
    for index, each in enumerate(text):
        yield each, each.isprintable() and not hides(text, index)
