"""What the files say, in the form that a plan needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scheduler.core.values.facts import Dirty, Provenance
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import Settings

if TYPE_CHECKING:
    from scheduler.core.formats.jobfile import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One job document, and what is on disk for its task and its file."""

    document: Document
    task_sha256: str | None  # None if the task or the document is at fault
    provenance: Provenance = field(default_factory=Provenance)
    file_sha256: str = ""
    task_dirty: Dirty | None = None  # of the task's file, if that is a different file
    check_fault: bool = False  # the text of its check cannot be used


@dataclass(frozen=True, slots=True)
class Read:
    """Where the bytes of a file are in git; `path` is the one that git knows."""

    path: str
    provenance: Provenance
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What a plan leaves out: files that are as they were when they were last applied, and their jobs.

    Each of these jobs is unarchived, in step with its one file, and named by no file that the plan is about.
    """

    jobs: int = 0  # how many
    dirty: Dirty | None = None  # the worst of their files
    similar: tuple[Problem, ...] | None = None  # names that look alike, of all files; None: there is no rest


NO_REST = Rest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the files say, as one pass read them."""

    settings: Settings
    found: tuple[Found, ...] = ()
    broken: frozenset[str] = frozenset()  # paths that exist but cannot be read or parsed
    empty: frozenset[str] = frozenset()  # paths that hold no document
    unlistable: frozenset[str] = frozenset()  # folders that cannot be listed
    revision: str | None = None
    problems: tuple[Problem, ...] = ()  # of the files themselves; the plan adds its own
    sources: Mapping[str, Read] = field(default_factory=dict)  # every file that was read, by the path that named it
