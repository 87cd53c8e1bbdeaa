"""The last reviews, for pages that are asked for again: a review reads every file of two revisions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from scheduler.core.values.problems import UnavailableError
from scheduler.service.review.review import Review, review
from scheduler.service.review.revisions import Compared, compare
from scheduler.service.root import Root

LASTS_S = 60.0  # the slots ahead and the costs of recent runs change slowly
MOST = 8
MOST_CLOCKS = 20


class Recent:
    """Remembers reviews by the commits that they compare, and makes one at a time. Safe in any thread."""

    def __init__(self, make: Callable[..., Review] = review, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._make, self._monotonic = make, monotonic
        self._at_work = threading.Semaphore(1)
        self._known: dict[tuple[Path, str, Compared], tuple[float, Review]] = {}

    def review(self, root: Root, base: str, head: str) -> Review:
        """As `review` with costs and clocks. Raises: UnavailableError while another one is made."""
        key = root.place.label, base, compare(root.place.root, base, head)
        at, found = self._known.get(key, (0.0, None))
        if found is not None and self._monotonic() - at < LASTS_S:
            return found
        if not self._at_work.acquire(blocking=False):
            raise UnavailableError("another review is being made", hint="try again in some seconds")
        try:
            found = self._make(root, base=base, head=head, priced=True, drawn=MOST_CLOCKS)
            self._known = dict([*self._known.items(), (key, (self._monotonic(), found))][-MOST:])
            return found
        finally:
            self._at_work.release()


RECENT = Recent()  # of this process
