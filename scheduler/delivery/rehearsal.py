"""What a channel would be sent: rendered as for sending, and sent to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.messages.payload import payload_of
from scheduler.core.values.channels import Channel
from scheduler.core.values.events import Fit, Message, Subject
from scheduler.core.values.references import Reference, filled
from scheduler.delivery.carrying import fit_for, written
from scheduler.delivery.couriers import Courier
from scheduler.delivery.requests import Described, DescribeRequest
from scheduler.delivery.secrets import SecretError, read_reference
from scheduler.delivery.webhook import signature

if TYPE_CHECKING:
    from scheduler.core.answers import EventJson

_STAND_IN = "example"  # for a value that is not known: many services can be told from the rest of their URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """No value of a reference is in it."""

    service: str | None  # masked; None if it cannot be told
    references: Mapping[Reference, str | None]  # why each does not resolve
    error: str | None = None  # why nothing could be sent, although all references resolve
    fit: Fit | None = None
    message: Message | None = None  # for people
    payload: EventJson | None = None  # for a program


def rehearse(
    channel: Channel, subject: Subject, *, environ: Mapping[str, str], courier: Courier, token: str
) -> Rehearsal:
    """environ: where `${env:...}` is looked up. Blocks for as long as a helper may take to describe a service."""
    values: dict[Reference, str] = {}
    faults: dict[Reference, str | None] = {}
    for reference in channel.references:
        try:
            values[reference], faults[reference] = read_reference(reference, environ), None
        except SecretError as why:
            faults[reference] = str(why).removeprefix(f"{reference}: ")
    hidden = tuple(values.values())
    is_whole = len(values) == len(faults)
    if channel.url is not None:
        url = filled(channel.url, lambda each: values.get(each, _STAND_IN))
        outcome = courier.send(DescribeRequest(url=url, hidden=hidden))
        if outcome.described is None:
            return Rehearsal(service=None, references=faults, error=outcome.error if is_whole else None)
        return _shown(channel, subject, outcome.described, faults, token)
    if channel.ping is not None:
        return Rehearsal(service=_masked(channel.ping, "ping"), references=faults)
    payload = payload_of(subject, token)
    if channel.webhook is None:
        return Rehearsal(service=channel.command[0], references=faults, payload=payload)
    unsigned = (
        _unsigned([filled(each, values.__getitem__, url=False) for each in channel.secrets]) if is_whole else None
    )
    return Rehearsal(service=_masked(channel.webhook, "webhook"), references=faults, error=unsigned, payload=payload)


def _shown(
    channel: Channel, subject: Subject, described: Described, faults: Mapping[Reference, str | None], token: str
) -> Rehearsal:
    fit = fit_for(described)
    message = written([subject], fit, channel.detail, token=token)
    return Rehearsal(service=described.masked, references=faults, fit=fit, message=message)


def _unsigned(secrets: list[str]) -> str | None:
    """Why these secrets can sign nothing, without them. None if they can."""
    try:
        signature(tuple(secrets), "", 0, b"")
    except ValueError as error:
        return str(error)
    return None


def _masked(url: str, what: str) -> str:
    """The scheme alone. A URL that starts with a reference does not even show that."""
    scheme = url.partition("://")[0]
    return f"{scheme if scheme in ('http', 'https') else '…'}://… ({what})"
