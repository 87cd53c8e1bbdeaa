"""Which commit brought a change is asked of git once the change is in force: nothing waits for it, nothing loses it."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.git import history
from scheduler.git.run import GitError, GitTimeoutError, stream_git
from scheduler.ledger.audit import answer_lookups, pending_lookups
from scheduler.ledger.store import Store
from scheduler.sync import lookups
from scheduler.sync.lookups import look_up_commits
from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import until

serve = served.serve  # the fixture


def told(root: Root, job_id: str) -> list[tuple[str, str | None, str | None]]:
    """Action, subject of the commit, and why there is none, of each row."""
    rows = root.json("audit", job_id)["audit"]
    return [(row["action"], row["commit"] and row["commit"]["subject"], row["no_commit"]) for row in rows]


def committed(root: Root, subject: str) -> str:
    root.clock.advance(timedelta(minutes=1))
    root.git("add", "-A")
    root.git("commit", "-qm", subject)
    return root.git("rev-parse", "HEAD")


def pending(root: Root) -> int:
    with Store.open(root.db) as store:
        return len(store.read(pending_lookups))


def look_up(root: Root) -> None:
    with Store.open(root.db) as store:
        look_up_commits(store, root.path)


@pytest.fixture
def unasked(root: Root) -> Root:
    """A root with a change in force whose commit nobody has looked up yet."""
    root.sync()
    root.edit("jobs/triage.yaml", "0 9", "0 8")
    committed(root, "Earlier")
    sync_only(root)
    return root


def sync_only(root: Root) -> None:
    """A sync that dies before it asks git."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookups, "look_up_commits", lambda *_: None)
        root.sync()


def fail_with(patch: pytest.MonkeyPatch, error: GitError) -> None:
    def stream(*_: object, **__: object) -> Iterator[bytes]:
        raise error
        yield b""

    patch.setattr(history, "stream_git", stream)


def test_a_change_is_in_force_before_git_is_asked_who_made_it(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root.sync()
    root.edit("jobs/triage.yaml", "0 9", "0 8")
    committed(root, "Earlier")
    in_force: list[str] = []

    def asked(*args: Any, **options: Any) -> Iterator[bytes]:
        with sqlite3.connect(root.db) as sql:
            in_force.extend(
                spec
                for (spec,) in sql.execute("SELECT spec FROM definitions WHERE job_id = 'triage' AND generation = 2")
            )
        return stream_git(*args, **options)

    monkeypatch.setattr(history, "stream_git", asked)
    root.sync()
    assert len(in_force) == 1
    assert "0 8" in in_force[0]
    assert told(root, "triage")[-1] == ("update", "Earlier", None)


def test_until_then_every_command_says_that_it_is_pending(unasked: Root) -> None:
    assert told(unasked, "triage")[-1] == ("update", None, "pending")
    assert " pending " in unasked.ok("audit", "triage").stdout
    assert unasked.json("log", "triage")["log"][0]["no_commit"] == "pending"
    unasked.run("triage")  # without a daemon, it looks up what is left
    assert told(unasked, "triage")[-1] == ("update", "Earlier", None)


def test_explain_says_that_a_commit_is_not_looked_up_yet(root: Root) -> None:
    root.sync()
    root.run("triage")
    with sqlite3.connect(root.db) as sql:
        sql.execute("DROP TRIGGER lookups_are_final")
        sql.execute("UPDATE lookups SET commit_id = NULL, no_commit = NULL")
    assert "commit not looked up yet" in root.ok("explain", "triage:1").stdout


def test_a_kill_before_git_is_asked_leaves_the_change_in_force_and_the_next_sync_asks(root: Root) -> None:
    root.sync()
    root.edit("jobs/triage.yaml", "0 9", "0 8")
    committed(root, "Earlier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEDULER_CRASH_AT", "before_look_up")
        assert root.process("sync").code == -signal.SIGKILL
    assert root.job("triage")["generation"] == 2
    assert told(root, "triage")[-1] == ("update", None, "pending")
    assert root.sync()["updated"] == []
    assert ("update", "Earlier", None) in told(root, "triage")


def test_the_text_of_a_new_job_has_a_row_only_if_another_commit_brought_it(root: Root) -> None:
    root.write("prompts/new.md", "New.\n")
    committed(root, "The text")
    root.write("jobs/new.yaml", "id: new\nschedule: manual\ntask_source_path: prompts/new.md\n")
    committed(root, "The job")
    sync_only(root)
    assert told(root, "new") == [("create", None, "pending")]
    assert len(root.json("audit", "-n", "1")["audit"]) == 1
    root.sync()
    assert told(root, "new") == [("create", "The job", None), ("task", "The text", None)]
    assert told(root, "flaky") == [("create", "x", None)], "one commit brought both"


def test_each_change_has_the_commit_of_its_own_time(root: Root) -> None:
    """The same bytes twice: what the second commit brought again, the first one had brought before."""
    root.sync()
    for n, (new, subject) in enumerate([("calm", "First"), ("busy", "Between"), ("calm", "Again")]):
        root.write("prompts/triage.md", f"{new}\n")
        committed(root, subject)
        sync_only(root)
        assert pending(root) == n + 1
    root.sync()
    assert told(root, "triage")[1:] == [("task", "First", None), ("task", "Between", None), ("task", "Again", None)]


def test_what_git_cannot_answer_now_is_asked_again_and_is_in_force_meanwhile(unasked: Root) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fail_with(patch, GitError("no"))
        unasked.sync()
        assert told(unasked, "triage")[-1] == ("update", None, "pending")
    unasked.sync()
    assert told(unasked, "triage")[-1] == ("update", "Earlier", None)


@pytest.mark.parametrize("why", ["too slow", "no repository", "another history"])
def test_what_git_will_never_answer_is_unknown_and_is_asked_once(unasked: Root, tmp_path: Path, why: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if why == "too slow":
            fail_with(patch, GitTimeoutError("no"))
        elif why == "no repository":
            (unasked.path / ".git").rename(tmp_path / "gone")
        else:
            (unasked.path / ".git").rename(tmp_path / "gone")
            unasked.git("init", "-q", "--template=")
            unasked.git("commit", "-q", "--allow-empty", "-m", "Another")
        look_up(unasked)
        fail_with(patch, GitError("asked again"))
        assert pending(unasked) == 0
        look_up(unasked)
    assert told(unasked, "triage")[-1] == ("update", None, "unknown")


def test_a_deletion_before_anything_was_committed_is_settled(root: Root) -> None:
    root.write("jobs/new.yaml", "id: new\nschedule: manual\ntask: New.\n")
    root.sync()
    root.delete("jobs/new.yaml")
    root.sync()
    assert told(root, "new") == [("create", None, "uncommitted"), ("archive", None, "uncommitted")]
    assert pending(root) == 0


def test_an_answer_is_final(unasked: Root) -> None:
    with Store.open(unasked.db) as store:
        (number,) = store.read(pending_lookups)
        look_up_commits(store, unasked.path)
        store.write(answer_lookups, {number: "unknown"})
    assert told(unasked, "triage")[-1] == ("update", "Earlier", None)
    with sqlite3.connect(unasked.db) as sql:
        for change in ("UPDATE lookups SET no_commit = 'unknown'", "DELETE FROM lookups"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                sql.execute(change)


def test_files_that_share_a_change_share_its_lookup(root: Root) -> None:
    root.sync()
    with sqlite3.connect(root.db) as sql:
        (count,) = sql.execute("SELECT count(*) FROM lookups WHERE path = 'jobs/clock.yaml'").fetchone()
    assert count == 1, "three jobs"


def test_an_export_says_that_a_pending_commit_is_unknown(unasked: Root) -> None:
    lines = unasked.ok("export", "triage").stdout
    assert '"no_commit": "unknown"' in lines
    assert "pending" not in lines


def test_a_backup_takes_along_what_is_pending(unasked: Root, tmp_path: Path) -> None:
    unasked.ok("backup", str(tmp_path / "copy.db"))
    with Store.open(tmp_path / "copy.db") as store:
        assert [each.path for each in store.read(pending_lookups).values()] == ["jobs/triage.yaml"]


@pytest.mark.parametrize("most", [100, 0], ids=["few", "many"])
def test_a_daemon_looks_up_what_it_and_one_before_it_have_applied(
    unasked: Root, serve: Callable[..., Served], most: int
) -> None:
    """Many at once in a process of their own."""
    if most == 0:
        for n in range(history.FEW_PATHS + 1):
            unasked.write(f"jobs/more/{n}.yaml", f"id: more-{n}\nschedule: manual\ntask: '{n}'\n")
        committed(unasked, "More")
        sync_only(unasked)
    serve()
    until(lambda: told(unasked, "triage")[-1] == ("update", "Earlier", None), "the commit before the start")
    unasked.edit("jobs/triage.yaml", "0 8", "0 7")
    committed(unasked, "Earlier still")
    until(lambda: "Earlier still" in [row[1] for row in told(unasked, "triage")], "the commit of an event")
    until(lambda: pending(unasked) == 0, "all of them")
