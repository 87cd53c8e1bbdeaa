"""Hermes: the jobs of its gateway, in cron/jobs.json."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from scheduler.core.imports.brought import Brought, Lost, last_of
from scheduler.core.imports.incoming import Decider, Work, either_day, every_from
from scheduler.core.imports.records import A_SPAN, A_TEXT, AN_INSTANT, Record, json_objects, no_time
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import Problem
from scheduler.service.imports.source import Reading, Source, SourceFile, gather_each, jobs_in, read_beside

_STATUSES = {"ok": "succeeded", "error": "failed"}
_INSTEAD = {
    "skills": "name them in the prompt",
    "provider": "give it in the runner's command",
    "context_from": "let the prompt read what the other job wrote",
    "reasoning_effort": "give it in the runner's command",
}
_FAILS = (
    "check",
    "its script is a `check` here: if it fails, the job does not run, and in Hermes the agent was told of the failure",
    "let the script print what went wrong, and exit with 0",
)
_TIMES = {"once": (AN_INSTANT, "run_at"), "interval": (A_SPAN, "minutes"), "cron": (A_TEXT, "expr")}
_BOOKKEEPING = ("schedule_display", "next_run_at", "skill", "provider_snapshot", "model_snapshot", "monitor_state",
                "fire_claim", "run_claim", "latest_execution")  # fmt: skip


def _tell(file: SourceFile) -> str | None:
    found = [each for each in json_objects(file.text, "jobs") if isinstance(each.get("schedule"), dict)]
    kinds = {str(each["schedule"].get("kind")) for each in found if "prompt" in each}
    known = sorted(kinds & {"once", "interval", "cron"})
    return f"its jobs have a prompt and schedules of the kinds {', '.join(known)}" if known else None


def _read(reading: Reading, file: SourceFile) -> Iterator[Brought | Problem]:
    zone, unread = read_beside(file, "../config.yaml", _zone_of) if reading.options.timezone is None else (None, [])
    yield from unread

    def make(line: int, job_id: str, job: Record) -> Brought:
        return _job(file, line, job_id, job, zone or reading.zone, named=zone is not None)

    yield from jobs_in(reading, file, "jobs", make)


def _zone_of(text: str) -> str | None:
    """`timezone` of ~/.hermes/config.yaml, whose clock the jobs follow."""
    found = re.search(r"(?m)^timezone:\s*[\"']?([\w/+-]+)[\"']?\s*(?:#.*)?$", text)
    return found[1] if found else None


def _job(file: SourceFile, line: int, job_id: str, job: Record, zone: str, *, named: bool) -> Brought:
    coming, last, created = job.instant("next_run_at"), job.instant("last_run_at"), job.instant("created_at")
    entry = _entry(job.record("schedule") or Record({}), coming or created, zone, named=named)
    script, prompt, lost, check = job.text("script"), job.text("prompt"), [], None
    if job.flag("no_agent") is not True and script is not None:
        check = Decider(text=_command(script), output="append", note=_FAILS)
        script = None
    deliver = [each.strip() for each in (job.text("deliver") or "local").split(",")]
    lost += [Lost(name="deliver", value=each) for each in deliver[1:]]
    state, keys, comments = job.text("state") or "scheduled", dict[str, Any](), list[str]()
    repeat = job.record("repeat") or Record({})
    times, done = repeat.count("times"), repeat.count("completed") or 0
    if times and "at" not in entry:
        keys["expires"] = instant(last_of(entry, times - done, since=last or created, zone=zone))
        comments.append(f"Hermes ran it {times} times in all, {done} of them there; here it expires")
    enabled, held = job.flag("enabled") is not False, job.instant("paused_at")
    reason = job.text("paused_reason") or "paused in Hermes"
    paused = reason if state == "paused" or held else None if state in ("scheduled", "completed") else f"{state} there"
    if not enabled and paused is None:
        keys["enabled"] = False
    job.drop(*_BOOKKEEPING)
    return Brought(
        path=file.shown,
        line=line,
        id=job_id,
        name=job.text("name") or "",
        schedule=(entry,),
        work=Work.PROMPT if script is None else Work.COMMANDS,
        wish="hermes" if script is None else "",
        task=(prompt or "") if script is None else _command(script),
        check=check,
        check_called="script",
        keys=keys,
        model=job.text("model"),
        workdir=job.text("workdir"),
        to=_target(deliver[0], job),
        facts={
            "created_at": created,
            "last_run_at": last,
            "last_run_status": _STATUSES.get(job.text("last_status") or ""),
            "last_run_error": job.text("last_error"),
            "run_count": done,
            "consecutive_errors": job.count("failure_streak"),
            "paused_at": None if held is None else instant(held),
        },
        paused=paused,
        comments=tuple(comments),
        lost=(*job.lost(_INSTEAD), *lost),
    )


def _entry(schedule: Record, first: datetime | None, zone: str, *, named: bool) -> Mapping[str, str]:
    """The schedule as an entry of a job file. Raises: LeftOutError."""
    kind = schedule.text("kind")
    schedule.drop("display")
    at, minutes, expr = schedule.instant("run_at"), schedule.duration("minutes", timedelta(minutes=1)), None
    if kind == "once" and at is not None:
        return {"at": instant(at)}
    if kind == "interval" and minutes is not None:
        return every_from(minutes, first)
    if kind == "cron" and (expr := schedule.text("expr")) is not None:
        fields = expr.split()
        if len(fields) == 6:  # croniter has the seconds last
            fields = [fields[5], *fields[:5]]
        return {"cron": either_day(fields), **({"timezone": zone} if named else {})}
    raise no_time(schedule, _TIMES)


def _command(script: str) -> str:
    path = script if script.startswith(("/", "~")) else f"~/.hermes/scripts/{script}"
    home, rest = ("~/", path[2:]) if path.startswith("~/") else ("", path)
    return f"{'bash' if path.endswith(('.sh', '.bash')) else 'python3'} {home}{shlex.quote(rest)}"


def _target(deliver: str, job: Record) -> tuple[str, ...]:
    origin = job.record("origin")
    place = None if origin is None else (origin.text("platform"), origin.text("chat_name", "chat_id"))
    if deliver == "origin":
        return tuple(each for each in place or ("origin",) if each)
    job.drop("origin")
    return () if deliver in ("local", "none") else tuple(deliver.split(":", 1))


SOURCE = Source(
    word="hermes",
    called="Hermes",
    stop="pause its jobs",
    named=lambda path: path.name == "jobs.json",
    tell=_tell,
    gather=gather_each(_read),
)
