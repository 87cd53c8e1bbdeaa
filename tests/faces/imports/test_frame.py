"""What every source shares: ids, secrets, bad input, many jobs, channels and runners."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.imports import KINDS
from scheduler.core.imports.secrets import secret_in
from scheduler.service.imports.source import WORDS, source_of
from tests.faces.conftest import Root, contents
from tests.faces.imports.shown import problems_of
from tests.helpers import REPOSITORY

SOURCES = REPOSITORY / "scheduler/service/imports/sources"


def listed(folder: Path, *tasks: dict[str, Any]) -> str:
    """Tasks of a project of Claude's."""
    file = folder / "scheduled_tasks.json"
    whole = [{"id": f"t{n}", "cron": "0 8 * * *", "prompt": "Look.", **each} for n, each in enumerate(tasks, 1)]
    file.write_text(json.dumps({"tasks": whole}))
    return str(file)


def test_every_source_is_one_short_module_and_a_word_of_the_command() -> None:
    assert {*KINDS} == {"auto", "export", *WORDS}
    assert {each.stem for each in SOURCES.glob("*.py")} == {"__init__", *WORDS}
    for word in WORDS:
        assert source_of(word).word == word
        assert len((SOURCES / f"{word}.py").read_text().splitlines()) <= 150, word


def test_ids_that_differ_by_case_are_two_jobs_and_an_id_given_twice_is_one(root: Root, tmp_path: Path) -> None:
    file = listed(tmp_path, {"id": "report"}, {"id": "Report"}, {"id": "report"})
    done = root.cli("import", "claude", file, "--json")
    ids = [each["id"] for each in done.json["jobs"]]
    assert (done.code, len(ids), len({each.lower() for each in ids})) == (1, 2, 2)
    assert problems_of(done.json, "twice") == [("id", "error")]
    files = [each["file"].lower() for each in done.json["jobs"]]
    assert len({*files}) == 2
    again = root.cli("import", "claude", file, "--json").json
    assert [each["id"] for each in again["jobs"]] == ids
    assert {each["files"] for each in again["jobs"]} == {"unchanged"}


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ('{"tasks": [{"id": "a", "cron": "0 8 * * *", "pro', (1, 46), "it is not JSON"),
        ('{"tasks": [\n  {"id": "a"},\n', (3, 1), "ends in the middle"),
        ("\n", (1, 1), "it is empty"),
        ("[" * 100_000, (1, 1), "nested too deeply"),
        ('{"tasks": [{"id": "a",}]}', (1, 23), "it is not JSON"),
    ],
    ids=["in a text", "in a list", "empty", "deep", "a comma too many"],
)
def test_json_that_is_cut_off_or_broken_is_told_with_its_place(
    root: Root, tmp_path: Path, text: str, place: tuple[int, int], why: str
) -> None:
    (tmp_path / "scheduled_tasks.json").write_text(text)
    done = root.cli("import", "claude", str(tmp_path / "scheduled_tasks.json"), "--json")
    (problem,) = done.json["problems"]
    assert (done.code, problem["code"], why in problem["message"]) == (1, "import.format", True), problem
    assert problem["line"] == place[0]
    assert done.json["jobs"] == []


def test_bytes_that_are_no_text_are_told_and_another_file_is_read(root: Root, tmp_path: Path) -> None:
    for name, data in (("a", b'{"tasks": [{"id": "\xff"}]}'), ("b", b'\xef\xbb\xbf{"tasks": []}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scheduled_tasks.json").write_bytes(data)
    listed(tmp_path, {})
    done = root.cli("import", "claude", str(tmp_path), "--json")
    assert [each["id"] for each in done.json["jobs"]] == ["t1"]
    assert problems_of(done.json) == [("format", "error"), ("timezone", "warning")]


def test_ten_thousand_jobs_come_at_once(root: Root, tmp_path: Path) -> None:
    file = listed(tmp_path, *({"id": f"j{n}"} for n in range(10_000)))
    begun = time.process_time()
    found = root.json("import", "claude", file, "--timezone", "UTC", "--dry-run")
    assert len(found["jobs"]) == 10_000
    assert time.process_time() - begun < 60


def test_a_prompt_of_a_megabyte_is_left_out_and_no_other(root: Root, tmp_path: Path) -> None:
    done = root.cli("import", "claude", listed(tmp_path, {"prompt": "x " * 500_000}, {}), "--json")
    assert [each["id"] for each in done.json["jobs"]] == ["t2"]
    assert problems_of(done.json, "t1: ") == [("task", "error")]
    root.edit("scheduler.yaml", "version: 1\n", "version: 1\nlimits: {task_bytes: 2MiB}\n")
    found = root.json("import", "claude", listed(tmp_path, {"prompt": "x " * 500_000}))
    assert len((root.path / found["jobs"][0]["task_file"]).read_text()) == 1_000_001


@pytest.mark.parametrize(
    "task",
    [
        {"id": f"sk-ant-{'hunter2' * 4}"},
        {"prompt": f"Use sk-ant-{'hunter2' * 4} to log in."},
        {"prompt": "export API_TOKEN=hunter2hunter2 first."},
        {"prompt": "git clone https://you:hunter2hunter2@example.com/x.git"},
        {"prompt": "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2hunter2\n"},
        {"cwd": "/srv/ghp_hunter2hunter2hunter2hunter2hunter2"},
        {"name": "xoxb-hunter2hunter2"},
        {"model": "xoxb-hunter2hunter2"},
        {"description": "the PASSWORD=hunter2hunter2"},
    ],
    ids=[
        "an id",
        "an API key",
        "assigned",
        "in a URL",
        "a private key",
        "a folder",
        "a name",
        "a model",
        "a description",
    ],
)
def test_a_secret_is_never_written_and_it_is_told_where_to_put_it(
    root: Root, tmp_path: Path, task: dict[str, Any]
) -> None:
    done = root.cli("import", "claude", listed(tmp_path, task, {}), "--json")
    assert [each["id"] for each in done.json["jobs"]] == ["t2"]
    (problem,) = [each for each in done.json["problems"] if each["severity"] == "error"]
    place = "another id" if "id" in task else "env_from of runners.agent"
    assert (problem["code"], place in problem["hint"]) == ("import.secret", True)
    assert not any(b"hunter2" in data or b"sk-ant" in data for data in contents(root.path).values())
    assert "hunter2" not in done.stdout
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("text", ["a", "A_", "-a", " -a-a", "TOKEN_", "eyJ", "a://", "a://b:c", "bearer ", "1", "a."])
def test_a_long_text_of_one_kind_is_searched_for_secrets_at_once(text: str) -> None:
    begun = time.process_time()
    assert secret_in(text * (200_000 // len(text))) is None
    assert time.process_time() - begun < 10


def test_a_reference_to_a_secret_is_none(root: Root, tmp_path: Path) -> None:
    prompts = ["Log in with $API_TOKEN.", "curl -H 'Authorization: Bearer $TOKEN'", "--token $TOKEN", "token=a"]
    found = root.json("import", "claude", listed(tmp_path, *({"prompt": each} for each in prompts)))
    assert len(found["jobs"]) == len(prompts)


def test_a_secret_in_an_unknown_field_is_not_shown(root: Root, tmp_path: Path) -> None:
    task = {"apiKey": "hunter2hunter2", "note": "xoxb-hunter2hunter2", "password": "hunter2hunter2"}
    task |= {"botToken": "hunter2hunter2", "my-secret": "hunter2hunter2"}
    done = root.cli("import", "claude", listed(tmp_path, task))
    assert "not carried: apiKey (not shown, it looks like a secret), note (not shown" in done.stderr
    assert "hunter2" not in done.stderr


SECRET = f"sk-ant-{'hunter2' * 12}"
QUOTED = {
    "claude": ("scheduled_tasks.json", {"tasks": [{"id": "a", "fireAt": SECRET, "prompt": "Go."}]}),
    "hermes": ("jobs.json", {"jobs": [{"id": "a", "prompt": "Go.", "schedule": {"kind": SECRET}}]}),
    "hermes at": (
        "jobs.json",
        {"jobs": [{"id": "a", "prompt": "Go.", "schedule": {"kind": "once", "run_at": SECRET}}]},
    ),
    "hermes deliver": (
        "jobs.json",
        {
            "jobs": [
                {
                    "id": "a",
                    "prompt": "Go.",
                    "schedule": {"kind": "interval", "minutes": 5},
                    "deliver": SECRET,
                    "paused_reason": SECRET,
                    "state": "paused",
                    "last_error": SECRET,
                    "last_run_at": 1,
                }
            ]
        },
    ),
    "openclaw": ("jobs.json", {"version": SECRET, "jobs": []}),
    "openclaw kind": ("jobs.json", {"jobs": [{"id": "a", "schedule": {"kind": SECRET}, "payload": {"kind": "x"}}]}),
    "openclaw payload": (
        "jobs.json",
        {"jobs": [{"id": "a", "schedule": {"kind": "every", "everyMs": 5000}, "payload": {"kind": SECRET}}]},
    ),
    "k8s": ("a.json", {"kind": "CronJob", "apiVersion": SECRET, "metadata": {"name": "a"}}),
    "k8s name": ("a.json", {"kind": "CronJob", "apiVersion": "batch/v1", "metadata": {"name": SECRET}}),
}


@pytest.mark.parametrize("name", QUOTED)
def test_a_value_that_looks_like_a_secret_is_in_no_part_of_a_report(root: Root, tmp_path: Path, name: str) -> None:
    file, value = QUOTED[name]
    (tmp_path / file).write_text(json.dumps(value))
    told = ""
    for word in (name.split()[0], "auto"):
        for how in ((), ("--json",)):
            done = root.cli("import", word, str(tmp_path / file), "--timezone", "UTC", *how)
            told += done.stdout + done.stderr
    told += str(root.cli("list", "--json").stdout) + str(root.cli("show", "a").stdout)
    assert "looks like a secret" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("name", ["kind", "rrule", "id", "status"])
def test_a_value_of_an_automation_that_looks_like_a_secret_is_not_shown(root: Root, tmp_path: Path, name: str) -> None:
    values = {"id": "a", "prompt": "Go.", "rrule": "FREQ=DAILY", name: f"FREQ=X;{SECRET}"}
    (tmp_path / "automation.toml").write_text("".join(f"{key} = {json.dumps(each)}\n" for key, each in values.items()))
    done = root.cli("import", "codex", str(tmp_path), "--timezone", "UTC")
    assert ("hunter2" in done.stdout + done.stderr, "a" in done.stderr) == (False, True), done.stderr


@pytest.mark.parametrize("line", ["OnCalendar=SECRET", "OnUnitActiveSec=SECRET", "OnCalendar=daily\nUnit=SECRET"])
def test_a_value_of_a_unit_that_looks_like_a_secret_is_not_shown(root: Root, tmp_path: Path, line: str) -> None:
    (tmp_path / "a.timer").write_text(f"[Timer]\n{line.replace('SECRET', SECRET)}\n")
    (tmp_path / "a.service").write_text("[Service]\nExecStart=true\n")
    done = root.cli("import", "systemd", str(tmp_path), "--timezone", "UTC")
    assert ("hunter2" in done.stdout + done.stderr, "a" in done.stderr) == (False, True), done.stderr


def test_a_secret_in_a_crontab_is_not_written_either(root: Root, tmp_path: Path) -> None:
    (tmp_path / "crontab").write_text(
        'API_TOKEN=hunter2hunter2\n0 1 * * * curl -H "X: $API_TOKEN" example.com\n'
        "0 2 * * * curl -u me --password hunter2hunter2 example.com\n"
        "# The password is PASSWORD=hunter2hunter2.\n0 3 * * * echo hi\n"
    )
    done = root.cli("import", "crontab", str(tmp_path / "crontab"), "--no-system", "--json")
    assert len(done.json["jobs"]) == 1
    assert problems_of(done.json)[:4] == [
        ("timeout", "warning"),
        ("secret", "warning"),
        ("secret", "error"),
        ("secret", "error"),
    ]
    assert not any(b"hunter2" in data for data in contents(root.path).values())


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("0 9 L * *", "'L' is not crontab(5)"),
        ("0 9 * * 5L", "'5L' is not crontab(5)"),
        ("H H * * *", "scatters such words by a hash"),
        ("H/15 * * * *", "scatters such words by a hash"),
        ("daily on weekdays", "scatters such words by a hash"),
        ("weekly", "scatters such words by a hash"),
        ("0 25 * * *", "hour 25"),
        ("", None),
    ],
)
def test_a_time_that_cannot_be_said_here_is_told_by_name(
    root: Root, tmp_path: Path, cron: str, why: str | None
) -> None:
    done = root.cli("import", "claude", listed(tmp_path, {"cron": cron}, {}), "--json")
    assert [each["id"] for each in done.json["jobs"]][-1] == "t2"
    errors = [each["message"] for each in done.json["problems"] if each["severity"] == "error"]
    assert (why is None and not errors) or (len(errors) == 1 and str(why) in errors[0]), errors


def test_an_emoji_is_a_name(root: Root, tmp_path: Path) -> None:
    found = root.json("import", "claude", listed(tmp_path, {"id": "🚀", "name": "🚀 Ship"}, {"name": "🌙"}))
    jobs = found["jobs"]
    assert [(each["name"], each["file"]) for each in jobs] == [
        ("🚀 Ship", "jobs/imported/ship.yaml"),
        ("🌙", "jobs/imported/t2.yaml"),
    ]
    assert root.job(jobs[0]["id"])["name"] == "🚀 Ship"


def test_half_a_character_is_told_and_never_crashes(root: Root, tmp_path: Path) -> None:
    (tmp_path / "scheduled_tasks.json").write_text(
        '{"tasks": [{"id": "a\\ud800", "cron": "0 8 * * *", "prompt": "x\\ud83d", "odd\\ud800": "\\ud800"}]}'
    )
    done = root.cli("import", "claude", str(tmp_path), "--json")
    assert (done.code, done.json["jobs"]) == (1, [])


def test_a_prefix_begins_each_id(root: Root, tmp_path: Path) -> None:
    found = root.json("import", "claude", listed(tmp_path, {}, {"id": "X"}), "--prefix", "web-")
    assert found["jobs"][0]["id"] == "web-t1"
    assert found["jobs"][1]["id"].startswith("web-x-")
    assert root.cli("import", "claude", listed(tmp_path, {}), "--prefix", "-").code == 2


def test_a_model_and_a_folder_that_the_runner_allows_are_keys_of_the_job(root: Root, tmp_path: Path) -> None:
    text = "  writer: {command: [cat, '{model}'], model: small, job_models: ['big-*'], workdirs: [/srv/sites]}\n"
    root.edit("scheduler.yaml", "  shell:\n", text + "  shell:\n")
    task = {"model": "big-1", "cwd": "/srv/sites/a"}
    found = root.json("import", "claude", listed(tmp_path, task, {"model": "other"}), "--runner", "writer")
    text = (root.path / found["jobs"][0]["file"]).read_text()
    assert "model: big-1\n" in text
    assert "workdir: /srv/sites/a\n" in text
    assert problems_of(found, "t2: ") == [("model", "warning")]


def test_a_runner_that_is_called_like_the_source_gets_its_prompts(root: Root, tmp_path: Path) -> None:
    root.edit("scheduler.yaml", "  shell:\n", "  claude: {command: [cat], input: stdin}\n  shell:\n")
    found = root.json("import", "claude", listed(tmp_path, {}))
    assert [(each["name"], each["jobs"]) for each in found["runners"]] == [("claude", ["t1"])]
    found = root.json("import", "claude", listed(tmp_path, {}, {}), "--runner", "agent")
    assert [(each["name"], each["jobs"]) for each in found["runners"]] == [("agent", ["t2"])]
    root.edit("scheduler.yaml", "input: stdin}\n", "input: stdin, jobs: ['tag:mine']}\n")
    found = root.json("import", "claude", listed(tmp_path, {}, {}, {}), "--dry-run")
    assert [(each["name"], each["jobs"]) for each in found["runners"]] == [("agent", ["t3"])]


def test_an_asked_for_runner_gets_the_jobs_that_it_fits(root: Root, tmp_path: Path) -> None:
    every = {"kind": "interval", "minutes": 60}
    jobs = [
        {"id": "a", "prompt": "Go.", "schedule": every},
        {"id": "b", "script": "x.sh", "no_agent": True, "schedule": every},
    ]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": jobs}))
    root.edit("scheduler.yaml", "  shell:\n", "  other: {command: [cat], input: stdin}\n  shell:\n")
    found = root.json("import", "hermes", str(tmp_path), "--runner", "other")
    assert [(each["name"], each["jobs"]) for each in found["runners"]] == [("other", ["a"]), ("shell", ["b"])]
    (tmp_path / "x.timer").write_text("[Timer]\nOnCalendar=daily\n")
    (tmp_path / "x.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert root.cli("import", "systemd", str(tmp_path / "x.timer"), "--runner", "other").code == 2
    found = root.json("import", "auto", str(tmp_path / "x.timer"), "--runner", "other")
    assert [(each["name"], each["jobs"]) for each in found["runners"]] == [("shell", ["x"])]
    assert root.cli("import", "auto", str(tmp_path / "x.timer"), "--runner", "othre").code == 2


def test_paused_jobs_wait_until_they_are_resumed(root: Root, tmp_path: Path) -> None:
    found = root.json("import", "claude", listed(tmp_path, {"createdAt": 1772323200000}), "--paused")
    assert found["paused"] == ["t1"]
    assert root.job("t1")["paused"]["reason"] == "imported"


def test_a_folder_without_jobs_and_a_file_that_is_not_there_are_told(root: Root, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert root.cli("import", "claude", str(tmp_path / "empty")).code == 2
    gone = root.cli("import", "claude", str(tmp_path / "nothing.json"))
    assert (gone.code, "No such file" in gone.stderr) == (5, True)


def test_a_hint_says_which_of_several_fields_it_is_about(root: Root, tmp_path: Path) -> None:
    task = {"permissionMode": "plan", "approvedPermissions": ["Bash"], "useWorktree": True, "other": 1}
    told = str(root.json("import", "claude", listed(tmp_path, task))["problems"])
    allow = "permissionMode, approvedPermissions: allow the tools in the runner's command"
    assert f"{allow}; useWorktree: for a new worktree" in told
    told = str(root.json("import", "claude", listed(tmp_path, {"permissionMode": "plan"}))["problems"])
    assert "permissionMode: " not in told


def test_a_different_job_with_the_id_of_an_imported_one_is_told_with_what_to_do(root: Root, tmp_path: Path) -> None:
    root.json("import", "claude", listed(tmp_path, {"id": "same"}))
    (tmp_path / "automation.toml").write_text('id = "same"\nprompt = "Go."\nrrule = "FREQ=MINUTELY"\n')
    other = root.json("import", "codex", str(tmp_path / "automation.toml"))
    (kept,) = [each for each in other["problems"] if each["code"] == "import.kept"]
    assert ("exists with other content" in kept["message"], "--prefix" in kept["hint"]) == (True, True)
    assert other["written"] == []
    assert root.json("import", "codex", str(tmp_path / "automation.toml"), "--prefix", "codex-")["written"]


def unreadable(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Refuse to list this folder, also to root."""
    scandir = os.scandir

    def refuse(folder: Any = ".") -> Any:
        if not isinstance(folder, int) and Path(folder) == place:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.parametrize("word", ["claude", "auto"])
def test_what_cannot_be_read_in_a_folder_is_told_with_its_place_and_what_to_do(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    folder = tmp_path / "all"
    for each in ("locked", "gone", "loop", "pipe", "elsewhere"):
        (folder / each).mkdir(parents=True)
    listed(folder, {})
    (folder / "gone/scheduled_tasks.json").symlink_to("nothing.json")
    (folder / "loop/scheduled_tasks.json").symlink_to("scheduled_tasks.json")
    os.mkfifo(folder / "pipe/scheduled_tasks.json")
    (folder / "back").symlink_to(folder)
    (folder / "linked").symlink_to(root.path)
    unreadable(monkeypatch, folder / "locked")
    done = root.cli("import", word, str(folder), "--timezone", "UTC", "--json")
    told = {Path(each["path"]).relative_to(folder).as_posix(): each for each in done.json["problems"]}
    assert (done.code, [each["id"] for each in done.json["jobs"]]) == (1, ["t1"])
    for place, why, severity in (
        ("locked", "the folder cannot be read: Permission denied", "error"),
        ("gone/scheduled_tasks.json", "links to a file that is not there", "error"),
        ("loop/scheduled_tasks.json", "Too many levels of symbolic links", "error"),
        ("pipe/scheduled_tasks.json", "no regular file", "warning"),
        ("linked", "a link to a folder", "error"),
    ):
        assert (why in told[place]["message"], told[place]["severity"], told[place]["hint"] != "") == (
            True,
            severity,
            True,
        ), told[place]
        assert "left out" in told[place]["message"]
    assert "back" not in told, "what it holds is read anyway"


def test_a_folder_that_cannot_be_read_at_all_is_refused(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch, tmp_path)
    done = root.cli("import", "claude", str(tmp_path))
    assert (done.code, "Permission denied" in done.stderr) == (5, True)


def test_a_file_that_cannot_be_read_leaves_out_no_other(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (REPOSITORY / "tests/golden/imports/k8s/source/list.json").read_text()
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(text)
    opened = Path.open

    def refuse(path: Path, *args: Any, **more: Any) -> Any:
        if path.name == "a.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *args, **more)

    monkeypatch.setattr(Path, "open", refuse)
    for word in ("k8s", "auto"):
        done = root.cli("import", word, str(tmp_path), "--timezone", "UTC", "--dry-run", "--json")
        told = [each for each in done.json["problems"] if each["path"].endswith("a.json")]
        assert (len(done.json["jobs"]), len(told)) == (2, 1), done
        assert "Permission denied" in told[0]["message"]


@pytest.mark.parametrize(("word", "name"), [("hermes", "config.yaml"), ("openclaw", "cron/jobs-state.json")])
def test_a_file_beside_the_list_that_cannot_be_read_is_told(root: Root, tmp_path: Path, word: str, name: str) -> None:
    folder = shutil.copytree(REPOSITORY / "tests/golden/imports" / word / "source", tmp_path / "all")
    (folder / name).write_bytes(b'{"jobs": "\xff')
    done = root.cli("import", word, str(folder), "--dry-run", "--json")
    (told,) = [each for each in done.json["problems"] if each["code"] == "import.unread"]
    assert (Path(told["path"]).name, "left out" in told["message"]) == (Path(name).name, True)


def test_a_job_is_found_by_its_id_wherever_it_and_its_task_have_been_moved(root: Root, tmp_path: Path) -> None:
    file = listed(tmp_path, {"name": "One"}, {"name": "Two"}, {"name": "Three"}, {"name": "Four"})
    root.json("import", "claude", file, "--timezone", "UTC")
    root.move("jobs/imported/one.yaml", "jobs/team/morning.yaml")
    root.move("jobs/imported/two.yaml", "jobs/team/noon.yaml")
    root.move("prompts/imported/two.md", "prompts/noon.md")
    root.edit("jobs/team/noon.yaml", "prompts/imported/two.md", "prompts/noon.md")
    both = [(root.path / f"jobs/imported/{each}.yaml").read_text() for each in ("three", "four")]
    for each in ("three", "four"):
        (root.path / f"jobs/imported/{each}.yaml").unlink()
    (root.path / "jobs/both.yaml").write_text("---\n".join(both))
    root.json("sync")
    before = contents(root.path / "jobs"), contents(root.path / "prompts"), root.facts()
    again = root.json("import", "claude", file, "--timezone", "UTC")
    assert {each["files"] for each in again["jobs"]} == {"unchanged"}
    assert [each["file"] for each in again["jobs"]] == [
        "jobs/team/morning.yaml",
        "jobs/team/noon.yaml",
        *["jobs/both.yaml"] * 2,
    ]
    assert "import.kept" not in str(again["problems"])
    assert (contents(root.path / "jobs"), contents(root.path / "prompts"), root.facts()) == before


@pytest.mark.parametrize("word", ["claude", "codex", "hermes", "k8s", "openclaw"])
def test_the_past_of_a_job_comes_once_and_is_no_run_no_fire_and_no_spending(root: Root, word: str) -> None:
    source = REPOSITORY / "tests/golden/imports" / word / "source"
    arguments = ("import", word, str(source), "--timezone", "UTC", "--json")
    first = root.cli(*arguments).json
    carried = [each["id"] for each in first["jobs"] if each["history"] == "carried"]
    root.json("sync")
    again = root.cli(*arguments).json
    assert carried
    assert {each["history"] for each in again["jobs"] if each["id"] in carried} == {"already"}
    with closing(sqlite3.connect(root.db)) as sql:
        rows = sql.execute("SELECT job_id, count(*) FROM audit WHERE action = 'import' GROUP BY job_id").fetchall()
        assert sorted(rows) == sorted((each, 1) for each in carried)
        for table in ("runs", "spending"):
            assert sql.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        lasts = sql.execute("SELECT id, last_run_at FROM jobs WHERE last_run_at NOTNULL").fetchall()
    for job_id, at in lasts:
        assert {each["fire_time"] for each in root.json("next", job_id, "-n", "3")["fires"]}.isdisjoint({at})
        assert root.runs(job_id) == []
