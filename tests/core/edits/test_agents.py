"""What `agents` in scheduler.yaml says, and what follows from it."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from scheduler.core.edits import agents
from scheduler.core.formats.root_shapes import AgentField, AgentsShape
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.shapes import JobShape
from scheduler.core.values.settings import Agents, Settings

ROOT = "version: 1\nagents: {%s}\n"


def read(text: str) -> Agents:
    settings, problems = read_root_file((ROOT % text).encode())
    assert settings is not None, problems
    assert settings.agents is not None
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    return settings.agents


def told(text: str) -> tuple[str, str, str]:
    settings, (problem, *_) = read_root_file(text.encode())
    assert settings is None
    return problem.code, problem.message, problem.hint


def test_without_agents_there_is_no_policy_and_what_was_stored_before_has_none_either() -> None:
    settings, _ = read_root_file(b"version: 1\n")
    assert settings is not None
    assert settings.agents is None
    assert "agents" not in settings.to_json()
    assert Settings.from_json(settings.to_json()) == settings


def test_the_defaults_are_narrow_and_those_of_the_shape() -> None:
    found = read("jobs: [a]")
    assert found == Agents(jobs=("a",))
    assert Agents.from_json(AgentsShape(jobs=["a"]).model_dump()) == found
    assert (found.verbs, found.paths, found.edits) == (("update",), (), "branch")
    assert found.fields == ("task", "name", "description", "tags", "schedule", "enabled")


def test_every_key_of_a_job_but_its_id_can_be_named() -> None:
    assert set(get_args(AgentField)) == set(JobShape.model_fields) - {"id"}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("version: 1\nagents:\n", "value.missing", "the key has no value"),
        ("version: 1\nagents: {}\n", "key.missing", "'jobs' is missing"),
        ("version: 1\nagents: {jobs: []}\n", "value.empty", "the list is empty"),
        ("version: 1\nagents: {jobs: [A b]}\n", "runner.jobs", "A b"),
        ("version: 1\nagents: {jobs: [a], verbs: [updat]}\n", "value.choice", "updat"),
        ("version: 1\nagents: {jobs: [a], verbs: []}\n", "value.empty", "the list is empty"),
        ("version: 1\nagents: {jobs: [a], fields: [id]}\n", "value.choice", "id"),
        ("version: 1\nagents: {jobs: [a], fields: []}\n", "value.empty", "the list is empty"),
        ("version: 1\nagents: {jobs: [a], paths: [../x]}\n", "glob.invalid", "../x"),
        ("version: 1\nagents: {jobs: [a], edits: push}\n", "value.choice", "push"),
        ("version: 1\nagents: {jobs: [a], verb: [run]}\n", "key.unknown", "'verb'"),
        ("version: 1\nagents: [a]\n", "value.type", "agents must be a mapping"),
    ],
)
def test_what_is_wrong_in_it_is_said_with_its_value(text: str, code: str, said: str) -> None:
    found = told(text)
    assert said in found[1]
    assert found[0] == code


def test_a_verb_is_allowed_by_name_and_nothing_without_a_policy() -> None:
    assert agents.check_verb(Agents(jobs=("*",)), "update") is None
    for policy in (None, Agents(jobs=("*",))):
        denied = agents.check_verb(policy, "delete")
        assert denied is not None
        assert denied.message.startswith("agents cannot delete jobs here")


@pytest.mark.parametrize(
    ("job", "tags", "allowed"),
    [("a-1", (), True), ("b", (), False), ("b", ("mine",), True), ("b", ("a-1",), False), ("b", ("mine2",), False)],
)
def test_a_job_is_allowed_by_its_id_or_a_tag(job: str, tags: tuple[str, ...], allowed: bool) -> None:
    assert (agents.check_job(Agents(jobs=("a-*", "tag:mine")), "update", job, tags) is None) is allowed


def test_a_path_is_allowed_by_a_glob_and_scheduler_yaml_never() -> None:
    policy = Agents(jobs=("*",), paths=("**", "jobs/agents/**"))
    assert agents.check_agent_path(policy, "jobs/agents/a.md") is None
    assert agents.check_agent_path(policy, "scheduler.yaml") is not None
    assert agents.check_agent_path(Agents(jobs=("*",)), "jobs/a.md") is not None


@pytest.mark.parametrize("name", ["main", "agent", "agents", "xagents/a", "refs/heads/agents/a"])
def test_only_branches_of_agents_are_written(name: str) -> None:
    assert agents.check_branch(name) is not None
    assert agents.check_branch("agents/a") is None


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({}, {"a": None}, ["a"]),
        ({"a": {"x": [1]}, "b": 1}, {"b": 1, "a": {"x": [2]}}, ["a"]),
    ],
)
def test_keys_differ_by_their_values_and_by_being_there(
    before: dict[str, Any], after: dict[str, Any], changed: list[str]
) -> None:
    assert list(agents.changed_keys(before, after)) == changed
