"""A daemon that the system's limits keep from file events and open files, for real.

Those of inotify are lowered in a user namespace of its own.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.run.local.room import FILES_OF_A_RUN, FILES_OF_OURS
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import until

ROOT_FILE = "version: 1\ndefaults: {runner: cat}\nrunners: {cat: {command: [cat]}}\n"
JOB = "id: a\nname: first\nschedule: '@daily'\ntask: hi\n"

# Its own polling is every five seconds; a test need not wait that long.
HASTY = "import sys, scheduler.daemon.resync as r; r.RESCAN_UNWATCHED_S = 0.5; import scheduler.cli as c; c.main()"


def can_limit() -> bool:
    """Whether this user may have a namespace, and limits in it."""
    low = "echo 1 > /proc/sys/user/max_inotify_watches"
    try:
        return subprocess.run(["unshare", "-Ur", "sh", "-c", low], capture_output=True).returncode == 0
    except OSError:
        return False


class Limited(Served):
    """A daemon that may have so many inotify `what`, and its limit."""

    def __init__(self, root: Root, what: str, most: int) -> None:
        self.file = f"/proc/sys/user/max_inotify_{what}"
        script = f"echo {most} > {self.file}; exec {sys.executable} -c '{HASTY}' serve"
        super().__init__(root, command=["unshare", "-Ur", "sh", "-c", script])

    def raise_limit(self) -> None:
        pid = re.search(r" pid=(\d+)", self.says(" serving root="))
        assert pid is not None
        into = ["nsenter", "-t", pid[1], "-U", "--preserve-credentials"]
        subprocess.run([*into, "sh", "-c", f"echo 1000 > {self.file}"], check=True)


@pytest.fixture
def namespaces() -> None:
    if sys.platform != "linux" or not can_limit():
        pytest.skip("needs a user namespace with limits of its own")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    found = Root(path=tmp_path / "root", clock=None)  # type: ignore[arg-type]
    found.write("scheduler.yaml", ROOT_FILE)
    found.write("jobs/a.yaml", JOB)
    monkeypatch.chdir(found.path)
    yield found
    os.chdir("/")


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    ("what", "most", "said"),
    [
        ("watches", 1, " are not seen: no inotify watches are left; raise the sysctl fs.inotify.max_user_watches"),
        ("instances", 0, "no changes are seen: no inotify instances are left"),
    ],
)
def test_without_watches_the_files_are_polled_it_is_said_and_ends_by_itself(
    root: Root, what: str, most: int, said: str
) -> None:
    daemon = Limited(root, what, most)
    try:
        daemon.says(" serving root=")
        assert said in daemon.says(" WARNING unwatched reason=")
        doctor = root.cli("doctor")
        assert (doctor.code, "it does not see every change immediately: " in doctor.stdout) == (0, True)
        assert said in doctor.stdout
        root.write("jobs/a.yaml", JOB.replace("first", "second"))
        until(lambda: root.job("a")["name"] == "second", "the edit")
        assert "cause=rescan" in daemon.says("updated=1"), "by its own polling"
        daemon.raise_limit()
        daemon.says(" WARNING watched_again")
        assert "does not see" not in root.cli("doctor").stdout
        root.write("jobs/a.yaml", JOB.replace("first", "third"))
        until(lambda: root.job("a")["name"] == "third", "the next edit")
        daemon.says("cause=watch updated=1")  # by an event
    finally:
        assert daemon.stop() == 0


def test_where_few_files_may_be_open_fewer_runs_are_under_way_and_doctor_says_how_many_it_takes(root: Root) -> None:
    root.write("scheduler.yaml", ROOT_FILE + "limits: {max_running: 50}\n")

    most, needed = (FILES_OF_OURS + FILES_OF_A_RUN * runs for runs in (5, 50))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    daemon = Served(root, before=limit)
    try:
        daemon.says(" serving root=")
        said = "at most 5 runs at once: too few files may be open for limits.max_running 50; raise ulimit -Hn"
        assert said in daemon.says(" WARNING few_files reason=")
        doctor = root.cli("doctor")
        assert (doctor.code, said in doctor.stdout, f" to {needed}" in doctor.stdout) == (0, True, True)
        root.write("scheduler.yaml", ROOT_FILE + "limits: {max_running: 5}\n")
        until(lambda: said not in root.cli("doctor").stdout, "the new settings")
        assert daemon.stderr.count(" few_files ") == 1
    finally:
        assert daemon.stop() == 0
