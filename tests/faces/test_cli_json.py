"""The JSON that scripts read: every documented name is there and holds what the documents say."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from scheduler.core.times.fires import coming
from scheduler.core.values.spec import Schedule
from scheduler.service import jobs as verbs
from tests.faces.conftest import JOBS, Root

Check = Callable[[Any], bool]


def of(*types: type) -> Check:
    """A value of exactly one of these types: true is no number."""
    return lambda value: type(value) in types


def one_of(*values: str | None) -> Check:
    return lambda value: value in values


def nullable(check: Check) -> Check:
    return lambda value: value is None or check(value)


def list_of(check: Check) -> Check:
    return lambda value: type(value) is list and all(check(each) for each in value)


def shaped(shape: dict[str, Check]) -> Check:
    """An object that holds at least these fields. Fails by naming the one that is wrong."""

    def check(value: Any) -> bool:
        assert type(value) is dict, value
        assert not shape.keys() - value.keys(), f"missing: {sorted(shape.keys() - value.keys())}"
        for name, wanted in shape.items():
            assert wanted(value[name]), f"{name}: {value[name]!r}"
        return True

    return check


def instant(value: Any) -> bool:
    """RFC 3339, UTC, with Z, and whole seconds without a fraction."""
    return type(value) is str and bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9]\d*)?Z", value))


def sha256(value: Any) -> bool:
    return type(value) is str and bool(re.fullmatch(r"[0-9a-f]{64}", value))


def object_id(value: Any) -> bool:
    return type(value) is str and bool(re.fullmatch(r"[0-9a-f]{40}", value))


def local(value: Any) -> bool:
    return type(value) is str and datetime.fromisoformat(value).tzinfo is not None


anything: Check = lambda value: True  # noqa: E731
text, whole, switch = of(str), of(int), of(bool)
maybe_text = nullable(text)
dirty = one_of(None, "modified", "untracked", "converted")
run_status = one_of(
    "queued", "claimed", "running", "succeeded", "failed", "timed_out", "cancelled", "interrupted", "skipped"
)

PROBLEM = shaped(
    {
        "severity": one_of("error", "warning"),
        "path": text,
        "line": lambda value: whole(value) and value >= 1,
        "column": lambda value: whole(value) and value >= 1,
        "code": text,
        "message": text,
        "hint": text,
    }
)
JOB_FIELDS: dict[str, Check] = {
    "id": text,
    "name": text,
    "description": maybe_text,
    "owner": maybe_text,
    "tags": list_of(text),
    "enabled": switch,
    "schedule": shaped({"timezone": text}),
    "schedule_text": text,
    "runner": text,
    "task_source_path": maybe_text,
    "task_sha256": nullable(sha256),
    "source_path": text,
    "source_line": whole,
    "sync_state": one_of("synced", "invalid", "conflict", "held", "archived"),
    "problems": list_of(PROBLEM),
    "generation": whole,
    "version": lambda value: bool(re.fullmatch(r"\d+-([0-9a-f]{12})?", value)),
    "revision": nullable(object_id),
    "dirty": dirty,
    "status": one_of("archived", "disabled", "stopped", "paused", "manual", "completed", "waiting", "active"),
    "paused": nullable(shaped({"reason": maybe_text, "until": nullable(instant), "by": maybe_text, "at": instant})),
    "stop_reason": maybe_text,
    "activated_at": instant,
    "next_run_at": nullable(instant),
    "last_run_at": nullable(instant),
    "last_run_status": nullable(run_status),
    "last_run_duration_ms": nullable(whole),
    "last_run_error": maybe_text,
    "last_skip_at": nullable(instant),
    "last_skip_reason": maybe_text,
    "last_delivery_status": maybe_text,
    "run_count": whole,
    "consecutive_errors": whole,
    "created_at": instant,
    "created_by": text,
    "updated_at": instant,
}
JOB = shaped(JOB_FIELDS)
FIRE = shaped(
    {
        "job_id": text,
        "fire_time": instant,
        "local": local,
        "timezone": text,
        "dst": nullable(one_of("gap", "fold")),
        "dst_occurrence": nullable(whole),
    }
)
RUN = shaped(
    {
        "id": lambda value: bool(re.fullmatch(r"[a-z0-9._-]+:\d+", value)),
        "job_id": text,
        "fire_time": nullable(instant),
        "fire_time_last": nullable(instant),
        "slots": whole,
        "requested_at": instant,
        "trigger": one_of("schedule", "manual", "catch_up", "rerun"),
        "status": run_status,
        "reason": maybe_text,
        "started_at": nullable(instant),
        "finished_at": nullable(instant),
        "duration_ms": nullable(whole),
        "exit_code": nullable(whole),
        "error": maybe_text,
        "attempts": list_of(
            shaped(
                {
                    "n": whole,
                    "status": run_status,
                    "reason": maybe_text,
                    "started_at": instant,
                    "finished_at": nullable(instant),
                    "exit_code": nullable(whole),
                }
            )
        ),
        "task_sha256": nullable(sha256),
        "task_bytes": nullable(whole),
        "source_path": maybe_text,
        "source_sha256": nullable(sha256),
        "source_blob": nullable(object_id),
        "revision": nullable(object_id),
        "dirty": dirty,
        "generation": whole,
        "result": maybe_text,
        "output_bytes": nullable(whole),
        "truncated": switch,
        "cost_usd": nullable(of(float)),
        "tokens": nullable(whole),
        "model": maybe_text,
        "deliveries": list_of(shaped({"channel": text, "status": text, "at": instant})),
    }
)
LIST_FIELDS: dict[str, Check] = {
    "jobs": list_of(JOB),
    "problems": list_of(PROBLEM),
    "summary": shaped(
        {
            **dict.fromkeys(
                ("total", "active", "disabled", "stopped", "paused", "manual", "completed", "archived", "invalid"),
                whole,
            ),
            "next_fire_at": nullable(instant),
            "held": maybe_text,
        }
    ),
    "synced": switch,
}
LIST = shaped(LIST_FIELDS)
# Of a root that nobody has synced: the jobs that the files name, and that have no row.
UNSYNCED = {
    **dict.fromkeys(("activated_at", "created_at", "created_by", "updated_at"), one_of(None)),
    "sync_state": one_of("unsynced"),
}
UNSYNCED_LIST = shaped({**LIST_FIELDS, "jobs": list_of(shaped({**JOB_FIELDS, **UNSYNCED}))})
CHANGE = shaped({"before": anything, "after": anything})
SYNC = shaped(
    {
        "revision": nullable(object_id),
        "dirty": dirty,
        "held": maybe_text,
        "created": list_of(text),
        "schedule_texts": lambda value: type(value) is dict and all(map(text, value.values())),
        "first_fires": lambda value: type(value) is dict and all(each is None or text(each) for each in value.values()),
        "updated": list_of(
            shaped(
                {
                    "id": text,
                    "changes": lambda value: type(value) is dict and all(CHANGE(each) for each in value.values()),
                    "next_fires": shaped({"before": list_of(instant), "after": list_of(instant)}),
                    "widens": list_of(text),
                    "inherited": list_of(text),
                }
            )
        ),
        "runner_pairs": list_of(shaped({"id": text, "runner": text})),
        "moved": list_of(shaped({"id": text, "from": text, "to": text})),
        "archived": list_of(text),
        "revived": list_of(text),
        "unchanged": whole,
        "task_changed": list_of(
            shaped({"id": text, "path": text, "before_sha256": nullable(sha256), "after_sha256": nullable(sha256)})
        ),
        "root_changed": of(list),
        "problems": list_of(PROBLEM),
        "guard": nullable(shaped({"would_archive": whole, "ids": list_of(text), "token": text, "why": text})),
        "duration_ms": whole,
    }
)


@pytest.fixture
def eventful(lived_in: Root) -> Root:
    """Jobs of every kind that can exist now, after one of everything a sync does."""
    root = lived_in
    root.edit("jobs/heartbeat.md", '"0 * * * *"', '"*/20 * * * *"')
    root.edit("jobs/heartbeat.md", "MODE: calm", "MODE: wild")
    root.write("prompts/triage.md", "Another prompt.\n")
    root.move("jobs/clock.yaml", "jobs/team/clock.yaml")
    root.delete("jobs/flaky.yaml")
    root.write("jobs/new.yaml", "id: new\nschedule: {at: 2026-03-01T00:00:00Z}\ntask: Too late.\n")
    root.edit("scheduler.yaml", "timeout: 5m", "timeout: 6m")
    root.clock.advance(timedelta(minutes=100))  # slots passed that no run served
    return root


# -- one test a shape -------------------------------------------------------------------------------


def test_list_holds_the_documented_fields(eventful: Root) -> None:
    eventful.sync()
    eventful.write("jobs/new.yaml", "id: new\nshedule: 1\n")
    assert eventful.cli("sync").code == 1
    found = eventful.json("list")
    assert LIST(found)
    assert [job["id"] for job in found["jobs"]] == [
        "flaky",
        "heartbeat",
        "new",
        "new-year",
        "retired",
        "tick",
        "triage",
    ]
    assert found["summary"] == {
        "total": 7,
        "active": 4,
        "disabled": 1,
        "stopped": 0,
        "paused": 0,
        "manual": 0,
        "completed": 1,
        "waiting": 0,
        "running": 0,
        "failing": 0,
        "archived": 1,
        "invalid": 1,
        "next_fire_at": min(job["next_run_at"] for job in found["jobs"] if job["status"] == "active"),
        "held": None,
    }
    assert found["problems"] != []
    by_id = {job["id"]: job for job in found["jobs"]}
    assert by_id["new"]["problems"] == [each for each in found["problems"] if each["path"] == "jobs/new.yaml"]


def test_list_on_a_root_never_synced_has_the_same_shape(root: Root) -> None:
    found = root.json("list")
    assert UNSYNCED_LIST(found)
    assert (found["synced"], [job["id"] for job in found["jobs"]], found["summary"]["total"]) == (False, [*JOBS], 6)
    root.delete("jobs/heartbeat.md", "jobs/triage.yaml", "jobs/clock.yaml", "jobs/flaky.yaml")
    found = root.json("list")
    assert UNSYNCED_LIST(found)
    assert (found["jobs"], found["summary"]["total"], found["summary"]["next_fire_at"]) == ([], 0, None)


def test_list_takes_only_the_jobs_that_are_asked_for(eventful: Root) -> None:
    eventful.sync()

    def ids(*options: str) -> list[str]:
        return [job["id"] for job in eventful.json("list", *options)["jobs"]]

    assert ids("--status", "archived") == ["flaky"]
    assert ids("--status", "completed") == ["new"]
    assert ids("--status", "paused") == []
    assert ids("--tag", "agent") == ["heartbeat", "triage"]
    assert ids("--tag", "agent", "--status", "active") == ["heartbeat", "triage"]
    assert ids("--problems") == ["new"]  # its instant has passed: a warning
    eventful.edit("jobs/heartbeat.md", "name:", "nmae:")
    assert eventful.cli("sync").code == 1
    assert ids("--problems") == ["heartbeat"]


def test_show_holds_the_documented_fields_with_their_values(lived_in: Root) -> None:
    found = lived_in.json("show", "heartbeat")
    assert shaped({"job": JOB, "next_fires": list_of(FIRE)})(found)
    job = found["job"]
    head = lived_in.git("rev-parse", "HEAD")
    expected = {
        "name": "Hourly heartbeat",
        "description": "Looks at the inbox",
        "owner": "ops@example.com",
        "tags": ["agent", "hourly"],
        "enabled": True,
        "schedule": {"cron": "0 * * * *", "timezone": "Europe/Berlin"},
        "runner": "agent",
        "source_path": "jobs/heartbeat.md",
        "source_line": 2,
        "sync_state": "synced",
        "problems": [],
        "generation": 1,
        "version": f"1-{job['task_sha256'][:12]}",
        "revision": head,
        "dirty": None,
        "status": "active",
        "paused": None,
        "activated_at": "2026-03-02T08:30:00Z",
        "next_run_at": "2026-03-02T09:00:00Z",
        "last_run_at": "2026-03-02T08:31:00Z",
        "last_run_status": "succeeded",
        "last_run_duration_ms": 0,
        "last_run_error": None,
        "run_count": 1,
        "consecutive_errors": 0,
        "created_at": "2026-03-02T08:30:00Z",
        "created_by": "user:tester",
    }
    assert {name: job[name] for name in expected} == expected
    assert [fire["fire_time"] for fire in found["next_fires"]] == [
        f"2026-03-02T{hour:02}:00:00Z" for hour in range(9, 14)
    ]
    failed = lived_in.job("flaky")
    assert (failed["last_run_status"], failed["consecutive_errors"]) == ("failed", 1)
    assert failed["last_run_error"]


def test_a_job_tells_what_the_disk_holds_now(lived_in: Root) -> None:
    before = lived_in.job("triage")
    lived_in.write("prompts/triage.md", "Another prompt.\n")
    after = lived_in.job("triage")
    assert after["task_sha256"] != before["task_sha256"]
    assert after["version"] == f"1-{after['task_sha256'][:12]}"
    assert lived_in.run("triage")["task_sha256"] == after["task_sha256"]
    lived_in.delete("prompts/triage.md")
    assert (lived_in.job("triage")["task_sha256"], lived_in.job("triage")["version"]) == (None, "1-")
    inline = lived_in.job("tick")["task_sha256"]
    lived_in.edit("jobs/clock.yaml", "task: Tick.", "task: Tock.")
    assert lived_in.job("tick")["task_sha256"] not in (inline, None)


def test_next_holds_ascending_fires_of_a_half_open_range(root: Root) -> None:
    root.sync()
    found = root.json("next", "triage", "heartbeat", "--from", "2026-03-05T15:00:00Z", "--to", "2026-03-05T17:00:00Z")
    assert shaped({"fires": list_of(FIRE)})(found)
    assert [(fire["job_id"], fire["fire_time"], fire["local"]) for fire in found["fires"]] == [
        ("heartbeat", "2026-03-05T16:00:00Z", "2026-03-05T17:00:00+01:00"),
        ("heartbeat", "2026-03-05T17:00:00Z", "2026-03-05T18:00:00+01:00"),
        ("triage", "2026-03-05T17:00:00Z", "2026-03-05T09:00:00-08:00"),
    ]


def test_next_marks_the_fires_that_a_clock_change_moves_or_doubles(root: Root) -> None:
    root.write(
        "jobs/odd.yaml", 'id: odd\nschedule: ["30 2 * * *", {cron: "0 5 * * *", timezone: Asia/Tokyo}]\ntask: x\n'
    )
    root.sync()

    def marks(job: str, start: str, end: str) -> list[tuple[Any, ...]]:
        found = root.json("next", job, "--from", start, "--to", end)
        assert shaped({"fires": list_of(FIRE)})(found)
        return [(each["local"], each["dst"], each["dst_occurrence"]) for each in found["fires"]]

    assert marks("odd", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z") == [
        ("2026-03-29T05:00:00+09:00", None, None),
        ("2026-03-29T03:00:00+02:00", "gap", None),
        ("2026-03-30T05:00:00+09:00", None, None),
        ("2026-03-30T02:30:00+02:00", None, None),
    ]
    assert marks("odd", "2026-10-24T23:00:00Z", "2026-10-25T12:00:00Z") == [("2026-10-25T02:30:00+02:00", "fold", 1)]
    assert marks("heartbeat", "2026-10-24T23:30:00Z", "2026-10-25T02:00:00Z") == [
        ("2026-10-25T02:00:00+02:00", "fold", 1),
        ("2026-10-25T02:00:00+01:00", "fold", 2),
        ("2026-10-25T03:00:00+01:00", None, None),
    ]


def test_next_counts_per_job_and_reads_an_explicit_range_off_the_schedule_alone(root: Root) -> None:
    root.sync()
    found = root.json("next", "-n", "2")["fires"]
    assert {job: sum(fire["job_id"] == job for fire in found) for job in JOBS} == {
        "flaky": 2,
        "heartbeat": 2,
        "new-year": 1,
        "retired": 0,
        "tick": 2,
        "triage": 2,
    }
    assert [fire["fire_time"] for fire in found] == sorted(fire["fire_time"] for fire in found)
    past = root.json("next", "retired", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-01T01:30:00Z")["fires"]
    assert [fire["fire_time"] for fire in past] == ["2020-01-01T01:30:00Z"]
    assert root.json("next", "retired")["fires"] == []


def test_a_schedule_up_to_the_end_of_the_calendar_is_shown_like_any_other(root: Root) -> None:
    ends = "{cron: '@daily', timezone: Asia/Tokyo, ends: '9999-12-31T23:59:59Z'}"
    root.write("jobs/ever.yaml", f"id: ever\nschedule: {ends}\ntask: x\n")
    root.write("jobs/last.yaml", "id: last\nschedule: {at: '9999-12-31T23:59:59Z', timezone: Asia/Tokyo}\ntask: x\n")
    for command in (["plan"], ["sync"], ["list"], ["show", "ever"], ["show", "last"], ["next"]):
        assert "9999-12-31 23:59:59 UTC" in root.ok(*command).stdout
    (fire,) = root.json("next", "last")["fires"]
    assert (fire["local"], fire["timezone"]) == ("9999-12-31T23:59:59+00:00", "UTC")


def test_next_refuses_a_range_with_more_fires_than_anybody_reads_unless_they_are_counted(root: Root) -> None:
    root.write("jobs/dense.yaml", 'id: dense\nschedule: "* * * * * *"\ntask: x\n')
    root.sync()
    whole = ("next", "dense", "--from", "2000-01-01T00:00:00Z", "--to", "2030-01-01T00:00:00Z")
    ended = root.cli(*whole)
    assert (ended.code, ended.stdout) == (2, "")
    assert "more than 100,000 fires" in ended.stderr
    assert "-n" in ended.stderr
    assert len(root.json(*whole, "-n", "3")["fires"]) == 3
    day = root.json("next", "dense", "--from", "2026-03-05T00:00:00Z", "--to", "2026-03-05T00:01:00Z")
    assert len(day["fires"]) == 60


def test_jobs_with_one_schedule_share_the_fires_that_next_finds(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [f"id: twin-{n}\nschedule: {{cron: '0 0 29 2 */7', jitter: {n + 1}s}}\ntask: x\n" for n in range(20)]
    root.write("jobs/twins.yaml", "---\n".join(jobs))
    root.sync()
    asked: list[Schedule] = []

    def counted(schedule: Schedule, **given: Any) -> list[datetime]:
        asked.append(schedule)
        return coming(schedule, **given)

    monkeypatch.setattr(verbs, "coming", counted)
    found = root.json("next", *(f"twin-{n}" for n in range(20)), "-n", "1")["fires"]
    assert [fire["job_id"] for fire in found] == sorted(f"twin-{n}" for n in range(20))
    assert len({fire["fire_time"] for fire in found}) == 1
    assert len(asked) == 1


def test_history_holds_the_documented_fields_newest_first(eventful: Root) -> None:
    eventful.sync()
    eventful.delete("prompts/triage.md")
    assert eventful.cli("run", "triage", "--wait").code == 1
    runs = [run for job in JOBS for run in eventful.json("history", job)["runs"]]
    assert shaped({"runs": list_of(RUN)})({"runs": runs})
    assert {(run["trigger"], run["status"]) for run in runs} == {
        ("manual", "succeeded"),
        ("manual", "failed"),
        ("manual", "skipped"),
        ("schedule", "skipped"),
    }
    missed, ran = eventful.runs("heartbeat")
    assert (missed["id"], ran["id"]) == ("heartbeat:2", "heartbeat:1")
    expected = {
        "fire_time": "2026-03-02T09:00:00Z",
        "fire_time_last": "2026-03-02T10:00:00Z",
        "slots": 2,
        "reason": "missed",
        "started_at": None,
        "attempts": [],
        "result": None,
        "task_sha256": None,
    }
    assert {name: missed[name] for name in expected} == expected
    assert eventful.json("history", "heartbeat", "-n", "1")["runs"] == [missed]
    assert eventful.json("history", "heartbeat", "--status", "succeeded")["runs"] == [ran]
    assert eventful.json("history", "heartbeat", "--status", "queued")["runs"] == []


def test_run_holds_the_documented_fields_with_their_values(root: Root) -> None:
    root.sync()
    found = root.json("run", "heartbeat", "--wait")
    assert shaped({"run": RUN})(found)
    expected: dict[str, Any] = {
        "id": "heartbeat:1",
        "job_id": "heartbeat",
        "fire_time": None,
        "requested_at": "2026-03-02T08:30:00Z",
        "trigger": "manual",
        "status": "succeeded",
        "reason": None,
        "exit_code": 0,
        "error": None,
        "task_bytes": len("You are woken once an hour.\n"),
        "source_path": "jobs/heartbeat.md",
        "source_blob": root.git("rev-parse", "HEAD:jobs/heartbeat.md"),
        "revision": root.git("rev-parse", "HEAD"),
        "dirty": None,
        "generation": 1,
        "result": "You are woken once an hour.\n",
        "output_bytes": len("You are woken once an hour.\n"),
        "truncated": False,
        "cost_usd": None,
        "tokens": None,
        "model": None,
        "deliveries": [],
    }
    assert {name: found["run"][name] for name in expected} == expected
    assert found["run"] == root.runs("heartbeat")[0]
    failed = root.cli("run", "flaky", "--wait", "--json")
    assert (failed.code, failed.json["run"]["status"], failed.json["run"]["exit_code"]) == (1, "failed", 3)
    assert failed.json["run"]["output_bytes"] == len("out of luck\nto the other stream\n")
    assert RUN(failed.json["run"])


def test_result_is_the_head_of_stdout_as_text(root: Root) -> None:
    root.write("scripts/flaky.sh", "printf '\\377'; head -c 70000 /dev/zero | tr '\\0' x\n")
    root.sync()
    run = root.run("flaky")
    assert run["result"] == "\N{REPLACEMENT CHARACTER}" + "x" * (64 * 1024 - 1)
    assert run["output_bytes"] == 70_001
    assert root.runs("flaky") == [run]


@pytest.mark.parametrize("command", [("plan",), ("sync", "--dry-run"), ("sync",)])
def test_plan_and_sync_hold_the_documented_fields(eventful: Root, command: tuple[str, ...]) -> None:
    found = eventful.json(*command)
    assert SYNC(found)
    head = eventful.git("rev-parse", "HEAD")
    assert (found["revision"], found["dirty"], found["held"], found["guard"]) == (head, "modified", None, None)
    assert found["created"] == ["new"]
    assert found["archived"] == ["flaky"]
    assert found["moved"] == [
        {"id": job, "from": "jobs/clock.yaml", "to": "jobs/team/clock.yaml"} for job in ("new-year", "retired", "tick")
    ]
    assert [(each["id"], each["path"]) for each in found["task_changed"]] == [("triage", "prompts/triage.md")]
    assert {each["id"]: sorted(each["changes"]) for each in found["updated"]} == {
        "heartbeat": ["env", "schedule", "timeout_ms"],
        **{job: ["timeout_ms"] for job in ("new-year", "retired", "tick", "triage")},
    }
    heartbeat = next(each for each in found["updated"] if each["id"] == "heartbeat")
    assert heartbeat["changes"]["env"] == {"before": {"MODE": "calm"}, "after": {"MODE": "wild"}}
    assert heartbeat["next_fires"]["before"][:2] == ["2026-03-02T11:00:00Z", "2026-03-02T12:00:00Z"]
    assert heartbeat["next_fires"]["after"][:2] == ["2026-03-02T10:20:00Z", "2026-03-02T10:40:00Z"]
    assert heartbeat["widens"] == ["env", "timeout_ms"]
    assert heartbeat["schedule_text"] == {
        "before": "at minute 0 of every hour, Europe/Berlin",
        "after": "every 20 minutes, Europe/Berlin",
    }
    assert found["schedule_texts"] == {"new": "once, at 2026-03-01 01:00 Europe/Berlin"}
    assert found["first_fires"].keys() == {"new"}
    takers = ["heartbeat", "new-year", "retired", "tick", "triage"]
    assert found["root_changed"] == [
        {"field": "defaults.timeout", "before": "5m", "after": "6m", "widens": True, "jobs": takers}
    ]
    assert {each["id"]: each["inherited"] for each in found["updated"]} == {each: ["timeout_ms"] for each in takers}
    assert found["runner_pairs"] == [{"id": "new", "runner": "agent"}]
    assert [(each["code"], each["severity"]) for each in found["problems"]] == [("schedule.past", "warning")]


def test_a_limit_of_a_runner_that_changes_is_shown_as_widening_and_audited(lived_in: Root) -> None:
    lived_in.edit("scheduler.yaml", "    tasks: ", '    jobs: [flaky, "tag:script"]\n    max_timeout: 1h\n    tasks: ')
    changes = {each["field"]: each for each in lived_in.json("plan")["root_changed"]}
    assert {field: (each["before"], each["after"], each["widens"]) for field, each in changes.items()} == {
        "runners.shell.jobs": (None, ["flaky", "tag:script"], True),
        "runners.shell.max_timeout_ms": (None, 3_600_000, True),
    }
    lived_in.sync()
    assert {row["field"] for row in lived_in.json("audit", "@root", "-n", "2")["audit"]} == set(changes)
    assert lived_in.cli("run", "flaky", "--wait", "--json").json["run"]["status"] == "failed"


def test_a_job_that_its_runner_no_longer_takes_keeps_its_definition_and_is_skipped(lived_in: Root) -> None:
    lived_in.edit("scheduler.yaml", "    tasks: ", "    jobs: [other]\n    tasks: ")
    found = lived_in.cli("sync", "--json")
    assert (found.code, found.problems) == (1, [("jobs/flaky.yaml", 4, 9, "runner.job-not-allowed")])
    run = lived_in.cli("run", "flaky", "--wait", "--json").json["run"]
    assert (run["status"], run["reason"]) == ("skipped", "runner_not_allowed")


def test_plan_is_what_sync_then_does(eventful: Root) -> None:
    def without_duration(found: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in found.items() if name != "duration_ms"}

    planned = without_duration(eventful.json("plan"))
    assert without_duration(eventful.json("sync", "--dry-run")) == planned
    assert without_duration(eventful.json("sync")) == planned
    after = eventful.json("plan")
    for name in ("created", "updated", "moved", "archived", "revived", "task_changed", "root_changed", "problems"):
        assert after[name] == [], name
    assert after["unchanged"] == 6


def test_a_revived_job_is_named_as_one(eventful: Root) -> None:
    eventful.sync()
    eventful.git("checkout", "-q", "--", "jobs/flaky.yaml")
    found = eventful.json("sync")
    assert SYNC(found)
    assert found["revived"] == ["flaky"]


def test_a_guard_names_what_waits(lived_in: Root) -> None:
    shutil.rmtree(lived_in.path / "jobs")
    found = lived_in.cli("sync", "--json")
    assert found.code == 3
    assert SYNC(found.json)
    guard = found.json["guard"]
    assert (guard["would_archive"], guard["ids"], found.json["archived"]) == (6, list(JOBS), [])
    assert all(job["sync_state"] == "held" for job in lived_in.json("list")["jobs"])


def test_validate_holds_the_documented_fields(root: Root) -> None:
    assert root.json("validate") == {"problems": []}
    root.edit("jobs/triage.yaml", "schedule:", "shedule:")
    for options in (["--json"], ["--format", "json"]):
        found = root.cli("validate", *options)
        assert found.code == 1
        assert shaped({"problems": list_of(PROBLEM)})(found.json)
        assert ("jobs/triage.yaml", 2, 1, "key.unknown") in found.problems
    hints = [each["hint"] for each in root.cli("validate", "--json").json["problems"] if each["code"] == "key.unknown"]
    assert any("schedule" in hint for hint in hints)


def test_audit_rows_hold_what_changed_and_who_changed_it(eventful: Root) -> None:
    eventful.sync()
    row = shaped(
        {
            "at": instant,
            "job_id": text,
            "action": text,
            "field": maybe_text,
            "before": anything,
            "after": anything,
            "revision": nullable(object_id),
            "actor": text,
            "cause": text,
        }
    )
    found = eventful.json("audit")
    assert shaped({"audit": list_of(row)})(found)
    assert {each["actor"] for each in found["audit"]} == {"user:tester"}
    schedule = [each for each in found["audit"] if (each["job_id"], each["field"]) == ("heartbeat", "schedule")]
    assert [(each["before"]["cron"], each["after"]["cron"]) for each in schedule] == [("0 * * * *", "*/20 * * * *")]
    assert {each["job_id"] for each in eventful.json("audit", "@root")["audit"]} == {"@root"}
    assert eventful.json("audit", "-n", "1")["audit"] == found["audit"][-1:]


def test_task_and_output_come_as_text(lived_in: Root) -> None:
    task = lived_in.json("task", "heartbeat:1")
    assert task["task"] == "You are woken once an hour.\n"
    assert task["task_sha256"] == lived_in.runs("heartbeat")[0]["task_sha256"]
    assert lived_in.json("output", "flaky:1") == {
        "run_id": "flaky:1",
        "stdout": "out of luck\n",
        "stderr": "to the other stream\n",
        "truncated": False,
        "result": "out of luck\n",
    }


def test_a_dry_run_shows_what_would_start_and_starts_nothing(lived_in: Root) -> None:
    found = lived_in.json("run", "heartbeat", "--dry-run")
    assert found["task"] == "You are woken once an hour.\n"
    assert found["argv"][0].endswith("/cat")
    assert "MODE" in found["env"]
    assert not any("calm" in name for name in found["env"])  # names only
    assert len(lived_in.runs("heartbeat")) == 1


# -- stdout is data ---------------------------------------------------------------------------------

EVERY = [
    ("validate",),
    ("plan",),
    ("sync", "--dry-run"),
    ("sync",),
    ("list",),
    ("show", "heartbeat"),
    ("next",),
    ("run", "flaky", "--wait"),
    ("run", "flaky"),
    ("run", "heartbeat", "--dry-run"),
    ("history", "flaky"),
    ("output", "flaky:1"),
    ("task", "flaky:1"),
    ("audit",),
    ("init", "elsewhere"),
]


def nothing_wrong(root: Root) -> None:
    """The files are as they were."""


def files_wrong(root: Root) -> None:
    root.write("jobs/triage.yaml", "id: [")
    root.write("jobs/other.yaml", "id: heartbeat\nschedule: '@daily'\ntask: Mine.\n")
    assert root.cli("sync").code == 1


def everything_gone(root: Root) -> None:
    shutil.rmtree(root.path / "jobs")
    assert root.cli("sync").code == 3


def root_file_gone(root: Root) -> None:
    root.delete("scheduler.yaml")
    assert root.cli("sync").code == 1


@pytest.mark.parametrize("trouble", [nothing_wrong, files_wrong, everything_gone, root_file_gone])
def test_with_json_stdout_is_json_whatever_stderr_says(lived_in: Root, trouble: Callable[[Root], None]) -> None:
    trouble(lived_in)
    for command in EVERY:
        for words in ((*command, "--json"), ("-v", "--json", *command)):
            found = lived_in.cli(*words)
            assert found.code in (0, 1, 3), (words, found)
            if "would be skipped" in found.stderr:  # a dry run of what cannot run is an error, not data
                assert (found.code, found.stdout) == (3, "")
                continue
            assert type(json.loads(found.stdout)) is dict, (words, found)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("show", "heartbeet"), 2),
        (("list", "--status", "asleep"), 2),
        (("--root", "absent", "list"), 5),
        (("--db", "scheduler.yaml", "list"), 3),
    ],
)
def test_an_error_says_nothing_on_stdout(lived_in: Root, command: tuple[str, ...], code: int) -> None:
    found = lived_in.cli(*command, "--json")
    assert (found.code, found.stdout) == (code, "")
    assert found.stderr
    assert "Traceback" not in found.stderr


ODD = "prompts/a\nb\u202ec\x9b1m\u200b.md"
ODD_JOB = f"id: odd\nschedule: {{every: 1h}}\ntask_source_path: {json.dumps(ODD)}\n"


@pytest.mark.parametrize("command", ["list", "show odd", "validate", "audit", "history odd", "log odd", "export odd"])
def test_what_does_not_show_is_escaped_in_json_and_the_value_is_the_same(root: Root, command: str) -> None:
    root.write(ODD, "hello\n")
    root.write("jobs/odd.yaml", ODD_JOB + 'name: "x\\u202Ey"\n')
    root.sync()
    root.run("odd")
    found = root.ok(*command.split(), *([] if command == "export odd" else ["--json"]))
    assert found.stdout.replace("\n", "").isprintable()
    if command == "show odd":
        assert found.json["job"]["task_source_path"] == ODD


def test_the_head_of_a_diff_shows_no_name_raw(lived_in: Root) -> None:
    lived_in.write(ODD, "hello\n")
    lived_in.write("jobs/odd.yaml", ODD_JOB)
    lived_in.write("new", "other\n")
    told = lived_in.ok("update", "odd", "--task-file", "new").stdout
    assert told.splitlines()[0] == r'--- "a/prompts/a\012b\342\200\256c\302\2331m\342\200\213.md"'
