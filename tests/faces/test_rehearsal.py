"""What `channels test --dry-run` shows: the message of each kind of channel, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.messages.samples import SAMPLES
from tests.delivery.sinks import http_sink
from tests.faces.conftest import ROOT_FILE, Root

CANARY = "canary-91c0/ffee@7"
CHANNELS = """\
channels:
  people: {url: "json://user:${env:KEY}@URL/people/${file:FILE}"}
  whole: {url: "${env:WHOLE}"}
  ci: {webhook: "http://URL/hook/${env:KEY}", secret: "${env:KEY}"}
  log: {command: [cat], env_from: [KEY]}
  alive: {ping: "http://URL/${env:KEY}"}
"""


@pytest.fixture
def asked(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    """Channels of every kind, whose references resolve. Never synced, and no daemon."""
    (tmp_path / "secret").write_text(f"{CANARY}\n")
    monkeypatch.setenv("KEY", CANARY)
    with http_sink() as sink:
        text = CHANNELS.replace("URL", sink.url.removeprefix("http://")).replace("FILE", str(tmp_path / "secret"))
        monkeypatch.setenv("WHOLE", f"json://{sink.url.removeprefix('http://')}/{CANARY}")
        root.write("scheduler.yaml", ROOT_FILE + text)
        yield root
        assert sink.received == [], "nothing is sent"


def shown(root: Root, *args: str, code: int = 0) -> Any:
    """The JSON of a dry run, after a look for secrets in both of its forms."""
    both = [root.cli("channels", "test", *args, "--dry-run", *form) for form in ([], ["--json"])]
    for each in both:
        assert each.code == code, each
        assert "canary" not in each.stdout + each.stderr
        assert "ffee" not in each.stdout + each.stderr
    assert "nothing was sent" in both[0].stderr
    return both[1].json


def test_a_message_to_a_service_is_shown_as_it_would_be_sent(asked: Root) -> None:
    found = shown(asked, "people", "--kind", "failure")
    assert (found["ready"], found["error"], found["kind"], found["sample"]) == (True, None, "url", "failure")
    assert found["service"] == "json://… (JSON)"
    assert [each["error"] for each in found["references"]] == [None, None]
    assert [each["reference"][:6] for each in found["references"]] == ["${env:", "${file"]
    message = found["message"]
    assert message["title"] == "[root] TEST: example failed"
    assert message["size"] == len(message["body"]) <= message["most"]
    assert "connection refused" in message["body"]
    text = asked.ok("channels", "test", "people", "--dry-run", "--kind", "failure").stdout
    assert text.endswith(f"\n\n{message['body']}\n")
    assert f"size       {message['size']} of at most " in text


def test_each_kind_has_its_message(asked: Root) -> None:
    titles = {kind: json.loads(asked.ok(*dry("log"), "--kind", kind.value, "--json").stdout) for kind in SAMPLES}
    assert all(each["payload"]["kind"] == "test" for each in titles.values())
    assert shown(asked, "whole", "--kind", "guard")["message"]["title"].endswith(
        "TEST: the prune guard holds jobs back"
    )
    plain = shown(asked, "whole")["message"]
    assert plain["title"].endswith("] test message")
    assert "if you can read this, channel whole works" in plain["body"]


def dry(name: str) -> list[str]:
    return ["channels", "test", name, "--dry-run"]


def test_a_program_is_shown_its_json_and_a_ping_nothing(asked: Root) -> None:
    for name, service in (("ci", "http://… (webhook)"), ("log", "cat")):
        found = shown(asked, name, "--kind", "success")
        assert (found["ready"], found["service"], found["message"]) == (True, service, None)
        assert (found["payload"]["kind"], found["payload"]["run"]["status"]) == ("test", "succeeded")
    text = asked.ok(*dry("log"), "--kind", "success").stdout
    assert json.loads(text[text.index("{") :])["facts"] == {"sample": "success"}
    found = shown(asked, "alive")
    assert (found["service"], found["message"], found["payload"]) == ("http://… (ping)", None, None)
    refused = asked.cli(*dry("alive"), "--kind", "failure")
    assert (refused.code, "channel alive is a ping" in refused.stderr) == (2, True)


def test_what_does_not_resolve_is_named_and_the_rest_is_shown(asked: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEY")
    found = shown(asked, "people", code=1)
    assert (found["ready"], found["error"]) == (False, None)
    assert [each["error"] and each["error"][:23] for each in found["references"]] == ["the variable is not set", None]
    assert found["message"] is not None, "the service is known by its scheme"
    monkeypatch.delenv("WHOLE")
    assert shown(asked, "whole", code=1)["message"] is None


@pytest.mark.parametrize(
    ("name", "variable", "value", "error"),
    [
        ("whole", "WHOLE", "nosuch://canary", "Apprise knows no service for nosuch:// with such a URL"),
        ("whole", "WHOLE", "https://example.com/canary", "Apprise knows no service for https:// with such a URL"),
        ("ci", "KEY", "whsec_canary!", "the secret of the webhook starts with whsec_, but no base64 follows"),
    ],
)
def test_what_could_not_be_sent_is_an_error(
    asked: Root, monkeypatch: pytest.MonkeyPatch, name: str, variable: str, value: str, error: str
) -> None:
    monkeypatch.setenv(variable, value)
    found = shown(asked, name, code=1)
    assert (found["ready"], found["error"], found["message"]) == (False, error, None)


def test_a_dry_run_reads_the_file_as_it_is_now(asked: Root) -> None:
    asked.sync()
    asked.edit("scheduler.yaml", "  log:", "  later: {command: [cat]}\n  log:")
    assert shown(asked, "later")["ready"]
    unknown = asked.cli(*dry("lather"))
    assert (unknown.code, "did you mean 'later'" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("option", ["--dry-run", "--kind failure"])
def test_a_list_takes_nothing_of_a_test(asked: Root, option: str) -> None:
    found = asked.cli("channels", "list", *option.split())
    assert (found.code, f"`scheduler channels test NAME {option}`" in found.stderr) == (2, True)
