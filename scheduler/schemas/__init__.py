"""The JSON Schemas of the two file formats as files, for editors and for `scheduler schema`.

Written by `make docs` from scheduler/core/formats/json_schema.py; a test keeps them equal to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def path(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.schema.json")


def schema_text(name: str) -> str:
    """The schema `job` or `root`, as it is shipped."""
    return path(name).read_text(encoding="utf-8")


def written(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
