from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.remote.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Path(os.path.realpath(tmp_path)))
