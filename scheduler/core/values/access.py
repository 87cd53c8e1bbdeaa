"""Who asks over HTTP, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
