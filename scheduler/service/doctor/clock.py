"""Is the clock right? It cannot be asked; whether something keeps it right can, and whether it has gone back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from scheduler.core.times.clocks import JUMP, NOT_BEFORE, ClockReading
from scheduler.core.values.instants import instant
from scheduler.ledger.clock_steps import Clocked
from scheduler.machine.timesync import is_synchronized
from scheduler.service.doctor.check import Check

BACK = timedelta(minutes=1)  # a correction is smaller


def check_clock(reading: ClockReading, left: Clocked | None) -> Iterator[Check]:
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
