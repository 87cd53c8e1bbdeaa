"""Health: doctor as a page, channels and backups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.values.instants import instant
from scheduler.service.backup import backups
from scheduler.service.channels import channels
from scheduler.service.doctor.lately import Lately
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import ChannelJson, DoctorJson

_LATELY = Lately()
_BACKUPS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    at: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    doctor: DoctorJson
    examined_at: str
    took_ms: int
    channels: list[ChannelJson]
    backups: list[Backup]  # the newest first


def page(root: Root, query: Mapping[str, str], lately: Lately = _LATELY) -> View:
    found = lately.examine(root)
    return View(
        doctor=found.doctor,
        examined_at=instant(found.at),
        took_ms=found.took_ms,
        channels=channels(root)["channels"],
        backups=[Backup(at=instant(each.at), bytes=each.bytes) for each in backups(root)[:_BACKUPS]],
    )
