"""Where the values of one YAML document are in its text: by PyYAML's marks, and by lines."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml._yaml import CParser

Node = Any  # yaml's nodes, whose types do not say which of them have a style

HEADER = re.compile(r"[|>][0-9+-]*")
_BREAK = re.compile(r"\r\n|\r|\n")
_INDENTED = re.compile(r"([ ]*)#[^\r\n]*")
_EOL = re.compile(r"\r\n|\r|\n|\Z")


def _compose(text: str, number: int) -> Node:
    """The root of one document. The others are skipped, whatever is wrong with them."""
    parser = CParser(text)
    while True:
        event = parser.get_event()
        if isinstance(event, yaml.StreamEndEvent):
            raise IndexError(number)
        if not isinstance(event, yaml.DocumentStartEvent):
            continue
        root = _node(parser, parser.get_event())
        if isinstance(root, yaml.ScalarNode) and not root.value and not root.style:
            continue
        if not number:
            return root
        number -= 1


def _node(parser: Any, event: Any) -> Node:
    start, end = event.start_mark, event.end_mark
    if isinstance(event, yaml.AliasEvent):
        return yaml.ScalarNode("", f"*{event.anchor}", start, end)
    if isinstance(event, yaml.ScalarEvent):
        return yaml.ScalarNode("", event.value, start, end, style=event.style or None)
    found: list[Any] = []
    make: Any = yaml.MappingNode if isinstance(event, yaml.MappingStartEvent) else yaml.SequenceNode
    inner: Any = parser.get_event()
    while not isinstance(inner, yaml.CollectionEndEvent):
        node = _node(parser, inner)
        found.append((node, _node(parser, parser.get_event())) if make is yaml.MappingNode else node)
        inner = parser.get_event()
    return make("", found, start, inner.end_mark, flow_style=event.flow_style)


class Layout:
    """The nodes of one document of text[start:end]; every index counts characters of the whole text."""

    def __init__(self, text: str, start: int, end: int, number: int) -> None:
        """number: of the document, from 0; empty documents are not counted."""
        self.text = text
        self._offset = start
        self._limit = end
        self.root: Node = _compose(text[start:end], number)
        found = _BREAK.search(text)
        self.newline = "\n" if found is None else found[0]

    def start(self, node: Node) -> int:
        return self._offset + int(node.start_mark.index)

    def end(self, node: Node) -> int:
        """The end of a value's content: for a block, without the blank lines and comments below it."""
        if isinstance(node, yaml.MappingNode) and not node.flow_style:
            return max(self.end(node.value[-1][0]), self.end(node.value[-1][1]))
        if isinstance(node, yaml.SequenceNode) and not node.flow_style:
            return self.end(node.value[-1])
        end = self._offset + int(node.end_mark.index)
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            start = self.start(node)
            header = HEADER.match(self.text, start)
            assert header is not None
            seen = self.text[start:end]
            if "+" in header[0] and node.value.endswith("\n"):
                # The blank lines are part of it: everything that the mark covers, except the last line ending.
                return start + len(re.sub(r"(?:\r\n|\r|\n)[ ]*\Z", "", seen))
            return start + len(seen.rstrip())
        return end

    def column(self, node: Node) -> int:
        start = self.start(node)
        if isinstance(node, yaml.MappingNode) and node.value:
            start = self.start(node.value[0][0])
        return start - self.line_start(start)

    def line_start(self, index: int) -> int:
        """The start of the line of `index`; the end of a line belongs to it."""
        head = max(self.text.rfind("\n", 0, index), self.text.rfind("\r", 0, index)) + 1
        if self.text[index - 1 : index + 1] == "\r\n":
            head = max(self.text.rfind("\n", 0, index - 1), self.text.rfind("\r", 0, index - 1)) + 1
        return head

    def line_end(self, index: int) -> int:
        found = _EOL.search(self.text, index)
        assert found is not None
        return min(found.start(), max(index, self._limit))

    def next_line(self, index: int) -> int:
        found = _EOL.search(self.text, index)
        assert found is not None
        return found.end()

    def below(self, index: int, column: int) -> int:
        """The end of the line of `index`, or of the comments right below it that are indented further than `column`."""
        at = self.line_end(index)
        while True:
            found = _INDENTED.match(self.text, self.next_line(at))
            if found is None or len(found[1]) <= column or found.end() > self._limit or self.next_line(at) == at:
                return at
            at = found.end()

    def raw(self, node: Node) -> str:
        """A node as it is marked: for a block, including the blank lines below it."""
        return self.text[self.start(node) : self._offset + int(node.end_mark.index)]

    def is_on_one_line(self, node: Node) -> bool:
        return self.line_end(self.start(node)) >= self.end(node)
