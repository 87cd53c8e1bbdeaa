"""Webhooks and pings against a real server."""

from __future__ import annotations

import time

import pytest
from standardwebhooks.webhooks import Webhook

from scheduler.delivery.requests import Ended, Outcome, PingRequest, WebhookRequest
from scheduler.delivery.webhook import get_ping, post_webhook, retry_after, url_of_ping
from tests.delivery.sinks import http_date, http_sink, nobody

SECRET, OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"kind": "failure", "job": "ä"}'


def post(url: str, *secrets: str) -> Outcome:
    return post_webhook(WebhookRequest(url=url, secrets=secrets, body=BODY, id="k3f9", timestamp=int(time.time())))


def test_a_webhook_is_verified_by_the_library_of_the_specification_with_each_secret() -> None:
    with http_sink(204) as sink:
        assert post(f"{sink.url}/hook?x=1", SECRET, OLD) == Outcome(ended=Ended.DELIVERED, status=204)
    (got,) = sink.received
    assert (got.method, got.target, got.headers["content-type"]) == ("POST", "/hook?x=1", "application/json")
    assert got.headers["webhook-id"] == "k3f9"
    for secret in (SECRET, OLD):
        assert Webhook(secret).verify(got.body, got.headers)["kind"] == "failure"


def test_a_secret_without_whsec_is_used_as_its_bytes() -> None:
    with http_sink() as sink:
        post(sink.url, "not base64!")
    assert Webhook(b"not base64!").verify(sink.received[0].body, sink.received[0].headers)


def test_a_secret_that_is_no_base64_after_whsec_is_permanent_and_not_repeated() -> None:
    outcome = post("http://127.0.0.1:1/", "whsec_!!!!")
    assert outcome.ended is Ended.PERMANENT
    assert "base64" in (outcome.error or "")
    assert "!!!!" not in (outcome.error or "")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_what_a_person_must_change_is_permanent(status: int) -> None:
    with http_sink(status, body=b"unknown\x1b hook\nmore") as sink:
        outcome = post(sink.url)
    assert (outcome.ended, outcome.status) == (Ended.PERMANENT, status)
    assert f"HTTP {status}" in (outcome.error or "")
    assert (outcome.error or "").endswith(": unknown hook")


@pytest.mark.parametrize("status", [302, 307, 408, 500, 503])
def test_others_are_worth_another_try_and_no_redirect_is_followed(status: int) -> None:
    with http_sink() as elsewhere, http_sink(status, headers={"Location": elsewhere.url}) as sink:
        outcome = post(sink.url)
    assert (outcome.ended, outcome.status) == (Ended.TRANSIENT, status)
    assert (len(sink.received), elsewhere.received) == (1, [])


def test_retry_after_is_obeyed_and_429_without_it_waits_a_minute() -> None:
    with http_sink(429, headers={"Retry-After": "17"}) as sink:
        assert post(sink.url).retry_after_s == 17
        sink.headers = {}
        assert post(sink.url).retry_after_s == 60
        sink.headers, sink.mode = {"Date": http_date(1e9), "Retry-After": http_date(1e9 + 90)}, 503
        assert post(sink.url).retry_after_s == 90
        sink.headers = {}
        assert post(sink.url).retry_after_s is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("999999999", 86_400), ("-1", None), ("soon", None), ("", None), ("²", None), (None, None)],
)
def test_retry_after_is_never_negative_nor_beyond_a_day(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds
    assert retry_after(http_date(1e9), http_date(1e9 + 5)) == 0
    assert retry_after(http_date(4e9), "nonsense") == 86_400


def test_a_connection_that_fails_is_worth_another_try() -> None:
    assert post(f"http://127.0.0.1:{nobody()}/").error == "connection refused"
    with http_sink("close") as sink:
        assert post(sink.url).ended is Ended.TRANSIENT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1:x/", "http://a b/", ""])
def test_what_is_no_http_url_is_permanent(url: str) -> None:
    assert post(url).ended is Ended.PERMANENT


def test_a_user_in_the_url_becomes_basic_credentials() -> None:
    with http_sink() as sink:
        assert get_ping(PingRequest(url=sink.url.replace("//", "//me:p%40ss@"))).ended is Ended.DELIVERED
    assert sink.received[0].headers["authorization"] == "Basic bWU6cEBzcw=="


def test_pings_go_where_healthchecks_expects_them() -> None:
    base = "https://hc.example.com/ping/uuid"
    assert url_of_ping(base, "start", rid="r-1") == f"{base}/start?rid=r-1"
    assert url_of_ping(base, "success", rid="r-1") == f"{base}?rid=r-1"
    assert url_of_ping(base, "fail", rid="r-1", exit_code=3) == f"{base}/3?rid=r-1"
    assert url_of_ping(base, "fail", exit_code=-9) == f"{base}/fail"
    assert url_of_ping(f"{base}/?create=1", "fail", rid="r-1", exit_code=0) == f"{base}/fail?create=1&rid=r-1"
    assert url_of_ping(base, "success") == base


def test_a_ping_is_a_get_without_a_body() -> None:
    with http_sink() as sink:
        assert get_ping(PingRequest(url=url_of_ping(f"{sink.url}/uuid", "start", rid="r"))).ended is Ended.DELIVERED
    assert (sink.received[0].method, sink.received[0].target, sink.received[0].body) == (
        "GET",
        "/uuid/start?rid=r",
        b"",
    )
