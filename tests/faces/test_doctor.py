"""`scheduler doctor`: each thing it looks at, well and ill."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tzdata

from scheduler.core.times.clocks import Boot, ClockReading
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.settings import Settings
from scheduler.daemon.daemon import Daemon
from scheduler.ledger.clock_steps import Clocked
from scheduler.machine import proc, timesync
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.service.doctor import checks as doctor
from scheduler.service.doctor.checks import Check
from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import until

root, serve = served.root, served.serve  # the fixtures

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def found(root: Root, name: str) -> list[tuple[str, str]]:
    """Status and message of each line of a check."""
    return [
        (each["status"], each["message"])
        for each in root.cli("doctor", "--json").json["checks"]
        if each["name"] == name
    ]


def only(checks: Iterator[Check]) -> Check:
    (check,) = checks
    return check


# -- runners -----------------------------------------------------------------------------------


def runner(root: Root, text: str) -> None:
    """The runner of `tick`, as given; `spare` is as good and nobody's."""
    root.write(
        "scheduler.yaml", f"version: 1\ndefaults: {{runner: one}}\nrunners:\n  one: {{{text}}}\n  spare: {{{text}}}\n"
    )
    root.cli("sync")


def test_runners_that_can_start_are_well(root: Root) -> None:
    runner(root, "command: [cat]")
    assert found(root, "runners") == [("ok", "2 can start in this environment")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("command: [no-such-agent, -p]", "'no-such-agent' is not on PATH"),
        ("command: [/opt/no/agent]", "'/opt/no/agent' does not exist"),
        ("command: [./scripts/plain]", "plain' is not executable"),
        ("command: [./scripts/gone]", "names '/opt/no/python', which does not exist"),
        ("command: [./scripts/dos]", "names '/bin/sh\\r', which does not exist"),
        ("command: [./scripts/env]", "names 'no-such-python', which does not exist"),
        ("command: [cat], cwd: nowhere", "the working directory 'nowhere' is not a folder in the root"),
        ("command: [cat], env: {PATH: /nowhere}", "'cat' is not on PATH (/nowhere)"),
    ],
)
def test_a_runner_that_cannot_start_is_an_error_where_a_job_uses_it(root: Root, text: str, said: str) -> None:
    for name, first in {
        "gone": "#!/opt/no/python",
        "dos": "#!/bin/sh\r",
        "env": "#!/usr/bin/env no-such-python",
    }.items():
        root.write(f"scripts/{name}", f"{first}\nexit\n")
        (root.path / "scripts" / name).chmod(0o755)
    root.write("scripts/plain", "exit\n")
    runner(root, text)
    (used, unused) = found(root, "runners")
    assert (used[0], unused[0]) == ("error", "warning")
    assert said in used[1]
    assert root.cli("doctor").code == 1
    root.write("jobs/tick.yaml", "id: tick\nenabled: false\nschedule: '@daily'\ntask: x\n")
    root.cli("sync")
    assert {status for status, _ in found(root, "runners")} == {"warning"}, "a disabled job needs no runner"
    assert root.cli("doctor").code == 0


def test_a_variable_that_is_not_there_is_a_warning_and_its_value_is_never_shown(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY_KEY", "")
    monkeypatch.setenv("GOOD_KEY", "s3cret")
    runner(root, "command: [cat], env_from: [ABSENT_KEY, EMPTY_KEY, GOOD_KEY]")
    shown = root.cli("doctor")
    assert shown.code == 0, "it starts without them"
    assert "env_from variables not set in this environment: ABSENT_KEY, EMPTY_KEY" in shown.stdout
    assert "s3cret" not in root.cli("doctor", "--json").stdout + shown.stdout


def test_the_daemon_is_asked_since_only_its_environment_counts(
    root: Root, serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy("/bin/cat", tools / "agent")
    path = os.environ["PATH"]
    runner(root, "command: [agent], env_from: [ONLY_KEY]")
    assert found(root, "runners")[0][0] == "error", "neither has it"
    daemon = serve(PATH=f"{tools}:{path}", ONLY_KEY="s3cret")
    assert found(root, "runners") == [("ok", "2 can start in the daemon's environment")]
    daemon.stop()
    monkeypatch.setenv("PATH", f"{tools}:{path}")
    monkeypatch.setenv("ONLY_KEY", "x")
    assert found(root, "runners") == [("ok", "2 can start in this environment")]
    serve(PATH=path, ONLY_KEY="")
    said = found(root, "runners")
    assert said[0] == ("error", f"one: 'agent' is not on PATH ({path})")
    assert said[1] == ("warning", "one: env_from variables not set in the daemon's environment: ONLY_KEY")


# -- the clock ---------------------------------------------------------------------------------


def test_a_clock_that_has_gone_behind_what_was_written_is_an_error(root: Root) -> None:
    root.sync()
    assert [status for status, _ in found(root, "clock")] in (["ok"], ["warning"])
    later = (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    root.sql(f"UPDATE root SET synced_at = '{later}'")
    ((status, message),) = found(root, "clock")
    assert (status, "but the newest database entry is from" in message) == ("error", True)
    assert root.cli("doctor").code == 1


def reading(now: datetime, *, up: timedelta = timedelta(days=1)) -> ClockReading:
    return ClockReading(wall=now, elapsed=up, boot_id="boot-1")


def test_a_clock_that_has_jumped_ahead_since_the_machine_started_is_an_error() -> None:
    left = Clocked(boot=Boot(boot_id="boot-1", booted_at=NOW - timedelta(days=1)), newest=NOW, zone_rules=None)
    ahead = NOW + timedelta(hours=3)
    check = only(doctor.check_clock(reading(ahead), left))
    assert (check.status, "jumped ahead by 3:00:00" in check.message) == ("error", True)
    slept = reading(ahead, up=timedelta(days=1, hours=3))
    assert only(doctor.check_clock(slept, left)).status != "error", "it slept"
    other = Clocked(boot=Boot(boot_id="boot-0", booted_at=NOW), newest=NOW, zone_rules=None)
    assert only(doctor.check_clock(reading(ahead), other)).status != "error", "another boot tells nothing"


def test_a_clock_that_was_never_set_is_an_error() -> None:
    check = only(doctor.check_clock(reading(datetime(1970, 1, 1, 0, 3, tzinfo=UTC)), None))
    assert (check.status, "1970" in check.message) == ("error", True)


@pytest.mark.parametrize(
    ("asked", "status"),
    [((0, 0x2001), "ok"), ((5, 0x40), "warning"), ((5, 0), "warning"), ((0, 0x40), "warning"), (None, "ok")],
)
def test_a_clock_that_nothing_keeps_right_is_a_warning_and_one_that_cannot_be_asked_is_none(
    asked: tuple[int, int] | None, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(timesync, "_adjtimex", lambda: asked)
    monkeypatch.setattr(timesync, "SYNCHRONIZED", tmp_path / "synchronized")
    assert only(doctor.check_clock(reading(NOW), Clocked(boot=None, newest=NOW, zone_rules=None))).status == status
    (tmp_path / "synchronized").touch()
    assert only(doctor.check_clock(reading(NOW), Clocked(boot=None, newest=NOW, zone_rules=None))).status == "ok"


def test_the_kernel_is_asked_in_the_way_that_it_answers() -> None:
    asked = timesync._adjtimex()
    if asked is None:
        pytest.skip("it may not be asked here")
    state, status = asked
    assert 0 <= state <= 5
    assert 0 <= status <= 0xFFFF
    assert (state == 5) >= bool(status & 0x40), "TIME_ERROR is what it says while unsynchronised (adjtimex(2))"
    assert ctypes.sizeof(timesync._Timex) > 208


# -- time zones --------------------------------------------------------------------------------


@pytest.fixture
def system_rules(tmp_path: Path) -> Iterator[Path]:
    """The folder of the system's rules, which holds none."""
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    yield tmp_path
    zoneinfo.reset_tzpath(before)


@pytest.mark.parametrize(("version", "status"), [("2026a", "ok"), ("2025b", "ok"), ("2024b", "warning"), ("", "ok")])
def test_old_rules_of_time_zones_are_a_warning(system_rules: Path, version: str, status: str) -> None:
    (system_rules / "UTC").write_bytes(files("tzdata.zoneinfo").joinpath("UTC").read_bytes())
    (system_rules / "tzdata.zi").write_text(f"# version {version}\n")
    check = only(doctor.check_zones(Settings(), [], NOW))
    assert check.status == status
    assert f"from {system_rules}" in check.message


def test_without_rules_of_the_system_those_of_the_package_count(system_rules: Path) -> None:
    check = only(doctor.check_zones(Settings(timezone="Europe/Berlin"), [], NOW))
    assert check.message.startswith(f"time zone data {tzdata.IANA_VERSION} from the Python package tzdata")


def test_a_zone_whose_rules_are_gone_is_an_error_that_names_the_jobs(root: Root) -> None:
    root.write("jobs/tick.yaml", "id: tick\nschedule: {cron: '@daily', timezone: Europe/Berlin}\ntask: x\n")
    root.sync()
    assert [status for status, _ in found(root, "zones")] == ["ok"]
    root.sql("UPDATE definitions SET spec = replace(spec, 'Europe/Berlin', 'Europe/Atlantis')")
    ((status, message),) = found(root, "zones")
    assert (status, message) == ("error", "this system has no time zone data for Europe/Atlantis, used by tick")
    assert root.cli("doctor").code == 1


# -- disks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "free", "left", "status"),
    [
        (100e9, 50e9, 9e5, "ok"),
        (100e9, 2e9, 9e5, "ok"),  # little of a large disk, and still room for long
        (100e9, 0.9e9, 9e5, "warning"),
        (10e9, 0.9e9, 9e5, "ok"),
        (2e9, 90e6, 9e5, "warning"),
        (64e6, 60e6, 9e5, "ok"),  # small by design
        (64e6, 5e6, 9e5, "warning"),
        (100e9, 50e9, 9e3, "warning"),
        (64e6, 0, 9e5, "error"),
        (100e9, 0.5e6, 9e5, "error"),  # less than a run is claimed with
        (100e9, 50e9, 0, "error"),
    ],
)
def test_a_disk_on_which_room_runs_out_is_a_warning_and_a_full_one_an_error(
    size: float, free: float, left: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = (4096, 4096, int(size / 4096), int(free / 4096), int(free / 4096), 1_000_000, int(left), int(left), 0, 255)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(facts))
    assert only(doctor.check_disks([tmp_path, tmp_path / "not/there/yet"])).status == status


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]).returncode:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_or_read_only_is_seen(root: Root, mounted: Path) -> None:
    def disk() -> list[tuple[str, str]]:
        shown = root.cli("--state", str(mounted / "state"), "doctor", "--json").json["checks"]
        return [(each["status"], each["message"]) for each in shown if each["name"] == "disk"]

    assert root.cli("--state", str(mounted / "state"), "sync").code == 0
    assert [status for status, _ in disk()] == ["ok"]
    for left, status in ((1_300_000, "warning"), (0, "error")):
        free = os.statvfs(mounted)
        with (mounted / "ballast").open("ab") as file:
            file.write(bytes(free.f_bfree * free.f_frsize - left))
        assert [status for status, _ in disk()] == [status]
    (mounted / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    assert disk() == [("error", f"the file system of {mounted}/state is read-only")]


# -- git, the database, what is held -----------------------------------------------------------


def test_a_repository_of_another_user_is_a_warning_that_says_what_to_do(root: Root) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    assert found(root, "git")[0][0] == "ok"
    for path in (root.path, root.path / ".git"):
        os.chown(path, 12345, 12345)
    checks = root.cli("doctor", "--json").json["checks"]
    (git,) = [each for each in checks if each["name"] == "git"]
    assert (git["status"], "belongs to another user" in git["message"]) == ("warning", True)
    assert f"safe.directory {root.path}" in git["hint"]


def test_a_machine_without_git_is_a_warning(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ((status, message),) = found(root, "git")
    assert (status, message) == ("warning", "runs record no commit: git is not installed, or not on PATH")


def test_a_damaged_database_is_an_error(root: Root) -> None:
    root.sync()
    assert found(root, "database")[0][0] == "ok"
    size = root.db.stat().st_size
    with root.db.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    shown = root.cli("doctor")
    assert shown.code in (1, 5)
    assert "damaged" in shown.stdout


def test_jobs_that_the_guard_holds_are_an_error(root: Root) -> None:
    root.sync()
    root.delete("jobs/tick.yaml")
    assert root.cli("sync").code == 3
    assert ("error", "kept by the prune guard, because too many jobs would be archived at once: tick") in found(
        root, "jobs"
    )


# -- the whole ---------------------------------------------------------------------------------


def test_no_daemon_no_git_and_a_clock_that_nobody_keeps_right_are_no_errors(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "is_synchronized", lambda: False)
    shutil.rmtree(root.path / ".git")
    root.sync()
    shown = root.cli("doctor", "--json")
    assert (shown.code, shown.json["healthy"], shown.json["exit_code"]) == (0, True, 0)
    assert {each["name"] for each in shown.json["checks"] if each["status"] == "warning"} == {"git", "daemon", "clock"}
    assert all(set(each) == {"name", "status", "message", "hint"} for each in shown.json["checks"])


def test_a_thread_of_the_daemon_that_hangs_is_among_its_troubles() -> None:
    dead, alive = (Loop(name, lambda: iter(()), Log(__name__), longest_s=60) for name in ("clockwork", "resync"))
    dead.stop()
    dead.start()
    dead.join()
    daemon: Any = Daemon.__new__(Daemon)
    daemon.told_to_stop = False
    daemon.engine = SimpleNamespace(unwritten=())
    daemon.place = SimpleNamespace(moved="")
    daemon._hearts = dead, alive
    assert [each for each in daemon.troubles() if each] == ["the clockwork thread has ended"]


def test_a_daemon_that_does_not_answer_is_asked_once(
    root: Root, serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(holder: object, verb: str, **_: object) -> None:
        asked.append(verb)
        raise UnavailableError("it does not answer")

    serve()
    monkeypatch.setattr("scheduler.service.doctor.examine.answer_of", refuse)
    shown = root.cli("doctor", "--json")
    assert (shown.code, asked) == (5, ["status"])
    assert [each["status"] for each in shown.json["checks"] if each["name"] == "runners"] == ["ok"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_of_a_run_that_has_ended_is_named(root: Root) -> None:
    root.write("jobs/once.yaml", "id: once\nschedule: {every: 1h}\ntask: x\n")
    root.sync()
    root.run("once")
    told = {"SCHEDULER_RUN_ID": "once:1", "SCHEDULER_ROOT": str(root.path), "PATH": os.defpath}
    with subprocess.Popen(["sleep", "1000"], env=told) as left:
        until(lambda: proc.name_of(left.pid) == "sleep", "its program")
        ((status, message),) = found(root, "left")
        assert (status, f"{left.pid} (sleep) of once:1" in message) == ("warning", True)
        left.kill()
    assert found(root, "left") == []
