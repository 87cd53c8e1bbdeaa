"""Files of the root that a runner's command names are part of what runs: in runs, diffs, versions, plans and skips."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.facts import Fault
from scheduler.core.values.runs import Trigger
from scheduler.root.place import Place
from scheduler.run.fire import Ready, from_disk
from tests.faces.conftest import Root

SCRIPT, OTHER = "#!/bin/sh\ncat\n", "#!/bin/sh\necho other; cat\n"
SETTINGS = """\
version: 1
defaults: {{runner: agent}}
runners:
  agent: {{command: {command}}}
  plain: {{command: [cat]}}
"""
JOB = "id: {}\nschedule: {{every: 1h}}\ntask: hello\n"
FILE = "runners.agent.files.bin/agent.sh"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def script(root: Root, text: str, *, path: str = "bin/agent.sh", executable: bool = True) -> None:
    root.write(path, text)
    (root.path / path).chmod(0o755 if executable else 0o644)


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str = "[./bin/agent.sh]") -> Root:
    root = Root(path=tmp_path / "root", clock=None)  # type: ignore[arg-type]
    root.write("scheduler.yaml", SETTINGS.format(command=command))
    root.write("jobs/a.yaml", JOB.format("a"))
    root.write("jobs/b.yaml", JOB.format("b"))
    root.write("jobs/c.yaml", JOB.format("c") + "runner: plain\n")
    script(root, SCRIPT)
    root.git("init", "-q")
    root.write(".gitignore", ".scheduler\n.venv\n")
    root.commit()
    monkeypatch.chdir(root.path)
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """Two jobs whose runner is a committed script, and one whose runner is not; synced."""
    found = made(tmp_path, monkeypatch)
    found.sync()
    return found


# -- runs ---------------------------------------------------------------------------------------


def test_a_run_records_each_file_that_its_runner_names(root: Root) -> None:
    blob = root.git("rev-parse", "HEAD:bin/agent.sh")
    clean = {"path": "bin/agent.sh", "sha256": sha256(SCRIPT), "blob": blob, "dirty": None, "executable": True}
    assert root.run("a")["runner_files"] == [clean]
    script(root, OTHER)
    assert root.run("a")["runner_files"] == [{**clean, "sha256": sha256(OTHER), "dirty": "modified"}]
    assert root.run("c")["runner_files"] == []


def test_a_dirty_script_leaves_a_star(root: Root) -> None:
    root.run("a")
    script(root, OTHER)
    root.run("a")
    dirty, clean = root.ok("history", "a").stdout.splitlines()[1:]
    head = root.git("rev-parse", "HEAD")[:7]
    assert f"{head}* " in dirty
    assert f"{head} " in clean


@pytest.mark.parametrize(("mode", "dirty"), [(0o755, None), (0o700, None)])
def test_of_a_mode_only_what_git_keeps_counts(root: Root, mode: int, dirty: str | None) -> None:
    (root.path / "bin/agent.sh").chmod(mode)
    assert root.run("a")["runner_files"][0]["dirty"] == dirty


def test_a_script_that_an_interpreter_runs_is_dirty_by_its_mode_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path, monkeypatch, "[sh, bin/agent.sh]")
    root.sync()
    (root.path / "bin/agent.sh").chmod(0o644)
    assert root.run("a")["runner_files"][0]["dirty"] == "modified"
    root.git("config", "core.fileMode", "false")
    assert root.run("a")["runner_files"][0]["dirty"] is None


def test_a_retry_says_what_its_last_attempt_ran(root: Root) -> None:
    script(root, f"#!/bin/sh\nprintf '{SCRIPT.encode('unicode_escape').decode()}' > bin/new\n"
                 "chmod +x bin/new; mv bin/new bin/agent.sh; exit 1\n")  # fmt: skip
    root.write("jobs/a.yaml", JOB.format("a") + "retry: {attempts: 2, delay: 1s}\n")
    found = root.run("a")
    assert (found["status"], len(found["attempts"])) == ("succeeded", 2)
    assert found["runner_files"][0]["sha256"] == sha256(SCRIPT)


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("[sh, -c, './bin/agent.sh']", "bin/agent.sh"),
        ("[sh, .tools/agent.sh]", ".tools/agent.sh"),
        ("[sh, link.sh]", "link.sh"),
        ("[env, X=conf/a.toml, cat]", "conf/a.toml"),
    ],
)
def test_files_that_are_named_in_other_ways_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, path: str
) -> None:
    root = made(tmp_path, monkeypatch, command)
    script(root, SCRIPT, path=".tools/agent.sh")
    root.write("conf/a.toml", "a = 1\n")
    (root.path / "link.sh").symlink_to("bin/agent.sh")
    root.sync()
    (found,) = root.run("a")["runner_files"]
    assert (found["path"], found["sha256"] is not None) == (path, True)


def test_a_link_that_leads_outside_is_named_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made(tmp_path, monkeypatch, "[sh, link.sh]")
    (tmp_path / "outside.sh").write_text(SCRIPT)
    (root.path / "link.sh").symlink_to(tmp_path / "outside.sh")
    root.sync()
    (found,) = root.run("a")["runner_files"]
    assert found == {"path": "link.sh", "sha256": None, "blob": None, "dirty": "unread", "executable": False}


def test_the_state_folder_is_read_by_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made(tmp_path, monkeypatch, "[env, X=.scheduler/state.db, cat]")
    root.sync()
    assert [each["sha256"] for each in root.run("a")["runner_files"]] == [None]


def test_runs_carry_the_files_of_their_runner_through_an_export(root: Root, tmp_path: Path) -> None:
    before = root.run("a")["runner_files"]
    lines = root.ok("export", "a").stdout
    (run,) = [each for each in map(json.loads, lines.splitlines()) if each["kind"] == "run"]
    assert run["runner_files"] == before
    broken = lines.replace('"executable": true', '"executable": "yes"')
    assert broken != lines
    (tmp_path / "x.jsonl").write_text(broken)
    other = Root(path=tmp_path / "other", clock=None)  # type: ignore[arg-type]
    other.write("scheduler.yaml", SETTINGS.format(command="[cat]"))
    refused = other.cli("--root", str(other.path), "import", "export", str(tmp_path / "x.jsonl"))
    assert refused.code != 0
    assert "the record of a runner's file is not valid" in refused.stderr
    (tmp_path / "x.jsonl").write_text(lines)
    other.ok("--root", str(other.path), "import", "export", str(tmp_path / "x.jsonl"))
    other.ok("--root", str(other.path), "sync")
    (kept,) = other.json("--root", str(other.path), "history", "a")["runs"]
    assert kept["runner_files"] == before


# -- what changed -------------------------------------------------------------------------------


def test_diff_tells_another_script_apart_and_does_not_call_it_the_same(root: Root) -> None:
    root.run("a")
    root.run("a")
    assert "are the same" in root.ok("diff", "a:1", "a:2").stderr
    script(root, OTHER)
    root.run("a")
    found = root.json("diff", "a:1", "a:3")
    (change,) = found["runner_files"].items()
    assert change[0] == "bin/agent.sh"
    assert (change[1]["before"]["sha256"], change[1]["after"]["sha256"]) == (sha256(SCRIPT), sha256(OTHER))
    shown = root.ok("diff", "a:1", "a:3")
    was, now = sha256(SCRIPT)[:12], sha256(OTHER)[:12]
    assert f"bin/agent.sh: {was} executable -> {now} executable (modified)" in shown.stdout
    assert "are the same" not in shown.stderr
    (root.path / "bin/agent.sh").chmod(0o644)
    since = root.json("diff", "a:3")["runner_files"]["bin/agent.sh"]
    assert (since["before"]["executable"], since["after"]["executable"]) == (True, False)


def test_the_same_text_with_another_script_is_another_version(root: Root) -> None:
    root.run("a")
    script(root, OTHER)
    root.run("a")
    root.run("a")
    found = root.json("versions", "a")["versions"]
    assert [(each["runs"], each["current"], each["runner_files"][0]["sha256"]) for each in found] == [
        (2, True, sha256(OTHER)),
        (1, False, sha256(SCRIPT)),
    ]
    assert sha256(OTHER)[:7] in root.ok("versions", "a").stdout
    script(root, SCRIPT + "# 3\n")
    first = root.json("versions", "a")["versions"][0]
    assert (first["runs"], first["current"], first["runner_files"][0]["sha256"]) == (0, True, sha256(SCRIPT + "# 3\n"))
    root.run("c")
    assert "RUNNER FILES" not in root.ok("versions", "c").stdout


def test_log_and_audit_name_the_commit_that_changed_a_script(root: Root) -> None:
    script(root, OTHER)
    commit = root.commit()
    root.sync()
    (row,) = [each for each in root.json("audit")["audit"] if each["field"] == FILE]
    assert (row["commit"]["id"], row["after"]) == (commit, f"sha256:{sha256(OTHER)} executable")
    assert f"bin/agent.sh  for runner agent: {sha256(SCRIPT)[:12]} executable -> " in root.ok("log", "a").stdout
    assert "bin/agent.sh" not in root.ok("log", "c").stdout
    script(root, SCRIPT)
    root.sync()
    rows = [each for each in root.json("audit")["audit"] if each["field"] == FILE]
    assert sorted(str(each["no_commit"]) for each in rows) == ["None", "uncommitted"]


# -- plan ---------------------------------------------------------------------------------------


def reviewed(root: Root, form: str, *more: str) -> str:
    return root.ok("plan", *more, "--format", form).stdout


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_a_plan_lists_a_changed_script_in_every_format_as_widening(root: Root, committed: bool, head: bool) -> None:
    base = root.git("rev-parse", "HEAD")
    script(root, OTHER)
    if committed or head:
        root.commit()
    to = ["--base", base, *(["--head", "HEAD"] if head else [])]
    found = json.loads(reviewed(root, "json", *to))
    (change,) = found["root_changed"]
    assert (change["field"], change["widens"], change["jobs"]) == (FILE, True, ["a", "b"])
    assert found["task_diffs"][0]["path"] == "bin/agent.sh"
    was, now = (f"{sha256(each)[:12]} executable" for each in (SCRIPT, OTHER))
    text = reviewed(root, "text", *to)
    assert f"! bin/agent.sh (named by runner agent): {was} -> {now}  [widens]; used by a, b\n" in text
    assert "{+echo other; +}cat" in text
    page = reviewed(root, "markdown", *to)
    assert f"- `bin/agent.sh`, which `agent` runs: `{was}` → `{now}`; used by `a`, `b`" in page
    assert "1 change gives more power" in page
    assert "+echo other; cat" in page
    assert "::warning file=bin/agent.sh,line=2,title=more power::" in reviewed(root, "github", *to)


def test_a_plan_against_the_database_lists_it_until_it_is_synced(root: Root) -> None:
    assert root.json("plan")["root_changed"] == []
    script(root, OTHER)
    assert [each["field"] for each in root.json("plan")["root_changed"]] == [FILE]
    assert root.cli("plan", "--exit-code").code == 4
    root.sync()
    assert root.json("plan")["root_changed"] == []


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (lambda file: file.chmod(0o644), f"sha256:{sha256(SCRIPT)}"),
        (lambda file: file.unlink(), None),
        (lambda file: (file.unlink(), file.symlink_to("/bin/true")), "source_outside_root"),
    ],
)
def test_a_plan_lists_what_becomes_of_a_script(root: Root, change: Any, after: str | None) -> None:
    base = root.git("rev-parse", "HEAD")
    change(root.path / "bin/agent.sh")
    root.commit()
    for more in ([], ["--head", "HEAD"]):
        (found,) = json.loads(reviewed(root, "json", "--base", base, *more))["root_changed"]
        assert (found["field"], found["after"], found["widens"]) == (FILE, after, True)


def test_a_script_that_no_runner_names_is_no_change(root: Root) -> None:
    script(root, OTHER, path="bin/other.sh")
    assert root.json("plan", "--base", "HEAD")["root_changed"] == []


def test_an_edit_of_a_script_leaves_every_job_as_it_is(root: Root) -> None:
    before = root.job("a")
    script(root, OTHER)
    root.sync()
    after = root.job("a")
    assert all(before[name] == after[name] for name in ("generation", "version", "next_run_at", "activated_at"))


# -- worktree.dirty -----------------------------------------------------------------------------


def fired(root: Root) -> Ready | Fault:
    """What a slot of job `a` would be given now."""
    from scheduler.ledger import syncs
    from scheduler.ledger.store import Store
    from scheduler.machine.clock import SystemClock
    from scheduler.sync.passes import Passes

    place = Place(root=root.path, state=root.db.parent, db=root.db)
    passes = Passes(place=place, clock=SystemClock())
    with Store.open(place.db) as store:
        observed = store.read(syncs.observed)
    found = passes.look_again(observed, "a", passes.clock.now())
    assert not isinstance(found, Fault)
    return from_disk(passes, found[1], found[2], Trigger.SCHEDULE)


def uncommitted(root: Root) -> None:
    root.git("rm", "-q", "--cached", "bin/agent.sh")
    root.git("commit", "-qm", "y")


def ignored(root: Root) -> None:
    root.write("scheduler.yaml", SETTINGS.format(command="[./.venv/bin/agent]") + "worktree: {dirty: skip}\n")
    script(root, SCRIPT, path=".venv/bin/agent")
    root.commit()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda root: None, None),
        (lambda root: script(root, OTHER), "has uncommitted changes"),
        (lambda root: script(root, SCRIPT, executable=False), "has uncommitted changes"),
        (lambda root: root.git("rm", "-q", "--cached", "bin/agent.sh"), None),
        (uncommitted, "is not committed"),
        (ignored, None),
    ],
)  # fmt: skip
def test_with_dirty_skip_only_a_committed_script_runs(root: Root, change: Any, why: str | None) -> None:
    root.write("scheduler.yaml", SETTINGS.format(command="[./bin/agent.sh]") + "worktree: {dirty: skip}\n")
    root.commit()
    change(root)
    found = fired(root)
    if why is None:
        assert isinstance(found, Ready)
        return
    assert isinstance(found, Fault)
    assert found.reason == "source_dirty"
    assert found.message == f"'bin/agent.sh', which the runner names, {why}, and worktree.dirty is skip"


# -- validate -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "change", "code", "said"),
    [
        ("[./bin/agent.sh]", lambda file: None, None, ""),
        ("[./bin/agent.sh]", lambda file: file.unlink(), "runner.file-missing", "'bin/agent.sh' does not exist"),
        ("[./bin]", lambda file: None, "runner.file-missing", "'bin' is a folder"),
        ("[./bin/agent.sh]", lambda file: file.chmod(0o644), "runner.not-executable", "is not executable"),
        ("[timeout, 1m, ./bin/agent.sh]", lambda file: file.chmod(0o644), "runner.not-executable", "is not executable"),
        ("[python3, bin/agent.py]", lambda file: None, "runner.file-missing", "'bin/agent.py' does not exist"),
        ("[python3, ./bin]", lambda file: None, None, ""),
        ("[sh, bin/agent.sh]", lambda file: file.chmod(0o644), None, ""),
        ("[agent, --out, ./new.json, stream/json]", lambda file: None, None, ""),
    ],
)
def test_validate_warns_of_what_no_run_could_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, change: Any, code: str | None, said: str
) -> None:
    root = made(tmp_path, monkeypatch, command)
    change(root.path / "bin/agent.sh")
    found = root.cli("validate", "--json")
    problems = [each for each in found.json["problems"] if each["code"] != "runner.tasks"]
    assert found.code == 0
    assert [each["code"] for each in problems] == ([] if code is None else [code])
    for each in problems:
        assert (each["severity"], each["path"], each["line"]) == ("warning", "scheduler.yaml", 4)
        assert said in each["message"]


def test_a_plan_of_commits_warns_of_a_script_without_its_mode(root: Root) -> None:
    base = root.git("rev-parse", "HEAD")
    (root.path / "bin/agent.sh").chmod(0o644)
    root.commit()
    (problem,) = root.json("plan", "--base", base, "--head", "HEAD")["problems"]
    assert problem["code"] == "runner.not-executable"
