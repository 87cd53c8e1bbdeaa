"""A worker whose clock is off: `python -m tests.temporal.shifted SECONDS worker ...`.

Every look at the clock of the machine in the code of a worker goes through `datetime.now` of these modules.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, tzinfo
from typing import Self

from scheduler.cli import main
from scheduler.run.temporal import hosting, worker


def shifted(seconds: float) -> type[datetime]:
    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=seconds)

    return Shifted


if __name__ == "__main__":
    clock = shifted(float(sys.argv.pop(1)))
    for each in (hosting, worker):
        vars(each)["datetime"] = clock
    main()
