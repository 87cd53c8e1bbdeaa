"""The process that sends, its helpers and its daemon, killed at each named point and at random: nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.world import SERVING, World
from tests.delivery.sinks import HttpSink, SmtpSink, http_sink, smtp_sink
from tests.helpers import Daemon, until

CHANNELS = """\
channels:
  hook: {{webhook: "{url}/hook", secret: "${{env:HOOK}}"}}
  mail: {{url: "{mail}"}}
"""
SECRET = "whsec_aGVsbG8gaGVsbG8gaGVsbG8"
ENDED = "('delivered', 'dropped', 'error')"


def told(world: World, http: HttpSink, smtp: SmtpSink, *jobs: tuple[str, str]) -> None:
    """Jobs that succeed, and the channels that are told of it. jobs: names, and how often they fire."""
    for job_id, every in jobs:
        channel = "mail" if job_id.startswith("mailed") else "hook"
        world.job(
            job_id, schedule=f"every: {every}", keys=f"deliver: [{channel}]\ndeliver_on: [success, every_failure]\n"
        )
    world.write(
        "scheduler.yaml", (world.root / "scheduler.yaml").read_text() + CHANNELS.format(url=http.url, mail=smtp.url)
    )


def hooked(http: HttpSink) -> Counter[str]:
    """How often each token has come."""
    return Counter(each.headers["webhook-id"] for each in [*http.received])


def mailed(smtp: SmtpSink) -> Counter[str]:
    found = (re.search(r"<(\w+)@", str(each["References"])) for each in [*smtp.received])
    return Counter(each[1] for each in found if each is not None)


def processes_of(daemon: Daemon) -> dict[str, list[int]]:
    """The sender of a daemon and its helpers."""
    found: dict[str, list[int]] = {"sender": [], "helper": []}
    children = {daemon.process.pid}
    for _ in range(2):
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    for name, module in (("sender", "scheduler.delivery.process"), ("helper", "delivery.helper")):
                        if parent in children and module in line and int(folder.name) not in found[name]:
                            found[name].append(int(folder.name))
        children |= set(found["sender"])
    return found


def all_is_told(world: World, http: HttpSink, smtp: SmtpSink) -> dict[str, int]:
    """Everything that was to be told has come, each under its own token. Returns how often each token came."""
    unfinished = "SELECT job_id, n FROM runs WHERE finished_at IS NULL"  # their ends are to be told too
    waiting = f"SELECT channel, status, tries, reason, next_at FROM deliveries WHERE status NOT IN {ENDED}"
    try:
        until(lambda: not world.rows(unfinished) + world.rows(waiting), "an empty outbox", within=300)
    except AssertionError:
        pytest.fail(f"still waiting: {[tuple(row) for row in world.rows(waiting)]}: {world.daemons[-1].stderr[-3000:]}")
    rows = world.rows("SELECT channel, token, status, tries, key FROM deliveries JOIN events ON seq = event")
    assert rows
    assert {row["status"] for row in rows} == {"delivered"}
    came = hooked(http) + mailed(smtp)
    assert came.keys() == {row["token"] for row in rows}, "none is lost, and none is invented"
    for row in rows:
        assert 1 <= came[row["token"]] <= row["tries"], "a message comes once, or once more for a try that was cut off"
    ended = world.rows("SELECT job_id, n FROM runs WHERE status IN ('succeeded', 'failed', 'interrupted')")
    keys = {row["key"].rpartition("/")[0] for row in rows}
    assert {f"run/{run['job_id']}/{run['n']}" for run in ended} == keys, "each end of a run was told"
    return dict(came)


@pytest.fixture
def sinks() -> Iterator[tuple[HttpSink, SmtpSink]]:
    with http_sink() as http, smtp_sink() as smtp:
        yield http, smtp


def test_a_sender_killed_at_any_point_sends_what_it_has_not_recorded_again(
    world: World, sinks: tuple[HttpSink, SmtpSink]
) -> None:
    http, smtp = sinks
    told(world, http, smtp, ("one", "2s"))
    for point in ("before_sending", "after_sent", "after_outcome"):
        known = hooked(http)
        daemon = world.serve(HOOK=SECRET, SCHEDULER_CRASH_AT=point)
        daemon.says(" sender_ended ")
        new = hooked(http) - known
        if point == "before_sending":
            assert not new, "nothing is sent that is not recorded as being sent"
        else:
            assert new
            (row,) = world.rows("SELECT status, tries FROM deliveries WHERE token = ?", next(iter(new)))
            assert row["status"] == ("sending" if point == "after_sent" else "delivered")
        daemon.kill()
    daemon = world.serve(HOOK=SECRET)
    daemon.says(SERVING)
    known = hooked(http)
    until(lambda: len(hooked(http)) >= len(known) + 2, "new messages")
    world.job("one", schedule="every: 1d", keys="deliver: [hook]\n")
    assert world.cli("sync").code == 0
    came = all_is_told(world, http, smtp)
    assert max(came.values()) >= 2, "what was sent and not recorded came again, under the same token"
    assert daemon.stop() == 0, daemon.stderr


def test_what_is_on_its_way_when_a_daemon_dies_is_not_taken_for_a_failure(world: World) -> None:
    with http_sink("hang") as http, smtp_sink() as smtp:
        told(world, http, smtp, ("one", "1s"))
        daemon = world.serve(HOOK=SECRET)
        until(lambda: http.received, "a message that nobody answers")
        started = [pid for pids in processes_of(daemon).values() for pid in pids]
        assert len(started) >= 2, "a sender and its helper"
        daemon.kill()
        until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in started), "their end")
        (row,) = world.rows("SELECT * FROM deliveries WHERE tries > 0")
        assert (row["status"], row["reason"], row["next_at"]) == ("sending", None, None)
        http.mode = 200
        daemon = world.serve(HOOK=SECRET)
        sent = "SELECT * FROM deliveries WHERE status = 'delivered' AND tries = 2"
        until(lambda: world.rows(sent), "the second try, at once")
        assert daemon.stop() == 0, daemon.stderr


@pytest.mark.parametrize("kills", [pytest.param(8, id="few"), pytest.param(200, id="many", marks=pytest.mark.long)])
def test_every_message_arrives_whoever_is_killed(
    world: World, sinks: tuple[HttpSink, SmtpSink], kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    http, smtp = sinks
    told(world, http, smtp, ("one", "1s"), ("two", "1s"), ("three", "2s"), ("mailed", "30s"))
    chance = random.Random(kills)
    victims: Counter[str] = Counter()
    daemon = world.serve(HOOK=SECRET)
    daemon.says(SERVING)
    while victims.total() < kills:
        due = len(http.received) + chance.randint(0, 2)
        until(lambda: len(http.received) >= due or None, "the next messages")  # noqa: B023
        victim = chance.choice(["sender", "helper", "helper", "daemon", "daemon", "daemon"])
        found = [daemon.process.pid] if victim == "daemon" else processes_of(daemon)[victim]
        for pid in found[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                victims[victim] += 1
        if victim == "daemon":
            daemon.ended()
            daemon = world.serve(HOOK=SECRET)
            daemon.says(SERVING)
    for job_id in ("one", "two", "three", "mailed"):  # told alike to the end: some run while this is applied
        world.job(job_id, schedule="every: 1d", keys="deliver: [hook]\ndeliver_on: [success, every_failure]\n")
    assert world.cli("sync").code == 0
    until(lambda: not world.rows("SELECT 1 FROM runs WHERE finished_at IS NULL"), "the last ends")
    came = all_is_told(world, http, smtp)
    assert daemon.stop() == 0, daemon.stderr
    again = sum(came.values()) - len(came)
    with capsys.disabled():
        print(json.dumps({"kills": victims, "messages": len(came), "came_again": again}))
