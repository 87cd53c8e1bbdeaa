"""Jobs: one row for each job, with its last slots. Filters, groups and the page are in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.values.problems import UsageError
from scheduler.service.listing import GROUPS, Wanted, list_page
from scheduler.service.root import Root
from scheduler.web.draw import strip as draw

if TYPE_CHECKING:
    from scheduler.core.now import ListedJson, SlotJson

FILTERS = ("q", "status", "tag", "folder", "owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    jobs: Sequence[ListedJson]
    total: int  # rows on all pages
    archived: int  # jobs that match; rows only with ?status=archived
    number: int  # of the page, from 1
    pages: int
    filters: dict[str, str]  # those that are set, by name; `group` among them

    names = FILTERS
    groups = GROUPS

    @staticmethod
    def svg(slots: Sequence[SlotJson]) -> str:
        """The strip of a row; what it says is its title as well."""
        found = [(each["status"], each["reason"], each["slots"]) for each in slots]
        return draw.strip(found, f"last {draw.MOST} slots: {draw.words(found)}")

    @staticmethod
    def exceptions(slots: Sequence[SlotJson]) -> str:
        """What did not go well in a strip, and why slots were skipped; empty if all went well."""
        found = [(each["status"], each["reason"], each["slots"]) for each in slots]
        return ", ".join(each for each in draw.words(found).split(", ") if not each.endswith((" succeeded", "yet")))


def page(root: Root, query: Mapping[str, str]) -> View:
    """query: FILTERS, `group` and `page`. Raises: UsageError."""
    filters = {name: query[name] for name in (*FILTERS, "group") if query.get(name)}
    asked = query.get("page") or "1"
    if not (asked.isascii() and asked.isdigit() and len(asked) < 9):
        raise UsageError("page is not a number", hint="leave it out to see the first page")
    found = list_page(root, Wanted(**filters), int(asked))
    return View(**found, filters=filters)
