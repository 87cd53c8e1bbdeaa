"""The time zone rules of this machine, and a digest of them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import re
import zoneinfo
from collections.abc import Iterable
from pathlib import Path


def rules() -> tuple[str, str]:
    """The source of the rules (the system, or else the package) and their version, such as 2026f; empty if unknown."""
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
    """A digest of this machine's rules for these zones. It changes whenever one of them does."""
    found = hashlib.sha256()
    for name in sorted(names):
        found.update(name.encode() + b"\0" + _bytes(name) + b"\0")
    return found.hexdigest()


def _bytes(name: str) -> bytes:
    """The compiled rules from where `zoneinfo` reads them; empty if there are none."""
    for folder in zoneinfo.TZPATH:
        with contextlib.suppress(OSError, ValueError):
            return (Path(folder) / name).read_bytes()
    with contextlib.suppress(ImportError, OSError, ValueError):
        return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    return b""
