"""Attacks on the door, each of which has to stay outside, and the ways in that have to stay open."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from scheduler.core.values.access import AccessSettings, Role
from scheduler.service.access import create_token, list_tokens, login_secret, revoke_token
from scheduler.service.root import Root as ServiceRoot
from scheduler.web.app import build_app
from scheduler.web.calls import AccessError
from scheduler.web.guard import AccessGuard
from tests.faces.conftest import Root
from tests.web.bare import service_root

HOST = "http://127.0.0.1:8484"
NEEDS_ADMIN = "/api/jobs"


@pytest.fixture
def door(lived_in: Root) -> ServiceRoot:
    return replace(service_root(lived_in.path, actor="user:ann"), clock=lived_in.clock)


def browser(door: ServiceRoot, *, peer: str = "127.0.0.1", **settings: Any) -> TestClient:
    app: FastAPI = build_app(door, AccessGuard(door, AccessSettings(**settings)))
    return TestClient(app, base_url=HOST, client=(peer, 50_000), raise_server_exceptions=False, follow_redirects=False)


def logged_in(door: ServiceRoot) -> TestClient:
    client = browser(door)
    assert client.post("/login", data={"t": login_secret(door)}).status_code == 303
    return client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_nobody_is_let_in_without_saying_who(door: ServiceRoot) -> None:
    found = browser(door).get("/api/jobs")
    assert (found.status_code, found.headers["www-authenticate"]) == (401, "Bearer")


def test_a_token_lets_in_and_its_name_is_the_actor(door: ServiceRoot) -> None:
    _, token = create_token(door, "ci", Role.OPERATOR)
    client = browser(door)
    assert client.get("/api/jobs", headers=bearer(token)).status_code == 200
    job = client.post("/api/jobs/heartbeat/pause", headers=bearer(token)).json()["job"]
    assert job["paused"]["by"] == "token:ci"


def test_a_viewer_cannot_run_a_job(door: ServiceRoot) -> None:
    _, token = create_token(door, "eye", Role.VIEWER)
    assert browser(door).post("/api/jobs/heartbeat/run", headers=bearer(token)).status_code == 403


def test_a_token_of_some_jobs_reaches_no_others(door: ServiceRoot) -> None:
    _, token = create_token(door, "some", Role.ADMIN, jobs=["tri*"])
    client = browser(door)
    assert [job["id"] for job in client.get("/api/jobs", headers=bearer(token)).json()["jobs"]] == ["triage"]
    assert client.get("/api/jobs/heartbeat", headers=bearer(token)).status_code == 404


@pytest.mark.parametrize("change", ["revoked", "expired", "other secret", "no secret", "other id"])
def test_a_token_that_is_not_good_lets_nobody_in(door: ServiceRoot, lived_in: Root, change: str) -> None:
    made, token = create_token(door, "old", Role.ADMIN, lasts=timedelta(days=1))
    client = browser(door)
    assert client.get("/api/jobs", headers=bearer(token)).status_code == 200
    match change:
        case "revoked":
            revoke_token(door, "old")
        case "expired":
            lived_in.clock.advance(timedelta(days=1))
        case "other secret":
            token = token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")
        case "no secret":
            token = token[:15]
        case _:
            token = token.replace(made.id, "aaaaaaaaaa")
    assert client.get("/api/jobs", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "evil.example:8484"]
)
def test_a_name_that_was_bound_to_this_address_is_refused(door: ServiceRoot, host: str) -> None:
    _, token = create_token(door, "ci", Role.ADMIN)
    assert browser(door).get("/api/jobs", headers={**bearer(token), "Host": host}).status_code == 421


def test_a_name_that_was_allowed_is_fine(door: ServiceRoot) -> None:
    _, token = create_token(door, "ci", Role.ADMIN)
    client = browser(door, allow_hosts=("jobs.example",))
    assert client.get("/api/jobs", headers={**bearer(token), "Host": "jobs.example:443"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
    ],
    ids=["another site", "a sibling", "an origin in an old browser", "another port", "a sandboxed frame"],
)
def test_another_site_cannot_act_with_the_cookie_of_this_one(door: ServiceRoot, headers: dict[str, str]) -> None:
    client = logged_in(door)
    assert client.post("/api/jobs/heartbeat/pause", headers=headers).status_code == 403
    assert client.get("/api/jobs/heartbeat").json()["job"]["paused"] is None
    assert client.post("/api/jobs/heartbeat/pause", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_token_beside_a_cookie_does_not_lift_the_rule_of_sites(door: ServiceRoot) -> None:
    client = logged_in(door)
    _, token = create_token(door, "ci", Role.ADMIN)
    headers = {**bearer(token), "Sec-Fetch-Site": "cross-site"}
    assert client.post("/api/jobs/heartbeat/pause", headers=headers).status_code == 403


def test_a_link_logs_in_once_and_looking_at_it_uses_nothing_up(door: ServiceRoot) -> None:
    client, secret = browser(door), login_secret(door)
    for _ in range(3):  # a preview in a chat opens it, too
        page = client.get("/login", params={"t": secret})
        assert page.status_code == 200
        assert 'method="post"' in page.text
    first = client.post("/login", data={"t": secret})
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/api/jobs").status_code == 200
    assert browser(door).post("/login", data={"t": secret}).status_code == 401


def test_a_link_is_good_for_ten_minutes(door: ServiceRoot, lived_in: Root) -> None:
    secret = login_secret(door)
    lived_in.clock.advance(timedelta(minutes=10))
    assert browser(door).post("/login", data={"t": secret}).status_code == 401


def test_a_login_ends_when_it_is_ended_or_unused_or_old(door: ServiceRoot, lived_in: Root) -> None:
    client = logged_in(door)
    lived_in.clock.advance(timedelta(days=6))
    assert client.get("/api/jobs").status_code == 200  # it is in use
    lived_in.clock.advance(timedelta(days=7))
    assert client.get("/api/jobs").status_code == 401
    client = logged_in(door)
    kept = dict(client.cookies)
    assert client.post("/logout").status_code == 303
    client.cookies.update(kept)
    assert client.get("/api/jobs").status_code == 401


def test_another_site_cannot_log_somebody_in(door: ServiceRoot) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert browser(door).post("/login", data={"t": login_secret(door)}, headers=headers).status_code == 403


def proxied(door: ServiceRoot, peer: str = "10.0.0.2", **settings: Any) -> TestClient:
    return browser(door, peer=peer, trust_proxy=("10.0.0.0/24",), user_header="Remote-User", **settings)


def test_a_trusted_proxy_names_the_user(door: ServiceRoot) -> None:
    headers = {"Remote-User": "bea", "Sec-Fetch-Site": "same-origin"}
    job = proxied(door).post("/api/jobs/heartbeat/pause", headers=headers).json()["job"]
    assert job["paused"]["by"] == "user:bea"


@pytest.mark.parametrize(
    "client",
    [
        lambda door: proxied(door, peer="10.0.1.2"),
        lambda door: browser(door, peer="10.0.0.2", trust_proxy=("10.0.0.0/24",)),
        lambda door: browser(door, peer="10.0.0.2", user_header="Remote-User"),
        lambda door: proxied(door, proxy_secret="s3cret"),
    ],
    ids=["past the proxy", "no header is set", "no proxy is set", "without its secret"],
)
def test_a_forged_header_names_nobody(door: ServiceRoot, client: Callable[[ServiceRoot], TestClient]) -> None:
    headers = {"Remote-User": "root", "X-Forwarded-For": "10.0.0.2", "Forwarded": "for=10.0.0.2"}
    assert client(door).get("/api/jobs", headers=headers).status_code == 401


def test_a_user_header_that_comes_twice_names_nobody(door: ServiceRoot) -> None:
    headers = [("Remote-User", "bea"), ("Remote-User", "root")]
    assert proxied(door).get("/api/jobs", headers=headers).status_code == 401


def test_another_site_cannot_act_through_the_login_of_a_proxy(door: ServiceRoot) -> None:
    headers = {"Remote-User": "bea", "Sec-Fetch-Site": "cross-site"}
    assert proxied(door).post("/api/jobs/heartbeat/pause", headers=headers).status_code == 403


@pytest.mark.parametrize("name", ["token", "access_token", "API_KEY"])
def test_a_token_in_a_url_is_refused_even_if_it_is_good(door: ServiceRoot, name: str) -> None:
    _, token = create_token(door, "ci", Role.ADMIN)
    found = browser(door).get("/api/jobs", params={name: token}, headers=bearer(token))
    assert found.status_code == 400
    assert token not in found.text


def test_guessing_is_slowed_and_a_right_token_never_waits(door: ServiceRoot) -> None:
    _, token = create_token(door, "ci", Role.ADMIN)
    client = browser(door)
    found = [client.get("/api/jobs", headers=bearer(f"sch_{'a' * 10}_{'b' * 43}")) for _ in range(7)]
    assert [each.status_code for each in found] == [401] * 5 + [429] * 2
    assert int(found[-1].headers["retry-after"]) >= 1
    assert client.get("/api/jobs", headers=bearer(token)).status_code == 200


def test_cookies_of_two_roots_on_one_host_are_different(door: ServiceRoot, lived_in: Root) -> None:
    other = replace(door, place=replace(door.place, root=door.place.root.parent))
    assert AccessGuard(door, AccessSettings()).cookie != AccessGuard(other, AccessSettings()).cookie
    assert AccessGuard(door, AccessSettings(tls=True)).cookie.startswith("__Host-")


def test_no_secret_is_in_the_database_or_in_an_answer(door: ServiceRoot, lived_in: Root) -> None:
    _, token = create_token(door, "ci", Role.ADMIN)
    link = login_secret(door)
    client = browser(door)
    client.post("/login", data={"t": link})
    session = next(iter(client.cookies.values()))
    stored = b"".join(
        path.read_bytes() for path in door.place.db.parent.glob(f"{door.place.db.name}*") if path.is_file()
    )
    for secret in (token.split("_", 2)[2], link, session):  # a secret may contain _
        assert secret.encode() not in stored
        assert secret not in client.get("/api/jobs/heartbeat/audit").text


def test_every_answer_tells_a_browser_what_it_may_load(door: ServiceRoot) -> None:
    for path in ("/login?t=x", "/api/jobs", "/nothing"):
        headers = browser(door).get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not re.search("unsafe|https?:", policy)
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_a_page_that_logs_in_escapes_what_the_link_says(door: ServiceRoot) -> None:
    page = browser(door).get("/login", params={"t": '"><script>alert(1)</script>'})
    assert "<script" not in page.text


def test_a_login_and_its_tokens_stand_in_the_audit(door: ServiceRoot, lived_in: Root) -> None:
    create_token(door, "ci", Role.VIEWER)
    revoke_token(door, "ci")
    logged_in(door)
    rows = lived_in.json("audit", "--json")["audit"]
    assert [row["action"] for row in rows if row["field"] == "access"] == ["token_create", "token_revoke", "login"]


def test_the_password_that_a_proxy_has_checked_is_not_taken_for_a_token(door: ServiceRoot) -> None:
    basic = {"Authorization": "Basic YmVhOnNlY3JldA==", "Remote-User": "bea"}
    assert proxied(door).get("/api/jobs", headers=basic).status_code == 200
    assert browser(door).get("/api/jobs", headers=basic).status_code == 401


def test_two_tokens_at_once_let_nobody_in(door: ServiceRoot) -> None:
    _, token = create_token(door, "ci", Role.ADMIN)
    headers = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert browser(door).get("/api/jobs", headers=headers).status_code == 401


def test_guessing_from_many_addresses_is_slowed_as_well(door: ServiceRoot) -> None:
    guard = AccessGuard(door, AccessSettings())
    for n in range(100):
        guard.failed(f"10.0.{n}.1")
    with pytest.raises(AccessError, match="too many") as slowed:
        guard.failed("10.0.100.1")
    assert (slowed.value.status, slowed.value.retry_after_s) == (429, 1)


def test_a_guessed_link_and_a_forged_cookie_never_wait_for_the_database(door: ServiceRoot) -> None:
    client = browser(door)
    client.cookies.set(AccessGuard(door, AccessSettings()).cookie, "forged")
    writer = sqlite3.connect(door.place.db, isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")  # as a fire does
        assert client.post("/login", data={"t": "guessed"}).status_code == 401
        assert client.post("/logout").status_code == 303
    finally:
        writer.close()


def test_two_links_are_two_logins_and_ending_one_ends_no_other(door: ServiceRoot) -> None:
    one, other = logged_in(door), logged_in(door)
    one.post("/logout")
    assert [client.get("/api/jobs").status_code for client in (one, other)] == [401, 200]


def test_a_session_of_another_root_lets_nobody_in_under_any_cookie(door: ServiceRoot) -> None:
    secret = next(iter(logged_in(door).cookies.values()))
    other = replace(door, place=replace(door.place, db=door.place.db.with_name("other.db")))
    client = browser(other)
    client.cookies.set(AccessGuard(other, AccessSettings()).cookie, secret)
    assert client.get("/api/jobs").status_code == 401


def test_no_route_makes_tokens_or_links_whatever_the_role(door: ServiceRoot) -> None:
    paths = browser(door).get("/openapi.json").json()["paths"]
    assert "/api/jobs" in paths
    assert not [path for path in paths if "token" in path or "login" in path or "access" in path]


def test_use_of_a_token_is_written_once_a_minute(door: ServiceRoot, lived_in: Root) -> None:
    _, token = create_token(door, "ci", Role.VIEWER)
    client, seen = browser(door), []
    for _ in range(3):
        client.get("/api/jobs", headers=bearer(token))
        seen.append(list_tokens(door)[0].last_used_at)
        lived_in.clock.advance(timedelta(seconds=40))
    assert (seen[0], seen[2]) == (seen[1], seen[1] and seen[1] + timedelta(seconds=80))


def test_over_https_the_cookie_is_sent_over_https_alone(door: ServiceRoot) -> None:
    client = browser(door, tls=True, allow_hosts=("jobs.example",))
    headers = {"Host": "jobs.example", "Origin": "https://jobs.example"}
    cookie = client.post("/login", data={"t": login_secret(door)}, headers=headers).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "Secure" in cookie


def test_a_token_lets_in_while_another_process_locks_the_database(door: ServiceRoot) -> None:
    _, token = create_token(door, "ci", Role.VIEWER)
    client = browser(door)
    with closing(sqlite3.connect(door.place.db, isolation_level=None)) as sql:
        sql.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert client.get("/api/jobs", headers=bearer(token)).status_code == 200
        assert time.monotonic() - began < 5, "when it was used cannot be noted"
        assert client.get("/livez").status_code == 200
