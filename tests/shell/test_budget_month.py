"""A month of jobs with budgets: each slot has one row, and limits are exceeded only by what runs exceed their own."""

from __future__ import annotations

import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from scheduler.core.due.due import due
from scheduler.core.values.facts import Provenance, Task
from scheduler.core.values.problems import RefusedError
from scheduler.core.values.runs import Ending, Run, RunStatus, Trigger
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat
from scheduler.ledger import batches, claims, queries, runs, syncs
from scheduler.ledger.batches import Pinned
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.run import ends
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.fakes import FakeClock

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 2, 26, 12, tzinfo=UTC)  # the clocks change on March 29
DAYS = 36
PINNED = Pinned(generation=1, task=Task(text=b"hi", source_path="jobs/a.yaml", source=b"hi"), provenance=Provenance())
HOURS = {"a": 1, "b": 2, "c": 3, "d": 6, "e": 2, "free": 4}  # between two slots
PER_RUN = {"a": "0.10", "b": "0.25", "c": "1", "d": "0.5", "e": "0.2", "free": "0"}
PER_DAY = {"a": "1.50", "b": "2", "c": "3", "d": "1.2"}
PER_MONTH = {"a": "30", "c": "40", "e": "20"}
ROOT_DAY, ROOT_MONTH = Decimal(6), Decimal(120)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "scheduler.yaml").write_text(
        "version: 1\ntimezone: Europe/Berlin\nrunners: {cat: {command: [cat], result_format: claude}}\n"
        f"defaults: {{runner: cat, catch_up: none, retry: {{attempts: 3, delay: 1h, backoff: 1}}}}\n"
        f"budget: {{per_day: {ROOT_DAY}, per_month: {ROOT_MONTH}}}\n"
    )
    for job_id, hours in HOURS.items():
        limits = {"per_run": PER_RUN, "per_day": PER_DAY, "per_month": PER_MONTH}
        budget = ", ".join(f"{key}: {of[job_id]}" for key, of in limits.items() if job_id in of)
        text = f"id: {job_id}\nschedule: {{every: {hours}h}}\ntask: hi\nbudget: {{{budget}}}\n"
        (tmp_path / f"jobs/{job_id}.yaml").write_text(text)
    found = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    made = sync(Root(place=found, actor="user:test", environ=dict(os.environ), clock=FakeClock(START)))
    assert not made.problems
    return found


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with Store.open(place.db) as found:
        yield found


class Month:
    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.chance = store, random.Random(seed)
        self.under_way: list[tuple[datetime, Run]] = []  # with when their attempt ends
        self.tried = 0

    def live(self) -> None:
        now = START
        while now < START + timedelta(days=DAYS):
            now += timedelta(minutes=30)
            self._end(now)
            self._retry(now)
            self._claim(now)
        self._end(datetime.max.replace(tzinfo=UTC))

    def _claim(self, now: datetime) -> None:
        observed = self.store.read(syncs.observed)
        dues = [found for job in observed.jobs.values() if (found := due(job, now=now, since=START)) is not None]
        if not dues:
            return
        with self.store.writing(durable=False) as sql:  # as the clockwork does
            begun = batches.begin_due(sql, [(each, PINNED) for each in dues], owner="1-a", places=9, now=now)
            started = [run for run in begun if run is not None]
            rest = [each for each, run in zip(dues, begun, strict=True) if run is None]
            if rest:
                claims.claim_due(sql, rest, seen=observed.ticket, owner="1-a", max_running=99, now=now)
        self._started(started, now)

    def _started(self, found: list[Run], now: datetime) -> None:
        longest = self.chance.choice([1, 1, 1, 8])
        self.under_way += [(now + timedelta(minutes=self.chance.randint(1, 60 * longest)), run) for run in found]

    def _retry(self, now: datetime) -> None:
        for run in self.store.read(claims.retries_due, now):
            started = self.store.write(runs.start_retry, run, owner="1-a", now=now)
            assert started is not None
            self.tried += 1
            self._started([started], now)

    def _end(self, now: datetime) -> None:
        for at, run in [each for each in self.under_way if each[0] <= now]:
            self.under_way.remove((at, run))
            job = self.store.read(queries.job, run.job_id)
            assert job is not None
            ending = self._ending(Decimal(PER_RUN[run.job_id]))
            ends.end_attempt(self.store, run, ending, job, None, at)

    def _ending(self, per_run: Decimal) -> Ending:
        failed = self.chance.random() < 0.3
        status = RunStatus.FAILED if failed else RunStatus.SUCCEEDED
        if self.chance.random() < 0.15:
            return Ending(status=RunStatus.INTERRUPTED, output_bytes=0)  # nobody knows what it has cost
        amount = (per_run * self.chance.choice([0, 1, 3, 5, 8, 9, 10, 13]) / 10).quantize(Decimal("0.01"))
        cost = Cost(amount=amount, currency="USD", basis=CostBasis.REPORTED)
        ended = EndClass.TASK if failed else EndClass.OK
        agent = AgentResult(format=ResultFormat.CLAUDE, end_class=ended, cost=cost)
        return Ending(status=status, exit_code=int(failed), output_bytes=1, agent=agent)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_month_of_jobs_with_budgets(store: Store, seed: int) -> None:
    month = Month(store, seed)
    month.live()
    spent: defaultdict[tuple[str, date | str], Decimal] = defaultdict(Decimal)
    exceeded: defaultdict[tuple[str, date | str], Decimal] = defaultdict(Decimal)
    reasons = set[str | None]()
    for job_id, hours in HOURS.items():
        per_run = Decimal(PER_RUN[job_id])
        covered = list[datetime]()
        for run in store.read(queries.runs, job_id, limit=9_999):
            reasons.add(run.reason)
            assert run.fire_time is not None
            covered += [run.fire_time + n * timedelta(hours=hours) for n in range(run.slots)]
            if run.started_at is None or not run.status.finished:
                continue
            known = run.cost is not None
            charged = run.cost.amount if run.cost is not None else per_run
            assert len(run.attempts) == 1 or known or run.attempts[-1].cost is None
            day = run.started_at.astimezone(BERLIN).date()
            for key in ((job_id, day), (job_id, f"{day:%Y-%m}"), ("@root", day), ("@root", f"{day:%Y-%m}")):
                spent[key] += charged
                exceeded[key] += max(Decimal(0), charged - per_run)
        slots = (START + timedelta(days=DAYS) - START) // timedelta(hours=hours)
        assert len(covered) == len(set(covered)), "no slot has two rows"
        assert abs(len(covered) - slots) <= 1, "none has no row"
    limits: dict[tuple[str, bool], Decimal] = {("@root", True): ROOT_DAY, ("@root", False): ROOT_MONTH}
    limits |= {(job_id, True): Decimal(limit) for job_id, limit in PER_DAY.items()}
    limits |= {(job_id, False): Decimal(limit) for job_id, limit in PER_MONTH.items()}
    reached = 0
    for (whose, when), amount in spent.items():
        limit = limits.get((whose, isinstance(when, date)))
        if limit is not None:
            assert amount <= limit + exceeded[whose, when], (whose, when)
            reached += amount > limit * 3 / 4
    assert reached > DAYS, "the limits were what held the spending back"
    assert month.tried
    assert {"budget", None} <= reasons
    assert not any(run.reason == "budget" for run in store.read(queries.runs, "free", limit=9_999))


def test_claims_of_two_processes_never_pass_a_limit_together(place: Place) -> None:
    """Job c may spend 1 a run and 3 a day: of twelve runs by hand at once, three start."""
    there, found = threading.Barrier(4), list[str]()

    def ask() -> None:
        with Store.open(place.db) as mine:
            there.wait()
            for _ in range(3):
                try:
                    mine.write(
                        claims.claim_manual, "c", trigger=Trigger.MANUAL, requested_by="user:x", owner="1-a",
                        max_running=99, now=START,
                    )  # fmt: skip
                    found.append("started")
                except RefusedError as error:
                    found.append("budget" if "budget.per_day" in str(error) else str(error))

    (place.root / "jobs/c.yaml").write_text((place.root / "jobs/c.yaml").read_text() + "concurrency: allow\n")
    sync(Root(place=place, actor="user:test", environ=dict(os.environ), clock=FakeClock(START)))
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == ["budget"] * 9 + ["started"] * 3
