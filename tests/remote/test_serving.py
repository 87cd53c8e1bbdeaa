"""A daemon whose root is kept from a bare remote, while people push to that: every run is of one whole commit."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers import git, until
from tests.remote.world import World

# Says which number each file that it reads has: its task, a script beside it, and the settings that started it.
ROOT_FILE = """\
version: 1
defaults: {{runner: show}}
runners:
  show: {{command: [sh, tools/show.sh, "settings {n}"], input: stdin}}
limits: {{max_running: 8}}
"""
SHOW = "cat\necho tool {n}\necho $1\nsleep 0.2\ncat other.txt\necho root $SCHEDULER_ROOT\n"
JOB = 'id: {job}\nname: name {n}\nschedule: "* * * * * *"\ntask_source_path: prompts/{job}.md\nconcurrency: allow\n'
JOBS = ("a", "b", "c")


def files(n: int) -> dict[str, str]:
    return {
        "scheduler.yaml": ROOT_FILE.format(n=n),
        "tools/show.sh": SHOW.format(n=n),
        "other.txt": f"other {n}\n",
        **{f"jobs/{job}.yaml": JOB.format(job=job, n=n) for job in JOBS},
        **{f"prompts/{job}.md": f"task {n}\n" for job in JOBS},
    }


class Service:
    """A daemon, and what commands say beside it."""

    def __init__(self, world: World, log: Path) -> None:
        self.world = world
        self.log = log
        self.daemon: subprocess.Popen[str]

    def start(self) -> None:
        command = [sys.executable, "-m", "scheduler", "--root", str(self.world.root), "serve"]
        with self.log.open("a") as log:
            self.daemon = subprocess.Popen(command, stderr=log, text=True)
        until(lambda: "serving" in self.log.read_text(), "a daemon that serves")

    def kill(self) -> None:
        self.daemon.kill()
        self.daemon.wait()
        self.log.write_text(self.log.read_text().replace("serving", "served"))

    def say(self, *args: str, codes: tuple[int, ...] = (0,)) -> Any:
        command = [sys.executable, "-m", "scheduler", "--root", str(self.world.root), *args, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in codes, done.stderr
        return json.loads(done.stdout)

    def look(self) -> None:
        """Asks for a look, as a webhook would."""
        os.utime(self.world.followed.state / "wake")

    def runs(self) -> list[Mapping[str, Any]]:
        """The rows of all runs. Not by a command: asked for again and again."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.world.followed.state / 'state.db'}?mode=ro", uri=True)
        ) as sql:
            sql.row_factory = sqlite3.Row
            return [dict(row) for row in sql.execute("SELECT * FROM runs ORDER BY job_id, n")]


@contextmanager
def serving(world: World) -> Iterator[Service]:
    service = Service(world, world.folder / "log")
    service.start()
    try:
        yield service
    finally:
        service.daemon.send_signal(signal.SIGTERM)
        assert service.daemon.wait(60) == 0


def judge(world: World, service: Service, numbers: Mapping[str, int]) -> set[str]:
    """Every run that ran is of one commit, in all that it read; the commits of which there were runs."""
    found = set()
    for run in service.runs():
        if run["status"] == "skipped":
            assert run["reason"] in ("missed", "superseded", "overlap", "capacity"), run
            continue
        if run["status"] not in ("succeeded", "failed"):
            assert run["status"] in ("claimed", "queued", "running", "interrupted"), run
            continue
        assert run["status"] == "succeeded", run
        commit = run["revision"]
        n = numbers[commit]
        out = world.followed.state / f"runs/{run['job_id']}/{run['n']}.1.stdout"
        assert out.read_text() == (
            f"task {n}\ntool {n}\nsettings {n}\nother {n}\nroot {world.followed.commits / commit}\n"
        ), run
        blob = git(world.root / "current", "cat-file", "blob", f"{commit}:prompts/{run['job_id']}.md")
        assert blob == f"task {n}"
        assert run["dirty"] is None
        found.add(commit)
    return found


def at(service: Service, commit: str) -> Any:
    """Until each job has run at this commit."""

    def found() -> bool:
        fine = [run for run in service.runs() if run["revision"] == commit and run["status"] == "succeeded"]
        return {run["job_id"] for run in fine} == set(JOBS)

    return until(found, f"a run of each job at {commit}")


def test_no_run_mixes_two_commits_while_people_push_and_rewrite(world: World) -> None:
    rng = random.Random(7)
    numbers = {world.begin(files(0)): 0}
    world.clone()
    with serving(world) as service:
        for n in range(1, 6):
            commit = world.push(files(n), amend=rng.random() < 0.4)
            numbers[commit] = n
            service.look()
            if n == 3:
                service.kill()
                service.start()
            at(service, commit)
        seen = judge(world, service, numbers)
        assert len(seen) >= 5
        until(lambda: len(list(world.followed.commits.iterdir())) <= 2, "old commits to go")
        job = service.say("show", "a")["job"]
        assert (job["name"], job["run_count"] >= 5) == ("name 5", True)
    text = service.log.read_text()
    assert "commit_applied" in text
    assert "Traceback" not in text
    assert "sync_failed" not in text


def test_unsigned_commits_are_not_run_while_signed_ones_are(world: World) -> None:
    world.begin(files(0))
    key = world.key("good")
    numbers = {world.push(files(1), sign=key): 1}
    world.clone(signers=world.signers(key))
    with serving(world) as service:
        at(service, next(iter(numbers)))
        bad = world.push(files(2))
        service.look()
        trouble = until(lambda: service.say("list")["troubles"], "the list to say it")
        assert f"commit {bad[:12]} is not signed" in trouble[0]
        doctor = service.say("doctor", codes=(1,))
        (check,) = [each for each in doctor["checks"] if each["name"] == "remote"]
        assert check["status"] == "error"
        good = world.push(files(3), sign=key)
        numbers[good] = 3
        service.look()
        at(service, good)
        assert service.say("list")["troubles"] == []
        assert judge(world, service, numbers) == set(numbers)


def test_a_remote_that_goes_away_stops_no_fire_and_one_that_loses_every_job_meets_the_guard(world: World) -> None:
    first = world.begin(files(0))
    numbers = {first: 0}
    world.clone()
    with serving(world) as service:
        at(service, first)
        away = world.bare.rename(world.folder / "away.git")
        service.look()
        until(lambda: service.say("list")["troubles"], "the list to say it")
        before = len(service.runs())
        until(lambda: len(service.runs()) > before + 3, "fires")
        away.rename(world.bare)
        empty = world.push({f"jobs/{job}.yaml": None for job in JOBS})
        service.look()
        until(lambda: world.followed.commit() == empty, "the commit without jobs")
        found = until(lambda: service.say("plan", codes=(0, 3))["guard"], "the guard")
        assert found["ids"] == list(JOBS)
        # A fire in between finds the folder of the tasks gone, so its slot waits.
        assert {job["status"] for job in service.say("list")["jobs"]} <= {"active", "waiting"}
        back = world.push(files(1))
        numbers |= {empty: 0, back: 1}
        service.look()
        at(service, back)
        assert service.say("plan")["guard"] is None
        # A job that the guard keeps goes on by its last good definition: with the task that the commit still has.
        judge(world, service, numbers)


def test_a_run_keeps_its_commit_for_as_long_as_it_lasts(world: World) -> None:
    wait = "cat; while [ ! -e {go} ]; do sleep 0.05; done; cat other.txt\n"
    go = world.folder / "go"
    slow = {
        "scheduler.yaml": "version: 1\ndefaults: {runner: sh}\nrunners: {sh: {command: [sh, wait.sh]}}\n",
        "wait.sh": wait.format(go=go),
        "jobs/slow.yaml": 'id: slow\nschedule: {every: 1d}\ntask: "hi\\n"\n',
        "other.txt": "old\n",
    }
    first = world.begin(slow)
    world.clone()
    with serving(world) as service:
        service.say("run", "slow")
        until(lambda: service.say("history", "slow")["runs"][0]["status"] == "running", "it to run")
        second = world.push({"other.txt": "new\n"})
        service.say("sync")
        assert world.followed.commit() == second
        third = world.push({"other.txt": "newer\n"})
        service.say("sync")
        kept = sorted([first, third])  # a pass may still read the second, for a moment
        until(lambda: sorted(each.name for each in world.followed.commits.iterdir()) == kept, "the second to go")
        go.touch()
        (run,) = until(
            lambda: [each for each in service.say("history", "slow")["runs"] if each["status"] == "succeeded"],
            "its end",
        )
        assert run["revision"] == first
        assert (world.followed.state / "runs/slow/1.1.stdout").read_text() == "hi\nold\n"
        service.say("sync")
        until(lambda: len(list(world.followed.commits.iterdir())) == 1, "the first to go")


def test_a_retry_takes_definition_settings_and_program_from_one_commit_and_keeps_its_text(world: World) -> None:
    go = world.folder / "go"
    tool = "cat\nuntil [ -e {go} ]; do sleep 0.05; done\necho tool {n} name $NAME $1\n[ $SCHEDULER_ATTEMPT = 2 ]\n"
    job = 'id: a\nenv: {{NAME: "{n}"}}\nschedule: {{every: 1d}}\ntask_source_path: t.md\n'
    retried = "retry: {attempts: 2, delay: 1s}\n"

    def all_of(n: int) -> dict[str, str]:
        return {
            "scheduler.yaml": ROOT_FILE.format(n=n).replace("input: stdin", "input: stdin, job_env: [NAME]"),
            "tools/show.sh": tool.format(n=n, go=go),
            "jobs/a.yaml": job.format(n=n) + retried,
            "t.md": f"task {n}\n",
        }

    first = world.begin(all_of(1))
    world.clone()
    subprocess.run([sys.executable, "-m", "scheduler", "--root", world.root, "sync"], check=True, capture_output=True)
    out = world.followed.state / "runs/a/1.1.stdout"
    with subprocess.Popen(
        [sys.executable, "-m", "scheduler", "--root", world.root, "run", "a", "--wait"], text=True
    ) as run:
        until(out.exists, "the first attempt")
        world.push(all_of(2))
        world.look()  # and no pass: the database knows of the first commit only
        go.touch()
        assert run.wait(60) == 0
    assert out.read_text() == "task 1\ntool 1 name 1 settings 1\n"
    assert out.with_name("1.2.stdout").read_text() == "task 1\ntool 2 name 2 settings 2\n"
    told = subprocess.check_output([sys.executable, "-m", "scheduler", "--root", world.root, "history", "a", "--json"])
    assert json.loads(told)["runs"][0]["revision"] == first


def test_serve_once_looks_at_the_remote_first(world: World) -> None:
    world.begin(files(0))
    world.clone()
    commit = world.push(files(1))
    command = [sys.executable, "-m", "scheduler", "--root", str(world.root), "serve", "--once"]
    subprocess.run(command, capture_output=True, check=True)
    assert world.followed.commit() == commit
