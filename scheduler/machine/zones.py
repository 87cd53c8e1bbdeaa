"""The rules of time zones that this machine knows, and a digest of them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import re
import zoneinfo
from collections.abc import Iterable
from pathlib import Path


def rules() -> tuple[str, str]:
    """Where the rules come from, the system before the package, and their version, such as 2026f; empty: unknown."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "UTC").exists() or (folder / "Etc/UTC").exists():
            return str(folder), _version(folder)
    try:
        import tzdata

        return "the Python package tzdata", str(tzdata.IANA_VERSION)
    except ImportError:
        return "nowhere", ""


def _version(folder: Path) -> str:
    for name in ("tzdata.zi", "+VERSION", "version"):
        try:
            with (folder / name).open(encoding="ascii", errors="replace") as file:
                first = file.readline(100)
        except OSError:
            continue
        if found := re.search(r"\d{4}[a-z]+", first):
            return found[0]
    return ""


def rules_digest(names: Iterable[str]) -> str:
    """A digest of the rules of these zones as they are on this machine now: another one, where any has changed."""
    found = hashlib.sha256()
    for name in sorted(names):
        found.update(name.encode() + b"\0" + _bytes(name) + b"\0")
    return found.hexdigest()


def _bytes(name: str) -> bytes:
    """The compiled rules, from where `zoneinfo` takes them; empty if nowhere."""
    for folder in zoneinfo.TZPATH:
        with contextlib.suppress(OSError, ValueError):
            return (Path(folder) / name).read_bytes()
    with contextlib.suppress(ImportError, OSError, ValueError):
        return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    return b""
