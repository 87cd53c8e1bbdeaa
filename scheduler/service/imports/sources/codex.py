"""Codex: the automations of its app, one folder each with an automation.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scheduler.core.imports.brought import Brought, Lost
from scheduler.core.imports.incoming import Work
from scheduler.core.imports.records import Record
from scheduler.core.imports.rrule import Translated, translated
from scheduler.core.imports.secrets import quoted
from scheduler.core.values.problems import Problem
from scheduler.core.values.texts import InputError, TextError, counted
from scheduler.service.imports.source import Reading, Source, SourceFile, gather_each

_INSTEAD = {
    "reasoning_effort": "give it in the runner's command",
    "execution_environment": "for a new worktree of this root: `workdir: fresh`",
    "target_thread_id": "a run here starts a conversation of its own",
}


def _named(path: Path) -> bool:
    return path.name == "automation.toml"


def _tell(file: SourceFile) -> str | None:
    if not _named(file.path) and re.search(r"(?m)^\s*rrule\s*=", file.text) is None:
        return None
    value = _values(file.text)
    if isinstance(value.get("rrule"), str) and isinstance(value.get("prompt"), str):
        return "it has a prompt and an rrule"
    return None


def _values(text: str) -> dict[str, Any]:
    """Raises: TextError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        place = (int(found[1]), int(found[2])) if found else (text.count("\n") + 1, 1)
        why = re.sub(r" \(at .*\)$", "", str(error))
        hint = "" if found else "the file may be incomplete; copy it again"
        raise TextError("toml", f"it is not TOML: {why}", line=place[0], column=place[1], hint=hint) from None
    except RecursionError:
        raise TextError("toml", "it is nested too deeply") from None


def _read(reading: Reading, file: SourceFile) -> Iterator[Brought | Problem]:
    text = file.text
    found = Record(_values(text), zone=reading.zone)
    job_id = found.text("id") or file.path.parent.name or "automation"  # which standard input leaves without a folder
    version, kind = found.count("version"), found.text("kind") or "cron"

    def left_out(code: str, name: str, why: str, hint: str = "") -> Problem:
        return file.wrong(_line(text, name), code, f"{job_id}: {why}; it was left out", hint)

    if version not in (1, None):
        yield left_out("format", "version", f"version {version} of the format is unknown, and only 1 is read")
        return
    if kind not in ("cron", "heartbeat"):
        yield left_out("schedule", "kind", f"its kind is {quoted(kind)}; allowed: cron, heartbeat")
        return
    created = found.instant("created_at")
    try:
        when = translated(found.text("rrule") or "", start=created, zone=reading.zone)
    except InputError as error:
        yield left_out("schedule", "rrule", error.message, error.hint)
        return
    yield _job(file, found, job_id, when)


def _job(file: SourceFile, found: Record, job_id: str, when: Translated) -> Brought:
    status = found.text("status") or "ACTIVE"
    folders, cwd = found.texts("cwds"), found.text("cwd")
    folders = folders or (() if cwd is None else (cwd,))
    others = [Lost(name="cwds", value=each, instead="make one job for each folder") for each in folders[1:]]
    if found.text("kind") == "heartbeat":
        others.append(Lost(name="kind", value="heartbeat", instead="a run here starts a conversation of its own"))
    return Brought(
        path=file.shown,
        line=1,
        id=job_id,
        name=found.text("name") or "",
        description=found.text("description") or "",
        schedule=when.entries,
        work=Work.PROMPT,
        wish="codex",
        task=found.text("prompt") or "",
        model=found.text("model"),
        workdir=folders[0] if folders else None,
        facts={
            "created_at": found.instant("created_at"),
            "updated_at": found.instant("updated_at"),
            "last_run_at": found.instant("last_run_at"),
        },
        paused=None if status == "ACTIVE" else f"{status.lower()} in Codex",
        comments=(f"Codex runs it in each of {counted(len(folders), 'folder')}",) if len(folders) > 1 else (),
        notes=tuple(("schedule", note, "if it ran at other times, change `schedule`") for note in when.notes),
        lost=(*found.lost(_INSTEAD), *others),
    )


def _line(text: str, name: str) -> int:
    found = re.search(rf"(?m)^\s*{name}\s*=", text)
    return 1 if found is None else text.count("\n", 0, found.end()) + 1


SOURCE = Source(
    word="codex", called="Codex", stop="pause its automations", named=_named, tell=_tell, gather=gather_each(_read)
)
