"""How often Python looks for garbage. What is no longer used is nearly always freed without that."""

from __future__ import annotations

import gc

_OFTEN = gc.get_threshold()
_SELDOM = 100_000  # new objects


def collect_seldom() -> None:
    """For a program that ends soon, or whose answers do: what it makes lives about as long, and looking through it
    again and again would take an eighth of a large sync.
    """
    gc.freeze()
    gc.set_threshold(_SELDOM)


def collect_often() -> None:
    """For a program that stays, which must not grow: as Python does by itself, but for what exists already."""
    gc.freeze()
    gc.set_threshold(*_OFTEN)
