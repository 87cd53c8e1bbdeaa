"""The process of the client: started, watched and started again by a daemon, and ended with it.

It reads JSON lines on standard input and writes JSON lines on standard output. Only here and in the worker is the
library of Temporal imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scheduler.core.values.problems import RefusedError, SchedulerError
from scheduler.machine.log import write_log
from scheduler.root.place import Place
from scheduler.run.temporal.client import Client, Server
from scheduler.run.temporal.setup import engine_file, read_engine

CONNECT_S = 1.0  # between two tries to connect


def main() -> None:
    """Follow ids until standard input is closed, as by the end of the daemon."""
    root, state, db, database, form, level = sys.argv[1:]
    place = Place(root=Path(root), state=Path(state), db=Path(db))
    write_log(sys.stderr, form, int(level), os.environ)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints must not answer

    def say(said: Mapping[str, Any]) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    asyncio.run(_serve(place, database, say))


async def _serve(place: Place, database: str, say: Callable[[Mapping[str, Any]], None]) -> None:
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(lines.put_nowait, json.loads(line))
        os._exit(0)  # at once: whatever is under way is asked again by the next one

    threading.Thread(target=read, daemon=True).start()
    server = await _connected(place, database, say)
    client = Client(server, say, database=database)
    well = loop.create_task(client.keep_well())
    while True:
        client.tell(await lines.get())
        assert not well.done(), well.exception()


async def _connected(place: Place, database: str, say: Callable[[Mapping[str, Any]], None]) -> Server:
    said = ""
    while True:
        try:
            settings = read_engine(place)
            if settings is None:
                raise RefusedError("it is gone", hint="write it again, or restart the daemon")
            from scheduler.run.temporal.server import connect

            return await connect(settings, database, os.environ)
        except SchedulerError as error:
            text = _told(place, error)
            if text != said:
                said = text
                say({"is": "unreachable", "text": said})
            await asyncio.sleep(CONNECT_S)


def _told(place: Place, error: SchedulerError) -> str:
    """With the place of what is wrong, if it is ours, and what helps."""
    path, text = str(engine_file(place)), str(error)
    if isinstance(error, RefusedError) and path not in text:
        text = f"{path}: {text}"
    return f"{text}; {error.hint}" if error.hint else text


if __name__ == "__main__":
    main()
