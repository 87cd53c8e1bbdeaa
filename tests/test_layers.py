"""Imports point one way: faces to service to shell to core."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "scheduler"
MODULES = sorted(PACKAGE.rglob("*.py"))
LEDGER = sorted(p for p in MODULES if p.parent.name == "ledger")
IMPURE = {"os", "socket", "sqlite3", "subprocess", "logging", "random", "time", "pathlib", "secrets", "threading"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", [p for p in MODULES if PACKAGE / "core" in p.parents], ids=module)
def test_the_core_touches_nothing_outside_itself(path: Path) -> None:
    found = set(imports(path))
    assert not {name for name in found if name.split(".")[0] in IMPURE}
    assert all(name.startswith("scheduler.core") for name in found if name.startswith("scheduler."))


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_nobody_below_imports_a_face_or_the_service(path: Path) -> None:
    face = path.parent.name in ("cli", "tool") or path.name == "__main__.py"
    found = {name for name in imports(path) if name.startswith("scheduler.")}
    if not face:
        assert not {name for name in found if name.startswith("scheduler.cli")}
        assert PACKAGE / "service" in path.parents or not {
            name for name in found if name.startswith("scheduler.service.root")
        }
    else:
        assert not {name for name in found if name.startswith(("scheduler.ledger", "scheduler.run.local.attempts"))}


@pytest.mark.parametrize("path", LEDGER, ids=module)
def test_the_store_knows_no_engine_and_no_runner(path: Path) -> None:
    found = set(imports(path))
    assert not {name for name in found if name.startswith(("scheduler.run.local.attempts", "scheduler.runners"))}


@pytest.mark.parametrize("path", MODULES, ids=module)
def test_only_the_ledger_and_the_reader_of_a_foreign_one_speak_sql(path: Path) -> None:
    if path not in LEDGER and path.stem != "phantom_db":
        assert not {name for name in imports(path) if name.startswith("sqlite")}


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
