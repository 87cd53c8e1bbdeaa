"""The routers of the web as a process of its own: python -m tests.web.serving ROOT. It prints its port."""

from __future__ import annotations

import sys
from pathlib import Path

from scheduler.service.listening import Address, listen
from scheduler.web import events, hooks, mcp
from scheduler.web.server import Server
from tests.web.bare import bare_app, service_root


def main(folder: str) -> None:
    app = bare_app(service_root(Path(folder), SCHEDULER_HOOK_SECRET="0123456789abcdef"), *ROUTERS)
    listening = listen(Address(host="127.0.0.1", port=0))
    print(listening.getsockname()[1], flush=True)
    Server(app).run([listening])


ROUTERS = (events.router, hooks.router, mcp.router)
if __name__ == "__main__":
    main(sys.argv[1])
