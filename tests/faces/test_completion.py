"""Completion as people press Tab: in a real bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from scheduler.cli.completion import last_word
from tests.faces.conftest import ROOT_FILE, Root
from tests.helpers import LONG_S, REPOSITORY, call

ASK = "\x14"  # Ctrl-T, bound to print the line as it is
START = {
    "bash": [
        "bind 'set bell-style none'",
        'bind -x \'"\\C-t": printf "<<%s>>" "$READLINE_LINE"\'',
        'eval "$(scheduler completion bash)"',
    ],
    "zsh": [
        "unsetopt zle_bracketed_paste beep; zstyle ':completion:*' menu no; setopt no_auto_menu no_list_beep",
        "autoload -Uz compinit; compinit -u -D",
        'asked() { print -rn -- "<<$BUFFER>>" }; zle -N asked; bindkey "^T" asked',
        'eval "$(scheduler completion zsh)"',
    ],
}


class Terminal:
    """An interactive shell that has been given its completion script."""

    def __init__(self, shell: str, folder: Path, env: dict[str, str]) -> None:
        options = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
        self._parent, child = pty.openpty()
        self._process = subprocess.Popen(
            [shell, *options], cwd=folder, env=env, stdin=child, stdout=child, stderr=child, start_new_session=True
        )
        os.close(child)
        self._seen = ""
        for line in START[shell]:
            self._send(line + "\n")
        self._send("echo read''y\n")
        self._until("ready")

    def press_tab(self, line: str) -> str:
        """The line after a Tab at its end."""
        self._send(line + "\t" + ASK)
        found = self._until(r"<<(.*?)>>")
        self._send("\x15")  # Ctrl-U: an empty line for the next one
        return found

    def _send(self, keys: str) -> None:
        os.write(self._parent, keys.encode())

    def _until(self, pattern: str) -> str:
        while (found := re.search(pattern, self._seen, re.DOTALL)) is None:
            piece = os.read(self._parent, 65_536)
            self._seen += piece.decode(errors="replace")
        self._seen = self._seen[found.end() :]
        return found[found.re.groups]

    def close(self) -> None:
        self._process.kill()
        self._process.wait(LONG_S)
        os.close(self._parent)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "scheduler"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m scheduler "$@"\n')
    program.chmod(0o755)
    kept = {name: each for name, each in os.environ.items() if not name.startswith(("SCHEDULER_", "COMP_"))}
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(REPOSITORY), "TERM": "dumb", "PS1": "$ ", "HOME": str(tmp_path)}


@pytest.fixture
def ran(root: Root) -> Root:
    root.write("scheduler.yaml", ROOT_FILE + "channels: {owner: {command: [cat]}}\n")
    root.sync()
    root.run("heartbeat")
    root.run("triage")
    return root


CASES = {
    "output heartb": "output heartbeat:1 ",
    "output heartbeat:": "output heartbeat:1 ",
    "output 'heartbeat:": "output 'heartbeat:1' ",
    "show tri": "show triage ",
    "list --status dis": "list --status disabled ",
    "list --status=dis": "list --status=disabled ",
    "list --tag hou": "list --tag hourly ",
    "plan --format mark": "plan --format markdown ",
    "plan --base mai": "plan --base main ",
    "update triage --set concurr": "update triage --set concurrency=",
    "update triage --set concurrency=q": "update triage --set concurrency=queue ",
    "update triage --set retry.att": "update triage --set retry.attempts=",
    "update triage --set runner=sh": "update triage --set runner=shell ",
    "update triage --set schedule.timezone=Europe/Ber": "update triage --set schedule.timezone=Europe/Berlin ",
    "update triage --set task_source_path=prompts/": "update triage --set task_source_path=prompts/triage.md ",
    "update triage --unset desc": "update triage --unset description ",
    "mv triage jo": "mv triage jobs/",
    "mv triage jobs/heart": "mv triage jobs/heartbeat.md ",
    "rollback triage --to tri": "rollback triage --to triage:1 ",
    "--root job": "--root jobs/",
    "--root=job": "--root=jobs/",
    "validate sche": "validate scheduler.yaml ",
    "explain heartbeat --a": "explain heartbeat --at ",
    "channels te": "channels test ",
    "channels test ow": "channels test owner ",
    "deliveries --channel ow": "deliveries --channel owner ",
    "deliveries retr": "deliveries retry ",
}


PRESSED = {  # each is a process of its own
    "bash": (
        *(
            "output heartbeat:",
            "output 'heartbeat:",
            "list --status=dis",
            "update triage --set concurr",
            "mv triage jo",
        ),
        *("update triage --set concurrency=q", "--root=job", "validate sche"),
    ),
    "zsh": ("output heartbeat:", "list --status=dis", "mv triage jo", "--root=job"),
    "fish": ("output heartbeat:", "update triage --set concurrency=q", "--root job"),
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_completes_the_word(shell: str, ran: Root, env: dict[str, str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    with closing(Terminal(shell, ran.path, env)) as terminal:
        found = {line: terminal.press_tab(f"scheduler {line}").removeprefix("scheduler ") for line in PRESSED[shell]}
    wanted = {line: CASES[line] for line in PRESSED[shell]}
    if shell == "zsh":  # which holds the space back until the next key
        found, wanted = ({line: text.rstrip() for line, text in each.items()} for each in (found, wanted))
    assert found == wanted


@pytest.mark.parametrize("line", CASES)
def test_bash_is_told_what_completes_a_word(ran: Root, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("_SCHEDULER_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_LINE", f"X=1 scheduler {line}")
    monkeypatch.setenv("COMP_BREAKS", " \t\n\"'@><=;|&(:")
    kind, _, found = call().stdout.partition("\n")[0].partition(",")
    if kind in ("dir", "file"):
        assert line in ("--root job", "--root=job", "validate sche")
        return
    start, quoted = last_word(line)
    kept = "" if quoted else line[start : max(line.rfind(":"), line.rfind("=")) + 1]
    assert line[:start] + "'" * quoted + kept + found == CASES[line].rstrip("' ")
    assert (kind == "part") == (not CASES[line].endswith(" "))


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_is_offered_the_same(ran: Root, env: dict[str, str]) -> None:
    lines = PRESSED["fish"]
    asked = "\n".join(f"complete -C {shlex.quote(f'scheduler {line}')}; echo --" for line in lines)
    script = f"scheduler completion fish | source\n{asked}\n"
    done = subprocess.run(["fish", "-c", script], cwd=ran.path, env=env, capture_output=True, text=True, timeout=LONG_S)
    offered = [part.split() for part in done.stdout.split("--\n")]
    for line, found in zip(lines, offered, strict=False):
        assert CASES[line].split()[-1] in found, (line, found)


def test_a_script_of_an_earlier_version_still_works(ran: Root, env: dict[str, str]) -> None:
    asked = {"_SCHEDULER_COMPLETE": "bash_complete", "COMP_WORDS": "scheduler show tri", "COMP_CWORD": "2"}
    done = subprocess.run(
        ["scheduler"], cwd=ran.path, env={**env, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout == "plain,triage\n"


@pytest.mark.parametrize(
    ("line", "word", "quoted"),
    [
        ("", "", False),
        ("scheduler ", "", False),
        ("scheduler show a:", "a:", False),
        ("scheduler --set x='a b", "x='a b", True),
        ('scheduler "a b" c', "c", False),
        ("scheduler a\\ b", "a\\ b", True),
        ("scheduler 'a\\' b", "b", False),
    ],
)
def test_the_last_word_begins_after_the_last_blank_that_no_quote_holds(line: str, word: str, quoted: bool) -> None:
    start, has_quote = last_word(line)
    assert (line[start:], has_quote) == (word, quoted)


def test_a_completion_that_fails_or_is_interrupted_draws_nothing_on_the_terminal(root: Root, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho Traceback >&2\nexit 1\n")
    broken.chmod(0o755)
    script = root.ok("completion", "bash").stdout
    asked = f'{script}\nCOMP_LINE="scheduler show x" COMP_POINT=16\n_scheduler_completion {broken}'
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
