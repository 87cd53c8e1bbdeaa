"""What has left a run's group: found, ended or named, and taken off the kernel's hands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.values.runs import Ending
from scheduler.machine import orphans
from scheduler.machine.proc import environ_of, is_living
from scheduler.machine.processes import end_processes, identify
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.command import execute
from scheduler.run.local.prepare import Invocation
from tests.helpers import REPOSITORY, until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and prctl")

BRIEFLY = timedelta(milliseconds=100)
ESCAPE = "setsid sh -c 'echo $$ >> pids; exec sleep 1000' > /dev/null 2>&1 &"
WAIT = "until [ $(cat pids 2>/dev/null | wc -l) -ge {n} ]; do sleep 0.01; done"


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    return {"SCHEDULER_RUN_ID": "a:7", "SCHEDULER_ROOT": str(tmp_path)}


@pytest.fixture(params=[True, False], ids=["adopted", "scanned"])
def adopts(request: pytest.FixtureRequest) -> Iterator[bool]:
    if not request.param:
        yield False
        return
    with orphans.adopting() as adopts:
        if not adopts:
            pytest.skip("this process has other children, or the kernel does not hand orphans over")
        yield True


def run(
    folder: Path, told: dict[str, str], *lines: str, timeout: float = 60, cancel: Cancel | None = None, n: int = 1
) -> Ending:
    ended = execute(
        Invocation(
            argv=("/bin/sh", "-c", "\n".join((*lines[:-1], WAIT.format(n=n), lines[-1]))),
            cwd=folder,
            env={"PATH": os.defpath, **told},
            stdin=None,
            task_file=None,
        ),
        timeout=timedelta(seconds=timeout),
        grace=BRIEFLY,
        scratch=folder / "scratch",
        stdout=folder / "stdout",
        stderr=folder / "stderr",
        output_limit=10_000,
        on_spawn=lambda _: None,
        cancel=cancel or Cancel(),
    )
    assert isinstance(ended, Ending)
    return ended


def pids(folder: Path) -> list[int]:
    return [int(each) for each in (folder / "pids").read_text().split()]


def living(folder: Path) -> list[int]:
    return [each for each in pids(folder) if is_living(each)]


@pytest.mark.parametrize(
    ("escape", "last", "timeout", "status"),
    [
        (ESCAPE, "exit 0", 60, "succeeded"),
        (ESCAPE, "exit 3", 60, "failed"),
        (ESCAPE, "exec sleep 1000", 0.4, "timed_out"),
        (f"({ESCAPE}) &", "exit 0", 60, "succeeded"),
        (f'setsid sh -c "{ESCAPE.replace("$", chr(92) + "$")} wait" &', "exit 0", 60, "succeeded"),
        ("setsid sh -c \"trap '' TERM; echo \\$\\$ >> pids; while :; do sleep 1; done\" &", "exit 0", 60, "succeeded"),
        ("setsid sh -c 'echo $$ >> pids; kill -STOP $$' &", "exit 0", 60, "succeeded"),
    ],
    ids=["end", "failure", "timeout", "twice forked", "with children", "ignores TERM", "stopped"],
)
def test_what_has_left_the_group_does_not_outlive_its_run(
    tmp_path: Path, told: dict[str, str], adopts: bool, escape: str, last: str, timeout: float, status: str
) -> None:
    ended = run(tmp_path, told, escape, last, timeout=timeout)
    assert (ended.status, living(tmp_path)) == (status, [])
    assert "still running" not in (ended.error or "")


def test_a_cancel_ends_what_has_left_the_group(tmp_path: Path, told: dict[str, str], adopts: bool) -> None:
    cancel = Cancel()
    cancel.request("cancelled", grace=BRIEFLY)  # before: nothing starts
    assert run(tmp_path, told, ESCAPE, "exit 0", cancel=cancel).status == "cancelled"
    cancel = Cancel()
    fifo = tmp_path / "go"
    os.mkfifo(fifo)

    def ask() -> None:
        fifo.read_text()
        cancel.request("cancelled", grace=BRIEFLY)

    thread = threading.Thread(target=ask)
    thread.start()
    ended = run(tmp_path, told, ESCAPE, "echo > go; exec sleep 1000", cancel=cancel)
    thread.join()
    assert (ended.status, living(tmp_path)) == ("cancelled", [])


def test_two_hundred_escaped_children_are_ended(tmp_path: Path, told: dict[str, str], adopts: bool) -> None:
    ended = run(tmp_path, told, f"for i in $(seq 200); do {ESCAPE} done", "exit 0", n=200)
    assert (ended.status, ended.error) == ("succeeded", None)
    assert len(pids(tmp_path)) == 200
    assert living(tmp_path) == []


@pytest.mark.parametrize("other", [{"SCHEDULER_RUN_ID": "a:70"}, {"SCHEDULER_ROOT": "/elsewhere"}, {}])
def test_processes_of_others_are_left_alone(
    tmp_path: Path, told: dict[str, str], adopts: bool, other: dict[str, str]
) -> None:
    env = {"PATH": os.defpath, **({**told, **other} if other else {})}
    stranger = orphans.start(["sleep", "1000"], env=env, start_new_session=True)
    try:
        run(tmp_path, told, ESCAPE, "exec sleep 1000", timeout=0.4)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("told", [{}, {"SCHEDULER_ROOT": "/"}, {"SCHEDULER_RUN_ID": ""}])
def test_nothing_is_found_or_ended_by_what_names_no_run(told: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "1000"], env={**told, "PATH": os.defpath}, start_new_session=True) as child:
        assert orphans.of_runs([orphans.Sought(told, everywhere=True)]) == [[]]
        assert end_processes(None, told) == []
        assert orphans.send(orphans.Orphan(child.pid, "sleep", None), told, signal.SIGKILL)
        assert child.poll() is None
        child.kill()


def test_a_run_without_an_id_ends_its_group_alone(tmp_path: Path) -> None:
    ended = run(tmp_path, {}, ESCAPE, "exec sleep 1000", timeout=0.4)
    left = living(tmp_path)
    for each in left:
        os.kill(each, signal.SIGKILL)
    assert (ended.status, len(left)) == ("timed_out", 1)


def test_what_says_of_no_run_that_it_is_its_is_named_on_the_run_and_to_doctor(
    tmp_path: Path, told: dict[str, str]
) -> None:
    with orphans.adopting() as adopts:
        if not adopts:
            pytest.skip("no orphans are handed over here")
        ended = run(tmp_path, told, f"env -i PATH=$PATH {ESCAPE}", "exit 0")
        (pid,) = living(tmp_path)
        named = f"{pid} (sleep: it has no SCHEDULER_RUN_ID)"
        assert (ended.status, ended.error) == ("succeeded", f"still running: {named}")
        assert [str(each) for each in orphans.left_here(())] == [named]
        assert run(tmp_path, told, "true", "exit 0").error is None, "it is told once"
        os.kill(pid, signal.SIGKILL)
        # Until it is a zombie nothing can reap it, and it counts as gone as soon as it has lost its memory.
        until(lambda: orphans.left_here(()) == [] and not Path(f"/proc/{pid}").exists(), "its end, reaped")


def test_children_that_are_waited_for_keep_their_exit_codes(tmp_path: Path) -> None:
    with orphans.adopting():
        children: Sequence[subprocess.Popen[bytes]] = [orphans.start(["sh", "-c", f"exit {n}"]) for n in range(9)]
        until(lambda: not any(is_living(each.pid) for each in children), "their ends")
        orphans.adopted()
        assert [each.wait() for each in children] == list(range(9))


def test_a_recovery_ends_what_has_left_the_group_beside_the_group(tmp_path: Path, told: dict[str, str]) -> None:
    script = f"{ESCAPE}\n{WAIT.format(n=1)}\nexec sleep 1000"
    env = {"PATH": os.defpath, **told}
    with subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path, env=env, start_new_session=True) as leader:
        until(lambda: (tmp_path / "pids").exists() and pids(tmp_path), "the escape")
        assert end_processes(identify(leader.pid), told) == []
        assert leader.wait(60) == -signal.SIGKILL
    assert living(tmp_path) == []


def test_every_process_is_started_where_it_is_noted() -> None:
    """One that is not noted would be reaped as an orphan, and its exit code lost."""
    starts = re.compile(
        r"\b(?:subprocess\.(?:Popen|run|call|check_\w+)|os\.(?:system|popen|posix_spawn\w*|spawn\w+)|spawning\.spawn|fork_exec)\("
    )
    found = sorted(
        path.name
        for path in (REPOSITORY / "scheduler").rglob("*.py")
        if starts.search(path.read_text(encoding="utf-8"))
    )
    assert found == ["orphans.py", "spawning.py"]  # the latter is what the former starts with


def test_a_process_with_children_of_others_adopts_none() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child, orphans.adopting() as adopts:
        assert not adopts
        child.kill()


def test_the_environment_of_one_that_is_starting_a_program_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of programs, each looked at from its first moment on: none is ever without what it was given."""
    monkeypatch.setenv("SCHEDULER_RUN_ID", "a:7")
    for _ in range(200):
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exec sleep 1000"], os.environ)
        try:
            seen = [environ_of(pid) or set() for _ in range(20)]
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert all(b"SCHEDULER_RUN_ID=a:7" in each for each in seen)
