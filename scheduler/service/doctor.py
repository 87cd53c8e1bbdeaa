"""Is all well? One line for each thing that has to be so that jobs fire, with what to do where it is not."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from scheduler.control.client import answer_of
from scheduler.control.daemon_lock import Holder
from scheduler.core.due.expected import Alarm, Kind, alarm_texts
from scheduler.core.times.clocks import JUMP, NOT_BEFORE, ClockReading
from scheduler.core.values.facts import Job, Status, SyncState
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import Problem, SchedulerError, UsageError
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import names
from scheduler.git.tree import read_tree
from scheduler.ledger import clock_steps, evidence, owners, queries, runs, syncs
from scheduler.ledger.clock_steps import Clocked
from scheduler.ledger.store import Store
from scheduler.machine.disks import cannot_write, free_bytes, lack_of_room, nearest_folder
from scheduler.machine.mounts import mount_of
from scheduler.machine.timesync import is_synchronized
from scheduler.machine.zones import rules
from scheduler.maintenance.backup import copies, newest
from scheduler.maintenance.lost import refuse_lost
from scheduler.root.followed import Followed
from scheduler.root.place import Place, is_there
from scheduler.root.settings import read_settings
from scheduler.run.local.prepare import troubles
from scheduler.service.root import Root
from scheduler.service.sync import validate
from scheduler.sync.holds import why_held

if TYPE_CHECKING:
    from scheduler.core.answers import CheckJson, DoctorJson


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""


BACK = timedelta(minutes=1)  # a correction is smaller


def check_clock(reading: ClockReading, left: Clocked | None) -> Iterator[Check]:
    """left: the clock of those who have written to the database; None where there is none."""
    now = reading.wall
    if now < NOT_BEFORE:
        yield Check("clock", "error", f"it says {instant(now)}, which cannot be", "set it; nothing fires by it")
        return
    newest = None if left is None else left.newest
    if newest is not None and newest - now > BACK:
        hint = (
            "set it if it is wrong; if not, the next `scheduler serve` or `scheduler sync` sets right what lies ahead"
        )
        yield Check("clock", "error", f"it says {instant(now)}, and the newest row is of {instant(newest)}", hint)
        return
    boot = None if left is None else left.boot
    if boot is not None and boot.boot_id is not None and boot.boot_id == reading.boot_id:
        gain = reading.booted_at - boot.booted_at
        if gain > JUMP:
            hint = "set it if it is wrong; a daemon fires by it once it is known to be right, or after two minutes"
            said = f"it has jumped ahead by {timedelta(seconds=round(gain.total_seconds()))} since the machine started"
            yield Check("clock", "error", f"{said}, to {instant(now.replace(microsecond=0))}", hint)
            return
    synchronized = is_synchronized()
    if synchronized is False:
        # chronyd corrects the clock without this, and leaves the kernel's flag alone.
        hint = "let systemd-timesyncd, ntpd or chrony keep it right; chrony tells the kernel only with `rtcsync`"
        yield Check("clock", "warning", "nothing keeps it right: the kernel calls it unsynchronised", hint)
    else:
        kept = "is kept right" if synchronized else "whether something keeps it right cannot be told here"
        yield Check("clock", "ok", f"{instant(now)}; {kept}")


LITTLE_BYTES = 1024**3
LITTLE_SHARE = 0.05  # of a large disk: warn only where both are little
SCARCE_BYTES = 100 * 1024**2  # warn whatever its size; unless it is smaller than some times that by design
SMALL_BYTES = 5 * SCARCE_BYTES
LITTLE_FILES = 0.01


def check_disks(folders: Iterable[Path]) -> Iterator[Check]:
    """folders: those that are written to; of one that is not there yet, the one it will be in."""
    seen = set()
    fine = []
    for folder in map(nearest_folder, folders):
        device = folder.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        found = os.statvfs(folder)
        if found.f_flag & os.ST_RDONLY:
            hint = "mount it for writing, or name another folder with --state"
            yield Check("disk", "error", f"the file system of {folder} is read-only", hint)
            continue
        free, size = free_bytes(found), found.f_blocks * found.f_frsize
        if size and _is_little(free, size):
            hint = "outputs of runs are in `runs` of the state folder; without room nothing fires"
            yield Check("disk", "warning", f"{_size(free)} of {_size(size)} are free for {folder}", hint)
        elif found.f_files and found.f_favail < LITTLE_FILES * found.f_files:
            hint = "each run makes two files; without room for them nothing fires"
            yield Check("disk", "warning", f"{found.f_favail:,} more files fit on the disk of {folder}", hint)
        else:
            fine.append(f"{_size(free)} free for {folder}" if size else f"{folder} has no limit of its own")
    if fine:
        yield Check("disk", "ok", "; ".join(fine))


def _is_little(free: int, size: int) -> bool:
    if size < SMALL_BYTES:
        return free < size * LITTLE_SHARE * 2
    return free < SCARCE_BYTES or (free < LITTLE_BYTES and free < size * LITTLE_SHARE)


def _size(n: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if n >= 10 or unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:,.1f} TiB"


def check_runners(
    settings: Settings, jobs: Iterable[Job], root: Path, environ: Mapping[str, str], holder: Holder | None
) -> Iterator[Check]:
    """holder: the daemon to ask; None: judge by our own environment."""
    used: dict[str, list[str]] = {}
    for job in jobs:
        if not job.archived and job.file.spec.enabled:
            used.setdefault(job.file.spec.runner, []).append(job.id)
    whose, found = "in this environment", troubles(settings, root, environ)
    if holder is not None:
        try:
            whose, found = "in the daemon's environment", answer_of(holder, "runners")["runners"]
        except UsageError:  # a daemon of an earlier version, which knows no such question
            whose += ", which may not be the daemon's"
    ill = False
    for name, of in found.items():
        need = f"used by {names(used[name])}" if name in used else "no job uses it at present"
        for fault in of["faults"]:
            ill = True
            yield Check("runners", "error" if name in used else "warning", f"{name}: {fault}", f"{whose}; {need}")
        if of["lacks"]:
            # It starts without them, as when it takes the key of one of two providers: only it knows what it needs.
            ill = True
            yield Check(
                "runners",
                "warning",
                f"{name}: env_from names {', '.join(of['lacks'])}, not set {whose}",
                f"set them where the daemon starts, or take them out; {need}",
            )
    if not ill:
        yield Check("runners", "ok", f"{len(found)} can start, {whose}" if found else "there are none")


_OLD_YEARS = 2  # governments change their clocks at a few months' notice
_HINT = "install the system's tzdata, or `pip install --upgrade tzdata` beside the scheduler"


def check_zones(settings: Settings, jobs: Iterable[Job], now: datetime) -> Iterator[Check]:
    used: dict[str, list[str]] = {settings.timezone: ["scheduler.yaml"]}
    for job in jobs:
        if not job.archived:
            for entry in job.file.spec.schedule.entries:
                used.setdefault(entry.timezone, []).append(job.id)
    unknown = {name: who for name, who in sorted(used.items()) if not _is_known(name)}
    for name, who in unknown.items():
        yield Check("zones", "error", f"the rules of {name} are not to be had here; used by {names(who)}", _HINT)
    if unknown:
        return
    source, version = rules()
    said = f"rules {version or 'of an unknown version'}, from {source}"
    year = re.match(r"\d{4}", version)
    if year is not None and now.year - int(year[0]) >= _OLD_YEARS:
        yield Check("zones", "warning", f"{said}, are old: clocks may have been changed since", _HINT)
    else:
        yield Check("zones", "ok", said)


def _is_known(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo.no_cache(name)  # the cache would know one whose file is gone by now
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


LONG_JOURNAL_BYTES = 64 * 1024 * 1024
STALE = timedelta(days=2)  # a copy older than that: a night was left out
STALE_LOOK = timedelta(minutes=15)  # of a remote that is followed
STATUS_S = 10.0  # for a daemon to say how it is
_TRUST = "let the user of the daemon run: git config --global --add safe.directory {}"


def examine(root: Root) -> DoctorJson:
    """What is well and what is not, with what to do about it; writes nothing.

    `{"healthy", "exit_code", "checks": [{name, status, message, hint}]}`; healthy: no error among them.
    """
    place, clock = root.place, root.clock
    checks: list[Check] = []
    silent: list[str] = []  # why a daemon does not fire here, and is not to
    failing: list[str] = []  # why the daemon makes no copies
    exit_code = 0
    parts: dict[str, Callable[[], Iterable[Check]]] = {
        "files": lambda: _files(place, validate(root)),
        "git": lambda: _git(place),
        "remote": lambda: () if place.followed is None else _remote(place.followed, clock.now()),
        "state": lambda: _state(place),
        "daemon": lambda: _daemon(root, silent, failing),
        "database": lambda: _database(place, clock.now(), fires=not silent),
        "backup": lambda: _backup(place, clock.now(), failing),
        "machine": lambda: _machine(root, asks=exit_code == 0),
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
        "checks": [cast("CheckJson", asdict(check)) for check in checks],
    }


def _files(place: Place, problems: Sequence[Problem]) -> Iterator[Check]:
    errors = sum(problem.is_error for problem in problems)
    if not problems:
        yield Check("files", "ok", f"scheduler.yaml and the job files of {place.label} are fine")
        return
    counts = ((errors, "error"), (len(problems) - errors, "warning"))
    count = " and ".join(_count(n, word) for n, word in counts if n) + " in the files"
    yield Check("files", "error" if errors else "warning", count, "`scheduler validate` shows them")


def _git(place: Place) -> Iterator[Check]:
    tree = read_tree(place.root)
    if tree.in_repository:
        yield Check("git", "ok", f"at {tree.revision[:12]}" if tree.revision else "a repository without a commit yet")
    else:
        hint = _TRUST.format(place.root) if "belongs to another user" in (tree.why_unavailable or "") else ""
        yield Check("git", "warning", f"runs record no commit: {tree.why_unavailable}", hint)
    if held := why_held(place, _stored(place)):
        hint = "end it, abort it or check out that branch; `scheduler sync --now` takes the files as they are"
        yield Check("git", "warning", f"edits of the files wait: {held}", hint)


def _remote(followed: Followed, now: datetime) -> Iterator[Check]:
    remote, looked = followed.remote(), followed.looked()
    if looked.trouble:
        yield Check("remote", "error", looked.words, looked.hint)
    elif looked.looked_at is None or now - parse_instant(looked.looked_at) > max(STALE_LOOK, 3 * remote.every):
        when = "ever" if looked.looked_at is None else f"since {looked.looked_at}"
        hint = "a daemon does, and `scheduler sync`"
        yield Check("remote", "warning", f"nobody has looked at the {remote.words} {when}", hint)
    else:
        rule = ", signed" if remote.signed else ""
        yield Check(
            "remote", "ok", f"the {remote.words} is at {(looked.tip or 'no commit')[:12]}{rule}: the root is, too"
        )
    if looked.rewritten is not None:
        message = f"its history was rewritten: {looked.rewritten[:12]}, which was the root, is in it no more"
        yield Check("remote", "warning", message, "runs may name it; it is kept, `git show` in `current` shows it")


def _machine(root: Root, *, asks: bool) -> Iterator[Check]:
    """asks: whether a daemon, where there is one, answers; without one, runners are judged by our own environment."""
    place, clock = root.place, root.clock
    settings, jobs, clocked = _known(place)
    holder = root.daemon(of_any_root=True) if asks else None
    if holder is not None and holder.root != str(place.label):
        holder = None  # it knows other runners
    yield from check_runners(settings, jobs, place.root, root.environ, holder)
    yield from check_clock(clock.read(), clocked)
    yield from check_zones(settings, jobs, clock.now())
    yield from check_disks((place.state, place.db.parent))


def _stored(place: Place) -> Settings | None:
    """The last good settings, where there are any that can be read."""
    if place.db.exists():
        with contextlib.suppress(SchedulerError), Store.open(place.db, create=False) as store:
            return store.read(syncs.settings)
    return None


def _known(place: Place) -> tuple[Settings, list[Job], Clocked | None]:
    """The settings in force, the jobs, and the clock of those who wrote last; as much of it as can be read."""
    settings, _ = read_settings(place)
    if place.db.exists():
        with contextlib.suppress(SchedulerError), Store.open(place.db, create=False) as store:
            observed = store.read(syncs.observed)
            return (
                settings or observed.settings or Settings(),
                list(observed.jobs.values()),
                store.read(clock_steps.last_clock),
            )
    return settings or Settings(), [], None


def _state(place: Place) -> Iterator[Check]:
    state = place.state
    there = [each for each in (place.outputs, place.db.parent) if each.exists()]
    if trouble := lack_of_room(place.outputs, place.db.parent) or next(filter(None, map(cannot_write, there)), ""):
        yield Check("state", "error", trouble, "nothing fires until that is mended; or name another one with --state")
    else:
        yield Check("state", "ok", f"{state} is writable")
    mount = mount_of(place.db.parent)
    if mount is not None and mount.is_shared:
        yield Check(
            "state",
            "error",
            f"{place.db} is on {mount.kind}, {mount.source}: over a network neither SQLite nor its locks are safe",
            "keep the database on a disk of this machine: --state or SCHEDULER_STATE names the folder",
        )
    if state.exists() and state.stat().st_mode & 0o077:
        yield Check("state", "warning", f"other users may look into {state}", f"chmod 700 {shlex.quote(str(state))}")
    for other in place.elsewhere():
        yield Check(
            "state",
            "warning",
            f"{place.db} is used, and there is another database of this root, {other}",
            "move the one that is not wanted away, or name the other one with --db",
        )


def _backup(place: Place, now: datetime, failing: Sequence[str]) -> Iterator[Check]:
    last = newest(place)
    for why in failing:
        yield Check("backup", "warning", f"no new copy can be made: {why}", "jobs fire as before; its log says more")
    if place.backups is not None and place.backups.is_relative_to(place.label):
        hint = "set XDG_STATE_HOME to a folder outside of it"
        yield Check("backup", "warning", f"the nightly copies are inside the root, in {place.backups}", hint)
    if last is None:
        if place.backups is None or not _can_be_made(place.backups):
            where = place.backups or "the home folder, which this user does not have"
            hint = "name a folder that can be written by XDG_STATE_HOME"
            yield Check("backup", "warning", f"no nightly copy can be made in {where}", hint)
        elif not failing:
            yield Check("backup", "ok", f"no copy yet; a daemon makes one every night, in {place.backups}")
        return
    old = now - last.at > STALE
    kept = f"{_count(sum(not copy.earlier for copy in copies(place)), 'copy', 'copies')} in {last.path.parent}"
    hint = "a daemon makes one every night: does it run? `scheduler backup PATH` makes one now" if old else ""
    yield Check("backup", "warning" if old else "ok", f"{kept}, the newest of {instant(last.at)}", hint)


def _database(place: Place, now: datetime, *, fires: bool) -> Iterator[Check]:
    if not is_there(place.db):
        refuse_lost(place)
        yield Check("database", "warning", f"{place.db} is not there yet", "run `scheduler sync`")
        return
    with Store.open_to_read(place.db) as store:
        if store.read_only:
            yield Check("database", "error", store.read_only, "nothing can fire or be synced until it can be written")
        damage = store.damage()
        if damage:
            yield Check(
                "database", "error", f"{store.path} is damaged: {damage}", "`scheduler restore` puts a copy back"
            )
            return
        yield Check("database", "ok", f"{store.path} is sound")
        if (journal := store.journal_bytes()) > LONG_JOURNAL_BYTES:
            long = f"its journal {store.path}-wal has grown to {journal // 2**20} MiB"
            yield Check("database", "warning", long, "a process that reads on and on keeps it so: `fuser` names it")
        yield from _texts(store)
        yield from _overdue(store.read(evidence.alarms, now, store.read(queries.jobs)), fires)
        yield from _jobs(store.read(queries.jobs), now)
        dead = [
            each.run.id
            for each in store.read(runs.active)
            if each.run.status is not RunStatus.QUEUED
            and each.kind == owners.LOCAL
            and not owners.is_alive(place.owners, each.owner)
        ]
    if dead:
        hint = "the next sync or run marks them interrupted"
        yield Check("runs", "warning", f"the process that ran them is gone: {names(dead)}", hint)


def _texts(store: Store) -> Iterator[Check]:
    """Every text against its sha256: SQLite has no checksums, and finds no damage within one."""
    for sha256 in store.read(queries.damaged_texts):
        runs = store.read(queries.runs_of_text, sha256)
        yield Check("texts", "error", f"the text {sha256[:12]} is damaged; it was given to {names(runs)}",
                    "restore a copy; a run that is given the same text brings it back")  # fmt: skip


def _overdue(found: Iterable[tuple[Job, Alarm]], fires: bool) -> Iterator[Check]:
    hints = {
        Kind.SUCCESS: "`scheduler history JOB` shows its runs; a pause silences it",
        Kind.ROW: "is the daemon running? `scheduler serve` fires them",
    }
    due = [each for each in found if fires or each[1].kind is not Kind.ROW]
    for kind in Kind:
        of = [(job, alarm) for job, alarm in due if alarm.kind is kind]
        for text in alarm_texts(of):
            first, alarm = of[0]
            yield Check("overdue", "error", f"{text}; {first.id}: {alarm.text(first)}", hints[kind])
    if not due:
        yield Check("overdue", "ok", "every slot has its row, and no success is missed")


def _jobs(known: Iterable[Job], now: datetime) -> Iterator[Check]:
    jobs = [job for job in known if not job.archived]

    def named(status: Literal["warning", "error"], about: str, hint: str, wanted: Callable[[Job], bool]) -> list[Check]:
        ids = [job.id for job in jobs if wanted(job)]
        return [Check("jobs", status, f"{about}: {names(ids)}", hint)] if ids else []

    found = [
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
            "error",
            "stopped after too many errors in a row",
            "an edit of its definition or task starts it again; if it is fine as it is, `scheduler resume JOB`",
            lambda job: job.status(now) is Status.STOPPED,
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


def _can_be_made(folder: Path) -> bool:
    nearest = next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110 - never raises
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _daemon(root: Root, silent: list[str], failing: list[str]) -> Iterator[Check]:
    holder = root.daemon(of_any_root=True)
    if holder is None:
        yield Check("daemon", "warning", "no daemon is running: nothing fires by itself", "start `scheduler serve`")
        return
    if holder.root != str(root.place.label):
        yield Check("daemon", "error", f"the database belongs to another root: {holder}", "name another one with --db")
        return
    status = answer_of(holder, "status", limit=STATUS_S)
    failing += [status["backup"]] if status.get("backup") else []
    for trouble in status["trouble"]:
        yield Check("daemon", "error", f"{holder}: {trouble}", "its log says more")
    if status["held_long"]:
        message = f"{holder}: edits have waited since {status['held_since']}: {status['held']}"
        yield Check("daemon", "error", message, "end or abort it; `scheduler sync --now` takes the files as they are")
    if status["silent"]:
        silent.append(status["silent"])
        yield Check("daemon", "warning", f"{holder}, only observes ({status['silent']})")
    if status["unwatched"]:
        yield Check("daemon", "warning", f"it does not see every change at once: {status['unwatched']}")
    if not status["trouble"] and not status["silent"]:
        yield Check("daemon", "ok", f"{holder}; next fire {status['next_start'] or 'none'}")


def _count(n: int, word: str, words: str = "") -> str:
    return f"{n} {word if n == 1 else words or word + 's'}"
