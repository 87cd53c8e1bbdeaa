"""The one-time link of `scheduler login`, and logging out.

Opening the link uses up nothing, because previews of links do that too. The button on its page does.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from scheduler.service.access import SESSION_FOR, log_out, redeem
from scheduler.service.root import Root
from scheduler.web.calls import AccessError
from scheduler.web.guard import AccessGuard, facts_of
from scheduler.web.render import render

router = APIRouter(include_in_schema=False)


@router.get("/login")
def ask(request: Request, t: Annotated[str, Query(max_length=100)] = "") -> HTMLResponse:
    """Show the button that logs in."""
    guard: AccessGuard = request.app.state.guard
    root: Root = request.app.state.root
    guard.check(facts_of(request))
    if not t:
        raise AccessError(401, "nobody is logged in", hint="`scheduler login` prints a link")
    return HTMLResponse(render("login", {"root": str(root.place.label), "secret": t}))


@router.post("/login")
def log_in(request: Request, t: Annotated[str, Form(max_length=100)] = "") -> Response:
    """Use up a link, and set the cookie of a session."""
    guard: AccessGuard = request.app.state.guard
    root: Root = request.app.state.root
    facts = facts_of(request)
    guard.check(facts)
    guard.need_same_site(request)
    found = redeem(root, t)
    if found is None:
        guard.failed(facts.peer)
        raise AccessError(401, "this link has expired or was used before", hint="`scheduler login` prints a new one")
    answer = RedirectResponse("/", status_code=303)
    answer.set_cookie(
        guard.cookie,
        found[1],
        max_age=int(SESSION_FOR.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=guard.cookie.startswith("__Host-"),
        path="/",
    )
    return answer


@router.post("/logout")
def leave(request: Request) -> Response:
    """End the session of this browser."""
    guard: AccessGuard = request.app.state.guard
    root: Root = request.app.state.root
    guard.check(facts_of(request))
    guard.need_same_site(request)
    secret = request.cookies.get(guard.cookie)
    if secret is not None:
        log_out(root, secret)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(guard.cookie, path="/", secure=guard.cookie.startswith("__Host-"), httponly=True)
    return answer
