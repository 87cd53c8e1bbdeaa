"""One look at the files of a root: what has changed since they were last applied, and what the changed files say.

Only these files are read, together with every other file that names one of their ids. The rest of the jobs is in step
with its files, and a plan needs no more of it than their number (ADR 48).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scheduler.core.formats.checkout import conversion_problems
from scheduler.core.plan.claimants import lookalikes, names_in
from scheduler.core.plan.desired import Desired, Rest
from scheduler.core.plan.plan import Plan
from scheduler.core.values.facts import Fault, SyncState
from scheduler.core.values.problems import WHOLE_PASS_CODES, Problem
from scheduler.core.values.settings import Settings
from scheduler.git.folder import git_folder, head_by_hand
from scheduler.git.tree import Tree, git_silence
from scheduler.ledger import files as ledger
from scheduler.ledger import syncs
from scheduler.ledger.cursor import StaleError
from scheduler.ledger.files import NO_REPOSITORY, FileKind, FileRow, FilesChange, Known, split
from scheduler.ledger.store import Store
from scheduler.ledger.syncs import Basis, Observed
from scheduler.root.converted import conversions_here
from scheduler.root.desired import read_desired
from scheduler.root.files import WorkingTree
from scheduler.root.listing import Listing, list_job_files
from scheduler.root.parsed import Parsed
from scheduler.root.place import Place
from scheduler.root.scan import Grain, Scanned, changed_marks, mark_file
from scheduler.root.tasks import JOB_FILE_BYTES
from scheduler.sync.index import SIMILAR, Index


class TooManyError(Exception):
    """More files must be read than may be here."""


def _allow(most: int | None, count: int) -> None:
    if most is not None and count > most:
        raise TooManyError


@dataclass(slots=True, kw_only=True)
class Changes:
    """What is not as the index has it."""

    grain: Grain
    listing: Listing  # of the job files to read
    marks: dict[str, bytes] = field(default_factory=dict)  # of these, from before they are read
    out: set[str] = field(default_factory=set)  # known job files that are gone, or must not be read
    same: list[tuple[FileKind, str, bytes, bool]] = field(default_factory=list)  # as in `FilesChange`
    commit: str | None = None
    tree: Tree | None = None  # None: not read yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a plan needs."""

    desired: Desired
    observed: Observed
    rest: Rest
    changes: Changes
    known: Known
    odd: frozenset[object]  # as in `Index`

    @property
    def task_users(self) -> Mapping[str, frozenset[str]]:
        """The task files of the documents that were read, each with the job files that name it."""
        users: dict[str, set[str]] = {}
        for document in (found.document for found in self.desired.found):
            for path in document.task_paths:
                users.setdefault(path, set()).add(document.path)
        return {task: frozenset(paths) for task, paths in users.items()}

    @property
    def is_edit(self) -> bool:
        """True if each file that was read holds the jobs that it held, in order, and no other: nothing else decides."""
        desired, held = self.desired, {(job.file.path, job.id): job for job in self.observed.jobs.values()}
        named = [(found.document.path, found.document.id) for found in desired.found]
        return (
            not any(problem.is_error for problem in desired.problems)
            and not (desired.broken or desired.empty or desired.unlistable)
            and len(named) == len(held)
            and set(named) == held.keys()
            and {path for path, _ in named} == set(self.changes.listing.paths)
            and all((read := desired.sources.get(path)) is not None and read.path == path for path, _ in named)
            and all(found.document.spec is not None and found.task_sha256 is not None for found in desired.found)
            and all(not job.archived and job.file.sync_state is SyncState.SYNCED for job in held.values())
        )

    def silence(self, root: Path) -> str:
        """Why git has no answer though there is a repository."""
        return "" if self.changes.tree is None else git_silence(root, self.changes.tree)


def find_changes(
    place: Place, index: Index, known: Known, store: Store, settings: Settings, tree: Callable[[], Tree],
    *, again: Iterable[tuple[FileKind, str]] = (),
    most: int | None = None,
) -> Changes:  # fmt: skip
    """Compare every file with the index.

    again: files to read whatever their marks say. most: how many files may be read.
    Raises: UnavailableError if the root itself cannot be listed; TooManyError.
    """
    grain = Grain(place.root)
    scanned = Scanned(place, known.marks["job"])
    listing = list_job_files(scanned, settings.jobs)
    index.saw(scanned.folders, scanned.links)
    tasks = changed_marks(place.root, known.marks["task"])
    read = set(listing.paths)
    changes = Changes(grain=grain, listing=listing, marks=scanned.marks)
    changes.out = {*scanned.gone, *scanned.lost(), *(path for path in scanned.changed if path not in read)}

    doubted = {*again, *known.young}
    _allow(most, len(read) + len(tasks) + len(known.young))
    jobs = {path: mark for path in scanned.changed if path in read and (mark := scanned.marks.get(path)) is not None}
    jobs |= _marks_now(known, "job", (path for kind, path in doubted if kind == "job"), {*read, *changes.out})
    stays = _same(changes, known, store, WorkingTree(place), "job", jobs, JOB_FILE_BYTES)
    read = (read - stays) | (jobs.keys() - stays)
    changes.marks |= jobs

    moved = {path: mark for path, mark in tasks.items() if mark is not None}
    moved |= _marks_now(known, "task", (path for kind, path in doubted if kind == "task"), tasks.keys())
    stays = _same(changes, known, store, WorkingTree(place), "task", moved, settings.limits.task_bytes)
    edited = (tasks.keys() | moved.keys()) - stays

    changes.commit = known.commit
    if not _same_commit(place.root, known.commit):
        changes.tree = tree()
        changes.commit = _commit(place.root, changes.tree)
        for kind, path, blob, untracked in store.read(ledger.blobs):
            if _known_mark(known, kind, path) is None:
                continue  # of settings that are no longer in force
            if not _as_judged(changes.tree, path, blob, untracked=untracked):
                (read if kind == "job" else edited).add(path)
    if edited:
        read |= store.read(ledger.users_of, edited)
    _allow(most, len(read))
    listing.paths = sorted(read - changes.out)
    changes.marks |= _marks_now(known, "job", listing.paths, changes.marks)
    return changes


def look(
    place: Place,
    index: Index,
    known: Known,
    store: Store,
    settings: Settings,
    changes: Changes,
    basis: Basis,
    tree: Callable[[], Tree],
    *,
    problems: Iterable[Problem] = (),
    parsed: Parsed | None = None,
    shared: bool = False,
) -> Looked:
    """Read what has changed, and everything in the database and the files that a plan of it depends on.

    problems: of scheduler.yaml. shared: as for `read_desired`.
    Raises: StaleError if the database has changed since `basis` was read.
    """
    files, parsed = WorkingTree(place), Parsed() if parsed is None else parsed
    listing = changes.listing
    if changes.tree is None and listing.paths:
        changes.tree = tree()
        if _commit(place.root, changes.tree) != changes.commit:
            raise StaleError  # HEAD has moved meanwhile
    commit = changes.tree or Tree()
    while True:
        desired = read_desired(files, settings, commit, listed=listing, parsed=parsed, shared=shared)
        ids = {found.document.id for found in desired.found if found.document.id is not None}
        read = {*listing.paths, *changes.out}
        elsewhere = {
            path for path in store.read(syncs.paths_of, ids) - read if _known_mark(known, "job", path) is not None
        }
        if not elsewhere:
            break
        changes.marks |= _marks_now(known, "job", elsewhere, ())
        listing.paths = sorted({*listing.paths, *elsewhere})
    # A job whose file is neither read nor missing would look as if it were gone.
    loose = {path for path in known.loose if _known_mark(known, "job", path) is None}
    observed, others = store.read(syncs.observed_of, ids, {*read, *loose})
    if observed.ticket != basis.ticket:
        raise StaleError
    odd = _odd(desired, observed)
    similar = index.similar if odd == index.odd else None
    if similar is None or (similar and listing.paths):  # or the lines that they name have moved
        similar = _similar(desired, known, {*read, *known.loose}, store)
    rest = Rest(jobs=others, dirty="untracked" if known.untracked - read else None, similar=similar)
    converted = conversion_problems(conversions_here(files, desired, only_differing=True))
    warnings = [each for path, some in known.warnings.items() if path not in read for each in some]
    told = tuple(sorted({*problems, *desired.problems, *converted, *warnings}))
    return Looked(
        desired=replace(desired, problems=told, revision=_revision(changes, desired)),
        observed=observed,
        rest=rest,
        changes=changes,
        known=known,
        odd=odd,
    )


def look_at_edits(
    place: Place,
    index: Index,
    known: Known,
    store: Store,
    settings: Settings,
    paths: Collection[str],
    basis: Basis,
    tree: Callable[[], Tree],
    *,
    parsed: Parsed | None = None,
) -> Looked | None:
    """The same of files that were just written, root-relative, and of nothing else.

    None if that cannot be enough: it is a job file or a task that no job had before, or is one no more, or a link, or
    has an error, or another commit is checked out. Raises: StaleError, as `look`.
    """
    if known.commit is None or not _same_commit(place.root, known.commit):
        return None
    tasks = {path for path in paths if _known_mark(known, "task", path) is not None or path in index.wanted}
    read = {*store.read(ledger.users_of, tasks), *(user for task in tasks for user in index.wanted.get(task, ()))}
    read |= {path for path in paths if path not in tasks or _known_mark(known, "job", path) is not None}
    grain = Grain(place.root)
    marks = {path: mark for path in sorted(read) if (mark := mark_file(f"{place.root}/{path}")) is not None}
    if not read or marks.keys() != read:
        return None
    commit = tree() if known.commit != NO_REPOSITORY else Tree()
    if _commit(place.root, commit) != known.commit:
        return None
    changes = Changes(grain=grain, listing=Listing(paths=sorted(read)), marks=marks, commit=known.commit, tree=commit)
    desired = read_desired(WorkingTree(place), settings, commit, listed=changes.listing, parsed=parsed)
    ids = {found.document.id for found in desired.found if found.document.id is not None}
    observed, others = store.read(syncs.observed_of, ids, read, total=index.total)
    if observed.ticket != basis.ticket:
        raise StaleError
    looked = Looked(
        desired=desired,
        observed=observed,
        rest=Rest(jobs=others, similar=()),
        changes=changes,
        known=known,
        odd=index.odd or frozenset(),
    )
    return looked if looked.is_edit and _users_of_edited_tasks(looked, index, store) <= read else None


def _users_of_edited_tasks(looked: Looked, index: Index, store: Store) -> set[str]:
    """The job files whose tasks are not as they were applied: all of them must get them in the same pass.

    A job file may name a task of others that was written at the same moment, and that is not among the edits yet.
    """
    sources, tasks = looked.desired.sources, looked.task_users
    applied = store.read(ledger.sha256s, "task", tasks)
    edited = {task for task in tasks if task not in sources or sources[task].sha256 != applied.get(task)}
    return {*store.read(ledger.users_of, edited), *(user for task in edited for user in index.wanted.get(task, ()))}


def learnt(place: Place, looked: Looked, plan: Plan) -> tuple[FilesChange, set[str]]:
    """What the index holds once a plan is applied; and the files of unarchived jobs that are not in it.

    A file is in it only if all that it says is in force and nothing is wrong with it or with its tasks: every other
    file is read again by each pass.
    """
    changes, desired, known = looked.changes, looked.desired, looked.known
    at: dict[str, set[str]] = {}  # path: jobs in it
    fine: set[str] = set()
    after = {action.job_id: action.after for action in plan.actions}
    for job_id, facts in after.items():
        if facts.archived_at is None:
            at.setdefault(facts.path, set()).add(job_id)
            if facts.sync_state is SyncState.SYNCED:
                fine.add(job_id)
    said: dict[str, list[str | None]] = {}
    tasks: dict[str, set[str]] = {}
    bad = {problem.path for problem in desired.problems if problem.is_error} | desired.broken
    for found in desired.found:
        document = found.document
        said.setdefault(document.path, []).append(document.id)
        tasks.setdefault(document.path, set()).update(document.task_paths)
        applied = None if document.id is None or document.id not in fine else after[document.id]
        if (
            applied is None
            or found.task_sha256 is None
            or applied.path != document.path
            or (applied.file_sha256, applied.task_sha256) != (found.file_sha256, found.task_sha256)
        ):
            bad.add(document.path)
    rows: dict[str, FileRow | None] = {}
    put: list[FileRow] = []
    for path in changes.listing.paths:
        mark, read = changes.marks.get(path), desired.sources.get(path)
        if path in bad or mark is None or read is None or not _is_plain(read.path, path, read.provenance.dirty):
            continue
        if at.get(path, set()) != set(said.get(path, ())):
            continue
        used = tasks.get(path, set())
        for task in used - rows.keys():
            rows[task] = _task_row(place, task, desired, changes.grain)
        if any(rows[task] is None for task in used):
            continue
        put.append(
            FileRow(
                kind="job",
                path=path,
                mark=mark,
                young=changes.grain.is_young(mark),
                sha256=read.sha256,
                blob=read.provenance.blob,
                untracked=read.provenance.dirty == "untracked",
                warnings=tuple(
                    each
                    for each in desired.problems
                    if each.path == path and each.code not in WHOLE_PASS_CODES and each.code not in SIMILAR
                ),
                tasks=frozenset(used),
            )
        )
    kept = {row.path for row in put}
    drop = [
        path
        for path in {*changes.listing.paths, *changes.out}
        if path not in kept and _known_mark(known, "job", path) is not None
    ]
    used = {task for row in put for task in row.tasks}
    change = FilesChange(
        by=known.by or "",
        commit=changes.commit,
        put=(*put, *(row for task, row in rows.items() if row is not None and task in used)),
        same=tuple(changes.same),
        drop=tuple(("job", path) for path in drop),
    )
    return change, at.keys() - kept


def _task_row(place: Place, path: str, desired: Desired, grain: Grain) -> FileRow | None:
    read, mark = desired.sources.get(path), mark_file(f"{place.root}/{path}")
    if read is None or mark is None or not _is_plain(read.path, path, read.provenance.dirty):
        return None
    return FileRow(
        kind="task",
        path=path,
        mark=mark,
        # Looked at after it was read: an edit in between is so young that its bytes are compared again.
        young=grain.is_young(mark),
        sha256=read.sha256,
        blob=read.provenance.blob,
        untracked=read.provenance.dirty == "untracked",
    )


def _is_plain(real: str, path: str, dirty: str | None) -> bool:
    """True if a stat can vouch for a file: no link leads to it, and no setting of git says whether it has changed."""
    return real == path and dirty not in ("modified", "converted")


def _known_mark(known: Known, kind: FileKind, path: str) -> bytes | None:
    below, name = split(path)
    return known.marks[kind].get(below, {}).get(name)


def _marks_now(known: Known, kind: FileKind, paths: Iterable[str], without: Collection[str]) -> dict[str, bytes]:
    """The marks of these files, which are now as the index has them."""
    marks = ((path, _known_mark(known, kind, path)) for path in paths if path not in without)
    return {path: mark for path, mark in marks if mark is not None}


def _same(
    changes: Changes,
    known: Known,
    store: Store,
    files: WorkingTree,
    kind: FileKind,
    marks: Mapping[str, bytes],
    limit: int,
) -> set[str]:
    """Those of the files whose bytes are as the index has them. New marks of them are noted."""
    if not marks:
        return set()
    before = store.read(ledger.sha256s, kind, marks.keys())
    applied = store.read(ledger.applied_sha256s if kind == "job" else ledger.applied_task_sha256s, marks.keys())
    same = set()
    for path, mark in marks.items():
        source = files.read(path, limit=limit)
        if isinstance(source, Fault) or source.real != path:
            continue
        sha256 = source.sha256
        if sha256 == before.get(path) and applied.get(path, {sha256}) == {sha256}:
            same.add(path)
            now = mark, changes.grain.is_young(mark)
            if now != (_known_mark(known, kind, path), (kind, path) in known.young):
                changes.same.append((kind, path, *now))
    return same


def _same_commit(root: Path, commit: str | None) -> bool:
    if commit == NO_REPOSITORY:
        return git_folder(root) is None
    return commit is not None and head_by_hand(root) == commit


def _commit(root: Path, tree: Tree) -> str | None:
    """The commit by which files are judged. None if the next pass must judge them again."""
    if tree.in_repository:
        return tree.revision
    return NO_REPOSITORY if git_folder(root) is None else None


def _as_judged(tree: Tree, path: str, blob: str | None, *, untracked: bool) -> bool:
    """True if a file that is plain in the index relates to this commit as it did to the one before."""
    if not tree.in_repository:
        return blob is None and not untracked
    now = tree.blobs.get(path)
    return now is None if untracked else now is not None and now == blob


def _revision(changes: Changes, desired: Desired) -> str | None:
    if changes.tree is not None:
        return desired.revision
    return None if changes.commit == NO_REPOSITORY else changes.commit


def _odd(desired: Desired, observed: Observed) -> frozenset[object]:
    """Where the names in the files that were read differ from those of the jobs in the database."""
    held = {(job.file.path, job.id) for job in observed.jobs.values() if not job.archived}
    named = {(found.document.path, found.document.id) for found in desired.found}
    return frozenset({*(named ^ held), *(desired.broken | desired.empty)})


def _similar(desired: Desired, known: Known, read: Collection[str], store: Store) -> tuple[Problem, ...]:
    names, paths = names_in(desired)
    names += [name for name in store.read(syncs.names) if name.path not in read]
    paths |= {
        path for below, marks in known.marks["job"].items() for name in marks if (path := below + name) not in read
    }
    return tuple(lookalikes(sorted(names), paths))
