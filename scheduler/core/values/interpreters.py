"""Programs that run what they are given."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

# Also programs that run another program with it.
_INTERPRETERS = frozenset[str]().union(
    ("ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "pwsh", "sh", "tcsh", "zsh"),
    ("awk", "bun", "deno", "lua", "make", "node", "nodejs", "osascript", "perl", "php", "pypy", "python"),
    ("rscript", "ruby", "tclsh", "ts-node", "tsx", "uv"),
    ("doas", "env", "nice", "nohup", "ssh", "stdbuf", "sudo", "time", "timeout", "xargs"),
)


def is_interpreter(word: str) -> bool:
    """True for the name or path of a known interpreter, whatever its version."""
    return re.sub(r"[0-9.]+$", "", posixpath.basename(word).lower()) in _INTERPRETERS


def executes_its_task(command: Sequence[str]) -> bool:
    """True if a runner's command passes the task to a known interpreter as the program to run."""
    before = command
    for number, word in enumerate(command):
        if "{task" in word:
            before = command[:number]
            break
    plain = [word for word in before if not word.startswith("-")]
    return bool(plain) and is_interpreter(plain[-1])
