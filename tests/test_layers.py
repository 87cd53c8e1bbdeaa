"""The map holds: a wrong import is refused, the core is pure, and `list` loads no more than it needs."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import PACKAGE, nodes

TOP = Path(__file__).parent.parent
CORE = sorted((PACKAGE / "core").rglob("*.py"))
IMPURE = {"os", "socket", "sqlite3", "subprocess", "logging", "random", "time", "pathlib", "secrets", "threading"}


def imports(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_touches_nothing_outside_itself(path: Path) -> None:
    found = set(imports(path))
    assert not {name for name in found if name.split(".")[0] in IMPURE}
    assert all(name.startswith("scheduler.core") for name in found if name.startswith("scheduler"))


@pytest.mark.parametrize(
    ("module", "wrong", "contract"),
    [
        ("ledger/rows.py", "import scheduler.run.fire", "from the street to the ground"),
        ("root/place.py", "from scheduler.sync import passes", "from the street to the ground"),
        ("machine/log.py", "import scheduler.git.folder", "from the street to the ground"),
        ("core/times/cron.py", "import scheduler.core.plan.plan", "inside the core"),
        ("run/ends.py", "import scheduler.run.local.command", "inside a run"),
        ("git/run.py", "import scheduler.git.tree", "no circle"),
        ("cli/jobs.py", "import scheduler.ledger.runs", "I1"),
        ("sync/passes.py", "import sqlite3", "SQLite"),
        ("root/watched.py", "import watchdog", "watchdog"),
        ("delivery/webhook.py", "import apprise", "apprise"),
    ],
)
def test_a_wrong_import_is_refused(tmp_path: Path, module: str, wrong: str, contract: str) -> None:
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "scheduler", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "scheduler" / module).open("a") as file:
        file.write(f"\n{wrong}\n")
    linter = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True)
    broken = [line for line in found.stdout.splitlines() if " BROKEN" in line]
    assert found.returncode == 1
    assert any(line.startswith(contract) for line in broken), broken


def test_every_room_has_an_empty_face() -> None:
    """What an `__init__.py` imports is loaded by every command: `list` would read YAML."""
    faces = {
        PACKAGE / "__init__.py",
        *(PACKAGE / name / "__init__.py" for name in ("cli", "tool", "scaffold", "schemas")),
    }
    assert not [path for path in sorted(PACKAGE.rglob("__init__.py")) if path not in faces and path.read_text()]


def test_reading_commands_start_without_the_file_readers() -> None:
    code = "import sys, scheduler.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"yaml", "pydantic", "croniter", "sqlite_utils", "mcp", "anyio"} & set(loaded), (
        "each costs `list` a tenth of a second"
    )


def test_a_list_needs_neither_the_file_readers_nor_another_process(tmp_path: Path) -> None:
    (tmp_path / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\n")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/j.yaml").write_text('id: j\nschedule: "0 3 * * *"\nrunner: cat\ntask: x\n')
    told = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    code = told + f"sys.argv = ['scheduler', '--root', {str(tmp_path)!r}, 'list']; import scheduler.cli as c; c.main()"
    subprocess.run([sys.executable, "-m", "scheduler", "--root", tmp_path, "sync"], capture_output=True, check=True)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "every day" in found.stdout
    loaded = {name.split(".")[0] for name in found.stderr.split()}
    assert "sqlite3" in loaded
    assert not {"yaml", "pydantic", "croniter", "sqlite_utils", "watchdog", "subprocess"} & loaded
    assert "scheduler.core.answers" not in found.stderr.split(), "types only"


@pytest.mark.xdist_group("alone")
def test_a_group_of_tests_is_kept_on_one_process(request: pytest.FixtureRequest) -> None:
    """pytest 9.2 and pytest-xdist 3.8 lose the groups without a word (pytest-xdist#1386)."""
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@alone")
