"""Where the library of Temporal may be: in the process of its client, and in a worker."""

from __future__ import annotations

import subprocess
import sys

import pytest


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
