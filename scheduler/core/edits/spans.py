"""Edit one document of a YAML text and leave every other byte alone.

Positions come from PyYAML's marks. Each step proposes new versions of the text, and the strict reader parses them. Only
a version that yields the old data with just that change is used. If no proposal does, the change is refused, with its
line.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import yaml

from scheduler.core.edits.layout import HEADER, Layout, Node
from scheduler.core.edits.written import WIDTH, block, in_json, inline, is_json, key_text, literal, pair
from scheduler.core.formats.shapes import JobShape
from scheduler.core.formats.yamlfile import Path, YamlDocument, read_yaml
from scheduler.core.values.spec import MANUAL
from scheduler.core.values.texts import InputError, Lines, TextError, short

UNSET: Any = type("Unset", (), {"__repr__": lambda _: "UNSET"})()  # instead of a value: removes the key

_FIRST_KEYS = ("id", "name", "description", "owner", "tags", "enabled", "schedule", "task_source_path")
SHORTHANDS: Mapping[str | int, str] = {"schedule": "cron", "catch_up": "policy"}  # what a bare value stands for
ORDER = (*_FIRST_KEYS, *(key for key in JobShape.model_fields if key not in (*_FIRST_KEYS, "task")), "task")
_COLON = re.compile(r"[ \t]*:")


class Change(NamedTuple):
    """One key and its new value; UNSET removes the key."""

    path: Path
    value: Any


class EditError(InputError):
    """A change that cannot be made without touching more than it names. `line` is 1-based, in the whole text."""

    def __init__(self, message: str, *, line: int = 1, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line


class MissingKeyError(InputError):
    """The key to be unset, or to be changed below, does not exist."""

    def __init__(self, message: str, *, path: Path, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


@dataclass(frozen=True, slots=True)
class Page:
    """The YAML of a text, and the one document in it that is edited."""

    text: str
    start: int
    end: int
    number: int  # of the document, from 0; empty documents are not counted

    def changed(self, text: str) -> Page:
        return replace(self, text=text, end=self.end + len(text) - len(self.text))

    def documents(self) -> tuple[YamlDocument, ...]:
        return read_yaml(self.text, self.start, self.end)

    def line(self, index: int) -> int:
        return Lines(self.text).place(index)[0]


def changed(page: Page, changes: Sequence[Change], go_on: Callable[[], None] = lambda: None) -> Page:
    """The text with these changes, made in order.

    go_on: called before each try, which reads all of the text; may raise to give up.
    Raises: EditError, MissingKeyError; TextError if the original text cannot be read.
    """
    documents = page.documents()
    if page.number >= len(documents):
        raise EditError("the document is empty", line=page.line(page.start), hint="write at least the id by hand")
    document = documents[page.number]
    if document.flaws:
        flaw = document.flaws[0]
        raise EditError(f"{flaw.message}; fix this first", line=page.line(flaw.index), hint=flaw.hint)
    if not isinstance(document.data, dict):
        raise EditError("the document is not a mapping", line=document.start[0])
    for change in changes:
        page = _changed(page, _settled(page, change), go_on)
    return page


def same(one: Any, other: Any) -> bool:
    """True if two plain values are equal and have the same types: true is not 1, and 1 is not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(each, other[key]) for key, each in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def with_change(data: Any, change: Change) -> Any:
    """`data` with a change made. A list or mapping that becomes empty is removed as well."""
    data = copy.deepcopy(data)
    if isinstance(change.value, _Item):
        *around, position = change.path
        _at(data, tuple(around)).insert(position, change.value.value)
        return data
    return _with(data, change.path, change.value)


def _with(data: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if data is None:
        data = {}
    inside = data[key] if isinstance(data, list) or key in data else None  # type: ignore[index]
    inside = _with(inside, rest, value)
    if inside is not UNSET:
        data[key] = inside
        return data
    del data[key]
    return data or UNSET


def _settled(page: Page, change: Change) -> Change:
    """The change in terms of the existing keys: a bare value may stand for a mapping, as a cron expression does."""
    key, rest = change.path[0], change.path[1:]
    written = page.documents()[page.number].data.get(key)
    if key not in SHORTHANDS or not rest or not isinstance(written, str):
        return change
    if rest == (SHORTHANDS[key],):
        return Change((key,), change.value)
    if change.value is UNSET or any(isinstance(part, int) for part in rest):
        raise MissingKeyError(f"{dotted(change.path)} is not set here", path=change.path)
    return Change((key,), _with(written_out(key, written), rest, change.value))


def written_out(key: str | int, written: str) -> dict[str | int, Any]:
    """The mapping that a bare value stands for; a manual schedule has nothing to put into one."""
    return {} if key == "schedule" and written == MANUAL else {SHORTHANDS[key]: written}


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _changed(page: Page, change: Change, go_on: Callable[[], None]) -> Page:
    go_on()
    before = page.documents()
    data = before[page.number].data
    sheet = _Sheet(page)
    place = sheet.find(change.path[:-1] if isinstance(change.value, _Item) else change.path)
    if place.rest and (change.value is UNSET or any(isinstance(part, int) for part in place.rest)):
        raise MissingKeyError(f"{dotted(change.path)} is not set here", path=change.path)
    if not place.rest and change.value is not UNSET and not isinstance(change.value, _Item):
        old = _at(data, change.path)
        if same(old, change.value):
            return page
        steps = _steps(change.path, old, change.value, place)
        if steps is not None:
            for step in steps:
                page = _changed(page, step, go_on)
            return page
    expected = with_change(data, change)
    for proposal in sheet.proposals(place, change):
        go_on()
        found = page.changed(proposal)
        if _reads_as(found, before, expected):
            return found
    message = f"{dotted(change.path)} cannot be changed without changing the lines around it"
    raise EditError(message, line=page.line(place.index), hint="edit it by hand")


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _reads_as(page: Page, before: Sequence[YamlDocument], expected: Any) -> bool:
    try:
        after = page.documents()
    except TextError:
        return False
    if len(after) != len(before) or after[page.number].flaws or not same(after[page.number].data, expected):
        return False
    pairs = [each for number, each in enumerate(zip(before, after, strict=True)) if number != page.number]
    return all(
        same(one.data, other.data) and [f.code for f in one.flaws] == [f.code for f in other.flaws]
        for one, other in pairs
    )


def _steps(path: Path, old: Any, new: Any, place: _Place) -> Sequence[Change] | None:
    """A whole list or mapping over another: only the differences are written, so the rest keeps its comments."""
    if not place.is_collection or not old or not new or type(old) is not type(new):
        return None
    if isinstance(old, dict):
        kept = [Change((*path, key), new[key]) for key in old if key in new and not same(old[key], new[key])]
        added = [Change((*path, key), each) for key, each in new.items() if key not in old]
        return [*kept, *added, *(Change((*path, key), UNSET) for key in old if key not in new)]
    alike = 0
    while alike < min(len(old), len(new)) and same(old[alike], new[alike]):
        alike += 1
    tail = 0
    while tail < min(len(old), len(new)) - alike and same(old[-1 - tail], new[-1 - tail]):
        tail += 1
    gone, come = len(old) - alike - tail, len(new) - alike - tail
    both = min(gone, come)
    kept = [Change((*path, alike + n), new[alike + n]) for n in range(both)]
    if come > gone:
        return [*kept, *(Change((*path, alike + n), _Item(new[alike + n])) for n in range(both, come))]
    return [*kept, *(Change((*path, n), UNSET) for n in range(alike + gone - 1, alike + both - 1, -1))]


@dataclass(frozen=True, slots=True)
class _Item:
    """A value that becomes a new item of a list, before the one that has its position now."""

    value: Any


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a path leads: the nodes on the way, and the keys that do not exist yet."""

    nodes: tuple[Node, ...]  # from the root on
    found: Path
    rest: Path
    index: int

    @property
    def node(self) -> Node:
        return self.nodes[-1]

    @property
    def is_collection(self) -> bool:
        return isinstance(self.node, yaml.CollectionNode)


class _Sheet(Layout):
    """The layout of a page's document, and what can be proposed for it."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.text, page.start, page.end, page.number)
        self._page = page
        self._is_json = is_json(self.raw(self.root))

    def find(self, path: Path) -> _Place:
        nodes = [self.root]
        for number, part in enumerate(path):
            node = nodes[-1]
            index = self.start(node)
            self._check_flow(node, path[:number])
            if isinstance(node, yaml.MappingNode):
                inside = next((value for key, value in node.value if key.value == part), None)
                if inside is None:
                    return _Place(tuple(nodes), path[:number], path[number:], index)
            elif isinstance(node, yaml.SequenceNode):
                if not isinstance(part, int):
                    message = f"{dotted(path[:number])} is a list, and {part!r} is not a position in it"
                    hint = f"name the item by its position from 0: {dotted((*path[:number], 0, part))}"
                    raise MissingKeyError(message, path=path, hint=hint)
                if part >= len(node.value):
                    message = f"{dotted(path[:number])} has {len(node.value)} items; none is at position {part}"
                    raise MissingKeyError(message, path=path, hint="positions count from 0")
                inside = node.value[part]
            elif not node.value and not node.style:
                return _Place(tuple(nodes), path[:number], path[number:], index)
            else:
                message = f"{dotted(path[:number])} is {short(node.value)}, so it cannot contain {dotted(path)}"
                raise MissingKeyError(message, path=path, hint=f"set the whole of {dotted(path[:number])}")
            nodes.append(inside)
        return _Place(tuple(nodes), path, (), self.start(nodes[-1]))

    def proposals(self, place: _Place, change: Change) -> Iterator[str]:
        if change.value is UNSET:
            yield from self._without(place)
        elif isinstance(change.value, _Item):
            yield self._inserted(place.node, change.path[-1], change.value.value)
        elif place.rest and isinstance(place.node, yaml.MappingNode):
            yield from self._added(place, _nested(place.rest[1:], change.value))
        else:
            yield from self._replaced(place, _nested(place.rest, change.value))

    def _check_flow(self, node: Node, path: Path) -> None:
        if isinstance(node, yaml.CollectionNode) and node.flow_style and not self.is_on_one_line(node):
            what = "{ }" if isinstance(node, yaml.MappingNode) else "[ ]"
            message = f"{dotted(path) or 'the document'} is written in {what} over several lines and cannot be edited"
            hint = "write it on one line, or one key per line without brackets"
            raise EditError(message, line=self._page.line(self.start(node)), hint=hint)

    def _replaced(self, place: _Place, value: Any) -> Iterator[str]:
        node, parent = place.node, place.nodes[-2]
        self._check_flow(node, place.found)
        if isinstance(node, yaml.ScalarNode) and node.style == ">":
            message = f"{dotted(place.found)} is folded text (>), which cannot be edited"
            hint = "write it as literal text (|), or edit it by hand"
            raise EditError(message, line=self._page.line(self.start(node)), hint=hint)
        if parent.flow_style:
            yield self._in_flow(place, value)
            return
        margin = self.column(parent)
        start, end, cuts = self._spans(node, margin)
        style = node.style or "" if isinstance(node, yaml.ScalarNode) and isinstance(value, str) else None
        if style == "" and start == end:
            style = None
        for cut in cuts:
            if isinstance(value, str) and ("\n" in value or style == "|"):
                found = literal(value, indent=margin, step=self._step(node, margin), newline=self.newline)
                if found is not None:
                    yield self._put(start, end, cut, *found)
            if isinstance(value, dict | list) and value and margin + len(inline(value)) > WIDTH - 20:
                lines = block(value, indent=margin + 2, newline=self.newline)
                yield self._put(start, end, cut, "", self.newline.join(lines))
            yield self._put(start, end, cut, inline(value, style=None if style == "|" else style))

    def _put(self, start: int, end: int, cut: tuple[int, int], head: str, body: str = "") -> str:
        """The text with `head` at start:end, the rest of that line as it is, and `body` for the lines of `cut`."""
        text = self.text
        front, rest, tail = text[:start], text[end : cut[0]], text[cut[1] :]
        if not head:
            front = front.rstrip(" \t")
        elif start == end:
            front += "" if front[-1:] in (" ", "\t", "") else " "
            rest = " " + rest if rest[:1] == "#" else rest
        if not body:
            return front + head + rest + tail
        return front + head + rest + self.newline + body + (tail or self.newline)

    def _spans(self, node: Node, margin: int) -> tuple[int, int, Sequence[tuple[int, int]]]:
        """Where the first line of a value is, and the ranges of lines below it that may be removed with it."""
        start, end = self.start(node), self.end(node)
        if isinstance(node, yaml.ScalarNode) and node.style == "|":
            header = HEADER.match(self.text, start)
            assert header is not None
            line_end = self.line_end(header.end())
            cuts = [(line_end, max(line_end, end))]
            whole = self.start(node) + len(self.raw(node).rstrip("\r\n"))
            if whole > end:
                cuts.append((line_end, whole))
            return start, header.end(), cuts
        if isinstance(node, yaml.CollectionNode) and not node.flow_style:
            before = self._before(start)
            line_end = self.line_end(before)
            if line_end < start:  # it starts below its key
                return before, before, [(line_end, self.below(end, margin))]
        return start, end, [(self.line_end(end), self.line_end(end))]

    def _before(self, index: int) -> int:
        """The end of the colon or dash before a collection at `index`, past comments and blank lines."""
        at = index
        while at > self._page.start:
            line_start = self.line_start(at - 1) if at > 0 else 0
            code = self._code(line_start, at)
            if code.rstrip():
                return line_start + len(code.rstrip())
            at = line_start
        return index

    def _code(self, start: int, end: int) -> str:
        """A line without its comment. Only for keys without a value, so there are no quotes that could contain a #."""
        line = self.text[start:end]
        found = re.search(r"(?:^|[ \t])#[^\r\n]*", line)
        return line if found is None else line[: found.start()]

    def _in_flow(self, place: _Place, value: Any) -> str:
        node, parent = place.node, place.nodes[-2]
        start, end = self.start(node), self.end(node)
        style = (node.style or "" if start < end else None) if isinstance(node, yaml.ScalarNode) else None
        new = self._flow(value, style if isinstance(value, str) else None)
        if start == end and isinstance(parent, yaml.MappingNode):
            key = next(key for key, each in parent.value if each is node)
            if not _COLON.match(self.text, self.end(key)):
                new = f": {new}"
            elif self.text[start - 1] == ":":
                new = f" {new}"
        return self.text[:start] + new + self.text[end:]

    def _flow(self, value: Any, style: str | None = None) -> str:
        """A value inside brackets. A document that is JSON stays JSON, for the programs that read it as such."""
        return in_json(value) if self._is_json else inline(value, flow=True, style=style)

    def _step(self, node: Node, margin: int) -> int:
        """How far the lines of a literal block are indented relative to their key; 2 if there are none."""
        if isinstance(node, yaml.ScalarNode) and node.style == "|":
            line = re.compile(r"[ ]*(?=[^ \r\n])").match(self.text, self.next_line(self.start(node)))
            if line is not None and not node.value.startswith(("\n", " ", "\t")):
                return min(max(1, line.end() - line.start() - margin), 9)
        return 2

    def _added(self, place: _Place, value: Any) -> Iterator[str]:
        node, key = place.node, str(place.rest[0])
        self._check_flow(node, place.found)
        text = self.text
        if node.flow_style:
            written = f"{self._flow(key) if self._is_json else key_text(key)}: {self._flow(value)}"
            yield self._beside_last(node, written)
            return
        column = self.column(node)
        lines = self.newline.join(pair(key, value, indent=column, newline=self.newline))
        plain = f"{' ' * column}{key_text(key)}: {inline(value)}"
        spots = [self.below(self.end(each), column) for each in self._neighbours(node, key, top=not place.found)]
        for spot in spots:
            for written in dict.fromkeys((lines, plain)):
                tail = text[spot:] or (self.newline if "\n" in written or "\r" in written else "")
                yield text[:spot] + self.newline + written + tail
        first = self.line_start(self.start(node.value[0][0]))
        if not text[first : self.start(node.value[0][0])].strip():
            for written in dict.fromkeys((lines, plain)):
                yield text[:first] + written + self.newline + text[first:]

    def _neighbours(self, node: Node, key: str, *, top: bool) -> Iterator[Node]:
        """The values after which a new key may be inserted, the best first."""
        pairs = [(each.value, value) for each, value in node.value]
        if top:
            rank = ORDER.index(key) if key in ORDER else len(ORDER)
            earlier = [
                value
                for name, value in pairs
                if name in ORDER and ORDER.index(name) < rank and not (name == "task" and key != "task")
            ]
            yield from reversed(earlier)
        yield from (value for _, value in reversed(pairs))

    def _inserted(self, parent: Node, position: Any, value: Any) -> str:
        """A new item after the one before its position, or before all."""
        text, pad = self.text, " " * self.column(parent)
        if position == 0:
            first = self.start(parent.value[0])
            if parent.flow_style:
                return f"{text[:first]}{self._flow(value)}, {text[first:]}"
            dash = self._dash(first, self.column(parent))
            return f"{text[:dash]}- {inline(value)}{self.newline}{pad}{text[dash:]}"
        end = self.end(parent.value[position - 1])
        if parent.flow_style:
            return f"{text[:end]}, {self._flow(value)}{text[end:]}"
        spot = self.line_end(end)
        return f"{text[:spot]}{self.newline}{pad}- {inline(value)}{text[spot:]}"

    def _beside_last(self, node: Node, written: str) -> str:
        text = self.text
        if not node.value:
            return text[: self.start(node) + 1] + written + text[self.end(node) - 1 :]
        last = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
        end = self.end(last)
        if isinstance(node, yaml.MappingNode):
            end = max(end, self.end(node.value[-1][0]))
        return f"{text[:end].rstrip(' ') if text[end - 1] == ' ' else text[:end]}, {written}{text[end:]}"

    def _without(self, place: _Place) -> Iterator[str]:
        nodes, path = list(place.nodes), place.found
        while len(nodes) > 2 and len(nodes[-2].value) == 1:  # nothing would be left in it
            nodes.pop()
            path = path[:-1]
        node, parent = nodes[-1], nodes[-2]
        text = self.text
        if isinstance(parent, yaml.MappingNode):
            position = next(number for number, (_, each) in enumerate(parent.value) if each is node)
            spans = [(self.start(key), max(self.end(key), self.end(value))) for key, value in parent.value]
        else:
            position = next(number for number, each in enumerate(parent.value) if each is node)
            spans = [(self.start(each), self.end(each)) for each in parent.value]
        start, end = spans[position]
        if parent.flow_style:
            if position + 1 < len(spans):
                yield text[:start] + text[spans[position + 1][0] :]
            if position:
                yield text[: spans[position - 1][1]] + text[end:]
            return
        if isinstance(parent, yaml.SequenceNode):
            start = self._dash(start, self.column(parent))
        line_start = self.line_start(start)
        is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
        below = self.next_line(self.below(end, start - line_start) if is_block else end)
        if not text[line_start:start].strip():
            yield text[:line_start] + text[below:]
            raw = self.start(node) + len(self.raw(node))
            if raw > below and isinstance(node, yaml.ScalarNode):
                yield text[:line_start] + text[raw:]
        elif position + 1 < len(spans) and isinstance(parent, yaml.MappingNode):
            # The first key of a list item is after its dash: the next key takes its place.
            following = spans[position + 1][0]
            if not text[below:following].strip():
                yield text[:start] + text[following:]

    def _dash(self, index: int, column: int) -> int:
        """The dash of the list item at `index`; the dashes of the list are at `column`."""
        at = self.line_start(index)
        while at > self._page.start and self.text[at + column : at + column + 1] != "-":
            at = self.line_start(at - 1)
        return at + column


def _nested(path: Path, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def path_of(name: str, data: Any) -> Path:
    """The path that a dotted name stands for, as in retry.attempts; in a list, a number is a position.

    Raises: MissingKeyError if a part is empty.
    """
    path: list[str | int] = []
    for part in name.split("."):
        if not part:
            raise MissingKeyError(
                f"{short(name)} is not a key", path=(name,), hint="write a key such as name or retry.attempts"
            )
        path.append(int(part) if isinstance(data, list) and part.isascii() and part.isdigit() else part)
        inside = isinstance(data, dict | list) and (
            path[-1] in data if isinstance(data, dict) else _has(data, path[-1])
        )
        data = data[path[-1]] if inside else None
    return tuple(path)


def _has(items: list[Any], position: str | int) -> bool:
    return isinstance(position, int) and position < len(items)


def top_keys(changes: Sequence[Change]) -> frozenset[str]:
    return frozenset(str(change.path[0]) for change in changes)


def new_document(data: Mapping[str, Any], *, newline: str = "\n") -> str:
    """A document that holds `data`, with its keys in the order of the reference."""
    keys = sorted(data, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))
    return newline.join(line for key in keys for line in pair(key, data[key], indent=0, newline=newline)) + newline
