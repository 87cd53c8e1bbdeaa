"""What people and machines get wrong: each is said clearly, or becomes a skip with its reason, and loses nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import CLOCK, HEARTBEAT, JOBS, ROOT_FILE, TRIAGE, Root
from tests.helpers import call

MARKERS = "<<<<<<< HEAD\nSort by date.\n=======\nSort by sender.\n>>>>>>> feature\n"

# -- the task ---------------------------------------------------------------------------------------


def missing(prompt: Path) -> None:
    prompt.unlink()


def folder_gone(prompt: Path) -> None:
    shutil.rmtree(prompt.parent)


def binary(prompt: Path) -> None:
    prompt.write_bytes(b"\x7fELF\x02\x01\x00\xff\xfe")


def too_large(prompt: Path) -> None:
    prompt.write_bytes(b"x" * (256 * 1024 + 1))


def link_out_of_the_root(prompt: Path) -> None:
    outside = prompt.parents[2] / "secret.md"
    outside.write_text("hunter2\n")
    prompt.unlink()
    prompt.symlink_to(outside)


def folder_linked_out_of_the_root(prompt: Path) -> None:
    outside = prompt.parents[2] / "outside"
    prompt.parent.rename(outside)
    prompt.parent.symlink_to(outside)


def conflict_markers(prompt: Path) -> None:
    prompt.write_text(f"Sort the inbox.\n{MARKERS}")


def a_folder(prompt: Path) -> None:
    prompt.unlink()
    prompt.mkdir()


def a_fifo(prompt: Path) -> None:
    prompt.unlink()
    os.mkfifo(prompt)


def blank(prompt: Path) -> None:
    prompt.write_text(" \n\n")


BAD_TASKS = [
    (missing, "task.missing", "source_missing"),
    (folder_gone, "task.missing", "source_missing"),
    (binary, "task.unreadable", "source_not_utf8"),
    (too_large, "task.unreadable", "source_too_large"),
    (link_out_of_the_root, "task.unreadable", "source_outside_root"),
    (folder_linked_out_of_the_root, "task.unreadable", "source_outside_root"),
    (conflict_markers, "task.unreadable", "source_conflict_markers"),
    (a_folder, "task.unreadable", "source_not_regular"),
    (a_fifo, "task.unreadable", "source_not_regular"),
    (blank, "task.unreadable", "source_empty"),
]


@pytest.fixture
def ran(lived_in: Root) -> Root:
    """Besides, triage has run once."""
    lived_in.run("triage")
    return lived_in


@pytest.mark.parametrize(("spoil", "code", "reason"), BAD_TASKS)
def test_a_bad_task_is_an_error_at_its_key(root: Root, spoil: Callable[[Path], None], code: str, reason: str) -> None:
    spoil(root.path / "prompts/triage.md")
    found = root.cli("validate", "--json")
    assert found.code == 1
    assert found.problems == [("jobs/triage.yaml", 4, 19, code)]
    assert "hunter2" not in found.stdout + found.stderr


@pytest.mark.parametrize(("spoil", "code", "reason"), BAD_TASKS)
def test_a_bad_task_is_told_beside_what_else_is_wrong_with_its_job(
    root: Root, spoil: Callable[[Path], None], code: str, reason: str
) -> None:
    root.write("jobs/triage.yaml", TRIAGE + "tag: [mail]\nenv: {SECRET: x}\n")
    spoil(root.path / "prompts/triage.md")
    assert root.cli("validate", "--json").problems == [
        ("jobs/triage.yaml", 4, 19, code),
        ("jobs/triage.yaml", 5, 1, "key.unknown"),
        ("jobs/triage.yaml", 6, 7, "env.not-allowed"),
    ]
    assert "triage" not in root.cli("sync", "--json").json["created"]


@pytest.mark.parametrize(
    ("task", "codes"),
    [
        ("task_source_path: ../prompts/gone.md\n", ["task.path"]),
        ("task_source_path: [prompts/gone.md]\n", ["value.type"]),
        ("task_source_path: &p prompts/gone.md\n", ["task.missing", "yaml.anchor"]),
        ("task_source_path: !p prompts/gone.md\n", ["yaml.tag"]),
        ("task_source_path: prompts/gone.md\ntask: x\n", ["task.sources"]),
        ("runner: shell\ntask_source_path: prompts/gone.md\n", ["runner.task-not-allowed", "task.missing"]),
        (f"task: {'x' * 262_145}\n", ["task.unreadable"]),
        ("task: ' '\n", ["task.empty"]),
    ],
)
def test_one_fault_of_a_task_is_told_once(root: Root, task: str, codes: list[str]) -> None:
    root.write("jobs/other.yaml", f"id: other\nschedule: '@daily'\n{task}tag: x\n")
    found = sorted(code for _, _, _, code in root.cli("validate", "--json").problems)
    assert found == sorted([*codes, "key.unknown"])


@pytest.mark.parametrize(("spoil", "code", "reason"), BAD_TASKS)
def test_a_run_of_a_bad_task_is_a_skip_with_its_reason(
    ran: Root, spoil: Callable[[Path], None], code: str, reason: str
) -> None:
    before, others = ran.job("triage"), {**ran.facts(), "triage": None}
    (first,) = ran.runs("triage")
    spoil(ran.path / "prompts/triage.md")
    ended = ran.cli("run", "triage", "--wait", "--json")
    assert ended.code == 1
    skip = ended.json["run"]
    assert (skip["id"], skip["trigger"], skip["status"], skip["reason"]) == ("triage:2", "manual", "skipped", reason)
    assert skip["error"]
    assert skip["attempts"] == []
    for name in ("started_at", "task_sha256", "source_sha256", "result", "exit_code"):
        assert skip[name] is None, name
    assert "hunter2" not in ended.stdout + ended.stderr
    assert ran.runs("triage") == [skip, first]
    assert ran.cli("task", "triage:2").code == 2

    after = ran.job("triage")
    place = spoil is folder_gone  # which is no fault of the job
    assert after["consecutive_errors"] == before["consecutive_errors"] + (not place)
    assert (after["last_skip_reason"], after["last_skip_at"]) == (reason, skip["finished_at"])
    unchanged = ("run_count", "last_run_at", "last_run_status", "last_run_error", "generation", "next_run_at", "status")
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    assert {**ran.facts(), "triage": None} == others


@pytest.mark.parametrize(("spoil", "code", "reason"), BAD_TASKS)
def test_a_sync_keeps_a_known_job_whose_task_is_bad_and_the_next_good_text_runs(
    ran: Root, spoil: Callable[[Path], None], code: str, reason: str
) -> None:
    before = ran.facts()
    spoil(ran.path / "prompts/triage.md")
    ran.edit("jobs/triage.yaml", "id: triage\n", "id: triage\nname: Sorting\n")  # the definition is not at fault
    found = ran.cli("sync", "--json")
    assert (found.code, found.problems) == (1, [("jobs/triage.yaml", 5, 19, code)])
    assert found.json["archived"] == []
    job = ran.job("triage")
    assert (job["name"], job["generation"]) == ("Sorting", 2)
    assert [each["code"] for each in job["problems"]] == [code]
    assert ran.runs("triage") == before["triage"][1]

    shutil.rmtree(ran.path / "prompts", ignore_errors=True)
    (ran.path / "prompts").unlink(missing_ok=True)
    ran.write("prompts/triage.md", "Start anew.\n")
    assert ran.run("triage")["result"] == "Start anew.\n"
    ran.sync()
    job = ran.job("triage")
    assert (job["run_count"], job["consecutive_errors"], job["problems"]) == (2, 0, [])
    assert {**ran.facts(), "triage": None} == {**before, "triage": None}


def test_a_skip_between_runs_counts_as_an_error_and_a_success_ends_the_streak(ran: Root) -> None:
    ran.delete("prompts/triage.md")
    for errors in (1, 2, 3):
        assert ran.cli("run", "triage", "--wait").code == 1
        assert ran.job("triage")["consecutive_errors"] == errors
    ran.write("prompts/triage.md", "Back.\n")
    ran.run("triage")
    job = ran.job("triage")
    assert (job["consecutive_errors"], job["run_count"]) == (0, 2)
    assert [run["status"] for run in ran.runs("triage")] == ["succeeded", *["skipped"] * 3, "succeeded"]


def test_a_job_never_seen_is_not_created_while_its_task_is_bad(root: Root) -> None:
    root.delete("prompts/triage.md")
    found = root.cli("sync", "--json")
    assert found.code == 1
    assert found.json["created"] == [job for job in JOBS if job != "triage"]
    assert root.cli("show", "triage").code == 2
    root.write("prompts/triage.md", "Here.\n")
    assert root.sync()["created"] == ["triage"]


def test_a_task_of_exactly_the_limit_runs(root: Root) -> None:
    root.sync()
    root.write("prompts/triage.md", "x" * (256 * 1024))
    assert root.run("triage")["task_bytes"] == 256 * 1024


def test_conflict_markers_in_a_markdown_job_stop_it_and_keep_it(lived_in: Root) -> None:
    before = lived_in.facts()
    lived_in.write("jobs/heartbeat.md", HEARTBEAT + MARKERS)
    found = lived_in.cli("validate", "--json")
    assert found.code == 1
    assert [(path, line) for path, line, _, _ in found.problems] == [("jobs/heartbeat.md", 11)]
    assert lived_in.cli("sync").code == 1
    assert lived_in.job("heartbeat")["sync_state"] == "invalid"
    assert lived_in.facts() == before
    assert lived_in.cli("run", "heartbeat", "--wait").code == 1
    skip, *earlier = lived_in.runs("heartbeat")
    assert (skip["status"], skip["reason"]) == ("skipped", "source_conflict_markers")
    assert earlier == before["heartbeat"][1]


# -- job files --------------------------------------------------------------------------------------


def test_two_files_with_one_id_are_both_named_and_the_last_good_stays(lived_in: Root) -> None:
    before = lived_in.facts()
    lived_in.write("jobs/copy.yaml", "# a copy\nid: triage\nschedule: '@hourly'\ntask: Mine.\n")
    lived_in.edit("jobs/triage.yaml", "0 9 *", "0 8 *")  # neither is applied, not even the old place
    for command in ("validate", "sync"):
        found = lived_in.cli(command, "--json")
        assert found.code == 1
        assert found.problems == [("jobs/copy.yaml", 2, 1, "id.duplicate"), ("jobs/triage.yaml", 1, 1, "id.duplicate")]
        first, second = found.json["problems"]
        assert "jobs/triage.yaml:1" in first["message"]
        assert "jobs/copy.yaml:2" in second["message"]
    assert lived_in.facts() == before
    assert lived_in.job("triage")["sync_state"] == "conflict"
    assert lived_in.run("triage")["result"] == "Sort the inbox.\n"  # the text its last good definition names

    lived_in.delete("jobs/copy.yaml")
    lived_in.sync()
    job = lived_in.job("triage")
    assert (job["sync_state"], job["generation"], job["run_count"], job["problems"]) == ("synced", 2, 1, [])


def test_a_new_id_in_two_files_creates_nothing(root: Root) -> None:
    root.sync()
    before = root.facts()
    for path in ("jobs/a.yaml", "jobs/b.yaml"):
        root.write(path, "id: twin\nschedule: '@daily'\ntask: Mine.\n")
    found = root.cli("sync", "--json")
    assert (found.code, found.json["created"]) == (1, [])
    assert [path for path, _, _, code in found.problems if code == "id.duplicate"] == ["jobs/a.yaml", "jobs/b.yaml"]
    assert root.facts() == before
    root.delete("jobs/b.yaml")
    assert root.sync()["created"] == ["twin"]


def test_one_id_twice_in_one_file_is_a_conflict_too(lived_in: Root) -> None:
    before = lived_in.facts()
    lived_in.write("jobs/triage.yaml", f"{TRIAGE}---\n{TRIAGE}")
    found = lived_in.cli("sync", "--json")
    assert found.code == 1
    assert found.problems == [("jobs/triage.yaml", 1, 1, "id.duplicate"), ("jobs/triage.yaml", 6, 1, "id.duplicate")]
    assert lived_in.facts() == before


def test_ids_that_look_alike_are_a_warning_at_both_places_and_both_run(root: Root) -> None:
    root.sync()
    root.write("jobs/a.yaml", "id: disk-report\nschedule: '@daily'\ntask: One.\n")
    root.write("jobs/b.yaml", "# two\nid: disk_report\nschedule: '@daily'\ntask: Two.\n")
    expected = [("jobs/a.yaml", 1, 1, "id.similar"), ("jobs/b.yaml", 2, 1, "id.similar")]
    for command in ("validate", "plan", "sync"):
        found = root.cli(command, "--json")
        assert (found.code, found.problems) == (0, expected)
        assert {each["severity"] for each in found.json["problems"]} == {"warning"}
    assert (root.run("disk-report")["result"], root.run("disk_report")["result"]) == ("One.", "Two.")
    assert root.cli("list", "--json").problems == expected  # also after the partial pass of a run


def test_an_id_in_capitals_is_an_error_that_names_the_right_one(root: Root) -> None:
    root.write("jobs/a.yaml", TRIAGE.replace("id: triage", "id: Triage"))
    (found,) = root.cli("validate", "--json").json["problems"]
    assert (found["code"], found["hint"]) == ("id.invalid", "write triage")


def test_file_names_that_differ_by_case_only_are_a_warning(root: Root) -> None:
    root.write("jobs/Triage.yaml", "id: other\nschedule: '@daily'\ntask: One.\n")
    if (root.path / "jobs/triage.yaml").read_text() != TRIAGE:
        pytest.skip("a file system where case does not count")
    root.write("jobs/TRIAGE.yaml", "")
    found = root.cli("validate", "--json")
    assert (found.code, found.problems) == (
        0,
        [(f"jobs/{name}.yaml", 1, 1, "file.case") for name in ("TRIAGE", "Triage", "triage")],
    )


BROKEN: dict[str, str | bytes] = {
    "not YAML": "id: [triage\n",
    "no id": TRIAGE.replace("id: triage\n", ""),
    "an unknown key": TRIAGE.replace("schedule:", "shedule:"),
    "an unknown channel": TRIAGE + "deliver: [owner]\n",
    "a ping with its secret": TRIAGE + "ping: https://hc-ping.com/5b3f6c1e\n",
    "conflict markers": TRIAGE + MARKERS,
    "a tab": TRIAGE.replace("schedule: ", "\tschedule: "),
    "not UTF-8": b"\xff\xfe" + TRIAGE.encode(),
    "too large": TRIAGE + "#" * 1024 * 1024,
    "a list": f"- {TRIAGE}".replace("\n", "\n  "),
    "an unknown runner": TRIAGE + "runner: nobody\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_keeps_its_job_and_stops_no_other(lived_in: Root, kind: str) -> None:
    before = lived_in.facts()
    lived_in.write("jobs/triage.yaml", BROKEN[kind])
    lived_in.edit("jobs/flaky.yaml", "@daily", "@hourly")
    lived_in.write("jobs/new.yaml", "id: new\nschedule: '@daily'\ntask: New.\n")
    found = lived_in.cli("sync", "--json")
    assert found.code == 1
    assert {path for path, _, _, _ in found.problems} == {"jobs/triage.yaml"}
    assert (found.json["created"], [each["id"] for each in found.json["updated"]]) == (["new"], ["flaky"])
    assert found.json["archived"] == []
    after = lived_in.facts()
    assert {**after, "flaky": None, "new": None} == {**before, "flaky": None, "new": None}
    job = lived_in.job("triage")
    assert job["sync_state"] == "invalid"
    assert job["problems"] != []
    assert lived_in.run("triage")["result"] == "Sort the inbox.\n"

    lived_in.write("jobs/triage.yaml", TRIAGE)
    lived_in.sync()
    job = lived_in.job("triage")
    assert (job["sync_state"], job["generation"], job["run_count"]) == ("synced", 1, 1)


def test_one_broken_document_leaves_the_others_of_its_file_alone(lived_in: Root) -> None:
    before = lived_in.facts()
    lived_in.write("jobs/clock.yaml", CLOCK.replace("every: 10s", "every: 20s").replace("at:", "ta:"))
    found = lived_in.cli("sync", "--json")
    assert (found.code, [each["id"] for each in found.json["updated"]]) == (1, ["tick"])
    after = lived_in.facts()
    assert {**after, "tick": None} == {**before, "tick": None}
    assert {job: lived_in.job(job)["sync_state"] for job in ("new-year", "retired", "tick")} == {
        "new-year": "invalid",
        "retired": "synced",
        "tick": "synced",
    }


@pytest.mark.parametrize("left", ["", "\n\n", "# nothing here\n", "---\n---\n"])
def test_an_emptied_yaml_file_keeps_its_job(lived_in: Root, left: str) -> None:
    before = lived_in.facts()
    lived_in.write("jobs/triage.yaml", left)
    found = lived_in.cli("sync", "--json")
    assert (found.code, found.json["archived"]) == (1, [])
    assert {path for path, _, _, _ in found.problems} == {"jobs/triage.yaml"}
    assert lived_in.facts() == before
    assert lived_in.job("triage")["sync_state"] == "invalid"
    assert lived_in.run("triage")["result"] == "Sort the inbox.\n"


@pytest.mark.parametrize("left", ["", "Only prose is left.\n"])
def test_an_emptied_markdown_file_keeps_its_job_and_skips_its_runs(lived_in: Root, left: str) -> None:
    before = lived_in.facts()
    lived_in.write("jobs/heartbeat.md", left)
    assert lived_in.cli("sync").code == 1
    assert lived_in.facts() == before
    assert lived_in.cli("run", "heartbeat", "--wait").code == 1
    skip, *earlier = lived_in.runs("heartbeat")
    assert (skip["status"], skip["reason"]) == ("skipped", "source_invalid")
    assert earlier == before["heartbeat"][1]
    lived_in.write("jobs/heartbeat.md", HEARTBEAT)
    assert lived_in.run("heartbeat")["result"] == "You are woken once an hour.\n"


def test_markdown_that_never_held_a_job_is_nobodys_business(root: Root) -> None:
    root.write("jobs/README.md", "# About these jobs\n")
    assert root.json("validate") == {"problems": []}
    assert root.sync()["created"] == list(JOBS)


def test_a_job_file_that_became_a_folder_keeps_its_job(lived_in: Root) -> None:
    before = lived_in.facts()
    lived_in.delete("jobs/triage.yaml")
    (lived_in.path / "jobs/triage.yaml").mkdir()
    for command in ("validate", "sync"):
        found = lived_in.cli(command, "--json")
        assert (found.code, found.problems) == (1, [("jobs/triage.yaml", 1, 1, "file.not-regular")])
    assert lived_in.facts() == before
    assert lived_in.job("triage")["sync_state"] == "invalid"
    assert lived_in.run("triage")["result"] == "Sort the inbox.\n"


def text(content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content

    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def a_socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:  # a socket's path has to be short
        listener.bind(path.name)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("only root makes devices")


def a_link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


def shut(path: Path) -> None:
    path.write_text(TRIAGE)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("permissions do not bind root")


# What may stand where a job file is expected, and the codes for a job file and for scheduler.yaml.
HOSTILE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "10 MB": (text("x: " + "y" * 10_000_000), "file.too-large", "root.unreadable"),
    "10 MB of zeros": (text(bytes(10_000_000)), "file.too-large", "root.unreadable"),
    "1 MiB and a byte": (text("#" * (1024 * 1024 + 1)), "file.too-large", "root.unreadable"),
    "33 levels": (text("id: a\nx: " + "[" * 33 + "]" * 33), "yaml.too-deep", "yaml.too-deep"),
    "500,000 levels": (text("[" * 500_000), "yaml.too-deep", "yaml.too-deep"),
    "100,000 levels of mappings": (text("{a: " * 100_000), "yaml.too-deep", "yaml.too-deep"),
    "100,000 keys": (text("".join(f"k{n}: x\n" for n in range(100_000))), "yaml.too-many-nodes", "yaml.too-many-nodes"),
    "100,000 documents": (text("--- a\n" * 100_000), "yaml.too-many-nodes", "yaml.too-many-nodes"),
    "a bomb of aliases": (
        text("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"),
        "yaml.alias",
        "yaml.alias",
    ),
    "a list that holds itself": (text("a: &x [*x]\n"), "yaml.alias", "yaml.alias"),
    "a tag that runs code": (text("a: !!python/object/apply:os.abort []\n"), "yaml.tag", "yaml.tag"),
    "not UTF-8": (text(b"id: \xff\n"), "file.encoding", "file.encoding"),
    "a lone surrogate": (text(b"id: \xed\xa0\x80\n"), "file.encoding", "file.encoding"),
    "UTF-16": (text("id: a\n".encode("utf-16")), "file.encoding", "file.encoding"),
    "NUL": (text("id: a\0b\n"), "file.character", "file.character"),
    "an escape sequence": (text("id: \x1b[2J\n"), "file.character", "file.character"),
    "a folder": (Path.mkdir, "file.not-regular", "root.unreadable"),
    "a FIFO": (os.mkfifo, "file.not-regular", "root.unreadable"),
    "a socket": (a_socket, "file.not-regular", "root.unreadable"),
    "a device": (a_device, "file.not-regular", "root.unreadable"),
    "a link to a device": (a_link("/dev/zero"), "file.outside-root", "root.unreadable"),
    "a dangling link": (a_link("nowhere.yaml"), "file.missing", "root.missing"),
    "a dangling link out of the root": (a_link("/nowhere.yaml"), "file.outside-root", "root.unreadable"),
    "a link to itself": (a_link("triage.yaml"), "file.unreadable", "root.missing"),
    "a file nobody may read": (shut, "file.denied", "root.unreadable"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_stands_in_place_of_a_job_file_is_told_and_stops_no_other(lived_in: Root, kind: str) -> None:
    put, code, _ = HOSTILE[kind]
    before = lived_in.facts()
    path = lived_in.path / "jobs/triage.yaml"
    path.unlink()
    put(path)
    lived_in.edit("jobs/flaky.yaml", "@daily", "@hourly")
    found = {command: lived_in.cli(command, "--json") for command in ("validate", "plan", "sync")}
    for each in found.values():
        assert each.code == 1
        assert code in {problem[3] for problem in each.problems}
        assert {problem[0] for problem in each.problems} == {"jobs/triage.yaml"}
    synced = found["sync"].json
    assert (synced["archived"], [each["id"] for each in synced["updated"]]) == ([], ["flaky"])
    shown = lived_in.cli("validate")
    assert (shown.code, f"[{code}]" in shown.stdout, "Traceback" in shown.stderr) == (1, True, False)
    assert shown.stdout.replace("\n", "").isprintable()
    assert len(shown.stdout) < 5_000
    assert {**lived_in.facts(), "flaky": None} == {**before, "flaky": None}
    assert lived_in.job("triage")["sync_state"] == "invalid"


FILE_HINTS = {
    "10 MB": "split it",
    "a folder": "rename it, or put a file in its place",
    "a FIFO": "rename it, or put a file in its place",
    "a link to a device": "put a copy of the file here",
    "a dangling link": "correct the link, or delete it",
    "a link to itself": "make it readable",
}


@pytest.mark.parametrize("kind", FILE_HINTS)
def test_what_stands_in_place_of_a_job_file_has_a_hint_that_says_what_to_do(lived_in: Root, kind: str) -> None:
    path = lived_in.path / "jobs/triage.yaml"
    path.unlink()
    HOSTILE[kind][0](path)
    (problem,) = lived_in.cli("validate", "--json").json["problems"]
    assert problem["hint"].startswith(FILE_HINTS[kind])
    assert problem["hint"].endswith("; the jobs it held keep their last good definition")


TASK_HINTS: dict[Callable[[Path], None], str] = {
    missing: "create the file, or correct the path",
    binary: "save the file as UTF-8",
    too_large: "shorten it, or raise limits.task_bytes in scheduler.yaml",
    link_out_of_the_root: "put a copy of the file in the root",
    conflict_markers: "resolve the conflict",
    a_folder: "give a regular file",
    a_fifo: "give a regular file",
    blank: "write the task into it",
}


@pytest.mark.parametrize("spoil", TASK_HINTS)
def test_every_fault_of_a_task_has_a_hint(root: Root, spoil: Callable[[Path], None]) -> None:
    spoil(root.path / "prompts/triage.md")
    (problem,) = root.cli("validate", "--json").json["problems"]
    assert problem["hint"].startswith(TASK_HINTS[spoil])


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_stands_in_place_of_scheduler_yaml_is_told_and_changes_nothing(lived_in: Root, kind: str) -> None:
    put, _, code = HOSTILE[kind]
    before = lived_in.facts()
    path = lived_in.path / "scheduler.yaml"
    path.unlink()
    put(path)
    lived_in.edit("jobs/flaky.yaml", "@daily", "@hourly")
    for command in ("validate", "plan", "sync"):
        found = lived_in.cli(command, "--json", "--root", str(lived_in.path))
        assert found.code == 1
        assert code in {each[3] for each in found.problems}
        assert {each[0] for each in found.problems} == {"scheduler.yaml"}
    assert lived_in.cli("validate", "--root", str(lived_in.path)).stdout.replace("\n", "").isprintable()
    assert lived_in.facts() == before


@pytest.mark.parametrize(
    "glob", ["../other/*.yaml", "/etc/*.yaml", "jobs/../../x.yaml", ".git/*.yaml", "./jobs/*.yaml"]
)
def test_a_glob_that_leaves_the_root_is_refused_and_nothing_is_applied(lived_in: Root, glob: str) -> None:
    before = lived_in.facts()
    lived_in.edit("scheduler.yaml", "version: 1\n", f'version: 1\njobs: ["jobs/*", "{glob}"]\n')
    found = lived_in.cli("sync", "--json")
    assert (found.code, found.problems) == (1, [("scheduler.yaml", 2, 18, "glob.invalid")])
    assert lived_in.facts() == before


def test_a_run_whose_job_file_is_gone_is_a_skip_and_no_archive(lived_in: Root) -> None:
    before = lived_in.facts()
    lived_in.delete("jobs/triage.yaml")
    assert lived_in.cli("run", "triage", "--wait").code == 1
    skip, *earlier = lived_in.runs("triage")
    assert (skip["status"], skip["reason"]) == ("skipped", "source_missing")
    assert earlier == before["triage"][1]
    assert lived_in.job("triage")["status"] == "active"  # only a sync archives


# -- the guard --------------------------------------------------------------------------------------


def printed_command(stderr: str) -> list[str]:
    """The words of the command that a refusal prints, as a shell would take them."""
    (line,) = re.findall(r"\bscheduler\b.*--confirm-prune.*", stderr)
    program, *words = shlex.split(line)
    assert program == "scheduler"
    return words


def folder_emptied(root: Root) -> None:
    for path in (root.path / "jobs").iterdir():
        path.unlink()


def folder_removed(root: Root) -> None:
    shutil.rmtree(root.path / "jobs")


def folder_replaced_by_a_file(root: Root) -> None:
    folder_removed(root)
    root.write("jobs", "")


def folder_replaced_by_a_link(root: Root) -> None:
    root.move("jobs", "other")
    (root.path / "jobs").symlink_to("other")  # which globs never enter


def globs_that_match_nothing(root: Root) -> None:
    root.write("scheduler.yaml", f'jobs: ["job/**/*.yaml"]\n{ROOT_FILE}')


@pytest.mark.parametrize(
    "empty",
    [folder_emptied, folder_removed, folder_replaced_by_a_file, folder_replaced_by_a_link, globs_that_match_nothing],
)
def test_an_emptied_root_waits_for_a_person_and_the_printed_command_archives_exactly_that(
    lived_in: Root, empty: Callable[[Root], None]
) -> None:
    before = lived_in.facts()
    empty(lived_in)
    assert lived_in.cli("sync").code == 3
    refused = lived_in.cli("sync")  # asking again does not confirm
    assert refused.code == 3
    assert all(job in refused.stderr for job in JOBS)
    assert lived_in.facts() == before
    assert {job["sync_state"] for job in lived_in.json("list")["jobs"]} == {"held"}
    assert lived_in.cli("plan").code == 3
    done = lived_in.cli(*printed_command(refused.stderr), "--json")
    assert (done.code, done.json["archived"], done.json["guard"]) == (0, list(JOBS), None)
    after = lived_in.facts()
    assert after.keys() == before.keys()
    assert {job: facts["run_count"] for job, (facts, _) in after.items()} == {
        job: facts["run_count"] for job, (facts, _) in before.items()
    }
    for job, (_, runs) in before.items():
        settled = [run["reason"] for run in after[job][1][: len(after[job][1]) - len(runs)]]
        assert settled == ["missed"] * (job == "tick")  # the only one whose slots have passed
        assert after[job][1][len(settled) :] == runs
    assert lived_in.json("plan")["guard"] is None


def test_the_printed_command_is_whole_wherever_the_root_and_the_state_are(
    lived_in: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived_in.path.rename(tmp_path / "my root")
    monkeypatch.chdir(tmp_path)
    options = ["--root", "my root", "--state", "my state"]
    assert call(*options, "sync").code == 0
    shutil.rmtree(tmp_path / "my root/jobs")
    refused = call(*options, "sync")
    assert refused.code == 3
    done = call(*printed_command(refused.stderr))
    assert done.code == 0, done
    assert call(*options, "list", "--json").json["summary"]["archived"] == len(JOBS)


def test_the_printed_command_names_the_database_too(lived_in: Root, tmp_path: Path) -> None:
    database = str(tmp_path / "other.db")
    lived_in.ok("--db", database, "sync")
    shutil.rmtree(lived_in.path / "jobs")
    refused = lived_in.cli("sync", "--db", database)
    done = lived_in.cli(*printed_command(refused.stderr))
    assert done.code == 0, done
    assert lived_in.json("--db", database, "list")["summary"]["archived"] == len(JOBS)
    assert lived_in.json("list")["summary"]["archived"] == 0  # the database that nobody asked about


def test_a_confirmation_holds_only_for_the_set_it_named(lived_in: Root) -> None:
    saved = (lived_in.path / "jobs/flaky.yaml").read_text()
    folder_emptied(lived_in)
    words = printed_command(lived_in.cli("sync").stderr)
    lived_in.write("jobs/flaky.yaml", saved)
    before = lived_in.facts()
    refused = lived_in.cli(*words)
    assert refused.code == 3
    assert lived_in.facts() == before
    now = printed_command(refused.stderr)
    assert now != words
    assert lived_in.cli(*now, "--json").json["archived"] == [job for job in JOBS if job != "flaky"]


def test_what_the_guard_does_not_hold_is_applied(lived_in: Root) -> None:
    folder_emptied(lived_in)
    lived_in.write("jobs/new.yaml", "id: new\nschedule: '@daily'\ntask: New.\n")
    found = lived_in.cli("sync", "--json")
    assert (found.code, found.json["created"], found.json["guard"]["ids"]) == (3, ["new"], list(JOBS))
    assert lived_in.run("new")["result"] == "New."


def test_files_that_come_back_end_the_wait(lived_in: Root) -> None:
    before = lived_in.facts()
    folder_emptied(lived_in)
    assert lived_in.cli("sync").code == 3
    lived_in.git("checkout", "-q", "--", "jobs")
    assert lived_in.sync()["unchanged"] == len(JOBS)
    assert lived_in.facts() == before
    assert {job["sync_state"] for job in lived_in.json("list")["jobs"]} == {"synced"}


# -- folders that cannot be read ----------------------------------------------------------------------


@contextmanager
def unlistable(folder: Path) -> Iterator[None]:
    """As if its permissions forbade it, whoever runs the tests."""
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        at = str(Path(f"/proc/self/fd/{path}").readlink()) if isinstance(path, int) else os.fspath(path)
        if Path(at) == folder.resolve():
            raise PermissionError(13, "Permission denied", str(folder))
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        yield


@contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("permissions do not bind root")
        yield
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("shut", [unlistable, forbidden])
def test_an_unreadable_folder_keeps_the_jobs_below_it(lived_in: Root, shut: Callable[[Path], Any]) -> None:
    lived_in.move("jobs/clock.yaml", "jobs/team/deep/clock.yaml")
    lived_in.sync()
    before = lived_in.facts()
    lived_in.edit("jobs/flaky.yaml", "@daily", "@hourly")
    with shut(lived_in.path / "jobs/team"):
        found = lived_in.cli("sync", "--json")
    assert (found.code, found.problems) == (1, [("jobs/team", 1, 1, "folder.unreadable")])
    assert (found.json["archived"], [each["id"] for each in found.json["updated"]]) == ([], ["flaky"])
    assert {**lived_in.facts(), "flaky": None} == {**before, "flaky": None}
    assert lived_in.job("tick")["sync_state"] == "invalid"
    lived_in.sync()
    assert lived_in.job("tick")["sync_state"] == "synced"


@pytest.mark.parametrize("shut", [unlistable, forbidden])
def test_nothing_is_applied_where_all_jobs_lie_in_an_unreadable_folder(
    lived_in: Root, shut: Callable[[Path], Any]
) -> None:
    before = lived_in.facts()
    with shut(lived_in.path / "jobs"):
        found = lived_in.cli("sync", "--json")
    assert (found.code, found.json["guard"], found.json["archived"]) == (1, None, [])
    assert lived_in.facts() == before


@pytest.mark.parametrize("shut", [unlistable, forbidden])
@pytest.mark.parametrize("command", ["validate", "plan", "sync"])
def test_an_unreadable_root_is_exit_5_and_applies_nothing(
    lived_in: Root, shut: Callable[[Path], Any], command: str
) -> None:
    before = lived_in.facts()
    lived_in.edit("jobs/flaky.yaml", "@daily", "@hourly")
    with shut(lived_in.path):
        found = lived_in.cli(command, "--json", "--root", str(lived_in.path))
    assert (found.code, found.stdout) == (5, "")
    assert str(lived_in.path) in found.stderr
    assert lived_in.facts() == before


# -- scheduler.yaml -----------------------------------------------------------------------------------

BROKEN_ROOT: dict[str, str | bytes] = {
    "not YAML": "version: [1\n",
    "an unknown key": ROOT_FILE + "runnners: {}\n",
    "another version": ROOT_FILE.replace("version: 1", "version: 2"),
    "empty": "",
    "conflict markers": ROOT_FILE + MARKERS,
    "a channel with its secret": ROOT_FILE + "channels: {x: {url: 'json://u:hunter2@example.com'}}\n",
    "defaults with an unknown runner": ROOT_FILE.replace("runner: agent", "runner: agnet"),
    "alerts to an unknown channel": ROOT_FILE + "alerts: {deliver: [x]}\n",
    "not UTF-8": b"\xff" + ROOT_FILE.encode(),
}


@pytest.mark.parametrize("kind", [*BROKEN_ROOT, "gone", "a folder"])
def test_while_scheduler_yaml_is_unusable_nothing_is_applied_and_jobs_run_by_the_last_good_settings(
    lived_in: Root, kind: str
) -> None:
    before = lived_in.facts()
    audit = lived_in.json("audit")
    lived_in.delete("scheduler.yaml")
    if kind == "a folder":
        (lived_in.path / "scheduler.yaml").mkdir()
    elif kind != "gone":
        lived_in.write("scheduler.yaml", BROKEN_ROOT[kind])
    lived_in.edit("jobs/flaky.yaml", "@daily", "@hourly")
    lived_in.delete("jobs/clock.yaml")
    for command in ("validate", "plan", "sync"):
        found = lived_in.cli(command, "--json")
        assert found.code == 1
        assert {path for path, _, _, _ in found.problems} == {"scheduler.yaml"}
    assert lived_in.facts() == before
    assert lived_in.json("audit") == audit
    assert {each["path"] for each in lived_in.json("list")["problems"]} == {"scheduler.yaml"}
    assert lived_in.run("heartbeat")["result"] == "You are woken once an hour.\n"
    assert lived_in.run("triage")["status"] == "succeeded"

    if kind == "a folder":
        (lived_in.path / "scheduler.yaml").rmdir()
    lived_in.write("scheduler.yaml", ROOT_FILE)
    found = lived_in.sync()
    assert ([each["id"] for each in found["updated"]], found["archived"]) == (
        ["flaky"],
        ["new-year", "retired", "tick"],
    )
    assert lived_in.runs("flaky")[-1:] == before["flaky"][1]


BROKEN_JOB = (
    "id: bad\ntag: x\nrunner: nobody\nenv: {OTHER: x}\nschedule: {every: 5m, jitter: 4m}\ntask_source_path: gone.md\n"
)


@pytest.mark.parametrize(
    ("root_file", "told"),
    [
        (ROOT_FILE + "runnners: {}\n", True),
        (ROOT_FILE.replace("Europe/Berlin", "Europe/Brelin"), True),
        (ROOT_FILE + "limits: {task_bytes: 300KB}\n", True),
        (ROOT_FILE + "jobs: ['work/*.yaml']\nhosts: []\n", True),
        (ROOT_FILE + "jobs: ['../work/*.yaml']\n", False),
        (ROOT_FILE + "jobs: !all ['work/*.yaml']\nhosts: []\n", False),
        (ROOT_FILE + "jobs:\n", False),
        (ROOT_FILE + "---\njobs: ['work/*.yaml']\n", False),
        ("version: [1\n", False),
        ("- version: 1\n", False),
        ("", False),
    ],
)
def test_a_broken_scheduler_yaml_hides_nothing_that_validate_can_tell_without_it(
    root: Root, root_file: str, told: bool
) -> None:
    work = "work" if "work/" in root_file else "jobs"
    root.write(f"{work}/bad.yaml", BROKEN_JOB)
    root.write(f"{work}/broken.yaml", "id: [x\n")
    root.write("scheduler.yaml", root_file)
    root.write("prompts/triage.md", "x" * 300_000)  # how large a task may be, only scheduler.yaml says
    found = root.cli("validate", "--json")
    assert found.code == 1
    others = [each for each in found.problems if each[0] != "scheduler.yaml"]
    assert len(others) < len(found.problems)
    expected = [
        (f"{work}/bad.yaml", 2, 1, "key.unknown"),
        (f"{work}/bad.yaml", 5, 31, "schedule.jitter"),
        (f"{work}/bad.yaml", 6, 19, "task.missing"),
        (f"{work}/broken.yaml", 1, 5, "yaml.syntax"),
    ]
    assert others == (expected if told else [])
    one = root.cli("validate", f"{work}/broken.yaml", "--json").problems
    assert one == [each for each in found.problems if each not in others or each == expected[-1]]


def test_a_root_whose_first_scheduler_yaml_is_broken_stays_untouched(root: Root) -> None:
    root.write("scheduler.yaml", "version: [1\n")
    assert root.cli("sync").code == 1
    assert not (root.path / ".scheduler").exists()
    root.write("scheduler.yaml", ROOT_FILE)
    assert root.sync()["created"] == list(JOBS)


# -- the database -------------------------------------------------------------------------------------

WRITING = [("sync",), ("run", "heartbeat", "--wait")]
READING = [("list",), ("show", "heartbeat"), ("next",), ("history", "heartbeat"), ("audit",), ("plan",)]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", WRITING, ids=" ".join)
def test_a_locked_database_is_exit_5_and_changes_nothing(lived_in: Root, command: tuple[str, ...]) -> None:
    before = lived_in.facts()
    lived_in.edit("jobs/flaky.yaml", "@daily", "@hourly")
    other = sqlite3.connect(lived_in.db, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        found = lived_in.cli(*command, "--json")
        assert (found.code, found.stdout) == (5, "")
        assert "locked" in found.stderr
        assert lived_in.facts() == before  # readers do not wait
    finally:
        other.close()
    assert lived_in.facts() == before
    assert lived_in.cli(*command).code == 0


@pytest.mark.usefixtures("impatient")
def test_a_database_that_another_process_keeps_to_itself_is_exit_5_for_readers_too(lived_in: Root) -> None:
    before = lived_in.facts()
    other = sqlite3.connect(lived_in.db, isolation_level=None)
    try:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        for command in (*WRITING, *READING):
            found = lived_in.cli(*command)
            assert (found.code, found.stdout) == (5, ""), (command, found)
            assert "locked" in found.stderr
    finally:
        other.close()
    assert lived_in.facts() == before


def garbage(root: Root) -> None:
    root.db.write_bytes(b"not a database, but long enough to be taken for one. " * 200)


def a_few_bytes(root: Root) -> None:
    root.db.write_bytes(b"oops\n")


def cut_short(root: Root) -> None:
    root.db.write_bytes(root.db.read_bytes()[:4096])


def of_another_program(root: Root) -> None:
    root.db.unlink()
    root.sql("CREATE TABLE contacts (name TEXT)")


def claimed_by_another_program(root: Root) -> None:
    root.sql("PRAGMA application_id = 1234")


def from_a_newer_version(root: Root) -> None:
    root.sql("PRAGMA user_version = 99")


def a_folder_instead(root: Root) -> None:
    root.db.unlink()
    root.db.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (garbage, "not a SQLite database"),
        (a_few_bytes, "not a SQLite database"),
        (cut_short, "damaged"),
        (of_another_program, "another program"),
        (claimed_by_another_program, "another program"),
        (from_a_newer_version, "newer version"),
        (a_folder_instead, "cannot open the database"),
    ],
)
def test_a_database_that_is_not_ours_to_use_is_exit_5_and_left_as_it_is(
    lived_in: Root, spoil: Callable[[Root], None], words: str
) -> None:
    before = lived_in.facts()
    saved = lived_in.db.read_bytes()  # whole: closing the last connection empties the write-ahead log
    spoil(lived_in)
    found_bytes = None if lived_in.db.is_dir() else lived_in.db.read_bytes()
    for command in (*WRITING, *READING, ("output", "heartbeat:1"), ("task", "heartbeat:1")):
        found = lived_in.cli(*command)
        assert (found.code, found.stdout) == (5, ""), (command, found)
        assert words in found.stderr
        assert str(lived_in.db) in found.stderr
        assert "Traceback" not in found.stderr
    assert lived_in.json("validate") == {"problems": []}  # needs no database
    if found_bytes is None:
        lived_in.db.rmdir()
    else:
        assert lived_in.db.read_bytes() == found_bytes
    lived_in.db.write_bytes(saved)
    for suffix in ("-wal", "-shm"):
        lived_in.db.with_name(lived_in.db.name + suffix).unlink(missing_ok=True)
    assert lived_in.facts() == before
    assert lived_in.run("heartbeat")["id"] == "heartbeat:2"


def test_a_database_of_a_newer_version_says_what_to_do(lived_in: Root) -> None:
    from_a_newer_version(lived_in)
    assert "upgrade" in lived_in.cli("list").stderr


def test_an_emptied_database_is_never_taken_for_a_new_one(lived_in: Root) -> None:
    for file in (lived_in.path / ".scheduler").glob("state.db*"):
        file.unlink()
    lived_in.write(".scheduler/state.db", "")
    for command in ("list", "sync"):
        found = lived_in.cli(command)
        assert (found.code, found.stdout) == (5, "")
        assert "is empty" in found.stderr
    assert (lived_in.path / ".scheduler/state.db").read_bytes() == b""


def test_a_file_name_that_is_not_utf8_stops_no_other_file(root: Root) -> None:
    root.sync()
    bad = os.fsencode(root.path) + b"/jobs/\xff.yaml"
    with open(bad, "w") as file:  # noqa: PTH123 - a name that Path cannot spell
        file.write("id: bad\nschedule: {every: 1h}\ntask: x\n")
    root.write("jobs/good.yaml", "id: good\nschedule: {every: 1h}\ntask: x\n")
    found = root.cli("sync", "--json")
    assert (found.code, found.json["created"]) == (1, ["good"])
    assert [(p["code"], p["path"]) for p in found.json["problems"]] == [("file.name", "jobs/\\udcff.yaml")]


def test_a_repository_that_git_refuses_is_told_and_everything_else_works(root: Root) -> None:
    with (root.path / ".git/config").open("a") as config:
        config.write("garbage[[[\n")
    found = root.cli("sync")
    assert (found.code, "no commit is recorded" in found.stderr) == (0, True)


def test_a_state_folder_that_is_a_file_is_exit_5(root: Root) -> None:
    root.write(".scheduler", "")
    found = root.cli("sync")
    assert (found.code, found.stdout) == (5, "")
    assert str(root.path / ".scheduler") in found.stderr
    assert (root.path / ".scheduler").read_text() == ""


def test_a_run_whose_output_cannot_be_kept_is_exit_5_and_leaves_no_open_row(lived_in: Root) -> None:
    before = lived_in.facts()
    shutil.rmtree(lived_in.path / ".scheduler/runs")
    lived_in.write(".scheduler/runs", "")
    found = lived_in.cli("run", "heartbeat", "--wait")
    assert (found.code, found.stdout) == (5, "")
    assert str(lived_in.path / ".scheduler/runs") in found.stderr
    *new, old = lived_in.runs("heartbeat")
    assert [old] == before["heartbeat"][1]
    assert not {run["status"] for run in new} & {"claimed", "running", "succeeded"}
    lived_in.delete(".scheduler/runs")
    assert lived_in.run("heartbeat")["status"] == "succeeded"


# -- jobs that are not there -----------------------------------------------------------------------

BAD = "id: bad\nschedule: '@daily'\ntask_source_path: prompts/none.md\n"


@pytest.mark.parametrize("command", ["run", "show", "history", "explain", "pause", "resume"])
@pytest.mark.parametrize("synced", [True, False])
def test_a_command_for_a_job_with_an_error_says_the_error_and_its_place(
    root: Root, command: str, *, synced: bool
) -> None:
    root.write("jobs/bad.yaml", BAD)
    if synced:
        assert root.cli("sync").code == 1
    found = root.cli(command, "bad")
    assert found.code == 2
    assert "'bad' was not created because of an error: jobs/bad.yaml:3:19: " in found.stderr
    assert "prompts/none.md" in found.stderr
    assert "[task.missing]" in found.stderr
    assert "run `scheduler sync`" not in found.stderr


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("jobs/bad.yaml", BAD.replace("prompts/none.md", "prompts/none.md\ntag: x"), "and 1 more)"),
        ("jobs/bad.yaml", f"{BAD}---\n{BAD}".replace("prompts/none.md", "prompts/triage.md"), "[id.duplicate]"),
        ("jobs/bad.yaml", BAD + "x: [\n", "it may be in a file with an error: jobs/bad.yaml:"),
        ("scheduler.yaml", "version: 2\n", "no job can be created: scheduler.yaml:1:10: "),
    ],
)
def test_other_errors_that_keep_a_job_away_are_said_too(root: Root, path: str, text: str, said: str) -> None:
    root.write(path, text)
    root.cli("sync")
    found = root.cli("run", "bad")
    assert (found.code, said in found.stderr) == (2, True), found.stderr


def test_a_sound_job_that_nobody_synced_is_still_told_apart(root: Root) -> None:
    root.ok("sync")
    root.write("jobs/new.yaml", BAD.replace("bad", "new").replace("none", "triage"))
    found = root.cli("run", "new")
    assert (found.code, "has not been synced" in found.stderr, "run `scheduler sync`" in found.stderr) == (
        2,
        True,
        True,
    )
