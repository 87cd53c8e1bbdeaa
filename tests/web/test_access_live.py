"""A real daemon with a proxy before its web: the options arrive, and no secret is seen from outside."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable
from pathlib import Path

from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.web.test_api_live import WEB, child_of, port_of

__all__ = ["root", "serve"]
SECRET = "the-secret-of-the-proxy"


def status(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status


def test_a_daemon_behind_a_proxy_lets_in_its_users_and_shows_no_secret(
    root: Root, serve: Callable[..., Served]
) -> None:
    daemon = serve(
        *("--listen", "127.0.0.1:0", "--url", "https://jobs.example"),
        *("--trust-proxy", "127.0.0.1", "--user-header", "Remote-User", "--proxy-role", "viewer"),
        **WEB,
        SCHEDULER_PROXY_SECRET=SECRET,
    )
    port = port_of(daemon.says("web_serving"))
    user = {"Remote_User": "bea", "X_Scheduler_Proxy_Secret": SECRET}
    assert status(port, "/api/jobs", Host="jobs.example", **user) == 200
    assert status(port, "/api/jobs", Host="jobs.example", Remote_User="bea") == 401
    assert status(port, "/api/jobs", Host="evil.example", **user) == 421

    token = root.process("token", "create", "ci").stdout.strip()
    assert status(port, "/api/jobs", Authorization=f"Bearer {token}") == 200
    assert status(port, f"/api/jobs?token={token}") == 400
    link = root.process("login").stdout.strip()
    assert link.startswith("https://jobs.example/login?t=")
    assert status(port, link.removeprefix("https://jobs.example"), Host="jobs.example") == 200

    seen = "\n".join(daemon.lines).encode() + Path(f"/proc/{child_of(daemon)}/cmdline").read_bytes()
    seen += Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()
    files = (root.path / ".scheduler").glob("state.db*")  # one is a socket
    stored = b"".join(path.read_bytes() for path in files if path.is_file())
    for secret in (SECRET, token.split("_", 2)[2], link.partition("t=")[2]):
        assert secret.encode() not in seen
        assert secret.encode() not in stored
