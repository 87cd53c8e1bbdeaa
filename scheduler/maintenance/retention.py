"""What is deleted, and when: outputs by age, rows of a history and their texts only on request.

Never of a run under way, a job's last run, or its last success.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from subprocess import PIPE, Popen

from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.ledger import budgets, gc, queries, syncs
from scheduler.ledger.audit import append_audit
from scheduler.ledger.pool import Lend
from scheduler.ledger.store import Store
from scheduler.machine.clock import Clock
from scheduler.machine.log import Log
from scheduler.machine.orphans import start
from scheduler.machine.own_code import own_argv
from scheduler.maintenance.worktrees import collect_worktrees
from scheduler.root.place import Place

EVERY = timedelta(days=1)  # when it runs by itself
BUDGETED = timedelta(days=62)  # longer than any month that a budget may still ask about
BATCH = 500  # rows in one transaction: a claim never waits for more
_OUTPUT = re.compile(r"(?P<n>\d+)\.\d+\.(?:stdout|stderr)")  # as named by Place.output

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was deleted, or would be."""

    outputs: int  # runs whose output it is
    output_bytes: int
    runs: int  # rows of the ledger
    texts: int
    worktrees: int = 0

    @property
    def nothing(self) -> bool:
        return not (self.outputs or self.runs or self.texts or self.worktrees)


def collect(place: Place, store: Store, *, now: datetime, actor: str, dry_run: bool = False) -> Collected:
    """Delete what the settings in force do not keep. With `dry_run`, only report it.

    If anything was deleted, one audit row says how much. Raises: UnavailableError.
    """
    retention = (store.read(syncs.settings) or Settings()).retention
    worktrees = collect_worktrees(place, store, retention, now=now, dry_run=dry_run)
    outputs: dict[tuple[str, int], list[os.DirEntry[str]]] = {}
    runs = texts = 0
    if retention.runs is not None:
        for job_id in store.read(queries.job_ids):
            surplus = store.read(gc.surplus_runs, job_id, kept=retention.runs)
            for first in range(0, 0 if dry_run else len(surplus), BATCH):
                store.write(gc.delete_runs, job_id, surplus[first : first + BATCH])
            runs += len(surplus)
            gone = set(surplus)
            outputs |= {(job_id, n): files for n, files in _outputs(place, job_id).items() if n in gone}
        texts = 0 if dry_run else _delete_texts(store)  # including the remains of an interrupted run of this
    if not dry_run:
        store.write(budgets.forget_spending, now - BUDGETED)
    if retention.output_days:
        outputs |= _aged(place, store, before=now - timedelta(days=retention.output_days))
    output_bytes = 0
    for files in outputs.values():
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # another process collects, too
                output_bytes += file.stat(follow_symlinks=False).st_size
                if not dry_run:
                    Path(file.path).unlink()
    found = Collected(outputs=len(outputs), output_bytes=output_bytes, runs=runs, texts=texts, worktrees=worktrees)
    if not dry_run and not found.nothing:
        row = AuditRow(job_id=ROOT_JOB_ID, action="gc", after=asdict(found), at=now, actor=actor, cause="retention")
        store.write(append_audit, [row])
    return found


def _delete_texts(store: Store) -> int:
    unused, since = store.read(gc.unused_texts)
    with store.unchecked():
        return sum(
            store.write(gc.delete_texts, unused[first : first + BATCH], since=since)
            for first in range(0, len(unused), BATCH)
        )


def _aged(place: Place, store: Store, *, before: datetime) -> dict[tuple[str, int], list[os.DirEntry[str]]]:
    """Outputs not written to since then, except those of runs that are kept whole."""
    try:
        job_ids = sorted(each.name for each in os.scandir(place.outputs) if each.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return {}
    found = {}
    for job_id in job_ids:
        aged = {
            n: files
            for n, files in _outputs(place, job_id).items()
            if all(_written_at(file) < before.timestamp() for file in files)
        }
        kept = store.read(gc.runs_kept_whole, job_id) if aged else set()
        found.update({(job_id, n): files for n, files in aged.items() if n not in kept})
    return found


def _written_at(file: os.DirEntry[str]) -> float:
    """Seconds since the epoch; 0 for a file that somebody has deleted."""
    try:
        return file.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0


def _outputs(place: Place, job_id: str) -> dict[int, list[os.DirEntry[str]]]:
    """The output files of a job by run number. A run's attempts are together."""
    found: defaultdict[int, list[os.DirEntry[str]]] = defaultdict(list)
    with contextlib.suppress(FileNotFoundError), os.scandir(place.outputs / job_id) as files:
        for file in files:
            named = _OUTPUT.fullmatch(file.name)
            if named is not None and file.is_file(follow_symlinks=False):
                found[int(named["n"])].append(file)
    return found


@dataclass(eq=False, kw_only=True)
class Housekeeping:
    """Collects once a day, beside a daemon's other work or at the end of `--once`. Its failures stop nothing."""

    place: Place
    clock: Clock
    lend: Lend

    def __post_init__(self) -> None:
        self._mark = self.place.state / "gc"  # the time of the last run, for the next process too
        self.child: Popen[bytes] | None = None

    def look(self) -> None:
        """Collect if it is time."""
        now = self.clock.now()
        if self._is_done(now):
            return
        try:
            self._mark.write_text(instant(now))
            with self.lend() as store:
                found = collect(self.place, store, now=now, actor="scheduler")
        except (SchedulerError, OSError) as error:
            _told_failed(str(error))
            return
        _told(found)

    def beside(self) -> None:
        """Collect if it is time, in another process, and return at once. The next call tells what came of it.

        Looking through a million files takes seconds of computing, for which the fires of this process would wait. The
        child ends with this process; what it has not deleted by then is left to the next one.
        """
        if self.child is not None:
            if self.child.poll() is None:
                return
            self._end(self.child)
            self.child = None
        now = self.clock.now()
        if self._is_done(now):
            return
        try:
            fresh = self._last() is None  # of a new root, nothing is old
            self._mark.write_text(instant(now))
            if not fresh:
                self.child = _start(self.place, now)
        except OSError as error:
            _told_failed(str(error))

    def _end(self, child: Popen[bytes]) -> None:
        out, err = child.communicate()
        if child.returncode == 0:
            _told(Collected(**json.loads(out)))
        else:
            said = err.decode(errors="replace").strip().splitlines()
            _told_failed(said[-1] if said else f"its process ended with {child.returncode}")

    def _is_done(self, now: datetime) -> bool:
        last = self._last()
        return last is not None and last <= now < last + EVERY

    def _last(self) -> datetime | None:
        try:
            return parse_instant(self._mark.read_text())
        except (OSError, ValueError):
            return None


def _start(place: Place, now: datetime) -> Popen[bytes]:
    """Start `collector.main` in a process that ends with this one. Raises: OSError."""
    where = (str(place.root), str(place.state), str(place.db))
    argv = own_argv("scheduler.maintenance.collector", *where, instant(now))
    return start(argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd="/")


def _told(found: Collected) -> None:
    if not found.nothing:
        _log.log(logging.INFO, "gc", **asdict(found))


def _told_failed(reason: str) -> None:
    _log.warning("gc_failed", "expired runs and output were not deleted", reason=reason)
