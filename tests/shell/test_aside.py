"""Large passes in a process of their own: what they do is what a pass does, and nothing is lost if they die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

import pytest

from scheduler.core.values.problems import UnavailableError
from scheduler.git.tree import Commits
from scheduler.ledger import audit, queries, syncs
from scheduler.ledger.store import Store
from scheduler.machine import orphans
from scheduler.machine.clock import SystemClock
from scheduler.root.place import Place
from scheduler.sync.aside import Aside
from scheduler.sync.passes import Passes
from tests.helpers import ROOT_FILE
from tests.shell.live import job_text

FILES = 5
MOST = 3


class Here:
    def __init__(self, root: Path) -> None:
        (root / "jobs").mkdir(parents=True)
        (root / "scheduler.yaml").write_text(ROOT_FILE)
        self.root = root
        self.place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
        self.place.make_state()
        self.aside = Aside()
        self.settled: list[str] = []
        self.passes = Passes(
            place=self.place,
            clock=SystemClock(),
            commits=Commits(),
            settle=self.settle,
            large=self.aside.sync,
            most=MOST,
        )
        self.write("first")

    def settle(self, store: Store, job_ids: Collection[str], until: datetime) -> None:
        self.settled += job_ids

    def write(self, name: str, schedule: str = "{every: 1h}") -> None:
        for i in range(FILES):
            text = job_text(f"j{i}", name=name).replace("{every: 1h}", schedule)
            (self.root / f"jobs/j{i}.yaml").write_text(text)

    def names(self, store: Store) -> set[str]:
        return {job.file.spec.name for job in store.read(queries.jobs) if not job.archived}


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path.resolve() / "root")


def test_a_pass_over_many_files_is_made_elsewhere_and_told_here(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.sync.passes.look", lambda *_, **__: pytest.fail("the files were read here"))
    with Store.open(here.place.db) as store:
        (here.root / "jobs/bad.yaml").write_text("id: [\n")
        found = here.passes.sync(store, actor="scheduler", cause="watch").report()
        assert (found.json["created"], found.nothing_to_do) == ([f"j{i}" for i in range(FILES)], False)
        assert [each.code for each in found.problems] == ["yaml.syntax"]
        assert store.read(audit.read_audit, "j0")[0].cause == "watch"
    monkeypatch.undo()
    with Store.open(here.place.db) as store:
        (here.root / "jobs/bad.yaml").unlink()
        assert here.passes.sync(store, actor="scheduler", cause="watch").plan.nothing_to_do, "made here: few files"
        assert store.read(syncs.problems) == []


def test_it_asks_for_the_slots_of_the_old_schedule_and_for_what_is_in_doubt(here: Here) -> None:
    with Store.open(here.place.db) as store:
        here.passes.sync(store, actor="scheduler", cause="watch")
        with store.writing() as sql:  # a slot has come due that nobody has served
            sql.execute("UPDATE jobs SET next_run_at = '2026-01-01T00:00:00.000000Z' WHERE id = 'j1'")
        here.write("second", schedule="{every: 2h}")
        asked: list[frozenset[str] | None] = []

        def defer(losses: frozenset[str] | None) -> Collection[str] | None:
            asked.append(losses)
            return losses

        (here.root / "jobs/j0.yaml").unlink()
        here.passes.sync(store, actor="scheduler", cause="watch", defer=defer)
        assert here.settled == ["j1"]
        assert asked == [frozenset({"j0"})]
        job = store.read(queries.job, "j0")
        assert job is not None
        assert not job.archived, "the loss was put off"
        assert here.names(store) == {"first", "second"}


def test_one_that_dies_applies_nothing_and_the_next_pass_does_it_all(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = orphans.start

    def dying(*args: object, **options: object) -> object:
        process = start(*args, **options)  # type: ignore[arg-type]
        os.kill(process.pid, signal.SIGKILL)
        return process

    with Store.open(here.place.db) as store:
        with monkeypatch.context() as context:
            context.setattr(orphans, "start", dying)
            with pytest.raises(UnavailableError, match="has ended"):
                here.passes.sync(store, actor="scheduler", cause="watch")
        assert here.names(store) == set()
        here.passes.sync(store, actor="scheduler", cause="watch")
        assert here.names(store) == {"first"}


def test_one_whose_daemon_has_died_applies_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def defer(losses: frozenset[str] | None) -> Collection[str] | None:
        asked.set()
        raise KeyboardInterrupt  # the pipes are closed, as at the end of a process

    with Store.open(here.place.db) as store:
        with pytest.raises(KeyboardInterrupt):
            here.passes.sync(store, actor="scheduler", cause="watch", defer=defer)
        assert asked.is_set()
        assert here.names(store) == set()


def test_what_it_cannot_do_is_the_error_of_the_pass(here: Here) -> None:
    with Store.open(here.place.db) as store:
        broken = here.place.db.with_name("gone.db")
        elsewhere = Place(root=here.root, state=here.place.state, db=broken)
        passes = Passes(place=elsewhere, clock=SystemClock(), large=here.aside.sync, most=MOST)
        with pytest.raises(UnavailableError, match="gone"):
            passes.sync(store, actor="scheduler", cause="watch")


def test_a_daemon_that_stops_waits_for_no_large_pass(here: Here) -> None:
    here.aside.stop()
    with Store.open(here.place.db) as store, pytest.raises(UnavailableError, match="stopping"):
        here.passes.sync(store, actor="scheduler", cause="watch")
