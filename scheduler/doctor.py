"""Is all well? One line for each thing that has to be so that jobs fire, with what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from scheduler import owner as owners
from scheduler.clock import Clock
from scheduler.config import Place
from scheduler.control import answer_of, find
from scheduler.core.due import overdue
from scheduler.core.models import Job, RunStatus, Status, SyncState
from scheduler.core.problems import Problem, SchedulerError
from scheduler.git import read_tree
from scheduler.room import cannot_write, lack_of_room
from scheduler.store import Store
from scheduler.views import Json

LONG_JOURNAL_BYTES = 64 * 1024 * 1024
STATUS_S = 10.0  # for a daemon to say how it is
_NAMED = 5  # jobs named in one line


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""


def examine(place: Place, clock: Clock, validate: Callable[[], Iterable[Problem]]) -> Json:
    """`{"healthy", "exit_code", "checks": [{name, status, message, hint}]}`; healthy: no error among them.

    validate: the problems of the files as they stand.
    """
    checks: list[Check] = []
    silent: list[str] = []  # why a daemon does not fire here, and is not to
    exit_code = 0
    parts: dict[str, Callable[[], Iterable[Check]]] = {
        "files": lambda: _files(place, tuple(validate())),
        "git": lambda: _git(place),
        "state": lambda: _state(place),
        "daemon": lambda: _daemon(place, silent),
        "database": lambda: _database(place, clock.now(), fires=not silent),
    }
    for name, part in parts.items():
        try:
            checks += part()
        except (SchedulerError, OSError) as error:
            checks.append(Check(name, "error", str(error), getattr(error, "hint", "")))
            exit_code = 5
    failed = any(check.status == "error" for check in checks)
    return {
        "healthy": not failed,
        "exit_code": exit_code or int(failed),
        "checks": [asdict(check) for check in checks],
    }


def _files(place: Place, problems: Sequence[Problem]) -> Iterator[Check]:
    errors = sum(problem.is_error for problem in problems)
    if not problems:
        yield Check("files", "ok", f"scheduler.yaml and the job files of {place.root} are fine")
        return
    counts = ((errors, "error"), (len(problems) - errors, "warning"))
    count = " and ".join(_count(n, word) for n, word in counts if n) + " in the files"
    yield Check("files", "error" if errors else "warning", count, "`scheduler validate` shows them")


def _git(place: Place) -> Iterator[Check]:
    tree = read_tree(place.root)
    if tree.in_repository:
        yield Check("git", "ok", f"at {tree.revision[:12]}" if tree.revision else "a repository without a commit yet")
    else:
        yield Check("git", "warning", f"runs record no commit: {tree.why_unavailable}")


def _state(place: Place) -> Iterator[Check]:
    state = place.state
    there = [each for each in (place.outputs, place.db.parent) if each.exists()]
    if trouble := lack_of_room(place.outputs, place.db.parent) or next(filter(None, map(cannot_write, there)), ""):
        yield Check("state", "error", trouble, "nothing fires until that is mended; or name another one with --state")
    else:
        yield Check("state", "ok", f"{state} is writable")


def _database(place: Place, now: datetime, *, fires: bool) -> Iterator[Check]:
    if not place.db.exists():
        yield Check("database", "warning", f"{place.db} is not there yet", "run `scheduler sync`")
        return
    with Store.open_to_read(place.db) as store:
        if store.read_only:
            yield Check("database", "error", store.read_only, "nothing can fire or be synced until it can be written")
        damage = store.damage()
        if damage:
            yield Check("database", "error", f"{store.path} is damaged: {damage}", "restore a copy")
            return
        yield Check("database", "ok", f"{store.path} is sound")
        if (journal := store.journal_bytes()) > LONG_JOURNAL_BYTES:
            long = f"its journal {store.path}-wal has grown to {journal // 2**20} MiB"
            yield Check("database", "warning", long, "a process that reads on and on keeps it so: `fuser` names it")
        yield from _texts(store)
        yield from _jobs(store.jobs(), now, fires)
        dead = [
            each.run.id
            for each in store.active()
            if each.run.status is not RunStatus.QUEUED and not owners.is_alive(place.owners, each.owner)
        ]
    if dead:
        hint = "the next sync or run marks them interrupted"
        yield Check("runs", "warning", f"the process that ran them is gone: {_names(dead)}", hint)


def _texts(store: Store) -> Iterator[Check]:
    """Every text against its sha256: SQLite has no checksums, and finds no damage within one."""
    for sha256 in store.damaged_texts():
        runs = store.runs_of_text(sha256)
        yield Check("texts", "error", f"the text {sha256[:12]} is damaged; it was given to {_names(runs)}",
                    "restore a copy; a run that is given the same text brings it back")  # fmt: skip


def _jobs(known: Iterable[Job], now: datetime, fires: bool) -> Iterator[Check]:
    jobs = [job for job in known if not job.archived]

    def named(status: Literal["warning", "error"], about: str, hint: str, wanted: Callable[[Job], bool]) -> list[Check]:
        ids = [job.id for job in jobs if wanted(job)]
        return [Check("jobs", status, f"{about}: {_names(ids)}", hint)] if ids else []

    found = [
        *named(
            "error",
            "a slot came due over a minute ago and has no row",
            "is the daemon running? `scheduler serve` fires them",
            lambda job: fires and overdue(job, now=now),
        ),
        *named(
            "error",
            "held by the guard, because too many jobs would be archived at once",
            "`scheduler sync` names the command that confirms it",
            lambda job: job.file.sync_state is SyncState.HELD,
        ),
        *named(
            "error",
            "on the last good definition, because the file is invalid or in conflict",
            "`scheduler list --problems` shows why",
            lambda job: job.file.sync_state in (SyncState.INVALID, SyncState.CONFLICT),
        ),
        *named(
            "warning",
            "the last run failed or could not start",
            "`scheduler history JOB` shows it",
            lambda job: job.runtime.consecutive_errors > 0,
        ),
    ]
    active = sum(job.status(now) is Status.ACTIVE for job in jobs)
    yield from found or [Check("jobs", "ok", f"{_count(len(jobs), 'job')}, {active} active")]


def _daemon(place: Place, silent: list[str]) -> Iterator[Check]:
    holder = find(place)
    if holder is None:
        yield Check("daemon", "warning", "no daemon is running: nothing fires by itself", "start `scheduler serve`")
        return
    if holder.root != str(place.root):
        yield Check("daemon", "error", f"the database belongs to another root: {holder}", "name another one with --db")
        return
    status = answer_of(holder, "status", limit=STATUS_S)
    for trouble in status["trouble"]:
        yield Check("daemon", "error", f"{holder}: {trouble}", "its log says more")
    if status["silent"]:
        silent.append(status["silent"])
        yield Check("daemon", "warning", f"{holder}, only observes ({status['silent']})")
    if status["unwatched"]:
        yield Check("daemon", "warning", f"it does not see every change at once: {status['unwatched']}")
    if not status["trouble"] and not status["silent"]:
        yield Check("daemon", "ok", f"{holder}; next fire {status['next_start'] or 'none'}")


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _names(ids: list[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
