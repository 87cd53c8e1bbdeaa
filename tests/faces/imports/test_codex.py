"""Codex's automations come with their rules of RFC 5545, against dateutil, which has those of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

from tests.faces.conftest import Root
from tests.faces.imports.shown import check_golden, fires_of, problems_of, source

ZONE = "America/Phoenix"  # whose clocks never change
CREATED = datetime(2026, 1, 5, 8, 45, tzinfo=UTC)
START = datetime(2026, 4, 1, tzinfo=UTC)


def by_dateutil(rule: str, zone: str = ZONE, n: int = 50) -> list[datetime]:
    """The instants of a rule that starts when the automation was created."""
    begin = CREATED.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    found = rrulestr(rule.removeprefix("RRULE:"), dtstart=begin)
    local = START.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    return [at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for at in islice(found.xafter(local), n)]


def automation(folder: Path, *rules: str, more: str = "") -> str:
    for n, rule in enumerate(rules, 1):
        place = folder / f"r{n:02}/automation.toml"
        place.parent.mkdir()
        stamp = int(CREATED.timestamp() * 1000)
        place.write_text(f'id = "r{n:02}"\nprompt = "Go."\nrrule = "{rule}"\ncreated_at = {stamp}\n{more}\n')
    return str(folder)


def test_the_automations_come_as_files_and_twice_changes_nothing(root: Root) -> None:
    check_golden(root, "codex", "--timezone", ZONE)
    job = root.job("six-hours")
    assert (job["paused"]["reason"], job["created_at"]) == ("paused in Codex", "2026-01-05T08:45:00Z")


EXPRESSED = [
    "RRULE:FREQ=WEEKLY;BYHOUR=9,16;BYMINUTE=30;BYDAY=MO,TU,WE,TH,FR",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;BYHOUR=7;BYMINUTE=0",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO;BYHOUR=7;BYMINUTE=0;WKST=SU",
    "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU,MO;BYHOUR=7,19;BYMINUTE=0,30",
    "FREQ=WEEKLY;BYDAY=SU,MO,TU,WE,TH,FR,SA;BYHOUR=3;BYMINUTE=45",
    "FREQ=DAILY;BYHOUR=3,9;BYMINUTE=0,45",
    "FREQ=DAILY;BYHOUR=6;BYMINUTE=5;BYDAY=SA,SU",
    "FREQ=DAILY;INTERVAL=3;BYHOUR=14;BYMINUTE=30",
    "RRULE:FREQ=HOURLY;INTERVAL=1;BYMINUTE=0;BYDAY=SU,MO,TU,WE,TH,FR,SA",
    "FREQ=HOURLY;BYMINUTE=0,20,40;BYHOUR=9,10,11,12;BYDAY=MO,WE",
    "FREQ=HOURLY",
    "FREQ=HOURLY;INTERVAL=6;BYMINUTE=15",
    "FREQ=HOURLY;INTERVAL=24;BYMINUTE=0",
    "FREQ=HOURLY;INTERVAL=4;BYMINUTE=0;BYDAY=FR",
    "FREQ=HOURLY;INTERVAL=5",
    "FREQ=HOURLY;INTERVAL=7;BYMINUTE=10,50",
    "FREQ=MINUTELY",
    "FREQ=MINUTELY;BYHOUR=9;BYMINUTE=1,2,3",
    "RRULE:FREQ=MINUTELY;INTERVAL=20",
    "FREQ=MINUTELY;INTERVAL=45",
    "FREQ=MINUTELY;INTERVAL=90",
    "FREQ=MINUTELY;INTERVAL=15;BYHOUR=8,9;BYDAY=TU;BYSECOND=0",
    "freq=daily;byhour=03;byminute=00;",
    "FREQ=DAILY;BYHOUR=9",
    "FREQ=DAILY;BYMINUTE=0,30",
    "FREQ=DAILY",
    "FREQ=DAILY;INTERVAL=2",
    "FREQ=WEEKLY",
    "FREQ=WEEKLY;BYDAY=TU,FR",
    "FREQ=WEEKLY;BYHOUR=9;BYMINUTE=0",
    "FREQ=WEEKLY;INTERVAL=2;BYHOUR=7",
    "FREQ=HOURLY;INTERVAL=3",
    "FREQ=HOURLY;BYDAY=MO",
]


def test_the_next_50_fires_are_those_of_the_rule(root: Root, tmp_path: Path) -> None:
    root.json("import", "codex", automation(tmp_path, *EXPRESSED), "--timezone", ZONE)
    for n, rule in enumerate(EXPRESSED, 1):
        assert fires_of(root, f"r{n:02}", START) == by_dateutil(rule.upper().strip(";")), rule


def test_the_clocks_of_the_zone_change_and_the_hour_of_a_rule_stays(root: Root, tmp_path: Path) -> None:
    rule = "FREQ=WEEKLY;BYDAY=SA,SU,MO;BYHOUR=9;BYMINUTE=0"
    root.json("import", "codex", automation(tmp_path, rule), "--timezone", "Europe/Berlin")
    found = fires_of(root, "r01", START, 100)
    assert found == by_dateutil(rule, "Europe/Berlin", 100)
    assert len({each.hour for each in found}) == 2


def test_an_hour_that_shifts_with_the_clocks_is_told(root: Root, tmp_path: Path) -> None:
    rule = "FREQ=DAILY;INTERVAL=2;BYHOUR=9;BYMINUTE=0"
    long = ("FREQ=HOURLY;INTERVAL=48;BYMINUTE=0", "FREQ=MINUTELY;INTERVAL=2880", "FREQ=HOURLY;INTERVAL=6;BYMINUTE=0")
    found = root.json("import", "codex", automation(tmp_path, rule, *long), "--timezone", "Europe/Berlin")
    assert problems_of(found, "r01: ") == [("schedule", "warning"), ("schedule", "warning")]
    for n, every in ((1, "2d"), (2, "2d"), (3, "2d")):
        assert f"r{n:02}: every {every} is counted in UTC: its hour shifts" in str(found["problems"])
    assert "r04: every" not in str(found["problems"])
    assert "its hour shifts" in str(found["problems"])
    assert fires_of(root, "r01", CREATED, 20) == [
        datetime(2026, 1, 7, 8, tzinfo=UTC) + timedelta(days=2 * n) for n in range(20)
    ]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("FREQ=DAILY;BYHOUR=9", "no BYMINUTE, so it has that of its creation, 2026-01-05 01:45 {zone}: BYMINUTE=45"),
        ("FREQ=HOURLY", "no BYMINUTE, so it has that of its creation, 2026-01-05 01:45 {zone}: BYMINUTE=45"),
        ("FREQ=WEEKLY;BYMINUTE=0", "no BYDAY and no BYHOUR, so it has that of its creation"),
    ],
)
def test_what_a_rule_takes_from_its_start_is_told(root: Root, tmp_path: Path, rule: str, told: str) -> None:
    found = root.json("import", "codex", automation(tmp_path, rule), "--timezone", ZONE)
    (problem,) = [each for each in found["problems"] if each["code"] == "import.schedule"]
    assert told.format(zone=ZONE) in problem["message"]


@pytest.mark.parametrize(
    ("rule", "cron", "told"),
    [
        ("FREQ=DAILY;BYHOUR=9", "0 9 * * *", "no BYMINUTE, and no start to take it from: BYMINUTE=0 is assumed"),
        ("FREQ=HOURLY;BYHOUR=9", "0 9 * * *", "BYMINUTE=0 is assumed"),
        ("FREQ=WEEKLY", "0 0 * * 1", "BYDAY=MO;BYHOUR=0;BYMINUTE=0 is assumed"),
        ("FREQ=WEEKLY;WKST=SU;BYHOUR=1;BYMINUTE=2", "2 1 * * 0", "BYDAY=SU is assumed"),
    ],
)
def test_what_is_assumed_of_a_rule_without_a_start_is_told(
    root: Root, tmp_path: Path, rule: str, cron: str, told: str
) -> None:
    (tmp_path / "automation.toml").write_text(f'id = "a"\nprompt = "Go."\nrrule = "{rule}"\n')
    found = root.json("import", "codex", str(tmp_path), "--timezone", "UTC")
    (problem,) = [each for each in found["problems"] if each["code"] == "import.schedule"]
    assert (told in problem["message"], root.job("a")["schedule"]["cron"]) == (True, cron)


REFUSED = {
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1;BYHOUR=9;BYMINUTE=0": "BYSETPOS=1, FREQ=MONTHLY",
    "FREQ=YEARLY": "FREQ=YEARLY",
    "FREQ=SECONDLY": "FREQ=SECONDLY",
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;COUNT=3": "COUNT=3",
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;UNTIL=20260401T000000Z": "UNTIL=20260401T000000Z",
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYMONTH=2": "BYMONTH=2",
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYMONTHDAY=-1": "BYMONTHDAY=-1",
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=30": "BYSECOND=30",
    "FREQ=WEEKLY;BYDAY=1MO;BYHOUR=9;BYMINUTE=0": "BYDAY=1MO",
    "FREQ=DAILY;BYHOUR=24;BYMINUTE=0": "BYHOUR=24",
    "FREQ=DAILY;INTERVAL=0;BYHOUR=2;BYMINUTE=0": "INTERVAL=0",
    "FREQ=DAILY;INTERVAL=2;BYDAY=MO;BYHOUR=2;BYMINUTE=0": "INTERVAL=2 with FREQ=DAILY",
    "FREQ=HOURLY;INTERVAL=5;BYDAY=MO": "INTERVAL=5 with FREQ=HOURLY",
    "FREQ=MINUTELY;INTERVAL=7;BYHOUR=9": "INTERVAL=7 with FREQ=MINUTELY",
    "FREQ=HOURLY;INTERVAL=12;BYHOUR=9": "never comes due",
    "DTSTART:20260101T000000Z": "is not a recurrence rule",
    "BYHOUR=9": "no FREQ",
    "": "it has no rule",
    "FREQ=WEEKLY;INTERVAL=2;WKST=XX;BYDAY=MO;BYHOUR=1;BYMINUTE=0": "WKST=XX",
}


def test_what_no_schedule_here_can_express_is_refused_by_name(root: Root, tmp_path: Path) -> None:
    done = root.cli("import", "codex", automation(tmp_path, *REFUSED), "--timezone", ZONE, "--json")
    assert (done.code, done.json["jobs"]) == (1, [])
    for (rule, why), problem in zip(REFUSED.items(), done.json["problems"], strict=True):
        assert problem["code"] == "import.schedule"
        assert problem["line"] == 3
        assert why in problem["message"], (rule, problem["message"])


def test_a_kind_or_a_status_that_nobody_knows_does_not_run(root: Root, tmp_path: Path) -> None:
    automation(tmp_path, "FREQ=HOURLY", more='status = "ARCHIVED"')
    found = root.json("import", "codex", str(tmp_path / "r01/automation.toml"), "--timezone", ZONE)
    assert [each["id"] for each in found["jobs"]] == ["r01"]
    assert root.job("r01")["paused"]["reason"] == "archived in Codex"
    (tmp_path / "other").mkdir()
    automation(tmp_path / "other", "FREQ=HOURLY", more='kind = "webhook"')
    done = root.cli("import", "codex", str(tmp_path / "other"), "--timezone", ZONE, "--json")
    assert problems_of(done.json) == [("schedule", "error")]


def test_auto_knows_an_automation(root: Root) -> None:
    found = root.cli("import", "auto", str(source("codex") / "automations/watcher"), "--timezone", ZONE, "--json").json
    assert [(each["format"], each["why"]) for each in found["found"]] == [("codex", "it has a prompt and an rrule")]
