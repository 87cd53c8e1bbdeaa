"""What a request must be like before anybody asks who sent it, for any header that somebody could send."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.access.requests import (
    PROXY_SECRET,
    check_host,
    check_networks,
    check_user_header,
    cross_site_fault,
    host_fault,
    proxy_user,
    read_url,
    secret_in_url,
)
from scheduler.core.values.access import AccessSettings, Facts
from scheduler.core.values.problems import UsageError

OPEN = AccessSettings()
PROXY = AccessSettings(trust_proxy=("10.0.0.0/24", "fd00::/64"), user_header="Remote-User")
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z][a-z0-9]{1,10}){1,3}", fullmatch=True)
ANY_TEXT = st.text(max_size=60)


def request(
    *headers: tuple[str, str], method: str = "POST", peer: str = "127.0.0.1", query: tuple[str, ...] = ()
) -> Facts:
    return Facts(method=method, path="/", peer=peer, headers=headers, query=query)


def host(written: str, settings: AccessSettings = OPEN) -> str:
    return host_fault(request(("host", written)), settings)


# -- Host ------------------------------------------------------------------------------------------


@given(NAMES)
def test_a_name_is_refused_unless_it_was_allowed(name: str) -> None:
    assert host(name)
    assert not host(name, AccessSettings(allow_hosts=(name,)))
    assert not host(f"{name.upper()}.:8484", AccessSettings(allow_hosts=(name,)))
    assert host(f"x.{name}", AccessSettings(allow_hosts=(name,))), "a name below one that is allowed is another name"


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.one_of(st.none(), st.integers(0, 65535)))
def test_an_address_is_fine_because_nobody_can_rebind_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int | None
) -> None:
    written = f"[{address}]" if address.version == 6 else str(address)
    assert not host(written if port is None else f"{written}:{port}")


@given(ANY_TEXT)
def test_no_text_in_a_host_header_is_an_error_of_ours(text: str) -> None:
    assert isinstance(host(text), str)


@pytest.mark.parametrize("headers", [(), (("host", "localhost"), ("host", "localhost"))])
def test_a_request_has_exactly_one_host(headers: tuple[tuple[str, str], ...]) -> None:
    assert host_fault(request(*headers), OPEN)


@pytest.mark.parametrize(
    "written", ["localhost@evil.example", "evil.example#localhost", "evil.example/localhost", "localhost:x", ""]
)
def test_a_host_header_with_more_than_a_host_is_refused(written: str) -> None:
    assert host(written)


# -- the rule of sites -----------------------------------------------------------------------------


@given(st.sampled_from(["GET", "HEAD", "OPTIONS"]), ANY_TEXT, ANY_TEXT)
def test_what_changes_nothing_may_come_from_anywhere(method: str, site: str, origin: str) -> None:
    assert not cross_site_fault(request(("sec-fetch-site", site), ("origin", origin), method=method))


@given(st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "post", "BREW"]), ANY_TEXT)
def test_a_browser_says_that_the_page_is_of_this_server_or_is_refused(method: str, site: str) -> None:
    found = cross_site_fault(request(("sec-fetch-site", site), method=method))
    assert bool(found) == (site not in ("same-origin", "none"))


@given(ANY_TEXT)
def test_an_origin_never_lifts_what_the_browser_has_said(origin: str) -> None:
    headers = (("host", "localhost"), ("origin", "http://localhost"), ("sec-fetch-site", "cross-site"))
    assert cross_site_fault(request(*headers))
    assert cross_site_fault(request(("host", "localhost"), ("origin", origin), ("sec-fetch-site", "same-site")))


@given(NAMES, NAMES)
def test_without_that_word_the_origin_has_to_be_the_host(one: str, other: str) -> None:
    fault = cross_site_fault(request(("host", one), ("origin", f"https://{other}")))
    assert bool(fault) == (one != other)


@given(ANY_TEXT)
def test_no_text_in_an_origin_is_an_error_of_ours(origin: str) -> None:
    assert isinstance(cross_site_fault(request(("host", "localhost"), ("origin", origin))), str)


def test_a_header_that_comes_twice_is_refused() -> None:
    twice = ("sec-fetch-site", "same-origin")
    assert cross_site_fault(request(twice, twice))
    origin = ("origin", "http://localhost")
    assert cross_site_fault(request(("host", "localhost"), origin, origin))


def test_a_program_that_is_no_browser_sends_neither() -> None:
    assert not cross_site_fault(request(("host", "localhost")))


# -- secrets in URLs -------------------------------------------------------------------------------


@given(st.sampled_from(["token", "Access_Token", "api_key", "APIKEY", "bearer"]), st.lists(NAMES, max_size=3))
def test_a_parameter_for_a_secret_is_found_among_others(name: str, others: list[str]) -> None:
    assert secret_in_url(request(query=(*others, name))) == name
    assert not secret_in_url(request(query=tuple(others)))


# -- users of a proxy ------------------------------------------------------------------------------

INSIDE = st.one_of(
    st.ip_addresses(network="10.0.0.0/24"),
    st.ip_addresses(network="fd00::/64"),
    st.ip_addresses(network="10.0.0.0/24").map(lambda each: ipaddress.IPv6Address(f"::ffff:{each}")),
)
CLAIMS = (
    ("remote-user", "root"),
    ("x-forwarded-for", "10.0.0.2"),
    ("forwarded", "for=10.0.0.2"),
    ("x-real-ip", "10.0.0.2"),
)


@given(INSIDE)
def test_a_peer_in_a_trusted_network_names_its_user(peer: object) -> None:
    assert proxy_user(request(("remote-user", " bea "), peer=str(peer)), PROXY) == "bea"


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_no_other_peer_names_anybody_whatever_it_says_of_addresses(
    peer: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inside = any(peer in ipaddress.ip_network(each) for each in PROXY.trust_proxy)
    mapped = isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None
    if not inside and not mapped:
        assert proxy_user(request(*CLAIMS, peer=str(peer)), PROXY) is None


@given(ANY_TEXT)
def test_a_peer_that_is_no_address_names_nobody(peer: str) -> None:
    assert proxy_user(request(*CLAIMS, peer=f"x{peer}"), PROXY) is None


@given(ANY_TEXT)
def test_only_the_secret_of_the_proxy_is_its_secret(secret: str) -> None:
    kept = AccessSettings(trust_proxy=("10.0.0.0/24",), user_header="Remote-User", proxy_secret="s3cret")
    given_secret = request(("remote-user", "bea"), (PROXY_SECRET, secret), peer="10.0.0.2")
    assert proxy_user(given_secret, kept) == ("bea" if secret == "s3cret" else None)


@given(st.text(max_size=120))
def test_a_user_is_a_short_printable_name(name: str) -> None:
    found = proxy_user(request(("remote-user", name), peer="10.0.0.2"), PROXY)
    assert found is None or (found.isprintable() and 0 < len(found) <= 100)


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["0.0.0.0/0", "::/0", "10.0.0.0/33", "proxy", "", "10.0.0.1-10.0.0.9"])
def test_a_network_that_is_none_or_is_everybody_is_refused(written: str) -> None:
    with pytest.raises(UsageError):
        check_networks([written])


@pytest.mark.parametrize("written", ["Authorization", "cookie", "X-Forwarded-For", "Remote User", "", "a:b"])
def test_a_header_that_means_something_else_names_no_user(written: str) -> None:
    with pytest.raises(UsageError):
        check_user_header(written)
    assert check_user_header("X-Auth-Request-Email") == "X-Auth-Request-Email"


@pytest.mark.parametrize("written", ["jobs.example.com:443", "https://jobs.example.com", "*", "a b", ""])
def test_an_allowed_host_is_a_name_alone(written: str) -> None:
    with pytest.raises(UsageError):
        check_host(written)
    assert check_host("Jobs.Example.com.") == "jobs.example.com"


def test_the_url_of_a_server_has_a_scheme_and_a_host() -> None:
    assert read_url("https://Jobs.Example.com/") == ("https://jobs.example.com", "jobs.example.com")
    assert read_url("http://10.0.0.5:8080") == ("http://10.0.0.5:8080", "10.0.0.5")


@pytest.mark.parametrize(
    "written",
    [
        "jobs.example.com",
        "ftp://a.b",
        "https://",
        "https://a.b/jobs",
        "https://a@b.c",
        "https://a.b:x",
        "https://a.b?c",
        "https://a.b#c",
    ],
)
def test_what_is_no_url_of_a_server_is_refused(written: str) -> None:
    with pytest.raises(UsageError):
        read_url(written)
