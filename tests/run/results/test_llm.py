"""The real `llm`, with its offline echo model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scheduler.core.values.usage import EndClass, ResultFormat, told_format
from tests.run.results.shapes import read

LLM = Path(sys.executable).with_name("llm")


def run(home: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    environ = {"LLM_USER_PATH": str(home), "PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run([LLM, *words], env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def test_the_echo_model_answers_and_its_session_can_be_resumed(tmp_path: Path) -> None:
    command = (str(LLM), "-m", "echo", "--json")
    assert told_format(command) is ResultFormat.LLM
    done = run(tmp_path, *command[1:], "say hi")
    found = read(ResultFormat.LLM, done.stdout, done.stderr, exit_code=done.returncode, command=command)
    assert (found.end_class, found.misfits, found.cost) == (EndClass.OK, (), None)
    assert found.text is not None
    assert json.loads(found.text)["prompt"] == "say hi"
    assert (found.model_asked, found.model_served) == ("echo", "echo")
    assert found.tokens is not None
    assert found.tokens.input == 2
    assert found.resume is not None
    again = run(tmp_path, *found.resume[1:], "-m", "echo", "--json", "and again")
    second = read(ResultFormat.LLM, again.stdout, again.stderr, exit_code=again.returncode, command=command)
    assert second.session == found.session


def test_its_errors_have_a_class(tmp_path: Path) -> None:
    for model, expected in (("nope", EndClass.TASK), ("gpt-4o-mini", EndClass.CREDENTIAL)):
        done = run(tmp_path, "-m", model, "--json", "hi")
        found = read(ResultFormat.LLM, done.stdout, done.stderr, exit_code=done.returncode)
        assert (found.end_class, found.cost) == (expected, None), done.stderr
