"""The process in which a daemon deletes what `retention` does not keep, beside its own; see `Housekeeping.beside`."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from scheduler.core.values.instants import parse_instant
from scheduler.core.values.problems import SchedulerError
from scheduler.ledger.store import Store
from scheduler.maintenance.retention import collect
from scheduler.root.place import Place


def main() -> None:
    """Print what was deleted, as JSON. On failure, the last line on stderr says why.

    Ends once standard input is closed, as by the end of the daemon.
    """
    os.nice(19)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    root, state, db, now = sys.argv[1:]
    place = Place(root=Path(root), state=Path(state), db=Path(db))
    try:
        with Store.open(place.db, create=False) as store:
            found = collect(place, store, now=parse_instant(now), actor="scheduler")
    except (SchedulerError, OSError) as error:
        sys.exit(str(error))
    print(json.dumps(asdict(found)))


def _end_with_parent() -> None:
    os.read(0, 1)  # not through sys.stdin, whose lock would be held at the end of `main`
    os._exit(1)  # at any moment: each transaction is whole, or nothing
