"""The dead-man's switch of a living daemon: reports each alarm once when it starts, and once when it ends.

It has its own thread, which claims nothing and moves no cursor: it must work even if the firing thread hangs. If the
whole daemon is dead, `list` and `doctor` report the same alarms, from the same rows by the same rule (ADR 23).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core.due.events import Streak, gone_well, gone_wrong, is_told, steady
from scheduler.core.due.expected import Alarm, Kind
from scheduler.core.due.troubles import ROOT_STREAKS, Trouble, channel_of_key, kind_of_key
from scheduler.core.values.events import EventKind, Phase
from scheduler.core.values.facts import JobSummary
from scheduler.core.values.instants import instant, milliseconds
from scheduler.core.values.runs import AuditRow
from scheduler.ledger import told
from scheduler.ledger.audit import append_audit
from scheduler.ledger.overdue import Watch
from scheduler.ledger.pool import Lend
from scheduler.ledger.rows import stamp
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop

if TYPE_CHECKING:
    from sqlite3 import Connection

LOOK_S = 15.0
REST_S = 0.02  # between two slices of jobs
BATCH = 500  # audit rows in one transaction: a claim never waits for more

_log = Log(__name__)


@dataclass(eq=False, kw_only=True)
class Alarms:
    """Watches what should happen, beside a daemon's other work. Its failures stop nothing."""

    clock: Clock
    lend: Lend
    fires: Callable[[], bool]  # True if this daemon may fire at all
    doubt: Callable[[], str] = lambda: ""  # why the clock is not trusted; by such a clock nothing is late
    troubles: Callable[[Store], Sequence[Trouble]] = lambda _: ()  # what is wrong with the root now

    def __post_init__(self) -> None:
        self._overdue = Watch()
        self.loop = Loop("alarms", self._turns, _log, "alarms_not_looked_at", level=logging.WARNING)

    def _turns(self) -> Iterator[float]:
        while True:
            yield LOOK_S
            with self.lend() as store:
                self.look(store)
            self.loop.succeed()

    def look(self, store: Store) -> None:
        """Report what has become overdue or wrong, and what no longer is. Raises: UnavailableError."""
        self._look_at_root(store)
        if self.doubt() or not self.fires():
            return
        before = self._overdue.ringing.keys()
        if not self._overdue.look(store, self.clock.now(), stop=lambda: self.loop.stopping.wait(REST_S)):
            return
        ringing, now = self._overdue.ringing, self.clock.now()
        known = store.read(told.streaks, _ALARM)
        keys = {key: _key(*key) for key in ringing}
        # At the second look: after a sleep, the firing thread may not have had its turn yet.
        begun = sorted(key for key in ringing.keys() & before if _is_news(known.get(keys[key]), now))
        over = sorted(known.keys() - set(keys.values()))
        for first in range(0, len(begun), BATCH):
            store.write(_tell_overdue, [ringing[key] for key in begun[first : first + BATCH]], now)
        for first in range(0, len(over), BATCH):
            store.write(_tell_all_clear, over[first : first + BATCH], now)
        for job, alarm in (ringing[key] for key in begun if keys[key] not in known):
            _log.warning("overdue", alarm.text(job), job_id=job.id, kind=alarm.kind.value)
        for key in over:
            job_id, kind = _of_key(key)
            _log.warning("overdue_no_more", job_id=job_id, kind=kind)

    def _look_at_root(self, store: Store) -> None:
        """Tell what is wrong with the root: once it lasts, again after a day, and when it is over."""
        now = self.clock.now()
        wrong = {each.key: each for each in self.troubles(store)}
        known = store.read(told.streaks, ROOT_STREAKS)
        flapping = store.read(told.streaks, "", flapping=True)
        news = [key for key, each in wrong.items() if _is_news(known.get(key), now, each.members)]
        over = known.keys() - wrong.keys()
        calm = [each for each in flapping.values() if steady(each, at=now) is not None]
        if news or over or calm:
            store.write(_tell_root, [wrong[key] for key in news], sorted(over), calm, now)


_ALARM = "alarm/"


def _key(job_id: str, kind: str) -> str:
    return f"{_ALARM}{job_id}/{kind}"


def _of_key(key: str) -> tuple[str, str]:
    job_id, _, kind = key.removeprefix(_ALARM).rpartition("/")
    return job_id, kind


def _is_news(before: Streak | None, now: datetime, members: Sequence[str] = ()) -> bool:
    """True if a look at what is still wrong may be news."""
    return before is None or not is_told(before, at=now, members=members)


def _tell_overdue(sql: Connection, found: Sequence[tuple[JobSummary, Alarm]], now: datetime) -> None:
    for job, alarm in found:
        key = _key(job.id, alarm.kind.value)
        step = gone_wrong(told.streak(sql, key), key=key, event=f"{key}/{Phase.BEGINS}/{stamp(now)}", at=now)
        facts = {"text": alarm.text(job), **_facts(job, alarm)}
        told.tell_alarm(sql, EventKind.OVERDUE, step, facts, job_id=job.id, at=now)
        if step.phase is Phase.BEGINS:
            _audit(sql, "alarm", job.id, alarm.kind.value, now, _facts(job, alarm))


def _tell_all_clear(sql: Connection, keys: Sequence[str], now: datetime) -> None:
    for key in keys:
        job_id, kind = _of_key(key)
        step = gone_well(told.streak(sql, key), at=now)
        if step is not None:
            told.tell_alarm(sql, EventKind.ALL_CLEAR, step, {}, job_id=job_id, at=now)
            _audit(sql, "all_clear", job_id, kind, now)


def _audit(sql: Connection, action: str, job_id: str, kind: str, now: datetime, after: object = None) -> None:
    row = AuditRow(job_id=job_id, action=action, field=kind, after=after, at=now, actor="scheduler", cause="expected")
    append_audit(sql, [row])


def _tell_root(
    sql: Connection, wrong: Sequence[Trouble], over: Sequence[str], calm: Sequence[Streak], now: datetime
) -> None:
    for each in wrong:
        event = f"{each.key}/{Phase.BEGINS}/{stamp(now)}"
        before = told.streak(sql, each.key)
        step = gone_wrong(before, key=each.key, event=event, at=now, members=each.members)
        new = sorted(set(each.members) - set(before.members if before is not None and before.open else ()))
        facts = {"text": each.text, "hint": each.hint, "members": new or list(each.members)}
        told.tell_root(sql, each.kind, step, facts, but=each.channel, at=now)
    for key in over:
        ended = gone_well(told.streak(sql, key), at=now)
        if ended is not None:
            told.tell_root(sql, kind_of_key(key), ended, {"key": key}, but=channel_of_key(key), at=now)
    for streak in calm:
        if (settled := steady(streak, at=now)) is not None:
            told.tell_calm(sql, settled, at=now)


def _facts(job: JobSummary, alarm: Alarm) -> dict[str, object]:
    found: dict[str, object] = {"since": instant(alarm.since), "deadline": instant(alarm.deadline)}
    if alarm.kind is Kind.SUCCESS and job.expect_every is not None:
        found["expect_every_ms"] = milliseconds(job.expect_every)
    return found
