"""What a job asks of its runner, as its process sees it: model, arguments and working directory."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.core.values.problems import RefusedError
from scheduler.core.values.runs import Run, RunStatus
from scheduler.root.place import Place
from scheduler.run.local.cancel import Cancel
from scheduler.service.root import Root
from scheduler.service.run import dry_run_job, run_job
from scheduler.service.sync import sync
from tests.fakes import FakeClock

ROOT_FILE = """\
version: 1
runners:
  tell:
    command: [sh, -c, 'for word; do printf "<%s>" "$word"; done; cat', sh, "--model={model}", "{args}"]
    input: stdin
    tasks: ["jobs/**"]
    model: small
    job_models: ["large-*"]
    job_args: {--max-turns: "[0-9]+", --say: ".*", --verbose: null}
    workdirs: [work, ../outside, ~/src]
  where:
    command: [sh, -c, 'pwd; echo "$PWD"; echo "$SCHEDULER_ROOT"']
    tasks: ["jobs/**"]
    workdirs: [root, ../outside, ~/src]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("root/jobs", "root/work/deep", "outside/site", "home/src/app"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root/scheduler.yaml").write_text(ROOT_FILE)
    return tmp_path / "root"


@pytest.fixture
def seen(root: Path) -> Root:
    place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
    environ = {**os.environ, "HOME": str(root.parent / "home")}
    return Root(place=place, actor="user:test", environ=environ, clock=FakeClock(), absent_grace=timedelta(0))


def run(seen: Root, keys: str, task: str = "go") -> Run:
    job = f"id: a\nschedule: {{every: 1h}}\ntask: {task!r}\n{keys}\n"
    (seen.place.root / "jobs/a.yaml").write_text(job)
    sync(seen)
    return run_job(seen, "a", cancel=Cancel())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "<--model=small>"),
        ("model: large-2", "<--model=large-2>"),
        ("args: [--verbose, --max-turns, '5']", "<--model=small><--verbose><--max-turns><5>"),
        ("args: ['--say=a b; $(rm)']", "<--model=small><--say=a b; $(rm)>"),
    ],
)
def test_the_command_has_what_the_job_asks_for_word_by_word(seen: Root, keys: str, said: str) -> None:
    assert run(seen, f"runner: tell\n{keys}").result == said + "go"


def test_placeholders_in_a_task_stay_as_they_are(seen: Root) -> None:
    assert (
        run(seen, "runner: tell\nargs: [--verbose]", "{model} {args}").result
        == "<--model=small><--verbose>{model} {args}"
    )


@pytest.mark.parametrize(
    ("workdir", "leads"),
    [
        ("root", "root"),
        ("work/deep", "root/work/deep"),
        ("../outside", "outside"),
        ("../outside/site/", "outside/site"),
        ("~/src/app", "home/src/app"),
    ],
)
def test_the_process_starts_in_the_working_directory_and_the_root_stays_the_root(
    seen: Root, workdir: str, leads: str
) -> None:
    top = seen.place.root.parent
    found = run(seen, f"runner: where\nworkdir: {workdir}")
    assert found.result == f"{top / leads}\n{top / leads}\n{seen.place.root}\n"
    assert dry_run_job(seen, "a")["cwd"] == str(top / leads)


def test_a_link_that_leads_out_of_the_allowed_folder_is_refused_when_the_job_fires(seen: Root) -> None:
    top = seen.place.root.parent
    (top / "outside/etc").symlink_to("/etc")
    (top / "outside/same").symlink_to("site")
    assert run(seen, "runner: where\nworkdir: ../outside/same").status is RunStatus.SUCCEEDED
    found = run(seen, "runner: where\nworkdir: ../outside/etc")
    assert (found.status, found.reason) == (RunStatus.SKIPPED, "runner_not_allowed")
    assert "'/etc'" in (found.error or "")


def test_an_allowed_folder_may_itself_be_a_link(seen: Root) -> None:
    top = seen.place.root.parent
    shutil.move(top / "outside", top / "moved")
    (top / "outside").symlink_to("moved")
    assert run(seen, "runner: where\nworkdir: ../outside/site").status is RunStatus.SUCCEEDED


def test_a_working_directory_that_is_a_file_or_in_no_home_is_missing(seen: Root) -> None:
    (seen.place.root.parent / "outside/file").write_text("")
    found = run(seen, "runner: where\nworkdir: ../outside/file")
    assert (found.status, found.reason) == (RunStatus.SKIPPED, "runner_workdir_missing")
    homeless = replace(seen, environ={name: each for name, each in seen.environ.items() if name != "HOME"})
    found = run(homeless, "runner: where\nworkdir: ~/src")
    assert (found.reason, "HOME" in (found.error or "")) == ("runner_workdir_missing", True)


def test_a_fire_refuses_what_scheduler_yaml_no_longer_allows(seen: Root) -> None:
    assert run(seen, "runner: tell\nmodel: large-2").status is RunStatus.SUCCEEDED
    (seen.place.root / "scheduler.yaml").write_text(ROOT_FILE.replace('["large-*"]', "[huge]"))
    found = run_job(seen, "a", cancel=Cancel())
    assert (found.status, found.reason) == (RunStatus.SKIPPED, "runner_not_allowed")
    assert "'large-2'" in (found.error or "")
    with pytest.raises(RefusedError, match="large-2"):
        dry_run_job(seen, "a")


def test_a_change_of_what_a_job_asks_for_widens_unless_it_takes_something_away(seen: Root) -> None:
    def widens(before: str, after: str) -> list[str]:
        run(seen, f"runner: tell\n{before}")
        (seen.place.root / "jobs/a.yaml").write_text(
            f"id: a\nschedule: {{every: 1h}}\ntask: 'go'\nrunner: tell\n{after}\n"
        )
        (update,) = sync(seen).json["updated"]
        return list(update["widens"])

    assert widens("", "model: large-2") == ["model"]
    assert widens("args: [--verbose]", "args: [--verbose, --max-turns, '5']") == ["args"]
    assert widens("args: [--verbose]", "") == []
    assert widens("", "workdir: work") == ["workdir"]
