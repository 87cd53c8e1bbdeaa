"""The history of a job, as it is carried from one database to another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scheduler.core.values.codec import Stored, unsaid
from scheduler.core.values.facts import RunnerFile
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.runs import RunStatus, Trigger
from scheduler.core.values.spec import JobSpec
from scheduler.core.values.usage import AgentResult, CostBasis, EndClass, Tokens

IMPORT = "import"  # the action of the audit row that says where a job came from; a job with one gets no other history
# Columns of the tables. An export uses these names.
FACTS = (
    "run_count", "consecutive_errors", "errors_at_arm", "stopped_at", "stop_reason", "last_run_at",
    "last_run_status", "last_run_duration_ms", "last_run_error", "last_delivery_status", "paused_at",
    "pause_reason", "paused_until", "paused_by", "created_at", "created_by", "updated_at",
)  # fmt: skip
RUN = (
    "n", "trigger", "status", "reason", "fire_time", "fire_time_last", "slots", "requested_at",
    "requested_by", "started_at", "finished_at", "duration_ms", "exit_code", "error", "task_sha256",
    "task_bytes", "source_path", "source_sha256", "source_blob", "revision", "dirty", "generation", "result",
    "output_bytes", "truncated", "no_provenance", "task_of", "runner_files", "agent", "end_class", "cost_nano",
    "currency", "cost_basis", "tokens", "check_sha256", "reserved_nano", "reserved_currency",
)  # fmt: skip
ATTEMPT = (
    "n", "status", "reason", "started_at", "finished_at", "exit_code", "end_class", "cost_nano", "currency",
    "cost_basis", "tokens",
)  # fmt: skip
DEFINITION = ("generation", "digest", "spec", "recorded_at")
AUDIT = ("at", "action", "field", "before", "after", "revision", "actor", "cause", "no_commit")
ARCHIVED = ("at", "path", "line", "revision", "file_sha256")  # since when no file names a job, and where it was
COMMIT = ("id", "author", "email", "date", "subject")  # of an audit row, if one is known
JSON = frozenset({"spec", "before", "after", "runner_files", "agent", "tokens"})
_WHOLE = frozenset({
    "run_count", "consecutive_errors", "errors_at_arm", "last_run_duration_ms", "n", "slots", "duration_ms",
    "task_bytes", "generation", "output_bytes", "truncated", "task_of", "exit_code", "line", "cost_nano",
    "reserved_nano",
})  # fmt: skip
_OF_AGENTS = ("agent", "end_class", "cost_nano", "currency", "cost_basis", "tokens")
_OF_BUDGETS = ("reserved_nano", "reserved_currency")
# Absent in older exports.
_LATER = frozenset({"no_commit", "no_provenance", "task_of", "runner_files", "check_sha256", *_OF_AGENTS, *_OF_BUDGETS})
_SIGNED = frozenset({"exit_code"})
# Columns that are never null.
_NEEDED = {
    "job": ("run_count", "consecutive_errors", "errors_at_arm", "created_at", "created_by", "updated_at"),
    "run": ("n", "trigger", "status", "slots", "requested_at", "generation", "truncated"),
    "attempt": ("n", "status", "started_at"),
    "definition": DEFINITION,
    "audit": ("at", "action", "actor", "cause"),
    "archived": ("at", "path", "line", "file_sha256"),
}
_NAMES = {
    "job": FACTS,
    "run": (*RUN, "attempts"),
    "attempt": ATTEMPT,
    "definition": DEFINITION,
    "audit": AUDIT,
    "archived": ARCHIVED,
}
_COLUMNS = {name for names in _NAMES.values() for name in names}
INSTANTS = {name for name in _COLUMNS if name.endswith("_at")} | {"at", "fire_time", "fire_time_last", "paused_until"}
_LARGEST = 2**63


def check_row(kind: str, row: Mapping[str, Any]) -> None:
    """Raises: ValueError, KeyError, TypeError for a row that no scheduler database holds. Other keys are ignored."""
    for name in _NAMES[kind]:
        value = row.get(name) if name in _LATER else row[name]
        if value is None:
            if name in _NEEDED[kind]:
                raise ValueError(f"{name} is null")
        elif name in INSTANTS:
            parse_instant(value)
        elif name in _WHOLE:
            low = -_LARGEST if name in _SIGNED else 0
            if not isinstance(value, int) or not low <= value < _LARGEST:
                raise ValueError(f"{name} is {value!r:.40}")
        elif name in JSON:
            json.dumps(value, ensure_ascii=False).encode()  # no database can store a lone surrogate
        elif name != "attempts":
            if not isinstance(value, str):
                raise ValueError(f"{name} is {value!r:.40}, not text")
            value.encode()
    if kind in ("run", "attempt"):
        _check_usage(row)
    if kind in ("run", "attempt") and not RunStatus(row["status"]).finished:
        raise ValueError(f"the run has not ended: its status is {row['status']}")
    if kind == "run":
        Trigger(row["trigger"])
        for file in row.get("runner_files") or ():
            RunnerFile.from_json(file).check()
        if row.get("agent") is not None:
            AgentResult.from_json(row["agent"])
        if row["n"] < 1 or row["slots"] < 1:
            raise ValueError("a run has a number of at least 1, and at least one slot")
        for attempt in row["attempts"]:
            check_row("attempt", attempt)
        numbers = [attempt["n"] for attempt in row["attempts"]]
        if numbers != sorted(set(numbers)):
            raise ValueError("its attempts are out of order")
    if kind == "audit" and row.get("commit") is not None:
        for name in COMMIT:
            if not isinstance(row["commit"][name], str):
                raise ValueError(f"the {name} of its commit is not text")
            row["commit"][name].encode()
    if kind == "definition" and JobSpec.from_json(row["spec"]).digest != row["digest"]:
        raise ValueError("the definition does not match its digest")


def _check_usage(row: Mapping[str, Any]) -> None:
    if row.get("end_class") is not None:
        EndClass(row["end_class"])
    if row.get("tokens") is not None:
        Tokens.from_json(row["tokens"])
    if row.get("cost_nano") is not None:
        CostBasis(row["cost_basis"])
        if not re.fullmatch(r"[A-Z]{3}", row["currency"]):
            raise ValueError(f"currency is {row['currency']!r:.40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Past(Stored):
    """What a job brings along for the database: JSON throughout, instants as text.

    facts: columns of `jobs`, by name. definitions, runs, audit: rows of those tables, each run with its `attempts`.
    archived: None if the job has a file.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    last_n: int = 0
    definitions: tuple[Mapping[str, Any], ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    audit: tuple[Mapping[str, Any], ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)  # by sha256
    archived: Mapping[str, Any] | None = unsaid(None)
