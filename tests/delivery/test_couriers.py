"""The helper process and its courier: limits that hold, secrets that stay inside, and nothing left behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.channels import Channel
from scheduler.core.values.events import Event, EventKind, Subject
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.delivery.carrying import Carry
from scheduler.delivery.couriers import Courier, bare_environment
from scheduler.delivery.helper import answer_line
from scheduler.delivery.requests import (
    CommandRequest,
    DescribeRequest,
    Ended,
    PingRequest,
    UrlRequest,
    WebhookRequest,
    line_of,
)
from scheduler.machine.proc import is_living
from tests.delivery.sinks import http_sink, nobody, smtp_sink, soon
from tests.helpers import REPOSITORY, until

CANARY = "k3y/of@the canary"
WAIT_S = 0.5
ENVIRON = {"PATH": os.environ["PATH"], "SECRET": CANARY}


@pytest.fixture
def courier() -> Iterator[Courier]:
    made = Courier(ENVIRON)
    yield made
    made.close()


def ping(url: str, **changed: Any) -> PingRequest:
    return PingRequest(url=url, **changed)


def command(folder: Path, script: str, **changed: Any) -> CommandRequest:
    env = tuple(bare_environment(os.environ).items())
    said: dict[str, Any] = {"argv": ("sh", "-c", script), "env": env, "cwd": str(folder), "stdin": '{"kind": "test"}'}
    return CommandRequest(**{**said, **changed})


def test_one_helper_serves_message_after_message_and_leaves_when_idle() -> None:
    now = 100.0
    courier = Courier(ENVIRON, clock=lambda: now)
    assert courier.leave_if_idle() is None
    with http_sink() as sink:
        assert courier.send(ping(sink.url)).ended is Ended.DELIVERED
        first = courier.pid
        assert courier.send(ping(sink.url)).ended is Ended.DELIVERED
        assert (courier.pid, len(sink.received)) == (first, 2)
    now += 59
    assert courier.leave_if_idle() == 1
    now += 1
    assert courier.leave_if_idle() is None
    assert first is not None
    assert not is_living(first)


def test_a_helper_that_was_killed_between_two_messages_is_replaced(courier: Courier) -> None:
    with http_sink() as sink:
        courier.send(ping(sink.url))
        assert courier.pid is not None
        os.kill(courier.pid, signal.SIGKILL)
        os.waitid(os.P_PID, courier.pid, os.WEXITED | os.WNOWAIT)
        assert courier.send(ping(sink.url)).ended is Ended.DELIVERED
    assert len(sink.received) == 2


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_service_that_hangs_or_drips_is_ended_at_the_limit(courier: Courier, mode: str) -> None:
    with http_sink() as warm:
        courier.send(ping(warm.url))
    with http_sink(mode) as sink:
        helper = courier.pid
        outcome = courier.send(ping(sink.url), limit_s=WAIT_S)
        assert (outcome.ended, outcome.error) == (Ended.TRANSIENT, "timeout after 0.5s; unknown whether it arrived")
        assert len(sink.received) == 1
    assert helper is not None
    assert courier.pid is None
    assert not is_living(helper)


@pytest.mark.parametrize("mode", ["mute", "drip"])
def test_a_mail_server_that_is_mute_or_drips_is_ended_at_the_limit(courier: Courier, mode: str) -> None:
    courier.send(DescribeRequest(url="mailto://a@example.com"))  # Apprise is loaded
    with smtp_sink(mode) as sink:
        outcome = courier.send(UrlRequest(url=sink.url, title="t", body="b", token="k"), limit_s=WAIT_S)
        assert outcome.ended is Ended.TRANSIENT
        assert "timeout after 0.5s" in (outcome.error or "")
        assert sink.connections == 1


def test_mail_goes_through_the_helper(courier: Courier) -> None:
    with smtp_sink() as sink:
        outcome = courier.send(
            UrlRequest(url=sink.url, title="t", body="b", token="k", file_name="a.txt", file_text="c")
        )
        assert outcome.ended is Ended.DELIVERED
        soon(sink, 1)


def test_a_message_larger_than_a_pipe_arrives_whole(courier: Courier) -> None:
    body = json.dumps("ä" * 500_000)
    with http_sink() as sink:
        outcome = courier.send(WebhookRequest(url=sink.url, secrets=(), body=body, id="k", timestamp=1))
        assert outcome.ended is Ended.DELIVERED
    assert sink.received[0].body == body.encode()


def test_a_helper_that_reads_nothing_is_ended_at_the_limit(courier: Courier) -> None:
    with http_sink() as sink:
        courier.send(ping(sink.url))
    assert courier.pid is not None
    os.kill(courier.pid, signal.SIGSTOP)
    huge = WebhookRequest(url="http://127.0.0.1:1", secrets=(), body="a" * 500_000, id="k", timestamp=1)
    assert "timeout" in (courier.send(huge, limit_s=0.1).error or "")


def test_no_secret_is_seen_from_outside(courier: Courier, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a URL, a header, a file: in no answer, log line, argument or environment."""
    caplog.set_level(logging.DEBUG)
    with http_sink(404, body=f"no hook {CANARY} k3y%2Fof%40the%20canary".encode()) as sink:
        path = "k3y%2Fof%40the%20canary"
        port = sink.port
        heads = f"json://me:{path}@127.0.0.1:{port}/{path}?+X-Key={path}"
        outcomes = [
            courier.send(ping(f"{sink.url}/{path}", hidden=(CANARY,))),
            courier.send(
                WebhookRequest(url=sink.url, secrets=(CANARY,), body="1", id="k", timestamp=1, hidden=(CANARY,))
            ),
            courier.send(UrlRequest(url=heads, title="t", body="b", token="k", hidden=(CANARY,))),
            courier.send(
                UrlRequest(url=f"ntfy://127.0.0.1:{port}/{path}", title="t", body="b", token="k", hidden=(CANARY,))
            ),
            courier.send(UrlRequest(url=f"slack://{path}", title="t", body="b", token="k", hidden=(CANARY,))),
            courier.send(ping(f"http://127.0.0.1:{nobody()}x/{path}", hidden=(CANARY,))),
            courier.send(command(tmp_path, f"echo 'no {CANARY}'; exit 3", hidden=(CANARY,))),
        ]
        assert sink.received
        assert courier.pid is not None
        of_helper = Path(f"/proc/{courier.pid}")
        if of_helper.exists():
            outside = (of_helper / "cmdline").read_bytes() + (of_helper / "environ").read_bytes()
            assert b"canary" not in outside
            assert b"delivery.helper" in outside
    assert all(each.ended is not Ended.DELIVERED for each in outcomes)
    assert "canary" not in repr(outcomes) + caplog.text


def test_what_a_program_says_of_the_variables_that_it_was_given_is_hidden(courier: Courier, tmp_path: Path) -> None:
    script = 'echo "no $SECRET, $LEVEL"; exit 3'
    channel = Channel(name="page", command=("sh", "-c", script), env_from=("SECRET", "LEVEL"))
    event = Event(key="test/page/1", at=datetime(2027, 3, 2, tzinfo=UTC), kind=EventKind.TEST, job_id=ROOT_JOB_ID)
    carry = Carry(
        channel=channel,
        subjects=(Subject(event=event, root="r"),),
        token="k",
        again=False,
        at=event.at,
        environ={**ENVIRON, "LEVEL": "3"},
        root=str(tmp_path),
    )
    assert carry.out(courier).error == "exit code 3: no [hidden], 3"


@pytest.mark.parametrize("before", range(280, 320))
def test_a_secret_is_hidden_before_long_words_are_cut(courier: Courier, tmp_path: Path, before: int) -> None:
    """Else the head of a secret remains that nothing recognizes."""
    script = f"printf '%{before}s%s%500s' '' '{CANARY}' '' | tr ' ' . ; exit 3"
    error = courier.send(command(tmp_path, script, hidden=(CANARY.replace(" ", "."),))).error or ""
    assert error.startswith("exit code 3: .....")
    assert "k3" not in error
    assert len(error) <= 400


def test_credentials_that_a_service_repeats_are_hidden(courier: Courier) -> None:
    with http_sink(401, body=b"not: Basic bWU6cEBzc3dvcmQ= p@ssword") as sink:
        outcome = courier.send(ping(sink.url.replace("//", "//me:p%40ssword@")))
    assert outcome.error == "HTTP 401 Unauthorized: not: Basic [hidden]= [hidden]"


def test_a_command_reads_the_event_in_a_bare_environment(courier: Courier, tmp_path: Path) -> None:
    request = command(
        tmp_path, 'cat > event; env > env; echo "$HOOK" >> event', env=(("PATH", os.environ["PATH"]), ("HOOK", "h"))
    )
    assert courier.send(request).ended is Ended.DELIVERED
    assert (tmp_path / "event").read_text() == '{"kind": "test"}h\n'
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names <= {"PATH", "HOOK", "PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo first; echo last >&2; exit 75", "exit code 75: last"),
        ("yes | head -c 100000; echo; echo end; exit 1", "exit code 1: end"),
        ("exit 2", "exit code 2"),
        ("kill -9 $$", "ended by signal 9"),
        ("printf 'a\\033[31m\\377'; exit 1", "exit code 1: a [31m\ufffd"),
    ],
)
def test_a_command_that_fails_is_worth_another_try(courier: Courier, tmp_path: Path, script: str, error: str) -> None:
    outcome = courier.send(command(tmp_path, script))
    assert (outcome.ended, outcome.error) == (Ended.TRANSIENT, error)


def test_no_rest_of_a_secret_is_kept_where_long_output_was_cut(courier: Courier, tmp_path: Path) -> None:
    for end in ("", "; echo"):
        script = f"printf '{CANARY}%04090d it failed' 1{end}; exit 3"
        outcome = courier.send(command(tmp_path, script, hidden=(f"{CANARY}{1:04090d}",)))
        assert outcome.error == "exit code 3: it failed"


def test_a_command_that_is_missing_is_permanent(courier: Courier, tmp_path: Path) -> None:
    for request in (command(tmp_path, "", argv=("no-such-program",)), command(tmp_path / "gone", "true")):
        outcome = courier.send(request)
        assert outcome.ended is Ended.PERMANENT
        assert "No such file" in (outcome.error or "")


def test_a_command_and_its_children_end_with_the_helper(courier: Courier, tmp_path: Path) -> None:
    request = command(tmp_path, "sleep 600 & echo $! > pid; echo $$ >> pid; wait")
    assert "timeout" in (courier.send(request, limit_s=2).error or "")
    for pid in (tmp_path / "pid").read_text().split():
        until(lambda pid=pid: not is_living(int(pid)), "the end of the command")  # type: ignore[misc]


def test_a_command_ends_although_its_child_keeps_the_pipe(courier: Courier, tmp_path: Path) -> None:
    assert courier.send(command(tmp_path, "sleep 600 & exit 0")).ended is Ended.DELIVERED


PARENT = """
import sys
from scheduler.core.values.channels import Channel
from scheduler.core.values.events import Event, EventKind, Subject
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.delivery.carrying import Carry
from scheduler.delivery.couriers import Courier
from scheduler.delivery.requests import PingRequest
courier = Courier()
courier.send(PingRequest(url=sys.argv[1]))
print(courier.pid, flush=True)
courier.send(PingRequest(url=sys.argv[2]))
"""


def test_no_helper_outlives_a_parent_that_was_killed_while_it_drips() -> None:
    with http_sink() as warm, http_sink("drip") as sink:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, warm.url, sink.url], stdout=subprocess.PIPE, cwd=REPOSITORY
        )
        with parent:
            assert parent.stdout is not None
            helper = int(parent.stdout.readline())
            soon(sink, 1)
            assert is_living(helper)
            parent.kill()
        until(lambda: not is_living(helper), "the end of the helper")


def test_what_is_no_request_is_answered_with_an_error_that_does_not_repeat_it() -> None:
    argv = [sys.executable, "-P", "-m", "scheduler.delivery.helper"]
    helper = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    with helper:
        assert helper.stdin is not None
        assert helper.stdout is not None
        assert helper.stderr is not None
        for line in (b'{"kind": "url"}\n', b"nonsense canary\n", b'{"kind": "canary"}\n'):
            helper.stdin.write(line)
            helper.stdin.flush()
            said = helper.stdout.readline()
            assert json.loads(said)["ended"] == "transient"
            assert b"canary" not in said
        helper.stdin.close()
        assert helper.stderr.read() == b""


def test_without_apprise_a_url_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.delitem(sys.modules, "scheduler.delivery.channels", raising=False)
    found = json.loads(answer_line(line_of(DescribeRequest(url="json://127.0.0.1"))))
    assert found["ended"] == "permanent"
    assert "pip install 'gitops-scheduler[notify]'" in found["error"]


def test_apprise_is_not_imported_for_what_does_not_need_it() -> None:
    heavy = {"apprise", "urllib.request", "subprocess"}
    code = f"import sys, scheduler.delivery.helper; sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
