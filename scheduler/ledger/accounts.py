"""Parked accounts in the ledger: each state of a park is an audit row of the root, and the newest one counts (F7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from sqlite3 import Connection

from scheduler.core.due.accounts import Park, mark_of, of_account, parked
from scheduler.core.due.place import Cause, fault_of_account
from scheduler.core.values.runs import AuditRow, Ending, Run
from scheduler.core.values.settings import Settings
from scheduler.ledger import places
from scheduler.ledger.audit import append_audit
from scheduler.ledger.rows import WAITS_FOR_RETRY, find_runs, stamp
from scheduler.ledger.syncs import settings as stored_settings

_INTERRUPTED = f"{WAITS_FOR_RETRY} AND reason IN ('quota', 'credential')"
_OF_RUNNERS = (
    "job_id IN (SELECT jobs.id FROM jobs JOIN definitions ON definitions.job_id = jobs.id"
    " AND definitions.generation = jobs.generation WHERE json_extract(spec, '$.runner') IN ({}))"
)


def parks(sql: Connection) -> dict[str, Park]:
    """The parked accounts."""
    return {each.name: each.park for each in places.open_faults(sql) if each.park is not None}


def back_at(sql: Connection) -> dict[str, datetime]:
    """By runner: when its account was last free again."""
    found: dict[str, datetime] = {}
    for row in places.told_faults(sql):
        if row.action == places.BACK and (row.field or "").startswith(f"{Cause.ACCOUNT}:"):
            found.update(dict.fromkeys(Park.from_json(row.before).runners, row.at))
    return found


def park(sql: Connection, ending: Ending, *, now: datetime) -> Park:
    """Park the account whose quota or credential has ended an attempt, in the transaction of that end."""
    assert ending.account is not None
    account, settings = ending.account, stored_settings(sql) or Settings()
    runners = of_account(account, settings.runners.values())
    new = parked(ending, known=parks(sql).get(account), runners=runners, now=now)
    keep_park(sql, account, new, now=now)
    return new


def keep_park(
    sql: Connection, account: str, park: Park, *, now: datetime, actor: str = "scheduler", cause: str = "run"
) -> None:
    """Record what is known of a parked account, and let the runs that wait for its probe wait that long."""
    places.tell(sql, [fault_of_account(account, park, now)], begins=True, now=now, at=now, actor=actor, cause=cause)
    marks = ", ".join("?" * len(park.runners))
    sql.execute(
        f"UPDATE runs SET retry_at = ? WHERE {_INTERRUPTED} AND {_OF_RUNNERS.format(marks)}",
        (stamp(park.until), *park.runners),
    )


def end_park(sql: Connection, account: str, *, now: datetime) -> bool:
    """Record that an account works again. False if it is not parked."""
    known = parks(sql).get(account)
    if known is not None:
        places.tell(sql, [fault_of_account(account, known, now)], begins=False, now=now)
    return known is not None


def look_at(sql: Connection, *, now: datetime) -> dict[str, Park]:
    """The parked accounts as of now: an edit of a runner asks for a probe, and an account without runners is free.

    Writes what has changed.
    """
    settings = stored_settings(sql) or Settings()
    found = {}
    for account, known in parks(sql).items():
        runners = of_account(account, settings.runners.values())
        if not runners:
            end_park(sql, account, now=now)
            continue
        new, mark = known.within_reach(now), mark_of(runners)
        if known.mark != mark:
            new = replace(new, until=min(now, new.until), runners=tuple(sorted(runners)), mark=mark)
        if new != known:
            keep_park(sql, account, new, now=now, cause="sync")
        found[account] = new
    return found


def probe_now(sql: Connection, account: str, row: AuditRow, *, now: datetime) -> Park | None:
    """Let a parked account be probed at once. None if it is not parked.

    row: tells who asks for it.
    """
    known = parks(sql).get(account)
    if known is None:
        return None
    new = replace(known, until=min(now, known.until))
    append_audit(sql, [row])
    keep_park(sql, account, new, now=now, actor=row.actor, cause=row.cause)
    return new


def interrupted(sql: Connection, park: Park) -> list[Run]:
    """The runs that wait for the probe of an account."""
    marks = ", ".join("?" * len(park.runners))
    return find_runs(sql, f"{_INTERRUPTED} AND {_OF_RUNNERS.format(marks)} ORDER BY fire_time, job_id", *park.runners)


def frees_account(sql: Connection, run: Run, *, now: datetime) -> str | None:
    """End the park of the account that a run's job uses, whose attempt has shown that it works. Its name, or None."""
    found = [each for each in places.open_faults(sql) if each.cause is Cause.ACCOUNT]
    if not found:
        return None
    row = sql.execute(
        "SELECT json_extract(spec, '$.runner') AS runner FROM jobs JOIN definitions ON definitions.job_id = jobs.id"
        " AND definitions.generation = jobs.generation WHERE jobs.id = ?",
        (run.job_id,),
    ).fetchone()
    for each in found:
        assert each.park is not None
        if row is not None and row["runner"] in each.park.runners:
            end_park(sql, each.name, now=now)
            return each.name
    return None
