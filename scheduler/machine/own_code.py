"""Another process that runs this code."""

from __future__ import annotations

import sys
from pathlib import Path

import scheduler

_TOP = str(Path(scheduler.__file__).parent.parent)  # the child runs this code, wherever another one is installed


def own_argv(module: str, *args: str) -> list[str]:
    """A command line that calls `main` of one of our modules, with these arguments in `sys.argv`."""
    code = f"import sys; sys.path[0] = sys.argv.pop(1); from {module} import main; main()"
    return [sys.executable, "-c", code, _TOP, *args]
