"""One answer for any instant, from what was so then: whatever was edited, paused or stopped since."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.past.explain import Answer, Ledger, explain, explain_run, newest_slot
from scheduler.core.values.facts import FileFacts, Job
from scheduler.core.values.instants import instant
from scheduler.core.values.runs import Attempt, AuditRow, Definition, Life, Run, RunStatus, Trigger
from scheduler.core.values.spec import CatchUp, CatchUpPolicy, JobSpec, Retry, Schedule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HOURLY = JobSpec(id="job", name="job", schedule=Schedule(timezone="UTC", every=HOUR), runner="agent")
CREATED = NOON - timedelta(days=1) + MINUTE


def ledger(*definitions: tuple[datetime, JobSpec], **known: Any) -> Ledger:
    found = [
        Definition(spec=spec, generation=n, since=since)
        for n, (since, spec) in enumerate(definitions or [(CREATED, HOURLY)], 1)
    ]
    facts = FileFacts(
        spec=found[-1].spec, generation=found[-1].generation, path="jobs/job.yaml", line=1, revision=None, dirty=None,
        file_sha256="", task_sha256="", activated_at=CREATED,
    )  # fmt: skip
    job = Job(id="job", file=facts, next_run_at=None, created_at=CREATED, created_by="user:ann", updated_at=CREATED)
    lives = (Life(owner="1-a", began=CREATED, seen=NOON),)
    return Ledger(
        **{"job": job, "definitions": found, "audit": (), "runs": (), "lives": lives, "daemon": True, **known}
    )


def run(at: datetime, status: RunStatus = RunStatus.SUCCEEDED, **known: Any) -> Run:
    return Run(
        **{
            "job_id": "job", "n": 7, "trigger": Trigger.SCHEDULE, "status": status, "fire_time": at,
            "fire_time_last": at, "requested_at": at, "generation": 1, "started_at": at, **known,
        }
    )  # fmt: skip


def row(action: str, at: datetime, field: str | None = None, after: object = None, **known: Any) -> AuditRow:
    return AuditRow(
        job_id="job", action=action, field=field, after=after, at=at, actor="user:bob", cause="sync", **known
    )


def pause(at: datetime, until: datetime | None = None, reason: str | None = None) -> AuditRow:
    stamp = None if until is None else instant(until)
    return row("pause", at, "pause", {"at": instant(at), "until": stamp, "reason": reason, "by": "user:bob"})


def texts(answer: Answer, kind: str) -> list[str]:
    return [each.text for each in answer.evidence if each.kind == kind]


def skip(reason: str, first: datetime, last: datetime | None = None, slots: int = 1) -> Run:
    return run(first, RunStatus.SKIPPED, reason=reason, fire_time_last=last or first, slots=slots, started_at=None)


def test_a_slot_that_ran_names_its_run() -> None:
    found = explain(ledger(runs=[run(NOON, task_sha256="ab" * 32)]), NOON, now=NOON + HOUR)
    assert (found.why, found.fired) == ("fired", True)
    assert texts(found, "run") == ["job:7: succeeded, text abababababab"]
    assert texts(found, "definition") == ["definition 1, in force since 2026-03-01T12:01:00Z"]


def test_a_run_that_was_caught_up_with_says_so_and_one_that_waits_has_not_fired() -> None:
    late = run(NOON, trigger=Trigger.CATCH_UP, started_at=NOON + HOUR / 2)
    assert (
        "late (catch-up), started at 2026-03-02T12:30:00Z" in explain(ledger(runs=[late]), NOON, now=NOON + HOUR).text
    )
    waiting = run(NOON, RunStatus.QUEUED, started_at=None)
    found = explain(ledger(runs=[waiting]), NOON, now=NOON + HOUR)
    assert (found.why, found.fired) == ("waiting", False)


def test_a_slot_within_a_range_is_told_from_an_instant_that_is_none() -> None:
    rows = [skip("missed", NOON - 3 * HOUR, NOON, 4)]
    for hours, why in ((0, "missed"), (1, "missed"), (1.5, "not_due"), (3, "missed")):
        assert explain(ledger(runs=rows), NOON - hours * HOUR, now=NOON).why == why


def test_a_missed_slot_says_from_when_to_when_nobody_was_there() -> None:
    lives = (
        Life(owner="1-a", began=CREATED, seen=NOON - HOUR),
        Life(owner="1-b", began=NOON + MINUTE, seen=NOON + HOUR),
    )
    found = explain(ledger(runs=[skip("missed", NOON)], lives=lives), NOON, now=NOON + HOUR)
    assert found.why == "missed"
    assert texts(found, "daemon") == [
        "no daemon was running from 2026-03-02T11:00:00Z (last seen) to 2026-03-02T12:01:00Z"
    ]
    stopped = (replace(lives[0], over=True), lives[1])
    (told,) = texts(explain(ledger(runs=[skip("missed", NOON)], lives=stopped), NOON, now=NOON + HOUR), "daemon")
    assert "(stopped)" in told
    (told,) = texts(explain(ledger(runs=[skip("missed", NOON)], lives=lives[1:]), NOON, now=NOON + HOUR), "daemon")
    assert "no daemon had run before" in told


def test_a_daemon_that_fired_nothing_says_why() -> None:
    lives = (Life(owner="1-a", began=CREATED, seen=NOON + HOUR, silent="--observe"),)
    found = explain(ledger(runs=[skip("missed", NOON)], lives=lives), NOON, now=NOON + HOUR)
    assert "--observe" in texts(found, "daemon")[0]
    coming = explain(ledger(lives=lives), NOON + HOUR, now=NOON)
    assert (coming.why, "--observe" in coming.text) == ("will_not_fire_here", True)


def test_a_paused_slot_names_who_paused_it_when_and_why_and_a_later_resume_changes_nothing() -> None:
    audit = (pause(NOON - MINUTE, reason="deploy"), row("resume", NOON + MINUTE, "pause"))
    found = explain(ledger(runs=[skip("paused", NOON)], audit=audit), NOON, now=NOON + HOUR)
    assert found.why == "paused"
    assert texts(found, "pause") == ["paused at 2026-03-02T11:59:00Z by user:bob (deploy)"]


def test_an_overlap_and_a_full_house_name_what_ran() -> None:
    other = run(NOON - HOUR, RunStatus.RUNNING, n=6)
    found = explain(ledger(runs=[skip("overlap", NOON)], beside=[other]), NOON, now=NOON + HOUR)
    assert (found.why, [each.run for each in found.evidence]) == ("overlap", ["job:7", "job:6", None])
    full = explain(ledger(runs=[skip("capacity", NOON)], beside=[replace(other, job_id="x")]), NOON, now=NOON + HOUR)
    assert (full.why, [each.run for each in full.evidence]) == ("capacity", ["job:7", "x:6", None])


def test_an_instant_that_is_no_slot_names_the_fires_on_either_side() -> None:
    found = explain(ledger(runs=[run(NOON)]), NOON + MINUTE, now=NOON + HOUR)
    assert found.why == "not_due"
    before, after = [each for each in found.evidence if each.kind == "fire"]
    assert (before.at, before.run, after.at) == (NOON, "job:7", NOON + HOUR)


BETWEEN = NOON + MINUTE  # no slot


@pytest.mark.parametrize(
    ("audit", "why"),
    [
        ([pause(NOON - MINUTE, reason="deploy")], "paused"),
        ([pause(NOON - MINUTE, until=NOON + 2 * HOUR)], "paused"),
        ([pause(NOON - MINUTE, until=NOON)], "not_due"),
        ([row("stop", NOON - MINUTE, "status", "stopped")], "stopped"),
        ([row("stop", NOON - MINUTE, "status", "stopped"), pause(NOON - MINUTE)], "stopped"),
        ([row("archive", NOON - MINUTE, "path", before="jobs/a.yaml")], "archived"),
        ([], "not_due"),
    ],
)
@pytest.mark.parametrize("now", [NOON - MINUTE / 2, NOON + 3 * HOUR], ids=["ahead", "past"])
def test_between_two_slots_the_state_of_the_job_comes_first(audit: list[AuditRow], why: str, now: datetime) -> None:
    found = explain(ledger(audit=audit), BETWEEN, now=now)
    assert found.why == why
    if why in ("paused", "stopped"):
        assert found.evidence[0].kind == ("pause" if why == "paused" else "stop")
        after = next(each for each in found.evidence if each.kind == "fire" and (each.at or NOON) > BETWEEN)
        assert after.why == why, "nor does the slot after it fire"


def test_between_two_slots_a_daemon_that_is_not_there_comes_first() -> None:
    seen = (Life(owner="1-a", began=CREATED, seen=NOON - HOUR),)
    for at in (BETWEEN, NOON + HOUR + MINUTE):
        found = explain(ledger(daemon=False, lives=seen), at, now=NOON + HOUR)
        assert (found.why, texts(found, "daemon")) == (
            "daemon_down", ["no daemon was running from 2026-03-02T11:00:00Z (last seen)"],
        )  # fmt: skip
    assert explain(ledger(lives=()), BETWEEN, now=NOON + HOUR).why == "daemon_down"
    observes = (replace(seen[0], seen=NOON + HOUR, silent="--observe"),)
    assert explain(ledger(lives=observes), NOON + HOUR + MINUTE, now=NOON + HOUR).why == "will_not_fire_here"
    elsewhere = row("import", NOON + 2 * MINUTE, "history", {"source": "phantom.db"})
    assert explain(ledger(audit=[elsewhere], lives=()), BETWEEN, now=NOON + HOUR).why == "elsewhere"


def test_between_two_slots_each_neighbour_says_what_became_of_it() -> None:
    rows = [skip("overlap", NOON), run(NOON + HOUR, n=8)]
    slow = run(NOON - HOUR, n=6, finished_at=NOON + 2 * MINUTE)
    found = explain(ledger(runs=rows, beside=[slow, replace(slow, job_id="x")]), BETWEEN, now=NOON + 2 * HOUR)
    assert [(each.why, each.run) for each in found.evidence if each.kind == "fire"] == [
        ("overlap", "job:7"), ("fired", "job:8"),
    ]  # fmt: skip
    assert texts(found, "fire")[0] == (
        "the fire before: 2026-03-02T12:00:00Z: overlap: the job was still running or queued at that time"
    )
    assert texts(found, "run") == ["running then: job:6: succeeded"]


def test_the_neighbours_are_those_of_the_definitions_of_their_times() -> None:
    daily = replace(HOURLY, schedule=Schedule(timezone="UTC", cron="30 3 * * *"))
    known = ledger((CREATED, HOURLY), (NOON + HOUR / 2, daily))
    sides = {
        at: [each.at for each in explain(known, at, now=NOON + 9 * DAYS).evidence if each.kind == "fire"]
        for at in (NOON + MINUTE, NOON + HOUR)
    }
    next_day = NOON.replace(hour=3, minute=30) + DAYS
    assert sides == {NOON + MINUTE: [NOON, next_day], NOON + HOUR: [NOON, next_day]}


DAYS = timedelta(days=1)


def attempt(n: int, status: RunStatus, reason: str | None = None, **known: Any) -> Attempt:
    began = NOON + n * MINUTE
    return Attempt(n=n, status=status, reason=reason, started_at=began, finished_at=began + MINUTE / 2, **known)


def test_a_run_says_what_started_it_and_how_each_attempt_ended() -> None:
    tried = replace(HOURLY, retry=Retry(attempts=3))
    failed = run(
        NOON, RunStatus.FAILED, reason="exit_code", exit_code=2, duration_ms=90_000, error="psql: connection refused",
        started_at=NOON + 9 * MINUTE / 60,
        attempts=(attempt(1, RunStatus.TIMED_OUT, "timeout"), attempt(2, RunStatus.FAILED, "exit_code", exit_code=2)),
    )  # fmt: skip
    found = explain_run(ledger((CREATED, tried)), failed, now=NOON + HOUR)
    assert (found.why, found.fired) == ("fired", True)
    assert found.text == (
        "its slot 2026-03-02T12:00:00Z was due, and it started 9s late;"
        " it failed with exit code 2 after 1m30s, in attempt 2 of 3"
    )
    assert texts(found, "attempt") == [
        "attempt 1, 2026-03-02T12:01:00Z: timed out, it did not finish within its timeout, after 30s",
        "attempt 2, 2026-03-02T12:02:00Z: failed, its program exited with an error, exit code 2, after 30s",
    ]
    assert texts(found, "error") == ["psql: connection refused"]
    assert texts(found, "definition") == ["definition 1, in force since 2026-03-01T12:01:00Z"]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"trigger": Trigger.MANUAL, "fire_time": None}, "user:nina started it by hand at 2026-03-02T12:00:00Z; "),
        ({"trigger": Trigger.RERUN, "fire_time": None, "task_of": 3}, "00Z, with the text of job:3; "),
        ({"trigger": Trigger.RERUN, "fire_time": None}, "user:nina ran it again at 2026-03-02T12:00:00Z; "),
        ({"trigger": Trigger.CATCH_UP}, "its slot 2026-03-02T12:00:00Z was missed, and catch_up: latest ran it late"),
        ({"trigger": Trigger.SCHEDULE}, "its slot 2026-03-02T12:00:00Z was due; it succeeded"),
        ({"status": RunStatus.TIMED_OUT}, "; its timeout of 30m ended it"),
        ({"status": RunStatus.CANCELLED}, "; user:bob cancelled it"),
        ({"status": RunStatus.INTERRUPTED}, "; the process that ran it died"),
        ({"status": RunStatus.RUNNING}, "; it is running since 2026-03-02T12:00:00Z"),
        ({"status": RunStatus.QUEUED, "retry_at": NOON + MINUTE}, "; it is retried at 2026-03-02T12:01:00Z"),
        ({"status": RunStatus.FAILED, "reason": "spawn"}, "; it ended as failed, spawn"),
    ],
)  # fmt: skip
def test_each_way_to_start_and_to_end_has_its_words(known: dict[str, Any], said: str) -> None:
    one = run(NOON, **{"requested_by": "user:nina", "attempts": (attempt(1, RunStatus.SUCCEEDED),), **known})
    found = explain_run(ledger(audit=[row("cancel", NOON, "run", after="job:7")]), one, now=NOON + HOUR)
    assert said in found.text
    assert found.fired


def test_a_skip_is_explained_like_its_slot_and_a_run_that_waits_has_not_started() -> None:
    skipped = skip("paused", NOON)
    known = ledger(audit=[pause(NOON - MINUTE)], runs=[skipped])
    one, slot = explain_run(known, skipped, now=NOON + HOUR), explain(known, NOON, now=NOON + HOUR)
    assert (one.why, one.text, one.evidence) == (slot.why, slot.text, slot.evidence)
    waits = run(NOON, RunStatus.CLAIMED, trigger=Trigger.MANUAL, fire_time=None, started_at=None)
    assert explain_run(ledger(), waits, now=NOON).why == "waiting"


def test_the_definition_of_then_counts_and_not_that_of_now() -> None:
    daily = replace(HOURLY, schedule=Schedule(timezone="UTC", cron="0 3 * * *"))
    known = ledger((CREATED, HOURLY), (NOON + HOUR / 2, daily))
    assert explain(known, NOON - HOUR, now=NOON + 2 * HOUR).why == "not_served"
    after = explain(known, NOON + HOUR, now=NOON + 2 * HOUR)
    assert after.why == "not_due"
    assert texts(after, "definition") == ["definition 2, in force since 2026-03-02T12:30:00Z"]


def test_slots_at_or_before_an_activation_were_never_due() -> None:
    off = replace(HOURLY, enabled=False)
    switched = ledger((CREATED, HOURLY), (NOON - 2 * HOUR, off), (NOON, replace(HOURLY, name="new")))
    assert explain(switched, NOON - HOUR, now=NOON + HOUR).why == "disabled"
    assert explain(switched, NOON, now=NOON + HOUR).why == "before_activation"
    assert explain(switched, NOON + HOUR, now=NOON + 2 * HOUR).why == "not_served"
    renamed = ledger((CREATED, HOURLY), (NOON, replace(HOURLY, name="new")))
    assert explain(renamed, NOON, now=NOON + HOUR).why == "not_served", "another name activates nothing"


@pytest.mark.parametrize(
    ("audit", "at", "why"),
    [
        ([row("archive", NOON - MINUTE, "path", before="jobs/a.yaml")], NOON, "archived"),
        ([row("archive", NOON - MINUTE), row("revive", NOON - MINUTE / 2)], NOON, "not_served"),
        ([row("archive", NOON - MINUTE), row("revive", NOON + MINUTE)], NOON, "archived"),
        ([row("archive", NOON - HOUR), row("revive", NOON)], NOON, "before_activation"),
        ([row("stop", NOON - MINUTE, "status", "stopped")], NOON, "stopped"),
        ([row("stop", NOON - MINUTE, "status"), row("arm", NOON - MINUTE / 2, "status")], NOON, "not_served"),
        ([row("stop", NOON - MINUTE, "status", "stopped"), row("resume", NOON + MINUTE, "status")], NOON, "stopped"),
        ([], CREATED - MINUTE, "did_not_exist"),
    ],
)  # fmt: skip
def test_what_was_so_at_the_instant_decides(audit: list[AuditRow], at: datetime, why: str) -> None:
    assert explain(ledger(audit=audit), at, now=NOON + HOUR).why == why


def test_before_its_import_a_job_was_elsewhere_and_no_daemon_of_here_is_to_blame() -> None:
    came = row("import", NOON + MINUTE, "history", {"source": "phantom.db", "runs": 0})
    since = (NOON + MINUTE, HOURLY)
    for known in (ledger(since, audit=[came]), ledger(audit=[came], daemon=False, lives=())):
        found = explain(known, NOON, now=NOON + HOUR)
        assert (found.why, found.fired) == ("elsewhere", False)
        assert "imported from phantom.db by user:bob" in texts(found, "job")[0]
    assert explain(ledger(since, audit=[came]), CREATED - HOUR, now=NOON + HOUR).why == "did_not_exist"
    assert explain(ledger(since, audit=[came]), NOON + HOUR, now=NOON + 2 * HOUR).why == "not_served"
    assert explain(ledger(audit=[came], runs=[run(NOON)]), NOON, now=NOON + HOUR).why == "fired"


def test_what_is_to_come_is_told_with_what_stands_against_it() -> None:
    later = NOON + HOUR
    assert explain(ledger(), later, now=NOON).why == "will_fire"
    alone = explain(ledger(daemon=False), later, now=NOON)
    assert (alone.why, "none is now" in alone.text) == ("will_fire", True)
    assert explain(ledger(audit=[pause(NOON - MINUTE)]), later, now=NOON).why == "paused"
    assert explain(ledger(audit=[pause(NOON - MINUTE, NOON + MINUTE)]), later, now=NOON).why == "will_fire"
    expired = replace(HOURLY, expires=NOON)
    gone = explain(ledger((CREATED, expired)), later, now=NOON)
    assert (gone.why, "expired" in gone.text) == ("completed", True)
    jittered = replace(HOURLY, schedule=replace(HOURLY.schedule, jitter=10 * MINUTE))
    assert "(jitter)" in explain(ledger((CREATED, jittered)), NOON, now=NOON).text


def test_a_slot_that_nobody_has_served_says_what_will_become_of_it() -> None:
    known: dict[str, Any] = {"daemon": False, "lives": (Life(owner="1-a", began=CREATED, seen=NOON - HOUR),)}
    down = explain(ledger(**known), NOON, now=NOON + 5 * MINUTE)
    assert (down.why, "decides by catch_up: latest" in down.text) == ("daemon_down", True)
    never = replace(HOURLY, catch_up=CatchUp(policy=CatchUpPolicy.NONE))
    assert "the next daemon skips it" in explain(ledger((CREATED, never), **known), NOON, now=NOON + 5 * MINUTE).text
    assert explain(ledger(kept_from=NOON + MINUTE), NOON, now=NOON + HOUR).why == "no_record"


def test_a_slot_that_came_after_all_is_told_before_one_that_did_not() -> None:
    found = explain(ledger(runs=[run(NOON, n=9), skip("void", NOON)]), NOON, now=NOON + HOUR)
    assert (found.why, found.evidence[0].run) == ("fired", "job:9")


def test_without_an_instant_it_is_about_the_newest_slot_that_was_due() -> None:
    job = ledger().job
    assert newest_slot(job, NOON + MINUTE) == NOON
    fresh = replace(job, created_at=NOON + MINUTE)
    assert newest_slot(fresh, NOON + 2 * MINUTE) == NOON + HOUR
    once = replace(HOURLY, schedule=Schedule(timezone="UTC", at=NOON - timedelta(days=9)))
    over = replace(job, file=replace(job.file, spec=once))
    assert newest_slot(over, NOON) == NOON


moments = st.integers(-40, 40).map(lambda n: NOON + n * 20 * MINUTE)


@given(
    at=moments,
    now=moments.filter(lambda moment: moment > CREATED),
    audit=st.lists(
        st.one_of(
            moments.map(pause),
            moments.map(lambda moment: row("resume", moment, "pause")),
            st.builds(row, st.sampled_from(["archive", "revive", "stop", "arm", "create", "task"]), moments),
        ),
        max_size=6,
    ),
    rows=st.lists(moments, max_size=3, unique=True),
    daemon=st.booleans(),
)
def test_every_instant_has_an_answer_and_only_what_ran_fired(
    at: datetime, now: datetime, audit: list[AuditRow], rows: list[datetime], daemon: bool
) -> None:
    audit.sort(key=lambda each: each.at)
    known = ledger(audit=audit, runs=[run(moment) for moment in rows], daemon=daemon)
    found = explain(known, at, now=now)
    assert found.text
    assert found.fired == (at in rows and at >= CREATED)
    assert found.evidence
    if at < CREATED:
        assert found.why == "did_not_exist"
    elif at > now and at not in rows:
        assert found.why in (
            "will_fire", "paused", "archived", "stopped", "not_due", "before_activation", "will_not_fire_here",
            "daemon_down",
        )  # fmt: skip


def test_a_skip_that_was_taken_back_is_no_answer_but_evidence() -> None:
    """The slot has not come after all, and is due again."""
    void = skip("void", NOON, NOON + 9 * HOUR, 10)
    ahead = explain(ledger(runs=[void]), NOON + 3 * HOUR, now=NOON)
    assert (ahead.why, texts(ahead, "run")) == (
        "will_fire",
        ["job:7: skipped, the clock went back to before its slot, one of 10 slots"],
    )
    silence = explain(ledger(runs=[void], daemon=False), NOON + 3 * HOUR, now=NOON + 4 * HOUR)
    assert (silence.why, texts(silence, "run")) == (
        "daemon_down",
        ["job:7: skipped, the clock went back to before its slot, one of 10 slots"],
    )


@pytest.mark.parametrize(
    ("daemon", "told"), [(True, "is about to start"), (False, "has not started: the next daemon starts it")]
)
def test_a_run_that_is_claimed_and_has_not_started_has_not_ended(daemon: bool, told: str) -> None:
    claimed = run(NOON, RunStatus.CLAIMED, started_at=None)
    found = explain(ledger(runs=(claimed,), daemon=daemon), NOON, now=NOON + timedelta(seconds=3))
    assert (found.why, found.fired) == ("waiting", False)
    assert told in found.text
    assert "ended" not in found.text
