"""Claude's scheduled tasks come with their prompts, their times and what is known of their past."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import Root
from tests.faces.imports.oracles import either_day_cron
from tests.faces.imports.shown import check_golden, fires_of, problems_of, source

ZONE = "America/New_York"
START = datetime(2026, 4, 1, tzinfo=UTC)


def listed(folder: Path, *tasks: dict[str, Any], name: str = "scheduledTasks") -> str:
    file = folder / ("scheduled-tasks.json" if name == "scheduledTasks" else "scheduled_tasks.json")
    file.write_text(json.dumps({name: tasks}))
    return str(file)


def test_the_tasks_of_the_app_come_as_files_and_twice_changes_nothing(root: Root) -> None:
    check_golden(root, "claude", "--timezone", ZONE)


def test_what_is_known_of_the_past_comes_too(root: Root) -> None:
    root.cli("import", "claude", str(source("claude")), "--timezone", ZONE)
    job = root.job("morning-briefing")
    assert (job["created_at"], job["last_run_at"]) == ("2026-01-05T08:00:00Z", "2026-02-27T12:30:04.120000Z")
    assert "ran " in root.ok("list").stdout
    assert root.job("nightly")["status"] == "disabled"


@pytest.mark.parametrize("job_id", ["morning-briefing", "weekly-review-5fc5def3", "job-ebbc0b28"])
def test_the_next_50_fires_are_those_of_claude(root: Root, job_id: str) -> None:
    crons = {"morning-briefing": "30 7 * * 1-5", "weekly-review-5fc5def3": "0 17 */2 * 5"}
    root.cli("import", "claude", str(source("claude")), "--timezone", ZONE)
    expression = crons.get(job_id, "*/15 9-17 * * *")
    assert fires_of(root, job_id, START) == either_day_cron(expression, ZONE, START)


def test_the_tasks_of_a_project_have_their_prompts_in_the_list(root: Root, tmp_path: Path) -> None:
    created = 1772323200000  # 2026-03-01T00:00:00Z
    file = listed(
        tmp_path,
        {"id": "a1b2c3d4", "cron": "0 8 * * *", "prompt": "Look.", "createdAt": created, "recurring": True},
        {"id": "e5f6", "cron": "30 14 2 3 *", "prompt": "Remind me.", "createdAt": created, "recurring": False},
        {"id": "off", "cron": "0 8 * * *", "prompt": "Look.", "lastFiredAt": created, "enabled": False},
        name="tasks",
    )
    found = root.json("import", "claude", file, "--timezone", "UTC")
    assert problems_of(found) == [("timezone", "warning")]
    assert root.job("e5f6")["schedule"]["at"] == "2026-03-02T14:30:00Z"
    assert (root.job("off")["status"], root.job("off")["last_run_at"]) == ("disabled", "2026-03-01T00:00:00Z")


def test_a_task_finds_its_prompt_by_the_path_that_the_list_names(root: Root, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/other").mkdir(parents=True)
    (tmp_path / "elsewhere/other/SKILL.md").write_text("Go.\n")
    (tmp_path / "secret").write_text("not a prompt\n")
    (tmp_path / "list").mkdir()
    one = {"id": "one", "filePath": str(tmp_path / "elsewhere/other/SKILL.md")}
    windows = {"id": "two", "filePath": r"C:\Users\you\.claude\scheduled-tasks\other\SKILL.md"}
    bad = {"id": "bad", "filePath": str(tmp_path / "secret")}
    found = root.cli("import", "claude", listed(tmp_path / "list", one, bad, windows), "--json")
    assert [each["id"] for each in found.json["jobs"]] == ["one"]
    assert problems_of(found.json) == [("task", "error"), ("task", "error")]
    (tmp_path / "list/scheduled-tasks/other").mkdir(parents=True)
    (tmp_path / "list/scheduled-tasks/other/SKILL.md").write_text("Go there.\n")
    found = root.cli("import", "claude", str(tmp_path / "list"), "--json")
    assert [each["id"] for each in found.json["jobs"]] == ["one", "two"]


def test_a_description_with_a_colon_in_it_costs_no_task(root: Root, tmp_path: Path) -> None:
    (tmp_path / "standup").mkdir()
    (tmp_path / "standup/SKILL.md").write_text("---\ndescription: Drafts it: yesterday, today\n---\nGo.\n")
    root.json("import", "claude", listed(tmp_path, {"id": "standup", "cronExpression": "0 9 * * *"}))
    assert root.job("standup")["description"] == "Drafts it: yesterday, today"
    assert (root.path / "prompts/imported/standup.md").read_text() == "Go.\n"
