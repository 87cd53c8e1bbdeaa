"""Reading scheduler.yaml."""

from __future__ import annotations

import hashlib
from typing import Any

import scheduler
from scheduler.core.values.facts import Fault
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.machine.zones import rules
from scheduler.root.files import Files, WorkingTree
from scheduler.root.place import Place
from scheduler.root.reading import Source, read_file
from scheduler.root.runner_files import with_named_files

Json = dict[str, Any]
ROOT_FILE_BYTES = 1024 * 1024


def read_settings(place: Place) -> tuple[Settings | None, tuple[Problem, ...]]:
    """The current scheduler.yaml, with the files that it names. None, with reasons, if missing or invalid."""
    return settings_of(WorkingTree(place))


def settings_of(files: Files) -> tuple[Settings | None, tuple[Problem, ...]]:
    """The settings in the scheduler.yaml of any `Files`, with the files that its runners and channels name."""
    found = files.read(ROOT_FILE, limit=ROOT_FILE_BYTES)
    settings, problems = settings_in(found)
    if settings is None or isinstance(found, Fault):
        return settings, problems
    settings, lacking = with_named_files(files, settings, found.data)
    return settings, tuple(sorted({*problems, *lacking}))


def settings_in(found: Source | Fault) -> tuple[Settings | None, tuple[Problem, ...]]:
    """The settings in a scheduler.yaml alone."""
    if isinstance(found, Fault):
        gone = found.reason == "source_missing"
        code, message = ("root.missing", f"{ROOT_FILE} is gone") if gone else ("root.unreadable", found.message)
        hint = "nothing is applied until it is back; the last good settings stay in force"
        return None, (Problem(ROOT_FILE, 1, 1, code, message, hint),)
    return _parsed(found.data)


def lenient_settings(place: Place) -> Settings | None:
    """If scheduler.yaml has an error: settings good enough to find the errors of job files, or None."""
    from scheduler.core.formats.rootfile import parse_lenient

    data = read_file(place.root, ROOT_FILE, limit=ROOT_FILE_BYTES)
    return None if isinstance(data, Fault) else parse_lenient(data)


# By sha256, for every fire asks: what a scheduler.yaml says.
_known: dict[str, tuple[Settings | None, tuple[Problem, ...]]] = {}
_MOST_KNOWN = 4


def _parsed(data: bytes) -> tuple[Settings | None, tuple[Problem, ...]]:
    sha256 = hashlib.sha256(data).hexdigest()
    found = _known.get(sha256)
    if found is None:
        from scheduler.core.formats.rootfile import read_root_file

        found = read_root_file(data, path=ROOT_FILE)
        _remember(sha256, found)
    return found


def _remember(sha256: str, found: tuple[Settings | None, tuple[Problem, ...]]) -> None:
    while len(_known) >= _MOST_KNOWN:
        _known.pop(next(iter(_known)), None)
    _known[sha256] = found


def parsed_form(place: Place) -> Json | None:
    """What the present scheduler.yaml says, for `remember_parsed` in another process. None unless it is known here."""
    found = WorkingTree(place).read(ROOT_FILE, limit=ROOT_FILE_BYTES)
    settings, problems = (None, ()) if isinstance(found, Fault) else _known.get(found.sha256, (None, ()))
    if settings is None or isinstance(found, Fault):
        return None
    problems_json = [each.to_json() for each in problems]
    return {"sha256": found.sha256, "by": _parser(), "settings": settings.to_json(), "problems": problems_json}


def remember_parsed(form: Json) -> None:
    """Save this process parsing a scheduler.yaml, unless another version parsed it."""
    if form["by"] == _parser():
        problems = tuple(map(Problem.from_json, form["problems"]))
        _remember(form["sha256"], (Settings.from_json(form["settings"]), problems))


def _parser() -> list[str]:
    """What the meaning of the bytes depends on."""
    return [scheduler.__version__, *rules()]
