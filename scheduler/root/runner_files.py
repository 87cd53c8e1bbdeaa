"""The files of the root that runners and channels name: their content, its provenance in git, and which are missing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from scheduler.core.formats.commands import Named, named_files
from scheduler.core.values.facts import Fault, RunnerFile
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.settings import ROOT_FILE, RunnerSpec, Settings
from scheduler.root.files import Files, WorkingTree
from scheduler.root.reading import Source, mark_of

if TYPE_CHECKING:
    from scheduler.git.tree import Tree

RUNNER_FILE_BYTES = 64 * 1024 * 1024
_NO_FILE = ("source_missing", "source_not_regular")  # a word that only looks like a path, or a folder
_SETTLED_S = 2.0  # a file this old cannot change again without new times


def with_named_files(files: Files, settings: Settings, data: bytes) -> tuple[Settings, list[Problem]]:
    """The settings with the content of each file that a command names, and warnings for files that nothing can run.

    data: the bytes of scheduler.yaml.
    """
    problems: list[Problem] = []

    def held(section: str, name: str, command: tuple[str, ...], cwd: str) -> tuple[tuple[str, str], ...]:
        states: list[tuple[str, str]] = []
        for named in named_files(command, cwd, str(files.root)):
            found = _state(files, named.path)
            if found is not None:
                states.append((named.path, found))
            problems.extend(_problems(section, name, command[named.word], named, found, data, files))
        return tuple(sorted(states))

    runners, channels = dict(settings.runners), dict(settings.channels)
    for name, runner in runners.items():
        if found := held("runners", name, runner.command, runner.cwd):
            runners[name] = replace(runner, files=found)
    for name, channel in channels.items():
        if channel.command and (found := held("channels", name, channel.command, ".")):
            channels[name] = replace(channel, files=found)
    return replace(settings, runners=runners, channels=channels), problems


def runner_paths(files: Files, runner: RunnerSpec) -> list[str]:
    """The paths that a runner's command names, whether or not the files exist."""
    return [named.path for named in named_files(runner.command, runner.cwd, str(files.root))]


def read_runner_files(files: Files, runner: RunnerSpec) -> list[tuple[str, Source | Fault]]:
    """The files of the root that a runner names, by path, or why one of them cannot be read."""
    read = [(path, files.read(path, limit=RUNNER_FILE_BYTES, hidden=True)) for path in runner_paths(files, runner)]
    return [(path, each) for path, each in read if not (isinstance(each, Fault) and each.reason in _NO_FILE)]


def runner_files(read: Sequence[tuple[str, Source | Fault]], tree: Tree) -> tuple[RunnerFile, ...]:
    """The provenance of files that were read, by path."""
    return tuple(_provenance(path, found, tree) for path, found in sorted(read, key=lambda each: each[0]))


def _provenance(path: str, found: Source | Fault, tree: Tree) -> RunnerFile:
    if isinstance(found, Fault):
        return RunnerFile(path=path, sha256=None, dirty="unread")
    known = tree.provenance(found.real, found.data)
    dirty = known.dirty
    if dirty in (None, "converted") and tree.mode_changed(found.real, executable=found.executable):
        dirty = "modified"
    return RunnerFile(path=path, sha256=found.sha256, blob=known.blob, dirty=dirty, executable=found.executable)


def _state(files: Files, path: str) -> str | None:
    """A file's content in one line: its sha256 and whether it is executable, or why it is unreadable. None: no file."""
    key = f"{files.root}/{path}"
    mark = _settled_mark(key) if isinstance(files, WorkingTree) else None
    if mark is not None and (known := _known.get(key)) is not None and known[0] == mark:
        return known[1]
    found = files.read(path, limit=RUNNER_FILE_BYTES, hidden=True)
    if isinstance(found, Fault):
        return None if found.reason in _NO_FILE else found.reason
    state = f"sha256:{found.stands_for or found.sha256}" + (" executable" if found.executable else "")
    if mark is not None and mark == _settled_mark(key):
        _known[key] = mark, state
    return state


# Cached: a daemon looks in every pass and fire, and a compiled agent has tens of megabytes.
_known: dict[str, tuple[tuple[int, ...], str]] = {}


def _settled_mark(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - links followed
    except (OSError, ValueError):
        return None
    settled = max(found.st_mtime, found.st_ctime) < time.time() - _SETTLED_S
    return (*mark_of(found), found.st_mode) if settled else None


def _problems(
    section: str, name: str, word: str, named: Named, found: str | None, data: bytes, files: Files
) -> Iterator[Problem]:
    """word: of the command, that names the file."""
    if not named.needed or (found is None and not named.started and files.is_folder(named.path)):
        return
    if found is None:
        is_folder = files.is_folder(named.path)
        code, what = "runner.file-missing", "is a folder" if is_folder else "does not exist"
        hint = "give the path of the program in it" if is_folder else "create the file, or correct the path"
    elif named.started and found.startswith("sha256:") and not found.endswith(" executable"):
        code, what = "runner.not-executable", "is not executable"
        hint = f"run `chmod +x {named.path}` and commit the new mode"
    else:
        return
    from scheduler.core.formats.rootfile import word_place

    who, effect = ("runner", "its jobs cannot start") if section == "runners" else ("channel", "it delivers nothing")
    message = f"{who} {name!r} runs {word!r}, and {named.path!r} {what}: {effect}"
    yield Problem(ROOT_FILE, *word_place(data, section, name, named.word), code, message, hint, Severity.WARNING)
