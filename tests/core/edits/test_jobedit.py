"""Edits of whole job files: golden diffs of a corpus written by hand, and what the real reader then says."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from scheduler.core.edits.jobedit import (
    Opened,
    WrongJobError,
    document_text,
    edited,
    with_document,
    without_document,
    written_job,
)
from scheduler.core.edits.spans import UNSET, Change, EditError, MissingKeyError, path_of, same
from scheduler.core.edits.written import value_of
from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import TextError
from tests.core.edits import test_spans
from tests.core.formats import test_fuzz

GOLDEN = Path(__file__).parents[2] / "golden" / "edits"
CORPUS = sorted(path for path in GOLDEN.iterdir() if path.suffix in (".yaml", ".md"))

(SETTINGS, _) = read_root_file(
    b"version: 1\nrunners: {agent: {command: [cat], job_env: [MODE, LEVEL, NEW, NAME]}}\ndefaults: {runner: agent}\n",
    path="scheduler.yaml",
)
assert isinstance(SETTINGS, Settings)


def requests(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """The edits of one corpus file: as written, the job, and the words."""
    for line in re.split(
        r"\n(?=--(?:set|unset|task) |[a-z]+: --)", path.with_suffix(".edits").read_text().rstrip("\n")
    ):
        job, colon, rest = line.partition(": ") if not line.startswith("--") else ("", "", line)
        yield line, job if colon else "", shlex.split(rest)


def opened(path: str, data: bytes, job_id: str) -> Opened:
    assert isinstance(SETTINGS, Settings)
    documents = Opened(path, data, 0, SETTINGS).read().documents
    return Opened(path, data, [each.id for each in documents].index(job_id) if job_id else 0, SETTINGS)


def apply(job: Opened, words: Sequence[str]) -> bytes:
    keys = job.keys
    changes, body = [], None
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option == "--set":
            name, _, text = value.partition("=")
            changes.append(Change(path_of(name, keys), value_of(text)))
        elif option == "--unset":
            changes.append(Change(path_of(value, keys), UNSET))
        elif job.has_body:
            body = value
        else:
            changes.append(Change(("task",), value))
    changes.sort(key=lambda change: change.value is UNSET)
    return edited(job, changes, body=body)


def told(job: Opened, words: Sequence[str]) -> str:
    try:
        new = apply(job, words).decode()
    except EditError as error:
        return f"refused at line {error.line}: {error.message}\n  hint: {error.hint}\n"
    except MissingKeyError as error:
        return f"not there: {error}\n  hint: {error.hint}\n"
    except WrongJobError as error:
        return f"wrong: {error.problems[0].message} [{error.problems[0].code}]\n  hint: {error.problems[0].hint}\n"
    except TextError as error:
        return f"unreadable: {error.message} [{error.code}]\n"
    lines = list(difflib.unified_diff(job.data.decode().splitlines(keepends=True), new.splitlines(keepends=True), n=1))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines[2:])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_edits_of_the_corpus_make_the_golden_diffs(path: Path) -> None:
    data = path.read_bytes()
    found = "".join(
        f"$ {line}\n{told(opened(path.name, data, job_id), words) or 'no change'}\n"
        for line, job_id, words in requests(path)
    )
    golden = path.with_suffix(".diff")
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_a_byte_order_mark_and_crlf_stay_and_change_nothing_else(path: Path) -> None:
    plain = path.read_bytes()
    windows = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")
    edits = 0
    for line, job_id, words in requests(path):
        if "\n" in line and "--task" in line and path.suffix == ".md":
            words = [word.replace("\r\n", "\n") for word in words]
        try:
            expected = apply(opened(path.name, plain, job_id), words)
        except (EditError, MissingKeyError, WrongJobError, TextError) as error:
            with pytest.raises(type(error)):
                apply(opened(path.name, windows, job_id), words)
            continue
        edits += 1
        assert apply(opened(path.name, windows, job_id), words) == b"\xef\xbb\xbf" + expected.replace(b"\n", b"\r\n"), (
            line
        )
    assert edits


# -- whole documents ---------------------------------------------------------------------------

STREAM = """\
# The file's own comment.

id: one   # first
schedule: "@daily"
task: 1
# about two
---   # two starts
id: two
schedule: "@daily"
task: |
  --- no separator
  2
---
id: three
schedule: "@daily"
task: 3
"""


@pytest.mark.parametrize(
    ("job_id", "gone"),
    [
        ("one", 'id: one   # first\nschedule: "@daily"\ntask: 1\n# about two\n'),
        ("two", '---   # two starts\nid: two\nschedule: "@daily"\ntask: |\n  --- no separator\n  2\n'),
        ("three", '---\nid: three\nschedule: "@daily"\ntask: 3\n'),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_document_is_taken_out_with_its_separator_and_nothing_else(job_id: str, gone: str, newline: str) -> None:
    data = STREAM.replace("\n", newline).encode()
    job = opened("jobs/a.yaml", data, job_id)
    assert without_document(job).decode() == STREAM.replace(gone, "").replace("\n", newline)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_document_that_is_moved_says_the_same_behind_another(newline: str) -> None:
    job = opened("jobs/a.yaml", STREAM.encode(), "two")
    other = b"id: x" + newline.encode() + b'schedule: "@daily"' + newline.encode() + b"task: x"
    found = with_document("jobs/b.yaml", other, document_text(job), job.settings)
    assert found.startswith(other + newline.encode() + b"---" + newline.encode() + b"id: two" + newline.encode())
    moved = opened("jobs/b.yaml", found, "two").document
    assert (moved.spec, moved.text) == (job.document.spec, job.document.text)


def test_a_file_with_directives_is_not_taken_apart() -> None:
    data = b"%YAML 1.2\n---\nid: one\nschedule: '@daily'\ntask: 1\n---\nid: two\nschedule: '@daily'\ntask: 2\n"
    with pytest.raises(EditError, match="start with %"):
        without_document(opened("jobs/a.yaml", data, "two"))


@pytest.mark.parametrize("path", ["jobs/a.yaml", "jobs/a.md"])
def test_a_new_file_reads_as_what_it_was_made_of(path: str) -> None:
    keys = {
        "task": "Do\n\n  it: well\n",
        "schedule": [{"cron": "*/5 * * * *"}, "@daily"],
        "id": "a",
        "env": {"MODE": "on", "NAME": "é🎉\u2028", "LEVEL": " x "},
        "description": "two\nlines",
        "tags": ["yes", "1:30", "plain"],
    }
    body = None
    if path.endswith(".md"):
        body = keys.pop("task")
    assert isinstance(SETTINGS, Settings)
    data = written_job(path, keys, body=body, settings=SETTINGS)  # type: ignore[arg-type]
    job = opened(path, data, "a")
    assert job.keys == keys
    assert job.document.text == b"Do\n\n  it: well\n"
    assert data.decode().removeprefix("---\n").startswith("id: a\n"), "keys stand in the order of the reference"


def test_a_document_with_an_anchor_is_not_edited() -> None:
    data = b"id: a\nschedule: &s '@daily'\ntask: x\n"
    job = Opened("jobs/a.yaml", data, 0, SETTINGS)  # type: ignore[arg-type]
    with pytest.raises(EditError, match="anchor"):
        edited(job, [Change(("name",), "x")])


def test_a_wrong_job_may_be_put_right_one_key_at_a_time() -> None:
    data = b"id: a\nschedule: daily\ntimeout: 5\ntask: x\n"
    job = Opened("jobs/a.yaml", data, 0, SETTINGS)  # type: ignore[arg-type]
    half = edited(job, [Change(("timeout",), "5m")])
    assert half == data.replace(b"timeout: 5\n", b"timeout: 5m\n")
    whole = edited(Opened("jobs/a.yaml", half, 0, job.settings), [Change(("schedule",), "@daily")])
    assert Opened("jobs/a.yaml", whole, 0, job.settings).document.spec is not None


def test_another_document_with_an_error_is_passed_over() -> None:
    data = b"id: one\nschedule: *nowhere\n---\nid: two\nschedule: '@daily'\ntask: 2\n"
    found = edited(opened("jobs/a.yaml", data, "two"), [Change(("name",), "Two")])
    assert found == data.replace(b"id: two\n", b"id: two\nname: Two\n")


def test_empty_front_matter_holds_nothing_to_edit() -> None:
    job = Opened("jobs/a.md", b"---\n# nothing\n---\nText.\n", 0, SETTINGS)  # type: ignore[arg-type]
    assert job.keys == {}
    with pytest.raises(EditError, match="the document is empty"):
        edited(job, [Change(("name",), "x")])
    with pytest.raises(EditError, match="no document"):
        without_document(job)


# -- any file at all ---------------------------------------------------------------------------

SEEDS = [*test_fuzz.SEEDS, *(path.read_bytes() for path in CORPUS)]
REFUSALS = (EditError, MissingKeyError, WrongJobError, TextError)


def check_any_file(data: st.DataObject) -> None:
    """An edit of whatever a reader finds a document in is made as asked for, or refused in words."""
    text = data.draw(st.sampled_from(SEEDS), "seed")
    for _ in range(data.draw(st.integers(0, 3), "mutations")):
        at = data.draw(st.integers(0, len(text)))
        piece = data.draw(st.sampled_from([*test_fuzz.PIECES, b""]))
        text = text[:at] + piece + text[at + data.draw(st.integers(0, 4)) :]
    path = data.draw(st.sampled_from(["a.yaml", "a.md"]), "path")
    documents = read_job_file(path, text, test_fuzz.SETTINGS[0]).documents
    if not documents:
        return
    job = Opened(path, text, data.draw(st.integers(0, len(documents) - 1)), test_fuzz.SETTINGS[0])
    paths = [*test_spans.paths_of(dict(job.keys)), ("name",), ("env", "MODE"), ("schedule", "timezone"), ("retry",)]
    value = data.draw(test_spans.values | st.just(UNSET), "value")
    change = Change(data.draw(st.sampled_from(paths), "change"), value)
    with contextlib.suppress(*REFUSALS):
        after = Opened(path, edited(job, [change]), job.number, job.settings)
        assert after.document.id == job.document.id
        now: Any = after.keys
        for part in change.path if value is not UNSET else ():
            now = now if isinstance(now, str) and part in ("cron", "policy") else now[part]
        assert value is UNSET or same(now, value)
    with contextlib.suppress(*REFUSALS):
        without_document(job)
    with contextlib.suppress(*REFUSALS):
        with_document("b.yaml", data.draw(st.sampled_from(SEEDS)), document_text(job), job.settings)


@given(st.data())
def test_an_edit_of_any_file_is_made_or_refused(data: st.DataObject) -> None:
    check_any_file(data)


@pytest.mark.long
@budget(max_examples=10_000)
@given(st.data())
def test_ten_thousand_edits_of_any_files_are_made_or_refused(data: st.DataObject) -> None:
    check_any_file(data)
