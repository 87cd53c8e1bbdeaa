"""The plan, by values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.core.due.due import unserved
from scheduler.core.formats.jobfile import Document
from scheduler.core.plan.audit import audit_rows
from scheduler.core.plan.desired import Desired, Found
from scheduler.core.plan.plan import Plan, plan, plan_one
from scheduler.core.values.facts import Job, Pause, Provenance, RuntimeFacts, SyncState
from scheduler.core.values.settings import RunnerSpec, Settings, TaskInput
from scheduler.core.values.spec import JobSpec, Schedule

NOW = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
HOURLY = Schedule(timezone="UTC", every=timedelta(hours=1))
SETTINGS = Settings()
SHA = "a" * 64


def spec(job_id: str = "job", **changes: object) -> JobSpec:
    return replace(JobSpec(id=job_id, name=job_id, schedule=HOURLY, runner="cat"), **changes)  # type: ignore[arg-type]


def document(job_id: str | None = "job", path: str = "jobs/a.yaml", line: int = 1, **changes: object) -> Document:
    wanted = None if job_id is None else spec(job_id, **changes)
    return Document(
        path=path, line=line, id=job_id, spec=wanted, text=None, task_place=(line, 1), schedule_place=(line + 1, 17)
    )


def invalid(job_id: str | None = "job", path: str = "jobs/a.yaml") -> Document:
    return replace(document(job_id, path), spec=None)


def found(*documents: Document, task: str | None = SHA) -> tuple[Found, ...]:
    return tuple(
        Found(document=each, task_sha256=task if each.spec else None, file_sha256="f" * 64) for each in documents
    )


def observed(*documents: Document, now: datetime = NOW) -> dict[str, Job]:
    """The jobs of a first pass over these documents."""
    first = plan(Desired(settings=SETTINGS, found=found(*documents)), {}, previous=None, now=now)
    return applied(first, {}, now)


def applied(done: Plan, jobs: dict[str, Job], now: datetime) -> dict[str, Job]:
    after = dict(jobs)
    for action in done.actions:
        if action.job_id in after:
            after[action.job_id] = done.after(after[action.job_id])
        else:
            after[action.job_id] = Job(
                id=action.job_id,
                file=action.after,
                next_run_at=action.next_run_at,
                created_at=now,
                created_by="test",
                updated_at=now,
            )
    return after


def verbs(done: Plan) -> dict[str, str]:
    return {action.job_id: action.verb for action in done.actions}


def again(desired: Desired, jobs: dict[str, Job], now: datetime = NOW) -> Plan:
    return plan(desired, jobs, previous=SETTINGS, now=now)


def test_a_new_document_creates_a_job_whose_first_slot_lies_after_now() -> None:
    jobs = observed(document())
    assert jobs["job"].next_run_at == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert jobs["job"].file.activated_at == NOW
    assert jobs["job"].file.generation == 1


def test_a_job_never_seen_is_not_created_while_its_task_is_at_fault() -> None:
    desired = Desired(settings=SETTINGS, found=found(document(), task=None))
    assert verbs(plan(desired, {}, previous=None, now=NOW)) == {}


def test_a_task_that_is_back_as_it_was_is_news_of_the_commit_that_holds_it() -> None:
    """What was edited while it was away is of a commit that does not hold it."""

    def at(revision: str, task: str | None, name: str) -> Desired:
        (one,) = found(document(name=name), task=task)
        return Desired(settings=SETTINGS, found=(replace(one, provenance=Provenance(revision=revision)),))

    jobs = observed(document())
    for revision, task, name, known in (
        ("r1", None, "job", None),  # to be without its task is no news of the definition
        ("r2", None, "other", "r2"),
        ("r3", SHA, "other", "r3"),
        ("r4", SHA, "other", "r3"),
    ):
        jobs = applied(again(at(revision, task, name), jobs), jobs, NOW)
        assert jobs["job"].file.revision == known
    assert again(at("r5", SHA, "other"), jobs).nothing_to_do


def test_a_known_job_takes_its_new_definition_when_only_its_task_is_at_fault() -> None:
    jobs = observed(document())
    done = again(Desired(settings=SETTINGS, found=found(document(name="other"), task=None)), jobs)
    (action,) = done.actions
    assert (action.verb, action.after.generation, action.after.spec.name) == ("update", 2, "other")
    assert action.after.task_sha256 == SHA, "the text last read is what the next one is compared with"
    assert action.task_change is None


def test_a_new_prompt_moves_neither_generation_nor_next_fire() -> None:
    jobs = observed(document())
    later = NOW + timedelta(hours=5)
    done = again(Desired(settings=SETTINGS, found=found(document(), task="b" * 64)), jobs, later)
    (action,) = done.actions
    assert (action.verb, action.after.generation, action.skips) == ("keep", 1, ())
    assert action.next_run_at == jobs["job"].next_run_at
    assert action.task_change == (SHA, "b" * 64)


def test_a_new_name_leaves_a_cursor_where_claims_have_brought_it() -> None:
    job = replace(observed(document())["job"], next_run_at=datetime(2026, 3, 2, 15, tzinfo=UTC))
    desired = Desired(settings=SETTINGS, found=found(document(name="n")))
    (action,) = again(desired, {"job": job}, NOW + timedelta(hours=9)).actions
    assert (action.verb, action.next_run_at, action.skips) == ("update", job.next_run_at, ())


def test_a_new_schedule_settles_the_old_slots_and_never_fires_backwards() -> None:
    jobs = observed(document())
    later = NOW + timedelta(hours=3)
    quick = Schedule(timezone="UTC", every=timedelta(minutes=10))
    (action,) = again(Desired(settings=SETTINGS, found=found(document(schedule=quick))), jobs, later).actions
    assert action.next_run_at == datetime(2026, 3, 2, 11, 40, tzinfo=UTC)
    assert action.after.activated_at == later
    (skip,) = action.skips
    assert (skip.first.hour, skip.last.hour, skip.slots, skip.reason) == (9, 11, 3, "missed")


def shaken(schedule: Schedule = HOURLY, seconds: int = 30) -> Schedule:
    return replace(schedule, jitter=timedelta(seconds=seconds))


def test_a_new_jitter_is_a_new_definition_that_moves_neither_cursor_nor_activation_and_settles_nothing() -> None:
    later = NOW + timedelta(hours=3)
    for before, after in ((HOURLY, shaken()), (shaken(), shaken(seconds=5)), (shaken(), HOURLY)):
        jobs = observed(document(schedule=before))
        done = again(Desired(settings=SETTINGS, found=found(document(schedule=after))), jobs, later)
        (action,) = done.actions
        assert (action.verb, action.after.generation, action.after.spec.schedule) == ("update", 2, after)
        assert (action.next_run_at, action.after.activated_at) == (jobs["job"].next_run_at, NOW)
        assert (action.skips, action.rescheduled, action.completes) == ((), False, False)
        assert [(row.action, row.field) for row in audit_rows(done, at=later, actor="a", cause="c")] == [
            ("update", "schedule")
        ]


def test_a_new_jitter_beside_a_new_interval_is_a_new_schedule() -> None:
    quick = Schedule(timezone="UTC", every=timedelta(minutes=10))
    desired = Desired(settings=SETTINGS, found=found(document(schedule=shaken(quick))))
    (action,) = again(desired, observed(document()), NOW + timedelta(hours=3)).actions
    assert (action.rescheduled, action.after.activated_at) == (True, NOW + timedelta(hours=3))
    assert (action.next_run_at, len(action.skips)) == (datetime(2026, 3, 2, 11, 40, tzinfo=UTC), 1)


def test_a_new_jitter_of_a_one_shot_that_is_over_neither_warns_nor_completes_it_again() -> None:
    past = Schedule(timezone="UTC", at=NOW - timedelta(days=1))
    jobs = observed(document(schedule=past))
    done = again(Desired(settings=SETTINGS, found=found(document(schedule=shaken(past)))), jobs)
    assert (verbs(done), done.problems) == ({"job": "update"}, ())
    assert [row.action for row in audit_rows(done, at=NOW, actor="a", cause="c")] == ["update"]


def test_a_job_that_comes_back_with_another_jitter_starts_anew_like_any_other() -> None:
    jobs = observed(document(), document("other", "jobs/b.yaml"))
    jobs = applied(again(Desired(settings=SETTINGS, found=found(document("other", "jobs/b.yaml"))), jobs), jobs, NOW)
    later = NOW + timedelta(days=3)
    back = Desired(settings=SETTINGS, found=found(document(schedule=shaken()), document("other", "jobs/b.yaml")))
    revived = next(action for action in again(back, jobs, later).actions if action.job_id == "job")
    assert (revived.verb, revived.after.activated_at, revived.after.generation) == ("revive", later, 2)
    assert revived.next_run_at == later.replace(minute=0) + timedelta(hours=1)


def test_another_file_with_the_same_id_is_a_move() -> None:
    jobs = observed(document())
    (action,) = again(Desired(settings=SETTINGS, found=found(document(path="jobs/b.yaml"))), jobs).actions
    assert (action.verb, action.moved_from, action.after.path) == ("keep", "jobs/a.yaml", "jobs/b.yaml")
    assert action.after.generation == 1


def _at(hours: int) -> Schedule:
    return Schedule(timezone="UTC", at=NOW + timedelta(hours=hours))


@pytest.mark.parametrize(
    ("before", "after", "missed"),
    [
        ({"schedule": _at(2)}, {}, [2]),  # away from the first hour to the third
        ({"schedule": _at(4)}, {}, []),  # still to come
        ({"schedule": _at(3)}, {}, [3]),
        ({"schedule": _at(2)}, {"name": "other"}, [2]),
        ({"schedule": _at(2)}, {"schedule": _at(4)}, []),  # it is due once more
        ({"schedule": _at(4)}, {"schedule": _at(2)}, []),  # it was never due then
        ({"schedule": _at(2)}, {"enabled": False}, []),
        ({"schedule": _at(2), "enabled": False}, {"enabled": True}, []),
        ({"schedule": HOURLY}, {}, []),
        ({"schedule": Schedule(timezone="UTC", union=(HOURLY, _at(2), _at(3)))}, {}, [2, 3]),
        ({"schedule": _at(2), "expires": NOW + timedelta(hours=1)}, {}, []),
    ],
)
def test_a_one_shot_that_came_while_no_file_named_it_is_missed_once_one_does(
    before: dict[str, Any], after: dict[str, Any], missed: list[int]
) -> None:
    other = document("other", path="jobs/b.yaml")
    jobs = observed(document(**before), other)
    gone, back = NOW + timedelta(hours=1), NOW + timedelta(hours=3)
    without = Desired(settings=SETTINGS, found=found(other))
    jobs = applied(again(without, jobs, gone), jobs, gone)
    assert jobs["job"].archived
    one = document(**{**before, **after})
    revived = next(
        action
        for action in again(Desired(settings=SETTINGS, found=found(one, other)), jobs, back).actions
        if action.job_id == "job"
    )
    assert [(skip.first, skip.reason) for skip in revived.skips] == [
        (NOW + timedelta(hours=hours), "missed") for hours in missed
    ]


def test_a_one_shot_that_has_its_row_is_not_missed_as_well() -> None:
    other = document("other", path="jobs/b.yaml")
    one = document(schedule=_at(2))
    jobs = observed(one, other)
    gone, back = NOW + timedelta(hours=1), NOW + timedelta(hours=3)  # by a clock that has gone back since
    jobs = applied(again(Desired(settings=SETTINGS, found=found(other)), jobs, gone), jobs, gone)
    jobs["job"] = replace(jobs["job"], last_slot=NOW + timedelta(hours=2))
    found_again = again(Desired(settings=SETTINGS, found=found(one, other)), jobs, back)
    assert [action.skips for action in found_again.actions if action.job_id == "job"] == [()]


def test_a_job_nothing_claims_is_archived_and_its_id_coming_back_revives_it() -> None:
    jobs = observed(document(), document("other", "jobs/b.yaml"))
    gone = again(Desired(settings=SETTINGS, found=found(document("other", "jobs/b.yaml"))), jobs)
    assert verbs(gone) == {"job": "archive", "other": "keep"}
    jobs = applied(gone, jobs, NOW)
    later = NOW + timedelta(days=3)
    back = again(Desired(settings=SETTINGS, found=found(document(), document("other", "jobs/b.yaml"))), jobs, later)
    revived = next(action for action in back.actions if action.job_id == "job")
    assert (revived.verb, revived.after.archived_at, revived.after.activated_at) == ("revive", None, later)
    assert revived.skips == (), "nothing was due while it was archived"


@pytest.mark.parametrize(
    "desired",
    [
        Desired(settings=SETTINGS, broken=frozenset({"jobs/a.yaml"})),
        Desired(settings=SETTINGS, empty=frozenset({"jobs/a.yaml"})),
        Desired(settings=SETTINGS, unlistable=frozenset({"jobs"})),
        Desired(settings=SETTINGS, found=found(invalid())),
        Desired(settings=SETTINGS, found=found(invalid(None))),
    ],
    ids=["broken file", "emptied file", "folder that cannot be listed", "schema error", "document without an id"],
)
def test_what_cannot_be_read_is_never_deleted(desired: Desired) -> None:
    jobs = observed(document())
    done = again(desired, jobs)
    (action,) = done.actions
    assert (action.verb, action.after.sync_state) == ("keep", SyncState.INVALID)
    assert action.after.spec == jobs["job"].file.spec
    assert done.guard is None


def test_an_emptied_file_names_the_jobs_it_held() -> None:
    done = again(Desired(settings=SETTINGS, empty=frozenset({"jobs/a.yaml"})), observed(document()))
    assert [problem.code for problem in done.problems] == ["file.emptied"]
    assert "'job'" in done.problems[0].message


def test_cutting_a_job_out_of_one_file_into_another_is_a_move() -> None:
    desired = Desired(settings=SETTINGS, found=found(document(path="jobs/b.yaml")), empty=frozenset({"jobs/a.yaml"}))
    done = again(desired, observed(document()))
    (action,) = done.actions
    assert (action.moved_from, action.after.sync_state) == ("jobs/a.yaml", SyncState.SYNCED)
    assert done.problems == ()


def test_two_claims_name_each_other_and_the_last_good_definition_stays() -> None:
    jobs = observed(document())
    desired = Desired(settings=SETTINGS, found=found(document(name="x"), document(path="jobs/b.yaml", line=4)))
    done = again(desired, jobs)
    (action,) = done.actions
    assert (action.after.sync_state, action.after.spec.name) == (SyncState.CONFLICT, "job")
    assert [(p.path, p.code) for p in done.problems] == [
        ("jobs/a.yaml", "id.duplicate"),
        ("jobs/b.yaml", "id.duplicate"),
    ]
    assert "jobs/b.yaml:4" in done.problems[0].message


def test_an_unreadable_file_and_a_copy_elsewhere_are_a_conflict() -> None:
    desired = Desired(settings=SETTINGS, found=found(document(path="jobs/b.yaml")), broken=frozenset({"jobs/a.yaml"}))
    (action,) = again(desired, observed(document())).actions
    assert (action.after.sync_state, action.after.path) == (SyncState.CONFLICT, "jobs/a.yaml")


@pytest.mark.parametrize("known", [True, False])
def test_a_broken_second_document_of_the_same_file_is_a_conflict_before_and_after_a_move(known: bool) -> None:
    desired = Desired(settings=SETTINGS, found=found(document(path="jobs/b.yaml"), invalid(path="jobs/b.yaml")))
    jobs = observed(document()) if known else {}
    done = again(desired, jobs)
    assert [action.after.sync_state for action in done.actions] == ([SyncState.CONFLICT] if known else [])
    assert again(desired, applied(done, jobs, NOW)).nothing_to_do, "the next pass judges as the first"


def test_two_files_that_claim_a_new_id_create_nothing() -> None:
    desired = Desired(settings=SETTINGS, found=found(document(), document(path="jobs/b.yaml")))
    done = plan(desired, {}, previous=None, now=NOW)
    assert done.actions == ()
    assert len(done.problems) == 2


def documents(count: int) -> list[Document]:
    return [document(f"job-{i:02}", f"jobs/{i:02}.yaml") for i in range(count)]


@pytest.mark.parametrize(
    ("before", "kept", "guarded"),
    [
        (1, 0, True),
        (3, 0, True),
        (4, 1, False),
        (10, 6, False),
        (8, 4, False),
        (8, 3, True),
        (60, 40, False),
        (60, 39, True),
    ],
)
def test_the_guard_trips_at_none_left_more_than_max_jobs_or_over_half(before: int, kept: int, guarded: bool) -> None:
    jobs = observed(*documents(before))
    done = again(Desired(settings=SETTINGS, found=found(*documents(before)[:kept])), jobs)
    assert (done.guard is not None) == guarded
    archived = [action for action in done.actions if action.verb == "archive"]
    assert len(archived) == (0 if guarded else before - kept)


def test_a_guarded_pass_applies_the_rest_and_its_token_confirms_exactly_that_set() -> None:
    jobs = observed(*documents(5))
    only_new = Desired(settings=SETTINGS, found=found(document("new", "jobs/new.yaml")))
    held = again(only_new, jobs)
    assert held.guard is not None
    assert verbs(held) == {**{f"job-{i:02}": "keep" for i in range(5)}, "new": "create"}
    jobs = applied(held, jobs, NOW)
    assert jobs["job-00"].file.sync_state is SyncState.HELD
    second = again(only_new, jobs)
    assert second.guard is not None
    assert (second.guard.ids, second.guard.token) == (held.guard.ids, held.guard.token)
    assert second.nothing_to_do
    confirmed = plan(only_new, jobs, previous=SETTINGS, now=NOW, confirmed=held.guard.token)
    assert confirmed.guard is None
    assert sum(verb == "archive" for verb in verbs(confirmed).values()) == 5
    fewer = Desired(settings=SETTINGS, found=(*only_new.found, *found(documents(5)[0])))
    stale = plan(fewer, jobs, previous=SETTINGS, now=NOW, confirmed=held.guard.token)
    assert stale.guard is not None, "a token confirms the set it was made for, no other"


def test_max_jobs_leaves_known_jobs_alone_and_names_each_one_left_out() -> None:
    few = Settings(limits=replace(SETTINGS.limits, max_jobs=2))
    jobs = observed(*documents(2))
    done = again(Desired(settings=few, found=found(*documents(3))), jobs)
    assert verbs(done) == {"job-00": "keep", "job-01": "keep"}
    assert [(p.code, p.job_id) for p in done.problems] == [("limit.max-jobs", "job-02")]


def test_slots_of_a_pause_and_slots_nobody_served_are_told_apart() -> None:
    job = replace(
        observed(document())["job"],
        pause=Pause(at=NOW + timedelta(hours=2), until=NOW + timedelta(hours=4), reason="holiday"),
    )
    skips = unserved(job, NOW + timedelta(hours=6))
    assert [(s.reason, s.first.hour, s.last.hour, s.slots) for s in skips] == [
        ("missed", 9, 10, 2),
        ("paused", 11, 12, 2),
        ("missed", 13, 14, 2),
    ]


def test_disabling_settles_and_clears_the_cursor_and_enabling_starts_anew() -> None:
    jobs = observed(document())
    later = NOW + timedelta(hours=2)
    off = again(Desired(settings=SETTINGS, found=found(document(enabled=False))), jobs, later)
    assert (off.actions[0].next_run_at, off.actions[0].skips[0].slots) == (None, 2)
    jobs = applied(off, jobs, later)
    (on,) = again(Desired(settings=SETTINGS, found=found(document())), jobs, later + timedelta(hours=9)).actions
    assert (on.skips, on.after.activated_at) == ((), later + timedelta(hours=9))


def test_a_one_shot_in_the_past_is_created_completed_with_a_warning_once() -> None:
    past = Schedule(timezone="UTC", at=NOW - timedelta(days=1))
    desired = Desired(settings=SETTINGS, found=found(document(schedule=past)))
    done = plan(desired, {}, previous=None, now=NOW)
    assert [(p.code, p.is_error, p.line, p.column) for p in done.problems] == [("schedule.past", False, 2, 17)]
    jobs = applied(done, {}, NOW)
    assert jobs["job"].status(NOW) == "completed"
    assert again(desired, jobs).problems == ()
    assert "complete" in [row.action for row in audit_rows(done, at=NOW, actor="a", cause="c")]


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (NOW - timedelta(hours=1), "2026-03-02T07:30:00Z has already passed, so job 'job' will never run by itself"),
        (
            NOW + timedelta(minutes=5),
            "no slot is left up to 2026-03-02T08:35:00Z, so job 'job' will never run by itself",
        ),
    ],
)
def test_so_is_a_job_whose_schedule_has_no_slot_left(ends: datetime, message: str) -> None:
    over = replace(HOURLY, ends=ends)
    both = Schedule(timezone="UTC", union=(over, Schedule(timezone="UTC", at=NOW - timedelta(days=1))))
    for schedule in (over, both):
        desired = Desired(settings=SETTINGS, found=found(document(schedule=schedule)))
        done = plan(desired, {}, previous=None, now=NOW)
        assert [(p.code, p.message) for p in done.problems] == [("schedule.past", message)]
        assert applied(done, {}, NOW)["job"].status(NOW) == "completed"
    open_ended = replace(both, union=(*both.union, replace(HOURLY, timezone="Asia/Tokyo")))
    desired = Desired(settings=SETTINGS, found=found(document(schedule=open_ended)))
    assert plan(desired, {}, previous=None, now=NOW).problems == ()


def test_another_order_of_entries_is_an_edit_that_does_not_move_the_next_fire() -> None:
    entries = (HOURLY, Schedule(timezone="Asia/Tokyo", cron="0 9 * * *"))
    before, after = (Schedule(timezone=each[0].timezone, union=each) for each in (entries, entries[::-1]))
    desired = Desired(settings=SETTINGS, found=found(document(schedule=after)))
    jobs = observed(document(schedule=before))
    (action,) = again(desired, jobs, NOW + timedelta(hours=3)).actions
    assert (action.verb, action.rescheduled, action.moves_cursor, action.skips) == ("update", False, False, ())
    assert action.next_run_at == jobs["job"].next_run_at


@pytest.mark.parametrize(
    "change",
    [{"starts": NOW}, {"ends": NOW + timedelta(days=9)}, {"phase": timedelta(minutes=5)}],
    ids=["starts", "ends", "phase"],
)
def test_starts_ends_and_phase_are_the_schedule(change: dict[str, Any]) -> None:
    desired = Desired(settings=SETTINGS, found=found(document(schedule=replace(HOURLY, **change))))
    (action,) = again(desired, observed(document()), NOW + timedelta(hours=3)).actions
    assert (action.rescheduled, action.skips[0].slots) == (True, 3)


def test_an_edit_of_definition_or_task_arms_a_stopped_job() -> None:
    job = replace(observed(document())["job"], runtime=RuntimeFacts(stopped_at=NOW, consecutive_errors=10))
    for changed in (found(document(name="n")), found(document(), task="b" * 64)):
        assert again(Desired(settings=SETTINGS, found=changed), {"job": job}).actions[0].arms
    assert not again(Desired(settings=SETTINGS, found=found(document())), {"job": job}).actions[0].arms


def test_another_expiry_is_another_schedule() -> None:
    expired = NOW + timedelta(minutes=40)
    jobs = observed(document(expires=expired))
    assert jobs["job"].next_run_at == datetime(2026, 3, 2, 9, tzinfo=UTC)
    later = NOW + timedelta(hours=5)
    (action,) = again(Desired(settings=SETTINGS, found=found(document())), jobs, later).actions
    assert (action.next_run_at, action.after.activated_at) == (datetime(2026, 3, 2, 14, tzinfo=UTC), later)
    assert [(each.slots, each.reason) for each in action.skips] == [(1, "missed")], (
        "what lay behind the expiry was not due"
    )
    (action,) = again(Desired(settings=SETTINGS, found=found(document(expires=NOW))), jobs, later).actions
    assert action.next_run_at is None


def test_a_job_that_is_armed_owes_nothing_of_the_time_it_was_stopped() -> None:
    stopped = NOW + timedelta(hours=2, minutes=40)  # two slots later, one of which no run has served yet
    job = replace(
        observed(document())["job"],
        next_run_at=datetime(2026, 3, 2, 10, tzinfo=UTC),
        runtime=RuntimeFacts(stopped_at=stopped, consecutive_errors=10),
    )
    later = NOW + timedelta(hours=9)
    (action,) = again(Desired(settings=SETTINGS, found=found(document(), task="b" * 64)), {"job": job}, later).actions
    assert (action.arms, action.moves_cursor, action.next_run_at) == (True, True, datetime(2026, 3, 2, 18, tzinfo=UTC))
    assert [(each.first, each.slots, each.reason) for each in action.skips] == [(job.next_run_at, 2, "missed")]
    assert unserved(job, later) == action.skips, "nor does one that is archived"


def test_the_partial_pass_updates_or_marks_invalid_and_does_no_more() -> None:
    job = observed(document())["job"]

    def one(desired: Desired, job: Job = job) -> Plan | None:
        return plan_one(desired, job, previous=SETTINGS, now=NOW)

    changed = one(Desired(settings=SETTINGS, found=found(document(name="n"), document("new"))))
    assert changed is not None
    assert verbs(changed) == {"job": "update"}
    broken = one(Desired(settings=SETTINGS, broken=frozenset({"jobs/a.yaml"})))
    assert broken is not None
    assert broken.actions[0].after.sync_state is SyncState.INVALID
    assert one(Desired(settings=SETTINGS)) is None
    twice = one(Desired(settings=SETTINGS, found=found(document(name="n"), document(name="m"))))
    assert twice is not None
    assert twice.actions == ()
    conflict = replace(job, file=replace(job.file, sync_state=SyncState.CONFLICT))
    still = one(Desired(settings=SETTINGS, found=found(document(name="n"))), conflict)
    assert still is not None
    assert still.actions == ()


def test_edits_of_scheduler_yaml_are_audited_by_dotted_name_under_root() -> None:
    runner = RunnerSpec(name="sh", command=("sh", "{task_file}"), input=TaskInput.FILE)
    before = Settings(runners={"sh": runner}, defaults={"timeout": "5m"})
    after = Settings(runners={"sh": replace(runner, command=("bash", "{task_file}"))}, defaults={"timeout": "6m"})
    done = plan(Desired(settings=after), {}, previous=before, now=NOW)
    rows = audit_rows(done, at=NOW, actor="user:me", cause="sync")
    assert [(row.job_id, row.field, row.before, row.after) for row in rows] == [
        ("@root", "defaults.timeout", "5m", "6m"),
        ("@root", "runners.sh.command", ["sh", "{task_file}"], ["bash", "{task_file}"]),
    ]


def test_widening_is_a_new_runner_more_time_or_another_environment() -> None:
    jobs = observed(document(env=(("A", "1"),)))

    def widens(**changes: object) -> tuple[str, ...]:
        return again(Desired(settings=SETTINGS, found=found(document(**changes))), jobs).actions[0].widens  # type: ignore[arg-type]

    assert widens(env=(("A", "1"),), name="n") == ()
    assert widens(env=(), timeout=timedelta(minutes=1)) == ()
    assert widens(env=(("A", "2"),), runner="sh", timeout=timedelta(hours=1)) == ("runner", "env", "timeout_ms")


def test_widening_is_also_another_recipient_or_another_ping() -> None:
    jobs = observed(document(deliver=("owner", "mail"), ping="${env:HC}"))

    def widens(**changes: object) -> tuple[str, ...]:
        return again(Desired(settings=SETTINGS, found=found(document(**changes))), jobs).actions[0].widens  # type: ignore[arg-type]

    assert widens(deliver=("mail",), ping=None) == ()
    assert widens(deliver=("mail", "ops"), ping="${env:HC}") == ("deliver",)
    assert widens(deliver=(), ping="https://hc.example.com/x") == ("ping",)


def test_a_stranger_with_an_error_freezes_no_healthy_job() -> None:
    edited = found(document(name="edited"), invalid("job", "jobs/stranger.yaml"))
    (action,) = again(Desired(settings=SETTINGS, found=edited), observed(document())).actions
    assert (action.after.sync_state, action.after.spec.name) == (SyncState.SYNCED, "edited")


def test_a_copy_of_a_job_whose_own_document_has_an_error_is_a_conflict() -> None:
    both = found(invalid("job", "jobs/a.yaml"), document(path="jobs/b.yaml"))
    (action,) = again(Desired(settings=SETTINGS, found=both), observed(document())).actions
    assert (action.after.sync_state, action.after.path) == (SyncState.CONFLICT, "jobs/a.yaml")


def test_a_held_job_and_one_in_conflict_run_on_though_their_file_is_gone() -> None:
    job = observed(document())["job"]
    for state, expected in ((SyncState.HELD, True), (SyncState.CONFLICT, True), (SyncState.SYNCED, False)):
        looked = plan_one(
            Desired(settings=SETTINGS),
            replace(job, file=replace(job.file, sync_state=state)),
            previous=SETTINGS,
            now=NOW,
        )
        assert (looked is not None) == expected


def test_a_slot_that_has_a_row_gets_no_second_one_when_the_clock_has_gone_back() -> None:
    ten = datetime(2026, 3, 2, 10, tzinfo=UTC)
    job = replace(observed(document())["job"], last_slot=ten, taken=(ten,))
    off = again(
        Desired(settings=SETTINGS, found=found(document(enabled=False))), {"job": job}, NOW + timedelta(hours=3)
    )
    hour = timedelta(hours=1)
    assert [(skip.first, skip.last, skip.slots) for skip in off.actions[0].skips] == [
        (ten - hour, ten - hour, 1),
        (ten + hour, ten + hour, 1),
    ]


def test_an_edit_to_a_past_one_shot_is_audited_as_completed() -> None:
    past = Schedule(timezone="UTC", at=NOW - timedelta(days=1))
    done = again(Desired(settings=SETTINGS, found=found(document(schedule=past))), observed(document()))
    assert [row.action for row in audit_rows(done, at=NOW, actor="a", cause="c")] == ["update", "complete"]
