"""The first hour: what `make run` and `make test` install, and the way into a repository of one's own."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.faces.conftest import Root
from tests.faces.test_examples import FOREIGN
from tests.helpers import REPOSITORY, Daemon, git
from tests.sources import modules, nodes

# -- what make installs ----------------------------------------------------------------------------


def recipe(target: str, venv: Path) -> str:
    """What make would do for a target."""
    found = subprocess.run(
        ["make", "--no-print-directory", "-n", target, f"VENV={venv}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout


def installs(text: str) -> list[str]:
    """What each call of pip is given, without the options that all of them have."""
    found = re.findall(r"-m pip install (.*)", text)
    assert all("-c .ci/constraints.txt -C editable_mode=compat" in each for each in found)
    return [each.partition("editable_mode=compat ")[2] for each in found]


def test_make_run_installs_what_it_needs_to_run_and_no_development_tools(tmp_path: Path) -> None:
    found = recipe("run", tmp_path / "venv")
    assert installs(found) == ["-e '.[web]'"]
    assert found.rstrip().endswith("sh .ci/tour")


def test_make_test_sets_everything_up_with_or_without_make_run_before(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    assert installs(recipe("test", venv)) == ["-e '.[web]'", "-e '.[dev]'"]
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
    """Tools of development are in nobody's way; what only tools, messages, workers or the web need is an extra."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    brought = [*project["dependencies"], *extras["mcp"], *extras["notify"], *extras["temporal"], *extras["web"]]
    names = with_what_they_need(brought)
    importers: dict[str, set[str]] = {}
    for path in modules():
        for node in nodes(path):
            imported = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.append(node.module)
            for module in imported:
                importers.setdefault(module.split(".")[0], set()).add(str(path))
    foreign = importers.keys() - sys.stdlib_module_names - {"scheduler"}
    assert {"click", "yaml", "watchdog", "mcp"} <= foreign
    distributions = packages_distributions()
    missing = {
        module: importers[module]
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


# -- in a repository of one's own ------------------------------------------------------------------

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
OWN = README.partition("\n## Use it in your own repository\n")[2].partition("\n## ")[0]


def fenced(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```", OWN, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_the_first_run_in_a_foreign_repository_takes_at_most_six_commands() -> None:
    commands = [line.partition("#")[0].strip() for line in fenced("sh").splitlines()]
    assert all(commands)
    assert len(commands) <= 6
    assert [each.split()[:2] for each in commands][-1] == ["scheduler", "serve"]
    assert any(each.startswith("scheduler run ") for each in commands[:4]), "and the first run is one of four"


def test_the_commands_of_the_readme_lead_to_an_agent_that_is_woken(tmp_path: Path) -> None:
    """As they stand, in a repository with files of its own; what installs and what edits are stand-ins."""
    home, mine, bin_ = Path(os.environ["HOME"]), Path(os.environ["HOME"]) / "my-repository", tmp_path / "bin"
    bin_.mkdir()
    (home / "scheduler").symlink_to(REPOSITORY)
    for path, text in FOREIGN.items():
        (mine / path).parent.mkdir(parents=True, exist_ok=True)
        (mine / path).write_text(text)
    git(mine, "init", "-q", "--template=")
    git(mine, "add", "-A")
    git(mine, "commit", "-qm", "Mine")
    old, new = [line[1:] for line in fenced("diff").splitlines()]
    started = f'exec env PYTHONPATH={REPOSITORY} {sys.executable} -m scheduler "$@"'
    program(tmp_path, "scheduler", started)
    program(bin_, "pipx", f'test "$1" = install && test -f "$2/pyproject.toml" && cp {tmp_path}/scheduler {bin_}')
    program(bin_, "claude", 'test "$1" = -p && tr a-z A-Z')
    edit = f"import pathlib, sys; f = pathlib.Path(sys.argv[1]); f.write_text(f.read_text().replace({old!r}, {new!r}))"
    program(bin_, "editor", f'grep -qF "{old}" "$1" && exec {sys.executable} -c "{edit}" "$1"')
    environ = {**os.environ, "PATH": f"{bin_}:/usr/bin:/bin", "EDITOR": "editor"}
    daemon = Daemon(["bash", "-ec", fenced("sh").replace("scheduler serve", "exec scheduler serve")], environ)
    try:
        daemon.says(" serving root=")
        prompt = "Say hello in one line, and name the day of the week.\n"

        def scheduler(*args: str) -> str:
            return subprocess.run(
                ["scheduler", *args], cwd=mine, env=environ, capture_output=True, text=True, check=True
            ).stdout

        assert scheduler("output", "example-hello:1") == prompt
        assert scheduler("run", "example-hello", "--wait") == prompt.upper()
        assert {job["id"] for job in json.loads(scheduler("list", "--json"))["jobs"]} <= {
            "example-hello",
            "example-review",
        }
        assert {path: (mine / path).read_text() for path in FOREIGN} == FOREIGN
    finally:
        assert daemon.stop() == 0


def test_the_picture_of_the_readme_is_ours_and_names_what_there_is() -> None:
    (path,) = re.findall(r"^!\[[^]]+\]\(([^)]+)\)", README, re.MULTILINE)
    root = ElementTree.fromstring((REPOSITORY / path).read_text(encoding="utf-8"))
    words = [" ".join(each.itertext()) for each in root.iter() if each.tag.endswith("}text")]
    assert {"id: triage", 'schedule: "0 9 * * 1-5"'} <= {*words}
    assert not [each for each in root.iter() if each.tag.endswith(("}image", "}script", "}use"))], (
        "nothing from outside"
    )
    assert (REPOSITORY / "jobs.example/prompts/triage.md").is_file()


def test_the_pages_are_shown_in_light_and_in_dark_by_small_pictures_that_are_ours() -> None:
    shown = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert shown == ["docs/pictures/now-dark.png", "docs/pictures/now-light.png"]
    for path in shown:
        data = (REPOSITORY / path).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) <= 200_000
    assert "Ben" in README[README.index("<picture>") : README.index("</picture>")]


def test_the_two_commands_stand_before_everything_else_that_can_be_typed() -> None:
    first = re.search(r"^```\w+\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert first is not None
    assert [line.partition("#")[0].strip() for line in first[1].splitlines()] == ["make run", "make test"]
    assert README.index("## Start") < README.index("## Use it in your own repository") < README.index("## A tour")
