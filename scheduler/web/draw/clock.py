"""Strips of a clock as SVG: when a job runs. Pure: numbers in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

HEIGHT = 20
LEAST = 4  # of what is there at all


def strip(counts: Sequence[int], *, most: int, label: str, grid: int) -> str:
    """One bar for each count, as high as its share of `most`; equal neighbours are one bar.

    label: says the same in words. grid: so many counts between two lines.
    """
    bars, at = [], 0
    for count, run in groupby(counts):
        width = len(list(run))
        if count:
            height = max(LEAST, round(HEIGHT * min(1, count / most)))
            bars.append(f"M{at} {HEIGHT}v-{height}h{width}v{height}z")
        at += width
    lines = "".join(f"M{x} 0v{HEIGHT}" for x in range(grid, len(counts), grid))
    return (
        f'<svg class="clock" role="img" aria-label="{escape(label)}" viewBox="0 0 {len(counts)} {HEIGHT}" '
        f'preserveAspectRatio="none"><path class="grid" d="{lines}"/><path class="bars" d="{"".join(bars)}"/></svg>'
    )
