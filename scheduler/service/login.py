"""Where the pages of a root are served, as the serving process has written it down; and a link that logs in there."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.service.access import login_secret
from scheduler.service.root import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A web server of this root."""

    address: str  # http://127.0.0.1:8484
    pid: int


def _file(root: Root) -> Path:
    return root.place.state / "served"


def note_served(root: Root, address: str) -> None:
    """Write down where this process serves. Raises: OSError."""
    new = _file(root).with_name("served-new")
    new.write_text(json.dumps({"address": address, "pid": os.getpid()}))
    new.replace(_file(root))


def note_refused(root: Root, why: str, daemon: int) -> None:
    """Write down why the web process of this daemon cannot serve, unless another one serves the root."""
    if served(root) is None:
        new = _file(root).with_name("served-new")
        new.write_text(json.dumps({"why": why, "pid": daemon}))
        new.replace(_file(root))


def why_not_served(root: Root) -> str:
    """Why the daemon that runs now cannot serve the pages; empty if it does, or if it should not."""
    try:
        found = json.loads(_file(root).read_bytes())
        os.kill(int(found["pid"]), 0)
        return str(found["why"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def served(root: Root) -> Served | None:
    """Where the pages are served now; None if they are not."""
    try:
        found = json.loads(_file(root).read_bytes())
        noted = Served(address=str(found["address"]), pid=int(found["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        os.kill(noted.pid, 0)
    except PermissionError:  # it is there, and belongs to another user
        return noted
    except OSError:
        return None
    return noted


def forget_served(root: Root) -> None:
    with contextlib.suppress(OSError):
        found = served(root)
        if found is None or found.pid == os.getpid():
            _file(root).unlink(missing_ok=True)


def login_link(root: Root) -> str:
    """A link that logs a browser in once, within ten minutes. Raises: UnavailableError if nothing is served."""
    found = served(root)
    if found is None:
        raise UnavailableError("no pages of this root are served now", hint="start them with `scheduler serve`")
    return f"{found.address}/login?t={login_secret(root)}"
