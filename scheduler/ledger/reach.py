"""How sending goes to each channel that is in force, and to the pings of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from sqlite3 import Connection

from scheduler.core.due.events import ping_channel
from scheduler.core.due.reach import Reach
from scheduler.core.due.sending import Breaker
from scheduler.core.values.channels import Channel
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.settings import Settings
from scheduler.ledger import outbox, queries, syncs

_WAITING = """SELECT channel, count(*) AS n, min(at) AS oldest_at FROM deliveries JOIN events ON seq = event
    WHERE status IN ('pending', 'sending') GROUP BY channel"""


def reach(sql: Connection) -> list[Reach]:
    """Every channel of scheduler.yaml by name, then the pings of jobs that something is known of."""
    breakers = outbox.breakers(sql)
    waiting = {row["channel"]: (row["n"], parse_instant(row["oldest_at"])) for row in sql.execute(_WAITING)}
    found = []
    for job_id, channel in _in_force(sql, {*breakers, *waiting}):
        n, oldest_at = waiting.get(channel.name, (0, None))
        breaker = breakers.get(channel.name) or Breaker(name=channel.name)
        found.append(Reach(channel=channel, breaker=breaker, job_id=job_id, waiting=n, oldest_at=oldest_at))
    return found


def dead_channels(sql: Connection) -> list[Reach]:
    """Those that are dead. Costs one small query if there are none."""
    if not any(each.dead for each in outbox.breakers(sql).values()):
        return []
    return [each for each in reach(sql) if each.is_dead]


def _in_force(sql: Connection, names: Iterable[str]) -> Iterator[tuple[str | None, Channel]]:
    """Channels, each with the job whose own ping it is. A channel that was deleted, and a ping, are left out."""
    settings = syncs.settings(sql) or Settings()
    yield from ((None, each) for _, each in sorted(settings.channels.items()))
    prefix = ping_channel("")
    for name in sorted(each for each in names if each.startswith(prefix)):
        job = queries.job(sql, name.removeprefix(prefix))
        if job is not None and not job.archived and job.file.spec.ping is not None:
            yield job.id, Channel(name=name, ping=job.file.spec.ping)
