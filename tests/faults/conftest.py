"""A world whose state can be filled up, made read-only or locked, for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.conftest import environment  # noqa: F401 - a fixture for all tests here
from tests.faults.disks import Disk
from tests.faults.world import FaultyWorld


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system of its own; the test is skipped, and says so, where none can be mounted."""
    found = Disk(tmp_path / "disk")
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FaultyWorld]:
    """One whose state lies in its root, on the disk of the tests."""
    found = FaultyWorld(tmp_path)
    yield found
    found.close()


@pytest.fixture
def apart(tmp_path: Path, disk: Disk) -> Iterator[FaultyWorld]:
    """One whose state, and nothing else, lies on the small disk."""
    found = FaultyWorld(tmp_path, state=disk.folder / "state")
    yield found
    found.close()
