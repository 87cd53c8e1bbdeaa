"""The hours around now as SVG: what ended, what runs, and what is to come. Pure: numbers in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

PART = 5  # minutes
HOURS = 6  # on each side
PARTS = HOURS * 60 // PART  # on each side
WIDTH = 2 * PARTS * PART  # a minute is one unit
NOW = WIDTH // 2
FAILED, ENDED, SKIPPED, RUNNING = 0, 18, 44, 54  # tops of the lanes
HEIGHT = 74
TALL = 22  # of a full bar
ROW = 5  # of a run under way


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What ended in one part of the time, and how many fires are to come in it."""

    failed: int = 0
    succeeded: int = 0
    other: int = 0
    skipped: int = 0
    coming: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A run under way, in minutes: since when it runs, and how long a run of its job usually takes."""

    since: float
    usual: float | None


def ribbon(parts: Sequence[Part], bars: Sequence[Bar], label: str) -> str:
    """parts: those of the hours before now, then those of the hours after it. bars: four at most are drawn.

    label: says in words what is to be seen.
    """
    most = max((each.succeeded + each.other + each.coming for each in parts), default=0) or 1
    paths: dict[str, list[str]] = {"failed": [], "succeeded": [], "other": [], "skipped": [], "coming": []}
    for place, each in enumerate(parts):
        x, foot = place * PART, ENDED + TALL
        if each.failed:  # a triangle in a lane of its own
            paths["failed"].append(f"M{x - 1} {FAILED + 1}h7l-3.5 13z")
        if each.skipped:
            paths["skipped"].append(f"M{x + 0.5} {SKIPPED + 2}h4v2h-4z")
        up = 0
        for name, count in (("succeeded", each.succeeded), ("other", each.other), ("coming", each.coming)):
            if count:
                height = max(5, round((TALL - 1) * count / most))
                paths[name].append(f"M{x + 0.5} {foot - up - 0.5}v-{height}h4v{height}z")
                up += height
    for row, bar in enumerate(bars[:4]):
        begin, top = max(0.0, NOW - bar.since), RUNNING + row * ROW
        paths.setdefault("running", []).append(f"M{begin:.1f} {top}H{NOW}v3H{begin:.1f}z")
        if bar.usual is not None and bar.usual > bar.since:
            end = min(float(WIDTH), NOW + bar.usual - bar.since)
            paths.setdefault("usual", []).append(f"M{NOW} {top + 0.5}H{end:.1f}v2H{NOW}z")
    grid = "".join(f"M{x} 0v{HEIGHT}" for x in range(60, WIDTH, 60) if x != NOW)
    drawn = "".join(f'<path class="{name}" d="{"".join(each)}"/>' for name, each in paths.items() if each)
    return (
        f'<svg class="ribbon" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'preserveAspectRatio="none"><path class="grid" d="{grid}"/>{drawn}'
        f'<path class="now" d="M{NOW} 0v{HEIGHT}"/></svg>'
    )
