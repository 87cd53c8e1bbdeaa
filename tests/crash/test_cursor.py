"""A slot is claimed between a pass's reading and its writing: the cursor never goes back over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.due.due import due
from scheduler.core.plan.desired import Desired
from scheduler.core.plan.plan import Plan, plan
from scheduler.core.values.spec import Schedule
from scheduler.ledger import claims, queries, syncs
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.store import Store
from scheduler.ledger.syncs import Observed
from tests.shell.test_store import NOW, apply, desired

LATER = NOW + timedelta(minutes=30, seconds=1)  # a second after the first slot


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state.db") as opened:
        apply(opened, desired("hello", "other"))
        yield opened


def planned(observed: Observed, wanted: Desired) -> Plan:
    return plan(wanted, observed.jobs, previous=observed.settings, now=LATER)


def claim(store: Store, observed: Observed) -> None:
    owed = due(observed.jobs["hello"], now=LATER, since=NOW)
    assert owed is not None
    store.write(claims.claim_due, [owed], seen=observed.ticket, owner="o", max_running=1, now=LATER)


def applied(store: Store, found: Plan, observed: Observed) -> bool:
    try:
        store.write(syncs.apply, found, ticket=observed.ticket, audit=(), now=LATER, actor="user:test")
    except StaleError:
        return False
    return True


def rescheduled() -> Desired:
    wanted = desired("hello", "other")
    first, *others = wanted.found
    spec = first.document.spec
    assert spec is not None
    spec = replace(spec, schedule=Schedule(timezone="UTC", every=timedelta(hours=2)))
    return replace(wanted, found=(replace(first, document=replace(first.document, spec=spec)), *others))


def test_an_edit_that_leaves_the_schedule_alone_leaves_the_cursor_to_the_claim(store: Store) -> None:
    observed = store.read(syncs.observed)
    found = planned(observed, desired("hello", "other", name="renamed"))
    claim(store, observed)
    assert applied(store, found, observed)
    job = store.read(queries.job, "hello")
    assert job is not None
    assert job.file.spec.name == "renamed"
    assert job.last_slot is not None
    assert job.next_run_at == job.last_slot + timedelta(hours=1)


@pytest.mark.parametrize("wanted", [rescheduled(), desired("other")], ids=["new schedule", "archived"])
def test_a_new_schedule_planned_before_a_claim_is_stale(store: Store, wanted: Desired) -> None:
    observed = store.read(syncs.observed)
    found = planned(observed, wanted)
    claim(store, observed)
    before = store.read(queries.job, "hello")
    assert not applied(store, found, observed)
    assert store.read(queries.job, "hello") == before
    again = store.read(syncs.observed)
    assert applied(store, planned(again, wanted), again)
