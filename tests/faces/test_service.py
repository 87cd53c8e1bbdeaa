"""The daemon as a service manager, a container and a monitor meet it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import LONG_S, REPOSITORY

root, serve = served.root, served.serve  # the fixtures

PAGE = REPOSITORY / "docs/how-to/run-as-a-service.md"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(LONG_S)
        yield found


def hears(manager: socket.socket, wanted: str) -> list[str]:
    """All lines up to and with the first that starts so."""
    heard: list[str] = []
    while not any(line.startswith(wanted) for line in heard):
        heard += manager.recv(65_536).decode().split("\n")
    return heard


def told(manager: socket.socket, **environ: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(manager.getsockname()), **environ}


# -- systemd -----------------------------------------------------------------------------------


def test_it_is_ready_once_the_first_pass_is_made_and_says_how_it_stands_and_when_it_stops(
    root: Root, serve: Callable[..., Served], manager: socket.socket
) -> None:
    daemon = serve(**told(manager))
    before = hears(manager, "READY=1")
    assert before[0] == "STATUS=reading the files for the first time"
    assert root.job("tick")["status"] == "active", "the first pass is made"
    assert any(line.startswith("STATUS=1 scheduled, ") and "next fire 2" in line for line in before)
    assert not any("WATCHDOG" in line for line in before), "nobody asked"
    assert daemon.stop() == 0
    (asked,) = [line for line in hears(manager, "EXTEND_TIMEOUT_USEC") if line.startswith("EXTEND")]
    assert int(asked.partition("=")[2]) >= (30 + 10) * 1_000_000, "what runs has its grace, and ten seconds after TERM"


def test_the_status_says_why_nothing_fires(root: Root, serve: Callable[..., Served], manager: socket.socket) -> None:
    serve("--observe", **told(manager))
    assert any("nothing fires here (--observe)" in line for line in hears(manager, "READY=1"))


def test_a_database_that_is_locked_for_long_does_not_let_the_watchdog_bite(
    root: Root, serve: Callable[..., Served], manager: socket.socket
) -> None:
    serve(**told(manager, WATCHDOG_USEC="600000"))
    hears(manager, "WATCHDOG=1")
    other = sqlite3.connect(root.db, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        end, last = time.monotonic() + 2, time.monotonic()
        while last < end:
            hears(manager, "WATCHDOG=1")
            assert time.monotonic() - last < 5
            last = time.monotonic()
    finally:
        other.close()


def test_a_run_is_not_told_of_the_service_manager(
    root: Root, serve: Callable[..., Served], manager: socket.socket
) -> None:
    root.write("jobs/env.yaml", "id: env\nschedule: '@daily'\ntask: env\nrunner: sh\n")
    serve(**told(manager, WATCHDOG_USEC="60000000", JOURNAL_STREAM="1:2"))
    shown = root.ok("run", "env", "--wait").stdout
    assert not re.search("^(NOTIFY_SOCKET|WATCHDOG_|JOURNAL_STREAM)", shown, re.MULTILINE)


# -- the log -----------------------------------------------------------------------------------


def test_a_log_in_json_is_json_from_the_first_line_to_the_last(root: Root, serve: Callable[..., Served]) -> None:
    root.write("jobs/a b.yaml", 'id: "x\\ny"\n')
    root.write("jobs/loud.yaml", "id: loud\nschedule: '@daily'\ntask: 'printf \"a\\nb\" >&2; exit 3'\nrunner: sh\n")
    daemon = serve("-v", "--log-format", "json", waits=False)
    daemon.says('"event": "serving"')
    root.cli("run", "loud", "--wait")
    daemon.says('"event": "run_failed"')
    assert daemon.stop() == 0
    found: list[Any] = [json.loads(line) for line in daemon.lines]
    events = {each["event"]: each for each in found}
    assert {"new_database", "synced", "problem", "serving", "run_failed", "stopping", "stopped"} <= set(events)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each["time"]) for each in found)
    assert events["problem"]["path"] == "jobs/a b.yaml"
    assert isinstance(events["run_failed"]["duration_ms"], int)
    assert events["run_failed"]["level"] == "warning"


def test_why_it_could_not_start_is_a_line_of_a_log_that_a_machine_reads(
    root: Root, serve: Callable[..., Served], tmp_path: Path
) -> None:
    serve()
    with (tmp_path / "journal").open("w+") as journal:
        stream = os.fstat(journal.fileno())
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}
        for form in ("text", "json"):
            command = [sys.executable, "-m", "scheduler", "serve", "--log-format", form]
            assert subprocess.run(command, env=environ, stderr=journal).returncode == 5
        journal.seek(0)
        text, data = journal.read().splitlines()
    assert re.match(r"<3>\S+Z ERROR   serve_failed error=.*another daemon uses the database", text)
    found = json.loads(data.removeprefix("<3>"))
    assert (found["event"], "another daemon uses the database" in found["error"]) == ("serve_failed", True)


# -- the pages ---------------------------------------------------------------------------------


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def units() -> dict[str, str]:
    """Each unit file of the page, by the place in its first line."""
    found = {}
    for block in blocks("ini"):
        place = re.match(r"# (\S+/[\w.@-]+)\n", block)
        assert place is not None, "each begins with the place it belongs to"
        found[place[1]] = block
    return found


def settings(unit: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(unit)
    return parser


def verified(place: str, text: str, folder: Path) -> str:
    """What systemd has to say against a unit; empty if nothing."""
    for each, unit in {**units(), place: text}.items():
        if Path(each).parent == Path(place).parent:  # with those beside it, as a timer names its service
            # What it starts is not installed here.
            started = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", unit, flags=re.MULTILINE)
            (folder / Path(each).name).write_text(started)
    manager = ["--user"] if place.startswith("~") else ["--system"]
    known = subprocess.run(["systemd-analyze", "--help"], capture_output=True, text=True).stdout
    alone = ["--recursive-errors=no"] if "--recursive-errors" in known else []
    found = subprocess.run(
        ["systemd-analyze", *manager, "verify", "--man=no", *alone, str(folder / Path(place).name)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
    )
    said = [line for line in found.stderr.splitlines() if Path(place).name in line]
    return "\n".join(said) or (found.stderr if found.returncode else "")


@pytest.mark.parametrize("place", sorted(units()))
def test_a_unit_of_the_page_is_one_that_systemd_takes(place: str, tmp_path: Path) -> None:
    text = units()[place]
    parser = settings(text)
    assert parser.sections() == [each for each in ("Unit", "Service", "Timer", "Install") if parser.has_section(each)]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here to judge it")
    assert verified(place, text, tmp_path) == ""
    assert "Nonsense" in verified(place, text.replace("[Unit]\n", "[Unit]\nNonsense=yes\n"), tmp_path), "it does look"


def test_the_services_of_the_page_fit_what_the_daemon_does() -> None:
    daemons = [unit for unit in units().values() if "Type=notify" in unit]
    assert len(daemons) == 2
    for unit in daemons:
        service = settings(unit)["Service"]
        assert re.search(r" serve( |$)", service["ExecStart"])
        assert service["KillMode"] == "mixed", "or what runs gets TERM at once, and no grace"
        grace = re.search(r"--grace (\d+)", service["ExecStart"])
        assert int(service["TimeoutStopSec"]) > (30 if grace is None else int(grace[1])) + 10
        assert service["OOMPolicy"] == "continue", "or one job that takes too much memory ends all"
        assert service["Restart"] == "on-failure"
        assert service["RestartPreventExitStatus"] == "2 3"
        assert int(service["WatchdogSec"].removesuffix("s")) >= 30
        taboo = ("MemoryDenyWriteExecute", "RestrictNamespaces", "ProcSubset")
        assert not [each for each in taboo if each in service], "agents and their sandboxes would not start"


def test_the_other_files_of_the_page_can_be_read() -> None:
    assert all(list(yaml.safe_load_all(block)) for block in blocks("yaml"))
    assert len(blocks("yaml")) >= 2
    dockerfile, with_agent = blocks("dockerfile")
    assert re.findall(r"^USER (\S+)", with_agent, re.MULTILINE) == ["root", "10001:10001"], "it gives its rights back"
    steps = [line.split()[0] for line in dockerfile.splitlines() if re.match(r"[A-Z]+ ", line)]
    assert steps.index("USER") < steps.index("ENTRYPOINT")
    user = re.search(r"^USER (\d+)", dockerfile, re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0, "by number: a cluster that wants no root cannot judge a name"
    assert "HEALTHCHECK" in steps
    assert re.search(r'^ENTRYPOINT \["', dockerfile, re.MULTILINE), "no shell in between that hears the signals"


def test_what_the_container_would_start_are_commands_that_exist() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"scheduler(?: --\w+ \S+)* (serve|doctor|sync|init|run|list|history)\b", page))
    assert {"serve", "doctor"} <= named


def compose(last: str) -> Any:
    """The one service of the Compose file that mounts `last` last."""
    found = [yaml.safe_load(block) for block in blocks("yaml") if "volumes:" in block and "build:" in block]
    return next(each["services"]["scheduler"] for each in found if str(each["services"]["scheduler"]).count(last))


def test_the_whole_repository_is_mounted_where_the_image_looks_for_the_root() -> None:
    mounts = [each.split(":") for each in compose(".:/repo")["volumes"]]
    image = dict(re.findall(r"(SCHEDULER_\w+)=(\S+)", blocks("dockerfile")[0]))
    assert [".", image["SCHEDULER_ROOT"], "ro"] in mounts, "with its .git, or no run knows its commit"
    assert ["state", str(Path(image["SCHEDULER_STATE"]).parent)] in mounts


def test_without_git_a_run_and_doctor_say_so_in_the_words_of_the_page(root: Root) -> None:
    shutil.rmtree(root.path / ".git")
    root.ok("run", "tick", "--wait")
    why = root.runs("tick")[0]["no_provenance"]
    assert why == f"{str(root.path)!r} is not in a git repository"
    said = why.replace(str(root.path), "/repo")
    assert f"runs record no commit: {said}" in PAGE.read_text(encoding="utf-8")
    checks = {each["name"]: each for each in root.cli("doctor", "--json").json["checks"]}
    assert (checks["git"]["status"], checks["git"]["message"]) == ("warning", f"runs record no commit: {why}")


def test_the_container_that_follows_a_branch_clones_once_and_then_goes_on(root: Root, tmp_path: Path) -> None:
    service = compose("followed.json")
    state = tmp_path / "state"
    state.mkdir()
    (script,) = service["command"]
    script = script.replace("$$", "$").replace("/state/", f"{state}/").replace("exec scheduler serve", "scheduler sync")
    environ = {
        **os.environ,
        **{name: str(value).replace("/state/", f"{state}/") for name, value in service["environment"].items() if value},
        "REPOSITORY": str(root.path / ".git"),
        "XDG_STATE_HOME": str(state),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for created in ("1 created", "nothing to do"):
        found = subprocess.run(
            [*service["entrypoint"], script], cwd=state, env=environ, capture_output=True, text=True, check=True
        )
        assert created in found.stderr
    health = subprocess.run(["scheduler", "list", "--json"], cwd=state, env=environ, capture_output=True, check=True)
    assert [job["id"] for job in json.loads(health.stdout)["jobs"]] == ["tick"]
    assert json.loads(health.stdout)["jobs"][0]["revision"] == root.git("rev-parse", "HEAD")


def test_an_agent_of_the_service_is_where_its_path_and_its_protection_let_it_be() -> None:
    service = settings(units()["/etc/systemd/system/scheduler.service"])["Service"]
    path = re.search(r"PATH=(\S+)", service["Environment"])
    assert path is not None
    home = path[1].split(":")[0].removesuffix("/.local/bin")
    page = PAGE.read_text(encoding="utf-8")
    assert f"--home-dir {home} " in page
    assert home in service["ReadWritePaths"].split()
    assert not home.startswith(("/home", "/root"))
