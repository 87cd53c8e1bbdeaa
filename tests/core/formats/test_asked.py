"""What a job asks of its runner: which models, arguments and working directories are accepted, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.core.formats.asked import Refusal, allowing_folder, model_of, refusals
from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.values.settings import RunnerSpec, Settings, TaskInput
from scheduler.core.values.spec import JobSpec

RUNNER = RunnerSpec(
    name="claude",
    command=("claude", "-p", "--model={model}", "{args}"),
    input=TaskInput.STDIN,
    job_models=("sonnet", "claude-haiku-*", "opus[1m]"),
    job_args=(("--max-turns", "[0-9]{1,2}"), ("--say", ".*"), ("--verbose", None)),
    workdirs=("fresh", "site", "~/src", "/srv/data/", "../sibling"),
)


def refused(
    runner: RunnerSpec = RUNNER,
    *,
    model: str | None = "sonnet",
    args: tuple[str, ...] = (),
    workdir: str | None = None,
    job_id: str = "a",
) -> list[Refusal]:
    return list(refusals(runner, job_id=job_id, model=model, args=args, workdir=workdir))


@pytest.mark.parametrize("model", ["sonnet", "claude-haiku-4-5", "opus[1m]"])
def test_a_model_is_allowed_by_its_name_or_by_a_glob(model: str) -> None:
    assert refused(model=model) == []


@pytest.mark.parametrize("model", ["Sonnet", "sonnet-4", "haiku"])
def test_any_other_model_is_refused_by_name(model: str) -> None:
    (found,) = refused(model=model)
    assert (found.key, found.code) == (("model",), "model.not-allowed")
    assert repr(model) in found.message
    assert "claude-haiku-*" in found.message


def test_a_near_name_is_suggested() -> None:
    assert refused(model="sonet")[0].hint == "did you mean 'sonnet'?"


def test_a_job_without_a_model_gets_that_of_the_runner_and_is_refused_if_there_is_none() -> None:
    own = replace(RUNNER, model="big")
    assert [each.code for each in refused(model=None)] == ["model.missing"]
    assert refused(own, model=None) == []
    assert refused(own, model="big") == [], "what it gets anyway, it may name"
    spec = read('id: a\nschedule: "@daily"\ntask: x\nrunner: r\n', "{command: [x, '{model}'], model: big}")
    assert model_of(spec, own) == "big"
    assert model_of(replace(spec, model="sonnet"), own) == "sonnet"


def test_a_command_without_the_placeholder_is_a_problem_only_for_a_job_that_asks() -> None:
    bare = replace(RUNNER, command=("claude", "-p"))
    assert refused(bare, model=None) == []
    assert [each.code for each in refused(bare, args=("--verbose",))] == ["model.no-placeholder", "args.no-placeholder"]


@pytest.mark.parametrize(
    "args",
    [
        ("--verbose",),
        ("--max-turns", "5"),
        ("--max-turns=5", "--verbose", "--max-turns", "10"),
        ("--say=--dangerous",),  # one word: no program takes it for two
        ("--say", "a b; rm -rf {}"),
    ],
)
def test_allowed_options_pass_with_values_that_match_from_begin_to_end(args: tuple[str, ...]) -> None:
    assert refused(args=args) == []


@pytest.mark.parametrize(
    ("args", "at", "says"),
    [
        (("--dangerous",), 0, "option '--dangerous'"),
        (("--dangerous=1",), 0, "option '--dangerous'"),
        (("free",), 0, "argument 'free'"),
        (("--",), 0, "option '--'"),
        (("--verbose", "yes"), 1, "argument 'yes'"),
        (("--verbose=yes",), 0, "takes no value"),
        (("--max-turns",), 0, "has no value"),
        (("--max-turns", "100"), 1, "'100'"),
        (("--max-turns", "5\n"), 1, "must match"),
        (("--max-turns", "--verbose"), 1, "taken for an option"),
        (("--say", "-x"), 1, "taken for an option"),
        (("--say={task_file}",), 0, "placeholder"),
        (("--say", "{args}"), 1, "placeholder"),
        (("--max", "5"), 0, "option '--max'"),
    ],
)
def test_a_word_that_is_not_allowed_is_blamed_at_its_place(args: tuple[str, ...], at: int, says: str) -> None:
    (found,) = refused(args=args)
    assert (found.key, found.code) == (("args", at), "args.not-allowed")
    assert says in found.message
    assert found.hint


@pytest.mark.parametrize(
    ("workdir", "by"),
    [
        ("fresh", "fresh"),
        ("site", "site"),
        ("./site/", "site"),
        ("site/a/b", "site"),
        ("~/src", "~/src"),
        ("~/src/x", "~/src"),
        ("/srv/data", "/srv/data/"),
        ("//srv/data/x", "/srv/data/"),
        ("../sibling/x", "../sibling"),
        *((each, None) for each in ("sites", "~", "~/srcs", "/srv", "/srv/database", "root", "..", "../..", "./fresh")),
    ],
)
def test_a_working_directory_is_allowed_in_and_below_a_folder_as_it_is_written(workdir: str, by: str | None) -> None:
    assert allowing_folder(workdir, RUNNER) == by
    assert [each.code for each in refused(workdir=workdir)] == ([] if by else ["workdir.not-allowed"])


@pytest.mark.parametrize(
    ("workdir", "allowed"), [("a/b", True), ("root", True), ("..", False), ("/a", False), ("~", False)]
)
def test_the_root_allows_all_that_is_in_it_and_nothing_else(workdir: str, allowed: bool) -> None:
    assert (allowing_folder(workdir, replace(RUNNER, workdirs=("root",))) is not None) is allowed


@pytest.mark.parametrize("workdir", ["..", "../a", "../../a"])
def test_the_parent_of_the_root_allows_what_is_in_it(workdir: str) -> None:
    found = allowing_folder(workdir, replace(RUNNER, workdirs=("..",)))
    assert (found is not None) is (workdir != "../../a")


@pytest.mark.parametrize("job_id", ["a..b", "a.", "a.lock"])
def test_an_id_that_no_branch_can_have_gets_no_fresh_worktree(job_id: str) -> None:
    assert [each.code for each in refused(workdir="fresh", job_id=job_id)] == ["workdir.branch"]
    assert refused(workdir="site", job_id=job_id) == []


def settings(runner: str, more: str = "") -> Settings:
    found, problems = read_root_file(f"version: 1\nrunners: {{r: {runner}}}\n{more}".encode())
    assert found is not None, problems
    return found


def read(text: str, runner: str) -> JobSpec:
    (document,) = read_job_file("jobs/a.yaml", text.encode(), settings(runner)).documents
    assert document.spec is not None
    return document.spec


def test_a_problem_names_the_place_and_says_when_the_value_is_from_the_defaults() -> None:
    here = settings("{command: [cat]}", "defaults: {model: big}\n")
    text = b'id: a\nrunner: r\nschedule: "@daily"\ntask: x\n'
    (problem,) = read_job_file("jobs/a.yaml", text, here).problems
    assert (problem.code, problem.line, "defaults" in problem.message) == ("model.no-placeholder", 1, True)
    assert read_job_file("jobs/a.yaml", text + b"model: null\n", here).problems == ()


def test_wishes_are_judged_beside_other_faults_of_the_file() -> None:
    here = settings("{command: [cat]}")
    text = b'id: a\nrunner: r\nschedule: "@never"\ntask: x\nmodel: big\nargs: [1]\n'
    found = [problem.code for problem in read_job_file("jobs/a.yaml", text, here).problems]
    assert found == ["schedule.cron", "model.no-placeholder", "value.type"]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ('[x, "a{args}"]', "runner.command"),
        ('[x, "{args}", "{args}"]', "runner.command"),
        ('["{model}"]', "runner.command"),
        ('[x, "{Model}"]', "runner.command"),
        ('[x, "{ARGS}"]', "runner.command"),
    ],
)
def test_placeholders_stand_where_they_can_be_filled_in(command: str, code: str) -> None:
    found, problems = read_root_file(f"version: 1\nrunners: {{r: {{command: {command}}}}}\n".encode())
    assert (found, [problem.code for problem in problems]) == (None, [code])


def test_the_command_is_filled_in_word_by_word_and_the_task_is_left_alone() -> None:
    runner = replace(RUNNER, command=("x", "-m", "{model}", "--to={model}!", "{args}", "{task}", "{task_file}", "{}"))
    words = ("-m", "a", "--to=a!", "--say", "b c", "{task}", "{task_file}", "{}")
    assert runner.words("a", ("--say", "b c")) == words
    assert runner.words("a", ()) == (*words[:3], *words[5:])
