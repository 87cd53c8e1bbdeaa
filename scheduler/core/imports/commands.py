"""What a shell command reveals: its program, how long it waits, whether a shell would accept it.

The text is read as a person would read it, not as a shell does. In doubt, each function chooses the safe side.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from itertools import pairwise

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


# The options of a shell that change what a command does, and where they could: by letter and name.
_MATTERS = {
    **dict.fromkeys(("e", "errexit"), r"[;$`]"),
    **dict.fromkeys(("u", "nounset"), r"[$`]"),
    **dict.fromkeys(("f", "noglob"), r"[*?[]"),
    **dict.fromkeys(("C", "noclobber"), r">"),
    **dict.fromkeys(("pipefail",), r"\|"),
    **dict.fromkeys(("a", "b", "m", "v", "x", "E", "T", "allexport", "notify", "monitor", "verbose", "xtrace"), ""),
    **dict.fromkeys(("errtrace", "functrace", "posix", "shwordsplit"), ""),
}


def undone(options: Sequence[str], command: str) -> str:
    """The line that reverts what the options of a runner's shell do; empty if they cannot matter to the command."""
    known = [each for each in options if each in _MATTERS]
    if not any(re.search(_MATTERS[each], command) for each in known):
        return ""
    letters = "".join(each for each in known if len(each) == 1)
    names = [f"+o {each}" for each in known if len(each) > 1]
    return " ".join(["set", *([f"+{letters}"] if letters else []), *names])


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
_SUFFIXES = (".sh", ".bash", ".py", ".pl", ".rb", ".php", ".js", ".jar", ".md", ".txt", ".sql", ".db")
_TALK = frozenset({"echo", "printf", "logger", "cat", "tee", "yes", "wall"})
_MAILERS = frozenset({"mail", "mailx", "mutt", "sendmail", "msmtp"})
_FETCHERS = frozenset({"curl", "wget", "http", "https", "xh", "lynx"})
_AGENTS = frozenset({"claude", "codex", "llm", "gemini", "aider", "opencode", "goose", "cursor-agent"})
# What follows says what they do: `git pull`, `systemctl restart nginx`.
_VERBS = frozenset(
    {"git", "hg", "svn", "docker", "docker-compose", "podman", "kubectl", "helm", "systemctl", "service"}
)
_VERBS |= {"npm", "npx", "pnpm", "yarn", "make", "apt", "apt-get", "dnf", "yum", "apk", "pacman", "brew", "snap", "pip"}
_VERBS |= {
    "composer",
    "bundle",
    "rake",
    "cargo",
    "aws",
    "gcloud",
    "az",
    "gsutil",
    "terraform",
    "ansible",
    "zfs",
    "zpool",
}
_VERBS |= {"restic", "borg", "rclone", "openssl", "gh", "uv", "psql", "mysql", "redis-cli", "mongosh", "pipx", "uvx"}
# What they work on says what they do: `find /var/tmp`, `rsync /home`.
_ON_FILES = frozenset({"find", "rsync", "tar", "rm", "cp", "mv", "ln", "ls", "du", "df", "gzip", "gunzip", "xz", "zip"})
_ON_FILES |= {
    "bzip2",
    "zstd",
    "chown",
    "chmod",
    "touch",
    "mkdir",
    "sqlite3",
    "sed",
    "awk",
    "grep",
    "sort",
    "head",
    "scp",
}
_ON_FILES |= {"tail", "truncate", "ssh", "sftp", "dd", "split", "wc"}
_MOST_WORDS = 3  # of what a general program is about
_SUBSTITUTED = re.compile(r"\$\(\(.*?\)\)|\$\([^()]*\)|`[^`]*`")
_READ_IN = re.compile(r"""\$\(\s*(?:cat\s+|<\s*)(?P<file>[^\s()]+)\s*\)""")  # `$(cat prompts/triage.md)`
_INLINE = re.compile(r"-[a-zA-Z]*[ce]")
_FOLDERS = frozenset(
    {"bin", "sbin", "local", "usr", "opt", "etc", "srv", "var", "lib", "home", "root", "tmp", "scripts"}
)
_FOLDERS |= {"cron", "src", "www", "html", "current", "script", "jobs", "share", "libexec"}


class _Rank(IntEnum):
    """How well a command of a line tells what the line is about; the lowest does, and the first of equals."""

    OWN = 0  # a program of its own
    GENERAL = 1  # one that says nothing without what it works on
    TALK = 2
    GUARD = 3


@dataclass(frozen=True, slots=True)
class _Named:
    """What one command of a line would be called: its name, and longer ones where another line has that."""

    rank: _Rank
    names: tuple[str, ...] = ()


def command_names(command: str) -> tuple[str, ...]:
    """What a person would call it, by the program that it is about; longer names follow for lines of one name."""
    found = [_program(words, stdin) for words, stdin in _simple_commands(_bare(command))]
    return min((each for each in found if each.names), key=lambda each: each.rank, default=_NAMELESS).names


_NAMELESS = _Named(_Rank.GUARD, ("job",))


def command_id(command: str) -> str:
    """The first of these names."""
    return command_names(command)[0]


def _bare(command: str) -> str:
    """Without what a shell works out; a file that is read in stands there by its name."""
    return _SUBSTITUTED.sub("$_", _READ_IN.sub(lambda found: found["file"], command))


def _simple_commands(command: str) -> list[tuple[list[str], str]]:
    """The words of each command between `;`, `&`, `|` and parentheses, and the file that it reads."""
    found: list[tuple[list[str], str]] = [([], "")]
    redirected = ""
    for token in _tokens(command):
        if redirected:
            if redirected.endswith("<"):
                found[-1] = found[-1][0], token
            redirected = ""
        elif re.fullmatch(r"[;|&()]*[<>][<>&|]*", token):
            redirected = "<" if token == "<" else ">"
        elif re.fullmatch(r"[;|&()]+", token):
            found.append(([], ""))
        else:
            found[-1][0].append(token)
    return [each for each in found if each[0]]


def _tokens(command: str) -> list[str]:
    for end in ("", "'", '"'):  # cron cuts a command at its first %, within quotes too
        lexer = shlex.shlex(command + end, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        with contextlib.suppress(ValueError):
            return list(lexer)
    return re.findall(r"[;|&()<>]+|[^\s;|&()<>]+", command)


def _program(words: Sequence[str], stdin: str) -> _Named:
    """What one command would be called."""
    takes, more, interpreter = "", 0, ""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = word.strip("\"'`{}").rpartition("/")[2]
        if re.fullmatch(r"-[A-Za-z0-9-].*", word):
            if interpreter in SHELLS | {"su"} and "c" in word:
                return _inline("sh", rest)
            if interpreter and interpreter != "su" and _INLINE.fullmatch(word):
                return _inline(interpreter, rest)
            if re.fullmatch(r"-[A-Za-z]+", word) and word[-1] in takes and rest:
                rest.pop(0)
            elif word == "-m" and interpreter.startswith("python") and rest:
                return _Named(_Rank.OWN, _longer(slug(rest[0]), "", rest[1:]))
            elif word == "-v" and not interpreter:  # `command -v`
                return _Named(_Rank.GUARD, _names(slug(rest[0]) if rest else ""))
            continue
        if word == "-" or re.match(r"[A-Za-z_]\w*=|#|\$[^/]*$", word) or re.fullmatch(r"\d[\d.]*\w?", name):
            continue
        if more:
            more -= 1
            if re.fullmatch(r"-c|--command", rest[0] if rest else ""):
                return _inline("sh", rest[1:])
            continue
        if name in _WRAPPERS:
            takes, interpreter = _WRAPPERS[name], "su" if name in ("su", "runuser") else ""
            more = int(name in _TAKES_ONE_MORE)
            continue
        if name in _INTERPRETERS and rest:
            takes, interpreter = _INTERPRETERS[name], name
            continue
        if not name and not word.endswith("/"):
            continue
        if name in _GUARDS:
            return _Named(_Rank.GUARD, _names(slug(name)))
        if name in _ABOUT:
            about = slug(_ABOUT[name](name, rest, stdin))[:_LONGEST].strip("-")
            rank = _Rank.TALK if name in _TALK else _Rank.GENERAL
            return _Named(rank, _names(f"{slug(name)}-{about}" if about else slug(name)))
        if found := slug(_stem(name) or word.rstrip("/").rpartition("/")[2]):
            return _Named(_Rank.OWN, _longer(found, word, rest))
    return _Named(_Rank.OWN, _names(slug(interpreter)))


def _names(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for each in names if each))


def _longer(name: str, path: str, rest: Sequence[str]) -> tuple[str, ...]:
    """The name of a program; with its folder, and with its first word, for lines of programs of one name."""
    folders = [slug(each) for each in path.split("/")[:-1] if each not in _FOLDERS]
    folder = next((each for each in reversed(folders) if each and each != name), "")
    first = next((slug(_stem(each.rpartition("/")[2])) for each in rest if not each.startswith(("-", "$"))), "")
    return _names(name, f"{folder}-{name}" if folder else "", f"{name}-{first}" if first else "")


def _stem(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _inline(interpreter: str, rest: Sequence[str]) -> _Named:
    """The name for an inline program: that of a shell's text, or else the name of the interpreter."""
    text = rest[0] if rest else ""
    if interpreter in SHELLS and text:
        found = [_program(words, stdin) for words, stdin in _simple_commands(_bare(text))]
        return min((each for each in found if each.names), key=lambda each: each.rank, default=_NAMELESS)
    waits = re.match(r"\s*(?:import \w+[;,]\s*)*(?:\w+\.)?sleep\b", text) is not None
    return _Named(_Rank.GUARD if waits else _Rank.OWN, _names(slug(interpreter)))


# What a general program is about: of its name, its words, and the file that it reads.


def _words(name: str, rest: Sequence[str], stdin: str) -> str:
    """The first words of a text."""
    spoken = re.sub(r"\\[a-z]", " ", " ".join(each for each in rest if not each.startswith(("-", "$")))).split()
    plain = [each for each in spoken if re.search(r"[^\W\d_]{2}", each) and "/" not in each]
    return " ".join(plain[:_MOST_WORDS]) or _file(name, rest, stdin)


def _subject(name: str, rest: Sequence[str], stdin: str) -> str:
    for option, value in pairwise(rest):
        if option in ("-s", "--subject"):
            return _words(name, value.split(), "")
    return _file(name, [], stdin)


def _host(name: str, rest: Sequence[str], stdin: str) -> str:
    for each in rest:
        if found := re.match(r"https?://(?:[^/@\s]*@)?(?:www\.)?([^/:?#\s]+)", each):
            return found[1]
    return ""


def _verbs(name: str, rest: Sequence[str], stdin: str) -> str:
    plain = [each for each in rest if re.fullmatch(r"[A-Za-z][\w.:-]*", each)]
    return " ".join(plain[:_MOST_WORDS]) or _file(name, [], stdin)


_SSH_TAKES = tuple(f"-{letter}" for letter in "ipFlJoLRD")


def _file(name: str, rest: Sequence[str], stdin: str) -> str:
    """The last part of the first path that says something; of `tar`, of the last: the first is what it writes."""
    remote = name in ("ssh", "sftp")
    given = [each for before, each in pairwise(["", *rest]) if not (remote and before in _SSH_TAKES)]
    paths = [each for each in given if not each.startswith("-") and (remote or "/" in each)]
    if name == "tar":
        paths.reverse()
    for path in [*paths, stdin]:
        parts = [slug(_stem(each)) for each in path.rpartition(":")[2].rpartition("@")[2].split("/")]
        if found := next((each for each in reversed(parts) if each), ""):
            return found
    return ""


def _prompt(name: str, rest: Sequence[str], stdin: str) -> str:
    texts = [each for each in rest if " " in each]
    return _file(name, [each for each in rest if " " not in each], stdin) or _words(name, texts, "")


_ABOUT: Mapping[str, Callable[[str, Sequence[str], str], str]] = {
    **dict.fromkeys(_TALK, _words),
    **dict.fromkeys(_MAILERS, _subject),
    **dict.fromkeys(_FETCHERS, _host),
    **dict.fromkeys(_VERBS, _verbs),
    **dict.fromkeys(_ON_FILES, _file),
    **dict.fromkeys(_AGENTS, _prompt),
}
_LONGEST = 40


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
