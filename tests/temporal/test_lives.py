"""The journal and the lifeline of a worker, without a server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.engines import EngineSettings, WorkerSettings
from scheduler.machine.processes import Process, identify
from scheduler.run.local.command import TRY
from scheduler.run.temporal.hosting import Host, ends_of
from scheduler.run.temporal.journal import Journal, Record
from scheduler.run.temporal.lifeline import Lifeline
from scheduler.run.temporal.lives import Live, Lives
from tests.helpers import until
from tests.temporal.hosts import spec_of

RECORD = Record(workflow_id="run/r/train/x", execution="e", queue="q", spec=spec_of(b"true").to_json())


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def lifeline() -> Iterator[Lifeline]:
    found = Lifeline()
    yield found
    if found.process.poll() is None:
        found.close()


@pytest.fixture
def lives(tmp_path: Path, journal: Journal, lifeline: Lifeline) -> Lives:
    settings = WorkerSettings(server=EngineSettings(address="x:1"), queues=("q",), runners=None)
    host = Host(name="w1", settings=settings, state=tmp_path, environ=dict(os.environ), commits=None)
    return Lives(host, journal, lifeline)


def sleeper(**env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], start_new_session=True, env={**os.environ, **env})


def test_a_record_begins_once_and_keeps_its_end(journal: Journal) -> None:
    assert journal.begin(RECORD)
    assert not journal.begin(RECORD)
    process = Process(pid=7, started=3, boot_id="b")
    journal.started(RECORD.key, process)
    journal.end(RECORD.key, {"status": "succeeded"})
    (found,) = journal
    assert (found.workflow_id, found.process, found.outcome) == (RECORD.workflow_id, process, {"status": "succeeded"})
    journal.forget(RECORD.key)
    assert list(journal) == []


def test_half_a_record_of_a_full_disk_is_forgotten(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "journal" / f"{RECORD.key}.begun").write_text('{"workflow_id": "run')
    assert list(journal) == []
    assert journal.begin(RECORD)


def test_what_a_dead_worker_left_is_ended_and_told(lives: Lives, journal: Journal) -> None:
    with sleeper(**{TRY: RECORD.workflow_id}) as child:
        journal.begin(RECORD)
        journal.started(RECORD.key, identify(child.pid))
        lives.recover()
        assert child.wait() == -signal.SIGKILL
    found = lives.ended[RECORD.workflow_id].outcome
    assert found is not None
    assert (found["status"], found["reason"], found["pid"]) == ("interrupted", "worker_died", child.pid)


def test_a_process_that_the_dead_worker_could_not_write_down_is_found(lives: Lives, journal: Journal) -> None:
    with sleeper(**{"SCHEDULER_RUN_ID": "train:7", TRY: RECORD.workflow_id}) as child:
        other = sleeper(**{"SCHEDULER_RUN_ID": "train:7", TRY: "run/other/train/x"})  # of another database
        journal.begin(RECORD)
        lives.recover()
        with other:
            assert other.poll() is None
            other.kill()
        assert child.wait() == -signal.SIGKILL


def test_a_task_that_is_delivered_twice_starts_once(lives: Lives, tmp_path: Path) -> None:
    text = f"echo x >> {tmp_path}/marks".encode()
    record = Record(workflow_id="run/r/train/y", execution="e", queue="q", spec=spec_of(text).to_json())
    (tmp_path / "runs").mkdir()

    async def work() -> None:
        first, second = await asyncio.gather(lives.begin(record, text), lives.begin(record, text))
        assert isinstance(first, Live)
        assert first is second
        await first.done.wait()
        assert await lives.begin(record, text) == first.outcome

    asyncio.run(work())
    assert (tmp_path / "marks").read_text() == "x\n"


@pytest.mark.parametrize("minutes", [2, -2])
def test_the_latest_start_is_meant_by_the_clock_of_the_server_also_where_a_host_is_off(
    lives: Lives, minutes: int
) -> None:
    here, skew = datetime.now(UTC), timedelta(minutes=minutes)
    (lives.host.state / "runs").mkdir()

    async def outcome(name: str, not_after: datetime) -> Mapping[str, Any]:
        sent = spec_of(b"true", not_after=not_after).to_json()
        record = Record(workflow_id=f"run/r/train/{name}", execution="e", queue="q", spec=sent)
        live = await lives.begin(record, b"true", skew=skew)
        assert isinstance(live, Live)
        await live.done.wait()
        assert live.outcome is not None
        return live.outcome

    minute = timedelta(minutes=1)
    assert asyncio.run(outcome("in-time", here - skew + minute))["status"] == "succeeded"
    assert asyncio.run(outcome("late", here - skew - minute))["reason"] == "capacity"


def test_the_lifeline_ends_groups_when_its_worker_ends_and_no_others(lifeline: Lifeline) -> None:
    with sleeper() as one, sleeper() as two:
        lifeline.add(one.pid, 60)
        lifeline.add(two.pid, 60)
        lifeline.remove(two.pid)
        lifeline.close()
        assert one.wait() == -signal.SIGTERM
        assert two.poll() is None
        two.kill()


def test_the_lifeline_ends_what_a_worker_started_and_could_not_tell_of_any_more(lifeline: Lifeline) -> None:
    told = {"SCHEDULER_RUN_ID": "train:7", TRY: RECORD.workflow_id}
    lifeline.expect("a", told, 60)
    lifeline.expect("b", {**told, TRY: "run/r/train/there"}, 60)
    lifeline.arrived("b")
    with sleeper(**told) as child, sleeper(**{**told, TRY: "run/r/train/there"}) as other:
        lifeline.close()
        assert child.wait() == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_a_worker_tells_its_lifeline_of_a_start_before_it_starts_anything(
    lives: Lives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"exit 0"
    record = Record(workflow_id="run/r/train/z", execution="e", queue="q", spec=spec_of(text).to_json())
    (tmp_path / "runs").mkdir()
    said = list[str]()
    monkeypatch.setattr(Lifeline, "_say", lambda _, line: said.append(line))

    async def work() -> None:
        live = await lives.begin(record, text)
        assert isinstance(live, Live)
        await live.done.wait()

    asyncio.run(work())
    assert [line.split()[0] for line in said] == ["?", "+", "!", "!", "-"]
    assert json.loads(said[0].split(maxsplit=2)[2])[0][TRY] == record.workflow_id


def test_the_lifeline_ends_groups_of_a_silent_worker(lifeline: Lifeline) -> None:
    with sleeper() as child:
        lifeline.add(child.pid, 0.1)
        until(lambda: child.poll() is not None, "the end of the child")
        assert child.wait() == -signal.SIGTERM


def test_the_lifeline_ends_what_a_worker_that_was_stopped_just_then_has_started(lifeline: Lifeline) -> None:
    told = {"SCHEDULER_RUN_ID": "train:7", TRY: RECORD.workflow_id}
    with sleeper(**told) as child:
        lifeline.expect("a", told, 0.1)
        until(lambda: child.poll() is not None, "the end of the child")
        assert child.wait() == -signal.SIGKILL


def test_a_lifeline_survives_the_signals_of_a_terminal_and_a_worker_its_lifeline(lifeline: Lifeline) -> None:
    with sleeper() as child:
        lifeline.add(child.pid, 60)
        lifeline.process.send_signal(signal.SIGTERM)
        lifeline.process.send_signal(signal.SIGINT)
        lifeline.contact()
        assert lifeline.process.poll() is None
        lifeline.process.kill()
        lifeline.process.wait()
        lifeline.contact()
        child.kill()


def test_a_stream_that_was_cut_says_how_long_it_was(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from scheduler.run.local.capture import Capture;"
        f"c = Capture('{tmp_path}/o', limit=500); c.write(b'a' * 300 + b'b' * 700); c.close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    found = ends_of(tmp_path / "o", 100, output_limit=1000)
    assert (found.total, found.head, found.tail) == (1000, b"a" * 100, b"b" * 100)
    assert ends_of(tmp_path / "none", 100, output_limit=1000).total == 0
