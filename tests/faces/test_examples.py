"""The roots that a newcomer starts from: jobs.example, and what `init` writes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.core.formats.root_shapes import (
    AgentsShape,
    LimitsShape,
    PruneShape,
    RetentionShape,
    RootShape,
    RunnerShape,
    WorktreeShape,
)
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.shapes import JobShape, ScheduleShape
from scheduler.core.values.channels import Channel, ChannelKind
from tests.faces.conftest import contents
from tests.helpers import call, git

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


def read_channels(root: Path) -> Mapping[str, Channel]:
    found, _ = read_root_file((root / "scheduler.yaml").read_bytes())
    assert found is not None
    return found.channels


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
    # hosts would keep it from running anywhere else, and nothing answers at a base_url.
    assert set(found) == set(RootShape.model_fields) - {"hosts", "base_url"}
    assert {each.kind for each in read_channels(copied).values()} == {ChannelKind.COMMAND}, "which needs no account"
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
    for agent in ("command: [claude, -p", "command: [codex, exec", "command: [llm"):
        assert agent in text  # a comment that replaces one line


@pytest.mark.parametrize(
    "agent", ["[claude, -p, --output-format, stream-json, --verbose]", '[codex, exec, --json, "-"]', "[llm, --json]"]
)
def test_the_line_for_a_real_agent_can_be_taken_as_it_stands(tmp_path: Path, copied: Path, agent: str) -> None:
    root = tmp_path / "other"
    shutil.copytree(copied, root)
    text = (root / "scheduler.yaml").read_text()
    assert "    command: [cat]\n" in text
    (root / "scheduler.yaml").write_text(text.replace("    command: [cat]\n", f"    command: {agent}\n"))
    assert call("--root", str(root), "validate", "--json").json == {"problems": []}


def test_a_job_of_the_example_that_pings_is_disabled_because_nobody_listens(copied: Path) -> None:
    assert [job["enabled"] for job in documents(copied) if "ping" in job] == [False]


def test_the_channel_of_the_example_appends_the_event_to_a_file(copied: Path, tmp_path: Path) -> None:
    shutil.copytree(copied, root := tmp_path / "root")
    (root / ".scheduler").mkdir()
    for text in ("{}", '{"kind": "success"}\n'):
        subprocess.run(read_channels(root)["log"].command, input=text, text=True, cwd=root, env={}, check=True)
    lines = (root / ".scheduler/messages.jsonl").read_text().split()
    assert lines == ["{}", '{"kind":', '"success"}']


# -- init ---------------------------------------------------------------------------------------------


def test_what_init_writes_validates_syncs_and_runs(tmp_path: Path) -> None:
    root = tmp_path / "new/root"
    made = call("init", str(root))
    assert made.code == 0
    assert {line.split()[-1] for line in made.stdout.splitlines()} == {str(root / name) for name in contents(root)}
    assert {line.split()[0] for line in made.stdout.splitlines()} == {"wrote"}
    assert contents(root).keys() == SCAFFOLD
    check_root(root, tmp_path / "state")


SCAFFOLD = {"scheduler.yaml", "jobs/example-hello.md", "jobs/example-review.yaml", "prompts/example-review.md"}


def test_init_says_what_to_type_next_and_that_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = call("init")
    commands = [line.split("  #")[0].split(" # ")[0].split() for line in made.stderr.splitlines()[1:]]
    assert made.code == 0
    assert commands == [
        ["scheduler", "run", "example-hello", "--wait"],
        ["$EDITOR", "scheduler.yaml"],
        ["scheduler", "serve"],
    ]
    ran = call(*commands[0][1:])
    assert (ran.code, ran.stdout) == (0, "Say hello in one line, and name the day of the week.\n")
    assert "cd elsewhere" in call("init", "elsewhere").stderr


def test_the_comments_of_init_name_the_branch_and_the_paths_of_the_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--template=", "-b", "trunk")
    call("init", str(tmp_path / "ops/here"))
    text = (tmp_path / "ops/here/scheduler.yaml").read_text()
    assert "  # branch: trunk\n" in text
    assert "#   /ops/here/scheduler.yaml @" in text
    assert "dirty: run\n" in text
    call("init", str(tmp_path))
    assert "#   /scheduler.yaml @" in (tmp_path / "scheduler.yaml").read_text()
    (tmp_path / "scheduler.yaml").write_text(text.replace("# branch: trunk", "branch: trunk"))
    assert call("--root", str(tmp_path), "validate", "--json").json == {"problems": []}


@pytest.mark.parametrize("branch", ["main", "feature/x-1", "true", "1.0", "a#b", "@x"])
def test_a_branch_stands_in_the_comment_only_where_yaml_takes_it_as_it_is(tmp_path: Path, branch: str) -> None:
    git(tmp_path, "init", "-q", "--template=", "-b", branch)
    call("init", str(tmp_path))
    text = (tmp_path / "scheduler.yaml").read_text()
    settled = yaml.safe_load(text.replace("# branch:", "branch:"))
    assert settled["worktree"] == {"branch": branch if branch in ("main", "feature/x-1") else "main", "dirty": "run"}


def test_a_scheduler_yaml_that_is_there_is_a_root_already(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "scheduler.yaml").write_text("mine\n")
    found = call("init", str(root))
    assert (found.code, "wrote" in found.stdout) == (0, False)
    assert "nothing was written" in found.stderr
    assert contents(root) == {"scheduler.yaml": b"mine\n"}
    answer = {"root": str(root), "written": [], "kept": ["scheduler.yaml"], "left_out": []}
    assert call("init", str(root), "--json").json == answer


FOREIGN = {
    "prompts/example-review.md": "My own prompt.\n",
    "prompts/triage.md": "Mine, too.\n",
    "jobs/deploy.yaml": "id: deploy\nschedule: '@hourly'\ntask: rm -rf /\nrunner: shell\n",
    "jobs/notes/example-hello.md": "---\nid: mine\nschedule: '@hourly'\n---\nDo it.\n",
    "scripts/clean.sh": "rm -rf build\n",
    "CODEOWNERS": "* @me\n",
    "README.md": "# Mine\n",
}


def test_init_schedules_no_file_that_was_there_and_changes_none(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, text in FOREIGN.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    made = call("init", str(root), "--json")
    assert made.json["written"] == ["scheduled-jobs/example-hello.md", "scheduler.yaml"]
    assert made.json["kept"] == ["prompts/example-review.md"]
    assert made.json["left_out"] == ["scheduled-jobs/example-review.yaml"]
    after = contents(root)
    assert {name: after[name].decode() for name in FOREIGN} == FOREIGN
    assert after.keys() - FOREIGN.keys() == {"scheduled-jobs/example-hello.md", "scheduler.yaml"}
    options = ["--root", str(root), "--state", str(tmp_path / "state")]
    assert call(*options, "validate", "--json").json == {"problems": []}
    assert call(*options, "sync", "--json").json["created"] == ["example-hello"]


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_one_foreign_file_alone_is_not_scheduled_either(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text(FOREIGN[name])
    call("init", str(root))
    sources = {job["id"]: job for job in call("--root", str(root), "list", "--json").json["jobs"]}
    assert sources.keys() <= {"example-hello", "example-review"}
    assert all(job["source_path"] != name and job["task_source_path"] != name for job in sources.values())


def test_a_folder_without_room_for_jobs_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for folder in ("jobs", "scheduled-jobs", "scheduler-jobs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yml").write_text("a: 1\n")
    before = contents(tmp_path)
    found = call("init", str(tmp_path))
    assert (found.code, found.stdout, contents(tmp_path)) == (3, "", before)
    assert "scheduler init DIR" in found.stderr


def test_an_init_that_stopped_half_way_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "root"
    call("init", str(root))
    whole = contents(root)
    for missing in ("scheduler.yaml", "jobs/example-review.yaml"):
        (root / missing).unlink()
    assert call("init", str(root), "--json").json["written"] == ["jobs/example-review.yaml", "scheduler.yaml"]
    assert contents(root) == whole


def test_init_where_it_cannot_write_is_exit_5_and_leaves_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "jobs").write_text("a file, not a folder\n")
    found = call("init", str(root))
    assert (found.code, found.stdout) == (5, "")
    assert (root / "jobs").read_text() == "a file, not a folder\n"
    assert call("init", str(root / "jobs")).code in (2, 5)
