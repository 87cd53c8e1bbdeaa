"""The process that serves the web: started, watched and started again by a daemon, and ended with it."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from types import FrameType

import anyio.to_thread
import uvicorn
from fastapi import FastAPI

from scheduler.core.access.requests import PROXY_SECRET_VARIABLE
from scheduler.core.values.access import AccessSettings
from scheduler.core.values.problems import UnavailableError
from scheduler.machine.garbage import collect_seldom
from scheduler.machine.log import Log, write_log
from scheduler.service.listening import Address, listen, read_address, served_root
from scheduler.service.login import note_served
from scheduler.service.root import Root
from scheduler.web.app import build_app
from scheduler.web.events import end_streams
from scheduler.web.guard import AccessGuard

CANNOT_LISTEN = 3  # exit code
THREADS = 8  # for routes: more would only wait for the database
MOST_CONNECTIONS = 200
IDLE_S = 30
DRAIN_S = 5

_log = Log(__name__)


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                ws="none",
                http="h11",
                h11_max_incomplete_event_size=32 * 1024,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._app = app

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await super().startup(sockets)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        end_streams(self._app)  # they would go on for as long as their clients
        super().handle_exit(sig, frame)


def serve_web(root: Root, address: Address, settings: AccessSettings) -> None:
    """Serve until a signal. Raises: UnavailableError if the address cannot be had."""
    settings = replace(settings, listen_host=address.host, proxy_secret=root.environ.get(PROXY_SECRET_VARIABLE, ""))
    with listen(address) as listener:
        host, port = listener.getsockname()[:2]
        where = f"http://{Address(host=host, port=port)}"
        note_served(root, settings.url or where)  # for `scheduler login`
        _log.info("web_serving", address=where)
        _Server(build_app(root, AccessGuard(root, settings))).run(sockets=[listener])


def main() -> None:
    """Serve until standard input is closed, as by the end of the daemon. Exits with 3 if the address is taken."""
    folder, state, db, address, access, form, level = sys.argv[1:]
    write_log(sys.stderr, form, int(level), os.environ)

    def end_with_parent() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    collect_seldom()  # a page of ten thousand jobs makes a hundred thousand objects, and none of them is garbage
    try:
        settings = AccessSettings.from_json(json.loads(access))
        serve_web(served_root(folder, state, db, os.environ), read_address(address, allow_remote=True), settings)
    except UnavailableError as error:
        _log.warning("web_not_serving", str(error), hint=error.hint)
        sys.exit(CANNOT_LISTEN)


if __name__ == "__main__":
    main()
