"""What ran, what has changed since, and by whom: log, diff, versions, and an earlier text run again."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.past.timeline import Changes
from scheduler.core.values.problems import RefusedError
from scheduler.core.values.runs import Trigger
from scheduler.ledger import gc, schema
from scheduler.ledger.audit import read_audit
from scheduler.ledger.store import Store
from tests.faces import served
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.fakes import claim_by_hand
from tests.helpers import REPOSITORY

serve = served.serve  # the fixture


def committed(root: Root, subject: str, author: str = "Ada") -> str:
    """The commit of everything as it stands, a minute later."""
    root.clock.advance(timedelta(minutes=1))
    root.git("add", "-A")
    root.git("-c", f"user.name={author}", "-c", f"user.email={author.lower()}@example.com", "commit", "-qm", subject)
    return root.git("rev-parse", "HEAD")


def audit(root: Root, job_id: str) -> list[tuple[str, str | None, str | None, str | None]]:
    """Action, field, commit and why there is none, of each row."""
    rows = root.json("audit", job_id)["audit"]
    return [(row["action"], row["field"], row["commit"] and row["commit"]["id"], row["no_commit"]) for row in rows]


def at_terminal(root: Root, *args: str) -> str:
    """What a command shows on a terminal."""
    parent, child = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "150"}
    command = [sys.executable, "-m", "scheduler", *args]
    with subprocess.Popen(command, cwd=root.path, env=env, stdin=child, stdout=child, stderr=child) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                piece = os.read(parent, 65_536)
            except OSError:  # Linux, once nobody holds the other end
                break
            if not piece:
                break
            shown += piece
        process.wait(60)
    os.close(parent)
    return shown.decode()


# -- provenance of changes -----------------------------------------------------------------------


def test_an_audit_row_names_the_commit_that_changed_the_file_and_not_the_one_checked_out(root: Root) -> None:
    first = root.git("rev-parse", "HEAD")
    root.sync()
    root.write("prompts/triage.md", "Sort the inbox twice.\n")
    text = committed(root, "Sort twice", author="Bob")
    root.edit("jobs/triage.yaml", "0 9", "0 8")
    definition = committed(root, "An hour earlier", author="Cy")
    root.write("README", "of no job\n")
    head = committed(root, "Of no job")
    root.sync()
    assert audit(root, "triage") == [
        ("create", None, first, None),
        ("update", "schedule", definition, None),
        ("task", "task_sha256", text, None),
    ]
    row = root.json("audit", "triage")["audit"][-1]
    assert row["revision"] == head
    assert row["commit"] == {
        "id": text,
        "author": "Bob",
        "email": "bob@example.com",
        "date": "2026-03-01T12:00:00Z",
        "subject": "Sort twice",
    }


def test_what_is_not_committed_has_no_author_until_somebody_commits_it(root: Root) -> None:
    first = root.git("rev-parse", "HEAD")
    root.sync()
    root.write("prompts/triage.md", "Sort.\n")
    root.edit("jobs/triage.yaml", "0 9", "0 8")
    root.edit("jobs/heartbeat.md", "once an hour", "every hour")
    root.sync()
    assert audit(root, "triage")[1:] == [
        ("update", "schedule", None, "uncommitted"),
        ("task", "task_sha256", None, "uncommitted"),
    ]
    later = committed(root, "All of it")
    root.sync()
    assert audit(root, "triage")[3:] == [("commit", "path", later, None), ("commit", "task", later, None)]
    assert audit(root, "heartbeat") == [
        ("create", None, first, None),
        ("task", "task_sha256", None, "uncommitted"),
        ("commit", "path", later, None),
    ]
    root.sync()
    assert len(audit(root, "triage")) == 5, "once"


def test_a_default_a_deletion_and_a_move_name_the_commits_of_their_own_files(root: Root) -> None:
    root.sync()
    root.edit("scheduler.yaml", "timeout: 5m", "timeout: 6m")
    default = committed(root, "Longer")
    root.delete("jobs/flaky.yaml")
    deletion = committed(root, "No more")
    root.move("jobs/triage.yaml", "jobs/sorting/triage.yaml")
    move = committed(root, "Tidy up")
    root.sync()
    assert audit(root, "triage")[1:] == [("update", "timeout_ms", move, None), ("move", "path", move, None)]
    assert audit(root, "tick")[1:] == [("update", "timeout_ms", default, None)]
    assert audit(root, "flaky")[1:] == [("archive", "path", deletion, None)]
    assert [row[2] for row in audit(root, "@root")[1:]] == [default]


def test_a_deletion_that_is_not_committed_says_so(root: Root) -> None:
    root.sync()
    root.delete("jobs/flaky.yaml")
    root.sync()
    assert audit(root, "flaky")[-1] == ("archive", "path", None, "uncommitted")


def test_a_run_at_its_fire_names_the_commit_of_the_edit_that_it_found(root: Root) -> None:
    root.sync()
    root.edit("jobs/triage.yaml", "[agent]", "[agent, late]")
    later = committed(root, "Another tag")
    assert root.run("triage")["status"] == "succeeded"
    assert audit(root, "triage")[-1] == ("update", "tags", later, None)


@pytest.mark.parametrize("missing", ["repository", "git", "owner", "commits"])
def test_without_git_everything_works_and_the_run_says_why_it_knows_no_commit(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "repository":
        (root.path / ".git").rename(tmp_path / "gone")
        why = "is not in a git repository"
    elif missing == "git":
        tools = tmp_path / "tools"
        tools.mkdir()
        for name in ("cat", "sh"):
            (tools / name).symlink_to(f"/bin/{name}")
        monkeypatch.setenv("PATH", str(tools))
        why = "git is not installed, or not on PATH"
    elif missing == "owner":
        if os.geteuid() != 0:
            pytest.skip("only root can give a repository to another user")
        os.chown(root.path, 4321, 4321)
        os.chown(root.path / ".git", 4321, 4321)
        why = "it belongs to another user; run: git config --global --add safe.directory"
    else:
        root.git("update-ref", "-d", "HEAD")
        why = "HEAD has no commit yet"
    found = root.ok("sync")
    assert ("warning: no commit is recorded" in found.stderr) == (missing in ("git", "owner"))
    run = root.run("triage")
    assert (run["status"], run["revision"], run["source_blob"]) == ("succeeded", None, None)
    assert why in run["no_provenance"]
    assert run["dirty"] == ("untracked" if missing == "commits" else None)
    root.write("prompts/triage.md", "Sort twice.\n")
    root.run("triage")
    assert [(row[2], row[3]) for row in audit(root, "triage")] == [(None, None)] * len(audit(root, "triage"))
    assert "echo" not in root.ok("diff", "triage:1").stderr
    assert [each["runs"] for each in root.json("versions", "triage")["versions"]] == [1, 1]
    assert root.json("log", "triage")["total"] == 4
    assert root.json("run", "triage", "--task-of", "triage:1", "--wait")["run"]["result"] == "Sort the inbox.\n"


# -- log -----------------------------------------------------------------------------------------


@pytest.fixture
def changed(root: Root) -> Root:
    """Two runs, another text and definition, a run that failed, and another way to run it."""
    root.write("scripts/flaky.sh", "echo one two three\n")
    committed(root, "Succeed", author="Bob")
    root.sync()
    root.run("flaky")
    root.clock.advance(timedelta(minutes=1))
    root.run("flaky")
    root.write("scripts/flaky.sh", "echo one TWO three\nexit 3\n")
    committed(root, "Shout", author="Cy")
    root.edit("jobs/flaky.yaml", "@daily", "0 4 * * *")
    committed(root, "At four", author="Dee")
    root.sync()
    root.clock.advance(timedelta(minutes=1))
    assert root.cli("run", "flaky", "--wait").code == 1
    root.edit("scheduler.yaml", "sh, -eu", "sh, -e")
    committed(root, "Less strict")
    root.sync()
    root.clock.advance(timedelta(minutes=1))
    return root


def test_a_log_has_runs_and_changes_on_one_timeline_with_commit_and_author(changed: Root) -> None:
    found = changed.json("log", "flaky")
    told: list[Any] = []
    for entry in found["log"]:
        if entry["kind"] == "run":
            assert "result" not in entry["run"]
            told.append(
                (entry["run"]["id"], entry["text"]["commit"]["author"], entry["definition"]["commit"]["author"])
            )
        else:
            fields = [change["field"] or change["action"] for change in entry["changes"]]
            told.append((*fields, entry["commit"]["author"], entry["commit"]["subject"]))
    assert told == [
        ("runners.shell.command", "Ada", "Less strict"),
        ("flaky:3", "Cy", "Dee"),
        ("schedule", "Dee", "At four"),
        ("task_sha256", "Cy", "Shout"),
        ("flaky:2", "Bob", "A"),
        ("flaky:1", "Bob", "A"),
        ("create", "A", "x"),
        ("task_sha256", "Bob", "Succeed"),
    ]
    assert found["total"] == 8
    shown = changed.ok("log", "flaky", "-n", "2")
    assert shown.stderr == "the newest 2 of 8; -n shows more\n"
    header, root_row, run_row = shown.stdout.splitlines()
    assert header.split() == ["AT", "WHAT", "CHANGE", "COMMIT", "AUTHOR", "SUBJECT"]
    assert "runners.shell.command" in root_row
    assert "failed/exit_code" in run_row
    assert "Cy" in run_row
    assert [entry["at"] for entry in found["log"]] == sorted((entry["at"] for entry in found["log"]), reverse=True)


def test_what_was_in_force_at_an_instant_is_known_with_the_commits_that_had_brought_it(changed: Root) -> None:
    entries = {each["run"]["id"]: each for each in changed.json("log", "flaky")["log"] if each["kind"] == "run"}
    first, third = entries["flaky:1"], entries["flaky:3"]
    assert (first["run"]["generation"], third["run"]["generation"]) == (1, 2)
    assert first["definition"]["since"] < third["definition"]["since"]
    assert (first["text"]["commit"]["author"], third["text"]["commit"]["author"]) == ("Bob", "Cy")
    assert third["run"]["task_sha256"] == changed.runs("flaky")[0]["task_sha256"]
    with Store.open(changed.db) as store:
        assert Changes(store.read(read_audit, "flaky")).definition_at(datetime(2020, 1, 1, tzinfo=UTC)) is None


def test_a_text_that_was_committed_after_it_ran_has_its_author_then(root: Root) -> None:
    root.sync()
    root.write("prompts/triage.md", "Sort.\n")
    root.run("triage")
    assert root.json("log", "triage")["log"][0]["text"]["no_commit"] == "uncommitted"
    committed(root, "Sort", author="Eve")
    root.sync()
    entry = next(each for each in root.json("log", "triage")["log"] if each["kind"] == "run")
    assert entry["text"]["commit"]["author"] == "Eve"
    assert entry["run"]["dirty"] == "modified", "the run itself stays as it was"


# -- diff ----------------------------------------------------------------------------------------


def test_diff_of_a_job_says_what_has_changed_since_it_last_worked(changed: Root) -> None:
    found = changed.json("diff", "flaky")
    assert (found["before"]["run"], found["after"]["run"]) == ("flaky:2", None)
    assert list(found["definition"]) == ["schedule"]
    assert found["schedule_text"]["after"] == "at 04:00, every day, Europe/Berlin"
    assert list(found["runners"]) == ["runners.shell.command"]
    assert found["text_changed"] is True
    assert found["text_diff"] == (
        "--- flaky:2\n+++ now\n@@ -1 +1,2 @@\n-echo one two three\n+echo one TWO three\n+exit 3\n"
    )
    assert [entry["commit"]["subject"] for entry in found["changes"]] == ["At four", "Shout", "Less strict"]
    assert found["runs_between"] == {"failed": 1}
    shown = changed.ok("diff", "flaky").stdout
    assert shown.startswith("from flaky:2, succeeded, ")
    assert shown.endswith(found["text_diff"])
    assert "\ndefinition\n  schedule: " in shown
    assert "\n  runners.shell.command: " in shown


def test_two_runs_can_be_compared_either_way(changed: Root) -> None:
    there, back = changed.json("diff", "flaky:1", "flaky:3"), changed.json("diff", "flaky:3", "flaky:1")
    swapped = {name: {"before": each["after"], "after": each["before"]} for name, each in there["definition"].items()}
    assert back["definition"] == swapped
    assert "+echo one two three" in back["text_diff"]
    assert there["changes"] == back["changes"]
    assert (there["before"]["generation"], there["after"]["generation"]) == (1, 2)
    same = changed.ok("diff", "flaky:1", "flaky:2")
    assert same.stderr == "text and definition are the same\n"
    assert changed.json("diff", "flaky:1", "flaky:2")["text_diff"] == ""


def test_an_edit_that_nobody_has_synced_is_part_of_now(changed: Root) -> None:
    changed.edit("jobs/flaky.yaml", "0 4", "0 5")
    changed.write("scripts/flaky.sh", "echo now\n")
    found = changed.json("diff", "flaky:3")
    assert found["after"]["generation"] is None
    assert "0 5 * * *" in str(found["definition"]["schedule"]["after"])
    assert "+echo now" in found["text_diff"]


def test_a_text_that_is_not_to_be_had_is_told_and_the_definition_compared_all_the_same(changed: Root) -> None:
    changed.delete("scripts/flaky.sh")
    found = changed.cli("diff", "flaky")
    assert found.code == 0
    assert "now has no known text: " in found.stderr
    assert "[source_missing]" in found.stderr
    assert "schedule: " in found.stdout
    changed.cli("run", "flaky", "--wait")
    skipped = changed.json("diff", "flaky:2", "flaky:4")
    assert (skipped["text_changed"], skipped["text_diff"]) == (None, None)
    assert skipped["after"]["no_text"] == "the run has none: skipped, source_missing"


def test_a_job_that_has_never_succeeded_has_nothing_to_be_compared_with(lived_in: Root) -> None:
    found = lived_in.cli("diff", "flaky")
    assert found.code == 2
    assert "has never succeeded" in found.stderr
    assert "`scheduler diff flaky:1`" in found.stderr
    assert lived_in.cli("diff", "tick").code == 2
    assert lived_in.cli("diff", "flaky", "flaky:1").code == 2


def test_on_a_terminal_words_are_marked_and_no_text_or_subject_steers_it(root: Root) -> None:
    root.write("prompts/triage.md", "Sort the \x1b[31mwhole\x1b[0m inbox.\n")
    committed(root, "x")
    root.sync()
    root.run("triage")
    root.write("prompts/triage.md", "Sort the \x1b]0;mine\x07whole box.\n")
    committed(root, "\x1b]0;subject\x07", author="M\x1b[2J")
    root.sync()
    for args in (("diff", "triage"), ("log", "triage"), ("versions", "triage")):
        shown = at_terminal(root, *args)
        assert "\x1b]0;" not in shown
        assert "\x1b[2J" not in shown
    worded = at_terminal(root, "diff", "triage")
    assert (
        "Sort the \ufffd\x1b[31m[-[31mwhole\ufffd[0m inbox-]\x1b[0m\x1b[32m{+]0;mine\ufffdwhole box+}\x1b[0m." in worded
    )


# -- versions ------------------------------------------------------------------------------------


def test_versions_say_of_each_text_whose_it_is_and_how_its_runs_did(changed: Root) -> None:
    new, old = changed.json("versions", "flaky")["versions"]
    assert (new["commit"]["author"], new["runs"], new["success_rate"], new["current"]) == ("Cy", 1, 0.0, True)
    assert (old["commit"]["author"], old["runs"], old["success_rate"], old["current"]) == ("Bob", 2, 1.0, False)
    assert (old["first_run"], old["last_run"], old["statuses"]) == ("flaky:1", "flaky:2", {"succeeded": 2})
    assert old["first_fired_at"] < old["last_fired_at"] < new["first_fired_at"]
    assert old["cost_usd"] is None
    assert isinstance(old["median_duration_ms"], int)
    changed.write("scripts/flaky.sh", "echo next\n")
    next_one, *_ = changed.json("versions", "flaky")["versions"]
    assert (next_one["current"], next_one["runs"], next_one["success_rate"]) == (True, 0, None)
    shown = changed.ok("versions", "flaky", "-n", "1")
    assert shown.stderr == "the newest 1 of 2; -n shows more\n"
    assert "Cy" in shown.stdout


def test_a_history_from_before_commits_were_kept_is_looked_up_in_git(changed: Root) -> None:
    """A database of the version before, as far as its columns go."""
    with sqlite3.connect(changed.db, isolation_level=None) as sql:
        for trigger in ("audit_is_final", "audit_stays"):
            sql.execute(f"DROP TRIGGER {trigger}")
        sql.execute("UPDATE audit SET lookup = NULL, commit_id = NULL, no_commit = NULL")
        sql.execute("DELETE FROM audit WHERE action = 'task' AND before = 'null'")
    authors = [each["commit"]["author"] for each in changed.json("versions", "flaky")["versions"]]
    assert authors == ["Cy", "Bob"]
    assert [entry["kind"] for entry in changed.json("log", "flaky")["log"]].count("run") == 3
    assert changed.json("diff", "flaky")["text_changed"] is True


def test_a_database_of_the_version_before_is_brought_up_to_date_and_looked_back_on(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [each for each in schema.migrations() if not {"commits", "lookups"}.intersection(each[0].split("_"))]
    known = schema.migrations()
    (root.path / ".scheduler").mkdir()
    monkeypatch.setattr(schema, "migrations", lambda: before)
    schema.create_database(root.db)
    spec = '{"id": "old"}'
    with sqlite3.connect(root.db, isolation_level=None) as sql:
        assert "commit_id" not in str(sql.execute("SELECT sql FROM sqlite_master").fetchall())
        sql.execute("INSERT INTO texts VALUES ('a', 'b')")
        sql.execute(
            "INSERT INTO audit (at, job_id, action, before, after, actor, cause) VALUES"
            f" ('2026-01-01T00:00:00.000000Z', '@root', 'create', 'null', '{spec}', 'user:x', 'sync')"
        )
    monkeypatch.setattr(schema, "migrations", lambda: known)
    root.sync()
    rows = root.json("audit", "@root")["audit"]
    assert (rows[0]["commit"], rows[0]["no_commit"]) == (None, None)
    assert root.run("triage")["status"] == "succeeded"
    assert len(root.json("versions", "triage")["versions"]) == 1


def more_runs(root: Root, count: int) -> None:
    """As many runs of the first kind again."""
    with sqlite3.connect(root.db, isolation_level=None) as sql:
        columns = [f'"{row[1]}"' for row in sql.execute("PRAGMA table_info(runs)") if row[1] not in ("n", "fire_time")]
        names = ",".join(columns)
        sql.execute(
            f"WITH RECURSIVE k(i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM k WHERE i < {count + 3})"
            f" INSERT INTO runs (n, {names}) SELECT i, {names} FROM k, runs WHERE job_id = 'flaky' AND n = 1"
        )
        sql.execute(f"UPDATE jobs SET last_n = {count + 3} WHERE id = 'flaky'")


# -- an earlier text again -----------------------------------------------------------------------


def test_a_text_that_ran_runs_again_and_says_where_that_text_came_from(changed: Root) -> None:
    origin = changed.runs("flaky")[-1]
    found = changed.json("run", "flaky", "--task-of", "flaky:1", "--wait")["run"]
    assert (found["trigger"], found["task_of"], found["status"]) == ("rerun", "flaky:1", "succeeded")
    assert found["result"] == "one two three\n"
    same = ("task_sha256", "task_bytes", "source_path", "source_sha256", "source_blob", "revision", "dirty")
    assert {name: found[name] for name in same} == {name: origin[name] for name in same}
    assert found["generation"] == 2, "by today's definition"
    assert changed.ok("task", found["id"]).stdout == "echo one two three\n"
    assert changed.json("log", "flaky", "-n", "1")["log"][0]["text"]["commit"]["author"] == "Bob"


def test_a_rerun_needs_no_file_that_could_run_today(changed: Root) -> None:
    changed.write("scripts/flaky.sh", "<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n")
    assert changed.cli("run", "flaky", "--wait").code == 1
    assert changed.json("run", "flaky", "--task-of", "flaky:2", "--wait")["run"]["result"] == "one two three\n"
    assert (changed.path / "scripts/flaky.sh").read_text().startswith("<<<<<<<"), "no file is changed"


def test_a_rerun_gets_no_further_than_its_runner_lets_the_text_today(changed: Root) -> None:
    changed.edit("scheduler.yaml", 'tasks: ["scripts/**"]', 'tasks: ["other/**"]')
    refused = changed.cli("run", "flaky", "--task-of", "flaky:1", "--dry-run")
    assert refused.code == 3
    assert changed.cli("run", "flaky", "--task-of", "flaky:1", "--wait").code == 1
    assert changed.runs("flaky")[0]["status"] == "skipped"


def test_a_dry_run_shows_the_earlier_text_and_starts_nothing(changed: Root) -> None:
    found = changed.json("run", "flaky", "--task-of", "flaky:1", "--dry-run")
    assert found["task"] == "echo one two three\n"
    assert len(changed.runs("flaky")) == 3


def test_a_text_that_is_kept_no_longer_is_refused_with_the_reason(changed: Root) -> None:
    changed.write("scheduler.yaml", (changed.path / "scheduler.yaml").read_text() + "retention: {runs: 10}\n")
    changed.sync()
    more_runs(changed, 20)
    changed.ok("gc")
    for more in ((), ("--dry-run",)):
        found = changed.cli("run", "flaky", "--task-of", "flaky:1", *more)
        assert found.code == 3
        assert "flaky:1 and its text have been deleted" in found.stderr
        assert "retention.runs" in found.stderr
    assert len(changed.runs("flaky")) == 10


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("flaky:9", "has no run 9"),
        ("flaky:0", "has no run 0"),
        ("flaky:x", "is not a run"),
        ("flaky", "is not a run of 'flaky'"),
        ("heartbeat:1", "is not a run of 'flaky'"),
        ("flaky:4", "has no text"),
    ],
)
def test_what_is_no_run_with_a_text_is_refused_and_leaves_no_row(changed: Root, run: str, said: str) -> None:
    changed.delete("scripts/flaky.sh")
    changed.cli("run", "flaky", "--wait")
    for more in ((), ("--dry-run",)):
        found = changed.cli("run", "flaky", "--task-of", run, *more)
        assert found.code == 2
        assert said in found.stderr
    assert len(changed.runs("flaky")) == 4


def test_a_text_let_go_of_between_the_question_and_the_claim_leaves_no_row(changed: Root) -> None:
    now = changed.clock.now()
    with Store.open(changed.db) as store:
        store.write(gc.delete_runs, "flaky", [1])
        with pytest.raises(RefusedError, match="has been deleted"):
            claim_by_hand(store, "flaky", trigger=Trigger.RERUN, now=now, task_of=1)
    assert len(changed.runs("flaky")) == 2


def test_a_daemon_runs_an_earlier_text_too(changed: Root, serve: Callable[..., Served]) -> None:
    changed.edit("jobs/flaky.yaml", "0 4 * * *", "0 4 29 2 *")  # or from four on, the daemon catches that slot up
    serve()
    found = changed.json("run", "flaky", "--task-of", "flaky:1", "--wait")["run"]
    assert (found["trigger"], found["task_of"], found["result"]) == ("rerun", "flaky:1", "one two three\n")


# -- many runs -----------------------------------------------------------------------------------


def test_ten_thousand_runs_are_looked_back_on_at_once(changed: Root) -> None:
    more_runs(changed, 10_000)
    for args in (("log", "flaky"), ("diff", "flaky"), ("versions", "flaky")):
        started = time.process_time()
        changed.ok(*args)
        assert time.process_time() - started < 2, args
    assert changed.json("versions", "flaky")["versions"][0]["runs"] == 10_002


def test_a_length_of_time_that_changed_is_written_as_in_the_file(root: Root) -> None:
    root.sync()
    root.ok("run", "heartbeat", "--wait")
    root.edit("jobs/heartbeat.md", 'schedule: "0 * * * *"', 'schedule: "0 * * * *"\ntimeout: 2h')
    root.commit()
    root.sync()
    for asked in (("diff", "heartbeat"), ("log", "heartbeat")):
        shown = root.ok(*asked).stdout
        assert "-> 2h" in shown, asked
        assert "timeout_ms" not in shown, asked
