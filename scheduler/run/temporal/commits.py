"""The folder of a run's commit, from the worker's own clone: the control plane only names it.

A commit is served only if it belongs to the history of one that this host has accepted by its own rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.values.facts import Fault
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.core.values.remote import Remote
from scheduler.core.values.settings import ROOT_FILE, RunnerSpec
from scheduler.git.run import GitError, run_git
from scheduler.machine.clock import Clock
from scheduler.remote.checkouts import list_commit, write_commit
from scheduler.remote.fetching import is_ancestor
from scheduler.remote.following import Follow
from scheduler.remote.signatures import check_signers
from scheduler.root.followed import Followed, Pin, hold, look_lock
from scheduler.root.place import make_private

PATIENCE_S = 60.0  # for a commit that was pushed just now
AGAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Commits:
    followed: Followed
    remote: Remote
    clock: Clock
    environ: Mapping[str, str]
    patience_s: float = PATIENCE_S

    @classmethod
    def open(
        cls, state: Path, remote: Remote, signers: str | None, *, clock: Clock, environ: Mapping[str, str]
    ) -> Commits:
        """Raises: UsageError, UnavailableError."""
        followed = Followed(state)
        make_private(state)
        if signers is not None:
            followed.signers.write_bytes(check_signers(Path(signers)))
        followed.write_remote(remote)
        return cls(followed=followed, remote=remote, clock=clock, environ=environ)

    def look(self) -> str:
        """Why the newest commit is not accepted. Empty if it is."""
        return Follow(followed=self.followed, clock=self.clock, environ=self.environ).look().trouble

    def pin(self, commit: str | None, stopped: Callable[[float], bool]) -> Pin | Fault:
        """The folder of a commit, kept from being removed as long as the pin exists.

        stopped: waits that many seconds; True if the run was cancelled meanwhile.
        """
        if commit is None:
            return _missing("the run names no commit, so its folder cannot be had; give its runner cwd: scratch")
        give_up = time.monotonic() + self.patience_s
        why = ""
        while True:
            try:
                if not self._accepts(commit):
                    why = self.look() or f"{self.remote.words} does not contain it"
                if self._accepts(commit):
                    return self._pinned(commit)
            except (SchedulerError, GitError, OSError) as error:
                why = str(error)
            if time.monotonic() > give_up or stopped(AGAIN_S):
                return _missing(f"this host has no commit {commit[:12]}: {why}")

    def _accepts(self, commit: str) -> bool:
        tip = self.followed.commit()
        if tip is None or not (self.followed.store / "HEAD").is_file():
            return False
        if tip == commit:
            return True
        try:
            run_git(self.followed.store, "cat-file", "-e", f"{commit}^{{commit}}", bare=True)
        except GitError:
            return False
        return is_ancestor(self.followed.store, commit, tip)

    def _pinned(self, commit: str) -> Pin:
        with look_lock(self.followed):  # nobody removes it between its writing and the pin
            write_commit(self.followed, commit, list_commit(self.followed.store, commit))
            found = hold(self.followed.commits / commit)
        if found is None:
            raise UnavailableError(f"the folder of {commit[:12]} is gone")
        found.root = found.folder / self.remote.path
        return found

    def contains(self, pin: Pin, path: str, text: bytes) -> bool:
        """True if a file of the pinned commit has exactly these bytes."""
        wanted = (pin.root / path).resolve()
        try:
            return wanted.is_relative_to(pin.folder.resolve()) and wanted.read_bytes() == text
        except OSError:
            return False

    def runner(self, pin: Pin, name: str) -> RunnerSpec | Fault:
        """The runner as scheduler.yaml of the pinned commit defines it."""
        try:
            settings, problems = read_root_file((pin.root / ROOT_FILE).read_bytes())
        except OSError as error:
            return _missing(f"{ROOT_FILE} of commit {pin.folder.name[:12]} cannot be read: {error.strerror}")
        if settings is None:
            first = next(each for each in problems if each.is_error)
            return _missing(f"{ROOT_FILE} of commit {pin.folder.name[:12]} has an error: {first.message}")
        if name not in settings.runners:
            message = f"{ROOT_FILE} of commit {pin.folder.name[:12]} has no runner {name!r}"
            return Fault(reason="runner_refused_by_host", message=message)
        return settings.runners[name]


def _missing(message: str) -> Fault:
    return Fault(reason="runner_commit_missing", message=message)
