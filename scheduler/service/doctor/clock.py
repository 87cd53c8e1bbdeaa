"""Is the clock right? It cannot be asked; whether something keeps it right can, and whether it has gone back."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from scheduler.core.times.clocks import JUMP, NOT_BEFORE, Reading
from scheduler.core.values.spec import instant
from scheduler.ledger.store import Clocked
from scheduler.service.doctor.check import Check

BACK = timedelta(minutes=1)  # a correction is smaller
SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")

_STA_UNSYNC = 0x40  # adjtimex(2)
_TIME_ERROR = 5


def clock(reading: Reading, left: Clocked | None) -> Iterator[Check]:
    """left: the clock of those who have written to the database; None where there is none."""
    now = reading.wall
    if now < NOT_BEFORE:
        yield Check("clock", "error", f"it says {instant(now)}, which cannot be", "set it; nothing fires by it")
        return
    newest = None if left is None else left.newest
    if newest is not None and newest - now > BACK:
        hint = (
            "set it if it is wrong; if not, the next `scheduler serve` or `scheduler sync` sets right what lies ahead"
        )
        yield Check("clock", "error", f"it says {instant(now)}, and the newest row is of {instant(newest)}", hint)
        return
    boot = None if left is None else left.boot
    if boot is not None and boot.boot_id is not None and boot.boot_id == reading.boot_id:
        gain = reading.booted_at - boot.booted_at
        if gain > JUMP:
            hint = "set it if it is wrong; a daemon fires by it once it is known to be right, or after two minutes"
            said = f"it has jumped ahead by {timedelta(seconds=round(gain.total_seconds()))} since the machine started"
            yield Check("clock", "error", f"{said}, to {instant(now.replace(microsecond=0))}", hint)
            return
    synchronized = is_synchronized()
    if synchronized is False:
        # chronyd corrects the clock without this, and leaves the kernel's flag alone.
        hint = "let systemd-timesyncd, ntpd or chrony keep it right; chrony tells the kernel only with `rtcsync`"
        yield Check("clock", "warning", "nothing keeps it right: the kernel calls it unsynchronised", hint)
    else:
        kept = "is kept right" if synchronized else "whether something keeps it right cannot be told here"
        yield Check("clock", "ok", f"{instant(now)}; {kept}")


def is_synchronized() -> bool | None:
    """Whether the kernel's clock is disciplined, by NTP, PTP or a host; None where that cannot be told."""
    if SYNCHRONIZED.exists():  # timesyncd's word, also where a container may not ask the kernel
        return True
    asked = _adjtimex()
    if asked is None:
        return None
    state, status = asked
    return not (state == _TIME_ERROR or status & _STA_UNSYNC)


class _Timex(ctypes.Structure):
    """The first fields of struct timex, and more room than the rest of it takes."""

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
    """(what the call answers, its status word), asked without changing anything; None where it may not be asked."""
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    found = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else (state, found.status)
