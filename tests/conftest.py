"""What holds for every test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.helpers import settle_environment

settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the machine counts, and daemons leave their marks and copies in no home but that of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        settle_environment(patch, tmp_path_factory.mktemp("user") / "home")
        yield


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A child of a shell's background job would ignore SIGINT, one of nohup SIGHUP, and so would its children."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
