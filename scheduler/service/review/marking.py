"""The places in the files of a pull request where a review is marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from scheduler.core.formats.keylines import BODY, KeyLines, job_key_lines, setting_lines
from scheduler.core.plan.marks import Marks, Place, field_lines, mark_line
from scheduler.core.plan.review import TaskDiff
from scheduler.core.plan.textdiff import Hunk, hunks
from scheduler.core.values.facts import Fault
from scheduler.core.values.settings import ROOT_FILE, converted_file_of
from scheduler.root.files import Files
from scheduler.root.settings import ROOT_FILE_BYTES

_ATTRIBUTES = ".gitattributes"
_MOST_FILES = 100  # to search for keys; GitHub shows ten marks of each kind


def marked(shown: Mapping[str, Any], diffs: Sequence[TaskDiff], before: Files | None, after: Files) -> Marks:
    """The place of every change that a line of the diff shows.

    before: None if the files of the base are not known; then keys are marked where they are now.
    """
    moved = {move["id"]: move["from"] for move in shown["moved"]}
    jobs = dict(sorted(shown["jobs"].items(), key=_power_first(shown))[:_MOST_FILES])
    origins = {job["path"]: moved.get(job_id, job["path"]) for job_id, job in jobs.items()}
    paths = sorted({ROOT_FILE, *origins})
    texts = _texts(after, paths)
    found: dict[str, tuple[Hunk, ...] | None] = dict.fromkeys(paths)
    if before is not None:
        old = _texts(before, sorted({*paths, *origins.values()}))
        for path in paths:
            first = old.get(path, old.get(origins.get(path, path), ""))
            found[path] = hunks(first, texts[path]) if path in texts else ()
    changes = {update["id"]: update["changes"] for update in shown["updated"]}
    lines = {path: job_key_lines(path, texts[path].encode()) for path in origins if path in texts}
    places: dict[tuple[str, str], Place] = {}
    for job_id, job in jobs.items():
        path = job["path"]
        keys: KeyLines = lines.get(path, {}).get(job_id, {})
        wanted: dict[str, range | None] = {name: field_lines(name, keys) for name in changes.get(job_id, ())}
        wanted |= {"": range(job["line"], job["line"] + 1), "runner": keys.get("runner"), BODY: keys.get(BODY)}
        for name, each in wanted.items():
            if path in texts and (line := mark_line(each or wanted[""], found[path])) is not None:
                places[job_id, name] = path, line
    keys = setting_lines(texts[ROOT_FILE].encode()) if ROOT_FILE in texts else {}
    settings: dict[str, Place] = {}
    for change in shown["root_changed"]:
        name = change["field"]
        if (path := converted_file_of(name)) is not None:
            place = _by_attributes(path, before, after)
        else:
            line = mark_line(field_lines(name, keys), found[ROOT_FILE]) if keys else None
            place = None if line is None else (ROOT_FILE, line)
        if place is not None:
            settings[name] = place
    return Marks(jobs=places, settings=settings, tasks=dict(_tasks(diffs, origins, known=before is not None)))


def _power_first(shown: Mapping[str, Any]) -> Callable[[tuple[str, Any]], tuple[bool, str]]:
    wider = {update["id"] for update in shown["updated"] if update["widens"]}
    wider |= {pair["id"] for pair in shown["runner_pairs"]}
    return lambda job: (job[0] not in wider, job[0])


def _by_attributes(path: str, before: Files | None, after: Files) -> Place | None:
    """The change of .gitattributes nearest to a file that a checkout converts."""
    folder = path
    while before is not None and folder:
        folder = folder.rpartition("/")[0]
        name = f"{folder}/{_ATTRIBUTES}" if folder else _ATTRIBUTES
        old, new = (each.read(name, limit=ROOT_FILE_BYTES, hidden=True) for each in (before, after))
        if isinstance(new, Fault):
            continue
        was = "" if isinstance(old, Fault) else old.data.decode("utf-8", "replace")
        line = mark_line(None, hunks(was, new.data.decode("utf-8", "replace")))
        if line is not None:
            return name, line
    return None


def _tasks(diffs: Sequence[TaskDiff], job_files: Mapping[str, str], *, known: bool) -> Iterable[tuple[str, Place]]:
    for diff in diffs:
        if diff.path in job_files or diff.after_sha256 is None:
            continue
        line = mark_line(None, diff.hunks) if known else 1
        if line is not None:
            yield diff.path, (diff.path, line)


def _texts(files: Files, paths: Sequence[str]) -> dict[str, str]:
    """The existing files, by path."""
    found = zip(paths, files.read_all(paths, limit=ROOT_FILE_BYTES), strict=True)
    return {path: each.data.decode("utf-8", "replace") for path, each in found if not isinstance(each, Fault)}
