"""A clock that tests set, a real database, and a clockwork on both: no slot twice, none lost (F6)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from scheduler.core.times.fires import coming, start_delay
from scheduler.core.values.problems import UnavailableError
from scheduler.core.values.runs import Ending, Run, RunStatus
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.daemon.timekeeper import Timekeeper
from scheduler.ledger import audit, claims, queries, runs
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.root import Root
from scheduler.service.sync import sync
from tests.fakes import FakeClock, FakeDuties, NotedEngine
from tests.helpers import until

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
ROOT_FILE = "version: 1\nrunners: {cat: {command: [cat]}}\ndefaults: {runner: cat, catch_up: none}\n"


@dataclass
class World:
    """One root, its database, and the part of a daemon that goes by the clock."""

    seen: Root
    clock: FakeClock
    store: Store
    root: Path
    good: bool | None = False
    runs: list[Run] = field(default_factory=list)
    engine: NotedEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = NotedEngine(9, taken=self.runs.extend)

    def start(self) -> tuple[Clockwork, Timekeeper]:
        keeper = Timekeeper(self.clock, good=lambda: self.good)
        keeper.begin(self.store)
        clockwork = Clockwork(
            clock=self.clock,
            owner="1-test",
            since=self.clock.now(),
            agenda=Agenda(),
            lend=lambda: Store.open(self.store.path),
            duties=FakeDuties(self.clock, self.engine, keeper),
        )
        clockwork.reload(self.store)
        return clockwork, keeper

    def turn(self, clockwork: Clockwork) -> list[Run]:
        """What the thread does at one turn; the runs have ended."""
        clockwork.repair_clock(self.store)
        found = list(clockwork.dispatch(self.store))
        for run in found:
            self.store.write(runs.finish, run, Ending(status=RunStatus.SUCCEEDED), now=self.clock.now())
        return found

    def live(self, clockwork: Clockwork, until: datetime, *, by: timedelta = MINUTE) -> None:
        """Time passes in turns."""
        while self.clock.moment < until:
            self.clock.advance(min(by, until - self.clock.moment))
            self.turn(clockwork)
            self.turn(clockwork)

    def write(self, **jobs: str) -> None:
        for name, schedule in jobs.items():
            (self.root / f"jobs/{name}.yaml").write_text(f"id: {name}\nschedule: {schedule}\ntask: hi\n")
        sync(self.seen)

    def rows(self, job_id: str) -> list[tuple[str, str | None, str, str, int]]:
        """status, reason, first and last slot, count; oldest first, void ones last."""
        found = sorted(
            self.store.read(queries.runs, job_id), key=lambda r: (r.reason == "void", r.fire_time or MIDNIGHT)
        )
        return [(r.status.value, r.reason, _hour(r.fire_time), _hour(r.fire_time_last), r.slots) for r in found]

    def covered(self, job_id: str) -> Counter[datetime]:
        """Every slot that has a row which counts, by our own count."""
        job = self.store.read(queries.job, job_id)
        assert job is not None
        found: Counter[datetime] = Counter()
        for run in self.store.read(queries.runs, job_id):
            if run.reason != "void" and run.fire_time is not None and run.fire_time_last is not None:
                slots = coming(job.file.spec.schedule, after=run.fire_time - SECOND, until=run.fire_time_last)
                assert len(slots) == run.slots, run
                found.update(slots)
        return found


def _hour(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%H:%M}"


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


def once_each(world: World, job_id: str, until: datetime) -> None:
    job = world.store.read(queries.job, job_id)
    assert job is not None
    expected = coming(job.file.spec.schedule, after=MIDNIGHT - SECOND, until=until)
    assert world.covered(job_id) == Counter(expected)
    ran = [run.fire_time for run in world.runs if run.job_id == job_id]
    assert len(ran) == len(set(ran)), "no slot runs twice"


def test_a_clock_that_goes_ahead_and_back_again_voids_the_skips_and_every_slot_runs(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    clockwork, _ = world.start()
    world.live(clockwork, MIDNIGHT + 90 * MINUTE)
    world.clock.step(50 * MINUTE)  # to 02:20, under an hour: believed
    world.clock.advance(40 * MINUTE)  # 03:00
    world.turn(clockwork)
    assert world.rows("hourly")[2:] == [
        ("skipped", "missed", "02:00", "02:00", 1), ("succeeded", None, "03:00", "03:00", 1),
    ]  # fmt: skip
    world.clock.step(-80 * MINUTE)  # to 01:40
    world.turn(clockwork)
    assert world.rows("hourly")[2:] == [
        ("succeeded", None, "03:00", "03:00", 1), ("skipped", "void", "02:00", "02:00", 1),
    ]  # fmt: skip
    assert world.store.read(queries.jobs)[0].next_run_at == MIDNIGHT + 2 * HOUR
    assert "before that: missed" in str(
        next(r.error for r in world.store.read(queries.runs, "hourly") if r.reason == "void")
    )
    world.live(clockwork, MIDNIGHT + 5 * HOUR)
    once_each(world, "hourly", MIDNIGHT + 5 * HOUR)
    assert [run.fire_time for run in world.runs] == [MIDNIGHT + n * HOUR for n in (0, 1, 3, 2, 4, 5)], "03:00 had run"
    actions = {(row.job_id, row.action) for row in world.store.read(audit.read_audit) if row.action == "set_right"}
    assert actions == {("@root", "set_right"), ("hourly", "set_right")}


def test_a_skip_of_many_slots_is_cut_where_the_clock_stands(world: World) -> None:
    world.write(tick="{every: 1m}")
    clockwork, _ = world.start()
    world.live(clockwork, MIDNIGHT + 2 * MINUTE)
    world.clock.step(30 * MINUTE)
    world.turn(clockwork)
    assert world.rows("tick")[-1] == ("succeeded", None, "00:32", "00:32", 1)
    assert world.rows("tick")[-2] == ("skipped", "missed", "00:03", "00:31", 29)
    world.clock.step(-20 * MINUTE)
    world.turn(clockwork)
    assert world.rows("tick")[-3:] == [
        ("skipped", "missed", "00:03", "00:12", 10),
        ("succeeded", None, "00:32", "00:32", 1),
        ("skipped", "void", "00:13", "00:31", 19),
    ]
    world.live(clockwork, MIDNIGHT + 40 * MINUTE)
    once_each(world, "tick", MIDNIGHT + 40 * MINUTE)
    assert sum(run.slots for run in world.store.read(queries.runs, "tick") if run.reason == "missed") == 10


def test_a_jump_of_over_an_hour_is_waited_out_for_two_minutes(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write(hourly='"0 * * * *"')
    clockwork, keeper = world.start()
    world.live(clockwork, MIDNIGHT + 30 * MINUTE)
    world.clock.step(2 * HOUR)
    with pytest.raises(UnavailableError, match="the clock is not trusted: it jumped ahead by 2:00:00"):
        world.turn(clockwork)
    assert caplog.text.count("clock_doubted") == 1
    world.clock.advance(119 * SECOND)
    with pytest.raises(UnavailableError):
        world.turn(clockwork)
    world.clock.advance(SECOND)
    assert keeper.needs_repair, "the thread wakes for it"
    world.turn(clockwork)
    assert "clock_believed" in caplog.text
    assert world.rows("hourly")[1:] == [("skipped", "missed", "01:00", "02:00", 2)]


def test_a_jump_that_something_vouches_for_is_not_waited_out(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    clockwork, _ = world.start()
    world.clock.step(5 * HOUR)
    with pytest.raises(UnavailableError):
        world.turn(clockwork)
    world.good = True
    world.turn(clockwork)
    assert world.rows("hourly") == [("skipped", "missed", "00:00", "04:00", 5)]


def test_a_jump_that_is_taken_back_within_two_minutes_leaves_no_trace(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    clockwork, _ = world.start()
    world.live(clockwork, MIDNIGHT + 30 * MINUTE)
    world.clock.step(300 * 24 * HOUR)
    with pytest.raises(UnavailableError):
        world.turn(clockwork)
    world.clock.advance(MINUTE)
    world.clock.step(-300 * 24 * HOUR)
    world.live(clockwork, MIDNIGHT + 3 * HOUR)
    assert world.rows("hourly") == [("succeeded", None, f"0{n}:00", f"0{n}:00", 1) for n in range(4)]


def test_a_machine_that_slept_has_had_an_outage_and_no_jump(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    clockwork, keeper = world.start()
    world.live(clockwork, MIDNIGHT + 30 * MINUTE)
    world.clock.advance(9 * HOUR)
    world.turn(clockwork)
    assert keeper.doubt() == ""
    assert world.rows("hourly")[1:] == [("skipped", "missed", "01:00", "09:00", 9)]


def test_the_daemon_was_there_also_by_a_clock_that_has_gone_back_behind_its_start(world: World) -> None:
    world.write(tick="{every: 10m}")
    world.clock.moment = MIDNIGHT + 5 * HOUR + MINUTE
    clockwork, _ = world.start()
    world.turn(clockwork)
    world.clock.step(-3 * HOUR)
    world.live(clockwork, MIDNIGHT + 2 * HOUR + 30 * MINUTE)
    ran = [f"{run.fire_time:%H:%M}" for run in world.runs]
    assert ran == ["02:10", "02:20", "02:30"], "nothing of it is missed, though the start lies ahead"


def test_a_database_of_a_clock_that_was_years_ahead_recovers(world: World) -> None:
    world.clock.step(3650 * 24 * HOUR)
    world.write(hourly='"0 * * * *"', once='{at: "2026-03-02T03:00:00Z"}')
    clockwork, _ = world.start()
    world.live(clockwork, world.clock.moment + 2 * HOUR)
    pause_job(world.seen, "hourly")
    world.clock.step(-3650 * 24 * HOUR - 2 * HOUR)
    world.clock.reboot()
    world.good = True
    clockwork, keeper = world.start()
    assert keeper.doubt() == ""
    found = world.store.read(queries.jobs)
    assert [job.next_run_at for job in found] == [MIDNIGHT, MIDNIGHT + 3 * HOUR], "the one-shot has not run yet"
    assert all(job.file.activated_at <= world.clock.moment for job in found)
    assert found[0].status(world.clock.now()).value == "paused", "a pause holds, whatever clock wrote it"
    resume_job(world.seen, "hourly")
    clockwork.reload(world.store)
    world.live(clockwork, MIDNIGHT + 4 * HOUR)
    assert [run.fire_time for run in world.runs if run.job_id == "once"] == [MIDNIGHT + 3 * HOUR]
    hourly = [run.fire_time for run in world.runs if run.job_id == "hourly" and run.fire_time is not None]
    ran = [slot for slot in hourly if slot < MIDNIGHT + 24 * HOUR]
    assert ran == [MIDNIGHT + n * HOUR for n in range(5)]


def test_a_first_boot_far_behind_the_database_waits_and_is_then_believed(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    clockwork, _ = world.start()
    world.live(clockwork, MIDNIGHT + 3 * HOUR)
    world.clock.moment = MIDNIGHT - 24 * HOUR
    world.clock.reboot()
    clockwork, keeper = world.start()
    assert "the state was last written at" in keeper.doubt()
    assert world.rows("hourly")[-1][2] == "03:00", "nothing is touched before it is believed"
    world.clock.step(28 * HOUR)  # the network is there: 04:00, twenty-five hours after what it said
    assert "jumped ahead" in keeper.doubt()
    world.good = True
    world.turn(clockwork)
    world.live(clockwork, MIDNIGHT + 6 * HOUR)
    once_each(world, "hourly", MIDNIGHT + 6 * HOUR)


def test_by_a_clock_that_was_never_set_nothing_fires_and_nothing_is_owed_for_its_years(world: World) -> None:
    world.clock.step(datetime(1970, 1, 1, 0, 1, tzinfo=UTC) - world.clock.moment)
    world.good = True
    world.write(tick="{every: 1m}")
    clockwork, keeper = world.start()
    world.clock.advance(10 * MINUTE)
    with pytest.raises(UnavailableError, match="which is impossible"):
        world.turn(clockwork)
    world.clock.step(MIDNIGHT + 30 * SECOND - world.clock.moment)
    world.turn(clockwork)
    assert keeper.doubt() == ""
    world.live(clockwork, MIDNIGHT + 3 * MINUTE)
    assert [row[:3] for row in world.rows("tick")] == [("succeeded", None, f"00:0{n}") for n in (1, 2, 3)]


def test_a_jump_while_the_daemon_was_away_is_found_when_it_is_back(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    world.start()
    world.clock.advance(5 * MINUTE)
    world.clock.step(2 * HOUR)
    _, keeper = world.start()
    assert "jumped ahead by 2:00:00" in keeper.doubt()
    world.clock.advance(10 * HOUR)
    world.clock.reboot()
    _, keeper = world.start()
    assert keeper.doubt() == "", "another boot: it may have been switched off for as long"


def test_a_sync_without_a_daemon_sets_right_what_lies_ahead(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    clockwork, _ = world.start()
    world.clock.step(50 * MINUTE)
    world.clock.advance(3 * HOUR)
    world.turn(clockwork)
    assert world.rows("hourly") == [("skipped", "missed", "00:00", "03:00", 4)]
    world.clock.step(-3 * HOUR)
    sync(world.seen)
    assert world.rows("hourly") == [
        ("skipped", "missed", "00:00", "00:00", 1),
        ("skipped", "void", "01:00", "03:00", 3),
    ]
    assert world.store.read(queries.jobs)[0].next_run_at == MIDNIGHT + HOUR


def test_an_edit_of_a_schedule_does_not_lead_onto_a_slot_that_ran(world: World) -> None:
    world.write(job='"0 * * * *"')
    clockwork, _ = world.start()
    world.clock.step(50 * MINUTE)
    world.live(clockwork, MIDNIGHT + 60 * MINUTE)
    world.clock.step(-50 * MINUTE)
    world.turn(clockwork)
    assert [run.fire_time for run in world.runs] == [MIDNIGHT + HOUR]
    world.write(job='"*/30 * * * *"')
    clockwork.reload(world.store)
    world.live(clockwork, MIDNIGHT + 2 * HOUR)
    found = [run.fire_time for run in world.runs]
    assert found == [MIDNIGHT + n * MINUTE for n in (60, 30, 90, 120)]


def test_a_try_that_a_clock_ahead_has_put_off_comes_at_most_its_longest_delay_later(world: World) -> None:
    (world.root / "jobs/j.yaml").write_text(
        'id: j\nschedule: "0 * * * *"\ntask: hi\nretry: {attempts: 3, delay: 1m, max_delay: 5m}\n'
    )
    sync(world.seen)
    clockwork, _ = world.start()
    world.clock.step(50 * MINUTE)
    world.clock.moment = MIDNIGHT + HOUR
    clockwork.repair_clock(world.store)
    (run,) = clockwork.dispatch(world.store)
    world.store.write(
        runs.end_try,
        run,
        Ending(status=RunStatus.FAILED, reason=None),
        retry_at=world.clock.now() + MINUTE,
        now=world.clock.now(),
    )
    world.clock.step(-50 * MINUTE)
    clockwork.repair_clock(world.store)
    (waiting,) = world.store.read(claims.queued)
    assert waiting.retry_at == world.clock.now() + 5 * MINUTE
    assert [each.retry_at for each in world.engine.hastened[-1]] == [waiting.retry_at]


def test_new_rules_of_a_zone_count_from_the_next_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(nine='{cron: "0 9 * * *", timezone: Europe/Berlin}', utc='"0 * * * *"')
    world.start()
    before = world.store.read(queries.jobs)[0]
    assert before.next_run_at == MIDNIGHT + 8 * HOUR
    world.store._connection.execute("UPDATE jobs SET next_run_at = '2026-03-02T07:00:00.000000Z' WHERE id = 'nine'")
    world.start()
    assert world.store.read(queries.jobs)[0].next_run_at == MIDNIGHT + 7 * HOUR, (
        "the rules are the same: nobody has looked"
    )
    monkeypatch.setattr("scheduler.sync.clock_repair.rules_digest", lambda names: f"other rules of {sorted(names)}")
    clockwork, _ = world.start()
    after = world.store.read(queries.jobs)[0]
    assert (after.next_run_at, after.file.generation) == (MIDNIGHT + 8 * HOUR, before.file.generation)
    (row,) = world.store.read(audit.read_audit, "nine")[-1:]
    assert (row.action, row.field, row.before, row.after) == (
        "set_right", "next_run_at", "2026-03-02T07:00:00Z", "2026-03-02T08:00:00Z",
    )  # fmt: skip
    world.live(clockwork, MIDNIGHT + 9 * HOUR)
    assert [run.fire_time for run in world.runs if run.job_id == "nine"] == [MIDNIGHT + 8 * HOUR]


def test_the_first_start_after_the_first_sync_trusts_its_cursors_unless_the_rules_have_changed_since(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(nine='{cron: "0 9 * * *", timezone: Europe/Berlin}')
    world.store._connection.execute("UPDATE jobs SET next_run_at = '2026-03-02T07:00:00.000000Z'")
    world.start()
    assert world.store.read(queries.jobs)[0].next_run_at == MIDNIGHT + 7 * HOUR, "nobody has looked"
    monkeypatch.setattr("scheduler.sync.clock_repair.rules_digest", lambda names: f"other rules of {sorted(names)}")
    world.start()
    assert world.store.read(queries.jobs)[0].next_run_at == MIDNIGHT + 8 * HOUR


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_whatever_a_clock_does_each_slot_has_one_row_and_runs_at_most_once(
    world: World, seed: int, catch_up: str
) -> None:
    random = Random(f"{seed} {catch_up}")
    (world.root / "scheduler.yaml").write_text(ROOT_FILE.replace("none", catch_up))
    world.write(
        often="{every: 10m}", rare='{cron: "30 */3 * * *", timezone: Europe/Berlin}', jittery="{every: 1h, jitter: 9m}"
    )
    clockwork, _ = world.start()
    latest = world.clock.moment

    def turn() -> None:
        with suppress(UnavailableError):  # the clock is doubted
            world.turn(clockwork)

    for _ in range(60):
        match random.choice(["live", "live", "live", "sleep", "ahead", "back", "back", "restart", "pause"]):
            case "live":
                for _ in range(random.randint(1, 40)):
                    world.clock.advance(random.choice([MINUTE, 3 * MINUTE, 7 * MINUTE]))
                    turn()
            case "sleep":
                world.clock.advance(random.randint(1, 300) * MINUTE)
            case "ahead":
                world.clock.step(random.choice([SECOND, 20 * MINUTE, 59 * MINUTE, 90 * MINUTE, 9 * HOUR]))
            case "back":
                room = (world.clock.moment - MIDNIGHT) / 2  # not behind the creation of the jobs
                world.clock.step(-min(room, random.choice([SECOND, 5 * MINUTE, HOUR, 5 * HOUR])))
            case "restart":
                if random.random() < 0.3:
                    world.clock.reboot()
                clockwork, _ = world.start()
            case "pause":
                pause_job(world.seen, "often") if random.random() < 0.5 else resume_job(world.seen, "often")
                clockwork.reload(world.store)
        latest = max(latest, world.clock.moment)
        turn()
    resume_job(world.seen, "often")
    clockwork.reload(world.store)
    while world.clock.moment < latest + 4 * HOUR:
        world.clock.advance(5 * MINUTE)
        turn()
    turn()
    for job in world.store.read(queries.jobs):
        delay = start_delay(job.file.spec.schedule, job.id)
        once_each(world, job.id, world.clock.moment - delay)


# -- the thread --------------------------------------------------------------------------------


def test_a_clock_that_is_set_is_noticed_within_a_second_though_the_next_slot_is_far(world: World) -> None:
    world.write(hourly='"0 * * * *"')
    world.clock.moment = MIDNIGHT + 61 * MINUTE
    sync(world.seen)
    clockwork, _ = world.start()
    clockwork.loop.start()
    try:
        until(lambda: clockwork.loop.beats > 0, "a turn")
        world.clock.step(59 * MINUTE)
        until(lambda: len(world.runs) == 1, "the slot that has come", within=3)
        world.clock.step(-30 * MINUTE)
        until(lambda: len(world.engine.hastened) > 0, "what lies ahead set right", within=3)
        world.clock.step(5 * HOUR)
        until(lambda: "not trusted" in clockwork.loop.trouble, "the doubt", within=3)
        world.clock.advance(2 * MINUTE)
        until(lambda: clockwork.loop.trouble == "", "the end of the doubt")
    finally:
        clockwork.stop()
        clockwork.loop.join(30)
    assert [run.fire_time for run in world.runs][:1] == [MIDNIGHT + 2 * HOUR]
