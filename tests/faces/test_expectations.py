"""Runs that end with exit code 0 and have not done what their job expects of them (design section 3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.helpers import until

__all__ = ["root", "serve"]  # fixtures

Serve = Callable[..., Served]


def job(root: Root, script: str, expect: str, keys: str = "") -> None:
    text = "id: report\nschedule: manual\ntask_source_path: scripts/report.sh\nrunner: sh\n"
    root.write("jobs/report.yaml", f"{text}expect: {expect}\n{keys}")
    root.write("scripts/report.sh", script)
    root.sync()


@pytest.mark.parametrize("daemon", [False, True])
def test_exit_0_without_what_was_expected_is_a_failure_that_says_what_was_missed(
    root: Root, serve: Serve, daemon: bool
) -> None:
    job(root, "echo nothing to say", "{result: /DONE/, file: out/report.md}")
    if daemon:
        serve()
    missed = root.cli("run", "report", "--wait", "--json")
    run = missed.json["run"]
    assert (missed.code, run["status"], run["reason"], run["exit_code"]) == (1, "failed", "expect_result", 0)
    assert (run["end_class"], root.job("report")["consecutive_errors"]) == ("task", 1)
    assert "does not match expect.result /DONE/: 'nothing to say\\n'" in run["error"]
    assert "does not match" in root.ok("explain", run["id"]).stdout
    root.write("scripts/report.sh", "echo DONE")
    run = root.cli("run", "report", "--wait", "--json").json["run"]
    assert (run["status"], run["reason"]) == ("failed", "expect_file")
    root.write("scripts/report.sh", "mkdir -p out; echo x > out/report.md; echo DONE")
    assert root.run("report")["status"] == "succeeded"
    root.write("scripts/report.sh", "echo DONE")
    run = root.cli("run", "report", "--wait", "--json").json["run"]
    assert run["error"] == "exit code 0, but 'out/report.md' (expect.file) was not written since the run started"


def test_a_pattern_that_never_ends_keeps_no_other_job(root: Root, serve: Serve) -> None:
    job(root, f"echo {'a' * 64}!", "{result: /^(a+)+$/}")
    root.write("jobs/other.yaml", "id: other\nschedule: manual\ntask: hi\n")
    root.sync()
    serve()
    hopeless = root.start("run", "report", "--wait", "--json")
    until(lambda: root.runs("report"), "its run")
    assert root.run("other")["status"] == "succeeded"
    hopeless.communicate()
    run = root.runs("report")[0]
    assert (run["status"], run["reason"]) == ("failed", "expect_result")


def test_a_missed_expectation_is_tried_again_like_any_failure(root: Root) -> None:
    job(
        root,
        'test "$SCHEDULER_ATTEMPT" = 1 && echo x > out.md; echo try "$SCHEDULER_ATTEMPT"',
        "{result: /try 2/, file: out.md}",
        "retry: {attempts: 2, delay: 1s}\n",
    )
    run = root.run("report")
    assert (run["status"], [each["reason"] for each in run["attempts"]]) == ("succeeded", ["expect_result", None])


@pytest.mark.parametrize("workdir", ["site", "fresh"])
def test_a_file_is_expected_where_the_job_works(root: Root, workdir: str) -> None:
    works = f"  works: {{command: [sh, '{{task_file}}'], tasks: ['scripts/**'], workdirs: [{workdir}]}}\n"
    root.edit("scheduler.yaml", "runners:\n", f"runners:\n{works}")
    root.write("site/readme", "")
    root.write("scripts/report.sh", "echo x > report.md\n")
    text = "id: report\nschedule: manual\ntask_source_path: scripts/report.sh\nrunner: works\n"
    root.write("jobs/report.yaml", f"{text}workdir: {workdir}\nexpect: {{file: report.md}}\n")
    root.commit()
    root.sync()
    assert root.run("report")["status"] == "succeeded"
    root.write("scripts/report.sh", f"echo elsewhere > '{root.path}/report.md'\n")
    root.commit()
    run = root.cli("run", "report", "--wait", "--json").json["run"]
    assert (run["status"], run["reason"]) == ("failed", "expect_file")
