"""One server a session, and one worker whose tests leave it alone: either takes a second to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.temporal.hosts import WorkerHost
from tests.temporal.live import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("temporal"))
    yield found
    found.kill()


@pytest.fixture(scope="session")
def shared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerHost]:
    """A worker that any test may send runs to, and that no test may stop."""
    folder = tmp_path_factory.mktemp("worker")
    found = WorkerHost(folder, server.address, queue="gpu", name="gpu-host", more="max_running: 16\n")
    found.start()
    yield found
    found.stop()
