"""The source of the package, as trees: several tests look through all of it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from tests.helpers import REPOSITORY

PACKAGE = REPOSITORY / "scheduler"


@functools.cache
def modules() -> tuple[Path, ...]:
    return tuple(sorted(PACKAGE.rglob("*.py")))


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module, as `ast.walk` gives them."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def name_of(call: ast.Call) -> str:
    """The last part of what is called; empty if that has no name."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
