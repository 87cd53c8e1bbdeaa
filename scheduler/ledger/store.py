"""What the database holds, read and written; its tables are made in `schema`, its file is copied in `copies`.

Hot paths are plain SQL under `BEGIN IMMEDIATE`: a deferred transaction that reads and then writes fails at
once with "database is locked", whatever the timeout. Commits are durable (`synchronous=FULL`), because a
claim that a power loss takes back would run its slot twice.
A Store belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scheduler.core.due.expected import Alarm, Evidence, alarms_of
from scheduler.core.due.policy import Active, Admission, admit
from scheduler.core.due.waiting import OUTAGE
from scheduler.core.past.past import Past
from scheduler.core.past.timeline import Use
from scheduler.core.times.clocks import Boot, Cut, Righted, true_lives
from scheduler.core.times.fires import next_fire
from scheduler.core.values.facts import Commit, FileFacts, Job, Pause, Provenance, RuntimeFacts, SyncState, Task
from scheduler.core.values.instants import milliseconds, parse_instant
from scheduler.core.values.problems import WHOLE_PASS_CODES, Problem, RefusedError, UnavailableError
from scheduler.core.values.runs import Attempt, AuditRow, Definition, Life, Run, RunStatus, Skip, Trigger
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.core.values.spec import FAILURE_LIMIT, CatchUpPolicy, Concurrency, JobSpec
from scheduler.ledger import carried
from scheduler.ledger import clock_steps as ahead
from scheduler.ledger import evidence as witness
from scheduler.ledger.database import (
    DamagedError,
    UnwritableError,
    connect_to_read,
    explained,
    part_from_journal,
    refuse_what_is_no_file,
)
from scheduler.ledger.schema import bring_up_to_date, create_database, migrations, schema_version
from scheduler.machine.crash import crash_point
from scheduler.machine.processes import Process

if TYPE_CHECKING:  # the file readers behind it would slow every command that only reads the database
    from scheduler.core.due.due import Due
    from scheduler.core.plan.action import Action
    from scheduler.core.plan.plan import Plan

BUSY_TIMEOUT = timedelta(seconds=10)
_ACTIVE_SQL = "status IN ('queued', 'claimed', 'running')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a plan or a claim needs, read at one moment. `ticket` goes stale with the next pass or pause."""

    jobs: dict[str, Job]
    settings: Settings | None  # the last good scheduler.yaml; None before the first pass
    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """A run without an end, its owner, and the process of its last attempt."""

    run: Run
    owner: str | None
    process: Process | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """The clock as it was: when the boot was, when the last thing was written, and a digest of the zones' rules."""

    boot: Boot | None
    newest: datetime | None
    zone_rules: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim has taken, and what it means for other runs of the same jobs."""

    runs: tuple[Run, ...] = ()  # with an owner, or `queued`
    gave_way: tuple[Run, ...] = ()  # waited, and are skipped now
    replaced: tuple[str, ...] = ()  # ids of runs that have to be ended


class _StaleError(Exception):
    """What a transaction was computed from is no longer so; it is rolled back."""


class Store:
    """One connection to one database. Opening it migrates an older one and refuses a newer or foreign one."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        busy_timeout: timedelta = BUSY_TIMEOUT,
        read_only: str = "",
        cleanup: contextlib.ExitStack | None = None,
    ) -> None:
        """read_only: why nothing can be written; empty if it can. cleanup: what is closed after the connection."""
        self._connection = connection
        self._cleanup = cleanup
        self._busy_timeout = busy_timeout
        self.path = path
        self.read_only = read_only

    @classmethod
    def open(cls, path: Path, *, busy_timeout: timedelta = BUSY_TIMEOUT, create: bool = True) -> Store:
        """Opens the database, or makes it where `create` allows that.

        Raises: UnavailableError when it is gone, locked, damaged, not ours or from a newer version.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                if not create:
                    raise UnavailableError(f"the database {path} is gone", hint="`scheduler restore` puts a copy back")
                with explained(path):
                    create_database(path)
            refuse_what_is_no_file(path)
            part_from_journal(path)
            with explained(path):
                connection = sqlite3.connect(
                    path, timeout=busy_timeout.total_seconds(), isolation_level=None, check_same_thread=False
                )
        except OSError as error:
            raise _unopened(path, error) from error
        try:
            with explained(path):
                _prepare(connection)
                bring_up_to_date(connection, path)
        except OSError as error:
            connection.close()
            raise _unopened(path, error) from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, path, busy_timeout=busy_timeout)

    @classmethod
    def open_to_read(cls, path: Path) -> Store:
        """As `open`, for one who only reads: also where the disk is full or read-only. Makes no database.

        `read_only` says why it could not be opened as usual. Raises: UnavailableError, as `open`.
        """
        try:
            store = cls.open(path, create=False)
            if not os.access(path, os.W_OK):
                store.read_only = f"the database {path} is read-only: it is shown as it was written last"
            return store
        except UnwritableError as error:
            connection, cleanup = connect_to_read(path, error)
            try:
                with explained(path):
                    _prepare(connection)
                    found = schema_version(connection, path, latest := len(migrations()))
                    if found < latest:
                        raise UnavailableError(
                            f"{path} was written by an older version, and cannot be brought up to date: {error}",
                            hint=error.hint,
                        ) from error
            except BaseException:
                connection.close()
                cleanup.close()
                raise
            return cls(connection, path, read_only=str(error), cleanup=cleanup)

    def close(self) -> None:
        self._connection.close()
        if self._cleanup is not None:
            self._cleanup.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view for several SELECTs."""
        with explained(self.path):
            self._roll_back()
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except (ValueError, KeyError) as error:  # of our own rows: SQLite has no checksums, and did not notice
                raise DamagedError(
                    f"{self.path} is damaged: it holds what was never written to it ({type(error).__name__}: {error})",
                    hint="`scheduler restore` puts a copy back, and the damaged one aside",
                ) from error
            finally:
                self._roll_back()

    @contextlib.contextmanager
    def _writing(self, *, durable: bool = True, wait: timedelta | None = None) -> Iterator[sqlite3.Connection]:
        """One transaction; one that is not durable may be taken back by a power loss, and by nothing else.

        wait: for other processes, at most; else as long as any command does.
        """
        if self.read_only:  # what it has open may be a copy
            raise UnwritableError(self.read_only, hint="nothing was written")
        # Threads of one process queue here: those that SQLite turns away try again by chance, and some never get in.
        with explained(self.path), _turn(self.path).taken() as patience:
            self._roll_back()
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._begin(patience, self._busy_timeout if wait is None else wait)
            try:
                yield self._connection
                crash_point("before_commit")
                self._connection.execute("COMMIT")
            except BaseException:
                # Also after a COMMIT that failed: a deferred constraint leaves the transaction open.
                self._roll_back()
                raise

    def _begin(self, patience: Callable[[timedelta], timedelta], most: timedelta) -> None:
        """Takes the database's lock, for which others of this process have waited in vain, or waits for it."""
        wait = patience(most)
        self._connection.execute(f"PRAGMA busy_timeout = {milliseconds(wait)}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                _turn(self.path).locked_at = time.monotonic()
            raise
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {milliseconds(self._busy_timeout)}")

    def _roll_back(self) -> None:
        """Ends what transaction there is; an error may have ended it already, or have left it open."""
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # it is tried again before the next one
                self._connection.execute("ROLLBACK")

    # -- sync ------------------------------------------------------------------------------------

    def observed(self, *, job_id: str | None = None, since: int = -1) -> Observed:
        """What is known: of all jobs, of one, or of those whose file or pause changed after the ticket `since`."""
        with self._reading() as sql:
            root = sql.execute("SELECT settings, plan_inputs FROM root").fetchone()
            one = "" if job_id is None else " AND id = ?"
            rows = sql.execute(
                f"{_JOBS} WHERE jobs.changed > ?{one} ORDER BY +id", (since,) if job_id is None else (since, job_id)
            )
            return Observed(
                jobs={row["id"]: _job(row) for row in rows},
                settings=_settings(root["settings"]),
                ticket=root["plan_inputs"],
            )

    def settings(self) -> Settings | None:
        """The last good scheduler.yaml; None before the first pass."""
        with self._reading() as sql:
            (found,) = sql.execute("SELECT settings FROM root").fetchone()
        return _settings(found)

    def apply(
        self,
        plan: Plan,
        *,
        ticket: int,
        audit: Sequence[AuditRow],
        now: datetime,
        actor: str,
        only: str | None = None,
    ) -> bool:
        """Carries out a plan in one transaction; False, with nothing changed, where `ticket` is stale, or a claim
        has moved a cursor that the plan moves.

        only: the one job file a partial pass has read; what is known of the others stays.
        """
        with contextlib.suppress(_StaleError), self._writing() as sql:
            if _ticket(sql) != ticket:
                return False
            # Also after a pass with nothing to do: it has seen newer files than a plan still under way.
            changed = _plan_inputs_changed(sql)
            for action in plan.actions:
                if action.writes:
                    _write_job(sql, action, now, actor, changed)
            append_audit(sql, audit)
            _replace_problems(sql, plan.problems, only)
            sql.execute("UPDATE root SET settings = ?", (_dump(plan.settings.to_json()),))
            if only is None:
                sql.execute("UPDATE root SET synced_at = ?", (_stamp(now),))
            return True
        return False

    def record_problems(self, problems: Sequence[Problem]) -> None:
        """Keeps what a pass found that could apply nothing."""
        with self._writing() as sql:
            _replace_problems(sql, problems, None)
            _plan_inputs_changed(sql)

    def problems(self) -> list[Problem]:
        with self._reading() as sql:
            rows = sql.execute("SELECT problem FROM problems ORDER BY rowid").fetchall()
            return [Problem.from_json(json.loads(row["problem"])) for row in rows]

    # -- jobs ------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Every job, archived ones too, by id."""
        with self._reading() as sql:
            return [_job(row) for row in sql.execute(_JOBS + " ORDER BY id")]

    def job(self, job_id: str) -> Job | None:
        with self._reading() as sql:
            row = sql.execute(_JOBS + " WHERE id = ?", (job_id,)).fetchone()
            return None if row is None else _job(row)

    def job_ids(self) -> list[str]:
        with self._reading() as sql:
            return [row["id"] for row in sql.execute("SELECT id FROM jobs ORDER BY id")]

    def task_paths(self) -> list[str]:
        """The task files of all jobs that are not archived."""
        with self._reading() as sql:
            rows = sql.execute(
                "SELECT DISTINCT json_extract(spec, '$.task_source_path') AS task_path FROM jobs JOIN definitions"
                " ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
                " WHERE archived_at IS NULL AND task_path IS NOT NULL"
            ).fetchall()
        return [row["task_path"] for row in rows]

    def damage(self) -> str:
        """What SQLite finds wrong with the file; empty if nothing. Reads all of it."""
        try:
            with self._reading() as sql:
                found = [" ".join(row[0].split()) for row in sql.execute("PRAGMA quick_check(3)")]
        except DamagedError as error:
            return str(error)
        return "" if found == ["ok"] else "; ".join(found)

    def journal_bytes(self) -> int:
        """How long the write-ahead log is, which shrinks again once nobody reads what stands in it."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return 0

    def damaged_texts(self) -> list[str]:
        """The sha256 of every text that is no longer what it was when it was kept. Reads all of them."""
        with self._reading() as sql:
            found = sql.execute("SELECT sha256, bytes FROM texts ORDER BY sha256")
            return [row["sha256"] for row in found if _sha256(row["bytes"]) != row["sha256"]]

    def runs_of_text(self, sha256: str) -> list[str]:
        """The runs that were given this text, oldest first."""
        with self._reading() as sql:
            found = sql.execute("SELECT job_id, n FROM runs WHERE task_sha256 = ? ORDER BY requested_at", (sha256,))
            return [f"{row['job_id']}:{row['n']}" for row in found]

    # -- copies ----------------------------------------------------------------------------------

    def born_at(self) -> datetime | None:
        """When the first thing was noted here; None in an empty database."""
        with self._reading() as sql:
            row = sql.execute("SELECT at FROM audit ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else _known(row["at"])

    def last_numbers(self) -> dict[str, int]:
        """The highest run number that each job was given."""
        with self._reading() as sql:
            return {row["id"]: row["last_n"] for row in sql.execute("SELECT id, last_n FROM jobs")}

    def copied_at(self) -> datetime | None:
        """The instant of the copy that this is, as long as nothing was done with it since; None in any other."""
        with self._reading() as sql:
            return copied_at(sql)

    def settle_copy(
        self, dues: Iterable[Due], *, ticket: int, numbers: Mapping[str, int], now: datetime, audit: AuditRow
    ) -> list[Run] | None:
        """Makes a copy fit to go on from: no slot up to now runs, for nobody knows which of them ran (F4).

        dues: those slots, as skips. Slots that waited for a place become skips too; they are returned.
        numbers: run numbers given since the copy, as far as known; none is given again.
        None, with nothing changed, where `ticket` is stale.
        """
        with contextlib.suppress(_StaleError), self._writing() as sql:
            if _ticket(sql) != ticket:
                return None
            for job_id, n in numbers.items():
                sql.execute("UPDATE jobs SET last_n = max(last_n, ?) WHERE id = ?", (n, job_id))
            for due in dues:
                to = _free(sql, due.job.id, due.job.file.spec, due.next_run_at)
                if not _move_cursor(sql, due.job.id, seen=due.job.next_run_at, to=to):
                    raise _StaleError
                for skip in due.skips:
                    _insert_skip(sql, due.job.id, due.job.file, skip, now, error=_SINCE_COPY)
            # What was under way or waited to be tried again may have succeeded since: it is interrupted, for good.
            sql.execute(
                "UPDATE runs SET status = CASE status WHEN 'claimed' THEN status ELSE 'running' END, reason = ?,"
                f" retry_at = NULL WHERE {_ACTIVE_SQL} AND (status <> 'queued' OR retry_at NOTNULL)",
                (OF_COPY,),
            )
            rows = sql.execute(f"SELECT * FROM runs WHERE {_ACTIVE_SQL} AND status = 'queued'").fetchall()
            waited = [_run(sql, row) for row in rows]
            sql.execute(
                "UPDATE runs SET status = 'skipped', reason = 'missed', finished_at = ?, error = ?"
                f" WHERE {_ACTIVE_SQL} AND status = 'queued'",
                (_stamp(now), _SINCE_COPY),
            )
            sql.execute("UPDATE jobs SET changed = ?", (_plan_inputs_changed(sql),))
            append_audit(sql, [audit])
            return waited
        return None

    # -- jobs from elsewhere ---------------------------------------------------------------------

    def history(self, job_id: str) -> Past:
        """All that is known of a job; its unfinished runs are left out."""
        with self._reading() as sql:
            return carried.history(sql, job_id)

    def carry(self, pasts: Mapping[str, carried.Carried], *, now: datetime) -> dict[str, carried.State]:
        """Gives jobs the past they bring along: now, or in the transaction of the sync that makes them."""
        with self._writing() as sql:
            ticket = _plan_inputs_changed(sql)
            return {job_id: carried.carry(sql, job_id, each, now=now, ticket=ticket) for job_id, each in pasts.items()}

    def forget_carried(self, job_ids: Iterable[str]) -> None:
        """Of jobs that no sync has made yet."""
        with self._writing() as sql:
            carried.forget(sql, job_ids)

    def synced_at(self) -> datetime | None:
        """When a pass last applied; None on a root never synced."""
        with self._reading() as sql:
            return _moment(sql.execute("SELECT synced_at FROM root").fetchone()["synced_at"])

    # -- what should have happened ---------------------------------------------------------------

    def alarms(self, now: datetime, jobs: Sequence[Job] | None = None) -> list[tuple[Job, Alarm]]:
        """What is overdue of all jobs, or of these, judged by schedules and rows alone."""
        known = self.jobs() if jobs is None else jobs
        with self._reading() as sql:  # later than the jobs: a row that came between is seen
            return [(job, alarm) for job in known for alarm in alarms_of(job, _evidence(sql, job, now), now)]

    def told_alarms(self) -> set[tuple[str, str]]:
        """(job, kind) of the alarms that were told, and have not ended since."""
        with self._reading() as sql:
            return witness.told(sql)

    # -- the clock -------------------------------------------------------------------------------

    def clock(self) -> Clocked:
        """What earlier processes have left of their clock."""
        with self._reading() as sql:
            rules = sql.execute("SELECT zone_rules FROM root").fetchone()["zone_rules"]
            return Clocked(boot=ahead.boot(sql), newest=ahead.newest(sql), zone_rules=rules)

    def keep_boot(self, boot: Boot) -> None:
        """Notes the clock that is believed, for processes to come."""
        with self._writing(durable=False) as sql:
            sql.execute("UPDATE root SET boot_id = ?, booted_at = ?", (boot.boot_id, _stamp(boot.booted_at)))

    def later(self, job_ids: Iterable[str], now: datetime) -> ahead.Later:
        """The rows of slots after `now`: none, unless the clock has gone back."""
        with self._reading() as sql:
            return ahead.later(sql, job_ids, _stamp(now))

    def armed_at(self, job_id: str) -> datetime | None:
        """When a stopped job was started anew last."""
        with self._reading() as sql:
            return ahead.armed_at(sql, job_id)

    def set_right(
        self,
        jobs: Sequence[Righted],
        *,
        cuts: Sequence[Cut],
        retries: Sequence[Run],
        zone_rules: str | None,
        ticket: int,
        audit: Sequence[AuditRow],
        now: datetime,
    ) -> bool:
        """After the clock has gone back, or a zone has got other rules (F6); False, with nothing changed, where
        `ticket` is stale or a cursor has moved. No row of a run is touched.

        zone_rules: a digest of the rules of all zones in use, where all cursors were looked at; else None.
        """
        with contextlib.suppress(_StaleError), self._writing() as sql:
            if _ticket(sql) != ticket:
                return False
            changed = _plan_inputs_changed(sql)
            for found in cuts:
                ahead.void(sql, found, stamp=_stamp, next_n=lambda job_id: _next_n(sql, job_id), now=now)
            for each in jobs:
                if not ahead.set_right(sql, each, stamp=_stamp, ticket=changed):
                    raise _StaleError
            ahead.hasten(sql, retries, stamp=_stamp)
            sql.execute(
                "UPDATE root SET zone_rules = coalesce(?, zone_rules), synced_at = min(synced_at, ?)",
                (zone_rules, _stamp(now)),
            )
            append_audit(sql, audit)
            return True
        return False

    def set_pause(
        self,
        job_id: str,
        pause: Pause | None,
        *,
        audit: AuditRow,
        also: Sequence[AuditRow] = (),
        ticket: int | None = None,
        settled: Due | None = None,
        arms: bool = False,
    ) -> bool:
        """Writes or lifts an operator's pause; False, with nothing changed, where `ticket` is stale.

        settled: the slots that the pause before it has held back, which nobody could tell from missed ones later.
        arms: a stopped job starts anew. also: the audit rows of what else the same command changes.
        """
        with self._writing() as sql:
            if ticket is not None and _ticket(sql) != ticket:
                return False
            if settled is not None:
                to = _free(sql, job_id, settled.job.file.spec, settled.next_run_at)
                if not _move_cursor(sql, job_id, seen=settled.job.next_run_at, to=to):
                    return False
            if settled is not None:
                for skip in settled.skips:
                    _add_skip(sql, job_id, settled.job.file, skip, audit.at)
            sql.execute(
                "UPDATE jobs SET paused_at = ?, pause_reason = ?, paused_until = ?, paused_by = ?, changed = ?"
                " WHERE id = ?",
                (
                    None if pause is None else _stamp(pause.at),
                    None if pause is None else pause.reason,
                    None if pause is None or pause.until is None else _stamp(pause.until),
                    None if pause is None else pause.by,
                    _plan_inputs_changed(sql),
                    job_id,
                ),
            )
            if arms:
                _arm(sql, job_id)
            append_audit(sql, [audit, *also])
        return True

    def add_audit(self, *rows: AuditRow) -> None:
        with self._writing() as sql:
            append_audit(sql, rows)

    def audit(self, job_id: str | None = None, *, limit: int | None = None) -> list[AuditRow]:
        """Audit rows, oldest first; the newest `limit` of them."""
        where, values = ("", []) if job_id is None else (" WHERE job_id = ?", [job_id])
        with self._reading() as sql:
            rows = sql.execute(
                f"SELECT audit.*, author, email, date, subject FROM audit LEFT JOIN commits ON commits.id = commit_id"
                f"{where} ORDER BY seq DESC LIMIT ?",
                (*values, -1 if limit is None else limit),
            ).fetchall()
            return [_audit_row(row) for row in reversed(rows)]

    # -- the ledger ------------------------------------------------------------------------------

    def claim_manual(
        self,
        job_id: str,
        *,
        trigger: Trigger,
        requested_by: str,
        owner: str,
        max_running: int,
        now: datetime,
        waits: bool = False,
        task_of: int | None = None,
    ) -> Claimed:
        """Takes a place for a manual run, before anything of it is read or started; or a turn, if it may wait for one.

        task_of: the number of the job's run whose text it is given again; pinned here, so that nothing lets go of it.
        Raises: RefusedError, leaving no row, where the job's `concurrency` does not let it run now, the job is
        archived, or the house is full.
        """
        with self._writing() as sql:
            job = _job(sql.execute(f"{_JOBS} WHERE jobs.id = ?", (job_id,)).fetchone())
            if job.archived:
                raise RefusedError(
                    f"job {job_id!r} is archived: no file names it any more",
                    hint="restore its file and run `scheduler sync`; its history is still there",
                )
            active = _active_of(sql, job_id)
            found = admit(job.file.spec, active, trigger=trigger)
            if found.answer == "overlap" or (found.answer == "wait" and not waits):
                at = f"{job_id}:{next((run.n for run in active if not run.waits), active[0].n)}"
                raise RefusedError(
                    f"job {job_id!r} is running already or waits to, as {at}; its concurrency is"
                    f" {job.file.spec.concurrency.value}",
                    hint=f"wait for it: `scheduler output {at} --follow`",
                )
            running = _running_count(sql)
            if running >= max_running and found.answer == "start":
                raise RefusedError(
                    f"{running} runs are under way, and limits.max_running is {max_running}",
                    hint="wait for one to end, or raise limits.max_running in scheduler.yaml",
                )
            gave_way = _give_way(sql, job_id, found.gives_way, now)
            run = _insert_run(
                sql, job, trigger=trigger, owner=owner if found.answer == "start" else None, now=now, by=requested_by
            )
            if task_of is not None:
                run = _pin(sql, run, task_of)
        return Claimed(runs=(run,), gave_way=gave_way, replaced=tuple(f"{job_id}:{n}" for n in found.replaced))

    def claim_due(
        self, dues: Sequence[Due], *, seen: int, owner: str, max_running: int, now: datetime, paced: bool = False
    ) -> Claimed | None:
        """Takes all slots of one instant in one durable transaction, before anything of them is read or started (F4).

        `concurrency` says what becomes of a slot whose job still runs. One that finds the house full is `queued`,
        without an owner, and so is what is caught up with; paced: that is to start a second apart.
        seen: the ticket as of which `dues` are known. Returns the runs in the order of `dues`; None, with nothing
        written, where a job has changed since, or somebody else has moved its cursor.
        """
        runs: list[Run] = []
        gave_way: list[Run] = []
        replaced: list[str] = []
        with contextlib.suppress(_StaleError), self._writing() as sql:
            if sql.execute("SELECT 1 FROM jobs WHERE changed > ? LIMIT 1", (seen,)).fetchone() is not None:
                raise _StaleError
            running = _running_count(sql)
            waiting = (
                f"SELECT 1 FROM runs WHERE {_ACTIVE_SQL} AND status = 'queued' AND coalesce(retry_at, '') <= ? LIMIT 1"
            )
            if sql.execute(waiting, (_stamp(now),)).fetchone() is not None:
                running = max(running, max_running)  # nobody passes those that wait
            for due in dues:
                if not _move_cursor(sql, due.job.id, seen=due.job.next_run_at, to=due.next_run_at):
                    raise _StaleError
                for skip in due.skips:
                    _add_skip(sql, due.job.id, due.job.file, skip, now)
                wanted = [(slot, Trigger.CATCH_UP) for slot in due.catch_up]
                if due.slot is not None:
                    wanted.append((due.slot, Trigger.SCHEDULE))
                for slot, trigger in wanted:
                    late = trigger is Trigger.CATCH_UP
                    if late and due.job.file.spec.catch_up.policy is CatchUpPolicy.ALL:
                        found = Admission(answer="wait")  # one after another, where they exclude each other
                    else:
                        spec = due.job.file.spec
                        # Thousands may wait where they are allowed beside each other: they are not read for nothing.
                        allowed = spec.concurrency is Concurrency.ALLOW
                        found = admit(spec, [] if allowed else _active_of(sql, due.job.id), trigger=trigger)
                    if found.answer == "overlap":
                        overlap = Skip(first=slot, last=slot, slots=1, reason="overlap")
                        _add_skip(sql, due.job.id, due.job.file, overlap, now)
                        continue
                    gave_way += _give_way(sql, due.job.id, found.gives_way, now)
                    replaced += [f"{due.job.id}:{n}" for n in found.replaced]
                    starts = found.answer == "start" and not late and running < max_running
                    running += starts
                    reason = OUTAGE if late and paced else None
                    runs.append(
                        _insert_run(
                            sql,
                            due.job,
                            slot=slot,
                            trigger=trigger,
                            owner=owner if starts else None,
                            now=now,
                            reason=reason,
                        )
                    )
            crash_point("before_claim_commit")
            return Claimed(runs=tuple(runs), gave_way=tuple(gave_way), replaced=tuple(replaced))
        return None

    def runs_beside(self, run: Run) -> bool:
        """Whether another run of the same job is under way."""
        with self._reading() as sql:
            found = sql.execute(
                f"SELECT 1 FROM runs WHERE job_id = ? AND n <> ? AND {_ACTIVE_SQL} AND status <> 'queued' LIMIT 1",
                (run.job_id, run.n),
            ).fetchone()
        return found is not None

    def queued(self) -> list[Run]:
        """Runs that wait for a place, oldest slot first, and those that wait to be tried again."""
        with self._reading() as sql:
            rows = sql.execute(
                f"SELECT * FROM runs WHERE {_ACTIVE_SQL} AND status = 'queued' ORDER BY fire_time, job_id"
            ).fetchall()
            return [_run(sql, row) for row in rows]

    def retries_due(self, before: datetime) -> list[Run]:
        """Runs that should have been tried again by then, and still wait."""
        with self._reading() as sql:
            rows = sql.execute(
                f"SELECT * FROM runs WHERE {_ACTIVE_SQL} AND status = 'queued' AND retry_at < ? ORDER BY retry_at",
                (_stamp(before),),
            ).fetchall()
            return [_run(sql, row) for row in rows]

    def start_attempt(
        self, run: Run, *, n: int, owner: str, generation: int, task: Task, provenance: Provenance, now: datetime
    ) -> Run:
        """Pins the task to the run and opens attempt `n`, before its process exists. A queued run gets its owner."""
        with self._writing() as sql:
            sha256 = task.sha256
            sql.execute(  # one that is there already and has been damaged becomes what it was
                "INSERT INTO texts (sha256, bytes) VALUES (?, ?)"
                " ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes WHERE bytes IS NOT excluded.bytes",
                (sha256, task.text),
            )
            opened = sql.execute(
                "UPDATE runs SET status = 'running', reason = NULL, owner = ?, started_at = ?, generation = ?,"
                " task_sha256 = ?, task_bytes = ?, source_path = ?, source_sha256 = ?, source_blob = ?,"
                " revision = ?, dirty = ?, no_provenance = ?"
                " WHERE job_id = ? AND n = ? AND status IN ('queued', 'claimed')",
                (
                    owner,
                    _stamp(now),
                    generation,
                    sha256,
                    len(task.text),
                    task.source_path,
                    task.source_sha256,
                    provenance.blob,
                    provenance.revision,
                    provenance.dirty,
                    provenance.why_none,
                    run.job_id,
                    run.n,
                ),
            )
            if not opened.rowcount:
                raise RefusedError(f"{run.id} has been ended by another process before it started")
            sql.execute(
                "INSERT INTO attempts (job_id, run_n, n, status, started_at) VALUES (?, ?, ?, 'running', ?)",
                (run.job_id, run.n, n, _stamp(now)),
            )
            if n == 1:
                sql.execute("UPDATE jobs SET run_count = run_count + 1 WHERE id = ?", (run.job_id,))
        return self._known_run(run.job_id, run.n)

    def record_process(self, run: Run, *, attempt: int, process: Process) -> None:
        """Notes the child, so that a later owner can find what a dead one left behind."""
        with self._writing(durable=False) as sql:  # a power loss leaves no child
            sql.execute(
                "UPDATE attempts SET pid = ?, pid_started = ?, boot_id = ? WHERE job_id = ? AND run_n = ? AND n = ?",
                (process.pid, process.started, process.boot_id, run.job_id, run.n, attempt),
            )

    def finish(
        self,
        run: Run,
        *,
        status: RunStatus,
        reason: str | None = None,
        exit_code: int | None = None,
        error: str | None = None,
        result: str | None = None,
        output_bytes: int | None = None,
        truncated: bool = False,
        expected: RunStatus | None = None,
        owner: str | None = None,
        now: datetime,
    ) -> Run:
        """Ends a run: its own row, its last attempt and the job's counters, nothing else (F5).

        Changes nothing where somebody has ended it already, or where it has another status than `expected`, or is
        another's than `owner`.
        """
        with self._writing() as sql:
            started = sql.execute(
                f"SELECT started_at FROM runs WHERE job_id = ? AND n = ? AND {_ACTIVE_SQL}"
                " AND status = coalesce(?, status) AND (owner IS NULL OR owner = coalesce(?, owner))",
                (run.job_id, run.n, expected and expected.value, owner),
            ).fetchone()
            if started is not None:
                started_at = _moment(started["started_at"])
                duration_ms = None if started_at is None else max(0, milliseconds(now - started_at))
                sql.execute(
                    "UPDATE runs SET status = ?, reason = ?, finished_at = ?, duration_ms = ?, exit_code = ?,"
                    " error = ?, result = ?, output_bytes = ?, truncated = ?, owner = NULL, retry_at = NULL"
                    " WHERE job_id = ? AND n = ?",
                    (
                        status.value,
                        reason,
                        _stamp(now),
                        duration_ms,
                        exit_code,
                        error,
                        result,
                        output_bytes,
                        truncated,
                        run.job_id,
                        run.n,
                    ),
                )
                sql.execute(
                    "UPDATE attempts SET status = ?, reason = ?, finished_at = ?, exit_code = ?"
                    " WHERE job_id = ? AND run_n = ? AND finished_at IS NULL",
                    (status.value, reason, _stamp(now), exit_code, run.job_id, run.n),
                )
                # What a person has ended, or was ended before it had started, says nothing of the job.
                errs = started_at is not None and status not in _NO_ERRORS and reason != "shutdown"
                if errs or status is RunStatus.SUCCEEDED:
                    _audit_streak(sql, run, status, reason, now)
                sql.execute(
                    "UPDATE jobs SET consecutive_errors = consecutive_errors + ? WHERE id = ?", (errs, run.job_id)
                )
                if started_at is not None:  # a claim that never reached attempt 1 is no last run
                    sql.execute(
                        "UPDATE jobs SET last_run_at = ?, last_run_status = ?, last_run_duration_ms = ?,"
                        " last_run_error = ? WHERE id = ?",
                        (_stamp(started_at), status.value, duration_ms, error, run.job_id),
                    )
                if status is RunStatus.SUCCEEDED:
                    sql.execute("UPDATE jobs SET consecutive_errors = 0, errors_at_arm = 0 WHERE id = ?", (run.job_id,))
                elif errs:
                    _stop_failing(sql, run, now)
            crash_point("before_end_commit")
        return self._known_run(run.job_id, run.n)

    def end_attempt(
        self,
        run: Run,
        *,
        status: RunStatus,
        reason: str | None,
        exit_code: int | None = None,
        error: str | None = None,
        result: str | None = None,
        output_bytes: int | None = None,
        truncated: bool = False,
        retry_at: datetime,
        now: datetime,
    ) -> Run:
        """Ends an attempt that is followed by another: its row, and the run waits, `queued`, without an owner.

        Counters wait for the end of the run. Changes nothing where somebody has ended the run.
        """
        with self._writing() as sql:
            waits = sql.execute(
                "UPDATE runs SET status = 'queued', reason = 'retry', owner = NULL, retry_at = ?, exit_code = ?,"
                f" error = ?, result = ?, output_bytes = ?, truncated = ? WHERE job_id = ? AND n = ? AND {_ACTIVE_SQL}",
                (_stamp(retry_at), exit_code, error, result, output_bytes, truncated, run.job_id, run.n),
            )
            if waits.rowcount:
                sql.execute(
                    "UPDATE attempts SET status = ?, reason = ?, finished_at = ?, exit_code = ?"
                    " WHERE job_id = ? AND run_n = ? AND finished_at IS NULL",
                    (status.value, reason, _stamp(now), exit_code, run.job_id, run.n),
                )
        return self._known_run(run.job_id, run.n)

    def start_retry(self, run: Run, *, owner: str, now: datetime) -> Run | None:
        """Opens the next attempt of a run that waits for it, before its process exists. The text stays pinned (F2).

        None where somebody else has opened it, or has ended the run.
        """
        with self._writing() as sql:
            opened = sql.execute(
                "UPDATE runs SET status = 'running', reason = NULL, owner = ?, retry_at = NULL"
                " WHERE job_id = ? AND n = ? AND status = 'queued' AND retry_at NOTNULL",
                (owner, run.job_id, run.n),
            )
            if not opened.rowcount:
                return None
            sql.execute(
                "INSERT INTO attempts (job_id, run_n, n, status, started_at)"
                " SELECT job_id, run_n, max(n) + 1, 'running', ? FROM attempts WHERE job_id = ? AND run_n = ?",
                (_stamp(now), run.job_id, run.n),
            )
        return self._known_run(run.job_id, run.n)

    def skip(self, run: Run, *, reason: str, message: str, fault: bool, now: datetime) -> Run:
        """Turns a claimed run into a skip with its reason. A fault counts as an error; no skip counts as a run (F7)."""
        with self._writing() as sql:
            ended = sql.execute(
                "UPDATE runs SET status = 'skipped', reason = ?, error = ?, finished_at = ?, owner = NULL"
                f" WHERE job_id = ? AND n = ? AND {_ACTIVE_SQL}",
                (reason, message, _stamp(now), run.job_id, run.n),
            )
            if fault and ended.rowcount:
                _audit_streak(sql, run, RunStatus.SKIPPED, reason, now)
                sql.execute("UPDATE jobs SET consecutive_errors = consecutive_errors + 1 WHERE id = ?", (run.job_id,))
                _stop_failing(sql, run, now)
        return self._known_run(run.job_id, run.n)

    def active(self) -> list[ActiveRun]:
        """Runs without an end, oldest first."""
        with self._reading() as sql:
            rows = sql.execute(f"SELECT * FROM runs WHERE {_ACTIVE_SQL} ORDER BY requested_at, job_id, n").fetchall()
            return [_active_run(sql, row) for row in rows]

    def run(self, job_id: str, n: int) -> Run | None:
        with self._reading() as sql:
            row = sql.execute("SELECT * FROM runs WHERE job_id = ? AND n = ?", (job_id, n)).fetchone()
            return None if row is None else _run(sql, row)

    def _known_run(self, job_id: str, n: int) -> Run:
        run = self.run(job_id, n)
        assert run is not None
        return run

    def runs(self, job_id: str, *, limit: int | None = None, status: RunStatus | None = None) -> list[Run]:
        """A job's runs and skips, newest first."""
        where, values = ("", []) if status is None else (" AND status = ?", [status.value])
        with self._reading() as sql:
            rows = sql.execute(
                f"SELECT * FROM runs WHERE job_id = ?{where} ORDER BY n DESC LIMIT ?",
                (job_id, *values, -1 if limit is None else limit),
            ).fetchall()
            return [_run(sql, row) for row in rows]

    # -- looking back ----------------------------------------------------------------------------

    def uses(self, job_id: str) -> list[Use]:
        """The runs that were given a text, oldest first; 10,000 take a tenth of a second."""
        with self._reading() as sql:
            rows = sql.execute(
                "SELECT n, task_sha256, task_bytes, status, started_at, duration_ms, source_path, source_blob,"
                " revision, dirty FROM runs WHERE job_id = ? AND started_at NOTNULL AND task_sha256 NOTNULL ORDER BY n",
                (job_id,),
            )
            return [
                Use(**{**dict(row), "status": RunStatus(row["status"]), "started_at": _known(row["started_at"])})
                for row in rows
            ]

    def run_count(self, job_id: str) -> int:
        """How many rows a job has in the ledger, skips too."""
        with self._reading() as sql:
            (rows,) = sql.execute("SELECT count(*) FROM runs WHERE job_id = ?", (job_id,)).fetchone()
        return int(rows)

    def statuses_between(self, job_id: str, start: datetime, end: datetime) -> dict[str, int]:
        """How many runs and skips of each status came after one instant and up to another; one for each row."""
        when = "coalesce(started_at, finished_at, requested_at)"
        with self._reading() as sql:
            rows = sql.execute(
                f"SELECT status, count(*) AS rows FROM runs WHERE job_id = ? AND {when} > ? AND {when} <= ?"
                " GROUP BY status ORDER BY status",
                (job_id, _stamp(start), _stamp(end)),
            )
            return {row["status"]: row["rows"] for row in rows}

    # -- for `explain` ---------------------------------------------------------------------------

    def definitions(self, job_id: str) -> list[Definition]:
        """Every definition that a job had, by when it came."""
        with self._reading() as sql:
            rows = sql.execute("SELECT * FROM definitions WHERE job_id = ? ORDER BY generation", (job_id,)).fetchall()
        return [
            Definition(
                spec=JobSpec.from_json(json.loads(row["spec"])),
                generation=row["generation"],
                since=_known(row["recorded_at"]),
            )
            for row in rows
        ]

    def slots_around(self, job_id: str, at: datetime) -> tuple[list[Run], datetime | None]:
        """The rows of the slots at an instant, before it and after it; those that did not come after all are last.

        With the first slot that has a row, where rows before it were thrown away.
        """
        slots = "SELECT * FROM runs WHERE job_id = ? AND reason"
        newest = "fire_time <= ? ORDER BY fire_time DESC, n DESC LIMIT 4"
        known = (job_id, _stamp(at))
        with self._reading() as sql:
            rows = sql.execute(f"{slots} IS NOT 'void' AND {newest}", known).fetchall()
            rows += sql.execute(f"{slots} IS NOT 'void' AND fire_time > ? ORDER BY fire_time LIMIT 1", known).fetchall()
            rows += sql.execute(f"{slots} = 'void' AND {newest}", known).fetchall()
            kept = sql.execute(
                "SELECT min(fire_time) AS first, count(*) < max(n) AS some FROM runs WHERE job_id = ?", (job_id,)
            ).fetchone()
            return [_run(sql, row) for row in rows], _moment(kept["first"]) if kept["some"] else None

    def under_way_at(self, at: datetime, *, most: int) -> list[Run]:
        """Runs of any job that had started by then, and had not ended."""
        with self._reading() as sql:
            rows = sql.execute(
                "SELECT * FROM runs WHERE started_at <= ? AND coalesce(finished_at, '9') > ?"
                " ORDER BY started_at LIMIT ?",
                (_stamp(at), _stamp(at), most),
            ).fetchall()
            return [_run(sql, row) for row in rows]

    def lives(self, now: datetime) -> list[Life]:
        """When daemons were there, by when they came, as far as a clock that has gone back since has not noted it."""
        with self._reading() as sql:
            lives = [
                Life(
                    owner=row["owner"],
                    began=_known(row["began_at"]),
                    seen=_known(row["seen_at"]),
                    silent=row["silent"],
                    over=bool(row["over"]),
                )
                for row in sql.execute("SELECT * FROM lives ORDER BY id")
            ]
        return true_lives(lives, now)

    def beat(self, owner: str, *, now: datetime, silent: str, over: bool = False) -> None:
        """Says that a daemon is there. Waits for nobody, and may be taken back by a power loss.

        A gap of minutes, or a clock that went back, begins a new row: the machine slept, or nothing could be written.
        Raises: UnavailableError, also where somebody else has the database just now.
        """
        with self._writing(durable=False, wait=timedelta(0)) as sql:
            grown = sql.execute(
                "UPDATE lives SET seen_at = ?, over = ? WHERE id = (SELECT max(id) FROM lives) AND owner = ?"
                " AND silent = ? AND seen_at BETWEEN ? AND ?",
                (_stamp(now), over, owner, silent, _stamp(now - _LONGEST_GAP), _stamp(now)),
            )
            if not grown.rowcount:
                sql.execute(  # another word on whether it fires: it was there until now all the same
                    "UPDATE lives SET seen_at = ? WHERE id = (SELECT max(id) FROM lives) AND owner = ?"
                    " AND seen_at BETWEEN ? AND ?",
                    (_stamp(now), owner, _stamp(now - _LONGEST_GAP), _stamp(now)),
                )
                sql.execute(
                    "INSERT INTO lives (owner, began_at, seen_at, silent, over) VALUES (?, ?, ?, ?, ?)",
                    (owner, _stamp(now), _stamp(now), silent, over),
                )
                sql.execute("DELETE FROM lives WHERE id <= (SELECT max(id) FROM lives) - ?", (_MOST_LIVES,))

    # -- what is kept no longer ------------------------------------------------------------------

    def runs_kept_whole(self, job_id: str) -> set[int]:
        """Numbers of the runs whose rows and outputs always stay: under way, the last one, and the last success."""
        with self._reading() as sql:
            rows = sql.execute(f"SELECT n FROM runs WHERE job_id = ? AND {_ACTIVE_SQL}", (job_id,)).fetchall()
            for wanted in ("started_at NOTNULL", "status = 'succeeded'"):
                rows += sql.execute(
                    f"SELECT n FROM runs WHERE job_id = ? AND {wanted} ORDER BY n DESC LIMIT 1", (job_id,)
                ).fetchall()
        return {row["n"] for row in rows}

    def surplus_runs(self, job_id: str, *, kept: int) -> list[int]:
        """Numbers of the rows beyond the `kept` that a job's history may have: skips first, the oldest first.

        Never one of `runs_kept_whole`, nor the row of the newest slot, which says where the ledger ends.
        """
        stays = self.runs_kept_whole(job_id)
        with self._reading() as sql:
            (rows,) = sql.execute("SELECT count(*) FROM runs WHERE job_id = ?", (job_id,)).fetchone()
            newest = sql.execute(
                "SELECT n FROM runs WHERE job_id = ? AND fire_time NOTNULL AND reason IS NOT 'void'"
                " ORDER BY fire_time DESC LIMIT 1",
                (job_id,),
            ).fetchone()
            if newest is not None:
                stays.add(newest["n"])
            found = sql.execute(
                f"SELECT n FROM runs WHERE job_id = ? AND NOT {_ACTIVE_SQL} AND n NOT IN ({','.join('?' * len(stays))})"
                " ORDER BY status <> 'skipped', n LIMIT ?",
                (job_id, *stays, max(0, rows - kept)),
            ).fetchall()
        return [row["n"] for row in found]

    def delete_runs(self, job_id: str, numbers: Sequence[int]) -> None:
        """Takes rows that have ended out of the ledger, with their attempts. No number is given again."""
        with self._writing() as sql:
            keys = [(job_id, n) for n in numbers]
            sql.executemany("DELETE FROM attempts WHERE job_id = ? AND run_n = ?", keys)
            sql.executemany(f"DELETE FROM runs WHERE job_id = ? AND n = ? AND NOT {_ACTIVE_SQL}", keys)

    def delete_texts(self) -> int:
        """Deletes the texts that no run has any more; how many those were."""
        with self._writing() as sql:
            gone = "SELECT task_sha256 FROM runs WHERE task_sha256 NOTNULL"
            return sql.execute(f"DELETE FROM texts WHERE sha256 NOT IN ({gone})").rowcount

    def text(self, sha256: str) -> bytes:
        """The bytes kept under a sha256.

        Raises: UnavailableError where they are gone or are no longer those bytes.
        """
        with self._reading() as sql:
            row = sql.execute("SELECT bytes FROM texts WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None or _sha256(row["bytes"]) != sha256:
            raise UnavailableError(
                f"the text {sha256[:12]} in {self.path} is damaged or gone",
                hint="it comes back with the next run that is given the same text, or with a copy of the database",
            )
        return bytes(row["bytes"])


_LET_GO = "retention.runs in scheduler.yaml says how many rows of a history are kept, and with them their texts"
_NO_ERRORS = (RunStatus.SUCCEEDED, RunStatus.CANCELLED)


_LONGEST_GAP = timedelta(minutes=5)  # between two signs of life
_MOST_LIVES = 5_000
_CACHE_KIB = 512  # of pages in each connection: a daemon has over a dozen, and the system caches the file as well
_JOURNAL_BYTES = 16 * 1024 * 1024  # to which a WAL shrinks again that a long reader has let grow


class _Turn:
    """The one lock that this process takes before it writes to a database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.locked_at = 0.0  # when one of this process has last given up to wait for another one

    @contextlib.contextmanager
    def taken(self) -> Iterator[Callable[[timedelta], timedelta]]:
        """Gives how long to wait for the database of a timeout: those who queue behind one who waits wait with it.

        Else a lock of another process would hold the last of many threads for as often as there are threads.
        """
        came = time.monotonic()
        with self._lock:
            waited = timedelta(seconds=time.monotonic() - came if self.locked_at > came else 0)
            yield lambda timeout: max(timeout - waited, min(timeout, _LAST_TRY))


_LAST_TRY = timedelta(milliseconds=100)
_turns: dict[Path, _Turn] = {}


def _turn(path: Path) -> _Turn:
    return _turns.setdefault(path, _Turn())


OF_COPY = "copy"  # the reason of a run that was under way when the copy was made, until somebody ends it
_SINCE_COPY = "this database is a copy that was put back: whether the slot was served after the copy is not known"


def copied_at(sql: sqlite3.Connection) -> datetime | None:
    """When the copy was made that this is; None in any other, and in one that somebody has gone on from (ADR 15)."""
    row = sql.execute(
        "SELECT action, at FROM audit WHERE job_id = ? AND action IN ('backup', 'restore') ORDER BY seq DESC LIMIT 1",
        (ROOT_JOB_ID,),
    ).fetchone()
    return _known(row["at"]) if row is not None and row["action"] == "backup" else None


# -- opening ---------------------------------------------------------------------------------


def _unopened(path: Path, error: OSError) -> UnwritableError:
    return UnwritableError(
        f"cannot open the database {path}: {error.strerror}", hint="make it writable, or name another one with --db"
    )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")  # a full TMPDIR is no reason not to fire
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")


# -- rows and values -------------------------------------------------------------------------

_JOBS = f"""SELECT jobs.*, definitions.spec,
    (SELECT coalesce(fire_time_last, fire_time) FROM runs WHERE job_id = jobs.id
        AND "trigger" IN ('schedule', 'catch_up') AND reason IS NOT 'void'
        ORDER BY fire_time DESC LIMIT 1) AS last_slot,
    {ahead.TAKEN} AS taken,
    (SELECT coalesce(finished_at, requested_at) FROM runs WHERE job_id = jobs.id AND status = 'skipped'
        AND reason <> 'void' ORDER BY n DESC LIMIT 1) AS last_skip_at,
    (SELECT reason FROM runs WHERE job_id = jobs.id AND status = 'skipped' AND reason <> 'void'
        ORDER BY n DESC LIMIT 1) AS last_skip_reason
    FROM jobs JOIN definitions ON definitions.job_id = jobs.id AND definitions.generation = jobs.generation"""


def _sha256(data: object) -> str:
    """Of what a column for bytes holds; damage may have made anything of it."""
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""


def _stamp(moment: datetime) -> str:
    """An instant as text of one width, so that SQL compares instants by comparing text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _stamp_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else _stamp(moment)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)


def _known(text: str) -> datetime:
    return parse_instant(text)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


_specs: dict[str, tuple[str, JobSpec]] = {}


def _spec(job_id: str, text: str) -> JobSpec:
    """Kept: a daemon reads the same definitions again with every pass. One for each job, however often it is edited."""
    known = _specs.get(job_id)
    if known is None or known[0] != text:
        known = _specs[job_id] = text, JobSpec.from_json(json.loads(text))
    return known[1]


@functools.lru_cache(maxsize=4)
def _settings(text: str | None) -> Settings | None:
    """Kept: every fire looks at them."""
    return None if text is None else Settings.from_json(json.loads(text))


def _job(row: sqlite3.Row) -> Job:
    paused_at = _moment(row["paused_at"])
    return Job(
        id=row["id"],
        file=FileFacts(
            spec=_spec(row["id"], row["spec"]),
            generation=row["generation"],
            path=row["path"],
            line=row["line"],
            revision=row["revision"],
            dirty=row["dirty"],
            file_sha256=row["file_sha256"],
            task_sha256=row["task_sha256"],
            activated_at=_known(row["activated_at"]),
            archived_at=_moment(row["archived_at"]),
            sync_state=SyncState(row["sync_state"]),
            task_dirty=row["task_dirty"],
        ),
        pause=None
        if paused_at is None
        else Pause(at=paused_at, reason=row["pause_reason"], until=_moment(row["paused_until"]), by=row["paused_by"]),
        runtime=RuntimeFacts(
            run_count=row["run_count"],
            consecutive_errors=row["consecutive_errors"],
            errors_at_arm=row["errors_at_arm"],
            stopped_at=_moment(row["stopped_at"]),
            stop_reason=row["stop_reason"],
            last_run_at=_moment(row["last_run_at"]),
            last_run_status=row["last_run_status"],
            last_run_duration_ms=row["last_run_duration_ms"],
            last_run_error=row["last_run_error"],
            last_skip_at=_moment(row["last_skip_at"]),
            last_skip_reason=row["last_skip_reason"],
            last_delivery_status=row["last_delivery_status"],
        ),
        next_run_at=_moment(row["next_run_at"]),
        last_slot=_moment(row["last_slot"]),
        taken=ahead.taken(row["taken"]),
        created_at=_known(row["created_at"]),
        created_by=row["created_by"],
        updated_at=_known(row["updated_at"]),
    )


def _write_job(sql: sqlite3.Connection, action: Action, now: datetime, actor: str, changed: int) -> None:
    """Writes a job's file-owned columns, its cursor, its arming and the slots it settles; nothing else (S1)."""
    facts, job_id = action.after, action.job_id
    past = None if action.before is not None else carried.take(sql, job_id)
    if past is not None:  # it begins as it was elsewhere
        facts = replace(facts, generation=carried.generation(past, facts.spec.digest, facts.generation))
        carried.prepare(sql, job_id, past)
    sql.execute(
        "INSERT INTO definitions (job_id, generation, digest, spec, recorded_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (job_id, facts.generation, facts.spec.digest, _dump(facts.spec.to_json()), _stamp(now)),
    )
    owned = (
        facts.generation,
        facts.path,
        facts.line,
        facts.revision,
        facts.dirty,
        facts.file_sha256,
        facts.task_sha256,
        _stamp(facts.activated_at),
        _stamp_or_none(facts.archived_at),
        facts.sync_state.value,
        facts.task_dirty,
        changed,
    )
    if action.before is None:
        sql.execute(
            "INSERT INTO jobs (generation, path, line, revision, dirty, file_sha256, task_sha256, activated_at,"
            " archived_at, sync_state, task_dirty, changed, id, created_at, created_by, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*owned, job_id, _stamp(now), actor, _stamp(now)),
        )
    else:
        sql.execute(
            "UPDATE jobs SET generation = ?, path = ?, line = ?, revision = ?, dirty = ?, file_sha256 = ?,"
            " task_sha256 = ?, activated_at = ?, archived_at = ?, sync_state = ?, task_dirty = ?, changed = ?"
            " WHERE id = ?",
            (*owned, job_id),
        )
    if action.moves_cursor:
        to = _free(sql, job_id, facts.spec, action.next_run_at)
        if not _move_cursor(sql, job_id, seen=action.cursor, to=to):
            raise _StaleError
    if past is not None:
        carried.settle(sql, job_id, past, now=now)
    if action.is_change and action.before is not None:
        sql.execute("UPDATE jobs SET updated_at = ? WHERE id = ?", (_stamp(now), job_id))
    if action.arms:
        _arm(sql, job_id)
    for skip in action.skips:
        assert action.before is not None  # a new job has no slots behind it
        _insert_skip(sql, action.job_id, action.before, skip, now)  # a sync changes no row that is there (S1)


def _arm(sql: sqlite3.Connection, job_id: str) -> None:
    """Lets a stopped job fire again; no counter is touched, errors are counted from here."""
    sql.execute(
        "UPDATE jobs SET stopped_at = NULL, stop_reason = NULL, errors_at_arm = consecutive_errors WHERE id = ?",
        (job_id,),
    )


def _add_skip(sql: sqlite3.Connection, job_id: str, facts: FileFacts, skip: Skip, now: datetime) -> None:
    """Covers slots that no run served. Those that follow on others with the same reason share their row (F4)."""
    extended = sql.execute(
        "UPDATE runs SET fire_time_last = ?, slots = slots + ?, finished_at = ?"
        " WHERE status = 'skipped' AND reason = ? AND error IS NULL AND generation = ?"
        " AND coalesce(fire_time_last, fire_time) > ? AND (job_id, n) = (SELECT job_id, n FROM runs WHERE job_id = ?"
        " AND \"trigger\" IN ('schedule', 'catch_up') AND reason IS NOT 'void' ORDER BY fire_time DESC LIMIT 1)"
        " AND NOT EXISTS (SELECT 1 FROM audit WHERE audit.job_id = runs.job_id AND action IN ('arm', 'resume')"
        " AND field = 'status' AND at > coalesce(fire_time_last, fire_time))",
        (
            _stamp(skip.last),
            skip.slots,
            _stamp(now),
            skip.reason,
            facts.generation,
            _stamp(facts.activated_at),  # slots in between, while it was away or stopped, were not due
            job_id,
        ),
    )
    if not extended.rowcount:
        _insert_skip(sql, job_id, facts, skip, now)


def _insert_skip(
    sql: sqlite3.Connection, job_id: str, facts: FileFacts, skip: Skip, now: datetime, *, error: str | None = None
) -> None:
    sql.execute(
        'INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, fire_time_last, slots,'
        " requested_at, finished_at, generation, error) VALUES (?, ?, 'schedule', 'skipped', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            _next_n(sql, job_id),
            skip.reason,
            _stamp(skip.first),
            _stamp(skip.last),
            skip.slots,
            _stamp(now),
            _stamp(now),
            facts.generation,
            error,
        ),
    )


def _next_n(sql: sqlite3.Connection, job_id: str) -> int:
    (n,) = sql.execute("UPDATE jobs SET last_n = last_n + 1 WHERE id = ? RETURNING last_n", (job_id,)).fetchone()
    return int(n)


def _move_cursor(sql: sqlite3.Connection, job_id: str, *, seen: datetime | None, to: datetime | None) -> bool:
    """False where the cursor is no longer what `to` was computed from: the slots before it have their rows already."""
    moved = sql.execute(
        "UPDATE jobs SET next_run_at = ? WHERE id = ? AND next_run_at IS ?",
        (_stamp_or_none(to), job_id, _stamp_or_none(seen)),
    )
    return moved.rowcount > 0


def _evidence(sql: sqlite3.Connection, job: Job, now: datetime) -> Evidence:
    stamp = _stamp(now)
    return Evidence(
        succeeded_at=lambda: witness.succeeded_at(sql, job.id, stamp),
        resumed_at=lambda: witness.resumed_at(sql, job.id, stamp),
        covered_until=lambda slot: witness.covered_until(sql, job.id, _stamp(slot)),
    )


def _free(sql: sqlite3.Connection, job_id: str, spec: JobSpec, slot: datetime | None) -> datetime | None:
    """A cursor, or the first slot after it, that has no row: when the clock has gone back some ahead have one."""
    row = (
        "SELECT 1 FROM runs WHERE job_id = ? AND fire_time = ?"
        " AND \"trigger\" IN ('schedule', 'catch_up') AND reason IS NOT 'void'"
    )
    while slot is not None and sql.execute(row, (job_id, _stamp(slot))).fetchone() is not None:
        slot = next_fire(spec.due_by, after=slot)
    return slot


def _insert_run(
    sql: sqlite3.Connection,
    job: Job,
    *,
    trigger: Trigger,
    owner: str | None,
    now: datetime,
    slot: datetime | None = None,
    by: str | None = None,
    reason: str | None = None,
) -> Run:
    """A run that has its place (owner), or waits for one."""
    run = Run(
        job_id=job.id,
        n=_next_n(sql, job.id),
        trigger=trigger,
        status=RunStatus.QUEUED if owner is None else RunStatus.CLAIMED,
        reason=reason,
        fire_time=slot,
        fire_time_last=slot,
        requested_at=now,
        requested_by=by,
        generation=job.file.generation,
    )
    sql.execute(
        'INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, fire_time_last, requested_at, requested_by,'
        " generation, owner) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run.job_id,
            run.n,
            run.trigger.value,
            run.status.value,
            run.reason,
            _stamp_or_none(slot),
            _stamp_or_none(slot),
            _stamp(now),
            by,
            run.generation,
            owner,
        ),
    )
    return run


def _active_of(sql: sqlite3.Connection, job_id: str) -> list[Active]:
    """The runs that this job has under way or waiting, oldest first."""
    rows = sql.execute(
        f'SELECT n, "trigger", status, retry_at FROM runs WHERE job_id = ? AND {_ACTIVE_SQL} ORDER BY +n', (job_id,)
    ).fetchall()
    return [
        Active(
            n=row["n"],
            trigger=Trigger(row["trigger"]),
            waits=row["status"] == RunStatus.QUEUED and row["retry_at"] is None,
        )
        for row in rows
    ]


def _give_way(sql: sqlite3.Connection, job_id: str, numbers: Iterable[int], now: datetime) -> tuple[Run, ...]:
    """Skips runs that waited: a newer one of their job has come."""
    gone = []
    for n in numbers:
        sql.execute(
            "UPDATE runs SET status = 'skipped', finished_at = ?, error = 'a newer slot of the job came first',"
            " reason = CASE \"trigger\" WHEN 'catch_up' THEN 'missed' ELSE 'overlap' END"
            " WHERE job_id = ? AND n = ? AND status = 'queued'",
            (_stamp(now), job_id, n),
        )
        gone.append(_run(sql, sql.execute("SELECT * FROM runs WHERE job_id = ? AND n = ?", (job_id, n)).fetchone()))
    return tuple(gone)


def _pin(sql: sqlite3.Connection, run: Run, task_of: int) -> Run:
    """Gives a run that was claimed just now the text of another one of its job, and where that came from."""
    pinned = sql.execute(
        "UPDATE runs SET task_of = other.n, task_sha256 = other.task_sha256, task_bytes = other.task_bytes,"
        " source_path = other.source_path, source_sha256 = other.source_sha256, source_blob = other.source_blob,"
        " revision = other.revision, dirty = other.dirty, no_provenance = other.no_provenance"
        " FROM runs AS other WHERE runs.job_id = ? AND runs.n = ?"
        " AND other.job_id = runs.job_id AND other.n = ? AND other.task_sha256 NOTNULL",
        (run.job_id, run.n, task_of),
    )
    if not pinned.rowcount:
        raise RefusedError(f"{run.job_id}:{task_of} has no text any more", hint=_LET_GO)
    return _run(sql, sql.execute("SELECT * FROM runs WHERE job_id = ? AND n = ?", (run.job_id, run.n)).fetchone())


def _running_count(sql: sqlite3.Connection) -> int:
    """Runs that take a place; those that wait for one do not."""
    (running,) = sql.execute(f"SELECT count(*) FROM runs WHERE {_ACTIVE_SQL} AND status <> 'queued'").fetchone()
    return int(running)


def append_audit(sql: sqlite3.Connection, rows: Sequence[AuditRow]) -> None:
    """Within the transaction of what they tell of (S7)."""
    sql.executemany(
        "INSERT INTO commits (id, author, email, date, subject) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        {
            (made.id, made.author, made.email, _stamp(made.date), made.subject)
            for made in (row.commit for row in rows)
            if made is not None
        },
    )
    sql.executemany(
        "INSERT INTO audit (at, job_id, action, field, before, after, revision, actor, cause, commit_id, no_commit)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                _stamp(row.at),
                row.job_id,
                row.action,
                row.field,
                _dump(row.before),
                _dump(row.after),
                row.revision,
                row.actor,
                row.cause,
                None if row.commit is None else row.commit.id,
                row.no_commit,
            )
            for row in rows
        ],
    )


def _audit_streak(sql: sqlite3.Connection, run: Run, status: RunStatus, reason: str | None, now: datetime) -> None:
    """The audit row of a failure, the first of a streak and then daily, or of the recovery after it (F7)."""
    (errors,) = sql.execute("SELECT consecutive_errors FROM jobs WHERE id = ?", (run.job_id,)).fetchone()
    if status is RunStatus.SUCCEEDED:
        action = "recovery" if errors else None
    else:
        told = "SELECT 1 FROM audit WHERE job_id = ? AND action = 'failure' AND at BETWEEN ? AND ?"
        recently = sql.execute(told, (run.job_id, _stamp(now - timedelta(days=1)), _stamp(now))).fetchone()
        action = None if errors and recently else "failure"
    if action is not None:
        after = {"run": run.id, "status": status.value, "reason": reason}
        row = AuditRow(
            job_id=run.job_id, action=action, after=after, at=now, actor=run.requested_by or "scheduler", cause="run"
        )
        append_audit(sql, [row])


def _stop_failing(sql: sqlite3.Connection, run: Run, now: datetime) -> None:
    """Stops a job that has reached its failure_limit, once, by a run of the version that is still the current one (F5).

    A skip has no text to compare: its definition decides. A manual run stops nothing.
    """
    stopped = sql.execute(
        "UPDATE jobs SET stopped_at = ?, stop_reason = (consecutive_errors - errors_at_arm) || ' errors in a row'"
        " FROM runs, definitions WHERE jobs.id = ? AND runs.job_id = jobs.id AND runs.n = ? AND runs.fire_time NOTNULL"
        " AND definitions.job_id = jobs.id AND definitions.generation = jobs.generation"
        " AND runs.generation = jobs.generation AND coalesce(runs.task_sha256, jobs.task_sha256) IS jobs.task_sha256"
        " AND jobs.archived_at IS NULL AND jobs.stopped_at IS NULL"
        " AND consecutive_errors - errors_at_arm >= nullif(coalesce(json_extract(spec, '$.failure_limit'), ?), 0)",
        (_stamp(now), run.job_id, run.n, FAILURE_LIMIT),
    )
    if stopped.rowcount:
        sql.execute("UPDATE jobs SET changed = ? WHERE id = ?", (_plan_inputs_changed(sql), run.job_id))
        row = AuditRow(
            job_id=run.job_id,
            action="stop",
            field="status",
            before="active",
            after="stopped",
            at=now,
            actor="scheduler",
            cause="failure_limit",
        )
        append_audit(sql, [row])


def _audit_row(row: sqlite3.Row) -> AuditRow:
    return AuditRow(
        job_id=row["job_id"],
        action=row["action"],
        field=row["field"],
        before=json.loads(row["before"]),
        after=json.loads(row["after"]),
        at=_known(row["at"]),
        revision=row["revision"],
        actor=row["actor"],
        cause=row["cause"],
        commit=None
        if row["commit_id"] is None
        else Commit(
            id=row["commit_id"],
            author=row["author"],
            email=row["email"],
            date=_known(row["date"]),
            subject=row["subject"],
        ),
        no_commit=row["no_commit"],
    )


def _replace_problems(sql: sqlite3.Connection, problems: Iterable[Problem], only: str | None) -> None:
    """All problems; or, after a partial pass, those of one file but what only a whole pass can judge."""
    whole = ",".join(f"'{code}'" for code in WHOLE_PASS_CODES)
    sql.execute(
        f"DELETE FROM problems WHERE ? IS NULL OR (path = ? AND json_extract(problem, '$.code') NOT IN ({whole}))",
        (only, only),
    )
    sql.executemany(
        "INSERT INTO problems (path, job_id, problem) VALUES (?, ?, ?)",
        [(problem.path, problem.job_id, _dump(problem.to_json())) for problem in problems],
    )


def _ticket(sql: sqlite3.Connection) -> int:
    (ticket,) = sql.execute("SELECT plan_inputs FROM root").fetchone()
    return int(ticket)


def _plan_inputs_changed(sql: sqlite3.Connection) -> int:
    """Makes a plan that was computed meanwhile stale: it read what has just changed. Returns the new ticket."""
    sql.execute("UPDATE root SET plan_inputs = plan_inputs + 1")
    return _ticket(sql)


def _run(sql: sqlite3.Connection, row: sqlite3.Row) -> Run:
    attempts = sql.execute(
        "SELECT * FROM attempts WHERE job_id = ? AND run_n = ? ORDER BY n", (row["job_id"], row["n"])
    ).fetchall()
    return Run(
        job_id=row["job_id"],
        n=row["n"],
        trigger=Trigger(row["trigger"]),
        status=RunStatus(row["status"]),
        reason=row["reason"],
        fire_time=_moment(row["fire_time"]),
        fire_time_last=_moment(row["fire_time_last"]),
        slots=row["slots"],
        requested_at=_known(row["requested_at"]),
        requested_by=row["requested_by"],
        retry_at=_moment(row["retry_at"]),
        started_at=_moment(row["started_at"]),
        finished_at=_moment(row["finished_at"]),
        duration_ms=row["duration_ms"],
        exit_code=row["exit_code"],
        error=row["error"],
        task_sha256=row["task_sha256"],
        task_bytes=row["task_bytes"],
        source_path=row["source_path"],
        source_sha256=row["source_sha256"],
        provenance=Provenance(
            revision=row["revision"], blob=row["source_blob"], dirty=row["dirty"], why_none=row["no_provenance"]
        ),
        generation=row["generation"],
        result=row["result"],
        output_bytes=row["output_bytes"],
        truncated=bool(row["truncated"]),
        attempts=tuple(
            Attempt(
                n=each["n"],
                status=RunStatus(each["status"]),
                reason=each["reason"],
                started_at=_known(each["started_at"]),
                finished_at=_moment(each["finished_at"]),
                exit_code=each["exit_code"],
            )
            for each in attempts
        ),
        task_of=row["task_of"],
    )


def _active_run(sql: sqlite3.Connection, row: sqlite3.Row) -> ActiveRun:
    last = sql.execute(
        "SELECT pid, pid_started, boot_id FROM attempts WHERE job_id = ? AND run_n = ? ORDER BY n DESC LIMIT 1",
        (row["job_id"], row["n"]),
    ).fetchone()
    known = last is not None and last["pid"] is not None
    return ActiveRun(
        run=_run(sql, row),
        owner=row["owner"],
        process=Process(pid=last["pid"], started=last["pid_started"], boot_id=last["boot_id"]) if known else None,
    )
