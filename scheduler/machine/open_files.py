"""How many files this process may have open (getrlimit(2), RLIMIT_NOFILE). Its children keep the limit it came with."""

from __future__ import annotations

import contextlib
import resource

_MANY = 1 << 20  # in place of "no limit"
_came_with: tuple[int, int] | None = None  # the limits before they were raised


def allow(files: int) -> int:
    """Raise the soft limit to so many, as far as the hard one lets it. Returns how many may be open now."""
    global _came_with
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MANY
    most = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if most <= soft or not hasattr(resource, "prlimit"):
        return soft
    with contextlib.suppress(OSError, ValueError):  # more than the kernel gives anybody
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        _came_with = _came_with or (soft, hard)
        return most
    return soft


def give_back(pid: int) -> None:
    """Give a child the limit that this process came with: programs that use select(2) break with a higher one.

    The child has started by then, but a program needs longer to open its thousandth file.
    """
    if _came_with is not None:
        with contextlib.suppress(OSError):  # it has ended
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _came_with)
