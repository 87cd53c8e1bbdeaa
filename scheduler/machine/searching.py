"""A search with a pattern that somebody else wrote: in a process of its own, which is ended if it takes too long.

A pattern can take longer than the universe for a text of thirty characters, and nothing ends it in a thread.
"""

from __future__ import annotations

import sys

from scheduler.machine import orphans

SEARCH_S = 5.0
_SEARCH = """\
import re, sys
text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
sys.exit(10 if re.search(sys.argv[1], text) is None else 0)
"""


def matches(pattern: str, text: str, *, within: float = SEARCH_S) -> bool | None:
    """True if the text has a match. None if that could not be found out in time, seconds, or at all."""
    import subprocess

    data = text.encode("utf-8", "surrogateescape")
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _SEARCH, pattern]
    try:
        process = orphans.start(
            argv, env={}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except (OSError, ValueError):
        return None
    with process:
        try:
            process.communicate(data, timeout=within)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    return {0: True, 10: False}.get(process.returncode)
