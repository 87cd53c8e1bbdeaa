"""The workflows of the how-to, run as a forge would run them: a comment is written once, then edited."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faces.conftest import Root
from tests.helpers import REPOSITORY

PAGE = (REPOSITORY / "docs/how-to/review-in-a-pull-request.md").read_text()


def workflow(name: str) -> Any:
    found = re.search(rf"<!-- copy: {name} -->\n```yaml\n(.*?)\n```\n", PAGE, re.DOTALL)
    assert found is not None
    return yaml.load(found[1], yaml.BaseLoader)


def shell(script: str, folder: Path, env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-e", *options, "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def changed(root: Root) -> Root:
    root.git("checkout", "-q", "-b", "topic")
    root.edit("prompts/triage.md", "inbox", "queue")
    root.commit()
    root.git("checkout", "-q", "main")
    return root


# A stand-in for gh and the comments of one pull request, in a file.
GH = """\
#!{python}
import json, os, pathlib, sys
store, args = pathlib.Path({store!r}), sys.argv[1:]
comments = json.loads(store.read_text())
body = next((pathlib.Path(each[6:]).read_text() for each in args if each.startswith("body=@")), None)
if "POST" in args:
    comments.append({{"id": 100 + len(comments), "user": {{"login": "github-actions[bot]"}}, "body": body}})
elif "PATCH" in args:
    next(c for c in comments if f"repos/o/r/issues/comments/{{c['id']}}" in args)["body"] = body
elif "GH_FAILS" in os.environ:
    print(json.dumps({{"message": "Bad Gateway"}})); sys.exit(1)
else:
    print(json.dumps(comments[:1])); print(json.dumps(comments[1:]))
store.write_text(json.dumps(comments))
"""


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("bash")), reason="jq or bash is not installed")
def test_the_github_workflow_edits_its_own_comment_and_no_other(changed: Root, tmp_path: Path) -> None:
    job = workflow("github")["jobs"]["plan"]
    steps = {step.get("name", "-"): step for step in job["steps"]}
    tools, store = tmp_path / "tools", tmp_path / "comments.json"
    tools.mkdir()
    (tools / "gh").write_text(GH.format(python=sys.executable, store=str(store)))
    (tools / "gh").chmod(0o755)
    marker = "<!-- scheduler plan . -->"
    planted = {"id": 7, "user": {"login": "somebody"}, "body": f"{marker}\nall is well"}
    store.write_text(json.dumps([planted]))
    env = {
        "PATH": str(tools),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "ROOT": job["env"]["ROOT"],
        "COMMENTS": "repos/o/r/issues/1/comments",
        "COMMENT": "repos/o/r/issues/comments",
    }
    paths = f'PATH="{tools}:$PATH"\n'
    ours: list[dict[str, Any]] = []
    for word in ("queue", "list"):
        changed.git("checkout", "-q", "topic")
        changed.write("prompts/triage.md", f"Sort the {word}.\n")
        if changed.git("status", "--porcelain"):
            changed.commit()
        changed.git("checkout", "-q", "main")
        head = {"HEAD": changed.git("rev-parse", "topic")}
        for name in ("Plan", "Comment"):
            found = shell(paths + steps[name]["run"], changed.path, {**env, **head})
            assert found.returncode == 0, found.stderr
        ours = json.loads(store.read_text())
        assert ours[0] == planted
        assert len(ours) == 2
        assert ours[1]["body"].startswith(marker)
        assert f"+Sort the {word}." in ours[1]["body"]
    assert (tmp_path / "output").read_text() == "code=0\n" * 2
    # GitHub's bash: with -o pipefail only where the workflow names the shell.
    options = ("-o", "pipefail") if job.get("defaults") == {"run": {"shell": "bash"}} else ()
    failed = shell(paths + steps["Comment"]["run"], changed.path, {**env, "GH_FAILS": "1"}, *options)
    assert failed.returncode != 0
    assert json.loads(store.read_text()) == ours, "comments that cannot be listed must not be taken for none"


def test_the_github_workflow_asks_for_little_and_checks_out_nothing_but_the_base() -> None:
    found = workflow("github")
    job = found["jobs"]["plan"]
    assert found["permissions"] == {}
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    [checkout] = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")]
    # Without ref it is the default branch, whatever the base of the pull request is.
    base = "${{ github.event.pull_request.base.sha }}"
    assert checkout["with"] == {"ref": base, "fetch-depth": "0", "persist-credentials": "false"}
    scripts = "\n".join(step.get("run", "") for step in job["steps"])
    assert "${{" not in scripts, "what a pull request says must not become a script"
    assert not re.search(r"git (checkout|switch|merge|worktree)|secrets\.", scripts)


class Notes(BaseHTTPRequestHandler):
    notes: list[dict[str, Any]]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _answer(self, value: Any, **headers: str) -> None:
        self.send_response(200)
        for name, header in headers.items():
            self.send_header(name.replace("_", "-"), header)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def do_GET(self) -> None:
        if self.path == "/user":
            self._answer({"id": 5})
        elif self.path.endswith("page=1"):
            self._answer([{"id": 1, "author": {"id": 9}, "body": "<!-- scheduler plan . -->"}], x_next_page="2")
        else:
            self._answer(self.notes, x_next_page="")

    def _body(self) -> str:
        found: str = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        return found

    def do_POST(self) -> None:
        self.notes.append({"id": 50, "author": {"id": 5}, "body": self._body()})
        self._answer({})

    def do_PUT(self) -> None:
        assert self.path == "/projects/2/merge_requests/3/notes/50"
        self.notes[0]["body"] = self._body()
        self._answer({})


@pytest.fixture
def gitlab() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    handler = type("Handler", (Notes,), {"notes": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.notes  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_the_gitlab_job_edits_its_own_note(changed: Root, gitlab: tuple[str, list[dict[str, Any]]]) -> None:
    url, notes = gitlab
    script = "\n".join(line for line in workflow("gitlab")["scheduler-plan"]["script"] if not line.startswith("pip "))
    env = {
        "ROOT": ".",
        "CI_API_V4_URL": url,
        "CI_PROJECT_ID": "2",
        "CI_MERGE_REQUEST_IID": "3",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": changed.git("rev-parse", "main"),
        "CI_COMMIT_SHA": changed.git("rev-parse", "topic"),
        "no_proxy": "127.0.0.1",
    }
    for _ in range(2):
        found = shell(script, changed.path, {**env, "SCHEDULER_PLAN_TOKEN": "t"})
        assert found.returncode == 0, found.stderr
    assert [note["body"].split("\n")[0] for note in notes] == ["<!-- scheduler plan . -->"]
    without = shell(script, changed.path, env)
    assert (without.returncode, "fork" in without.stdout) == (0, True)


def test_the_gitlab_job_leaves_out_what_a_merged_result_brings_from_the_target(
    changed: Root, gitlab: tuple[str, list[dict[str, Any]]]
) -> None:
    url, notes = gitlab
    fork, topic = changed.git("rev-parse", "main"), changed.git("rev-parse", "topic")
    changed.edit("jobs/heartbeat.md", 'schedule: "0 * * * *"', 'schedule: "30 * * * *"')
    changed.commit()
    changed.git("merge", "-q", "--no-edit", "topic")
    script = "\n".join(line for line in workflow("gitlab")["scheduler-plan"]["script"] if not line.startswith("pip "))
    env = {
        "ROOT": ".",
        "CI_API_V4_URL": url,
        "CI_PROJECT_ID": "2",
        "CI_MERGE_REQUEST_IID": "3",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": fork,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": topic,
        "CI_COMMIT_SHA": changed.git("rev-parse", "HEAD"),
        "SCHEDULER_PLAN_TOKEN": "t",
        "no_proxy": "127.0.0.1",
    }
    found = shell(script, changed.path, env)
    assert found.returncode == 0, found.stderr
    assert "queue" in notes[0]["body"]
    assert "heartbeat" not in notes[0]["body"]


def test_the_pre_commit_hook_names_a_command_that_there_is(root: Root) -> None:
    [hook] = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text())
    command = hook["entry"].split()
    assert (hook["id"], command[0]) == ("scheduler-validate", "scheduler")
    assert not hook["pass_filenames"]
    assert root.cli(*command[1:]).code == 0
    root.delete("prompts/triage.md")
    assert root.cli(*command[1:]).code == 1
