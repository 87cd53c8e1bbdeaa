"""The clockwork with a clock that tests move: a real database, and runs that end at once or when told to."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest

from scheduler.core.due.due import Due, start_of
from scheduler.core.times.fires import coming
from scheduler.core.values.facts import Job, Pause
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Ending, Run, RunStatus
from scheduler.core.values.settings import Settings
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.ledger import claims, queries, runs, syncs
from scheduler.ledger.store import Store
from scheduler.machine.clock import SystemClock
from scheduler.root.place import Place
from scheduler.service.jobs import list_jobs, show_job
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.fakes import FakeClock, FakeDuties, NotedEngine

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ROOT_FILE = "version: 1\nrunners: {cat: {command: [cat]}}\ndefaults: {runner: cat}\nlimits: {max_running: 3}\n"


@dataclass
class World:
    """One root, its database, and a clockwork whose runs are only noted."""

    seen: Root
    clock: FakeClock
    store: Store
    root: Path
    engine: NotedEngine = field(default_factory=NotedEngine)
    duties: FakeDuties = field(init=False)

    def __post_init__(self) -> None:
        self.duties = FakeDuties(self.clock, self.engine)

    def start(
        self, *, since: datetime | None = None, once: bool = False, away_from: datetime | None = None
    ) -> Clockwork:
        clockwork = Clockwork(
            clock=self.clock,
            owner="1-test",
            since=None if once else since or self.clock.now(),
            agenda=Agenda(),
            lend=lambda: Store.open(self.seen.place.db),
            duties=self.duties,
            away_from=away_from,
        )
        clockwork.reload(self.store)
        return clockwork

    def write(self, **jobs: str) -> None:
        for name, text in jobs.items():
            (self.root / f"jobs/{name}.yaml").write_text(text)
        sync(self.seen)

    def at(self, clockwork: Clockwork, moment: datetime) -> list[Run]:
        self.clock.moment = moment
        return clockwork.dispatch(self.store)

    def finish(self, run: Run) -> None:
        self.store.write(runs.finish, run, Ending(status=RunStatus.SUCCEEDED), now=self.clock.now())

    def rows(self, job_id: str) -> list[tuple[str, str | None, str, str, int]]:
        """status, reason, first and last slot, count; oldest first."""
        found = sorted(self.store.read(queries.runs, job_id), key=lambda run: run.fire_time or MIDNIGHT)
        return [
            (r.status.value, r.reason, f"{r.fire_time:%H:%M:%S}", f"{r.fire_time_last:%H:%M:%S}", r.slots)
            for r in found
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "scheduler.yaml").write_text(ROOT_FILE)
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    clock = FakeClock(MIDNIGHT - SECOND)
    seen = Root(place=place, actor="user:test", environ=dict(os.environ), clock=clock, absent_grace=timedelta(0))
    sync(seen)
    with Store.open(place.db) as store:
        yield World(seen=seen, clock=clock, store=store, root=tmp_path)


def job(job_id: str, schedule: str) -> str:
    return f"id: {job_id}\nschedule: {schedule}\ntask: hi\n"


def test_a_day_of_jobs_fires_every_slot_once_at_its_instant(world: World) -> None:
    world.write(
        hourly=job("hourly", '"0 * * * *"'),
        berlin=job("berlin", '{cron: "30 9 * * *", timezone: Europe/Berlin}'),
        quarter=job("quarter", "{every: 15m}"),
        late=job("late", "{every: 6h, jitter: 20s}"),
        once=job("once", '{at: "2026-03-02T17:00:00Z"}'),
        off=job("off", "{every: 1m}") + "enabled: false\n",
    )
    clockwork = world.start()
    end = MIDNIGHT + timedelta(days=1) - SECOND
    lateness = []
    while (start := clockwork.next_start) is not None and start <= end:
        for run in world.at(clockwork, start):
            assert run.fire_time is not None
            lateness.append((run.job_id, start - run.fire_time))
            world.finish(run)
    assert Counter(run.job_id for run in world.engine.submitted) == {
        "hourly": 24, "quarter": 96, "late": 4, "berlin": 1, "once": 1,
    }  # fmt: skip
    for each in world.store.read(queries.jobs):
        expected = coming(each.file.spec.schedule, after=MIDNIGHT - SECOND, until=end) if each.id != "off" else []
        assert [run.fire_time for run in reversed(world.store.read(queries.runs, each.id))] == expected, each.id
    assert {late for job_id, late in lateness if job_id != "late"} == {timedelta(0)}
    assert all(timedelta(0) < late < 20 * SECOND for job_id, late in lateness if job_id == "late")
    assert show_job(world.seen, "once")["job"]["status"] == "completed"


def test_claims_of_one_instant_are_one_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(**{f"j{i}": job(f"j{i}", "{every: 1h}") for i in range(3)})
    clockwork = world.start()
    calls: list[int] = []
    claimed = claims.claim_due

    def claim_due(sql: Connection, dues: list[Due], **kwargs: Any) -> object:
        calls.append(len(dues))
        return claimed(sql, dues, **kwargs)

    monkeypatch.setattr(claims, "claim_due", claim_due)
    assert len(world.at(clockwork, MIDNIGHT)) == 3
    assert calls == [3]


def test_a_slot_whose_job_still_runs_is_an_overlap_and_consecutive_ones_share_a_row(world: World) -> None:
    world.write(slow=job("slow", "{every: 1m}"))
    clockwork = world.start()
    (run,) = world.at(clockwork, MIDNIGHT)
    for minute in (1, 2, 3):
        assert world.at(clockwork, MIDNIGHT + timedelta(minutes=minute)) == []
    world.finish(run)
    (again,) = world.at(clockwork, MIDNIGHT + timedelta(minutes=4))
    world.finish(again)
    assert world.rows("slow") == [
        ("succeeded", None, "00:00:00", "00:00:00", 1),
        ("skipped", "overlap", "00:01:00", "00:03:00", 3),
        ("succeeded", None, "00:04:00", "00:04:00", 1),
    ]
    found = show_job(world.seen, "slow")["job"]
    assert (found["consecutive_errors"], found["last_skip_reason"]) == (0, "overlap")


def test_what_finds_the_house_full_is_queued_without_an_owner(world: World) -> None:
    world.write(**{f"j{i}": job(f"j{i}", "{every: 1h}") for i in range(5)})
    clockwork = world.start()
    found = world.at(clockwork, MIDNIGHT)
    assert [run.status.value for run in found] == ["claimed"] * 3 + ["queued"] * 2
    assert [(each.run.id, each.owner) for each in world.store.read(runs.active)][3:] == [("j3:1", None), ("j4:1", None)]
    assert [run.id for run in world.store.read(claims.queued)] == ["j3:1", "j4:1"]
    world.at(clockwork, MIDNIGHT + timedelta(hours=1))
    assert world.rows("j4")[1][:2] == ("skipped", "overlap"), "a run that waits is under way"


def test_of_one_instant_those_that_have_not_run_for_longest_are_started(world: World) -> None:
    world.write(**{f"j{i}": job(f"j{i}", "{every: 1h}") for i in range(5)})
    clockwork = world.start()
    for run in world.at(clockwork, MIDNIGHT)[:3]:
        world.finish(run)
        with world.store.writing() as sql:
            sql.execute("UPDATE jobs SET last_run_at = '2026-03-02T00:00:00.000000Z' WHERE id = ?", (run.job_id,))
    for run in world.store.read(claims.queued):
        world.store.write(runs.skip, run, reason="capacity", message="", fault=False, now=world.clock.now())
    found = world.at(clockwork, MIDNIGHT + timedelta(hours=1))
    assert [(run.job_id, run.status.value) for run in found] == [
        ("j3", "claimed"),
        ("j4", "claimed"),
        ("j0", "claimed"),
        ("j1", "queued"),
        ("j2", "queued"),
    ]
    listed = list_jobs(world.seen)
    assert (
        "skipped, because the limit of concurrent runs was reached for too long (limits.max_running): j3, j4"
        in listed["troubles"]
    )


def test_a_queued_run_survives_its_daemon(world: World) -> None:
    world.write(**{f"j{i}": job(f"j{i}", "{every: 1h}") for i in range(4)})
    world.at(world.start(), MIDNIGHT)
    recovered = world.seen.recover(world.store)  # the owner "1-test" holds no lock: it is dead
    assert sorted(run.id for run in recovered) == ["j0:1", "j1:1", "j2:1"]
    assert {run.status.value for run in recovered} == {"queued"}, "none of them was started: they wait for their turn"
    assert sorted(run.id for run in world.store.read(claims.queued)) == ["j0:1", "j1:1", "j2:1", "j3:1"]


def test_a_restart_makes_one_missed_row_of_the_slots_between(world: World) -> None:
    world.write(tick=job("tick", "{every: 10s}") + "catch_up: none\n")
    (run,) = world.at(world.start(), MIDNIGHT)
    world.finish(run)
    world.clock.moment = MIDNIGHT + timedelta(hours=1, seconds=5)
    world.start().dispatch(world.store)
    assert world.rows("tick")[1:] == [("skipped", "missed", "00:00:10", "01:00:00", 360)]
    world.clock.moment += timedelta(minutes=1)
    world.start().dispatch(world.store)
    assert world.rows("tick")[1:] == [("skipped", "missed", "00:00:10", "01:01:00", 366)], "they share their row"


def test_a_restart_catches_up_with_the_latest_slot_until_a_newer_one_comes(world: World) -> None:
    world.write(tick=job("tick", "{every: 10s}"))
    (run,) = world.at(world.start(), MIDNIGHT)
    world.finish(run)
    world.clock.moment = MIDNIGHT + timedelta(hours=1, seconds=5)
    clockwork = world.start()
    (late,) = clockwork.dispatch(world.store)
    assert (late.trigger.value, late.status.value, late.reason) == ("catch_up", "queued", "outage")
    assert world.rows("tick")[1:] == [
        ("skipped", "missed", "00:00:10", "00:59:50", 359),
        ("queued", "outage", "01:00:00", "01:00:00", 1),
    ]
    (now,) = world.at(clockwork, MIDNIGHT + timedelta(hours=1, seconds=10))
    assert (now.trigger.value, now.status.value) == ("schedule", "queued"), "something waited, so it does not pass it"
    assert [run.id for run in world.engine.gave_way] == [late.id]
    assert [row[:3] for row in world.rows("tick")[2:]] == [
        ("skipped", "missed", "01:00:00"), ("queued", None, "01:00:10"),
    ]  # fmt: skip


@pytest.mark.parametrize(("away", "reason"), [(timedelta(hours=6), "outage"), (timedelta(minutes=4), None)])
def test_what_was_missed_at_the_end_of_a_long_night_is_paced_though_it_is_not_old(
    world: World, away: timedelta, reason: str | None
) -> None:
    world.write(**{f"dawn{n}": job(f"dawn{n}", "{every: 1d}") for n in range(2)})
    world.clock.moment = MIDNIGHT + timedelta(minutes=2)
    found = world.start(away_from=world.clock.moment - away).dispatch(world.store)
    assert [(run.trigger.value, run.reason) for run in found] == [("catch_up", reason)] * 2


def test_a_machine_that_slept_for_long_is_paced_and_a_regular_slot_afterwards_is_not(world: World) -> None:
    world.write(dawn=job("dawn", "{every: 1d}"), tick=job("tick", "{cron: '5 0 * * *', timezone: UTC}"))
    clockwork = world.start()
    world.clock.moment = MIDNIGHT - timedelta(hours=6)
    assert clockwork.dispatch(world.store) == []
    (late,) = world.at(clockwork, MIDNIGHT + timedelta(minutes=2))
    assert (late.trigger.value, late.reason) == ("catch_up", "outage")
    (now,) = world.at(clockwork, MIDNIGHT + timedelta(minutes=5))
    assert (now.trigger.value, now.reason) == ("schedule", None)


def test_all_missed_slots_wait_in_their_order_and_what_comes_due_meanwhile_joins_them(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}") + "catch_up: all\n")
    world.clock.moment = MIDNIGHT + timedelta(minutes=3, seconds=5)
    clockwork = world.start()
    late = clockwork.dispatch(world.store)
    assert [(run.trigger.value, run.status.value, run.reason) for run in late] == [("catch_up", "queued", None)] * 4
    (next_one,) = world.at(clockwork, MIDNIGHT + timedelta(minutes=4))
    assert (next_one.trigger.value, next_one.status.value) == ("schedule", "queued")
    assert [row[2] for row in world.rows("tick")] == [f"00:0{n}:00" for n in range(5)]


def test_a_newer_slot_replaces_what_runs(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}") + "concurrency: replace\n")
    clockwork = world.start()
    (first,) = world.at(clockwork, MIDNIGHT)
    assert first.status.value == "claimed"
    (second,) = world.at(clockwork, MIDNIGHT + timedelta(minutes=1))
    assert (second.status.value, world.engine.replaced) == ("queued", [first.id])


def test_a_pause_and_a_resume_count_at_once_and_leave_one_row(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    clockwork = world.start()
    pause_job(world.seen, "tick", reason="deploy")
    for minute in range(3):
        assert world.at(clockwork, MIDNIGHT + timedelta(minutes=minute)) == []
    world.clock.moment = MIDNIGHT + timedelta(minutes=2, seconds=30)
    resume_job(world.seen, "tick")
    (run,) = world.at(clockwork, MIDNIGHT + timedelta(minutes=3))
    assert run.fire_time == MIDNIGHT + timedelta(minutes=3)
    assert world.rows("tick")[0] == ("skipped", "paused", "00:00:00", "00:02:00", 3)


def test_a_pause_without_a_daemon_is_settled_when_it_is_lifted(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    pause_job(world.seen, "tick")
    world.clock.moment = MIDNIGHT + timedelta(minutes=5)
    resume_job(world.seen, "tick")
    assert world.rows("tick") == [("skipped", "paused", "00:00:00", "00:05:00", 6)]
    world.start().dispatch(world.store)
    assert len(world.rows("tick")) == 1, "nothing of it is missed"


def test_an_edit_between_reload_and_claim_is_noticed(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    clockwork = world.start()
    world.write(tick=job("tick", "{every: 7m}"))  # nobody told the clockwork
    assert world.at(clockwork, MIDNIGHT) == [], "midnight is no multiple of seven minutes"
    assert clockwork.next_start == world.store.read(queries.jobs)[0].next_run_at


def test_a_job_added_later_fires_without_a_restart(world: World) -> None:
    clockwork = world.start()
    assert clockwork.next_start is None
    world.write(tick=job("tick", "{every: 1m}"))
    clockwork.reload(world.store)
    assert [run.id for run in world.at(clockwork, MIDNIGHT)] == ["tick:1"]


def test_an_archived_job_does_not_fire(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"), other=job("other", "{every: 1h}"))
    clockwork = world.start()
    (world.root / "jobs/tick.yaml").unlink()
    sync(world.seen)
    clockwork.reload(world.store)
    assert [run.job_id for run in world.at(clockwork, MIDNIGHT)] == ["other"]


def test_slots_about_to_be_replaced_are_claimed_before_their_start(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m, jitter: 20s}"), other=job("other", "{every: 1m, jitter: 20s}"))
    clockwork = world.start()
    world.clock.moment = MIDNIGHT + timedelta(milliseconds=1)
    assert clockwork.dispatch(world.store) == []
    (run,) = clockwork.dispatch(world.store, only=["tick"], until=world.clock.moment)
    assert run.fire_time == MIDNIGHT
    assert world.rows("other") == []


def test_where_it_may_not_fire_nothing_is_written_and_later_slots_were_missed(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    world.duties.allowed = False
    clockwork = world.start()
    assert clockwork.next_start is None
    assert world.at(clockwork, MIDNIGHT + timedelta(seconds=30)) == []
    assert world.rows("tick") == []
    world.duties.allowed = True
    clockwork.reload(world.store)
    assert world.at(clockwork, world.clock.moment) == []
    assert world.rows("tick") == [("skipped", "missed", "00:00:00", "00:00:00", 1)]
    assert len(world.at(clockwork, MIDNIGHT + timedelta(minutes=1))) == 1


def test_once_serves_the_newest_slot_within_its_window(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"), daily=job("daily", '"0 0 * * *"'))
    world.clock.moment = MIDNIGHT + timedelta(hours=3, seconds=10)
    runs = world.start(once=True).dispatch(world.store)
    assert [(run.job_id, instant(run.fire_time or MIDNIGHT)) for run in runs] == [("tick", "2026-03-02T03:00:00Z")]
    assert world.rows("daily") == [("skipped", "missed", "00:00:00", "00:00:00", 1)]
    assert world.rows("tick")[0] == ("skipped", "missed", "00:00:00", "02:59:00", 180)


def test_one_job_that_cannot_be_claimed_keeps_no_other_from_firing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(bad=job("bad", '{cron: "0 * * * *", timezone: Europe/Berlin}'), good=job("good", "{every: 1h}"))
    clockwork = world.start()
    real = claims.claim_due

    def claim_due(sql: Connection, dues: list[Due], **kwargs: Any) -> object:
        if any(each.job.id == "bad" for each in dues):
            raise ValueError("out of order")
        return real(sql, dues, **kwargs)

    monkeypatch.setattr(claims, "claim_due", claim_due)
    assert [run.job_id for run in world.at(clockwork, MIDNIGHT)] == ["good"]
    assert "job_not_fired job_id=bad" in caplog.text
    assert [run.job_id for run in world.at(clockwork, MIDNIGHT + timedelta(hours=1))] == []


def test_what_is_claimed_by_itself_is_handed_over_whatever_becomes_of_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(bad=job("bad", "{every: 1h}"), first=job("a", "{every: 1h}"), last=job("z", "{every: 1h}"))
    clockwork = world.start()
    real = claims.claim_due

    def claim_due(sql: Connection, dues: list[Due], **kwargs: Any) -> object:
        if any(each.job.id == "bad" for each in dues):
            raise ValueError("out of order")
        if dues[0].job.id == "z":
            raise UnavailableError("locked")
        return real(sql, dues, **kwargs)

    monkeypatch.setattr(claims, "claim_due", claim_due)
    with pytest.raises(UnavailableError):
        world.at(clockwork, MIDNIGHT)
    assert [run.job_id for run in world.engine.submitted] == ["a"]
    monkeypatch.setattr(claims, "claim_due", real)
    world.at(clockwork, MIDNIGHT)
    assert [run.job_id for run in world.engine.submitted] == ["a", "z"]


def test_a_database_that_is_gone_stops_the_claims(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    clockwork = world.start()
    world.duties.trouble = "the database is gone"
    with pytest.raises(UnavailableError, match="is gone"):
        world.at(clockwork, MIDNIGHT)
    assert world.rows("tick") == []
    world.duties.trouble = ""
    assert len(world.at(clockwork, MIDNIGHT + SECOND)) == 1


def test_the_thread_wakes_for_a_poke_and_ends_when_stopped(world: World) -> None:
    """With the system's clock: a job that comes while it sleeps is claimed, and a stop ends it at once."""
    world.clock.moment = datetime.now(UTC)
    claimed = threading.Event()
    world.engine.submitted = []
    agenda = Agenda()
    clockwork = threaded(world, lambda runs: claimed.set() if runs else None, agenda=agenda)
    clockwork.loop.start()
    try:
        world.write(tick=job("tick", "{every: 1s}"))
        agenda.poke()
        assert claimed.wait(30)
    finally:
        clockwork.stop()
        clockwork.loop.join(30)
    assert clockwork.loop.hang == "the clockwork thread has ended"


def test_the_thread_says_once_that_nothing_fires_and_goes_on_when_it_can(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(tick=job("tick", "{every: 1s}"))
    opened = threading.Event()
    fail = [UnavailableError("locked"), UnavailableError("locked")]

    def open_store() -> Store:
        if fail:
            raise fail.pop()
        return Store.open(world.seen.place.db)

    clockwork = threaded(world, lambda _: opened.set(), lend=open_store)
    clockwork.loop.start()
    try:
        assert opened.wait(30)
    finally:
        clockwork.stop()
        clockwork.loop.join(30)
    assert caplog.text.count("firing_stopped reason=locked") == 1
    assert caplog.text.count("firing_resumed") == 1


def threaded(
    world: World,
    taken: Callable[[list[Run]], None],
    *,
    agenda: Agenda | None = None,
    lend: Callable[[], Store] | None = None,
) -> Clockwork:
    """One that goes by the system's clock."""
    clock = SystemClock()
    return Clockwork(
        clock=clock,
        owner="1-test",
        since=datetime.now(UTC),
        agenda=Agenda() if agenda is None else agenda,
        lend=lend or (lambda: Store.open(world.seen.place.db)),
        duties=FakeDuties(clock, NotedEngine(taken=taken)),
    )


# -- the agenda --------------------------------------------------------------------------------


def test_an_agenda_keeps_only_the_newest_word_on_a_job(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"), other=job("other", "{every: 1h}"))
    tick, other = world.store.read(queries.jobs)[1], world.store.read(queries.jobs)[0]
    agenda = Agenda()
    for _ in range(3):
        agenda.put(tick)
        agenda.put(other)
    assert [found.id for found in agenda.started(MIDNIGHT)] == ["other", "tick"]
    assert [found.id for found in agenda.started(MIDNIGHT)] == ["other", "tick"], "until they are put elsewhere"
    agenda.drop("other")
    assert [found.id for found in agenda.started(MIDNIGHT)] == ["tick"]
    assert agenda.started(MIDNIGHT - SECOND) == []


def test_an_agenda_forgets_a_job_that_is_archived_until_it_comes_back(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    (tick,) = world.store.read(queries.jobs)
    agenda = Agenda()
    agenda.put(tick)
    agenda.put(replace(tick, file=replace(tick.file, archived_at=MIDNIGHT)))
    assert (agenda.get("tick"), agenda.next_start) == (None, None)
    agenda.put(tick)
    assert [found.id for found in agenda.started(MIDNIGHT)] == ["tick"]


def test_settings_and_pauses_are_read_only_as_far_as_they_changed(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"), other=job("other", "{every: 1h}"))
    observed = world.store.read(syncs.observed)
    assert world.store.read(syncs.observed, since=observed.ticket).jobs == {}
    pause_job(world.seen, "tick")
    changed = world.store.read(syncs.observed, since=observed.ticket)
    assert list(changed.jobs) == ["tick"]
    assert isinstance(changed.jobs["tick"].pause, Pause)
    assert isinstance(changed.settings, Settings)


def test_a_job_is_read_when_it_is_needed_and_not_before(world: World) -> None:
    world.write(tick=job("tick", "{every: 1h}"), other=job("other", "{every: 1h}"))
    jobs = world.store.read(syncs.observed).jobs
    read: list[list[str]] = []

    def some(job_ids: Sequence[str]) -> dict[str, Job]:
        read.append(sorted(job_ids))
        return {job_id: jobs[job_id] for job_id in job_ids}

    agenda = Agenda(read=some)
    agenda.put_starts({each.id: start_of(each) for each in jobs.values()})
    assert (len(agenda), agenda.next_start, read) == (2, MIDNIGHT, [])
    assert [found.id for found in agenda.started(MIDNIGHT)] == ["other", "tick"]
    assert agenda.get("tick") == jobs["tick"]
    assert agenda.get("nobody") is None
    assert read == [["other", "tick"]]
    agenda.put_starts({"tick": MIDNIGHT + SECOND})
    assert [found.id for found in agenda.started(MIDNIGHT)] == ["other"]
    assert agenda.get("tick") == jobs["tick"]
    assert read == [["other", "tick"], ["tick"]]


def test_a_job_that_changes_while_it_is_read_is_not_kept_as_it_was(world: World) -> None:
    world.write(tick=job("tick", "{every: 1h}"))
    old = world.store.read(syncs.observed).jobs["tick"]
    new = replace(old, file=replace(old.file, generation=2))

    def slowly(job_ids: Sequence[str]) -> dict[str, Job]:
        agenda.put(new)  # meanwhile, by the thread of the clockwork
        return {"tick": old}

    agenda = Agenda(read=slowly)
    agenda.put_starts({"tick": MIDNIGHT})
    assert agenda.get("tick") == new


def test_an_agenda_of_many_lets_go_of_those_that_start_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.daemon.agenda._MOST_READ", 1)
    world.write(tick=job("tick", "{every: 1h}"), other=job("other", "{every: 1d}"))
    jobs = world.store.read(syncs.observed).jobs
    read: list[list[str]] = []

    def some(job_ids: Sequence[str]) -> dict[str, Job]:
        read.append(list(job_ids))
        return {job_id: jobs[job_id] for job_id in job_ids}

    agenda = Agenda(read=some)
    for each in jobs.values():
        agenda.put(each)
    soon = min(start for each in jobs.values() if (start := start_of(each)) is not None)
    agenda.put(replace(jobs["tick"], next_run_at=soon))
    agenda.put(replace(jobs["other"], next_run_at=soon + timedelta(days=1)))
    agenda.trim(soon)
    assert agenda.get("tick") is not None
    assert read == []
    assert agenda.get("other") is not None
    assert read == [["other"]]


# -- faults --------------------------------------------------------------------------------------


def test_a_database_whose_cursor_is_not_the_one_that_was_seen_is_read_anew(world: World) -> None:
    """A copy was put back into the same file: no ticket tells, and the same claim would fail for ever."""
    world.write(tick=job("tick", "{every: 1m}"))
    clockwork = world.start()
    first = MIDNIGHT + timedelta(minutes=1)
    raw = sqlite3.connect(world.store.path)
    raw.execute("UPDATE jobs SET next_run_at = '2026-03-02T00:00:00.000000Z'")
    raw.commit()
    raw.close()
    runs = world.at(clockwork, first)
    assert [run.fire_time for run in runs] == [first]
    assert [row[:2] for row in world.rows("tick")] == [("skipped", "missed"), ("claimed", None)]


def test_a_trouble_is_told_once_also_where_two_take_turns(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    clockwork = world.start()
    with caplog.at_level("WARNING", logger="scheduler"):
        for trouble in ("full", "locked", "full", "locked", "", "", "full"):
            clockwork.loop.fail(UnavailableError(trouble)) if trouble else clockwork.loop.succeed()
            assert clockwork.loop.trouble == trouble
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "firing_stopped reason=full",
        "firing_stopped reason=locked",
        "firing_resumed",
        "firing_stopped reason=full",
    ]


def test_who_asks_for_the_next_start_does_not_wait_for_a_claim(world: World) -> None:
    world.write(tick=job("tick", "{every: 1m}"))
    clockwork = world.start()
    known = clockwork.next_start
    claiming, done = threading.Event(), threading.Event()

    def claim() -> None:
        with clockwork._claiming:
            claiming.set()
            assert done.wait(60)

    thread = threading.Thread(target=claim)
    thread.start()
    assert claiming.wait(60)
    assert clockwork.next_start == known
    assert not done.is_set()
    done.set()
    thread.join()
