"""Jobs of two accounts whose limits reset every five hours, and whose logins expire now and then.

As in `world.py`, only the clock and the processes are not real. What a process meets is decided when it starts, by the
account alone. Every start and end is written down in `seen`, from which `judge_accounts` tells what must be so without
knowing the program. Processes spend money, mostly less than their job allows: `judge_spending` adds it up.
"""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.prepare import Invocation
from scheduler.service.accounts import resume_account
from tests.simulation.world import BEGIN, DAY, HOUR, MINUTE, SECOND, Daemon, JobFile, Process, Processes, World

ACCOUNTS = ("red", "blue")
DAILY = (1, 2, 20)  # what a job may spend
WINDOW = 5 * HOUR
FURTHEST, UNTOLD = 7 * DAY, HOUR
ROOT_FILE = """\
version: 1
defaults: {{runner: red-1}}
runners:
  red-1: {{command: [/bin/true], input: stdin, account: red, env: {{EDITION: "{edition}"}}}}
  red-2: {{command: [/bin/true], input: stdin, account: red}}
  blue: {{command: [/bin/true], input: stdin}}
limits: {{max_running: {places}}}
budget: {{per_day: {a_day}}}
"""
PER_RUN = Decimal("0.10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Something that happened to an account, in the order in which it did."""

    kind: str  # start, end, ask: somebody asks for a probe; gone: the processes are; step: the clock is set
    at: datetime  # by the clock of that moment
    account: str = ""
    key: tuple[str, int] = ("", 0)  # run and attempt
    by_hand: bool = False
    end_class: EndClass | None = None
    reset_at: datetime | None = None


@dataclass(kw_only=True)
class Provider:
    """What the accounts allow."""

    seed: int
    most: int  # runs of an account in each window
    free_from: datetime  # no limit any more
    used: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def meets(self, account: str, at: datetime) -> tuple[EndClass | None, datetime | None]:
        """What a process that starts now is told: None if it may work."""
        if at >= self.free_from:
            return None, None
        number = (at - BEGIN) // WINDOW
        chance = random.Random(f"{self.seed} {account} {number}")
        told, expired = chance.random() < 0.7, chance.random() < 0.05
        if expired:
            return EndClass.CREDENTIAL, None
        if self.used[account, number] >= self.most:
            reset = BEGIN + (number + 1) * WINDOW
            lies = chance.random()  # in the past, or in a year
            reset += -6 * HOUR if lies < 0.05 else 365 * DAY if lies > 0.98 else timedelta(0)
            return EndClass.QUOTA, reset if told else None
        self.used[account, number] += 1
        return None, None


class AgentProcess(Process):
    """One process of an agent."""

    def __init__(
        self, processes: AgentProcesses, invocation: Invocation, cancel: Cancel, ended: Callable[[Any], None]
    ) -> None:
        super().__init__(processes, invocation, cancel, ended)
        self._of, self._account = processes.world, invocation.account
        self._by_hand = invocation.env["SCHEDULER_TRIGGER"] == "manual"
        self._fails = self._fails and int(self._key[0].partition(":")[0].removeprefix("j")) % 2 == 1
        chance = random.Random(f"{processes.world.seed} {self._key}").random()
        # Now and then more than the job allows, and now and then nobody knows.
        self.spend = None if chance < 0.03 else Decimal("0.35") if chance > 0.97 else Decimal("0.05")
        self._length = min(self._length, 1800)

    def start(self) -> None:
        now = self._of.clock.now()
        self._meets, self._reset = self._of.provider.meets(self._account, now)
        if self._meets is not None:
            self._length = 5
        self._see("start")
        super().start()

    def _see(self, kind: str, **more: Any) -> None:
        self._of.seen.append(
            Seen(
                kind=kind, at=self._of.clock.now(), account=self._account, key=self._key, by_hand=self._by_hand, **more
            )
        )

    def _ending(self) -> Ending:
        found = super()._ending()
        if found.status not in (RunStatus.SUCCEEDED, RunStatus.FAILED):
            self._see("end")
            return found
        end_class = self._meets or (EndClass.TASK if self._fails else EndClass.OK)
        self._see("end", end_class=end_class, reset_at=self._reset)
        spend = self.spend if self._meets is None else Decimal(0)
        cost = None if spend is None else Cost(amount=spend, currency="USD", basis=CostBasis.REPORTED)
        agent = AgentResult(format=ResultFormat.CLAUDE, end_class=end_class, reset_at=self._reset, cost=cost)
        if self._meets is None:
            return replace(found, agent=agent)
        status, reason = RunStatus.FAILED, self._meets.value
        return replace(found, status=status, reason=reason, exit_code=1, agent=agent, account=self._account)


class AgentProcesses(Processes):
    def __init__(self, world: AccountWorld) -> None:
        super().__init__(clock=world.clock, seed=world.seed)
        self.world = world

    def begin(
        self, invocation: Invocation, *, cancel: Cancel, ended: Callable[[Ending | Exception], None], **_: object
    ) -> Process:
        return AgentProcess(self, invocation, cancel, ended)


def agent_job(rng: random.Random, number: int) -> JobFile:
    schedule: dict[str, Any] = {"every": rng.choice([1800, 3600, 3600, 7200])}
    if rng.random() < 0.2:
        schedule = {"cron": f"{rng.randrange(60)} {rng.randrange(24)} * * *", "zone": "Asia/Kolkata"}
    return JobFile(
        id=f"j{number:03}",
        **schedule,
        runner=rng.choice(["red-1", "red-2"]) if number % 2 else "blue",
        jitter=rng.choice([0, 0, 20]),
        concurrency=rng.choice(["forbid", "forbid", "queue", "allow"]),
        catch_up=rng.choice(["latest", "latest", "latest", "none", "all"]),
        attempts=rng.choice([1, 1, 3]),
        failure_limit=0,
        budget=f"{{per_run: {PER_RUN}, per_day: {rng.choice(DAILY)}}}",
    )


class AccountWorld(World):
    def __init__(
        self, folder: Path, seed: int, *, jobs: int, days: int, deeds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.seen: list[Seen] = []
        self.edition = 0
        self.until = BEGIN + days * DAY
        self.provider = Provider(seed=seed, most=jobs, free_from=self.until - DAY)
        self.a_day = jobs * Decimal("0.7")  # what all jobs may spend: less than they would on a busy day
        super().__init__(folder, seed, jobs=0, dense=0, deeds=deeds, monkeypatch=monkeypatch)
        for number in range(jobs):
            self.write(agent_job(self.rng, number))

    def root_text(self) -> str:
        return ROOT_FILE.format(places=self.places, edition=self.edition, a_day=self.a_day)

    def new_processes(self) -> Processes:
        self.seen.append(Seen(kind="gone", at=self.clock.now()))
        return AgentProcesses(self)

    def deed(self) -> None:
        if self.clock.now() > self.until - DAY:  # all is to be caught up by the end
            for account in ACCOUNTS:
                self._ask(account)
            return
        match self.rng.choice(self.deeds):
            case "ask":
                self._ask(self.rng.choice(ACCOUNTS))
            case "edit":
                self.edition += 1
                self.write_root()
                self.seen.append(Seen(kind="ask", at=self.clock.now(), account="red"))
                self.sync()
                assert self.daemon is not None
                self.daemon.places.ring()
                self.daemon.turn()
            case "step":
                self.clock.step(HOUR * self.rng.choice([-3, -0.5, 0.5, 3]))
                self.note("clock", hours=0)
                self.seen.append(Seen(kind="step", at=self.clock.now()))
                assert self.daemon is not None
                self.daemon.places.ring()
                self.daemon.turn()
            case "restart":
                self.go_down()
            case "run":
                self.deeds, deeds = ("run",), self.deeds
                super().deed()
                self.deeds = deeds

    def _ask(self, account: str) -> None:
        if resume_account(self.service, account)["waiting"] is not None:
            self.seen.append(Seen(kind="ask", at=self.clock.now(), account=account))
        assert self.daemon is not None
        self.daemon.places.ring()
        self.daemon.turn()

    def go_down(self) -> None:
        """And come back: what an outage does to slots is not the question here."""
        assert self.daemon is not None
        (self.daemon.kill if self.rng.random() < 0.5 else self.daemon.stop)()
        self.daemon = Daemon(self)


# -- the judgement -----------------------------------------------------------------------------


@dataclass
class _Account:
    until: datetime | None = None  # parked until then
    told: bool = False
    probe: tuple[str, int] | None = None


def judge_accounts(seen: list[Seen]) -> Iterator[str]:
    """What was woken although its account was parked."""
    accounts = {name: _Account() for name in ACCOUNTS}
    for each in seen:
        if each.kind in ("gone", "step"):
            for account in accounts.values():
                if each.kind == "gone":
                    account.probe = None
                if account.until is not None and not account.told:
                    account.until = min(account.until, each.at + UNTOLD)
            continue
        account = accounts[each.account]
        name = f"{each.kind} of {each.key} of {each.account} at {each.at:%d %H:%M:%S}"
        match each.kind:
            case "ask" if account.until is not None:
                account.until = min(account.until, each.at)
            case "start" if account.until is not None:
                if account.probe is not None:
                    yield f"{name}: while {account.probe} probes"
                elif each.at < account.until and not each.by_hand:
                    yield f"{name}: parked until {account.until:%d %H:%M:%S}"
                account.probe = each.key
            case "end":
                _end(account, each)


def _end(account: _Account, each: Seen) -> None:
    probed = account.probe == each.key
    if probed:
        account.probe = None
    if each.end_class in (EndClass.QUOTA, EndClass.CREDENTIAL):
        told = each.reset_at is not None and not (account.until is not None and each.reset_at <= each.at)
        until = each.at + UNTOLD
        if told and each.reset_at is not None:
            until = min(max(each.reset_at, each.at), each.at + FURTHEST) + MINUTE
        known = account.until
        if known is None or known <= each.at or (told, until) > (account.told, known):
            account.told, account.until = told, until
    elif probed and each.end_class is not None:
        account.until = None


def judge_rows(sql: sqlite3.Connection) -> Iterator[str]:
    """No slot is tried for ever, and no limit is an error of a job."""
    tried = (
        "SELECT job_id, run_n, sum(end_class IN ('quota', 'credential')) AS cut FROM attempts GROUP BY job_id, run_n"
    )
    for job_id, n, cut, trigger in sql.execute(
        f'SELECT runs.job_id, n, cut, "trigger" FROM runs JOIN ({tried}) AS tried'
        " ON tried.job_id = runs.job_id AND run_n = n WHERE cut > 1"
    ):
        if cut > 2 or trigger == "manual":
            yield f"{job_id}:{n}: {cut} attempts met a limit"
    failed = "SELECT job_id FROM runs WHERE end_class = 'task' OR status = 'interrupted'"
    for job_id, errors in sql.execute(
        f"SELECT id, consecutive_errors FROM jobs WHERE id NOT IN ({failed}) AND consecutive_errors > 0"
    ):
        yield f"{job_id}: {errors} errors"
    for (job_id,) in sql.execute(f"SELECT job_id FROM audit WHERE action = 'failure' AND job_id NOT IN ({failed})"):
        yield f"{job_id}: a failure was reported"
    for job_id, n in sql.execute("SELECT job_id, n FROM runs WHERE status NOT IN ('queued', 'claimed', 'running')"
                                 " AND finished_at IS NULL"):  # fmt: skip
        yield f"{job_id}:{n}: no end"


def judge_caught_up(sql: sqlite3.Connection, files: dict[str, JobFile]) -> Iterator[str]:
    """Where no clock was set and no daemon was away for long: `all` misses nothing, `latest` only for a newer slot."""
    missed = "SELECT job_id, n, fire_time_last, error FROM runs WHERE status = 'skipped' AND reason = 'missed'"
    for job_id, n, last, error in sql.execute(f"{missed} ORDER BY job_id, n"):
        file = files[job_id]
        (newer_ones,) = sql.execute(
            "SELECT count(*) FROM runs WHERE job_id = ? AND n > ? AND \"trigger\" = 'catch_up'", (job_id, n)
        ).fetchone()
        if file.catch_up == "all" and newer_ones < 100:  # of more, the oldest are missed
            yield f"{job_id}:{n}: missed {last}, although all are caught up ({error})"
        if file.catch_up != "latest":
            continue
        newer = sql.execute(
            "SELECT n FROM runs WHERE job_id = ? AND fire_time > ? AND fire_time <= ?"
            " AND (status <> 'skipped' OR reason = 'budget') LIMIT 1",
            (job_id, last, (datetime.fromisoformat(last) + FURTHEST + DAY).strftime("%Y-%m-%dT%H:%M:%S.999Z")),
        ).fetchone()
        if newer is None:
            yield f"{job_id}:{n}: missed {last}, and no newer slot ran ({error})"


def judge_spending(sql: sqlite3.Connection, files: dict[str, JobFile], a_day: Decimal) -> Iterator[str]:
    """No day costs more than it may, but for what runs spend beyond their own limit."""
    spent: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for job_id, day, nano in sql.execute("SELECT job_id, substr(started_at, 1, 10), cost_nano FROM runs"
                                         " WHERE started_at NOTNULL AND finished_at NOTNULL"):  # fmt: skip
        cost = PER_RUN if nano is None else min(PER_RUN, Decimal(nano).scaleb(-9))
        spent[job_id, day] += cost
        spent["", day] += cost
    for (job_id, day), total in spent.items():
        limit = a_day if not job_id else Decimal(str(files[job_id].budget).rpartition(" ")[2].rstrip("}"))
        if total > limit:
            yield f"{job_id or 'all jobs'}: {total} spent on {day}, and {limit} is the limit"


def lasts(seen: list[Seen]) -> dict[str, int]:
    """How often what happened."""
    counts: dict[str, int] = defaultdict(int)
    for each in seen:
        counts[each.kind if each.end_class is None else each.end_class.value] += 1
    return dict(counts)


SECONDS = SECOND  # of a turn
