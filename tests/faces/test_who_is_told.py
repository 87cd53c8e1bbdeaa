"""Channels, alerts and recipients as people and agents see them before anything is sent: plan, show, edits, doctor."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scheduler.service.doctor import checks
from tests.faces.conftest import ROOT_FILE, Root
from tests.faces.test_tool import ask, refused

CHANNELS = """\
channels:
  owner: {url: "${env:OWNER}"}
  log: {command: [cat]}
alerts: {deliver: [log], heartbeat: {url: "${env:HC}"}}
"""
REPORT = "id: report\nschedule: '@daily'\ntask: Say it.\n"


@pytest.fixture
def told(root: Root) -> Root:
    """A root with two channels, and a job that delivers to one of them."""
    root.write("scheduler.yaml", ROOT_FILE + CHANNELS)
    root.write("jobs/report.yaml", REPORT + "deliver: [log]\n")
    root.sync()
    return root


def wider(root: Root) -> list[str]:
    """The settings of scheduler.yaml whose changes give more power."""
    changed = root.json("plan")["root_changed"]
    assert changed
    return [each["field"] for each in changed if each["widens"]]


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ("${env:OWNER}", "${env:OTHER}", ["channels.owner.url"]),
        ("[cat]}", "[cat], env_from: [TOKEN]}", ["channels.log.env_from"]),
        ("  log:", "  more: {ping: '${env:HC}'}\n  log:", ["channels.more.ping"]),
        ("{deliver: [log]", "{deliver: [owner]", ["alerts.deliver"]),
        ("${env:HC}", "${env:HD}", ["alerts.heartbeat.url"]),
        ('"${env:HC}"', '"${env:HC}", every: 2m', []),
        ("timeout: 5m", "timeout: 5m, deliver: [owner]", ["defaults.deliver"]),
        ("timeout: 5m", "timeout: 5m, ping: '${env:HC}'", ["defaults.ping"]),
        ('  owner: {url: "${env:OWNER}"}\n', "", []),
        ("deliver: [log], ", "", []),
        (', heartbeat: {url: "${env:HC}"}', "", []),
    ],
)
def test_what_sends_more_elsewhere_is_more_power(told: Root, old: str, new: str, fields: list[str]) -> None:
    told.edit("scheduler.yaml", old, new)
    assert wider(told) == fields


def test_a_plan_names_the_jobs_of_a_changed_channel_and_the_recipients_of_a_new_job(told: Root) -> None:
    told.edit("scheduler.yaml", "[cat]}\nalerts", "[tee, x]}\nalerts")
    told.write("jobs/new.yaml", REPORT.replace("report", "new") + "deliver: [owner]\nping: '${env:HC}'\n")
    lines = told.cli("plan").stdout.splitlines()
    assert '! scheduler.yaml channels.log.command: ["cat"] -> ["tee", "x"]  [widens]; used by report' in lines
    (added,) = (line for line in lines if line.startswith("+ new"))
    assert added.endswith("; runner agent, delivers to owner, pings ${env:HC}  [widens]")
    found = told.json("plan")
    assert found["runner_pairs"] == [{"id": "new", "runner": "agent", "deliver": ["owner"], "ping": "${env:HC}"}]


def test_a_new_recipient_of_a_job_widens_it_and_one_less_does_not(told: Root) -> None:
    told.edit("jobs/report.yaml", "[log]", "[log, owner]")
    (update,) = told.json("plan")["updated"]
    assert update["widens"] == ["deliver"]
    assert '    deliver: ["log"] -> ["log", "owner"]  [widens]\n' in told.cli("plan").stdout
    told.edit("jobs/report.yaml", "[log, owner]", "[]")
    (update,) = told.json("plan")["updated"]
    assert update["widens"] == []


def test_show_says_who_is_told_what(told: Root) -> None:
    told.edit("jobs/report.yaml", "[log]", "[log, owner]\ndeliver_on: [success]\nping: https://hc.example.com/x")
    told.sync()
    shown = {line.split()[0]: " ".join(line.split()[1:]) for line in told.cli("show", "report").stdout.splitlines()}
    assert (shown["deliver"], shown["ping"]) == ("log, owner on success", "https://hc.example.com/x")
    job = told.json("show", "report")["job"]
    assert (job["deliver"], job["deliver_on"], job["ping"]) == (
        ["log", "owner"],
        ["success"],
        "https://hc.example.com/x",
    )
    other = told.job("heartbeat")
    assert (other["deliver"], other["deliver_on"], other["ping"]) == ([], ["failure", "recovery"], None)


def test_the_tool_says_who_is_told_what_and_nothing_where_nobody_is(told: Root) -> None:
    found = ask(told, "show", job="report")["job"]
    assert (found["deliver"], found["deliver_on"]) == (["log"], ["failure", "recovery"])
    assert not {"deliver", "deliver_on", "ping"} & ask(told, "show", job="heartbeat")["job"].keys()


def test_jobs_that_name_a_deleted_channel_keep_their_last_good_definition(told: Root) -> None:
    told.edit("scheduler.yaml", "  log: {command: [cat]}\nalerts: {deliver: [log]", "alerts: {deliver: [owner]")
    found = told.cli("sync", "--json")
    assert found.problems == [("jobs/report.yaml", 4, 11, "channel.unknown")]
    job = told.job("report")
    assert (job["sync_state"], job["deliver"]) == ("invalid", ["log"])
    assert told.run("report")["status"] == "succeeded"
    told.edit("jobs/report.yaml", "[log]", "[owner]")
    told.sync()
    job = told.job("report")
    assert (job["sync_state"], job["deliver"], job["run_count"]) == ("synced", ["owner"], 1)


def test_a_review_names_who_is_told_by_a_new_job_and_which_jobs_use_a_channel(told: Root) -> None:
    told.git("add", "-A")
    told.git("commit", "-qm", "Channels")
    told.write("jobs/new.yaml", REPORT.replace("report", "new") + "deliver: [owner]\nping: '${env:HC}'\n")
    told.edit("scheduler.yaml", "[cat]}\nalerts", "[tee, x]}\nalerts")
    said = told.cli("plan", "--base", "HEAD").stdout
    assert "for up to 5m a run; delivers to owner; pings ${env:HC}\n" in said
    assert 'channels.log.command: ["cat"] -> ["tee", "x"]; used by report\n' in said
    comment = told.cli("plan", "--base", "HEAD", "--format", "markdown").stdout
    assert "for up to `5m` a run; delivers to `owner`; pings `${env:HC}`\n" in comment
    assert '`["cat"]` → `["tee", "x"]`; used by `report`\n' in comment


PAGE = "bin/page.sh"
SHELL = "#!/bin/sh\ncat\n"


def test_a_program_of_the_root_that_a_channel_runs_is_part_of_its_setting(told: Root) -> None:
    told.write(PAGE, SHELL)
    (told.path / PAGE).chmod(0o755)
    told.edit("scheduler.yaml", "command: [cat]}\nalerts", "command: [./bin/page.sh]}\nalerts")
    told.sync()
    told.commit()
    told.write(PAGE, SHELL.replace("cat", "cat >> page.log"))
    (change,) = told.json("plan")["root_changed"]
    assert (change["field"], change["widens"], change["jobs"]) == ("channels.log.files.bin/page.sh", True, ["report"])
    (line,) = (each for each in told.cli("plan").stdout.splitlines() if each.startswith("!"))
    assert line.startswith("! bin/page.sh (named by channel log): ")
    assert line.endswith("[widens]; used by report")
    review = told.json("plan", "--base", "HEAD")
    assert [(each["path"], each["jobs"]) for each in review["task_diffs"]] == [(PAGE, ["report"])]
    assert "- `bin/page.sh`, which `log` runs: " in told.cli("plan", "--base", "HEAD", "--format", "markdown").stdout
    told.sync()
    assert told.json("audit", "@root")["audit"][-1]["field"] == change["field"]


def test_a_program_that_a_channel_cannot_run_is_a_warning_at_its_word(told: Root) -> None:
    told.edit("scheduler.yaml", "command: [cat]}\nalerts", "command: [./bin/page.sh]}\nalerts")
    (problem,) = told.json("validate")["problems"]
    assert (problem["code"], problem["severity"], problem["column"]) == ("runner.file-missing", "warning", 19)
    assert problem["message"].endswith("'bin/page.sh' does not exist: it delivers nothing")
    told.write(PAGE, SHELL)
    (problem,) = told.json("validate")["problems"]
    assert problem["code"] == "runner.not-executable"


# -- edits ---------------------------------------------------------------------------------------


def test_an_edit_changes_the_recipients_and_nothing_else(told: Root) -> None:
    found = told.json("update", "report", "--set", "deliver=[owner, log]", "--set", "deliver_on=[success]")
    assert (found["job"]["deliver"], found["job"]["deliver_on"]) == (["owner", "log"], ["success"])
    assert found["proposed"]["widens"] == ["deliver"]
    assert (told.path / "jobs/report.yaml").read_text() == REPORT + "deliver: [owner, log]\ndeliver_on: [success]\n"
    found = told.json("update", "report", "--unset", "deliver_on", "--set", "deliver=[]")
    assert (found["job"]["deliver"], found["proposed"]["widens"]) == ([], [])


def test_an_edit_that_names_an_unknown_channel_writes_nothing(told: Root) -> None:
    found = told.cli("update", "report", "--set", "deliver=[ownr]")
    assert found.code == 2
    assert "channel 'ownr' is not declared in scheduler.yaml [channel.unknown]" in found.stderr
    assert (told.path / "jobs/report.yaml").read_text() == REPORT + "deliver: [log]\n"


def allow(root: Root, fields: str) -> None:
    rest = "jobs: ['*'], verbs: [update, create, rollback], paths: ['jobs/**'], edits: commit"
    policy = f"agents: {{fields: {fields}, {rest}}}\n"
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text().partition("agents:")[0] + policy)
    root.commit()
    root.sync()


NEW = {"job": "new", "schedule": "@daily", "task": "x\n"}


@pytest.mark.parametrize(
    ("given", "field"),
    [({"deliver": ["owner"]}, "deliver"), ({"deliver_on": ["success"]}, "deliver_on"), ({"ping": "${env:HC}"}, "ping")],
)
def test_an_agent_adds_no_recipient_and_no_ping_unless_it_may_change_that_key(
    told: Root, given: dict[str, object], field: str
) -> None:
    allow(told, "[task, schedule]")
    assert f"agents cannot change {field}; agents.fields allows" in refused(told, "update", job="report", **given)
    assert f"agents cannot change {field}; agents.fields allows" in refused(told, "create", **NEW, **given)
    allow(told, f"[task, schedule, {field}]")
    assert ask(told, "update", job="report", **given)["proposed"]["widens"] == [field] * (field != "deliver_on")


def test_an_agent_restores_no_recipient_by_a_rollback(told: Root) -> None:
    allow(told, "[task, schedule]")
    before = told.git("rev-parse", "HEAD")
    told.edit("jobs/report.yaml", "[log]", "[]")
    told.commit()
    told.sync()
    assert "agents cannot change deliver" in refused(told, "rollback", job="report", to=f"commit:{before}")


# -- without the extra package -------------------------------------------------------------------


@pytest.mark.parametrize(("recipient", "status"), [("owner", "error"), ("log", "warning")])
def test_without_the_package_for_urls_everything_works_and_doctor_says_what_to_install(
    told: Root, monkeypatch: pytest.MonkeyPatch, recipient: str, status: str
) -> None:
    def checked() -> list[tuple[str, str, str]]:
        found = told.cli("doctor", "--json").json["checks"]
        return [(each["status"], each["message"], each["hint"]) for each in found if each["name"] == "channels"]

    assert [each[0] for each in checked()] == ["ok"]
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    told.edit("jobs/report.yaml", "[log]", f"[{recipient}]")
    assert told.cli("sync", "--json").problems == []
    assert told.run("report")["status"] == "succeeded"
    (found,) = checked()
    assert found[:2] == (status, "nothing can be sent to owner: the package for channels with a url is not installed")
    assert "pip install 'gitops-scheduler[notify]'" in found[2]


def test_nothing_is_said_of_the_package_where_no_channel_needs_it(root: Root) -> None:
    root.write("scheduler.yaml", ROOT_FILE + "channels: {log: {command: [cat]}}\n")
    assert "channels" not in {each["name"] for each in root.cli("doctor", "--json").json["checks"]}


def test_reading_a_url_needs_no_package() -> None:
    """The module that imports it is loaded by nothing that reads files."""
    code = "import sys; sys.modules['apprise'] = None; from scheduler.core.formats import rootfile as r; "
    code += "print(r.read_root_file(b'version: 1\\nchannels: {a: {url: slack://x}}')[1][0].code)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "channel.literal-secret\n"
