"""One heap for all threads, where there is a way to ask for it."""

from __future__ import annotations

import ctypes

import pytest

from scheduler.memory import share_one_heap


def test_where_the_c_library_cannot_be_asked_for_one_heap_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def library(name: object) -> object:
        asked.append(name)
        return object()

    monkeypatch.setattr(ctypes, "CDLL", library)
    share_one_heap()
    assert asked == [None]
