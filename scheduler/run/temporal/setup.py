"""engine.yaml of the state folder, read by a daemon and its client, and worker.yaml of a host, read by its worker.

No import of Temporal's library.
"""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from scheduler.core.values.engines import ENGINE_FILE, EngineSettings, WorkerSettings
from scheduler.core.values.problems import Problem, RefusedError, UnavailableError, UsageError
from scheduler.core.values.references import Reference, filled
from scheduler.core.values.settings import ROOT_FILE
from scheduler.git.index import tracked_at
from scheduler.root.place import Place
from scheduler.root.trusted import STATE_FOLDER

MOST_BYTES = 64 * 1024

T = TypeVar("T")


def engine_file(place: Place) -> Path:
    return place.state / ENGINE_FILE


def read_engine(place: Place) -> EngineSettings | None:
    """How the server is reached. None if this host has none.

    Raises: RefusedError if git tracks the file, others may read it, or it has an error; UnavailableError.
    """
    path = engine_file(place)
    data = _read(path, "send runs elsewhere")
    if data is None:
        if (stray := place.root / ENGINE_FILE).exists() and stray != path:
            raise RefusedError(f"{stray} lies in the root, so it is not used", hint=f"move it to {path}")
        return None
    from scheduler.core.formats.enginefile import read_engine_file  # slow to import, and seldom needed

    found, problems = read_engine_file(data, path=str(path))
    return _sound(found, problems)


def read_worker(path: Path) -> WorkerSettings:
    """What a worker of this host takes, and from where.

    Raises: RefusedError if git tracks the file, it lies in a root, others may read it, or it has an error;
    UsageError if there is none; UnavailableError.
    """
    data = _read(path, "have this host run anything")
    if data is None:
        hint = "write temporal: {address: HOST:PORT}, queues: [default] and runners: any into it, and chmod 600 it"
        raise UsageError(f"there is no {path}", hint=hint)
    real = Path(os.path.realpath(path))
    for folder in real.parents:
        if folder.name == STATE_FOLDER:
            break
        if (folder / ROOT_FILE).exists():
            raise RefusedError(
                f"{path} lies in the root {folder}: whoever edits jobs could have this host run anything",
                hint="move it, for example to /etc/scheduler/worker.yaml",
            )
    from scheduler.core.formats.workerfile import read_worker_file

    return _sound(*read_worker_file(data, path=str(path)))


def _read(path: Path, harm: str) -> bytes | None:
    """A file that only this user may have written and may read. None if there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}", hint="make it readable") from error
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{path} is no regular file", hint="write the settings into it")
    if tracked_at(path):
        raise RefusedError(
            f"git tracks {path}: anyone who can push could {harm}",
            hint=f"remove it from the repository with `git rm --cached {path}`",
        )
    if mode & 0o077:
        raise RefusedError(f"others can read or change {path}", hint=f"chmod 600 {path}")
    return data


def _sound(found: T | None, problems: Sequence[Problem]) -> T:
    if found is None:
        first = next(each for each in problems if each.is_error)
        raise RefusedError(f"{first.path}:{first.line}:{first.column}: {first.message}", hint=first.hint)
    return found


def has_library() -> bool:
    """True if the client can be started."""
    return importlib.util.find_spec("temporalio") is not None


def secret(text: str | None, environ: Mapping[str, str]) -> str | None:
    """The value that a text of engine.yaml stands for. Raises: RefusedError, without the value."""

    def lookup(reference: Reference) -> str:
        if reference.kind == "env":
            value = environ.get(reference.name, "")
        else:
            try:
                value = Path(reference.name).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", "it is not UTF-8")
                raise RefusedError(f"{reference} cannot be read: {why}") from None
        if not value:
            raise RefusedError(f"{reference} is empty or not set")
        return value

    return None if text is None else filled(text, lookup, url=False)
