"""How many files may be open: raised for the process that asks, not for what it starts."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import Any

import pytest

from scheduler.machine import open_files
from scheduler.machine.spawning import spawn

PROGRAM = """
import json, os, resource, sys
from scheduler.machine import open_files
from scheduler.machine.spawning import spawn

FILES = resource.RLIMIT_NOFILE
resource.setrlimit(FILES, (int(sys.argv[1]), int(sys.argv[2])))
allowed = open_files.allow(int(sys.argv[3]))
gate, go = os.pipe()
answer, say = os.pipe()
child = spawn(
    [b"/bin/sh", b"-c", b"read line; ulimit -S -n; ulimit -H -n"],
    cwd="/", env={"PATH": "/bin:/usr/bin"}, stdin=gate, stdout=say, stderr=2,
)
os.write(go, b"go\\n")  # its limit is as before by now
child.reap(wait=True)
inherited = os.read(answer, 100).decode().split()
print(json.dumps({"allowed": allowed, "ours": resource.getrlimit(FILES), "inherited": inherited}))
"""


def limits(soft: int, hard: int, files: int) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(files)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(found.stdout))


def test_the_limit_is_raised_for_this_process_alone() -> None:
    assert limits(128, 600, 400) == {"allowed": 400, "ours": [400, 600], "inherited": ["128", "600"]}


def test_the_hard_limit_is_the_most_there_is() -> None:
    assert limits(128, 300, 9_000) == {"allowed": 300, "ours": [300, 300], "inherited": ["128", "300"]}


def test_a_limit_that_suffices_stays() -> None:
    assert limits(256, 300, 200) == {"allowed": 256, "ours": [256, 300], "inherited": ["256", "300"]}


def test_no_limit_is_no_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert open_files.allow(60_100) > 60_100


def test_a_child_that_tells_in_pieces_why_it_did_not_start_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.read
    monkeypatch.setattr(os, "read", lambda file, _: real(file, 1))
    with pytest.raises(FileNotFoundError) as refused:
        spawn([b"/nowhere/program"], cwd="/", env={"PATH": "/bin"}, stdin=0, stdout=1, stderr=2)
    assert refused.value.filename == "/nowhere/program"
