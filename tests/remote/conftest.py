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


@pytest.fixture
def signed(world: World) -> tuple[World, Path, str, str]:
    """A root that follows signed commits, the key, and two of them: one that was in force, and the one that is."""
    world.begin()
    key = world.key("good")
    old = world.push({"prompts/hello.md": "pay 1\n"}, sign=key)
    world.clone(signers=world.signers(key))
    new = world.push({"prompts/hello.md": "pay 2\n"}, sign=key)
    assert world.look().commit == new
    return world, key, old, new
