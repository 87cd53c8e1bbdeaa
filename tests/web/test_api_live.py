"""The web process under a real daemon."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.access import AccessSettings
from scheduler.daemon import web as daemon_web
from scheduler.root.place import Place
from scheduler.service.doctor.examine import examine
from scheduler.service.listening import DEFAULT
from scheduler.service.login import served, why_not_served
from scheduler.service.root import Root as ServiceRoot
from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.helpers import until

__all__ = ["root", "serve"]
WEB = {"SCHEDULER_NO_API": ""}


def port_of(line: str) -> int:
    found = re.search(r"address=http://127\.0\.0\.1:(\d+)", line)
    assert found is not None, line
    return int(found[1])


def get(port: int, path: str, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def child_of(daemon: Served) -> int:
    """The id of the web process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == daemon.process.pid and b"scheduler.web.process" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("the daemon has no web process")


def test_a_killed_web_process_is_started_again_and_ends_with_its_daemon(
    root: Root, serve: Callable[..., Served]
) -> None:
    daemon = serve("--listen", "127.0.0.1:0", **WEB)
    port = port_of(daemon.says("web_serving"))
    assert get(port, "/livez") == (200, {"status": "ok"})
    assert until(lambda: get(port, "/readyz")[0] == 200, "the daemon is ready")
    assert get(port, "/api/jobs")[0] == 401
    assert f"http://127.0.0.1:{port}/login?t=" in root.process("login").stdout
    first = child_of(daemon)
    os.kill(first, signal.SIGKILL)
    daemon.says("web_ended")
    until(lambda: len([line for line in daemon.lines if "web_serving" in line]) == 2, "it serves again")
    second = child_of(daemon)
    daemon.kill()
    until(lambda: not Path(f"/proc/{second}").exists() or _is_dead(second), "the web process has ended")


def _is_dead(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_a_proxy_says_who_the_user_is_and_nobody_else_does(root: Root, serve: Callable[..., Served]) -> None:
    options = ("--listen", "127.0.0.1:0", "--trust-proxy", "127.0.0.0/8", "--user-header", "Remote-User")
    daemon = serve(
        *options,
        "--allow-host",
        "jobs.example",
        "--proxy-role",
        "viewer",
        SCHEDULER_PROXY_SECRET="correct horse",
        **WEB,
    )
    port = port_of(daemon.says("web_serving"))
    bea = {"Remote_User": "bea", "X_Scheduler_Proxy_Secret": "correct horse", "Host": "jobs.example"}
    assert get(port, "/api/jobs", **bea)[0] == 200
    assert get(port, "/api/jobs", **{**bea, "X_Scheduler_Proxy_Secret": "wrong horse"})[0] == 401
    assert get(port, "/api/jobs", **{**bea, "Host": "other.example"})[0] == 421
    assert get(port, "/api/jobs", Remote_User="bea", X_Forwarded_For="127.0.0.1")[0] == 401
    assert b"horse" not in Path(f"/proc/{child_of(daemon)}/cmdline").read_bytes(), "others could read it"


def test_a_header_from_beyond_the_proxys_network_names_nobody(root: Root, serve: Callable[..., Served]) -> None:
    daemon = serve("--listen", "127.0.0.1:0", "--trust-proxy", "10.0.0.0/8", "--user-header", "Remote-User", **WEB)
    port = port_of(daemon.says("web_serving"))
    assert get(port, "/api/jobs", Remote_User="root", X_Forwarded_For="10.0.0.1", Forwarded="for=10.0.0.1")[0] == 401


def test_a_slow_client_and_a_large_body_hold_up_nobody(root: Root, serve: Callable[..., Served]) -> None:
    daemon = serve("--listen", "127.0.0.1:0", **WEB)
    port = port_of(daemon.says("web_serving"))
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for each in slow:
        each.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as large:
        large.sendall(b"POST /hooks/git HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n")
        assert b" 413 " in large.recv(100)
    started = time.monotonic()
    assert get(port, "/livez")[0] == 200
    assert time.monotonic() - started < 5
    for each in slow:
        each.close()


def test_a_default_port_that_is_taken_leaves_firing_alone_and_is_told_in_one_line(
    root: Root, serve: Callable[..., Served]
) -> None:
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # somebody else has it
            held.enter_context(socket.create_server(("127.0.0.1", int(DEFAULT.rpartition(":")[2]))))
        daemon = serve(**WEB)
        assert f"cannot listen on {DEFAULT}" in daemon.says("web_not_serving")
        place = Place(root=root.path, state=root.path / ".scheduler", db=root.db)
        asked = ServiceRoot(place=place, actor="user:test", environ=os.environ)
        (told,) = until(lambda: [each for each in examine(asked)["checks"] if each["name"] == "web"], "doctor tells")
        assert told["status"] == "warning"
        assert told["message"].startswith(f"the pages are not served: cannot listen on {DEFAULT}")
        ran = len(root.runs("tick"))
        until(lambda: len(root.runs("tick")) > ran + 1, "the job goes on")
        daemon.process.terminate()
        assert daemon.process.wait(60) == 0
    assert daemon.stderr.count("web_not_serving") == 1
    assert [each for each in examine(asked)["checks"] if each["name"] == "web"] == []


def test_the_pages_come_once_the_port_is_free(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root.ok("sync")
    monkeypatch.setattr(daemon_web, "WAITS_S", (0.1,))
    place = Place(root=root.path, state=root.path / ".scheduler", db=root.db)
    asked = ServiceRoot(place=place, actor="user:test", environ=os.environ)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        web = daemon_web.Web(place=place, address=address, access=AccessSettings(), environ=os.environ)
        web.loop.start()
        try:
            assert until(lambda: why_not_served(asked), "it is refused").startswith(f"cannot listen on {address}")
            other.close()
            assert until(lambda: served(asked), "it serves").address == f"http://{address}"
            assert why_not_served(asked) == ""
        finally:
            web.loop.stop()
            web.close()


def test_a_taken_port_is_an_error_if_it_was_asked_for(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCHEDULER_NO_API")
    with socket.create_server(("127.0.0.1", 0)) as other:
        refused = root.process("serve", "--listen", f"127.0.0.1:{other.getsockname()[1]}")
    assert (refused.code, "cannot listen on" in refused.stderr) == (5, True)
