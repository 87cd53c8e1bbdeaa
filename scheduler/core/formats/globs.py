"""Globs of scheduler.yaml: of paths (`jobs`, `runners.*.tasks`) and of jobs (`runners.*.jobs`).

In a path, `*`, `?` and `[...]` match within a component and `**` across them. A pattern of jobs is a glob of
their ids, or `tag:` and a glob of their tags.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

TAG = "tag:"
SUFFIXES = (".md", ".yaml", ".yml")  # of job files, in any case of letters


def matches(path: str, pattern: str) -> bool:
    """True if a root-relative POSIX path matches one glob; `**` stands for any number of folders."""
    last = pattern.rpartition("/")[2]
    if last == "**":
        return _matches(path.split("/"), pattern.split("/"))
    name = path.rpartition("/")[2]
    # Nearly every path that does not match differs in its last component already.
    return fnmatchcase(name, last) and _leads(path[: len(path) - len(name)], pattern[: len(pattern) - len(last)])


@functools.lru_cache(maxsize=1024)
def _leads(folder: str, pattern: str) -> bool:
    """True if a glob leads to a folder; both empty or with a slash at the end. Cached: many files share a folder."""
    return _matches(folder.split("/"), f"{pattern}*".split("/"))


def matches_any(path: str, patterns: Iterable[str]) -> bool:
    return any(matches(path, pattern) for pattern in patterns)


def matches_job(job_id: str, tags: Iterable[str], patterns: Iterable[str]) -> bool:
    """True if a job's id, or one of its tags, matches one of the patterns."""
    tags = tuple(tags)
    return any(
        any(fnmatchcase(tag, pattern.removeprefix(TAG)) for tag in tags)
        if pattern.startswith(TAG)
        else fnmatchcase(job_id, pattern)
        for pattern in patterns
    )


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    reached = {0}  # how many components of the path the pattern so far can have matched
    for number, part in enumerate(pattern, start=1):
        if part == "**":
            first, end = min(reached), len(path)
            # Folders only, so it leaves something for the rest. As the last part it takes the rest, which is not empty.
            reached = set(range(first, end)) if number < len(pattern) else {end} if first < end else set()
        else:
            reached = {at + 1 for at in reached if at < len(path) and fnmatchcase(path[at], part)}
        if not reached:
            return False
    return len(path) in reached


def may_hold(folder: str, pattern: str) -> bool:
    """True if a folder can hold, at any depth, a matching path: a walk need not enter any other folder."""
    folders, wanted = folder.split("/"), pattern.split("/")
    for part, glob in zip(folders, wanted, strict=False):
        if glob == "**":
            return True
        if not fnmatchcase(part, glob):
            return False
    return len(folders) < len(wanted)
