"""Keeping a root in step with its remote: look at the remote, and make an acceptable commit the root.

Whatever goes wrong, the last good commit stays the root, the trouble is recorded for everybody to see, and the next
look tries again.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.core.values.instants import instant
from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.core.values.remote import Remote, wait
from scheduler.core.values.settings import ROOT_FILE
from scheduler.git.objects import Entry, need_revision
from scheduler.git.run import GitError, run_git
from scheduler.machine.clock import Clock
from scheduler.machine.crash import crash_point
from scheduler.machine.disks import lack_of_room
from scheduler.machine.log import Log
from scheduler.machine.loop import Loop
from scheduler.remote import fetching
from scheduler.remote.checkouts import (
    DamagedStoreError,
    UnwritableTreeError,
    damage,
    link,
    link_all,
    list_commit,
    remove_old,
    write_commit,
)
from scheduler.remote.signatures import signed_digest, why_not_signed
from scheduler.root.followed import Followed, Looked, look_lock

LOOK_S = 1.0  # between two checks for a requested look
_log = Log(__name__)


class NotApplicableError(RefusedError):
    """The remote's commit must not become the root: a rule of this host forbids it, or it has no scheduler.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """How one root follows its remote."""

    followed: Followed
    clock: Clock
    environ: Mapping[str, str]
    progress: Callable[[str], None] | None = None  # called with git's output during a fetch
    stopped: Callable[[], bool] = lambda: False  # asked during a fetch whether to give up
    logs: bool = True  # False if a caller waits for the result and reports it

    def look(self) -> Looked:
        """Look once. Waits for the network, and for a look by somebody else. Failures are part of the result.

        Raises: UnavailableError if the state folder cannot be used, or the followed remote cannot be read.
        """
        try:
            with look_lock(self.followed):
                return self._look(self.followed.remote())
        except OSError as error:
            raise UnavailableError(
                f"{error.filename or self.followed.state} cannot be used: {error.strerror}",
                hint="free some space there",
            ) from error

    def first(self) -> Looked:
        """Make the very first look. A failure is raised and records nothing.

        Raises: NotApplicableError, UnavailableError.
        """
        now = instant(self.clock.now())
        found = replace(self._try(self.followed.remote(), Looked(), now), looked_at=now)
        self.followed.write_looked(found)
        return found

    def _look(self, remote: Remote) -> Looked:
        before, now = self.followed.looked(), instant(self.clock.now())
        found = replace(before, commit=self.followed.commit())
        try:
            if found.commit is not None:  # also if a killed look made it the root
                self._remember(remote, found.commit)
            found = self._try(remote, found, now)
            found = found.with_trouble(now, "")
        except fetching.StoppedError:
            return before
        except NotApplicableError as error:
            found = self._reached(remote, found, now).with_trouble(now, str(error), error.hint)
        except UnavailableError as error:
            found = found.with_trouble(now, str(error), error.hint, failures=before.failures + 1)
        self._say(before, found)
        with contextlib.suppress(OSError):  # a full disk: the next asker looks again
            self.followed.write_looked(found)
        return found

    def _reached(self, remote: Remote, found: Looked, now: str) -> Looked:
        with contextlib.suppress(GitError):
            tip = need_revision(self.followed.store, f"{fetching.followed_ref(remote)}^{{commit}}", bare=True)
            return replace(found, tip=tip, reached_at=now)
        return found

    def _try(self, remote: Remote, found: Looked, now: str) -> Looked:
        """Raises: NotApplicableError, UnavailableError."""
        if trouble := lack_of_room(self.followed.state):
            raise UnavailableError(trouble, hint="free some space: nothing is fetched until then")
        tip = self._fetch(remote)
        try:
            rewritten = self._apply(remote, tip, found.commit)
        except DamagedStoreError as error:
            self._renew(remote, str(error))
            tip = self._fetch(remote)
            rewritten = self._apply(remote, tip, found.commit)
        if found.commit != tip:
            found = replace(found, applied_at=now)
        return replace(found, commit=tip, tip=tip, reached_at=now, rewritten=rewritten or found.rewritten)

    def _fetch(self, remote: Remote) -> str:
        store = self.followed.store
        if not (store / "HEAD").is_file():
            self._renew(remote, "its HEAD is missing") if store.exists() else fetching.make_store(
                store, self._format(remote)
            )
        try:
            return fetching.fetch(store, remote.url, remote.ref, self.environ, tell=self.progress, stopped=self.stopped)
        except fetching.GoneError as error:
            raise UnavailableError(
                f"the {remote.words} is gone: {remote.url} answers but has no such name",
                hint=f"restore it, or set another in {self.followed.file}",
            ) from error
        except GitError as error:
            of_another = "mismatched algorithms" in error.said
            if not of_another and (
                not fetching.has_ref(remote.url, remote.ref, self.environ) or fetching.is_sound(store)
            ):
                raise
            self._renew(remote, str(error))
            return fetching.fetch(store, remote.url, remote.ref, self.environ)

    def _format(self, remote: Remote) -> str:
        return fetching.object_format(remote.url, remote.ref, self.environ)

    def _renew(self, remote: Remote, why: str) -> None:
        """Replace a damaged store. The old one stays beside it: it may hold what no remote has."""
        store, made_by = self.followed.store, self._format(remote)
        aside = fetching.put_store_aside(store, self.clock.now().strftime("%Y%m%dT%H%M%S"))
        _log.error("store_damaged", "fetching it again", reason=why, put_aside=aside)
        fetching.make_store(store, made_by)
        fetching.save_what_is_ours(aside, store)
        link_all(self.followed)

    def _apply(self, remote: Remote, tip: str, current: str | None) -> str | None:
        """Make a commit the root, if allowed. Returns the commit that a rewritten history left behind, if any.

        Raises: NotApplicableError, DamagedStoreError, UnavailableError.
        """
        store = self.followed.store
        try:
            left = None if current in (None, tip) else self._left_behind(current or "", tip)
            if remote.signed:
                self._check_signature(remote, tip, current)
        except GitError as error:
            raise damage(error, "git cannot read the fetched repository") from error
        if self.followed.is_at(tip, remote.path):
            self._check_readable(tip)
            remove_old(self.followed, keep=(tip,))
            return None
        try:
            entries = list_commit(store, tip)
        except UnwritableTreeError as error:
            raise NotApplicableError(str(error), hint=error.hint) from error
        path = f"{remote.path}/{ROOT_FILE}" if remote.path else ROOT_FILE
        if not any(entry.path == path and not entry.is_submodule for entry in entries):
            raise NotApplicableError(f"commit {tip[:12]} has no {path}", hint=_where_it_is(entries))
        if left is not None:
            with contextlib.suppress(GitError):  # runs name it, and git would delete it within weeks
                run_git(store, "update-ref", fetching.KEPT + left, left, bare=True)
        try:
            write_commit(self.followed, tip, entries)
        except UnwritableTreeError as error:
            raise NotApplicableError(str(error), hint=error.hint) from error
        crash_point("before_switch")
        self.followed.switch(tip, remote.path)
        crash_point("after_switch")
        self._remember(remote, tip)
        remove_old(self.followed, keep=(tip,))
        with contextlib.suppress(GitError):
            fetching.pack(store)
        return left

    def _check_readable(self, tip: str) -> None:
        """Check that git can answer questions about the commit's folder, such as which blob a file is."""
        folder = self.followed.commits / tip
        link(self.followed, folder, tip)
        try:  # by its git folder, which git accepts whoever owns it
            run_git(folder / ".git", "cat-file", "-e", "HEAD^{tree}", bare=True)
        except GitError as error:
            raise damage(error, f"git cannot find {tip[:12]}") from error

    def _left_behind(self, current: str, tip: str) -> str | None:
        """The commit that is the root, if the remote's history no longer contains it."""
        if not self._is_known(current):
            return None  # of a newly created store: the remote does not have it
        return None if fetching.is_ancestor(self.followed.store, current, tip) else current

    def _remember(self, remote: Remote, commit: str) -> None:
        """Record what the commit in force was signed for, and use up a permission that was given for it."""
        if commit != next(reversed(self.followed.applied().values()), None):
            with contextlib.suppress(GitError):  # of a newly created store: the remote does not have it
                self.followed.add_applied(signed_digest(self.followed.store, commit), commit)
        if remote.accept == commit:
            self.followed.write_remote(replace(self.followed.remote(), accept=None))

    def _check_signature(self, remote: Remote, tip: str, current: str | None) -> None:
        store, tag = self.followed.store, remote.ref if remote.tag is not None else None
        if why := why_not_signed(store, tip, self.followed.signers, tag=tag):
            raise NotApplicableError(
                f"commit {why}, and this root applies only signed commits",
                hint="sign it (`git commit -S`), or add its key to " + str(self.followed.signers),
            )
        applied = self.followed.applied()
        in_force = current or next(reversed(applied.values()), None)
        if in_force in (None, tip) or remote.accept == tip:
            return
        assert in_force is not None
        # Anyone who can push, even without a key, could bring back any old text with its good signature.
        leave = f'to allow it, add "accept": "{tip}" to {self.followed.file}'
        known = self._is_known(in_force)
        if not known or not fetching.is_ancestor(store, in_force, tip):
            older = known and fetching.is_ancestor(store, tip, in_force)
            how = "went back to {}, which is older than {}" if older else "leads to {}, which does not build on {}"
            raise NotApplicableError(
                f"{remote.words} {how.format(tip[:12], in_force[:12])}, the commit in force",
                hint=f"a signature does not show that it is wanted now: make a new signed commit on top; or, {leave}",
            )
        if (before := applied.get(signed_digest(store, tip))) is not None:
            raise NotApplicableError(
                f"commit {tip[:12]} has the same signed content as {before[:12]}, which was in force before",
                hint=f"a signature does not show that it is wanted again: make a new signed commit; or, {leave}",
            )

    def _is_known(self, commit: str) -> bool:
        try:
            run_git(self.followed.store, "cat-file", "-e", f"{commit}^{{commit}}", bare=True)
        except GitError:
            return False
        return True

    def _say(self, before: Looked, found: Looked) -> None:
        if not self.logs:
            return
        if found.trouble and found.trouble != before.trouble:
            _log.warning("remote_trouble", f"{(found.commit or 'no commit')[:12]} stays in force", reason=found.trouble)
        elif before.trouble and not found.trouble:
            _log.info("remote_fine_again")
        if found.commit != before.commit and found.commit is not None:
            if found.rewritten not in (None, before.rewritten):
                _log.warning("history_rewritten", "the earlier commit is kept", left_behind=found.rewritten)
            _log.info("commit_applied", commit=found.commit, before=before.commit or "none")


def _where_it_is(entries: Sequence[Entry]) -> str:
    names = [entry.path for entry in entries if entry.path.split("/")[-1] == ROOT_FILE]
    folders = [name.rpartition("/")[0] or "." for name in names[:3]]
    return (
        f"the commit has one in {', '.join(folders)}: choose that folder with --path"
        if folders
        else "check the branch and --path"
    )


class Follower:
    """Looks regularly, in its own thread: no fire and no pass ever waits for the network."""

    def __init__(self, follow: Follow, *, asked: Path, applied: Callable[[], None]) -> None:
        """asked: a file that is touched to ask for a look at once. applied: called when another commit is the root."""
        self.loop = Loop("follower", self._turns, _log, "follow_failed", retry_s=LOOK_S)
        self._follow = replace(follow, stopped=self.loop.stopping.is_set)
        self._asked_file = asked
        self._applied = applied
        self._asked_at = self._touched()

    def _turns(self) -> Iterator[float]:
        look_at = time.monotonic()
        while True:
            asked = self._touched()
            if time.monotonic() >= look_at or asked != self._asked_at:
                self._asked_at = asked
                look_at = time.monotonic() + self._wait_s(self.look())
            yield min(LOOK_S, max(0.0, look_at - time.monotonic()))

    def look(self) -> Looked | None:
        """Look now, for a waiting caller. None if that failed."""
        before = self._follow.followed.commit()
        found = None
        try:
            found = self._follow.look()
            self.loop.succeed()
        except Exception as error:  # the caller goes on with the root as it is
            self.loop.fail(error)
        if self._follow.followed.commit() != before:
            self._applied()
        return found

    def _wait_s(self, found: Looked | None) -> float:
        try:
            every = self._follow.followed.remote().every
        except UnavailableError:
            every = Remote(url="").every
        failures = 1 if found is None else found.failures
        return wait(every, failures, random.random).total_seconds()

    def _touched(self) -> int:
        try:
            return self._asked_file.stat().st_mtime_ns
        except OSError:
            return 0
