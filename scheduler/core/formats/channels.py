"""The channels and alerts of scheduler.yaml as values, and the rules that involve several keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scheduler.core.formats.channel_rules import is_channel_name
from scheduler.core.formats.channel_shapes import AlertsShape, ChannelShape
from scheduler.core.formats.faults import KeyFault, fitting
from scheduler.core.formats.yamlfile import Path
from scheduler.core.values.channels import EVERY, Alerts, Channel, ChannelKind, Detail, Heartbeat
from scheduler.core.values.problems import did_you_mean
from scheduler.core.values.texts import listed, short

_MOST_TOLD = 20  # names of one list: each is compared with all channels
_ONLY_WITH = {"secret": ChannelKind.WEBHOOK, "env_from": ChannelKind.COMMAND, "detail": ChannelKind.URL}


def channels_of(data: Any) -> tuple[dict[str, Channel], list[KeyFault]]:
    """The channels by name, as far as they are sound, and what contradicts itself in them.

    data: the plain value of `channels`. What is wrong with a single key is not reported again.
    """
    channels: dict[str, Channel] = {}
    faults: list[KeyFault] = []
    for name, raw in data.items() if isinstance(data, dict) else ():
        shape = fitting(ChannelShape, raw)
        if shape is None:
            continue
        found = _contradictions(name, shape)
        faults += found
        if not found:
            channels[name] = Channel(
                name=name,
                url=shape.url,
                webhook=shape.webhook,
                secrets=tuple(shape.secret or ()),
                command=tuple(shape.command or ()),
                env_from=tuple(shape.env_from or ()),
                ping=shape.ping,
                detail=Detail(shape.detail or Detail.NORMAL),
            )
    return channels, faults


def alerts_of(shape: AlertsShape) -> Alerts:
    beat = shape.heartbeat
    heartbeat = None if beat is None else Heartbeat(url=beat.url, every=beat.every or EVERY)
    return Alerts(deliver=tuple(shape.deliver), heartbeat=heartbeat)


def unknown_channels(path: Path, names: Any, channels: Any) -> list[KeyFault]:
    """One for each name in the list at `path` that no entry of `channels` has. Both are plain values of the files.

    What cannot be a name is reported by the shape.
    """
    if not isinstance(names, list):
        return []
    known = sorted(channels) if isinstance(channels, Mapping) else []
    unknown = [(at, name) for at, name in enumerate(names) if is_channel_name(name) and name not in known]
    return [_unknown((*path, at), name, known) for at, name in unknown[:_MOST_TOLD]]


def _unknown(path: Path, name: str, known: list[str]) -> KeyFault:
    declared = f"declared: {listed(known)}" if known else "declare it under channels in scheduler.yaml"
    hint = did_you_mean(name[:100], known) or declared
    return KeyFault(path, "channel.unknown", f"channel {short(name)} is not declared in scheduler.yaml", hint)


def _contradictions(name: str, shape: ChannelShape) -> list[KeyFault]:
    path = ("channels", name)
    kinds = [kind for kind in ChannelKind if getattr(shape, kind.value) is not None]
    if len(kinds) != 1:
        found = f"found {' and '.join(kinds)}" if kinds else "found none"
        message = f"a channel needs exactly one of url, webhook, command and ping; {found}"
        place = (*path, kinds[-1].value) if kinds else path
        hint = "keep one of them" if kinds else 'write for example url: "${env:OWNER_SLACK_URL}"'
        return [KeyFault(place, "channel.kind", message, hint, at_key=bool(kinds))]
    faults = list(_misplaced(path, shape, kinds[0]))
    if kinds[0] is ChannelKind.WEBHOOK and shape.secret is None:
        hint = 'write secret: "${env:NAME}"'
        faults.append(KeyFault(path, "channel.secret", "a webhook needs a secret, which signs what it receives", hint))
    return faults


def _misplaced(path: Path, shape: ChannelShape, kind: ChannelKind) -> Iterable[KeyFault]:
    for key, wanted in _ONLY_WITH.items():
        if getattr(shape, key) is not None and kind is not wanted:
            message = f"{key} has no effect beside {kind}; it belongs to a channel with {wanted}"
            yield KeyFault((*path, key), "channel.kind", message, "delete it", at_key=True)
