"""What scheduler.yaml says of channels: values, and problems that name the place and the fix, and never a secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import apprise
import pytest

from scheduler.core.formats.base import Shape
from scheduler.core.formats.channel_shapes import AlertsShape, ChannelNames, ChannelShape, PingUrl
from scheduler.core.formats.channels import alerts_of, channels_of, unknown_channels
from scheduler.core.formats.faults import KeyFault, check
from scheduler.core.formats.private_parts import private_parts
from scheduler.core.values.channels import Alerts, Channel, ChannelKind, Detail, Heartbeat
from scheduler.core.values.references import Reference
from tests.core.formats.private_templates import private_by_template

SECRET = "hunter2"


class OneShape(Shape):
    inner = {"channels": type("ChannelsShape", (Shape,), {"inner": {"*": ChannelShape}}), "alerts": AlertsShape}  # noqa: RUF012

    channels: dict[str, ChannelShape] = {}  # noqa: RUF012
    alerts: AlertsShape = AlertsShape()
    ping: PingUrl | None = None
    deliver: ChannelNames = []  # noqa: RUF012


def one(**keys: Any) -> Channel:
    """The channel with these keys."""
    channels, faults = channels_of({"c": keys})
    assert check(OneShape, {"channels": {"c": keys}})[1] == ()
    assert faults == []
    return channels["c"]


def faults_of(**keys: Any) -> list[KeyFault]:
    faults = [*check(OneShape, {"channels": {"c": keys}})[1], *channels_of({"c": keys})[1]]
    assert all(SECRET not in fault.message + fault.hint for fault in faults)
    return faults


def fault_of(**keys: Any) -> KeyFault:
    (fault,) = faults_of(**keys)
    return fault


HOOK = {"webhook": "https://ci.example.com/hook", "secret": "${env:S}"}


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"url": "${env:OWNER_URL}", "detail": "full"}, ChannelKind.URL),
        ({"url": "mailtos://${env:U}:${file:/run/secrets/smtp}@smtp.example.com?to=ops@example.com"}, ChannelKind.URL),
        ({"url": "ntfys://ntfy.example.com/topic"}, ChannelKind.URL),
        ({"url": "mailto://user@localhost:2525?from=a@example.com"}, ChannelKind.URL),
        ({"url": "slack://${env:SLACK}/#general"}, ChannelKind.URL),
        (HOOK, ChannelKind.WEBHOOK),
        ({"command": ["./bin/page.sh", "--loud"], "env_from": ["PAGER_TOKEN"]}, ChannelKind.COMMAND),
        ({"ping": "https://hc-ping.com/${env:UUID}"}, ChannelKind.PING),
    ],
)
def test_a_channel_of_each_kind_is_read(keys: dict[str, Any], kind: ChannelKind) -> None:
    assert one(**keys).kind is kind


def test_a_webhook_may_have_two_secrets_while_they_change() -> None:
    found = one(**{**HOOK, "secret": ["${env:NEW}", "${file:/run/old}"]})
    assert found.secrets == ("${env:NEW}", "${file:/run/old}")
    assert found.references == (Reference("env", "NEW"), Reference("file", "/run/old"))
    assert one(url="${env:A}", detail="short").detail is Detail.SHORT
    assert fault_of(**{**HOOK, "secret": []}).code == "value.empty"
    assert fault_of(**{**HOOK, "secret": ["${env:A}", "${env:B}", "${env:C}"]}).code == "value.invalid"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "found none"),
        ({"url": "${env:A}", "ping": "${env:B}"}, "found url and ping"),
        ({**HOOK, "detail": "full"}, "detail has no effect beside webhook; it belongs to a channel with url"),
        ({"url": "${env:A}", "secret": "${env:B}"}, "secret has no effect"),
        ({"ping": "${env:A}", "env_from": ["B"]}, "env_from has no effect"),
    ],
)
def test_what_contradicts_itself_is_told_at_the_key(keys: dict[str, Any], said: str) -> None:
    fault = fault_of(**keys)
    assert fault.code == "channel.kind"
    assert said in fault.message
    assert channels_of({"c": keys})[0] == {}


def test_a_webhook_without_a_secret_is_refused() -> None:
    fault = fault_of(webhook="https://ci.example.com/hook")
    assert (fault.code, fault.path) == ("channel.secret", ("channels", "c"))


@pytest.mark.parametrize(
    "keys",
    [
        {"url": f"slack://{SECRET}AAAA/BBBBBBBBB/CCCCCCCC"},
        {"url": f"tgram://123456:{SECRET}/${{env:CHAT}}"},
        {"url": f"mailtos://user:{SECRET}@smtp.example.com"},
        {"url": f"jsons://user:{SECRET}@example.com/path"},
        {"url": f"discord://4174216298/{SECRET}"},
        {"url": f"ntfys://tk_{SECRET}{SECRET}{SECRET}@ntfy.example.com/topic"},
        {"url": f"gotify://example.com/{SECRET}"},
        {"url": f"pover://{SECRET}@token"},
        {"url": f"https://hooks.slack.com/services/T1/B1/{SECRET}"},
        {"url": f"https://discord.com/api/webhooks/1/{SECRET}"},
        {"url": f"json://localhost/?+X-Token={SECRET}"},
        {"url": f"mailto://localhost?password={SECRET}"},
        {"webhook": f"https://example.com/?token={SECRET}", "secret": "${env:A}"},
        {"webhook": f"https://user:{SECRET}@example.com/", "secret": "${env:A}"},
        {**HOOK, "secret": SECRET},
        {**HOOK, "secret": f"whsec_{SECRET}"},
        {"ping": f"https://hc-ping.com/{SECRET}"},
    ],
)
def test_a_literal_secret_has_its_own_code_and_is_not_repeated(keys: dict[str, Any]) -> None:
    fault = fault_of(**keys)
    assert fault.code == "channel.literal-secret"
    assert "${env:NAME}" in fault.hint


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"url": "nothing"}, "channel.url"),
        ({"url": ""}, "channel.url"),
        ({"url": "ntfy://a/b\nc"}, "channel.url"),
        ({"url": "ntfy://[::1/topic"}, "channel.url"),
        ({"url": "slack://${SLACK}"}, "channel.reference"),
        ({"url": "slack://${env:}"}, "channel.reference"),
        ({"url": "slack://${env:A"}, "channel.reference"),
        ({"url": "${file:relative}"}, "channel.reference"),
        ({"url": f"slack://${{env:A:-{SECRET}}}"}, "channel.reference"),
        ({**HOOK, "webhook": "ftp://example.com"}, "channel.url"),
        ({**HOOK, "webhook": "https://"}, "channel.url"),
        ({**HOOK, "webhook": "https://example.com/a b"}, "channel.url"),
        ({**HOOK, "secret": "${A}"}, "channel.reference"),
        ({**HOOK, "secret": 5}, "value.type"),
        ({"url": 5}, "value.type"),
        ({"command": "page.sh --loud"}, "runner.command"),
        ({"command": []}, "runner.command"),
        ({"command": ["page", "${env:TOKEN}"]}, "channel.command"),
        ({"command": ["page", "{task}"]}, "channel.command"),
        ({"url": "${env:A}", "detail": "long"}, "value.choice"),
        ({"url": "${env:A}", "urls": "x"}, "key.unknown"),
    ],
)
def test_what_is_wrong_with_a_value_is_told(keys: dict[str, Any], code: str) -> None:
    codes = {fault.code for fault in faults_of(**keys)}
    assert code in codes


def test_the_hint_of_a_shell_variable_is_the_reference_that_was_meant() -> None:
    assert fault_of(url="slack://${SLACK}").hint == "write ${env:SLACK}"


def test_a_ping_of_a_job_cannot_send_a_variable_to_an_address_of_its_own() -> None:
    assert check(OneShape, {"ping": "${env:HC}"})[1] == ()
    assert check(OneShape, {"ping": "https://hc.example.com/heartbeat"})[1] == ()
    (fault,) = check(OneShape, {"ping": "https://evil.example.com/${env:AWS_SECRET}"})[1]
    assert fault.code == "channel.reference"
    assert fault.path == ("ping",)


def test_names_of_channels_are_checked_against_those_that_are_declared() -> None:
    assert unknown_channels(("deliver",), ["owner", "mail"], {"owner": {}, "mail": {}}) == []
    (fault,) = unknown_channels(("deliver",), ["owner", "mial"], {"owner": {}, "mail": {}})
    assert (fault.path, fault.code) == (("deliver", 1), "channel.unknown")
    assert "mail" in fault.hint
    (fault,) = unknown_channels(("alerts", "deliver"), ["ops"], None)
    assert fault.hint == "declare it under channels in scheduler.yaml"
    assert unknown_channels(("deliver",), "owner", {}) == []
    (fault,) = check(OneShape, {"deliver": ["a", "a"]})[1]
    assert "listed twice" in fault.message


def test_alerts_have_recipients_and_a_heartbeat() -> None:
    shape = AlertsShape.model_validate({"deliver": ["mail"], "heartbeat": {"url": "${env:HC}", "every": "2m"}})
    assert alerts_of(shape) == Alerts(
        deliver=("mail",), heartbeat=Heartbeat(url="${env:HC}", every=timedelta(minutes=2))
    )
    assert alerts_of(AlertsShape()) == Alerts()
    for every in ("5s", "2d"):
        (fault,) = check(OneShape, {"alerts": {"heartbeat": {"url": "${env:HC}", "every": every}}})[1]
        assert (fault.code, fault.path) == ("value.range", ("alerts", "heartbeat", "every"))
    (fault,) = check(OneShape, {"alerts": {"heartbeat": {"every": "1m"}}})[1]
    assert fault.code == "key.missing"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_the_private_parts_of_urls_are_those_that_apprise_names() -> None:
    for scheme, found in private_by_template(apprise.Apprise().details()).items():
        for number, (user, password) in enumerate([(False, False), (True, False), (True, True)]):
            assert private_parts(scheme, user=user, password=password) == found[number], scheme
    assert private_parts("nosuch", user=True, password=True) == ""
