"""Who is let in, and what every answer tells a browser. The rules are in core/access, the secrets in the database."""

from __future__ import annotations

import threading
import time
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.core.access.requests import cross_site_fault, host_fault, proxy_user, secret_in_url
from scheduler.core.access.slowing import Failures
from scheduler.core.access.tokens import cookie_name
from scheduler.core.values.access import AccessSettings, Caller, Facts
from scheduler.service.access import caller_of_session, caller_of_token
from scheduler.service.root import Root
from scheduler.web.calls import AccessError

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class AccessGuard:
    """Lets in tokens, sessions, and users whom a trusted proxy names."""

    def __init__(self, root: Root, settings: AccessSettings) -> None:
        self._root, self._settings = root, settings
        self.cookie = cookie_name(str(root.place.label), tls=settings.tls)
        self._failures = Failures()
        self._lock = threading.Lock()

    def caller(self, request: Request) -> Caller:
        """Raises: AccessError."""
        facts = facts_of(request)
        self.check(facts)
        written, session = facts.all("authorization"), facts.cookies.get(self.cookie)
        if written:
            kind, _, token = written[0].partition(" ")
            found = (
                caller_of_token(self._root, token.strip()) if kind.lower() == "bearer" and len(written) == 1 else None
            )
            if found is None:
                self.failed(facts.peer)
                raise AccessError(401, "this token lets nobody in", hint="`scheduler token list` shows those that do")
            if session is not None:  # a browser has sent this
                self._need_same_site(facts)
            return found
        user = proxy_user(facts, self._settings)
        if user is not None:
            self._need_same_site(facts)
            return Caller(actor=f"user:{user}", role=self._settings.proxy_role)
        if session is not None and (login := caller_of_session(self._root, session)) is not None:
            self._need_same_site(facts)
            return login
        raise AccessError(
            401, "nobody is logged in", hint="`scheduler login` prints a link for a browser; programs send a token"
        )

    def check(self, facts: Facts) -> None:
        """Check what holds whoever asks. Raises: AccessError."""
        if fault := host_fault(facts, self._settings):
            raise AccessError(421, fault, hint="--allow-host adds a name")
        if name := secret_in_url(facts):
            raise AccessError(
                400,
                f"a secret in a URL ends up in logs, so {name} is not accepted",
                hint="send the header `Authorization: Bearer TOKEN`, and revoke this token if it was a real one",
            )

    def failed(self, peer: str) -> None:
        """Count a failed attempt. Raises: AccessError (429) if there were too many."""
        now = time.monotonic()
        with self._lock:
            wait_s = self._failures.wait_s(peer, now)
            if wait_s == 0:
                self._failures.add(peer, now)
        if wait_s:
            raise AccessError(429, "too many failed attempts", hint="wait a little", retry_after_s=int(wait_s) + 1)

    def need_same_site(self, request: Request) -> None:
        """Raises: AccessError if another site has sent the request."""
        self._need_same_site(facts_of(request))

    def _need_same_site(self, facts: Facts) -> None:
        if fault := cross_site_fault(facts):
            raise AccessError(403, fault, hint="open the page of this server and try there")


def facts_of(request: Request) -> Facts:
    return Facts(
        method=request.method,
        path=request.url.path,
        peer="" if request.client is None else request.client.host,
        headers=tuple((name.lower(), value) for name, value in request.headers.items()),
        cookies=request.cookies,
        query=tuple(name for name, _ in parse_qsl(request.url.query, keep_blank_values=True)),
    )


class Headers:
    """Adds what every answer tells a browser: what a page may load, and that nothing is stored."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adorned(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, adorned if scope["type"] == "http" else send)
