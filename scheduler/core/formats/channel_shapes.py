"""The keys of scheduler.yaml that say where messages go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from scheduler.core.formats import channel_rules, rules
from scheduler.core.formats.base import Duration, EnvName, Shape, matching, optional_key

ChannelName = Annotated[str, AfterValidator(channel_rules.channel_name), matching(rules.RUNNER_PATTERN)]
ChannelNames = Annotated[list[ChannelName], AfterValidator(channel_rules.no_duplicates)]
ServiceUrl = Annotated[str, AfterValidator(channel_rules.service_url), matching(channel_rules.SERVICE_PATTERN)]
CalledUrl = Annotated[str, AfterValidator(channel_rules.called_url), matching(channel_rules.CALLED_PATTERN)]
PingUrl = Annotated[str, AfterValidator(channel_rules.ping_url), matching(channel_rules.PING_PATTERN)]
HttpUrl = Annotated[str, AfterValidator(channel_rules.base_url), matching(channel_rules.HTTP_PATTERN)]
Secret = Annotated[str, AfterValidator(channel_rules.secret), matching(channel_rules.REFERENCE_PATTERN)]
Secrets = Annotated[list[Secret], Field(min_length=1, max_length=2)]


class ChannelShape(Shape):
    """One place that messages are sent to: exactly one of url, webhook, command and ping."""

    url: ServiceUrl | None = optional_key(
        "A service, as a URL of Apprise. Write secrets in it as ${env:NAME} or ${file:/path}.",
        '"mailtos://${env:SMTP_USER}:${file:/run/secrets/smtp}@smtp.example.com?to=ops@example.com"',
    )
    webhook: CalledUrl | None = optional_key(
        "An http or https URL that receives each event as JSON, signed as Standard Webhooks describes.",
        "https://ci.example.com/hooks/scheduler",
    )
    secret: Annotated[
        Secrets | None, BeforeValidator(channel_rules.one_or_two, json_schema_input_type=Secret | Secrets)
    ] = optional_key(
        "A reference to the secret that signs a webhook, or two while it is changed. Required with webhook.",
        '"${env:CI_HOOK_SECRET}"',
    )
    command: Annotated[
        list[str] | None,
        BeforeValidator(rules.shell_line, json_schema_input_type=Annotated[list[str], Field(min_length=1)]),
        AfterValidator(channel_rules.command),
    ] = optional_key(
        "A program and its arguments, never a shell line. It receives each event as JSON on standard input. The "
        "program is an absolute path, a name found on PATH, or a path in the root that starts with ./.",
        "[./bin/page.sh]",
    )
    env_from: list[EnvName] | None = optional_key(
        "Names of variables to pass on to the command from the scheduler's own environment.", ["PAGER_TOKEN"]
    )
    ping: CalledUrl | None = optional_key(
        "An http or https URL that is called for each event, with /fail or the exit code appended for a failure.",
        "https://hc-ping.com/${env:HC_UUID}",
    )
    detail: Literal["short", "normal", "full"] | None = optional_key(
        "How much a message of a url contains. short: the title and the facts; normal: also the last lines of stderr "
        "and the answer, as far as the service can show it; full: also the whole answer, where the service takes "
        "files. Default: normal.",
        "full",
    )


class HeartbeatShape(Shape):
    """A URL that is called as long as the daemon works, so that somebody else notices when it does not."""

    url: CalledUrl = Field(description="An http or https URL.", examples=['"${env:HC_DAEMON}"'])
    every: Annotated[Duration, AfterValidator(channel_rules.beat)] | None = optional_key(
        "How often it is called: 10s to 1d. Default: 1m.", "1m"
    )


class AlertsShape(Shape):
    """Who is told about the root and the daemon: invalid files, a held sync, a full disk, a dead channel."""

    inner = {"heartbeat": HeartbeatShape}

    deliver: ChannelNames = Field(default=[], description="The channels that are told.", examples=[["mail"]])
    heartbeat: Annotated[HeartbeatShape | None, BeforeValidator(rules.given, json_schema_input_type=HeartbeatShape)] = (
        optional_key("A URL to be called as long as the daemon works.", {"url": "${env:HC_DAEMON}", "every": "1m"})
    )
