"""The copy of jobs.example that `make run` serves: a repository with history, and a commit that breaks a job."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY, Daemon, call, git, until

LIVING = REPOSITORY / ".ci/living"


def living(folder: Path, *args: str) -> None:
    subprocess.run(["sh", str(LIVING), str(folder), *args], check=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    living(tmp_path / "copy")
    assert call("--root", str(tmp_path / "copy"), "sync", "--json").code == 0
    return tmp_path / "copy"


def run(root: Path, job_id: str) -> tuple[int, dict[str, object]]:
    ran = call("--root", str(root), "run", job_id, "--wait", "--json")
    return ran.code, ran.json["run"] if ran.stdout else json.loads(ran.stderr or "{}")


def test_the_copy_is_a_clean_repository_whose_jobs_are_all_valid(copy: Path) -> None:
    assert git(copy, "log", "--format=%an").split() == ["Ann", "Ann"]
    assert git(copy, "status", "--porcelain") == ""
    assert call("--root", str(copy), "validate", "--json").json == {"problems": []}


def test_the_job_that_ben_breaks_worked_before_his_commit_and_versions_names_it(copy: Path) -> None:
    assert run(copy, "links-report")[1]["status"] == "succeeded"
    living(copy, "later")
    living(copy, "later")  # a second start changes nothing
    assert git(copy, "log", "--format=%an").split() == ["Ben", "Ann", "Ann"]
    call("--root", str(copy), "sync")
    assert run(copy, "links-report")[1]["status"] == "failed"
    newest, before = call("--root", str(copy), "versions", "links-report", "--json").json["versions"][:2]
    ben = git(copy, "rev-parse", "HEAD")
    assert ben in json.dumps(newest)
    assert ben not in json.dumps(before)


def test_the_agents_of_the_copy_report_what_agents_report_and_cost_money(copy: Path) -> None:
    for job_id in ("mail-triage", "changelog"):
        _, ran = run(copy, job_id)
        assert ran["status"] == "succeeded", ran
        assert ran["cost"], ran


def test_the_budget_of_the_digest_allows_one_run_a_day(copy: Path) -> None:
    assert run(copy, "digest")[1]["status"] == "succeeded"
    refused = call("--root", str(copy), "run", "digest", "--json")
    assert refused.code == 3
    assert "budget" in refused.stdout + refused.stderr


def test_what_was_edited_in_the_copy_survives_the_next_start(copy: Path) -> None:
    (copy / "prompts/mail.md").write_text("Mine.\n")
    living(copy)
    assert (copy / "prompts/mail.md").read_text() == "Mine.\n"


def test_ben_commits_once_and_only_his_own_change(copy: Path) -> None:
    (copy / "prompts/mail.md").write_text("Mine.\n")
    living(copy, "later")
    assert git(copy, "show", "--format=", "--name-only", "HEAD").split() == ["scripts/links.sh"]
    git(copy, "stash", "-q")
    git(copy, "revert", "--no-edit", "HEAD")
    mended = git(copy, "rev-parse", "HEAD")
    living(copy, "later")
    assert git(copy, "rev-parse", "HEAD") == mended


def test_ben_leaves_a_script_alone_that_was_edited_in_the_copy(copy: Path) -> None:
    (copy / "scripts/links.sh").write_text("echo mine\n")
    living(copy, "later")
    assert (copy / "scripts/links.sh").read_text() == "echo mine\n"
    assert git(copy, "log", "--format=%an").split() == ["Ann", "Ann"]


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts what `make run` starts, in a folder of its own; Ben commits after a second."""
    (tmp_path / "bin").mkdir()
    for name, command in {"python": sys.executable, "scheduler": f"{sys.executable} -m scheduler"}.items():
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec env PYTHONPATH={REPOSITORY} {command} "$@"\n')
        program.chmod(0o755)
    started: list[Daemon] = []

    def start(**env: str) -> Daemon:
        environ = {**os.environ, "BIN": str(tmp_path / "bin"), "BEN_AFTER_S": "1", **env}
        started.append(Daemon([shutil.which("sh") or "sh", str(REPOSITORY / ".ci/tour")], environ, cwd=tmp_path))
        return started[-1]

    yield start
    for each in started:
        if each.alive:
            each.kill()


def test_make_run_serves_the_copy_with_a_paused_job_and_ends_with_its_signal(
    tour: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = tour()
    daemon.says(" serving root=")
    root = tmp_path / "jobs.living"
    until(lambda: "Ben" in git(root, "log", "--format=%an"), "the commit of Ben")
    ben = git(root, "rev-parse", "HEAD")
    until(lambda: ben in call("--root", str(root), "versions", "links-report", "--json").stdout, "his text in force")
    states = {each["id"]: each for each in call("--root", str(root), "list", "--json").json["jobs"]}
    assert "paused" in json.dumps(states["season"])
    assert daemon.stop() == 0


def test_make_run_prints_a_link_that_logs_in_even_if_the_usual_port_is_taken(tour: Callable[..., Daemon]) -> None:
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # somebody else has it: as good
            held.enter_context(socket.create_server(("127.0.0.1", 8484)))
        daemon = tour(SCHEDULER_NO_API="")
        link = daemon.says("/login?t=").strip()
    address = link.partition("/login")[0]
    assert address in daemon.says("web_serving")
    assert not address.endswith(":8484")
    with urllib.request.urlopen(link) as page:
        assert b"<button>Log in</button>" in page.read()
    assert daemon.stop() == 0


def test_every_job_of_a_minute_is_served_by_the_daemon(copy: Path) -> None:
    jobs = {each["id"] for each in call("--root", str(copy), "list", "--json").json["jobs"]}
    assert {"mail-triage", "changelog", "digest", "alerts-report", "links-report", "tick", "season"} <= jobs
