"""What must be so after a life like that, told by somebody who has never seen the program.

Given are the rows of the database and what was done when. Which slots there are is worked out here: intervals by
arithmetic, cron by a walk through the calendar of a zone with Debian's rule for its jumps (crontab(5), cron(8)).
"""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
LATE, TWO_HOURS, NEVER = MINUTE, timedelta(hours=2), timedelta.max
LAST = datetime(2028, 2, 1, tzinfo=UTC)  # as far as slots are known
AT_REST = ("succeeded", "failed", "timed_out", "cancelled", "interrupted", "skipped", "queued")


@dataclass
class Findings:
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(kw_only=True)
class Row:
    """One row of the ledger."""

    job: str
    n: int
    trigger: str
    status: str
    reason: str | None
    first: datetime | None
    last: datetime | None
    slots: int
    requested: datetime
    started: datetime | None
    finished: datetime | None
    error: str | None
    attempts: list[tuple[datetime, datetime | None]]

    @property
    def name(self) -> str:
        told = f"{self.job}:{self.n} {self.status}/{self.reason} {self.trigger}"
        return f"{told} {self.first:%m-%dT%H:%M:%S}" if self.first else told

    @property
    def ran(self) -> bool:
        return bool(self.attempts)


@dataclass(kw_only=True)
class Era:
    """A time in which one definition of a job was in force: its slots are those in (start, end]."""

    start: datetime
    end: datetime
    file: dict[str, Any] | None  # None: the job has no file
    active_from: datetime


# -- which slots there are ---------------------------------------------------------------------


def slots(file: dict[str, Any], after: datetime, until: datetime) -> list[datetime]:
    """The slots in (after, until]."""
    if file["expires"] is not None:
        until = min(until, datetime.fromisoformat(file["expires"]))
    if until <= after:
        return []
    if file["every"] is not None:
        every = file["every"] * SECOND
        return [EPOCH + n * every for n in range((after - EPOCH) // every + 1, (until - EPOCH) // every + 1)]
    if file["at"] is not None:
        at = datetime.fromisoformat(file["at"])
        return [at] if after < at <= until else []
    known = of_cron(file["cron"], file["zone"])
    return known[bisect_right(known, after) : bisect_right(known, until)]


@cache
def of_cron(expression: str, zone: str) -> list[datetime]:
    """Every slot of a cron of fixed times, of the years around the simulated one."""
    minute, hour, day_of_month, _, weekday = expression.split()
    day, found = date(2025, 12, 1), set()
    while day < date(2028, 3, 1):
        named = (day_of_month == "*" or day.day == int(day_of_month)) and (
            weekday == "*" or day.isoweekday() % 7 == int(weekday)
        )
        if named:
            wall = datetime.combine(day, time(int(hour), int(minute)))
            found.add(on_the_clock(wall, ZoneInfo(zone)))
        day += DAY
    return sorted(found)


def on_the_clock(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the clock of a zone shows it; where a gap took it away, the first after the gap."""
    at = wall.replace(tzinfo=zone).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == wall:
        return at
    low, high = at - DAY, at + DAY
    offset = low.astimezone(zone).utcoffset()
    while high - low > SECOND / 2:
        middle = low + (high - low) / 2
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
    return (high - SECOND / 2).replace(microsecond=0) + SECOND


# -- the witnesses -----------------------------------------------------------------------------


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def read_rows(sql: sqlite3.Connection) -> dict[str, list[Row]]:
    sql.row_factory = sqlite3.Row
    attempts: dict[tuple[str, int], list[tuple[datetime, datetime | None]]] = defaultdict(list)
    for each in sql.execute("SELECT * FROM attempts ORDER BY job_id, run_n, n"):
        started = moment(each["started_at"])
        assert started is not None
        attempts[each["job_id"], each["run_n"]].append((started, moment(each["finished_at"])))
    found: dict[str, list[Row]] = defaultdict(list)
    for each in sql.execute("SELECT * FROM runs ORDER BY job_id, n"):
        requested = moment(each["requested_at"])
        assert requested is not None
        found[each["job_id"]].append(
            Row(
                job=each["job_id"],
                n=each["n"],
                trigger=each["trigger"],
                status=each["status"],
                reason=each["reason"],
                first=moment(each["fire_time"]),
                last=moment(each["fire_time_last"]),
                slots=each["slots"],
                requested=requested,
                started=moment(each["started_at"]),
                finished=moment(each["finished_at"]),
                error=each["error"],
                attempts=attempts[each["job_id"], each["n"]],
            )
        )
    return found


@dataclass
class History:
    """What was done, by kind."""

    up: list[tuple[datetime, datetime]]
    eras: dict[str, list[Era]]
    pauses: dict[str, list[tuple[datetime, datetime]]]  # [from, until)
    edits: dict[str, list[datetime]]
    resumed: dict[str, list[datetime]]
    until: datetime
    places: list[tuple[datetime, int]]  # how many runs there may be at once, from when on
    twice: list[tuple[datetime, datetime]]  # (from, until]: the clock was set back from the later to the earlier

    def in_doubt(self, *moments: datetime | None) -> bool:
        """Whether one of them came twice: their order tells nothing then."""
        return any(low <= at <= high for at in moments if at is not None for low, high in self.twice)


def read_history(events: list[dict[str, Any]], until: datetime) -> History:
    up: list[tuple[datetime, datetime]] = []
    eras: dict[str, list[Era]] = defaultdict(list)
    pauses: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    edits: dict[str, list[datetime]] = defaultdict(list)
    resumed: dict[str, list[datetime]] = defaultdict(list)
    twice: list[tuple[datetime, datetime]] = []
    places: list[tuple[datetime, int]] = []
    since: datetime | None = None
    for event in events:
        at = datetime.fromisoformat(event["at"])
        match event["kind"]:
            case "up":
                since = at
            case "down":
                assert since is not None
                up.append((since, at))
                since = None
            case "clock":
                before = at - timedelta(hours=event["hours"])
                if before > at:
                    twice.append((at, before))
                elif since is not None:  # nobody was there in between
                    up.append((since, before))
                    since = at
            case "files":
                places.append((at, event["places"]))
                for job_id, file in event["jobs"].items():
                    _edit(eras[job_id], edits[job_id], at, file, until)
            case "pause" if event["paused"] is not None:
                start = datetime.fromisoformat(event["paused"]["at"])
                end = event["paused"]["until"]
                mine = pauses[event["job"]]
                if mine and mine[-1][0] == start:
                    mine.pop()
                elif mine and mine[-1][1] > at:
                    mine[-1] = mine[-1][0], at
                mine.append((start, until + 999 * DAY if end is None else datetime.fromisoformat(end)))
            case "resume":
                resumed[event["job"]].append(at)
                mine = pauses[event["job"]]
                if mine and mine[-1][1] > at:
                    mine[-1] = mine[-1][0], at
    return History(up, eras, pauses, edits, resumed, until, places, twice)


TIMING = ("every", "cron", "zone", "at", "expires")


def _edit(eras: list[Era], edits: list[datetime], at: datetime, file: dict[str, Any] | None, until: datetime) -> None:
    if not eras:
        if file is not None:
            eras.append(Era(start=at, end=until, file=file, active_from=at))
        return
    last = eras[-1]
    if last.file == file:
        return
    edits.append(at)
    last.end = at
    active = last.active_from
    if file is not None and (
        last.file is None
        or any(last.file[key] != file[key] for key in TIMING)
        or (file["enabled"] and not last.file["enabled"])
    ):
        active = at
    eras.append(Era(start=at, end=until, file=file, active_from=active))


# -- the judgement -----------------------------------------------------------------------------


def judge_slots(sql: sqlite3.Connection, events: list[dict[str, Any]], *, until: datetime) -> Findings:
    """Where the clock was set, times tell no order: all that is asked is whether each slot has its row, and only one.

    What ran by a clock that was ahead stays, and no skip does.
    """
    found = Findings()
    history, rows = read_history([event for event in events if event["kind"] != "clock"], until), read_rows(sql)
    for job_id, eras in history.eras.items():
        mine = rows.get(job_id, [])
        found.counts.update(f"{row.status}" if row.status != "skipped" else f"{row.reason}" for row in mine)
        ahead = max([until, *(row.last for row in mine if row.last is not None and row.reason != "void")])
        (era,) = eras
        due = list(due_slots([replace(era, end=ahead)], []))
        held = {row.first for row in mine if row.first is not None and row.reason != "void"}
        found.wrong += coverage(job_id, mine, [slot for slot in due if slot <= until or slot in held])
        found.wrong += [
            f"{row.name}: a skip of what is to come, at {until}"
            for row in mine
            if row.last is not None and row.last > until and row.status == "skipped" and row.reason not in STAYS
        ]
    return found


STAYS = ("void", "capacity", "superseded")  # of runs that had waited: they were claimed


def judge(sql: sqlite3.Connection, events: list[dict[str, Any]], *, until: datetime) -> Findings:
    found = Findings()
    history, rows = read_history(events, until), read_rows(sql)
    stops = read_stops(sql, until)
    for (check,) in sql.execute("PRAGMA integrity_check"):
        if check != "ok":
            found.wrong.append(f"integrity: {check}")
    for job_id, eras in history.eras.items():
        mine = rows.get(job_id, [])
        found.counts.update(f"{row.status}" if row.status != "skipped" else f"{row.reason}" for row in mine)
        due = list(due_slots(eras, stops.get(job_id, [])))
        if any(history.in_doubt(*stop) for stop in stops.get(job_id, [])):
            held = [(row.first, row.last) for row in mine if row.first and row.last and row.reason != "void"]
            due = [
                slot for slot in due if not history.in_doubt(slot) or any(first <= slot <= last for first, last in held)
            ]
        found.wrong += coverage(job_id, mine, due)
        found.wrong += [f"{row.name} has no end, and nobody is there" for row in mine if row.status not in AT_REST]
        found.wrong += reasons(job_id, mine, history, eras, stops.get(job_id, []))
        found.wrong += apart(job_id, mine, eras, history)
        found.wrong += errors(job_id, mine, stops.get(job_id, []), eras, history)
    found.wrong += crowds([row for mine in rows.values() for row in mine], history)
    found.counts["slots"] = sum(
        row.slots for mine in rows.values() for row in mine if row.first is not None and row.reason != "void"
    )
    return found


def read_stops(sql: sqlite3.Connection, until: datetime) -> dict[str, list[tuple[datetime, datetime]]]:
    """(from, until] in which nothing of a stopped job was due, as the audit tells; `errors` asks whether that is so."""
    found: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    query = "SELECT * FROM audit WHERE action IN ('stop', 'arm', 'resume') AND field = 'status' ORDER BY seq"
    for each in sql.execute(query):
        at = moment(each["at"])
        assert at is not None
        if each["action"] == "stop":
            found[each["job_id"]].append((at, until))
        else:
            found[each["job_id"]][-1] = (found[each["job_id"]][-1][0], at)
    return found


def due_slots(eras: list[Era], stops: list[tuple[datetime, datetime]]) -> Iterator[datetime]:
    for index, era in enumerate(eras):
        if era.file is None and 0 < index < len(eras) - 1:
            yield from _lost_while_away(eras[index - 1].file, era, eras[index + 1].file)
        if era.file is None or not era.file["enabled"]:
            continue
        for slot in slots(era.file, max(era.start, era.active_from), era.end):
            if not any(start < slot <= end for start, end in stops):
                yield slot


def _lost_while_away(before: dict[str, Any] | None, away: Era, after: dict[str, Any] | None) -> Iterator[datetime]:
    """A one-shot that came while no file named its job gets a row once one names it again."""
    if before and after and before["enabled"] and after["enabled"] and before["at"] == after["at"] is not None:
        at = datetime.fromisoformat(before["at"])
        if away.start < at <= away.end:
            yield at


def coverage(job_id: str, rows: list[Row], due: list[datetime]) -> Iterator[str]:
    """Each due slot by exactly one row, and no row for anything else. The newest may still be about to start."""
    taken: Counter[datetime] = Counter()
    for row in rows:
        if row.first is None or row.last is None or row.reason == "void":
            continue
        covered = due[bisect_left(due, row.first) : bisect_right(due, row.last)]
        taken.update(covered)
        if len(covered) != row.slots or not covered or (covered[0], covered[-1]) != (row.first, row.last):
            yield f"{row.name} covers {row.slots} slots up to {row.last}, and due are {len(covered)}: {covered[:3]}"
    for slot in due:
        if taken[slot] > 1:
            yield f"{job_id}: {slot} has {taken[slot]} rows"
    missing = [slot for slot in due if not taken[slot]]
    newest = max((row.last for row in rows if row.last is not None), default=None)
    for slot in missing:
        if newest is not None and slot < newest:
            yield f"{job_id}: {slot} has no row"
    # What has come since the last row may wait for its jitter, at most 200 s in this world.
    for slot in missing:
        if (newest is None or slot > newest) and slot < due[-1] - 200 * SECOND:
            yield f"{job_id}: {slot} has no row yet, at the end of all days"


def reasons(
    job_id: str, rows: list[Row], history: History, eras: list[Era], stops: list[tuple[datetime, datetime]]
) -> Iterator[str]:
    for row in rows:
        if row.first is None or row.last is None:
            continue
        if history.in_doubt(row.first, row.last, row.requested, row.started, row.finished):
            continue
        match row.reason if row.status == "skipped" else None:
            case "paused":
                waited = row.finished is not None and row.finished > row.requested
                held = [p for p in history.pauses[job_id] if p[0] - 200 * SECOND <= row.first and row.last < p[1]]
                if waited:
                    held = [p for p in history.pauses[job_id] if row.finished and p[0] <= row.finished < p[1]]
                # Rows of pauses that follow on each other are one.
                if not held and not _all_paused(row, eras, history.pauses[job_id]):
                    yield f"{row.name}: no pause covers it: {history.pauses[job_id]}"
            case "missed":
                yield from _missed(row, rows, history, eras, stops)
            case "overlap":
                others = [o for o in rows if o is not row and o.requested <= row.last + 300 * SECOND]
                if (
                    row.error is None
                    and not any(
                        o.finished is None or o.finished >= row.first for o in others if o.ran or o.status != "skipped"
                    )
                    and not any(o.finished and o.finished >= row.first for o in others)
                ):
                    yield f"{row.name}: nothing of the job was under way"
            case "superseded":
                if not any(edit >= row.first for edit in history.edits[job_id]):
                    yield f"{row.name}: no edit has taken the slot away"
            case "capacity":
                lasted = None if row.finished is None else row.finished - row.requested
                allowed = [patience(file, row.first) for file in _files(eras, row.finished or row.requested)]
                if lasted is None or lasted < min((each for each in allowed if each is not None), default=NEVER):
                    yield f"{row.name}: it waited for {lasted}, and may for {allowed}"
            case None:
                yield from _run(row, history, eras)
            case _:
                yield f"{row.name}: nothing in this world gives that reason"


def _all_paused(row: Row, eras: list[Era], pauses: list[tuple[datetime, datetime]]) -> bool:
    assert row.first is not None
    assert row.last is not None
    due = (slot for slot in due_slots(eras, []) if row.first <= slot <= row.last)
    return all(any(start - 200 * SECOND <= slot < end for start, end in pauses) for slot in due)


def _file(eras: list[Era], slot: datetime) -> dict[str, Any]:
    for era in eras:
        if era.start < slot <= era.end and era.file is not None:
            return era.file
    raise AssertionError(f"{slot} is in no era")


def _files(eras: list[Era], at: datetime) -> list[dict[str, Any]]:
    """What the job's file said at an instant; where it was edited just then, before and after that."""
    return [era.file for era in eras if era.start <= at <= era.end and era.file is not None]


def patience(file: dict[str, Any], slot: datetime) -> timedelta | None:
    """How late a slot may start: `within`; else two hours, or half the time to the next slot. None: at any time."""
    if file["within"] is not None:
        return timedelta(seconds=file["within"])
    if file["catch_up"] == "all":
        return None
    following = slots(file, slot, min(slot + 400 * DAY, LAST))
    return min([TWO_HOURS, *((each - slot) / 2 for each in following[:1])])


def _there(history: History, start: datetime, end: datetime) -> bool:
    return any(low <= start and end <= high for low, high in history.up)


def _missed(
    row: Row, rows: list[Row], history: History, eras: list[Era], stops: list[tuple[datetime, datetime]]
) -> Iterator[str]:
    """It was late: nobody was there; or it gave way; or its job was stopped."""
    assert row.first is not None
    assert row.last is not None
    if any(era.file is None for era in eras if era.start < row.last <= era.end):
        return  # its file was away; `coverage` asks whether it was a one-shot
    file = _file(eras, row.last)
    if row.error is not None:
        return  # it waited, and a newer slot or a stop came first
    for start, end in history.pauses[row.job]:
        if start <= row.first and row.last + file["jitter"] * SECOND < end:
            yield f"{row.name}: it was paused, from {start} to {end}"
    stopped = any(low <= row.requested + SECOND and row.first <= low for low, _ in stops)
    if row.slots == 1 and _there(history, row.first, row.first + file["jitter"] * SECOND + LATE) and not stopped:
        yield f"{row.name}: somebody was there to serve it"
    # What should have been caught up with, as the job wanted it then?
    file = (
        _file(eras, row.requested) if any(era.file and era.start < row.requested <= era.end for era in eras) else file
    )
    settled = [*history.edits[row.job], *history.resumed[row.job]]
    edited = any(abs(edit - row.requested) < SECOND or row.last < edit <= row.requested + SECOND for edit in settled)
    paused = any(start <= row.requested for start, end in history.pauses[row.job] if end > row.last)
    later = [o for o in rows if o.first is not None and o.requested == row.requested and o.first > row.last]
    if edited or paused or stopped or not _there(history, row.requested, row.requested):
        return
    if row.finished != row.requested:
        return  # grown since: the latest part of it counts, and is judged by what else came at that moment
    waited = row.requested - row.last
    if file["catch_up"] == "all" and (file["within"] is None or waited < file["within"] * SECOND - MINUTE):
        if len([o for o in later if o.trigger == "catch_up"]) < 100:
            yield f"{row.name}: not caught up with, and the job wants all"
    elif file["catch_up"] == "latest" and not later:
        allowed = patience(file, row.last)
        if allowed is not None and waited < allowed - MINUTE:
            yield f"{row.name}: not caught up with, {waited} after its slot"


def _run(row: Row, history: History, eras: list[Era]) -> Iterator[str]:
    assert row.first is not None
    file = _file(eras, row.first)
    if row.slots != 1:
        yield f"{row.name} is a run of {row.slots} slots"
    if row.started is not None and row.started < row.first:
        yield f"{row.name} started before its slot, at {row.started}"
    late = row.requested - row.first - file["jitter"] * SECOND
    wanted = _files(eras, row.requested)  # what the job wanted when the slot was found
    if row.trigger == "schedule" and row.started is not None and not row.attempts[1:]:
        longest = [patience(each, row.first) for each in wanted]
        alone = any(era.file is not None and era.file["concurrency"] != "allow" for era in eras)
        if not alone and None not in longest and row.started - row.requested > max(filter(None, longest)) + MINUTE:
            yield f"{row.name} waited for a place for {row.started - row.requested}"
    if row.trigger == "schedule" and late > LATE:
        yield f"{row.name} was claimed {late} late, and is not called caught up with"
    if row.trigger == "catch_up":
        if all(each["catch_up"] == "none" for each in wanted):
            yield f"{row.name}: the job wants nothing caught up with"
        late = row.requested - row.first - max(each["jitter"] for each in wanted) * SECOND
        if all((allowed := patience(each, row.first)) is not None and late > allowed for each in wanted):
            yield f"{row.name}: {late} late, which is more than it may be"
        for start, end in history.pauses[row.job]:
            if start <= row.requested and row.first < end and end > row.first and start <= row.requested < end:
                yield f"{row.name}: it was paused"
        for resumed in history.resumed[row.job]:
            if row.first <= resumed <= row.requested and any(
                start <= row.first < end for start, end in history.pauses[row.job]
            ):
                yield f"{row.name}: from before it was resumed"


def apart(job_id: str, rows: list[Row], eras: list[Era], history: History) -> Iterator[str]:
    """Runs of a job that excluded each other all the time did not run at the same time."""
    files = [era.file for era in eras if era.file is not None]
    if any(file["concurrency"] == "allow" for file in files):
        return
    never = datetime.max.replace(tzinfo=UTC)
    spans = sorted(
        (start, end or never, row.name)
        for row in rows
        for start, end in row.attempts
        if not history.in_doubt(start, end)
    )
    for (_, end, one), (start, _, other) in itertools.pairwise(spans):
        if start < end:
            yield f"{one} and {other} ran at the same time"


def crowds(rows: list[Row], history: History) -> Iterator[str]:
    """Each attempt found a place free when it started."""
    never = datetime.max.replace(tzinfo=UTC)
    spans = sorted((start, end or never, row.name) for row in rows for start, end in row.attempts)
    running: list[datetime] = []  # a heap of their ends
    for start, end, name in spans:
        while running and running[0] <= start:
            heapq.heappop(running)
        heapq.heappush(running, end)
        low, high = (find(history.places, start, key=lambda each: each[0]) for find in (bisect_left, bisect_right))
        allowed = max(n for _, n in history.places[max(0, low - 1) : high])
        if len(running) > allowed and not history.in_doubt(start):
            yield f"{name} was one of {len(running)} that ran at once, at {start}, and allowed were {allowed}"


def errors(
    job_id: str, rows: list[Row], stops: list[tuple[datetime, datetime]], eras: list[Era], history: History
) -> Iterator[str]:
    """Each stop had its errors: as many in a row as the job may have, counted from when it was last armed."""
    ends = [row for row in rows if row.finished is not None and row.ran]
    ends.sort(key=lambda row: (row.finished, row.n))
    for n, (at, _) in enumerate(stops):
        since = stops[n - 1][1] if n else datetime.min.replace(tzinfo=UTC)
        streak = 0
        if history.in_doubt(at, *(row.finished for row in ends if row.finished and since < row.finished <= at)):
            continue
        for row in ends:
            assert row.finished is not None
            if row.finished > at:
                break
            if row.status == "succeeded":
                streak = 0
            elif row.status in ("failed", "timed_out", "interrupted") and row.finished > since:
                streak += 1
        limits = {era.file["failure_limit"] for era in eras if era.file is not None and era.start <= at <= era.end}
        if limits and streak < min(limits):
            yield f"{job_id}: stopped at {at} by {streak} errors, and {limits} were allowed"
