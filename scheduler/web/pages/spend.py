"""Spend: what was spent, by whom and on what, against budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.service.root import Root
from scheduler.service.spend import NEWEST, NEWEST_OF_JOB, spend

if TYPE_CHECKING:
    from scheduler.core.spent import SpendJson


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    spend: SpendJson
    newest_of_job: int = NEWEST_OF_JOB  # runs by which texts, models and runners are told apart
    newest: int = NEWEST  # runs among which unpriced ones are counted


def page(root: Root, query: Mapping[str, str]) -> View:
    return View(spend=spend(root))
