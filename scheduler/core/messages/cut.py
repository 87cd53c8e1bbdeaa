"""Text cut to what a service takes: its head and its tail stay, and what is left out is counted (delivery.md, B5)."""

from __future__ import annotations

from scheduler.core.messages.defuse import FENCE

_HEAD = 0.7  # of the room; the tail gets the rest
_JOINER = "\u200d"


def size_of(text: str, *, in_bytes: bool) -> int:
    """Bytes of UTF-8, or characters."""
    return len(text.encode()) if in_bytes else len(text)


def cut_text(
    text: str, most: int, *, in_bytes: bool = False, where: str = "", fences: bool = False, total: int | None = None
) -> str:
    """The text itself if it fits; else its head and tail at line ends, and between them what is left out.

    most: never exceeded. where: the command that prints all of it. fences: they are even, as `with_even_fences` makes
    them, and stay even. total: characters of the whole, if `text` is already less than that.
    """
    if size_of(text, in_bytes=in_bytes) <= most:
        return text
    whole = len(text) if total is None else total
    longest = size_of(_left_out(whole, whole, where), in_bytes=in_bytes) + 2
    room = most - longest - (2 * len(FENCE) + 2 if fences else 0)
    if room < most // 4:
        return trimmed(text, most, in_bytes=in_bytes) if not fences else ""
    head = _at_line_end(trimmed(text, int(room * _HEAD), in_bytes=in_bytes, mark=""))
    tail = _at_line_start(_last(text, room - size_of(head, in_bytes=in_bytes), in_bytes=in_bytes, least=room))
    left = whole - len(head) - len(tail)
    if fences:
        before = text[: len(text) - len(tail)]
        head += f"\n{FENCE}" if _is_open(head) else ""
        tail = f"{FENCE}\n{tail}" if _is_open(before) else tail
    return f"{head}\n{_left_out(left, whole, where)}\n{tail}"


def trimmed(text: str, most: int, *, in_bytes: bool = False, mark: str = "…") -> str:
    """The head of a text, cut anywhere, never inside a character. mark: at its end, if it is cut and there is room."""
    if size_of(text, in_bytes=in_bytes) <= most:
        return text
    room = most - size_of(mark, in_bytes=in_bytes)
    if room < 0:
        return ""
    head = text.encode()[:room].decode(errors="ignore") if in_bytes else text[:room]
    head = head.rstrip(_JOINER)
    return head[: len(head) - _trailing_backslashes(head) % 2] + mark


def _last(text: str, most: int, *, in_bytes: bool, least: int) -> str:
    """The tail of a text, cut anywhere. It has 30 % of the room also if the head ended early at its line."""
    most = min(most, least - int(least * _HEAD))
    if most <= 0:
        return ""
    return text.encode()[-most:].decode(errors="ignore") if in_bytes else text[-most:]


def _at_line_end(head: str) -> str:
    """Shortened to its last whole line, unless that would take more than half of it."""
    end = head.rfind("\n")
    return head[:end] if end >= len(head) // 2 else head


def _at_line_start(tail: str) -> str:
    start = tail.find("\n") + 1
    tail = tail[start:] if 0 < start <= len(tail) // 2 else tail
    return tail.lstrip(_JOINER)


def _left_out(left: int, whole: int, where: str) -> str:
    said = f"… {left:,} of {whole:,} characters left out"
    return f"{said}; whole: {where}" if where else said


def _trailing_backslashes(text: str) -> int:
    return len(text) - len(text.rstrip("\\"))


def _is_open(text: str) -> bool:
    return sum(line.startswith(FENCE) for line in text.split("\n")) % 2 == 1
