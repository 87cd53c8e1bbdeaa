"""The verb behind the page Jobs: filters, groups and pages, with the strip, the last change and the cost of each row.

The rows of one page are made, in one read for each kind of thing in them. Of all other jobs, only the summary is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler.core import views
from scheduler.core.past.outcome import STATES, state_of
from scheduler.core.values.facts import JobSummary, summary_of
from scheduler.core.values.instants import instant
from scheduler.core.values.problems import UsageError
from scheduler.core.values.runs import AuditRow
from scheduler.ledger import queries, strips
from scheduler.ledger.agents import other_models
from scheduler.ledger.store import Store
from scheduler.service.first import is_new, read_unsynced
from scheduler.service.jobs import FILTERS, UNSYNCED, Table, agents_among, wanted_statuses
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.now import ChangeOfJobJson, ListedJson, ListedPageJson

ROWS = 200  # of a page
SLOTS = 30  # of a strip
COST_OF = timedelta(days=7)
GROUPS = ("tag", "folder", "owner", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs are listed. An empty text does not filter."""

    status: str = ""  # one or several, separated by commas: as in `list`, or a state
    tag: str = ""
    folder: str = ""  # with those below it
    owner: str = ""
    q: str = ""  # a part of the id or name, in any case
    group: str = ""  # one of GROUPS


def list_page(root: Root, wanted: Wanted, number: int = 1) -> ListedPageJson:
    """One page of the jobs, by group and id. A job with several tags is in the group of each.

    Raises: UsageError for an unknown status or group, and for a page beyond the last.
    """
    statuses = frozenset(wanted_statuses(wanted.status, (*FILTERS, *STATES))) if wanted.status else None
    if wanted.group not in ("", *GROUPS):
        raise UsageError("group is not one of " + ", ".join(GROUPS), hint="leave it out for no groups")
    store, now = root.store(), root.clock.now()
    if store is None:
        return _unsynced(root, wanted, statuses, number)
    with store:
        if is_new(store):
            return _unsynced(root, wanted, statuses, number)
        jobs = store.read(queries.sketches)
        table = Table(root, store, jobs, now)
        named = store.read(strips.names) if wanted.q or wanted.owner or wanted.group == "owner" else {}
        every = list(_found(jobs, wanted, statuses, named, table.words, table.state))
        placed = _placed(_listed(every, statuses), wanted, named, table.state)
        pages = _pages(placed, number)
        shown = placed[(number - 1) * ROWS : number * ROWS]
        rows, archived = list(_rows(store, table, shown, now)), sum(job.archived for job in every)
        return {"jobs": rows, "total": len(placed), "archived": archived, "number": number, "pages": pages}


def _pages(rows: Sequence[object], number: int) -> int:
    pages = max(1, -(-len(rows) // ROWS))
    if not 1 <= number <= pages:
        raise UsageError(f"there is no such page; the last one is {pages}", hint=f"write ?page={pages}")
    return pages


_Named = dict[str, tuple[str | None, str | None]]  # owner and name, by id


def _found(
    jobs: Sequence[JobSummary],
    wanted: Wanted,
    statuses: frozenset[str] | None,
    named: _Named,
    words: Callable[[JobSummary], Iterator[str]],
    state: Callable[[JobSummary], str],
) -> Iterator[JobSummary]:
    part, below = wanted.q.casefold(), f"{wanted.folder.strip('/')}/"
    for job in jobs:
        owner, name = named.get(job.id, (None, None))
        if (
            (not wanted.tag or wanted.tag in job.tags)
            and (not wanted.folder or job.path.startswith(below))
            and (not wanted.owner or owner == wanted.owner)
            and (not part or part in job.id.casefold() or (name is not None and part in name.casefold()))
            and (statuses is None or state(job) in statuses or not statuses.isdisjoint(words(job)))
        ):
            yield job


def _listed(found: Sequence[JobSummary], statuses: frozenset[str] | None) -> Iterator[JobSummary]:
    """Without archived jobs, unless their status is asked for."""
    return iter(found) if statuses is not None else (job for job in found if not job.archived)


def _placed(
    jobs: Iterator[JobSummary], wanted: Wanted, named: _Named, state: Callable[[JobSummary], str]
) -> list[tuple[str | None, JobSummary]]:
    """Each job with its group, in the order of the pages."""
    match wanted.group:
        case "tag":
            found = [(tag, job) for job in jobs for tag in sorted(set(job.tags)) or ("",)]
        case "folder":
            found = [(_folder(job), job) for job in jobs]
        case "owner":
            found = [(named[job.id][0] or "" if job.id in named else "", job) for job in jobs]
        case "status":
            by_state = [(STATES.index(state(job)), job) for job in jobs]
            return [(STATES[place], job) for place, job in sorted(by_state, key=lambda each: (each[0], each[1].id))]
        case _:
            return [(None, job) for job in jobs]
    return [*sorted(found, key=lambda each: (not each[0], each[0], each[1].id))]  # those without one come last


def _folder(job: JobSummary) -> str:
    return job.path.rpartition("/")[0]


def _rows(
    store: Store, table: Table, shown: Sequence[tuple[str | None, JobSummary]], now: datetime
) -> Iterator[ListedJson]:
    jobs = {job.id: job for job in store.read(queries.summaries, list({job.id for _, job in shown}))}
    table.look_for_alarms(store, list(jobs.values()))
    other = store.read(other_models, agents_among(store, jobs.values()))
    slots = store.read(strips.strips, jobs, SLOTS)
    changes = store.read(strips.newest_changes, jobs)
    costs = store.read(strips.costs_since, jobs, now - COST_OF)
    named = store.read(strips.names, list(jobs))
    for group, job in ((group, jobs[job.id]) for group, job in shown if job.id in jobs):
        yield {
            **table.row(job, other.get(job.id)),
            "group": group,
            "state": table.state(job),
            "owner": named[job.id][0] if job.id in named else None,
            "folder": _folder(job),
            "strip": [
                {"at": instant(each.at), "status": each.status, "reason": each.reason, "slots": each.slots}
                for each in slots.get(job.id, ())
            ],
            "change": _change(changes.get(job.id)),
            "cost": [
                {"amount": views.amount_json(amount), "currency": currency}
                for currency, amount in costs.get(job.id, ())
            ],
        }


def _change(row: AuditRow | None) -> ChangeOfJobJson | None:
    if row is None:
        return None
    what = "text" if "task" in (row.action, row.field) else "new" if row.action == "create" else "definition"
    who = row.actor.partition(":")[2] or row.actor if row.commit is None else row.commit.author
    return {"at": instant(row.at), "what": what, "who": who, "commit": views.commit_json(row.commit)}


def _unsynced(root: Root, wanted: Wanted, statuses: frozenset[str] | None, number: int) -> ListedPageJson:
    """The jobs that a first sync would create."""
    now, found = root.clock.now(), read_unsynced(root)
    named: _Named = {job.id: (job.file.spec.owner, job.file.spec.name) for job in found.jobs}

    def state(job: JobSummary) -> str:
        return state_of(job, job.status(now))

    def words(job: JobSummary) -> Iterator[str]:
        yield job.status(now).value

    jobs = sorted(map(summary_of, found.jobs), key=lambda job: job.id)
    placed = _placed(_found(jobs, wanted, statuses, named, words, state), wanted, named, state)
    pages = _pages(placed, number)
    rows: list[ListedJson] = [
        {
            **views.job_row(job, problems=[each for each in found.problems if each.job_id == job.id], now=now),
            "sync_state": UNSYNCED,
            "group": group,
            "state": state(job),
            "owner": named[job.id][0],
            "folder": _folder(job),
            "strip": [],
            "change": None,
            "cost": [],
        }
        for group, job in placed[(number - 1) * ROWS : number * ROWS]
    ]
    return {"jobs": rows, "total": len(placed), "archived": 0, "number": number, "pages": pages}
