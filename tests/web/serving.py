"""The routers of the web as a process of its own: python -m tests.web.serving ROOT. It prints its port."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn

from scheduler.service.listening import Address, listen
from scheduler.web import events, hooks, mcp
from scheduler.web.process import MOST_CONNECTIONS
from tests.web.bare import bare_app, service_root


def main(folder: str) -> None:
    app = bare_app(service_root(Path(folder), SCHEDULER_HOOK_SECRET="0123456789abcdef"), *ROUTERS)
    listening = listen(Address(host="127.0.0.1", port=0))
    print(listening.getsockname()[1], flush=True)
    asyncio.run(
        uvicorn.Server(uvicorn.Config(app, log_level="critical", limit_concurrency=MOST_CONNECTIONS)).serve([listening])
    )


ROUTERS = (events.router, hooks.router, mcp.router)
if __name__ == "__main__":
    main(sys.argv[1])
