"""`scheduler hooks`, and a daemon in a working tree whose branches people switch."""

from __future__ import annotations

import signal

from tests.faces.conftest import Root
from tests.helpers import until

NAMES = ["post-commit", "post-merge", "post-checkout", "post-rewrite"]


def test_hooks_say_in_json_what_stands_and_what_has_changed(root: Root) -> None:
    found = root.json("hooks", "status")
    assert found == {
        "folder": str(root.path / ".git/hooks"),
        "hooks": [{"name": name, "status": "absent", "kept": False, "changed": False} for name in NAMES],
    }
    found = root.json("hooks", "install")
    assert [(each["status"], each["changed"]) for each in found["hooks"]] == [("installed", True)] * 4
    shown = root.ok("hooks", "status").stdout
    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [[name, "installed"] for name in NAMES]
    found = root.json("hooks", "uninstall")
    assert [(each["status"], each["changed"]) for each in found["hooks"]] == [("absent", True)] * 4


def test_hooks_outside_a_repository_or_shared_with_others_are_refused_in_words(root: Root) -> None:
    root.git("config", "core.hooksPath", "/usr/share/hooks")
    found = root.cli("hooks", "install")
    assert found.code == 3
    assert "'/usr/share/hooks', outside it (core.hooksPath)" in found.stderr
    assert "git config --local core.hooksPath .git/hooks" in found.stderr
    (root.path / ".git").rename(root.path / "no-git")
    found = root.cli("hooks", "install")
    assert (found.code, "is not in a git repository" in found.stderr) == (5, True)


def test_the_hint_for_hooks_shared_with_others_can_be_taken_as_it_stands(root: Root) -> None:
    root.git("config", "--global", "core.hooksPath", "/usr/share/hooks")
    assert root.cli("hooks", "install").code == 3
    root.git("config", "--local", "core.hooksPath", ".git/hooks")
    assert {each["status"] for each in root.json("hooks", "install")["hooks"]} == {"installed"}


def test_a_daemon_takes_in_one_branch_only_and_goes_on_when_it_is_back(root: Root) -> None:
    root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text() + "worktree: {branch: main}\n")
    root.commit()
    root.sync()
    root.json("hooks", "install")
    daemon = root.start("serve", "--observe")  # a fire would take the settings in, and what else was merged waits
    try:
        until((root.path / ".scheduler/wake").exists, "the daemon")
        root.git("switch", "-qc", "side")
        root.edit("jobs/heartbeat.md", 'schedule: "0 * * * *"', 'schedule: "30 * * * *"')
        root.write("scheduler.yaml", (root.path / "scheduler.yaml").read_text().replace("main", "side"))
        root.commit()
        found = root.cli("sync")
        assert (found.code, "the branch 'side' is checked out" in found.stderr) == (3, True)
        assert root.job("heartbeat")["generation"] == 1
        root.git("switch", "-q", "main")
        root.git("merge", "-q", "side")
        until(lambda: root.job("heartbeat")["generation"] == 2, "the merge")
        until(lambda: root.json("list")["summary"]["held"] is not None, "the setting that came with it")
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, log = daemon.communicate(timeout=60)
    assert daemon.returncode == 0
    assert "sync_held reason=\"the branch 'side' is checked out, but worktree.branch is 'main'\"" in log
    assert "sync_held_no_more" in log
