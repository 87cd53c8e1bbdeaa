"""Whole folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Remove a folder, with read-only folders in it, as far as possible. A link stays."""
    if folder.is_symlink() or not folder.exists():
        return
    for here, names, _ in os.walk(folder):
        os.chmod(here, 0o700)  # noqa: PTH101 - by the hundred
        names[:] = [name for name in names if not os.path.islink(f"{here}/{name}")]  # noqa: PTH114
    shutil.rmtree(folder, ignore_errors=True)
