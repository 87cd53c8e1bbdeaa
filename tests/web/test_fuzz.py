"""Schemathesis against the API: whatever fits the OpenAPI document, or does not, gets an answer that fits it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from scheduler.root.place import Place
from scheduler.run.local.cancel import Cancel
from scheduler.service.root import Root
from scheduler.service.run import run_job
from scheduler.service.sync import sync
from scheduler.web.app import build_app
from tests.helpers import REPOSITORY, ROOT_FILE, Daemon, git
from tests.web.bare import ADMIN, OpenGuard, service_root

FILES = {
    "scheduler.yaml": ROOT_FILE,
    "jobs/heartbeat.yaml": "id: heartbeat\ntags: [calm]\nschedule: {every: 1h}\ntask: Look.\n",
    "jobs/other.yaml": "id: other\nschedule: '0 9 * * mon'\ntask_source_path: prompts/other.md\n",
    "prompts/other.md": "Look.\n",
    ".gitignore": ".scheduler/\n",
}
NOWHERE = Place(root=Path("/"), state=Path("/"), db=Path("/none"))  # the fixture names the root
APP = build_app(Root(place=NOWHERE, actor="nobody", environ={}), OpenGuard(ADMIN))
CHECKS = {
    "ignored_auth": {"enabled": False},  # the guard of these tests lets everybody in
    # Words in strings have rules that a JSON Schema does not say, such as those of an instant: 400.
    "positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", 400, 401, 403, 404, 409, 412, 413, 428]},
}
API = schemathesis.openapi.from_asgi(
    "/openapi.json", APP, config=schemathesis.Config.from_dict({"checks": CHECKS})
).exclude(path="/api/events")  # it does not end
OF_ONE = API.include(path_regex=r"\{(job|run)_id\}").exclude(method="DELETE")
HEALTHY = list(HealthCheck)  # a busy machine is no fault
FEW = settings(max_examples=4, derandomize=True, deadline=None, suppress_health_check=HEALTHY)


def make_root(folder: Path) -> Root:
    """A root with two jobs and a run."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    git(folder, "config", "user.name", "Ann")
    git(folder, "config", "user.email", "ann@example.org")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    root = service_root(folder)
    sync(root)
    run_job(root, "heartbeat", cancel=Cancel())
    return root


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root with a daemon, two jobs and a run."""
    folder = tmp_path_factory.mktemp("fuzz")
    APP.state.root = make_root(folder)
    daemon = Daemon(
        [sys.executable, "-m", "scheduler", "serve", "--no-api"],
        {**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=folder,
    )
    daemon.says(" serving root=")
    yield folder
    daemon.stop()


def ask(case: schemathesis.Case[Any], *, there: bool = False) -> None:
    """there: about a job or a run that exists."""
    for name, value in {"job_id": "heartbeat", "run_id": "heartbeat:1"}.items():
        if there and name in case.path_parameters:
            case.path_parameters[name] = value
    # About what exists, a request that was meant to be wrong may be right.
    case.call_and_validate(excluded_checks=[negative_data_rejection] if there else [])


@API.parametrize()
@FEW
def test_any_request_gets_an_answer_that_fits_the_document(case: schemathesis.Case[Any]) -> None:
    ask(case)


@OF_ONE.parametrize()
@FEW
def test_any_request_about_what_is_there_gets_an_answer_that_fits_the_document(case: schemathesis.Case[Any]) -> None:
    ask(case, there=True)
