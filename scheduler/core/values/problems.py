"""What went wrong: values for what people write, exceptions for what the machine does.

    SchedulerError                the base; `exit_code` is what a command ends with (design I3)
    ├── UsageError          2     the request itself makes no sense: an unknown job, a bad option value
    ├── RefusedError        3     a guard, a hold or a policy says no; nothing was changed
    └── UnavailableError    5     the database, git, a folder or the daemon could not be used

Mistakes in files are never exceptions: they are `Problem` values, all of them, sorted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.values.codec import Stored

# What only a pass over all files can find: a look at one file neither adds nor clears it.
WHOLE_PASS_CODES = ("file.case", "file.emptied", "id.duplicate", "id.similar", "limit.max-jobs", "schedule.past")


_MOST_COMPARED = 200


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem(Stored):
    """One thing wrong in one file. Sorts by place, so output is stable."""

    path: str  # root-relative POSIX path
    line: int  # 1-based; 1:1 stands for the whole file
    column: int  # 1-based, in characters
    code: str  # stable; listed in docs/reference/problems.md
    message: str  # lower case, no full stop; names the value and what is allowed
    hint: str = ""  # what to type instead
    severity: Severity = Severity.ERROR
    job_id: str | None = field(default=None, compare=False)  # the job it belongs to, where the id could be read

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


class SchedulerError(Exception):
    """Base of every error that ends a command. `hint` says what to do next."""

    exit_code = 5

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SchedulerError):
    exit_code = 2


class RefusedError(SchedulerError):
    exit_code = 3


class UnavailableError(SchedulerError):
    exit_code = 5


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if any. Of very many, only some are compared."""
    words = sorted(known)
    same = next((each for each in words if each.lower() == word.lower()), None)
    if same is not None:
        return same
    if len(words) > _MOST_COMPARED:
        words = [each for each in words if each[:1] == word[:1]][:_MOST_COMPARED]
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=0.6)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint naming the nearest known word, or an empty string."""
    near = nearest(word, known)
    return "" if near is None else f"did you mean {near!r}?"
