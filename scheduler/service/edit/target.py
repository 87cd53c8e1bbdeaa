"""Where an edit goes."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.values.problems import Remedy, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an edit goes: the working tree, unless it says otherwise."""

    commit: bool = False
    branch: str | None = None
    push: bool = False  # the branch, to the remote that the root is kept from
    message: str | None = None

    def check(self) -> None:
        """Raises: UsageError."""
        if self.commit and self.branch is not None:
            raise UsageError("a commit in place and a branch exclude each other", hint="a branch always gets a commit")
        if self.push and self.branch is None:
            raise UsageError("only a branch is pushed", remedy=Remedy.NAME_BRANCH)
        if self.message is not None and not (self.commit or self.branch is not None):
            raise UsageError("a message belongs to a commit", remedy=Remedy.COMMIT)
        if self.message is not None and not self.message.strip():
            raise UsageError("the message is blank", hint="leave it out: there is one that names the change")
        if self.message is not None and "\0" in self.message:
            raise UsageError("the message holds a NUL character", hint="leave it out: no commit can hold one")


IN_PLACE = Target()
