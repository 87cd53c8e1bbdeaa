"""Edits touch the lines of their key and nothing else, whatever the file looks like."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.edits.spans import (
    ORDER,
    UNSET,
    Change,
    EditError,
    MissingKeyError,
    Page,
    changed,
    same,
    with_change,
)
from scheduler.core.formats.frontmatter import fences_of

EXAMPLES = int(os.environ.get("EDIT_EXAMPLES", "10000"))

# -- generated files: every key knows its lines ------------------------------------------------

KEYS = ["name", "description", "owner", "tags", "schedule", "env", "retry", "task", "timeout", "x-y", "odd key"]
AWKWARD = """on|*/5 * * * *|a: b|x # y|trailing  |  leading|🎉 emoji|null|1:30|0x1f|1e3|- dash|'|"|\\|a\tb|[|{|&a|!t|%p
@c|`|~|...|---|2026-01-01|=|<<|?|yes|012|1_000|k:|:|,|]|}|#|# x|- |key: |\x07|\u2028|\x85|a\x85b"""
AWKWARD_TEXTS = [
    *AWKWARD.replace("\n", "|").split("|"),
    "",
    "\n",
    "two\nlines\n",
    "no end\nhere",
    "a\n\n\n",
    " x\n y\n",
]
AWKWARD_TEXTS += ["k:\n  v\n", "#\n", "\n\nx\n", "\t\n", "x\n \n", "a\r\nb\r\n", "---\n...\n"]
texts = st.sampled_from(AWKWARD_TEXTS) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=12
)
scalars = texts | st.integers(-5, 10**6) | st.booleans() | st.none() | st.floats(0, 100, allow_nan=False)
names = st.sampled_from(["a", "b", "MODE", "cron", "timezone", "attempts", "on"])
values = scalars | st.lists(texts, max_size=3) | st.dictionaries(names, scalars, max_size=3)
comments = st.sampled_from(["", " # why", "   # a: b", "\t# tab", " #"])
between = st.lists(st.sampled_from(["", "# a comment", "  # indented", "#", "# key: value", "   "]), max_size=2)


@dataclass(frozen=True)
class Chunk:
    """Some lines, and the path of what they hold; () for comments."""

    path: tuple[str | int, ...]
    lines: tuple[str, ...]
    editable: bool = True
    comment: str = ""  # at the end of its only line


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


@st.composite
def chunks_of(draw: st.DrawFn, key: str) -> list[Chunk]:
    """One key of a document, in any of the ways that people write one."""
    head, why = (
        (key if " " not in key else quoted(key)) + draw(st.sampled_from([":", ": ", ":   "])).rstrip(),
        draw(comments),
    )
    gap = draw(st.sampled_from([" ", "  "]))
    kind = draw(st.sampled_from(
        ["plain", "single", "double", "literal", "folded", "empty", "flow map", "flow list", "empty flow", "map",
         "list", "maps", "long flow", "two-line plain", "two-line double"]))  # fmt: skip
    word = draw(st.sampled_from(["calm", "5m", "0 9 * * *", "true", "12", "a b c", "x.y/z"]))
    pad = draw(st.sampled_from([" ", "  ", "    "]))

    def one(text: str) -> list[Chunk]:
        return [Chunk((key,), (f"{head}{gap}{text}{why}",), comment=why)]

    match kind:
        case "plain":
            return one(word)
        case "single":
            return one("'" + word + " ''quoted'''")
        case "double":
            return one(quoted(word + draw(st.sampled_from(["", '"', "\n", "ü"]))))
        case "flow map":
            plain = ["{a: 1, b: x}", "{ a: 1 }", "{a: , b: 2}", "{a, b: 1}", "{a: 1,}"]
            return one(draw(st.sampled_from([*plain, '{"a":1, "b": [x, {c: d}]}'])))
        case "flow list":
            return one(draw(st.sampled_from(["[a]", "[ a, b ]", "['a', \"b\", c]", "[a, b,]", "[{a: 1}, [b]]"])))
        case "empty flow":
            return one(draw(st.sampled_from(["[]", "{}", "{ }"])))
        case "empty":
            return [Chunk((key,), (head + why,), comment=why)]
        case "literal" | "folded":
            mark = "|" if kind == "literal" else ">"
            body = draw(st.sampled_from([["x"], ["x", "", "y"], ["x", "  # no comment", "y: z"], ["- x", "#"]]))
            chomp = draw(st.sampled_from(["", "-", "+", "1+" if pad == " " else "2-" if pad == "  " else ""]))
            body = [*body, *draw(st.sampled_from([[], ["", ""]]))] if "+" in chomp else body
            why = why if why.strip() != "#" or why.startswith(" ") else ""
            lines = (f"{head} {mark}{chomp}{why}", *(pad + line if line else "" for line in body))
            return [Chunk((key,), lines, editable=kind == "literal")]
        case "long flow":
            return [Chunk((key,), (f"{head} {{a: 1,", f"{pad}# inside", f"{pad}b: 2}}{why}"), editable=False)]
        case "two-line plain":
            return [Chunk((key,), (f"{head} calm", f"{pad}and long{why}"))]
        case "two-line double":
            return [Chunk((key,), (f'{head} "calm', f'{pad}and long"{why}'))]
        case "map":
            found = [Chunk((key,), (head + why,))]
            for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
                found += [Chunk((key, "#"), (pad + line,)) for line in draw(between) if line]
                found.append(Chunk((key, name), (f"{pad}{name}: {word}{draw(comments)}",)))
            return found
        case "list":
            pad = draw(st.sampled_from(["", "  "]))
            items = draw(st.lists(st.sampled_from(["a", "'b'", '"c"', "{d: e}", "5"]), min_size=1, max_size=3))
            return [
                Chunk((key,), (head + why,)),
                *(Chunk((key, n), (f"{pad}- {item}{draw(comments)}",)) for n, item in enumerate(items)),
            ]
    return [
        Chunk((key,), (head + why,)),
        Chunk((key, 0), (f"{pad}- cron: '0 9 * * *'{why}", f"{pad}  timezone: UTC")),
        Chunk((key, 1), (f"{pad}- every: 5m",)),
    ]


@dataclass(frozen=True)
class File:
    """A text of one or more documents; `number` is the one that is edited, and `chunks` are its lines."""

    before: str
    chunks: tuple[Chunk, ...]
    after: str
    newline: str
    number: int
    end: str  # behind the last line
    markdown: bool = False  # the document is the front matter of one

    def text(self, chunks: Sequence[Chunk] | None = None) -> str:
        lines = [line for chunk in (self.chunks if chunks is None else chunks) for line in chunk.lines]
        return self.before + self.newline.join(lines) + self.end + self.after


def loose(lines: Sequence[str], above: Sequence[Chunk]) -> list[Chunk]:
    """Comments and blank lines between keys; an indented comment would become part of a text in a block above it."""
    inside = bool(above) and len(above[-1].path) > 1  # it would be a comment on what is in that list or mapping
    if above and "+" in above[-1].lines[0]:
        lines = [line for line in lines if line.strip()]  # blank lines are part of what is kept whole
    in_block = inside or any(mark in chunk.lines[0] for chunk in above if chunk.lines for mark in ("|", ">"))
    return [Chunk((), (line,)) for line in lines if not (in_block and line.startswith(" "))]


@st.composite
def files(draw: st.DrawFn) -> File:
    newline = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=6, unique=True))
    keys.insert(draw(st.integers(0, len(keys))), "id")
    chunks: list[Chunk] = []
    for key in keys:
        chunks += loose(draw(between), chunks)
        chunks += [Chunk(("id",), ("id: job # never changes",))] if key == "id" else draw(chunks_of(key))
    chunks += loose(draw(between), chunks)
    if newline != "\r" and draw(st.integers(0, 3)) == 0:
        body = f"---{newline}{newline}# Text{newline}---{newline}key: value"
        return File(f"---{newline}", tuple(chunks), body, newline, 0, newline, markdown=True)
    fore = draw(st.sampled_from(["", f"# head{newline}{newline}", f"---{newline}", f"id: other{newline}---{newline}"]))
    aft = draw(st.sampled_from(["", "", f"---{newline}id: last{newline}task: |{newline}  x{newline}", f"...{newline}"]))
    end = newline if aft or draw(st.booleans()) else ""
    return File(fore, tuple(chunks), aft, newline, int("other" in fore), end)


def page_of(file: File) -> Page:
    text = file.text()
    if file.markdown:
        fences = fences_of(text)
        return Page(text, fences.start, fences.end, 0)
    return Page(text, 0, len(text), file.number)


def paths_of(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path and path != ("id",) else []
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return found + [each for key, value in inside for each in paths_of(value, (*path, key))]


def touched(file: File, path: tuple[str | int, ...], *, whole: bool) -> tuple[str, str]:
    """What must still stand in front of, and behind, the lines of a key."""
    length = 1 if whole else max(len(c.path) for c in file.chunks if c.path and path[: len(c.path)] == c.path)
    mine = [n for n, chunk in enumerate(file.chunks) if chunk.path[:length] == path[:length]]
    first, last = mine[0], mine[-1]
    front = [line for chunk in file.chunks[:first] for line in chunk.lines]
    back = [line for chunk in file.chunks[last + 1 :] for line in chunk.lines]
    nl = file.newline
    return file.before + "".join(line + nl for line in front), nl.join(back) + (file.end if back else "") + file.after


def check_edit(data: st.DataObject) -> None:
    file = data.draw(files(), "file")
    page = page_of(file)
    old = page.documents()[file.number].data
    known = paths_of(old)
    new_key = st.sampled_from([k for k in [*ORDER, *KEYS] if k not in old]).map(lambda key: (key,))
    path = data.draw(st.sampled_from(known) | new_key if known else new_key, "path")
    value = data.draw(values | st.just(UNSET), "value")
    there = path in known
    if path[0] == "schedule" and len(path) > 1 and isinstance(old.get("schedule"), str):
        return
    if not there and value is UNSET:
        with pytest.raises(MissingKeyError):
            changed(page, [Change(path, value)])
        return
    chunk = next((c for c in file.chunks if c.path == path[:1]), None)
    refusable = chunk is not None and not chunk.editable and not (value is UNSET and len(path) == 1)
    now = old
    for part in path if there else ():
        now = now[part]
    if there and same(now, value):
        assert refusable or changed(page, [Change(path, value)]) == page
        return
    if refusable:
        gone = value is UNSET and with_change(old, Change(path, UNSET)).get(path[0], UNSET) is UNSET
        if not gone:
            with pytest.raises(EditError) as refused:
                changed(page, [Change(path, value)])
            line = file.text().index(chunk.lines[0]) if chunk else 0
            assert refused.value.line == page.line(line)
            return
    found = changed(page, [Change(path, value)])
    after = found.documents()
    # What it says is what was asked for.
    assert same(after[file.number].data, with_change(old, Change(path, value)))
    for number, document in enumerate(page.documents()):
        if number != file.number:
            assert same(after[number].data, document.data)
    # And what it touches is the key's.
    nl = file.newline
    if not there:
        alone = found.text
        assert alike(alone, page.text) + alike(alone[::-1], page.text[::-1]) >= len(page.text), "nothing is gone"
        return
    emptied = value is UNSET and any(
        isinstance(_at(old, path[:n]), dict | list) and len(_at(old, path[:n])) == 1 for n in range(1, len(path))
    )
    front, back = touched(file, path, whole=emptied or len(path) == 1)
    assert found.text.startswith(front), (found.text, front)
    assert found.text.endswith(back), (found.text, back)
    assert len(found.text) >= len(front) + len(back) - len(nl)
    if chunk is not None and value is not UNSET:
        assert chunk.comment.strip() in found.text[len(front) : len(found.text) - len(back)]


def alike(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


@given(st.data())
def test_an_edit_of_a_generated_file_touches_its_key_and_says_what_was_asked_for(data: st.DataObject) -> None:
    check_edit(data)


@pytest.mark.long
@settings(max_examples=EXAMPLES)
@given(st.data())
def test_ten_thousand_edits_touch_their_key_and_say_what_was_asked_for(data: st.DataObject) -> None:
    check_edit(data)
