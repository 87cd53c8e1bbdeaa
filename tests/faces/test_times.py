"""One zone on a screen, and what any screen prints as an instant is an instant to every command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from scheduler.cli.group import InstantType, cli
from scheduler.core.times.moments import read_moment
from scheduler.core.values.instants import instant
from scheduler.service.root import Root as ServiceRoot
from scheduler.tool.calls import answer
from tests.faces.conftest import Root

AUTUMN = "--from 2026-10-24T23:20:00Z --to 2026-10-25T02:30:00Z"
# What each command prints of the root below; those that print no instant are named after it.
SCREENS = (
    "token list", "channels list", "channels test log --dry-run --kind failure", "deliveries",
    "list", "list --problems", "list --status stopped", "show heartbeat", "show triage", "show flaky",
    "next", "next triage -n 1", f"next heartbeat {AUTUMN}", "history heartbeat", "history flaky", "history tick",
    "log heartbeat", "log flaky", "versions heartbeat", "audit", "audit heartbeat", "diff heartbeat",
    "diff heartbeat:1",
    "explain heartbeat", "explain heartbeat --at -7m", "explain flaky:1", "explain triage --at +1h",
    "explain tick --at -90s", "explain tick --from -1h", f"explain heartbeat {AUTUMN}",
    "plan", "sync", "sync --dry-run", "pause tick --until +1h", "pause triage --next", "resume triage", "resume tick",
    "validate",
    "doctor", "status", "restore", "gc --dry-run", "backup {tmp}", "run heartbeat --dry-run", "run heartbeat --wait",
    "output flaky:1", "task heartbeat:1", "export heartbeat",
)  # fmt: skip
NONE = {
    "cancel", "clone", "completion", "create", "delete", "hooks", "import", "init", "login", "mcp", "mv",
    "rollback", "schema",
    "serve", "top", "update", "web", "worker",
}  # fmt: skip
MODES = ("", "--utc", "--local", "--json")
ZONE = {"": "Europe/Berlin", "--utc": "UTC", "--local": "America/New_York"}
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ZONED = r"(?:[A-Z][A-Za-z_]+/[A-Za-z_/]+|UTC)"
_INSTANT = re.compile(
    rf"{_DAY}[T ][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{{2}}:[0-9]{{2}})?(?: {_ZONED})?"
    r"(?: \((?:first|second) of two\))?(?![\w/\u2026-]|:[0-9]| [A-Z][\w/]*\u2026)"  # and not cut off
)
_DISTANCE = re.compile(r"\b(?:[0-9]+[smhd] ago|in [0-9]+[smhd])\b")


@pytest.fixture
def busy(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> Root:
    """Jobs that ran, failed, are paused, stopped, invalid and of two zones; the reader is in New York."""
    monkeypatch.setenv("TZ", "America/New_York")
    root = lived_in
    root.edit("scheduler.yaml", "runners:", "channels: {log: {command: [cat]}}\nrunners:")
    root.edit("jobs/flaky.yaml", "id: flaky", "id: flaky\nfailure_limit: 1")
    root.write("jobs/once.yaml", 'id: once\nschedule: {at: "2026-10-25T02:30:00+01:00"}\ntask: Once.\n')
    root.sync()
    root.ok("pause", "tick", "--until", "+2h", "--reason", "deploy")
    root.clock.advance(timedelta(minutes=5))
    root.edit("prompts/triage.md", "Sort", "File")
    root.sync()
    return root


def screens(root: Root, mode: str) -> Iterator[tuple[str, str]]:
    """Each command and what it prints, on both streams."""
    for n, command in enumerate(SCREENS):
        words = command.format(tmp=root.path.parent / f"copy{n}{mode}").split()
        found = root.cli(*words, *([mode] if mode else []))
        assert found.code in (0, 1), (command, found)
        yield command, f"{found.stdout}\n{found.stderr}"


def spellings(text: str) -> Iterator[str]:
    yield from (found[0] for pattern in (_INSTANT, _DISTANCE) for found in pattern.finditer(text))


def takes_instants() -> list[tuple[str, str]]:
    return [
        (name, param.opts[0])
        for name, command in cli.commands.items()
        for param in command.params
        if isinstance(param.type, InstantType)
    ]


def test_every_command_is_looked_at() -> None:
    assert {command.split()[0] for command in SCREENS} | NONE == {*cli.commands}


def test_what_any_command_prints_as_an_instant_every_command_takes(busy: Root) -> None:
    found: dict[str, str] = {}
    for mode in MODES:
        for command, text in screens(busy, mode):
            found |= {re.sub("[0-9]", "0", each): each for each in spellings(text)} | {
                each: each for each in spellings(text) if "explain" in command
            }
    assert {re.sub("[0-9]", "0", each) for each in found.values()} >= {
        "0000-00-00T00:00:00Z", "0000-00-00 00:00:00 Europe/Berlin", "0000-00-00 00:00:00 UTC",
        "0000-00-00 00:00:00 America/New_York", "0000-00-00 00:00:00+00:00 Europe/Berlin", "0m ago", "in 0h",
        "0000-00-00 00:00 Europe/Berlin (second of two)",
    }  # fmt: skip
    options = takes_instants()
    assert {("explain", "--at"), ("explain", "--from"), ("explain", "--to"), ("next", "--from"), ("next", "--to"),
            ("pause", "--until")} <= {*options}  # fmt: skip
    for text in found.values():
        meant = read_moment(text).meant(busy.clock.now(), "Asia/Tokyo").at  # whoever reads it: a zone is in it
        assert busy.json("explain", "heartbeat", "--at", text)["at"] == instant(meant), text
    for name, option in options:
        for text in {re.sub("[0-9]", "0", each): each for each in found.values()}.values():
            words = [name, "heartbeat", option, text, "--root", "nowhere"]  # read before anything is looked for
            said = busy.cli(*words).stderr
            assert "no folder" in said or "scheduler.yaml" in said or "nowhere" in said, (words, said)
            assert "instant" not in said, (words, said)


def test_the_tool_takes_what_the_commands_print(busy: Root) -> None:
    root = ServiceRoot(place=service_place(busy), actor="agent:test", environ={}, clock=busy.clock)
    text = "2026-03-02 09:33:00 Europe/Berlin"
    for spelled in (text, "2026-03-02T08:33:00Z", "2026-03-02 09:33", "09:33", "-7m"):
        found = answer(root, {"action": "explain", "job": "heartbeat", "at": spelled}, None)  # type: ignore[arg-type]
        assert found["at"] in ("2026-03-02T08:33:00Z", instant(busy.clock.now() - timedelta(minutes=7))), spelled
    told = answer(root, {"action": "next", "since": "2026-10-25 02:30", "n": 1}, None)  # type: ignore[arg-type]
    assert any("occurs twice in Europe/Berlin; the first is used" in note for note in told["notes"])


def service_place(root: Root) -> Any:
    from scheduler.root.place import locate

    return locate(str(root.path), None, None, environ={}, cwd=root.path)


@pytest.mark.parametrize("mode", ["", "--utc", "--local"])
def test_each_screen_has_one_zone(busy: Root, mode: str) -> None:
    seen = set()
    for command, text in screens(busy, mode):
        if command.split()[0] in ("output", "task", "export", "validate") or "--dry-run" in command:
            continue  # what files and runs hold
        for found in spellings(text):
            if found.startswith(("in ", *"0123456789")) and not re.match(_DAY, found):
                continue
            if "(second of two)" in found or "once, at" in text[: text.index(found)][-12:]:
                continue  # a schedule in its words is in its own zone
            zone = found.rpartition(" ")[2]
            assert zone == ZONE[mode], (command, found)
            seen.add(command)
    assert len(seen) > 20, "most screens show an instant"


@pytest.mark.parametrize("mode", ["", "--utc", "--local"])
def test_the_slot_of_a_run_and_a_daemon_that_is_gone_are_in_the_zone_of_the_screen(busy: Root, mode: str) -> None:
    busy.clock.advance(timedelta(minutes=30))
    busy.cli("serve", "--once", "-q")
    slots = [run["id"] for run in busy.json("history")["runs"] if run["fire_time"] and run["started_at"]]
    assert slots, "some run served a slot"
    busy.sql("UPDATE lives SET over = 0, once = 0")
    for words in (["show", slots[0]], ["status"]):
        text = busy.cli(*words, *([mode] if mode else [])).stdout
        found = {each.rpartition(" ")[2] for each in spellings(text) if re.match(_DAY, each)}
        assert found == {ZONE[mode]}, text


def test_json_is_in_utc_whoever_reads_it(busy: Root) -> None:
    for command in ("list", "show triage", "history flaky", "explain heartbeat", "audit"):
        assert busy.ok(*command.split(), "--json", "--local").stdout == busy.ok(*command.split(), "--json").stdout
    fires = busy.json("next", "triage", "-n", "1")["fires"]
    assert (fires[0]["fire_time"], fires[0]["local"]) == ("2026-03-02T17:00:00Z", "2026-03-02T09:00:00-08:00")


def test_a_time_without_a_zone_is_one_of_the_job_or_of_the_root_or_of_the_reader(busy: Root) -> None:
    def at(*args: str) -> str:
        return str(busy.json("explain", *args, "--at", "2026-03-05 12:00")["at"])

    assert at("heartbeat") == "2026-03-05T11:00:00Z", "in Berlin"
    assert at("triage") == "2026-03-05T20:00:00Z", "in Los Angeles"
    assert at("triage", "--utc") == "2026-03-05T12:00:00Z"
    assert at("triage", "--local") == "2026-03-05T17:00:00Z", "in New York"

    def first(*jobs: str) -> str:
        found = busy.json("next", *jobs, "--from", "2026-03-05 08:59", "-n", "1")["fires"]
        return str(next(fire["fire_time"] for fire in found if fire["job_id"] == "triage"))

    assert first("triage") == "2026-03-05T17:00:00Z"
    assert first() == first("triage", "heartbeat") == "2026-03-05T17:00:00Z"
    both = busy.json("next", "triage", "heartbeat", "--from", "2026-03-05 09:00", "--to", "2026-03-05 10:00")["fires"]
    assert [fire["fire_time"] for fire in both] == ["2026-03-05T09:00:00Z"], "of two jobs: in the zone of the root"


def test_a_time_that_the_clock_shows_twice_or_not_at_all_is_told(busy: Root) -> None:
    twice = busy.ok("explain", "heartbeat", "--at", "2026-10-25 02:30")
    assert "2026-10-25 02:30:00 occurs twice in Europe/Berlin; the first is used" in twice.stderr
    (second,) = re.findall(r'write "(.*)"', twice.stderr)
    assert "heartbeat at 2026-10-25 02:30:00+02:00 Europe/Berlin" in twice.stdout
    again = busy.ok("explain", "heartbeat", "--at", second)
    assert (again.stderr.count("twice"), "02:30:00+01:00" in again.stdout) == (0, True)
    gap = busy.ok("explain", "heartbeat", "--at", "2026-03-29 02:30")
    assert "does not exist in Europe/Berlin" in gap.stderr
    assert "heartbeat at 2026-03-29 03:00:00 Europe/Berlin" in gap.stdout


def test_two_zones_at_once_or_none_that_is_known_are_refused(busy: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    found = busy.cli("list", "--utc", "--local")
    assert (found.code, "--utc and --local cannot be combined" in found.stderr) == (2, True)
    monkeypatch.setattr("scheduler.machine.users.local_zone", lambda environ: None)
    found = busy.cli("--local", "list")
    assert (found.code, "TZ=" in found.stderr) == (2, True)


def test_errors_and_warnings_are_in_the_zone_of_the_screen(busy: Root) -> None:
    found = busy.cli("pause", "heartbeat", "--until", "-1h")
    assert found.code == 2
    assert re.search(r"--until 2026-03-02 0[78]:[0-9]{2}:[0-9]{2} Europe/Berlin has already passed", found.stderr)
    assert "UTC has already passed" in busy.cli("pause", "heartbeat", "--until", "-1h", "--utc").stderr


def test_what_is_no_instant_says_what_to_write(busy: Root) -> None:
    for text in ("someday", "2026-02-30", "25:00"):
        found = busy.cli("explain", "heartbeat", "--at", text)
        assert (found.code, "yesterday 09:00" in found.stderr) == (2, True), found


def test_the_zone_of_a_root_without_one_is_utc(root: Root) -> None:
    root.edit("scheduler.yaml", "timezone: Europe/Berlin\n", "")
    root.sync()
    assert " UTC" in root.ok("next", "heartbeat", "-n", "1").stdout
    assert root.json("explain", "heartbeat", "--at", "2026-03-05 12:00")["at"] == "2026-03-05T12:00:00Z"
