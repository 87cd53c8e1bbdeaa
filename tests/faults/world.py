"""The world of the crash tests, with its state wherever a test wants it, and what its daemon says of itself."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crash.invariants import leftovers, unsettled, violations
from tests.crash.world import World
from tests.helpers import Daemon, until

STOPPED = "firing_stopped"
RESUMED = "firing_resumed"


class FaultyWorld(World):
    """One root; `state`, `db`: its state folder and its database, where they lie elsewhere."""

    def __init__(self, folder: Path, *, state: Path | None = None, db: Path | None = None) -> None:
        self.state = state or folder / "root/.scheduler"
        self._db = db or self.state / "state.db"
        super().__init__(folder)

    @property
    def db(self) -> Path:
        return self._db

    @property
    def _options(self) -> list[str]:
        return [*super()._options, "--state", str(self.state), "--db", str(self.db)]

    # -- what is seen ----------------------------------------------------------------------------

    def doctor(self) -> tuple[int, dict[str, list[str]]]:
        """Its exit code, and what is an error by the name of the check."""
        ended = self.cli("doctor", "--json")
        assert "Traceback" not in ended.stderr, ended.stderr
        found: dict[str, list[str]] = {}
        for check in json.loads(ended.stdout)["checks"]:
            if check["status"] == "error":
                found.setdefault(check["name"], []).append(check["message"])
        return ended.code, found

    def listed(self) -> dict[str, Any]:
        ended = self.cli("list", "--json")
        assert ended.code == 0, ended.stderr
        found: dict[str, Any] = json.loads(ended.stdout)
        assert found["daemon"]["state"] != "dead" or "the daemon is dead" in ended.stderr
        found["troubles"] = [each for each in found["troubles"] if each != found["daemon"]["message"]]
        for trouble in found["troubles"]:
            assert trouble in ended.stderr, ended.stderr
        return found

    def slots(self, job_id: str) -> int:
        """How many slots have their row."""
        return sum(row["slots"] for row in self.runs(job_id))

    def await_marks(self, job_id: str, more: int = 1) -> None:
        """Until the job has run so many times more."""
        before = len(self.marks(job_id))
        until(lambda: len(self.marks(job_id)) >= before + more, f"{more} more runs of {job_id}")

    def await_end(self, job_id: str) -> None:
        """Until no run of the job is under way: a fault that comes now meets the daemon at rest."""
        until(lambda: all(row["finished_at"] for row in self.runs(job_id)), f"the end of what runs of {job_id}")

    # -- faults ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Another process writes, and does not come to an end."""
        connection = sqlite3.connect(self.db, isolation_level=None, timeout=60)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()


def await_slots_pass(seconds: int = 2) -> None:
    """Long enough for slots of every second to come: none of them may be served meanwhile."""
    time.sleep(seconds)


def judge(world: World, *, expected: tuple[str, ...] = (), unmarked: bool = False) -> None:
    """As the judge of the crash tests, of a world in which a fault was told: once, and never as a traceback.

    expected: events that may be an ERROR, each at most once in the log of one daemon for one reason.
    unmarked: a run may have failed before its script could write its mark, such as for want of an output file.
    """
    found = [*violations(world), *leftovers(world), *unsettled(world.cli("plan", "--exit-code"))]
    if unmarked:
        found = [each for each in found if not each.endswith(" failed without having run")]
    for daemon in world.daemons:
        found += [f"a daemon said: {line}" for line in unexpected(daemon, expected)]
    assert not found, "\n".join(found)


def unexpected(daemon: Daemon, expected: tuple[str, ...]) -> Iterator[str]:
    told: set[str] = set()
    for line in daemon.lines:
        if "_resumed" in line:  # what comes after is another trouble
            told.clear()
        if "Traceback" in line:
            yield line
        if " ERROR " in line:
            said = line.split(" ERROR ", 1)[1]
            if said in told or not any(f" {event} " in line for event in expected):
                yield line
            told.add(said)
