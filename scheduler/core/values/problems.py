"""What went wrong: values for users' mistakes, exceptions for failures of the machine.

    SchedulerError                the base; `exit_code` is what a command ends with (design I3)
    ├── UsageError          2     the request itself makes no sense: an unknown job, a bad option value
    ├── RefusedError        3     a guard, a hold or a policy says no; nothing was changed
    └── UnavailableError    5     the database, git, a folder or the daemon could not be used

Mistakes in files are never exceptions: they are `Problem` values, all of them, sorted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from scheduler.core.values.codec import Stored
from scheduler.core.values.lookalikes import same_looking

# Problems that only a pass over all files can find: reading one file neither adds nor clears them.
WHOLE_PASS_CODES = (
    *(
        "file.case",
        "file.converted",
        "file.crlf",
        "file.emptied",
        "file.unread",
        "folder.link",
        "id.duplicate",
        "id.similar",
        "jobs.none",
    ),
    *("limit.max-jobs", "schedule.past"),
)


_MOST_COMPARED = 200


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem(Stored):
    """One thing wrong in one file. Sorts by position, so that output is stable."""

    path: str  # root-relative POSIX path
    line: int  # 1-based; 1:1 stands for the whole file
    column: int  # 1-based, in characters
    code: str  # stable; listed in docs/reference/problems.md
    message: str  # lower case, no full stop; names the value and what is allowed
    hint: str = ""  # what to type instead
    severity: Severity = Severity.ERROR
    job_id: str | None = field(default=None, compare=False)  # the job it belongs to, if the id could be read

    @property
    def in_words(self) -> str:
        """Its place and what is wrong, on one line."""
        return f"{self.path}:{self.line}:{self.column}: {self.message} [{self.code}]"

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


class Remedy(StrEnum):
    """What to do next, if that is to call a verb with other arguments. They are in braces, for a face to spell."""

    NAME_A_CHANGE = "name a key to set or to unset ({set}, {unset}), or give the text of the task ({task})"
    GIVE_TEXT = "give it as the text of the task ({task})"
    GIVE_TEXT_TOO = "give its text too ({task})"
    GIVE_TEXT_OF_FILE = (
        "give the text for that file ({task}), or unset task_source_path as well to move it into the job"
    )
    LEAVE_TEXT_OUT = "omit the text ({task}), or name another file"
    LEAVE_TASK_THERE = "keep the file (omit {with_task})"
    GIVE_START = "add {from} for the start of the window"
    NAME_FILE = "name the file ({path})"
    NAME_BRANCH = "name one with {branch}"
    COMMIT = "ask for a commit or a branch ({commit}, {branch})"
    OTHER_BRANCH = "name another branch, or commit in the working tree ({commit})"
    ON_BRANCH = "edit it as a user who can write it, or on a branch ({branch})"
    ON_PUSHED_BRANCH = "put the edit on a branch with {branch} B, and publish it with {push}"
    DIRECT = "compare the two directly with {direct}"
    PUSH = "add {push}, or name another branch"

    def told(self, spell: Callable[[str], str]) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: spell(found[1]), self)


class SchedulerError(Exception):
    """Base of every error that ends a command. `hint` or `remedy` says what to do next."""

    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        remedy: Remedy | None = None,
        arguments: Sequence[str] = (),
        give: Mapping[str, Any] | None = None,
    ) -> None:
        """arguments: of the verb, which the message names in braces before any text of the caller.

        give: keys of a job or arguments with the values that help; the hint names them in braces.
        """
        super().__init__(message)
        self.hint = hint
        self.remedy = remedy
        self.arguments = arguments
        self.give = give or {}

    def told(self, spell: Callable[[str], str], write: Callable[[str, Any], str]) -> tuple[str, str]:
        """The message, and what to do next.

        spell: writes an argument of a verb the way the caller's face does; write: the same with a value.
        """
        message, hint = str(self), self.hint
        for name in self.arguments:
            message = message.replace(f"{{{name}}}", spell(name), 1)
        for name, value in self.give.items():
            hint = hint.replace(f"{{{name}}}", write(name, value), 1)
        return message, hint if self.remedy is None else self.remedy.told(spell)


class UsageError(SchedulerError):
    exit_code = 2


class UnknownError(UsageError):
    """Nothing has the name that was given: no job, run, channel or delivery."""


class RefusedError(SchedulerError):
    exit_code = 3


class UnavailableError(SchedulerError):
    exit_code = 5


# Words of other tools. If a word has more than one meaning here, the first is tried first.
_OTHER_WORDS = {
    **dict.fromkeys(("rm", "remove", "del", "unlink", "destroy"), ("delete",)),
    **dict.fromkeys(("unpause", "enable", "unsuspend", "activate", "continue"), ("resume", "active")),
    **dict.fromkeys(("disable", "suspend", "hold", "deactivate"), ("pause", "disabled")),
    **dict.fromkeys(("enabled", "on"), ("active",)),
    **dict.fromkeys(("inactive", "off"), ("disabled",)),
    **dict.fromkeys(("suspended",), ("paused",)),
    **dict.fromkeys(("deleted", "removed"), ("archived",)),
    **dict.fromkeys(("done", "finished", "expired"), ("completed",)),
    **dict.fromkeys(("edit", "modify", "set", "change", "patch"), ("update",)),
    **dict.fromkeys(("execute", "exec", "trigger", "start", "fire"), ("run",)),
    **dict.fromkeys(("stop", "kill", "abort", "terminate"), ("cancel",)),
    **dict.fromkeys(("status", "ps", "overview", "running"), ("status", "active", "list")),
    **dict.fromkeys(("top", "watch", "monitor", "dashboard"), ("top", "status", "list")),
    **dict.fromkeys(("ls", "jobs", "find", "search"), ("list",)),
    **dict.fromkeys(("get", "describe", "inspect", "info", "view", "cat"), ("show",)),
    **dict.fromkeys(("add", "new"), ("create",)),
    **dict.fromkeys(("rename", "move"), ("mv",)),
    **dict.fromkeys(("logs", "tail", "follow", "attach", "stdout", "stderr"), ("output", "log")),
    **dict.fromkeys(("runs", "executions", "failures", "failed"), ("history",)),
    **dict.fromkeys(("when", "upcoming", "calendar"), ("next",)),
    **dict.fromkeys(("timeline", "blame"), ("log", "versions")),
    **dict.fromkeys(("events", "who", "changes"), ("audit",)),
    **dict.fromkeys(("daemon", "server", "up"), ("serve",)),
    **dict.fromkeys(("health", "healthcheck", "diagnose", "ready"), ("doctor",)),
    **dict.fromkeys(("clean", "cleanup", "prune", "purge", "vacuum"), ("gc",)),
    **dict.fromkeys(("skip", "snooze"), ("pause",)),
    **dict.fromkeys(("retry", "rerun"), ("run",)),
    **dict.fromkeys(("prompt", "text"), ("task",)),
    **dict.fromkeys(("dump",), ("export", "backup")),
    **dict.fromkeys(("load",), ("import",)),
    **dict.fromkeys(("preview", "dry-run"), ("plan",)),
    **dict.fromkeys(("check", "lint", "test"), ("validate",)),
    **dict.fromkeys(("apply", "reload", "refresh", "reconcile", "pull", "deploy"), ("sync",)),
    **dict.fromkeys(("revert", "undo"), ("rollback",)),
    **dict.fromkeys(("why",), ("explain",)),
}
_TURNS = ("un", "dis", "de", "non", "in", "en", "no-", "no_", "not-", "not_")  # what makes a word its opposite
_OPPOSITES = (
    *(("min", "max"), ("first", "last"), ("first", "latest"), ("oldest", "latest"), ("oldest", "newest")),
    *(("before", "after"), ("start", "end"), ("starts", "ends"), ("success", "failure"), ("allow", "forbid")),
    *(("am", "pm"), ("up", "down"), ("on", "off"), ("morning", "evening"), ("day", "night")),
)


def meant(word: str, known: Iterable[str]) -> str:
    """The hint naming the known word of that meaning, or the nearest by its letters; or an empty string."""
    words = list(known)
    same = next((each for each in _OTHER_WORDS.get(word.lower(), ()) if each in words), None)
    return f"did you mean {same!r}?" if same is not None else did_you_mean(word, words)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if any. If there are very many, only some are compared."""
    words = [each for each in sorted(known) if not _opposite(word.lower(), each.lower())]
    same = next((each for each in words if each.lower() == word.lower()), None)
    if same is not None:
        return same
    if len(words) > _MOST_COMPARED:
        words = [each for each in words if each[:1] == word[:1]][:_MOST_COMPARED]
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=0.6)), None)


def _opposite(one: str, other: str) -> bool:
    """Whether one is the other turned round: nearly the same letters, and the last thing that was meant."""
    words, others = (set(re.split("[^a-z0-9]+", text)) for text in (one, other))
    if any((a in words and b in others) or (b in words and a in others) for a, b in _OPPOSITES):
        return True
    stems = [{text, *(text.removeprefix(turn) for turn in _TURNS if text.startswith(turn))} for text in (one, other)]
    return one != other and bool(stems[0] & stems[1])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint naming the nearest known word, or an empty string."""
    near = nearest(word, known)
    if near is None:
        return ""
    odd = same_looking(word, near)
    return f"did you mean {near!r}?" + (f" It looks the same, but has {odd}" if odd else "")
