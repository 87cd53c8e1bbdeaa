"""One message on its way: rendered for its channel, and handed to a helper process."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler.core.messages.digest import digest_of, recovered_of
from scheduler.core.messages.message import message_of
from scheduler.core.messages.payload import payload_of
from scheduler.core.messages.services import fit_of, short_fit
from scheduler.core.values.channels import Channel, ChannelKind, Detail
from scheduler.core.values.events import EventKind, Fit, Message, Subject
from scheduler.delivery.couriers import Courier, bare_environment
from scheduler.delivery.requests import (
    CommandRequest,
    Described,
    DescribeRequest,
    Outcome,
    PingRequest,
    Request,
    UrlRequest,
    WebhookRequest,
    permanent,
)
from scheduler.delivery.secrets import SHORT, SecretError, resolve
from scheduler.delivery.webhook import url_of_ping

if TYPE_CHECKING:
    from scheduler.core.answers import JobJson

LONG = 1_000  # bytes of a message; one that is refused and longer is sent again in short
_NAMESPACE = uuid.UUID("5d0c1c61-9a43-5a0b-9f6e-0b6f3f0f3c55")  # of the ids of runs that pings get


@dataclass(slots=True, kw_only=True)
class Carry:
    """One message: rendered for its channel, and sent. In a thread of its own; may take as long as a helper may."""

    channel: Channel
    subjects: tuple[Subject, ...]
    token: str
    again: bool
    at: datetime
    environ: Mapping[str, str]
    root: str
    job: JobJson | None = None  # for a program
    described: Described | None = None
    _hidden: tuple[str, ...] = field(default=(), init=False, repr=False)

    def out(self, courier: Courier) -> Outcome:
        try:
            resolved = resolve(self.channel, self.environ)
        except SecretError as error:
            return permanent(str(error))
        channel, self._hidden = resolved.channel, resolved.hidden
        match channel.kind:
            case ChannelKind.URL:
                return self._to_service(courier, channel)
            case ChannelKind.WEBHOOK:
                return courier.send(self._webhook(channel))
            case ChannelKind.COMMAND:
                return courier.send(self._command(channel))
            case ChannelKind.PING:
                return courier.send(PingRequest(url=self._ping(channel), hidden=self._hidden))

    def _to_service(self, courier: Courier, channel: Channel) -> Outcome:
        assert channel.url is not None
        if self.described is None:
            found = courier.send(DescribeRequest(url=channel.url, hidden=self._hidden))
            if found.described is None:
                return found
            self.described = found.described
        fit = fit_for(self.described)
        message = self._message(fit, channel.detail)
        outcome = courier.send(self._url_request(channel.url, message))
        if outcome.status in (400, 413) and len(message.body.encode()) > LONG:
            return courier.send(self._url_request(channel.url, self._message(short_fit(fit), Detail.SHORT)))
        return outcome

    def _url_request(self, url: str, message: Message) -> Request:
        attached = message.attachment
        return UrlRequest(
            url=url,
            title=message.title,
            body=message.body,
            markup=message.markup,
            file_name=None if attached is None else attached.name,
            file_text="" if attached is None else attached.text,
            token=self.token,
            hidden=self._hidden,
        )

    def _message(self, fit: Fit, detail: Detail) -> Message:
        return written(self.subjects, fit, detail, token=self.token, again=self.again)

    def _payload(self) -> str:
        return json.dumps(payload_of(self.subjects[0], self.token, job=self.job), ensure_ascii=False)

    def _webhook(self, channel: Channel) -> Request:
        assert channel.webhook is not None
        return WebhookRequest(
            url=channel.webhook,
            secrets=channel.secrets,
            body=self._payload(),
            id=self.token,
            timestamp=int(self.at.timestamp()),
            hidden=self._hidden,
        )

    def _command(self, channel: Channel) -> Request:
        env = bare_environment(self.environ, channel.env_from)
        given = (env[name] for name in channel.env_from if len(env.get(name, "")) >= SHORT)
        hidden = (*self._hidden, *given)
        return CommandRequest(
            argv=channel.command, env=tuple(env.items()), cwd=self.root, stdin=self._payload(), hidden=hidden
        )

    def _ping(self, channel: Channel) -> str:
        assert channel.ping is not None
        subject = self.subjects[0]
        event, run = subject.event, subject.run
        rid = None if event.run_n is None else str(uuid.uuid5(_NAMESPACE, f"{self.root}/{event.job_id}/{event.run_n}"))
        if event.kind is EventKind.STARTED:
            return url_of_ping(channel.ping, "start", rid=rid)
        if event.kind in (EventKind.SUCCESS, EventKind.RECOVERY, EventKind.ALL_CLEAR, EventKind.TEST):
            return url_of_ping(channel.ping, "success", rid=rid)
        code = run.exit_code if run is not None else event.facts.get("exit_code")
        return url_of_ping(channel.ping, "fail", rid=rid, exit_code=code)


def fit_for(service: Described) -> Fit:
    """What a service can show, by what Apprise says of it and what is known of it here."""
    return fit_of(
        service.scheme,
        service=service.service,
        most=service.body_maxlen,
        most_title=service.title_maxlen,
        markup=service.markup,
        attaches=service.attaches,
    )


def written(subjects: Sequence[Subject], fit: Fit, detail: Detail, *, token: str, again: bool = False) -> Message:
    """One message about one event or several. subjects: at least one, in the order of their events."""
    *before, last = subjects
    if not before:
        return message_of(last, fit, detail, token=token, again=again)
    failed = (EventKind.FAILURE, EventKind.STOPPED)
    same = all(each.event.kind in failed and each.event.job_id == last.event.job_id for each in before)
    if last.event.kind is EventKind.RECOVERY and same:
        return recovered_of(before, last, fit, detail, token=token, again=again)
    return digest_of(subjects, fit, detail, token=token, again=again)
