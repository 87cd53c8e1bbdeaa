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


def give_back() -> None:
    """Returns to the system what is free in the heap. Costs milliseconds; for a moment at which nothing is urgent.

    What one run and one pass need is small and soon free again, but lies between what lives longer: without this the
    heap of a daemon that had 100,000 fires was half empty, and still grew. Elsewhere than with glibc this does nothing.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
