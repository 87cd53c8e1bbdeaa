from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.formats.jobfile import Document, JobFile, merge, read_job_file
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.shapes import DefaultsShape, JobShape, ScheduleShape
from scheduler.core.times.fires import next_fire
from scheduler.core.values.budget import Budget
from scheduler.core.values.channels import DEFAULT_DELIVER_ON, DeliverOn
from scheduler.core.values.problems import Severity
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import CatchUp, CatchUpPolicy, CheckSpec, ExpectSpec, JobSpec, Retry
from tests.core.problem_text import GOLDEN, check_golden, check_places

ROOT = b"""\
version: 1
timezone: Europe/Berlin
defaults: {timeout: 20m, runner: claude, owner: team@example.com, env: {MODE: day}}
runners:
  shell: {command: [sh, -eu, "{task_file}"], tasks: ["scripts/**", "jobs/**"]}
  claude: {command: [claude, -p], job_env: [MODE, MODEL]}
  nightly: {command: [claude, -p], job_env: [MODE], jobs: [backup-*, "tag:night"], max_timeout: 2h}
"""
YAML = b'id: a\nschedule: "0 9 * * *"\ntask_source_path: prompts/a.md\n'
MARKDOWN = b'---\nid: a\nschedule: "0 9 * * *"\n---\n\nWrite a report.\n'


def sound(data: bytes) -> Settings:
    settings, problems = read_root_file(data)
    assert settings is not None, problems
    return settings


SETTINGS = sound(ROOT)


def read(data: bytes, path: str = "jobs/a.yaml", settings: Settings = SETTINGS) -> JobFile:
    found = read_job_file(path, data, settings)
    check_places(data, found.problems)
    return found


def job(
    extra: str = "", *, schedule: str = '"0 9 * * *"', task: str = "task: hello", path: str = "jobs/a.yaml"
) -> JobFile:
    return read(f"id: a\nschedule: {schedule}\n{task}\n{extra}\n".encode(), path)


def spec_of(found: JobFile) -> JobSpec:
    assert found.problems == ()
    (document,) = found.documents
    assert document.spec is not None
    return document.spec


def only(found: JobFile) -> Document:
    (document,) = found.documents
    return document


def told(found: JobFile) -> list[tuple[str, int, int]]:
    return [(problem.code, problem.line, problem.column) for problem in found.problems]


# -- what a sound file says -------------------------------------------------------------------


def test_defaults_fill_in_what_the_job_leaves_out() -> None:
    spec = spec_of(read(YAML))
    assert (spec.id, spec.name, spec.owner, spec.runner) == ("a", "a", "team@example.com", "claude")
    assert (spec.timeout, spec.schedule.timezone) == (timedelta(minutes=20), "Europe/Berlin")
    assert (spec.env, spec.task_source_path) == ((("MODE", "day"),), "prompts/a.md")


def test_without_defaults_the_products_own_hold() -> None:
    settings = sound(b"version: 1\nrunners: {r: {command: [cat]}}\n")
    spec = spec_of(read(YAML + b"runner: r\n", settings=settings))
    assert (spec.timeout, spec.schedule.timezone, spec.enabled) == (timedelta(minutes=30), "UTC", True)
    assert (spec.description, spec.owner, spec.tags, spec.env) == (None, None, (), ())


def test_the_job_wins_over_defaults_maps_merge_and_null_unsets() -> None:
    spec = spec_of(job("timeout: 1h\nowner: null\nenv: {MODEL: large}\nname: A\ntags: [x, y]\nenabled: false"))
    assert (spec.timeout, spec.owner, spec.name, spec.enabled) == (timedelta(hours=1), None, "A", False)
    assert (spec.env, spec.tags) == ((("MODE", "day"), ("MODEL", "large")), ("x", "y"))
    assert spec_of(job("env: {MODE: null}")).env == ()
    assert spec_of(job("env: {MODE: night}")).env == (("MODE", "night"),)
    assert spec_of(job("env: null\ntimeout:")).timeout == timedelta(minutes=30)


def test_merging_leaves_both_sides_alone() -> None:
    defaults: dict[str, Any] = {"env": {"A": "1"}, "tags": ["x"]}
    mine: dict[str, Any] = {"env": {"B": "2"}, "tags": ["y"]}
    assert merge(defaults, mine) == {"env": {"A": "1", "B": "2"}, "tags": ["y"]}
    assert defaults == {"env": {"A": "1"}, "tags": ["x"]}


def test_a_schedule_is_a_bare_cron_or_one_mapping() -> None:
    assert spec_of(job(schedule='"@daily"')).schedule.cron == "@daily"
    assert spec_of(job(schedule='{cron: "5 4 * * *", timezone: UTC}')).schedule.timezone == "UTC"
    assert spec_of(job(schedule="{every: 1h30m, cron: null}")).schedule.every == timedelta(minutes=90)
    at = spec_of(job(schedule="{at: 2020-01-31T09:00:00+01:00}")).schedule.at
    assert at == datetime(2020, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize("kind", ['cron: "0 * * * *"', "every: 1h", "at: 2020-01-31T09:00:00Z"])
def test_each_kind_of_schedule_may_have_jitter(kind: str) -> None:
    plain, shaken = (spec_of(job(schedule=f"{{{kind}{rest}}}")) for rest in ("", ", jitter: 1m30s"))
    assert (plain.schedule.jitter, shaken.schedule.jitter) == (timedelta(), timedelta(seconds=90))
    assert shaken.schedule.timing == plain.schedule
    assert JobSpec.from_json(shaken.to_json()) == shaken


def test_a_bare_cron_has_no_jitter_and_neither_has_null() -> None:
    assert spec_of(job(schedule='"0 * * * *"')).schedule.jitter == timedelta()
    assert spec_of(job(schedule="{every: 1h, jitter: null}")).schedule.jitter == timedelta()


def test_a_file_holds_one_job_per_document() -> None:
    found = read(b"---\n" + YAML + b"---\n---\n" + YAML.replace(b"id: a", b"id: b") + b"...\n")
    assert [(document.id, document.line) for document in found.documents] == [("a", 2), ("b", 7)]
    assert found.problems == ()


def test_a_byte_order_mark_and_crlf_change_nothing() -> None:
    assert spec_of(read(b"\xef\xbb\xbf" + YAML.replace(b"\n", b"\r\n"))) == spec_of(read(YAML))


def test_an_inline_task_is_the_text_and_its_place() -> None:
    document = only(job(task="task: |\n  one\n  two"))
    assert (document.text, document.task_place) == (b"one\ntwo\n", (3, 7))


def test_a_pointer_has_a_place_and_no_text() -> None:
    document = only(read(YAML))
    assert (document.text, document.task_place) == (None, (3, 19))


@pytest.mark.parametrize("end", [b"---\n", b"---  \r\n", b"...\n"])
def test_a_markdown_body_is_every_byte_behind_the_fence(end: bytes) -> None:
    body = b"\r\n# Title\r\n---\nnot: front matter\xc3\xa9\x1b\n\n"
    found = read(b'\xef\xbb\xbf---\nid: a\nschedule: "@daily"\n' + end + body, "jobs/a.md")
    document = only(found)
    assert found.problems == ()
    assert (document.text, document.line, document.task_place) == (body, 2, (5, 1))


def test_a_markdown_job_may_point_elsewhere_and_have_a_blank_body() -> None:
    document = only(read(b"---\n" + YAML + b"---\n \n\t\n", "jobs/a.md"))
    assert document.spec is not None
    assert (document.text, document.task_place[0]) == (None, 4)


# -- files without a usable document -----------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing\n", b"---\n", b"---\n# x\n---\n", b"\xef\xbb\xbf"])
def test_a_yaml_file_without_a_document_is_empty(data: bytes) -> None:
    assert read(data) == JobFile(path="jobs/a.yaml", empty=True)


@pytest.mark.parametrize("data", [b"", b"# Read me\n", b"--- x\n", b" ---\n", b"# a\n" * 400_000])
def test_markdown_without_front_matter_is_empty_whatever_it_holds(data: bytes) -> None:
    assert read(data, "jobs/a.md") == JobFile(path="jobs/a.md", empty=True)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("\n---\nid: a\n---\nhi\n", 2),
        (" ---\nid: a\n---\nhi\n", 1),
        ("----\nid: a\n----\nhi\n", 1),
        ("--- # the job\r\nname: x\r\nid: a\r\n---\r\nhi\r\n", 1),
        ("\ufeff\n\n---\nid: a\n---\n", 3),
        ("id: a\nschedule: '@daily'\n---\nhi\n", 1),
        ("\u2014\nid: a\n\u2014\nhi\n", 1),
        ("<!-- generated by tool -->\n---\nid: a\nschedule: '@daily'\n---\nhi\n", 2),
        ("# How to write a job\n\n---\nid: a\n---\n", 3),
        ("Some prose: a job.\n\n---\nschedule:\n  every: 1h\nid: a\n---\n", 3),
        ("#!/usr/bin/env agent\n---\nid: a\n---\n", 2),
        ("Copyright\n" * 200 + "---\nname: x\nid: a\n---\n", 201),
        ('+++\nid = "a"\nschedule = "@daily"\n+++\nhi\n', 1),
        ("title\n+++\nid: a\n+++\nhi\n", 2),
        ("```yaml\nid: a\nschedule: '@daily'\n```\nhi\n", 1),
        ("```\n---\nid: a\n---\nhi\n```\n", 2),
        ("# page\n---\n\nprose\n\n---\n# the job\n'id': a\n---\n", 6),
        ("---x\n---\nid: a\r\n---\r\n", 2),
        ("\u200b---\nid: a\n---\nhi\n", 1),
        ("\ufeff\ufeff---\nid: a\n---\nhi\n", 1),
        ("---\u00ad\nid: a\n---\nhi\n", 1),
        ("# page\n\u2060---\nid: a\n---\u200b\nhi\n", 2),
        ("\u2010\u2010\u2010\nid: a\n\u2010\u2010\u2010\nhi\n", 1),
        ("\u2212\u2212\u2212\nid: a\n\u2212\u2212\u2212\nhi\n", 1),
        ("\u2013-\nid: a\n\u2013-\nhi\n", 1),
        ("- - -\nid: a\n- - -\nhi\n", 1),
        ("---\rid: a\r---\rhi\r", 1),
        ("# page\r\r---\rid: a\r---\rhi\r", 3),
    ],
)
def test_front_matter_that_does_not_open_on_the_first_line_is_a_warning(data: str, line: int) -> None:
    found = read(data.encode(), "jobs/a.md")
    (problem,) = found.problems
    assert (found.empty, found.documents, found.broken) == (True, (), False)
    assert (problem.code, problem.line, problem.severity) == ("front-matter.unopened", line, Severity.WARNING)


@pytest.mark.parametrize(
    "data",
    [
        "# Rulers\n\n---\nWrite an id: a name.\n---\nschedule: this\n",
        "# Rulers\n\n---\nid: a is what a job needs\n",
        "# Page\n\n```yaml\nid: a\n```\n",
        "| id |\n|----|\n| a |\n---\n",
        "\n---\ntitle: x\n---\n",
        "\n---\nid:\n---\n",
        "id: a\n\nand so on\n",
        "---- id: a\n---\n",
        "Note: the id: a\n---\n",
        "\n---\n" + "x\n" * 100 + "id: a\n---\n",
    ],
)
def test_other_markdown_with_rulers_is_left_alone(data: str) -> None:
    assert read(data.encode(), "jobs/a.md") == JobFile(path="jobs/a.md", empty=True)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (MARKDOWN.decode().encode("utf-16"), (1, 1)),
        (MARKDOWN.decode().encode("utf-16-le"), (1, 1)),
        (MARKDOWN.decode().encode("utf-16-be"), (1, 1)),
        (b"\xff\xfe", (1, 1)),
        ("Notes\ncaf\u00e9\n".encode("latin-1"), (2, 4)),
        (b"# a\n" * 400_000 + b"\x80", (400_001, 1)),
    ],
)
def test_markdown_that_is_no_utf_8_is_an_error_with_or_without_front_matter(
    data: bytes, place: tuple[int, int]
) -> None:
    found = read(data, "jobs/a.md")
    assert (found.broken, told(found)) == (True, [("file.encoding", *place)])


def test_a_conflict_that_hides_the_fence_of_a_markdown_job_is_seen() -> None:
    found = read(b"<<<<<<< a\n---\nid: a\n=======\n---\nid: b\n>>>>>>> b\n---\nhi\n", "jobs/a.md")
    assert (found.broken, told(found)) == (True, [("file.conflict-markers", 1, 1)])


@pytest.mark.parametrize(
    ("path", "data", "code"),
    [
        ("jobs/a.yaml", YAML + b"---\na: [\n", "yaml.syntax"),
        ("jobs/a.yaml", YAML + b"\xff", "file.encoding"),
        ("jobs/a.yaml", YAML + b"\0", "file.character"),
        ("jobs/a.md", MARKDOWN + b"\xff", "file.encoding"),
        ("jobs/a.md", b"---\nid: a\n", "front-matter.unclosed"),
        ("jobs/a.md", b"---\nid: a\n--- # next\nid: b\n---\n", "front-matter.documents"),
        ("jobs/a.sh", b"echo\n", "file.kind"),
        ("jobs/a", b"", "file.kind"),
        ("jobs/a.yaml", b"#" * (1024 * 1024 + 1), "file.too-large"),
    ],
)
def test_a_file_that_cannot_be_read_is_broken_with_one_problem(path: str, data: bytes, code: str) -> None:
    found = read(data, path)
    assert (found.broken, found.empty, found.documents) == (True, False, ())
    assert [problem.code for problem in found.problems] == [code]


@pytest.mark.parametrize("prose", ["Write the report.\nSend it.", "- Write it.\nSend it.", "Write: a: b"])
def test_prose_in_front_matter_that_a_ruler_seems_to_close_says_what_is_missing(prose: str) -> None:
    found = read(f"---\nid: a\nschedule: '@daily'\n\n{prose}\n\n---\n\nMore.\n".encode(), "jobs/a.md")
    (problem,) = found.problems
    assert (problem.code, problem.line) == ("yaml.syntax", 5)
    assert problem.hint.endswith("; or close the front matter above this with a line of three dashes")
    for text, path in (
        (f"id: a\nschedule: '@daily'\n\n{prose}\n", "jobs/a.yaml"),
        (f"---\nid: a\nschedule: '@daily'\n{prose}\n---\nMore.\n", "jobs/a.md"),
    ):
        (problem,) = read(text.encode(), path).problems
        assert "front matter" not in problem.hint


def test_empty_front_matter_is_a_document_whose_id_cannot_be_read() -> None:
    found = read(b"---\n---\nhello\n", "jobs/a.md")
    assert (only(found).id, only(found).text, told(found)) == (None, b"hello\n", [("key.missing", 1, 1)])


# -- problems ----------------------------------------------------------------------------------


def test_a_document_with_an_error_keeps_its_id_and_its_text_but_has_no_definition() -> None:
    document = only(job("timeout: 5"))
    assert (document.id, document.spec, document.text) == ("a", None, b"hello")


def test_an_error_in_one_document_leaves_the_other_alone() -> None:
    found = read(b"id: bad\nschedule: x\ntask: y\n---\n" + YAML)
    assert [(document.id, document.spec is None) for document in found.documents] == [("bad", True), ("a", False)]
    assert {problem.job_id for problem in found.problems} == {"bad"}


@pytest.mark.parametrize(
    "line", ["id: A", "id: 5", "id:", "id: [a]", "id: -a", "id: a b", "", "id: a\nid: b", "id: *a"]
)
def test_an_id_that_is_not_valid_cannot_be_read(line: str) -> None:
    found = read(f'{line}\nschedule: "@daily"\ntask: x\n'.encode())
    assert only(found).id is None
    assert found.problems
    assert all(problem.job_id is None for problem in found.problems)


@pytest.mark.parametrize("text", ["a", "0", "a" * 128, "a.b_c-d", "123e4567-e89b-12d3-a456-426614174000"])
def test_valid_ids_are_read(text: str) -> None:
    assert only(read(f'id: "{text}"\nschedule: "@daily"\ntask: x\n'.encode())).id == text


def test_an_anchor_on_an_id_does_not_hide_it() -> None:
    found = read(b'id: &x a\nschedule: "@daily"\ntask: x\n')
    assert (only(found).id, only(found).spec, told(found)) == ("a", None, [("yaml.anchor", 1, 5)])


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("./prompts/a.md", "write 'prompts/a.md'"),
        ("../prompts/a.md", "write 'prompts/a.md'"),
        ("prompts//a.md", "write 'prompts/a.md'"),
        ("prompts/../a.md", "write 'a.md'"),
        ("prompts\\\\a.md", "write 'prompts/a.md'"),
        ("/etc/passwd", "write the part below the folder of scheduler.yaml"),
        ("../../x", "write the part below the folder of scheduler.yaml"),
        ("~/a.md", "write the part below the folder of scheduler.yaml"),
        (".", "write the part below the folder of scheduler.yaml"),
        ("", "write it relative to the folder of scheduler.yaml"),
        (".git/config", "move it out of the dot folder, or name another file"),
        ("a/.scheduler/x", "move it out of the dot folder, or name another file"),
        ("a/", "write 'a'"),
    ],
)
def test_a_task_path_must_be_plain_and_the_hint_has_the_right_one(path: str, hint: str) -> None:
    found = job(task=f'task_source_path: "{path}"')
    assert [(problem.code, problem.hint) for problem in found.problems] == [("task.path", hint)]


@pytest.mark.parametrize(
    ("task", "place"),
    [
        ("task: x\ntask_source_path: y", (4, 1)),
        ("task_source_path: y\ntask: x", (4, 1)),
        ("name: x", (1, 1)),
        ("task:\ntask_source_path: ~", (1, 1)),
    ],
)
def test_a_job_has_exactly_one_task(task: str, place: tuple[int, int]) -> None:
    found = job(task=task)
    assert told(found) == [("task.sources", *place)]
    assert only(found).text is None


def test_a_body_beside_a_pointer_is_refused_at_the_key() -> None:
    found = read(b"---\n" + YAML + b"---\nbody\n", "jobs/a.md")
    assert told(found) == [("task.sources", 4, 1)]


def test_a_blank_inline_task_is_refused() -> None:
    assert told(job(task="task: ' '")) == [("task.empty", 3, 7)]


@pytest.mark.parametrize(
    ("schedule", "line", "column"),
    [
        ("{timezone: UTC, at: 2020-01-31T09:00:00Z}", 2, 31),
        ('{ends: 2020-01-31T09:00:00Z, cron: "@daily"}', 2, 18),
        ("\n  jitter: 5m\n  at: 2020-01-31T09:00:00Z", 4, 7),
        ("[{at: 2020-01-31T09:00:00Z}, {at: 2020-02-28T09:00:00Z}]", 2, 11),
        ('"@daily"', 2, 11),
    ],
)
def test_a_document_knows_where_its_schedule_says_when_it_is_over(schedule: str, line: int, column: int) -> None:
    document = only(job(schedule=schedule))
    assert document.schedule_place == (line, column)


def test_all_that_is_wrong_with_a_schedule_is_told_at_once_each_at_its_key() -> None:
    bounds = "starts: 2030-01-02T00:00:00Z, ends: 2030-01-01T00:00:00Z"
    found = job(schedule=f"{{every: 5m, phase: 10m, {bounds}, jitter: 4m}}")
    assert [problem.code for problem in found.problems] == ["schedule.phase", "schedule.ends", "schedule.jitter"]
    assert [problem.column for problem in found.problems] == [30, 71, 101]
    # What rests on a wrong part is not judged: nobody knows what lies between the two ends, or how close fires are.
    always_skipped = f"{{cron: '*/15 2 25-31 3 */7', {bounds}, jitter: 30m}}"
    assert [problem.code for problem in job(schedule=always_skipped).problems] == ["schedule.never", "schedule.ends"]


@pytest.mark.parametrize(
    ("schedule", "code", "column"),
    [
        ('"0 25 * * *"', "schedule.cron", 14),
        ('{cron: "0 25 * * *"}', "schedule.cron", 21),
        ('"0 0 31 2 *"', "schedule.never", None),
        ("{}", "schedule.kind", 11),
        ('{cron: "@daily", every: 5m}', "schedule.kind", 28),
        ("{every: 5}", "duration.invalid", 19),
        ("{every: 0s}", "duration.range", 19),
        ("{at: 2027-01-01T00:00}", "schedule.at", 16),
        ("{at: 2027-02-30T00:00Z}", "schedule.at", 16),
        ('{at: "0001-01-01T00:00:00+23:00"}', "schedule.at", 16),
        ('{at: "20270101T000000Z"}', "schedule.at", 16),
        ('{cron: "@daily", timezone: Berlin}', "schedule.timezone", 38),
        ('{cron: "@daily", timezone: ""}', "schedule.timezone", 38),
        ('{cron: "*/10 * * * *", jitter: 5m}', "schedule.jitter", 42),
        ("{jitter: 30m, every: 1h}", "schedule.jitter", 20),
        ("{every: 1h, jitter: 30}", "duration.invalid", 31),
        ("{every: 1h, jitter: -30s}", "duration.invalid", 31),
        ("{every: 1h, jitter: 0s}", "duration.range", 31),
        ("{jitter: 30s}", "schedule.kind", 11),
        ("5", "value.type", 11),
        ("", "key.missing", None),
        ("[]", "schedule.entries", 11),
        (f"[{', '.join(['{every: 1h}'] * 33)}]", "schedule.entries", 11),
        ("[5]", "value.type", 12),
        ("[[]]", "value.type", 12),
        ("[null]", "value.missing", 12),
        ('["@daily", {every: 5}]', "duration.invalid", 30),
        ('["@daily", "0 25 * * *"]', "schedule.cron", 25),
        ('["@daily", {cron: "0 25 * * *"}]', "schedule.cron", 32),
        ('["@daily", {cron: "@hourly", every: 5m}]', "schedule.kind", 40),
        ('["@daily", {}]', "schedule.kind", 22),
        ('["@daily", {cronn: "@hourly", every: 5m}]', "key.unknown", 23),
        ('["@daily", {every: 5m, "<many>": 1}]', "key.unknown", 34),
        ('["@daily", "0 0 * * *"]', "schedule.duplicate", 22),
        ('["@daily", {every: 5m, jitter: 1m}]', "schedule.jitter", 42),
        ('[{every: 5m, jitter: 1m}, "@daily"]', "schedule.jitter", 37),
        ('["@daily", {every: 5m, timezone: Berlin}]', "schedule.timezone", 44),
        ("{every: 1h, phase: 1h}", "schedule.phase", 30),
        ("{every: 1h, phase: 5}", "duration.invalid", 30),
        ('{cron: "@daily", phase: 5m}', "schedule.phase", 35),
        ('{cron: "@daily", starts: 2027-01-01}', "schedule.starts", 36),
        ('{cron: "@daily", ends: 2027-01-01T00:00}', "schedule.ends", 34),
        ('{cron: "@daily", ends: 5}', "value.type", 34),
        ("{every: 1h, starts: 2027-01-02T00:00Z, ends: 2027-01-01T00:00Z}", "schedule.ends", 56),
        ("{at: 2027-01-02T00:00Z, ends: 2027-01-01T00:00Z}", "schedule.never", 16),
        ("{every: 7d, starts: 2027-01-02T00:00Z, ends: 2027-01-02T01:00Z}", "schedule.never", 56),
    ],
)
def test_a_schedule_is_checked_where_it_stands(schedule: str, code: str, column: int | None) -> None:
    found = told(job(schedule=schedule))
    assert [each[0] for each in found] == [code]
    if column is not None:
        assert found[0][1:] == (2, column)


def test_a_list_of_schedules_is_read_in_order_with_the_zone_of_each() -> None:
    given = '["0 9 * * 1-5", {every: 1h, phase: 0s, timezone: UTC}, {at: 2027-01-01T00:00Z}]'
    schedule = spec_of(job(schedule=given)).schedule
    assert schedule.timezone == "Europe/Berlin"
    assert [entry.to_json() for entry in schedule.entries] == [
        {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
        {"every_ms": 3_600_000, "timezone": "UTC"},
        {"at": "2027-01-01T00:00:00Z", "timezone": "Europe/Berlin"},
    ]
    assert spec_of(job(schedule='["0 9 * * 1-5"]')) == spec_of(job(schedule='"0 9 * * 1-5"'))


def test_every_key_of_a_schedule_arrives_in_the_definition() -> None:
    bounds = 'starts: "2027-01-01T00:00:00+01:00", ends: "2027-12-31T23:00:00Z"'
    schedule = spec_of(job(schedule=f"{{every: 1h, phase: 5m, jitter: 1m, timezone: UTC, {bounds}}}")).schedule
    assert schedule.to_json() == {
        "every_ms": 3_600_000,
        "phase_ms": 300_000,
        "timezone": "UTC",
        "starts": "2026-12-31T23:00:00Z",
        "ends": "2027-12-31T23:00:00Z",
        "jitter_ms": 60_000,
    }


@pytest.mark.parametrize(
    ("schedule", "hint"),
    [("5m", "schedule: {every: 5m}"), ("2027-01-01T00:00:00Z", 'schedule: {at: "2027-01-01T00:00:00Z"}')],
)
def test_a_bare_interval_or_instant_is_told_its_key(schedule: str, hint: str) -> None:
    assert hint in job(schedule=schedule).problems[0].hint


BERLIN, NOWHERE = "timezone: Europe/Berlin", "timezone: Europe/Berlyn"


@pytest.mark.parametrize(
    ("schedule", "hint"),
    [
        ('{at: "2027-07-31T09:00:00"}', "write 2027-07-31T09:00:00Z for UTC, or"),
        (f'{{at: "2027-07-31T09:00:00", {BERLIN}}}', 'write at: "2027-07-31T09:00:00+02:00"'),
        (f'{{{BERLIN}, at: "2027-01-31 09:00"}}', 'write at: "2027-01-31T09:00:00+01:00"'),
        ('{at: "2027-07-31T09:00", timezone: "UTC"}', 'write at: "2027-07-31T09:00:00+00:00"'),
        (
            f'{{every: 1h, starts: "2027-07-31T09:00:00.25", {BERLIN}}}',
            'write starts: "2027-07-31T09:00:00.250000+02:00"',
        ),
        (f'{{at: "2027-03-28T02:30:00", {BERLIN}}}', "write the offset of Europe/Berlin"),  # skipped
        (f'{{at: "2027-10-31T02:30:00", {BERLIN}}}', "write the offset of Europe/Berlin"),  # there twice
        (f'{{at: "2027-02-31T02:30:00", {BERLIN}}}', "write the offset of Europe/Berlin"),
        (f'{{at: "2027-07-31T09:00:00", {NOWHERE}}}', "write the offset of Europe/Berlyn"),
        (f'["@daily", {{at: "2027-07-31T09:00:00", {BERLIN}}}]', 'write at: "2027-07-31T09:00:00+02:00"'),
    ],
)
def test_an_instant_without_an_offset_is_told_that_of_the_zone_beside_it(schedule: str, hint: str) -> None:
    found = job(schedule=schedule).problems
    assert any(each.hint.startswith(hint) for each in found), found
    if "timezone" in schedule:
        assert not any("Z for UTC" in each.hint for each in found)


@pytest.mark.parametrize("schedule", ["5", "true", "1.5"])
def test_a_schedule_of_another_type_is_told_all_its_forms(schedule: str) -> None:
    (problem,) = job(schedule=schedule).problems
    assert (problem.code, problem.column) == ("value.type", 11)
    assert "must be a cron expression, a mapping or a list of these, not" in problem.message
    assert problem.hint == 'write "0 9 * * *" or {every: 15m}'
    (problem,) = job(schedule=f"['@daily', {schedule}]").problems
    assert "item 2 of schedule must be a cron expression or a mapping, not" in problem.message


def test_a_document_that_is_mere_text_is_told_what_a_job_looks_like() -> None:
    (problem,) = read(b"id=a\n").problems
    assert (problem.code, problem.hint) == ("yaml.not-a-mapping", "write one key per line, id first")


def test_a_key_in_capitals_is_told_the_right_one() -> None:
    hints = {problem.hint for problem in read(b"ID: a\nSchedule: x\nTask: y\n").problems}
    assert {f"did you mean {key!r}?" for key in ("id", "schedule", "task")} <= hints


@pytest.mark.parametrize(
    ("extra", "code", "hint"),
    [
        ("timeuot: 5m", "key.unknown", "did you mean 'timeout'?"),
        ("cron: x", "key.unknown", "under schedule"),
        ("xyzzy: 1", "key.unknown", "allowed: id, schedule, name"),
        ("xyzzy: null", "key.unknown", "allowed:"),
        ("runner: shel", "runner.unknown", "did you mean 'shell'?"),
        ("runner: zzz", "runner.unknown", "declared: claude, nightly, shell"),
        ("runner:", "runner.missing", "claude, nightly, shell"),
        ("timeout: 30", "duration.invalid", "write 30s, 30m or 30h"),
        ("enabled: yes", "value.type", "write true"),
        ("name: 1.10", "value.type", 'quote it: "1.10"'),
        ("tags: x", "value.type", "write [x]"),
        ("tags: [1]", "value.type", 'quote it: "1"'),
        ("name: ' '", "value.empty", ""),
        ('name: "a\\nb"', "value.invalid", ""),
        ("env: {MODE: 5}", "value.type", 'quote it: "5"'),
        ("env: {MODE: yes, MODEL: true}", "value.type", 'quote it: "true"'),
        ("env: {MODES: x}", "env.not-allowed", "did you mean 'MODE'?"),
        ("env: [MODE]", "value.type", "key: value"),
        ("env: MODE=night", "value.type", 'write {MODE: "night"}'),
        ("tags: {agent, hourly}", "value.type", "write [agent, hourly]"),
        ("tags: {a: b}", "value.type", "write one item per line, each after '- '"),
        ("tags:\n  a: b\n  c: d", "value.type", "write one item per line, each after '- '"),
        ("tags: {}", "value.type", "write one item per line, each after '- '"),
        ("timeout: 1:30", "duration.invalid", "90s, 20m"),
        ("timeout: 010", "yaml.octal", "write 10"),
        ("enabled: NO", "value.type", "write false"),
        ("enabled: 0", "value.type", "write false"),
        ("enabled: 1", "value.type", "write true"),
        ("timeout: .inf", "duration.invalid", "write one like 90s, 20m, 2h or 1h30m"),
        ("timeout: 1.5", "duration.invalid", "write one like 90s, 20m, 2h or 1h30m"),
        ("timeout: -5", "duration.invalid", "write one like 90s, 20m, 2h or 1h30m"),
        ("timeout: 0", "duration.invalid", "write one like 90s, 20m, 2h or 1h30m"),
        ("timeout: 99999999999999999999", "duration.invalid", "write one like 90s, 20m, 2h or 1h30m"),
        ("timeout: 1h 30m", "duration.invalid", "write 1h30m"),
        ("tags: agent, hourly", "value.type", "write [agent, hourly]"),
        ("TAGS: [x]", "key.unknown", "did you mean 'tags'?"),
        ("env: {2X: a}", "env.name", "write _2X"),
        ("env: {MY-MODE: a}", "env.name", "write MY_MODE"),
        ("env: {MODE=a}", "env.name", "in env write MODE: value"),
        ("name: 2027-01-01T00:00:00Z\nenabled: y", "value.type", "write true"),
        ("concurrency: forbit", "value.choice", "did you mean 'forbid'?"),
    ],
)
def test_a_wrong_value_is_one_problem_with_a_hint(extra: str, code: str, hint: str) -> None:
    (problem,) = job(extra).problems
    assert problem.code == code
    assert hint in problem.hint


@pytest.mark.parametrize(("name", "code"), [("A-B", "env.name"), ("1A", "env.name"), ("SCHEDULER_X", "env.reserved")])
def test_names_of_variables_are_checked_at_the_name(name: str, code: str) -> None:
    assert (code, 4, 7) in told(job(f"env: {{{name}: x}}"))


def test_what_comes_from_defaults_is_blamed_on_the_job_and_says_so() -> None:
    (problem,) = job("runner: shell").problems
    assert (problem.code, problem.line, problem.column) == ("env.not-allowed", 1, 1)
    assert "from defaults in scheduler.yaml" in problem.message
    assert "env: {MODE: null}" in problem.hint
    assert job("runner: shell\nenv: {MODE: null}").problems == ()


@pytest.mark.parametrize(
    ("path", "task", "allowed"),
    [
        ("jobs/a.yaml", "task: x", True),
        ("other/a.yaml", "task: x", False),
        ("other/a.yaml", "task_source_path: scripts/x.sh", True),
        ("jobs/a.yaml", "task_source_path: prompts/x.md", False),
        ("other/a.yaml", "task: x\ntask_source_path: null", False),
    ],
)
def test_a_runner_is_given_only_the_files_it_allows(path: str, task: str, allowed: bool) -> None:
    found = job("runner: shell\nenv: {MODE: null}", task=task, path=path)
    assert [problem.code for problem in found.problems] == ([] if allowed else ["runner.task-not-allowed"])


def test_a_body_that_the_runner_may_not_be_given_is_blamed_on_the_runner() -> None:
    data = b'---\nid: a\nschedule: "@daily"\nrunner: shell\nenv: {MODE: null}\n---\nrm -rf\n'
    assert told(read(data, "docs/a.md")) == [("runner.task-not-allowed", 4, 9)]


LIMITED = sound(b"""\
version: 1
defaults: {tags: [agent]}
runners:
  backup: {command: [cat], jobs: [backup-*, "tag:on call"]}
  short: {command: [cat], max_timeout: 1h}
  shorter: {command: [cat], max_timeout: 10m}
""")


def limited(text: str, settings: Settings = LIMITED) -> list[tuple[str, int, int]]:
    return told(read(f'schedule: "@daily"\ntask: x\n{text}\n'.encode(), settings=settings))


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("id: backup-db", True),
        ("id: backup-", True),
        ("id: backup", False),
        ("id: my-backup-db", False),
        ("id: a\ntags: [x, on call]", True),
        ("id: a\ntags: [on]", False),
        ("id: a", False),
    ],
)
def test_a_runner_is_used_only_by_the_jobs_it_allows_by_id_or_tag(text: str, allowed: bool) -> None:
    assert limited(f"runner: backup\n{text}") == ([] if allowed else [("runner.job-not-allowed", 3, 9)])


def test_the_tags_that_count_are_those_of_the_resolved_job() -> None:
    settings = sound(b'version: 1\ndefaults: {tags: [agent]}\nrunners: {r: {command: [cat], jobs: ["tag:ag*"]}}\n')
    assert limited("id: a\nrunner: r", settings) == []
    for own in ("[other]", "[]", "null"):
        assert limited(f"id: a\nrunner: r\ntags: {own}", settings) == [("runner.job-not-allowed", 4, 9)]


def test_a_runner_from_defaults_that_a_job_may_not_use_is_blamed_on_the_job() -> None:
    settings = sound(b"version: 1\ndefaults: {runner: r}\nrunners: {r: {command: [cat], jobs: [b]}}\n")
    (problem,) = read(b'id: a\nschedule: "@daily"\ntask: x\n', settings=settings).problems
    assert (problem.code, problem.line, problem.column) == ("runner.job-not-allowed", 1, 1)
    assert "from defaults in scheduler.yaml" in problem.message


@pytest.mark.parametrize("text", ["id: A\nrunner: backup", "id: a\nrunner: backup\ntags: x"])
def test_nothing_is_said_of_the_runner_while_id_or_tags_are_at_fault(text: str) -> None:
    assert "runner.job-not-allowed" not in [code for code, _, _ in limited(text)]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("runner: short\ntimeout: 1h", None),
        ("runner: short\ntimeout: 60m1s", (5, 10)),
        ("runner: short", None),
        ("runner: shorter", (1, 1)),
        ("runner: shorter\ntimeout: null", (5, 10)),
        ("runner: shorter\ntimeout: 10m", None),
    ],
)
def test_a_timeout_stays_within_what_the_runner_allows(text: str, place: tuple[int, int] | None) -> None:
    assert limited(f"id: a\n{text}") == ([] if place is None else [("runner.max-timeout", *place)])


def test_a_timeout_from_defaults_is_held_to_the_limit_too_and_the_range_is_told() -> None:
    settings = sound(b"version: 1\ndefaults: {timeout: 3h}\nrunners: {r: {command: [cat], max_timeout: 1h30m}}\n")
    (problem,) = read(b'id: a\nschedule: "@daily"\ntask: x\nrunner: r\n', settings=settings).problems
    assert (problem.code, problem.line, problem.column) == ("runner.max-timeout", 1, 1)
    assert "timeout 3h is outside 1s-1h30m" in problem.message
    assert "from defaults in scheduler.yaml" in problem.message
    assert "write timeout: 1h30m" in problem.hint


@pytest.mark.parametrize("timeout", ["5", "x", "[1h]", "0s"])
def test_a_timeout_that_cannot_be_read_is_told_once(timeout: str) -> None:
    assert len(limited(f"id: a\nrunner: shorter\ntimeout: {timeout}")) == 1


@pytest.mark.parametrize(("written", "limit"), [("", 10), ("failure_limit: 3", 3), ("failure_limit: 0", 0)])
def test_ten_errors_in_a_row_stop_a_job_unless_it_says_otherwise(written: str, limit: int) -> None:
    assert spec_of(job(written)).failure_limit == limit


def test_a_retry_is_read_whole_and_has_defaults_for_what_it_does_not_say() -> None:
    written = "{attempts: 5, delay: 10s, backoff: 1.5, max_delay: 10m, on: [interrupted, failed]}"
    spec = spec_of(job(f"retry: {written}"))
    assert spec.retry == Retry(
        attempts=5,
        delay=timedelta(seconds=10),
        backoff=1.5,
        max_delay=timedelta(minutes=10),
        on=("interrupted", "failed"),
    )
    assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec_of(job("retry: {attempts: 3, backoff: 3}")).retry == Retry(attempts=3, backoff=3)
    assert spec_of(job("")).retry == Retry(), "one try"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("{attempts: 0}", "value.range"),
        ("{attempts: 101}", "value.range"),
        ("{attempts: 2.5}", "value.type"),
        ("{backoff: 0.5}", "value.range"),
        ("{backoff: .inf}", "value.range"),
        ("{backoff: .nan}", "value.range"),
        ("{backoff: '2'}", "value.type"),
        ("{delay: 30}", "duration.invalid"),
        ("{on: []}", "value.empty"),
        ("{on: [succeeded]}", "value.choice"),
        ("{on: failed}", "value.type"),
        ("{tries: 3}", "key.unknown"),
        ("3", "value.type"),
    ],
)
def test_a_retry_that_means_nothing_is_refused(wrong: str, code: str) -> None:
    (problem,) = job(f"retry: {wrong}").problems
    assert (problem.line, problem.code) == (4, code)


@pytest.mark.parametrize(
    ("schedule", "expires"),
    [
        ('"@daily"', "2027-01-01"),
        ('"@daily"', "2027-01-01T00:00"),
        ('"@daily"', "5"),
        ("{every: 1h, starts: 2027-01-02T00:00Z}", "2027-01-01T23:59:59Z"),
        ("{at: 2027-01-02T00:00Z}", "2027-01-01T00:00Z"),
        ("[{at: 2027-01-02T00:00Z}, {at: 2027-01-03T00:00Z}]", "2027-01-01T00:00Z"),
    ],
)
def test_an_expiry_that_is_no_instant_or_leaves_nothing_is_refused_at_its_place(schedule: str, expires: str) -> None:
    (problem,) = job(f"expires: {expires}", schedule=schedule).problems
    assert (problem.line, problem.column) == (4, 10)
    assert problem.code in ("expires.invalid", "value.type")


def test_a_job_is_due_up_to_its_expiry() -> None:
    expires = datetime(2027, 1, 1, 23, tzinfo=UTC)  # midnight in Berlin
    union = '[{cron: "@daily"}, {at: 2027-01-02T12:00Z}, {every: 1h, ends: 2027-01-01T00:00Z}]'
    for schedule in ('"@daily"', union):
        spec = spec_of(job("expires: 2027-01-02T00:00:00+01:00", schedule=schedule))
        assert spec.expires == expires
        assert next_fire(spec.due_by, after=expires - timedelta(seconds=1)) == expires
        assert next_fire(spec.due_by, after=expires) is None
        assert next_fire(spec.schedule, after=expires) is not None
        assert JobSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("wrong", ["-1", "1.5", "'3'", "true", "1000001"])
def test_a_failure_limit_that_is_no_count_is_refused(wrong: str) -> None:
    (problem,) = job(f"failure_limit: {wrong}").problems
    assert (problem.line, problem.code.split(".")[0]) == (4, "value")


# -- defaults ----------------------------------------------------------------------------------

EVERY_DEFAULT = sound(b"""\
version: 1
defaults:
  name: All
  jitter: 1m
  description: Of all
  owner: ops
  tags: [x, y]
  enabled: false
  runner: r
  env: {A: "1", B: "2", GONE: null}
  timeout: 2h
  concurrency: forbid
  failure_limit: 4
  expires: 2031-01-01T00:00:00Z
  retry: {attempts: 3, delay: 1m}
  expect_every: 26h
  catch_up: all
  model: small
  args: [--fast]
  workdir: root
  task_queue: gpu
  check: {runner: s, task_source_path: checks/all.sh, timeout: 10s}
  expect: {result: nonempty}
  budget: {per_run: 0, per_day: 5}
  deliver: [owner]
  deliver_on: [failure]
  ping: "${env:HC}"
channels: {owner: {url: "${env:OWNER}"}, log: {command: [cat]}}
runners:
  r:
    command: [cat, "{model}", "{args}"]
    job_env: [A, B, C]
    job_models: [small]
    job_args: {--fast: null}
    workdirs: [root]
  s:
    command: [cat, "{model}", "{args}"]
    job_env: [A, B, C]
    job_models: [small]
    job_args: {--fast: null}
    workdirs: [root]
""")


def resolved(extra: str) -> JobSpec:
    return spec_of(read(f'id: a\nschedule: "@daily"\ntask: x\n{extra}\n'.encode(), settings=EVERY_DEFAULT))


def test_a_definition_without_expect_every_keeps_the_digest_that_it_had_before_the_key_was_known() -> None:
    spec = replace(resolved(""), expect_every=None)
    stored = {name: value for name, value in spec.to_json().items() if name != "expect_every_ms"}
    assert JobSpec.from_json(stored) == spec
    assert replace(spec, expect_every=timedelta(days=1)).digest != spec.digest


def test_every_key_that_may_have_a_default_takes_it() -> None:
    spec = resolved("")
    assert spec.schedule.jitter == timedelta(minutes=1)
    assert (spec.name, spec.description, spec.owner, spec.tags) == ("All", "Of all", "ops", ("x", "y"))
    assert (spec.enabled, spec.runner, spec.timeout, spec.failure_limit) == (False, "r", timedelta(hours=2), 4)
    assert spec.env == (("A", "1"), ("B", "2"))
    assert spec.expires == datetime(2031, 1, 1, tzinfo=UTC)
    assert spec.retry == Retry(attempts=3, delay=timedelta(minutes=1))
    assert spec.catch_up == CatchUp(policy=CatchUpPolicy.ALL)
    assert resolved("catch_up: {within: 1h}").catch_up == CatchUp(policy=CatchUpPolicy.ALL, within=timedelta(hours=1))
    assert resolved("catch_up: none").catch_up == CatchUp(policy=CatchUpPolicy.NONE)
    assert resolved("catch_up: null").catch_up == CatchUp()
    assert resolved("retry: {attempts: 2}").retry == Retry(attempts=2, delay=timedelta(minutes=1)), "merged by key"
    assert resolved("retry: null").retry == Retry()
    assert spec.expect_every == timedelta(hours=26)
    assert (spec.model, spec.args, spec.workdir) == ("small", ("--fast",), "root")
    assert (spec.task_queue, resolved("task_queue: local").task_queue) == ("gpu", "local")
    of_all = CheckSpec(runner="s", task_source_path="checks/all.sh", timeout=timedelta(seconds=10))
    assert (spec.check, resolved("check: null").check) == (of_all, None)
    assert resolved("check: {runner: r}").check == replace(of_all, runner="r")
    assert resolved("expect: {file: out/a.md}").expect == ExpectSpec(result="nonempty", file="out/a.md")
    assert (spec.expect, resolved("expect: null").expect) == (ExpectSpec(result="nonempty"), None)
    assert spec.budget == Budget(per_run=Decimal(0), per_day=Decimal(5))
    assert resolved("budget: {per_day: null}").budget == Budget(per_run=Decimal(0)), "merged by key"
    assert resolved("budget: null").budget is None
    assert (spec.deliver, spec.deliver_on, spec.ping) == (("owner",), (DeliverOn.FAILURE,), "${env:HC}")
    assert resolved("deliver: [log]").deliver == ("log",), "a list replaces a list"
    assert (resolved("deliver: []").deliver, resolved("deliver: null").deliver) == ((), ())
    assert (resolved("deliver_on: null").deliver_on, resolved("ping: null").ping) == (DEFAULT_DELIVER_ON, None)
    assert set(EVERY_DEFAULT.defaults) == set(DefaultsShape.model_fields)


@pytest.mark.parametrize(
    ("own", "env"),
    [
        ("{}", {"A": "1", "B": "2"}),
        ("{C: '3'}", {"A": "1", "B": "2", "C": "3"}),
        ("{A: '9', C: '3'}", {"A": "9", "B": "2", "C": "3"}),
        ("{A: null}", {"B": "2"}),
        ("{A: null, B: ~}", {}),
        ("{C: null}", {"A": "1", "B": "2"}),
        ("null", {}),
        ("{A: ''}", {"A": "", "B": "2"}),
    ],
)
def test_environments_are_merged_by_name_and_null_takes_one_away(own: str, env: dict[str, str]) -> None:
    assert dict(resolved(f"env: {own}").env) == env


@pytest.mark.parametrize(("own", "tags"), [("[z]", ("z",)), ("[]", ()), ("null", ())])
def test_lists_are_replaced_and_never_joined(own: str, tags: tuple[str, ...]) -> None:
    assert resolved(f"tags: {own}").tags == tags


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("name: null", "name", "a"),
        ("description:", "description", None),
        ("owner: ~", "owner", None),
        ("enabled: null", "enabled", True),
        ("timeout: null", "timeout", timedelta(minutes=30)),
        ("concurrency: null", "concurrency", "forbid"),
        ("enabled: true", "enabled", True),
        ("runner: s", "runner", "s"),
    ],
)
def test_null_unsets_a_default_and_leaves_the_products_own(line: str, field: str, value: Any) -> None:
    assert getattr(resolved(line), field) == value


def test_a_runner_that_is_unset_is_missing() -> None:
    found = read(b'id: a\nschedule: "@daily"\ntask: x\nrunner: null\n', settings=EVERY_DEFAULT)
    assert [code for code, _, _ in told(found)] == ["runner.missing"]


def test_a_default_env_that_the_jobs_own_runner_does_not_allow_is_told() -> None:
    settings = sound(
        b"version: 1\ndefaults: {env: {A: x}}\nrunners: {r: {command: [cat], job_env: [A]}, s: {command: [cat]}}\n"
    )
    text = 'id: a\nschedule: "@daily"\ntask: x\nrunner: {}\n{}\n'
    assert told(read(text.format("r", "").encode(), settings=settings)) == []
    assert told(read(text.format("s", "").encode(), settings=settings)) == [("env.not-allowed", 1, 1)]
    assert told(read(text.format("s", "env: {A: y}").encode(), settings=settings)) == [("env.not-allowed", 5, 7)]
    assert told(read(text.format("s", "env: null").encode(), settings=settings)) == []


scalars = st.none() | st.integers() | st.text(max_size=3)
layers = st.dictionaries(
    st.sampled_from("abc"),
    scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.sampled_from("xyz"), scalars, max_size=3),
)


@given(layers, layers)
def test_merging_keeps_every_key_and_the_job_always_has_the_last_word(
    defaults: dict[str, Any], mine: dict[str, Any]
) -> None:
    merged = merge(defaults, mine)
    assert merged.keys() == defaults.keys() | mine.keys()
    for key, value in merged.items():
        if key not in mine:
            assert value == defaults[key]
        elif isinstance(defaults.get(key), dict) and isinstance(mine[key], dict):
            assert value == {**defaults[key], **mine[key]}
        else:
            assert value == mine[key]
    assert merge(merged, mine) == merged
    assert merge({}, mine) == mine


def test_every_key_has_a_description_for_the_schema_and_the_docs() -> None:
    for shape in (JobShape, DefaultsShape, ScheduleShape):
        assert all(each.description for each in shape.model_fields.values())
    assert JobShape.model_json_schema()["required"] == ["id", "schedule"]


@pytest.mark.parametrize(
    "source",
    [each for each in sorted(GOLDEN.glob("*.[ym]*")) if not each.name.startswith("root-")],
    ids=lambda p: p.name,
)
def test_problems_of_job_files_read_as_in_the_golden_files(source: Path) -> None:
    found = read(source.read_bytes(), f"jobs/{source.name}")
    assert found.problems
    check_golden(source, found.problems)


# -- any bytes ---------------------------------------------------------------------------------

PIECES = [
    b"id: b\n", b"\n---\n", b"- ", b"\t", b"*x", b"&x ", b"!t ", b"{", b"]", b"'", b'"', b"\xff", b"\0", b"\r", b"null",
    b"task: x\n", b"env: {MODE: 1}\n", b"<<: ", b"? ", b"\xef\xbb\xbf", "é😀".encode(), b"\x85", b"...\n",
]  # fmt: skip
SEEDS = [YAML, MARKDOWN, YAML + b"---\n" + YAML, *(each.read_bytes() for each in sorted(GOLDEN.glob("*.[ym]*")))]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 10)))
        data = data[:start] + draw(st.sampled_from([b"", *PIECES])) + data[end:]
    return data


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | mutated(), st.sampled_from(["a.yaml", "a.md"]))
def test_any_bytes_give_documents_or_problems_inside_the_file(data: bytes, path: str) -> None:
    found = read(data, path)
    assert found.broken <= (not found.documents)
    assert found.empty <= (not found.documents and {each.code for each in found.problems} <= {"front-matter.unopened"})
    assert found.broken or found.empty or found.documents
    assert {problem.job_id for problem in found.problems} <= {None, *(document.id for document in found.documents)}
    lines = data.count(b"\n") + data.count(b"\r") + 1
    for document in found.documents:
        assert 1 <= document.line <= lines
        assert 1 <= document.task_place[0] <= lines
        assert 1 <= document.schedule_place[0] <= lines
        if document.spec is not None:
            assert document.spec.id == document.id
            assert (document.text is None) == (document.spec.task_source_path is not None)
            assert JobSpec.from_json(document.spec.to_json()) == document.spec
    if found.documents and not found.problems:
        assert all(document.spec is not None for document in found.documents)


def test_a_doubted_comment_is_a_warning_and_leaves_the_job_as_it_is() -> None:
    found = job("owner: #team-data", task="task: Review PR #42 now")
    assert [(each.code, each.line, each.severity, each.job_id) for each in found.problems] == [
        ("yaml.comment", 3, Severity.WARNING, "a"),
        ("yaml.comment", 4, Severity.WARNING, "a"),
    ]
    spec = only(found).spec
    assert spec is not None
    assert (spec.owner, only(found).text) == (None, b"Review PR")
    in_front_matter = read(b'---\nid: a\nschedule: "@daily"\nname: Team #1\n---\nPR #42\n', "jobs/a.md")
    assert told(in_front_matter) == [("yaml.comment", 4, 12)]


def test_a_doubted_comment_in_the_root_file_is_a_warning() -> None:
    settings, problems = read_root_file(b"version: 1\ndefaults: {owner: team #1\n  }\n")
    assert settings is not None
    assert [(each.code, each.severity) for each in problems] == [("yaml.comment", Severity.WARNING)]


def test_the_jitter_of_the_defaults_holds_where_a_schedule_writes_none_and_as_far_as_it_fits() -> None:
    settings = sound(ROOT.replace(b"defaults: {", b"defaults: {jitter: 10m, "))

    def jitter(schedule: str) -> timedelta:
        found = read(f"id: a\ntask: x\nschedule: {schedule}\n".encode(), settings=settings)
        return spec_of(found).schedule.jitter

    minutes = {
        '"0 0 * * *"': 10,
        '{at: "2030-01-01T00:00:00Z"}': 10,
        '["0 0 * * *", {every: 1h}]': 10,
        '{cron: "0 0 * * *", jitter: 3m}': 3,
        '{cron: "0 0 * * *", jitter: null}': 0,
        "{every: 1s}": 0,
        "manual": 0,
    }
    assert {each: jitter(each) for each in minutes} == {each: timedelta(minutes=n) for each, n in minutes.items()}
    assert jitter('"* * * * *"') == timedelta(seconds=29)
    (problem,) = job("jitter: 1m").problems
    assert (problem.code, "under schedule" in problem.hint) == ("key.unknown", True)


# -- the check that decides whether there is work ----------------------------------------------


def check(keys: str, extra: str = "", *, root: bytes = ROOT) -> JobFile:
    text = f"id: a\nschedule: '@daily'\ntask: x\ncheck: {{{keys}}}\n{extra}\n"
    return read(text.encode(), settings=sound(root))


def test_a_check_has_a_runner_a_text_and_a_time() -> None:
    document = only(check("runner: shell, task_source_path: scripts/inbox.sh"))
    assert document.spec is not None
    assert document.spec.check == CheckSpec(runner="shell", task_source_path="scripts/inbox.sh")
    assert document.spec.check.timeout == timedelta(seconds=30)
    assert (document.check_path, document.check_text, document.check_place) == ("scripts/inbox.sh", None, (4, 42))
    assert document.task_paths == ("scripts/inbox.sh",)
    inline = only(check("runner: shell, task: exit 10, timeout: 5s, output: append"))
    assert inline.spec is not None
    assert inline.spec.check == CheckSpec(runner="shell", task="exit 10", timeout=timedelta(seconds=5), output="append")
    assert (inline.check_text, inline.check_path, inline.text) == (b"exit 10", None, b"x")
    assert JobSpec.from_json(inline.spec.to_json()) == inline.spec
    assert inline.spec.of_check.runner == "shell"


def test_a_definition_without_a_check_keeps_the_digest_that_it_had_before_the_key_was_known() -> None:
    spec = spec_of(job())
    stored = {name: value for name, value in spec.to_json().items() if name != "check"}
    assert JobSpec.from_json(stored) == spec
    assert replace(spec, check=CheckSpec(runner="shell", task="exit 10")).digest != spec.digest


@pytest.mark.parametrize(
    ("keys", "code", "column"),
    [
        ("task: exit 0", "runner.missing", 1),
        ("runner: shel, task: exit 0", "runner.unknown", 17),
        ("runner: shell", "task.sources", 1),
        ("runner: shell, task: exit 0, task_source_path: scripts/a.sh", "task.sources", 38),
        ("runner: shell, task: ' '", "task.empty", 30),
        ("runner: shell, task_source_path: ../a.sh", "task.path", 42),
        ("runner: shell, task_source_path: prompts/a.md", "runner.task-not-allowed", 42),
        ("runner: nightly, task: hi", "runner.job-not-allowed", 17),
        ("runner: nightly, task: hi, timeout: 3h", "runner.max-timeout", 45),
        ("runner: shell, task: exit 0, timeout: 30", "duration.invalid", 47),
        ("runner: shell, task: exit 0, output: add", "value.choice", 46),
        ("runner: shell, task: exit 0, argv: [x]", "key.unknown", 38),
    ],
)
def test_a_check_has_the_problems_of_a_job(keys: str, code: str, column: int) -> None:
    assert (code, 4, column) in told(check(keys))


def test_a_check_may_not_add_what_it_prints_to_what_an_interpreter_executes() -> None:
    found = check("runner: shell, task: exit 0, output: append", "runner: shell\nenv: {MODE: null}")
    assert told(found) == [("check.append", 4, 46)]
    assert found.problems[0].message == "runner 'shell' would execute what the check prints"
    assert check("runner: shell, task: exit 0, output: append", "runner: claude").problems == ()


def test_defaults_can_say_how_checks_run_but_not_what_they_are() -> None:
    shared = ROOT.replace(b"{timeout: 20m,", b"{check: {runner: shell, timeout: 9s}, timeout: 20m,")
    assert spec_of(read(YAML, settings=sound(shared))).check is None, "they do not make a check"
    found = only(check("task: exit 0", root=shared)).spec
    assert found is not None
    assert found.check == CheckSpec(runner="shell", task="exit 0", timeout=timedelta(seconds=9))
    inline = ROOT.replace(b"{timeout: 20m,", b"{check: {runner: shell, task: exit 0}, timeout: 20m,")
    assert [each.code for each in read_root_file(inline)[1]] == ["key.unknown"]
    unknown = ROOT.replace(b"{timeout: 20m,", b"{check: {runner: shel}, timeout: 20m,")
    assert [each.code for each in read_root_file(unknown)[1]] == ["runner.unknown"]


# -- who is told -------------------------------------------------------------------------------

TOLD = ROOT + b'channels: {owner: {url: "${env:OWNER}"}, mail: {url: "${env:MAIL}"}}\n'


def test_a_job_says_who_is_told_what_and_what_is_pinged() -> None:
    assert (spec_of(job()).deliver, spec_of(job()).deliver_on, spec_of(job()).ping) == ((), DEFAULT_DELIVER_ON, None)
    keys = b'deliver: [owner, mail]\ndeliver_on: [success, skip]\nping: "${file:/run/hc}"\n'
    found = spec_of(read(YAML + keys, settings=sound(TOLD)))
    assert (found.deliver, found.deliver_on) == (("owner", "mail"), (DeliverOn.SUCCESS, DeliverOn.SKIP))
    assert found.ping == "${file:/run/hc}"
    assert JobSpec.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("keys", "code", "place", "hint"),
    [
        ("deliver: [mail, ownr]", "channel.unknown", (4, 17), "did you mean 'owner'?"),
        ("deliver: [zzz]", "channel.unknown", (4, 11), "declared: mail, owner"),
        ("deliver: [a b]", "channel.name", (4, 11), "write a-b"),
        ("deliver: [owner, owner]", "value.invalid", (4, 10), "delete one of them"),
        ("deliver: owner", "value.type", (4, 10), "write [owner]"),
        ("deliver: [owner]\ndeliver_on: [sucess]", "value.choice", (5, 14), "did you mean 'success'?"),
        ("deliver: [owner]\ndeliver_on: []", "value.empty", (5, 13), "write deliver: [] for that"),
        ("ping: 'https://hc.example.com/${env:UUID}'", "channel.reference", (4, 7), "write ping: ${env:NAME}, and"),
        ("ping: ftp://hc.example.com", "channel.url", (4, 7), "write https://..."),
        ("ping: https://hc-ping.com/hunter2", "channel.literal-secret", (4, 7), "write ${env:NAME} or"),
    ],
)
def test_what_is_wrong_about_who_is_told_has_its_place_and_fix(
    keys: str, code: str, place: tuple[int, int], hint: str
) -> None:
    (problem,) = read(f"{YAML.decode()}{keys}\n".encode(), settings=sound(TOLD)).problems
    assert (problem.code, problem.line, problem.column) == (code, *place)
    assert problem.hint.startswith(hint)
    assert "hunter2" not in problem.message + problem.hint


def test_deliver_on_beside_no_deliver_is_doubted() -> None:
    found = job("deliver_on: [success]")
    assert [(each.code, each.line, each.severity) for each in found.problems] == [
        ("key.no-effect", 4, Severity.WARNING)
    ]


# -- what a success must leave -----------------------------------------------------------------


def test_a_job_says_what_a_success_must_leave() -> None:
    assert spec_of(job()).expect is None
    found = spec_of(job("expect: {result: '/(?m)^DONE$/', file: reports/daily.md}"))
    assert found.expect == ExpectSpec(result="/(?m)^DONE$/", file="reports/daily.md")
    assert found.expect.pattern == "(?m)^DONE$"
    assert JobSpec.from_json(found.to_json()) == found
    assert found.digest != spec_of(job()).digest


@pytest.mark.parametrize(
    ("keys", "code", "column"),
    [
        ("{}", "value.empty", 1),
        ("{result: null}", "value.empty", 1),
        ("{result: DONE}", "expect.result", 18),
        ("{result: ''}", "expect.result", 18),
        ("{result: //}", "expect.result", 18),
        ("{result: '/a(b/'}", "expect.result", 21),
        ("{result: /a(b/}", "expect.result", 20),
        ("{result: '/" + "a" * 600 + "/'}", "expect.result", 18),
        ("{file: ../report.md}", "expect.file", 16),
        ("{file: /tmp/report.md}", "expect.file", 16),
        ("{file: .scheduler/state.db}", "expect.file", 16),
        ("{result: true}", "value.type", 18),
        ("{output: nonempty}", "key.unknown", 10),
    ],
)
def test_an_expectation_that_cannot_be_met_is_a_problem(keys: str, code: str, column: int) -> None:
    assert (code, 4, column) in told(job(f"expect: {keys}"))


@pytest.mark.parametrize("pattern", ["[[a]", "(?i)done", "a{1,1000}", "[a-z&&[b]]", "\\d+ of \\d+"])
def test_a_regular_expression_warns_nobody(pattern: str) -> None:
    assert spec_of(job(f"expect: {{result: '/{pattern}/'}}")).expect == ExpectSpec(result=f"/{pattern}/")


def test_a_regular_expression_that_is_not_one_says_where() -> None:
    (problem,) = job("expect: {result: /a(b/}").problems
    assert problem.message == "the regular expression is not valid: missing ), unterminated subpattern"
    (problem,) = job("expect: {result: DONE}").problems
    assert problem.hint == "write nonempty, or a regular expression between slashes, such as /DONE/"
