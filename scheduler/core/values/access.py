"""Who asks over HTTP, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from scheduler.core.values.codec import Stored


class Role(StrEnum):
    """Each role may do all that the ones before it may."""

    VIEWER = "viewer"  # read
    OPERATOR = "operator"  # and run, cancel, pause, resume, sync
    APPROVER = "approver"  # and edit, roll back, confirm a guard
    ADMIN = "admin"  # and manage tokens

    def allows(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who was let in."""

    actor: str  # as `kind:name`, for audit rows
    role: Role
    jobs: tuple[str, ...] = ()  # patterns of ids and tags, as in `agents.jobs`; empty: all jobs
    session: str | None = None  # id of the login in a browser; None for a token or a proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Stored):
    """A token without its secret."""

    id: str
    name: str
    role: Role
    jobs: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None = None  # to the minute
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Stored):
    """A login in a browser, without its secret."""

    actor: str
    role: Role
    created_at: datetime
    seen_at: datetime  # to the minute
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings(Stored):
    """How a web server lets people in. Closed unless said otherwise."""

    listen_host: str = "127.0.0.1"
    allow_hosts: tuple[str, ...] = ()  # further names under which it is reached
    trust_proxy: tuple[str, ...] = ()  # networks whose proxy says who the user is; needs user_header
    user_header: str | None = None
    proxy_role: Role = Role.OPERATOR
    proxy_secret: str = ""  # that the proxy must send, if it is set
    tls: bool = False  # browsers reach it by https


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a request says of itself, and where it comes from."""

    method: str
    path: str
    peer: str  # address of the socket's other end
    headers: tuple[tuple[str, str], ...]  # names in lower case, in the order in which they came
    cookies: Mapping[str, str] = field(default_factory=dict)
    query: tuple[str, ...] = ()  # names of its parameters

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]

    def one(self, name: str) -> str | None:
        """The value of a header; None if it is missing or comes more than once."""
        found = self.all(name)
        return found[0] if len(found) == 1 else None
