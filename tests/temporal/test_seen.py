"""Where it is seen that a run is with workers, and what the doctor says of the engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.core.formats.enginefile import read_engine_file
from scheduler.core.values.engines import EngineSettings, TlsFiles
from scheduler.core.values.facts import Job
from scheduler.core.values.problems import RefusedError
from scheduler.root.place import Place
from scheduler.run.temporal.setup import read_engine, secret
from scheduler.run.temporal.spec import worker_identity
from scheduler.service.doctor.engine import judge_keys, judge_queues, judge_retention
from tests.helpers import git
from tests.temporal.test_engine import World

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = 3600.0


def job_with(tmp_path: Path, keys: str) -> Job:
    world = World(tmp_path, keys)
    try:
        return world.job()
    finally:
        world.close()


@pytest.mark.parametrize(
    ("hours", "keys", "error"),
    [
        (24.0, "", "forgets closed runs after 1d"),
        (72.0, "", ""),
        (168.0, "catch_up: {policy: latest, within: 5d}", "forgets closed runs after 7d"),
        (240.0, "catch_up: {policy: latest, within: 5d}", ""),
    ],
)
def test_the_server_must_remember_twice_as_long_as_a_slot_may_be_late(
    tmp_path: Path, hours: float, keys: str, error: str
) -> None:
    found = list(judge_retention(hours * HOUR, [job_with(tmp_path, keys)], "--namespace n"))
    assert [each.status for each in found] == (["error"] if error else [])
    assert all(error in each.message and "--retention" in each.hint and "--namespace n" in each.hint for each in found)


def test_a_queue_that_nobody_polls_is_named_with_its_jobs_however_many_dead_workers_are_listed(tmp_path: Path) -> None:
    job = job_with(tmp_path, "")
    asked = {"gpu": NOW - timedelta(minutes=5), "cpu": NOW - timedelta(seconds=30), "tpu": None}
    found = list(judge_queues(asked, {queue: [job] for queue in asked}, NOW))
    assert [each.message for each in found] == [
        "no worker has asked for runs of queue 'gpu' since 2026-03-02T11:55:00Z; its jobs: j",
        "no worker has asked for runs of queue 'tpu'; its jobs: j",
    ]


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        (("k2-b", "k1-a"), ""),
        (("k1-a", "k2-b"), ""),  # while keys change, each decrypts with all of its own
        ((), "worker w1 cannot read what is sent with key k2: it has no key"),
        (("k1-a",), "worker w1 cannot read what is sent with key k2: it has k1"),
        (("k2-c",), "it has k2, of another content"),
        (("k3-d", "k2-b"), "worker w1 encrypts outcomes with key k3, which engine.yaml does not have"),
    ],
)
def test_a_worker_whose_keys_differ_is_named(marks: tuple[str, ...], said: str) -> None:
    dead = {worker_identity("w1", ("k9-z",)): NOW - timedelta(seconds=60)}  # before its restart
    gone = {worker_identity("w0", ()): NOW - timedelta(minutes=3), "7@laptop": NOW}
    asked = {"gpu": {worker_identity("w1", marks): NOW, **dead, **gone}}
    found = list(judge_keys(asked, ("k2-b", "k1-a"), NOW))
    assert [said in each.message for each in found] == ([True] if said else [])


def test_engine_yaml_says_how_the_server_is_reached() -> None:
    text = b"""
root_id: prompts-prod
temporal:
  address: temporal.internal:7233
  namespace: schedulers
  tls: {ca: /etc/ca.pem, cert: /etc/c.pem, key: /etc/k.pem}
  api_key: ${env:KEY}
lost_after: 5m
max_out: 10
"""
    found, problems = read_engine_file(text, path="engine.yaml")
    assert problems == ()
    assert found == EngineSettings(
        address="temporal.internal:7233",
        namespace="schedulers",
        tls=TlsFiles(ca="/etc/ca.pem", cert="/etc/c.pem", key="/etc/k.pem"),
        api_key="${env:KEY}",
        root_id="prompts-prod",
        lost_after=timedelta(minutes=5),
        max_out=10,
    )


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("", 1, "key.missing"),
        ("temporal: {address: localhost}", 1, "engine.address"),
        ("temporal: {address: 'http://a:1'}", 1, "engine.address"),
        ("temporal: {address: 'a:70000'}", 1, "engine.address"),
        ("temporal: {address: 'a:1'}\nroot_id: a/b", 2, "engine.root-id"),
        ("temporal: {address: 'a:1'}\nmax_out: 0", 2, "value.range"),
        ("temporal: {address: 'a:1', tls: 7}", 1, ""),
        ("temporal: {address: 'a:1'}\nlost: 5m", 2, "key.unknown"),
        ("a: [", 1, ""),
    ],
)
def test_what_is_wrong_with_engine_yaml_is_said_at_its_key(text: str, line: int, code: str) -> None:
    found, problems = read_engine_file(text.encode(), path="engine.yaml")
    assert found is None
    assert any(each.line == line and each.code.startswith(code) for each in problems), problems


def test_engine_yaml_counts_only_if_nobody_else_could_have_written_it(tmp_path: Path) -> None:
    place = Place(root=tmp_path, state=tmp_path / "state", db=tmp_path / "state/state.db")
    assert read_engine(place) is None
    place.state.mkdir()
    path = place.state / "engine.yaml"
    path.write_text("temporal: {address: 'a:1'}\n")
    path.chmod(0o640)
    with pytest.raises(RefusedError, match="others can read or change"):
        read_engine(place)
    path.chmod(0o600)
    assert read_engine(place) == EngineSettings(address="a:1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "state/engine.yaml")
    with pytest.raises(RefusedError, match="git tracks"):
        read_engine(place)


def test_a_key_comes_from_a_file_or_a_variable_and_no_error_shows_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    assert secret(f"${{file:{tmp_path}/key}}", {}) == "s3cret"
    assert secret("${env:KEY}", {"KEY": "s3cret"}) == "s3cret"
    assert secret(None, {}) is None
    with pytest.raises(RefusedError, match="is empty or not set"):
        secret("${env:KEY}", {})
    with pytest.raises(RefusedError, match="cannot be read"):
        secret(f"${{file:{tmp_path}/none}}", {})
