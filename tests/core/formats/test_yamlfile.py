from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.formats.yamlfile import MAX_DEPTH, MAX_NODES, YamlDocument, read_yaml, resolve_scalar
from scheduler.core.values.texts import Lines, TextError, conflict_line, decode


def only(text: str) -> YamlDocument:
    (document,) = read_yaml(text)
    return document


def error(text: str) -> TextError:
    with pytest.raises(TextError) as caught:
        read_yaml(text)
    return caught.value


def codes(text: str) -> list[str]:
    return [flaw.code for flaw in only(text).flaws]


@pytest.mark.parametrize(
    "text",
    [
        "on",
        "off",
        "yes",
        "no",
        "y",
        "1:30",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "1_000",
        "12:30:45",
        "+1:30",
        "0b11",
        "1e",
        "0o8",
        "0x",
        "08:30",
        "2026-1-1",
        "NO",
        "Off",
        "N",
    ],
)
def test_words_that_only_yaml_1_1_converts_stay_text(text: str) -> None:
    assert only(f"a: {text}").data == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("=", "="),
        ("0b1", "0b1"),
        ("0 9 * * *", "0 9 * * *"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_text_follows_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    found = only(f"a: {text}").data["a"]
    assert (found, type(found)) == (value, type(value))


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(resolve_scalar(".nan"))


def test_quoted_text_is_never_converted() -> None:
    assert only('{a: \'5\', b: "true", c: ""}').data == {"a": "5", "b": "true", "c": ""}


def test_every_value_and_key_knows_its_place() -> None:
    document = only("# first\na: 1\nb:\n  - x\n  - {c: '😀', d: y}\n")
    assert document.start == (2, 1)
    assert document.place(("b", 1, "d")) == (5, 17)
    assert document.key_place(("b", 1, "d")) == (5, 14)
    assert document.place(("b", 0)) == (4, 5)


def test_the_place_of_something_absent_is_the_nearest_thing_around_it() -> None:
    document = only("a:\n  b: 1\n")
    assert document.place(("a", "x", "y")) == (2, 3)
    assert document.key_place(("a", "x")) == (1, 1)
    assert document.place(("z",)) == document.start


def test_an_offset_counts_only_into_text_that_stands_there_as_it_is() -> None:
    document = only('a: "0 25 * * *"\nb: 0 25 * * *\nc: "\\x30 25"\nd: |\n  0 25\n')
    assert document.place(("a",), 2) == (1, 7)
    assert document.place(("b",), 2) == (2, 6)
    assert document.place(("c",), 2) == (3, 4)
    assert document.place(("d",), 2) == (4, 4)


def test_crlf_counts_as_one_line_end() -> None:
    assert only("a: 1\r\nb: 2\r\n").place(("b",)) == (2, 4)


def test_documents_that_hold_nothing_are_left_out() -> None:
    assert [document.data for document in read_yaml("---\n---\na: 1\n---\n# end\n---\n~\n")] == [{"a": 1}, None]
    assert read_yaml("") == read_yaml("# only a comment\n") == read_yaml("---\n") == ()


def test_places_count_in_the_whole_text_when_only_a_part_is_read() -> None:
    text = "---\na: 1\nb: *x\n---\nbody: [\n"
    (document,) = read_yaml(text, 4, text.index("---\nbody"))
    assert document.place(("b",)) == (3, 4)
    assert document.lines.place(document.flaws[0].index) == (3, 4)


def test_a_duplicate_key_names_both_lines_and_keeps_the_first_value() -> None:
    document = only("a: 1\nb: 2\na: 3\n")
    (flaw,) = document.flaws
    assert (flaw.code, document.lines.place(flaw.index)) == ("key.duplicate", (3, 1))
    assert "lines 1 and 3" in flaw.message
    assert document.data == {"a": 1, "b": 2}
    assert document.flawed(("a",))
    assert document.flawed(("a", "below"))
    assert not document.flawed(("b",))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: &x 1", "yaml.anchor"),
        ("a: *x", "yaml.alias"),
        ("*x : 1", "yaml.alias"),
        ("a: !foo 1", "yaml.tag"),
        ("a: !!int '1'", "yaml.tag"),
        ("a: ! 1", "yaml.tag"),
        ("!t {a: 1}", "yaml.tag"),
        ("<<: {a: 1}", "yaml.merge-key"),
        ("1: a", "key.type"),
        ("? ~\n: a", "key.type"),
        ("[a]: b", "key.type"),
        ("? {a: b}\n: c", "key.type"),
        ("true: a", "key.type"),
        ('a: "\\0"', "file.character"),
        ("a: 010", "yaml.octal"),
        ("a: 08", "yaml.octal"),
        ("a: -007", "yaml.octal"),
        ("a: [00]", "yaml.octal"),
        ("007: a", "yaml.octal"),
        ("a: {b: 1, b: 2}", "key.duplicate"),
        ("a:\n  - {b: 1, b: 2}", "key.duplicate"),
        ("a: {? {b: 1, b: 2} : c}", "key.duplicate"),
        ("a: !!python/object/apply:os.system [x]", "yaml.tag"),
        ("a: !!binary eA==", "yaml.tag"),
        ("a: !!timestamp 2027-01-01", "yaml.tag"),
        ("&x a: 1", "yaml.anchor"),
        ("- &x [a]", "yaml.anchor"),
    ],
)
def test_what_yaml_allows_and_a_job_file_does_not_is_a_flaw(text: str, code: str) -> None:
    assert codes(text) == [code]


def test_a_flaw_leaves_the_other_documents_alone() -> None:
    first, second = read_yaml("a: &x 1\n---\nb: 2\n")
    assert first.flaws
    assert (second.data, second.flaws) == ({"b": 2}, ())


def test_quoted_angle_brackets_are_an_ordinary_key() -> None:
    assert codes('"<<": 1') == []


@pytest.mark.parametrize(
    ("text", "code", "place", "hint"),
    [
        ("a: */5 * * * *", "yaml.unquoted", (1, 4), 'write "*/5 * * * *"'),
        ("a: * * * * *  # often", "yaml.unquoted", (1, 4), 'write "* * * * *"'),
        ("a: {b: */5 * * * *, c: d}", "yaml.unquoted", (1, 8), 'write "*/5 * * * *"'),
        ("a: @daily", "yaml.unquoted", (1, 4), 'write "@daily"'),
        ("a: `x`", "yaml.unquoted", (1, 4), 'write "`x`"'),
        ("a:\n\tb: 1", "yaml.tab", (2, 1), "indent with spaces"),
        ("a: |\n\tb", "yaml.tab", (2, 1), "indent with spaces"),
        ("a: 'x\nb: y\n", "yaml.syntax", (1, 4), "close it with '"),
        ("a: [1,\nb: 2\n", "yaml.syntax", (1, 4), "close it with ]"),
        ("%TAG !a! b\n---\na: 1", "yaml.tag", (1, 1), "delete the %TAG line"),
        ("%YAML 2.0\n---\na: 1", "yaml.syntax", (1, 1), "delete the %YAML line"),
        ("a:\n  - */5 * * * *", "yaml.unquoted", (2, 5), 'write "*/5 * * * *"'),
        ("a: [*/5 * * * *]", "yaml.unquoted", (1, 5), 'write "*/5 * * * *"'),
        ("a: %x", "yaml.unquoted", (1, 4), 'write "%x"'),
        ("a: ? x", "yaml.unquoted", (1, 4), 'write "? x"'),
        ("a: ]x", "yaml.unquoted", (1, 4), 'write "]x"'),
        ("a: ,x", "yaml.unquoted", (1, 4), 'write ",x"'),
        ("a: - b", "yaml.syntax", (1, 4), "on the next line, each item after '- '; or quote the text"),
        ('a: "C:\\path"', "yaml.syntax", (1, 7), "use single quotes, or double the backslash"),
        ("a: >\nfoo\nb: 1", "yaml.syntax", (2, 1), "indent a text of several lines under key: |"),
        ("a: |\n  x\nbar\n", "yaml.syntax", (3, 1), "indent a text of several lines under key: |"),
        ("a: 1\nname:x\nb: 2", "yaml.syntax", (2, 1), "write a space after the colon: name: x"),
        ("a:\n-b\n-c\n", "yaml.syntax", (2, 1), "write a space after the dash: - b"),
        ("a: 1\n- b\nc: 1\n", "yaml.syntax", (2, 1), "align it with the keys above, or quote the text"),
        ("a: [x]]\n", "yaml.syntax", (1, 7), "delete it, or quote the text"),
        ("a: {b: c}}\nd: 1", "yaml.syntax", (1, 10), "delete it, or quote the text"),
        ("a: [x] y\n", "yaml.syntax", (1, 8), "quote the whole text"),
        ('a: "say "hi" now"\n', "yaml.syntax", (1, 10), 'in single quotes, or \\" for a quote inside it'),
        ("a: 'it's me'\n", "yaml.syntax", (1, 8), "in double quotes, or '' for an apostrophe inside it"),
        ("a: [x,,y]\n", "yaml.syntax", (1, 7), "delete the comma, or write the missing value before it"),
        ("a: [\n", "yaml.syntax", (1, 4), "close it with ]"),
        ("a: [x, {y: [z],\n---\n", "yaml.syntax", (1, 8), "close it with }"),
        ("a: {b: 1,\n", "yaml.syntax", (1, 4), "close it with }"),
        ("a: >foo\n  x\n", "yaml.unquoted", (1, 4), 'write ">foo"; a text of several lines starts on the next line'),
        ("a: |x|\n", "yaml.unquoted", (1, 4), 'write "|x|"; a text of several lines starts on the next line'),
        ('a: "x\\uZZ"\n', "yaml.syntax", (1, 6), "use single quotes, or double the backslash"),
        ('a: "x\\ud800"\n', "yaml.syntax", (1, 6), "use single quotes, or double the backslash"),
        ("a: &\n", "yaml.syntax", (1, 4), 'write "&"'),
        ("a: !! x\n", "yaml.syntax", (1, 4), 'write "!! x"'),
        ("a: !<x y\n", "yaml.syntax", (1, 4), 'write "!<x y"'),
        ("%FOO\n---\na: 1", "yaml.syntax", (1, 1), "delete the line, or quote the text"),
        ("<<<<<<< HEAD\na: 1\n", "file.conflict-markers", (1, 1), ">>>>>>> lines"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n", "file.conflict-markers", (2, 1), ">>>>>>> lines"),
        ("a: 1\n=======\nb: 1\n", "file.conflict-markers", (2, 1), ">>>>>>> lines"),
        ("a: 1\r\n=======\r\n", "file.conflict-markers", (2, 1), ">>>>>>> lines"),
        ("a: 1\n||||||| 1234\n", "file.conflict-markers", (2, 1), ">>>>>>> lines"),
        ("a: 1\n>>>>>>> b\n", "file.conflict-markers", (2, 1), ">>>>>>> lines"),
        ("a: 1\n\tb: 2", "yaml.tab", (2, 1), "indent with spaces"),
        ("a:\n - b\n\t- c", "yaml.tab", (3, 1), "indent with spaces"),
    ],
)
def test_a_syntax_error_points_at_its_cause_and_says_what_to_write(
    text: str, code: str, place: tuple[int, int], hint: str
) -> None:
    found = error(text)
    assert (found.code, (found.line, found.column)) == (code, place)
    assert found.hint.endswith(hint)


@pytest.mark.parametrize(
    "text", ["a: b: c", "a: 1\n b: 2", "a: b\n}", "- a\nb: c", "a: {b", "a: &", '"\\x"', "a: 1\n...\nb"]
)
def test_other_syntax_errors_have_a_place(text: str) -> None:
    found = error(text)
    assert found.code == "yaml.syntax"
    assert 1 <= found.line <= text.count("\n") + 1


def test_a_marker_that_yaml_can_read_is_no_conflict() -> None:
    assert only("a: |\n  =======\n  >>>>>>> b\n").data == {"a": "=======\n>>>>>>> b\n"}


@given(st.text(alphabet="ab:-?*&!|>'\"[]{},#%@` \n\t=<\\~0", max_size=30))
def test_a_syntax_error_is_told_in_our_own_words(text: str) -> None:
    found = None
    try:
        read_yaml(text)
    except TextError as error:
        found = error
    assert found is None or (found.hint and not re.search("node|hexdec|line break|alphabetic|flow", found.message))


def test_a_syntax_error_in_a_later_document_refuses_the_stream() -> None:
    assert error("a: 1\n---\nb: [\n").line >= 3


def test_the_largest_file_is_read_and_one_value_more_is_not() -> None:
    assert len(only(f"[{'a,' * (MAX_NODES - 1)}]").data) == MAX_NODES - 1
    assert error(f"[{'a,' * MAX_NODES}]").code == "yaml.too-many-nodes"
    assert error("--- a\n" * (MAX_NODES + 1)).code == "yaml.too-many-nodes"


def test_the_deepest_file_is_read_and_one_level_more_is_not() -> None:
    assert only("[" * MAX_DEPTH + "]" * MAX_DEPTH).data
    assert error("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).code == "yaml.too-deep"
    assert error("{a: " * 500_000).code == "yaml.too-deep"


def test_a_control_character_is_named_with_its_place() -> None:
    found = error("a: 1\nb: x\ufeff\n")
    assert (found.code, found.line, found.column, "byte order" in found.message) == ("file.character", 2, 5, True)
    found = error("a: 1\nb: x\x07\n")
    assert (found.code, found.line, found.column) == ("file.character", 2, 5)
    assert "U+0007" in found.message


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"a: \xff", "file.encoding", (1, 4)),
        (b"a\n\xff", "file.encoding", (2, 1)),
        (b"\xef\xbb\xbfa\xff", "file.encoding", (1, 2)),
        ("a: 1".encode("utf-16"), "file.encoding", (1, 1)),
        (b"a\nb\0", "file.character", (2, 2)),
        (b"x" * (1024 * 1024 + 1), "file.too-large", (1, 1)),
        (b"a\n<<<<<<< x\nb\n=======\nc\n>>>>>>> y\n", "file.conflict-markers", (2, 1)),
    ],
)
def test_bytes_that_are_no_text_have_a_place(data: bytes, code: str, place: tuple[int, int]) -> None:
    with pytest.raises(TextError) as caught:
        decode(data)
    assert (caught.value.code, (caught.value.line, caught.value.column)) == (code, place)


def test_a_byte_order_mark_is_left_out() -> None:
    assert decode(b"\xef\xbb\xbfa: 1") == "a: 1"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"<<<<<<< a\n=======\n>>>>>>> b", 1),
        (b"x\r\n<<<<<<< a\r\n=======\r\n>>>>>>> b\r\n", 2),
        (b"<<<<<<< a\n======= x\n>>>>>>> b", None),
        (b"<<<<<<< a\n>>>>>>> b\n=======", None),
        (b" <<<<<<< a\n=======\n>>>>>>> b", None),
        (b"<<<<<<<\n=======\n>>>>>>> b", None),
        (b"title\n=======\n", None),
    ],
)
def test_a_conflict_needs_all_three_markers_in_order(data: bytes, line: int | None) -> None:
    assert conflict_line(data) == line


# U+2028 and U+2029 end a line in YAML 1.1, and not in JSON.
words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs"), exclude_characters="\ufeff\u2028\u2029"),
    min_size=1,
    max_size=8,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(words, plain, min_size=1, max_size=4))
def test_json_is_read_as_json_reads_it(data: dict[str, Any]) -> None:
    document = only(json.dumps(data, ensure_ascii=False))
    assert (document.data, document.flaws) == (data, ())


@given(st.text(alphabet="ab:-?*&!|>'\"[]{},#%@` \n\t\r0\\~<.é😀", max_size=40))
def test_any_text_is_read_or_refused_at_a_place_inside_it(text: str) -> None:
    lines = re.split(r"\r\n|\r|\n", text)
    try:
        places = [document.place(path) for document in read_yaml(text) for path in document.spots]
    except TextError as found:
        places = [(found.line, found.column)]
    for line, column in places:
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1


# -- comments that nobody meant ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "said", "hint"),
    [
        ("task: Review PR #42 now\n", (1, 17), "so the value is only 'Review PR'", 'write "Review PR #42 now"'),
        ("owner: #team-data\n", (1, 8), "so there is no value", 'write "#team-data"'),
        ("a: b\t#c\n", (1, 6), "so the value is only 'b'", 'write "b #c"'),
        ("timeout: 20m #{x}\n", (1, 14), "so the value is only '20m'", 'write "20m #{x}"'),
        ("a: one\n  two #three\n", (2, 7), "so the value is only 'one two'", 'write "one two #three"'),
        ("a: one\n\n  two #3\n", (3, 7), "so the value is only 'one\\ntwo'", "put quotes around the text"),
        (f"a: {'x' * 200} #1\n", (1, 205), "so the value is only", "put quotes around the text"),
        ("tags:\n  - #ops\n", (2, 5), "so there is no value", 'write "#ops"'),
        ("tags:\n  - a #b\n", (2, 7), "so the value is only 'a'", 'write "a #b"'),
        ("tags: [a, #b\n  c]\n", (1, 11), "so the line ends before it", "put quotes around the text"),
        ("env: {A: x #1\n  }\n", (1, 12), "so the value is only 'x'", 'write "x #1"'),
        ("a: 1\n---\nb: PR #7\r\n", (3, 7), "so the value is only 'PR'", 'write "PR #7"'),
    ],
)
def test_text_that_is_dropped_as_a_comment_is_doubted(text: str, place: tuple[int, int], said: str, hint: str) -> None:
    (doubt,) = [doubt for found in read_yaml(text) for doubt in found.doubts]
    assert (doubt.code, Lines(text).place(doubt.index)) == ("yaml.comment", place)
    assert said in doubt.message
    assert doubt.hint == f"{hint}; if it is a comment, put a space after the #"


@pytest.mark.parametrize(
    "text",
    [
        "a: b # a real comment\n",
        "a: # a real comment\n  b\n",
        "a: b #\n",
        "a: b ## section\n",
        "a: b #---------\n",
        "a: b #!x\n",
        "#a: b\nc: d\n#e: f\n",
        "a: 'b' #c\n",
        'a: "b" #c\n',
        "a: http://x/#part\n",
        "a: b#c\n",
        "a: |\n  PR #42\n",
        "a: >\n  PR #42\n",
        'a: "PR #42"\n',
        "a: [b, c] #d\n",
    ],
)
def test_other_comments_and_signs_are_not_doubted(text: str) -> None:
    assert [found.doubts for found in read_yaml(text)] == [()]
