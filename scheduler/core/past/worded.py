"""Who changed what, in words: one line for all that came at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from scheduler.core.values.facts import Commit
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.core.values.texts import counted

# Past tense, by action. Other actions, such as failures and alarms, are no change that somebody made.
_DONE = {
    "create": "added", "update": "changed", "task": "changed the text of", "archive": "archived", "revive": "revived",
    "pause": "paused", "resume": "resumed", "arm": "restarted", "import": "imported",
}  # fmt: skip
CHANGES = tuple(_DONE)
NAMED = 3


_ENDED = {"failed": "failed", "succeeded": "succeeded", "other": "cancelled", "skipped": "skipped"}


def hours_in_words(sums: Mapping[str, int], going: int, often: int = 0) -> str:
    """What the hours around now hold. sums: by name of a count; going: the runs under way.

    often: the jobs that fire all the time, whose fires to come are in no count.
    """
    ended = ", ".join(f"{sums[name]} {word}" for name, word in _ENDED.items() if sums.get(name)) or "nothing ended"
    under_way = f"; {counted(going, 'run')} under way" if going else ""
    besides = f", besides {counted(often, 'job')} every five minutes or more often" if often else ""
    return f"last 6 hours: {ended}{under_way}; next 6 hours: {counted(sums.get('coming', 0), 'fire')} to come{besides}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worded:
    """One change, possibly of many jobs."""

    at: datetime
    who: str
    text: str
    job_ids: tuple[str, ...]  # the first few
    commit: Commit | None


def worded(rows: Sequence[AuditRow], *, more: bool = False) -> list[Worded]:
    """rows: newest first. more: there are older ones, so that the last change may be of more jobs."""
    later: dict[tuple[str, str | None], Commit] = {}  # of a change that was saved before it was committed
    found: list[tuple[AuditRow, Commit | None]] = []
    for row in rows:
        if row.action == "commit" and row.commit is not None:
            later[row.job_id, row.field] = row.commit
        elif row.action in _DONE and not (row.action == "arm" and row.cause not in ("resume", "arm")):
            committed = "task" if row.action == "task" else "path"
            found.append((row, row.commit or later.get((row.job_id, committed))))
    groups = [list(group) for _, group in groupby(found, key=lambda each: (each[0].at, _who(*each), each[0].actor))]
    return [_line(group, cut=more and group is groups[-1]) for group in groups]


def _who(row: AuditRow, commit: Commit | None) -> str:
    return row.actor.partition(":")[2] or row.actor if commit is None else commit.author


def _line(rows: Sequence[tuple[AuditRow, Commit | None]], *, cut: bool) -> Worded:
    newest, commit = rows[0]
    by_action: dict[str, list[str]] = {}
    for row, _ in reversed(rows):
        by_action.setdefault(row.action, []).append(row.job_id)
    created = set(by_action.get("create", ()))
    if "task" in by_action and created:  # the text of a new job is no change
        by_action["task"] = [each for each in by_action["task"] if each not in created]
    if len(by_action) > 1 and created <= {ROOT_JOB_ID}:
        by_action.pop("create", None)
    parts, ids = [], list[str]()
    for action, all_of_it in by_action.items():
        jobs = list(dict.fromkeys(each for each in all_of_it if each != ROOT_JOB_ID))
        ids += jobs
        named = list(jobs)
        if ROOT_JOB_ID in all_of_it and (action != "create" or not jobs):
            named.insert(0, "scheduler.yaml")
        if named:
            parts.append(f"{_DONE[action]} {_names(named, cut=cut)}")
    return Worded(
        at=newest.at,
        who=_who(newest, commit),
        text="; ".join(parts),
        job_ids=tuple(dict.fromkeys(ids))[:NAMED],
        commit=commit,
    )


def _names(names: Sequence[str], *, cut: bool) -> str:
    if len(names) <= NAMED:
        return ", ".join(names) + (" and possibly more" if cut else "")
    return f"{'at least ' if cut else ''}{counted(len(names), 'job')}: {', '.join(names[:NAMED])}, …"
