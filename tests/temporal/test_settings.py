"""worker.yaml and the encryption of engine.yaml: what they say, and what is refused with its place."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from scheduler.core.formats.enginefile import read_engine_file
from scheduler.core.formats.workerfile import read_worker_file
from scheduler.core.values.engines import EncryptionKey, EngineSettings
from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.run.temporal.codec import NoKeyError, converter
from scheduler.run.temporal.connect import _unavailable, connect, renew_key
from scheduler.run.temporal.setup import read_worker
from tests.helpers import git
from tests.temporal.live import free_port

WHOLE = """\
temporal:
  address: temporal.internal:7233
  namespace: schedulers
  tls: {ca: /ca.pem}
  api_key: ${env:KEY}
  encryption: {keys: [{id: k2, key: "${env:K2}"}, {id: k1, key: "${env:K1}"}]}
name: gpu-1
queues: [default, gpu]
max_running: 8
runners:
  claude: {command: [claude, -p]}
  shell: {from: commit}
texts: committed
root: {url: "git@git.internal:ops/prompts", branch: main, verify: signed, allowed_signers: /etc/signers}
"""
SMALL = "temporal: {address: 'localhost:7233'}\nqueues: [default]\nrunners: any\n"


def test_a_whole_file_is_read() -> None:
    found, problems = read_worker_file(WHOLE.encode(), path="worker.yaml")
    assert problems == ()
    assert found is not None
    assert (found.queues, found.max_running, found.texts, found.name) == (("default", "gpu"), 8, "committed", "gpu-1")
    assert found.runners is not None
    assert found.runners["shell"] is None
    assert found.runners["claude"] is not None
    assert found.runners["claude"].command == ("claude", "-p")
    assert [each.id for each in found.server.keys] == ["k2", "k1"]
    assert found.root is not None
    assert found.root.signed


def test_a_small_file_is_enough() -> None:
    found, _ = read_worker_file(SMALL.encode(), path="worker.yaml")
    assert found is not None
    assert (found.runners, found.root, found.texts, found.server.keys) == (None, None, "any", ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no single mapping"),
        ("queues: [", "not closed"),
        (SMALL.replace("queues: [default]\n", ""), "'queues' is missing"),
        (SMALL.replace("[default]", "[]"), "2:9: the list is empty"),
        (SMALL.replace("[default]", "[a b]"), "a b"),
        (SMALL.replace("any", "some"), "runners must be a mapping, not 'some'"),
        (SMALL.replace("any", "null"), "the key has no value"),
        (SMALL.replace("runners: any", ""), "'runners' is missing"),
        (SMALL.replace("any", "{x: {from: commit}}"), "needs a root"),
        (SMALL.replace("any", "{x: {command: sh}}"), "must be a list"),
        (SMALL + "texts: committed\n", "needs a root"),
        (SMALL + "root: {url: /x, branch: main, verify: signed}\n", "belong together"),
        (SMALL + "root: {url: 'https://u:p@x/y', branch: main}\n", "contains"),
        (SMALL + "max_runing: 3\n", "unknown key 'max_runing'"),
        (SMALL + "max_running: 0\n", "outside 1-1000"),
    ],
)
def test_a_file_with_an_error_is_refused_with_its_place(text: str, words: str) -> None:
    found, problems = read_worker_file(text.encode(), path="worker.yaml")
    assert found is None
    assert any(words in each.in_words for each in problems), [each.in_words for each in problems]


@pytest.mark.parametrize("text", ["api_key: [hunter2]", "encryption: {keys: [{id: a, key: {hunter2: x}}]}"])
def test_no_error_shows_a_secret(text: str) -> None:
    found, problems = read_engine_file(f"temporal: {{address: 'a:1', {text}}}\n".encode(), path="engine.yaml")
    assert found is None
    assert "hunter2" not in "".join(each.in_words + each.hint for each in problems)


def write(path: Path, text: str = SMALL, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_that_anybody_else_could_have_written_is_refused(tmp_path: Path) -> None:
    assert read_worker(write(tmp_path / "a" / "worker.yaml")).queues == ("default",)
    with pytest.raises(RefusedError, match="others can read"):
        read_worker(write(tmp_path / "b" / "worker.yaml", mode=0o640))
    with pytest.raises(UsageError, match="there is no"):
        read_worker(tmp_path / "none.yaml")
    root = tmp_path / "root"
    write(root / "scheduler.yaml", "version: 1\n")
    with pytest.raises(RefusedError, match="lies in the root"):
        read_worker(write(root / "hosts" / "worker.yaml"))
    assert read_worker(write(root / ".scheduler" / "worker.yaml")).queues == ("default",)
    repository = tmp_path / "repository"
    tracked = write(repository / "worker.yaml")
    subprocess.run(["git", "init", "-q", repository], check=True)
    git(repository, "add", "worker.yaml")
    with pytest.raises(RefusedError, match="git tracks"):
        read_worker(tracked)


def test_an_error_names_file_line_and_fix(tmp_path: Path) -> None:
    path = write(tmp_path / "worker.yaml", SMALL.replace("localhost:7233", "http://localhost"))
    with pytest.raises(RefusedError, match=r"worker\.yaml:1:\d+: address") as caught:
        read_worker(path)
    assert "localhost:7233" in caught.value.hint


def test_a_key_that_is_none_is_refused_without_its_value() -> None:
    for value in ("hunter2", base64.b64encode(b"short").decode(), "${env:NONE}"):
        with pytest.raises(RefusedError) as caught:
            converter([EncryptionKey(id="k", key=value)], {})
        assert "hunter2" not in str(caught.value) + caught.value.hint


def test_what_is_encrypted_can_be_read_with_any_of_the_keys_and_with_no_other() -> None:
    one, two = (EncryptionKey(id=name, key=base64.b64encode(name.encode() * 16).decode()) for name in ("k1", "k2"))
    false = EncryptionKey(id="k1", key=two.key)

    async def work() -> None:
        sent = await converter([one], {}).encode(["canary", b"canary"])
        assert all(b"canary" not in each.SerializeToString() for each in sent)
        assert await converter([two, one], {}).decode(sent, [str, bytes]) == ["canary", b"canary"]
        with pytest.raises(NoKeyError, match="this host has k2"):
            await converter([two], {}).decode(sent)
        with pytest.raises(NoKeyError, match="another one than that of the sender"):
            await converter([false], {}).decode(sent)

    asyncio.run(work())


def test_an_address_at_which_nothing_listens_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=address) as caught:
        asyncio.run(connect(EngineSettings(address=address), {}))
    assert caught.value.hint


def test_a_key_that_has_expired_is_read_anew_once_the_server_refuses_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    client, settings = SimpleNamespace(api_key="old"), EngineSettings(address="a:1", api_key=f"${{file:{file}}}")

    def told(status: RPCStatusCode) -> str:
        renew_key(cast("Client", client), RPCError("no", status, b""), settings, {})
        return str(client.api_key)

    assert told(RPCStatusCode.UNAUTHENTICATED) == "old", "there is no other one yet"
    file.write_text("new\n")
    assert told(RPCStatusCode.UNAVAILABLE) == "old"
    assert told(RPCStatusCode.UNAUTHENTICATED) == "new"


def test_an_address_that_is_no_temporal_is_told_apart() -> None:
    async def work() -> None:
        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(UnavailableError) as caught:
                await connect(EngineSettings(address=address), {})
        assert "not as a Temporal server does" in str(caught.value)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("dump", "words"),
    [
        ('call error after connection: Status { code: Unauthenticated, message: "token is expired" }', "not accept us"),
        ("transport error: invalid peer certificate: UnknownIssuer", "certificate"),
    ],
)
def test_a_refused_key_and_a_wrong_certificate_are_told_apart(dump: str, words: str) -> None:
    error = _unavailable(EngineSettings(address="a:1"), dump)
    assert words in str(error)
    assert "Status {" not in str(error)
    assert error.hint
