"""S1-S6 told a second time: what a root has to look like after a history of its files.

Imports nothing of what it judges, and reads only the few shapes of files that the generator writes. A daemon looks when
it likes, so between two trees it may see any of the changed files before and any after: an id has a set of states that
it may be in, and everything that is observed narrows that set. After a pass that is waited for it is nearly always one.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

Files = Mapping[str, bytes]

ROOT_FILE = "scheduler.yaml"
MAX_JOBS, MAX_PERCENT = 4, 60  # the guard of the generated scheduler.yaml
KEYS = ("id", "name", "schedule", "enabled", "task", "task_source_path", "failure_limit")
_LINE = re.compile(r"([a-z_]+): (.*)")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Definition:
    name: str
    schedule: str  # without the jitter
    jitter: str
    enabled: bool
    task_path: str | None


@dataclass(frozen=True, slots=True)
class Doc:
    path: str
    line: int
    id: str | None
    definition: Definition | None  # None: something is wrong with it
    text: bytes | None  # of a task that stands in the job file


@dataclass(frozen=True, slots=True)
class File:
    docs: tuple[Doc, ...] = ()
    broken: bool = False
    empty: bool = False


class _BrokenError(Exception):
    pass


def conflicted(data: bytes) -> bool:
    marks = (b"<<<<<<< ", b"=======", b">>>>>>> ")
    step = 0
    for line in data.splitlines():
        if step < 3 and (line == marks[1] if step == 1 else line.startswith(marks[step])):
            step += 1
    return step == 3


@functools.lru_cache(maxsize=10_000)
def read(path: str, data: bytes) -> File:
    """A job file."""
    lines = data.decode().splitlines(keepends=True)
    try:
        if path.endswith(".md"):
            fenced = lines[:1] == ["---\n"]
            if conflicted(data) and (fenced or data.startswith(b"<<<<<<< ")):
                return File(broken=True)
            if not fenced:
                return File(empty=True)
            if "---\n" not in lines[1:]:
                return File(broken=True)
            end = lines.index("---\n", 1)
            return File(docs=(_doc(path, lines[1:end], 2, "".join(lines[end + 1 :]).encode()),))
        if conflicted(data):
            return File(broken=True)
        docs, begin = [], 0
        for number in range(len(lines) + 1):
            if number == len(lines) or lines[number] == "---\n":
                part = lines[begin:number]
                if any(line.strip() and not line.startswith("#") for line in part):
                    docs.append(_doc(path, part, begin + 1, None))
                begin = number + 1
        return File(docs=tuple(docs), empty=not docs)
    except _BrokenError:
        return File(broken=True)


def _doc(path: str, lines: list[str], first: int, body: bytes | None) -> Doc:
    found: dict[str, str] = {}
    line, twice = None, False
    for number, text in enumerate(lines):
        if not text.strip() or text.startswith("#"):
            continue
        line = first + number if line is None else line
        match = _LINE.fullmatch(text.rstrip("\n"))
        if match is None:
            raise _BrokenError
        key, value = match.groups()
        if any(value.count(one) != value.count(other) for one, other in ("{}", "[]")) or value.count('"') % 2:
            raise _BrokenError
        twice |= key in found
        found[key] = value.strip('"')
    job_id = found.get("id", "")
    job_id = job_id if _ID.fullmatch(job_id) else ""
    schedule, _, jitter = found.get("schedule", "").strip("{}").partition(", jitter: ")
    sources = ["task" in found, "task_source_path" in found, bool(body and body.strip())]
    good = bool(not twice and job_id and schedule and sum(sources) == 1 and not found.keys() - set(KEYS))
    text_bytes = body if sources[2] else found["task"].encode() if sources[0] else None
    definition = Definition(
        name=found.get("name", job_id),
        schedule=schedule,
        jitter=jitter,
        enabled=found.get("enabled", "true") == "true",
        task_path=found.get("task_source_path"),
    )
    return Doc(path, line or 1, job_id or None, definition if good else None, text_bytes)


@dataclass(frozen=True, slots=True)
class State:
    """One job."""

    path: str
    line: int
    generation: int
    definition: Definition
    task_sha: str
    sync: str  # synced, invalid, conflict, held, archived
    restarted: bool = False  # active anew since it was last observed

    @property
    def archived(self) -> bool:
        return self.sync == "archived"


@dataclass(frozen=True, slots=True)
class _Claim:
    path: str
    doc: Doc | None  # None: nobody can read what stands there

    @property
    def readable(self) -> bool:
        return self.doc is not None and self.doc.definition is not None


class Tree:
    """The files at one moment."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.usable = files.get(ROOT_FILE, b"").startswith(b"version: 1\n")
        self.jobs = {path: read(path, data) for path, data in files.items() if path.startswith("jobs/")}
        self.docs: dict[str, list[Doc]] = {}
        for each in self.jobs.values():
            for doc in each.docs:
                if doc.id is not None:
                    self.docs.setdefault(doc.id, []).append(doc)

    def source(self, doc: Doc) -> tuple[str, bytes | None]:
        """Where a task stands, and its bytes; None where nothing can run."""
        definition = doc.definition
        if definition is not None and definition.task_path is not None:
            data = self.files.get(definition.task_path)
            return definition.task_path, None if data is None or not data.strip() or conflicted(data) else data
        return doc.path, doc.text

    def claims(self, job_id: str, state: State | None) -> list[_Claim]:
        """S2: readable documents that name the id, and what cannot be read and last held it."""
        named = [_Claim(doc.path, doc) for doc in self.docs.get(job_id, [])]
        readable = {claim.path for claim in named if claim.readable}
        if readable:
            near = readable | ({state.path} if state is not None else set())
            named = [claim for claim in named if claim.readable or claim.path in near]
        if state is not None and not state.archived and state.path in self.jobs:
            file = self.jobs[state.path]
            nameless = any(doc.id is None for doc in file.docs)
            named_here = any(claim.path == state.path for claim in named)
            if file.broken or (nameless and not named_here) or (file.empty and not named):
                named.append(_Claim(state.path, None))
        return named

    def step(self, job_id: str, state: State | None, *, alone: bool = False) -> State | None:
        """What a pass makes of a job: S2, S3 and, in what moves, S6. `archived` is what nothing claims: S4 is asked
        elsewhere. alone: the look at the job's own file at its fire, which settles nothing between files."""
        if not self.usable:
            return state
        if alone:
            if state is None or state.archived or state.sync == "conflict":
                return state
            own = {path: data for path, data in self.files.items() if path == state.path or path[:5] != "jobs/"}
            claims = Tree(own).claims(job_id, state)
            if len(claims) != 1:
                return state
        else:
            claims = self.claims(job_id, state)
        if len(claims) > 1:
            return state if state is None or state.archived else replace(state, sync="conflict")
        if not claims:
            return None if state is None else replace(state, sync="archived")
        (claim,) = claims
        if not claim.readable:
            return state if state is None or state.archived else replace(state, sync="invalid")
        doc = claim.doc
        assert doc is not None
        assert doc.definition is not None
        _, text = self.source(doc)
        if state is None:
            if text is None:
                return None
            return State(doc.path, doc.line, 1, doc.definition, sha256(text), "synced", restarted=True)
        old, new = state.definition, doc.definition
        restarts = state.archived or old.schedule != new.schedule or (new.enabled and not old.enabled)
        return State(
            path=doc.path,
            line=doc.line,
            generation=state.generation + (old != new),
            definition=new,
            task_sha=state.task_sha if text is None else sha256(text),
            sync="synced",
            restarted=state.restarted or restarts,
        )


Seen = Mapping[str, State | None]


@dataclass(slots=True)
class Fold:
    """What each id may be."""

    tree: Tree
    states: dict[str, frozenset[State | None]] = field(default_factory=dict)
    many: int = 0  # times that something could have been seen in between

    def _ids(self, *trees: Tree) -> set[str]:
        return self.states.keys() | {job_id for tree in trees for job_id in tree.docs}

    def change(self, files: Files) -> None:
        """The files become others, and nobody waits for the daemon."""
        after = Tree(files)
        changed = [
            path for path in self.tree.files.keys() | files.keys() if self.tree.files.get(path) != files.get(path)
        ]
        for job_id in self._ids(self.tree, after):
            states = self.states.get(job_id, frozenset([None]))
            self.states[job_id] = self._between(job_id, states, after, sorted(changed))
        self.tree = after

    def _between(
        self, job_id: str, states: frozenset[State | None], after: Tree, changed: list[str]
    ) -> frozenset[State | None]:
        before = self.tree
        docs = [*before.docs.get(job_id, ()), *after.docs.get(job_id, ())]
        near = {doc.path for doc in docs} | {state.path for state in states if state is not None} | {ROOT_FILE}
        near |= {doc.definition.task_path for doc in docs if doc.definition is not None and doc.definition.task_path}
        mine = [path for path in changed if path in near]
        assert len(mine) <= 10, mine
        reached: dict[int, set[State | None]] = {0: set(states)}
        whole = (1 << len(mine)) - 1
        for mask in range(whole + 1):
            here = reached.setdefault(mask, set())
            for bit in range(len(mine)):
                if mask & 1 << bit:
                    here |= reached[mask & ~(1 << bit)]
            files = dict(before.files)
            for bit, path in enumerate(mine):
                if mask & 1 << bit:
                    if path in after.files:
                        files[path] = after.files[path]
                    else:
                        files.pop(path, None)
            tree = Tree(files)
            for state in list(here):
                fast = state is not None and state.definition.schedule == "every: 1s"
                seen = {tree.step(job_id, state)} | ({tree.step(job_id, state, alone=True)} if fast else set())
                # A checkout takes a file away for a moment: only what lasts is archived.
                here |= {new for new in seen if mask == whole or new is None or not new.archived}
        return frozenset(reached[whole])

    def settle(self) -> None:
        """A pass that somebody asked for has looked at the files as they are."""
        tree = self.tree
        if not tree.usable:
            return
        after = {
            job_id: {state: tree.step(job_id, state) for state in self.states.get(job_id, frozenset([None]))}
            for job_id in self._ids(tree)
        }
        may = sum(any(_goes(old, new) for old, new in each.items()) for each in after.values())
        must = sum(all(_goes(old, new) for old, new in each.items()) for each in after.values())
        unarchived = [
            sum(some(old is not None and not old.archived for old in each) for each in after.values())
            for some in (any, all)  # a job that is new may have been seen already
        ]
        left = sum(any(new is not None and not new.archived for new in each.values()) for each in after.values())
        holds = {_guards(count, before, left) for count in (may, must) for before in unarchived}
        for job_id, each in after.items():
            self.states[job_id] = frozenset(
                replace(old, sync="held") if held and _goes(old, new) and old is not None else new
                for old, new in each.items()
                for held in holds
            )

    def observe(self, seen: Seen) -> Iterator[str]:
        """What is wrong with what is seen; from now on each job is what it was seen to be."""
        for job_id in sorted(self._ids() | seen.keys()):
            states, found = self.states.get(job_id, frozenset([None])), seen.get(job_id)
            self.many += len(states) > 1
            if found not in states:
                expected = "\n    or ".join(map(str, states))
                yield f"{job_id} is\n       {found}\n    not {expected}"
            self.states[job_id] = frozenset([None if found is None else replace(found, restarted=False)])

    @property
    def conflicts(self) -> set[tuple[str, int, str]]:
        """Path, line and id of each claim on an id that has several, by the one state that each id is in."""
        found = set()
        for job_id, states in self.states.items():
            for state in states:
                claims = self.tree.claims(job_id, state)
                if len(claims) > 1 and self.tree.usable:
                    last = 1 if state is None else state.line  # where it stood in what cannot be read
                    found |= {(c.path, last if c.doc is None else c.doc.line, job_id) for c in claims}
        return found


def _goes(old: State | None, new: State | None) -> bool:
    return old is not None and new is not None and new.archived and not old.archived


def _guards(archives: int, unarchived: int, left: int) -> bool:
    return archives > 0 and (
        left == 0 or archives > MAX_JOBS or (archives > 3 and archives * 100 > MAX_PERCENT * unarchived)
    )
