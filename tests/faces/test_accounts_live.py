"""A real daemon whose account meets its limit: parked, restarted while parked, probed once, and caught up."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.faces.conftest import Root
from tests.faces.served import Served, root
from tests.helpers import call, until
from tests.run.results.shapes import CLAUDE_RESULT, claude_error, claude_limit, lines

__all__ = ["root"]  # a fixture

# A reset is waited for with a minute's grace, and a waiting run is looked at again after five seconds.
HASTY = """
import datetime, scheduler.cli, scheduler.core.due.accounts as accounts, scheduler.run.local.engine as engine
accounts.GRACE, engine.PLACE_AGAIN = datetime.timedelta(seconds=1), datetime.timedelta(seconds=0.2)
scheduler.cli.main()
"""
PROGRAM = """#!/bin/sh
now=$(date +%s.%N)
echo "$now $SCHEDULER_RUN_ID $SCHEDULER_ATTEMPT" >> {folder}/woken
if mkdir {folder}/met 2>/dev/null; then echo $((${{now%.*}} + {seconds})) > {folder}/resets; fi
resets=$(cat {folder}/resets 2>/dev/null || echo 0)
if [ "${{now%.*}}" -lt "$resets" ]; then
  sed "s/RESETS/$resets/" {folder}/limit
  cat {folder}/error
  exit 1
fi
cat {folder}/ok
"""
RUNNERS = """\
version: 1
runners:
  one: {{command: [{program}], input: stdin, account: team}}
  two: {{command: [{program}], input: stdin, account: team}}
defaults: {{runner: one}}
"""


def write(root: Root, folder: Path, *, seconds: int) -> None:
    (folder / "bin").mkdir()
    program = folder / "bin/claude"
    program.write_text(PROGRAM.format(folder=folder, seconds=seconds))
    program.chmod(0o755)
    (folder / "limit").write_bytes(lines(claude_limit("rejected", "RESETS")).replace(b'"RESETS"', b"RESETS"))
    (folder / "error").write_text(json.dumps(claude_error(api_error_status=429)))
    (folder / "ok").write_text(json.dumps(CLAUDE_RESULT))
    root.write("scheduler.yaml", RUNNERS.format(program=program))
    for name, runner in (("beside", "two"), ("third", "one")):
        root.write(f"jobs/{name}.yaml", f"id: {name}\nschedule: {{every: 1s}}\ntask: Go.\nrunner: {runner}\n")
    root.commit()


def woken(folder: Path) -> list[tuple[float, str]]:
    """When a process was started, and for which attempt."""
    told = (folder / "woken").read_text().splitlines() if (folder / "woken").exists() else []
    return [(float(at), f"{run} {attempt}") for at, run, attempt in map(str.split, told)]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def job(root: Root, job_id: str) -> Any:
    return root.job(job_id)


def test_a_limit_is_waited_out_by_all_jobs_of_its_account_also_through_a_restart(root: Root, tmp_path: Path) -> None:
    write(root, tmp_path, seconds=8)
    command = [sys.executable, "-c", HASTY, "serve"]
    daemon = Served(root, command=command)
    try:
        lost = daemon.says(" place_lost cause=account")
        assert "name=team" in lost
        waits = until(lambda: job(root, "tick")["waiting"], "the account is parked")
        assert (waits["reason"], job(root, "beside")["status"]) == ("quota", "waiting")
        before = woken(tmp_path)
        daemon.kill()
        daemon = Served(root, command=command)
        daemon.says(" serving root=")
        assert job(root, "third")["waiting"]["until"] == waits["until"], "a restart changes nothing"
        daemon.says(" account_probed account=team")
        daemon.says(" place_back cause=account name=team")
        later = woken(tmp_path)[len(before) :]
        assert later[0][0] >= seconds(waits["until"]), "nothing is woken while the account is parked"
        assert later[0][1].endswith(" 2"), "the probe is the second attempt of a run that the limit has cut short"

        def all_went_on() -> bool:
            after = {name.split(":")[0] for _, name in woken(tmp_path)[len(before) + 1 :] if name.endswith(" 1")}
            return after == {"tick", "beside", "third"}

        until(all_went_on, "all jobs go on")
        for job_id in ("tick", "beside", "third"):
            # A run that was under way when the daemon was killed is an error, until the next one has succeeded.
            until(lambda job_id=job_id: not job(root, job_id)["consecutive_errors"], "a success")  # type: ignore[misc]
            told = job(root, job_id)
            assert (told["status"], told["consecutive_errors"], told["stop_reason"]) == ("active", 0, None)
            cut = [run for run in root.runs(job_id) if any(each["end_class"] == "quota" for each in run["attempts"])]
            assert [[each["end_class"] for each in run["attempts"]] for run in cut] in ([], [["quota", "ok"]])
            assert all(run["status"] != "failed" for run in root.runs(job_id))
    finally:
        daemon.kill()


def test_a_person_who_has_bought_more_has_the_account_probed_at_once(root: Root, tmp_path: Path) -> None:
    write(root, tmp_path, seconds=3600)
    daemon = Served(root, command=[sys.executable, "-c", HASTY, "serve"])
    try:
        daemon.says(" place_lost cause=account")
        until(lambda: job(root, "tick")["waiting"], "the account is parked")
        # A run that is still under way would meet the limit after the person has asked, and park the account anew.
        until(lambda: not any(run["status"] == "running" for run in call("history", "--json").json["runs"]), "all wait")
        (tmp_path / "resets").write_text("0")
        root.ok("resume", "--account", "team")
        daemon.says(" place_back cause=account name=team")
        until(lambda: job(root, "tick")["status"] == "active", "its jobs go on")
    finally:
        daemon.kill()
