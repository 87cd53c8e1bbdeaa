"""The state folder as an operator meets it: where it is, what becomes of a daemon that loses it, and the way back."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.machine.mounts import Mount
from tests.faces.conftest import Root
from tests.faces.served import Served, ran, root, serve
from tests.helpers import Result, until

__all__ = ["root", "serve"]  # fixtures

Serve = Callable[..., Served]


def database(root: Root) -> Path:
    return root.path / ".scheduler/state.db"


def runs_after(root: Root, count: int) -> bool:
    found: int = root.job("tick")["run_count"]
    return found > count


def checks(found: Result, name: str) -> list[tuple[str, str]]:
    return [(check["status"], check["message"]) for check in found.json["checks"] if check["name"] == name]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Where sockets fit: they take no long path."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def short(root: Root, short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """The same root where its sockets fit."""
    shutil.copytree(root.path, short_folder / "root")
    monkeypatch.chdir(short_folder / "root")
    return replace(root, path=short_folder / "root")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only, for root too: a mount of itself."""
    mounted: list[Path] = []

    def make(folder: Path) -> None:
        for args in (("--bind", str(folder), str(folder)), ("-o", "remount,ro,bind", str(folder))):
            done = subprocess.run(["mount", *args], capture_output=True, text=True) if shutil.which("mount") else None
            if done is None or done.returncode != 0:
                pytest.skip("only who may mount can make a folder read-only for root")
            if args[0] == "--bind":
                mounted.append(folder)

    yield make
    for folder in reversed(mounted):
        subprocess.run(["umount", "-l", str(folder)], check=True)


# -- where it is -----------------------------------------------------------------------------


def test_the_state_folder_is_private_and_no_business_of_git(root: Root, serve: Serve) -> None:
    (root.path / ".gitignore").unlink()
    root.git("commit", "-qam", "no ignore file")
    old = os.umask(0)
    try:
        serve()
        until(lambda: ran(root, "first\n"), "a fire")
    finally:
        os.umask(old)
    assert root.git("status", "--porcelain") == ""
    state = root.path / ".scheduler"
    home = Path(os.environ["HOME"]) / ".local/state/scheduler"
    assert {path.stat().st_mode & 0o777 for path in (state, home, home / "daemons")} == {0o700}
    files = [*state.glob("state.db*"), *(home / "daemons").iterdir()]
    assert {path.name for path in files if path.stat().st_mode & 0o077} == set()


def test_what_a_copy_by_hand_has_opened_to_others_is_closed_again(root: Root) -> None:
    root.sync()
    state = root.path / ".scheduler"
    state.chmod(0o755)
    database(root).chmod(0o644)
    found = root.cli("doctor", "--json")
    assert ("warning", f"other users can read {state}") in checks(found, "state")
    root.sync()
    assert (state.stat().st_mode & 0o777, database(root).stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize(
    "where",
    ["relative", *(pytest.param(each, marks=pytest.mark.long) for each in ("inside", "elsewhere", "environment"))],
)
def test_a_state_folder_may_be_named(
    root: Root, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    other = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path  # another file system
    folder = {"inside": root.path / "state", "elsewhere": other / f"scheduler-test-{os.getpid()}"}.get(
        where, tmp_path / "named"
    )
    try:
        if where == "environment":
            monkeypatch.setenv("SCHEDULER_STATE", str(folder))
            args: tuple[str, ...] = ()
        else:
            args = ("--state", "../named" if where == "relative" else str(folder))
        daemon = serve(*args)
        until(lambda: "succeeded" in {run["status"] for run in root.json(*args, "history", "tick")["runs"]}, "a run")
        assert root.json(*args, "doctor")["healthy"]
        asked = (*args, "run", "tick", "--wait", "--json")  # refused while one of the schedule is under way
        until(lambda: '"result": "first\\n"' in root.cli(*asked).stdout, "a run by hand")
        assert (folder / "state.db").exists()
        assert not (root.path / ".scheduler").exists()
        assert daemon.stop() == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_read_only_root_is_served_from_the_home_folder(
    root: Root, serve: Serve, read_only: Callable[[Path], None], tmp_path: Path
) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    subprocess.run(["mount", "--bind", str(root.path), str(shown)], check=False)
    read_only(shown)
    try:
        args = ("--root", str(shown))
        assert root.json(*args, "sync")["created"] == ["tick"]
        daemon = serve(*args)
        until(lambda: root.json(*args, "history", "tick")["runs"], "a fire")
        root.write("prompts/tick.md", "second\n")
        until(lambda: ran_in(root, args, "second\n"), "the edit")
        assert root.json(*args, "doctor")["healthy"]
        assert root.ok(*args, "run", "tick", "--wait").stdout == "second\n"
        assert daemon.stop() == 0
        assert not (root.path / ".scheduler").exists()
        (db,) = (Path(os.environ["HOME"]) / ".local/state/scheduler").glob("*/state.db")
        subprocess.run(["mount", "-o", "remount,rw,bind", str(shown)], check=True)
        assert str(db) in root.cli(*args, "-v", "list").stderr, "a root that can be written by now keeps its database"
        assert root.json(*args, "sync")["created"] == []
    finally:
        subprocess.run(["umount", "-l", str(shown)], check=False, capture_output=True)


def ran_in(root: Root, args: tuple[str, ...], text: str) -> bool:
    return any(run["result"] == text for run in root.json(*args, "history", "tick")["runs"])


def test_a_root_that_becomes_read_only_gets_no_second_database(root: Root, read_only: Callable[[Path], None]) -> None:
    root.sync()
    read_only(root.path)
    for command in (("sync",), ("run", "tick"), ("serve", "--once")):
        found = root.cli("--root", str(root.path), *command)
        assert (found.code, str(database(root).parent) in found.stderr) == (5, True), found
    assert not list((Path(os.environ["HOME"]) / ".local/state/scheduler").glob("*/state.db"))


def test_two_databases_of_one_root_are_told(root: Root) -> None:
    root.sync()
    home = Path(os.environ["HOME"]) / ".local/state/scheduler"
    from scheduler.root.place import locate

    place = locate(None, None, None, environ=os.environ, cwd=root.path)
    other = place._defaults()[1]
    other.parent.mkdir(parents=True)
    shutil.copy(database(root), other)
    assert other.is_relative_to(home)
    found = checks(root.cli("doctor", "--json"), "state")
    assert ("warning", f"{database(root)} is in use, but this root has another database, {other}") in found


def test_a_user_without_a_home_folder_can_work_too(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(Path, "expanduser", _no_home)
    assert root.sync()["created"] == ["tick"]
    assert root.run("tick")["status"] == "succeeded"
    assert checks(root.cli("doctor", "--json"), "backup")[0][0] == "warning"
    monkeypatch.setenv("HOME", str(root.path / "scheduler.yaml/no-folder"))
    found = root.cli("doctor", "--json")
    assert (found.code, checks(found, "backup")[0][0]) == (0, "warning")


def _no_home(path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_network_file_system_is_an_error_of_doctor_and_a_warning_of_serve(
    root: Root, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nfs = Mount(id=1, point="/srv", kind="nfs4", source="files:/srv")
    monkeypatch.setattr("scheduler.service.doctor.examine.mount_of", lambda _: nfs)
    monkeypatch.setattr("scheduler.daemon.daemon.mount_of", lambda _: nfs)
    root.sync()
    found = root.cli("doctor", "--json")
    assert found.code == 1
    assert any(status == "error" and "nfs4, files:/srv" in message for status, message in checks(found, "state"))
    assert "network_file_system path=" in root.cli("serve", "--once").stderr


# -- sockets ---------------------------------------------------------------------------------


@pytest.mark.long
def test_a_root_with_a_very_long_path_is_served(root: Root, serve: Serve, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120) / "root"
    shutil.copytree(root.path, deep)
    args = ("--root", str(deep), "--state", str(deep / ".scheduler"))
    daemon = serve(*args)
    assert root.json(*args, "run", "tick", "--wait")["run"]["result"] == "first\n"
    assert daemon.stop() == 0


def test_where_nothing_takes_a_socket_beside_it_one_is_made_elsewhere_and_a_killed_daemon_s_is_tidied_away(
    root: Root, serve: Serve, tmp_path: Path, short_folder: Path
) -> None:
    state, home, temp = tmp_path / ("s" * 120), tmp_path / ("h" * 120), short_folder
    daemon = serve("--state", str(state), XDG_STATE_HOME=str(home), TMPDIR=str(temp))
    (first,) = temp.glob("scheduler-*/socket")
    assert root.json("--state", str(state), "doctor")["healthy"]
    daemon.process.kill()
    daemon.ended()
    assert first.exists()
    again = serve("--state", str(state), XDG_STATE_HOME=str(home), TMPDIR=str(temp))
    (second,) = temp.glob("scheduler-*/socket")
    assert second != first
    assert again.stop() == 0
    assert not list(temp.iterdir())


@pytest.mark.long
def test_the_socket_of_a_killed_daemon_is_no_hindrance(short: Root, serve: Serve) -> None:
    first = serve("--root", str(short.path))
    first.process.kill()
    first.ended()
    assert database(short).with_name("state.db.sock").exists()
    assert short.cli("sync").code == 0, "nobody listens there"
    serve("--root", str(short.path))
    assert [status for status, _ in checks(short.cli("doctor", "--json"), "daemon")] == ["ok"]


# -- a daemon that loses its state folder ----------------------------------------------------


def test_git_clean_under_a_daemon_is_told_by_everybody_and_mended_by_restore(
    root: Root, serve: Serve, tmp_path: Path
) -> None:
    daemon = serve()
    until(lambda: ran(root, "first\n"), "a fire")
    root.ok("backup", str(tmp_path / "copy.db"))
    root.git("clean", "-qfdx")
    said = daemon.says("database_gone")
    assert "scheduler restore" in said
    pid = str(daemon.process.pid)
    doctor = root.cli("doctor", "--json")
    assert doctor.code == 5
    assert any(status == "error" and pid in text and "is gone" in text for status, text in checks(doctor, "daemon"))
    refused = {
        command: root.cli(*command.split())
        for command in (
            "sync",
            "sync --new-state",
            "run tick",
            "list",
            "plan",
            "serve",
            "serve --new-state",
            "pause tick",
        )
    }
    assert {command: found.code for command, found in refused.items()} == {
        "sync": 5, "sync --new-state": 5, "run tick": 3, "list": 3, "plan": 3, "serve": 3, "serve --new-state": 5,
        "pause tick": 3,
    }  # fmt: skip
    assert all("is gone" in found.stderr or "another daemon uses" in found.stderr for found in refused.values())
    assert not database(root).exists(), "nobody made a new one"
    restored = root.json("restore", str(tmp_path / "copy.db"))
    assert (restored["put_aside"], pid in restored["daemon"]) == (None, True)
    daemon.says("database_put_back")
    until(lambda: runs_after(root, 3), "more fires, by the same process")
    assert root.json("doctor")["healthy"]
    slots = [(run["fire_time"], run["fire_time_last"]) for run in reversed(root.runs("tick"))]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(slots)), "no slot twice"
    assert daemon.stop() == 0


@pytest.mark.long
def test_the_very_folder_put_back_is_gone_on_with(root: Root, serve: Serve, tmp_path: Path) -> None:
    daemon = serve()
    until(lambda: ran(root, "first\n"), "a fire")
    shutil.move(root.path / ".scheduler", tmp_path / "aside")
    daemon.says("database_gone")
    shutil.move(tmp_path / "aside", root.path / ".scheduler")
    daemon.says("database_back")
    count = root.job("tick")["run_count"]
    until(lambda: runs_after(root, count), "a fire")
    assert root.json("doctor")["healthy"]
    assert not any("database_put_back" in line for line in daemon.lines)


@pytest.mark.long
def test_a_root_deleted_and_cloned_again_is_served_once_its_database_is_back(
    root: Root, serve: Serve, tmp_path: Path
) -> None:
    daemon = serve("--root", str(root.path))
    until(lambda: ran(root, "first\n"), "a fire")
    root.ok("backup", str(tmp_path / "copy.db"))
    root.git("clone", "-q", str(root.path), str(tmp_path / "clone"))
    os.chdir(tmp_path)
    shutil.rmtree(root.path)
    daemon.says("database_gone")
    shutil.move(tmp_path / "clone", root.path)
    os.chdir(root.path)
    assert root.cli("list").code == 3
    root.ok("restore", str(tmp_path / "copy.db"))
    daemon.says("database_put_back")
    root.write("prompts/tick.md", "after\n")
    until(lambda: ran(root, "after\n"), "the edit, seen in the new root")


@pytest.mark.parametrize("how", ["mv", pytest.param("cp", marks=pytest.mark.long)])
def test_a_copy_put_over_the_live_database_by_hand_doubles_nothing(
    root: Root, serve: Serve, tmp_path: Path, how: str
) -> None:
    daemon = serve()
    until(lambda: ran(root, "first\n"), "a fire")
    root.ok("backup", str(tmp_path / "copy.db"))
    count = root.job("tick")["run_count"]
    until(lambda: runs_after(root, count), "more fires")
    subprocess.run([how, str(tmp_path / "copy.db"), str(database(root))], check=True)
    daemon.says("database_put_back")
    until(lambda: root.cli("doctor").code == 0, "health")
    served = [line.split("fire_time=")[1].split()[0] for line in daemon.lines if "run_succeeded" in line]
    assert len(served) == len(set(served)), "no slot ran twice"
    assert any(row["action"] == "restore" for row in root.json("audit", "@root")["audit"])
    assert root.json("doctor")["healthy"]


@pytest.mark.long
def test_what_runs_when_the_database_goes_ends_before_another_is_taken_up(
    root: Root, serve: Serve, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    root.write("jobs/long.yaml", f"id: long\nschedule: '@daily'\ntask: 'echo on; read x < {tmp_path}/go'\nrunner: sh\n")
    daemon = serve()
    root.ok("run", "long")
    until(lambda: root.cli("output", "long:1").stdout == "on\n", "its output")
    root.ok("backup", str(tmp_path / "copy.db"))
    root.git("clean", "-qfdx", "-e", "jobs")
    daemon.says("database_gone")
    root.ok("restore", str(tmp_path / "copy.db"))
    daemon.says("firing_stopped")
    assert not any("database_put_back" in line for line in daemon.lines)
    (tmp_path / "go").write_text("go\n")
    assert "ends_lost=long:1" in daemon.says("database_put_back")
    until(lambda: root.runs("long")[0]["status"] == "interrupted", "its end")


# -- backup and restore ----------------------------------------------------------------------


def test_backup_says_what_the_copy_holds(lived_in: Root, tmp_path: Path) -> None:
    found = lived_in.json("backup", str(tmp_path / "copy.db"))
    assert (found["path"], found["jobs"], found["runs"]) == (str(tmp_path / "copy.db"), 6, 2)
    assert found["bytes"] == (tmp_path / "copy.db").stat().st_size
    again = lived_in.cli("backup", str(tmp_path / "copy.db"))
    assert (again.code, "already exists" in again.stderr) == (3, True)
    text = lived_in.ok("backup", str(tmp_path / "other.db"))
    assert "6 jobs, 2 runs" in text.stdout
    assert "captured output is not included" in text.stderr
    assert lived_in.json("--db", str(tmp_path / "copy.db"), "list")["summary"]["total"] == 6


def test_restore_goes_back_and_says_what_that_means(lived_in: Root, tmp_path: Path) -> None:
    lived_in.ok("backup", str(tmp_path / "copy.db"))
    lived_in.run("heartbeat")
    lived_in.ok("pause", "tick")
    found = lived_in.ok("restore", str(tmp_path / "copy.db"))
    assert "is restored to 2026-03-02 09:33:00 Europe/Berlin: 6 jobs, 2 runs" in found.stdout
    assert "warning: paused jobs that this backup does not have: tick" in found.stderr
    assert "none of them runs again" in found.stderr
    (aside,) = database(lived_in).parent.glob("state.db.before-*")
    assert str(aside) in found.stderr
    assert [run["id"] for run in lived_in.json("--db", str(aside), "history", "heartbeat")["runs"]] == [
        "heartbeat:2", "heartbeat:1",
    ]  # fmt: skip
    assert lived_in.run("heartbeat")["id"] == "heartbeat:3", "a number is given once"


def test_a_restore_that_is_killed_half_way_is_no_new_beginning_and_can_be_made_again(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived_in.ok("backup", str(tmp_path / "copy.db"))
    with monkeypatch.context() as patch:
        patch.setenv("SCHEDULER_CRASH_AT", "between_databases")
        assert lived_in.process("restore", str(tmp_path / "copy.db")).code == -signal.SIGKILL
    assert not database(lived_in).exists()
    (aside,) = database(lived_in).parent.glob("state.db.before-*")
    for command in ("list", "sync", "serve"):
        refused = lived_in.cli(command)
        assert (refused.code, f"`scheduler restore {aside}`" in refused.stderr) == (3, True)
    lived_in.ok("restore", str(aside))
    assert {job["id"]: job["run_count"] for job in lived_in.json("list")["jobs"]}["heartbeat"] == 1
    assert not database(lived_in).with_name("state.db.restoring").exists()


@pytest.mark.parametrize("left", [b"", b"no database at all" * 500])
def test_restore_takes_the_place_of_a_ruined_database(lived_in: Root, tmp_path: Path, left: bytes) -> None:
    lived_in.ok("backup", str(tmp_path / "copy.db"))
    database(lived_in).write_bytes(left)
    assert lived_in.cli("list").code == 5
    lived_in.ok("restore", str(tmp_path / "copy.db"))
    assert lived_in.job("heartbeat")["run_count"] == 1
    (aside,) = database(lived_in).parent.glob("state.db.before-*")
    assert aside.read_bytes() == left


def test_copies_inside_the_root_are_a_warning(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(lived_in.path / "home"))
    found = checks(lived_in.cli("doctor", "--json"), "backup")
    assert any(status == "warning" and "inside the root" in text for status, text in found)


def test_restore_alone_lists_the_nightly_copies(lived_in: Root) -> None:
    assert lived_in.json("restore") == {"backups": []}
    from datetime import timedelta

    lived_in.clock.advance(timedelta(days=1))
    assert lived_in.cli("serve", "--once").code in (0, 1)
    (copy,) = lived_in.json("restore")["backups"]
    assert copy["copied_at"] == "2026-03-03T08:33:00Z"
    assert not Path(copy["path"]).is_relative_to(lived_in.path)
    listed = lived_in.ok("restore")
    assert copy["path"] in listed.stdout
    assert checks(lived_in.cli("doctor", "--json"), "backup")[0][0] == "ok"
    lived_in.clock.advance(timedelta(days=3))
    assert checks(lived_in.cli("doctor", "--json"), "backup")[0][0] == "warning"
    shutil.rmtree(lived_in.path / ".scheduler")
    for command in (("sync",), ("list",), ("run", "tick"), ("serve",), ("plan",)):
        refused = lived_in.cli(*command)
        assert (refused.code, f"scheduler restore {copy['path']}" in refused.stderr) == (3, True)
    assert lived_in.cli("doctor").code == 5
    assert not (lived_in.path / ".scheduler").exists()
    lived_in.ok("restore", copy["path"])
    assert lived_in.job("heartbeat")["run_count"] == 1


def test_restore_is_refused_while_somebody_works_with_the_database(root: Root, serve: Serve, tmp_path: Path) -> None:
    root.write("jobs/long.yaml", "id: long\nschedule: '@daily'\ntask: 'exec sleep 1000'\nrunner: sh\n")
    root.sync()
    root.ok("backup", str(tmp_path / "copy.db"))
    foreground = root.start("run", "long", "--wait")
    until(lambda: any(run["status"] == "running" for run in root.runs("long")), "the run")
    refused = root.cli("restore", str(tmp_path / "copy.db"))
    assert (refused.code, f"process {foreground.pid}" in refused.stderr) == (3, True)
    root.ok("cancel", "long:1")
    foreground.communicate()
    daemon = serve()
    refused = root.cli("restore", str(tmp_path / "copy.db"))
    assert (refused.code, f"process {daemon.process.pid}" in refused.stderr) == (3, True)
    assert not list(database(root).parent.glob("*before*"))
    assert daemon.stop() == 0
    root.ok("restore", str(tmp_path / "copy.db"))


def test_a_copy_that_cannot_be_made_is_a_warning_of_doctor_and_stops_nothing(root: Root, serve: Serve) -> None:
    root.sync()
    root.sql("DROP TRIGGER audit_is_final")
    root.sql("UPDATE audit SET at = '2026-01-01T00:00:00.000000Z'")  # many nights ago
    home = Path(os.environ["HOME"]) / ".local/state/scheduler"
    home.mkdir(parents=True)
    (home / "backups").write_text("in the way")
    daemon = serve()
    assert "jobs still fire" in daemon.says("WARNING backup_failed")
    until(lambda: ran(root, "first\n"), "a fire")

    def told() -> bool:
        found = root.cli("doctor", "--json")
        return any(status == "warning" and "backups fail: " in text for status, text in checks(found, "backup"))

    until(told, "a warning")
    assert root.cli("doctor").code == 0


@pytest.mark.long
def test_new_state_beside_a_daemon_moves_nothing(root: Root, serve: Serve) -> None:
    daemon = serve()
    until(lambda: ran(root, "first\n"), "a fire")
    before = database(root).stat().st_ino
    assert root.process("serve", "--new-state").code == 5
    assert root.cli("sync", "--new-state").code == 0
    assert database(root).stat().st_ino == before
    assert daemon.stop() == 0


def test_both_sockets_answer_and_are_gone_afterwards(short: Root, serve: Serve) -> None:
    home = short.path.parent
    daemon = serve("--root", str(short.path), XDG_STATE_HOME=str(home))
    _both_sockets(short, daemon, home / "scheduler/daemons")


def _both_sockets(root: Root, daemon: Served, marks: Path) -> None:
    sockets = [database(root).with_name("state.db.sock"), *marks.glob("*.sock")]
    for path in sockets:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b'{"verb": "status"}\n')
            assert json.loads(connection.makefile().readline()) == {"accepted": True}
    assert len(sockets) == 2
    assert daemon.stop(signal.SIGTERM) == 0
    assert not any(path.exists() for path in sockets)
    assert not list(marks.iterdir())
