"""What a shell command reveals: its program, how long it waits, whether a shell would accept it.

The text is read as a person would read it, not as a shell does. In doubt, each function chooses the safe side.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta

from scheduler.core.imports.incoming import slug

SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh", "ash"})
# Words that a shell has built in or reserves: no user of a system crontab, and no program to be found on PATH.
BUILT_IN = frozenset[str]().union(
    (".", ":", "[", "[[", "!", "{", "(", "alias", "bg", "break", "case", "cd", "command", "continue", "declare"),
    ("echo", "eval", "exec", "exit", "export", "false", "fg", "for", "function", "getopts", "hash", "if", "jobs"),
    ("kill", "let", "local", "popd", "printf", "pushd", "pwd", "read", "readonly", "return", "select", "set", "shift"),
    ("shopt", "source", "test", "time", "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias"),
    ("unset", "until", "wait", "while"),
)

# -- whether it is whole -----------------------------------------------------------------------

_PIECE = r"""[^'"\\`]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`"""
_PIECES = re.compile(f"(?:{_PIECE})*")
_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`""")
_COMPOUND = re.compile(r"(?<!\S)(?:if|then|else|elif|fi|case|esac|for|while|until|do|done|[{}!])(?![^\s;])|<<|[()#]")


def open_quote(command: str) -> str | None:
    """What a shell would miss the end of. None if nothing can be determined."""
    found = _PIECES.match(command)
    assert found is not None
    rest = command[found.end() :]
    if rest:
        return {"'": "single quote", '"': "double quote", "`": "backquote"}.get(rest[0])
    bare = _QUOTED.sub("", command)
    return "parenthesis" if "$(" in bare and bare.count("(") > bare.count(")") else None


def is_one_command(command: str) -> bool:
    """True if it means the same with other lines of a script around it: complete, and nothing continues."""
    if _PIECES.fullmatch(command) is None:
        return False
    bare = _QUOTED.sub("", command)
    return _COMPOUND.search(bare) is None and not bare.rstrip().endswith(("|", "&&", "||"))


def shell_options(argv: Sequence[str]) -> tuple[str, ...]:
    """What the command line of a shell sets: letters, and the names after `-o`."""
    found: list[str] = []
    rest = list(argv[1:])
    while rest and rest[0].startswith(("-", "+")) and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        if word.startswith(("--", "+")):
            continue
        for letter in word[1:]:
            if letter in "oO" and rest:
                name = rest.pop(0)
                found += [name] if letter == "o" else []
            else:
                found.append(letter)
    return tuple(dict.fromkeys(found))


# -- what it is about --------------------------------------------------------------------------

# Words before a program, and their options that take a word of their own.
_WRAPPERS: Mapping[str, str] = {
    **dict.fromkeys(("exec", "command", "nohup", "chronic", "setsid", "then", "else", "elif", "do", "if"), ""),
    **dict.fromkeys(("while", "until", "!", "{", "caffeinate", "builtin", "eval"), ""),
    "sudo": "ugpCDRTUhrt",
    "doas": "uC",
    "nice": "n",
    "ionice": "cnpPu",
    "chrt": "TPD",
    "env": "uCS",
    "time": "fo",
    "timeout": "ks",
    "flock": "wE",
    "systemd-cat": "tp",
    "run-parts": "",
    "xargs": "aEILnPsd",
    "su": "sgG",
    "runuser": "usgG",
    "cronic": "",
    "taskset": "",
    "stdbuf": "ioe",
}
_TAKES_ONE_MORE = ("flock", "taskset", "su")  # a lock, a mask or a user comes before what they run
_INTERPRETERS: Mapping[str, str] = {
    **dict.fromkeys(SHELLS, "oO"),
    **dict.fromkeys(("python", "python2", "python3"), "WX"),
    "perl": "I",
    "ruby": "Ir",
    "php": "dc",
    "node": "r",
    "java": "",
    "Rscript": "",
}
# Commands that look, wait or prepare. If another command is beside them, the line is about that one.
_GUARDS = frozenset({"test", "[", "[[", "cd", "pushd", "export", "umask", "true", "false", ":", "sleep", "source", "."})
_GUARDS |= {"set", "unset", "ulimit", "trap", "which", "type", "hash", "pgrep", "pidof", "mountpoint", "for", "fi"}
_GUARDS |= {"done", "}", "esac", "case", "wait", "exit", "date"}
_SUFFIXES = (".sh", ".bash", ".py", ".pl", ".rb", ".php", ".js", ".jar")
_SUBSTITUTED = re.compile(r"\$\(\(.*?\)\)|\$\([^()]*\)|`[^`]*`")
_INLINE = re.compile(r"-[a-zA-Z]*[ce]")


def command_id(command: str) -> str:
    """What a person would call it: the program that the command is about."""
    spare = ""
    for words in _simple_commands(_SUBSTITUTED.sub("$_", command)):
        name, is_guard = _program(words)
        if name and not is_guard:
            return name
        spare = spare or name
    return spare or "job"


def _simple_commands(command: str) -> list[list[str]]:
    """The words of each command between `;`, `&`, `|` and parentheses, without redirections."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        tokens = list(lexer)
    except ValueError:  # a quote that does not end
        tokens = re.findall(r"[;|&()<>]+|[^\s;|&()<>]+", command)
    found: list[list[str]] = [[]]
    is_target = False
    for token in tokens:
        if is_target:
            is_target = False
        elif re.fullmatch(r"[;|&()]*[<>][<>&|]*", token):
            is_target = True
        elif re.fullmatch(r"[;|&()]+", token):
            found.append([])
        else:
            found[-1].append(token)
    return [words for words in found if words]


def _program(words: Sequence[str]) -> tuple[str, bool]:
    """The program of one command as an id, and whether it only looks, waits or prepares."""
    takes, more, interpreter = "", 0, ""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = word.strip("\"'`{}").rpartition("/")[2]
        if re.fullmatch(r"-[A-Za-z0-9-].*", word):
            if interpreter and _INLINE.fullmatch(word):
                return _inline(interpreter, rest)
            if interpreter in SHELLS | {"su"} and "c" in word:
                return _inline("sh", rest)
            if re.fullmatch(r"-[A-Za-z]+", word) and word[-1] in takes and rest:
                rest.pop(0)
            elif word == "-m" and interpreter.startswith("python") and rest:
                return slug(rest[0]), False
            elif word == "-v" and not interpreter:  # `command -v`
                return slug(rest[0]) if rest else "", True
            continue
        if word == "-" or re.match(r"[A-Za-z_]\w*=|#|\$[^/]*$", word) or re.fullmatch(r"\d[\d.]*\w?", name):
            continue
        if more:
            more -= 1
            if re.fullmatch(r"-c|--command", rest[0] if rest else ""):
                return _inline("sh", rest[1:])
            continue
        if name in _WRAPPERS:
            takes, interpreter = _WRAPPERS[name], ""
            more = int(name in _TAKES_ONE_MORE)
            continue
        if name in _INTERPRETERS and rest:
            takes, interpreter = _INTERPRETERS[name], name
            continue
        if not name and not word.endswith("/"):
            continue
        if name in _GUARDS:
            return slug(name), True
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        if found := slug(name or word.rstrip("/").rpartition("/")[2]):
            return found, False
    return slug(interpreter), False


def _inline(interpreter: str, rest: Sequence[str]) -> tuple[str, bool]:
    """The id for an inline program: that of a shell's text, or else the name of the interpreter."""
    text = rest[0] if rest else ""
    if interpreter in SHELLS and text:
        found = command_id(text)
        return found, found in _GUARDS
    return slug(interpreter), re.match(r"\s*(?:import \w+[;,]\s*)*(?:\w+\.)?sleep\b", text) is not None


# -- how long it waits -------------------------------------------------------------------------

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_LITERAL = r"(\d+(?:\.\d+)?)([smhd]?)(?![\w.])"
_SLEEP = re.compile(r"(?<![\w/.-])(?:/\S*/)?(?:time\.)?sleep\b[\s(]*(?P<rest>[^;&|]*(?:\|[^;&|]*\))?)")
_TIMEOUT = re.compile(rf"(?<![\w.-])timeout\s+(?:-\S+\s+(?:(?<=-k\s)\S+\s+|(?<=-s\s)\S+\s+)?)*{_LITERAL}")
_RANDOM = (  # the highest number that each may produce
    re.compile(r"%\s*(\d+)"),
    re.compile(r"rand(?:range|int)?\s*\(?\s*(?:\d+\s*,\s*)?(\d+)"),
    re.compile(r"random\(\)\s*\*\s*(\d+)"),
    re.compile(r"\bshuf\b.*?-i\s*\d+-(\d+)"),
    re.compile(r"\b(?:jot|seq|shuf)\b.*?\b(\d+)\D*$"),
)


def longest_known_wait(command: str) -> timedelta:
    """How long the command says it may take: its `sleep`s added up, or the `timeout` that it sets itself."""
    seconds = sum(_sleep_seconds(found["rest"]) for found in _SLEEP.finditer(command.replace("\\%", "%")))
    limits = [float(number) * _UNITS[unit] for number, unit in _TIMEOUT.findall(command)]
    return timedelta(seconds=min(seconds + max(limits, default=0), 10**8))


def _sleep_seconds(rest: str) -> float:
    for pattern in _RANDOM:
        if found := pattern.search(rest):
            scale = re.search(r"\*\s*(\d+)", rest[found.end() :])
            return float(found[1]) * (float(scale[1]) if scale else _UNITS.get(_unit_after(rest), 1))
    if "RANDOM" in rest:
        return 32_767
    words = re.match(rf"(?:\s*{_LITERAL})+", rest)
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_LITERAL, words[0])) if words else 0


def _unit_after(rest: str) -> str:
    """The unit after a number that is computed, as in `$((RANDOM % 30))m`."""
    found = re.search(r"[)`}]([smhd])\b", rest)
    return found[1] if found else ""
