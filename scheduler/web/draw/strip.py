"""The last slots of a job as SVG: one path for each outcome, each with a shape of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from scheduler.core.past.codes import reason_words, state_words
from scheduler.core.values.runs import is_fault

MOST = 30  # slots
STEP, HEIGHT = 6, 18
# By outcome, at (0, 0) of its slot: colour is never the only sign.
_SHAPES = {
    "succeeded": "m1 8h4v10h-4z",  # a low bar
    "failed": "m0 0h5v18h-5z",  # a full bar
    "cancelled": "m1 8h4v4h-4z",  # a block in the middle
    "going": "m1.5 8.5h3v9h-3z",  # hollow
    "skipped": "m2 16h2v2h-2z",  # a gap with a dot at its foot
}
_OUTCOMES = {
    "timed_out": "failed", "interrupted": "failed", "queued": "going", "claimed": "going", "running": "going",
}  # fmt: skip


def outcome(status: str, reason: str | None = None) -> str:
    """The shape of a slot whose row has this status. A slot that could not start for a fault has failed."""
    if status == "skipped" and is_fault(reason):
        return "failed"
    return _OUTCOMES.get(status, status)


def strip(slots: Sequence[tuple[str, str | None, int]], label: str) -> str:
    """slots: status, reason and number of slots, oldest first. The newest slot is at the right.

    label: says the same in words.
    """
    outcomes = [outcome(status, reason) for status, reason, count in slots for _ in range(min(count, MOST))][-MOST:]
    paths: dict[str, list[str]] = {}
    for place, each in enumerate(outcomes, MOST - len(outcomes)):
        if each in _SHAPES:
            paths.setdefault(each, []).append(f"M{place * STEP} 0{_SHAPES[each]}")
    drawn = "".join(f'<path class="{name}" d="{"".join(each)}"/>' for name, each in sorted(paths.items()))
    return (
        f'<svg class="strip" role="img" aria-label="{escape(label)}" viewBox="0 0 {MOST * STEP} {HEIGHT}">'
        f"<title>{escape(label)}</title>{drawn}</svg>"
    )


def words(slots: Sequence[tuple[str, str | None, int]]) -> str:
    """How many of the last slots came to what, such as `28 succeeded, 1 failed, 1 skipped (paused)`."""
    counts: dict[str, int] = {}
    left = MOST
    for status, reason, count in reversed(slots):
        name = f"skipped ({reason_words(reason)})" if status == "skipped" and reason else state_words(status)
        counts[name] = counts.get(name, 0) + min(count, left)
        left -= min(count, left)
    found = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda each: -each[1]) if count)
    return found or "no slots yet"
