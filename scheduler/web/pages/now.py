"""Now: whether all is well, and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.service.root import Root
from scheduler.service.status import status

if TYPE_CHECKING:
    from scheduler.core.answers import StatusJson


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    status: StatusJson


def page(root: Root, query: Mapping[str, str]) -> View:
    return View(status=status(root))
