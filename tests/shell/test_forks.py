"""Work that a command shares with a fork of itself. In interpreters of their own: the one of the tests has threads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, no process is forked")

WORK = """\
import json, os, signal, sys, threading
from scheduler.machine import forks
os.sched_getaffinity = lambda pid: {0, 1}
here = os.getpid()
"""


def run(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", WORK + code], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_two_processes_share_the_values_and_keep_their_order() -> None:
    found = run("print(json.dumps(forks.in_two(lambda n: (n, os.getpid() == here), range(20_000))))")
    assert [n for n, _ in found] == list(range(20_000))
    whose = [ours for _, ours in found]
    assert whose == sorted(whose, reverse=True)
    assert 0 < sum(whose) < 20_000


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1000])
def test_any_number_of_values(count: int) -> None:
    assert run(f"print(json.dumps(forks.in_two(lambda n: n * n, range({count}))))") == [n * n for n in range(count)]


@pytest.mark.parametrize("fails", ["os.kill(os.getpid(), signal.SIGKILL)", "raise ValueError", "return lambda: n"])
def test_what_the_other_process_does_not_answer_is_worked_out_here(fails: str) -> None:
    code = f"""
def work(n):
    if os.getpid() != here and n < 1500:
        {fails}
    return n
print(json.dumps(forks.in_two(work, range(2000))))
"""
    assert run(code) == list(range(2000))


def test_an_exception_comes_through_and_no_process_stays() -> None:
    code = """
def work(n):
    if n == 1500:
        raise ValueError("fifteen hundred")
    return n
try:
    forks.in_two(work, range(2000))
except ValueError as error:
    said = str(error)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(json.dumps([said, "no child"]))
"""
    assert run(code) == ["fifteen hundred", "no child"]


def test_the_other_process_ends_when_the_first_is_killed(tmp_path: Path) -> None:
    code = f"""
def work(n):
    if os.getpid() != here:
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    elif os.path.exists({str(tmp_path / "pid")!r}):
        os.kill(here, signal.SIGKILL)
    return n
forks.in_two(work, range(10**9))
"""
    done = subprocess.run([sys.executable, "-c", WORK + code], stdout=subprocess.PIPE, timeout=60)
    # Its standard output is that of the other process too: it is at its end now, so both are gone.
    assert done.returncode == -9
    assert (tmp_path / "pid").read_text().isdigit()


def test_a_process_with_another_thread_is_not_forked() -> None:
    code = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(json.dumps(sorted(set(forks.in_two(lambda n: os.getpid() == here, range(2000))))))
"""
    assert run(code) == [True]


def test_a_shared_look_finds_what_a_look_alone_does(tmp_path: Path) -> None:
    (tmp_path / "scheduler.yaml").write_text("version: 1\nrunners: {r: {command: [cat]}}\ndefaults: {runner: r}\n")
    for n in range(1200):
        text = f"id: j{n}\nschedule: {'nonsense' if n % 50 == 7 else '0 9 * * *'}\ntask: hello {n}\n"
        (tmp_path / f"jobs/{n // 100}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"jobs/{n // 100}/{n}.yaml").write_text("id: [" if n % 50 == 9 else text)
    (tmp_path / "jobs/2/200.yaml").unlink()
    (tmp_path / "jobs/2/200.yaml").symlink_to("../11/1150.yaml")
    (tmp_path / "jobs/11/1190.yaml").write_bytes(b"\xff")
    (tmp_path / "jobs/11/1191.yaml").chmod(0o755)
    code = f"""
from pathlib import Path
from scheduler.git.tree import Tree
from scheduler.root.desired import read_desired
from scheduler.root.files import WorkingTree
from scheduler.root.place import Place
from scheduler.root.settings import read_settings
root = Path({str(tmp_path)!r})
place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
settings, _ = read_settings(place)
both = [read_desired(WorkingTree(place), settings, Tree(), shared=shared) for shared in (False, True)]
print(json.dumps([both[0] == both[1], len(both[0].found), len(both[0].problems)]))
"""
    same, found, problems = run(code)
    assert same
    assert found > 1000
    assert problems > 40
