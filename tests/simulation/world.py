"""A root whose daemon lives by a clock that jumps from one event to the next, and everything that may happen to it.

Real are the files, the passes, the database, the due rule, the clockwork, the workers and the engine. Not real are the
clock, and the processes: an attempt takes as long as it is told to, and ends as it is told to.
What was done, and when, is written down in `events`: all that the model in `model.py` is given beside the rows.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.problems import RefusedError, SchedulerError
from scheduler.core.values.runs import Ending, RunStatus, Trigger
from scheduler.core.values.settings import Settings
from scheduler.daemon.agenda import Agenda
from scheduler.daemon.clockwork import Clockwork
from scheduler.daemon.places import Places
from scheduler.daemon.timekeeper import Timekeeper
from scheduler.git.tree import Commits
from scheduler.ledger import claims, queries, syncs
from scheduler.ledger.owners import Owner
from scheduler.ledger.pool import Stores
from scheduler.ledger.store import Store
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.run.engine import recover
from scheduler.run.local import chunks
from scheduler.run.local.attempts import Attempts
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.engine import LocalEngine
from scheduler.run.local.prepare import Invocation
from scheduler.run.local.recovery import LocalRecovery
from scheduler.service.pause import pause_job, resume_job
from scheduler.service.root import Root
from scheduler.sync.passes import Passes
from tests.fakes import FakeClock, FakeDuties

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
PATIENCE_S = 60.0
DEEDS = ("pause", "pause", "resume", "resume", "edit", "edit", "edit", "remove", "run", "run", "places")
STEPS = ("step", "step")  # the clock is set, and nobody does anything in the hours that come twice
CLOCKS = ("clock", "clock", "run", "restart")  # what is done where the clock is set: times tell no order then
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
ROOT_FILE = """\
version: 1
defaults: {{runner: none}}
runners:
  none: {{command: [/bin/true], input: stdin}}
limits: {{max_running: {places}}}
prune: {{max_percent: 100, max_jobs: 1000}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """One job as its file says it, in plain values that the model reads too. Durations in seconds."""

    id: str
    every: int | None = None
    cron: str | None = None
    zone: str = "UTC"
    at: str | None = None
    jitter: int = 0
    enabled: bool = True
    concurrency: str = "forbid"
    catch_up: str = "latest"
    within: int | None = None
    attempts: int = 1
    retry_delay: int = 60
    failure_limit: int = 10
    expires: str | None = None
    prompt: int = 0
    runner: str = "none"
    budget: str | None = None  # as written

    def text(self) -> str:
        if self.every is not None:
            schedule = f"every: {self.every}s"
        elif self.cron is not None:
            schedule = f'cron: "{self.cron}", timezone: {self.zone}'
        else:
            schedule = f"at: {self.at}"
        jitter = f", jitter: {self.jitter}s" if self.jitter else ""
        within = "" if self.within is None else f", within: {self.within}s"
        lines = [
            f"id: {self.id}",
            f"schedule: {{{schedule}{jitter}}}",
            f"enabled: {str(self.enabled).lower()}",
            f"concurrency: {self.concurrency}",
            f"catch_up: {{policy: {self.catch_up}{within}}}",
            f"retry: {{attempts: {self.attempts}, delay: {self.retry_delay}s, backoff: 2}}",
            f"failure_limit: {self.failure_limit}",
            *([] if self.expires is None else [f"expires: {self.expires}"]),
            f"runner: {self.runner}",
            *([] if self.budget is None else [f"budget: {self.budget}"]),
            f"task: prompt {self.prompt}",
        ]
        return "\n".join([*lines, ""])


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def some_job(rng: random.Random, job_id: str, *, dense: bool, calm: bool = False) -> JobFile:
    """dense: due many times a day; calm: seldom more than once a week, and often at the same time as others, as most
    jobs of a large root.
    """
    zone = rng.choice(ZONES)
    kind = rng.random()
    if calm and kind < 0.5:
        kind = rng.choice([kind, 0.15, 0.7, 0.7, 0.7, 0.95, 0.95, 0.95])
    minute, hour = rng.randrange(60), rng.randrange(24)
    if calm and rng.random() < 0.7:
        minute, hour = rng.choice([0, 0, 0, 30]), rng.choice([0, 2, 6, 9, 9, 18])
    schedule: dict[str, Any]
    if dense:
        schedule = {"every": rng.choice([3600, 5400] if calm else [900, 1800, 3600, 5400])}
    elif kind < 0.1:
        schedule = {"every": rng.choice([12, 24, 36] if calm else [6, 12, 24, 36]) * 3600}
    elif kind < 0.2:
        schedule = {"at": stamp(BEGIN + rng.random() * 365 * DAY)}
    elif kind < 0.5:
        schedule = {"cron": f"{minute} {hour} * * *", "zone": zone}
    elif kind < 0.9:
        schedule = {"cron": f"{minute} {hour} * * {rng.randrange(7)}", "zone": zone}
    else:
        schedule = {"cron": f"{minute} {hour} {rng.randrange(1, 32)} * *", "zone": zone}
    return JobFile(
        id=job_id,
        **schedule,
        jitter=rng.choice([0, 0, 0, 20, 200]) if "at" not in schedule else 0,
        concurrency=rng.choice(["forbid", "forbid", "queue", "replace", "allow"]),
        catch_up=rng.choice(["latest", "latest", "none", "all"]),
        within=rng.choice([None, None, 1800, 4 * 3600, 3 * 86400]),
        attempts=rng.choice([1, 1, 3]),
        failure_limit=rng.choice([10, 10, 3, 0]),
        expires=stamp(BEGIN + rng.random() * 500 * DAY) if rng.random() < 0.1 and "at" not in schedule else None,
    )


@dataclass(order=True)
class _End:
    at: datetime
    key: tuple[str, int]


@dataclass
class Processes:
    """Processes that seem to run, by the clock of the simulation."""

    clock: FakeClock
    seed: int
    ends: list[_End] = field(default_factory=list)
    living: dict[tuple[str, int], Process] = field(default_factory=dict)

    def begin(
        self, invocation: Invocation, *, cancel: Cancel, ended: Callable[[Ending | Exception], None], **_: object
    ) -> Process:
        """Stands in for `scheduler.run.local.command.Execution`."""
        return Process(self, invocation, cancel, ended)

    @property
    def next_end(self) -> datetime | None:
        while self.ends and self.ends[0].key not in self.living:
            heapq.heappop(self.ends)
        return self.ends[0].at if self.ends else None

    def end_due(self) -> bool:
        """Lets one attempt end whose time has come."""
        if (end := self.next_end) is None or end > self.clock.now():
            return False
        self.living[heapq.heappop(self.ends).key].end()
        return True


class Process:
    def __init__(
        self, processes: Processes, invocation: Invocation, cancel: Cancel, ended: Callable[[Ending | Exception], None]
    ) -> None:
        self.pid, self.since = os.getpid(), math.inf  # never on disk: it is this process
        self._processes, self._cancel, self._ended = processes, cancel, ended
        self._key = invocation.env["SCHEDULER_RUN_ID"], int(invocation.env["SCHEDULER_ATTEMPT"])
        # By the run alone: those of one instant come here in any order.
        chance = random.Random(f"{processes.seed} {self._key}")
        short = chance.random() < 0.97
        self._length = chance.choice([1, 5, 30, 60, 300, 900]) if short else chance.randrange(3600, 90_000)
        self._fails = chance.random() < 0.15

    def start(self) -> None:
        at = self._processes.clock.now() + self._length * SECOND
        heapq.heappush(self._processes.ends, _End(at, self._key))
        self._processes.living[self._key] = self
        self.notice()

    def notice(self) -> None:
        if self._cancel.is_set():
            self.end()

    def end(self) -> None:
        if self._processes.living.pop(self._key, None) is None:
            return
        self._ended(self._ending())

    def _ending(self) -> Ending:
        status, reason = ("failed", "exit_code") if self._fails else ("succeeded", None)
        if (why := self._cancel.why) is not None:
            status, reason = ("interrupted", "shutdown") if why == "interrupted" else ("cancelled", why)
        code = {"failed": 1, "succeeded": 0}.get(status)
        return Ending(
            status=RunStatus(status),
            reason=reason,
            exit_code=code,
            error=None,
            result="",
            output_bytes=0,
            truncated=False,
        )


class _Parsed(Parsed):
    """What the same bytes say does not hang on who reads them, or when: no start, and no way back, parses 500 files."""

    def __init__(self) -> None:
        super().__init__()
        self._before = [self._known]

    def start(self, settings: Settings) -> None:
        if settings != self._known[0]:
            self._before = [each for each in self._before if each[0] != self._known[0]] + [self._known]
            self._known = next((each for each in self._before if each[0] == settings), (settings, {}))


class _Duties(FakeDuties):
    def may_fire(self, settings: Any) -> bool:
        if settings.limits.max_running != self.engine.max_running:
            self.engine.resize(settings.limits.max_running)
        return True


class Daemon:
    """The parts of a daemon, put together as `scheduler.daemon.daemon` does, without its threads."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._cleanup = contextlib.ExitStack()
        self.owner = self._cleanup.enter_context(Owner(world.place.owners))
        self.stores = Stores(world.place.db, usable=lambda: "")
        self._cleanup.callback(self.stores.close)
        self.processes = world.processes = world.new_processes()
        self.store = self._cleanup.enter_context(Store.open(world.place.db))
        self.passes = replace(world.passes, settle=self._settle, parsed=world.parsed, commits=Commits())
        # Something vouches for every jump: how long a doubt lasts is for the tests of the clock.
        self.timekeeper = Timekeeper(world.clock, good=lambda: True)
        self.agenda = agenda = Agenda(read=lambda ids: self.store.read(syncs.observed_of, ids, (), total=0)[0].jobs)
        self.places = Places(
            passes=self.passes, clock=world.clock, lend=self.stores.lend, environ=world.environ, changed=agenda.poke
        )
        self._places_at: datetime | None = None
        self.workers = LocalEngine(
            attempts=self._attempts,
            lend=self.stores.lend,
            clock=world.clock,
            place=world.place,
            owner=self.owner.id,
            scratch=self.owner.scratch,
            alone=agenda.runs_alone,
            known=agenda.get,
            holds=self.places.holds,
            back_at=self.places.back_at,
            gate=self.places.accounts,
        )
        self.places.accounts.hasten, self.places.accounts.changed = self.workers.hasten, self._hurry
        self._cleanup.callback(self.workers.reactor.close)
        self.duties = _Duties(world.clock, self.workers, self.timekeeper)
        self.duties.places = self.places
        self.clockwork = Clockwork(
            clock=world.clock,
            owner=self.owner.id,
            since=world.clock.now(),
            agenda=agenda,
            lend=self.stores.lend,
            duties=self.duties,
        )
        self.timekeeper.begin(self.store)
        here = LocalRecovery(place=world.place, clock=world.clock, owner=self.owner.id)
        recover(self.store, [here], but=self.owner.id)
        self.sync("start")
        self.places.accounts.begin(self.store)
        self._look_at_places()
        self.clockwork.reload(self.store)
        self.workers.start(self.store.read(claims.queued))
        self.turn()

    def _attempts(self, store: Store) -> Attempts:
        return Attempts(
            place=self.world.place,
            store=store,
            clock=self.world.clock,
            environ=self.world.environ,
            passes=self.passes,
            owner=self.owner.id,
        )

    def _settle(self, store: Store, job_ids: Any, until: datetime) -> None:
        self.clockwork.dispatch(store, only=job_ids, until=until)

    def sync(self, cause: str) -> None:
        self.passes.sync(self.store, actor="scheduler", cause=cause)
        self.agenda.poke()

    def turn(self) -> None:
        """What the clockwork's thread does when it wakes; then everything that follows from it at this instant."""
        bell = self.places.loop.bell
        if bell.is_set() or (self._places_at is not None and self._places_at <= self.world.clock.now()):
            self._look_at_places()
        self.clockwork.turn(self.store)
        self.workers.skip_overdue(self.store)
        self.workers.release(self.world.clock.now())
        self.settle_down()
        while self.processes.end_due():
            self.settle_down()
        self.workers.release(self.world.clock.now())
        self.settle_down()
        if bell.is_set():  # an account was parked, or is free
            self.turn()

    def _hurry(self) -> None:
        self.workers.hurry()
        self.agenda.poke()

    def _look_at_places(self) -> None:
        self.places.loop.bell.clear()
        again = self.places.accounts.look(self.store)
        self._places_at = None if again is None else self.world.clock.now() + again * SECOND

    def settle_down(self) -> None:
        """Returns when each run under way waits for its end."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            self.workers.reactor.turn(0.0)
            chunks = self.workers._chunks
            chunks.write_ends_of({seat.run.job_id for seat in chunks._ended})
            if len(self.workers._seats) == len(self.processes.living):
                return
            if time.monotonic() > give_up:
                raise AssertionError(f"never at rest: {self.workers.under_way}")

    @property
    def next_event(self) -> datetime | None:
        known = (self.clockwork.next_start, self.workers.next_at, self.processes.next_end, self._places_at)
        return min((each for each in known if each is not None), default=None)

    def kill(self) -> None:
        self._cleanup.close()  # and nobody moves its runs on

    def stop(self) -> None:
        self.clockwork.stop()
        self.workers.stop(timedelta(0))
        self._cleanup.close()


class World:
    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        jobs: int,
        dense: int,
        deeds: tuple[str, ...] = DEEDS,
        calm: bool = False,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.deeds = deeds
        self.deeds_apart = 4 * tuple(each for each in ("pause", "resume") if each in deeds)  # more of, in an outage
        self.seed, self.rng = seed, random.Random(seed)
        self.root = folder
        self.clock = FakeClock(BEGIN)
        self.place = Place(root=folder, state=folder / ".scheduler", db=folder / ".scheduler/state.db")
        self.environ = {"PATH": os.environ["PATH"]}
        self.service = Root(
            place=self.place, actor="user:sim", environ=self.environ, clock=self.clock, absent_grace=timedelta(0)
        )
        self.parsed = _Parsed()
        self.passes = Passes(place=self.place, clock=self.clock, absent_grace=timedelta(0), parsed=self.parsed)
        self.processes = Processes(clock=self.clock, seed=seed)
        monkeypatch.setattr(chunks, "Execution", lambda *a, **kw: self.processes.begin(*a, **kw))
        self.events: list[dict[str, Any]] = []
        self.files: dict[str, JobFile] = {}
        self._twice_until = BEGIN
        self._noted: dict[str, JobFile] = {}
        self.daemon: Daemon | None = None
        self.places = 16
        self._gone: list[JobFile] = []
        (folder / "jobs").mkdir(parents=True)
        self.write_root()
        for n in range(jobs):
            self.write(some_job(self.rng, f"j{n:03}", dense=n < dense, calm=calm))

    # -- files -----------------------------------------------------------------------------------

    def write_root(self) -> None:
        (self.root / "scheduler.yaml").write_text(self.root_text())

    def root_text(self) -> str:
        return ROOT_FILE.format(places=self.places)

    def new_processes(self) -> Processes:
        """Of a daemon that begins: those of an earlier one are gone."""
        return Processes(clock=self.clock, seed=self.seed)

    def write(self, file: JobFile) -> None:
        self.files[file.id] = file
        (self.root / f"jobs/{file.id}.yaml").write_text(file.text())

    def note(self, kind: str, **data: Any) -> None:
        self.events.append({"at": self.clock.now().isoformat(), "kind": kind, **data})

    def _note_files(self) -> None:
        """What has changed in them since they were noted last; None: the job has no file any more."""
        changed = {
            job_id: None if (file := self.files.get(job_id)) is None else asdict(file)
            for job_id in sorted(self._noted.keys() | self.files.keys())
            if self._noted.get(job_id) is not self.files.get(job_id)
        }
        self._noted = dict(self.files)
        self.note("files", jobs=changed, places=self.places)

    def sync(self) -> None:
        """A pass, by whoever is there; what it takes in is noted as from now on."""
        if self.daemon is not None:
            self.daemon.sync("sync")
        else:
            with Store.open(self.place.db) as store:
                self.passes.sync(store, actor="user:sim", cause="sync")
        self._note_files()
        if self.daemon is not None:
            self.daemon.turn()

    # -- what happens ----------------------------------------------------------------------------

    def start(self) -> None:
        self.note("up")
        self._note_files()
        self.daemon = Daemon(self)

    def go_down(self) -> None:
        assert self.daemon is not None
        killed = self.rng.random() < 0.5
        (self.daemon.kill if killed else self.daemon.stop)()
        self.daemon = None
        self.note("down", killed=killed)

    def live(self, until: datetime, *, a_day: float) -> None:
        """Goes on to an instant, with so many things a day that somebody does."""
        self.start()
        back_at: datetime | None = None
        deed = self._next_deed(a_day)
        while True:
            coming = [until, deed]
            if self.daemon is None:
                assert back_at is not None
                coming.append(back_at)
            elif (event := self.daemon.next_event) is not None:
                coming.append(event)
            self.clock.moment = max(self.clock.moment, min(coming))
            if self.clock.moment >= until:
                break
            if self.daemon is None and back_at is not None and self.clock.moment >= back_at:
                self.start()
            elif self.daemon is not None:
                self.daemon.turn()
            if self.clock.moment >= deed:
                if self.daemon is not None and self.rng.random() < 0.15:
                    self.go_down()
                    back_at = self.clock.moment + self.rng.choice([20, 240, 3000, 30_000, 200_000]) * SECOND
                else:
                    self.deed()
                deed = self._next_deed(a_day)
        if self.daemon is None:
            self.start()
        assert self.daemon is not None
        self.daemon.stop()
        self.daemon = None
        self.note("down", killed=False)

    def _next_deed(self, a_day: float) -> datetime:
        # An outage is short beside a year, and what is done in it has to be seen through by who comes back.
        often = a_day if self.daemon is not None else 8 * a_day
        return max(self.clock.moment, self._twice_until) + (0.001 + self.rng.expovariate(often)) * DAY

    def deed(self) -> None:
        """Something that somebody does to the root, its jobs or their files."""
        rng, job_id = self.rng, self.rng.choice(sorted(self.files))
        file = self.files[job_id]
        match rng.choice(self.deeds if self.daemon is not None else (*self.deeds, *self.deeds_apart)):
            case "clock":
                hours = rng.choice([-3, -1, -0.5, -0.02, 0.02, 0.5, 1.5, 3])
                self.clock.step(HOUR * hours)
                self.note("clock", hours=hours)
            case "step":
                self._step()
            case "restart" if self.daemon is not None:
                (self.daemon.kill if rng.random() < 0.5 else self.daemon.stop)()
                self.daemon = Daemon(self)
            case "pause":
                until = None if rng.random() < 0.3 else self.clock.now() + rng.choice([600, 7200, 90_000]) * SECOND
                with contextlib.suppress(SchedulerError):
                    one_slot = rng.random() < 0.2
                    found = pause_job(self.service, job_id, until=None if one_slot else until, one_slot=one_slot)
                    self.note("pause", job=job_id, paused=found["job"]["paused"])
            case "resume":
                if (halted := self._halted()) is not None:
                    resume_job(self.service, halted)
                    self.note("resume", job=halted)
            case "edit":
                self.write(self._edited(file))
                self._maybe_sync()
            case "remove":
                gone = self.root / f"jobs/{job_id}.yaml"
                gone.unlink()
                del self.files[job_id]
                self._maybe_sync()
                self._come_back(file)
            case "run" if self.daemon is not None:
                with contextlib.suppress(RefusedError):
                    claim = self.daemon.store.write(
                        claims.claim_manual,
                        job_id,
                        trigger=Trigger.MANUAL,
                        requested_by="user:sim",
                        owner=self.daemon.owner.id,
                        max_running=self.places,
                        now=self.clock.now(),
                        waits=True,
                    )
                    self.daemon.duties.hand_over(claim)
            case "places":
                self.places = rng.choice([1, 2, 4, 16])
                self.write_root()
                self._maybe_sync()
        if self.daemon is not None:
            self.daemon.agenda.poke()
            self.daemon.turn()

    def _step(self) -> None:
        """Forward; or back, but not past the last thing that was done: what was in force when is to stay certain."""
        hours = self.rng.choice([-3, -1, -0.5, -0.02, 0.02, 0.5, 3, 9])
        now = self.clock.now()
        if hours < 0 and datetime.fromisoformat(self.events[-1]["at"]) >= now + HOUR * hours - MINUTE:
            hours = -hours
        if hours < 0:
            self._twice_until = now
        self.clock.step(HOUR * hours)
        self.note("clock", hours=hours)

    def _halted(self) -> str | None:
        """A job that is paused now, or has stopped."""
        now = self.clock.now()
        with Store.open(self.place.db) as store:
            halted = [
                job.id
                for job in store.read(queries.jobs)
                if not job.archived
                and ((job.pause is not None and job.pause.covers(now)) or job.runtime.stopped_at is not None)
            ]
        return self.rng.choice(halted) if halted else None

    def _come_back(self, file: JobFile) -> None:
        """What was removed comes back: at once, or when enough others are gone too."""
        self._gone.append(file)
        if self.rng.random() < 0.5 or len(self._gone) > 3:
            self.write(self._gone.pop(0))
            self._maybe_sync()

    def _maybe_sync(self) -> None:
        if self.daemon is not None or self.rng.random() < 0.5:
            self.sync()

    def _edited(self, file: JobFile) -> JobFile:
        rng = self.rng
        other = some_job(rng, file.id, dense=file.every is not None and file.every < 6 * 3600)
        match rng.choice(["prompt", "schedule", "enabled", "policy", "jitter", "expires"]):
            case "prompt":
                return replace(file, prompt=file.prompt + 1)
            case "schedule":
                keys = ("every", "cron", "zone", "at", "expires")
                return replace(file, **{key: getattr(other, key) for key in keys}, jitter=0)
            case "enabled":
                return replace(file, enabled=not file.enabled)
            case "jitter":
                return replace(file, jitter=0 if file.at else rng.choice([0, 20, 200]))
            case "expires":
                return file if file.at else replace(file, expires=None if other.at else other.expires)
        return replace(file, concurrency=other.concurrency, catch_up=other.catch_up, within=other.within)


@contextlib.contextmanager
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: a year is many commits."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or not os.access(shm, os.W_OK):
        yield tmp_path / "root"
        return
    folder = Path(tempfile.mkdtemp(prefix="scheduler-sim-", dir=shm))
    try:
        yield folder / "root"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
