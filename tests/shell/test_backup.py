"""Copies of a real database, with a clock that tests move: when they are made, kept, and gone on from."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.core.due.events import News
from scheduler.core.values.events import Event, EventKind
from scheduler.core.values.facts import Pause
from scheduler.core.values.problems import RefusedError, SchedulerError, UnavailableError, UsageError
from scheduler.core.values.runs import AuditRow, Run, RunStatus
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.ledger import claims, outbox, put_back, queries, runs, syncs, told
from scheduler.ledger.copies import Contents, check_database
from scheduler.ledger.owners import Owner
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.maintenance import backup, restoring
from scheduler.maintenance.backup import Nightly, back_up, copies, due_after, newest
from scheduler.maintenance.file import DatabaseFile
from scheduler.maintenance.restoring import restore
from scheduler.root.place import Place
from scheduler.service.backup import backup as copy_database
from scheduler.service.history import audit
from scheduler.service.jobs import list_jobs, show_job
from scheduler.service.pause import pause_job
from scheduler.service.root import Root
from scheduler.service.serve import serve
from scheduler.service.sync import plan_sync, sync
from scheduler.sync.settle_copy import settle_copy
from tests.fakes import FakeClock, FakeDuties, NotedEngine, claim_by_hand, succeed

BEGIN = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROOT_FILE = "version: 1\nrunners: {cat: {command: [cat]}}\ndefaults: {runner: cat}\n"


@dataclass
class World:
    seen: Root
    clock: FakeClock
    place: Place

    @property
    def folder(self) -> Path:
        assert self.place.backups is not None
        return self.place.backups

    def write(self, **jobs: str) -> None:
        for name, schedule in jobs.items():
            (self.place.root / f"jobs/{name}.yaml").write_text(f"id: {name}\nschedule: {schedule}\ntask: hi\n")
        sync(self.seen)

    def store(self) -> Store:
        return Store.open(self.place.db, create=False)

    def nightly(self) -> Nightly:
        return Nightly(place=self.place, clock=self.clock, lend=Stores(self.place.db, usable=lambda: "").lend)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*")) if self.folder.exists() else []

    def clockwork(self, store: Store, submitted: list[Run], *, once: bool = False, places: int = 3) -> Clockwork:
        found = Clockwork(
            clock=self.clock,
            owner="1-test",
            since=None if once else self.clock.now(),
            agenda=Agenda(),
            lend=self.store,
            duties=FakeDuties(self.clock, NotedEngine(places, taken=submitted.extend)),
        )
        found.reload(store)
        return found

    def back_up(self, name: str) -> Path:
        target = self.place.root.parent / name
        back_up(self.place, target, now=self.clock.now(), actor="user:test")
        return target

    def restore(self, source: Path) -> restoring.Restored:
        return restore(self.place, source, now=self.clock.now(), actor="user:test")

    def rows(self, job_id: str) -> list[tuple[int, str, str | None, str, int]]:
        """Number, status, reason, first slot and count; oldest first."""
        with self.store() as store:
            runs = sorted(store.read(queries.runs, job_id), key=lambda run: run.n)
        return [(r.n, r.status.value, r.reason, f"{r.fire_time:%H:%M}" if r.fire_time else "", r.slots) for r in runs]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nights are those of the machine's clock."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def world(tmp_path: Path) -> World:
    root = tmp_path / "root"
    (root / "jobs").mkdir(parents=True)
    (root / "scheduler.yaml").write_text(ROOT_FILE)
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db", home=tmp_path / "home")
    clock = FakeClock(BEGIN)
    seen = Root(place=place, actor="user:test", environ=dict(os.environ), clock=clock, absent_grace=timedelta(0))
    found = World(seen=seen, clock=clock, place=place)
    found.write(hourly='"0 * * * *"')
    return found


# -- the nightly copy ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "due"),
    [
        ("2026-03-02T10:00", "2026-03-03T03:10"),
        ("2026-03-02T03:09", "2026-03-02T03:10"),
        ("2026-03-02T03:10", "2026-03-03T03:10"),
        ("2026-03-02T00:00", "2026-03-02T03:10"),
    ],
)
def test_a_copy_is_due_in_the_night_after_the_last_one(last: str, due: str) -> None:
    found = due_after(datetime.fromisoformat(last).replace(tzinfo=UTC), minute=10)
    assert f"{found:%Y-%m-%dT%H:%M}" == due


def test_a_night_is_one_of_the_machine_s_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    assert f"{due_after(BEGIN):%Y-%m-%dT%H:%M}" == "2026-03-02T11:00"


def test_a_copy_is_made_every_night_and_the_last_seven_are_kept(world: World) -> None:
    nightly = world.nightly()
    nightly.look()
    assert world.names() == [], "nothing is copied before the first night: a root may be thrown away by then"
    for _ in range(10 * 24):
        world.clock.advance(HOUR)
        nightly.look()
    days = [name[:8] for name in world.names()]
    assert days == [f"202603{day:02}" for day in range(6, 13)]
    assert nightly.trouble == ""
    assert {path.stat().st_mode & 0o777 for path in world.folder.iterdir()} == {0o600}
    assert world.folder.stat().st_mode & 0o777 == 0o700
    found = newest(world.place)
    assert found is not None
    assert check_database(found.path).copied_at == found.at


def test_a_night_that_the_daemon_was_off_is_made_up_for_at_its_start(world: World) -> None:
    world.clock.advance(DAY * 3)
    world.nightly().look()
    world.clock.advance(HOUR)
    world.nightly().look()
    assert world.names() == ["20260305T100000Z.db"]


def test_files_that_are_no_copies_of_ours_are_left_alone(world: World) -> None:
    world.folder.mkdir(parents=True)
    (world.folder / "mine.db").write_text("mine")
    (world.folder / "20990101T000000Z.db").write_text("of a clock that was wrong")
    (world.folder / ".20260101T000000Z.db.77.new").write_text("of a daemon that was killed")
    nightly = world.nightly()
    for _ in range(9):
        world.clock.advance(DAY)
        nightly.look()
    assert {"mine.db", "20990101T000000Z.db"} <= set(world.names())
    assert len(world.names()) == 9, "with seven of its own"


def test_a_copy_that_cannot_be_made_is_told_once_tried_again_and_takes_no_older_one_away(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nightly = world.nightly()
    world.clock.advance(DAY)
    nightly.look()
    monkeypatch.setattr("scheduler.maintenance.backup.free_bytes", lambda _: 1000)
    world.clock.advance(DAY)
    for _ in range(60):
        nightly.look()
        world.clock.advance(timedelta(minutes=1))
    told = [record.getMessage() for record in caplog.records if "backup_failed" in record.getMessage()]
    assert len(told) == 1
    assert "1000 bytes left" in told[0]
    assert "the newest backup is from 2026-03-03T10:00:00Z" in told[0]
    assert len(world.names()) == 1
    monkeypatch.undo()
    world.clock.advance(timedelta(minutes=10))
    nightly.look()
    assert (len(world.names()), nightly.trouble) == (2, "")


def test_a_copy_of_a_damaged_database_is_not_kept(world: World) -> None:
    world.write(**{f"j{number}": '"@daily"' for number in range(50)})
    with closing(sqlite3.connect(world.place.db)) as sql:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sql.execute("PRAGMA writable_schema = ON")
        sql.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '(changed)', '(generation)') WHERE name = 'jobs_changed'"
        )
        sql.commit()
    world.clock.advance(DAY)
    nightly = world.nightly()
    nightly.look()
    assert "damaged" in nightly.trouble
    assert world.names() == []


def test_a_folder_that_takes_no_copies_is_trouble_and_no_error(world: World) -> None:
    world.place.home.mkdir()  # type: ignore[union-attr]
    (world.place.home / "backups").write_text("a file")  # type: ignore[operator]
    world.clock.advance(DAY)
    nightly = world.nightly()
    nightly.look()
    assert "cannot be used" in nightly.trouble
    homeless = Nightly(
        place=replace(world.place, home=None), clock=world.clock, lend=Stores(world.place.db, usable=lambda: "").lend
    )
    homeless.look()
    assert "no home folder" in homeless.trouble


def test_claims_and_ends_go_on_while_a_copy_is_made_and_it_is_of_one_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(world.place.db)) as sql:
        for number in range(20):
            sql.execute("INSERT INTO texts VALUES (?, ?)", (str(number), os.urandom(1_000_000)))
        sql.commit()
    monkeypatch.setattr(backup, "PAUSE_S", 0.02)
    world.clock.advance(DAY)
    nightly = world.nightly()
    thread = threading.Thread(target=nightly.look)
    took: list[float] = []
    with world.store() as store:
        thread.start()
        while thread.is_alive():
            begun = time.monotonic()
            succeed(store, claim_by_hand(store, "hourly", now=world.clock.now()), now=world.clock.now())
            took.append(time.monotonic() - begun)
            time.sleep(0.002)
        thread.join()
        rows = len(store.read(queries.runs, "hourly"))
    assert nightly.trouble == ""
    found = newest(world.place)
    assert found is not None
    copied = check_database(found.path)
    assert len(took) > 10, "a copy of 20 MB took this many turns to write"
    assert copied.runs < rows, "those that came while it was made are not in it"
    assert max(took) < 5, "nobody waited for the copy"


# -- backup ----------------------------------------------------------------------------------


def test_a_copy_is_one_private_file_that_overwrites_nothing(world: World, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    found = back_up(world.place, target, now=world.clock.now(), actor="user:test")
    assert (found.jobs, found.runs, found.copied_at) == (1, 0, BEGIN)
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RefusedError, match="already exists"):
        back_up(world.place, target, now=world.clock.now(), actor="user:test")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(RefusedError):
        back_up(world.place, tmp_path / "dangling", now=world.clock.now(), actor="user:test")
    for wrong in (tmp_path, tmp_path / "no/such.db"):
        with pytest.raises(UsageError):
            back_up(world.place, wrong, now=world.clock.now(), actor="user:test")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "dangling", "root"]


# -- going back to a copy --------------------------------------------------------------------


def test_no_slot_since_the_copy_runs_again_neither_in_a_daemon_nor_once(world: World) -> None:
    world.write(once='{at: "2026-03-02T12:30:00Z"}', off='"0 * * * *"\nenabled: false', paused='"0 * * * *"')
    with world.store() as store:
        submitted: list[Run] = []
        clockwork = world.clockwork(store, submitted)
        world.clock.moment = BEGIN + HOUR
        clockwork.dispatch(store)
        for run in submitted:
            succeed(store, run, now=world.clock.now())
    pause_job(world.seen, "paused")
    copy = world.back_up("copy.db")
    with world.store() as store:
        clockwork = world.clockwork(store, submitted)
        for hours in (2, 2.5, 3):
            world.clock.moment = BEGIN + HOUR * hours
            clockwork.dispatch(store)
            for active in store.read(runs.active):
                succeed(store, active.run, now=world.clock.now())
    ran = {(run.job_id, run.fire_time) for run in submitted}
    assert ("once", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)) in ran
    world.clock.moment = BEGIN + HOUR * 3.1
    found = world.restore(copy)
    assert found.settled.slots == 5, "hourly at 12 and 13, paused at 12 and 13, once"
    assert found.contents.runs == 2
    assert found.put_aside is not None
    again: list[Run] = []
    for once in (True, False):
        with world.store() as store:
            world.clockwork(store, again, once=once).dispatch(store)
    assert again == []
    assert world.rows("hourly") == [(1, "succeeded", None, "11:00", 1), (4, "skipped", "missed", "12:00", 2)]
    assert [row[2:4] for row in world.rows("paused")] == [(None, "11:00"), ("paused", "12:00")]
    assert world.rows("off") == []
    assert show_job(world.seen, "once")["job"]["status"] == "completed"
    with world.store() as store:
        world.clock.moment = BEGIN + HOUR * 4
        (next_run,) = world.clockwork(store, again, once=True).dispatch(store)
    assert (next_run.job_id, f"{next_run.fire_time:%H:%M}") == ("hourly", "14:00")
    actions = [row["action"] for row in audit(world.seen, "@root")["audit"]]
    assert actions[-2:] == ["backup", "restore"]
    with Store.open(found.put_aside) as store:
        assert len(store.read(queries.runs, "hourly")) == 3, "what was there is all there"


def test_a_run_that_waited_when_the_copy_was_made_does_not_run_from_it(world: World) -> None:
    world.write(other='"0 * * * *"')
    submitted: list[Run] = []
    with world.store() as store:
        clockwork = world.clockwork(store, submitted, places=1)
        world.clock.moment = BEGIN + HOUR
        clockwork.dispatch(store)
    assert {run.status for run in submitted} == {RunStatus.CLAIMED, RunStatus.QUEUED}
    (waiting,) = [run for run in submitted if run.status is RunStatus.QUEUED]
    found = world.restore(world.back_up("copy.db"))
    assert found.settled.waited == (waiting.id,)
    with world.store() as store:
        assert store.read(claims.queued) == []
    assert world.rows(waiting.job_id) == [(1, "skipped", "missed", "11:00", 1)]
    sync(world.seen)
    (claimed,) = [run for run in submitted if run.status is RunStatus.CLAIMED]
    assert [row[1:3] for row in world.rows(claimed.job_id)] == [("interrupted", "owner_died")]


def test_a_copy_put_in_place_by_hand_is_known_for_one_and_settled_once(world: World) -> None:
    copy = world.back_up("copy.db")
    world.clock.moment = BEGIN + HOUR * 1.5
    copy.rename(world.place.db)
    with world.store() as store:
        found = settle_copy(store, world.place, now=world.clock.now(), actor="user:test")
        assert found is not None
        assert (found.copied_at, found.slots) == (BEGIN, 1)
        assert settle_copy(store, world.place, now=world.clock.now(), actor="user:test") is None
    assert world.rows("hourly") == [(1, "skipped", "missed", "11:00", 1)]


def test_messages_that_waited_in_a_copy_are_not_sent_from_it_and_what_comes_later_is(world: World) -> None:
    def tell(store: Store, kind: EventKind, key: str, *, if_told: bool = False) -> None:
        event = Event(key=key, at=world.clock.now(), kind=kind, job_id="hourly", streak="run/hourly/1/failure")
        store.write(told.tell, [News(event=event, channels=("ops",), if_told=if_told)], now=world.clock.now())

    with world.store() as store:
        tell(store, EventKind.FAILURE, "run/hourly/1/failure")
        tell(store, EventKind.OVERDUE, "alarm/hourly")
        first, _ = store.read(outbox.waiting)
        store.write(outbox.take, [first], now=world.clock.now())
    world.back_up("copy.db").rename(world.place.db)
    with world.store() as store:
        assert store.read(outbox.waiting) == [], "nobody may send from a copy before it was made fit for use"
        assert settle_copy(store, world.place, now=world.clock.now(), actor="user:test") is not None
        shown = store.read(outbox.newest, None, channel=None, failed=True, limit=9)
        assert [row["status"] for row in shown] == ["dropped:copy"] * 2
        tell(store, EventKind.RECOVERY, "run/hourly/2/recovery", if_told=True)
        (later,) = store.read(outbox.waiting)
        assert later.event.kind is EventKind.RECOVERY, "who may have heard of the failure hears of its end"


def test_a_copy_under_its_own_name_can_be_read_and_stays_as_it_is(world: World) -> None:
    copy = world.back_up("copy.db")
    before = copy.read_bytes()
    assert check_database(copy).jobs == 1
    assert copy.read_bytes() == before
    assert not list(copy.parent.glob("copy.db-*"))


def test_run_numbers_that_the_old_database_or_the_outputs_show_are_not_given_again(world: World) -> None:
    world.write(other='"@daily"')
    copy = world.back_up("copy.db")
    with world.store() as store:
        for _ in range(3):
            succeed(store, claim_by_hand(store, "hourly", now=BEGIN), now=BEGIN)
    outputs = world.place.state / "runs/other"
    outputs.mkdir(parents=True)
    (outputs / "7.1.stdout").write_text("of a run that the copy does not know")
    world.restore(copy)
    with world.store() as store:
        assert store.read(put_back.last_numbers) == {"hourly": 3, "other": 7}


def test_a_pause_that_the_copy_does_not_know_is_named(world: World) -> None:
    copy = world.back_up("copy.db")
    pause_job(world.seen, "hourly", reason="too dear")
    assert world.restore(copy).unpaused == ("hourly",)
    assert world.restore(world.back_up("later.db")).unpaused == ()


@pytest.mark.parametrize("what", ["foreign", "damaged", "nothing", "newer", "text"])
def test_what_is_no_sound_copy_is_refused_and_changes_nothing(world: World, tmp_path: Path, what: str) -> None:
    source = tmp_path / "source.db"
    match what:
        case "foreign":
            with closing(sqlite3.connect(source)) as sql:
                sql.execute("CREATE TABLE mine (x)")
        case "damaged":
            data = bytearray(world.back_up("copy.db").read_bytes())
            data[4096 * 3 : 4096 * 12] = os.urandom(4096 * 9)
            source.write_bytes(data)
        case "nothing":
            source.write_bytes(b"")
        case "newer":
            world.back_up("copy.db").rename(source)
            with closing(sqlite3.connect(source)) as sql:
                sql.execute("PRAGMA user_version = 99")
        case "text":
            source.write_text("id: hourly\n" * 1000)
    before = world.place.db.stat().st_ino
    with pytest.raises(UnavailableError):
        world.restore(source)
    assert world.place.db.stat().st_ino == before
    assert not list(world.place.state.glob("*before*")) + list(world.place.state.glob("*restoring*"))


def test_what_cannot_be_the_copy_is_refused(world: World, tmp_path: Path) -> None:
    for wrong in (tmp_path / "absent", tmp_path, world.place.db):
        with pytest.raises(UsageError):
            world.restore(wrong)


def test_a_copy_made_by_other_means_with_its_journal_is_taken_whole(world: World, tmp_path: Path) -> None:
    with world.store() as store:
        succeed(store, claim_by_hand(store, "hourly", now=BEGIN), now=BEGIN)
        for suffix in ("", "-wal"):
            (tmp_path / f"raw.db{suffix}").write_bytes(world.place.db.with_name(f"state.db{suffix}").read_bytes())
    world.clock.advance(HOUR)
    found = world.restore(tmp_path / "raw.db")
    assert found.contents.runs == 1
    assert found.settled.slots == 1


# -- a file in the place of another ----------------------------------------------------------


def test_a_journal_that_is_left_beside_a_copy_is_not_replayed_into_it(world: World) -> None:
    copy = world.back_up("copy.db")
    killed = world.store()
    try:
        killed.write(syncs.set_pause, "hourly", Pause(at=BEGIN, by="user:test"), audit=_row())
        journal = world.place.db.with_name("state.db-wal").read_bytes()
    finally:
        killed.close()
    world.place.db.write_bytes(copy.read_bytes())  # as `cp` does, beside the journal of a daemon that was killed
    world.place.db.with_name("state.db-wal").write_bytes(journal)
    assert show_job(world.seen, "hourly")["job"]["paused"] is None
    assert list(world.place.state.glob("state.db.stale-*-wal"))
    assert check_database(world.place.db).jobs == 1


def _row() -> AuditRow:
    return AuditRow(job_id="hourly", action="pause", at=BEGIN, actor="user:test", cause="pause")


def test_a_database_that_was_gone_is_taken_up_once_it_is_whole(world: World) -> None:
    copy = world.back_up("copy.db").read_bytes()
    with world.store():
        file = DatabaseFile(world.place)
    assert file.trouble() == ""
    aside = world.place.db.with_name("aside")
    world.place.db.rename(aside)
    assert "is gone" in file.trouble()
    assert not file.put_back()
    aside.rename(world.place.db)
    assert file.trouble() == "", "the very file"
    assert not file.put_back()
    aside = world.place.db.rename(aside)
    world.place.db.write_bytes(copy[:20_000])
    assert "is not the file that this daemon opened" in file.trouble()
    assert [file.put_back() for _ in range(3)] == [False] * 3
    assert "cannot be used" in file.trouble()
    world.place.db.write_bytes(copy)
    assert [file.put_back() for _ in range(2)] == [False, True], "not while it may still be growing"


def test_a_database_that_a_copy_was_written_into_becomes_another_file_first(world: World) -> None:
    copy = world.back_up("copy.db").read_bytes()
    with world.store() as store:
        file = DatabaseFile(world.place)
        inode = world.place.db.stat().st_ino
        store.write(syncs.set_pause, "hourly", Pause(at=BEGIN, by="user:test"), audit=_row())
        world.place.db.write_bytes(copy)
        assert "was overwritten" in file.trouble()
        assert [file.put_back() for _ in range(4)] == [False, False, False, True]
    assert world.place.db.stat().st_ino != inode, "so that no connection writes its journal into it"
    assert show_job(world.seen, "hourly")["job"]["paused"] is None


def test_a_truncated_database_is_trouble(world: World) -> None:
    with world.store():
        file = DatabaseFile(world.place)
        os.truncate(world.place.db, 0)
        assert file.trouble()
        assert [file.put_back() for _ in range(3)] == [False] * 3


# -- without a database ----------------------------------------------------------------------


def test_who_has_copies_and_no_database_must_say_what_is_meant(world: World) -> None:
    world.clock.advance(DAY)
    world.nightly().look()
    (kept,) = copies(world.place)
    for path in world.place.state.glob("state.db*"):
        path.unlink()
    for call in (
        lambda: sync(world.seen),
        lambda: plan_sync(world.seen),
        lambda: list_jobs(world.seen),
        lambda: show_job(world.seen, "hourly"),
        lambda: serve(world.seen, once=True),
        lambda: copy_database(world.seen, world.place.root / "x"),
    ):
        with pytest.raises(RefusedError, match="is gone") as refused:
            call()
        assert str(kept.path) in refused.value.hint
    assert not world.place.db.exists()
    sync(world.seen, new_state=True)
    (earlier,) = copies(world.place)
    assert (earlier.earlier, earlier.at) == (True, kept.at), "put aside, where no night takes it away"
    assert newest(world.place) is None
    for path in world.place.state.glob("state.db*"):
        path.unlink()
    world.restore(earlier.path)
    assert show_job(world.seen, "hourly")["job"]["id"] == "hourly"


def test_new_state_puts_an_empty_or_foreign_file_aside_and_leaves_a_sound_database_alone(world: World) -> None:
    sync(world.seen, new_state=True)
    assert not list(world.place.state.glob("*before*"))
    for content in (b"", b"not a database" * 100):
        for path in world.place.state.glob("state.db-*"):
            path.unlink()
        world.place.db.write_bytes(content)
        with pytest.raises(SchedulerError):
            sync(world.seen)
        assert sync(world.seen, new_state=True).json["created"] == ["hourly"]
        world.clock.advance(timedelta(minutes=1))
    assert sorted(path.read_bytes()[:3] for path in world.place.state.glob("state.db.before-*")) == [b"", b"not"]


def test_a_run_that_starts_while_a_copy_is_verified_keeps_its_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(world.seen)
    copy = world.back_up("copy.db")
    with ExitStack() as running:

        def verified(path: Path) -> Contents:
            running.enter_context(Owner(world.place.owners))
            return check_database(path)

        monkeypatch.setattr(restoring, "check_database", verified)
        with pytest.raises(RefusedError, match=f"process {os.getpid()} is running a job"):
            world.restore(copy)
    assert not list(world.place.db.parent.glob("*before*"))
    assert not list(world.place.db.parent.glob("*restoring*"))
    monkeypatch.undo()
    assert world.restore(copy).contents.jobs == 1
