"""The runs of a process that has died: started anew where nothing ran, ended and told where something may have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.values.runs import Run, RunStatus, Trigger
from scheduler.core.values.spec import CatchUp, CatchUpPolicy
from scheduler.ledger import claims, queries, runs
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.run.local.recovery import LocalRecovery
from tests.fakes import FakeClock
from tests.shell.test_store import TASK, apply, claim, desired, fire, start

MINUTE = timedelta(minutes=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(root=tmp_path, state=tmp_path / "state", db=tmp_path / "state/state.db")


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with Store.open(place.db) as opened:
        apply(opened, desired("job", "other"))
        yield opened


def recovered(place: Place, store: Store, *, late: timedelta) -> Run:
    """The run, as somebody leaves it who comes so long after its slot, or after it was asked for."""
    (active,) = store.read(runs.active)
    at = (active.run.fire_time or active.run.requested_at) + late
    (run,) = LocalRecovery(place=place, clock=FakeClock(at)).recover(store, [active])
    return run


def test_a_slot_that_was_claimed_and_never_started_waits_for_its_turn_again(place: Place, store: Store) -> None:
    run = fire(store)
    again = recovered(place, store, late=MINUTE / 2)
    assert (again.id, again.status, again.attempts) == (run.id, RunStatus.QUEUED, ())
    assert [each.id for each in store.read(claims.queued)] == [run.id]


@pytest.mark.parametrize(
    ("catch_up", "late", "status"),
    [
        (CatchUp(), 20 * MINUTE, "queued"),  # of an hourly job: half the gap to the next slot
        (CatchUp(), 40 * MINUTE, "skipped"),
        (CatchUp(policy=CatchUpPolicy.NONE), MINUTE / 2, "queued"),
        (CatchUp(policy=CatchUpPolicy.NONE), 2 * MINUTE, "skipped"),
        (CatchUp(within=5 * MINUTE), 6 * MINUTE, "skipped"),
        (CatchUp(policy=CatchUpPolicy.ALL), 600 * MINUTE, "queued"),
    ],
)
def test_catch_up_says_how_late_it_may_start(
    place: Place, store: Store, catch_up: CatchUp, late: timedelta, status: str
) -> None:
    apply(store, desired("job", "other", catch_up=catch_up))
    fire(store)
    found = recovered(place, store, late=late)
    assert found.status == status
    if status == "skipped":
        assert (found.reason, found.attempts) == ("missed", ())
        assert "ended before the run started" in str(found.error)


def test_an_attempt_whose_process_was_never_to_be_started_is_taken_back(place: Place, store: Store) -> None:
    run = start(store, fire(store))
    assert run.task_sha256 == TASK.sha256
    again = recovered(place, store, late=MINUTE / 2)
    assert (again.status, again.attempts, again.started_at, again.task_sha256) == (RunStatus.QUEUED, (), None, None)
    job = store.read(queries.job, "job")
    assert job is not None
    assert job.runtime.run_count == 0, "it counts the runs that reached attempt 1"


def test_one_that_may_have_started_is_interrupted(place: Place, store: Store) -> None:
    run = start(store, fire(store))
    store.write(runs.mark_spawning, run, attempt=1)
    found = recovered(place, store, late=MINUTE / 2)
    assert (found.status, found.reason, len(found.attempts)) == (RunStatus.INTERRUPTED, "owner_died", 1)
    assert "before the run finished" in str(found.error)


def test_after_a_reboot_nobody_believes_that_an_attempt_was_not_marked(place: Place, store: Store) -> None:
    start(store, fire(store))
    with store.writing() as sql:
        sql.execute("UPDATE attempts SET boot_id = 'another'")
    assert recovered(place, store, late=MINUTE / 2).status is RunStatus.INTERRUPTED


def test_a_run_that_somebody_asked_for_is_not_made_up_for(place: Place, store: Store) -> None:
    run = claim(store)
    assert run.trigger is Trigger.MANUAL
    found = recovered(place, store, late=MINUTE / 2)
    assert (found.status, found.reason) == (RunStatus.INTERRUPTED, "owner_died")
    assert "ended before the run started" in str(found.error)
