"""Tokens, login links and sessions. A secret is looked up by its digest; nothing here gives one away."""

from __future__ import annotations

import json
from datetime import datetime
from sqlite3 import Connection, Row

from scheduler.core.values.access import Session, Token
from scheduler.ledger.rows import from_row, insert, stamp, to_row


def tokens(sql: Connection) -> list[Token]:
    """All tokens, those that were revoked too; by age."""
    return [_token(row) for row in sql.execute("SELECT * FROM access_tokens ORDER BY created_at, id")]


def token(sql: Connection, token_id: str) -> tuple[Token, str] | None:
    """A token, and the digest of its secret."""
    row = sql.execute("SELECT * FROM access_tokens WHERE id = ?", (token_id,)).fetchone()
    return None if row is None else (_token(row), row["sha256"])


def add_token(sql: Connection, added: Token, sha256: str) -> None:
    insert(sql, "access_tokens", **{**to_row(added), "jobs": json.dumps(added.jobs)}, sha256=sha256)


def revoke(sql: Connection, token_id: str, now: datetime) -> None:
    sql.execute("UPDATE access_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (stamp(now), token_id))


def used(sql: Connection, token_id: str, now: datetime) -> None:
    sql.execute("UPDATE access_tokens SET last_used_at = ? WHERE id = ?", (stamp(now), token_id))


def add_link(sql: Connection, sha256: str, actor: str, *, now: datetime, until: datetime) -> None:
    sql.execute("DELETE FROM access_links WHERE expires_at <= ?", (stamp(now),))
    insert(sql, "access_links", sha256=sha256, actor=actor, expires_at=until)


def take_link(sql: Connection, sha256: str, now: datetime) -> str | None:
    """Use up a link, and return its actor; None if there is no such link, or not any more."""
    row = sql.execute("DELETE FROM access_links WHERE sha256 = ? RETURNING actor, expires_at", (sha256,)).fetchone()
    return row["actor"] if row is not None and row["expires_at"] > stamp(now) else None


def add_session(sql: Connection, added: Session, sha256: str) -> None:
    sql.execute("DELETE FROM access_sessions WHERE expires_at <= ?", (stamp(added.created_at),))
    insert(sql, "access_sessions", **to_row(added), sha256=sha256)


def session(sql: Connection, sha256: str) -> Session | None:
    row = sql.execute("SELECT * FROM access_sessions WHERE sha256 = ?", (sha256,)).fetchone()
    return None if row is None else from_row(Session, row)


def saw_session(sql: Connection, sha256: str, now: datetime) -> None:
    sql.execute("UPDATE access_sessions SET seen_at = ? WHERE sha256 = ?", (stamp(now), sha256))


def end_session(sql: Connection, sha256: str) -> None:
    sql.execute("DELETE FROM access_sessions WHERE sha256 = ?", (sha256,))


def _token(row: Row) -> Token:
    return from_row(Token, row, jobs=tuple(json.loads(row["jobs"])))
