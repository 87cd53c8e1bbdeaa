"""Whether the programs of the runners are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scheduler.core.values.settings import Settings
from scheduler.core.views import Json
from scheduler.run.local.prepare import unready


def troubles(settings: Settings, root: Path, environ: Mapping[str, str]) -> dict[str, Json]:
    """By runner: `faults`, why nothing starts with it now, and `lacks`, the variables that it would start without.

    environ: that of the process which would start it. No value of a variable is in the answer.
    """
    return {
        name: {
            "faults": [fault.message for fault in unready(runner, root, environ)],
            "lacks": [each for each in runner.env_from if not environ.get(each) and each not in dict(runner.env)],
        }
        for name, runner in sorted(settings.runners.items())
    }
