from __future__ import annotations

import json
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.formats.root_shapes import (
    AgentsShape,
    LimitsShape,
    PruneShape,
    RetentionShape,
    RootShape,
    RunnerShape,
)
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.values.channels import Alerts, Channel, Heartbeat
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.settings import DEFAULT_JOBS, Limits, Prune, Retention, RunnerSpec, Settings, TaskInput
from scheduler.core.values.usage import ResultFormat
from tests.core.problem_text import GOLDEN, check_golden, check_places

FULL = b"""\
version: 1
jobs: ["work/**/*.yaml"]
timezone: America/Los_Angeles
defaults: {timeout: 30m, runner: claude, owner: null, env: {MODE: day, OLD: null}}
runners:
  shell:  {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**", "jobs/**"]}
  claude: {command: [claude, -p, --output-format, json], input: stdin, env_from: [API_KEY], job_env: [MODE], cwd: root}
  echo:   {command: [./bin/echo, "--text={task}"], env: {B: "2", A: "1"}, cwd: bin}
hosts: ["prod-*"]
limits: {max_jobs: 5, task_bytes: 1KiB, output_bytes: 2048, max_running: 2}
prune: {max_percent: 10, max_jobs: 1}
retention: {output_days: 7, runs: 1000}
"""


def read(data: bytes) -> tuple[Settings | None, tuple[Problem, ...]]:
    settings, problems = read_root_file(data)
    check_places(data, problems)
    assert (settings is None) == any(problem.is_error for problem in problems)
    return settings, problems


def told(text: str) -> list[tuple[str, int, int]]:
    return [(problem.code, problem.line, problem.column) for problem in read(text.encode())[1]]


def runner(text: str) -> RunnerSpec:
    settings, problems = read(f"version: 1\nrunners:\n  r: {{{text}}}\n".encode())
    assert settings is not None, problems
    return settings.runners["r"]


def runner_problem(text: str) -> Problem:
    (problem,) = read(f"version: 1\nrunners:\n  r: {{{text}}}\n".encode())[1]
    return problem


def test_a_full_file_is_read() -> None:
    settings, problems = read(FULL)
    assert problems == ()
    assert settings is not None
    assert (settings.jobs, settings.timezone, settings.hosts) == (
        ("work/**/*.yaml",),
        "America/Los_Angeles",
        ("prod-*",),
    )
    assert settings.defaults == {"timeout": "30m", "runner": "claude", "env": {"MODE": "day"}}
    assert settings.limits == Limits(max_jobs=5, task_bytes=1024, output_bytes=2048, max_running=2)
    assert settings.prune == Prune(max_percent=10, max_jobs=1)
    assert settings.retention == Retention(output_days=7, runs=1000)
    assert settings.runners["shell"].input is TaskInput.FILE
    assert settings.runners["shell"].tasks == ("scripts/**", "jobs/**")
    assert settings.runners["claude"].cwd == "."
    assert settings.runners["echo"] == RunnerSpec(
        name="echo",
        command=("./bin/echo", "--text={task}"),
        input=TaskInput.ARG,
        env=(("A", "1"), ("B", "2")),
        cwd="bin",
    )
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_the_smallest_file_has_the_documented_defaults() -> None:
    assert read(b"version: 1\n") == (Settings(), ())
    assert RootShape.model_validate({"version": 1}).jobs == list(DEFAULT_JOBS)
    assert LimitsShape().model_dump() == Limits().to_json()
    assert PruneShape().model_dump() == Prune().to_json()
    assert RetentionShape().model_dump() == Retention().to_json()


def test_sections_may_be_left_empty() -> None:
    assert read(b"version: 1\ndefaults:\nrunners:\nlimits:\nprune:\nretention:\n") == (Settings(), ())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "key.missing"),
        ("# only a comment", "key.missing"),
        ("timezone: UTC", "key.missing"),
        ("version: 2", "version.unknown"),
        ("version: '1'", "version.unknown"),
        ("version: true", "version.unknown"),
        ("version: 1.0", "version.unknown"),
        ("version:", "version.unknown"),
        ("version: 1\n---\nversion: 1", "root.documents"),
        ("- version: 1", "yaml.not-a-mapping"),
        ("version: 1\nversion: 1", "key.duplicate"),
        ("version: &v 1", "yaml.anchor"),
        ("version: [", "yaml.syntax"),
        ("version: 1\nhosts:", "value.missing"),
        ("version: 1\nhosts: []", "value.empty"),
        ("version: 1\njobs: []", "value.empty"),
        ("version: 1\njobs: jobs/*.yaml", "value.type"),
        ("version: 1\ntimezone: Berlin", "schedule.timezone"),
        ("version: 1\ntimeout: 5m", "key.unknown"),
        ("version: 1\nrunner: {}", "key.unknown"),
        ("version: 1\ndefaults: []", "value.type"),
        ("version: 1\nrunners: []", "value.type"),
        ("version: 1\nrunners: {r: [cat]}", "value.type"),
        ("version: 1\nrunners: {a b: {command: [cat]}}", "runner.name"),
        ("version: 1\nrunners: {r: {}}", "key.missing"),
        ("version: 1\ndefaults: {runner: x}", "runner.unknown"),
        ("version: 1\ndefaults: {timeout: 5}", "duration.invalid"),
        ("version: 1\ndefaults: {env: {1A: x}}", "env.name"),
        ("version: 1\nlimits: {max_jobs: 0}", "value.range"),
        ("version: 1\nlimits: {max_running: 10001}", "value.range"),
        ("version: 1\nlimits: {task_bytes: 1GiB}", "value.range"),
        ("version: 1\nlimits: {task_bytes: 1MB}", "size.invalid"),
        ("version: 1\nlimits: {task_bytes: 0}", "size.range"),
        ("version: 1\nlimits: {task_bytes: true}", "value.type"),
        ("version: 1\nlimits: {max_jobs: '5'}", "value.type"),
        ("version: 1\nprune: {max_percent: 101}", "value.range"),
        ("version: 1\nretention: {output_days: -1}", "value.range"),
        ("version: 1\nretention: {runs: 9}", "value.range"),
        ("version: 1\nretention: {runs: }", "value.missing"),
        ("version: 1\nretention: {output_days: 90d}", "value.type"),
        ("version: 1\nprune: {max_percent: -1}", "value.range"),
    ],
)
def test_a_wrong_value_is_one_problem(text: str, code: str) -> None:
    assert [each[0] for each in told(text)] == [code]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("version: 2", "version 2 is not supported; allowed: 1", "write version: 1"),
        ("version: 1\nlimits: {task_bytes: 0}", "task_bytes 0 is outside 1B-16MiB", ""),
        ("version: 1\nlimits: {task_bytes: 0B}", "task_bytes 0B is outside 1B-16MiB", ""),
        ("version: 1\nlimits: {task_bytes: 17MiB}", "task_bytes 17MiB is outside 1B-16MiB", ""),
        ("version: 1\nlimits: {output_bytes: -1}", "output_bytes -1 is outside 1B-1GiB", ""),
        ("version: 1\nlimits: {output_bytes: 2GiB}", "output_bytes 2GiB is outside 1B-1GiB", ""),
        ("version: 1\nlimits: {output_bytes: 99999999999999999999GiB}", "outside 1B-1GiB", ""),
        ("version: 1\nprune: {max_percent: 50%}", "max_percent must be a whole number, not '50%'", "write 50"),
        ("version: 1\nrunners: {r: cat}", "r must be a mapping, not 'cat'", "write {command: [cat]}"),
        ("version: 1\nrunners: {a b: {command: [cat]}}", "starting with a letter or digit", "write a-b"),
        ("version: 1\nrunners: {-a: {command: [cat]}}", "starting with a letter or digit", "write a"),
    ],
)
def test_a_message_names_the_value_as_written_and_what_is_allowed(text: str, message: str, hint: str) -> None:
    _, (problem,) = read(text.encode())
    assert message in problem.message
    assert problem.hint == hint


CHANNELS = 'version: 1\nchannels: {owner: {url: "${env:OWNER}"}, log: {command: [cat]}}\n'


def test_channels_alerts_and_the_base_url_are_read() -> None:
    text = CHANNELS + 'alerts: {deliver: [log], heartbeat: {url: "${env:HC}"}}\nbase_url: https://sched.internal/\n'
    found, problems = read(text.encode())
    assert found is not None, problems
    assert found.channels == {
        "owner": Channel(name="owner", url="${env:OWNER}"),
        "log": Channel(name="log", command=("cat",)),
    }
    assert found.alerts == Alerts(deliver=("log",), heartbeat=Heartbeat(url="${env:HC}", every=timedelta(minutes=1)))
    assert found.base_url == "https://sched.internal"
    assert Settings.from_json(found.to_json()) == found
    assert told("version: 1\nchannels:\nalerts:\n") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("alerts: {deliver: [owner, ops]}\n", ("channel.unknown", 3, 27)),
        ("defaults: {deliver: [lgo]}\n", ("channel.unknown", 3, 22)),
        ("alerts: {deliver: owner}\n", ("value.type", 3, 19)),
        ("alerts: {heartbeat: {every: 1m}}\n", ("key.missing", 3, 21)),
        ("alerts: {heartbeat: {url: '${env:HC}', every: 1s}}\n", ("value.range", 3, 47)),
        ("base_url: sched.internal\n", ("channel.url", 3, 11)),
        ("deliver: [owner]\n", ("key.unknown", 3, 1)),
    ],
)
def test_what_is_wrong_about_them_is_told_at_its_place(text: str, fault: tuple[str, int, int]) -> None:
    assert told(CHANNELS + text) == [fault]


def test_a_runner_says_which_jobs_may_use_it_and_for_how_long() -> None:
    found = runner("command: [cat], jobs: [backup-*, 'tag:agent', 'tag:On Call'], max_timeout: 1h30m")
    assert (found.jobs, found.max_timeout) == (("backup-*", "tag:agent", "tag:On Call"), timedelta(minutes=90))
    assert (runner("command: [cat]").jobs, runner("command: [cat]").max_timeout) == (None, None)


def test_settings_stored_before_a_runner_could_limit_its_jobs_are_read_as_without_limits() -> None:
    settings, _ = read(FULL)
    assert settings is not None
    stored = settings.to_json()
    for each in stored["runners"].values():
        del each["jobs"], each["max_timeout_ms"]
    assert Settings.from_json(stored) == settings


def test_settings_stored_before_a_branch_could_be_named_are_read_as_any_branch() -> None:
    settings, _ = read(b"version: 1\n")
    assert settings is not None
    stored = settings.to_json()
    del stored["worktree"]
    assert Settings.from_json(stored) == settings


@pytest.mark.parametrize("value", ["{branch: }", "{branch: ''}", "{branch: 1}", "{dirty: no}", "{dirty: stop}"])
def test_a_worktree_that_says_nothing_clear_is_refused(value: str) -> None:
    settings, problems = read(f"version: 1\nworktree: {value}\n".encode())
    assert settings is None
    assert [each.line for each in problems] == [2]


@pytest.mark.parametrize("key", ["id", "task", "task_source_path", "schedule"])
def test_some_keys_have_no_default(key: str) -> None:
    (problem,) = read(f"version: 1\ndefaults: {{{key}: x}}\n".encode())[1]
    assert (problem.code, "no default" in problem.hint) == ("key.unknown", True)


@pytest.mark.parametrize(
    "glob",
    [
        "/jobs/*",
        "../x/*",
        "a/../b",
        ".git/*",
        "a/.x/*",
        "./jobs/*",
        "jobs//x",
        "jobs\\\\*",
        "jobs/**.yaml",
        "",
        "jobs/*.{yaml,yml}",
        "!jobs/x.yaml",
    ],
)
def test_globs_stay_plain_and_inside_the_root(glob: str) -> None:
    assert [each[0] for each in told(f'version: 1\njobs: ["{glob}"]\n')] == ["glob.invalid"]
    assert runner_problem(f'command: [cat], tasks: ["{glob}"]').code == "glob.invalid"


@pytest.mark.parametrize(
    ("glob", "hint"),
    [
        ("jobs/**/*.{yaml,yml}", "write 'jobs/**/*.yaml', 'jobs/**/*.yml'"),
        ("{jobs,work}/a*", "write 'jobs/a*', 'work/a*'"),
        ("{a,b}/{c,d}", "write one glob for each alternative"),
        ("jobs/{a}.yaml", "write one glob for each alternative; to match a brace in a name, write ?"),
        ("jobs/{../x,y}", "write one glob for each alternative"),
        ("!jobs/draft-*", "name only the files to include"),
    ],
)
def test_signs_that_globs_have_elsewhere_are_refused_rather_than_match_nothing(glob: str, hint: str) -> None:
    _, (problem,) = read(f'version: 1\njobs: ["{glob}"]\n'.encode())
    assert problem.code == "glob.invalid"
    assert problem.hint.startswith(hint)


@pytest.mark.parametrize(
    ("command", "warned"),
    [
        ('[agent, -p, "{task}"]', True),
        ('[agent, "{task}"]', True),
        ('[agent, "{task}", --]', True),
        ('[agent, -p, --, "{task}"]', False),
        ('[agent, --, -p, "{task}"]', False),
        ('[agent, "--prompt={task}"]', False),
        ('[agent, "{task_file}"]', False),
        ("[agent]", False),
    ],
)
def test_a_bare_task_without_two_dashes_before_it_is_warned_of(command: str, warned: bool) -> None:
    found = read_root_file(f"version: 1\nrunners:\n  r: {{command: {command}}}\n".encode())[1]
    assert [(each.code, each.is_error) for each in found] == ([("runner.bare-task", False)] if warned else [])


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ('[cat, "{task_file}"]', TaskInput.FILE),
        ('[cat, "--from={task_file}"]', TaskInput.FILE),
        ('[cat, "{task}"]', TaskInput.ARG),
        ("[cat]", TaskInput.STDIN),
        ('[jq, "{a: 1}"]', TaskInput.STDIN),
        ('[./bin/x, ""]', TaskInput.STDIN),
        ("[/usr/bin/cat]", TaskInput.STDIN),
    ],
)
def test_the_command_tells_how_the_task_is_handed_over(command: str, given: TaskInput) -> None:
    assert runner(f"command: {command}").input is given
    assert runner(f"command: {command}, input: {given}").input is given
    for other in TaskInput:
        if other is not given:
            assert runner_problem(f"command: {command}, input: {other}").code == "runner.input"


@pytest.mark.parametrize("word", ["{" + "task" * 200_000, "{task" * 150_000, "{task" + "_" * 900_000])
def test_a_word_as_long_as_a_file_is_looked_through_once(word: str) -> None:
    started = time.process_time()
    read(f'version: 1\nrunners: {{r: {{command: [cat, "{word}"]}}}}\n'.encode())
    assert time.process_time() - started < 2


def test_a_task_is_handed_over_in_one_way_only() -> None:
    problem = runner_problem('command: [cat, "{task_file}", "{task}"]')
    assert (problem.code, problem.line, problem.column) == ("runner.input", 3, 37)


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("command: sh -c 'echo hi'", "runner.command", 'write command: [sh, -c, "echo hi"]'),
        ('command: "sh \'"', "runner.command", "the program first"),
        ("command: []", "runner.command", "write one like"),
        ('command: [""]', "runner.command", "write one like"),
        ('command: ["{task_file}"]', "runner.command", "name the program"),
        ("command: [bin/x]", "runner.command", "write ./bin/x"),
        ("command: [./../x]", "runner.command", "./ and a path under the root"),
        ("command: [../x]", "runner.command", "./ and a path under the root"),
        ('command: [cat, "{taskfile}"]', "runner.command", "did you mean '{task_file}'?"),
        ("command: [cat, {task_file}]", "value.type", 'quote text in braces: "{task_file}"'),
        ("command: [cat, 5]", "value.type", 'quote it: "5"'),
        ("command: [cat], input: file", "runner.input", "write input: stdin"),
        ("command: [cat], input: stdn", "value.choice", "did you mean 'stdin'?"),
        ("command: [cat], cwd: .", "runner.cwd", "write cwd: root"),
        ("command: [cat], cwd: ../x", "runner.cwd", ""),
        ("command: [cat], cwd: /tmp", "runner.cwd", ""),
        ("command: [cat], cwd: .git", "runner.cwd", ""),
        ("command: [cat], tasks: []", "value.empty", ""),
        ("command: [cat], tasks:", "value.missing", ""),
        ("command: [cat], env: {SCHEDULER_X: y}", "env.reserved", ""),
        ("command: [cat], env: {X: 5}", "value.type", 'quote it: "5"'),
        ("command: [cat], env: {X-Y: z}", "env.name", ""),
        ("command: [cat], job_env: [SCHEDULER_X]", "env.reserved", ""),
        ("command: [cat], job_env: [1]", "value.type", ""),
        ("command: [cat], env_from: ['A=B']", "env.name", ""),
        ("command: [cat], jobs: []", "value.empty", ""),
        ("command: [cat], jobs: null", "value.missing", ""),
        ("command: [cat], jobs: backup", "value.type", "write [backup]"),
        ("command: [cat], jobs: [5]", "value.type", 'quote it: "5"'),
        ("command: [cat], jobs: [Backup*]", "runner.jobs", "write 'backup*'"),
        ("command: [cat], jobs: [jobs/a.yaml]", "runner.jobs", "write tag:agent"),
        ("command: [cat], jobs: [a b]", "runner.jobs", ""),
        ("command: [cat], jobs: ['tag:']", "runner.jobs", "write tag:agent"),
        ("command: [cat], jobs: ['tag: ']", "runner.jobs", "write tag:agent"),
        ("command: [cat], jobs: ['Tag:x']", "runner.jobs", "in lower case"),
        ("command: [cat], max_timeout: null", "value.missing", ""),
        ("command: [cat], max_timeout: 30", "duration.invalid", "write 30s, 30m or 30h"),
        ("command: [cat], max_timeout: 0s", "duration.range", ""),
        ("command: [cat], evn: {}", "key.unknown", "did you mean 'env'?"),
    ],
)
def test_a_runner_that_cannot_work_is_one_problem_with_a_hint(text: str, code: str, hint: str) -> None:
    if text.endswith("tasks:"):
        text = text.replace("tasks:", "tasks: null")
    problem = runner_problem(text)
    assert problem.code == code
    assert hint in problem.hint


@pytest.mark.parametrize(
    "program", ["sh", "/bin/bash", "python3.11", "node", "env", "/usr/bin/env", "ruby", "perl5.36"]
)
def test_an_interpreter_that_may_be_given_anything_is_a_warning(program: str) -> None:
    data = f'version: 1\nrunners: {{r: {{command: [{program}, "{{task_file}}"]}}}}\n'
    settings, (problem,) = read(data.encode())
    assert settings is not None
    assert (problem.code, problem.severity) == ("runner.tasks", Severity.WARNING)
    assert runner(f'command: [{program}, "{{task_file}}"], tasks: ["scripts/**"]').tasks == ("scripts/**",)


def test_a_default_runner_that_is_declared_wrongly_is_not_called_unknown_too() -> None:
    assert [each[0] for each in told("version: 1\ndefaults: {runner: r}\nrunners: {r: {command: sh}}\n")] == [
        "runner.command"
    ]


def test_every_key_has_a_description_for_the_schema_and_the_docs() -> None:
    for shape in (RootShape, RunnerShape, LimitsShape, PruneShape, RetentionShape, AgentsShape):
        assert all(each.description for each in shape.model_fields.values())
    assert RootShape.model_json_schema()["required"] == ["version"]


@pytest.mark.parametrize("source", sorted(GOLDEN.glob("root-*.yaml")), ids=lambda p: p.name)
def test_problems_of_scheduler_yaml_read_as_in_the_golden_files(source: Path) -> None:
    _, problems = read(source.read_bytes())
    assert problems
    check_golden(source, problems)


PIECES = [
    b"{}",
    b"[]",
    b"null",
    b"5",
    b"'",
    b"*x",
    b"\n",
    b"  ",
    b": ",
    b"- ",
    b"\xff",
    b"\0",
    b"runners:\n",
    b"command",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from([FULL, *(each.read_bytes() for each in sorted(GOLDEN.glob("root-*.yaml")))]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        data = data[:start] + draw(st.sampled_from([b"", *PIECES])) + data[end:]
    return data


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode) | mutated())
def test_any_bytes_give_settings_or_problems_inside_the_file(data: bytes) -> None:
    settings, _ = read(data)
    if settings is not None:
        assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_word_of_scheduler_yaml_that_only_looks_plain_is_a_warning_at_its_place() -> None:
    settings, problems = read_root_file(
        "version: 1\n"
        "jobs: ['“jobs/*.yaml”']\n"
        "runners:\n"
        "  r: {command: [cat, –n], tasks: ['scr\u0456pts/**'], cwd: my\u00a0folder, env: {A: “b”}}\n"
        "defaults: {runner: r, tags: [‘x’], description: “quoted”}\n".encode()
    )
    assert settings is not None
    assert [(each.line, each.column, each.code, each.severity) for each in problems] == [
        (2, 8, "text.lookalike", Severity.WARNING),
        (4, 22, "text.lookalike", Severity.WARNING),
        (4, 35, "text.lookalike", Severity.WARNING),
        (4, 55, "text.lookalike", Severity.WARNING),
        (5, 30, "text.lookalike", Severity.WARNING),
    ]
    assert problems[1].hint == "it contains EN DASH (U+2013); write -n"


def test_what_an_error_names_already_is_not_named_twice() -> None:
    _, problems = read_root_file("version: 1\nrunners: {r: {command: [cat], env_from: [“A”], jobs: [“a”]}}\n".encode())
    assert [(each.code, "LEFT DOUBLE QUOTATION MARK" in each.hint) for each in problems] == [
        ("env.name", True),
        ("runner.jobs", True),
    ]


def test_prices_are_exact_and_sorted_by_model() -> None:
    text = """\
prices:
  m: {input: 1, output: 10, as_of: 2026-12-01, currency: EUR}
  gpt-5: {input: 0.1, output: 10, cache_read: 0.05, cache_write: 0, as_of: "2026-12-01"}
"""
    settings, problems = read(f"version: 1\n{text}".encode())
    assert settings is not None, problems
    gpt, other = settings.prices
    assert (gpt.model, gpt.input, gpt.cache_read, gpt.cache_write) == (
        "gpt-5",
        Decimal("0.1"),
        Decimal("0.05"),
        Decimal(0),
    )
    assert (other.currency, other.cache_read) == ("EUR", None)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert "prices" not in Settings().to_json()


@pytest.mark.parametrize(
    ("price", "code", "hint"),
    [
        ("{input: $1.25, output: 1, as_of: 2026-12-01}", "value.type", "write 1.25"),
        ("{input: -1, output: 1, as_of: 2026-12-01}", "value.range", "write the price of a million tokens"),
        ("{input: .nan, output: 1, as_of: 2026-12-01}", "value.range", "write the price of a million tokens"),
        ("{input: 1, output: 1}", "key.missing", "write as_of: 2026-12-01"),
        ("{input: 1, output: 1, as_of: 2026-02-30}", "value.invalid", "write one like 2026-12-01"),
        ("{input: 1, output: 1, as_of: 2026-12-01, currency: €}", "value.invalid", "write EUR"),
        ("{input: 1, output: 1, as_of: 2026-12-01, cache_raed: 1}", "key.unknown", "did you mean 'cache_read'?"),
    ],
)
def test_a_wrong_price_says_what_to_write(price: str, code: str, hint: str) -> None:
    (problem,) = read(f"version: 1\nprices:\n  m: {price}\n".encode())[1]
    assert (problem.code, problem.line, problem.hint) == (code, 3, hint)


def test_a_result_format_overrides_the_name_of_the_program() -> None:
    assert runner("command: [claude, -p]").prints is ResultFormat.CLAUDE
    assert runner("command: [claude, -p], result_format: text").prints is ResultFormat.TEXT
    assert runner("command: [./wrapper], result_format: codex").prints is ResultFormat.CODEX
    assert "result_format" not in runner("command: [claude, -p]").to_json()
    problem = runner_problem("command: [x], result_format: claud")
    assert (problem.code, problem.hint) == ("value.choice", "did you mean 'claude'?")
    assert runner_problem("command: [x], result_format: null").code == "value.missing"
