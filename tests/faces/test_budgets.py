"""Budgets on the command line: what is shown, refused, planned and handed to programs."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from tests.faces import served
from tests.faces.conftest import Root
from tests.helpers import until

serve = served.serve
AGENT = """\
#!/bin/sh
cd "$(dirname "$0")"
read -r code < code
printf '{"type": "result", "subtype": "success", "is_error": %s, "result": "may spend %s", "session_id": "s"' \\
    "$(test "$code" = 0 && echo false || echo true)" "$2"
if test -s cost; then printf ', "total_cost_usd": %s' "$(cat cost)"; fi
echo '}'
exit "$code"
"""
ROOT_FILE = """\
version: 1
timezone: Europe/Berlin
defaults: {runner: agent}
runners:
  agent: {command: [./bin/agent, --max-budget-usd, "{budget}"], input: stdin, result_format: claude}
  cat: {command: [cat]}
"""
DIGEST = """\
id: digest
schedule: "0 * * * *"
task: Sum up.
budget: {per_run: 0.5, per_day: 1}
"""


def made(root: Root, job: str = DIGEST, root_file: str = ROOT_FILE) -> Root:
    for path in root.path.glob("jobs/*"):
        path.unlink()
    root.write("bin/agent", AGENT)
    (root.path / "bin/agent").chmod(0o755)
    costs(root, "0.4")
    root.write("scheduler.yaml", root_file)
    root.write("jobs/digest.yaml", job)
    root.commit()
    root.sync()
    return root


def costs(root: Root, amount: str, code: int = 0) -> None:
    """What each run costs from now on; nothing: it does not say."""
    root.write("bin/cost", amount)
    root.write("bin/code", f"{code}\n")


@pytest.fixture
def digest(root: Root) -> Root:
    return made(root)


def test_the_program_is_told_what_it_may_spend(digest: Root) -> None:
    assert digest.run("digest")["result"] == "may spend 0.5"
    assert digest.json("run", "digest", "--dry-run")["argv"][1:] == ["--max-budget-usd", "0.5"]
    digest.edit("jobs/digest.yaml", "per_run: 0.5", "per_run: 0.05")
    assert digest.run("digest")["reserved"] == {"amount": "0.5", "currency": "USD"}, "claimed before its file was read"
    assert digest.runs("digest")[0]["result"] == "may spend 0.05"


def test_a_budget_that_is_used_up_refuses_with_the_figures_and_frees_at_midnight(digest: Root) -> None:
    for _ in range(2):
        digest.run("digest")
    before = digest.runs("digest")
    said = (
        "the budget allows no run of job 'digest' now: budget.per_day of the job is 1.00 USD, 0.80 USD spent;"
        " a run may spend 0.50 USD: it frees at "
    )
    refused = digest.cli("run", "digest", "--wait")
    assert (refused.code, refused.stdout) == (3, "")
    assert said in refused.stderr
    assert digest.runs("digest") == before, "no row"
    shown = digest.ok("show", "digest").stdout
    for line in (
        "budget       0.50 USD per run, 1.00 USD per day",
        "spent        0.80 USD today, 0.80 USD this month",
        "no run now   budget.per_day of the job is 1.00 USD, 0.80 USD spent",
    ):
        assert line in shown
    spending = digest.json("show", "digest")["spending"]
    assert spending == {
        "currency": "USD",
        "today": "0.8",
        "this_month": "0.8",
        "reserved": "0",
        "limits": [
            {
                "key": "per_day",
                "of": "job",
                "limit": "1",
                "spent": "0.8",
                "reserved": "0",
                "frees_at": "2026-03-02T23:00:00Z",
            }
        ],
        "refused": spending["refused"],
        "frees_at": "2026-03-02T23:00:00Z",
    }
    (check,) = [each for each in digest.cli("doctor", "--json").json["checks"] if each["name"] == "budget"]
    assert check["status"] == "warning"
    assert check["message"].startswith("the budget allows no run now of digest; digest: budget.per_day of the job")
    digest.clock.advance(timedelta(hours=14, minutes=29))
    assert digest.cli("run", "digest", "--wait").code == 3
    digest.clock.advance(timedelta(minutes=1))
    assert digest.run("digest")["status"] == "succeeded", "midnight in Berlin"
    (check,) = [each for each in digest.cli("doctor", "--json").json["checks"] if each["name"] == "budget"]
    assert check["status"] == "ok"


def test_a_root_without_budgets_says_nothing_of_them(lived_in: Root) -> None:
    assert lived_in.json("show", "heartbeat")["spending"] is None
    assert not {"budget", "spent", "all jobs"} & {
        line[:12].strip() for line in lived_in.ok("show", "heartbeat").stdout.splitlines()
    }
    assert "budget" not in {each["name"] for each in lived_in.cli("doctor", "--json").json["checks"]}
    assert "costs" not in lived_in.json("plan")


@pytest.mark.parametrize(
    ("amount", "told", "why"),
    [
        ("0.2", ["0.5", "0.3", "0.1"], ", in attempt 3 of 3"),
        ("0.3", ["0.5", "0.2"], ", in attempt 2 of 3; not tried again, as budget.per_run is spent"),
        ("", ["0.5"], "; not tried again, as its cost is unknown and could be all of budget.per_run"),
    ],
)
def test_a_run_is_tried_again_with_what_is_left(root: Root, amount: str, told: list[str], why: str) -> None:
    made(root, f"{DIGEST}retry: {{attempts: 3, delay: 1s, backoff: 1}}\n")
    costs(root, amount, code=1)
    run = root.cli("run", "digest", "--wait", "--json").json["run"]
    assert run["status"] == "failed"
    outputs = [(root.path / f".scheduler/runs/digest/1.{n}.stdout").read_text() for n in range(1, len(told) + 1)]
    assert [text.partition("may spend ")[2].partition('"')[0] for text in outputs] == told
    assert len(run["attempts"]) == len(told)
    assert why in root.ok("explain", "digest:1").stdout


def test_all_jobs_share_the_budget_of_the_root(root: Root) -> None:
    made(root, DIGEST.replace(", per_day: 1", ""), f"{ROOT_FILE}budget: {{per_month: 1}}\n")
    root.write("jobs/free.yaml", "id: free\nschedule: manual\ntask: x\nrunner: cat\n")
    checked = root.cli("validate", "--json")
    assert (checked.code, checked.problems) == (1, [("jobs/free.yaml", 1, 1, "budget.missing")])
    root.edit("jobs/free.yaml", "runner: cat\n", "runner: cat\nbudget: {per_run: 0}\n")
    root.sync()
    for _ in range(2):
        root.run("digest")
    assert root.cli("run", "digest").code == 3
    assert root.run("free")["status"] == "succeeded"
    assert "all jobs     1.00 USD per month, 0.80 USD spent" in root.ok("show", "digest").stdout


def test_a_plan_says_what_a_change_may_cost_in_a_month(digest: Root) -> None:
    digest.run("digest")
    costs(digest, "0.1")
    for _ in range(2):
        digest.run("digest")
    digest.edit("jobs/digest.yaml", "0 * * * *", "0 */2 * * *")
    digest.edit("jobs/digest.yaml", "per_run: 0.5, per_day: 1", "per_run: 0.5, per_month: 100")
    digest.write("jobs/new.yaml", DIGEST.replace("id: digest", "id: new"))
    costs_of = {each["id"]: each for each in digest.json("plan")["costs"]}
    assert costs_of["digest"] == {
        "id": "digest",
        "currency": "USD",
        "median": "0.1",
        "before": "72",
        "after": "36",
        "most_before": "30",
        "most_after": "100",
    }
    assert [costs_of["new"][key] for key in ("median", "before", "after", "most_after")] == [None, "0", None, "30"]
    line = "cost of digest: 72.00 USD -> 36.00 USD in 30 days, at most 30.00 USD -> 100.00 USD"
    assert line in digest.ok("plan").stdout
    comment = digest.ok("plan", "--format", "markdown").stdout
    assert f"#### Costs\n\n- `digest`: {line.removeprefix('cost of digest: ')}" in comment
    assert "- `digest`: `budget` " in comment, "the limit of the day is gone: more power"
    based = {each["id"]: each for each in digest.json("plan", "--base", "HEAD")["costs"]}
    assert (based["digest"]["median"], based["digest"]["most_after"]) == (None, "100"), "no database is asked"
    assert "cost of digest: unknown in 30 days, at most 30.00" in digest.ok("plan", "--base", "HEAD").stdout


@pytest.mark.parametrize(
    ("new", "wider"),
    [
        ("budget: {per_run: 0.6, per_day: 1}", True),
        ("budget: {per_run: 0.5, per_day: 1.01}", True),
        ("budget: {per_run: 0.5}", True),
        ("runner: cat", True),
        ("budget: {per_run: 0.5, per_day: 0.99}", False),
        ("budget: {per_run: 0.5, per_day: 1, per_month: 9}", False),
    ],
)
def test_a_budget_that_is_raised_or_removed_is_more_power(digest: Root, new: str, wider: bool) -> None:
    digest.edit("jobs/digest.yaml", "budget: {per_run: 0.5, per_day: 1}", new)
    (update,) = digest.json("plan")["updated"]
    assert ("budget" in update["widens"]) is wider


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ("budget: {per_day: 5}", "budget: {per_day: 6}", ["budget.per_day"]),
        ("budget: {per_day: 5}\n", "", ["budget.per_day"]),
        ("budget: {per_day: 5}", "budget: {per_day: 5}\ncurrency: EUR", ["currency"]),
        ("budget: {per_run: 1}", "budget: {per_run: 2}", ["defaults.budget.per_run"]),
        ("budget: {per_day: 5}", "budget: {per_day: 4.5, per_month: 9}", []),
        ("budget: {per_run: 1}", "budget: {per_run: 0.9, per_day: 3}", []),
    ],
)
def test_so_it_is_in_scheduler_yaml(root: Root, old: str, new: str, fields: list[str]) -> None:
    text = ROOT_FILE.replace("{runner: agent}", "{runner: agent, budget: {per_run: 1}}")
    made(root, root_file=f"{text}budget: {{per_day: 5}}\n")
    root.edit("scheduler.yaml", old, new)
    changed = root.json("plan")["root_changed"]
    assert changed
    assert [each["field"] for each in changed if each["widens"]] == fields


def test_an_edit_sets_one_limit_and_keeps_the_rest_of_the_file(digest: Root) -> None:
    found = digest.json("update", "digest", "--set", "budget.per_day=2.25")
    assert found["job"]["budget"] == {"per_run": "0.5", "per_day": "2.25", "per_month": None}
    assert found["proposed"]["widens"] == ["budget"]
    text = (digest.path / "jobs/digest.yaml").read_text()
    assert text == DIGEST.replace("per_day: 1", "per_day: 2.25")
    refused = digest.cli("update", "digest", "--set", "budget.per_run=3 USD")
    assert refused.code == 2
    assert "an amount must be a number, not '3 USD'" in refused.stderr


def live(root: Root) -> Root:
    return made(root, DIGEST.replace('"0 * * * *"', "{every: 1s}") + "catch_up: none\n")


@pytest.fixture
def by_the_clock(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Root:
    found = Root(path=tmp_path / "root", clock=None)  # type: ignore[arg-type]
    found.write(".gitignore", ".scheduler/\n")
    found.git("init", "-q", "--template=")
    monkeypatch.chdir(found.path)
    return live(found)


def test_a_daemon_skips_in_one_row_until_the_budget_is_raised(by_the_clock: Root) -> None:
    root = by_the_clock
    started: list[served.Served] = []

    def serving() -> served.Served:
        started.append(served.Served(root))
        started[-1].says(" serving root=")
        return started[-1]

    def skips() -> Any:
        return next((run for run in root.runs("digest") if run["reason"] == "budget" and run["slots"] > 2), None)

    try:
        first = serving()
        skip = until(skips, "slots that the budget does not allow")
        runs = [run for run in root.runs("digest") if run["started_at"]]
        assert len(runs) == 2, "0.80 spent, and 0.50 more would exceed 1.00"
        assert "budget.per_day of the job is 1.00 USD, 0.80 USD spent" in skip["error"]
        first.kill()
        serving()
        slots = skip["slots"]
        until(lambda: skips()["slots"] > slots, "the same row goes on after a restart")
        skipped = [run["reason"] for run in root.runs("digest") if run["status"] == "skipped"]
        assert all(one != other for one, other in itertools.pairwise(skipped)), "slots in a row share one row"
        explained = root.json("explain", "digest", "--at", skip["fire_time"])
        assert (explained["why"], explained["fired"]) == ("budget", False)
        root.edit("jobs/digest.yaml", "per_day: 1", "per_day: 100")
        until(lambda: [run for run in root.runs("digest") if run["started_at"]][2:], "runs after the limit was raised")
    finally:
        for each in started:
            if each.alive:
                each.kill()
