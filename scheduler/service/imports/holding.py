"""How an import prevents its jobs from firing while something else still runs them."""

from __future__ import annotations

from dataclasses import replace

from scheduler.core.past.past import Past
from scheduler.core.values.facts import Pause
from scheduler.core.values.problems import RefusedError
from scheduler.ledger.carried import Carried
from scheduler.service.root import Root

REASON = "imported"  # of a pause; `list` shows it


def refuse_live(root: Root) -> None:
    """Refuse the import if a daemon would apply the files at once. Raises: RefusedError."""
    holder = root.daemon()
    if holder is not None:
        raise RefusedError(
            f"--no-sync: the daemon ({holder}) would sync the files immediately; nothing was written",
            hint="stop it first, or import with --paused; --dry-run shows the ids in advance",
        )


def paused_past(root: Root, carried: Carried | None, source: str) -> Carried:
    """The imported history of a job, plus a pause: no slot fires before somebody resumes the job."""
    known = Carried(past=Past(), source=source, actor=root.actor) if carried is None else carried
    if known.past.facts.get("paused_at") is not None:
        return known
    pause = Pause(at=root.clock.now(), reason=REASON, by=root.actor)
    names = {"paused_at": "at", "pause_reason": "reason", "paused_until": "until", "paused_by": "by"}
    facts = {name: pause.to_json()[key] for name, key in names.items()}
    return replace(known, past=replace(known.past, facts={**known.past.facts, **facts}))
