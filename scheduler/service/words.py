"""Candidates for completion: from the database, scheduler.yaml, the schema, and files. Never raises an error."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scheduler import schemas
from scheduler.core.values.problems import SchedulerError
from scheduler.ledger import queries
from scheduler.service.root import Root

_MOST = 500
_RUNS = 50
_NOT_SET = ("id", "task")  # an id never changes, and a text comes from a file
_JOB_FILES = (".yaml", ".yml", ".md")


def known_words(root: Root) -> tuple[Sequence[str], Sequence[str]]:
    """All job ids and the newest run ids, for completion. Never raises an error."""
    try:
        store = root.store()
        if store is None:
            return [], []
        with store:
            ids = store.read(queries.job_ids)
            return ids, [run.id for job_id in ids[:200] for run in store.read(queries.runs, job_id, limit=3)]
    except SchedulerError:
        return [], []


def run_words(root: Root, job_id: str) -> list[str]:
    """The newest runs of a job, newest first."""
    with contextlib.suppress(SchedulerError):
        store = root.store()
        if store is not None:
            with store:
                return [run.id for run in store.read(queries.runs, job_id, limit=_RUNS)]
    return []


def tag_words(root: Root) -> list[str]:
    """The tags of all jobs that are not archived."""
    with contextlib.suppress(SchedulerError):
        store = root.store()
        if store is not None:
            with store:
                jobs = store.read(queries.summaries)
            return sorted({tag for job in jobs if not job.archived for tag in job.tags})
    return []


def runner_words(root: Root) -> list[str]:
    """The runners of scheduler.yaml."""
    from scheduler.root.settings import read_settings

    settings, _ = read_settings(root.place)
    return [] if settings is None else sorted(settings.runners)


def channel_words(root: Root) -> list[str]:
    """The channels of scheduler.yaml."""
    from scheduler.root.settings import read_settings

    settings, _ = read_settings(root.place)
    return [] if settings is None else sorted(settings.channels)


def path_words(root: Root, start: str, *, job_files: bool) -> list[str]:
    """The files and folders of the root whose path has this prefix. Folders end with a slash.

    job_files: only files that can contain a job.
    """
    folder, _, name = start.rpartition("/")
    found = []
    with contextlib.suppress(OSError), os.scandir(root.place.root / folder) as entries:
        for entry in entries:
            if not entry.name.startswith(name) or entry.name.startswith("."):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir():
                found.append(f"{path}/")
            elif not job_files or entry.name.endswith(_JOB_FILES):
                found.append(path)
    return sorted(found)[:_MOST]


def revision_words(root: Root) -> list[str]:
    """The branches and tags of the repository."""
    from scheduler.git.run import GitError, run_git

    with contextlib.suppress(GitError, SchedulerError):
        found = run_git(
            root.place.root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags"
        )
        return sorted(os.fsdecode(found).splitlines())[:_MOST]
    return []


def zone_words() -> list[str]:
    """The time zones that this machine knows."""
    from zoneinfo import available_timezones

    return sorted(available_timezones())


def key_words() -> dict[str, list[str]]:
    """The job keys that can be set, such as `retry.attempts`, each with its values if the set is limited."""
    schema = json.loads(schemas.schema_text("job"))
    return dict(_keys(schema["properties"], schema["$defs"], ""))


def _keys(
    properties: Mapping[str, Any], definitions: Mapping[str, Any], before: str
) -> Iterator[tuple[str, list[str]]]:
    for name, found in properties.items():
        key = f"{before}{name}"
        if key in _NOT_SET:
            continue
        kinds = found.get("anyOf", [found])
        yield key, _values(kinds)
        for kind in kinds:
            if (inner := kind.get("$ref", "").removeprefix("#/$defs/")) in definitions:
                yield from _keys(definitions[inner]["properties"], definitions, f"{key}.")


def _values(kinds: Sequence[Mapping[str, Any]]) -> list[str]:
    values: list[str] = []
    for kind in kinds:
        types = kind.get("type", ())
        values += [str(each) for each in kind.get("enum", ()) if each is not None]
        values += ["true", "false"] if "boolean" in ([types] if isinstance(types, str) else types) else []
    return values
