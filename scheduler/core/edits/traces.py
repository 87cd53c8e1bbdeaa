"""Whether an edit still shows in a text that somebody has changed since."""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"\w+")
_SIGN = re.compile(r"[^\w\s]")


def still_edited(before: bytes | None, wrote: bytes, now: bytes) -> bool:
    """True if `now` was made from `wrote`, however it is formatted, rather than from `before` or from scratch.

    That is, if it has more of what the edit added than of what the edit removed.

    before: None if the edit created the file.
    """
    then, ours, found = (_features(text or b"") for text in (before, wrote, now))
    added, removed = ours - then, then - ours
    kept = _share(removed, found - ours)
    if not added:  # the edit removed text and added none
        return _share(ours, found) > 0.5 and kept < 0.5
    return _share(added, found - then) > (0.5 if before is None else kept)


def _features(text: bytes) -> Counter[tuple[str, str]]:
    """Words, each with the one before it, and lone symbols: a formatter changes quotes and spaces, rarely the order."""
    told = text.decode("utf-8", "replace")
    words = _WORD.findall(told)
    return Counter([*zip(["", *words], words, strict=False), *(("", sign) for sign in _SIGN.findall(told))])


def _share(wanted: Counter[tuple[str, str]], found: Counter[tuple[str, str]]) -> float:
    return (wanted & found).total() / wanted.total() if wanted else 0.0
