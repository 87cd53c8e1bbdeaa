"""What a request must be like before anybody asks who sent it, and what a proxy may say of its user."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from hmac import compare_digest
from urllib.parse import urlsplit

from scheduler.core.values.access import AccessSettings, Facts, Role
from scheduler.core.values.problems import UsageError
from scheduler.core.values.texts import short

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PROXY_SECRET = "x-scheduler-proxy-secret"
SECRET_VARIABLE = "SCHEDULER_PROXY_SECRET"  # in the environment: others could read an option
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SECRETS_IN_URLS = ("token", "access_token", "api_key", "apikey", "bearer")
_LONGEST_USER = 100
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def host_fault(facts: Facts, settings: AccessSettings) -> str:
    """Why the name in `Host` is refused: a page of another site may have a name that leads here (DNS rebinding).

    An address cannot be rebound, so any address is fine. Empty if the name is fine.
    """
    given = facts.one("host")
    if given is None:
        return "a request needs exactly one Host header"
    name = _host_of(given)
    if name is None:
        return f"the Host header {short(given)} is not a host"
    known = {*_LOOPBACK, settings.listen_host.lower(), *(each.lower() for each in settings.allow_hosts)}
    if name in known or _is_address(name):
        return ""
    return f"the name {short(name)} is not one of this server's"


def cross_site_fault(facts: Facts) -> str:
    """Why a request that changes something is taken for one of another site; empty if it is not.

    `Sec-Fetch-Site` decides, which a page cannot forge; in a browser without it, `Origin`. A request with neither comes
    from no browser.
    """
    if facts.method in SAFE:
        return ""
    site = facts.all("sec-fetch-site")
    if site:
        return "" if len(site) == 1 and site[0] in ("same-origin", "none") else "another site has sent this request"
    origin = facts.all("origin")
    if not origin:
        return ""
    if (
        len(origin) == 1
        and origin[0] != "null"
        and urlsplit(origin[0]).netloc.lower() == (facts.one("host") or "").lower()
    ):
        return ""
    return "another site has sent this request"


def secret_in_url(facts: Facts) -> str:
    """The name of a parameter that seems to hold a secret; empty if none does."""
    return next((name for name in facts.query if name.lower() in _SECRETS_IN_URLS), "")


def proxy_user(facts: Facts, settings: AccessSettings) -> str | None:
    """The user whom a trusted proxy names; None if no such proxy has sent the request, or it names nobody.

    The peer of the socket decides: what a header says of addresses is never believed.
    """
    if not settings.trust_proxy or not settings.user_header or not _is_within(facts.peer, settings.trust_proxy):
        return None
    if settings.proxy_secret and not _same(facts.one(PROXY_SECRET) or "", settings.proxy_secret):
        return None
    name = (facts.one(settings.user_header.lower()) or "").strip()
    return name if name.isprintable() and 0 < len(name) <= _LONGEST_USER else None


def access_settings(
    *,
    listen_host: str,
    allow_hosts: Sequence[str] = (),
    trust_proxy: Sequence[str] = (),
    user_header: str | None = None,
    proxy_role: Role = Role.OPERATOR,
    tls: bool = False,
) -> AccessSettings:
    """The settings as they were asked for, without the secret of the proxy.

    Raises: UsageError, as for one half of a login by proxy without the other.
    """
    if trust_proxy and not user_header:
        raise UsageError(
            "--trust-proxy needs --user-header: without a header, the proxy names nobody",
            hint="add --user-header Remote-User, or whatever header your proxy sets",
        )
    if user_header and not trust_proxy:
        raise UsageError(
            "--user-header needs --trust-proxy: without a network, anybody could send the header",
            hint="add --trust-proxy with the address of your proxy",
        )
    if user_header and not _HEADER_NAME.fullmatch(user_header):
        raise UsageError(f"{short(user_header)} is not the name of a header", hint="write a name like Remote-User")
    return AccessSettings(
        listen_host=listen_host,
        allow_hosts=check_hosts(allow_hosts),
        trust_proxy=check_networks(trust_proxy),
        user_header=user_header or None,
        proxy_role=proxy_role,
        tls=tls,
    )


def check_hosts(written: Sequence[str]) -> tuple[str, ...]:
    """Check names such as jobs.example.org. Raises: UsageError."""
    for each in written:
        if _host_of(each) != each.lower():
            raise UsageError(
                f"{short(each)} is not a host name", hint="write a name like jobs.example.org, without scheme or port"
            )
    return tuple(written)


def check_networks(written: Sequence[str]) -> tuple[str, ...]:
    """Check networks such as 10.0.0.0/8. Raises: UsageError."""
    for each in written:
        try:
            network = ipaddress.ip_network(each, strict=False)
        except ValueError:
            raise UsageError(f"{short(each)} is not a network", hint="write 10.0.0.0/8, or one address") from None
        if network.prefixlen == 0:
            raise UsageError(f"{each} is every address, so anybody could be anybody", hint="name the proxy's network")
    return tuple(written)


def _host_of(given: str) -> str | None:
    """The name or address in a Host header, in lower case and without its port."""
    try:
        parts = urlsplit(f"//{given}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return name.rstrip(".").lower() if name and parts.netloc == given and parts.username is None else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_within(peer: str, networks: Sequence[str]) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(each, strict=False) for each in networks)


def _same(given: str, wanted: str) -> bool:
    return compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode("utf-8", "surrogatepass"))
