"""The tools, called as an agent calls them: what they may do, what they tell, and what they cannot harm."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from scheduler.cli.main import option_for, option_with
from scheduler.core.formats.shapes import JobShape
from scheduler.core.values.problems import Remedy, SchedulerError, UsageError
from scheduler.root.place import locate
from scheduler.run.local.cancel import Cancel
from scheduler.service import root as service
from scheduler.tool.arguments import ACTS, CALLS, EDIT_TOOL, KEYS, READ_TOOL, READS, TOOLS, read_call
from scheduler.tool.calls import _ACTIONS, answer, error_json
from scheduler.tool.reach import EDITS
from scheduler.tool.schema import DESCRIPTIONS, input_schema
from tests.faces.conftest import JOBS, TRIAGE, Root, contents
from tests.faces.test_editing import hook

POLICY = """\
agents:
  jobs: ["tag:agent", digest]
  verbs: [update, rollback, run, pause, resume, create, delete, mv, cancel, sync]
  paths: ["jobs/agents/**", "prompts/agents/**"]
  edits: commit
"""
FORBIDDEN = [
    {"action": "update", "job": "heartbeat", "name": "x"},
    {"action": "create", "job": "digest", "schedule": "@daily", "task": "x"},
    {"action": "delete", "job": "heartbeat"},
    {"action": "mv", "job": "heartbeat", "path": "jobs/h.md"},
    {"action": "rollback", "job": "heartbeat", "to": "heartbeat:1"},
    {"action": "run", "job": "heartbeat"},
    {"action": "pause", "job": "heartbeat"},
    {"action": "resume", "job": "heartbeat"},
    {"action": "cancel", "run": "heartbeat:1"},
    {"action": "sync"},
]


def ask(root: Root, action: str, **given: Any) -> Any:
    """The answer to a call that succeeds. Raises: SchedulerError."""
    place = locate(None, None, None, environ=os.environ, cwd=root.path)
    seen = service.Root(place=place, actor="agent:tester", environ=os.environ, clock=root.clock)
    found = answer(seen, {"action": action, **given}, Cancel(), READ_TOOL if action in [*READS] else EDIT_TOOL)
    json.dumps(found)
    return found


def refused(root: Root, action: str, **given: Any) -> str:
    """What a call that changes nothing is told: message and hint."""

    def state() -> Any:
        files = {name: data for name, data in contents(root.path).items() if not name.startswith((".git/", ".sched"))}
        return files, root.git("for-each-ref"), root.git("ls-files", "-s")

    before = state()
    with pytest.raises(SchedulerError) as told:
        ask(root, action, **given)
    assert state() == before
    error = error_json(told.value)["error"]
    return f"{error['message']} | {error['hint']}"


def test_what_to_do_next_is_said_with_options_on_the_command_line_and_with_arguments_by_the_tool() -> None:
    for remedy in Remedy:
        error = UsageError("no", remedy=remedy)
        option, argument = error.told(option_for, option_with)[1], error_json(error)["error"]["hint"]
        assert "--" in option
        assert "--" not in argument
        assert "{" not in option + argument
    passed = UsageError("{until} {until} has passed", arguments=("until",))
    assert passed.told(option_for, option_with)[0] == "--until {until} has passed", (
        "what a caller has written stays as it is"
    )
    assert error_json(passed)["error"]["message"] == "until {until} has passed"


def allow(root: Root, policy: str = POLICY) -> None:
    text = (root.path / "scheduler.yaml").read_text().partition("agents:")[0]
    root.write("scheduler.yaml", text + policy)
    root.commit()
    root.sync()


@pytest.fixture
def allowed(lived_in: Root) -> Root:
    allow(lived_in)
    return lived_in


# -- the schema ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
def test_a_schema_is_valid_flat_and_has_every_argument_of_its_actions(tool: str) -> None:
    schema = input_schema(tool)
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["action"]["enum"] == list(TOOLS[tool])
    wanted = {"action", *(name for shape in TOOLS[tool].values() for name in shape.model_fields)}
    assert set(schema["properties"]) == wanted | (set(KEYS) if tool == EDIT_TOOL else set())
    assert all(each["description"] for each in schema["properties"].values())
    assert not {"oneOf", "anyOf", "allOf"} & set(schema), "models' APIs refuse these at the top"
    assert not [word for word in ("(?", "patternProperties", "$ref", "null") if word in json.dumps(schema)]
    assert None not in [each.get("type") for each in schema["properties"].values()]
    assert all("items" in each for each in schema["properties"].values() if "array" in each["type"])


def test_each_action_belongs_to_one_tool_and_is_carried_out() -> None:
    assert not set(READS) & set(ACTS)
    assert {*CALLS} == {*READS, *ACTS} == {*_ACTIONS}
    assert set(KEYS) == set(JobShape.model_fields) - {"id"}
    assert not set(KEYS) & {name for shape in ACTS.values() for name in shape.model_fields}
    schema = input_schema(EDIT_TOOL)["properties"]
    assert (schema["schedule"]["type"], schema["retry"]["type"]) == (["string", "object", "array"], "object")


def examples(tool: str) -> Iterator[dict[str, Any]]:
    text = DESCRIPTIONS[tool].partition("Examples:\n")[2].partition("\n\n")[0]
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        found, at = decoder.raw_decode(text, at)
        yield found


@pytest.mark.parametrize("tool", TOOLS)
def test_every_example_of_a_description_fits_the_schema_and_can_be_read(tool: str) -> None:
    found = list(examples(tool))
    assert len(found) >= 3
    validator = Draft202012Validator(input_schema(tool))
    for each in found:
        validator.validate(each)
        assert read_call(each, tool).action == each["action"]


# -- reading is always allowed -------------------------------------------------------------------


def test_without_agents_the_tool_reads_everything(lived_in: Root) -> None:
    assert {job["id"] for job in ask(lived_in, "list", tag="agent")["jobs"]} == {"heartbeat", "triage"}
    found = ask(lived_in, "list", n=1)
    assert (len(found["jobs"]), found["left_out"]) == (1, 5)
    assert ask(lived_in, "show", job="heartbeat")["job"]["version"].startswith("1-")
    assert len(ask(lived_in, "next", jobs=["tick"], n=2)["fires"]) == 2
    assert {each["job_id"] for each in ask(lived_in, "next", until="+1h")["fires"]} >= {"tick"}
    assert ask(lived_in, "history", job="flaky", run_status="failed")["runs"][0]["id"] == "flaky:1"
    assert ask(lived_in, "output", run="flaky:1")["stderr"] == "to the other stream\n"
    assert ask(lived_in, "task", run="heartbeat:1")["task"] == "You are woken once an hour.\n"
    assert ask(lived_in, "explain", job="heartbeat", at="-1m")["job_id"] == "heartbeat"
    assert [each["kind"] for each in ask(lived_in, "log", job="heartbeat", n=1)["log"]] == ["run"]
    assert ask(lived_in, "diff", before="heartbeat")["text_changed"] is False
    assert ask(lived_in, "diff", before="flaky:1", after="flaky:1")["text_changed"] is False
    assert ask(lived_in, "versions", job="heartbeat")["versions"][0]["runs"] == 1
    assert ask(lived_in, "validate") == {"problems": []}
    assert ask(lived_in, "validate", paths=["jobs/triage.yaml"]) == {"problems": []}
    assert ask(lived_in, "plan")["unchanged"] == 6
    lived_in.write("jobs/triage.yaml", TRIAGE + "name: New\n")
    assert [each["id"] for each in ask(lived_in, "plan", base="HEAD")["updated"]] == ["triage"]
    assert ask(lived_in, "run", job="heartbeat", dry_run=True)["task"] == "You are woken once an hour.\n"


def test_a_root_that_was_never_synced_says_so(root: Root) -> None:
    found = ask(root, "list")
    assert [job["id"] for job in found["jobs"]] == list(JOBS)
    assert found["notes"] == ["this root has never been synced: these jobs are read from its files"]
    assert ask(root, "next")["notes"] == ["this root has never been synced: no jobs are known yet"]


def test_what_is_long_is_cut_and_says_so(allowed: Root) -> None:
    allowed.write("scripts/flaky.sh", "yes x | head -c 50000\n")
    allow(allowed, POLICY.replace("digest", "flaky"))
    assert ask(allowed, "run", job="flaky")["run"]["result_cut"]
    found = ask(allowed, "output", run="flaky:2")
    assert (len(found["stdout"]), found["characters_left_out_before"]) == (16_384, {"stdout": 50_000 - 16_384})
    assert len(ask(allowed, "history", job="flaky")["runs"][0]["result"]) == 1_000


# -- the policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", FORBIDDEN, ids=lambda call: call["action"])
def test_without_agents_nothing_is_changed(lived_in: Root, call: dict[str, Any]) -> None:
    told = f"agents cannot {call['action']} jobs here: scheduler.yaml has no `agents` section"
    assert told in refused(lived_in, **call)


@pytest.mark.parametrize("call", FORBIDDEN, ids=lambda call: call["action"])
def test_a_verb_that_is_not_named_is_refused(lived_in: Root, call: dict[str, Any]) -> None:
    other = "resume" if call["action"] == "pause" else "pause"
    allow(lived_in, f"agents: {{jobs: ['*'], verbs: [{other}]}}\n")
    assert f"agents.verbs allows {other}" in refused(lived_in, **call)


def test_only_the_jobs_that_are_named_are_changed(allowed: Root) -> None:
    for verb, more in (("update", {"name": "x"}), ("delete", {}), ("run", {}), ("pause", {}), ("resume", {})):
        told = refused(allowed, verb, job="flaky", **more)
        assert "agents cannot " + verb + " job 'flaky'; agents.jobs allows tag:agent, digest" in told
    assert "job 'flaky'" in refused(allowed, "cancel", run="flaky:1")


def test_a_tag_written_into_a_file_behind_the_back_of_a_sync_opens_no_door(allowed: Root) -> None:
    allowed.edit("jobs/flaky.yaml", "id: flaky\n", "id: flaky\ntags: [agent]\n")
    assert "cannot update job 'flaky'" in refused(allowed, "update", job="flaky", name="x")


def test_a_new_job_comes_under_the_policy_with_its_own_tags_and_those_it_had_before(allowed: Root) -> None:
    made = {"schedule": "@daily", "task": "x\n", "path": "jobs/agents/new.md"}
    assert "cannot create job 'other'" in refused(allowed, "create", job="other", **made)
    allowed.delete("jobs/flaky.yaml")
    allowed.commit()
    allowed.sync()
    assert "cannot create job 'flaky'" in refused(allowed, "create", job="flaky", tags=["agent"], **made)
    found = ask(allowed, "create", job="other", tags=["agent"], **made)
    assert (found["applied"], found["file"]) == ("now", "jobs/agents/new.md")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"runner": "agent"}, "runner"),
        ({"runner": "shell"}, "runner"),
        ({"timeout": "1h"}, "timeout"),
        ({"set": {"env.MODE": "wild"}}, "env"),
        ({"unset": ["owner"]}, "owner"),
        ({"set": {"retry.attempts": 9}, "name": "x"}, "retry"),
    ],
)
def test_only_the_fields_that_are_named_are_changed(allowed: Root, given: dict[str, Any], field: str) -> None:
    told = refused(allowed, "update", job="heartbeat", **given)
    assert f"agents cannot change {field}; agents.fields allows task, name, description" in told


def test_a_rollback_is_held_to_the_fields_as_an_update_is(allowed: Root) -> None:
    before = allowed.git("rev-parse", "HEAD")
    allowed.edit("jobs/heartbeat.md", "MODE: calm", "MODE: other")
    allowed.edit("jobs/heartbeat.md", "once an hour", "once an hour or so")
    allowed.commit()
    allowed.sync()
    assert "agents cannot change env" in refused(allowed, "rollback", job="heartbeat", to=f"commit:{before}")
    found = ask(allowed, "rollback", job="heartbeat", to="heartbeat:1")
    assert "+You are woken once an hour.\n" in found["diff"]


def test_files_are_written_only_where_paths_say(allowed: Root) -> None:
    new = {"job": "digest", "schedule": "@daily", "task": "x\n"}
    assert "agents cannot write jobs/digest.md; agents.paths allows jobs/agents/**" in refused(allowed, "create", **new)
    assert "agents cannot write jobs/h.md" in refused(allowed, "mv", job="heartbeat", path="jobs/h.md")
    told = refused(allowed, "create", path="jobs/agents/d.yaml", task_source_path="prompts/agents/d.md", **new)
    assert "agents cannot change task_source_path" in told
    assert ask(allowed, "create", path="jobs/agents/d.yaml", **new)["file"] == "jobs/agents/d.yaml"
    assert ask(allowed, "mv", job="heartbeat", path="jobs/agents/")["file"] == "jobs/agents/heartbeat.md"


def test_a_task_file_that_is_somebody_elses_is_not_written_through_a_job(allowed: Root) -> None:
    policy = POLICY + "  fields: [task, task_source_path]\n"
    allow(allowed, policy)
    told = refused(allowed, "update", job="triage", task_source_path="scripts/flaky.sh", task="rm -r /\n")
    assert "agents cannot write scripts/flaky.sh" in told
    allowed.write("jobs/twin.yaml", 'id: twin\nschedule: "@daily"\ntask_source_path: prompts/triage.md\n')
    allowed.commit()
    allowed.sync()
    assert "agents cannot update job 'twin'" in refused(allowed, "update", job="triage", task="both\n")


@pytest.mark.parametrize("edits", ["commit", "branch"])
def test_a_text_that_another_job_reaches_by_a_link_is_not_the_agents(allowed: Root, edits: str) -> None:
    (allowed.path / "prompts/link.md").symlink_to("triage.md")
    allowed.write("jobs/twin.yaml", 'id: twin\nschedule: "@daily"\ntask_source_path: prompts/link.md\n')
    allow(allowed, POLICY.replace("edits: commit", f"edits: {edits}"))
    assert "agents cannot update job 'twin'" in refused(allowed, "update", job="triage", task="both\n")


def test_a_text_that_paths_let_an_agent_write_is_still_not_its_own_while_another_job_runs_it(allowed: Root) -> None:
    allow(allowed, POLICY.replace("prompts/agents/**", "scripts/**") + "  fields: [task, task_source_path]\n")
    told = refused(allowed, "update", job="triage", task_source_path="scripts/flaky.sh", task="rm -r /\n")
    assert "agents cannot update job 'flaky'" in told


def test_a_file_where_no_path_allows_one_is_not_made_the_agents_by_naming_it_first(allowed: Root) -> None:
    allowed.write("README.md", "Not a task.\n")
    allowed.write("prompts/agents/next.md", "A task.\n")
    allow(allowed, POLICY + "  fields: [task, task_source_path, schedule]\n")
    for path in ("README.md", "scheduler.yaml"):
        said = "change scheduler.yaml" if path == "scheduler.yaml" else f"write {path}"
        assert said in refused(allowed, "update", job="triage", task_source_path=path)
        told = refused(
            allowed, "create", job="digest", schedule="@daily", task_source_path=path, path="jobs/agents/d.yaml"
        )
        assert said in told
    assert ask(allowed, "update", job="triage", task_source_path="prompts/agents/next.md")["applied"] == "now"
    assert ask(allowed, "update", job="triage", task="Mine by now.\n")["files"] == ["prompts/agents/next.md"]


def test_a_text_that_looks_like_a_job_is_judged_as_a_text(allowed: Root) -> None:
    text = '---\nid: triage\nschedule: "@daily"\nrunner: shell\n---\nAn example of a job.\n'
    assert ask(allowed, "update", job="triage", name="Example", task=text)["applied"] == "now"


def test_a_key_that_is_none_is_no_question_of_policy(allowed: Root) -> None:
    told = refused(allowed, "update", job="heartbeat", set={"nam": "x"})
    assert "did you mean 'name'?" in told
    assert "agents" not in told


def test_scheduler_yaml_is_written_by_no_verb(allowed: Root) -> None:
    allow(allowed, POLICY.replace("jobs/agents/**", "**") + "  fields: [task, task_source_path, schedule]\n")
    for call in (
        {"action": "update", "job": "triage", "task_source_path": "scheduler.yaml", "task": "version: 1\n"},
        {"action": "create", "job": "digest", "schedule": "@daily", "task": "x", "path": "scheduler.yaml"},
        {"action": "mv", "job": "heartbeat", "path": "scheduler.yaml"},
    ):
        assert "scheduler.yaml" in refused(allowed, **call)


def test_an_edit_of_scheduler_yaml_allows_nothing_until_a_sync_and_plan_says_that_it_widens(lived_in: Root) -> None:
    allow(lived_in, "agents: {jobs: [heartbeat], edits: working-tree}\n")
    lived_in.edit("scheduler.yaml", "jobs: [heartbeat]", "jobs: ['*']")
    assert "cannot update job 'triage'" in refused(lived_in, "update", job="triage", name="x")
    (change,) = ask(lived_in, "plan")["root_changed"]
    assert (change["field"].partition(".")[0], change["widens"]) == ("agents", True)
    lived_in.sync()
    assert ask(lived_in, "update", job="triage", name="x")["applied"] == "now"


def test_before_the_first_sync_the_policy_is_that_of_the_file(root: Root) -> None:
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text() + POLICY)
    root.commit()
    assert ask(root, "update", job="heartbeat", name="x")["applied"] == "next_sync"


# -- where edits go ------------------------------------------------------------------------------


def test_an_edit_is_a_commit_of_its_file_alone(allowed: Root) -> None:
    found = ask(allowed, "update", job="heartbeat", task="Look first.\n", message="Look first")
    assert (found["applied"], found["commit"]) == ("now", allowed.git("rev-parse", "HEAD"))
    assert allowed.git("log", "-1", "--format=%s") == "Look first"
    assert allowed.git("show", "--name-only", "--format=", "HEAD") == "jobs/heartbeat.md"
    assert allowed.json("audit", "heartbeat")["audit"][-1]["actor"] == "agent:tester"


def test_unless_it_says_otherwise_an_edit_is_a_commit_on_a_branch_of_the_agents(lived_in: Root) -> None:
    allow(lived_in, "agents: {jobs: [heartbeat]}\n")
    head = lived_in.git("rev-parse", "HEAD")
    for given in ({}, {"commit": True}):
        found = ask(lived_in, "update", job="heartbeat", name=f"x {given}", **given)
        assert (found["applied"], found["branch"]) == ("pending_branch", "agents/heartbeat")
    assert lived_in.git("rev-parse", "HEAD") == head
    assert lived_in.git("rev-list", "--count", f"{head}..agents/heartbeat") == "2"
    assert lived_in.job("heartbeat")["name"] == "Hourly heartbeat"


def test_a_commit_that_a_hook_rejects_after_formatting_the_file_is_not_in_force(allowed: Root) -> None:
    hook(allowed, "pre-commit", "sed -i 's/1h30m/ 1h30m /' jobs/heartbeat.md; echo no >&2; exit 1")
    told = refused(allowed, "update", job="heartbeat", schedule={"every": "1h30m"})
    assert "git did not commit the edit: no | the files are unchanged; a hook changed jobs/heartbeat.md" in told


def test_no_other_branch_is_written(allowed: Root) -> None:
    allowed.git("branch", "release")
    told = refused(allowed, "update", job="heartbeat", name="x", branch="release")
    assert told == "agents cannot write branch 'release': their branches begin with agents/ | name it agents/release"
    assert ask(allowed, "update", job="heartbeat", name="x", branch="agents/x")["branch"] == "agents/x"


# -- inside a run --------------------------------------------------------------------------------


def test_commands_inside_a_run_are_held_to_the_policy_too(allowed: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULER_RUN_ID", "heartbeat:7")
    found = allowed.json("update", "heartbeat", "--set", "name=Mine")
    assert (found["applied"], found["commit"]) == ("now", allowed.git("rev-parse", "HEAD"))
    for args, said in (
        (["--set", "owner=me"], "agents cannot change owner"),
        (["--set", "name=x", "--branch", "main2"], "their branches begin with agents/"),
    ):
        told = allowed.cli("update", "heartbeat", *args)
        assert told.code == 3
        assert "this is inside run heartbeat:7" in told.stderr
        assert said in told.stderr
    assert "cannot update job 'flaky'" in allowed.cli("update", "flaky", "--set", "name=x").stderr


# -- what makes no sense -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"action": "updat"}, "there is no action 'updat' | did you mean 'update'?"),
        ({"action": None}, "action is missing | it is one of update, create"),
        ({"action": ["update"]}, "there is no action"),
        ({"action": "show"}, "show: job or run is missing | write job: heartbeat, or run: heartbeat:7"),
        ({"action": "show", "job": "heartbeat", "run": "heartbeat:1"}, "job and run are both given"),
        ({"action": "show", "job": 5}, "job must be text, not the number 5"),
        ({"action": "show", "job": "heartbeet"}, "did you mean 'heartbeat'?"),
        ({"action": "show", "job": "heartbeat", "name": "x"}, "did you mean 'job'?"),
        ({"action": "update", "job": "heartbeat"}, "update changes nothing: no key of the job was given | give one"),
        ({"action": "update", "job": "heartbeat", "colour": "red"}, "update takes no 'colour' | it takes job"),
        ({"action": "update", "job": "heartbeat", "schedul": "@daily"}, "did you mean 'schedule'?"),
        ({"action": "update", "job": "heartbeat", "id": "new"}, "an id never changes"),
        ({"action": "update", "job": "heartbeat", "retry.attempts": 3}, "write set: {retry.attempts: ...}"),
        ({"action": "update", "job": "heartbeat", "name": None}, "name is null | leave it out to keep it"),
        ({"action": "update", "job": "heartbeat", "name": "x", "set": {"name": "y"}}, "name is given both in set"),
        ({"action": "update", "job": "heartbeat", "name": ""}, "the text is blank"),
        ({"action": "update", "job": "heartbeat", "schedule": "0 25 * * *"}, "[schedule.cron]"),
        ({"action": "update", "job": "heartbeat", "schedule": {"every": "soon"}}, "soon"),
        ({"action": "update", "job": "heartbeat", "enabled": "no"}, "enabled"),
        ({"action": "update", "job": "heartbeat", "schedule": '{"every"'}, "schedule looks like JSON text"),
        ({"action": "update", "job": "heartbeat", "tags": '["a"'}, "give the object or list itself, not as text"),
        ({"action": "update", "job": "heartbeat", "set": "name=x"}, 'write set: {"retry.attempts": 3}'),
        ({"action": "update", "job": "heartbeat", "task": "  \n"}, "the task is"),
        ({"action": "update", "job": "heartbeat", "task": 5}, "task"),
        ({"action": "update", "job": "heartbeat", "task": "a\ud800"}, "lone surrogate"),
        ({"action": "update", "job": "heartbeat", "name": "a\0b"}, "name contains a NUL character"),
        ({"action": "update", "job": "heartbeat", "set": {"tags": [float("nan")]}}, "tags contains nan"),
        ({"action": "update", "job": "heartbeat", "name": "x", "message": "a\0b"}, "the commit message contains a NUL"),
        ({"action": "mv", "job": "heartbeat", "path": "jobs/agents/a\0b.md"}, "contains a NUL character"),
        ({"action": "rollback", "job": "heartbeat", "to": "commit:HEAD\0"}, "is not a commit here"),
        ({"action": "update", "job": "heartbeat", "name": "x", "if_version": "9-x"}, "is at version 1-"),
        ({"action": "pause", "job": "heartbeat", "until": "someday"}, "until: 'someday' is not an instant"),
        ({"action": "pause", "job": "heartbeat", "until": "+99999999d"}, "outside the years 1 to 9999"),
        ({"action": "pause", "job": "heartbeat", "until": "+1h", "next": True}, "leave until out"),
        ({"action": "rollback", "job": "heartbeat", "to": "heartbeat:99"}, "is not a run of"),
        ({"action": "history", "job": "heartbeat", "n": 0}, "n 0 is outside 1-1000"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_says_what_would(allowed: Root, given: dict[str, Any], told: str) -> None:
    assert told in refused(allowed, **given)


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"schedule": '{"every": "2h"}'}, "schedule", {"every": "2h"}),
        ({"schedule": ' {every: 2h} '}, "schedule", {"every": "2h"}),
        ({"schedule": '["@daily", {"every": "2h"}]'}, "schedule", ["@daily", {"every": "2h"}]),
        ({"schedule": ["@daily", '{"every": "2h"}']}, "schedule", ["@daily", {"every": "2h"}]),
        ({"set": {"schedule": '{"every": "2h"}'}}, "schedule", {"every": "2h"}),
        ({"set": '{"schedule": {"every": "2h"}}'}, "schedule", {"every": "2h"}),
        ({"tags": '["agent", "b"]'}, "tags", ["agent", "b"]),
        ({"name": '{"every": "2h"}'}, "name", '{"every": "2h"}'),
        ({"description": "[x] done"}, "description", "[x] done"),
    ],
)  # fmt: skip
def test_the_text_of_an_object_is_the_object_where_one_is_meant(
    allowed: Root, given: dict[str, Any], key: str, value: Any
) -> None:
    ask(allowed, "update", job="heartbeat", **given)
    text = (allowed.path / "jobs/heartbeat.md").read_text()
    assert yaml.safe_load(text.split("---")[1])[key] == value


def test_text_in_a_variable_stays_text() -> None:
    call = read_call({"action": "update", "job": "a", "env": {"A": '{"b": 1}'}, "set": {"env.B": "[1]"}})
    assert (call.keys["env"], call.given.set) == ({"A": '{"b": 1}'}, {"env.B": "[1]"})
    assert read_call({"action": "update", "job": "a", "unset": '["owner"]'}).given.unset == ["owner"]


def test_hints_name_arguments_and_not_options_of_commands(allowed: Root) -> None:
    told = refused(allowed, "update", job="triage", task="x\n", unset=["task_source_path", "nope"])
    assert "--" not in told
    assert set(EDITS) == {"update", "create", "delete", "mv", "rollback"}


# -- acting --------------------------------------------------------------------------------------


def test_an_agent_runs_pauses_resumes_and_syncs(allowed: Root) -> None:
    found = ask(allowed, "run", job="heartbeat", wait=True)
    assert (found["run"]["status"], "no daemon is running" in found["notes"][0]) == ("succeeded", True)
    paused = ask(allowed, "pause", job="heartbeat", reason="holidays", until="+2h")
    assert (paused["job"]["status"], paused["job"]["paused"]["by"]) == ("paused", "agent:tester")
    assert ask(allowed, "resume", job="heartbeat")["job"]["status"] == "active"
    assert ask(allowed, "sync")["unchanged"] == 6
    again = ask(allowed, "run", job="heartbeat", task_of="heartbeat:1", wait=True)["run"]
    assert (again["task_of"], again["trigger"]) == ("heartbeat:1", "rerun")
    assert "has already ended" in refused(allowed, "cancel", run="heartbeat:1")


def test_a_sync_confirms_nothing_that_the_guard_holds_back(allowed: Root) -> None:
    assert "sync takes no 'confirm_prune'" in refused(allowed, "sync", confirm_prune="x")


def test_every_edit_keeps_id_counters_and_history(allowed: Root) -> None:
    before = allowed.job("heartbeat"), allowed.runs("heartbeat")
    version = ask(allowed, "show", job="heartbeat")["job"]["version"]
    for given in (
        {"task": "New.\n", "if_version": version},
        {"schedule": {"every": "2h"}},
        {"name": "Other", "enabled": False},
        {"set": {"schedule": "0 5 * * *"}, "unset": ["description"]},
    ):
        ask(allowed, "update", job="heartbeat", **given)
    after = allowed.job("heartbeat"), allowed.runs("heartbeat")
    kept = ("id", "run_count", "created_at", "created_by", "last_run_at", "consecutive_errors")
    assert [after[0][name] for name in kept] == [before[0][name] for name in kept]
    assert after[1] == before[1]
    assert (after[0]["name"], after[0]["enabled"], after[0]["description"]) == ("Other", False, None)
