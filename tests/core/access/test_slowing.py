"""How long the next failure has to wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.access.slowing import FORGET_S, FREE, LONGEST_S, MOST_KNOWN, Failures

TIMES = st.lists(st.integers(0, 100), max_size=40)


def failed(failures: Failures, peer: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        failures.add(peer, now)


def test_the_first_failures_are_free_and_then_each_waits_longer() -> None:
    failures, waits = Failures(), []
    for _ in range(12):
        failures.add("a", 0.0)
        waits.append(failures.wait_s("a", 0.0))
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 :] == sorted(waits[FREE - 1 :])
    assert (waits[FREE - 1], waits[-1]) == (1.0, LONGEST_S)


@given(TIMES)
def test_a_wait_is_bounded_and_ends(times: list[int]) -> None:
    failures = Failures()
    for at in sorted(times):
        failures.add("a", at)
        wait = failures.wait_s("a", at)
        assert 0 <= wait <= LONGEST_S
        assert failures.wait_s("a", at + wait) == 0


@given(st.integers(0, 50))
def test_one_address_does_not_slow_another(times: int) -> None:
    failures = Failures()
    failed(failures, "a", times)
    assert failures.wait_s("b", 0.0) == 0


def test_failures_are_forgotten_a_while_after_the_last_one() -> None:
    failures = Failures()
    failed(failures, "a", 20)
    failures.add("a", FORGET_S + 1)
    assert failures.wait_s("a", FORGET_S + 1) == 0


def test_many_addresses_take_bounded_memory_and_the_oldest_is_forgotten() -> None:
    failures = Failures()
    failed(failures, "first", FREE)
    for n in range(MOST_KNOWN):
        failures.add(str(n), 0.0)
    assert len(failures._known) == MOST_KNOWN
    assert failures.wait_s("first", 0.0) == 0


def test_how_many_are_free_can_be_said() -> None:
    failures = Failures(free=2)
    failed(failures, "", 2)
    assert failures.wait_s("", 0.0) == 1.0
