"""systemd's timers come with the commands of their services. What `systemd-analyze` says is in test_oncalendar.py."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from scheduler.core.imports.unitfiles import commands, read_unit, span, words_of
from scheduler.core.values.texts import InputError
from tests.faces.conftest import Root, contents
from tests.faces.imports.shown import check_golden, fires_of, problems_of, source

ZONE = "Europe/Berlin"
START = datetime(2026, 4, 1, tzinfo=UTC)


def units(folder: Path, timer: str = "OnCalendar=daily", service: str = "ExecStart=/bin/true", name: str = "a") -> str:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.timer").write_text(f"[Timer]\n{timer}\n")
    (folder / f"{name}.service").write_text(f"[Service]\n{service}\n")
    return str(folder / f"{name}.timer")


def days(zone: str, hour: int, minute: int, weekdays: set[int], n: int) -> list[datetime]:
    """The next instants of a time on some weekdays, Monday being 0: each day is asked."""
    found: list[datetime] = []
    at = START.astimezone(ZoneInfo(zone)).replace(hour=hour, minute=minute)
    while len(found) < n:
        if at.weekday() in weekdays and at.astimezone(UTC) > START:
            found.append(at.astimezone(UTC))
        at += timedelta(days=1)
    return found


def test_the_timers_come_as_files_and_twice_changes_nothing(root: Root) -> None:
    check_golden(root, "systemd", "--timezone", ZONE)
    assert not any(b"hunter2" in data for data in contents(root.path).values())


def test_the_next_50_fires_are_those_of_the_timers(root: Root) -> None:
    root.cli("import", "systemd", str(source("systemd")), "--timezone", ZONE)
    both = sorted([*days(ZONE, 2, 30, {0, 1, 2, 3, 4}, 50), *days("Europe/London", 4, 0, {5, 6}, 50)])
    assert fires_of(root, "backup", START) == both[:50]
    assert fires_of(root, "report-weekly-527143a4", START) == days("UTC", 0, 0, {0}, 50)
    every = [datetime(2026, 4, 1, 1, 30, tzinfo=UTC) + timedelta(minutes=90 * n) for n in range(50)]
    assert fires_of(root, "cache", START) == every
    local = [
        datetime(2026, month, 1, hour, minute, 15, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
        for month in (4, 7)
        for hour in range(24)
        for minute in (0, 20, 40)
    ]
    quarters = sorted([*local, datetime(2026, 5, 9, 8, tzinfo=UTC)])
    assert fires_of(root, "quarters", START) == [each for each in quarters if each > START][:50]


def test_what_systemctl_prints_is_read_with_its_drop_ins(root: Root, tmp_path: Path) -> None:
    (tmp_path / "printed").write_text(
        "# /etc/systemd/system/b.timer\n[Timer]\nOnCalendar=daily\n\n"
        "# /etc/systemd/system/b.timer.d/late.conf\n[Timer]\nOnCalendar=\nOnCalendar=*-*-* 05:00\n\n"
        "# /usr/lib/systemd/system/b.service\n[Service]\nExecStart=/bin/echo hi\n"
    )
    root.json("import", "systemd", str(tmp_path / "printed"), "--timezone", "UTC")
    assert root.job("b")["schedule"]["cron"] == "0 5 * * *"
    assert "/bin/echo hi" in (root.path / "scripts/imported/b.sh").read_text()


def test_links_of_enabled_timers_count_once(root: Root, tmp_path: Path) -> None:
    folder = tmp_path / "system"
    units(folder)
    (folder / "timers.target.wants").mkdir()
    (folder / "timers.target.wants/a.timer").symlink_to(folder / "a.timer")
    (folder / "masked.timer").symlink_to("/dev/null")
    found = root.json("import", "systemd", str(folder), "--timezone", "UTC")
    assert [each["id"] for each in found["jobs"]] == ["a"]
    assert problems_of(found) == [("timeout", "warning"), ("timezone", "warning")]


def test_an_instance_that_is_only_a_link_counts_and_a_template_does_not(root: Root, tmp_path: Path) -> None:
    folder = tmp_path / "system"
    units(folder, service="ExecStart=/bin/echo %i", name="dump@")
    (folder / "timers.target.wants").mkdir()
    (folder / "timers.target.wants/dump@main.timer").symlink_to(folder / "dump@.timer")
    found = root.json("import", "systemd", str(folder), "--timezone", "UTC")
    assert [each["name"] or each["id"].rpartition("-")[0] for each in found["jobs"]] == ["dump-main"]
    assert problems_of(found, "template") == [("unit", "warning")]
    assert "/bin/echo main\n" in (root.path / found["jobs"][0]["task_file"]).read_text()


@pytest.mark.parametrize(
    ("timer", "service", "code"),
    [
        ("OnCalendar=Fri *-*-13", "ExecStart=/bin/true", "schedule"),
        ("OnCalendar=every day", "ExecStart=/bin/true", "schedule"),
        ("OnBootSec=1", "ExecStart=/bin/true", "reboot"),
        ("OnUnitActiveSec=0.5", "ExecStart=/bin/true", "unit"),
        ("OnUnitActiveSec=1 parsec", "ExecStart=/bin/true", "unit"),
        ("Persistent=yes", "ExecStart=/bin/true", "schedule"),
        ("OnCalendar=daily\nUnit=a.target", "ExecStart=/bin/true", "task"),
        ("OnCalendar=daily", "", "task"),
        ("OnCalendar=daily", "ExecStart=/bin/echo 'open", "unit"),
        ("OnCalendar=daily", "ExecStart=/bin/echo %z", "unit"),
        ("OnCalendar=daily", "ExecStart=/bin/true --password hunter2hunter2", "secret"),
    ],
)
def test_what_has_no_place_here_is_left_out_by_name(
    root: Root, tmp_path: Path, timer: str, service: str, code: str
) -> None:
    done = root.cli("import", "systemd", units(tmp_path / "u", timer, service), "--timezone", "UTC", "--json")
    assert (done.json["jobs"], problems_of(done.json)) == ([], [(code, "error")])


def test_a_timer_that_made_up_for_what_it_missed_still_does(root: Root, tmp_path: Path) -> None:
    for name, more in (("yes", "Persistent=true"), ("no", "")):
        units(tmp_path / "u", f"OnCalendar=daily\n{more}", name=name)
    root.json("import", "systemd", str(tmp_path / "u"), "--timezone", "UTC")
    found = {name: (root.path / f"jobs/imported/{name}.yaml").read_text() for name in ("yes", "no")}
    assert "catch_up: {policy: latest, within: 365d}" in found["yes"]
    assert "catch_up: none" in found["no"]


def test_a_random_delay_that_one_of_the_times_cannot_have_is_told(root: Root, tmp_path: Path) -> None:
    timer = units(tmp_path / "u", "OnCalendar=*:0/1\nOnCalendar=daily\nRandomizedDelaySec=40s")
    found = root.json("import", "systemd", timer, "--timezone", "UTC")
    assert problems_of(found, "random delay") == [("jitter", "warning")]
    assert [each.get("jitter") for each in root.job("a")["schedule"]["any"]] == [None, None]


# -- command lines -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("$ONE $TWO ${TWO}", ["one", "two", "two", "two two"]),
        ("a${ONE}b '${TWO}' \"$TWO\" x$ONE", ["aoneb", "two two", "two", "two", "x$ONE"]),
        (r"/ >/dev/null & \; ls", ["/", ">/dev/null", "&", ";", "ls"]),
        (r"'a b' \"c\" d\x20e f\sg \\ 50%%", ["a b", '"c"', "d e", "f g", "\\", "50%"]),
        ("$$ONE `date` $(date) * ~ !", ["$ONE", "`date`", "$(date)", "*", "~", "!"]),
        ("${NONE} end", ["", "end"]),
        ("$NONE end", ["end"]),
        ("%n %p %i", ["x@y.service", "x", "y"]),
        ('"it\'s" \'say "hi"\'', ["it's", 'say "hi"']),
        ("${ONE}$${ONE}", ["one${ONE}"]),
    ],
)
def test_the_words_of_a_command_are_those_of_systemd(line: str, printed: list[str]) -> None:
    specifiers = {"n": "x@y.service", "p": "x", "i": "y"}
    script = "\n".join(command for command, _ in commands(f"/usr/bin/printf [%%s]\\n {line}", specifiers))
    done = subprocess.run(
        ["sh", "-eu", "-c", f"ONE=one TWO='two two'\n{script}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"[{each}]" for each in printed]


def test_several_commands_and_prefixes() -> None:
    assert [*commands("-/bin/a ; @/bin/b zero one ; :/bin/c $X", {})] == [
        ("/bin/a", "-"),
        ("/bin/b one", "@"),
        ("/bin/c '$X'", ":"),
    ]
    with pytest.raises(InputError, match="names no program"):
        [*commands("-", {})]


def test_lines_go_on_comments_do_not_and_an_empty_value_starts_again() -> None:
    unit = read_unit("[A]\nX=1 \\\n# no\n  2\n;no\nY=3\nX=\nX=4\n[B]\nX=5", "[A]\nY=6\n[C")
    assert (unit.all("A.X"), unit.all("A.Y"), unit.last("B.X"), unit.lines["A.Y"]) == (["4"], ["3", "6"], "5", 6)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("2h", 7200),
        ("1h30min", 5400),
        ("5min 20s", 320),
        ("1y", 31557600),
        ("1.5 h", 5400),
        ("infinity", None),
    ],
)
def test_spans_of_time(text: str, seconds: float | None) -> None:
    assert span(text) == (None if seconds is None else timedelta(seconds=seconds))


def test_the_items_of_a_value_are_without_their_quotes() -> None:
    assert words_of("\"A=b c\" 'D=e' F='g h'", {}) == ["A=b c", "D=e", "F=g h"]


def test_a_file_without_a_timer_is_told_as_one(root: Root, tmp_path: Path) -> None:
    units(tmp_path)
    done = root.cli("import", "systemd", str(tmp_path / "a.service"))
    assert (done.code, "it has no [Timer] section" in done.stderr) == (1, True)


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("false", 10), ("sh -c 'exit 255'", 1)])
def test_a_condition_of_a_service_is_a_check(root: Root, tmp_path: Path, command: str, code: int) -> None:
    (tmp_path / "a.timer").write_text("[Timer]\nOnCalendar=daily\n")
    (tmp_path / "a.service").write_text(
        "[Service]\nExecStart=/bin/true\nEnvironment=A=b\nWorkingDirectory=/tmp\n"
        f"ExecCondition=/usr/bin/env {command}\n"
    )
    found = root.json("import", "systemd", str(tmp_path), "--timezone", "UTC")
    assert ("not-carried", "warning") not in problems_of(found)
    assert root.job("a")["check"]["runner"] == "shell"
    text = (root.path / "scripts/imported/a.check.sh").read_text()
    assert text.startswith("export A=b\ncd /tmp\n")
    assert subprocess.run(["sh", "-eu", "-c", text], check=False).returncode == code
