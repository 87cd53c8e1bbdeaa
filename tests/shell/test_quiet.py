"""A file that is being written is left alone until its writer has finished, by a clock that no test waits for."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.values.facts import Fault
from scheduler.machine import clock
from scheduler.root import quiet
from scheduler.root.place import Place
from scheduler.root.quiet import PATIENCE_S, read_quiet
from scheduler.run.local.cancel import Cancel
from scheduler.service.history import history
from scheduler.service.root import Root
from scheduler.service.run import run_job
from scheduler.service.sync import sync
from tests.fakes import FakeClock
from tests.helpers import ROOT_FILE

ROOT = "scheduler.yaml"
LONG_AGO_S = 3600.0


class Writer:
    """Time, and what somebody writes while it passes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.began = self.now = 1_000_000.0
        self.ahead = 0.0  # how far the clock of the files is ahead
        self.coming: list[tuple[float, Callable[[], None]]] = []

    @property
    def waited(self) -> float:
        return self.now - self.began

    def write(self, path: str, data: str | bytes, *, ago: float = 0) -> None:
        file = self.root / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        moment = self.now - ago + self.ahead
        os.utime(file, (moment, moment))

    def later(self, seconds: float, path: str, data: str | bytes) -> None:
        self.coming.append((self.now + seconds, lambda: self.write(path, data)))

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        for each in [each for each in self.coming if each[0] <= self.now]:
            self.coming.remove(each)
            each[1]()
        return False


class Waiting(Cancel):
    """Nobody cancels; time passes as the writer says."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def wait(self, timeout: float | None) -> bool:
        assert timeout is not None
        return self._writer.wait(timeout)


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    found = Writer(tmp_path)
    monkeypatch.setattr(clock, "file_time", lambda: found.now)
    monkeypatch.setattr(quiet, "monotonic", lambda: found.now)
    return found


def read(writer: Writer, path: str = "a.md") -> bytes | Fault | None:
    return read_quiet(writer.root, (path,), (writer.root / path).read_bytes, wait=writer.wait)


def test_a_file_that_is_older_than_a_second_is_read_at_once(writer: Writer) -> None:
    writer.write("a.md", "whole", ago=1.01)
    assert (read(writer), writer.waited) == (b"whole", 0)


@pytest.mark.parametrize("pauses", [[0.5], [0.3, 0.3, 0.3], [0.9, 0.9, 0.9, 0.9], [0.0]])
def test_a_file_is_read_once_a_second_has_passed_without_a_change(writer: Writer, pauses: list[float]) -> None:
    writer.write("a.md", "0", ago=0.05)
    for n in range(len(pauses)):
        writer.later(sum(pauses[: n + 1]), "a.md", "0" * (n + 2))
    assert read(writer) == b"0" * (len(pauses) + 1)
    assert writer.waited == pytest.approx(sum(pauses) + 1, abs=0.35)


def test_a_file_from_the_future_delays_a_run_by_a_second_at_most(writer: Writer) -> None:
    writer.ahead = LONG_AGO_S
    writer.write("a.md", "half")
    writer.later(0.5, "a.md", "whole")
    assert read(writer) == b"whole"
    assert writer.waited == pytest.approx(1.5, abs=0.25)


def test_a_file_that_is_written_without_pause_is_given_up_with_the_reason(writer: Writer) -> None:
    writer.write("a.md", "")
    for n in range(600):
        writer.later(n / 10, "a.md", "x" * n)
    found = read(writer)
    assert isinstance(found, Fault)
    assert (found.reason, "'a.md' kept changing for 5s" in found.message) == ("source_changed", True)
    assert writer.waited == pytest.approx(PATIENCE_S, abs=0.25)


def test_a_change_while_a_file_is_read_is_waited_for_too(writer: Writer) -> None:
    writer.write("a.md", "old", ago=LONG_AGO_S)
    reads: list[bytes] = []

    def read_and_write() -> bytes:
        reads.append((writer.root / "a.md").read_bytes())
        if len(reads) == 1:
            writer.write("a.md", "half")
            writer.later(0.5, "a.md", "whole")
        return reads[-1]

    assert read_quiet(writer.root, ("a.md",), read_and_write, wait=writer.wait) == b"whole"
    assert reads == [b"old", b"whole"]


def test_a_file_that_is_deleted_and_written_anew_is_not_missing(writer: Writer) -> None:
    writer.write("a.md", "old", ago=0.1)
    writer.coming.append((writer.now + 0.3, (writer.root / "a.md").unlink))
    writer.later(0.9, "a.md", "")
    writer.later(1.5, "a.md", "whole")
    assert read(writer) == b"whole"
    assert writer.waited == pytest.approx(2.5, abs=0.25)


def test_whatever_changes_at_every_read_is_given_up(writer: Writer) -> None:
    def read_and_write() -> None:
        writer.write("a.md", f"{writer.now}", ago=LONG_AGO_S + writer.now)
        writer.now += 0.01

    assert isinstance(read_quiet(writer.root, ("a.md",), read_and_write, wait=writer.wait), Fault)


def test_a_cancelled_run_waits_for_no_file(writer: Writer) -> None:
    writer.write("a.md", "half")
    assert read_quiet(writer.root, ("a.md",), lambda: b"read", wait=lambda _: True) is None


@pytest.mark.parametrize("path", ["absent.md", "nul\0.md"])
def test_a_file_that_is_not_there_is_not_waited_for(writer: Writer, path: str) -> None:
    assert read_quiet(writer.root, (path,), lambda: "read", wait=writer.wait) == "read"
    assert writer.waited == 0


def test_of_several_files_the_one_that_changed_last_decides(writer: Writer) -> None:
    writer.write("a.md", "old", ago=LONG_AGO_S)
    writer.write("b.md", "half", ago=0.4)
    assert read_quiet(writer.root, ("a.md", "b.md"), lambda: True, wait=writer.wait) is True
    assert writer.waited == pytest.approx(0.6, abs=0.15)


# Runs ------------------------------------------------------------------------------------------------------------


def job_file(*lines: str) -> str:
    return "\n".join(("id: a", "schedule: {every: 1h}", *lines, ""))


@pytest.fixture
def service(writer: Writer) -> Root:
    """One job, synced, and not written to for a long time."""
    root = writer.root
    writer.write(ROOT, ROOT_FILE, ago=LONG_AGO_S)
    writer.write("jobs/a.yaml", job_file("task_source_path: prompts/a.md"), ago=LONG_AGO_S)
    writer.write("prompts/a.md", "old\n", ago=LONG_AGO_S)
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
    found = Root(place=place, actor="user:test", environ=dict(os.environ), clock=FakeClock(), absent_grace=timedelta(0))
    sync(found)
    return found


MARKDOWN = "---\nid: a\nschedule: {every: 1h}\n---\n"


@pytest.mark.parametrize(
    ("path", "half", "whole", "result"),
    [
        ("prompts/a.md", "do A\n", "do A\nbut never B\n", "do A\nbut never B\n"),
        ("prompts/a.md", "", "all\n", "all\n"),
        ("prompts/a.md", b"gr\xc3", "grün\n", "grün\n"),
        ("prompts/a.md", "<<<<<<< a\n=======\n>>>>>>> b\n", "merged\n", "merged\n"),
        ("jobs/a.yaml", job_file("task: |", "  do A"), job_file("task: |", "  do A", "  never B"), "do A\nnever B\n"),
        ("jobs/a.yaml", "id: a\nschedule: {every", job_file("task: whole"), "whole"),
    ],
)
def test_a_run_gets_the_whole_of_a_file_that_is_written_in_pieces(
    writer: Writer, service: Root, path: str, half: str | bytes, whole: str, result: str
) -> None:
    writer.write(path, half, ago=0.2)
    writer.later(0.3, path, whole)
    finished = run_job(service, "a", cancel=Waiting(writer))
    assert (finished.status, finished.result) == ("succeeded", result)
    assert writer.coming == []
    assert len(history(service, "a")["runs"]) == 1


def test_a_markdown_body_that_is_written_in_pieces_runs_whole(writer: Writer, service: Root) -> None:
    (writer.root / "jobs/a.yaml").unlink()
    writer.write("jobs/a.md", MARKDOWN + "old\n", ago=LONG_AGO_S)
    sync(service)
    writer.write("jobs/a.md", MARKDOWN + "do A\n", ago=0.2)
    writer.later(0.3, "jobs/a.md", MARKDOWN + "do A\nbut never B\n")
    assert run_job(service, "a", cancel=Waiting(writer)).result == "do A\nbut never B\n"


def test_half_a_scheduler_yaml_is_not_in_force(writer: Writer, service: Root) -> None:
    half = "version: 1\ndefaults: {runner: cat}\nrunners:\n  cat: {command: [echo, half]}\n"
    writer.write(ROOT, half, ago=0.2)
    writer.later(0.3, ROOT, ROOT_FILE)
    assert run_job(service, "a", cancel=Waiting(writer)).result == "old\n"


def test_half_a_definition_is_never_applied(writer: Writer, service: Root) -> None:
    writer.write("jobs/a.yaml", job_file("task_source_path: prompts/a.md", "timeout: 1s"), ago=0.2)
    writer.later(0.3, "jobs/a.yaml", job_file("task_source_path: prompts/a.md", "timeout: 1h"))
    run_job(service, "a", cancel=Waiting(writer))
    assert [each["generation"] for each in history(service, "a")["runs"]] == [2], "one edit, not two"


def test_a_task_that_is_written_for_a_minute_is_a_skip_with_its_reason(writer: Writer, service: Root) -> None:
    writer.write("prompts/a.md", "")
    for n in range(600):
        writer.later(n / 10, "prompts/a.md", "x" * (n + 1))
    finished = run_job(service, "a", cancel=Waiting(writer))
    assert (finished.status, finished.reason, finished.task_sha256) == ("skipped", "source_changed", None)
    assert writer.waited < 3 * PATIENCE_S
