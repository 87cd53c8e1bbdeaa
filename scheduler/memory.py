"""What memory a daemon keeps."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8  # mallopt(3)


def share_one_heap() -> None:
    """Lets all threads allocate from one heap, before there are any.

    A run has a thread of its own for as long as it lasts. glibc would give those up to eight heaps for each core, and
    what each of them has grown to at its worst moment stays with the process. Elsewhere this does nothing.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
