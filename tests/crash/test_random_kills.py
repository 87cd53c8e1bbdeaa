"""kill -9 at random moments, under load, while people edit files and give commands."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.crash.invariants import judge
from tests.crash.world import SERVING, World
from tests.helpers import Daemon, until

KILLS = 15  # of a round, at whose end all is judged
EARLY = 0.2  # of the starts are killed before they serve as well
PLACES = 4  # for twelve jobs

QUICK = ("quick-1", "quick-2", "quick-3", "quick-4")
SLOW = {"slow-1": "sleep 1", "slow-2": "sleep 1.4", "slow-3": "sleep 2 & wait", "slow-4": "trap '' TERM; sleep 3"}
FAILING = ("failing-1", "failing-2")
COMMANDED = ("quick-1", "slow-1", "failing-1")  # run, paused and resumed by hand
LONG = pytest.mark.long
DOCUMENT = """\
id: {job_id}
schedule: {{every: {every}}}
enabled: {enabled}
name: {name}
task_source_path: {task}
failure_limit: {limit}
"""


class People:
    """Those who edit the root and give commands meanwhile, in a thread of their own."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._edits = 0
        self.did: Counter[str] = Counter()
        self.wrong: list[str] = []

    def arrive(self) -> None:
        """Makes all jobs, before the first of them fires."""
        for job_id in QUICK:
            self._script(job_id)
            self._save(job_id)
        for job_id, line in SLOW.items():
            self._script(job_id, line)
        # Two documents of one file, and two of their own.
        self._pair()
        self._save("slow-3")
        self._save("slow-4")
        for job_id in FAILING:
            self._script(job_id, "exit 3")
            self._save(job_id)
        self._script("edited")
        self._save("edited")
        self._script("guest")
        self._save("guest")
        assert self._world.cli("sync").code == 0

    def __enter__(self) -> People:
        self._stop.clear()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _live(self) -> None:
        doings: list[tuple[int, Callable[[], None]]] = [
            (10, self.edit_a_prompt),
            (4, self.edit_a_definition),
            (4, self.edit_a_schedule),
            (2, self.switch_a_job),
            (3, self.add_or_remove_a_job),
            (2, self.move_a_file),
            (2, self.break_a_file_for_a_moment),
            (3, self.run_by_hand),
            (2, self.pause_or_resume),
        ]
        weights = [weight for weight, _ in doings]
        try:
            while not self._stop.wait(self._random.uniform(0.02, 0.2)):
                ((_, do),) = self._random.choices(doings, weights)
                self.did[do.__name__] += 1
                do()
        except Exception as error:
            self.wrong.append(f"the people have stopped: {error!r}")
            raise

    # -- files -----------------------------------------------------------------------------------

    def _script(self, job_id: str, *lines: str) -> None:
        self._edits += 1
        self._world.write(f"scripts/{job_id}.sh", self._world.script(f"# {self._edits}", *lines))

    def _document(self, job_id: str, *, every: str = "1s", enabled: bool = True) -> str:
        return DOCUMENT.format(
            job_id=job_id,
            every=every,
            enabled=str(enabled).lower(),
            name=f"{job_id} {self._edits}",
            task=f"scripts/{job_id}.sh",
            limit=3 if job_id in FAILING else 0,  # the others are interrupted all the time
        )

    def _save(self, job_id: str, *, every: str = "1s", enabled: bool = True, path: str = "") -> None:
        self._edits += 1
        self._world.write(path or f"jobs/{job_id}.yaml", self._document(job_id, every=every, enabled=enabled))

    def _pair(self) -> None:
        self._edits += 1
        self._world.write("jobs/pair.yaml", "---\n".join(self._document(each) for each in ("slow-1", "slow-2")))

    def edit_a_prompt(self) -> None:
        scripts = {**dict.fromkeys(QUICK, ""), **SLOW, **dict.fromkeys(FAILING, "exit 3"), "edited": "", "guest": ""}
        job_id = self._random.choice(list(scripts))
        self._script(job_id, scripts[job_id])

    def edit_a_definition(self) -> None:
        job_id = self._random.choice(["", "quick-1", "failing-2"])
        if job_id:
            self._save(job_id)
        else:
            self._pair()

    def edit_a_schedule(self) -> None:
        self._save("edited", every=self._random.choice(["1s", "2s", "3s", "5s"]))

    def switch_a_job(self) -> None:
        self._save("quick-4", enabled=self._random.random() < 0.5)

    def add_or_remove_a_job(self) -> None:
        guest = self._world.root / "jobs/guest.yaml"
        if guest.exists():
            guest.unlink()
        else:
            self._save("guest")

    def move_a_file(self) -> None:
        here, there = self._world.root / "jobs/quick-3.yaml", self._world.root / "jobs/moved/quick-3.yaml"
        there.parent.mkdir(exist_ok=True)
        here, there = (here, there) if here.exists() else (there, here)
        here.rename(there)

    def break_a_file_for_a_moment(self) -> None:
        self._world.write("jobs/quick-2.yaml", "id: [\n")
        self._stop.wait(self._random.uniform(0, 1.5))
        self._save("quick-2")

    # -- commands --------------------------------------------------------------------------------

    def _command(self, *args: str) -> None:
        found = self._world.cli(*args)
        # 1: it failed. 3: it runs already, or the house is full. 5: the daemon was killed meanwhile.
        if found.code not in (0, 1, 3, 5) or "Traceback" in found.stderr:
            self.wrong.append(f"{args}: {found}")
        self.did[f"{args[0]}: {found.code}"] += 1

    def run_by_hand(self) -> None:
        self._command("run", self._random.choice(COMMANDED), *self._random.choice([(), ("--wait",)]))

    def pause_or_resume(self) -> None:
        self._command(self._random.choice(["pause", "resume"]), self._random.choice(COMMANDED))

    def settle(self) -> None:
        """Leaves all in order: no file is broken, and no job is paused."""
        for job_id in COMMANDED:
            assert self._world.cli("resume", job_id).code == 0


def let_live(daemon: Daemon, seconds: float) -> None:
    """Kills it after this time, which it must not end by itself."""
    try:
        code = daemon.process.wait(seconds)
    except subprocess.TimeoutExpired:
        assert daemon.kill() == -signal.SIGKILL
    else:
        raise AssertionError(f"it has ended by itself ({code}): {daemon.stderr}")


def caught_up(world: World) -> bool:
    now = datetime.now(UTC)
    jobs = world.rows(
        "SELECT next_run_at FROM jobs WHERE archived_at IS NULL AND next_run_at <= coalesce(stopped_at, next_run_at)"
    )
    return all(datetime.fromisoformat(job["next_run_at"]) > now for job in jobs)


def summary(world: World) -> str:
    found: Counter[str] = Counter()
    for row in world.rows("SELECT * FROM runs"):
        trigger = "" if row["trigger"] == "schedule" else f"{row['trigger']} "
        found[f"{trigger}{row['status']}{'/' + row['reason'] if row['reason'] else ''}"] += row["slots"]
    return f"{len(world.daemons)} daemons, {len(world.marks())} marks, slots {dict(found)}"


def one_round(world: World, people: People, rng: random.Random) -> None:
    """Kills daemons while the people live; the last one is stopped in peace when it has caught up."""
    with people:
        for _ in range(KILLS):
            if rng.random() < EARLY:
                let_live(world.serve(), rng.uniform(0, 0.6))
            daemon = world.serve()
            daemon.says(SERVING)
            let_live(daemon, rng.uniform(0.05, 1.2))
        last = world.serve()
    people.settle()
    until(lambda: caught_up(world), f"the last daemon to serve all jobs: {last.stderr}")
    until(lambda: world.cli("plan", "--exit-code").code == 0, "nothing to do")
    last.says(SERVING)  # before that it is no daemon yet, and SIGTERM ends it as any process
    assert last.stop() == 0, last.stderr


@pytest.mark.parametrize("rounds", [pytest.param(1, id="15 kills"), pytest.param(67, id="1005 kills", marks=LONG)])
def test_kills_under_load_lose_no_slot_and_run_none_twice(world: World, rounds: int) -> None:
    """One database lives through all rounds."""
    seed = 20260302
    world.limit(PLACES)
    rng, people = random.Random(seed), People(world, seed)
    people.arrive()
    for number in range(1, rounds + 1):
        began = time.monotonic()
        one_round(world, people, rng)
        context = f"seed {seed}, round {number} of {rounds}; people did {dict(people.did)}; {summary(world)}"
        print(context, f"took {time.monotonic() - began:.0f} s", flush=True)
        assert people.wrong == [], context
        judge(world, context)


def test_edits_saved_in_the_instant_of_a_slot_keep_no_job_from_firing(world: World) -> None:
    """A pass then reads before the claim and writes after it: of many files, so that this takes a while."""
    rng = random.Random(1)
    for n in range(200):
        world.write(f"jobs/idle-{n}.yaml", f"id: idle-{n}\nschedule: {{every: 1d}}\ntask: exit\n")
    schedules = {f"job-{n}": "every: 1s" for n in range(6)}
    for job_id, schedule in schedules.items():
        world.job(job_id, schedule=schedule)
    daemon = world.serve()
    daemon.says(SERVING)
    for n in range(12):
        let_come(rng.uniform(0, 0.08))
        job_id = rng.choice(list(schedules))
        if n % 2:
            schedules[job_id] = rng.choice(["every: 1s", "every: 2s"])
        world.job(job_id, f"# edit {n}", schedule=schedules[job_id])
    until(lambda: caught_up(world), "every job to fire on")
    until(lambda: world.cli("plan", "--exit-code").code == 0, "nothing to do")
    assert daemon.stop() == 0, daemon.stderr
    judge(world)


def let_come(before: float) -> None:
    """Returns this many seconds before the next whole one."""
    time.sleep((1 - before - time.time()) % 1)
