"""The chart of a job as SVG: one axis of time, four lanes. Pure: values in, text out.

Each outcome has a shape of its own, and one path, however many slots there are. Columns over everything are links that
ask for an instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from itertools import pairwise
from zoneinfo import ZoneInfo

from scheduler.core.past.chart import Band, Mark, Stretch, Timeline
from scheduler.core.past.codes import state_words
from scheduler.core.values.instants import instant
from scheduler.core.values.texts import counted
from scheduler.core.values.units import rough

WIDTH, LEFT, RIGHT = 1200, 84, 1188
COLUMNS = 120
TICKS, BANDS, OUTCOMES, DURATION, COST = 16, 24, 62, 92, 180  # tops of what is drawn
BAND, HIGH = 20, 72  # heights of a band, and of a lane with numbers
SHAPES: dict[str, tuple[str, str]] = {  # by outcome: its class, and its path around the origin
    "succeeded": ("good dot", "h0"),
    "failed": ("bad line", "m-4-4l8 8m0-8l-8 8"),
    "timed_out": ("bad", "m0-6l5 6-5 6-5-6z"),
    "interrupted": ("bad", "m-5-4h10l-5 9z"),
    "could_not_start": ("bad line", "m0-5l5 9h-10z"),
    "cancelled": ("wait", "m-4-4h8v8h-8z"),
    "skipped": ("wait line", "m-3 0h6"),
    "under_way": ("go", "m-4-5l9 5-9 5z"),
    "to_come": ("quiet line", "m0-4a4 4 0 1 1-.1 0z"),
}
_TICKS = {
    "text": ("mark", "m-5 0h10l-5 8z"),
    "definition": ("mark", "m0 0l4 4-4 4-4-4z"),
    "model": ("mark", "m-4 0h8v8h-8z"),
}
_STEPS = [timedelta(seconds=each) for each in (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200)]
_STEPS += [timedelta(days=each) for each in (1, 2, 7, 14, 30, 91, 182, 365, 730)]
_MOST_LABELS = 9


@dataclass(frozen=True, slots=True)
class _Axis:
    start: datetime
    end: datetime

    def x(self, at: datetime) -> int:
        share = (min(max(at, self.start), self.end) - self.start) / (self.end - self.start)
        return LEFT + round(share * (RIGHT - LEFT))


def lanes(
    found: Timeline, *, zone: str, link: Callable[[str], str], at: datetime | None = None, money: Callable[[float], str]
) -> str:
    """The whole chart. zone: of its labels. link: the address that asks for an instant. at: the one that is asked for.

    money: an amount of the timeline's currency, in words.
    """
    axis, there = _Axis(found.start, found.end), ZoneInfo(zone)
    durations = [(mark, float(mark.duration_ms)) for mark in found.marks if mark.duration_ms is not None]
    costs = [
        (mark, float(mark.cost)) for mark in found.marks if mark.cost is not None and mark.currency == found.currency
    ]
    foot = (COST + HIGH if costs else DURATION + HIGH) + 8
    parts = [
        f"<title>{escape(_title(found, there))}</title><desc>{escape(_shown(summary(found)))}</desc>",
        *_stretches(found.stretches, axis, foot),
        *_axis_lines(axis, there, foot),
        *_bands(found, axis),
        *_outcomes(found, axis),
        *_numbers("duration", durations, found.bands, axis, DURATION, lambda band: band.duration_ms, rough),
    ]
    if costs:
        parts += _numbers("cost", costs, found.bands, axis, COST, lambda band: band.cost, money)
    parts += _instants(found.now, at, axis, foot)
    keys = _legend(found, foot + 38)
    height = foot + 52
    return (
        f'<svg class="lanes" viewBox="0 0 {WIDTH} {height}">{_PATTERNS}<g role="img">{"".join(parts)}{keys}</g>'
        f'<g aria-hidden="true">{"".join(_columns(found, axis, there, foot, link))}</g></svg>'
    )


_PATTERNS = (
    '<defs><pattern id="held" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch" d="M0 0v8"/></pattern></defs>'
)


def summary(found: Timeline) -> str:
    """The chart in words."""
    slots: dict[str, int] = {}
    for mark in found.marks:
        slots[mark.outcome] = slots.get(mark.outcome, 0) + mark.slots
    told = [f"{count} {state_words(outcome)}" for outcome, count in slots.items()] or ["no runs"]
    told += [counted(len(found.bands), "text")] if found.bands else []
    told += [f"{counted(len(found.coming), 'slot')} to come"] if found.coming else []
    told += [each.words for each in found.stretches[:5]]
    return "; ".join(told)


def _title(found: Timeline, zone: ZoneInfo) -> str:
    first, last = (f"{each.astimezone(zone):%Y-%m-%d %H:%M}" for each in (found.start, found.end))
    return f"Texts, outcomes, duration and cost from {first} to {last}"


def _stretches(stretches: Sequence[Stretch], axis: _Axis, foot: int) -> Iterable[str]:
    """What kept the job from running: hatched if somebody did, grey if nobody was there."""
    for name, kinds in (("away", ("no daemon", "observing")), ("held", ("paused", "stopped", "archived"))):
        boxes = []
        for each in stretches:
            if each.kind in kinds:
                x = axis.x(each.start)
                boxes.append(f"M{x} {BANDS}h{max(1, axis.x(each.end) - x)}V{foot}H{x}z")
        if boxes:
            fill = ' fill="url(#held)"' if name == "held" else ""
            yield f'<path class="{name}"{fill} d="{"".join(boxes)}"/>'


def _axis_lines(axis: _Axis, zone: ZoneInfo, foot: int) -> Iterable[str]:
    grid, labels = [], []
    for at, text in _labels(axis.start, axis.end, zone):
        x = axis.x(at)
        grid.append(f"M{x} {BANDS}V{foot}")
        labels.append(f'<text x="{x}" y="{foot + 16}" text-anchor="middle">{text}</text>')
    yield f'<path class="grid" d="{"".join(grid)}M{LEFT} {foot}H{RIGHT}"/>'
    yield from labels


def _labels(start: datetime, end: datetime, zone: ZoneInfo) -> Iterable[tuple[datetime, str]]:
    """Round times of the zone, some of them, with what tells them apart."""
    step = next((each for each in _STEPS if (end - start) / each <= _MOST_LABELS), (end - start) / _MOST_LABELS)
    local = start.astimezone(zone).replace(tzinfo=None)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    wall = midnight + ((local - midnight) // step + 1) * step
    before = None
    while (at := wall.replace(tzinfo=zone)) < end:
        if step >= timedelta(days=28):
            text = f"{wall:%b %Y}"
        elif step >= timedelta(days=1) or (wall == wall.replace(hour=0, minute=0, second=0) and before is not None):
            text = f"{wall.day} {wall:%b}"
        elif before is None and end - start > timedelta(days=1):
            text = f"{wall.day} {wall:%b} {wall:%H:%M}"
        else:
            text = f"{wall:%H:%M:%S}" if step < timedelta(minutes=1) else f"{wall:%H:%M}"
        yield at, text
        before, wall = wall, wall + step


def _bands(found: Timeline, axis: _Axis) -> Iterable[str]:
    yield _name("text", BANDS + 14)
    for number, band in enumerate(found.bands):
        x, width = axis.x(band.start), max(2, axis.x(band.end) - axis.x(band.start))
        side = "one" if number % 2 else "other"
        yield f'<path class="band {side}" d="M{x} {BANDS}h{width}v{BAND}h-{width}z"/>'
        label = band.text[:7] + ("" if band.by is None else f" {band.commit.author if band.commit else band.by}")
        room = width // 7
        if room >= 7:
            yield f'<text class="code" x="{x + 4}" y="{BANDS + 14}">{escape(_shown(label)[:room])}</text>'
    for kind, (name, shape) in _TICKS.items():
        xs = dict.fromkeys(axis.x(each.at) for each in found.ticks if each.kind == kind)
        if xs:
            path = "".join(f"M{x} {TICKS - 2}{shape}" for x in xs)
            yield f'<path class="{name} {kind}" d="{path}"/>'


def _outcomes(found: Timeline, axis: _Axis) -> Iterable[str]:
    """One path for each outcome. Marks of one outcome on one spot are drawn once."""
    yield _name("outcome", OUTCOMES + 4)
    by_outcome: dict[str, dict[str, None]] = {}
    fine = dict.fromkeys((axis.x(mark.at), OUTCOMES) for mark in found.marks if mark.outcome == "succeeded")
    if fine:
        yield f'<path class="{SHAPES["succeeded"][0]}" d="{_dots(list(fine))}"/>'
    for mark in found.marks:
        if mark.outcome == "succeeded":
            continue
        x = axis.x(mark.at)
        paths = by_outcome.setdefault(mark.outcome, {})
        paths[f"M{x} {OUTCOMES}{SHAPES[mark.outcome][1]}"] = None
        if mark.last is not None and (to := axis.x(mark.last)) - x > 3:
            paths[f"M{x} {OUTCOMES}H{to}"] = None
    coming = (f"M{axis.x(slot)} {OUTCOMES}{SHAPES['to_come'][1]}" for slot in found.coming)
    by_outcome["to_come"] = dict.fromkeys(coming)
    for outcome, (name, _) in SHAPES.items():
        if by_outcome.get(outcome):
            yield f'<path class="{name}" d="{"".join(by_outcome[outcome])}"/>'


def _numbers(
    name: str,
    points: Sequence[tuple[Mark, float]],
    bands: Sequence[Band],
    axis: _Axis,
    top: int,
    median: Callable[[Band], object],
    words: Callable[[float], str],
) -> Iterable[str]:
    """A dot for each run, from 0 to the highest, and a line for the median of each text."""
    most = max((number for _, number in points), default=0.0) or 1.0
    yield _name(name, top + 14)
    yield f'<path class="grid" d="M{LEFT} {top + HIGH}H{RIGHT}"/>'
    if not points:
        yield f'<text x="{LEFT + 4}" y="{top + 40}">no run has ended in this time</text>'
        return
    yield f'<text x="{LEFT - 6}" y="{top + 30}" text-anchor="end">{escape(words(most))}</text>'
    yield f'<text x="{LEFT - 6}" y="{top + HIGH}" text-anchor="end">0</text>'

    def y(number: float) -> int:
        return top + HIGH - round(number / most * (HIGH - 6))

    dots = dict.fromkeys((axis.x(mark.at), y(number)) for mark, number in points)
    yield f'<path class="dots" d="{_dots(list(dots))}"/>'
    lines, labels = [], []
    for band in bands:
        found = median(band)
        if found is not None:
            number = float(str(found))
            height, x, to = y(number), axis.x(band.start), axis.x(band.end)
            lines.append(f"M{x} {height}H{max(to, x + 2)}")
            if to - x >= 60:
                above = height - 4 if height > top + 16 else height + 12
                place = f'class="value" x="{to - 2}" y="{above}" text-anchor="end"'
                labels.append(f"<text {place}>{escape(words(number))}</text>")
    if lines:
        yield f'<path class="median" d="{"".join(lines)}"/>'
    yield from labels


def _dots(points: Sequence[tuple[int, int]]) -> str:
    """Dots for a stroke with round ends, each told from the one before: half as long as with whole coordinates."""
    (x, y), *_ = points
    steps = (f"m{to_x - x}{' ' * (to_y >= y)}{to_y - y}h0" for (x, y), (to_x, to_y) in pairwise(points))
    return f"M{x} {y}h0{''.join(steps)}"


def _instants(now: datetime, at: datetime | None, axis: _Axis, foot: int) -> Iterable[str]:
    if axis.start <= now < axis.end:
        x = axis.x(now)
        yield f'<path class="now" d="M{x} {BANDS}V{foot}"/>'
        yield f'<text x="{x}" y="{foot + 28}" text-anchor="middle">now</text>'
    if at is not None and axis.start <= at < axis.end:
        x = axis.x(at)
        yield f'<path class="at" d="M{x} 4V{foot}m-5-{foot - 4}h10l-5 8z"/>'


def _legend(found: Timeline, y: int) -> str:
    """The shapes that occur, with their names."""
    there = {mark.outcome for mark in found.marks} | ({"to_come"} if found.coming else set())
    shown = [(name, shape, state_words(outcome)) for outcome, (name, shape) in SHAPES.items() if outcome in there]
    changed = {each.kind for each in found.ticks}
    shown += [(f"{name} {kind}", shape, f"new {kind}") for kind, (name, shape) in _TICKS.items() if kind in changed]
    kinds = {each.kind for each in found.stretches}
    parts, x = [], LEFT + 6
    for name, shape, words in shown:
        lift = y - 4 if name.startswith("mark") else y
        parts.append(f'<path class="{name}" d="M{x} {lift}{shape}"/><text x="{x + 10}" y="{y + 4}">{words}</text>')
        x += 34 + 7 * len(words)
    for name, of, words in (
        ("held", kinds & {"paused", "stopped", "archived"}, ""),
        ("away", kinds & {"no daemon", "observing"}, ""),
    ):
        if of:
            words = " or ".join(sorted(of))
            fill = ' fill="url(#held)"' if name == "held" else ""
            box = f"M{x - 4} {y - 5}h14v10h-14z"
            parts.append(f'<path class="{name}"{fill} d="{box}"/><text x="{x + 14}" y="{y + 4}">{words}</text>')
            x += 38 + 7 * len(words)
    return "".join(parts)


def _columns(found: Timeline, axis: _Axis, zone: ZoneInfo, foot: int, link: Callable[[str], str]) -> Iterable[str]:
    """Links over the chart. Where slots are, one leads to the worst of them, and to the newest of those."""
    width, step = (RIGHT - LEFT) / COLUMNS, (found.end - found.start) / COLUMNS
    best: dict[int, tuple[int, datetime]] = {}
    for mark in found.marks:
        number = int((max(mark.at, found.start) - found.start) / step)
        key = (int(mark.outcome != "succeeded"), mark.at)
        best[number] = max(best.get(number, key), key)
    for slot in found.coming:
        best.setdefault(int((slot - found.start) / step), (0, slot))
    form = "%d %b %H:%M:%S" if step < timedelta(minutes=2) else "%d %b %H:%M"
    for number in range(COLUMNS):
        at = best[number][1] if number in best else _whole(found.start + step * (number + 0.5))
        x = LEFT + round(number * width)
        told = f"{at.astimezone(zone):{form}}"
        across = LEFT + round((number + 1) * width) - x
        yield (
            f'<a href="{escape(link(instant(at)))}" tabindex="-1"><title>{told}</title>'
            f'<rect x="{x}" width="{across}" height="{foot}"/></a>'
        )


def _whole(at: datetime) -> datetime:
    return at.replace(microsecond=0)


def _name(words: str, y: int) -> str:
    return f'<text class="lane" x="0" y="{y}">{words}</text>'


def _shown(text: str) -> str:
    """Without what a writing direction would act on."""
    return "".join(each if each.isprintable() else "·" for each in text)
