"""The memory that a process keeps which stays."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8  # mallopt(3)


def share_one_heap() -> None:
    """Make all threads allocate from one heap. Call it before they start.

    glibc would give them up to eight heaps per core, and each heap would keep its peak size: in 100,000 requests, the
    web process grew by 12 MB of memory that no thread used. Does nothing without glibc.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return free heap memory to the system. Takes milliseconds, so call it when nothing is urgent.

    Runs and passes need little memory and free it soon, but their blocks lie between blocks that live longer. Without
    this, the heap of a daemon was half empty after 100,000 fires and still grew. Does nothing without glibc.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
