"""The seam of engines: its rows come with the claim, and who recovers a run is told by the kind of its owner."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection, Row
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.daemon.requests import Requests
from scheduler.ledger import claims, queries, rows, runs
from scheduler.ledger.owners import LOCAL, kind_of
from scheduler.ledger.runs import ActiveRun
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.run.engine import recover
from scheduler.run.local.recovery import LocalRecovery
from tests.fakes import FakeClock, FakeDuties, NotedEngine
from tests.shell.test_store import NOW, apply, claim, desired


@dataclass
class Elsewhere:
    """An engine whose runs go on on other machines."""

    kind: str = "elsewhere"
    asked: list[str] = field(default_factory=list)

    def recover(self, store: Store, active: Sequence[ActiveRun]) -> list[Run]:
        self.asked += [each.run.id for each in active]
        return []


def test_an_owner_without_a_kind_is_a_process_of_this_machine() -> None:
    assert [kind_of(each) for each in (None, "12-abc", "temporal:run/a/2026")] == [LOCAL, LOCAL, "temporal"]


def test_a_run_is_recovered_by_the_engine_of_its_owner_and_by_no_other(tmp_path: Path) -> None:
    place = Place(root=tmp_path, state=tmp_path / "state", db=tmp_path / "state/state.db")
    with Store.open(place.db) as store:
        apply(store, desired("here", "there"))
        here, there = claim(store, "here"), claim(store, "there")
        with store.writing() as sql:
            sql.execute("UPDATE runs SET owner = '1-dead' WHERE job_id = 'here'")
            sql.execute("UPDATE runs SET owner = 'elsewhere:7' WHERE job_id = 'there'")
        local, other = LocalRecovery(place=place, clock=FakeClock(NOW)), Elsewhere()
        assert [run.id for run in recover(store, [local])] == [here.id]
        (ended,) = store.read(queries.runs, "here")
        (going_on,) = store.read(queries.runs, "there")
        assert (ended.status, ended.reason) == (RunStatus.INTERRUPTED, "owner_died")
        assert going_on.status is RunStatus.CLAIMED, "nobody here can tell whether it still goes on"
        assert recover(store, [local, other]) == []
        assert other.asked == [there.id]
        assert [each.kind for each in store.read(runs.active)] == ["elsewhere"]


def test_a_run_that_was_handed_over_is_of_its_engine_whoever_handed_it_over(tmp_path: Path) -> None:
    place = Place(root=tmp_path, state=tmp_path / "state", db=tmp_path / "state/state.db")
    with Store.open(place.db) as store:
        apply(store, desired("there"))
        there = claim(store, "there")
        with store.writing() as sql:
            sql.execute("UPDATE runs SET owner = '1-dead', engine = 'temporal', handle = 'run/x/there/1'")
        assert recover(store, [LocalRecovery(place=place, clock=FakeClock(NOW))]) == []
        (still,) = store.read(runs.active)
        assert (still.run.id, still.kind, still.run.handle) == (there.id, "temporal", "run/x/there/1")
        assert store.read(claims.free_places, 1, NOW) == 1, "it takes no place here"


def test_rows_from_before_engines_are_local_ones(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.db") as store:
        apply(store, desired("here"))
        run = claim(store, "here")
    assert (run.engine, run.handle, run.task_queue, run.host, run.elsewhere) == ("local", None, None, None, None)


def test_the_runs_of_whoever_asks_are_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon may have thousands of them, and each pass asks."""
    place = Place(root=tmp_path, state=tmp_path / "state", db=tmp_path / "state/state.db")
    with Store.open(place.db) as store:
        apply(store, desired("waits", "mine", "there", "dead"))
        for job_id in ("waits", "mine", "there", "dead"):
            claim(store, job_id)
        with store.writing() as sql:
            sql.execute("UPDATE runs SET owner = '1-' || job_id")
            sql.execute("UPDATE runs SET owner = 'elsewhere:7' WHERE job_id = 'there'")
            sql.execute("UPDATE runs SET status = 'queued', owner = NULL WHERE job_id = 'waits'")
        read, to_runs = list[str](), rows.to_runs

        def noted(sql: Connection, found: Sequence[Row]) -> list[Run]:
            read.extend(row["job_id"] for row in found)
            return to_runs(sql, found)

        with monkeypatch.context() as patch:
            patch.setattr(rows, "to_runs", noted)
            recover(store, [LocalRecovery(place=place, clock=FakeClock(NOW)), Elsewhere()], but="1-mine")
        assert set(read) == {"there", "dead"}
        assert [each.run.job_id for each in store.read(runs.active)] == ["mine", "there", "waits"]


class WithRows(NotedEngine):
    """An engine that keeps a row of its own for each run."""

    refuses = False

    def begin(self, sql: Connection, batch: Sequence[Run]) -> None:
        assert sql.in_transaction
        sql.executemany("INSERT INTO engine_rows VALUES (?)", [(run.id,) for run in batch])
        if self.refuses:
            raise UnavailableError("this engine takes nothing at present")


Claim = Callable[[Store, WithRows], object]


def fire(store: Store, engine: WithRows) -> object:
    clock = FakeClock(NOW)
    duties = FakeDuties(clock, engine)
    clockwork = Clockwork(
        clock=clock, owner="1-test", since=NOW, agenda=Agenda(), lend=lambda: Store.open(store.path), duties=duties
    )
    clockwork.reload(store)
    clock.moment = NOW + timedelta(hours=1)
    return clockwork.dispatch(store)


def ask(store: Store, engine: WithRows) -> object:
    """A request of a command, to a daemon that has only what that needs."""

    @contextlib.contextmanager
    def lend() -> Iterator[Store]:
        yield store

    clock, ready, folder = FakeClock(NOW), threading.Event(), store.path.parent
    ready.set()
    daemon = SimpleNamespace(
        ready=ready,
        told_to_stop=False,
        place=Place(root=folder, state=folder, db=store.path),
        stores=SimpleNamespace(lend=lend),
        recover=lambda _: [],
        owner=SimpleNamespace(id="1-test"),
        engine=engine,
        clock=clock,
        duties=FakeDuties(clock, engine),
    )
    return list(Requests(cast(Any, daemon)).run("job", Trigger.MANUAL, "user:test", wait=False))


@pytest.mark.parametrize("claims", [fire, ask])
@pytest.mark.parametrize("refuses", [False, True])
def test_the_rows_of_an_engine_come_with_the_claim_or_not_at_all(tmp_path: Path, claims: Claim, refuses: bool) -> None:
    engine = WithRows()
    with Store.open(tmp_path / "state.db") as store:
        apply(store, desired("job"))
        with store.writing() as sql:
            sql.execute("CREATE TABLE engine_rows (run TEXT)")
        engine.refuses = refuses
        with pytest.raises(UnavailableError) if refuses else contextlib.nullcontext():
            claims(store, engine)
        with store.reading() as sql:
            theirs = [run for (run,) in sql.execute("SELECT run FROM engine_rows")]
        ours = [run.id for run in store.read(queries.runs, "job")]
    assert theirs == ours == [run.id for run in engine.submitted] == ([] if refuses else ["job:1"])
