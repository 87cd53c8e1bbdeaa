"""Plots of lines with logarithmic axes, as SVG that reads well on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 178, 40, 52
# Told apart by people who see few colours, too (Okabe and Ito); each as it is on light and on dark.
COLOURS = (
    ("#0072b2", "#56b4e9"), ("#d55e00", "#ff8a3d"), ("#00795a", "#2fc79b"), ("#a8487f", "#e59ac6"),
    ("#8a6d00", "#f0c93a"), ("#555555", "#bbbbbb"), ("#5b4fc4", "#a79df5"),
)  # fmt: skip
LABEL_PX = 15  # between two labels

Line = Sequence[tuple[float, float]]


def _style() -> str:
    light = "".join(f".c{i}{{stroke:{light}}}.f{i}{{fill:{light}}}" for i, (light, _) in enumerate(COLOURS))
    dark = "".join(f".c{i}{{stroke:{dark}}}.f{i}{{fill:{dark}}}" for i, (_, dark) in enumerate(COLOURS))
    return (
        "text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:14px;font-weight:600}.back{fill:#fff}"
        f".grid{{stroke:#ddd}}.line{{fill:none;stroke-width:2}}{light}"
        "@media (prefers-color-scheme:dark){text{fill:#ccc}.back{fill:#161b22}.grid{stroke:#333b45}" + dark + "}"
    )


def _said(value: float) -> str:
    """A power of ten on an axis: 0.1, 10, 1,000, 10^6."""
    return f"10{_raised(round(math.log10(value)))}" if value >= 1e6 else f"{value:,.10g}"


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that hold all values; at least one decade."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    return low, max(low + 1, math.ceil(math.log10(max(values)) - 1e-9))


def plot(title: str, across: str, up: str, lines: Mapping[str, Line]) -> str:
    """An SVG of these lines. Values are above zero; every line has a point.

    across, up: what the axes show, with the unit.
    """
    xs = [x for line in lines.values() for x, _ in line]
    ys = [y for line in lines.values() for _, y in line]
    (x_low, x_high), (y_low, y_high) = _decades(xs), _decades(ys)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (math.log10(x) - x_low) / (x_high - x_low) * (right - LEFT),
            bottom - (math.log10(y) - y_low) / (y_high - y_low) * (bottom - TOP),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        f' role="img" aria-label="{escape(title)}">',
        f"<style>{_style()}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
    ]
    for power in range(x_low, x_high + 1):
        x, _ = place(10.0**power, 10.0**y_low)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{_said(10.0**power)}</text>')
    for power in range(y_low, y_high + 1):
        _, y = place(10.0**x_low, 10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_said(10.0**power)}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(across)}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text transform="translate(18 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    ends = []
    for number, (name, line) in enumerate(lines.items()):
        colour = number % len(COLOURS)
        points = [place(x, y) for x, y in sorted(line)]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line c{colour}" points="{joined}"/>')
        parts += [f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
        ends.append((points[-1][1], name, colour))
    below = -math.inf
    for y, name, colour in sorted(ends):
        below = max(y, below + LABEL_PX)
        parts.append(f'<text class="f{colour}" x="{right + 10}" y="{below + 4:.1f}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
