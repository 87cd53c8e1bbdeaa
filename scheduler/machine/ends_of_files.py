"""The end of a file that another process may still write."""

from __future__ import annotations

from pathlib import Path

from scheduler.core.values.last_lines import TAIL_BYTES


def end_of(path: Path) -> bytes:
    """The last 4 KiB; empty if the file is gone or cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read()
    except OSError:
        return b""
