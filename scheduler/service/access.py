"""The verbs for access over HTTP: tokens, login links, sessions, and who a request comes from.

Anyone who can run commands on this root can open its database, so these verbs ask for no role.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from scheduler.core.access.tokens import check_jobs, check_name, digest, is_over, lets_in, token_id_of, written_token
from scheduler.core.values.access import Caller, Role, Session, Token
from scheduler.core.values.problems import RefusedError, UnavailableError, UnknownError
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.ledger import access
from scheduler.ledger.audit import append_audit
from scheduler.ledger.store import Store
from scheduler.service.root import Root

LINK_FOR = timedelta(minutes=10)
SESSION_FOR = timedelta(days=30)
IDLE_FOR = timedelta(days=7)
SEEN_EVERY = timedelta(minutes=1)
NOTE_WAITS = timedelta(milliseconds=50)  # for other writers
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def create_token(
    root: Root, name: str, role: Role, *, jobs: Sequence[str] = (), lasts: timedelta | None = None
) -> tuple[Token, str]:
    """Make a token. Returns it with its text, which is shown once and kept nowhere. Raises: UsageError."""
    check_name(name)
    patterns = check_jobs(jobs)
    now, secret = root.clock.now(), secrets.token_urlsafe(32)
    made = Token(
        id="".join(secrets.choice(_ID_LETTERS) for _ in range(10)),
        name=name,
        role=role,
        jobs=patterns,
        created_at=now,
        created_by=root.actor,
        expires_at=None if lasts is None else now + lasts,
    )
    with _database(root) as store:
        for other in store.read(access.tokens):
            if other.name == name and lets_in(other, now):
                raise RefusedError(
                    f"there is a token {name!r} already: {other.id}",
                    hint=f"choose another name, or `scheduler token revoke {other.id}` first",
                )
        with store.writing() as sql:
            access.add_token(sql, made, digest(secret))
            append_audit(sql, [_row(root, "token_create", None, _facts(made))])
    return made, written_token(made.id, secret)


def list_tokens(root: Root) -> list[Token]:
    """All tokens, those that were revoked or have expired too; by age."""
    with root.store() or contextlib.nullcontext() as store:
        return [] if store is None else store.read(access.tokens)


def revoke_token(root: Root, named: str) -> Token:
    """Revoke a token, by its id or its name. It lets nobody in from now on. Raises: UnknownError."""
    now = root.clock.now()
    with _database(root) as store:
        known = store.read(access.tokens)
        found = [each for each in known if named in (each.id, each.name) and each.revoked_at is None]
        if not found:
            gone = any(named in (each.id, each.name) for each in known)
            why = f"the token {named!r} is revoked already" if gone else f"there is no token {named!r}"
            raise UnknownError(why, hint="`scheduler token list` shows them")
        with store.writing() as sql:
            for each in found:
                access.revoke(sql, each.id, now)
            append_audit(sql, [_row(root, "token_revoke", _facts(each), None) for each in found])
    return found[0]


def login_secret(root: Root) -> str:
    """Make what a login link carries: good once, for ten minutes."""
    secret, now = secrets.token_urlsafe(32), root.clock.now()
    with _database(root) as store:
        store.write(access.add_link, digest(secret), root.actor, now=now, until=now + LINK_FOR)
    return secret


def redeem(root: Root, secret: str) -> tuple[Session, str] | None:
    """Use up a login link. Returns a session with its secret; None if the link is not good, or not any more."""
    now, own, sha256 = root.clock.now(), secrets.token_urlsafe(32), digest(secret)
    with _database(root) as store:
        if not store.read(access.has_link, sha256):  # guesses never take the lock that a fire needs
            return None
        with store.writing() as sql:
            actor = access.take_link(sql, sha256, now)
            if actor is None:
                return None
            made = Session(actor=actor, role=Role.ADMIN, created_at=now, seen_at=now, expires_at=now + SESSION_FOR)
            access.add_session(sql, made, digest(own))
            append_audit(sql, [_row(root, "login", None, {"actor": actor}, actor=actor)])
    return made, own


def log_out(root: Root, secret: str) -> None:
    """End a login. A cookie that is none changes nothing."""
    sha256 = digest(secret)
    with _database(root) as store:
        if store.read(access.session, sha256) is not None:
            store.write(access.end_session, sha256)


def caller_of_token(root: Root, text: str) -> Caller | None:
    """Whose token this is; None if it lets nobody in."""
    token_id, now = token_id_of(text), root.clock.now()
    if token_id is None:
        return None
    with root.store() or contextlib.nullcontext() as store:
        found = None if store is None else store.read(access.token, token_id)
        if store is None or found is None:
            return None
        token, sha256 = found
        if not secrets.compare_digest(digest(text.rpartition(f"{token_id}_")[2]), sha256):
            return None
        if not lets_in(token, now):
            return None
        if token.last_used_at is None or now - token.last_used_at >= SEEN_EVERY:
            _note(store, access.used, token.id, now)
    return Caller(actor=f"token:{token.name}", role=token.role, jobs=token.jobs)


def caller_of_session(root: Root, secret: str) -> Caller | None:
    """Whose login this is; None if it has ended."""
    sha256, now = digest(secret), root.clock.now()
    with root.store() or contextlib.nullcontext() as store:
        found = None if store is None else store.read(access.session, sha256)
        if store is None or found is None:
            return None
        if is_over(found.expires_at, now) or is_over(found.seen_at + IDLE_FOR, now):
            return None
        if now - found.seen_at >= SEEN_EVERY:
            _note(store, access.saw_session, sha256, now)
    return Caller(actor=found.actor, role=found.role, session=sha256)


def _note(store: Store, *write: Any) -> None:
    """Write down that something was used. A full disk or a lock keeps nobody out, and nobody waiting."""
    with contextlib.suppress(UnavailableError), store.hurried(NOTE_WAITS):
        store.write(*write)


def _database(root: Root) -> Store:
    """Raises: UnavailableError if the root was never synced."""
    store = root.store()
    if store is None:
        raise UnavailableError(
            f"this root has no database yet: {root.place.db} does not exist", hint="run `scheduler sync` first"
        )
    return store


def _facts(token: Token) -> dict[str, Any]:
    return {"id": token.id, "name": token.name, "role": token.role.value, "jobs": list(token.jobs)}


def _row(root: Root, action: str, before: object, after: object, *, actor: str | None = None) -> AuditRow:
    return AuditRow(
        job_id=ROOT_JOB_ID,
        action=action,
        field="access",
        before=before,
        after=after,
        at=root.clock.now(),
        actor=actor or root.actor,
        cause=action,
    )
