"""A webhook of a git forge: it asks for a look, and says nothing that is believed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.access.hooks import KEPT_FOR, LEAST_SECRET, MOST_KEPT, Bad, Headers, check_hook, secrets_in, weak
from scheduler.core.values.problems import UnavailableError
from scheduler.ledger.received import remember_hook
from scheduler.ledger.store import Store
from scheduler.service.root import Root

VARIABLE, FILE = "SCHEDULER_HOOK_SECRET", "hook-secret"


class Outcome(StrEnum):
    WOKEN = "woken"  # the daemon looks at the remote, or at the files
    IGNORED = "ignored"  # genuine, and not about a push
    REPEATED = "repeated"  # received before
    BAD = "bad"  # not signed with a secret of ours
    CLOSED = "closed"  # there is no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    outcome: Outcome
    message: str
    hint: str = ""


def hook_secrets(root: Root) -> Sequence[str]:
    """The secrets in force: those of the environment, otherwise those of the file in the state folder.

    Raises: UnavailableError for a file that others can read, or a secret that can be guessed.
    """
    path = root.place.state / FILE
    text = root.environ.get(VARIABLE, "")
    if not text.strip():
        try:
            with path.open() as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise UnavailableError(f"other users can read {path}", hint=f"chmod 600 {path}")
                text = file.read(10_000)
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise UnavailableError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    found = secrets_in(text)
    if weak(found):
        raise UnavailableError(
            f"a secret for webhooks has fewer than {LEAST_SECRET} characters",
            hint="make one with: openssl rand -hex 32",
        )
    return found


def receive_push(root: Root, headers: Headers, body: bytes) -> Received:
    """Check a webhook, and wake the daemon if it tells of a push. The same delivery wakes it once.

    The daemon asks the remote itself what has changed. However many webhooks come, it does so at most once a second.
    Raises: UnavailableError if no daemon is running, or the database cannot be written: the sender tries again.
    """
    secrets = hook_secrets(root)
    if not secrets:
        return Received(
            outcome=Outcome.CLOSED,
            message="webhooks are not set up here",
            hint=f"set {VARIABLE}, or write a secret to {FILE} in the state folder (mode 600)",
        )
    found = check_hook(headers, body, secrets, root.clock.now())
    if isinstance(found, Bad):
        return Received(outcome=Outcome.BAD, message=found.message, hint=found.hint)
    if not found.is_push:
        return Received(outcome=Outcome.IGNORED, message="this is not about a push")
    if root.daemon() is None:
        raise UnavailableError("no daemon is running", hint="start one with `scheduler serve`, then deliver it again")
    with Store.open(root.place.db, create=False) as store:
        is_new = store.write(remember_hook, found.keys, now=root.clock.now(), kept_for=KEPT_FOR, most=MOST_KEPT)
    if not is_new:
        return Received(outcome=Outcome.REPEATED, message="this delivery was received before; nothing was done")
    try:
        os.utime(root.place.wake)
    except OSError as error:
        raise UnavailableError(f"cannot wake the daemon: {error.strerror or error}") from error
    return Received(outcome=Outcome.WOKEN, message="the daemon looks now")
