"""Edit a job file's bytes, and prove each edit with the real reader: the job as it was, with only the change.

A file's byte order mark, line endings, comments, quotes and other documents stay. The result is parsed again. An edit
that would change anything else, or add a new problem, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from scheduler.core.edits.spans import (
    SHORTHANDS,
    Change,
    EditError,
    Page,
    changed,
    new_document,
    same,
    top_keys,
    with_change,
    written_out,
)
from scheduler.core.formats.frontmatter import fences_of, is_markdown
from scheduler.core.formats.jobfile import Document, JobFile, read_job_file
from scheduler.core.formats.yamlfile import YamlDocument
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec
from scheduler.core.values.texts import BOM, TextError, decode

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_BREAK = re.compile(r"\r\n|\r|\n")


class WrongJobError(ValueError):
    """An edit that would be possible, but would leave an invalid job."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Opened:
    """One document of a job file, with what an edit needs of it."""

    path: str
    data: bytes
    number: int  # of the document in the file
    settings: Settings

    @property
    def page(self) -> Page:
        text = decode(self.data)
        if is_markdown(self.path):
            fences = fences_of(text)
            return Page(text, fences.start, fences.end, self.number)
        return Page(text, 0, len(text), self.number)

    @property
    def keys(self) -> Mapping[str, Any]:
        """What the document says, without defaults. Empty if it is not a mapping."""
        found = self.page.documents()[self.number : self.number + 1]
        return found[0].data if found and isinstance(found[0].data, dict) else {}

    @property
    def document(self) -> Document:
        return self.read().documents[self.number]

    @property
    def alone(self) -> bool:
        """True if the file contains only this document."""
        return len(self.read().documents) == 1

    @property
    def has_body(self) -> bool:
        """True if the task is the body of a Markdown file."""
        keys = self.keys
        return is_markdown(self.path) and keys.get("task") is None and keys.get("task_source_path") is None

    def read(self) -> JobFile:
        return read_job_file(self.path, self.data, self.settings)


def edited(
    job: Opened,
    changes: Sequence[Change],
    *,
    body: str | None = None,
    exact: bool = False,
    go_on: Callable[[], None] = lambda: None,
) -> bytes:
    """The file with these keys changed, and, for a Markdown job, with a new body.

    body: the text itself. If every line of the file ends with CRLF, so will those of the text, unless `exact`.
    go_on: called again and again; may raise to give up.
    Raises: EditError, MissingKeyError for what cannot be edited; WrongJobError; TextError.
    """
    page = job.page
    new = changed(page, changes, go_on).text if changes else page.text
    if body is not None:
        head = new[: fences_of(new).body]
        if not head.endswith(("\n", "\r")):
            head += "\n"
        new = head + (body if exact else with_line_ends(body, like=page.text))
    result = _bytes(new, job.data)
    _prove(
        job, result, _expected(job.keys, changes), changes, body=None if body is None else new[fences_of(new).body :]
    )
    return result


def _expected(keys: Mapping[str, Any], changes: Sequence[Change]) -> Mapping[str, Any]:
    """The data with the changes made. A change below a bare value writes out the mapping that it stands for."""
    data: Any = dict(keys)
    for change in changes:
        key = str(change.path[0])
        if len(change.path) > 1 and key in SHORTHANDS and isinstance(data.get(key), str):
            data = {**data, key: written_out(key, data[key])}
        data = with_change(data, change)
    return data  # type: ignore[no-any-return]


def with_line_ends(text: str, *, like: str) -> str:
    """`text` with CRLF, if all lines of `like` end with it and none of its own lines does."""
    ends = set(_BREAK.findall(like))
    return text.replace("\n", "\r\n") if ends == {"\r\n"} and "\r" not in text else text


def _bytes(text: str, like: bytes) -> bytes:
    mark = BOM.encode() if like.startswith(BOM.encode()) else b""
    try:
        return mark + text.encode()
    except UnicodeEncodeError:
        raise TextError("file.encoding", "a lone surrogate cannot be written as UTF-8") from None


def _prove(job: Opened, data: bytes, expected: Any, changes: Sequence[Change], *, body: str | None) -> None:
    """Raises: WrongJobError for new problems; EditError if anything but the change differs."""
    before, after = job.read(), read_job_file(job.path, data, job.settings)
    fresh = new_problems(before, after)
    if fresh:
        raise WrongJobError(fresh)
    other = EditError("the edit would not give the requested values; nothing was written", hint="edit it by hand")
    if len(before.documents) != len(after.documents):
        raise other
    for number, (old, new) in enumerate(zip(before.documents, after.documents, strict=True)):
        if number != job.number and (old.id, old.spec, old.text) != (new.id, new.spec, new.text):
            raise other
    old, new = before.documents[job.number], after.documents[job.number]
    again = Opened(job.path, data, job.number, job.settings)
    written = again.keys
    if old.id != new.id or not same(_long(written), _long(expected)):
        raise other
    if body is None and "task" not in top_keys(changes) and old.text != new.text and again.has_body == job.has_body:
        raise other
    if body is not None and new.text != body.encode():
        raise other
    if old.spec is not None and new.spec is not None:
        touched = top_keys(changes)
        for each in fields(JobSpec):
            if each.name not in touched and getattr(old.spec, each.name) != getattr(new.spec, each.name):
                raise other


def _long(keys: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same data, with a mapping for every bare value that stands for one."""
    bare = {key: {SHORTHANDS[key]: keys[str(key)]} for key in SHORTHANDS if isinstance(keys.get(str(key)), str)}
    return {**keys, **{str(key): value for key, value in bare.items()}}


def new_problems(before: JobFile, after: JobFile) -> Sequence[Problem]:
    """Errors of `after` that `before` does not have, wherever they are."""
    known = [(each.code, each.message) for each in before.problems]
    fresh = []
    for each in after.problems:
        if (each.code, each.message) in known:
            known.remove((each.code, each.message))
        elif each.is_error:
            fresh.append(each)
    return fresh


def written_job(path: str, keys: Mapping[str, Any], *, body: str | None, settings: Settings) -> bytes:
    """A new file that holds one job. Raises: WrongJobError, TextError."""
    text = new_document(keys)
    if is_markdown(path):
        text = f"---\n{text}---\n{body or ''}"
    data = _bytes(text, b"")
    found = read_job_file(path, data, settings)
    bad = [problem for problem in found.problems if problem.is_error]
    if bad:
        raise WrongJobError(bad)
    job = Opened(path, data, 0, settings)
    if len(found.documents) != 1 or not same(dict(job.keys), dict(keys)):
        raise EditError("the job cannot be written to a file without changing it", hint="write it by hand")
    return data


def without_document(job: Opened) -> bytes:
    """The file of several documents without this one; comments before its `---` stay.

    Raises: EditError.
    """
    page = job.page
    start, end = _span(page)
    text = page.text[:start] + page.text[end:]
    data = _bytes(text, job.data)
    kept = [each for number, each in enumerate(job.read().documents) if number != job.number]
    _prove_documents(job, data, kept, page.line(start))
    return data


def document_text(job: Opened, *, head: bool = False) -> str:
    """The document as written, from its first key on, with the comments after it; line endings as they are.

    head: the first document of a file, with everything before it.
    """
    page = job.page
    start, end = _span(page)
    text = page.text[start:end]
    if head and job.number == 0:
        text = page.text[:end]
        return text if text.endswith(("\n", "\r")) else text + "\n"
    opening = re.compile(r"---[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)").match(text)
    text = text if opening is None else text[opening.end() :]
    return text if text.endswith(("\n", "\r")) else text + "\n"


def with_document(path: str, data: bytes, text: str, settings: Settings) -> bytes:
    """A YAML file with one more document after the others. Raises: EditError."""
    before = decode(data)
    newline = (_BREAK.search(before) or _BREAK.search("\n"))[0]  # type: ignore[index]
    lines = _BREAK.sub(newline, text)
    glue = "" if not before or before.endswith(("\n", "\r")) else newline
    file = read_job_file(path, data, settings)
    mark = "" if not file.documents else f"---{newline}"
    result = _bytes(before + glue + mark + lines, data)
    after = read_job_file(path, result, settings)
    if len(after.documents) != len(file.documents) + 1 or _facts(after.documents[:-1]) != _facts(file.documents):
        raise EditError(f"no document can be added to {path}", hint="move it by hand")
    return result


def _facts(documents: Sequence[Document]) -> list[tuple[Any, ...]]:
    return [(each.id, each.spec, each.text, each.task_source_path) for each in documents]


def _prove_documents(job: Opened, data: bytes, kept: Sequence[Document], line: int) -> None:
    after = read_job_file(job.path, data, job.settings)
    if _facts(after.documents) != _facts(kept) or new_problems(job.read(), after):
        raise EditError(
            "the document cannot be removed without changing those around it", line=line, hint="delete it by hand"
        )


def _span(page: Page) -> tuple[int, int]:
    """From a document's `---`, or its first key if it has none, to the `---` of the next document, or to the end."""
    documents = page.documents()
    if page.number >= len(documents):
        raise EditError("there is no document here", line=page.line(page.start))
    first = _first_index(documents[page.number])
    if re.compile(r"^%", re.MULTILINE).search(page.text, page.start, page.end):
        raise EditError("a file with lines that start with % cannot be split into documents", hint="edit it by hand")
    before = [found.start() for found in _SEPARATOR.finditer(page.text, page.start, first)]
    floor = 0 if page.number == 0 else _first_index(documents[page.number - 1])
    opening = [index for index in before if index >= floor]
    start = opening[-1] if opening else page.text.rfind("\n", 0, first) + 1
    if page.number + 1 == len(documents):
        return start, page.end
    following = _first_index(documents[page.number + 1])
    after = [found.start() for found in _SEPARATOR.finditer(page.text, first, following)]
    if not after:
        raise EditError("the end of the document cannot be found", line=page.line(first), hint="edit it by hand")
    return start, after[0]


def _first_index(document: YamlDocument) -> int:
    return document.spots[()].value
