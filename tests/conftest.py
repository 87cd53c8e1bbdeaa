"""What holds for every test."""

from __future__ import annotations

import gc
import math
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from scheduler.machine import clock
from tests.browser.chromium import HOW_TO_GET_IT, find_chromium
from tests.helpers import settle_environment

# How long an example takes says how busy the machine is. They differ in each run, so few are enough for each.
settings.register_profile("few", deadline=None, max_examples=30)
settings.register_profile("many", deadline=None, max_examples=1000)
settings.load_profile("few")

TESTS = Path(__file__).parent
OF_THE_SOURCES = ["core/past/test_codes.py", "faces/test_docs.py", "faces/test_first_use.py", "shell/test_log.py"]
OF_ALL_PROCESSES = [
    f"shell/test_{each}.py" for each in ("owners", "census", "orphans", "reactor", "local_engine", "command")
]
ONLY_LONG = TESTS / "web/test_fuzz_live.py"  # builds its cases when it is imported, for seconds
MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30


def pytest_configure() -> None:
    """Folders of tests lie in memory if there is room: thousands of databases are synced to the disk else."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return
    if not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing of thousands of tests is garbage, and looking through them again and again takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path == ONLY_LONG and config.option.markexpr == "not long" else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """The tests of a file share a worker where they share a browser, a daemon or a server, or take a millisecond.
    All tests on Temporal's one server share it, and so do those that read the source of the whole package.

    So do those that look among all processes of the machine for those of a run: they would end those of each other.
    """
    path = item.path.relative_to(TESTS)
    if path.as_posix() in OF_THE_SOURCES:
        item.add_marker(pytest.mark.xdist_group("sources"))
    elif path.parts[0] == "temporal" and "server" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.xdist_group("temporal"))
    elif path.parts[0] in ("browser", "core", "temporal") or path.name in ("test_fuzz.py", "test_faults_live.py"):
        item.add_marker(pytest.mark.xdist_group(path.as_posix()))
    elif path.as_posix() in OF_ALL_PROCESSES:
        item.add_marker(pytest.mark.xdist_group("processes"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two a core: half of the tests wait for a second to go by, or for a process."""
    return 2 * (os.cpu_count() or 1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which tests were left out for lack of a browser, and how to get one."""
    if find_chromium() is not None:
        return
    skipped = [each.nodeid for each in terminalreporter.getreports("skipped") if "tests/browser/" in each.nodeid]
    if skipped:
        terminalreporter.section("no chromium")
        terminalreporter.write_line(f"{len(skipped)} browser tests were left out. To run them: {HOW_TO_GET_IT}")
        for nodeid in skipped:
            terminalreporter.write_line(f"  {nodeid}")


@pytest.fixture(autouse=True, scope="session")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the machine counts, and daemons leave their marks and copies in no home but that of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        settle_environment(patch, tmp_path_factory.mktemp("user") / "home")
        yield


@pytest.fixture(autouse=True, scope="session")
def _quiet_files() -> Iterator[None]:
    """Files that a test has just written are old to this process, so that no run waits for a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "file_time", lambda: math.inf)
        yield


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A child of a shell's background job would ignore SIGINT, one of nohup SIGHUP, and so would its children."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
