"""The process that serves the web: started, watched and started again by a daemon, and ended with it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from dataclasses import replace

from scheduler.core.access.requests import PROXY_SECRET_VARIABLE
from scheduler.core.values.access import AccessSettings
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.machine.garbage import collect_seldom
from scheduler.machine.log import Log, write_log
from scheduler.machine.memory import share_one_heap
from scheduler.service.kept import Kept
from scheduler.service.listening import Address, listen, read_address, served_root
from scheduler.service.login import note_refused, note_served
from scheduler.service.root import Root
from scheduler.web.app import build_app
from scheduler.web.guard import AccessGuard
from scheduler.web.server import Server
from scheduler.web.show import show_once

CANNOT_LISTEN = 3  # exit code
WARM_UP_S = 3.0  # at most, before it serves: a database that is locked must not keep it from saying so

_log = Log(__name__)


def serve_web(root: Root, address: Address, settings: AccessSettings) -> None:
    """Serve until a signal. Raises: UnavailableError if the address cannot be had."""
    share_one_heap()
    root = replace(root, kept=Kept())
    settings = replace(settings, listen_host=address.host, proxy_secret=root.environ.get(PROXY_SECRET_VARIABLE, ""))
    with listen(address) as listener:
        host, port = listener.getsockname()[:2]
        where = f"http://{Address(host=host, port=port)}"
        note_served(root, settings.url or where)  # for `scheduler login`
        warming = threading.Thread(target=_warm_up, args=(root,), name="warm_up", daemon=True)
        warming.start()
        warming.join(WARM_UP_S)  # whoever connects meanwhile waits
        _log.info("web_serving", address=where)
        Server(build_app(root, AccessGuard(root, settings))).run(sockets=[listener])


def _warm_up(root: Root) -> None:
    """Look at all jobs once, so that the first page need not."""
    with contextlib.suppress(SchedulerError):
        show_once(root)


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
    root, daemon = served_root(folder, state, db, os.environ), os.getppid()
    try:
        settings = AccessSettings.from_json(json.loads(access))
        serve_web(root, read_address(address, allow_remote=True), settings)
    except UnavailableError as error:
        with contextlib.suppress(OSError):
            note_refused(root, str(error), daemon)  # for `scheduler doctor`
        _log.warning("web_not_serving", str(error), hint=error.hint)
        sys.exit(CANNOT_LISTEN)


if __name__ == "__main__":
    main()
