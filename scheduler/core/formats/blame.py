"""From what is wrong in a text or in plain data to Problems at their place in a file."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.core.formats.faults import KeyFault
from scheduler.core.formats.yamlfile import YamlDocument
from scheduler.core.values.problems import Problem
from scheduler.core.values.texts import TextError


def file_problem(path: str, error: TextError) -> Problem:
    return Problem(path, error.line, error.column, error.code, error.message, error.hint)


def not_a_mapping(path: str, document: YamlDocument, *, hint: str) -> Problem:
    """The Problem of a document that is a list or a bare value."""
    line, column = document.start
    found = "a list" if isinstance(document.data, list) else "a bare value"
    return Problem(path, line, column, "yaml.not-a-mapping", f"key: value lines were expected, not {found}", hint)


def flaw_problems(path: str, document: YamlDocument, job_id: str | None = None) -> Iterable[Problem]:
    for flaw in document.flaws:
        line, column = document.lines.place(flaw.index)
        yield Problem(path, line, column, flaw.code, flaw.message, flaw.hint, job_id=job_id)


def fault_problem(path: str, document: YamlDocument, fault: KeyFault, job_id: str | None = None) -> Problem:
    """The Problem of one fault, at its value, its key, or the nearest thing around it."""
    if fault.at_key:
        line, column = document.key_place(fault.path)
    else:
        line, column = document.place(fault.path, fault.offset)
    return Problem(path, line, column, fault.code, fault.message, fault.hint, job_id=job_id)
