"""What the tools cost and answer: few tokens, the text of a job, what an edit proposes, and hints that can be used."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.values.problems import UsageError
from scheduler.core.values.texts import json_text
from scheduler.root.place import locate
from scheduler.run.local.cancel import Cancel
from scheduler.service import root as service
from scheduler.tool import server
from scheduler.tool.arguments import ACTS, EDIT_TOOL, READ_TOOL, READS, TOOLS, read_call
from scheduler.tool.calls import answer
from tests.faces.conftest import ROOT_FILE, Root, contents
from tests.faces.test_tool import POLICY, allow, ask, refused

CHARACTERS = 3.3  # of a token, which is careful: JSON and English have more
CREATED = {"job": "digest", "schedule": "@daily", "task": "x\n"}


@pytest.fixture
def allowed(lived_in: Root) -> Root:
    allow(lived_in)
    return lived_in


def told(root: Root, tool: str, action: str, **given: Any) -> Any:
    place = locate(None, None, None, environ=os.environ, cwd=root.path)
    seen = service.Root(place=place, actor="agent:tester", environ=os.environ, clock=root.clock)
    return answer(seen, {"action": action, **given}, Cancel(), tool)


# -- tokens --------------------------------------------------------------------------------------


def test_both_tools_together_stay_under_3000_tokens() -> None:
    said = [server._tool(name).model_dump_json(by_alias=True, exclude_none=True) for name in TOOLS]
    assert sum(map(len, said)) < 3_000 * CHARACTERS


def test_a_list_of_26_jobs_stays_under_2000_tokens(lived_in: Root) -> None:
    cron = "{cron: '30 7 * * mon-fri', timezone: America/Los_Angeles}"
    for number in range(20):
        name = f"jobs/report-of-team-{number:02}.yaml"
        lived_in.write(name, f"id: report-of-team-{number:02}\nschedule: {cron}\ntask: x\ndescription: {'x' * 200}\n")
    lived_in.sync()
    lived_in.run("report-of-team-03")
    found = ask(lived_in, "list", n=26)
    assert (len(found["jobs"]), found["summary"]["total"], "left_out" in found) == (26, 26, False)
    assert len(json_text(found)) < 2_000 * CHARACTERS
    assert len(ask(lived_in, "list")["jobs"]) == 25
    assert ask(lived_in, "list")["left_out"] == 1


def test_a_row_of_a_list_has_what_it_is_and_what_is_wrong_and_full_gives_the_rest(lived_in: Root) -> None:
    rows = {job["id"]: job for job in ask(lived_in, "list")["jobs"]}
    assert rows["heartbeat"] == {
        "id": "heartbeat",
        "status": "active",
        "schedule_text": "at minute 0 of every hour, Europe/Berlin",
        "next_fire_at": lived_in.job("heartbeat")["next_fire_at"],
        "last_run_at": lived_in.job("heartbeat")["last_run_at"],
        "last_run_status": "succeeded",
    }
    assert rows["flaky"]["consecutive_errors"] == 1
    lived_in.edit("jobs/triage.yaml", "id: triage", "id: triage\ncolour: red")
    assert lived_in.cli("sync").code == 1
    found = ask(lived_in, "list")
    assert next(job for job in found["jobs"] if job["id"] == "triage")["sync_state"] == "invalid"
    assert found["problems"][0].startswith("jobs/triage.yaml:2:1: unknown key 'colour'")
    full = ask(lived_in, "list", full=True)
    assert full["jobs"] == lived_in.json("list")["jobs"]
    assert full["problems"] == lived_in.json("list")["problems"]


def test_a_history_is_short_and_full_has_every_key(lived_in: Root) -> None:
    (short,), (full,) = (ask(lived_in, "history", job="flaky", full=each)["runs"] for each in (False, True))
    assert full == lived_in.runs("flaky")[0]
    assert {*short} < {*full}
    assert (short["id"], short["exit_code"], short["status"]) == ("flaky:1", 3, "failed")
    assert len(json_text(short)) < 600
    assert ask(lived_in, "history", job="flaky", run_status="failed") == ask(
        lived_in, "history", job="flaky", status="failed"
    )


# -- two tools -----------------------------------------------------------------------------------


def test_the_tool_that_reads_says_so_and_the_other_that_it_may_destroy() -> None:
    hints = {name: server._tool(name).annotations for name in TOOLS}
    assert all(hints.values())
    assert [(each.read_only_hint, each.destructive_hint) for each in hints.values() if each] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("action", ACTS)
def test_the_tool_that_reads_takes_no_action_that_changes_and_names_the_one_that_does(
    allowed: Root, action: str
) -> None:
    before = contents(allowed.path)
    with pytest.raises(UsageError) as error:
        told(allowed, READ_TOOL, action, job="heartbeat", name="x")
    assert f"{READ_TOOL} changes nothing, so it has no {action}" in str(error.value)
    assert f"call {EDIT_TOOL}" in error.value.hint
    assert contents(allowed.path) == before


def test_reading_leaves_no_trace(lived_in: Root) -> None:
    arguments = {
        "diff": {"before": "heartbeat:1"}, "list": {}, "status": {}, "next": {}, "validate": {},
        "plan": {"base": "HEAD"}, "output": {"run": "heartbeat:1"}, "channels": {},
    }  # fmt: skip
    before = contents(lived_in.path)
    for action in READS:
        told(lived_in, READ_TOOL, action, **arguments.get(action, {"job": "heartbeat"}))
    assert contents(lived_in.path) == before


def test_the_tool_that_edits_answers_a_reading_action_of_an_earlier_client(lived_in: Root) -> None:
    assert told(lived_in, EDIT_TOOL, "show", job="tick") == told(lived_in, READ_TOOL, "show", job="tick")


# -- texts ---------------------------------------------------------------------------------------


def test_the_present_text_of_a_job_can_be_read_wherever_it_stands(lived_in: Root) -> None:
    for job, path, text in (
        ("heartbeat", "jobs/heartbeat.md", "You are woken once an hour.\n"),
        ("triage", "prompts/triage.md", "Sort the inbox.\n"),
        ("tick", "jobs/clock.yaml", "Tick."),
    ):
        found = ask(lived_in, "task", job=job)
        assert (found["task"], found["source_path"]) == (text, path)
        assert found["task_sha256"] == ask(lived_in, "show", job=job)["job"]["task_sha256"]
        assert ask(lived_in, "show", job=job)["task"] == text
    lived_in.write("prompts/triage.md", "Sort it anew.\n")
    assert ask(lived_in, "task", job="triage")["task"] == "Sort it anew.\n"
    assert ask(lived_in, "task", run="heartbeat:1")["task"] == "You are woken once an hour.\n"
    lived_in.delete("prompts/triage.md")
    assert "prompts/triage.md" in ask(lived_in, "show", job="triage")["no_task"]
    assert "prompts/triage.md" in refused(lived_in, "task", job="triage")


def test_a_long_text_is_cut_and_read_on(lived_in: Root) -> None:
    text = "".join(f"line {number}\n" for number in range(3_000))
    lived_in.write("prompts/triage.md", text)
    assert ask(lived_in, "show", job="triage")["task"] == text[:2_000]
    found = ask(lived_in, "task", job="triage")
    assert found["task_cut"] == f"{len(text) - 16_384:,} more characters: action task, offset 16384"
    rest = ask(lived_in, "task", job="triage", offset=16_384)
    assert found["task"] + rest["task"] == text
    assert "task_cut" not in rest


def test_a_job_stands_for_its_newest_run(lived_in: Root) -> None:
    lived_in.run("heartbeat")
    for given in ({"run": "heartbeat"}, {"job": "heartbeat"}, {"run": "heartbeat:2"}):
        assert ask(lived_in, "output", **given)["run_id"] == "heartbeat:2"
    assert ask(lived_in, "show", run="heartbeat")["run"]["id"] == "heartbeat:2"
    assert ask(lived_in, "task", run="heartbeat")["run_id"] == "heartbeat:2"
    assert "has not run yet" in refused(lived_in, "output", run="triage")


# -- what happened -------------------------------------------------------------------------------


def test_status_says_whether_anybody_is_needed(lived_in: Root) -> None:
    found = ask(lived_in, "status")
    assert (found["healthy"], found["failing"][0]["id"]) == (False, "flaky")
    assert found["attention"] == lived_in.cli("status", "--json").json["attention"]
    assert len(json_text(found)) < 3_000


def test_a_history_without_a_job_is_that_of_all(lived_in: Root) -> None:
    assert [run["id"] for run in ask(lived_in, "history")["runs"]] == ["flaky:1", "heartbeat:1"]
    assert [run["id"] for run in ask(lived_in, "history", failed=True)["runs"]] == ["flaky:1"]
    assert ask(lived_in, "history", since="+1h")["runs"] == []
    assert ask(lived_in, "history", n=1)["more"]


def test_one_run_says_why_it_ran_how_it_ended_and_its_last_lines(lived_in: Root) -> None:
    found = ask(lived_in, "show", run="flaky:1")
    assert (found["run"]["exit_code"], found["run"]["attempts"][0]["n"]) == (3, 1)
    assert found["last_lines"] == {"stdout": ["out of luck"], "stderr": ["to the other stream"]}
    assert found["why"]


def test_a_list_is_filtered_by_what_happens(lived_in: Root) -> None:
    assert [job["id"] for job in ask(lived_in, "list", status="failing")["jobs"]] == ["flaky"]
    assert ask(lived_in, "list", status="running")["jobs"] == []
    assert "runing" in refused(lived_in, "list", status="runing")
    lived_in.delete("jobs/flaky.yaml")
    lived_in.sync()
    assert "flaky" not in [job["id"] for job in ask(lived_in, "list")["jobs"]]
    assert [job["id"] for job in ask(lived_in, "list", status="archived")["jobs"]] == ["flaky"]


# -- edits ---------------------------------------------------------------------------------------


def test_an_edit_on_a_branch_answers_what_it_proposes_and_not_the_job_as_it_was(lived_in: Root) -> None:
    allow(lived_in, "agents: {jobs: ['*']}\n")
    found = ask(lived_in, "update", job="triage", schedule="0 7 * * *")
    assert (found["applied"], "job" in found) == ("pending_branch", False)
    assert found["proposed"]["schedule_text"] == "at 07:00, every day, America/Los_Angeles"
    assert found["proposed"]["kept"] == {"timezone": "America/Los_Angeles"}
    assert found["proposed"]["next_fires"][0] == {
        "fire_time": "2026-03-02T15:00:00Z",
        "local": "2026-03-02T07:00:00-08:00",
        "timezone": "America/Los_Angeles",
    }
    assert found["proposed"]["widens"] == []
    assert len(json_text(found)) < 2_000


def test_an_edit_that_counts_now_has_the_job(allowed: Root) -> None:
    found = ask(allowed, "update", job="heartbeat", schedule={"every": "2h"})
    assert (found["applied"], found["job"]["version"][:2]) == ("now", "2-")
    assert found["proposed"]["schedule_text"] == found["job"]["schedule_text"] == "every 2 hours"


# -- hints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"action": "update", "job": "a", "prompt": "x"}, "did you mean 'task'?"),
        ({"action": "create", "job": "a", "content": "x"}, "did you mean 'task'?"),
        ({"action": "update", "job": "a", "cron": "0 9 * * *"}, 'write schedule: {"cron": "0 9 * * *"}'),
        ({"action": "create", "job": "a", "every": "2h"}, 'write schedule: {"every": "2h"}'),
        ({"action": "update", "job": "a", "tz": "UTC"}, 'write schedule: {"timezone": "UTC"}'),
        ({"action": "update", "job": "a", "retries": 3}, 'write retry: {"attempts": 3}'),
        ({"action": "history", "job": "a", "limit": 5}, "did you mean 'n'?"),
        ({"action": "list", "count": 5}, "did you mean 'n'?"),
        ({"action": "show", "name": "a"}, "did you mean 'job'?"),
        ({"action": "run", "id": "a"}, "did you mean 'job'?"),
        ({"action": "diff", "job": "a"}, "did you mean 'before'?"),
        ({"action": "diff", "run": "a:1"}, "did you mean 'before'?"),
        ({"action": "diff", "name": "a"}, "did you mean 'before'?"),
        ({"action": "list", "tags": "a"}, "did you mean 'tag'?"),
        ({"action": "next", "from": "now"}, "did you mean 'since'?"),
        ({"action": "next", "to": "+1h"}, "did you mean 'until'?"),
        ({"action": "explain", "job": "a", "when": "now"}, "did you mean 'at'?"),
        ({"action": "mv", "job": "a", "file": "jobs/b.md"}, "did you mean 'path'?"),
        ({"action": "delete", "job": "a", "version": "1-a"}, "did you mean 'if_version'?"),
        ({"action": "pause", "job": "a", "comment": "x"}, "did you mean 'reason'?"),
        ({"action": "update", "job": "a", "changes": {"name": "x"}}, "did you mean 'set'?"),
        ({"action": "show", "job": "a", "schedule": "@daily"}, "update changes a key of a job; show takes job, run"),
        ({"action": "sync", "force": True}, "it takes nothing else"),
    ],
)  # fmt: skip
def test_an_argument_by_another_name_is_met_by_its_meaning(given: dict[str, Any], hint: str) -> None:
    with pytest.raises(UsageError) as error:
        read_call(given)
    assert error.value.hint == hint


def test_next_takes_one_job_or_several(lived_in: Root) -> None:
    one = ask(lived_in, "next", job="tick", n=2)["fires"]
    assert one == ask(lived_in, "next", jobs=["tick"], n=2)["fires"]
    both = ask(lived_in, "next", job="tick", jobs=["tick", "heartbeat"], n=1)["fires"]
    assert [fire["job_id"] for fire in both] == ["tick", "heartbeat"]


@pytest.mark.parametrize(
    "words", ["every 2 hours", "every day at 8", "daily at 9am", "weekdays at 7:30", "9am Europe/Berlin"]
)
def test_words_get_the_exact_schedule_to_write(allowed: Root, words: str) -> None:
    hint = refused(allowed, "update", job="heartbeat", schedule=words).partition(" | ")[2]
    written = json.loads(hint.removeprefix("write schedule: ").removesuffix(", which means the same"))
    settings, _ = read_root_file(ROOT_FILE.encode())
    assert settings is not None
    job = f"id: a\ntask: x\nschedule: {json.dumps(written)}\n"
    assert read_job_file("jobs/a.yaml", job.encode(), settings).problems == ()
    assert ask(allowed, "update", job="heartbeat", schedule=written)["applied"] == "now"


def test_a_policy_says_what_to_give_and_giving_it_is_enough(allowed: Root) -> None:
    lines = POLICY.replace(", digest", "")
    allow(allowed, lines)
    assert refused(allowed, "create", **CREATED).endswith('| give it "tags": ["agent"]')
    told = refused(allowed, "create", **CREATED, tags=["daily", "agent"])
    assert told.endswith('| write its file elsewhere: "path": "jobs/agents/digest.md"')
    found = ask(allowed, "create", **CREATED, tags=["daily", "agent"], path="jobs/agents/digest.md")
    assert found["applied"] == "now"
    assert refused(allowed, "create", **{**CREATED, "job": "b"}, tags=["daily"]).endswith(
        '| give it "tags": ["daily", "agent"]'
    )
    told = refused(allowed, "mv", job="heartbeat", path="jobs/h.md")
    assert told.endswith("| move it to jobs/agents/h.md")
    assert "a person can allow it" in refused(allowed, "update", job="flaky", name="x"), "a tag opens no door there"
    allow(allowed, lines + "  fields: [task, task_source_path, schedule]\n")
    told = refused(allowed, "update", job="triage", task_source_path="scripts/flaky.sh")
    assert told.endswith('| keep the task elsewhere: "task_source_path": "prompts/agents/flaky.sh"')


def test_a_policy_of_names_says_a_name(allowed: Root) -> None:
    allow(allowed, POLICY.replace('["tag:agent", digest]', '["agent-*"]'))
    assert refused(allowed, "create", **CREATED).endswith("| name the job agent-digest")
    allow(allowed, POLICY.replace('["tag:agent", digest]', "[summary]"))
    assert refused(allowed, "create", **CREATED).endswith("| name the job summary")


def test_inside_a_run_a_command_is_told_the_same_with_its_options(
    allowed: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(allowed, POLICY.replace(", digest", ""))
    monkeypatch.setenv("SCHEDULER_RUN_ID", "heartbeat:7")
    new = ("create", "digest", "--set", "schedule=@daily", "--set", "task=x")
    tags = "tags='[\"agent\"]'"
    assert f"hint: give it --set {tags}\n" in allowed.cli(*new).stderr
    tagged = (*new, "--set", 'tags=["agent"]')
    assert "hint: write its file elsewhere: --file jobs/agents/digest.yaml\n" in allowed.cli(*tagged).stderr
    assert allowed.cli(*tagged, "--file", "jobs/agents/digest.yaml").code == 0
