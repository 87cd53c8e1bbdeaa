"""Where the web listens, and what is in the way of it."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import RefusedError, UnavailableError, UsageError
from scheduler.core.values.texts import short
from scheduler.root.place import locate
from scheduler.service.root import Root

DEFAULT = "127.0.0.1:8484"
NEEDED = ("fastapi", "jinja2", "mcp", "uvicorn")  # packages of the extra `web`
BACKLOG = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An IP address and a port; 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_address(written: str, *, allow_remote: bool = False) -> Address:
    """Raises: UsageError for what is no address; RefusedError for one beyond loopback, unless allowed."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|localhost)):([0-9]{1,5})", written)
    host = "" if found is None else (found[1] or found[2]).replace("localhost", "127.0.0.1")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip = None
    if found is None or ip is None or int(found[3]) > 65535:
        raise UsageError(f"{short(written)} is not an address to listen on", hint=f"write IP:PORT, such as {DEFAULT}")
    if not ip.is_loopback and not allow_remote:
        raise RefusedError(
            f"{written} can be reached from other machines", hint="add --allow-remote, or listen on 127.0.0.1"
        )
    return Address(host=str(ip), port=int(found[3]))


def listen(address: Address) -> socket.socket:
    """A socket that accepts connections. Raises: UnavailableError, as for a port that is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With its protocol named, or asyncio leaves Nagle's algorithm on: 40 ms for each answer on a kept connection.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier process may linger
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot listen on {address}: {error.strerror}", hint="choose another address with --listen"
        ) from None
    return listener


def need_extra() -> None:
    """Raises: UnavailableError if the packages of the web are not installed."""
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        raise UnavailableError("the web needs the extra `web`", hint="pip install 'gitops-scheduler[web]'")


def served_root(folder: str, state: str, db: str, environ: Mapping[str, str]) -> Root:
    """The root that the web process serves; each call names its own actor."""
    return Root(place=locate(folder, state, db, environ=environ, cwd=Path("/")), actor="web:scheduler", environ=environ)
