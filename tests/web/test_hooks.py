"""POST /hooks/git on a real server: what it accepts, what it refuses before it reads, and whom it wakes."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scheduler.ledger.received import remember_hook
from scheduler.ledger.store import Store
from scheduler.service.root import Root as ServiceRoot
from scheduler.web import hooks
from tests.faces.conftest import Root
from tests.web.bare import bare_app, running, service_root

SECRET = "0123456789abcdef"
PUSH = b'{"ref": "refs/heads/main", "after": "2c3d"}'


def post(address: str, headers: dict[str, str], body: bytes = PUSH) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    try:
        connection.request(
            "POST", "/hooks/git", body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def signed(body: bytes = PUSH, secret: str = SECRET) -> dict[str, str]:
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X_GitHub_Event": "push", "X_GitHub_Delivery": "1", "X_Hub_Signature_256": f"sha256={mac}"}


@pytest.fixture
def wake(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that wakes a daemon, of a root that seems to have one."""
    monkeypatch.setattr(ServiceRoot, "daemon", lambda *_, **__: object())
    found = lived_in.path / ".scheduler/wake"
    found.touch()
    os.utime(found, (0, 0))
    return found


@pytest.fixture
def address(lived_in: Root) -> Iterator[str]:
    root = service_root(lived_in.path, SCHEDULER_HOOK_SECRET=SECRET)
    with running(bare_app(root, hooks.router)) as found:
        yield found


def test_a_signed_push_wakes_the_daemon_once(address: str, wake: Path) -> None:
    status, told = post(address, signed())
    assert (status, told["outcome"]) == (200, "woken")
    assert wake.stat().st_mtime > 0
    os.utime(wake, (0, 0))
    assert post(address, signed())[0] == 409
    assert post(address, {**signed(), "X_GitHub_Delivery": "2"})[0] == 409, "its body was received before"
    assert wake.stat().st_mtime == 0


def test_a_wrong_or_missing_signature_wakes_nobody(address: str, wake: Path) -> None:
    assert post(address, signed(secret="another-secret-xx"))[0] == 401
    assert post(address, signed(), PUSH + b" ")[0] == 401
    assert post(address, {})[0] == 401
    assert wake.stat().st_mtime == 0


def test_a_ping_is_answered_and_does_nothing(address: str, wake: Path) -> None:
    status, told = post(address, {**signed(), "X_GitHub_Event": "ping"})
    assert (status, told["outcome"]) == (200, "ignored")
    assert wake.stat().st_mtime == 0
    assert post(address, signed())[0] == 200, "a ping is not remembered"


def test_twenty_megabytes_are_refused_before_they_are_read(address: str, wake: Path) -> None:
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        head = f"POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: x\r\nContent-Length: {20 * 2**20}\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(1_000), "answered without a byte of the body"


def test_a_body_without_a_length_is_read_up_to_the_limit(address: str, wake: Path) -> None:
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(
            b"POST /hooks/git HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(17):
            connection.sendall(chunk)
        assert b" 413 " in connection.recv(1_000)


def test_without_a_secret_the_route_says_how_to_set_one(lived_in: Root, wake: Path) -> None:
    with running(bare_app(service_root(lived_in.path), hooks.router)) as address:
        status, told = post(address, signed())
        assert status == 404
        assert "SCHEDULER_HOOK_SECRET" in told["hint"]


def test_the_secret_can_be_in_a_private_file(lived_in: Root, wake: Path) -> None:
    secret = lived_in.path / ".scheduler/hook-secret"
    with running(bare_app(service_root(lived_in.path), hooks.router)) as address:
        secret.write_text(f"the-next-secret-x\n{SECRET}\n")
        secret.chmod(0o644)
        status, told = post(address, signed())
        assert (status, told["hint"]) == (503, f"chmod 600 {secret}")
        secret.chmod(0o600)
        assert post(address, signed())[0] == 200


def test_a_secret_that_can_be_guessed_is_refused(lived_in: Root, wake: Path) -> None:
    with running(bare_app(service_root(lived_in.path, SCHEDULER_HOOK_SECRET="hunter2"), hooks.router)) as address:
        status, told = post(address, signed(secret="hunter2"))
        assert status == 503
        assert "hunter2" not in json.dumps(told)


def test_without_a_daemon_the_forge_is_told_to_deliver_it_again(address: str, lived_in: Root) -> None:
    status, told = post(address, signed())
    assert (status, told["detail"]) == (503, "no daemon is running")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServiceRoot, "daemon", lambda *_, **__: object())
        (lived_in.path / ".scheduler/wake").touch()
        assert post(address, signed())[0] == 200, "the first delivery was not remembered"


def test_old_deliveries_are_forgotten_and_their_number_is_bounded(lived_in: Root) -> None:
    now = lived_in.clock.now()
    with Store.open(lived_in.db) as store:

        def received(key: str, days: int = 0) -> bool:
            at = now + timedelta(days=days)
            return store.write(remember_hook, (key,), now=at, kept_for=timedelta(days=30), most=5)

        assert received("a")
        assert not received("a")
        assert received("b", days=31)
        assert received("a", days=31), "after 30 days it is forgotten"
        assert all(received(f"c{n}", days=32) for n in range(10))
        (count,) = store.read(lambda sql: sql.execute("SELECT count(*) FROM hooks").fetchone())
        assert count == 5
