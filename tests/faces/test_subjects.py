"""What a message is told of a real root: what changed since the last success, why a job stopped, who watched."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.core.messages.message import message_of
from scheduler.core.values.channels import Detail
from scheduler.core.values.events import EventKind, Fit, Subject
from scheduler.core.values.settings import Settings
from scheduler.delivery.subjects import job_json_of, subject_of
from scheduler.ledger import outbox
from scheduler.ledger.store import Store
from scheduler.root.place import Place
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import REPOSITORY, until

TOLD = 'channels: {log: {command: ["false"]}}\n'  # so that its messages stay in the outbox
JOB = "id: told\nschedule: '@daily'\nrunner: shell\ntask_source_path: scripts/told.sh\ndeliver: [log]\n"


def subjects(root: Root) -> list[Subject]:
    """Of all that waits, as they would be sent now."""
    with Store.open(root.db, create=False) as store:
        return [subject_of(store, place(root), Settings(), row.event) for row in store.read(outbox.waiting)]


def place(root: Root) -> Place:
    return Place(root=root.path, state=root.db.parent, db=root.db)


def text_of(subject: Subject) -> str:
    return message_of(subject, Fit(most=2_000), Detail.NORMAL, token="abcd").body


@pytest.fixture
def told(root: Root) -> Root:
    """A root with a job that tells a channel how it fails. It has succeeded at nothing yet."""
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text() + TOLD)
    root.write("jobs/told.yaml", JOB)
    root.write("scripts/told.sh", "exit 0\n")
    root.commit()
    root.sync()
    return root


def test_a_message_names_the_commit_that_changed_the_text_since_the_last_success(told: Root) -> None:
    root = told
    root.run("told")
    root.clock.advance(timedelta(minutes=1))
    root.write("scripts/told.sh", "exit 3\n")
    root.git("add", "-A")
    root.git("-c", "user.name=Ada", "commit", "-qm", "Shorter <!channel> script")
    commit = root.git("rev-parse", "HEAD")
    root.sync()
    root.clock.advance(timedelta(minutes=1))
    assert root.cli("run", "told", "--wait").code == 1
    (failed,) = subjects(root)
    assert failed.event.kind is EventKind.FAILURE
    assert failed.change is not None
    assert failed.change.commit is not None
    assert (failed.change.what, failed.change.commit.id, failed.change.commit.author) == ("text", commit, "Ada")
    assert failed.change.to == root.runs("told")[0]["task_sha256"]
    assert f'changed in {commit[:7]} by Ada: "Shorter <\u200b!channel> script"' in text_of(failed)
    with Store.open(root.db, create=False) as store:
        assert job_json_of(store, failed.event, root.clock.now()) == root.job("told")

    root.clock.advance(timedelta(minutes=1))
    root.write("scripts/told.sh", "exit 4\n")
    root.edit("jobs/told.yaml", "@daily", "@hourly")
    assert root.cli("run", "told", "--wait").code == 1, "neither is committed"
    root.sync()
    with Store.open(root.db, create=False) as store:
        again = subject_of(store, place(root), Settings(), replace(failed.event, run_n=3))
    assert again.change is not None
    assert (again.change.what, again.change.commit) == ("text and definition", None)
    assert "in no known commit" in text_of(again)


def test_a_run_of_an_earlier_text_says_nothing_about_the_files(told: Root) -> None:
    told.run("told")
    told.write("scripts/told.sh", "exit 3\n")
    told.clock.advance(timedelta(minutes=1))
    told.cli("run", "told", "--wait")
    (failed,) = subjects(told)
    assert failed.change is not None
    assert failed.change.what == "text"
    told.cli("run", "told", "--wait", "--task-of", "told:2")
    with Store.open(told.db, create=False) as store:
        assert subject_of(store, place(told), Settings(), replace(failed.event, run_n=3)).change is None


def test_the_message_of_a_stopped_job_says_why_it_stopped(told: Root) -> None:
    told.write("jobs/told.yaml", JOB.replace("'@daily'", "{every: 1s}\nfailure_limit: 1"))
    told.write("scripts/told.sh", "exit 3\n")
    daemon = Served(told)
    daemon.says(" job_stopped ")
    assert daemon.stop() == 0
    (stopped,) = subjects(told)
    assert stopped.event.kind is EventKind.STOPPED
    assert "stopped: 1 error; edit its definition or task" in text_of(stopped)


@contextmanager
def at_a_terminal(root: Root, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose messages a person sees."""
    shown, child = pty.openpty()
    command = [sys.executable, "-m", "scheduler", *args]
    process = subprocess.Popen(
        command,
        cwd=root.path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=child,
    )
    os.close(child)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        os.close(shown)


def test_nobody_is_told_of_a_failure_that_a_person_watched(told: Root) -> None:
    told.write("scripts/told.sh", "exit 3\n")
    with at_a_terminal(told, "run", "told") as command:
        assert command.wait() == 1
    assert subjects(told) == []
    told.clock.advance(timedelta(minutes=1))
    told.cli("run", "told", "--wait")  # what it prints goes to no terminal
    (second,) = subjects(told)
    assert (second.event.run_n, second.event.times) == (2, 2), "nobody was told of the first"
    told.clock.advance(timedelta(minutes=1))
    told.cli("run", "told", "--wait")
    assert len(subjects(told)) == 1, "a streak is told once"


def test_a_failure_is_told_if_whoever_watched_has_gone(told: Root) -> None:
    told.edit("jobs/told.yaml", "'@daily'", "manual")
    told.write("scripts/told.sh", "until [ -e go ]; do sleep 0.02; done\nexit 3\n")
    told.edit("scheduler.yaml", '"{task_file}"]', '"{task_file}"]\n    cwd: root')
    daemon = Served(told)
    try:
        daemon.says(" serving root=")
        with at_a_terminal(told, "run", "told", "--wait"):
            until(lambda: watched(told) == [1] or None, "the run")
        until(lambda: watched(told) == [0] or None, "the daemon sees that nobody waits any more")
        told.write("go", "")
        until(lambda: told.json("deliveries")["deliveries"] or None, "the message")
    finally:
        daemon.stop()


def watched(root: Root) -> list[int]:
    with Store.open(root.db, create=False) as store:
        return store.read(
            lambda sql: [row["watched"] for row in sql.execute("SELECT watched FROM runs WHERE \"trigger\" = 'manual'")]
        )
