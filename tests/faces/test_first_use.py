"""The first hour: what `make run` and `make test` install, and the way into a repository of one's own."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

from tests.faces.conftest import Root
from tests.helpers import REPOSITORY

# -- what make installs ----------------------------------------------------------------------------


def recipe(target: str, venv: Path) -> str:
    """What make would do for a target."""
    found = subprocess.run(
        ["make", "-n", target, f"VENV={venv}"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return found.stdout


def installs(text: str) -> list[str]:
    """What each call of pip is given, without the options that all of them have."""
    found = re.findall(r"-m pip install (.*)", text)
    assert all("-c .ci/constraints.txt" in each for each in found)
    return [each.partition("constraints.txt ")[2] for each in found]


def test_make_run_installs_what_it_needs_to_run_and_no_development_tools(tmp_path: Path) -> None:
    found = recipe("run", tmp_path / "venv")
    assert installs(found) == ["-e ."]
    assert found.rstrip().endswith("sh .ci/tour")


def test_make_test_sets_everything_up_with_or_without_make_run_before(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    assert installs(recipe("test", venv)) == ["-e .", "-e '.[dev]'"]
    venv.mkdir()
    (venv / "ready-run").touch()
    assert installs(recipe("run", venv)) == []
    assert installs(recipe("test", venv)) == ["-e '.[dev]'"]
    (venv / "ready-test").touch()
    assert installs(recipe("test", venv)) == installs(recipe("lint", venv)) == []


def with_what_they_need(requirements: list[str]) -> set[str]:
    """The names of these distributions, and of all that they bring along."""
    found: set[str] = set()
    left = list(requirements)
    while left:
        requirement = left.pop()
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")
        if name not in found and "extra ==" not in requirement:
            found.add(name)
            with contextlib.suppress(PackageNotFoundError):  # for another machine
                left += requires(name) or []
    return found


def test_what_the_program_imports_is_what_an_installation_brings() -> None:
    """Tools of development are in nobody's way; what only the tool server needs is an extra."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    brought = [*project["dependencies"], *project["optional-dependencies"]["mcp"]]
    names = with_what_they_need(brought)
    modules: dict[str, set[str]] = {}
    for path in (REPOSITORY / "scheduler").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.append(node.module)
            for module in imported:
                modules.setdefault(module.split(".")[0], set()).add(str(path))
    foreign = modules.keys() - sys.stdlib_module_names - {"scheduler"}
    assert {"click", "yaml", "watchdog", "mcp"} <= foreign
    distributions = packages_distributions()
    missing = {
        module: modules[module]
        for module in foreign
        if not {each.lower().replace("_", "-") for each in distributions[module]} & names
    }
    assert not missing, "an installation without development tools does not bring this"


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_what_makes_the_machine_ready_is_asked_for_before_anything_is_installed(command: str, tmp_path: Path) -> None:
    found = recipe(command.split()[1], tmp_path / "venv")
    assert found.index("Python 3.11 or newer is needed") < found.index("pip install")


# -- what an editor shows --------------------------------------------------------------------------

EDITORS = (REPOSITORY / "docs/how-to/edit-with-a-schema.md").read_text(encoding="utf-8")


def test_the_pattern_for_an_editor_finds_every_problem_with_its_place(root: Root) -> None:
    root.write("jobs/bad.md", "---\nid: bad\nscedule: '@daily'\n---\nHi.\n")
    root.write("jobs/long.yaml", "id: long\nschedule: '@daily'\ntask: 'x' # y\ntimeout: 20\n")
    found = root.cli("validate")
    tasks = json.loads(next(each for each in re.findall(r"```json\n(.*?)```", EDITORS, re.DOTALL) if "tasks" in each))
    (task,) = tasks["tasks"]
    assert task["command"] == "scheduler validate"
    pattern = task["problemMatcher"]["pattern"]
    matches = [re.match(pattern["regexp"], line) for line in found.stdout.splitlines()]
    shown = [
        (each[pattern["file"]], int(each[pattern["line"]]), int(each[pattern["column"]]), each[pattern["severity"]])
        for each in matches
        if each is not None
    ]
    wanted = [
        (each["path"], each["line"], each["column"], each["severity"])
        for each in root.cli("validate", "--json").json["problems"]
    ]
    assert ("jobs/bad.md", 3, 1, "error") in wanted
    assert shown == wanted
