"""The seam of engines: who recovers a run is told by the kind of its owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.values.runs import Run, RunStatus
from scheduler.ledger import queries, runs
from scheduler.ledger.owners import LOCAL, kind_of
from scheduler.ledger.runs import ActiveRun
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.run.engine import recover
from scheduler.run.local.recovery import LocalRecovery
from tests.fakes import FakeClock
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
