"""Calendar events of systemd.time(7) fire here when systemd says that they elapse.

The golden file holds what `systemd-analyze calendar` said; `GOLDEN=write` asks it again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from scheduler.core.imports.oncalendar import calendar_entries
from scheduler.core.times.fires import fires
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.spec import Schedule
from scheduler.core.values.texts import InputError
from tests.helpers import REPOSITORY

START = datetime(2026, 4, 1, tzinfo=UTC)
ZONE = "Europe/Berlin"  # of the machine; no clock changes before the end of October
N = 50
GOLDEN = REPOSITORY / "tests/golden/imports/calendar.json"

EXPRESSED = [
    "minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually", "Daily",
    "hourly UTC", "daily Asia/Tokyo", "weekly Pacific/Auckland",
    "Mon", "monday", "Mon,Wed", "Mon..Fri 9:00", "Mon-Fri 9:00", "Sat,Sun 08:05:40", "Wed, 17:48",
    "Sat,Thu,Mon..Wed,Sat..Sun", "MON..Wed,fri 1:2:3",
    "*-*-* 04:30:00", "*-*-7 0:0:0", "10-15", "05-31", "monday *-12-* 17:00", "05:40", "5:4", "12,14,13,12:20,10,30",
    "12..14:10,20,30", "*:2/3", "*:0/15", "*:5/7", "0/6:00", "1/5:30", "8..18/2:00", "*:*:0/20", "10:00:15,45",
    "*-*-1/2", "*-*-1/10 3:00", "*-*-1,15 3:00", "*-1/3-1", "*-*-29 00:00", "*-2-29",
    "Mon *-*-1/2 06:00", "Fri *-*-1/3", "*-5~1", "*-4..6~1", "*-4,5,9~3,1 12:00", "*-5~07/1 6:00",
    "2026-05-01", "2026-05-01 05:40 UTC", "26-5-1 1:00", "2026..2027-*-* 12:00", "2026,2028-6-* 0:00", "2027-*-1",
    "Fri 2026-*-13", "Fri 2026..2035-*-13 08:00", "Mon 2026..2030-05~07/1", "2026..2033-2~1", "@1790000000",
    "2026/1-*-* 03:00", "2026/2-01-01", "03-05 08:05:40", "*-*-* 10:00:00.000",
]  # fmt: skip
REFUSED = {
    "Mon *-*-1..7": "a weekday together with days of the month",
    "Fri *-*-13": "a weekday together with days of the month",
    "*-*~1": "the last days of February",
    "*-02~03": "the last days of February",
    "Mon *-05~07/1": "a weekday together with days of the month",
    "Wed..Wed,Wed *-1": "a weekday together with days of the month",
    "2026/2-*-*": "years that repeat",
    "05:40:23.4200004/3.1700005": "fractions of a second",
    "*-*-* 00:00:00.5": "fractions of a second",
}
INVALID = [
    "", "*", "10", "1,2", "mo", "Sat..Mon", "Sun..Sat 1:00", "Mon,,Tue 1:00", "Mon..Wed..Fri 1:00", "24:00", "1:60",
    "*-*-32", "*-13-1", "*:*/5", "10-12:00", "23..2:00", "*:0/0", "today", "daily daily", "1:2:3:4",
    "23/1:00", "*:48/28", "*-12/4-1", "2026-1-1-1", "*-*-*T10:00", "daily Europe/Nowhere", "hourly Mon",
]  # fmt: skip


def by_systemd(event: str) -> list[str] | None:
    """The next instants of an event as systemd computes them; None if it is invalid."""
    done = subprocess.run(
        ["systemd-analyze", "calendar", f"--iterations={N}", "--base-time=2026-04-01 00:00:00 UTC", "--", event],
        env={**os.environ, "TZ": ZONE, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return None
    zones = re.findall(r"\(in UTC\): \w+ (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)", done.stdout)
    if not zones and "never" not in done.stdout:
        zones = re.findall(r"(?:Next elapse|Iteration #\d+|Iter\. #\d+): \w+ (\S+) (\S+) UTC", done.stdout)
    return [f"{day}T{time}Z" for day, time in zones]


@pytest.fixture(scope="module")
def told() -> Mapping[str, list[str] | None]:
    if os.environ.get("GOLDEN") == "write":
        found = {each: by_systemd(each) for each in (*EXPRESSED, *REFUSED, *INVALID)}
        lines = [f"{json.dumps(event)}: {json.dumps(slots)}" for event, slots in found.items()]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    values: Mapping[str, list[str] | None] = json.loads(GOLDEN.read_text())
    return values


def slots(event: str) -> list[str]:
    schedules = [_schedule(each) for each in calendar_entries(event, zone=ZONE)]
    found = {at for each in schedules for at in islice(fires(each, after=START), N)}
    return [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in sorted(found)[:N] if at.year < 2199]  # where systemd ends


def _schedule(entry: Mapping[str, str]) -> Schedule:
    times: dict[str, Any] = {name: parse_instant(entry[name]) for name in ("at", "starts", "ends") if name in entry}
    return Schedule(cron=entry.get("cron"), timezone=entry.get("timezone", ZONE), **times)


@pytest.mark.parametrize("event", EXPRESSED)
def test_the_next_50_instants_are_those_of_systemd(event: str, told: Mapping[str, list[str] | None]) -> None:
    assert slots(event) == told[event]


@pytest.mark.parametrize("event", REFUSED)
def test_what_cron_cannot_say_is_refused_by_name(event: str, told: Mapping[str, list[str] | None]) -> None:
    assert told[event] is not None
    with pytest.raises(InputError, match=re.escape(REFUSED[event])):
        calendar_entries(event, zone=ZONE)


@pytest.mark.parametrize("event", INVALID)
def test_what_systemd_refuses_is_refused(event: str, told: Mapping[str, list[str] | None]) -> None:
    assert told[event] is None
    with pytest.raises(InputError):
        calendar_entries(event, zone=ZONE)
