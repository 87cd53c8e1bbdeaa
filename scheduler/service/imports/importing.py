"""Import jobs into a root: files as a person would write them, and the history of the jobs.

Nothing that exists is overwritten, and nothing is half written. A second import changes nothing: ids and paths depend
on the source alone, and an existing job keeps its file and its history.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from scheduler.core.edits.jobedit import WrongJobError, written_job
from scheduler.core.edits.spans import EditError
from scheduler.core.formats.globs import matches_job
from scheduler.core.formats.jobfile import Document, read_job_file
from scheduler.core.imports.brought import CHECKS
from scheduler.core.imports.incoming import Gathered, Incoming, Made, Work, free, of_job, problem, secret_of
from scheduler.core.imports.secrets import redacted
from scheduler.core.past.past import Past
from scheduler.core.values.facts import Fault
from scheduler.core.values.problems import Problem, RefusedError, SchedulerError, UnavailableError
from scheduler.core.values.settings import ROOT_FILE, Settings
from scheduler.core.values.texts import TextError, how_held_ends
from scheduler.core.views import problems_json
from scheduler.ledger import carried
from scheduler.ledger.carried import Carried, State
from scheduler.ledger.store import Store
from scheduler.maintenance.lost import start_state
from scheduler.root import writing
from scheduler.root.files import WorkingTree
from scheduler.root.place import INSIDE_A_RUN
from scheduler.service.edit.drafts import IN_PLACE, Draft, write
from scheduler.service.edit.trees import EditFiles, is_job_path, text_fault
from scheduler.service.imports.exports import Exported, is_buried, made_from_export, read_export, texts_too_long
from scheduler.service.imports.holding import REASON, paused_past, refuse_live
from scheduler.service.imports.options import Options, folder_for
from scheduler.service.imports.runners import Tasks
from scheduler.service.imports.source import Reading, files_at, source_of
from scheduler.service.imports.telling import AUTO, gather_told
from scheduler.service.pause import hold_known
from scheduler.service.presence import is_firing
from scheduler.service.root import Root
from scheduler.service.sync import sync
from scheduler.sync.settle_copy import settle_copy
from scheduler.sync.synced import SyncReport

if TYPE_CHECKING:
    from scheduler.core.changes import (
        ImportedAgentsJson,
        ImportedJobJson,
        ImportedRunnerJson,
        ImportedSourceJson,
        ImportJson,
    )


def import_source(root: Root, word: str, name: str, stdin: BinaryIO, options: Options) -> ImportJson:
    """Import what the source `word` finds at `name`: a file, a folder, or - for standard input.

    Raises: UsageError if nothing there can be imported, no runner of the root fits, or an option is invalid;
    UnavailableError if it cannot be read.
    """
    tree = EditFiles(WorkingTree(root.place))
    reading = Reading(
        options=options,
        settings=tree.settings,
        environ=root.environ,
        now=root.clock.now(),
        folder=folder_for(options, tree.settings),
        mixed=word == AUTO,
    )
    if word == AUTO:
        found, told = gather_told(reading, name, stdin)
    else:
        source = source_of(word)
        unread: list[Problem] = []
        files = tuple(files_at(name, stdin, named=source.named, most=source.most, problems=unread))
        found, told = source.gather(source, reading, files), []
        found = replace(found, problems=(*found.problems, *unread))
    return _write(root, tree, found, told, name, reading)


def import_export(root: Root, data: bytes, name: str, options: Options) -> ImportJson:
    """Raises: UsageError if it is not a complete export."""
    tree = EditFiles(WorkingTree(root.place))
    found = read_export(iter(data.splitlines()), name)
    problems: list[Problem] = []
    folder = None if options.to is None else folder_for(options, tree.settings)
    made = made_from_export(found, tree, folder, problems)
    buried = []
    for each in found:
        if is_buried(each):
            too_long = list(texts_too_long(each, tree.settings))
            problems += too_long
            buried += [] if too_long else [each]
    pasts = {each.id: each.past for each in found}
    return _carry_out(root, tree, made, problems, name, options, pasts, buried)


def _write(
    root: Root, tree: EditFiles, found: Gathered, told: list[ImportedSourceJson], name: str, reading: Reading
) -> ImportJson:
    """The jobs as files of this root. told: what was found where."""
    here = {each.id: each for each in tree.documents() if each.id is not None}
    taken = {each.path.lower() for each in here.values()}
    problems = list(found.problems)
    made: dict[str, Made] = {}
    left_out: set[str] = set()
    for job in found.jobs:
        if job.id in made:
            why = f"{job.id!r} appears twice; this one was left out"
            problems.append(of_job(job, "id", why, "import it by itself, with --prefix"))
            continue
        known = here.get(job.id)
        if known is None:
            stem = job.stem
            if f"{reading.folder}/{stem}.yaml".lower() in taken:  # of another job
                stem = free(stem, {stem}, job.id)
            path = f"{reading.folder}/{stem}.yaml"
            taken.add(path.lower())
        else:  # wherever it has been moved
            path = known.path
            stem = posixpath.splitext(posixpath.basename(path))[0]
        files = _made(job, path, stem, known, reading.runners, tree.settings)
        if isinstance(files, Made):
            made[job.id] = files
        else:
            left_out.add(job.id)
            problems += files
    problems = [each for each in problems if each.is_error or each.job_id not in left_out]
    pasts = {job.id: job.past for job in found.jobs if job.past is not None}
    runners = {
        each.job.id: [
            reading.runners[place].runner.name
            for place in ((each.job.work, each.job.wish), *([CHECKS] if each.job.check is not None else []))
        ]
        for each in made.values()
    }
    return _carry_out(root, tree, [*made.values()], problems, name, reading.options, pasts, runners=runners, told=told)


def _carry_out(
    root: Root,
    tree: EditFiles,
    made: Sequence[Made],
    problems: list[Problem],
    name: str,
    options: Options,
    pasts: Mapping[str, Past],
    buried: Sequence[Exported] = (),
    *,
    runners: Mapping[str, Sequence[str]] | None = None,
    told: Sequence[ImportedSourceJson] = (),
) -> ImportJson:
    """Write the missing files, store the history, and sync to create the jobs.

    buried: the archived jobs; one that a file names here counts as any other.
    runners: of the jobs whose keys name none. told: what was found where.
    """
    if not options.sync and not options.dry_run:
        refuse_live(root)
    draft = Draft(files=tree, branch=None, job_id="", summary="Import")
    known = {each.id: each for each in tree.documents() if each.id is not None}
    ids = {job_id: each.path for job_id, each in known.items()}
    if root.environ.get(INSIDE_A_RUN) and not options.dry_run:
        raise RefusedError(
            f"{INSIDE_A_RUN} is set: this is inside run {root.environ[INSIDE_A_RUN]}, and a run cannot import jobs",
            hint="ask a person to import them; no setting in scheduler.yaml allows it",
        )
    with contextlib.nullcontext() if options.dry_run else writing.alone(root.place.label):
        states = [_place_files(each, known.get(each.job.id), draft, tree, problems) for each in made]
        kept: Mapping[str, State] = {}
        good = {each.job.id for each, state in zip(made, states, strict=True) if state != "left_out"}
        wanted = {
            job_id: Carried(
                past=replace(past, archived=None) if job_id in ids else past, source=Path(name).name, actor=root.actor
            )
            for job_id, past in pasts.items()
        }
        held = [each.job.id for each, state in zip(made, states, strict=True) if state == "written" and options.paused]
        gone = {each.id for each in buried if each.id not in ids}
        good |= {each.id for each in buried} - gone
        if not options.dry_run:
            writing.sweep(root.place.root, [path for each in made for path in (each.path, *dict(each.texts))])
            first = {job_id: each for job_id, each in wanted.items() if job_id in good}
            first |= {job_id: paused_past(root, first.get(job_id), Path(name).name) for job_id in held}
            hold_known(root, held, reason=REASON)
            kept = _hand_over(root, draft, tree.settings, first, {each: wanted[each] for each in sorted(gone)})
    synced, fault = None, None
    if (made or buried) and options.sync and not options.dry_run:
        try:
            synced = sync(root, cause="import")
        except SchedulerError as error:  # the files have been written, and the caller must know about them
            fault = str(error)
    kept = {job_id: state for job_id, state in kept.items() if job_id in wanted}  # without those that are only paused
    for job_id, state in kept.items():
        if state == "own":
            places = {each.job.id: (each.job.path, each.job.line) for each in made}
            path, line = (places | {each.id: ("", each.line) for each in buried})[job_id]
            why = f"{job_id!r} already has runs here; the imported counters and history were left out"
            problems.append(replace(problem(line, "own-history", why, error=False, job_id=job_id), path=path))
    problems = sorted({_safe(replace(each, path=each.path or name)) for each in problems})
    waits = "" if synced is None else _why_not(synced, [each.job.id for each in made])
    if fault is not None:
        waits = f"{fault}; the files are written, and `scheduler sync` applies them"
    if not options.sync:
        waits = "only the files were written; `scheduler sync` applies them"
    return {
        "source": name,
        "jobs": _told(made, states, buried, ids, kept),
        "written": list(draft.after),
        "found": list(told),
        "runners": _runners(made, states, tree.settings, runners or {}),
        "agents": _agents(made, states, tree.settings),
        "problems": problems_json(problems),
        "applied": "dry_run" if options.dry_run else "next_sync" if waits else "now",
        "why": waits or None,
        "guard": None if synced is None else synced.json["guard"],
        "held": None if synced is None else synced.json["held"],
        "fault": fault,
        "paused": held,
        "live": synced is not None and not waits and is_firing(root),
    }


def _safe(told: Problem) -> Problem:
    """A problem that shows no secret, whatever part of the source its message quotes."""
    return replace(told, message=redacted(told.message), hint=redacted(told.hint))


def _runners(
    made: Sequence[Made], states: Sequence[str], settings: Settings, runners: Mapping[str, Sequence[str]]
) -> list[ImportedRunnerJson]:
    """The runners of the imported jobs and what they accept, according to the settings of this root."""
    users: dict[str, list[str]] = {}
    for each, state in zip(made, states, strict=True):
        named = each.job.keys.get("runner")
        for name in dict.fromkeys([named] if named is not None else runners.get(each.job.id, ())):
            if state == "written" and name in settings.runners:
                users.setdefault(name, []).append(each.job.id)
    return [
        {
            "name": name,
            "command": list(settings.runners[name].command),
            "tasks": None if (tasks := settings.runners[name].tasks) is None else list(tasks),
            "jobs": jobs,
        }
        for name, jobs in sorted(users.items())
    ]


def _agents(made: Sequence[Made], states: Sequence[str], settings: Settings) -> ImportedAgentsJson | None:
    """The imported jobs that agents can change here, and how, or None if there are none."""
    if settings.agents is None:
        return None
    jobs = [
        each.job.id
        for each, state in zip(made, states, strict=True)
        if state == "written" and matches_job(each.job.id, each.job.keys.get("tags") or (), settings.agents.jobs)
    ]
    return {"verbs": list(settings.agents.verbs), "jobs": jobs} if jobs else None


def _hand_over(
    root: Root, draft: Draft, settings: Settings, pasts: Mapping[str, Carried], buried: Mapping[str, Carried]
) -> Mapping[str, State]:
    """Store the history of the jobs, and write their files; both or neither."""
    followed = root.place.followed
    if followed is not None and draft.after:
        raise RefusedError(
            f"this root follows the {followed.remote().words} and cannot be edited here; nothing was written to"
            f" {', '.join(list(draft.after)[:10])}",
            hint="import in a checkout of it and push; then import here again for the counters and history",
        )
    # Before the files: a daemon that sees them creates the jobs at once, and needs their history.
    kept = _carry(root, pasts) if pasts else {}
    # Prompts before jobs: a kill in between leaves no job without its task.
    order = sorted(draft.after, key=lambda path: is_job_path(path, settings))
    draft.after = {path: draft.after[path] for path in order}
    try:
        if draft.after:
            write(root.place.root, draft, IN_PLACE, root.environ, root.tell)
    except BaseException:
        if pending := [job_id for job_id, state in kept.items() if state == "pending"]:
            with Store.open(root.place.db, create=False) as store:
                store.write(carried.forget_carried, pending)
        raise
    # Last: their rows take effect at once and cannot be undone.
    return {**kept, **_carry(root, buried)} if buried else kept


def _carry(root: Root, pasts: Mapping[str, Carried]) -> Mapping[str, State]:
    """Store the history of the jobs. Returns its state for each; creates the database if there is none."""
    root.daemon()  # refuses the daemon of another root
    start_state(root.place, new_state=False, now=root.clock.now())
    root.place.make_state()
    with Store.open(root.place.db) as store:
        settle_copy(store, root.place, now=root.clock.now(), actor=root.actor)
        return store.write(carried.carry, pasts, now=root.clock.now())


def _told(
    made: Sequence[Made],
    states: Sequence[str],
    buried: Sequence[Exported],
    ids: Mapping[str, str],
    kept: Mapping[str, State],
) -> list[ImportedJobJson]:
    """The result for each job. ids: where each job was before."""
    words = {None: None, "pending": "carried", "carried": "carried", "already": "already", "own": "left_out"}
    found: list[tuple[Incoming | Exported, str | None, str | None, str]] = [
        (each.job, ids.get(each.job.id, each.path), each.task_path, state)
        for each, state in zip(made, states, strict=True)
    ]
    found += [(each, ids.get(each.id), None, "kept" if each.id in ids else "archived") for each in buried]
    return [
        {
            "id": job.id,
            "name": job.keys.get("name") if isinstance(job, Incoming) else None,
            "file": file,
            "task_file": task_file,
            "line": job.line,
            "files": state,
            "history": words[kept.get(job.id)],
        }
        for job, file, task_file, state in found
    ]


def _why_not(synced: SyncReport, ids: Collection[str]) -> str:
    """Why these jobs are not in force after a sync, or an empty string if they are."""
    if held := synced.json["held"]:
        return f"held: {held}; {how_held_ends(held)}"
    if not synced.read:
        return f"{ROOT_FILE} has an error; `scheduler validate` shows it"
    bad = [each for each in synced.problems if each.is_error and each.job_id in ids]
    return f"{bad[0].path}:{bad[0].line}: {bad[0].message}" if bad else ""


def _made(
    job: Incoming,
    path: str,
    stem: str,
    known: Document | None,
    runners: Mapping[tuple[Work, str], Tasks],
    settings: Settings,
) -> Made | list[Problem]:
    """The job's files, or the problems with them at the line of the source. known: the job as it is here."""
    keys: dict[str, Any] = dict(job.keys)
    text, tasks = job.text or "", runners[job.work, job.wish]
    task_path, task, check_path, check = None, None, None, None
    if found := secret_of(job):
        why = f"{job.id}: its {found[0]} contains {found[1]}, and the files of a root are committed; it was left out"
        hint = f"put it in the environment of the daemon and its name in env_from of runners.{tasks.runner.name}"
        return [of_job(job, "secret", why, f"{hint} in {ROOT_FILE}, refer to it as $NAME, and import again")]
    if tasks.folder is None:
        keys["task"] = text.rstrip("\n") if text.count("\n") <= 1 else text
    else:
        there = None if known is None else known.task_source_path
        task_path, task = there or f"{tasks.folder}/{stem}{tasks.suffix}", text.encode("utf-8", "surrogatepass")
        keys["task_source_path"] = task_path
        fault = text_fault(task, settings)
        if fault is not None:
            return [of_job(job, "task", f"{job.id}: {fault.message}; it was left out")]
    if job.check is not None:
        place = runners[CHECKS]
        keys["check"] = {"runner": place.runner.name, "timeout": job.check.timeout, "output": job.check.output}
        if place.folder is None:
            keys["check"]["task"] = job.check.text
        else:
            there = None if known is None else known.check_path
            check_path, check = there or f"{place.folder}/{stem}.check{place.suffix}", job.check.text.encode()
            keys["check"]["task_source_path"] = check_path
    if settings.defaults.get("runner") != tasks.runner.name:
        keys["runner"] = tasks.runner.name
    try:
        data = written_job(path, keys, body=None, settings=settings)
        heads = "".join(f"# {_printable(each)}\n" for each in job.comments).encode()
        if heads:
            data = heads + data
            if any(each.is_error for each in read_job_file(path, data, settings).problems):
                data = data[len(heads) :]
    except WrongJobError as error:
        return [
            replace(of_job(job, "", f"{job.id}: {each.message}; it was left out", each.hint), code=each.code)
            for each in error.problems
        ]
    except (EditError, TextError) as error:
        return [of_job(job, "text", f"{job.id}: {error}; it was left out")]
    return Made(job=job, path=path, data=data, task_path=task_path, task=task, check_path=check_path, check=check)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _place_files(made: Made, here: Document | None, draft: Draft, tree: EditFiles, problems: list[Problem]) -> str:
    """What to do with the job's files. Files to write are added to the draft.

    `written`, `unchanged`, `kept` if they now have other content, `left_out` if other files are in the way.
    """
    job = made.job
    if here is not None and here.path != made.path:
        problems.append(_kept(made, here, f"{job.id!r} is already in {here.path}; that file was not changed", tree))
        return "kept"
    state = _state(made.path, made.data, draft, tree)
    if state == "kept" and here is not None and _says_the_same(made, here, tree):
        state = "unchanged"
    if state == "kept" and here is not None:
        problems.append(_kept(made, here, f"{made.path} exists with other content; it was not changed", tree))
        return "kept"
    if state == "kept":
        problems.append(_in_the_way(made, f"{made.path} already exists and does not belong to {job.id!r}"))
        return "left_out"
    texts = [(path, data, _state(path, data, draft, tree)) for path, data in made.texts]
    for path, _, each in texts:
        if each == "kept" and state == "written":
            problems.append(_in_the_way(made, f"{path} already exists with a different text"))
            return "left_out"
        if each == "kept":
            problems.append(_kept(made, here, f"{path} exists with other content; it was not changed", tree))
            return "kept"
    for path, data, each in texts:
        if each == "written":
            draft.put(path, None, data)
            state = "written"
    if tree.is_free(made.path) and made.path not in draft.after:
        draft.put(made.path, None, made.data)
    return state


def _in_the_way(made: Made, what: str) -> Problem:
    hint = "move it elsewhere, or import into another folder with --to"
    return of_job(made.job, "in-the-way", f"{what}; {made.job.id} was left out", hint)


def _kept(made: Made, there: Document | None, what: str, tree: EditFiles) -> Problem:
    """An error if the existing job may be a different one: the name was generated, and the task differs."""
    job = made.job
    if job.named or _same_task(made, there, tree):
        hint = "to write it again, delete it first; to import a different job with this id, use --prefix"
        return of_job(job, "kept", what, hint, error=False)
    hint = f"if these are two different jobs, create this one with `scheduler create {job.id}-2`"
    return of_job(job, "kept", f"{what}, and its task differs from this line", hint)


def _says_the_same(made: Made, there: Document, tree: EditFiles) -> bool:
    """True if the job that is here, in whatever file and form, is the one that would be written."""
    wanted = next(iter(read_job_file(made.path, made.data, tree.settings).documents), None)
    if wanted is None or there.spec is None:
        return False
    return (there.spec, there.text, there.check_text) == (wanted.spec, wanted.text, wanted.check_text)


def _same_task(made: Made, there: Document | None, tree: EditFiles) -> bool:
    text = None if there is None else there.text
    if there is not None and there.task_source_path is not None:
        source = tree.read(there.task_source_path)
        text = None if isinstance(source, Fault) else source.data
    return text is not None and text.split() == (made.job.text or "").encode().split()


def _state(path: str, data: bytes, draft: Draft, tree: EditFiles) -> str:
    if path in draft.after:
        return "written" if draft.after[path] == data else "kept"
    if tree.is_free(path):
        return "written"
    source = tree.read(path)
    return "kept" if isinstance(source, Fault) or source.data != data else "unchanged"


def read_source_file(name: str, stdin: BinaryIO, *, most: int = -1) -> bytes:
    """Read the source; - is standard input. most: read at most this and one more byte. Raises: UnavailableError."""
    size = most + 1 if most >= 0 else -1
    try:
        if name == "-":
            return stdin.read(size)
        with Path(name).open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise UnavailableError(f"cannot read {name}: {error.strerror}") from error
