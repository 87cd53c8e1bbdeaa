"""Where the library of Temporal may be: in the process of its client, and in a worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers import REPOSITORY


@pytest.mark.parametrize(
    "module",
    [
        "scheduler.cli.main",
        "scheduler.cli.jobs",
        "scheduler.cli.worker",
        "scheduler.service.worker",
        "scheduler.daemon.daemon",
        "scheduler.run.temporal.spec",
        "scheduler.run.temporal.lifeline",
    ],
)
def test_neither_commands_nor_the_daemon_import_the_library(module: str) -> None:
    code = f"import sys, {module}; print([each for each in ('temporalio', 'cryptography') if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_a_command_that_has_used_the_library_ends_without_finalizing_the_interpreter() -> None:
    """Its threads may abort an interpreter that is being finalized (temporalio/sdk-python#300)."""
    script = "import atexit, sys, temporalio\nfrom scheduler.cli import main\natexit.register(print, 'finalized')\n"
    script += "sys.argv = ['scheduler', '--version']\nmain()\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("scheduler, version")
    assert "finalized" not in done.stdout
