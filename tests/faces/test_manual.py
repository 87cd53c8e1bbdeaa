"""A job that only runs by hand: never due, and like any other one in all else."""

from __future__ import annotations

from tests.faces.conftest import Root

DEPLOY = "id: deploy\nschedule: manual\ntask: Deploy it.\n"


def test_a_manual_job_is_never_due_and_runs_by_hand(root: Root) -> None:
    root.write("jobs/deploy.yaml", DEPLOY)
    synced = root.sync()
    assert ("deploy" in synced["created"], synced["problems"]) == (True, [])
    job = root.job("deploy")
    assert (job["status"], job["next_run_at"], job["schedule_text"]) == ("manual", None, "only by hand")
    assert root.json("next", "deploy")["fires"] == []
    assert [each["id"] for each in root.json("list", "--status", "manual")["jobs"]] == ["deploy"]
    assert root.json("list")["summary"]["manual"] == 1
    assert root.json("explain", "deploy", "--at", "+1h")["why"] == "manual"
    assert root.run("deploy")["status"] == "succeeded"
    assert root.job("deploy")["status"] == "manual"
    assert "only by hand" in root.ok("show", "deploy").stdout
    assert root.sync()["updated"] == []


def test_no_audit_calls_a_manual_job_completed(root: Root) -> None:
    root.write("jobs/deploy.yaml", DEPLOY)
    root.sync()
    assert "complete" not in [row["action"] for row in root.json("audit", "deploy")["audit"]]
    root.ok("update", "heartbeat", "--set", "schedule=manual")
    assert "complete" not in [row["action"] for row in root.json("audit", "heartbeat")["audit"]]


def test_pause_and_disable_come_before_manual(root: Root) -> None:
    root.write("jobs/deploy.yaml", DEPLOY)
    root.sync()
    root.ok("pause", "deploy")
    assert root.job("deploy")["status"] == "paused"
    root.ok("resume", "deploy")
    root.write("jobs/deploy.yaml", DEPLOY + "enabled: false\n")
    root.sync()
    assert root.job("deploy")["status"] == "disabled"


def test_a_schedule_is_edited_to_manual_and_back_and_keeps_its_history(root: Root) -> None:
    root.sync()
    root.run("heartbeat")
    root.ok("update", "heartbeat", "--set", "schedule=manual")
    job = root.job("heartbeat")
    assert (job["status"], job["next_run_at"], job["run_count"]) == ("manual", None, 1)
    assert "manual" in root.ok("log", "heartbeat").stdout
    root.ok("update", "heartbeat", "--set", "schedule.every=1h")
    job = root.job("heartbeat")
    assert (job["status"], job["run_count"], job["next_run_at"] is not None) == ("active", 1, True)


def test_manual_stands_alone(root: Root) -> None:
    for schedule in ("[manual, '@daily']", "{cron: manual}", "Manual"):
        root.write("jobs/deploy.yaml", DEPLOY.replace("manual", schedule))
        found = root.cli("validate")
        assert (found.code, "write only schedule: manual" in found.stdout + found.stderr) == (1, True), found


def test_a_manual_job_can_be_exported_and_imported(root: Root) -> None:
    root.write("jobs/deploy.yaml", DEPLOY)
    root.sync()
    exported = root.path.parent / "deploy.jsonl"
    exported.write_text(root.ok("export", "deploy").stdout)
    other = root.path.parent / "other"
    root.ok("init", str(other))
    root.ok("--root", str(other), "import", "export", str(exported))
    assert root.json("--root", str(other), "show", "deploy")["job"]["status"] == "manual"
