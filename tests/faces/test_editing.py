"""update, create, delete, mv and rollback on a real root in a real repository."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.group import Globals
from scheduler.cli.group import cli as commands
from scheduler.core.values.problems import UsageError
from scheduler.git import write as git_write
from scheduler.ledger import queries
from scheduler.ledger.store import Store
from scheduler.root import writing
from scheduler.service.edit import drafts, verbs
from tests.faces.conftest import HEARTBEAT, TRIAGE, Root, contents
from tests.faces.test_held import merge_half_way
from tests.helpers import Result, ended, until

WRITERS: list[tuple[str, ...]] = [
    ("update", "triage", "--set", "name=x"),
    ("create", "new", "--set", "schedule=@daily", "--set", "task=x"),
    ("delete", "triage"),
    ("mv", "triage", "jobs/other.yaml"),
    ("rollback", "triage", "--to", "commit:HEAD"),
]


def edit(root: Root, *args: str, text: str | bytes = "") -> Any:
    """The answer of a verb, with `text` on its standard input."""
    found = talk(root, *args, "--json", text=text)
    assert found.code == 0, found
    return found.json


def talk(root: Root, *args: str, text: str | bytes = "") -> Result:
    with pytest.MonkeyPatch.context() as patch:
        data = text.encode() if isinstance(text, str) else text
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return root.cli(*args)


def refused(root: Root, *args: str, code: int = 3, text: str = "") -> str:
    """What a verb says that changes nothing: no file, no ref, no index."""
    before, refs, index = contents(root.path), root.git("for-each-ref"), root.git("ls-files", "-s")
    found = talk(root, *args, text=text)
    assert found.code == code, found
    assert found.stdout == ""
    after = contents(root.path)
    for gone in (before, after):
        for path in [path for path in gone if path.startswith((".scheduler/", ".git/"))]:
            del gone[path]
    assert after == before
    assert root.git("for-each-ref") == refs
    assert root.git("ls-files", "-s") == index
    return found.stderr


# -- what is edited, and what stays --------------------------------------------------------------


def test_an_edit_keeps_id_counters_and_history_and_is_applied_now(lived_in: Root) -> None:
    before = lived_in.job("heartbeat")
    runs = lived_in.runs("heartbeat")
    found = edit(lived_in, "update", "heartbeat", "--set", "schedule=*/5 * * * *", "--set", "name=Often")
    assert (found["applied"], found["file"], found["commit"], found["branch"]) == (
        "now",
        "jobs/heartbeat.md",
        None,
        None,
    )
    assert found["job"] == lived_in.job("heartbeat")
    assert found["job"]["generation"] == before["generation"] + 1
    assert (found["job"]["run_count"], lived_in.runs("heartbeat")) == (before["run_count"], runs)
    expected = HEARTBEAT.replace('"0 * * * *"', '"*/5 * * * *"').replace("Hourly heartbeat", "Often")
    assert (lived_in.path / "jobs/heartbeat.md").read_text() == expected
    assert '-schedule: "0 * * * *"\n+schedule: "*/5 * * * *"\n' in found["diff"]


@pytest.mark.parametrize(
    ("job", "path", "before"),
    [
        ("heartbeat", "jobs/heartbeat.md", "You are woken once an hour.\n"),
        ("triage", "prompts/triage.md", "Sort the inbox.\n"),
        ("tick", "jobs/clock.yaml", "task: Tick.\n"),
    ],
)
def test_the_task_text_is_changed_wherever_it_stands(lived_in: Root, job: str, path: str, before: str) -> None:
    old = (lived_in.path / path).read_text()
    text = "First.\n\n  Second: é 🎉\n"
    found = edit(lived_in, "update", job, "--task-file", "-", text=text)
    after = {"tick": "task: |\n  First.\n\n    Second: é 🎉\n"}.get(job, text)
    assert (lived_in.path / path).read_text() == old.replace(before, after)
    assert found["file"] == path
    assert lived_in.run(job)["status"] == "succeeded"
    assert lived_in.ok("task", lived_in.runs(job)[0]["id"]).stdout == text


def test_a_task_file_gets_the_bytes_that_were_given_and_a_body_the_line_ends_of_its_file(lived_in: Root) -> None:
    lived_in.write("prompts/triage.md", "Sort\r\nthe inbox.\r\n")
    edit(lived_in, "update", "triage", "--task-file", "-", text="Sort\nit.\n")
    assert (lived_in.path / "prompts/triage.md").read_bytes() == b"Sort\nit.\n"
    lived_in.write("jobs/heartbeat.md", b"\xef\xbb\xbf" + HEARTBEAT.replace("\n", "\r\n").encode())
    edit(lived_in, "update", "heartbeat", "--task-file", "-", text="One.\nTwo.\n")
    data = (lived_in.path / "jobs/heartbeat.md").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf---\r\n")
    assert data.endswith(b"---\r\nOne.\r\nTwo.\r\n")


def test_a_task_and_its_path_are_changed_together(lived_in: Root) -> None:
    edit(
        lived_in,
        "update",
        "triage",
        "--set",
        "task_source_path=prompts/new/triage.md",
        "--task-file",
        "-",
        text="New.\n",
    )
    assert (lived_in.path / "prompts/new/triage.md").read_text() == "New.\n"
    assert (lived_in.path / "prompts/triage.md").read_text() == "Sort the inbox.\n"
    assert lived_in.job("triage")["task_source_path"] == "prompts/new/triage.md"


def test_only_the_document_of_the_job_is_touched(lived_in: Root) -> None:
    before = (lived_in.path / "jobs/clock.yaml").read_text()
    edit(lived_in, "update", "new-year", "--set", "enabled=false")
    edit(lived_in, "update", "retired", "--unset", "enabled")
    after = before.replace("id: new-year\n", "id: new-year\nenabled: false\n")
    assert (lived_in.path / "jobs/clock.yaml").read_text() == after.replace(
        "id: retired\nenabled: false\n", "id: retired\n"
    )


def test_an_edit_that_says_what_the_file_says_writes_nothing(lived_in: Root) -> None:
    before = (lived_in.path / "jobs/triage.yaml").stat().st_ino
    found = edit(lived_in, "update", "triage", "--set", "tags=[agent]", "--commit")
    assert (found["diff"], found["commit"], found["files"]) == ("", None, [])
    assert (lived_in.path / "jobs/triage.yaml").stat().st_ino == before


@pytest.mark.parametrize(
    "value", ["on", "*/5", "a: b", "🎉", "'trailing  '", '"two\\nlines"', "1:30", "null and void", "#"]
)
def test_values_that_need_quotes_get_them(lived_in: Root, value: str) -> None:
    meant = {"'trailing  '": "trailing  ", '"two\\nlines"': "two\nlines"}.get(value, value)
    found = edit(lived_in, "update", "triage", "--set", f"description={value}")
    assert found["job"]["description"] == meant


def test_positions_in_a_list_are_those_of_the_file_as_it_was(lived_in: Root) -> None:
    edit(lived_in, "update", "triage", "--set", "tags=[a, b, c, d]")
    found = edit(lived_in, "update", "triage", "--unset", "tags.0", "--unset", "tags.2", "--set", "tags.3=D")
    assert found["job"]["tags"] == ["b", "D"]


def test_mode_owner_and_link_stay(lived_in: Root) -> None:
    real = lived_in.path / "jobs/real.yaml"
    (lived_in.path / "jobs/triage.yaml").rename(real)
    (lived_in.path / "jobs/triage.yaml").symlink_to("real.yaml")
    real.chmod(0o640)
    if os.getuid() == 0:
        os.chown(real, 12, 34)
    before = real.stat()
    edit(lived_in, "update", "triage", "--set", "owner=me")
    after = real.stat()
    assert (lived_in.path / "jobs/triage.yaml").is_symlink()
    assert "owner: me" in real.read_text()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert not [path for path in real.parent.iterdir() if path.name.startswith(".")], "nothing is left beside it"


def test_on_a_root_never_synced_an_edit_waits_for_the_first_sync(root: Root) -> None:
    found = edit(root, "update", "triage", "--set", "owner=me")
    assert (found["applied"], found["job"], found["job_id"]) == ("next_sync", None, "triage")
    assert "never been synced" in found["why"]
    assert not root.db.exists()
    assert root.sync()["created"]
    assert root.job("triage")["owner"] == "me"


def test_while_syncs_are_held_an_edit_waits_and_says_why(lived_in: Root) -> None:
    merge_half_way(lived_in)
    found = edit(lived_in, "update", "flaky", "--set", "owner=me")
    assert found["applied"] == "next_sync"
    assert "a merge is in progress" in found["why"]
    assert lived_in.job("flaky")["owner"] is None
    assert lived_in.ok("update", "flaky", "--set", "owner=you").stderr.startswith(
        "flaky: not applied yet: sync is held: a merge"
    )


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["update", "triage"], 2, "no change was given"),
        (["update", "triage", "--set", "name="], 2, "--unset name"),
        (["update", "triage", "--set", "name"], 2, "there is no ="),
        (["update", "triage", "--set", "=x"], 2, "there is no key before"),
        (["update", "triage", "--set", "name=[x"], 2, "is not valid YAML"),
        (["update", "triage", "--set", "name=x", "--set", "name=y"], 2, "given twice"),
        (["update", "triage", "--set", "name=x", "--unset", "name"], 2, "name is changed twice"),
        (["update", "triage", "--set", "schedule=@daily", "--set", "schedule.cron=@daily"], 2, "are both changed"),
        (["update", "triage", "--set", "id=other"], 2, "the id cannot be changed"),
        (["update", "triage", "--unset", "id"], 2, "the id cannot be changed"),
        (["update", "triage", "--set", "shedule=x"], 2, "did you mean 'schedule'?"),
        (["update", "triage", "--set", "schedule.cron=61 * * * *"], 2, "minute 61"),
        (["update", "triage", "--set", "timeout=5"], 2, "has no unit"),
        (["update", "triage", "--set", "catch_up.polcy=none"], 2, "did you mean 'policy'?"),
        (["update", "triage", "--set", "a..b=x"], 2, "is not a key"),
        (["update", "triage", "--unset", "owner"], 2, "owner is not in jobs/triage.yaml"),
        (["update", "triage", "--unset", "timeout"], 2, "set it to null to do without it"),
        (["update", "triage", "--unset", "schedule.cron.x"], 2, "it cannot contain schedule.cron.x"),
        (["update", "triage", "--unset", "schedule"], 2, "key 'schedule' is missing"),
        (["update", "triage", "--set", "task=x"], 2, "--task-file"),
        (["update", "heartbeat", "--set", "task=x"], 2, "--task-file"),
        (["update", "triage", "--set", "task_source_path=prompts/no.md"], 2, "does not exist"),
        (["update", "triage", "--set", "task_source_path=../x"], 2, ".. component"),
        (["update", "triage", "--set", "runner=nobody"], 2, "is not declared"),
        (["update", "traige", "--set", "name=x"], 2, "did you mean 'triage'?"),
        (["update", "tri", "--set", "name=x"], 2, "no file defines the job 'tri'"),
        (["update", "triage", "--set", "name=x", "-m", "y"], 2, "a commit message needs a commit"),
        (["update", "triage", "--set", "name=x", "--commit", "--branch", "b"], 2, "not both"),
        (["update", "triage", "--set", "name=x", "--commit", "-m", " "], 2, "blank"),
        (["update", "triage", "--task-file", "no-such-file"], 5, "cannot read --task-file no-such-file"),
        (["update", "triage", "--task-file", "-"], 2, "empty"),
        (["update", "triage", "--if-version", "1-0", "--set", "name=x"], 3, "is at version 1-"),
        (["create", "triage", "--set", "schedule=@daily"], 3, "the job 'triage' already exists in jobs/triage.yaml:1"),
        (["create", "new", "--set", "schedule=@daily", "--set", "schedule.timezone=UTC"], 2, "are both changed"),
        (["create", "new", "--set", "a..b=x"], 2, "is not a key"),
        (["create", "new", "--set", "task=x", "--set", "id=y"], 2, "the id is the new job's name"),
        (["create", "new", "--set", "task=x", "--task-file", "scheduler.yaml"], 2, "given twice"),
        (["create", "../up", "--set", "task=x"], 2, ""),
        (["create", "Bad Id", "--set", "schedule=@daily", "--set", "task=x"], 2, ""),
        (["create", "new", "--set", "task=x"], 2, "key 'schedule' is missing"),
        (["create", "new", "--set", "schedule=@daily"], 2, "the job has no task"),
        (["create", "new", "--set", "schedule=@daily", "--set", "task=x", "--file", "jobs/triage.yaml"], 3, "exists"),
        (["create", "new", "--set", "schedule=@daily", "--set", "task=x", "--file", "elsewhere/n.yaml"], 2, "`jobs`"),
        (["create", "new", "--set", "schedule=@daily", "--set", "task=x", "--file", "../n.yaml"], 2, ".. component"),
        (["create", "new", "--set", "schedule=@daily", "--set", "task=x", "--file", "jobs/n.txt"], 2, "not be a job"),
        (["mv", "triage", "jobs/heartbeat.md"], 3, "one is YAML, the other Markdown"),
        (["mv", "triage", "jobs/triage.yaml"], 2, "already"),
        (["mv", "heartbeat", "elsewhere/h.md"], 2, "would not be a job file"),
        (["delete", "nobody"], 2, "no file defines"),
        (["rollback", "triage", "--to", "triage:9"], 2, "is not a run of 'triage'"),
        (["rollback", "triage", "--to", "heartbeat:1"], 2, "is not a run of 'triage'"),
        (["rollback", "heartbeat", "--to", "text:0000"], 2, "matches 0 texts"),
        (["rollback", "heartbeat", "--to", "text:0"], 2, "too short"),
        (["rollback", "triage", "--to", "commit:nope"], 3, "is not a commit"),
        (["rollback", "triage", "--to", "commit:--output=x"], 3, "is not a commit"),
        (["update", "triage", "--set", "name=x", "--branch", "main"], 3, "is checked out in"),
        (["update", "triage", "--set", "name=x", "--branch", "a b"], 3, "is not a valid branch name"),
        (["update", "triage", "--set", "name=x", "--branch", "-x"], 3, "is not a valid branch name"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_or_is_not_safe_is_refused_and_nothing_is_touched(
    lived_in: Root, args: list[str], code: int, said: str
) -> None:
    assert said in refused(lived_in, *args, code=code)


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"x": found}
    return found


@pytest.mark.parametrize(
    ("changes", "unset", "said"),
    [
        ({f"k{n}": n for n in range(4_000)}, [], "4,000 keys are given; one edit changes at most 100"),
        ({f"env.K{n}": "x" for n in range(101)}, [], "101 keys are given; one edit changes at most 100"),
        ({}, [f"env.K{n}" for n in range(4_000)], "4,000 keys are given; one edit changes at most 100"),
        ({"env": {f"K{n}": "x" for n in range(1_000)}}, [], "more than 1,000 values"),
        ({"tags": ["x"] * 1_001}, [], "more than 1,000 values"),
        ({"description": "x" * 2_000_000}, [], "more than 1,048,576 characters"),
        ({"env": nested(2_000)}, [], "levels of values"),
        ({"retry": {f"k{n}": n for n in range(400)}}, [], "unknown key 'k0' [key.unknown]"),
        ({"retry.attemps": 3}, [], "unknown key 'attemps' [key.unknown]"),
        ({"schedule.0.crom": "@daily"}, [], "unknown key 'crom' [key.unknown]"),
        ({"channel": "x"}, [], "unknown key 'channel' [key.unknown]"),
        ({"env" + ".x" * 400: "x"}, [], "is not a key"),
        ({"tags." + "9" * 5_000: "x"}, [], "is not a key"),
        ({}, ["owner", "owner"], "owner is changed twice"),
        ({"retry.attempts": 3}, ["retry"], "retry and retry.attempts"),
    ],
)
def test_too_much_or_unknown_is_refused_before_other_edits_have_to_wait(
    lived_in: Root, changes: dict[str, Any], unset: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Globals().find_root()
    monkeypatch.setattr(writing, "alone", None)  # the lock is never asked for
    with pytest.raises(UsageError) as told:
        verbs.update_job(root, "triage", changes=changes, unset=unset)
    assert said in str(told.value)
    if not unset:
        with pytest.raises(UsageError):
            verbs.create_job(root, "new", changes={**changes})


@pytest.mark.parametrize("change", ["env={A: x, B: y}", "retry={attempts: 3, delay: 1m}", "tags=[a, b, c]"])
def test_an_edit_that_takes_too_long_gives_up_with_nothing_written(
    lived_in: Root, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "WORK_S", 0)
    told = refused(lived_in, "update", "triage", "--set", change, "--set", "name=x", code=5)
    assert "the edit took too long, and other edits are waiting; nothing was written" in told
    assert verbs.WORK_S < writing.LOCK_S


@pytest.mark.parametrize("args", WRITERS, ids=lambda args: args[0])
def test_inside_a_run_no_verb_writes(lived_in: Root, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULER_RUN_ID", "heartbeat:7")
    assert "this is inside run heartbeat:7" in refused(lived_in, *args)


AGENTS = "agents: {jobs: [triage], edits: working-tree}\n"


@pytest.mark.parametrize("place", [".", "jobs"])
def test_an_edit_inside_a_run_goes_to_the_root_that_it_stands_in(
    lived_in: Root, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived_in.write("scheduler.yaml", (lived_in.path / "scheduler.yaml").read_text() + AGENTS)
    lived_in.commit()
    lived_in.sync()
    lived_in.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "wtree"))
    monkeypatch.setenv("SCHEDULER_RUN_ID", "triage:1")
    monkeypatch.setenv("SCHEDULER_ROOT", str(lived_in.path))
    monkeypatch.setenv("SCHEDULER_DB", str(lived_in.db))
    monkeypatch.chdir(tmp_path / "wtree" / place)
    found = edit(lived_in, "update", "triage", "--set", "name=There")
    assert found["root"] == str(tmp_path / "wtree")
    assert "name: There" in (tmp_path / "wtree/jobs/triage.yaml").read_text()
    assert lived_in.git("status", "--porcelain") == ""
    assert f"(root {tmp_path / 'wtree'})" in lived_in.ok("update", "triage", "--set", "name=Again").stderr
    own = edit(lived_in, "update", "triage", "--set", "name=Here", "--root", str(lived_in.path))
    assert (own["root"], own["applied"]) == (str(lived_in.path), "now")


@pytest.mark.parametrize("where", ["root", "jobs", "outside", "current"])
def test_an_edit_inside_a_run_that_has_not_left_its_root_goes_there(
    lived_in: Root, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived_in.write("scheduler.yaml", (lived_in.path / "scheduler.yaml").read_text() + AGENTS)
    lived_in.sync()
    (tmp_path / "current").symlink_to(lived_in.path)
    folders = {"root": lived_in.path, "jobs": lived_in.path / "jobs", "outside": tmp_path, "current": lived_in.path}
    monkeypatch.setenv("SCHEDULER_RUN_ID", "triage:1")
    monkeypatch.setenv("SCHEDULER_ROOT", str(tmp_path / "current" if where == "current" else lived_in.path))
    monkeypatch.chdir(folders[where])
    assert edit(lived_in, "update", "triage", "--set", "name=Here")["root"] == str(lived_in.path)
    assert "name: Here" in (lived_in.path / "jobs/triage.yaml").read_text()


def test_outside_a_run_the_environment_names_the_root(
    lived_in: Root, committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(committed, tmp_path / "other")
    monkeypatch.setenv("SCHEDULER_ROOT", str(lived_in.path))
    monkeypatch.chdir(tmp_path / "other")
    assert edit(lived_in, "update", "triage", "--set", "name=Here")["root"] == str(lived_in.path)
    monkeypatch.setenv("SCHEDULER_RUN_ID", "triage:1")
    told = lived_in.cli("update", "triage", "--set", "name=Here")
    assert (told.code, "agents" in told.stderr) == (3, True), "the policy is that of the root that would be edited"


def test_a_flow_map_over_lines_and_folded_text_are_refused_with_their_line(lived_in: Root) -> None:
    lived_in.write("jobs/triage.yaml", TRIAGE + "env: {\n  MODE: calm\n}\ndescription: >\n  folded\n")
    lived_in.sync()
    assert "jobs/triage.yaml:5: env is written in { } over several lines" in refused(
        lived_in, "update", "triage", "--set", "env.MODE=x"
    )
    assert "jobs/triage.yaml:8: description is folded text" in refused(
        lived_in, "update", "triage", "--set", "description=x"
    )


def test_a_job_that_two_files_name_or_that_cannot_be_read_is_not_edited(lived_in: Root) -> None:
    lived_in.write("jobs/second.yaml", TRIAGE)
    assert "the job 'triage' is defined more than once" in refused(lived_in, "update", "triage", "--set", "name=x")
    lived_in.delete("jobs/second.yaml")
    lived_in.write("jobs/triage.yaml", "id: triage\n  bad: [\n")
    found = refused(lived_in, "update", "triage", "--set", "name=x", code=2)
    assert "it may be in jobs/triage.yaml, which cannot be read: line 2" in found


def test_the_text_of_another_job_or_of_the_settings_is_not_written_through_a_job(lived_in: Root) -> None:
    lived_in.write("jobs/triage.yaml", TRIAGE.replace("prompts/triage.md", "scheduler.yaml"))
    assert "scheduler.yaml is a settings or job file" in refused(
        lived_in, "update", "triage", "--task-file", "-", text="version: 1\n"
    )


def test_a_link_does_not_lead_an_edit_or_a_deletion_to_what_is_no_task(lived_in: Root) -> None:
    lived_in.delete("prompts/triage.md")
    (lived_in.path / "prompts/triage.md").symlink_to("../scheduler.yaml")
    assert "scheduler.yaml is a settings or job file" in refused(
        lived_in, "update", "triage", "--task-file", "-", text="version: 1\n"
    )
    assert "is a link to scheduler.yaml" in refused(lived_in, "delete", "triage", "--with-task")
    lived_in.write("jobs/triage.yaml", TRIAGE.replace("prompts/triage.md", "scheduler.yaml"))
    assert "cannot be edited as a task" in refused(lived_in, "delete", "triage", "--with-task")
    (lived_in.path / "jobs/link.yaml").symlink_to("clock.yaml")
    assert "is already there" in refused(lived_in, "mv", "tick", "jobs/link.yaml", code=2)


def test_a_job_that_only_a_link_brings_among_the_jobs_is_edited_but_not_taken_away(lived_in: Root) -> None:
    lived_in.move("jobs/triage.yaml", "elsewhere/triage.yaml")
    (lived_in.path / "jobs/triage.yaml").symlink_to("../elsewhere/triage.yaml")
    edit(lived_in, "update", "triage", "--set", "owner=me")
    assert "owner: me" in (lived_in.path / "elsewhere/triage.yaml").read_text()
    for args in (["delete", "triage"], ["mv", "triage", "jobs/other.yaml"]):
        assert "is reached only through a link" in refused(lived_in, *args)


def test_a_version_is_stale_as_soon_as_the_file_differs_synced_or_not(lived_in: Root) -> None:
    version = lived_in.job("triage")["version"]
    lived_in.edit("jobs/triage.yaml", "[agent]", "[human]")
    said = refused(lived_in, "update", "triage", "--set", "owner=me", "--if-version", version)
    assert f"is at version 2-{version[2:]} now" in said
    lived_in.sync()
    now = lived_in.job("triage")["version"]
    assert edit(lived_in, "update", "triage", "--set", "owner=me", "--if-version", now)["applied"] == "now"
    lived_in.write("prompts/triage.md", "Other.\n")
    assert "is at version" in refused(lived_in, "update", "triage", "--set", "owner=x", "--if-version", "3" + now[1:])


@pytest.mark.parametrize("moment", ["before the look", "after the look"])
def test_a_file_that_somebody_saves_between_read_and_write_keeps_what_they_wrote(
    lived_in: Root, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path, theirs = lived_in.path / "jobs/triage.yaml", TRIAGE + "owner: them\n"
    name = "check_writable" if moment == "before the look" else "_dress"
    real: Callable[..., None] = getattr(writing, name)

    def meanwhile(*args: Any) -> None:
        real(*args)
        lived_in.write("jobs/triage.yaml", theirs)

    monkeypatch.setattr(writing, name, meanwhile)
    found = lived_in.cli("update", "triage", "--set", "owner=me")
    assert (found.code, found.stdout) == (3, "")
    assert "someone else has just changed jobs/triage.yaml" in found.stderr
    assert path.read_text() == theirs
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "clock.yaml",
        "flaky.yaml",
        "heartbeat.md",
        "triage.yaml",
    ]


def test_a_read_only_file_and_one_with_two_names_stay(lived_in: Root) -> None:
    path = lived_in.path / "jobs/triage.yaml"
    path.chmod(0o444)
    assert "chmod u+w" in refused(lived_in, "update", "triage", "--set", "owner=me")
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    path.chmod(0o644)
    os.link(path, lived_in.path / "copy.yaml")
    assert "has 2 names" in refused(lived_in, "update", "triage", "--set", "owner=me")


def test_a_read_only_root_is_edited_on_a_branch_alone(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert "(--branch)" in refused(lived_in, "update", "triage", "--set", "owner=me")
    assert edit(lived_in, "update", "triage", "--set", "owner=me", "--branch", "b")["applied"] == "pending_branch"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file another user's and then be that other")
def test_a_file_of_another_owner_stays(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    theirs = tmp_path / "a.yaml"
    theirs.write_bytes(b"old")
    theirs.chmod(0o666)
    code = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom scheduler.root import writing\n"
        f"here = os.open({str(tmp_path)!r}, os.O_RDONLY)\nos.fchdir(here)\nos.setegid(65534)\nos.seteuid(65534)\n"
        "try:\n    writing.replace(Path('.'), 'a.yaml', b'old', b'new')\n"
        "except writing.RefusedError as error:\n    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "belongs to user 0 and group 0" in found.stdout
    assert (theirs.read_bytes(), [path.name for path in tmp_path.glob("*a.yaml*")]) == (b"old", ["a.yaml"])


def test_what_cannot_be_written_whole_is_not_written_at_all(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    real = writing.create

    def full(root: Path, path: str, data: bytes, **more: Any) -> None:
        if path.endswith(".yaml"):
            raise OSError(28, "No space left on device")
        real(root, path, data, **more)

    monkeypatch.setattr(writing, "create", full)
    new = ("create", "new", "--set", "schedule=@daily", "--set", "task_source_path=prompts/new.md", "--task-file", "-")
    assert "No space left" in refused(lived_in, *new, code=5, text="x\n")
    assert not (lived_in.path / "prompts/new.md").exists(), "the prompt went with its job"


# -- create, delete, mv, rollback ----------------------------------------------------------------


def test_create_writes_yaml_markdown_and_a_prompt(lived_in: Root) -> None:
    found = edit(lived_in, "create", "one", "--set", "schedule=0 3 * * *", "--set", "task=Do it: now")
    assert (found["file"], found["applied"], found["job"]["id"]) == ("jobs/one.yaml", "now", "one")
    assert (lived_in.path / "jobs/one.yaml").read_text() == 'id: one\nschedule: "0 3 * * *"\ntask: "Do it: now"\n'
    edit(
        lived_in, "create", "two", "--set", "schedule.every=5m", "--set", "name=Two", "--task-file", "-", text="A\nB\n"
    )
    assert (lived_in.path / "jobs/two.md").read_text() == "---\nid: two\nname: Two\nschedule: {every: 5m}\n---\nA\nB\n"
    path = ["--set", "task_source_path=prompts/deep/three.md", "--file", "jobs/deep/three.yml"]
    edit(lived_in, "create", "three", "--set", "schedule=@daily", *path, "--task-file", "-", text="C\n")
    assert (lived_in.path / "prompts/deep/three.md").read_text() == "C\n"
    assert lived_in.job("three")["source_path"] == "jobs/deep/three.yml"
    again = ("create", "four", "--set", "schedule=@daily", "--set", "task_source_path=prompts/triage.md")
    assert "already exists; nothing was written" in refused(lived_in, *again, "--task-file", "-", text="x\n")
    assert edit(lived_in, *again)["applied"] == "now", "a prompt that is there may be named"


def test_a_deleted_job_is_archived_and_comes_back_with_its_history(lived_in: Root) -> None:
    runs = lived_in.runs("heartbeat")
    found = lived_in.ok("delete", "heartbeat")
    assert "archived; its history is kept" in found.stderr
    assert not (lived_in.path / "jobs/heartbeat.md").exists()
    assert lived_in.job("heartbeat")["status"] == "archived"
    back = talk(lived_in, "create", "heartbeat", "--set", "schedule=@daily", "--task-file", "-", text="Again.\n")
    assert "gets its history back" in back.stderr
    assert lived_in.job("heartbeat")["status"] == "active"
    assert lived_in.runs("heartbeat") == runs
    assert runs


def test_a_deleted_document_leaves_the_others_and_its_prompt_goes_only_when_asked(lived_in: Root) -> None:
    before = (lived_in.path / "jobs/clock.yaml").read_text()
    edit(lived_in, "delete", "new-year")
    start, end = before.index("---\nid: new-year"), before.index("---\nid: retired")
    assert (lived_in.path / "jobs/clock.yaml").read_text() == before[:start] + before[end:]
    assert "prompts/triage.md was kept (--with-task also deletes it)" in lived_in.ok("delete", "triage").stderr
    assert (lived_in.path / "prompts/triage.md").exists()
    edit(lived_in, "delete", "flaky", "--with-task")
    assert not (lived_in.path / "scripts/flaky.sh").exists()


def test_a_prompt_that_another_job_runs_is_not_deleted_and_an_edit_of_it_says_so(lived_in: Root) -> None:
    lived_in.write("jobs/second.yaml", TRIAGE.replace("id: triage", "id: second"))
    assert "is also the task of second" in refused(lived_in, "delete", "triage", "--with-task")
    found = talk(lived_in, "update", "triage", "--task-file", "-", text="x\n")
    assert "prompts/triage.md is also the task of second" in found.stderr


def test_the_guard_holds_the_last_job_back_and_says_how_to_go_on(lived_in: Root) -> None:
    lived_in.delete("jobs/clock.yaml", "jobs/flaky.yaml", "jobs/heartbeat.md")
    assert lived_in.cli("sync").code in (0, 3)
    found = lived_in.cli("delete", "triage", "--json")
    assert found.code == 3
    assert found.json["applied"] == "next_sync"
    token = found.json["guard"]["token"]
    assert f"sync --confirm-prune {token}" in found.json["why"]
    lived_in.ok("sync", "--confirm-prune", token)
    assert lived_in.job("triage")["status"] == "archived"


def test_a_moved_job_keeps_everything_but_its_place(lived_in: Root) -> None:
    before = lived_in.job("heartbeat")
    (lived_in.path / "jobs/heartbeat.md").chmod(0o600)
    found = edit(lived_in, "mv", "heartbeat", "jobs/deep/")
    assert found["file"] == "jobs/deep/heartbeat.md"
    assert (lived_in.path / "jobs/deep/heartbeat.md").read_text() == HEARTBEAT
    assert stat.S_IMODE((lived_in.path / "jobs/deep/heartbeat.md").stat().st_mode) == 0o600
    after = lived_in.job("heartbeat")
    assert {key for key in after if after[key] != before[key]} <= {"source_path", "dirty", "updated_at"}
    edit(lived_in, "mv", "tick", "jobs/triage.yaml")
    assert (
        lived_in.path / "jobs/triage.yaml"
    ).read_text() == f"{TRIAGE}---\nid: tick\nschedule: {{every: 10s}}\ntask: Tick.\n"
    assert (lived_in.path / "jobs/clock.yaml").read_text().startswith("---\nid: new-year\n")
    assert lived_in.job("tick")["source_path"] == "jobs/triage.yaml"


def test_rollback_to_a_run_or_a_text_puts_its_text_back_and_leaves_the_definition(lived_in: Root) -> None:
    first = lived_in.runs("heartbeat")[0]
    edit(lived_in, "update", "heartbeat", "--set", "name=New", "--task-file", "-", text="New.\n")
    lived_in.run("heartbeat")
    found = edit(lived_in, "rollback", "heartbeat", "--to", "heartbeat:1")
    assert found["job"]["task_sha256"] == first["task_sha256"]
    assert found["job"]["name"] == "New"
    edit(lived_in, "rollback", "heartbeat", "--to", "2")
    assert (lived_in.path / "jobs/heartbeat.md").read_text().endswith("---\nNew.\n")
    edit(lived_in, "rollback", "heartbeat", "--to", f"text:{first['task_sha256'][:8]}")
    assert (lived_in.path / "jobs/heartbeat.md").read_text().endswith("---\nYou are woken once an hour.\n")


def test_rollback_to_a_commit_puts_the_job_back_as_it_was_then(lived_in: Root) -> None:
    then = lived_in.git("rev-parse", "HEAD")
    edit(lived_in, "update", "triage", "--set", "name=New", "--task-file", "-", "--commit", text="New.\n")
    edit(lived_in, "update", "new-year", "--set", "task=Cheers", "--set", "owner=me", "--commit")
    found = edit(lived_in, "rollback", "triage", "--to", f"commit:{then}", "--commit")
    assert set(found["files"]) == {"jobs/triage.yaml", "prompts/triage.md"}
    assert (lived_in.path / "jobs/triage.yaml").read_text() == TRIAGE
    edit(lived_in, "rollback", "new-year", "--to", f"commit:{then[:8]}", "--commit")
    assert lived_in.git("diff", then, "HEAD") == ""
    assert lived_in.git("log", "-1", "--format=%s") == f"Roll new-year back to commit:{then[:8]}"


# -- commits -------------------------------------------------------------------------------------


def stage_other(root: Root) -> str:
    """Something that somebody else has staged, and changed on."""
    root.write("scripts/flaky.sh", "echo staged\n")
    root.git("add", "scripts/flaky.sh")
    root.write("scripts/flaky.sh", "echo further\n")
    return root.git("diff", "--cached")


@pytest.mark.parametrize("args", WRITERS[:4], ids=lambda args: args[0])
def test_a_commit_holds_the_edit_alone_and_leaves_what_is_staged(lived_in: Root, args: tuple[str, ...]) -> None:
    staged, before = stage_other(lived_in), lived_in.git("rev-parse", "HEAD")
    found = edit(lived_in, *args, "--commit", "-m", "Because")
    assert found["commit"] == lived_in.git("rev-parse", "HEAD") != before
    assert lived_in.git("log", "-1", "--format=%P %s") == f"{before} Because"
    assert lived_in.git("show", "--format=", "--name-only", "--no-renames").split() == sorted(found["files"])
    assert lived_in.git("diff", "--cached") == staged
    assert (lived_in.path / "scripts/flaky.sh").read_text() == "echo further\n"
    assert lived_in.git("status", "--porcelain") == "MM scripts/flaky.sh"
    if found["job"]["status"] != "archived":
        assert (found["job"]["revision"], found["job"]["dirty"]) == (found["commit"], None)


@pytest.mark.parametrize("where", [["--commit"], ["--branch", "b"]], ids=lambda where: where[0])
def test_a_message_that_no_argument_has_room_for_is_committed_whole(lived_in: Root, where: list[str]) -> None:
    root, message = Globals().find_root(), f"Why\n\n{'é' * 100_000}"
    target = drafts.Target(commit=where == ["--commit"], branch=None if where == ["--commit"] else "b", message=message)
    found = verbs.update_job(root, "triage", changes={"name": "x"}, target=target)
    assert lived_in.git("log", "-1", "--format=%B", str(found["commit"])) == message
    for wrong, said in (("x" * 300_000, "the limit is 262,144"), ("a\ud800", "lone surrogate")):
        with pytest.raises(UsageError, match=said):
            verbs.update_job(root, "triage", changes={"name": "y"}, target=drafts.Target(branch="b", message=wrong))


def test_a_file_that_differs_from_head_is_not_committed(lived_in: Root) -> None:
    lived_in.edit("jobs/triage.yaml", "[agent]", "[human]")
    update = ("update", "triage", "--set", "owner=me", "--commit")
    assert "jobs/triage.yaml already differs from HEAD" in refused(lived_in, *update)
    lived_in.git("add", "-A")
    assert "already differs from HEAD" in refused(lived_in, *update)
    lived_in.write("jobs/new.yaml", TRIAGE.replace("id: triage", "id: new"))
    assert "is not in HEAD yet" in refused(lived_in, "update", "new", "--set", "owner=me", "--commit")
    lived_in.write(".git/info/exclude", "jobs/new.yaml\njobs/other.yaml\n")
    assert "is ignored by git" in refused(lived_in, "update", "new", "--set", "owner=me", "--commit")
    other = ("create", "other", "--set", "schedule=@daily", "--set", "task=x", "--commit")
    assert "would be ignored by git" in refused(lived_in, *other)
    lived_in.git("update-index", "--assume-unchanged", "jobs/flaky.yaml")
    assert "git is set to ignore changes to" in refused(lived_in, "update", "flaky", "--set", "owner=me", "--commit")


def hook(root: Root, name: str, script: str) -> None:
    path = root.path / ".git/hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("args", WRITERS[:4], ids=lambda args: args[0])
def test_a_hook_that_says_no_takes_the_edit_back(lived_in: Root, args: tuple[str, ...]) -> None:
    stage_other(lived_in)
    hook(lived_in, "pre-commit", "echo no prompts on Fridays >&2; exit 1")
    assert "no prompts on Fridays" in refused(lived_in, *args, "--commit")


ANOTHER_COMMIT = "git update-ref HEAD $(git commit-tree -p HEAD -m other HEAD^{tree})"
TIDIES = {
    "spaces": r"sed -i 's/{\(.*\)}/{ \1 }/' jobs/triage.yaml",
    "quotes": 'sed -i "s/\'/\\"/g" jobs/triage.yaml',
    "line ends": r"sed -i 's/$/\r/' jobs/triage.yaml",
    "another file in its place": "cat jobs/triage.yaml > x; echo '# tidy' >> x; mv x jobs/triage.yaml",
    "sorted lines": "sort -o jobs/triage.yaml jobs/triage.yaml",
    "staged too": "echo '# tidy' >> jobs/triage.yaml; git add jobs/triage.yaml",
    "staged where it stays": "echo '# tidy' >> jobs/triage.yaml",
    "deleted": "rm jobs/triage.yaml",
    "emptied": ": > jobs/triage.yaml",
    "a commit of something else": ANOTHER_COMMIT,
    "executable": "chmod +x jobs/triage.yaml",
    "read-only": "echo '# tidy' >> jobs/triage.yaml; chmod a-w jobs/triage.yaml",
    "the text from before, executable": "git show HEAD:jobs/triage.yaml > jobs/triage.yaml; chmod +x jobs/triage.yaml",
}


@pytest.mark.parametrize("script", TIDIES.values(), ids=TIDIES)
def test_a_refused_edit_is_taken_back_whatever_a_hook_has_made_of_the_file(lived_in: Root, script: str) -> None:
    hook(lived_in, "pre-commit", f"{script}; echo no >&2; exit 1")
    found = lived_in.cli("update", "triage", "--set", "schedule.cron='5 5 * * *'", "--set", "owner=me", "--commit")
    assert (found.code, "the files are unchanged" in found.stderr) == (3, True), found
    assert (lived_in.path / "jobs/triage.yaml").read_text() == TRIAGE
    assert lived_in.git("status", "--porcelain") == ""
    if "git cat-file -p" in found.stderr:
        blob = found.stderr.partition("git cat-file -p ")[2][:12]
        assert "owner: me" in lived_in.git("cat-file", "-p", blob), "what was there is not lost"


@pytest.mark.parametrize("verb", [WRITERS[1], WRITERS[3]], ids=["create", "mv"])
def test_a_new_file_goes_again_whatever_a_hook_has_made_of_it(lived_in: Root, verb: tuple[str, ...]) -> None:
    hook(
        lived_in,
        "pre-commit",
        "for f in $(git diff --cached --name-only); do [ ! -f $f ] || echo '#' >> $f; done; exit 1",
    )
    before = lived_in.git("ls-files", "-s")
    assert lived_in.cli(*verb, "--commit").code == 3
    assert (lived_in.git("status", "--porcelain"), lived_in.git("ls-files", "-s")) == ("", before)


def test_a_hook_that_hangs_and_has_changed_the_file_takes_the_edit_back(
    lived_in: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_write, "HOOKS_S", 0.5)
    hook(lived_in, "pre-commit", "echo '# tidy' >> jobs/triage.yaml; sleep 60")
    found = lived_in.cli("update", "triage", "--set", "owner=me", "--commit")
    assert (found.code, "took longer than" in found.stderr) == (3, True), found
    assert lived_in.git("status", "--porcelain") == ""


def test_a_deleted_file_comes_back_with_its_mode(lived_in: Root) -> None:
    (lived_in.path / "jobs/triage.yaml").chmod(0o640)
    hook(lived_in, "pre-commit", "exit 1")
    assert lived_in.cli("delete", "triage", "--commit").code == 3
    assert stat.S_IMODE((lived_in.path / "jobs/triage.yaml").stat().st_mode) == 0o640


@pytest.mark.parametrize("verb", [WRITERS[0], WRITERS[2]], ids=["update", "delete"])
def test_what_somebody_else_saves_while_a_hook_runs_stays_and_the_error_says_what_the_file_holds(
    lived_in: Root, verb: tuple[str, ...]
) -> None:
    theirs = TRIAGE.replace("[agent]", "[theirs]")
    lived_in.write(".git/theirs", theirs)
    hook(lived_in, "pre-commit", "cp .git/theirs jobs/triage.yaml; echo no >&2; exit 1")
    found = lived_in.cli(*verb, "--commit")
    assert found.code == 3
    assert "someone else changed jobs/triage.yaml" in found.stderr
    assert "tags: [theirs]" in found.stderr
    assert "the files are unchanged" not in found.stderr
    assert (lived_in.path / "jobs/triage.yaml").read_text() == theirs


def test_a_file_that_cannot_be_put_back_is_named_with_the_reason(lived_in: Root) -> None:
    hook(lived_in, "pre-commit", "ln jobs/triage.yaml jobs/other; exit 1")
    found = lived_in.cli("update", "triage", "--set", "owner=me", "--commit")
    assert found.code == 3
    assert "jobs/triage.yaml could not be restored: jobs/triage.yaml has 2 names" in found.stderr
    assert "the files are unchanged" not in found.stderr


@pytest.mark.parametrize("name", ["pre-commit", "post-commit"])
def test_the_commit_of_an_edit_is_named_and_not_one_that_a_hook_has_made(lived_in: Root, name: str) -> None:
    hook(lived_in, name, ANOTHER_COMMIT)
    found = lived_in.cli("update", "triage", "--set", "owner=me", "--commit", "--json")
    if name == "pre-commit":  # git sees that the branch has moved
        assert (found.code, (lived_in.path / "jobs/triage.yaml").read_text()) == (3, TRIAGE)
    else:
        assert lived_in.git("log", "-1", "--format=%s", found.json["commit"]) == "Update triage: owner"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_hook_runs_takes_the_edit_back(lived_in: Root, number: signal.Signals) -> None:
    hook(lived_in, "pre-commit", "sleep 0.2; touch .git/hook-runs; sleep 60")  # git is waited for by then
    process = lived_in.start("update", "triage", "--set", "owner=me", "--commit")
    until(lambda: (lived_in.path / ".git/hook-runs").exists(), "the hook")
    assert "owner: me" in (lived_in.path / "jobs/triage.yaml").read_text()
    process.send_signal(number)
    assert ended(process).code == 130
    assert (lived_in.path / "jobs/triage.yaml").read_text() == TRIAGE
    assert not list((lived_in.path / ".git").glob("*.lock")), "git has taken its locks away"
    assert lived_in.git("status", "--porcelain") == ""


def test_a_signal_after_the_commit_leaves_it_made(lived_in: Root) -> None:
    hook(lived_in, "post-commit", "touch .git/hook-runs; sleep 60")
    process = lived_in.start("update", "triage", "--set", "owner=me", "--commit")
    until(lambda: (lived_in.path / ".git/hook-runs").exists(), "the hook")
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 0
    assert "owner: me" in lived_in.git("show", "HEAD:jobs/triage.yaml")
    assert lived_in.git("status", "--porcelain") == ""


def test_an_index_that_git_has_locked_takes_the_edit_back(lived_in: Root) -> None:
    lived_in.write(".git/index.lock", "")
    assert "index.lock" in refused(lived_in, "update", "triage", "--set", "owner=me", "--commit")


def test_the_hooks_of_the_user_run_and_what_they_change_is_told(lived_in: Root) -> None:
    only = "test \"$(git diff --cached --name-only -- '*.yaml')\" = jobs/triage.yaml || exit 1"
    hook(lived_in, "pre-commit", f"{only}; echo '# formatted' >> jobs/triage.yaml; git add jobs/triage.yaml")
    hook(lived_in, "commit-msg", 'echo "Reviewed-by: hook" >> "$1"')
    found = lived_in.ok("update", "triage", "--set", "owner=me", "--commit")
    assert "a git hook changed jobs/triage.yaml" in found.stderr
    assert "+# formatted" in found.stdout
    assert "Reviewed-by: hook" in lived_in.git("log", "-1", "--format=%B")


def test_what_a_hook_changes_in_the_commit_is_left_neither_staged_nor_in_the_way_of_the_next_edit(
    lived_in: Root,
) -> None:
    stage_other(lived_in)
    staged = lived_in.git("diff", "--cached")
    hook(lived_in, "pre-commit", "echo '# formatted' >> jobs/triage.yaml; git add jobs/triage.yaml")
    for owner in ("me", "you"):
        edit(lived_in, "update", "triage", "--set", f"owner={owner}", "--commit")
        assert "+# formatted" in lived_in.git("show", "--format=", "HEAD")
        assert lived_in.git("diff", "--cached") == staged
        assert lived_in.git("diff", "HEAD", "--", "jobs/triage.yaml") == ""


def test_a_hook_finds_git_and_the_language_as_they_are_for_its_user(
    lived_in: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    hook(lived_in, "pre-commit", 'env | grep -E "^(GIT_|LC_ALL)" | sort >&2; git fetch "file://$PWD/.git" HEAD; exit 1')
    told = refused(lived_in, "update", "triage", "--set", "owner=me", "--commit")
    assert "LC_ALL=C.UTF-8" in told
    assert "FETCH_HEAD" in told, "hooks that install what they run have to fetch it"
    assert not [name for name in ("GRAFT", "NO_LAZY_FETCH", "ALLOW_PROTOCOL", "not allowed") if name in told]


def test_commits_are_signed_where_the_user_signs(lived_in: Root, tmp_path: Path) -> None:
    program = tmp_path / "sign"
    program.write_text(
        '#!/bin/sh\ncat >/dev/null\necho "[GNUPG:] SIG_CREATED " >&2\necho "-----BEGIN PGP SIGNATURE-----"\n'
    )
    program.chmod(0o755)
    lived_in.git("config", "commit.gpgsign", "true")
    lived_in.git("config", "gpg.program", str(program))
    edit(lived_in, "update", "triage", "--set", "owner=me", "--commit")
    edit(lived_in, "update", "triage", "--set", "owner=me2", "--branch", "signed")
    for name in ("HEAD", "signed"):
        assert "gpgsig" in lived_in.git("cat-file", "commit", name)


def test_only_the_identity_of_the_environment_counts(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "An Agent")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    edit(lived_in, "update", "triage", "--set", "owner=me", "--commit")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert lived_in.git("log", "-1", "--format=%an/%cn") == "An Agent/A"


@pytest.mark.parametrize("where", [["--commit"], ["--branch", "b"]])
def test_without_an_identity_nothing_is_written(lived_in: Root, where: list[str], tmp_path: Path) -> None:
    (tmp_path / "home/.gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    assert "git config user.name" in refused(lived_in, "update", "triage", "--set", "owner=me", *where, code=5)


@pytest.mark.parametrize("where", [["--commit"], ["--branch", "b"]])
def test_outside_a_repository_there_is_nothing_to_commit_to(lived_in: Root, where: list[str]) -> None:
    (lived_in.path / ".git").rename(lived_in.path.parent / "git")
    found = lived_in.cli("update", "triage", "--set", "owner=me", *where)
    assert (found.code, (lived_in.path / "jobs/triage.yaml").read_text()) == (3, TRIAGE)
    assert "is not in a git repository" in found.stderr


def test_in_the_middle_of_a_merge_nothing_is_committed(lived_in: Root) -> None:
    merge_half_way(lived_in)
    assert "a merge is in progress" in refused(lived_in, "update", "flaky", "--set", "owner=me", "--commit")


# -- branches ------------------------------------------------------------------------------------


def untouched(root: Root) -> tuple[Any, ...]:
    """Working tree, index and HEAD: what a branch must not touch."""
    files = {path: data for path, data in contents(root.path).items() if not path.startswith((".git/", ".scheduler/"))}
    return files, (root.path / ".git/index").read_bytes(), (root.path / ".git/HEAD").read_text()


@pytest.mark.parametrize("args", WRITERS[:4], ids=lambda args: args[0])
def test_a_branch_gets_a_commit_and_nothing_else_is_touched(lived_in: Root, args: tuple[str, ...]) -> None:
    stage_other(lived_in)
    lived_in.edit("jobs/triage.yaml", "[agent]", "[uncommitted]")
    before, head, jobs = untouched(lived_in), lived_in.git("rev-parse", "HEAD"), lived_in.json("list")
    found = edit(lived_in, *args, "--branch", "agents/next")
    assert (found["applied"], found["branch"]) == ("pending_branch", "agents/next")
    assert found["commit"] == lived_in.git("rev-parse", "agents/next")
    assert untouched(lived_in) == before
    assert lived_in.json("list") == jobs
    assert lived_in.git("log", "-1", "--format=%P", "agents/next") == head
    changed = lived_in.git("diff", "--name-only", "--no-renames", "HEAD", "agents/next").split()
    assert changed == sorted(found["files"])
    assert "uncommitted" not in lived_in.git("diff", "HEAD", "agents/next")


def test_a_second_edit_goes_on_from_the_first_and_a_merge_applies_both(lived_in: Root) -> None:
    edit(lived_in, "update", "triage", "--set", "owner=me", "--branch", "b")
    edit(lived_in, "create", "new", "--set", "schedule=@daily", "--set", "task=x", "--branch", "b")
    edit(lived_in, "update", "new", "--set", "name=New", "--branch", "b")
    assert lived_in.git("rev-list", "--count", "HEAD..b") == "3"
    lived_in.git("merge", "-q", "b")
    lived_in.sync()
    assert (lived_in.job("triage")["owner"], lived_in.job("new")["name"]) == ("me", "New")


@pytest.mark.parametrize("job", ["triage", "heartbeat"])
def test_a_version_on_a_branch_is_that_of_the_branch(lived_in: Root, job: str) -> None:
    version = lived_in.job(job)["version"]
    first = ["update", job, "--task-file", "-", "--if-version", version, "--branch", "b"]
    edit(lived_in, *first, text="One.\n")
    told = refused(lived_in, *first, text="Two.\n")
    assert "on branch b, not " + version in told
    assert "`git diff HEAD...b` shows how" in told
    now = told.partition("is at version ")[2].partition(" ")[0]
    edit(lived_in, "update", job, "--task-file", "-", "--if-version", now, "--branch", "b", text="Two.\n")


@pytest.mark.parametrize("verb", [("update", "--set", "name=x"), ("rollback", "--to", "commit:HEAD")])
def test_of_a_job_that_was_deleted_it_is_told_how_it_comes_back(lived_in: Root, verb: tuple[str, ...]) -> None:
    edit(lived_in, "delete", "triage")
    told = refused(lived_in, verb[0], "triage", *verb[1:], code=2)
    assert "no file defines the job 'triage'" in told
    assert "`scheduler create triage`; it keeps its history" in told


def test_a_branch_that_stands_for_another_is_not_written(lived_in: Root) -> None:
    lived_in.git("symbolic-ref", "refs/heads/b", "refs/heads/main")
    told = refused(lived_in, "update", "triage", "--set", "name=x", "--branch", "b")
    assert "branch 'b' is a symbolic ref to refs/heads/main" in told


def test_a_job_that_a_branch_has_not_is_missed_there_and_not_in_the_list(lived_in: Root) -> None:
    edit(lived_in, "delete", "triage", "--branch", "b")
    told = refused(lived_in, "update", "triage", "--set", "name=x", "--branch", "b", code=2)
    assert f"no file in commit {lived_in.git('rev-parse', 'b')[:12]} defines the job 'triage'" in told


def test_an_edit_on_a_branch_goes_through_a_link_as_one_in_place_does(lived_in: Root) -> None:
    (lived_in.path / "prompts/link.md").symlink_to("../texts/far.md")
    (lived_in.path / "texts").symlink_to("prompts")
    lived_in.write("prompts/far.md", "Before.\n")
    lived_in.edit("jobs/triage.yaml", "prompts/triage.md", "prompts/link.md")
    lived_in.commit()
    before = lived_in.git("ls-tree", "HEAD:prompts", "link.md")
    found = edit(lived_in, "update", "triage", "--task-file", "-", "--branch", "b", text="After.\n")
    assert found["files"] == ["prompts/far.md"]
    assert "-Before.\n+After.\n" in found["diff"]
    assert lived_in.git("ls-tree", "b:prompts", "link.md") == before


@pytest.mark.parametrize(
    "target", ["/etc/hostname", "../../out.md", "link.md", "../.hidden.md"], ids=["absolute", "out", "circle", "dot"]
)
def test_an_edit_on_a_branch_follows_no_link_that_a_fire_would_not(lived_in: Root, target: str) -> None:
    (lived_in.path / "prompts/link.md").symlink_to(target)
    lived_in.edit("jobs/triage.yaml", "prompts/triage.md", "prompts/link.md")
    lived_in.commit()
    told = refused(lived_in, "update", "triage", "--task-file", "-", "--branch", "b", text="After.\n")
    assert "'prompts/link.md' is a link in commit" in told


@pytest.mark.parametrize("path", ["jobs/triage.yaml/new.yaml", "jobs/link/new.yaml"], ids=["file", "link"])
@pytest.mark.parametrize("where", [[], ["--branch", "b"]], ids=["in place", "branch"])
def test_a_new_file_takes_the_place_of_no_file_above_it(lived_in: Root, path: str, where: list[str]) -> None:
    (lived_in.path / "jobs/link").symlink_to("../prompts")
    lived_in.commit()
    new = ["create", "new", "--set", "schedule=@daily", "--set", "task=x", "--file", path]
    refused(lived_in, *new, *where)
    refused(lived_in, "mv", "flaky", path, *where)


def test_names_that_git_could_take_for_patterns_are_names(lived_in: Root) -> None:
    for name in ("[a]*", ":!x", "-q"):
        lived_in.write(f"jobs/{name}.yaml", TRIAGE.replace("id: triage", f"id: j{len(name)}"))
    lived_in.write("jobs/a.yaml", TRIAGE.replace("id: triage", "id: other"))
    lived_in.commit()
    for name, job in (("[a]*", "j4"), (":!x", "j3"), ("-q", "j2")):
        for where in (["--commit"], ["--branch", "b"]):
            found = edit(lived_in, "update", job, "--set", f"owner={len(where)}x", *where)
            changed = lived_in.git("-c", "core.quotePath=false", "show", "--format=", "--name-only", found["commit"])
            assert changed == f"jobs/{name}.yaml"


def test_a_branch_starts_at_a_detached_head(lived_in: Root) -> None:
    lived_in.git("switch", "-q", "--detach")
    edit(lived_in, "update", "triage", "--set", "owner=me", "--branch", "b")
    assert lived_in.git("log", "-1", "--format=%P", "b") == lived_in.git("rev-parse", "HEAD")
    edit(lived_in, "update", "triage", "--set", "owner=me", "--branch", "main")


def test_a_branch_of_another_worktree_is_refused(lived_in: Root, tmp_path: Path) -> None:
    lived_in.git("worktree", "add", "-q", "-b", "elsewhere", str(tmp_path / "w"))
    assert f"is checked out in {tmp_path / 'w'}" in refused(
        lived_in, "update", "triage", "--set", "owner=me", "--branch", "elsewhere"
    )


def test_whoever_moves_the_branch_meanwhile_keeps_what_they_did(
    lived_in: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived_in.git("branch", "b")
    theirs = lived_in.git("commit-tree", "-p", "HEAD", "-m", "theirs", "HEAD^{tree}")
    real = git_write.commit_on_branch

    def meanwhile(*args: Any) -> str:
        lived_in.git("update-ref", "refs/heads/b", theirs)
        return real(*args)

    monkeypatch.setattr(drafts, "commit_on_branch", meanwhile)
    found = lived_in.cli("update", "triage", "--set", "owner=me", "--branch", "b")
    assert (found.code, lived_in.git("rev-parse", "b")) == (3, theirs)
    assert "changed during the edit" in found.stderr


def test_a_root_below_the_top_of_its_repository_is_committed_by_its_own_paths(lived_in: Root) -> None:
    top = lived_in.path
    (top / "deep").mkdir()
    for name in ("scheduler.yaml", "jobs", "prompts", "scripts"):
        lived_in.git("mv", name, f"deep/{name}")
    lived_in.commit()
    edit(lived_in, "--root", "deep", "update", "triage", "--set", "owner=me", "--branch", "b")
    edit(lived_in, "--root", "deep", "update", "triage", "--set", "owner=me", "--commit")
    for name in ("HEAD", "b"):
        assert lived_in.git("show", "--format=", "--name-only", name) == "deep/jobs/triage.yaml"
    assert lived_in.git("status", "--porcelain") == "?? deep/.scheduler/" or not lived_in.git("status", "--porcelain")


def test_the_bytes_on_a_branch_are_those_of_its_blob_whatever_a_checkout_converts(lived_in: Root) -> None:
    lived_in.git("config", "core.autocrlf", "true")
    edit(lived_in, "update", "triage", "--set", "owner=me", "--branch", "b")
    diff = lived_in.git("diff", "--numstat", "HEAD", "b").split()
    assert diff[:2] == ["1", "0"]


# -- many at once --------------------------------------------------------------------------------


def test_edits_at_the_same_time_all_come_about(lived_in: Root) -> None:
    names = ["owner=a", "name=b", "description=c", "timeout=7m", "enabled=true", "failure_limit=3"]
    started = [lived_in.start("update", "triage", "--set", each, "--commit") for each in names]
    for process in started:
        with process:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, (out, err)
    text = (lived_in.path / "jobs/triage.yaml").read_text()
    for each in names:
        assert f"\n{each.replace('=', ': ')}\n" in text
    assert lived_in.git("rev-list", "--count", "HEAD") == str(1 + len(names))
    assert lived_in.git("status", "--porcelain") == ""


def killed(root: Root, point: str, *args: str) -> None:
    command = [sys.executable, "-m", "scheduler", *args]
    env = {**os.environ, "SCHEDULER_CRASH_AT": point, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run(command, cwd=root.path, env=env, check=False).returncode == -signal.SIGKILL


def test_a_kill_before_the_rename_leaves_the_file_as_it_was(lived_in: Root) -> None:
    killed(lived_in, "edit_before_rename", "update", "triage", "--set", "owner=me")
    assert (lived_in.path / "jobs/triage.yaml").read_text() == TRIAGE
    assert lived_in.ok("validate").code == 0, "what is left beside it is no job file"
    assert edit(lived_in, "update", "triage", "--set", "owner=me")["applied"] == "now"


def test_a_kill_in_the_middle_of_a_move_is_a_conflict_that_costs_nothing(lived_in: Root) -> None:
    before = lived_in.runs("heartbeat"), lived_in.job("heartbeat")["run_count"]
    killed(lived_in, "edit_between_files", "mv", "heartbeat", "jobs/moved.md")
    assert lived_in.cli("sync").code == 1
    assert lived_in.job("heartbeat")["sync_state"] == "conflict"
    lived_in.delete("jobs/heartbeat.md")
    lived_in.ok("sync")
    after = lived_in.job("heartbeat")
    assert (after["sync_state"], after["source_path"]) == ("synced", "jobs/moved.md")
    assert (lived_in.runs("heartbeat"), after["run_count"]) == before


def test_no_edit_makes_or_changes_a_run(lived_in: Root) -> None:
    with Store.open_to_read(lived_in.db) as store:
        before = [run.id for job in store.read(queries.jobs) for run in store.read(queries.runs, job.id)]
    for args in (*WRITERS[:2], WRITERS[3], WRITERS[2]):
        edit(lived_in, *args)
    with Store.open_to_read(lived_in.db) as store:
        assert [run.id for job in store.read(queries.jobs) for run in store.read(queries.runs, job.id)] == before


def test_every_verb_prints_the_shape_of_an_edit(lived_in: Root) -> None:
    keys = {"job", "job_id", "applied", "why", "guard", "file", "files", "diff", "commit", "branch", "root", "proposed"}
    for args in (*WRITERS[:2], WRITERS[3], WRITERS[4], WRITERS[2]):
        assert args[0] in commands.commands
        assert set(json.loads(lived_in.ok(*args, "--json").stdout)) == keys
