"""Schemathesis against a real process beside a real daemon, as whoever has a token of an administrator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.helpers import REPOSITORY, Daemon
from tests.web.test_fuzz import APP, CHECKS, HEALTHY, make_root

pytestmark = pytest.mark.long
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
# Every header that HTTP allows reaches the server; a guard before it may say that this is no way to log in, or no Host.
LIVE = {**CHECKS, "negative_data_rejection": {"expected-statuses": ["4xx"]}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address and a token of the web of a daemon with two jobs and a run."""
    folder = tmp_path_factory.mktemp("fuzz_live")
    make_root(folder)
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "SCHEDULER_NO_API": ""}
    command = [sys.executable, "-m", "scheduler"]
    daemon = Daemon([*command, "serve", "--listen", "127.0.0.1:0"], env, cwd=folder)
    found = re.search(r"address=(\S+)", daemon.says("web_serving"))
    assert found is not None
    made = subprocess.run(
        [*command, "token", "create", "fuzz", "--role", "admin"], env=env, cwd=folder, capture_output=True, text=True
    )
    yield found[1], made.stdout.strip()
    assert daemon.alive, daemon.stderr
    assert "Traceback" not in daemon.stderr, daemon.stderr
    daemon.stop()


DOCUMENT = schemathesis.openapi.from_dict(APP.openapi(), config=schemathesis.Config.from_dict({"checks": LIVE}))
API = DOCUMENT.exclude(path="/api/events")  # it does not end
OF_ONE = API.include(path_regex=r"\{(job|run)_id\}").exclude(method="DELETE")
MANY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=HEALTHY)


def ask(case: schemathesis.Case[Any], served: tuple[str, str], *, there: bool = False) -> None:
    """there: about a job or a run that exists."""
    for name, value in {"job_id": "heartbeat", "run_id": "heartbeat:1"}.items():
        if there and name in case.path_parameters:
            case.path_parameters[name] = value
    # About what exists, a request that was meant to be wrong may be right.
    address, token = served
    case.call_and_validate(
        base_url=address,
        headers={"Authorization": f"Bearer {token}"},
        excluded_checks=[negative_data_rejection] if there else [],
    )


@API.parametrize()
@MANY
def test_any_request_gets_an_answer_that_fits_the_document(
    case: schemathesis.Case[Any], served: tuple[str, str]
) -> None:
    ask(case, served)


@OF_ONE.parametrize()
@MANY
def test_any_request_about_what_is_there_gets_an_answer_that_fits_the_document(
    case: schemathesis.Case[Any], served: tuple[str, str]
) -> None:
    ask(case, served, there=True)
