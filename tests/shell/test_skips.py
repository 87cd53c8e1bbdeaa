"""Claimed runs whose check found nothing to do: slots that follow each other share a row (F4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.values.runs import Ending, Run, RunStatus
from scheduler.ledger import gc, queries, runs, syncs
from scheduler.ledger.skips import skip_alike
from scheduler.ledger.store import Store
from tests.shell.test_store import NOW, TASK, apply, claim, desired, fire, start

REASON = "nothing_to_do"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state.db") as found:
        apply(found, desired("job"))
        yield found


def skip(store: Store, run: Run) -> Run:
    return store.write(skip_alike, run, reason=REASON, now=NOW)


def told(store: Store) -> list[tuple[int, str, int]]:
    """Number, reason or status, and slots of each row, oldest first."""
    return [(run.n, run.reason or run.status.value, run.slots) for run in reversed(store.read(queries.runs, "job"))]


def test_slots_in_a_row_share_one_and_the_numbers_of_the_others_are_not_given_again(store: Store) -> None:
    first = fire(store)
    assert skip(store, first).n == 1
    *_, found = [skip(store, fire(store)) for _ in range(3)]
    assert (found.n, found.slots, found.fire_time, found.error) == (1, 4, first.fire_time, None)
    assert found.fire_time is not None
    assert found.fire_time_last == found.fire_time + 3 * timedelta(hours=1)
    assert told(store) == [(1, REASON, 4)]
    assert fire(store).n == 5
    job = store.read(queries.job, "job")
    assert job is not None
    assert (job.runtime.run_count, job.runtime.consecutive_errors) == (0, 0)
    assert (job.last_skip_reason, job.last_slot) == (REASON, job.next_run_at and job.next_run_at - timedelta(hours=1))


def test_a_run_in_between_begins_another_row(store: Store) -> None:
    skip(store, fire(store))
    run = start(store, fire(store))
    store.write(runs.finish, run, Ending(status=RunStatus.SUCCEEDED), now=NOW)
    skip(store, fire(store))
    skip(store, fire(store))
    assert told(store) == [(1, REASON, 1), (2, "succeeded", 1), (3, REASON, 2)]


def test_another_reason_begins_another_row(store: Store) -> None:
    skip(store, fire(store))
    store.write(runs.skip, fire(store), reason="check_failed", message="it failed", fault=True, now=NOW)
    skip(store, fire(store))
    assert told(store) == [(1, REASON, 1), (2, "check_failed", 1), (3, REASON, 1)]


def test_another_definition_begins_another_row(store: Store) -> None:
    skip(store, fire(store))
    apply(store, desired("job", name="other"))
    skip(store, fire(store))
    assert told(store) == [(1, REASON, 1), (2, REASON, 1)]


def test_checks_that_end_in_another_order_leave_each_slot_one_row(store: Store) -> None:
    """With concurrency allow, the check of a newer slot may end first."""
    with store._connection as sql:
        sql.execute("UPDATE definitions SET spec = json_set(spec, '$.concurrency', 'allow')")
    zeroth, older, newer = fire(store), fire(store), fire(store)
    skip(store, zeroth)
    skip(store, newer)
    assert told(store) == [(1, REASON, 1), (2, "claimed", 1), (3, REASON, 1)], "the older one stands between"
    skip(store, older)
    assert told(store) == [(1, REASON, 1), (2, REASON, 1), (3, REASON, 1)]
    covered = [(run.fire_time, run.fire_time_last) for run in store.read(queries.runs, "job")]
    assert all(first == last for first, last in covered)


def test_a_manual_run_keeps_its_row(store: Store) -> None:
    skip(store, fire(store))
    skip(store, claim(store))
    assert told(store) == [(1, REASON, 1), (2, REASON, 1)]


def test_what_has_ended_meanwhile_stays_as_it_is(store: Store) -> None:
    skip(store, fire(store))
    run = fire(store)
    store.write(runs.finish, run, Ending(status=RunStatus.CANCELLED, reason="cancelled"), now=NOW)
    assert skip(store, run).status is RunStatus.CANCELLED
    assert told(store) == [(1, REASON, 1), (2, "cancelled", 1)]


def test_a_waiting_run_takes_a_place_for_its_check_unless_somebody_has_ended_it(store: Store) -> None:
    run = fire(store)
    store.write(runs.take_back, run, now=NOW)
    (waiting,) = store.read(queries.active_runs)
    taken = store.write(runs.take, waiting, owner="9-me")
    assert taken is not None
    assert (taken.status, taken.attempts) == (RunStatus.CLAIMED, ())
    (owned,) = store.read(runs.owned, but="")
    assert owned.owner == "9-me"
    store.write(runs.take_back, taken, now=NOW)
    store.write(runs.finish, taken, Ending(status=RunStatus.CANCELLED), now=NOW)
    assert store.write(runs.take, waiting, owner="9-me") is None


def test_what_a_check_printed_is_kept_as_long_as_its_run_and_forgotten_if_the_run_never_began(store: Store) -> None:
    def begin(run: Run) -> Run:
        return store.write(
            runs.start_attempt,
            run,
            n=1,
            owner="o",
            generation=1,
            task=TASK,
            provenance=run.provenance,
            check_output=b"3 mails\n",
            now=NOW,
        )

    run = begin(fire(store))
    assert run.check_sha256 is not None
    assert store.read(queries.text_of, run.check_sha256, store.path) == b"3 mails\n"
    assert store.read(gc.unused_texts)[0] == []
    store.write(runs.take_back, run, now=NOW)
    assert store.read(queries.active_runs)[0].check_sha256 is None
    assert set(store.read(gc.unused_texts)[0]) == {run.check_sha256, TASK.sha256}
    assert store.read(syncs.observed).jobs.keys() == {"job"}
