"""Programs that behave as badly as programs do, in one daemon: each has its end, and the daemon goes on as it was."""

from __future__ import annotations

import os
import pty
import sqlite3
from pathlib import Path

import pytest

from tests.crash.invariants import leftovers, litter, violations
from tests.crash.world import SERVING, World
from tests.helpers import Daemon, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")

STEERING = r"\033[2J\033]0;title\007\033[31mred\rover\010\377\302\233 end"  # as printf takes it
STEERED = b"\033[2J\033]0;title\007\033[31mred\rover\010\377\302\233 end"
PROGRAMS = {"crlf": "#!/bin/sh\r\nexit 0\r\n", "bare": "echo no first line\n"}
# What each job's script does, and how its first run has to end: status, reason, exit code.
SCRIPTS: dict[str, tuple[list[str], tuple[str, str | None, int | None]]] = {
    "fine": (["echo fine"], ("succeeded", None, 0)),
    "signal": (["kill -SEGV $$"], ("failed", "signal", None)),
    "endless": (["exec yes"], ("timed_out", "timeout", None)),
    "both-endless": (["yes >&2 &", "exec yes"], ("timed_out", "timeout", None)),
    "stopped": (["kill -STOP $$"], ("timed_out", "timeout", None)),
    "silent": (["exec 0<&- >&- 2>&-", "exec sleep 1000"], ("timed_out", "timeout", None)),
    "grandchildren": (["sleep 1000 & (sleep 1000 & sleep 1000) &", "wait"], ("timed_out", "timeout", None)),
    "daemonised": (["(sleep 1000 > /dev/null 2>&1 &)"], ("succeeded", None, 0)),
    "many": (["i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done"], ("succeeded", None, 0)),
    "steering": ([f"printf '{STEERING}'"], ("succeeded", None, 0)),
}
OUTPUT_BYTES = 64 * 1024


def start(world: World) -> Daemon:
    runners = "".join(f"  {name}: {{command: [./bin/{name}]}}\n" for name in (*PROGRAMS, "folder"))
    world.write(
        "scheduler.yaml",
        "version: 1\ndefaults: {runner: sh}\nrunners:\n"
        '  sh: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**"]}\n'
        f"{runners}limits: {{max_running: 16, output_bytes: {OUTPUT_BYTES}}}\n",
    )
    (world.root / "bin/folder").mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (world.root / "bin" / name).write_bytes(text.encode())
        (world.root / "bin" / name).chmod(0o755)
    for name in (*PROGRAMS, "folder"):
        world.write(f"jobs/{name}.yaml", f"id: {name}\nrunner: {name}\nschedule: {{every: 2s}}\ntask: none\n")
    for name, (lines, _) in SCRIPTS.items():
        world.write(f"scripts/{name}.sh", world.script(*lines))
        world.write(
            f"jobs/{name}.yaml",
            f"id: {name}\nschedule: {{every: 2s}}\ntimeout: 1s\ntask_source_path: scripts/{name}.sh\n",
        )
    daemon = world.serve()
    daemon.says(SERVING)
    return daemon


def rss(daemon: Daemon) -> int:
    """Bytes."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def zombies(daemon: Daemon) -> list[int]:
    pid = daemon.process.pid
    found = []
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            if "\nState:\tZ" in Path(f"/proc/{each}/status").read_text():
                found.append(int(each))
        except FileNotFoundError:
            continue
    return found


def ends(world: World, name: str) -> list[sqlite3.Row]:
    found = "SELECT * FROM runs WHERE job_id = ? AND finished_at NOTNULL AND reason IS NOT 'overlap' ORDER BY n"
    return [row for row in world.rows(found, name) if row["reason"] != "missed"]


def test_a_daemon_outlives_every_way_in_which_a_program_can_misbehave(world: World) -> None:
    daemon = start(world)
    warm = rss(daemon)
    names = (*SCRIPTS, "bare")
    until(lambda: all(len(ends(world, name)) > 1 for name in names), "two ends of each job")
    for name, (_, expected) in SCRIPTS.items():
        run = ends(world, name)[0]
        assert (run["status"], run["reason"], run["exit_code"]) == expected, name
    run = ends(world, "bare")[0]
    assert (run["status"], run["reason"], "neither a program nor a script" in run["error"]) == (
        "failed",
        "runner_start_failed",
        True,
    )
    # What there is nothing of to start is a fault of the place: its slots wait, and it is told (ADR 43).
    jobs = {job["id"]: job for job in world.cli("list", "--json").json["jobs"]}
    for name, words in (("crlf", "'/bin/sh\\r'"), ("folder", "is a folder")):
        told = jobs[name]["waiting"]
        assert (jobs[name]["status"], told["reason"], words in told["message"]) == ("waiting", "runner_missing", True)
    for name in ("endless", "both-endless"):
        run = ends(world, name)[0]
        files = [world.root / f".scheduler/runs/{name}/{run['n']}.1.{stream}" for stream in ("stdout", "stderr")]
        assert run["truncated"]
        assert run["output_bytes"] > 10 * OUTPUT_BYTES, "it was never blocked"
        assert sum(file.stat().st_size for file in files if file.exists()) < OUTPUT_BYTES + 200
    assert rss(daemon) < warm + 30 * 1024 * 1024
    until(lambda: zombies(daemon) == [], "a moment without a zombie")
    # Nothing is shown that steers a terminal, and nothing is lost of it.
    run = ends(world, "steering")[0]
    raw = (world.root / f".scheduler/runs/steering/{run['n']}.1.stdout").read_bytes()
    assert raw == STEERED
    shown = on_a_terminal(world, "output", f"steering:{run['n']}")
    assert "red\r\nover\ufffd\ufffd\ufffd end" in shown
    for command in (("history", "steering"), ("list",), ("show", "steering"), ("history", "steering", "--json")):
        shown += on_a_terminal(world, *command)
    assert "\033]" not in shown
    assert "\033[2J" not in shown
    assert not {"\a", "\b", "\x9b"} & set(shown)
    assert daemon.stop() == 0, daemon.stderr
    assert "\033" not in daemon.stderr
    unmarked = tuple(f"{name}:" for name in PROGRAMS)
    assert [each for each in violations(world) if not each.startswith(unmarked)] == []
    assert [*leftovers(world), *litter(world)] == []


def on_a_terminal(world: World, *command: str) -> str:
    """What a command writes to it."""
    ours, its = pty.openpty()
    with world.start(*command, stdout=its):
        os.close(its)
        found = b""
        try:
            while data := os.read(ours, 65536):
                found += data
        except OSError:  # nobody has the other end any more
            pass
        finally:
            os.close(ours)
    return found.decode()
