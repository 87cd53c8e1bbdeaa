"""The rows and changes of a job, arranged on one axis of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.past.chart import LEAST, Mark, Timeline, arrange, default_window, window_end
from scheduler.core.values.facts import Commit
from scheduler.core.values.runs import AuditRow, Life, RunStatus

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = NOW - DAY
OLD, NEW = "a" * 64, "b" * 64
COMMIT = Commit(id="c" * 40, author="Ben", email="b@example.com", date=NOW, subject="Print a table")


def row(at: datetime, action: str, **known: Any) -> AuditRow:
    return AuditRow(at=at, job_id="j", actor="user:ann", cause="sync", action=action, **known)


def mark(n: int, at: datetime, status: RunStatus = RunStatus.SUCCEEDED, **known: Any) -> Mark:
    started = None if status is RunStatus.SKIPPED else at
    return Mark(**{"n": n, "at": at, "status": status, "started": started, "text": OLD, **known})


def chart(**known: Any) -> Timeline:
    everything: dict[str, Any] = {
        "start": START,
        "end": NOW + HOUR,
        "now": NOW,
        "marks": (),
        "more": False,
        "coming": (),
        "audit": (),
        "lives": [Life(owner="d", began=START - DAY, seen=NOW)],
        "alive": True,
        "since": START - DAY,
    }
    return arrange(**{**everything, **known})


def created(at: datetime = START - DAY) -> AuditRow:
    return row(at, "create", after={"task_sha256": OLD})


CHANGED = row(NOW - 2 * HOUR, "task", field="task_sha256", before=OLD, after=NEW, commit=COMMIT)


def test_a_text_is_in_force_until_the_next_one_comes() -> None:
    bands = chart(audit=[created(), CHANGED]).bands
    assert [(each.text, each.start, each.end) for each in bands] == [
        (OLD, START, NOW - 2 * HOUR),
        (NEW, NOW - 2 * HOUR, NOW),
    ]
    assert bands[1].commit == COMMIT


def test_a_text_that_no_change_tells_of_begins_with_its_first_run() -> None:
    marks = [mark(1, NOW - 3 * HOUR), mark(2, NOW - HOUR, text=NEW)]
    assert [(each.text, each.start) for each in chart(marks=marks).bands] == [(OLD, NOW - 3 * HOUR), (NEW, NOW - HOUR)]


def test_a_run_with_an_earlier_text_changes_no_band() -> None:
    late = mark(3, NOW - HOUR, text=OLD, borrowed=True)
    assert [each.text for each in chart(audit=[created(), CHANGED], marks=[late]).bands] == [OLD, NEW]


def test_each_band_has_the_medians_of_its_own_runs() -> None:
    marks = [mark(n, START + n * HOUR, duration_ms=1000 * n, cost=Decimal(n), currency="USD") for n in (1, 2, 3)]
    marks += [mark(9, NOW - HOUR, text=NEW, duration_ms=90, cost=Decimal(7), currency="EUR")]
    found = chart(audit=[created(), CHANGED], marks=marks)
    assert [(each.n, each.duration_ms, each.cost) for each in found.bands] == [(3, 2000, Decimal(2)), (1, 90, None)]
    assert found.currency == "USD"


def test_ticks_tell_new_texts_definitions_and_models_apart() -> None:
    audit = [
        created(),
        row(NOW - 5 * HOUR, "update", field="timeout_ms", before=1, after=2),
        row(NOW - 5 * HOUR, "update", field="tags", before=[], after=["a"]),
        row(NOW - 4 * HOUR, "update", field="model", before="one", after="two"),
        CHANGED,
    ]
    marks = [mark(1, NOW - 3 * HOUR, model="one"), mark(2, NOW - HOUR, model="two")]
    assert [(each.kind, each.words) for each in chart(audit=audit, marks=marks).ticks] == [
        ("definition", "timeout, tags"),
        ("model", "asks for two"),
        ("text", "text bbbbbbb"),
        ("model", "two answers, before one"),
    ]


def pause(at: datetime, until: datetime | None = None) -> AuditRow:
    after = {"at": str(at), "by": "user:ann", "reason": "moving", "until": None if until is None else until.isoformat()}
    return row(at, "pause", field="pause", after=after)


def test_a_pause_ends_when_it_expires_or_somebody_resumes() -> None:
    resumed = row(NOW - 2 * HOUR, "resume", field="pause", before={})
    audit = [pause(NOW - 9 * HOUR, NOW - 8 * HOUR), pause(NOW - 4 * HOUR), resumed, pause(NOW - HOUR)]
    assert [(each.start, each.end, each.words) for each in chart(audit=audit).stretches] == [
        (NOW - 9 * HOUR, NOW - 8 * HOUR, "paused by ann: moving"),
        (NOW - 4 * HOUR, NOW - 2 * HOUR, "paused by ann: moving"),
        (NOW - HOUR, NOW + HOUR, "paused by ann: moving"),
    ]


def test_a_stopped_job_is_held_until_it_is_resumed() -> None:
    audit = [
        row(START - HOUR, "stop", field="status", before="active", after="stopped"),
        row(NOW - 2 * HOUR, "resume", field="status", before="stopped", after="active"),
    ]
    assert [(each.kind, each.start, each.end) for each in chart(audit=audit).stretches] == [
        ("stopped", START, NOW - 2 * HOUR)
    ]


def test_an_absence_is_what_no_daemon_covers() -> None:
    lives = [
        Life(owner="d", began=START - DAY, seen=NOW - 5 * HOUR),
        Life(owner="d", began=NOW - 3 * HOUR, seen=NOW - 2 * HOUR, silent="another host has the lease"),
        Life(owner="d", began=NOW - 2 * HOUR, seen=NOW - HOUR),
    ]
    assert [(each.kind, each.start, each.end) for each in chart(lives=lives, alive=False).stretches] == [
        ("no daemon", NOW - 5 * HOUR, NOW - 3 * HOUR),
        ("observing", NOW - 3 * HOUR, NOW - 2 * HOUR),
        ("no daemon", NOW - HOUR, NOW),
    ]
    assert [each.end for each in chart(lives=lives, alive=True).stretches] == [NOW - 3 * HOUR, NOW - 2 * HOUR]


def test_nothing_is_missing_before_the_job_was_there() -> None:
    found = chart(lives=[], alive=False, since=NOW - 2 * HOUR)
    assert [(each.start, each.end) for each in found.stretches] == [(NOW - 2 * HOUR, NOW)]


def test_a_skip_by_a_fault_is_told_from_one_by_choice() -> None:
    skips = [
        mark(1, NOW, RunStatus.SKIPPED, reason="overlap"),
        mark(2, NOW, RunStatus.SKIPPED, reason="source_missing"),
    ]
    assert [each.outcome for each in skips] == ["skipped", "could_not_start"]
    assert mark(3, NOW, RunStatus.RUNNING).outcome == "under_way"
    assert mark(4, NOW, RunStatus.TIMED_OUT).outcome == "timed_out"


def test_the_usual_window_reaches_back_over_the_slots_that_there_were() -> None:
    slots = [NOW - n * HOUR for n in range(59, -1, -1)]
    coming = [NOW + n * HOUR for n in range(1, 7)]
    back = default_window(slots, coming, NOW - 90 * DAY, NOW)
    assert timedelta(hours=59) < back <= timedelta(hours=60)
    assert NOW + 6 * HOUR < window_end(coming, back, NOW) < NOW + 8 * HOUR


def test_a_young_job_is_not_shown_with_an_empty_past() -> None:
    back = default_window([NOW - 30 * DAY], [NOW + DAY], NOW - 10 * HOUR, NOW)
    assert back == 11 * HOUR
    assert window_end([NOW + DAY], back, NOW) < NOW + HOUR
    assert default_window([], [], NOW, NOW) == LEAST


@given(st.lists(st.tuples(st.integers(-3000, 3000), st.sampled_from([OLD, NEW])), max_size=30), st.booleans())
def test_bands_and_stretches_lie_inside_the_window_and_bands_do_not_overlap(
    changes: list[tuple[int, str]], alive: bool
) -> None:
    audit = [row(NOW + timedelta(minutes=at), "task", after=text) for at, text in sorted(changes)]
    lives = [Life(owner="d", began=each.at, seen=each.at + HOUR) for each in audit]
    found = chart(audit=audit, lives=lives, alive=alive)
    spans = [(each.start, each.end) for each in found.bands] + [(each.start, each.end) for each in found.stretches]
    assert all(START <= start < end <= NOW + HOUR for start, end in spans)
    for one, other in pairwise(found.bands):
        assert one.end <= other.start
        assert one.text != other.text
