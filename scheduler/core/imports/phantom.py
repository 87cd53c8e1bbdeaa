"""Rows of Phantom's table `scheduled_jobs` as jobs: their files and their history. The table is read elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from scheduler.core.imports.incoming import (
    Incoming,
    Work,
    channel_names,
    either_day,
    free,
    mapped_id,
    problem,
    secret_id,
    slug,
)
from scheduler.core.imports.secrets import quoted, redacted, secret_in
from scheduler.core.past.past import Past
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.problems import Problem
from scheduler.core.values.texts import errors_in_a_row
from scheduler.core.values.units import MAX_DURATION, format_duration

Row = Mapping[str, Any]

NEEDED = ("id", "name", "schedule_kind", "schedule_value", "task")
# Phantom's back-off is 30 s, 1, 5, 15 and 60 min: this one waits 30 s, 1.5, 4.5, 13.5 and 40.5 min.
RETRY = {"attempts": 6, "delay": "30s", "backoff": 3, "max_delay": "1h"}
FAILURE_LIMIT = 10
_STATUSES = {"ok": "succeeded", "success": "succeeded", "error": "failed", "failed": "failed", "timeout": "timed_out"}
_OURS = ("succeeded", "failed", "timed_out", "cancelled", "interrupted", "skipped")
_SECOND = timedelta(seconds=1)


class _RowError(ValueError):
    """A row that cannot be imported: code, message, hint."""


def phantom_jobs(
    rows: Sequence[Row],
    audit: Iterable[Row],
    *,
    zone: str,
    root_zone: str,
    channels: Collection[str] = (),
    now: datetime,
) -> tuple[list[Incoming], list[Problem]]:
    """The rows as jobs, oldest first, and what could not be imported. A row's line is its number in the table.

    zone: for schedules without one, according to Phantom's machine.
    channels: the names of those in scheduler.yaml.
    """
    problems: list[Problem] = []
    found: list[Incoming] = []
    ids: dict[str, str] = {}
    stems: set[str] = set()
    logged = _logged(audit, problems)
    for row in sorted(rows, key=lambda each: (str(each.get("created_at") or ""), each["_row"])):
        bytes_in = [name for name, value in row.items() if isinstance(value, str) and _is_no_text(value)]
        row = {name: _shown(value) for name, value in row.items()}
        line, original = row["_row"], row.get("id")
        if not isinstance(original, str) or not original.strip():
            problems.append(problem(line, "id", f"the row's id is {quoted(original)}, not text; it was left out"))
            continue
        if secret := secret_in(original):
            problems.append(secret_id(line, secret))
            continue
        job_id = mapped_id(original)
        if job_id in ids:
            why = f"the id {quoted(original)} appears twice, also as {ids[job_id]!r}; this row was left out"
            problems.append(problem(line, "id", why))
            continue
        ids[job_id] = original
        if job_id != original:
            why = f"{quoted(original)} is not a valid id; it becomes {job_id!r}, at every import"
            problems.append(problem(line, "id-mapped", why, "ids hold a-z, 0-9, . _ and -", error=False, job_id=job_id))
        try:
            if "task" in bytes_in:
                raise _RowError("task", "its task is not UTF-8", "correct it in Phantom, or write the job by hand")
            job = _job(row, job_id, stems, zone, root_zone, channels, now, problems)
        except _RowError as error:
            code, message, hint = error.args
            problems.append(problem(line, code, f"{_called(row)}: {message}; it was left out", hint, job_id=job_id))
            continue
        if bytes_in:
            why = f"{_called(row)}: {', '.join(sorted(bytes_in))}: not UTF-8; such bytes are written as \\x.."
            problems.append(problem(line, "encoding", why, error=False, job_id=job_id))
        stems.add(job.stem)
        found.append(_with_past(job, row, logged.pop(original, []), now, problems))
    lost = sum(len(each) for each in logged.values())
    if lost:
        why = f"{lost} rows of scheduler_audit_log belong to jobs that no longer exist; they were left out"
        problems.append(problem(1, "audit", why, error=False))
    if found:
        why = "Phantom's retry delays of 30 s, 1, 5, 15 and 60 min become 30 s, 90 s, 4.5, 13.5 and 40.5 min (`retry`)"
        problems.append(
            problem(1, "retry", why, "change it with `scheduler update JOB --set retry.delay=1m`", error=False)
        )
    return found, problems


def _is_no_text(value: str) -> bool:
    """True if it came with bytes that are not UTF-8, which are lone surrogates now."""
    return any("\udc80" <= each <= "\udcff" for each in value)


def _shown(value: Any) -> Any:
    if isinstance(value, str) and _is_no_text(value):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value


def _called(row: Row) -> str:
    return f"{redacted(str(row.get('name') or row.get('id'))):.60}"


def _job(
    row: Row,
    job_id: str,
    stems: set[str],
    zone: str,
    root_zone: str,
    channels: Collection[str],
    now: datetime,
    problems: list[Problem],
) -> Incoming:
    name = " ".join(str(row.get("name") or "").split())
    task = row.get("task")
    if not isinstance(task, str) or not task.strip():
        raise _RowError("task", "its task is blank, or not text", "")
    keys: dict[str, Any] = {"id": job_id}
    comments: list[str] = []
    if name:
        keys["name"] = name
    description = row.get("description")
    if isinstance(description, str) and description.strip():
        keys["description"] = description.strip()
    if not _flag(row.get("enabled"), True) or row.get("status") == "disabled":
        keys["enabled"] = False
    keys["schedule"] = _schedule(row, job_id, zone, root_zone, problems)
    keys["retry"] = dict(RETRY)
    keys["failure_limit"] = FAILURE_LIMIT
    to = [" ".join(str(row[key]).split()) for key in ("delivery_channel", "delivery_target") if row.get(key)]
    if to and to[0] != "none":
        names = channel_names(to)
        known = next((each for each in names if each in channels), None)
        if known is not None:
            keys |= {"deliver": [known], "deliver_on": ["success", "every_failure"]}
        else:
            lacking = f"no channel in scheduler.yaml is called {' or '.join(names)}"
            comments.append(f"Phantom delivered the result to {' '.join(to)}: {lacking}")
    if _flag(row.get("delete_after_run"), False):
        if row["schedule_kind"] == "at":
            comments.append("Phantom deleted it after its run (delete_after_run); here it stays as completed")
        else:
            coming = _instant(row.get("next_run_at"))
            if coming is None:
                why = "it should run once (delete_after_run), but its next_run_at does not say when"
                raise _RowError("once", why, "make it a job with `schedule: {at: …}`")
            keys["expires"] = instant(_ceil(coming))
            comments.append("Phantom deleted it after its next run (delete_after_run); here it expires")
    last = keys["schedule"]["at"] if row["schedule_kind"] == "at" else keys.get("expires")
    if last is not None and row.get("status") in (None, "active"):
        at = parse_instant(last)
        if at <= now:
            why = f"{_called(row)}: its instant has passed ({instant(at)}), so it will not run here"
            problems.append(problem(row["_row"], "past", why, error=False, job_id=job_id))
    return Incoming(
        id=job_id,
        work=Work.PROMPT,
        stem=free(slug(name) or job_id, stems, job_id),
        keys=keys,
        comments=tuple(comments),
        text=task if task.endswith("\n") else task + "\n",
        line=row["_row"],
    )


def _flag(value: Any, default: bool) -> bool:
    return default if value is None else value not in (0, "0", "false", False)


def _schedule(row: Row, job_id: str, zone: str, root_zone: str, problems: list[Problem]) -> Any:
    kind, text = row.get("schedule_kind"), row.get("schedule_value")
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _RowError("schedule", f"its schedule_value {quoted(text)} is not a JSON object", "")
    match kind:
        case "cron":
            return _cron(value, row, job_id, zone, root_zone, problems)
        case "every":
            return _every(value, row)
        case "at":
            return _at(value, row, job_id, zone, problems)
    raise _RowError("schedule", f"its schedule_kind {quoted(kind)} is unknown; allowed: at, every, cron", "")


def _cron(value: Mapping[str, Any], row: Row, job_id: str, zone: str, root_zone: str, problems: list[Problem]) -> Any:
    expression, timezone = value.get("expr"), value.get("tz")
    if not isinstance(expression, str) or not expression.strip():
        raise _RowError("schedule", f"its schedule's expr is {quoted(expression)}, not text", "")
    if timezone is not None and not isinstance(timezone, str):
        raise _RowError("schedule", f"its tz is {quoted(timezone)}, not the name of a zone", "")
    if not timezone:
        _assume(row, job_id, zone, problems)
        timezone = zone
    expression = either_day(expression.split())
    return expression if timezone == root_zone else {"cron": expression, "timezone": timezone}


def _assume(row: Row, job_id: str, zone: str, problems: list[Problem]) -> None:
    why = f"{_called(row)}: its schedule has no time zone; {zone} is used"
    hint = "if Phantom's machine used another zone, import with --timezone ZONE"
    problems.append(problem(row["_row"], "timezone", why, hint, error=False, job_id=job_id))


def _every(value: Mapping[str, Any], row: Row) -> Any:
    found = value.get("intervalMs")
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or found <= 0:
        raise _RowError("schedule", f"its intervalMs is {quoted(found)}, not a number of milliseconds", "")
    if found % 1000 or found > MAX_DURATION / timedelta(milliseconds=1):
        raise _RowError("schedule", f"its intervalMs is {found}; allowed: whole seconds, up to 3650d", "round it")
    every = timedelta(milliseconds=int(found))
    schedule = {"every": format_duration(every)}
    coming = _instant(row.get("next_run_at"))
    if coming is not None:  # it counts from the last run, and so from the next one on
        phase = (_ceil(coming) - datetime(1970, 1, 1, tzinfo=UTC)) % every
        if phase:
            schedule["phase"] = format_duration(phase)
    return schedule


def _ceil(at: datetime) -> datetime:
    whole = at.replace(microsecond=0)
    return whole if whole == at else whole + _SECOND


def _at(value: Mapping[str, Any], row: Row, job_id: str, zone: str, problems: list[Problem]) -> Any:
    text = value.get("at")
    if isinstance(text, str):
        try:
            at = datetime.fromisoformat(text.strip())
            if at.tzinfo is None:
                _assume(row, job_id, zone, problems)
                at = at.replace(tzinfo=ZoneInfo(zone))
            return {"at": instant(at.astimezone(UTC))}
        except (ValueError, OverflowError):
            pass
    raise _RowError("schedule", f"its time is {quoted(text)}, which is not an instant", "write 2026-03-29T01:00:00Z")


def _with_past(job: Incoming, row: Row, logged: Sequence[Row], now: datetime, problems: list[Problem]) -> Incoming:
    """Facts under the names they have here, from columns with the same names."""
    facts: dict[str, Any] = {}

    def lost(column: str) -> None:
        why = f"{_called(row)}: {column} is {quoted(row.get(column))}, which cannot be imported"
        problems.append(problem(row["_row"], "fact", why, error=False, job_id=job.id))

    def carry(column: str, read: Callable[[Any], Any]) -> None:
        value = row.get(column)
        found = None if value is None else read(value)
        if found is not None:
            facts[column] = found
        elif value is not None:
            lost(column)

    for column in ("run_count", "consecutive_errors"):
        carry(column, lambda value: value if isinstance(value, int) and 0 <= value < 2**53 else None)
    for column in ("last_run_at", "created_at", "updated_at"):
        carry(column, lambda value: None if (at := _instant(value)) is None else instant(at))
    carry("last_run_duration_ms", lambda value: value if isinstance(value, int) else None)
    for column in ("last_run_error", "last_delivery_status", "created_by"):
        carry(column, lambda value: value if isinstance(value, str) else None)
    carry("last_run_status", lambda value: told if (told := _STATUSES.get(str(value), str(value))) in _OURS else None)
    audit = _status(row, facts, now, lost)
    for each in logged:
        at = _instant(each.get("created_at"))
        audit.append(
            {
                "at": instant(at if at is not None else now),
                "action": f"phantom.{each.get('action') or 'change'}",
                "field": "status",
                "before": each.get("previous_status"),
                "after": each.get("new_status"),
                "revision": None,
                "actor": f"phantom:{each.get('actor') or 'unknown'}",
                "cause": " ".join(str(each.get("detail") or "phantom").split()),
            }
        )
    return replace(job, past=Past(facts=facts, audit=tuple(sorted(audit, key=lambda each: str(each["at"])))))


def _status(row: Row, facts: dict[str, Any], now: datetime, lost: Callable[[str], None]) -> list[dict[str, Any]]:
    """The facts that keep a job from firing, and the audit rows from which `explain` knows them."""
    audit: list[dict[str, Any]] = []
    since = min(facts.get("updated_at") or facts.get("last_run_at") or instant(now), instant(now))

    def told(action: str, field: str, before: Any, after: Any) -> None:
        row = {"at": since, "action": action, "field": field, "before": before, "after": after, "revision": None}
        audit.append({**row, "actor": "phantom", "cause": "phantom"})

    def pause(reason: str) -> None:
        facts.update(paused_at=since, pause_reason=reason, paused_by="phantom")
        told("pause", "pause", None, {"at": since, "until": None, "reason": reason, "by": "phantom"})

    match row.get("status"):
        case None | "active" | "disabled":  # `disabled` is in its file
            pass
        case "paused":
            pause("paused in Phantom")
        case "failed":
            errors = facts.get("consecutive_errors", 0)
            facts.update(stopped_at=since, stop_reason=f"{errors_in_a_row(errors)} in Phantom")
            told("stop", "status", "active", "stopped")
        case "completed":
            at = _instant_of(row) if row.get("schedule_kind") == "at" else None
            if at is None or at > now:  # there is a fire left, but it must not happen
                pause("completed in Phantom")
        case _:
            pause(f"its status in Phantom is {quoted(row.get('status'))}")
            lost("status")
    return audit


def _instant_of(row: Row) -> datetime | None:
    try:
        return _instant(json.loads(row["schedule_value"]).get("at"))
    except (ValueError, AttributeError):
        return None


def _instant(value: Any) -> datetime | None:
    """`2026-03-01 12:00:00` of SQLite, which is UTC, and what JavaScript writes."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.strip())
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _logged(audit: Iterable[Row], problems: list[Problem]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for each in audit:
        row = {name: _shown(value) for name, value in each.items()}
        found.setdefault(str(row.get("job_id")), []).append(row)
    undated = sum(_instant(row.get("created_at")) is None for rows in found.values() for row in rows)
    if undated:
        why = f"{undated} rows of scheduler_audit_log have no readable created_at; they get the time of the import"
        problems.append(problem(1, "audit", why, error=False))
    return found
