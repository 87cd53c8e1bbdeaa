"""What `scheduler doctor` looks at on the machine itself, one module for each: runners, clock, zones, disks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_NAMED = 5  # in one line


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""


def names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
