"""What travels between a control plane and a worker: values that are checked on arrival."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from scheduler.core.values.runs import RunStatus
from scheduler.core.values.settings import RunnerSpec, TaskInput
from scheduler.core.values.usage import AgentResult, EndClass, ResultFormat
from scheduler.run.temporal.spec import (
    HEAD_BYTES,
    MOST_OUTCOME_BYTES,
    ExchangeError,
    Outcome,
    Spec,
    Stream,
    host_queue,
    workflow_id,
)

AT = datetime(2027, 3, 1, 9, tzinfo=UTC)
SPEC = Spec(
    run_id="train:7",
    job_id="train",
    attempt=1,
    fire_time=AT,
    trigger="schedule",
    requested_at=AT,
    revision="a" * 40,
    dirty=None,
    blob="b" * 40,
    task_sha256=hashlib.sha256(b"x").hexdigest(),
    source_path="tasks/train.md",
    runner=RunnerSpec(name="claude", command=("claude", "-p"), input=TaskInput.STDIN, env_from=("ANTHROPIC_API_KEY",)),
    timeout=timedelta(minutes=30),
    grace=timedelta(seconds=10),
    not_after=AT + timedelta(minutes=5),
    output_limit=1024,
    budget=Decimal("0.5"),
    told=(("SCHEDULER_TOKEN", "t"),),
)


def _changed(**more: Any) -> dict[str, Any]:
    return {**SPEC.to_json(), **more}


def test_a_spec_comes_back_as_it_was_sent() -> None:
    assert Spec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC


def test_a_spec_of_an_ordinary_run_is_small() -> None:
    assert len(json.dumps(SPEC.to_json())) < 2048


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2 of a spec is not known here: update the worker"),
        ({"run_id": "other:7"}, "no run of 'train'"),
        ({"job_id": "a/b", "run_id": "a/b:1"}, "no job id"),
        ({"attempt": True}, "attempt of the spec is bool"),
        ({"attempt": 0}, "out of range"),
        ({"task_sha256": "x"}, "no sha256"),
        ({"revision": "--upload-pack=x"}, "no id of git"),
        ({"dirty": "perhaps"}, "dirty 'perhaps' is not known"),
        ({"cwd": "/etc"}, "neither root nor scratch"),
        ({"not_after": "2027-03-01T09:00:00"}, "no UTC offset"),
        ({"timeout_ms": 0}, "timeout is not above zero"),
        ({"lost_after_ms": "10"}, "not valid"),
        ({"told": {"LD_PRELOAD": "x.so"}}, "not SCHEDULER_"),
        ({"args": ["a", 1]}, "something but text"),
        ({"runner": {"name": "x"}}, "lacks 'command'"),
    ],
)
def test_a_spec_that_is_not_sound_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ExchangeError, match=words):
        Spec.from_json(_changed(**change))


@pytest.mark.parametrize("found", [None, [], "spec", 3])
def test_a_spec_that_is_no_mapping_is_refused(found: Any) -> None:
    with pytest.raises(ExchangeError):
        Spec.from_json(found)


def test_each_key_of_a_spec_is_needed() -> None:
    whole = SPEC.to_json()
    for key in ("run_id", "task_sha256", "not_after", "timeout_ms", "runner", "lost_after_ms"):
        with pytest.raises(ExchangeError, match=key):
            Spec.from_json({name: value for name, value in whole.items() if name != key})


def test_ids_name_one_try_of_one_slot() -> None:
    manual = uuid.UUID(int=5)
    assert workflow_id("prod", "train", AT) == "run/prod/train/2027-03-01T09:00:00Z"
    assert workflow_id("prod", "train", AT, 2) == "run/prod/train/2027-03-01T09:00:00Z/2"
    assert workflow_id("prod", "train", manual) == f"run/prod/train/manual/{manual}"
    assert host_queue("gpu", "w1") == "gpu@w1"
    with pytest.raises(ExchangeError):
        workflow_id("a/b", "train", AT)


OUTCOME = Outcome(
    status="failed",
    reason="exit_code",
    exit_code=3,
    error="exit code 3: no",
    host="w1",
    queue="gpu",
    pid=77,
    spawned_at=AT,
    finished_at=AT + timedelta(seconds=1),
    result="köln",
    output_bytes=12,
    truncated=True,
    agent=AgentResult(format=ResultFormat.CLAUDE, end_class=EndClass.TASK, text="köln"),
    account="team",
    stdout=Stream(total=12, head=b"abc\xff", tail=b"z"),
)


def test_an_outcome_comes_back_as_it_was_sent() -> None:
    assert Outcome.from_json(json.loads(json.dumps(OUTCOME.to_json()))) == OUTCOME
    plain = replace(OUTCOME, agent=None)
    assert Outcome.from_json(plain.to_json()) == plain
    assert Outcome.from_json({"version": 1, "status": "unstarted", "reason": "capacity"}).host is None


def test_an_outcome_tells_the_ledger_how_the_attempt_ended() -> None:
    ending = OUTCOME.ending
    assert (ending.status, ending.exit_code, ending.result, ending.account) == (RunStatus.FAILED, 3, "köln", "team")
    assert Outcome.of(ending, host="w1").ending == ending


def test_the_largest_outcome_fits_into_its_limit() -> None:
    noise = os.urandom(64 * 1024)
    text = noise.decode("latin-1")[: 32 * 1024]
    large = replace(
        OUTCOME,
        error=text * 4,
        result=noise.decode("utf-8", "replace"),
        agent=AgentResult(format=ResultFormat.CLAUDE, end_class=EndClass.TASK, text=text, error=text, misfits=(text,)),
        stdout=Stream.of(noise * 3, 3 * len(noise), HEAD_BYTES["stdout"]),
        stderr=Stream.of(noise * 3, 3 * len(noise), HEAD_BYTES["stderr"]),
    )
    sent = json.dumps(large.to_json())
    assert len(sent) <= MOST_OUTCOME_BYTES
    home = Outcome.from_json(json.loads(sent))
    assert home.stdout.total == 3 * len(noise)
    assert home.stdout.head
    assert noise.startswith(home.stdout.head)


def test_a_stream_keeps_both_ends() -> None:
    assert Stream.of(b"abcdef", 6, 4) == Stream(total=6, head=b"abcd", tail=b"ef")
    assert Stream.of(b"abcdefghij", 10, 3) == Stream(total=10, head=b"abc", tail=b"hij")
    assert Stream.of(b"abcdefghij", 10, 3).missing == 4
    assert Stream.of(b"", 0, 3) == Stream()


@pytest.mark.parametrize(
    "change",
    [
        {"status": "running"},
        {"status": "succeeded"},
        {"reason": 3},
        {"exit_code": "3"},
        {"spawned_at": "yesterday"},
        {"stdout": {"total": 1, "head": "!!!"}},
        {"stdout": {"total": 1, "head": "eJwDAAAAAAE=", "tail": "eJxLTEpOAQAD2AGL"}},
        {"stdout": 7},
        {"result": "eJxLTEpO"},
        {"agent": "eJwDAAAAAAE="},
        {"version": 2},
    ],
)
def test_an_outcome_that_is_not_sound_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ExchangeError):
        Outcome.from_json({**OUTCOME.to_json(), **change})


def test_packed_data_cannot_blow_up() -> None:
    bomb = Outcome(
        status="failed", reason="exit_code", stdout=Stream(total=10**9, head=b"\0" * (HEAD_BYTES["stdout"] + 1))
    )
    with pytest.raises(ExchangeError, match="more than"):
        Outcome.from_json(bomb.to_json())
