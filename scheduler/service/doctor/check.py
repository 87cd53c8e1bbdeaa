"""What `scheduler doctor` looks at on the machine itself, one module for each: runners, clock, zones, disks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""
