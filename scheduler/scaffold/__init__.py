"""What `init` writes: a root that runs at once on any machine."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from scheduler.core.values.problems import UnavailableError


def write_scaffold(folder: Path) -> tuple[list[str], list[str]]:
    """Writes the files of a new root; returns the root-relative paths written, and those kept as they were.

    Raises: UnavailableError where the folder cannot be written.
    """
    written: list[str] = []
    kept: list[str] = []
    try:
        for path, text in _files(resources.files("scheduler.scaffold").joinpath("files")):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with target.open("x", encoding="utf-8") as file:  # fails where the file exists: nothing is overwritten
                    file.write(text)
            except FileExistsError:
                kept.append(path)
            else:
                written.append(path)
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    return written, kept


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        path = prefix + entry.name
        found += _files(entry, path + "/") if entry.is_dir() else [(path, entry.read_text(encoding="utf-8"))]
    return found
