"""Problems as the golden files hold them, and the checks that every list of problems must pass."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from scheduler.core.values.problems import Problem

GOLDEN = Path(__file__).parent.parent / "golden" / "problems"


def rendered(problems: Iterable[Problem]) -> str:
    lines = []
    for each in problems:
        job = f" ({each.job_id})" if each.job_id else ""
        lines.append(f"{each.line}:{each.column}: {each.severity}: {each.message} [{each.code}]{job}\n")
        if each.hint:
            lines.append(f"  hint: {each.hint}\n")
    return "".join(lines)


def check_golden(source: Path, problems: Iterable[Problem]) -> None:
    """Compare with the .out file beside the source; GOLDEN=write writes it instead."""
    expected = source.with_suffix(".out")
    if os.environ.get("GOLDEN") == "write":
        expected.write_text(rendered(problems))
    assert rendered(problems) == expected.read_text()


def check_places(data: bytes, problems: tuple[Problem, ...]) -> None:
    """Sorted, worded, and inside the file."""
    assert problems == tuple(sorted(problems))
    text = data.decode(errors="replace").removeprefix("\ufeff")
    lines = re.split(r"\r\n|\r|\n", text)
    for each in problems:
        assert each.message
        assert re.fullmatch(r"[a-z-]+\.[a-z-]+", each.code)
        assert "permitted" not in each.message
        assert "Input should" not in each.message
        assert 1 <= each.line <= len(lines), each
        assert 1 <= each.column <= len(lines[each.line - 1]) + 1, each
