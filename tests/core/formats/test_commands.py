"""Which files of a root a runner's command names, and which of them have to be there."""

from __future__ import annotations

import pytest

from scheduler.core.formats.commands import named_files
from scheduler.core.values.settings import RunnerSpec, TaskInput

TASK = "{task_file}"


def named(command: list[str], *, cwd: str = ".") -> list[str]:
    runner = RunnerSpec(name="r", command=tuple(command), input=TaskInput.STDIN, cwd=cwd)
    return [each.path for each in named_files(runner.command, runner.cwd, "/srv/root")]


def needed(command: list[str]) -> list[tuple[str, bool]]:
    runner = RunnerSpec(name="r", command=tuple(command), input=TaskInput.STDIN)
    return [(each.path, each.started) for each in named_files(runner.command, runner.cwd, "/srv/root") if each.needed]


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        (["./bin/agent.sh"], ["bin/agent.sh"]),
        (["./bin/../agent.sh"], ["agent.sh"]),
        (["agent"], []),
        (["/usr/bin/agent"], []),
        (["python3", "tools/agent.py", TASK], ["tools/agent.py"]),
        (["python3", "agent.py"], ["agent.py"]),
        (["claude", "--mcp-config=conf/mcp.json"], ["--mcp-config=conf/mcp.json", "conf/mcp.json"][1:]),
        (["claude", "--settings", ".claude/settings.json"], [".claude/settings.json"]),
        (["curl", "-d", "@data/body.json"], ["@data/body.json", "data/body.json"]),
        (["env", "A=conf/a", "./bin/x"], ["A=conf/a", "conf/a", "bin/x"]),
        (["agent", "/srv/root/bin/x", "/srv/rooted/x", "/etc/passwd"], ["bin/x"]),
        (["agent", "../x", "..", ".", "", "-p"], []),
        (["agent", f"--file={TASK}", "{task}", f"x/{TASK}"], []),
        (["sh", "-c", 'exec ./bin/a "$1" <conf/in >>log/out;lib/b'], ["bin/a", "conf/in", "log/out", "lib/b"]),
        (["sh", "-c", '"$SCHEDULER_ROOT"/bin/a; ${SCHEDULER_ROOT}/bin/b'], ["bin/a", "bin/b"]),
        (["sh", "-c", "it's ./bin/a"], ["bin/a"]),
        (["agent", "a\0b"], []),
        (["agent", "bin/x", "./bin/x"], ["bin/x"]),
    ],
)  # fmt: skip
def test_every_word_that_could_be_a_file_of_the_root_is_named_once(command: list[str], paths: list[str]) -> None:
    found = named(command)
    assert [path for path in found if path in paths] == paths
    assert all(not path.startswith(("/", "..")) for path in found)
    if not paths:
        assert found == []


def test_arguments_are_relative_to_the_working_directory_and_the_program_to_the_root() -> None:
    assert named(["./bin/x", "conf/a", "../b", "../../c"], cwd="sub") == ["bin/x", "sub/conf/a", "b"]


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (["./bin/agent.sh", "--out", "./new.txt"], [("bin/agent.sh", True)]),
        (["python3.12", "tools/agent.py"], [("tools/agent.py", False)]),
        (["/usr/bin/python3", "-u", "agent.py", "data/x.py"], [("agent.py", False)]),
        (["bash", "-eu", "scripts/run"], [("scripts/run", False)]),
        (["timeout", "10m", "./bin/x"], [("bin/x", True)]),
        (["env", "A=b/c", "nice", "bin/x"], [("bin/x", True)]),
        (["timeout", "9", "python3", "bin/x"], [("bin/x", False)]),
        (["sh", "-c", "./bin/x"], []),
        (["sh", "-euc", "./bin/x"], []),
        (["python3", "-m", "tools/x"], []),
        (["node", "-e", "a/b"], []),
        (["sh", "-eu", TASK, "data/x.sh"], []),
        (["claude", "--output-format", "stream/json"], []),
        (["ssh", "host", "path/x.sh"], []),
        (["sh"], []),
    ],
)
def test_a_program_or_script_has_to_be_there_and_a_started_one_executable(
    command: list[str], files: list[tuple[str, bool]]
) -> None:
    assert needed(command) == files
