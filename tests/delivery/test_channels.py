"""Apprise, as this product uses it, against real servers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from apprise.result import AppriseResultStatus

from scheduler.core.values.events import Markup
from scheduler.delivery.channels import describe_service, outcome_of_result, send_message, service_of
from scheduler.delivery.requests import Ended, Outcome, UrlRequest
from tests.delivery.sinks import HttpSink, http_sink, nobody, smtp_sink

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Apprise's plugins import
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
DISCORD = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544/"


def aimed(url: str, sink: HttpSink) -> Any:
    """The service with the sink in place of its server."""
    if url == "ntfy":
        return service_of(f"ntfy://127.0.0.1:{sink.port}/topic")
    service = service_of(url)
    name = "webhook_url" if url.startswith("slack") else "notify_url"
    setattr(service, name, f"{sink.url}/bot" if url.startswith("tgram") else sink.url)
    return service


def message(url: str = "", **changed: Any) -> UrlRequest:
    said = {"title": "it failed", "body": "**exit** code 3", "markup": Markup.MARKDOWN, "token": "k3f9-1"}
    return UrlRequest(url=url, **{**said, **changed})


def answer_for(url: str) -> bytes:
    return json.dumps({"ok": True, "result": {}}).encode() if url.startswith("tgram") else b"ok"


@pytest.mark.parametrize("url", [SLACK, DISCORD, TELEGRAM, "ntfy"])
def test_a_message_arrives_once_without_a_picture(url: str) -> None:
    with http_sink(body=answer_for(url)) as sink:
        assert send_message(message(url), aimed(url, sink)) == Outcome(ended=Ended.DELIVERED)
    (got,) = sink.received
    assert b"exit" in got.body
    assert b"githubusercontent" not in got.body


@pytest.mark.parametrize("url", [SLACK, DISCORD, TELEGRAM, "ntfy"])
@pytest.mark.parametrize(
    ("status", "ended", "wait"),
    [
        (400, Ended.PERMANENT, None),
        (404, Ended.PERMANENT, None),
        (302, Ended.TRANSIENT, None),
        (429, Ended.TRANSIENT, 60),
        (500, Ended.TRANSIENT, None),
    ],
)
def test_the_status_is_read_from_what_each_service_logs(
    url: str, status: int, ended: Ended, wait: float | None
) -> None:
    with http_sink() as elsewhere, http_sink(status, headers={"Location": elsewhere.url}) as sink:
        outcome = send_message(message(url), aimed(url, sink))
    assert (outcome.ended, outcome.status, outcome.retry_after_s) == (ended, status, wait)
    assert f"error={status}" in (outcome.error or "")
    assert elsewhere.received == []


@pytest.mark.parametrize(("code", "status", "ended"), [(40301, 403, Ended.PERMANENT), (42908, 429, Ended.TRANSIENT)])
def test_the_codes_of_ntfy_begin_with_the_status(code: int, status: int, ended: Ended) -> None:
    with http_sink(status, body=json.dumps({"code": code, "error": "no\x1b[31m"}).encode()) as sink:
        outcome = send_message(message("ntfy"), aimed("ntfy", sink))
    assert (outcome.ended, outcome.status) == (ended, status)
    assert "\x1b" not in (outcome.error or "")


def test_a_service_with_several_targets_does_not_wait_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waits {seconds} s"))
    with http_sink() as sink:
        assert send_message(message(f"ntfy://127.0.0.1:{sink.port}/one/two/three")).ended is Ended.DELIVERED
    assert len(sink.received) == 3


def test_a_redirect_is_a_failure_whatever_the_url_asks_for() -> None:
    with http_sink() as elsewhere, http_sink(302, headers={"Location": elsewhere.url}) as sink:
        outcome = send_message(message(f"json://127.0.0.1:{sink.port}/?redirect=yes"))
    assert (outcome.ended, outcome.status, elsewhere.received) == (Ended.TRANSIENT, 302, [])


def test_a_body_beyond_the_limit_is_cut_as_a_net() -> None:
    with http_sink() as sink:
        assert send_message(message(SLACK, body="a" * 100_000), aimed(SLACK, sink)).ended is Ended.DELIVERED
    assert len(sink.received) == 1
    assert len(sink.received[0].body) < 40_000


@pytest.mark.parametrize(("url", "attached"), [(DISCORD, True), (SLACK, False), ("ntfy", False)])
def test_a_file_is_sent_where_it_arrives(url: str, attached: bool) -> None:
    with http_sink() as sink:
        request = message(url, file_name="result.md", file_text="the whole")
        assert send_message(request, aimed(url, sink)).ended is Ended.DELIVERED
    assert any(b"the whole" in each.body for each in sink.received) is attached
    assert all(parse_qs(each.target) == {} for each in sink.received)


def test_mail_is_text_with_a_reference_to_its_token_and_the_file() -> None:
    with smtp_sink() as sink:
        request = message(sink.url, body="<b>exit</b> **3**", file_name="result.md", file_text="the whole")
        assert send_message(request).ended is Ended.DELIVERED
    (mail,) = sink.received
    assert mail["Subject"] == "it failed"
    assert mail["References"] == "<k3f9-1@gitops-scheduler>"
    assert len(mail.get_all("Message-ID") or []) == 1
    text, file = (part for part in mail.walk() if not part.is_multipart())
    assert (text.get_content_type(), text.get_payload()) == ("text/plain", "<b>exit</b> **3**")
    assert (file.get_filename(), file.get_payload(decode=True)) == ("result.md", b"the whole")


@pytest.mark.parametrize(
    ("answer", "ended"), [("550 5.1.1 no such user", Ended.PERMANENT), ("451 4.3.0 later", Ended.TRANSIENT)]
)
def test_what_a_mail_server_answers_is_told(answer: str, ended: Ended) -> None:
    with smtp_sink() as sink:
        sink.answer = answer
        outcome = send_message(message(sink.url))
    assert (outcome.ended, outcome.error) == (ended, f"the mail server answered {answer}")


def test_a_login_that_a_mail_server_refuses_is_told_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with smtp_sink() as sink:
        outcome = send_message(message(sink.url.replace("//", "//me:canary@")))
    assert outcome == Outcome(
        ended=Ended.TRANSIENT, error="the mail server: SMTP AUTH extension not supported by server."
    )
    assert "canary" not in caplog.text


def test_a_service_that_cannot_be_reached_is_worth_another_try() -> None:
    for url in (f"json://127.0.0.1:{nobody()}", f"mailto://127.0.0.1:{nobody()}?from=a@example.com&to=b@example.com"):
        outcome = send_message(message(url))
        assert (outcome.ended, outcome.status) == (Ended.TRANSIENT, None)
        assert outcome.error
    with http_sink("close") as sink:
        assert send_message(message(f"json://127.0.0.1:{sink.port}")).ended is Ended.TRANSIENT


@pytest.mark.parametrize("url", ["nosuch://x", "https://example.com/hook", "slack://bad", "mailto://", "hello", ""])
def test_a_url_of_no_service_is_permanent(url: str) -> None:
    for outcome in (send_message(message(url)), describe_service(url)):
        assert outcome.ended is Ended.PERMANENT
        assert outcome.error


def test_a_description_shows_nothing_of_the_url_but_its_scheme() -> None:
    slack, mail = describe_service(SLACK).described, describe_service("mailto://u:pw@example.com").described
    assert slack is not None
    assert mail is not None
    assert slack.masked == "slack://… (Slack)"
    assert (slack.body_maxlen, slack.markup, slack.attaches, slack.pause_s) == (35_000, Markup.MARKDOWN, False, 1.2)
    assert (mail.service, mail.markup, mail.attaches) == ("E-Mail", Markup.TEXT, True)
    for url, has_titles in ((DISCORD, True), (TELEGRAM, False)):
        found = describe_service(url).described
        assert found is not None
        assert (found.markup, found.title_maxlen > 0) == (Markup.MARKDOWN, has_titles)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("https://hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnopqrstuvwx", "slack"),
        ("https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuvwxyz0123456789", "discord"),
    ],
)
def test_the_address_that_a_service_itself_gives_out_has_the_limits_of_the_service(url: str, scheme: str) -> None:
    found = describe_service(url).described
    assert found is not None
    assert (found.scheme, found.masked.split(":")[0]) == (scheme, scheme)


@pytest.mark.parametrize(
    ("status", "lines", "outcome"),
    [
        (AppriseResultStatus.NOMATCH, [], (Ended.PERMANENT, None)),
        (AppriseResultStatus.TIMEOUT, [], (Ended.TRANSIENT, None)),
        (AppriseResultStatus.FAILURE, ["no number"], (Ended.TRANSIENT, None)),
        (AppriseResultStatus.FAILURE, [], (Ended.TRANSIENT, None)),
        (AppriseResultStatus.PARTIAL, ["to a: error=404."], (Ended.PERMANENT, 404)),
        (AppriseResultStatus.FAILURE, ["to a: error=404.", "to b: error=503."], (Ended.TRANSIENT, 503)),
    ],
)
def test_every_status_means_something(
    status: AppriseResultStatus, lines: list[str], outcome: tuple[Ended, int | None]
) -> None:
    found = outcome_of_result(status, lines, "Slack")
    assert (found.ended, found.status) == outcome
    assert found.error
