"""import auto tells the format of a file, or of each file in a folder, by what is in it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.faces.conftest import Root
from tests.faces.imports.shown import FOLDER, compare, problems_of, source
from tests.faces.test_importing import phantom

NAMES = ("claude", "codex", "hermes", "k8s", "openclaw", "systemd")


@pytest.fixture
def one_of_each(tmp_path: Path) -> Path:
    """A folder that holds one of each, and files of other kinds."""
    folder = tmp_path / "all"
    for name in NAMES:
        shutil.copytree(source(name), folder / name)
    (folder / "crontab").write_text("MAILTO=me\n\n# Every night.\n0 1 * * * backup-all\n")
    phantom(folder / "phantom.db", {"id": "pulse", "name": "Pulse"})
    (folder / "package.json").write_text('{"name": "site", "jobs": []}')
    (folder / "values.yaml").write_text("kind: Values\n")
    (folder / "notes.md").write_text("0 1 * * * not a crontab\n")
    (folder / "other.db").write_text("not a database")
    return folder


def test_a_folder_that_holds_one_of_each_comes_whole(root: Root, one_of_each: Path) -> None:
    arguments = ("import", "auto", str(one_of_each), "--timezone", "UTC", "--no-system")
    found = root.cli(*arguments, "--json").json
    formats = Counter(each["format"] for each in found["found"])
    assert {*formats} == {*NAMES, "crontab", "phantom"}
    lines = [f"{each['format']}: {Path(each['path']).name}: {each['why']}" for each in found["found"]]
    compare(FOLDER / "auto.txt", "".join(f"{line}\n" for line in sorted(lines)))
    for name in NAMES:
        single = root.cli("import", name, str(source(name)), "--timezone", "UTC", "--dry-run", "--json").json
        assert {each["id"] for each in single["jobs"]} <= {each["id"] for each in found["jobs"]}, name
    assert {"backup-all", "pulse"} <= {each["id"] for each in found["jobs"]}
    assert ("format", "warning") in problems_of(found, "its format is unknown"), "the automation that is cut off"
    again = root.cli(*arguments, "--json").json
    assert ({each["files"] for each in again["jobs"]}, again["written"]) == ({"unchanged"}, [])


def test_it_says_how_it_knew(root: Root) -> None:
    done = root.cli("import", "auto", str(source("systemd")), "--timezone", "UTC", "--dry-run")
    assert "systemd:\n  " in done.stderr
    assert "backup.timer (line 4 is [Timer])\n" in done.stderr
    assert "  and 7 more files\n" in done.stderr


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("claude/scheduled-tasks/scheduled-tasks.json", "claude"),
        ("codex/automations/daily-brief/automation.toml", "codex"),
        ("hermes/cron/jobs.json", "hermes"),
        ("k8s/cronjobs.yaml", "k8s"),
        ("k8s/list.json", "k8s"),
        ("openclaw/cron/jobs.json", "openclaw"),
        ("systemd/backup.timer", "systemd"),
        ("crontab", "crontab"),
        ("phantom.db", "phantom"),
    ],
)
def test_a_file_of_any_name_is_told_by_its_contents(root: Root, one_of_each: Path, place: str, word: str) -> None:
    odd = (one_of_each / place).with_name("odd.name")
    (one_of_each / place).rename(odd)
    found = root.cli("import", "auto", str(odd), "--timezone", "UTC", "--no-system", "--dry-run", "--json").json
    assert [each["format"] for each in found["found"]] == [word]


def test_standard_input_is_told_too(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (source("k8s") / "list.json").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    found = root.cli("import", "auto", "-", "--timezone", "UTC", "--dry-run", "--json").json
    assert [each["path"] for each in found["found"]] == ["-"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello\n", "of no format"),
        ("", "of no format"),
        ('{"jobs": [', "it ends in the middle of the JSON text"),
        (json.dumps({"kind": "export", "format": 1}) + "\n", "of no format"),
        ("\0\1", "of no format"),
    ],
)
def test_what_is_of_no_known_format_is_refused(root: Root, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "jobs.json").write_text(text)
    done = root.cli("import", "auto", str(tmp_path / "jobs.json"))
    assert (done.code, why in done.stderr) == (2, True), done.stderr
    named = "scheduler import export " if "export" in text else "scheduler import claude|codex|"
    assert named in done.stderr


def test_a_root_without_a_shell_takes_the_prompts_and_tells_of_the_rest(root: Root, one_of_each: Path) -> None:
    root.edit("scheduler.yaml", '    command: [sh, -eu, "{task_file}"]\n', '    command: [cat, "{task_file}"]\n')
    found = root.cli("import", "auto", str(one_of_each), "--timezone", "UTC", "--no-system", "--json").json
    assert "daily-brief" in {each["id"] for each in found["jobs"]}
    assert not {"backup", "db-backup", "backup-all"} & {each["id"] for each in found["jobs"]}
    lacking = [each for each in found["problems"] if each["code"] == "import.runner"]
    assert {Path(each["path"]).name for each in lacking} >= {"crontab", "cronjobs.yaml", "jobs.json"}
    assert all("runners: {shell:" in each["hint"] for each in lacking)
