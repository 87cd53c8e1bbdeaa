"""Check everything that jobs need in order to fire: one line per check, with a hint for what is wrong."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from scheduler.control.client import answer_of
from scheduler.core.access.tokens import ENDS_SOON, UNUSED, ends_soon, is_unused, lets_in
from scheduler.core.due.expected import Alarm, Kind, alarm_texts, finds_no_place
from scheduler.core.due.place import place_texts
from scheduler.core.past.presence import START
from scheduler.core.values.facts import Job, JobSummary, Status, SyncState
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import Problem, SchedulerError
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import counted, how_held_ends, names
from scheduler.git.tree import read_tree
from scheduler.ledger import access, budgets, clock_steps, evidence, owners, places, queries, runs, syncs
from scheduler.ledger.agents import other_models
from scheduler.ledger.clock_steps import Clocked
from scheduler.ledger.reach import reach
from scheduler.ledger.store import Store
from scheduler.machine.disks import cannot_write, lack_of_room
from scheduler.machine.mounts import mount_of
from scheduler.machine.orphans import of_root
from scheduler.maintenance.backup import copies, newest
from scheduler.maintenance.lost import refuse_lost
from scheduler.root.followed import Followed
from scheduler.root.place import Place, is_there
from scheduler.root.settings import read_settings
from scheduler.service.doctor.checks import Check, check_channels, check_clock, check_disks, check_runners, check_zones
from scheduler.service.doctor.engine import check_engine
from scheduler.service.jobs import agents_among
from scheduler.service.login import why_not_served
from scheduler.service.presence import find_daemon
from scheduler.service.root import Root
from scheduler.service.sync import validate
from scheduler.sync.holds import why_held

if TYPE_CHECKING:
    from scheduler.core.answers import CheckJson, DoctorJson


LONG_JOURNAL_BYTES = 64 * 1024 * 1024
STALE = timedelta(days=2)  # a backup older than this: at least one night was left out
STALE_LOOK = timedelta(minutes=15)  # the last look at a followed remote
STATUS_S = 10.0  # how long the daemon may take to report its state
_TRUST = "as the user of the daemon, run: git config --global --add safe.directory {}"


_ORDER = ("error", "warning", "ok")


def examine(root: Root, *, strict: bool = False) -> DoctorJson:
    """Run all checks and say how to fix what fails; write nothing.

    Errors come first, then warnings, then passed checks. healthy: no check is an error.
    strict: a warning also leads to exit code 1.
    """
    place, clock = root.place, root.clock
    checks: list[Check] = []
    silent: list[str] = []  # why a daemon does not fire here, and should not
    failing: list[str] = []  # why the daemon makes no backups
    told: list[tuple[int, str]] = []  # processes that the daemon knows to be left behind by runs
    exit_code = 0
    parts: dict[str, Callable[[], Iterable[Check]]] = {
        "files": lambda: _files(place, validate(root)),
        "git": lambda: _git(place),
        "remote": lambda: () if place.followed is None else _remote(place.followed, clock.now()),
        "state": lambda: _state(place),
        "daemon": lambda: _daemon(root, silent, failing, told),
        "web": lambda: _web(root),
        "left": lambda: _left(place, told),
        "database": lambda: _database(place, clock.now(), fires=not silent),
        "backup": lambda: _backup(place, clock.now(), failing),
        "engine": lambda: check_engine(place, *_known(place)[:2], root.environ),
        "machine": lambda: _machine(root, asks=exit_code == 0),
    }
    for name, part in parts.items():
        try:
            checks += part()
        except (SchedulerError, OSError) as error:
            checks.append(Check(name, "error", str(error), getattr(error, "hint", "")))
            exit_code = 5
    errors, warnings = (sum(check.status == each for check in checks) for each in ("error", "warning"))
    checks.sort(key=lambda check: _ORDER.index(check.status))
    return {
        "healthy": not errors,
        "exit_code": exit_code or int(bool(errors or (strict and warnings))),
        "errors": errors,
        "warnings": warnings,
        "checks": [cast("CheckJson", asdict(check)) for check in checks],
    }


def _web(root: Root) -> Iterator[Check]:
    if why := why_not_served(root):
        hint = "jobs fire all the same, and it is tried again every minute; or choose another address with --listen"
        yield Check("web", "warning", f"the pages are not served: {why}", hint)


def _files(place: Place, problems: Sequence[Problem]) -> Iterator[Check]:
    errors = sum(problem.is_error for problem in problems)
    if not problems:
        yield Check("files", "ok", f"scheduler.yaml and the job files in {place.label} are valid")
        return
    counts = ((errors, "error"), (len(problems) - errors, "warning"))
    count = " and ".join(counted(n, word) for n, word in counts if n) + " in the files"
    yield Check("files", "error" if errors else "warning", count, "`scheduler validate` shows them")


def _git(place: Place) -> Iterator[Check]:
    tree = read_tree(place.root)
    if tree.in_repository:
        yield Check("git", "ok", f"at {tree.revision[:12]}" if tree.revision else "a repository with no commits yet")
    else:
        hint = _TRUST.format(place.root) if "belongs to another user" in (tree.why_unavailable or "") else ""
        yield Check("git", "warning", f"runs record no commit: {tree.why_unavailable}", hint)
    if held := why_held(place, _stored(place)):
        yield Check("git", "warning", f"sync is held: {held}", how_held_ends(held))


def _remote(followed: Followed, now: datetime) -> Iterator[Check]:
    remote, looked = followed.remote(), followed.looked()
    if looked.trouble:
        yield Check("remote", "error", looked.words, looked.hint)
    elif looked.looked_at is None or now - parse_instant(looked.looked_at) > max(STALE_LOOK, 3 * remote.every):
        when = (
            "has never been checked" if looked.looked_at is None else f"has not been checked since {looked.looked_at}"
        )
        hint = "start the daemon with `scheduler serve`, or run `scheduler sync` once"
        yield Check("remote", "warning", f"the {remote.words} {when}", hint)
    else:
        rule = ", signed" if remote.signed else ""
        yield Check(
            "remote", "ok", f"the {remote.words} is at {(looked.tip or 'no commit')[:12]}{rule}, and so is the root"
        )
    if looked.rewritten is not None:
        message = (
            f"its history was rewritten: {looked.rewritten[:12]}, an earlier commit of the root, is no longer in it"
        )
        yield Check(
            "remote",
            "warning",
            message,
            "earlier runs may refer to that commit, so it is kept; `git show` in `current` shows it",
        )


def _machine(root: Root, *, asks: bool) -> Iterator[Check]:
    """asks: True if a daemon, if any, answers. Without one, runners are judged by our own environment."""
    place, clock = root.place, root.clock
    settings, jobs, clocked = _known(place)
    holder = root.daemon(of_any_root=True) if asks else None
    if holder is not None and holder.root != str(place.label):
        holder = None  # it knows other runners
    yield from check_runners(settings, jobs, place.root, root.environ, holder)
    yield from check_channels(settings, jobs)
    yield from check_clock(clock.read(), clocked)
    yield from check_zones(settings, jobs, clock.now())
    yield from check_disks((place.state, place.db.parent))


def _stored(place: Place) -> Settings | None:
    """The last good settings, or None if there are none that can be read."""
    if place.db.exists():
        with contextlib.suppress(SchedulerError), Store.open(place.db, create=False) as store:
            return store.read(syncs.settings)
    return None


def _known(place: Place) -> tuple[Settings, list[Job], Clocked | None]:
    """The settings in force, the jobs, and the clock of the last writer, as far as they can be read."""
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
        yield Check(
            "state", "error", trouble, "fix this, or choose another state folder with --state; nothing fires until then"
        )
    else:
        yield Check("state", "ok", f"{state} is writable")
    mount = mount_of(place.db.parent)
    if mount is not None and mount.is_shared:
        yield Check(
            "state",
            "error",
            f"{place.db} is on a network file system, where SQLite is unsafe: {mount.kind}, {mount.source}",
            "keep the database on a local disk: set the folder with --state or SCHEDULER_STATE",
        )
    if state.exists() and state.stat().st_mode & 0o077:
        yield Check("state", "warning", f"other users can read {state}", f"chmod 700 {shlex.quote(str(state))}")
    for other in place.elsewhere():
        yield Check(
            "state",
            "warning",
            f"{place.db} is in use, but this root has another database, {other}",
            "move the one you do not need elsewhere, or use the other one with --db",
        )


def _backup(place: Place, now: datetime, failing: Sequence[str]) -> Iterator[Check]:
    last = newest(place)
    for why in failing:
        yield Check("backup", "warning", f"backups fail: {why}", "jobs still fire; see the daemon's log")
    if place.backups is not None and place.backups.is_relative_to(place.label):
        hint = "set XDG_STATE_HOME to a folder outside the root"
        yield Check("backup", "warning", f"the nightly backups are inside the root, in {place.backups}", hint)
    if last is None:
        if place.backups is None or not _can_be_made(place.backups):
            where = place.backups or "the home folder: this user has none"
            hint = "set XDG_STATE_HOME to a writable folder"
            yield Check("backup", "warning", f"no nightly backup can be made in {where}", hint)
        elif not failing:
            yield Check("backup", "ok", f"no backup yet; the daemon makes one every night in {place.backups}")
        return
    old = now - last.at > STALE
    kept = f"{counted(sum(not copy.earlier for copy in copies(place)), 'backup')} in {last.path.parent}"
    hint = "the daemon makes one every night: is it running? `scheduler backup PATH` makes one now" if old else ""
    yield Check(
        "backup", "warning" if old else "ok", f"{kept}, the newest from {instant(last.at.replace(microsecond=0))}", hint
    )


def _database(place: Place, now: datetime, *, fires: bool) -> Iterator[Check]:
    if not is_there(place.db):
        refuse_lost(place)
        yield Check("database", "warning", f"{place.db} does not exist yet", "run `scheduler sync`")
        return
    with Store.open_to_read(place.db) as store:
        if store.read_only:
            yield Check(
                "database", "error", store.read_only, "make it writable; nothing fires and no sync works until then"
            )
        damage = store.damage()
        if damage:
            yield Check(
                "database",
                "error",
                f"{store.path} is damaged: {damage}",
                "`scheduler restore` lists the backups and restores one",
            )
            return
        yield Check("database", "ok", f"{store.path} is sound")
        if (journal := store.journal_bytes()) > LONG_JOURNAL_BYTES:
            long = f"its journal {store.path}-wal has grown to {journal // 2**20} MiB"
            yield Check("database", "warning", long, "a process is keeping a read open: find it with `fuser`")
        yield from _texts(store)
        summaries = store.read(queries.summaries)
        yield from _overdue(store.read(evidence.alarms, now, summaries), fires)
        for fault in store.read(places.open_faults):
            (text,) = place_texts([fault])
            if fault.park is None:
                yield Check("place", "error", text, "restore it; firing resumes by itself")
                continue
            hint = f"`scheduler resume --account {fault.name}` probes it at once"
            if fault.needs_a_person:
                yield Check("account", "error", text, f"log in again as the user that runs the daemon; {hint}")
            else:
                yield Check("account", "warning", text, f"firing resumes by itself; {hint}")
        yield from _jobs(summaries, now)
        yield from _budgets(store, now)
        yield from _models(store, summaries)
        yield from _reached(store, now)
        yield from _tokens(store, now)
        dead = [
            each.run.id
            for each in store.read(runs.active)
            if each.run.status is not RunStatus.QUEUED
            and each.kind == owners.LOCAL
            and not owners.is_alive(place.owners, each.owner)
        ]
    if dead:
        hint = "run `scheduler sync`: it marks them interrupted"
        yield Check("runs", "warning", f"the process that ran these has died: {names(dead)}", hint)


def _texts(store: Store) -> Iterator[Check]:
    """Check every text against its sha256. SQLite has no checksums, so it finds no damage inside a text."""
    for sha256 in store.read(queries.damaged_texts):
        runs = store.read(queries.runs_of_text, sha256)
        yield Check("texts", "error", f"the task text {sha256[:12]} is damaged; {names(runs)} ran it",
                    "restore a backup (`scheduler restore`); a new run with the same text also repairs it")  # fmt: skip


def _overdue(found: Iterable[tuple[JobSummary, Alarm]], fires: bool) -> Iterator[Check]:
    hints = {
        Kind.SUCCESS: "`scheduler history JOB` shows its runs; `scheduler pause JOB` silences this alarm",
        Kind.ROW: "is the daemon running? start it with `scheduler serve`",
    }
    due = [each for each in found if fires or each[1].kind is not Kind.ROW]
    for kind in Kind:
        of = [(job, alarm) for job, alarm in due if alarm.kind is kind]
        for text in alarm_texts(of):
            first, alarm = of[0]
            yield Check("overdue", "error", f"{text}; {first.id}: {alarm.text(first)}", hints[kind])
    if not due:
        yield Check("overdue", "ok", "no missed runs; every `expect_every` deadline is met")


def _jobs(known: Iterable[JobSummary], now: datetime) -> Iterator[Check]:
    jobs = [job for job in known if not job.archived]

    def named(
        status: Literal["warning", "error"], about: str, hint: str, wanted: Callable[[JobSummary], bool]
    ) -> list[Check]:
        ids = [job.id for job in jobs if wanted(job)]
        return [Check("jobs", status, f"{about}: {names(ids)}", hint)] if ids else []

    found = [
        *named(
            "error",
            "kept by the prune guard, because too many jobs would be archived at once",
            "`scheduler sync` prints the commands that restore the files or archive the jobs",
            lambda job: job.sync_state is SyncState.HELD,
        ),
        *named(
            "error",
            "on the last good definition, because the file is invalid or in conflict",
            "`scheduler list --problems` shows why",
            lambda job: job.sync_state in (SyncState.INVALID, SyncState.CONFLICT),
        ),
        *named(
            "error",
            "stopped after too many errors in a row",
            "fix the job's file or task, which starts it again; or run `scheduler resume JOB`",
            lambda job: job.status(now) is Status.STOPPED,
        ),
        *named(
            "warning",
            "the last run failed or could not start",
            "`scheduler history --failed` shows why",
            lambda job: job.consecutive_errors > 0,
        ),
        *named(
            "warning",
            "the newest slots were skipped: the limit of concurrent runs was reached",
            "raise limits.max_running in scheduler.yaml, or schedule the jobs at different times",
            finds_no_place,
        ),
    ]
    active = sum(job.status(now) is Status.ACTIVE for job in jobs)
    yield from found or [Check("jobs", "ok", f"{counted(len(jobs), 'job')}, {active} active")]


def _budgets(store: Store, now: datetime) -> Iterator[Check]:
    refused = store.read(budgets.refused_now, now)
    if refused is None:
        return
    if refused:
        first, spending = next(iter(refused.items()))
        message = f"the budget allows no run now of {names(list(refused))}; {first}: {spending.refused}"
        yield Check("budget", "warning", message, "`scheduler show JOB` has the figures")
    else:
        yield Check("budget", "ok", "every job with a budget can start a run")


def _models(store: Store, jobs: Sequence[JobSummary]) -> Iterator[Check]:
    agents = agents_among(store, jobs)
    for job_id, each in store.read(other_models, agents).items():
        message = f"{job_id} asks for model {each.asked!r}, and {each.served!r} answered {each.run_id}"
        hint = "look at the limits and the settings of the account, or ask for another model"
        yield Check("models", "warning", message, hint)


def _reached(store: Store, now: datetime) -> Iterator[Check]:
    """Whether messages arrive. Nothing without channels and pings."""
    found = store.read(reach)
    fine = True
    for each in found:
        if each.is_dead:
            fine = False
            yield Check("delivery", "error", each.dead_text, each.hint)
        elif late := each.backlog_text(now):
            fine = False
            hint = f"is the daemon running? `scheduler deliveries --channel {each.name}` shows them"
            yield Check("delivery", "warning", late, hint)
    if found and fine:
        yield Check("delivery", "ok", "none is dead, and no message is late")


def _tokens(store: Store, now: datetime) -> Iterator[Check]:
    """Whether tokens end soon or are forgotten. Nothing without tokens that let anybody in."""
    known = [each for each in store.read(access.tokens) if lets_in(each, now)]
    ending = [each.name for each in known if ends_soon(each, now)]
    unused = [each.name for each in known if is_unused(each, now)]
    if ending:
        message = f"these expire within {ENDS_SOON.days} days: {names(ending)}"
        yield Check("tokens", "warning", message, "`scheduler token revoke NAME`, then create a new one of that name")
    if unused:
        message = f"not used for {UNUSED.days} days: {names(unused)}"
        yield Check("tokens", "warning", message, "`scheduler token revoke NAME`, unless somebody needs it")
    if known and not ending and not unused:
        yield Check("tokens", "ok", f"{counted(len(known), 'token')}, in use and not about to expire")


def _can_be_made(folder: Path) -> bool:
    nearest = next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110 - never raises
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _left(place: Place, told: Iterable[tuple[int, str]]) -> Iterator[Check]:
    """Find processes of runs that have ended. told: those that the daemon has adopted."""
    if not place.db.exists():
        return
    with Store.open(place.db, create=False) as store:
        active = {each.run.id for each in store.read(runs.active)}
    below = place.root if place.followed is None else place.followed.commits
    found = dict(told)
    found |= {each.pid: f"{each} of {each.run_id}" for each in of_root(below) if each.run_id not in active}
    if found:
        hint = "end them with `kill PID`; to start a service from a job, use a service manager"
        yield Check("left", "warning", f"still running after their runs ended: {names(list(found.values()))}", hint)


def _daemon(root: Root, silent: list[str], failing: list[str], told: list[tuple[int, str]]) -> Iterator[Check]:
    holder = root.daemon(of_any_root=True)
    if holder is None:
        with contextlib.suppress(SchedulerError), root.store() or contextlib.nullcontext() as store:
            jobs = [] if store is None else store.read(queries.jobs)
            found = find_daemon(root, store, jobs, root.clock.now()).presence
            yield Check("daemon", found.severity, found.message, found.hint)
            return
        # The check of the database reports why it cannot be read.
        yield Check("daemon", "warning", "no daemon is running: no job fires", START)
        return
    if holder.root != str(root.place.label):
        yield Check(
            "daemon",
            "error",
            f"a daemon of another root uses this database: {holder}",
            "choose another database with --db",
        )
        return
    status = answer_of(holder, "status", limit=STATUS_S)
    told += status.get("left", ())
    failing += [status["backup"]] if status.get("backup") else []
    for trouble in status["trouble"]:
        yield Check("daemon", "error", f"{holder}: {trouble}", "see the daemon's log")
    if status["held_long"]:
        message = f"{holder}: sync has been held since {status['held_since']}: {status['held']}"
        yield Check("daemon", "error", message, how_held_ends(status["held"]))
    if status["silent"]:
        silent.append(status["silent"])
        yield Check("daemon", "warning", f"{holder}; it only observes ({status['silent']})")
    if status["unwatched"]:
        yield Check("daemon", "warning", f"it does not see every change immediately: {status['unwatched']}")
    if lost := status.get("engine"):
        yield Check("engine", "error", f"{holder}: {lost}", "runs with workers go on; their ends are written later")
    if few := status.get("few_files"):  # a daemon of an earlier version does not say
        yield Check("daemon", "warning", few)
    if not status["trouble"] and not status["silent"]:
        coming = status["next_start"]
        at = "none" if coming is None else instant(parse_instant(coming).replace(microsecond=0))
        yield Check("daemon", "ok", f"{holder}; next fire {at}")
