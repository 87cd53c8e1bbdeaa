"""What somebody sees who clones at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from tests.remote.world import World


def test_how_far_a_fetch_is_stands_on_one_line_that_is_empty_at_the_end(world: World) -> None:
    world.begin()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "scheduler", "clone", str(world.bare), str(world.root)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65_536):
            seen += piece
    except OSError:  # nobody holds the other end any more
        pass
    os.close(ours)
    assert b"follows the branch main" in done.stdout
    progress, _, rest = seen.decode().rpartition("\r\x1b[K")
    assert "origin/main" in progress
    assert progress.count("\n") == 0
    assert all(char.isprintable() for char in progress.replace("\r\x1b[K", ""))
    assert rest.startswith("next: scheduler --root")
