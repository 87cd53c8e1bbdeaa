from __future__ import annotations

import os
from pathlib import Path

import pytest

from scheduler.remote import checkouts
from tests.remote.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    # It waits for all that anybody writes on this disk. Daemons and commands in processes of their own do it.
    monkeypatch.setattr(checkouts, "_to_disk", lambda folder: None)
    return World(Path(os.path.realpath(tmp_path)))
