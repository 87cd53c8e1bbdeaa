"""Finds the processes that runs have left behind: one look for all runs that end together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from scheduler.machine import orphans
from scheduler.machine.hands import Hands
from scheduler.machine.orphans import Orphan, Sought
from scheduler.machine.reactor import Reactor

T = TypeVar("T")
Answer = Callable[["Sequence[Orphan] | Exception"], None]


class Census:
    """Looks at processes for the reactor's thread: in it, or beside it if that may take long."""

    def __init__(self, reactor: Reactor, hands: Hands | None = None, writers: Hands | None = None) -> None:
        """hands, writers: None for the process of a single run, where nobody else is kept waiting.

        A disk that hangs keeps its writers, and no process is looked for on a disk: neither waits for the other.
        """
        self._reactor, self._hands, self._writers = reactor, hands, writers
        self._asked: list[tuple[Sought, Answer]] = []
        self._looks = False  # somebody does, or is about to
        self._adopted = True  # the last look has found adopted processes

    def ask(self, told: Mapping[str, str], answer: Answer, *, everywhere: bool, beside: int | None = None) -> None:
        """Call `answer` with the living processes of a run, or with what went wrong. See `orphans.of_runs`."""
        self._asked.append((Sought(told, everywhere=everywhere, beside=beside), answer))
        if not self._looks:
            self._looks = True
            self._reactor.soon(self._look)

    def _look(self) -> None:
        asked, self._asked = self._asked, []
        if orphans.adopts() and not any(sought.everywhere for sought, _ in asked):
            self._adopted = orphans.has_adopted()
            if not self._adopted:  # as after nearly every run
                self._answered(asked, [[] for _ in asked])
                return
        self._adopted = True
        self.aside(lambda: orphans.of_runs([sought for sought, _ in asked]), partial(self._answered, asked))

    def _answered(self, asked: Sequence[tuple[Sought, Answer]], found: Sequence[Sequence[Orphan]] | Exception) -> None:
        for n, (_, answer) in enumerate(asked):
            answer(found if isinstance(found, Exception) else found[n])
        self._looks = bool(self._asked)
        if self._looks:
            self._reactor.soon(self._look)

    def strangers(self, *, since: int) -> list[Orphan]:
        """Adopted processes without a run's id that started at that clock tick or later. Each is returned once."""
        return orphans.strangers(since) if self._adopted else []

    def aside(self, work: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Look at processes, and call `then` with the result, or with what went wrong."""
        self._give(self._hands, work, then)

    def write(self, work: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Write to a disk that may be slow, and call `then` as `aside` does."""
        self._give(self._writers, work, then)

    def _give(self, hands: Hands | None, work: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        def do() -> T | Exception:
            try:
                return work()
            except Exception as error:
                return error

        if hands is None:
            then(do())
            return
        try:
            hands.give(lambda: self._reactor.call(partial(then, do())))
        except RuntimeError as error:  # no thread can be started
            self._reactor.soon(partial(then, error))
