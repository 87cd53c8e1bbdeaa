"""One job as its source keeps it, and what becomes of it in this root: the same rules for every source."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Protocol

from scheduler.core.formats.asked import allowing_folder
from scheduler.core.imports.commands import shell_options, undone
from scheduler.core.imports.incoming import (
    Decider,
    Gathered,
    Incoming,
    Work,
    channel_names,
    free,
    mapped_id,
    of_job,
    secret_id,
    secret_of,
    slug,
    whole_seconds,
)
from scheduler.core.imports.secrets import HIDDEN, is_secret, quoted, redacted, secret_in
from scheduler.core.past.past import Past
from scheduler.core.times.cron import ScheduleError, parse_cron
from scheduler.core.times.fires import fires, smallest_gap, zone_of
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import Problem
from scheduler.core.values.settings import ROOT_FILE, RunnerSpec
from scheduler.core.values.spec import Schedule
from scheduler.core.values.texts import counted
from scheduler.core.values.units import format_duration, parse_duration

# As in `daily on weekdays`, or `H H * * *`.
_SCATTERED = re.compile(r"(?i)(?:[a-z-]*(?:hourly|daily|weekly|monthly)|every|around)\b|(?:\S+ +){0,4}H(?:\b|\()")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_FIRES = 1000
LONG = timedelta(days=1)  # the timeout of commands that had none
Note = tuple[str, str, str]  # a warning: code, message, hint
CHECKS = (Work.COMMANDS, "")  # what a check is, and its wish
DELIVERED = ("success", "every_failure")  # what a scheduler that delivers results tells of


class _Warn(Protocol):
    """Says that something of a job is different here."""

    def __call__(self, code: str, message: str, hint: str = "") -> None: ...


class LeftOutError(ValueError):
    """A job that cannot be imported: code, message, hint."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A field that is not carried, its value, and what to write instead, if there is something."""

    name: str
    value: Any = None
    instead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """One job in the words of its source, translated as far as that needs no knowledge of this root."""

    path: str = ""  # the file, if the source has several
    line: int
    id: str  # as it is there
    name: str = ""
    description: str = ""
    # Entries of a schedule as a job file has them; a cron without a timezone follows the clock of the source's machine.
    schedule: tuple[Mapping[str, Any], ...]
    jitter: timedelta | None = None
    work: Work
    wish: str = ""  # the name of a runner that would suit it best, if the root has one
    task: str
    shell: str = ""  # of commands: the shell that ran them, as `sh -c` does: a path. Empty: any, whatever its options
    check: Decider | None = None
    check_called: str = ""  # the field of the source that it is from
    keys: Mapping[str, Any] = field(default_factory=dict)  # other keys of the job file
    model: str | None = None
    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    to: tuple[str, ...] = ()  # where results were delivered: a channel, and a target in it
    facts: Mapping[str, Any] = field(default_factory=dict)  # columns of `jobs`; instants as datetime
    paused: str | None = None  # why
    comments: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()  # further warnings
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What an import must know of this root and of the source as a whole."""

    called: str  # the source, in words
    zone: str  # of schedules that name none
    root_zone: str
    now: datetime
    channels: Collection[str] = ()
    usual: timedelta  # the timeout of a job that names none
    prefix: str = ""
    runners: Mapping[tuple[Work, str], RunnerSpec]  # by what the jobs are and wish
    lacking: Mapping[Work, tuple[str, str]] = field(default_factory=dict)  # why there is no runner for it, and a hint


def last_of(entry: Mapping[str, str], n: int, *, since: datetime | None, zone: str) -> datetime:
    """When the entry of a schedule fires for the n-th time after `since`. Raises: LeftOutError."""
    if n <= 0:
        raise LeftOutError("once", "it has no runs left")
    if n > _MOST_FIRES or since is None:
        raise LeftOutError("once", f"it has {n} runs left, and no job here counts them", "write `expires` by hand")
    period = parse_duration(entry["every"]) if "every" in entry else None
    phase = parse_duration(entry["phase"]) if "phase" in entry else timedelta(0)
    try:
        schedule = Schedule(cron=entry.get("cron"), every=period, phase=phase, timezone=zone)
        found = list(islice(fires(schedule, after=since), n))
    except ScheduleError as error:
        raise LeftOutError("schedule", error.message, error.hint) from None
    if not found:
        raise LeftOutError("schedule", f"its schedule {quoted(' '.join(entry.values()))} never comes due")
    return found[-1]


def gathered(jobs: Iterable[Brought], here: Here, problems: Sequence[Problem] = ()) -> Gathered:
    """The jobs as this root is to have them, in their order. problems: those found while they were read."""
    found: list[Incoming] = []
    told = list(problems)
    ids: dict[str, str] = {}
    stems: set[str] = set()
    in_zone: list[Incoming] = []
    endless: list[Incoming] = []
    for each in jobs:
        if secret := secret_in(each.id):
            told.append(replace(secret_id(each.line, secret), path=each.path))
            continue
        incoming = _bare(each, here, stems)
        if incoming.id in ids:
            why = f"the id {each.id!r} appears twice, also as {ids[incoming.id]!r}; this one was left out"
            told.append(of_job(incoming, "id", why))
            continue
        ids[incoming.id] = each.id
        stems.add(incoming.stem)
        try:
            job, own = _job(each, incoming, here)
        except LeftOutError as error:
            told.append(of_job(incoming, error.code, f"{incoming.id}: {error.message}; it was left out", error.hint))
            continue
        told += own
        found.append(job)
        if secret_of(job):  # its files are never made
            continue
        if any("cron" in entry and "timezone" not in entry for entry in each.schedule):
            in_zone.append(job)
        if each.work is Work.COMMANDS and each.keys.get("timeout") is None and "timeout" in job.keys:
            endless.append(job)
    told += _of_all(in_zone, endless, here)
    return Gathered(jobs=tuple(found), problems=tuple(told))


def _of_all(in_zone: Sequence[Incoming], endless: Sequence[Incoming], here: Here) -> Iterator[Problem]:
    """What is said once, at the first of the jobs that it is about."""
    if in_zone:
        why = f"{_which(in_zone)} no time zone in {here.called}; {here.zone} is used"
        hint = "if it ran in another zone, import with --timezone ZONE"
        yield replace(of_job(in_zone[0], "timezone", why, hint, error=False), job_id=None)
    if endless:
        ended = endless[0].keys["timeout"]
        why = f"{_which(endless)} no time limit in {here.called}; here, a job is stopped after {ended} by default"
        hint = "to change it: `scheduler update JOB --set timeout=2h`"
        yield replace(of_job(endless[0], "timeout", why, hint, error=False), job_id=None)


def _which(jobs: Sequence[Incoming]) -> str:
    return f"{jobs[0].id} has" if len(jobs) == 1 else f"{counted(len(jobs), 'job')} have"


def _bare(job: Brought, here: Here, stems: set[str]) -> Incoming:
    job_id = mapped_id(here.prefix + job.id)
    stem = free(slug(job.name) or job_id, stems, job_id)
    return Incoming(id=job_id, stem=stem, keys={}, work=job.work, wish=job.wish, path=job.path, line=job.line)


def _job(job: Brought, bare: Incoming, here: Here) -> tuple[Incoming, list[Problem]]:
    runner = here.runners.get((job.work, job.wish))
    if runner is None:
        raise LeftOutError("runner", *here.lacking[job.work])
    if not job.task.strip():
        raise LeftOutError("task", "its task is blank")
    told: list[Problem] = []

    def warn(code: str, message: str, hint: str = "") -> None:
        told.append(of_job(bare, code, f"{bare.id}: {message}", hint, error=False))

    if bare.id != here.prefix + job.id:
        why = f"{quoted(job.id)} is not a valid id; it becomes {bare.id!r}, at every import"
        told.append(of_job(bare, "id-mapped", why, "ids hold a-z, 0-9, . _ and -", error=False))
    keys: dict[str, Any] = {"id": bare.id, **_words(job, bare)}
    keys["schedule"] = _schedule(job, here, warn)
    keys |= {key: value for key, value in job.keys.items() if value is not None}
    comments = list(job.comments)
    _model(job, runner, here, keys, comments, warn)
    lines = [*_environment(job, runner, keys, warn), *_folder(job, runner, here, keys, comments, warn)]
    _deliver(job, here, keys, comments, warn)
    _timeout(job, runner, here, keys, warn)
    for note in job.notes:
        warn(*note)
    check, uncarried = _check(job, lines, here, warn)
    _say_what_is_lost((*job.lost, *uncarried), warn)
    _say_what_has_passed(job, here, keys, warn)
    text = "\n".join([*lines, _as_there(job, runner)])
    text = text if text.endswith("\n") else text + "\n"
    past = _past(job, here)
    return replace(bare, keys=keys, comments=tuple(comments), text=text, check=check, past=past), told


def _words(job: Brought, bare: Incoming) -> dict[str, str]:
    name, description = " ".join(job.name.split()), job.description.strip()
    found = {"name": "" if name == bare.id else name, "description": description}
    return {key: text for key, text in found.items() if text}


def _model(
    job: Brought, runner: RunnerSpec, here: Here, keys: dict[str, Any], comments: list[str], warn: _Warn
) -> None:
    if job.model is None or job.model == runner.model:
        return
    refused = _model_refused(job.model, runner)
    if not refused:
        keys["model"] = job.model
        return
    comments.append(f"{here.called} asked for the model {job.model}")
    hint = f"write {{model}} in its command and {job.model} in its job_models, then `model` in the job's file"
    warn("model", f"it asked for the model {quoted(job.model)}, but {refused}", hint)


def _folder(
    job: Brought, runner: RunnerSpec, here: Here, keys: dict[str, Any], comments: list[str], warn: _Warn
) -> list[str]:
    """The line that enters the folder of commands, if the job's file cannot name it."""
    if job.workdir is None:
        return []
    if allowing_folder(job.workdir, runner) is not None:
        keys["workdir"] = job.workdir
        return []
    if job.work is Work.COMMANDS:
        return ["cd" if job.workdir == "~" else f"cd {shlex.quote(job.workdir)}"]
    comments.append(f"{here.called} ran it in {job.workdir}")
    hint = f"add it to workdirs of runners.{runner.name} in {ROOT_FILE}, then `workdir` to the job's file"
    warn("workdir", f"it ran in {quoted(job.workdir)}; runner {runner.name!r} does not allow that folder", hint)
    return []


def _check(job: Brought, lines: Sequence[str], here: Here, warn: _Warn) -> tuple[Decider | None, tuple[Lost, ...]]:
    """The check, or the field that is not carried, as there is no shell to run it."""
    if job.check is None:
        return None, ()
    if CHECKS not in here.runners:
        return None, (Lost(name=job.check_called, value=job.check.text, instead=here.lacking[Work.COMMANDS][1]),)
    if job.check.note is not None:
        warn(*job.check.note)
    return replace(job.check, text="\n".join([*lines, job.check.text]).rstrip("\n") + "\n"), ()


def _as_there(job: Brought, runner: RunnerSpec) -> str:
    """The commands of a job as its own shell treats them."""
    if not job.shell:
        return job.task
    if posixpath.basename(job.shell) != posixpath.basename(runner.command[0]) or job.task.endswith("\\"):
        return f"{job.shell} -c {shlex.quote(job.task)}"
    reverted = undone(shell_options(runner.command), job.task)
    return f"{reverted}\n{job.task}" if reverted else job.task


def _schedule(job: Brought, here: Here, warn: _Warn) -> Any:
    entries = []
    for each in job.schedule:
        entry = dict(each)
        if "cron" in entry:
            if _SCATTERED.match(entry["cron"]):
                why = f"{quoted(entry['cron'])} names no time: its scheduler scatters such words by a hash"
                raise LeftOutError("schedule", why, "look up there when it runs, and write that time as a cron")
            zone = entry.pop("timezone", None) or here.zone
            try:
                zone_of(zone)
                parse_cron(entry["cron"])
            except ScheduleError as error:
                raise LeftOutError("schedule", error.message, error.hint) from None
            if zone != here.root_zone:
                entry["timezone"] = zone
        entries.append(entry)
    if job.jitter and all(_fits(entry, job.jitter, here) for entry in entries):
        entries = [{**entry, "jitter": whole_seconds(job.jitter)} for entry in entries]
    elif job.jitter:  # a job has one
        why = f"a random delay of {format_duration(job.jitter)} is not under half the time between two fires"
        warn("jitter", f"{why}; left out")
    short_ones = [entry["cron"] if list(entry) == ["cron"] else entry for entry in entries]
    return short_ones[0] if len(short_ones) == 1 else short_ones or "manual"


def _fits(entry: Mapping[str, Any], jitter: timedelta, here: Here) -> bool:
    every = entry.get("every")
    try:
        gap = smallest_gap(
            Schedule(
                cron=entry.get("cron"),
                every=None if every is None else parse_duration(every),
                at=parse_instant(entry["at"]) if "at" in entry else None,
                timezone=here.zone,
            )
        )
    except (ScheduleError, ValueError):
        return False
    return gap is None or 2 * jitter < gap


def _model_refused(model: str, runner: RunnerSpec) -> str:
    """Why a job cannot ask for this model; empty if it can."""
    if model == runner.model:
        return ""
    if not runner.takes_model:
        return f"the command of runner {runner.name!r} takes none"
    if not any(model == each or fnmatchcase(model, each) for each in runner.job_models):
        return f"runner {runner.name!r} does not allow it"
    return ""


def _environment(job: Brought, runner: RunnerSpec, keys: dict[str, Any], warn: _Warn) -> list[str]:
    """The lines that set the variables which the job's file cannot set. Secrets are in neither."""
    env, lines = {}, []
    for name, value in job.env.items():
        if is_secret(name, value):
            hint = f"set {name} where the daemon is started, and add it to env_from of runners.{runner.name}"
            warn("secret", f"the value of {name} looks like a secret and was not written", f"{hint} in {ROOT_FILE}")
        elif name in runner.job_env:
            env[name] = value
        elif job.work is Work.COMMANDS and _VARIABLE.fullmatch(name) and value.isprintable():
            lines.append(f"export {name}={shlex.quote(value)}")
        else:
            hint = f"add {quoted(name)} to job_env of runners.{runner.name} in {ROOT_FILE}, then to `env` of the job"
            warn("environment", f"it runs without the variable {quoted(name)}", hint)
    if env:
        keys["env"] = env
    return lines


def _deliver(job: Brought, here: Here, keys: dict[str, Any], comments: list[str], warn: _Warn) -> None:
    if not job.to:
        return
    names = channel_names(job.to)
    known = next((each for each in names if each in here.channels), None)
    if known is not None:
        keys |= {"deliver": [known], "deliver_on": list(DELIVERED)}
        return
    to = " ".join(job.to)
    if "://" in to or secret_in(to):  # the address of a webhook is often its password
        hint = (
            f"add a channel for it to {ROOT_FILE}, with the address as ${{env:NAME}}, then `deliver` to the job's file"
        )
        comments.append(f"{here.called} delivered the result to {redacted(job.to[0].partition('://')[0])}")
        warn("delivery", "its result went to an address that may contain a secret and is not shown", hint)
        return
    lacking = f"no channel in {ROOT_FILE} is called {' or '.join(names)}"
    comments.append(f"{here.called} delivered the result to {to}: {lacking}")
    hint = f"name a channel so in {ROOT_FILE}, then write deliver: [{names[0]}] in the job's file"
    warn("delivery", f"its result went to {quoted(to)}; {lacking}", hint)


def _timeout(job: Brought, runner: RunnerSpec, here: Here, keys: dict[str, Any], warn: _Warn) -> None:
    most, asked = runner.max_timeout, keys.get("timeout")
    if asked is None and job.work is Work.COMMANDS:
        wanted = LONG if most is None else min(LONG, most)
        if wanted > here.usual:
            keys["timeout"] = format_duration(wanted)
    elif asked is not None and most is not None and parse_duration(asked) > most:
        keys["timeout"] = format_duration(most)
        hint = f"raise it in {ROOT_FILE}, and write `timeout: {asked}` in the job's file"
        warn("timeout", f"its timeout is {asked}; max_timeout of runner {runner.name!r} allows {keys['timeout']}", hint)


def _say_what_is_lost(lost: Sequence[Lost], warn: _Warn) -> None:
    if lost:
        fields = ", ".join(each.name if each.value is None else f"{each.name} ({_shown(each)})" for each in lost)
        concerned: dict[str, list[str]] = {}
        for each in lost:
            if each.instead:
                concerned.setdefault(each.instead, []).append(each.name)
        hints = [*concerned]
        if len(lost) > 1:  # say which of them a hint is about
            hints = [f"{', '.join(dict.fromkeys(which))}: {hint}" for hint, which in concerned.items()]
        warn("not-carried", f"not carried: {fields}", "; ".join(hints))


def _shown(lost: Lost) -> str:
    """The value, unless it may be a secret."""
    match lost.value:
        case bool():
            text = str(lost.value).lower()
        case str():
            text = " ".join(lost.value.split())
        case list() | dict():
            return counted(len(lost.value), "entry", "entries")
        case _:
            text = str(lost.value)
    if secret_in(text) or is_secret(re.split(r"[.\[]", lost.name)[-1], text):
        return HIDDEN
    return text if len(text) <= 60 else f"{text[:57]}..."


def _say_what_has_passed(job: Brought, here: Here, keys: Mapping[str, Any], warn: _Warn) -> None:
    if keys.get("enabled") is False or job.paused is not None:
        return
    schedule = keys["schedule"]
    ends = [str(each.get("at") or each.get("ends") or "") for each in job.schedule] if schedule != "manual" else []
    if ends and all(ends) and parse_instant(last := max(ends)) <= here.now:
        warn("past", f"its last instant has passed ({last}), so it will not run here")


def _past(job: Brought, here: Here) -> Past | None:
    """The history: what is known of it under the names that it has here, and the pause."""
    facts = {name: instant(each) if isinstance(each, datetime) else each for name, each in job.facts.items()}
    facts = {
        name: redacted(each) if isinstance(each, str) else each for name, each in facts.items() if each is not None
    }
    if facts.get("consecutive_errors") and "last_run_status" not in facts:
        facts["last_run_status"] = "failed"
    audit: tuple[Mapping[str, Any], ...] = ()
    if job.paused is not None:
        by = slug(here.called)
        now = instant(here.now)
        at = min(facts.pop("paused_at", None) or facts.get("updated_at") or facts.get("last_run_at") or now, now)
        reason = redacted(job.paused)
        facts |= {"paused_at": at, "pause_reason": reason, "paused_by": by}
        after = {"at": at, "until": None, "reason": reason, "by": by}
        row = {"at": at, "action": "pause", "field": "pause", "before": None, "after": after, "revision": None}
        audit = ({**row, "actor": by, "cause": by},)
    return Past(facts=facts, audit=audit) if facts else None
