"""The roots that a newcomer starts from: jobs.example, and what `init` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.core.formats.shapes import (
    AgentsShape,
    JobShape,
    LimitsShape,
    PruneShape,
    RetentionShape,
    RootShape,
    RunnerShape,
    ScheduleShape,
    WorktreeShape,
)
from tests.faces.conftest import contents
from tests.helpers import call

# -- jobs.example -------------------------------------------------------------------------------------


def documents(root: Path) -> Iterator[dict[str, Any]]:
    """Every job of a root, as plain data."""
    for path in sorted((root / "jobs").rglob("*")):
        text = path.read_text()
        if path.suffix == ".md":
            text = text.split("---\n")[1]
        yield from yaml.safe_load_all(text)


def settings(root: Path) -> Any:
    return yaml.safe_load((root / "scheduler.yaml").read_text())


def check_root(root: Path, state: Path) -> None:
    """Nothing to complain about, and everything in it runs."""
    options = ["--root", str(root), "--state", str(state)]
    assert call(*options, "validate", "--json").json == {"problems": []}
    found = call(*options, "sync", "--json")
    assert (found.code, found.json["problems"]) == (0, [])
    ids = sorted(each["id"] for each in documents(root))
    assert found.json["created"] == ids
    again = call(*options, "sync", "--json").json
    assert (again["created"], again["updated"], again["unchanged"]) == ([], [], len(ids))
    for job_id in ids:
        ran = call(*options, "run", job_id, "--wait", "--json")
        run = ran.json["run"]
        assert (ran.code, run["status"], run["truncated"]) == (0, "succeeded", False), run
        assert run["result"].strip()
    jobs = call(*options, "list", "--json").json["jobs"]
    assert [(job["id"], job["run_count"], job["consecutive_errors"]) for job in jobs] == [(each, 1, 0) for each in ids]


def test_the_example_validates_syncs_and_runs(copied: Path, tmp_path: Path) -> None:
    check_root(copied, tmp_path / "state")


def test_the_example_runs_without_any_account_or_network_and_its_agent_prints_the_prompt(
    copied: Path, tmp_path: Path
) -> None:
    options = ["--root", str(copied), "--state", str(tmp_path / "state")]
    call(*options, "sync")
    prompt = (copied / "prompts/triage.md").read_text()
    run = call(*options, "run", "triage", "--wait", "--json").json["run"]
    assert run["result"] == prompt
    assert call(*options, "task", "triage:1").stdout == prompt


def test_the_example_shows_every_key_of_a_job_and_of_a_schedule(copied: Path) -> None:
    jobs = list(documents(copied))
    assert {key for job in jobs for key in job} | set(settings(copied)["defaults"]) == set(JobShape.model_fields)
    schedules = [job["schedule"] for job in jobs]
    entries = [entry for each in schedules for entry in (each if isinstance(each, list) else [each])]
    assert {key for each in entries if isinstance(each, dict) for key in each} == set(ScheduleShape.model_fields)
    assert any(isinstance(each, str) and each.startswith("@") for each in schedules)
    assert any(isinstance(each, str) and each[0] != "@" for each in schedules)


def test_the_example_shows_every_key_of_a_runner_and_every_input(copied: Path) -> None:
    runners = settings(copied)["runners"]
    assert {key for each in runners.values() for key in each} == set(RunnerShape.model_fields)
    commands = [" ".join(each["command"]) for each in runners.values()]
    assert any("{task_file}" in command for command in commands)
    assert any("{task}" in command for command in commands)
    assert any("{task" not in command for command in commands)


def test_the_example_shows_the_keys_of_scheduler_yaml(copied: Path) -> None:
    found = settings(copied)
    assert set(found) == set(RootShape.model_fields) - {"hosts"}  # which would keep it from running anywhere else
    assert set(found["limits"]) == set(LimitsShape.model_fields) - {"max_jobs"}
    assert set(found["prune"]) == set(PruneShape.model_fields)
    assert set(found["retention"]) == set(RetentionShape.model_fields)
    assert set(found["agents"]) == set(AgentsShape.model_fields)
    assert set(found["worktree"]) == set(WorktreeShape.model_fields) - {"branch"}  # a copy may be in no repository


def test_the_example_has_each_kind_of_job_that_the_tutorial_promises(copied: Path) -> None:
    assert (copied / "jobs/heartbeat.md").is_file()
    jobs = list(documents(copied))
    sources = [job.get("task_source_path", "") for job in jobs]
    assert any(source.startswith("prompts/") for source in sources)
    assert any(source.startswith("scripts/") for source in sources)
    assert any(each["schedule"].get("every", "").endswith("s") for each in jobs if isinstance(each["schedule"], dict))
    assert any("at" in each["schedule"] for each in jobs)
    assert any(each.get("enabled") is False for each in jobs)
    text = (copied / "scheduler.yaml").read_text()
    for agent in ("command: [claude, -p]", "command: [codex, exec", "command: [llm]"):
        assert agent in text  # a comment that replaces one line


@pytest.mark.parametrize("agent", ["[claude, -p]", '[codex, exec, "-"]', "[llm]"])
def test_the_line_for_a_real_agent_can_be_taken_as_it_stands(tmp_path: Path, copied: Path, agent: str) -> None:
    root = tmp_path / "other"
    for name, data in contents(copied).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    text = (root / "scheduler.yaml").read_text()
    assert "    command: [cat]\n" in text
    (root / "scheduler.yaml").write_text(text.replace("    command: [cat]\n", f"    command: {agent}\n"))
    assert call("--root", str(root), "validate", "--json").json == {"problems": []}


# -- init ---------------------------------------------------------------------------------------------


def test_what_init_writes_validates_syncs_and_runs(tmp_path: Path) -> None:
    root = tmp_path / "new/root"
    made = call("init", str(root))
    assert made.code == 0
    assert {line.removeprefix("wrote ") for line in made.stdout.splitlines()} == {
        str(root / name) for name in contents(root)
    }
    assert {"scheduler.yaml", "jobs/heartbeat.md", "jobs/triage.yaml", "prompts/triage.md"} < contents(root).keys()
    assert "/scheduler.yaml" in (root / "CODEOWNERS.example").read_text()
    check_root(root, tmp_path / "state")


def test_init_takes_the_working_directory_and_says_what_to_type_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = call("init")
    assert made.code == 0
    assert "scheduler run heartbeat --wait" in made.stderr
    assert call("sync").code == 0
    assert call("run", "heartbeat", "--wait").code == 0


def test_init_never_overwrites(tmp_path: Path) -> None:
    root = tmp_path / "root"
    call("init", str(root))
    (root / "scheduler.yaml").write_text("mine\n")
    (root / "jobs/triage.yaml").write_text("")
    (root / "prompts/triage.md").unlink()
    (root / "prompts/triage.md").symlink_to("nowhere.md")
    (root / "jobs/heartbeat.md").unlink()
    written = call("init", str(root), "--json")
    assert (written.code, written.json["written"]) == (0, ["jobs/heartbeat.md"])
    assert written.json["kept"] == ["CODEOWNERS.example", "jobs/triage.yaml", "prompts/triage.md", "scheduler.yaml"]
    assert (root / "scheduler.yaml").read_text() == "mine\n"
    assert (root / "jobs/triage.yaml").read_text() == ""
    assert not (root / "prompts/nowhere.md").exists()
    before = contents(root)
    again = call("init", str(root))
    assert (again.code, "wrote" in again.stdout) == (0, False)
    assert contents(root) == before


def test_init_where_it_cannot_write_is_exit_5_and_leaves_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "jobs").write_text("a file, not a folder\n")
    found = call("init", str(root))
    assert (found.code, found.stdout) == (5, "")
    assert (root / "jobs").read_text() == "a file, not a folder\n"
    assert call("init", str(root / "jobs")).code in (2, 5)
