"""Health: doctor as a page, channels and backups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.values.instants import instant
from scheduler.service.backup import backups
from scheduler.service.channels import channels
from scheduler.service.doctor.lately import ANSWER_S, LATELY, Lately
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import ChannelJson, DoctorJson

_BACKUPS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    at: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    doctor: DoctorJson | None  # None: not known yet
    examined_at: str | None
    took_ms: int
    again: bool  # it is being examined again
    channels: list[ChannelJson]
    backups: list[Backup]  # the newest first


def page(root: Root, query: Mapping[str, str], lately: Lately = LATELY) -> View:
    found, again = lately.examine(root, wait_s=ANSWER_S)
    return View(
        doctor=None if found is None else found.doctor,
        examined_at=None if found is None else instant(found.at),
        took_ms=0 if found is None else found.took_ms,
        again=again,
        channels=channels(root)["channels"],
        backups=[Backup(at=instant(each.at), bytes=each.bytes) for each in backups(root)[:_BACKUPS]],
    )
