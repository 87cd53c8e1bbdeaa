"""OpenClaw: cron/jobs.json with its jobs-state.json, and what `openclaw cron list --json` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from scheduler.core.imports.brought import Brought, LeftOutError, Lost
from scheduler.core.imports.incoming import Work, either_day, every_from, whole_seconds
from scheduler.core.imports.records import A_SPAN, A_TEXT, AN_INSTANT, Record, json_objects, json_value, no_time
from scheduler.core.imports.secrets import quoted
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import Problem
from scheduler.core.values.texts import TextError
from scheduler.service.imports.source import Reading, Source, SourceFile, gather_each, jobs_in, read_beside

_STATUSES = {"ok": "succeeded", "error": "failed", "skipped": "skipped"}
_MS = timedelta(milliseconds=1)
_OWN = "a run here starts a conversation of its own"
_INSTEAD = {
    "payload.thinking": "give it in the runner's command",
    "agentId": "a runner of that name gets its jobs, and --runner chooses another",
    "failureAlert": "write `deliver_on` and `alerts`",
}
_TIMES = {"at": (AN_INSTANT, "at", "atMs"), "every": (A_SPAN, "everyMs"), "cron": (A_TEXT, "expr")}
_BOOKKEEPING = ("nextRunAtMs", "runningAtMs", "scheduleErrorCount", "lastStatus", "lastDelivered", "lastDeliveryError")


def _named(path: Path) -> bool:
    return path.name == "jobs.json" or (path.suffix == ".json" and "openclaw" in path.name)


def _tell(file: SourceFile) -> str | None:
    found = [each for each in json_objects(file.text, "jobs") if isinstance(each.get("payload"), dict)]
    kinds = {str(each["payload"].get("kind")) for each in found if isinstance(each.get("schedule"), dict)}
    return f"its jobs have a schedule and payloads of the kinds {', '.join(sorted(kinds))}" if kinds else None


def _read(reading: Reading, file: SourceFile) -> Iterator[Brought | Problem]:
    whole = json_value(file.text)
    version = whole.get("version") if isinstance(whole, dict) else None
    if version not in (1, None):
        raise TextError("format", f"version {quoted(version)} of the format is unknown, and only 1 is read")
    states, unread = read_beside(file, "jobs-state.json", _states)
    yield from unread

    def make(line: int, job_id: str, job: Record) -> Brought:
        state = (states or {}).get(job_id)
        beside = state.get("state") if isinstance(state, dict) else None
        past = Record(beside, zone=reading.zone) if isinstance(beside, dict) else job.record("state") or Record({})
        return _job(file, line, job_id, job, past)

    yield from jobs_in(reading, file, "jobs", make, "id", "jobId")


def _states(text: str) -> Mapping[str, Any]:
    """What newer versions keep beside the list: how the jobs ended."""
    found = json_value(text)
    jobs = found.get("jobs") if isinstance(found, dict) else None
    return jobs if isinstance(jobs, dict) else {}


def _job(file: SourceFile, line: int, job_id: str, job: Record, past: Record) -> Brought:
    created, coming = job.instant("createdAtMs"), past.instant("nextRunAtMs")
    schedule = job.record("schedule") or Record({})
    entry = _entry(schedule, coming, created)
    payload = job.record("payload") or Record({})
    kind, comments = payload.text("kind"), list[str]()
    if kind not in ("agentTurn", "systemEvent"):
        raise LeftOutError(
            "task", f"its payload of the kind {quoted(kind)} is unknown; allowed: agentTurn, systemEvent"
        )
    limit = payload.duration("timeoutSeconds", timedelta(seconds=1))
    keys: dict[str, Any] = {
        "enabled": False if job.flag("enabled") is False else None,
        "timeout": None if limit is None else whole_seconds(limit),
    }
    if job.flag("deleteAfterRun"):
        comments.append("OpenClaw deleted it after its run (deleteAfterRun); here it stays as completed")
        if "at" not in entry:
            if coming is None:
                raise LeftOutError("once", "it should run once (deleteAfterRun), but its state does not say when")
            keys["expires"] = instant(coming.replace(microsecond=0) + timedelta(seconds=coming.microsecond > 0))
    where = job.text("sessionTarget") or "isolated"
    session = () if where == "isolated" else (Lost(name="sessionTarget", value=where, instead=_OWN),)
    past.drop(*_BOOKKEEPING)
    return Brought(
        path=file.shown,
        line=line,
        id=job_id,
        name=job.text("name") or "",
        description=job.text("description") or "",
        schedule=(entry,),
        jitter=schedule.duration("staggerMs", _MS),
        work=Work.PROMPT,
        wish=job.peek("agentId") or "openclaw",
        task=payload.text("message", "text") or "",
        keys=keys,
        model=payload.text("model"),
        to=_target(job.record("delivery"), payload),
        facts={
            "created_at": created,
            "updated_at": job.instant("updatedAtMs"),
            "last_run_at": past.instant("lastRunAtMs"),
            "last_run_status": _STATUSES.get(past.text("lastRunStatus", "lastStatus") or ""),
            "last_run_error": past.text("lastError"),
            "last_run_duration_ms": past.count("lastDurationMs"),
            "last_delivery_status": past.text("lastDeliveryStatus"),
            "consecutive_errors": past.count("consecutiveErrors"),
        },
        comments=tuple(comments),
        lost=(*session, *job.lost(_INSTEAD), *(past.lost(prefix="state.") if not job.has("state") else ())),
    )


def _entry(schedule: Record, coming: datetime | None, created: datetime | None) -> Mapping[str, str]:
    """The schedule as an entry of a job file. Raises: LeftOutError."""
    kind, at, every = schedule.text("kind"), schedule.instant("at", "atMs"), schedule.duration("everyMs", _MS)
    anchor = schedule.instant("anchorMs")
    if kind == "at" and at is not None:
        return {"at": instant(at)}
    if kind == "every" and every is not None:
        if every % timedelta(seconds=1):
            raise LeftOutError("schedule", f"its everyMs is {every / _MS:.0f}; allowed: whole seconds", "round it")
        return every_from(every, coming or anchor or created)
    if kind == "cron" and (expr := schedule.text("expr")) is not None:
        zone = schedule.text("tz")
        return {"cron": either_day(expr.split()), **({} if zone is None else {"timezone": zone})}
    raise no_time(schedule, _TIMES)


def _target(delivery: Record | None, payload: Record) -> tuple[str, ...]:
    found = payload if delivery is None else delivery
    mode, channel, to = found.text("mode"), found.text("channel"), found.text("to")
    if mode == "none" or (delivery is None and payload.flag("deliver") is not True):
        return ()
    return tuple(each for each in (channel or mode or "last", None if to is None else _bare(to)) if each)


def _bare(to: str) -> str:
    return to if "://" in to else to.rpartition(":")[2]


SOURCE = Source(
    word="openclaw", called="OpenClaw", stop="disable them there", named=_named, tell=_tell, gather=gather_each(_read)
)
