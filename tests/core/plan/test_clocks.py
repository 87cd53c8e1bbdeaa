"""How the slots ahead are counted for a strip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.core.plan.clocks import PART, PARTS, density
from scheduler.core.plan.review import slots_ahead
from scheduler.core.values.spec import Schedule

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


def cron(text: str, timezone: str = "UTC") -> Schedule:
    return Schedule(timezone=timezone, cron=text)


@pytest.mark.parametrize(
    "schedule",
    [
        cron("0 9 * * *"),
        cron("30 8 * * *"),
        cron("* * * * *"),
        cron("0 2 * * *", "Europe/Berlin"),  # the clock is put forward in these 30 days
        cron("0 7 * * MON"),
        Schedule(timezone="UTC", every=timedelta(seconds=1)),
        Schedule(timezone="UTC", every=PART),
        Schedule(timezone="UTC", at=NOW + timedelta(days=3)),
        Schedule(timezone="UTC", at=NOW),
        Schedule(timezone="UTC", manual=True),
    ],
)
def test_each_slot_of_the_30_days_is_in_one_part(schedule: Schedule) -> None:
    found = density(schedule, NOW)
    assert len(found) == PARTS
    assert sum(found) == slots_ahead(schedule, NOW)


def test_a_slot_is_counted_in_its_part() -> None:
    found = density(cron("0 9 * * *"), NOW)  # half an hour from now, and then once a day
    assert [number for number, count in enumerate(found) if count] == list(range(0, PARTS, timedelta(days=1) // PART))
    assert set(found) == {0, 1}


def test_dense_entries_together_are_counted_fast_and_one_by_one() -> None:
    entries = tuple(Schedule(timezone="UTC", cron=f"{text} * * * * *") for text in ("*", "*/2"))
    union = Schedule(timezone="UTC", union=entries)
    assert set(density(union, NOW)) == {7_200 + 3_600}


def test_never_has_no_slots() -> None:
    assert density(None, NOW) == (0,) * PARTS
