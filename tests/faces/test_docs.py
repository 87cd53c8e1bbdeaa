"""The pages under docs/ say what the program does: no key, command or code is missing, and no example lies."""

from __future__ import annotations

import ast
import functools
import os
import re
from collections.abc import Iterable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from types import ModuleType

import click
import pytest

from scheduler.cli.group import cli
from scheduler.cli.helping import GLOBAL
from scheduler.cli.render import problem_text
from scheduler.core.formats.base import Shape
from scheduler.core.formats.channel_shapes import AlertsShape, ChannelShape, HeartbeatShape
from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.root_shapes import LimitsShape, PruneShape, RootShape, RunnerShape
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.shapes import DefaultsShape, JobShape, ScheduleShape
from scheduler.core.plan.claimants import across_files
from scheduler.core.plan.desired import Desired, Found
from scheduler.core.values.problems import Problem
from tests.sources import modules, nodes

TOP = Path(__file__).parents[2]
REFERENCE = TOP / "docs" / "reference"
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])

ROOT = """version: 1
timezone: UTC
runners:
  agent: {command: [cat], job_env: [MODE]}
  shell: {command: [sh, "{task_file}"], tasks: ["scripts/**"]}
  nightly: {command: [cat], jobs: ["tag:night"], max_timeout: 2h}
  claude:
    command: [claude, -p, --model, "{model}", "{args}"]
    model: small
    job_models: [small, "large-*"]
    job_args: {--max-turns: "[0-9]{1,2}", --verbose: null}
    workdirs: [fresh, site, ~/src]
  any-model: {command: [claude, -p, --model, "{model}"], job_models: ["*"]}
channels:
  owner: {url: "${env:OWNER_URL}"}
"""
JOB = {"id": "id: report", "schedule": 'schedule: "@daily"', "runner": "runner: agent", "task": "task: Write it."}


def text(path: str) -> str:
    return (TOP / path).read_text(encoding="utf-8")


def rows(page: str) -> set[str]:
    """What stands in the first column of the page's tables, as code."""
    return set(re.findall(r"^\| `([^`]+)`", text(f"docs/reference/{page}"), re.MULTILINE))


# -- reference -------------------------------------------------------------------------------


def generated() -> ModuleType:
    """docs/generate.py, which is in no package."""
    spec = spec_from_file_location("docs_generate", TOP / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["job-file.md", "scheduler-yaml.md", "commands.md", "tool.md"])
def test_the_generated_parts_are_what_the_program_says_now(page: str) -> None:
    generate = generated()
    committed = text(f"docs/reference/{page}")
    assert generate.filled(committed, generate.pages()[page]) == committed, "run `make docs`"


@pytest.mark.parametrize("shape", [JobShape, ScheduleShape])
def test_every_key_of_a_job_file_is_in_the_reference(shape: type[Shape]) -> None:
    assert set(shape.model_fields) <= rows("job-file.md")


@pytest.mark.parametrize(
    "shape", [RootShape, DefaultsShape, RunnerShape, LimitsShape, PruneShape, ChannelShape, AlertsShape, HeartbeatShape]
)
def test_every_key_of_scheduler_yaml_is_in_the_reference(shape: type[Shape]) -> None:
    assert set(shape.model_fields) <= rows("scheduler-yaml.md")


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_and_its_options_are_in_the_reference(name: str) -> None:
    _, _, rest = text("docs/reference/commands.md").partition(f"\n### {name}\n")
    assert rest, f"commands.md has no section {name}"
    section = re.split(r"\n##+ ", rest)[0]
    own = [each for each in cli.commands[name].params if isinstance(each, click.Option)]
    own = [each for each in own if each.name not in GLOBAL and not each.hidden]
    assert not [option for each in own for option in each.opts if f"`{option}`" not in section]


def test_every_check_of_doctor_is_in_its_table() -> None:
    names = {
        node.args[0].value
        for node in chain.from_iterable(map(nodes, modules()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Check"
        if isinstance(node.args[0], ast.Constant)
    }
    assert {"files", "clock", "backup"} <= names
    assert names <= rows("commands.md")


def test_every_global_option_is_in_the_reference() -> None:
    options = {option for each in cli.params for option in each.opts}
    _, _, rest = text("docs/reference/commands.md").partition("\n## Global options\n")
    section = rest.split("\n## ")[0]
    assert options >= {"--root", "--state", "--db", "--json"}
    assert not {option for option in options if f"`{option}`" not in section}


# -- problems --------------------------------------------------------------------------------

CODE = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*")
NOT_CODES = {
    "engine.yaml",
    "worker.lock",
    "worker.yaml",
    "scheduler.web",
    "style.css",
    "page.js",
    "item.completed",
    "thread.started",
    "turn.completed",
    "turn.failed",
    "turn.started",
    "alerts.deliver",
    "defaults.deliver",
    "defaults.jitter",
    "defaults.ping",
    "defaults.runner",
    "followed.json",
    "gc.auto",
    "index.lock",
    "look.lock",
    "looked.json",
    "maintenance.auto",
    "scheduler.yaml",
    "state.db",
    "store.git",
    "scheduler.ledger",
    "scheduler.scaffold",
    "tables.list",
    "tzdata.zi",
    "retry.attempts",
}
UNIT_FAULTS = ("invalid", "range")  # what UnitError.code may be; shapes puts `duration.` or `size.` in front


def codes_in_the_program() -> set[str]:
    found: set[str] = set()
    for path in modules():
        if path.parent.name == "sources":  # the names of files of others, such as jobs.json
            continue
        for node in nodes(path):
            match node:
                case ast.JoinedStr(values=[ast.Constant(value=str(prefix)), ast.FormattedValue()]) if re.fullmatch(
                    r"(duration|size)\.", prefix
                ):
                    found |= {prefix + fault for fault in UNIT_FAULTS}
                case ast.Constant(value=str(code)) if CODE.fullmatch(code):
                    found.add(code)
    return found - NOT_CODES


def sections() -> Iterator[tuple[str, str]]:
    """Each code of problems.md and the text below it."""
    parts = re.split(r"^### `([^`]+)`\n", text("docs/reference/problems.md"), flags=re.MULTILINE)
    for code, below in zip(parts[1::2], parts[2::2], strict=True):
        yield code, below.split("\n## ")[0]


def test_problems_md_explains_every_code_of_the_program_and_no_other() -> None:
    documented = [code for code, _ in sections()]
    assert sorted(documented) == sorted(codes_in_the_program())


def test_every_code_has_a_bad_and_a_good_example() -> None:
    assert not [code for code, below in sections() if "Bad:" not in below or "Good:" not in below]


def examples() -> Iterator[tuple[str, str, str, str]]:
    """(code, "Bad" or "Good", what the fence says, example) for those that a reader of files can judge."""
    for code, below in sections():
        for word, kind, example in re.findall(r"(Bad|Good):\n\n```(\S+ \S+(?: whole)?)\n(.*?)```", below, re.DOTALL):
            yield code, word, kind, example


def problems_of(kind: str, example: str) -> Iterable[Problem]:
    return judged(kind, example)[1]


def judged(kind: str, example: str) -> tuple[str, Iterable[Problem]]:
    """An example after the lines that it leaves out have been put back, and its problems."""
    given = set(re.findall(r"^(\w+):", example, re.MULTILINE))
    if kind.split()[1] == "root":
        whole = example if "whole" in kind or "version" in given else "version: 1\n" + example
        return whole, read_root_file(whole.encode())[1]
    settings, found = read_root_file(ROOT.encode())
    assert settings is not None, found
    if "whole" not in kind:
        left_out = [line for key, line in JOB.items() if key not in given]
        if "task_source_path" in given:
            left_out = [line for line in left_out if line != JOB["task"]]
        example = "\n".join([*left_out, example])
    path = "jobs/example.md" if kind.startswith("markdown") else "jobs/example.yaml"
    job_file = read_job_file(path, example.encode(), settings)
    documents = tuple(Found(document=document, task_sha256=None) for document in job_file.documents)
    return example, [*job_file.problems, *across_files(Desired(settings=settings, found=documents))]


@pytest.mark.parametrize(("code", "word", "kind", "example"), list(examples()))
def test_a_bad_example_has_its_problem_and_a_good_one_has_none(code: str, word: str, kind: str, example: str) -> None:
    found = {problem.code for problem in problems_of(kind, example)}
    assert found == ({code} if word == "Bad" else set())


def rendered(code: str) -> str:
    """The bad example of a code as a terminal would show its problems."""
    shown = []
    for each, word, kind, example in examples():
        if (each, word) == (code, "Bad"):
            # Some lines were put back in front of the example: the source shown is that of the whole.
            text, problems = judged(kind, example)
            lines = text.removeprefix("\ufeff").splitlines()
            shown += [problem_text(problem, lines[problem.line - 1], width=120) for problem in problems]
    return "".join(each + "\n" for each in shown)


@pytest.mark.parametrize("code", sorted({code for code, word, _, _ in examples() if word == "Bad"}))
def test_the_problems_of_a_bad_example_read_as_in_its_golden_file(code: str) -> None:
    golden = TOP / "tests" / "golden" / "codes" / f"{code}.txt"
    found = rendered(code)
    if os.environ.get("GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_every_golden_file_of_a_code_has_its_example() -> None:
    shown = {code for code, word, _, _ in examples() if word == "Bad"}
    assert {path.stem for path in (TOP / "tests" / "golden" / "codes").iterdir()} == shown


# -- all pages -------------------------------------------------------------------------------


def headings(page: Path) -> set[str]:
    """The anchors of a page, as the usual Markdown renderers name them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in headings(there)):
            broken.append(target)
    assert not broken


def test_every_page_can_be_reached_from_the_index() -> None:
    index = TOP / "docs" / "README.md"
    linked = {(index.parent / each).resolve() for each in re.findall(r"\]\(([^)#\s]+)", index.read_text())}
    assert not [page for page in (TOP / "docs").rglob("*.md") if page != index and page not in linked]


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_readme_names_the_two_commands_to_start_with(command: str) -> None:
    assert re.search(rf"^{command}\b", text("README.md"), re.MULTILINE)


def test_the_readme_and_the_tutorial_name_only_commands_that_exist() -> None:
    named = {
        word for page in ("README.md", "docs/tutorial.md") for word in re.findall(r"\$ scheduler ([a-z]+)", text(page))
    }
    assert named
    assert named <= set(cli.commands)


# -- the log ---------------------------------------------------------------------------------


def logged() -> set[str]:
    """The events that the program names itself; `run_<status>` is made of a status."""
    found = set()
    for node in chain.from_iterable(map(nodes, modules())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="_log")) | ast.Name(id="event"), args=args):
                words = [each.value for each in args if isinstance(each, ast.Constant)]
                found |= {word.split()[0] for word in words[:1] if isinstance(word, str) and word}
    return found


def test_every_event_of_the_log_is_in_the_table() -> None:
    table = re.search(r"^\| event \|.*?\n\n", text("docs/how-to/run-the-daemon.md"), re.MULTILINE | re.DOTALL)
    assert table
    assert {"synced", "guard_holds"} <= logged()
    assert logged() - set(re.findall(r"`(\w+)`", table[0])) == set()


# -- guarantees ------------------------------------------------------------------------------

PROMISES = [f"{letter}{n}" for letter, last in (("S", 8), ("F", 7), ("I", 3)) for n in range(1, last + 1)]


def promises() -> dict[str, str]:
    parts = re.split(r"^### ([A-Z]\d)\. ", text("docs/explanation/guarantees.md"), flags=re.MULTILINE)
    return {
        name: re.split(r"^## ", below, flags=re.MULTILINE)[0]
        for name, below in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_promise_is_explained_in_order() -> None:
    assert list(promises()) == PROMISES


@functools.cache
def names_in(path: Path) -> set[str]:
    """Of the functions and classes at the top of a module; empty where it is not there."""
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_test_that_the_docs_name_exists() -> None:
    named = {found for page in PAGES for found in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())}
    assert len(named) > 50
    assert not [f"{path}::{name}" for path, name in named if name and name not in names_in(TOP / path)]
    assert not [path for path, name in named if not name and not (TOP / path).is_file()]


def test_each_line_of_who_can_do_what_names_the_test_that_shows_it() -> None:
    (table,) = re.findall(r"^\| who \|.*?\n\n", text("docs/explanation/trust.md"), re.MULTILINE | re.DOTALL)
    lines = table.strip().split("\n")[2:]
    assert lines
    shown = re.compile(r"\| `tests/[\w/]+\.py::test_\w+`(, `tests/[\w/]+\.py::test_\w+`)* \|")
    assert not [line for line in lines if not shown.fullmatch(line[line.rindex("| `tests/") :])]


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_names_modules_and_tests_that_exist_and_its_limit(promise: str) -> None:
    said = promises()[promise]
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", said)
    assert tests
    assert not [f"{path}::{name}" for path, name in tests if name not in names_in(TOP / path)]
    modules = re.findall(r"`(scheduler/[\w/]+\.py)`", said)
    assert modules
    assert not [path for path in modules if not (TOP / path).is_file()]
    assert [part for part in ("- **Kept by** ", "- **Shown by**", "- **Limit** ") if part not in said] == []
