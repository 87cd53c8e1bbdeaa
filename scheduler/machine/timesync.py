"""Whether the system clock is synchronised."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")
_STA_UNSYNC = 0x40  # adjtimex(2)
_TIME_ERROR = 5


def is_synchronized() -> bool | None:
    """True if NTP, PTP or a host keeps the clock right; None if that is unknown."""
    if SYNCHRONIZED.exists():  # from timesyncd; works even where a container may not ask the kernel
        return True
    asked = _adjtimex()
    if asked is None:
        return None
    state, status = asked
    return not (state == _TIME_ERROR or status & _STA_UNSYNC)


class _Timex(ctypes.Structure):
    """The first fields of struct timex, padded to more than its full size."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    ]


def _adjtimex() -> tuple[int, int] | None:
    """(return value, status word) of adjtimex(2) without changing anything; None if the call is not allowed."""
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    found = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else (state, found.status)
