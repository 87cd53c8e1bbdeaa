"""The files of a root that the command of a runner or channel names: more than the task is run (F3)."""

from __future__ import annotations

import functools
import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

# They start the program that their arguments name.
_WRAPPERS = frozenset(
    ("doas", "env", "ionice", "nice", "nohup", "setsid", "stdbuf", "sudo", "time", "timeout", "xargs")
)
_SHELLS = frozenset(("ash", "bash", "dash", "fish", "ksh", "sh", "tcsh", "zsh"))
_OTHERS = frozenset(
    ("bun", "deno", "lua", "node", "nodejs", "perl", "php", "pypy", "python", "rscript", "ruby", "ts-node", "tsx")
)
_SUFFIXES = (".cjs", ".js", ".lua", ".mjs", ".php", ".pl", ".py", ".rb", ".sh", ".ts")
_PROGRAM_TEXT = frozenset(("-c", "-e", "-m", "-p", "-r", "--eval", "--print"))  # the next word is not a file
_PLACEHOLDERS = ("{task_file}", "{task}")
_ROOT = re.compile(r"\$\{SCHEDULER_ROOT\}|\$SCHEDULER_ROOT\b")


@dataclass(frozen=True, slots=True)
class Named:
    """One path that a command names, whether or not the file exists."""

    path: str  # root-relative, normalised
    word: int  # index of the word in the command
    needed: bool = False  # nothing runs without it
    started: bool = False  # started as a program of its own, so it must be executable


@functools.lru_cache(maxsize=64)  # every fire asks
def named_files(command: tuple[str, ...], cwd: str, root: str) -> tuple[Named, ...]:
    """Every path below the root that a word of the command, or a part of a word, could be; in their order.

    Covers what follows `=`, and the words of a text for a shell. Does not follow what such files load in turn.
    cwd: root-relative; root: absolute.
    """
    found: dict[str, Named] = {}
    program, *arguments = command
    if program.startswith("./") and (path := _below(program, root, ".")):
        found[path] = Named(path, 0, needed=True, started=True)
    needed = _needed(command)
    for word, argument in enumerate(arguments, start=1):
        for part in _parts(argument):
            path = _below(_ROOT.sub(lambda _: root, part), root, cwd)
            if path and path not in found:
                is_it = needed is not None and needed[0] == word and part == argument
                found[path] = Named(path, word, needed=is_it, started=is_it and needed is not None and needed[1])
    return tuple(found.values())


def _parts(argument: str) -> Iterator[str]:
    words = [argument]
    if len(argument.split()) > 1:
        lexer = shlex.shlex(argument, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            words += list(lexer)
        except ValueError:  # not text for a shell
            words += argument.split()
    for word in words:
        for part in (word, word.partition("=")[2], word.removeprefix("@")):
            if part and not part.startswith("-") and not any(each in part for each in _PLACEHOLDERS):
                yield part


def _below(part: str, root: str, folder: str) -> str:
    """The path relative to the root; empty if it is not below the root."""
    if "\0" in part:
        return ""
    path = posixpath.relpath(posixpath.normpath(posixpath.join(root, folder, part)), root)
    return "" if path == "." or path.split("/")[0] == ".." else path


def _needed(command: tuple[str, ...]) -> tuple[int, bool] | None:
    """Which word is the script that a known program receives, if any, and whether it is started by itself."""
    is_wrapped, known = False, False
    for number, word in enumerate(command):
        name = re.sub(r"[0-9.]+$", "", posixpath.basename(word).lower())
        if any(each in word for each in _PLACEHOLDERS) or len(word.split()) != 1:
            return None  # the script is the task, or a text
        if number == 0 or is_wrapped:
            if name in _WRAPPERS:
                is_wrapped = known = True
                continue
            if name in _SHELLS | _OTHERS:
                is_wrapped, known = False, True
                continue
        if not known:
            return None
        if word in _PROGRAM_TEXT or (word.startswith("-") and not word.startswith("--") and "c" in word):
            return None
        if not word.startswith("-") and "=" not in word and ("/" in word or word.endswith(_SUFFIXES)):
            return number, is_wrapped
    return None
