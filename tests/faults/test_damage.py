"""A database that is damaged, foreign or cut off: under a living daemon, and under every command."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.world import RESUMED, STOPPED, FaultyWorld, await_slots_pass, judge

TOLD = (STOPPED, "sync_failed", "end_not_written", "database_gone")


def damage(world: FaultyWorld, change: Callable[[bytes], bytes]) -> bytes:
    """Changes the file in place while nobody writes and nothing is left in the journal; what it held before."""
    connection = sqlite3.connect(world.db, isolation_level=None, timeout=60)
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        pass
    connection.execute("BEGIN IMMEDIATE")
    held = world.db.read_bytes()
    connection.execute("SELECT 1")
    overwrite(world.db, change(held))
    connection.execute("ROLLBACK")
    connection.close()
    return held


def overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate(len(data))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda held: held[:4096] + os.urandom(len(held) - 4096),
    "cut off in the middle of a page": lambda held: held[: len(held) // 2 + 100],
    "emptied": lambda held: b"",
}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=name, marks=() if name == "garbage" else pytest.mark.long)
        for name, change in CHANGES.items()
    ],
)
def test_a_database_damaged_under_a_daemon_stops_it_until_it_is_restored(
    world: FaultyWorld, change: Callable[[bytes], bytes]
) -> None:
    world.job("tick")
    daemon = world.serve()
    world.await_marks("tick", 2)
    held = damage(world, change)
    daemon.says(STOPPED)
    ran, damaged = len(world.marks()), world.db.read_bytes()
    await_slots_pass()
    assert len(world.marks()) == ran
    assert world.db.read_bytes() == damaged, "it went on writing into a damaged file"
    code, errors = world.doctor()
    assert code == 5
    assert errors["daemon"]
    assert errors["database"]
    overwrite(world.db, held)
    daemon.says(RESUMED)
    world.await_marks("tick")
    assert daemon.stop() == 0, daemon.stderr
    assert [line for line in daemon.lines if "Traceback" in line] == []
    judge(world, expected=TOLD)


def test_a_daemon_does_not_start_on_a_damaged_database(world: FaultyWorld) -> None:
    world.job("tick")
    assert world.cli("sync").code == 0
    held = world.db.read_bytes()
    overwrite(world.db, held[:8192] + b"\xff" * 4096 + held[12288:])
    daemon = world.serve()
    assert daemon.ended() == 5
    assert "damaged" in daemon.stderr
    assert "`scheduler restore` lists the backups and restores one" in daemon.stderr
    overwrite(world.db, held)


COMMANDS = (
    ["list"],
    ["show", "tick"],
    ["history", "tick"],
    ["task", "tick:1"],
    ["audit"],
    ["next"],
    ["plan"],
    ["sync"],
    ["run", "tick"],
    ["pause", "tick"],
    ["doctor"],
    ["serve", "--once"],
)


def a_folder(db: Path) -> None:
    db.unlink()
    db.mkdir()


def a_pipe(db: Path) -> None:
    db.unlink()
    os.mkfifo(db)


def a_database_of_another_program(db: Path) -> None:
    db.unlink()
    other = sqlite3.connect(db)
    other.execute("CREATE TABLE jobs (id)")
    other.commit()
    other.close()


def of_a_newer_version(db: Path) -> None:
    raw = sqlite3.connect(db)
    raw.execute("PRAGMA user_version = 99")
    raw.close()


def cut_to(length: int) -> Callable[[Path], None]:
    def cut(db: Path) -> None:
        os.truncate(db, length if length > 0 else db.stat().st_size + length)

    return cut


def a_page_of_garbage(db: Path) -> None:
    """In every page but the first two, so that whatever is read meets it."""
    held = db.read_bytes()
    overwrite(db, held[:8192] + b"\x5a" * (len(held) - 8192))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (a_folder, "folder"),
    "a pipe": (a_pipe, "pipe"),
    "a text file": (lambda db: db.write_text("hello, world\n" * 1000), "not a SQLite database"),
    "another program's": (a_database_of_another_program, "another program"),
    "a newer version's": (of_a_newer_version, "newer version"),
    "emptied": (lambda db: db.write_bytes(b""), "empty"),
    "one byte": (cut_to(1), "damaged"),
    "a header": (cut_to(100), "damaged"),
    "half a page": (cut_to(2000), "damaged"),
    "one page": (cut_to(4096), "damaged"),
    "all but its last page": (cut_to(-4096), "damaged"),
    "garbage inside": (a_page_of_garbage, "damaged"),
}


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that has run a job, to be copied."""
    world = FaultyWorld(tmp_path_factory.mktemp("lived in"))
    world.job("tick", schedule="every: 1h")
    assert world.cli("sync").code == 0
    assert world.cli("run", "tick").code == 0
    world.close()
    return world.root


@pytest.mark.parametrize(("make_bad", "said"), BAD.values(), ids=list(BAD))
def test_a_command_says_what_is_wrong_with_the_database(
    world: FaultyWorld, lived_in: Path, make_bad: Callable[[Path], object], said: str, request: pytest.FixtureRequest
) -> None:
    """One of them each; test-long has them all."""
    n = list(BAD).index(request.node.callspec.id)
    tell_every_command(world, lived_in, make_bad, said, COMMANDS[n % len(COMMANDS) :][:1])


@pytest.mark.long
@pytest.mark.parametrize(("make_bad", "said"), BAD.values(), ids=list(BAD))
def test_every_command_says_what_is_wrong_with_the_database(
    world: FaultyWorld, lived_in: Path, make_bad: Callable[[Path], object], said: str
) -> None:
    tell_every_command(world, lived_in, make_bad, said, COMMANDS)


def tell_every_command(
    world: FaultyWorld, lived_in: Path, make_bad: Callable[[Path], object], said: str, commands: tuple[list[str], ...]
) -> None:
    shutil.copytree(lived_in, world.root, dirs_exist_ok=True)
    make_bad(world.db)
    before = world.db.read_bytes() if world.db.is_file() else None
    for command in commands:
        ended = world.cli(*command)
        shown = ended.stderr + ended.stdout
        assert ended.code == 5, f"{command}: {shown}"
        assert said in shown, f"{command}: {shown}"
        assert str(world.db) in shown, f"{command}: {shown}"
        assert "hint: " in shown
        assert "Traceback" not in shown
        assert before is None or world.db.read_bytes() == before, f"{command} wrote into it"
    assert world.marks() == []


@pytest.mark.long
def test_a_damaged_text_is_named_by_doctor_and_by_who_asks_for_it(world: FaultyWorld) -> None:
    world.job("tick", schedule="every: 1h")
    world.cli("sync")
    world.cli("run", "tick")
    raw = sqlite3.connect(world.db)
    raw.execute("UPDATE texts SET bytes = x'00'")
    raw.commit()
    raw.close()
    ended = world.cli("task", "tick:1")
    assert (ended.code, "damaged" in ended.stderr, ended.stdout) == (5, True, "")
    code, errors = world.doctor()
    assert code == 1
    assert "tick:1" in errors["texts"][0]
    assert world.cli("history", "tick").code == 0
    world.cli("run", "tick")
    assert world.cli("task", "tick:1").code == 0, "the same text has come back"
    assert world.doctor() == (0, {})
