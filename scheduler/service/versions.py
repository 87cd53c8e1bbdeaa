"""The verbs that compare what ran with what has changed since: log, diff, versions. None of them writes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from scheduler.core import views
from scheduler.core.past.figures import Difference, Figure, differences, figures
from scheduler.core.past.timeline import Changes, Origin, Version, contents, edits, settings_between
from scheduler.core.plan.textdiff import Hunk, hunks, unified
from scheduler.core.times.fires import TICK
from scheduler.core.times.words import describe
from scheduler.core.values.facts import Commit, Fault, Job, NoCommit, RunnerFile
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UsageError
from scheduler.core.values.runs import AuditRow, Run, RunStatus
from scheduler.core.values.settings import ROOT_JOB_ID, runner_file_of
from scheduler.core.values.spec import JobSpec
from scheduler.ledger import queries, syncs
from scheduler.ledger.audit import read_audit
from scheduler.ledger.chart import changes_until
from scheduler.ledger.store import Store
from scheduler.service.history import run_of
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core import answers, comparisons

COUNT = 50  # default number of log entries and texts
NEWEST = 10_000  # rows of a job by which its texts are measured where that must not take longer with its history
_ROWS_OF_AN_EDIT = 20
_TOLD_BY_RUNS = ("failure", "recovery", "cancel")  # audit rows for what the ledger shows too


def log(root: Root, job_id: str, *, count: int = COUNT, prefix: bool = False) -> comparisons.LogJson:
    """A job's runs and changes on one timeline, newest first, each with its commit if known.

    Includes the changes of the runners that it has used.
    """
    with root.job(job_id, prefix=prefix) as (store, job):
        rows = store.read(read_audit, job.id)
        changes = Changes(rows)
        found: list[tuple[datetime, int, comparisons.RunEntryJson | comparisons.ChangeEntryJson]] = [
            (_moment(run), 1, _run_entry(run, changes)) for run in store.read(queries.runs, job.id, limit=count)
        ]
        found += [
            (edit[0].at, 0, _change_entry(edit)) for edit in edits(_told(rows, store, job)[-count * _ROWS_OF_AN_EDIT :])
        ]
        total = len(list(edits(_told(rows, store, job)))) + store.read(queries.run_count, job.id)
    found.sort(key=lambda each: each[:2], reverse=True)
    return {"job_id": job.id, "log": [entry for _, _, entry in found[:count]], "total": total}


def _told(rows: Sequence[AuditRow], store: Store, job: Job) -> list[AuditRow]:
    """The audit rows of changes to a job and its runners, oldest first."""
    runners = {each.spec.runner for each in store.read(queries.definitions, job.id)}
    prefixes = tuple(f"runners.{name}." for name in runners)
    of_root = [
        row for row in store.read(read_audit, ROOT_JOB_ID) if row.field is not None and row.field.startswith(prefixes)
    ]
    own = [row for row in rows if row.action not in _TOLD_BY_RUNS]
    return sorted([*own, *of_root], key=lambda row: row.at)


def _moment(run: Run) -> datetime:
    return run.started_at or run.finished_at or run.requested_at


def _run_entry(run: Run, changes: Changes) -> comparisons.RunEntryJson:
    shown = {name: value for name, value in views.run_json(run).items() if name not in ("result", "attempts")}
    at = _moment(run)
    return {
        "at": instant(at),
        "kind": "run",
        "run": shown,
        "text": origin_json(changes.text(run.task_sha256, at)),
        "definition": origin_json(changes.definition_at(at)),
    }


def _change_entry(edit: Sequence[AuditRow]) -> comparisons.ChangeEntryJson:
    first = edit[0]
    return {
        "at": instant(first.at),
        "kind": "change",
        "changes": [
            {"job_id": row.job_id, "action": row.action, "field": row.field, "before": row.before, "after": row.after}
            for row in edit
        ],
        **_brought(first),
    }


def origin_json(origin: Origin | None) -> comparisons.OriginJson | None:
    if origin is None:
        return None
    return {"since": instant(origin.since), **_brought(origin)}


def _brought(origin: Origin | AuditRow) -> answers.BroughtJson:
    return {
        "revision": origin.revision,
        "commit": views.commit_json(origin.commit),
        "no_commit": origin.no_commit,
        "actor": origin.actor,
        "cause": origin.cause,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One end of a comparison: a run, or the current files."""

    job: Job
    at: datetime
    run: Run | None  # None: now
    spec: JobSpec
    generation: int | None  # None: the current files were not synced yet
    text: str | None
    task_sha256: str | None
    source_path: str | None
    why_no_text: str = ""
    runner_files: tuple[RunnerFile, ...] | None = None  # None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`json` is the answer; `hunks` are its text, for faces that mark words."""

    json: comparisons.DiffJson
    hunks: tuple[Hunk, ...]


def diff(root: Root, before: str, after: str | None = None, *, prefix: bool = False) -> Comparison:
    """The differences between two runs, JOB:N; between a run and now; or, for a job, its last success and now.

    Raises: UsageError for a job that has never succeeded.
    """
    run = run_of(root, before, prefix=prefix) if ":" in before else None
    job_id = before if run is None else run.job_id
    if run is None and after is not None:
        raise UsageError(
            f"{before!r} is not a run", hint="give two runs, such as heartbeat:12 heartbeat:13, or one job"
        )
    other = None if after is None else run_of(root, after, prefix=prefix)
    with root.job(job_id, prefix=prefix) as (store, job):
        if run is None:
            run = _last_success(store, job)
        old = _side_of(store, run)
        new = side_now(root, store, job) if other is None else _side_of(store, other)
        return _compared(store, old, new)


def since_success(root: Root, run_id: str, *, prefix: bool = False) -> Comparison | None:
    """The differences between the newest success before a run and that run. None if it was given no text, or if
    nothing had succeeded before."""
    run = run_of(root, run_id, prefix=prefix)
    if run.started_at is None:
        return None
    with root.job(run.job_id) as (store, _):
        before = store.read(queries.success_before, run)
        return None if before is None else _compared(store, _side_of(store, before), _side_of(store, run))


def _last_success(store: Store, job: Job) -> Run:
    found = store.read(queries.runs, job.id, limit=1, status=RunStatus.SUCCEEDED)
    if not found:
        newest = store.read(queries.runs, job.id, limit=1)
        raise UsageError(
            f"job {job.id!r} has never succeeded, so there is nothing to compare with",
            hint=f"`scheduler diff {newest[0].id}` compares that run with the current files"
            if newest
            else "it has not run yet",
        )
    return found[0]


def _side_of(store: Store, run: Run) -> Side:
    job = store.read(queries.job, run.job_id)
    assert job is not None
    spec = next(each.spec for each in store.read(queries.definitions, run.job_id) if each.generation == run.generation)
    text = (
        None
        if run.task_sha256 is None or run.started_at is None
        else store.read(queries.text_of, run.task_sha256, store.path).decode()
    )
    return Side(
        job=job,
        at=_moment(run),
        run=run,
        spec=spec,
        generation=run.generation,
        text=text,
        task_sha256=run.task_sha256,
        source_path=run.source_path,
        why_no_text="" if text is not None else f"the run has none: {run.status.value}, {run.reason}",
        runner_files=run.runner_files,
    )


def side_now(root: Root, store: Store, job: Job) -> Side:
    """What a run would get now."""
    from scheduler.core.values.settings import Settings
    from scheduler.root.files import WorkingTree
    from scheduler.root.tasks import read_task
    from scheduler.run.fire import what_it_names

    now = root.clock.now()
    settings = store.read(syncs.settings) or Settings()
    spec: JobSpec = job.file.spec
    generation: int | None = job.file.generation
    why = f"it is archived: {job.file.path} no longer defines it" if job.archived else ""
    text = sha256 = source_path = files = None
    passes = root.passes()
    if not why:
        found = passes.look_again(store.read(syncs.observed, job_id=job.id), job.id, now)
        if not isinstance(found, Fault):
            _, seen, settings = found
            generation = seen.file.generation if seen.file.spec == spec else None
            spec = seen.file.spec
        task = read_task(WorkingTree(root.place), spec, job.file.path, settings)
        if isinstance(task, Fault):
            why = f"{task.message} [{task.reason}]"
        else:
            text, sha256, source_path = task.text.decode(), task.sha256, task.source_path
        if (runner := settings.runners.get(spec.runner)) is not None:
            files = what_it_names(passes, runner)
    return Side(
        job=job,
        at=now,
        run=None,
        spec=spec,
        generation=generation,
        text=text,
        task_sha256=sha256,
        source_path=source_path,
        why_no_text=why,
        runner_files=files,
    )


def _compared(store: Store, old: Side, new: Side) -> Comparison:
    start, end = sorted((old.at, new.at))
    from scheduler.core.plan.action import definition_changes  # only this command needs the parts of a plan

    definition = definition_changes(old.spec, new.spec)
    names = sorted({old.spec.runner, new.spec.runner})
    rows = store.read(read_audit, ROOT_JOB_ID)
    settings = settings_between(rows, [f"runners.{name}." for name in names], start, end)
    if new.at < old.at:
        settings = {name: (after, before) for name, (before, after) in settings.items()}
    programs = _changed_files(old.runner_files, new.runner_files)
    if programs is not None:  # the runs know more than the syncs between them
        settings = {name: change for name, change in settings.items() if runner_file_of(name) is None}
    told = [row for row in _told(_changes(store, new.job, end), store, new.job) if start < row.at <= end]
    both = old.text is not None and new.text is not None
    names_of = [side.run.id if side.run is not None else "now" for side in (old, new)]
    words: answers.BeforeAfterJson | None = None
    if "schedule" in definition:
        words = {"before": describe(old.spec.due_by), "after": describe(new.spec.due_by)}
    json: comparisons.DiffJson = {
        "job_id": new.job.id,
        "before": _side_json(store, old),
        "after": _side_json(store, new),
        "definition": {name: {"before": was, "after": now} for name, (was, now) in definition.items()},
        "schedule_text": words,
        "runners": {name: {"before": was, "after": now} for name, (was, now) in settings.items()},
        "runner_files": programs or {},
        "text_changed": old.text != new.text if both else None,
        "text_diff": unified(old.text or "", new.text or "", before_name=names_of[0], after_name=names_of[1])
        if both
        else None,
        "changes": [_change_entry(edit) for edit in edits(told)],
        "runs_between": store.read(queries.statuses_between, new.job.id, start, end)
        if old.job.id == new.job.id
        else {},
    }
    return Comparison(json=json, hunks=hunks(old.text or "", new.text or "") if both else ())


def _changes(store: Store, job: Job, end: datetime) -> list[AuditRow]:
    """All changes of a job up to an instant; what its runs have caused, which may be far more, is not read."""
    return store.read(changes_until, job.id, end + TICK, most=-1)


def _changed_files(
    old: Sequence[RunnerFile] | None, new: Sequence[RunnerFile] | None
) -> dict[str, answers.BeforeAfterJson] | None:
    """The files of the runner that differ, by path, or None if one end does not know them."""
    if old is None or new is None:
        return None
    was, now = ({each.path: each for each in side} for side in (old, new))
    return {
        path: {
            "before": was[path].to_json() if path in was else None,
            "after": now[path].to_json() if path in now else None,
        }
        for path in sorted(was.keys() | now.keys())
        if (was[path].content if path in was else None) != (now[path].content if path in now else None)
    }


def _side_json(store: Store, side: Side) -> comparisons.SideJson:
    run = side.run
    changes = Changes(_changes(store, side.job, side.at))
    return {
        "run": None if run is None else run.id,
        "at": instant(side.at),
        "status": None if run is None else run.status.value,
        "duration_ms": None if run is None else run.duration_ms,
        "cost": None if run is None else views.cost_json(run.cost),
        "tokens": None if run is None else views.tokens_json(run.tokens),
        "model_served": None if run is None or run.agent is None else run.agent.model_served,
        "generation": side.generation,
        "task_sha256": side.task_sha256,
        "source_path": side.source_path,
        "revision": None if run is None else run.provenance.revision,
        "dirty": None if run is None else run.provenance.dirty,
        "text": origin_json(changes.text(side.task_sha256, side.at)),
        "definition": origin_json(changes.definition_at(side.at)) if side.generation is not None else None,
        "no_text": side.why_no_text or None,
        "runner_files": views.runner_files_json(side.runner_files),
    }


def list_versions(
    root: Root, job_id: str, *, count: int = COUNT, newest: int | None = None, prefix: bool = False
) -> comparisons.VersionsJson:
    """Every text that runs of a job received, most recently run first, with its commit and how its runs did.

    The same text with different runner files is a different version.
    newest: only of so many rows of the job, with the commits that the audit knows: takes no longer with the history.
    Then `total` is that of the versions looked at.
    """
    with root.job(job_id, prefix=prefix) as (store, job):
        if newest is None:
            found = store.read(queries.used_versions, job.id)
            changes = Changes(store.read(read_audit, job.id))
        else:
            found = store.read(queries.used_versions, job.id, newest=newest, most=count + 1)
            changes = Changes(store.read(changes_until, job.id, root.clock.now() + TICK))
        shown = found[:count]
        commits = _commits(root, shown, changes, ask=newest is None)
        now = None if job.archived else side_now(root, store, job)
        current = None if now is None else now.task_sha256
        files = None if now is None else now.runner_files
        content = None if current is None else (current, contents(files))
    entries = []
    for each, before in zip(shown, [*found[1:], None][: len(shown)], strict=True):
        sha256, revision = each.last.task_sha256, each.last.revision
        is_current = each.last.content == content
        entries.append(
            _version_json(job.id, sha256, each, commits[sha256], revision, current=is_current, before=before)
        )
    if current is not None and all(each.last.content != content for each in found):
        origin = changes.text(current, root.clock.now())
        came = (None, None) if origin is None else (origin.commit, origin.no_commit)
        revision = None if origin is None else origin.revision
        entries.insert(0, _version_json(job.id, current, None, came, revision, current=True, files=files))
    return {"job_id": job.id, "versions": entries, "total": len(found)}


def _commits(
    root: Root, found: Sequence[Version], changes: Changes, *, ask: bool
) -> dict[str, tuple[Commit | None, NoCommit | None]]:
    """The commit that introduced each text, from the audit, or otherwise, if `ask`, from git's history."""
    from scheduler.git.history import ONE_FILE_S, last_changes

    known: dict[str, tuple[Commit | None, NoCommit | None]] = {}
    wanted: dict[str, tuple[str, str]] = {}
    revisions: list[str] = []
    for each in found:
        origin = changes.text(each.last.task_sha256, each.last.started_at)
        known[each.last.task_sha256] = (None, None) if origin is None else (origin.commit, origin.no_commit)
        use = each.committed
        if ask and (origin is None or origin.commit is None) and use is not None and use.revision is not None:
            assert use.source_path is not None
            assert use.source_blob is not None
            wanted[each.last.task_sha256] = use.source_path, use.source_blob
            revisions.append(use.revision)
        elif origin is None and each.last.dirty in ("modified", "untracked"):
            known[each.last.task_sha256] = None, "uncommitted"
    if not wanted:
        return known
    told = last_changes(root.place.root, dict.fromkeys(revisions), wanted.values(), timeout=ONE_FILE_S)
    for sha256, key in wanted.items():
        commit = told.get(key, "unknown")
        known[sha256] = (commit, None) if isinstance(commit, Commit) else (None, commit)
    return known


def versions_of_text(
    root: Root,
    store: Store,
    job: Job,
    sha256: str,
    earlier: str | None,
    changes: Changes,
    *,
    newest: int,
    current: str | None,
) -> list[comparisons.VersionJson]:
    """The versions with one text, last used first, each compared with the last one of the text before, `earlier`."""
    found = store.read(queries.used_versions, job.id, text=sha256, newest=newest)
    old = [] if earlier is None else store.read(queries.used_versions, job.id, text=earlier, newest=newest, most=1)
    commits = _commits(root, found, changes, ask=False)
    return [
        _version_json(
            job.id,
            sha256,
            each,
            commits[sha256],
            each.last.revision,
            current=sha256 == current,
            before=old[0] if old else None,
        )
        for each in found
    ]


def _version_json(
    job_id: str,
    sha256: str,
    version: Version | None,
    origin: tuple[Commit | None, NoCommit | None],
    revision: str | None,
    *,
    current: bool,
    files: Sequence[RunnerFile] | None = None,
    before: Version | None = None,
) -> comparisons.VersionJson:
    """version: None if no run has had the text yet and the next run gets it. before: the one that ran before it."""
    last = None if version is None else version.last
    told = figures([]) if version is None else version.figures
    in_usd = told.cost is not None and told.currency == "USD"
    return {
        "task_sha256": sha256,
        "task_bytes": None if last is None else last.task_bytes,
        "source_path": None if last is None else last.source_path,
        "runner_files": views.runner_files_json(files if last is None else last.runner_files),
        "current": current,
        "commit": views.commit_json(origin[0]),
        "no_commit": origin[1],
        "revision": revision,
        "first_fired_at": None if version is None else instant(version.first.started_at),
        "last_fired_at": None if last is None else instant(last.started_at),
        "first_run": None if version is None else f"{job_id}:{version.first.n}",
        "last_run": None if last is None else f"{job_id}:{last.n}",
        "runs": 0 if version is None else version.runs,
        "statuses": {} if version is None else {each.value: n for each, n in sorted(version.statuses.items())},
        "success_rate": None if told.success is None else float(told.success.value),
        "median_duration_ms": None if told.duration_ms is None else round(told.duration_ms.value),
        "cost_usd": float(told.cost.value) if told.cost is not None and in_usd else None,
        "figures": {
            "n": told.n,
            "enough": told.enough,
            "currency": told.currency,
            "cost": _figure_json(told.cost),
            "tokens": _figure_json(told.tokens),
            "duration_ms": _figure_json(told.duration_ms),
            "slow_ms": _figure_json(told.slow_ms),
            "success": _figure_json(told.success),
        },
        "change": None
        if version is None or before is None
        else cast(
            "comparisons.FiguresChangeJson",
            {name: _difference_json(each) for name, each in differences(before.figures, told).items()},
        ),
    }


def _figure_json(found: Figure | None) -> comparisons.FigureJson | None:
    return None if found is None else {"value": float(found.value), "n": found.n, "enough": found.enough}


def _difference_json(found: Difference | None) -> comparisons.FigureChangeJson | None:
    if found is None:
        return None
    share = None if found.share is None else float(found.share)
    return {"before": float(found.before), "after": float(found.after), "by": float(found.by), "share": share}
