"""A job file's bytes as documents and problems.

A YAML file holds one job per document. A Markdown file holds one job: its front matter is the definition and its body
the task. Nothing here looks at other files. Whether a task source exists is for the reader to find out, and two
documents with one id are for the plan.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from scheduler.core.formats.asked import refusals
from scheduler.core.formats.budgets import budget_doubts, budget_faults, budget_of
from scheduler.core.formats.channels import unknown_channels
from scheduler.core.formats.faults import (
    KeyFault,
    check,
    doubt_problems,
    fault_problem,
    file_problem,
    fitting,
    flaw_problems,
    hidden_problems,
    lookalike_problems,
    not_a_mapping,
)
from scheduler.core.formats.frontmatter import fences_of
from scheduler.core.formats.paths import is_path
from scheduler.core.formats.policies import catch_up_of, check_of, deliver_on_of, expect_of, retry_of
from scheduler.core.formats.queues import check_refusal, queue_refusals
from scheduler.core.formats.rules import ID_PATTERN
from scheduler.core.formats.runner_rules import job_fault, task_fault, timeout_fault, unknown_runner
from scheduler.core.formats.shapes import JobShape, ScheduleShape
from scheduler.core.formats.unopened import unopened, unopened_line
from scheduler.core.formats.yamlfile import Path, YamlDocument, read_yaml
from scheduler.core.times.cron import ScheduleError
from scheduler.core.times.doubts import doubts
from scheduler.core.times.fires import first_slot
from scheduler.core.times.valid import MOST_ENTRIES, schedule_errors, unite, with_jitter
from scheduler.core.values.instants import instant
from scheduler.core.values.interpreters import executes_its_task
from scheduler.core.values.problems import Problem, Severity, did_you_mean
from scheduler.core.values.settings import RunnerSpec, Settings
from scheduler.core.values.spec import CHECK_TIMEOUT, FAILURE_LIMIT, MANUAL, Concurrency, JobSpec, Schedule
from scheduler.core.values.texts import BOM, Lines, TextError, conflict_line, decode, listed, short, utf8
from scheduler.core.values.units import parse_duration

DEFAULT_TIMEOUT = timedelta(minutes=30)

_MOST_HINTS = 20  # nearest names that are looked for in one document
_ID = re.compile(ID_PATTERN[1:-1])
_BLANK_LINE = re.compile(r"^[ \t]*\r?\n", re.MULTILINE)
_FENCED = re.compile(rb"(?:\xef\xbb\xbf)?---[ \t]*(?:\r?\n|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One job document of a file: a claim on its id."""

    path: str
    line: int  # line of the document's first key (1-based)
    id: str | None  # None if the id could not be read
    spec: JobSpec | None  # None if the document has an error
    text: bytes | None  # the inline task or Markdown body; None with task_source_path, or if it cannot be read
    task_place: tuple[int, int]  # line and column to blame for the task source
    schedule_place: tuple[int, int]  # line and column to blame if the schedule is over
    task_source_path: str | None = None  # known even if the document has another error
    workdir_place: tuple[int, int] = (1, 1)  # line and column to blame for the working directory
    check_text: bytes | None = None  # the text of the check, if it is here
    check_path: str | None = None  # the file of that text otherwise
    check_place: tuple[int, int] = (1, 1)  # line and column to blame for it

    @property
    def task_paths(self) -> tuple[str, ...]:
        """The files that are named as a whole text."""
        return tuple(path for path in (self.task_source_path, self.check_path) if path is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """What one job file says."""

    path: str
    documents: tuple[Document, ...] = ()  # in the order of the file
    problems: tuple[Problem, ...] = ()  # sorted
    broken: bool = False  # nothing in it can be trusted; every job it last held keeps its definition
    empty: bool = False  # no document at all


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """The part of a Markdown file below its front matter."""

    text: str
    line: int


def read_job_file(path: str, data: bytes, settings: Settings) -> JobFile:
    """Everything that a job file says, and everything that is wrong with it, for any bytes.

    path: root-relative; .yaml, .yml and .md are job files.
    settings: as `read_root_file` returned them, so their defaults count as valid.
    """
    suffix = posixpath.splitext(path)[1].lower()
    try:
        if suffix == ".md":
            return _read_markdown(path, data, settings)
        if suffix in (".yaml", ".yml"):
            text = decode(data)
            return _job_file(path, text, read_yaml(text), None, settings)
        raise TextError(
            "file.kind",
            f"a job file ends in .yaml, .yml or .md, not {suffix!r}"
            if suffix
            else "a job file ends in .yaml, .yml or .md",
            hint="rename it, or narrow the globs of jobs in scheduler.yaml",
        )
    except TextError as error:
        return JobFile(path=path, problems=(file_problem(path, error),), broken=True)


def _read_markdown(path: str, data: bytes, settings: Settings) -> JobFile:
    if not _FENCED.match(data):
        # An unresolved merge often hides the fence behind its first marker.
        if data.removeprefix(BOM.encode()).startswith(b"<<<<<<< ") and conflict_line(data) is not None:
            decode(data)
        if data[:2].count(0) == 1:
            raise TextError("file.encoding", "the file looks like UTF-16", hint="save the file as UTF-8")
        line = unopened_line(utf8(data))
        return JobFile(path=path, empty=True, problems=() if line is None else (unopened(path, line),))
    text = decode(data)
    fences = fences_of(text)
    try:
        documents = read_yaml(text, fences.start, fences.end)
    except TextError as error:
        # Prose after an empty line: the dashes that seemed to end the front matter may be a ruler in it.
        lines = Lines(text)
        prose = _BLANK_LINE.search(text, fences.start, lines.start(error.line))
        if error.code == "yaml.syntax" and prose is not None:
            error.hint += "; or close the front matter above this with a line of three dashes"
        raise
    if len(documents) > 1:
        line, column = documents[1].start
        message = "the front matter of a Markdown job must be a single document"
        hint = "put each job in its own file"
        raise TextError("front-matter.documents", message, line=line, column=column, hint=hint)
    body = _Body(text=text[fences.body :], line=Lines(text).place(fences.body)[0])
    if not documents:
        message = "the front matter is empty: key 'id' is missing"
        missing = Problem(path, 1, 1, "key.missing", message, "write at least id and schedule")
        task = body.text.encode() if body.text.strip() else None
        document = Document(
            path=path, line=1, id=None, spec=None, text=task, task_place=(body.line, 1), schedule_place=(1, 1)
        )
        return JobFile(path=path, documents=(document,), problems=(missing,))
    return _job_file(path, text, documents, body, settings)


def _job_file(path: str, text: str, found: Iterable[YamlDocument], body: _Body | None, settings: Settings) -> JobFile:
    documents: list[Document] = []
    problems = list(hidden_problems(path, text))
    for each in found:
        reader = _JobReader(path, each, body, settings)
        documents.append(reader.document())
        problems += reader.problems
    return JobFile(path=path, documents=tuple(documents), problems=tuple(sorted(problems)), empty=not documents)


class _JobReader:
    """Reads one document. Every rule adds its faults, and only a document without faults has a definition."""

    def __init__(self, path: str, found: YamlDocument, body: _Body | None, settings: Settings) -> None:
        self._path = path
        self._found = found
        self._body = body if body is not None and body.text.strip() else None
        self._body_line = body.line if body is not None else None
        self._settings = settings
        self._data: Mapping[str, Any] = found.data if isinstance(found.data, dict) else {}
        self._merged = merge({key: each for key, each in settings.defaults.items() if key != "jitter"}, self._data)
        if "check" not in self._data and not self._at(("check",)).get("task_source_path"):
            self._merged.pop("check", None)  # defaults of a check do not make one
        self._faults: list[KeyFault] = []
        self._doubts: list[KeyFault] = []
        self.problems: list[Problem] = []

    def document(self) -> Document:
        job_id = self._id()
        spec = None
        if isinstance(self._found.data, dict):
            spec = self._spec()
        else:
            listed_jobs = isinstance(self._found.data, list)
            hint = (
                "write one job per document, with --- between them"
                if listed_jobs
                else "write one key per line, id first"
            )
            self.problems.append(not_a_mapping(self._path, self._found, hint=hint))
        self.problems += flaw_problems(self._path, self._found, job_id)
        self.problems += self._fault_problems(job_id)
        if self.problems:
            spec = None
        self.problems += doubt_problems(self._path, self._found, job_id)
        self.problems += lookalike_problems(self._path, self._found, self.problems, keys=("tags",), job_id=job_id)
        warnings = (fault_problem(self._path, self._found, each, job_id) for each in dict.fromkeys(self._doubts))
        self.problems += (replace(each, severity=Severity.WARNING) for each in warnings)
        return Document(
            path=self._path,
            line=self._found.start[0],
            id=job_id,
            spec=spec,
            text=self._text(),
            task_place=self._task_place(),
            schedule_place=self._end_place(),
            task_source_path=self._task_source_path(),
            workdir_place=self._found.place(("workdir",)),
            **self._check_source(),
        )

    def _id(self) -> str | None:
        found = self._data.get("id")
        if isinstance(found, str) and _ID.fullmatch(found) and not self._found.flawed(("id",)):
            return found
        return None

    def _spec(self) -> JobSpec | None:
        """The definition as far as it can be read; it counts only if no fault was added."""
        given = {key: value for key, value in self._merged.items() if value is not None or key not in _REQUIRED}
        shape, faults = check(JobShape, given, raw=self._found.raw, folder=posixpath.dirname(self._path))
        self._faults += faults
        schedule = self._schedule(given.get("schedule"))
        self._check_sources()
        runner = self._check_runner()
        if runner is not None:
            self._check_env(runner)
            sources = self._sources()
            source = self._data["task_source_path"] if sources == ["task_source_path"] else self._path
            key = sources[0] if sources and sources[0] in self._data else None
            only = source if len(sources) == 1 and isinstance(source, str) else None
            self._check_use(runner, only, (), key, DEFAULT_TIMEOUT)
            self._check_asked(runner)
        self._check_check()
        self._check_expect()
        self._faults += budget_faults(self._merged.get("budget"), runner, self._settings)
        self._faults += unknown_channels(("deliver",), self._merged.get("deliver"), self._settings.channels)
        if shape is None or schedule is None:
            return None
        self._doubt_keys(shape, runner)
        self._check_expires(schedule, shape.expires)
        env = {name: value for name, value in (shape.env or {}).items() if value is not None}
        return JobSpec(
            id=shape.id,
            name=shape.id if shape.name is None else shape.name,
            description=shape.description,
            owner=shape.owner,
            tags=tuple(shape.tags or ()),
            enabled=shape.enabled is not False,
            schedule=schedule,
            task_source_path=shape.task_source_path,
            runner=shape.runner or "",
            env=tuple(sorted(env.items())),
            timeout=shape.timeout or DEFAULT_TIMEOUT,
            concurrency=Concurrency(shape.concurrency or Concurrency.FORBID),
            failure_limit=FAILURE_LIMIT if shape.failure_limit is None else shape.failure_limit,
            expires=shape.expires,
            retry=retry_of(shape.retry),
            expect_every=shape.expect_every,
            catch_up=catch_up_of(shape.catch_up),
            model=shape.model,
            args=tuple(shape.args or ()),
            workdir=shape.workdir,
            task_queue=shape.task_queue,
            check=check_of(shape.check),
            expect=expect_of(shape.expect),
            budget=budget_of(shape.budget),
            deliver=tuple(shape.deliver or ()),
            deliver_on=deliver_on_of(shape.deliver_on),
            ping=shape.ping,
        )

    def _schedule(self, given: Any) -> Schedule | None:
        schedule = self._own_schedule(given)
        entries = given if isinstance(given, list) else [given]
        jitter = self._settings.defaults.get("jitter")
        if schedule is None or jitter is None or schedule.manual:
            return schedule
        if any(isinstance(each, dict) and "jitter" in each for each in entries):
            return schedule
        return with_jitter(schedule, parse_duration(jitter))

    def _own_schedule(self, given: Any) -> Schedule | None:
        if given == MANUAL:
            return Schedule(timezone=self._settings.timezone, manual=True)
        if not isinstance(given, list):
            return self._entry(given, ("schedule",))
        entries = [self._entry(each, ("schedule", number)) for number, each in enumerate(given[:MOST_ENTRIES])]
        sound = [entry for entry in entries if entry is not None]
        if not entries or len(sound) < len(given):
            return None
        try:
            return unite(sound)
        except ScheduleError as error:
            self._faults.append(_schedule_fault(error, ("schedule", error.entry), error.key))
            return None

    def _entry(self, given: Any, path: Path) -> Schedule | None:
        if isinstance(given, str):
            given = {"cron": given}
        if not isinstance(given, dict):
            return None  # absent, or not a mapping: the shape has reported it
        named = [key for key in ("cron", "every", "at") if given.get(key) is not None]
        if len(named) != 1:
            message = "a schedule needs exactly one of cron, every and at; " + (
                f"found {' and '.join(named)}" if named else "found none"
            )
            hint = "keep one of them" if named else 'write for example cron: "0 9 * * *"'
            if named:
                path = (*path, max(named, key=lambda key: self._found.key_place((*path, key))))
            self._faults.append(KeyFault(path, "schedule.kind", message, hint, at_key=bool(named)))
            return None
        shape = fitting(ScheduleShape, given)
        if shape is None:
            return None
        timezone = self._settings.timezone if shape.timezone is None else shape.timezone
        schedule = Schedule(
            timezone=timezone,
            cron=shape.cron,
            every=shape.every,
            at=shape.at,
            phase=shape.phase or timedelta(),
            starts=shape.starts,
            ends=shape.ends,
            jitter=shape.jitter or timedelta(),
        )
        errors = list(schedule_errors(schedule))
        self._faults += [_schedule_fault(error, path, error.key or named[0]) for error in errors]
        if errors:
            return None
        for each in doubts(schedule, given):
            self._doubts.append(KeyFault((*path, each.key), each.code, each.message, each.hint, at_key=each.at_key))
        return schedule

    def _doubt_keys(self, shape: JobShape, runner: RunnerSpec | None) -> None:
        """The job's own keys that have no effect beside others."""
        retry, catch_up = self._merged.get("retry"), self._merged.get("catch_up")
        if isinstance(retry, dict) and (retry.get("attempts") or 1) == 1:
            for key in ("delay", "backoff", "max_delay", "on"):
                self._doubt_key(("retry", key), "attempts is 1, so no run is retried", "write attempts: 3")
        for path, why, hint in budget_doubts(budget_of(shape.budget), runner, retry_of(shape.retry)):
            self._doubt_key(path, why, hint)
        if isinstance(catch_up, dict) and catch_up.get("policy") == "none":
            self._doubt_key(
                ("catch_up", "within"), "catch_up.policy is none", "write policy: latest, or delete the key"
            )
        if not shape.deliver:
            self._doubt_key(("deliver_on",), "the job has no deliver", "write deliver: [NAME], or delete the key")

    def _doubt_key(self, path: tuple[str, ...], why: str, hint: str) -> None:
        found: Any = self._data
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None:
            message = f"{path[-1]} has no effect: {why}"
            self._doubts.append(KeyFault(path, "key.no-effect", message, hint, at_key=True))

    def _end_place(self) -> tuple[int, int]:
        """Where the schedule says when it is over; for a list, where that begins."""
        given = self._data.get("schedule")
        for key in ("at", "ends"):
            if isinstance(given, dict) and given.get(key) is not None:
                return self._found.place(("schedule", key))
        return self._found.place(("schedule",))

    def _sources(self) -> list[str]:
        named = [key for key in ("task", "task_source_path") if self._data.get(key) is not None]
        return named + ["the Markdown body"] * (self._body is not None)

    def _check_sources(self) -> None:
        sources = self._sources()
        if len(sources) == 1:
            return
        if sources:
            keys = [key for key in sources if key in self._data]
            last = max(keys, key=lambda key: self._found.key_place((key,)))
            message = f"a job needs exactly one task, but found {' and '.join(sources)}"
            self._faults.append(KeyFault((last,), "task.sources", message, "keep one of them", at_key=True))
            return
        hint = "write task_source_path: prompts/NAME.md, or task: |"
        if self._body_line is not None:
            hint = "write the task below the front matter, or name its file with task_source_path"
        self._faults.append(KeyFault((), "task.sources", "the job has no task", hint))

    def _text(self) -> bytes | None:
        sources = self._sources()
        if len(sources) != 1 or sources == ["task_source_path"]:
            return None
        if self._body is not None:
            return self._body.text.encode()
        task = self._data.get("task")
        if not isinstance(task, str) or not task.strip() or self._found.flawed(("task",)):
            return None
        return task.encode()

    def _task_source_path(self) -> str | None:
        if self._sources() != ["task_source_path"] or self._found.flawed(("task_source_path",)):
            return None
        path = self._data["task_source_path"]
        return path if isinstance(path, str) and is_path(path) else None

    def _check_source(self) -> dict[str, Any]:
        """The fields of a document that say where the text of its check is."""
        given = self._at(("check",))
        named = [key for key in ("task", "task_source_path") if given.get(key) is not None]
        if len(named) != 1 or self._found.flawed(("check", *named)):
            return {}
        value, inherited = given[named[0]], named[0] not in (self._data.get("check") or {})
        place = self._found.start if inherited else self._found.place(("check", *named))
        if named == ["task_source_path"]:
            return {"check_path": value, "check_place": place} if isinstance(value, str) and is_path(value) else {}
        text = isinstance(value, str) and value.strip()
        return {"check_text": value.encode(), "check_place": place} if text else {}

    def _task_place(self) -> tuple[int, int]:
        for key in ("task_source_path", "task"):
            if self._data.get(key) is not None:
                return self._found.place((key,))
        if self._body is not None:
            return self._body.line, 1
        return self._found.start

    def _check_runner(self, at: Path = ()) -> RunnerSpec | None:
        """at: the path of the mapping that names it."""
        name = self._at(at).get("runner")
        runners = self._settings.runners
        if name is None:
            known = f"runners in scheduler.yaml: {listed(sorted(runners))}" if runners else ""
            message = f"the {'check' if at else 'job'} names no runner, and neither does defaults in scheduler.yaml"
            hint = known or "declare one under runners in scheduler.yaml"
            self._faults.append(KeyFault(at, "runner.missing", message, hint, at_key=bool(at)))
            return None
        if not isinstance(name, str):
            return None
        runner = runners.get(name)
        if runner is None:
            self._faults.append(unknown_runner((*at, "runner"), name, runners))
        return runner

    def _check_env(self, runner: RunnerSpec) -> None:
        env = self._merged.get("env")
        if not isinstance(env, dict):
            return
        allowed = f"runner {runner.name!r} allows {listed(sorted(runner.job_env)) or 'none'}"
        refused = 0
        misnamed = {fault.path for fault in self._faults if fault.at_key}
        for name, value in env.items():
            if value is not None and name not in runner.job_env and ("env", name) not in misnamed:
                refused += 1
                near = did_you_mean(name[:100], runner.job_env) if refused <= _MOST_HINTS else ""
                message = f"jobs cannot set variable {short(name)}; {allowed}"
                hint = near or f"delete it, or add it to job_env of runner {runner.name!r} in scheduler.yaml"
                self._faults.append(KeyFault(("env", name), "env.not-allowed", message, hint, at_key=True))

    def _check_expires(self, schedule: Schedule, expires: datetime | None) -> None:
        first = None if expires is None else first_slot(schedule)
        if expires is not None and first is not None and first > expires:
            message = f"expires {instant(expires)} is before the first scheduled time"
            hint = f"write {instant(first)} or a later instant"
            self._faults.append(KeyFault(("expires",), "expires.invalid", message, hint))

    def _check_use(
        self, runner: RunnerSpec, source: str | None, at: Path, source_key: str | None, timeout: timedelta
    ) -> None:
        """Check what a runner allows of the job, or of its check.

        source: the file of the text, if exactly one is named. at: the path of the mapping with the keys; source_key:
        the key of the text in it, if it has one. timeout: the default.
        """
        job_id, tags, given = self._id(), self._merged.get("tags") or [], self._at(at)
        blamed = {fault.path for fault in self._faults}
        found: list[KeyFault | None] = []
        if source is not None:
            found.append(task_fault(runner, source, (*at, source_key or "runner")))
        if job_id is not None and not any(path[:1] == ("tags",) for path in blamed):
            found.append(job_fault(runner, job_id, tags, (*at, "runner")))
        if (*at, "timeout") not in blamed:
            written = given.get("timeout")
            longest = timeout if written is None else parse_duration(written)
            found.append(timeout_fault(runner, longest, (*at, "timeout"), written=written is not None))
        self._faults += [fault for fault in found if fault is not None]

    def _at(self, path: Path) -> Mapping[str, Any]:
        found: Any = self._merged
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def _check_expect(self) -> None:
        given = self._merged.get("expect")
        if isinstance(given, dict) and all(given.get(key) is None for key in ("result", "file")):
            message, hint = "expect names nothing to look for", "write result: nonempty, or delete the key"
            self._faults.append(KeyFault(("expect",), "value.empty", message, hint, at_key=True))

    def _check_check(self) -> None:
        """The rules of `check`, which are those of a job's own runner and text."""
        given, at = self._merged.get("check"), ("check",)
        if not isinstance(given, dict):
            return
        runner = self._check_runner(at)
        named = [key for key in ("task", "task_source_path") if given.get(key) is not None]
        if len(named) != 1:
            message = "a check needs exactly one text" + (f", but found {' and '.join(named)}" if named else "")
            hint = "keep one of them" if named else "write task_source_path: checks/NAME.sh, or task: |"
            self._faults.append(KeyFault((*at, *named[1:]), "task.sources", message, hint, at_key=True))
        if runner is not None:
            source = named[0] if len(named) == 1 else None
            path = given[source] if source == "task_source_path" else self._path if source else None
            self._check_use(runner, path if isinstance(path, str) else None, at, source, CHECK_TIMEOUT)
            if refused := check_refusal(runner):
                self._faults.append(KeyFault((*at, *refused.key), refused.code, refused.message, refused.hint))
        own = self._settings.runners.get(str(self._merged.get("runner")))
        if given.get("output") == "append" and own is not None and executes_its_task(own.command):
            message = f"runner {own.name!r} would execute what the check prints"
            self._faults.append(KeyFault((*at, "output"), "check.append", message, "write output: ignore"))

    def _check_asked(self, runner: RunnerSpec) -> None:
        """Check the model, the arguments and the working directory, as far as they are valid in themselves."""
        bad = {fault.path[:1] for fault in self._faults}
        asked = {key: None if (key,) in bad else self._merged.get(key) for key in ("model", "args", "workdir")}
        if ("model",) in bad:
            runner = replace(runner, model=runner.model or "")  # it names one, so that is not what is wrong
        found = refusals(
            runner, job_id=self._id() or "", model=asked["model"], args=asked["args"] or (), workdir=asked["workdir"]
        )
        queue = None if ("task_queue",) in bad else self._merged.get("task_queue")
        found = (*found, *queue_refusals(runner, named=queue, workdir=asked["workdir"]))
        self._faults += [KeyFault(each.key, each.code, each.message, each.hint) for each in found]

    def _fault_problems(self, job_id: str | None) -> Iterable[Problem]:
        seen: set[KeyFault] = set()
        for fault in self._faults:
            if fault in seen or self._found.flawed(fault.path):
                continue
            seen.add(fault)
            if self._from_defaults(fault):
                line, column = self._found.start
                message = f"{fault.message} (from defaults in scheduler.yaml)"
                hint = fault.hint
                if fault.code == "env.not-allowed":
                    hint = f"write env: {{{fault.path[-1]}: null}} to drop it, or add it to the runner's job_env"
                yield Problem(self._path, line, column, fault.code, message, hint, job_id=job_id)
            else:
                yield fault_problem(self._path, self._found, fault, job_id)

    def _from_defaults(self, fault: KeyFault) -> bool:
        """True if the faulty value is one that the job took from the defaults."""
        own: Any = self._data
        given: Any = self._settings.defaults
        for part in fault.path:
            if isinstance(own, dict) and part in own:
                own = own[part]
                given = given.get(part) if isinstance(given, dict) else None
            else:
                return isinstance(given, dict) and part in given
        return False


def _schedule_fault(error: ScheduleError, path: Path, key: str) -> KeyFault:
    """key: of the entry at `path`, to blame for it; empty means the whole entry."""
    return KeyFault((*path, key) if key else path, error.code, error.message, error.hint, offset=error.offset or 0)


_REQUIRED = frozenset({"id", "schedule"})  # a null here is a missing key; elsewhere it unsets a default


def merge(defaults: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """A job's keys over the defaults: mappings are merged by key, everything else is replaced.

    A null stands for "no value" and so removes a default.
    """
    if isinstance(job.get("catch_up"), dict) and isinstance(policy := defaults.get("catch_up"), str):
        defaults = {**defaults, "catch_up": {"policy": policy}}  # the short form of the same
    merged = {**defaults, **job}
    for key in defaults.keys() & job.keys():
        if isinstance(defaults[key], dict) and isinstance(job[key], dict):
            merged[key] = {**defaults[key], **job[key]}
    return merged
