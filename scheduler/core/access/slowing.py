"""Failed attempts to get in, by address: after some, the next failure has to wait. A right secret never waits."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

FREE = 5  # failures before an address has to wait
LONGEST_S = 60.0
FORGET_S = 900.0  # after the last failure
MOST_KNOWN = 10_000  # addresses; the oldest is forgotten


@dataclass(slots=True)
class Failures:
    """Not for several threads at once."""

    _known: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)  # count, when

    def add(self, peer: str, now: float) -> None:
        count, at = self._known.pop(peer, (0, now))
        self._known[peer] = (1 if now - at > FORGET_S else count + 1, now)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def wait_s(self, peer: str, now: float) -> float:
        """How long the address has to wait; 0 if it may fail again."""
        count, at = self._known.get(peer, (0, now))
        if count < FREE or now - at > FORGET_S:
            return 0.0
        return max(0.0, at + min(LONGEST_S, 2.0 ** min(count - FREE, 10)) - now)
