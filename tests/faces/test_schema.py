"""The JSON Schemas: what is shipped is what the shapes say, and they refuse nothing that the reader accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from scheduler import schemas
from scheduler.core.formats.base import Shape
from scheduler.core.formats.channel_shapes import AlertsShape, ChannelShape, HeartbeatShape
from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.json_schema import SCHEMAS, job_schema
from scheduler.core.formats.root_shapes import (
    AgentsShape,
    LimitsShape,
    PriceShape,
    PruneShape,
    RetentionShape,
    RootBudgetShape,
    RootShape,
    RunnerShape,
    WorktreeShape,
)
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.shapes import (
    BudgetShape,
    CatchUpShape,
    CheckOfAllShape,
    DefaultsShape,
    ExpectShape,
    JobShape,
    RetryShape,
)
from scheduler.core.formats.yamlfile import read_yaml
from scheduler.core.times.cron import CRON_PATTERN, ScheduleError, parse_cron
from scheduler.core.values.texts import TextError, decode
from scheduler.scaffold import write_scaffold
from tests.helpers import call

TOP = Path(__file__).parents[2]
GOLDEN = TOP / "tests" / "golden" / "problems"
JOB = Draft202012Validator(SCHEMAS["job"]())
ROOT = Draft202012Validator(SCHEMAS["root"]())
SETTINGS, _ = read_root_file(b"""\
version: 1
timezone: Europe/Berlin
defaults: {timeout: 20m, runner: claude, owner: team@example.com, env: {MODE: day}}
runners:
  shell: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**", "jobs/**"]}
  claude: {command: [claude, -p], job_env: [MODE, MODEL]}
  nightly: {command: [claude, -p], job_env: [MODE], jobs: [backup-*, "tag:night"], max_timeout: 2h}
""")

# What a schema of values cannot see, and only the reader refuses.
READER_ONLY = {
    "check.append",  # the command of the runner
    *("budget.missing", "budget.never", "budget.currency"),
    # the bytes and the text, before there are values
    *("file.case", "file.character", "file.conflict-markers", "file.denied", "file.emptied", "file.encoding"),
    *("file.kind", "file.missing", "file.name", "file.not-regular", "file.outside-root", "file.too-large"),
    *(
        "file.unreadable",
        "file.unread",
        "folder.link",
        "folder.unreadable",
        "state.tracked",
        "file.converted",
        "file.crlf",
        "jobs.none",
        "file.impossible",
        "front-matter.documents",
        "front-matter.unclosed",
        "front-matter.unopened",
    ),
    *("yaml.alias", "yaml.anchor", "yaml.merge-key", "yaml.syntax", "yaml.tab", "yaml.tag", "yaml.comment"),
    *("yaml.too-deep", "yaml.too-many-nodes", "yaml.unquoted", "key.duplicate", "key.type"),
    # other files, other documents, the disk and the clock
    *("id.duplicate", "id.similar", "limit.max-jobs", "root.documents", "root.missing", "root.unreadable"),
    *("text.hidden", "text.lookalike"),
    *("task.missing", "task.unreadable", "schedule.past", "runner.file-missing", "runner.not-executable"),
    *("runner.bare-task", "runner.task-option"),
    # scheduler.yaml and a job together
    *("env.not-allowed", "runner.job-not-allowed", "runner.max-timeout", "runner.missing", "runner.unknown"),
    *("runner.task-not-allowed", "runner.input", "runner.tasks", "runner.placeholder"),
    *("model.missing", "model.not-allowed", "model.no-placeholder", "args.not-allowed", "args.no-placeholder"),
    *("workdir.not-allowed", "workdir.branch", "workdir.no-repository"),
    *("queue.workdir", "queue.scratch", "queue.check", "queue.task-bytes"),
    *("engine.address", "engine.root-id"),
    *("channel.unknown", "channel.kind", "channel.secret"),
    # the meaning of a schedule
    *("schedule.every", "schedule.jitter", "schedule.never", "schedule.timezone"),
    *("schedule.duplicate", "schedule.phase"),
    *("key.no-effect", "schedule.anchor", "schedule.offset", "schedule.unlikely"),
}
# What it sees in part; the reader sees the rest.
IN_PART = {
    "channel.literal-secret": "the secret of a webhook, not which part of a URL is one",
    "channel.url": "the scheme, not the rest",
    "channel.reference": "where a reference is the whole text, not inside a URL",
    "channel.command": "a list and not a line, not what its words mean",
    "duration.range": "not that ten years are the most",
    "id.invalid": "not a line end behind the id",
    "runner.job-args": "an option, not whether its expression is one",
    "workdir.invalid": "the form, not characters that cannot be seen",
    "runner.command": "a list and not a line, not what its words mean",
    "schedule.cron": "the form, not what its numbers mean",
    "schedule.at": "the form, not whether the calendar has such a day",
    "schedule.starts": "the form, not whether the calendar has such a day",
    "schedule.ends": "the form, not whether it lies before starts",
    "size.range": "not the largest size that can be meant",
    "task.sources": "two of them, not none: a Markdown job has its task in the body",
    "value.invalid": "line feeds, not the other line ends of Unicode",
    "value.range": "numbers, not sizes",
    "version.unknown": "not 1.0, which to JSON is 1",
    "yaml.octal": "where it is meant as text, not where it is a number",
    "value.type": "not 1.0, which to JSON is a whole number",
}


def documents(data: bytes, *, markdown: bool = False) -> list[Any]:
    """The values of each document, as the reader's own YAML loader has them; none where that refuses the file."""
    try:
        text = decode(data)
        if markdown:
            text = re.split(r"^---.*\n", text, flags=re.MULTILINE)[1]
        return [each.data for each in read_yaml(text)]
    except TextError:
        return []


# -- the files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_shipped_schema_is_what_the_shapes_say_now_and_is_printed(name: str) -> None:
    schema = SCHEMAS[name]()
    assert schemas.schema_text(name) == schemas.written(schema), "run `make docs`"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    found = call("schema", name)
    assert (found.code, found.stdout, found.stderr) == (0, schemas.schema_text(name), "")
    assert call("schema", name, "--json").stdout == found.stdout


def test_without_a_name_the_schema_of_job_files_is_printed_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("schema").stdout == schemas.schema_text("job")
    assert call("schema", "jobs").code == 2


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for key, each in schema.items():
            if key not in ("examples", "default", "not", "oneOf"):
                yield from objects(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from objects(each)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_mapping_is_closed_and_every_key_described(name: str) -> None:
    found = list(objects(SCHEMAS[name]()))
    assert len(found) >= 2
    for each in found:
        assert each["additionalProperties"] is False
        assert each.get("properties") or each.get("patternProperties")
        assert all(key["description"] for key in each.get("properties", {}).values())


def keys(name: str) -> set[str]:
    return {key for each in objects(SCHEMAS[name]()) for key in each.get("properties", {})}


def test_the_schemas_have_every_key_and_none_that_is_not_supported_yet() -> None:
    shapes: tuple[type[Shape], ...] = (
        RootShape,
        DefaultsShape,
        RunnerShape,
        LimitsShape,
        PruneShape,
        RetentionShape,
        AgentsShape,
        RetryShape,
        CatchUpShape,
        WorktreeShape,
        PriceShape,
        CheckOfAllShape,
        ExpectShape,
        BudgetShape,
        RootBudgetShape,
        ChannelShape,
        AlertsShape,
        HeartbeatShape,
    )
    assert keys("root") == {key for shape in shapes for key in shape.model_fields}
    assert set(JobShape.model_fields) <= keys("job")


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_examples_of_a_schema_are_accepted_by_it(name: str) -> None:
    schema = SCHEMAS[name]()
    for each in objects(schema):
        for key in each.get("properties", {}).values():
            for example in key.get("examples", []):
                Draft202012Validator({**key, "$defs": schema["$defs"]}).validate(example)


NO_CRON = [
    *("every day at 8", "every 2 hours", "every weekday at 9 am", "daily", "noon", "@fortnightly", "@reboot", "20m"),
    *(
        "0 9 * *",
        "0 9 * * * * *",
        "0 9 * * MON#2",
        "? * * * *",
        "0 9 L * *",
        "*/x * * * *",
        "0 9 * foo *",
        "",
        "Manual",
    ),
    *("0 9 * * monday", "*-5 * * * *", "0 9 * * 1-", "0 9 * * ,1", "@Daily"),
]
CRON = [
    "0 9 * * 1-5",
    "@daily",
    " 0\t9 * * MON-fri ",
    "*/5 0-6,12 1 jan,FEB 7",
    "30 0 9 * * *",
    "00 09 * * *",
    "1/2 * * * *",
]


@pytest.mark.parametrize("cron", NO_CRON)
def test_words_are_no_cron_to_the_schema_either(cron: str) -> None:
    for schedule in (cron, {"cron": cron}, [cron, "@daily"], [{"cron": cron}]):
        assert not JOB.is_valid({"id": "a", "schedule": schedule, "task": "x"}), schedule


@pytest.mark.parametrize("cron", CRON)
def test_every_form_of_a_cron_is_one_to_the_schema_too(cron: str) -> None:
    for schedule in (cron, {"cron": cron}, [cron, "@hourly"], [{"cron": cron}]):
        assert JOB.is_valid({"id": "a", "schedule": schedule, "task": "x"}), schedule
    assert JOB.is_valid({"id": "a", "schedule": "manual", "task": "x"})
    assert not JOB.is_valid({"id": "a", "schedule": ["manual"], "task": "x"})


@given(st.text(st.sampled_from("0159*/,-? \tjanmosufriL#@W"), max_size=25) | st.from_regex(CRON_PATTERN))
def test_the_schema_accepts_what_the_reader_takes_for_a_cron(text: str) -> None:
    try:
        parse_cron(text)
    except ScheduleError:
        return
    assert re.search(CRON_PATTERN, text)


def test_an_editor_is_given_words_for_a_schedule_that_is_none() -> None:
    shown = [each["patternErrorMessage"] for each in walk(job_schema()) if "patternErrorMessage" in each]
    assert len(shown) == 3
    assert all("such as 0 9 * * 1-5" in each for each in shown)


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for each in schema.values():
            yield from walk(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from walk(each)


# -- what people start from ---------------------------------------------------------------------------


def job_data(root: Path) -> Iterator[Any]:
    for path in sorted((root / "jobs").rglob("*.*")):
        yield from documents(path.read_bytes(), markdown=path.suffix == ".md")


def test_the_schemas_accept_jobs_example_and_what_init_writes(tmp_path: Path) -> None:
    write_scaffold(tmp_path)
    for root in (TOP / "jobs.example", tmp_path):
        found = list(job_data(root))
        assert len(found) >= 2
        for each in found:
            JOB.validate(each)
        (settings,) = documents((root / "scheduler.yaml").read_bytes())
        ROOT.validate(settings)


def test_what_init_writes_about_channels_is_valid_without_its_number_signs(tmp_path: Path) -> None:
    write_scaffold(tmp_path)
    text = (tmp_path / "scheduler.yaml").read_text()
    for line in ("deliver: [owner]", "channels:", '  owner: {url: "${env:OWNER_URL}"}', "alerts: {deliver: [owner]}"):
        assert text.count(f"# {line}\n") == 1
        text = text.replace(f"# {line}\n", f"{line}\n")
    settings, problems = read_root_file(text.encode())
    assert settings is not None
    assert problems == ()
    assert [*settings.channels] == [*settings.alerts.deliver] == ["owner"]


# -- agreement with the reader ------------------------------------------------------------------------


def check_agreement(accepted: bool, codes: set[str], what: object) -> None:
    """Refused by both, accepted by both, or refused for a reason that the schema cannot see."""
    if accepted:
        assert not codes - READER_ONLY - IN_PART.keys(), f"the schema accepts what the reader refuses: {what}"
    else:
        assert codes - READER_ONLY, f"the schema refuses what the reader does not: {what}"


def job_codes(data: bytes, path: str = "jobs/a.yaml") -> set[str]:
    assert SETTINGS is not None
    return {problem.code for problem in read_job_file(path, data, SETTINGS).problems}


@pytest.mark.parametrize("source", sorted(GOLDEN.glob("*.[ym]*")), ids=lambda path: path.name)
def test_schema_and_reader_agree_on_the_golden_files(source: Path) -> None:
    data = source.read_bytes()
    found = documents(data, markdown=source.suffix == ".md")
    if source.name.startswith("root-"):
        codes = {problem.code for problem in read_root_file(data)[1]}
        check_agreement(len(found) == 1 and ROOT.is_valid(found[0]), codes, source.name)
        return
    codes = job_codes(data, f"jobs/{source.name}")
    assert codes
    if found:
        check_agreement(all(JOB.is_valid(each) for each in found), codes, source.name)
    else:
        assert codes <= READER_ONLY


def examples() -> Iterator[tuple[str, str, str, str]]:
    """(code, Bad or Good, kind, text) of each example in problems.md."""
    page = (TOP / "docs/reference/problems.md").read_text()
    parts = re.split(r"^### `([^`]+)`\n", page, flags=re.MULTILINE)
    for code, below in zip(parts[1::2], parts[2::2], strict=True):
        for word, kind, example in re.findall(r"(Bad|Good):\n\n```(\S+ \S+(?: whole)?)\n(.*?)```", below, re.DOTALL):
            yield code, word, kind, example


@pytest.mark.parametrize(("code", "word", "kind", "example"), list(examples()))
def test_schema_and_reader_agree_on_the_examples_of_the_problems_page(
    code: str, word: str, kind: str, example: str
) -> None:
    root = " root" in kind
    found = documents(example.encode(), markdown=kind.startswith("markdown"))
    if not found:
        assert word == "Bad"
        assert code in READER_ONLY
        return
    if "whole" not in kind and isinstance(found[0], dict):
        left_out = {"version": 1} if root else {"id": "report", "schedule": "@daily"}
        found = [{**left_out, **each} for each in found]
    accepted = len(found) == 1 and (ROOT if root else JOB).is_valid(found[0])
    if word == "Good" or code in READER_ONLY - {"root.documents", "front-matter.documents", "key.type"}:
        assert accepted
    elif code not in IN_PART and code not in READER_ONLY:
        assert not accepted


def test_every_code_of_the_problems_page_is_seen_by_the_schema_or_named_as_the_readers() -> None:
    """A code that is neither is one that the schema sees wholly, so its page must have shown it above."""
    shown = {code for code, word, _, _ in examples() if word == "Bad"}
    page = (TOP / "docs/reference/problems.md").read_text()
    every = set(re.findall(r"^### `([^`]+)`\n", page, re.MULTILINE))
    assert every - shown <= READER_ONLY | IN_PART.keys()
    assert READER_ONLY | IN_PART.keys() <= every


POOL: list[Any] = [
    *(None, True, False, 0, 1, -1, 5, 1.5, 1.0, 101, 10**6, "", " ", "x", "a b", "two\nlines", "x\n", "\n", "X-Y"),
    *("20m", "1h30m", "0s", "0d0s", "20", "99999d", "1m1h", "@daily", "0 9 * * *", "0 25 * * *", "UTC", "Berlin"),
    *("2027-01-31T09:00:00+01:00", "2027-01-31T09:00Z", "2027-01-31 09:00Z", "2027-02-31T09:00Z", "2027-01-31"),
    *("shell", "claude", "nightly", "forbid", "queue", "forbit", "stdin", "stdn", "root", ".", "./x", "../x", "a/b"),
    *(
        "../x",
        "a/b",
        "~/a",
        "a/.b",
        "a//b",
        "a\\b",
        "/a",
        "a/",
        "**",
        "a/**",
        "**.md",
        "a**",
        "***",
        "jobs/**/*.md",
        ".git/x",
    ),
    *("256KiB", "256 KiB", "0B", "1KB", "00KiB", "tag:", "tag:x", "tag: ", "backup-*", "Backup", "SCHEDULER_X"),
    *([], ["x"], ["X"], [""], [1], [None], ["a", "b"], ["sh", "{task_file}"], ["SCHEDULER_X"], ["tag:x"], ["../x"]),
    *({}, {"MODE": "x"}, {"MODE": None}, {"MODE": 1}, {"A-B": "x"}, {"SCHEDULER_X": "x"}, {"x": {}}),
    *({"cron": "@daily"}, {"every": "5m"}, {"every": "5m", "cron": None}, {"cron": "@daily", "every": "5m"}),
    *({"at": "2027-01-31T09:00Z"}, {"at": 5}, {"timezone": "UTC"}, {"every": "5m", "jitter": "1m"}),
    *({"command": ["cat"]}, {"r": {"command": ["cat"]}}, {"r": None}, {"a b": {"command": ["cat"]}}),
    *({"r": {"command": "cat"}}, {"r": {"command": []}}, {"max_jobs": 5}, {"max_jobs": 0}, {"task_bytes": "1KiB"}),
    *(
        ["--max-turns", "5"],
        {"--x": "[0-9]+"},
        {"--x": None},
        {"--x": True},
        {"--x": "("},
        {"x": "y"},
        ["fresh"],
        "~/a",
    ),
    *("fresh", "root", "./a", "a/..", "a/../b", "../../a", "..", "~x/a", " a", "a ", "/a/", "a\u200b", "a[1m]", "-x"),
    *({"task_bytes": 5}, {"task_bytes": 0}, {"max_percent": 101}, {"timeout": "5m"}, {"runner": "r"}),
]


@st.composite
def values(draw: st.DrawFn) -> Any:
    return draw(st.sampled_from(POOL))


VALUES = values()
RUNNER = st.fixed_dictionaries(
    {"command": VALUES | st.just(["cat"])},
    optional=dict.fromkeys([*RunnerShape.model_fields.keys() - {"command"}, "x"], VALUES),
)
JOBS = st.fixed_dictionaries(
    {"id": VALUES | st.just("a"), "schedule": VALUES | st.just("@daily")},
    optional={
        **dict.fromkeys([*JobShape.model_fields.keys() - {"id", "schedule"}, "x"], VALUES),
        "task": VALUES | st.just("x"),
    },
)
ROOTS = st.fixed_dictionaries(
    {"version": VALUES | st.just(1)},
    optional={
        **dict.fromkeys([*RootShape.model_fields.keys() - {"version"}, "x"], VALUES),
        "runners": VALUES | st.dictionaries(st.sampled_from(["r", "R.1", "a b", ""]), RUNNER, max_size=2),
        "defaults": VALUES | st.dictionaries(st.sampled_from([*DefaultsShape.model_fields, "id"]), VALUES, max_size=2),
        "limits": VALUES | st.dictionaries(st.sampled_from([*LimitsShape.model_fields, "x"]), VALUES, max_size=2),
        "prune": VALUES | st.dictionaries(st.sampled_from([*PruneShape.model_fields, "x"]), VALUES, max_size=2),
    },
)


@given(JOBS)
def test_schema_and_reader_agree_on_any_job(job: dict[str, Any]) -> None:
    check_agreement(JOB.is_valid(job), job_codes(json.dumps(job).encode()), job)


@given(ROOTS)
def test_schema_and_reader_agree_on_any_scheduler_yaml(root: dict[str, Any]) -> None:
    codes = {problem.code for problem in read_root_file(json.dumps(root).encode())[1]}
    check_agreement(ROOT.is_valid(root), codes, root)
