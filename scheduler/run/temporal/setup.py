"""engine.yaml of the state folder: read when a daemon starts, and by its client. No import of Temporal's library."""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from scheduler.core.values.engines import ENGINE_FILE, EngineSettings
from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.core.values.references import Reference, filled
from scheduler.git.index import tracked_at
from scheduler.root.place import Place

MOST_BYTES = 64 * 1024


def engine_file(place: Place) -> Path:
    return place.state / ENGINE_FILE


def read_engine(place: Place) -> EngineSettings | None:
    """How the server is reached. None if this host has none.

    Raises: RefusedError if git tracks the file, others may read it, or it has an error; UnavailableError.
    """
    path = engine_file(place)
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
            f"git tracks {path}: anyone who can push could send runs elsewhere",
            hint=f"remove it from the repository with `git rm --cached {path}`",
        )
    if mode & 0o077:
        raise RefusedError(f"others can read or change {path}", hint=f"chmod 600 {path}")
    from scheduler.core.formats.enginefile import read_engine_file  # slow to import, and seldom needed

    found, problems = read_engine_file(data, path=str(path))
    if found is None:
        first = next(each for each in problems if each.is_error)
        raise RefusedError(f"{path}:{first.line}:{first.column}: {first.message}", hint=first.hint)
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
