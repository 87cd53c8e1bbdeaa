"""Detection of folders that are gone: removed, unreachable, or emptied by a lost mount."""

from __future__ import annotations

import os
from pathlib import Path


def folder_trouble(folder: Path) -> str:
    """What is wrong with a folder that files are read from. Empty if nothing is."""
    try:
        with os.scandir(folder) as entries:
            empty = all(entry.name.startswith(".") for entry in entries)
    except PermissionError:
        return "" if os.access(folder, os.X_OK) else "cannot be entered: permission denied"
    except (FileNotFoundError, NotADirectoryError):
        return "is gone"
    except OSError as error:  # such as a stale handle, or a FUSE file system whose process has died
        return f"cannot be read: {error.strerror}"
    return EMPTY if empty else ""


EMPTY = "is empty"


def root_trouble(root: Path) -> str:
    found = folder_trouble(root)
    return f"the root {root} {found}" if found else ""


def gone_folder(root: Path, path: str) -> tuple[str, str] | None:
    """The topmost folder above a file of the root that is gone, and what is wrong with it. None if all are there."""
    parts = path.split("/")[:-1]
    for n in range(1, len(parts) + 1):
        folder = "/".join(parts[:n])
        if found := folder_trouble(root / folder):
            return folder, f"the folder {folder!r} {found}"
    return None
