"""Accounts whose limit is reached or whose login is refused: who waits, who probes, and what people see of it."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from scheduler.ledger import outbox
from scheduler.ledger.store import Store
from tests.faces.conftest import Root
from tests.run.results.shapes import CLAUDE_RESULT, claude_error, claude_limit, lines

RUNNERS = """\
version: 1
timezone: UTC
defaults: {runner: claude}
runners:
  claude: {command: [./bin/claude], input: stdin, account: team}
  sonnet: {command: [./bin/claude], input: stdin, account: team, result_format: claude}
  other: {command: [cat], input: stdin}
"""
PROGRAM = """#!/bin/sh
echo "$SCHEDULER_RUN_ID $SCHEDULER_ATTEMPT" >> ../woken
cat ../says
exit "$(cat ../code)"
"""
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
OK = json.dumps(CLAUDE_RESULT).encode()


@pytest.fixture
def team(root: Root) -> Root:
    """Three hourly jobs on one account, and one on another. It is a minute before the hour."""
    for path in ("jobs/heartbeat.md", "jobs/triage.yaml", "jobs/clock.yaml", "jobs/flaky.yaml"):
        (root.path / path).unlink()
    root.write("scheduler.yaml", RUNNERS)
    root.write("bin/claude", PROGRAM)
    (root.path / "bin/claude").chmod(0o755)
    for name, more in {"a": "", "b": "runner: sonnet\n", "c": "", "apart": "runner: other\n"}.items():
        root.write(f"jobs/{name}.yaml", f'id: {name}\nschedule: "0 * * * *"\ntask: Go.\n{more}')
    says(root, OK)
    root.clock.moment = root.clock.moment.replace(minute=59, second=0)
    root.commit()
    root.sync()
    root.cli("serve", "--once", "-q")
    return root


def says(root: Root, out: bytes, code: int = 0) -> None:
    (root.path.parent / "says").write_bytes(out)
    (root.path.parent / "code").write_text(str(code))


def limit(root: Root, resets_in: timedelta | None = None) -> bytes:
    error = claude_error(api_error_status=429)
    if resets_in is None:
        return lines(error)
    return lines(claude_limit("rejected", int((root.clock.now() + resets_in).timestamp())), error)


def woken(root: Root) -> list[str]:
    """The attempts that were started since the last question."""
    told = root.path.parent / "woken"
    found = told.read_text().splitlines() if told.exists() else []
    told.unlink(missing_ok=True)
    return sorted(found)


def pass_by(root: Root, by: timedelta) -> list[str]:
    """Let time pass, and then all that is due; says what was woken."""
    root.clock.advance(by)
    root.cli("serve", "--once", "-q")
    return woken(root)


def live_on(root: Root) -> list[str]:
    """As `pass_by`, with a clock that goes on meanwhile: what is caught up starts a second apart."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.02):
            root.clock.advance(timedelta(seconds=1))

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        return pass_by(root, timedelta(seconds=5))
    finally:
        over.set()
        ticking.join()


def newest(root: Root, job_id: str = "a") -> Any:
    return root.runs(job_id)[0]


def parked(root: Root, resets_in: timedelta | None = 3 * HOUR) -> None:
    """The account of a root whose three jobs have all met the limit at the full hour."""
    root.clock.advance(MINUTE)
    says(root, limit(root, resets_in), 1)
    root.cli("serve", "--once", "-q")
    assert len(woken(root)) >= 1


def test_a_limit_parks_all_jobs_of_its_account_and_counts_as_no_error(team: Root) -> None:
    parked(team)
    run = newest(team)
    assert (run["status"], run["reason"], run["end_class"]) == ("queued", "quota", "quota")
    assert run["retry_at"] == (team.clock.now() + 3 * HOUR + MINUTE).isoformat().replace("+00:00", "Z")
    for job_id in ("a", "b", "c"):
        job = team.job(job_id)
        assert (job["status"], job["consecutive_errors"]) == ("waiting", 0)
        assert (job["waiting"]["reason"], job["waiting"]["until"]) == ("quota", run["retry_at"])
    assert team.job("apart")["status"] == "active"
    assert [pass_by(team, HOUR), pass_by(team, HOUR), pass_by(team, 59 * MINUTE)] == [[], [], []], "nothing is woken"
    assert team.runs("apart")[0]["status"] == "succeeded"
    assert len(team.runs("a")) == 1, "slots wait behind the cursor"


def test_where_a_status_is_shown_people_read_why_and_until_when(team: Root) -> None:
    parked(team)
    line = next(each for each in team.ok("list").stdout.splitlines() if each.startswith("a "))
    assert "waiting/quota" in line
    until = f"{team.clock.now() + 3 * HOUR + MINUTE:%H:%M:%S}"
    for command in (("show", "a"), ("status",), ("doctor",), ("explain", "a", "--at", "+1h")):
        told = team.cli(*command)
        said = told.stdout + told.stderr
        assert "account 'team'" in said, command
        assert until in said, (command, said)
    assert "quota" in team.ok("show", "a:1").stdout
    told = team.json("explain", "a", "--at", "+1h")
    assert (told["why"], "[quota]" in told["evidence"][0]["text"]) == ("waiting", True)
    (found,) = (each for each in team.json("status")["waiting"] if each["id"] == "a")
    assert (found["reason"], found["until"]) == ("quota", team.job("a")["waiting"]["until"])
    (check,) = (each for each in team.cli("doctor", "--json").json["checks"] if each["name"] == "account")
    assert (check["status"], "resume --account team" in check["hint"]) == ("warning", True)
    assert "1 waiting" not in str(team.json("status")["attention"]), "a limit resets by itself"


def test_after_the_reset_one_run_probes_and_then_the_rest_is_caught_up(team: Root) -> None:
    parked(team)
    first = sorted(run["id"] for job in "abc" for run in team.runs(job) if run["reason"] == "quota")
    says(team, OK)
    (probe,) = pass_by(team, 3 * HOUR + MINUTE)
    assert probe in [f"{each} 2" for each in first]
    freed = [row["action"] for row in team.json("audit", "@root")["audit"] if row["field"] == "account:team"]
    assert freed[-1] == "place_back"
    assert freed.count("place_back") == 1
    after = live_on(team)
    assert sorted(each.split(":")[0] for each in after if each.endswith(" 1")) == ["a", "b", "c"], "the newest slot"
    for job_id in "abc":
        told = [(run["status"], run["trigger"], run["slots"]) for run in team.runs(job_id)]
        assert told[0][:2] == ("succeeded", "catch_up")
        assert team.job(job_id)["status"] == "active"
    assert sum(run["status"] == "succeeded" for run in team.runs("a")) == 2


def test_a_probe_that_meets_the_limit_again_parks_anew_and_its_run_has_failed(team: Root) -> None:
    parked(team)
    waits = {run["id"] for job in "abc" for run in team.runs(job) if run["reason"] == "quota"}
    team.clock.advance(3 * HOUR + MINUTE)
    says(team, limit(team, 5 * HOUR), 1)
    (probe,) = pass_by(team, timedelta(0))
    job_id, _, n = probe.split()[0].partition(":")
    run = (
        next(each for each in team.runs(job_id) if each["n"] == int(n)) if "n" in newest(team) else newest(team, job_id)
    )
    assert probe.split()[0] in waits
    assert (run["status"], run["reason"], run["end_class"]) == ("failed", "quota", "quota")
    assert [each["end_class"] for each in run["attempts"]] == ["quota", "quota"]
    job = team.job(job_id)
    assert (job["consecutive_errors"], job["status"], job["last_run_status"]) == (0, "waiting", "failed")
    assert "failure" not in [row["action"] for row in team.json("audit", job_id)["audit"]]
    assert pass_by(team, 5 * HOUR) == []
    says(team, OK)
    assert len(pass_by(team, MINUTE)) == 1


def test_without_a_reset_an_account_is_probed_hourly_and_a_login_needs_a_person(team: Root) -> None:
    team.clock.advance(MINUTE)
    says(team, lines(claude_error(api_error_status=401)), 1)
    team.cli("serve", "--once", "-q")
    woken(team)
    job = team.job("a")
    assert (job["waiting"]["reason"], job["consecutive_errors"]) == ("credential", 0)
    (check,) = (each for each in team.cli("doctor", "--json").json["checks"] if each["name"] == "account")
    assert (check["status"], "log in again" in check["hint"]) == ("error", True)
    assert any("waiting" in each for each in team.json("status")["attention"])
    assert pass_by(team, 59 * MINUTE) == []
    assert len(pass_by(team, MINUTE)) == 1
    assert pass_by(team, 59 * MINUTE) == []
    assert len(pass_by(team, MINUTE)) == 1


@pytest.mark.parametrize("how", ["resume", "edit", "daemon restarts", "edit of another runner"])
def test_what_asks_for_a_probe_at_once(team: Root, how: str) -> None:
    parked(team)
    says(team, OK)
    if how == "resume":
        told = team.ok("resume", "--account", "team")
        assert "its next run is the probe" in told.stderr
        asked = team.json("audit", "@root")["audit"][-2:]
        assert [(row["action"], row["actor"][:5]) for row in asked] == [("resume", "user:"), ("place_lost", "user:")]
    elif how == "edit":
        team.edit("scheduler.yaml", "account: team}", "account: team, env_from: [KEY]}")
    elif how == "edit of another runner":
        team.edit("scheduler.yaml", "other: {command: [cat]", "other: {command: [cat, -u]")
    assert len(pass_by(team, MINUTE)) == (how in ("resume", "edit"))


def test_resume_of_an_account_says_what_it_found(team: Root) -> None:
    found = team.json("resume", "--account", "team")
    assert found == {"account": "team", "runners": ["claude", "sonnet"], "waiting": None}
    assert "is not parked" in team.ok("resume", "--account", "team").stderr
    parked(team)
    assert team.json("resume", "--account", "team")["waiting"]["reason"] == "quota"
    unknown = team.cli("resume", "--account", "tema")
    assert (unknown.code, "no account 'tema'" in unknown.stderr, "did you mean 'team'" in unknown.stderr) == (
        2,
        True,
        True,
    )
    far = team.cli("resume", "--account", "zzz")
    assert "the accounts are other, team" in far.stderr
    assert team.cli("resume").code == 2
    assert team.cli("resume", "a", "--account", "team").code == 2


def test_a_person_may_run_a_job_of_a_parked_account_and_that_is_a_probe(team: Root) -> None:
    team.write("jobs/byhand.yaml", "id: byhand\nschedule: manual\ntask: Go.\n")
    team.sync()
    parked(team)
    met = team.cli("run", "byhand", "--wait", "--json")
    assert (met.code, met.json["run"]["end_class"], len(met.json["run"]["attempts"])) == (1, "quota", 1)
    assert team.job("byhand")["consecutive_errors"] == 0
    assert team.job("a")["status"] == "waiting"
    says(team, OK)
    assert team.run("byhand")["status"] == "succeeded"
    assert team.job("a")["status"] == "active"
    assert team.job("a")["waiting"] is None


def test_the_programs_own_cap_is_no_failure_and_is_retried_only_by_its_name(team: Root) -> None:
    says(team, json.dumps(claude_error(subtype="error_max_budget_usd")).encode(), 1)
    for name, on in (("capped", "failed"), ("again", "budget")):
        team.write(
            f"jobs/{name}.yaml",
            f"id: {name}\nschedule: manual\ntask: Go.\nretry: {{attempts: 2, delay: 1s, on: [{on}]}}\n",
        )
    team.sync()
    run = team.cli("run", "capped", "--wait", "--json").json["run"]
    assert (run["status"], run["reason"], len(run["attempts"])) == ("failed", "budget", 1)
    assert (team.job("capped")["consecutive_errors"], team.job("a")["status"]) == (0, "active")
    assert "failure" not in [row["action"] for row in team.json("audit", "capped")["audit"]]
    assert len(team.cli("run", "again", "--wait", "--json").json["run"]["attempts"]) == 2


def test_a_run_that_stops_at_its_budget_is_told_once_a_day_and_to_its_ping_each_time(team: Root) -> None:
    error = claude_error(subtype="error_max_budget_usd", errors=["Reached maximum budget ($1)"])
    says(team, json.dumps(error).encode(), 1)
    team.write("scheduler.yaml", (team.path / "scheduler.yaml").read_text() + "channels: {log: {command: [cat]}}\n")
    keys = "deliver: [log]\nping: '${env:HC}'\n"
    team.write("jobs/capped.yaml", f"id: capped\nschedule: manual\ntask: Go.\n{keys}")
    team.sync()
    for _ in range(2):
        assert team.cli("run", "capped", "--wait").code == 1
        team.clock.advance(timedelta(minutes=1))
    with Store.open(team.db, create=False) as store:
        waiting = store.read(outbox.waiting)
    assert [(row.channel, row.event.kind, row.event.run_n) for row in waiting if row.event.kind != "started"] == [
        ("log", "over_budget", 1),
        ("ping:capped", "over_budget", 1),
        ("ping:capped", "over_budget", 2),
    ]
    assert waiting[0].event.facts["text"] == "exit code 1: Reached maximum budget ($1)"


def test_an_overload_is_an_error_only_once_its_retries_are_used_up(team: Root) -> None:
    says(team, json.dumps(claude_error(api_error_status=529)).encode(), 1)
    team.write(
        "jobs/busy.yaml",
        "id: busy\nschedule: manual\ntask: Go.\nretry: {attempts: 3, delay: 1s, backoff: 1, on: [transient]}\n",
    )
    team.sync()
    run = team.cli("run", "busy", "--wait", "--json").json["run"]
    assert ([each["end_class"] for each in run["attempts"]], team.job("busy")["consecutive_errors"]) == (
        ["transient"] * 3, 1,
    )  # fmt: skip
    assert team.job("a")["status"] == "active"


def test_a_clock_that_goes_back_while_parked_parks_no_longer_than_it_must(team: Root) -> None:
    parked(team, None)
    team.clock.step(-40 * 24 * HOUR)
    team.cli("serve", "--once", "-q")
    assert woken(team) == []
    assert team.job("a")["waiting"]["until"] == (team.clock.now() + HOUR).isoformat().replace("+00:00", "Z")
    says(team, OK)
    assert len(pass_by(team, HOUR)) == 1
