"""Can each runner start? Asked of the daemon where one runs: its PATH, its variables and its user are what counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scheduler.control.client import answer_of
from scheduler.control.daemon_lock import Holder
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import UsageError
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import names
from scheduler.run.local.prepare import troubles
from scheduler.service.doctor.check import Check


def check_runners(
    settings: Settings, jobs: Iterable[Job], root: Path, environ: Mapping[str, str], holder: Holder | None
) -> Iterator[Check]:
    """holder: the daemon to ask; None: judge by our own environment."""
    used: dict[str, list[str]] = {}
    for job in jobs:
        if not job.archived and job.file.spec.enabled:
            used.setdefault(job.file.spec.runner, []).append(job.id)
    whose, found = "in this environment", troubles(settings, root, environ)
    if holder is not None:
        try:
            whose, found = "in the daemon's environment", answer_of(holder, "runners")["runners"]
        except UsageError:  # a daemon of an earlier version, which knows no such question
            whose += ", which may not be the daemon's"
    ill = False
    for name, of in found.items():
        need = f"used by {names(used[name])}" if name in used else "no job uses it at present"
        for fault in of["faults"]:
            ill = True
            yield Check("runners", "error" if name in used else "warning", f"{name}: {fault}", f"{whose}; {need}")
        if of["lacks"]:
            # It starts without them, as when it takes the key of one of two providers: only it knows what it needs.
            ill = True
            yield Check(
                "runners",
                "warning",
                f"{name}: env_from names {', '.join(of['lacks'])}, not set {whose}",
                f"set them where the daemon starts, or take them out; {need}",
            )
    if not ill:
        yield Check("runners", "ok", f"{len(found)} can start, {whose}" if found else "there are none")
