"""How a route learns who asks, and which root: `call: Viewer`, `call: Operator`, and so on, as a parameter.

The guard answers who asks; a route names the role that it needs. Nothing else in this room decides about access.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from scheduler.core.values.access import Caller, Role
from scheduler.core.values.problems import SchedulerError
from scheduler.service.root import Root


class AccessError(SchedulerError):
    """The caller is unknown (401), may not do this (403), or has to wait (429)."""

    def __init__(self, status: int, message: str, *, hint: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status, self.retry_after_s = status, retry_after_s


class Guard(Protocol):
    """Decides who asks."""

    def caller(self, request: Request) -> Caller:
        """Raises: AccessError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that was let in: `root` writes audit rows in the name of `caller`."""

    root: Root
    caller: Caller


MOST_CHANGES = 5  # at once: those that wait for a lock leave threads for those that only look
RETRY_S = 5
_CHANGES = threading.BoundedSemaphore(MOST_CHANGES)
_NEEDED: dict[Callable[..., object] | None, Role] = {}


def _calling(needed: Role) -> Callable[[Request], Iterator[Call]]:
    def calling(request: Request) -> Iterator[Call]:
        if not needed.allows(Role.OPERATOR):
            yield let_in(request)
        elif not _CHANGES.acquire(blocking=False):
            why = f"{MOST_CHANGES} changes are being made, and the database or the daemon does not take them now"
            raise AccessError(503, why, hint="nothing was done; try again", retry_after_s=RETRY_S)
        else:
            try:
                yield let_in(request)
            finally:
                _CHANGES.release()

    def let_in(request: Request) -> Call:
        guard: Guard = request.app.state.guard
        root: Root = request.app.state.root
        caller = guard.caller(request)
        if not caller.role.allows(needed):
            raise AccessError(
                403,
                f"{caller.actor} has the role {caller.role.value}; this needs {needed.value}",
                hint=_how_to_rise(caller, needed),
            )
        root = replace(root, actor=caller.actor, place=root.place.now(), scans=False)
        return Call(root=root, caller=caller)

    _NEEDED[calling] = needed
    return calling


def _how_to_rise(caller: Caller, needed: Role) -> str:
    """Who can give this caller the role, and how."""
    role = needed.value
    if caller.session is not None:
        return "open a link that `scheduler login` prints for whoever runs the scheduler: it has every role"
    if caller.actor.startswith("user:"):
        return f"whoever runs the scheduler gives the users of its proxy a role: `scheduler serve --proxy-role {role}`"
    return f"an admin makes a token with it: `scheduler token create NAME --role {role}`"


def role_needed(route: APIRoute) -> Role | None:
    """The role that a route needs; None if it lets everybody in."""
    return next((_NEEDED[each.call] for each in route.dependant.dependencies if each.call in _NEEDED), None)


Viewer = Annotated[Call, Depends(_calling(Role.VIEWER))]
Operator = Annotated[Call, Depends(_calling(Role.OPERATOR))]
Approver = Annotated[Call, Depends(_calling(Role.APPROVER))]
Admin = Annotated[Call, Depends(_calling(Role.ADMIN))]
