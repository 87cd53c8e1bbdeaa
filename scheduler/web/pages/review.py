"""Review: what a proposed revision would change, as the comment of a pull request shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.core.plan.clocks import Clocks
from scheduler.core.plan.headline import Power, headline, powers
from scheduler.core.plan.textdiff import LineEdit, by_words
from scheduler.core.values.problems import UsageError
from scheduler.service.forge import forge_of_root
from scheduler.service.review.recent import RECENT, Recent
from scheduler.service.review.revisions import need_repository
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.changes import ReviewJson
    from scheduler.core.plan.review import TaskDiff


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A prompt or script that differs."""

    path: str
    jobs: tuple[str, ...]  # that run it
    note: str  # why there are no pieces, or what is odd about them
    parts: tuple[tuple[LineEdit, ...], ...]  # of the text, compared word by word


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    review: ReviewJson
    headline: str
    powers: tuple[Power, ...]  # what jobs could not do before
    texts: tuple[Text, ...]
    clocks: Clocks
    forge: str | None  # the address of the revision on its forge


def page(root: Root, query: Mapping[str, str], recent: Recent = RECENT) -> View:
    """query: `revisions` as `A...B`, or `head` with or without `base`. Default of the base: what is in force.

    Raises: RefusedError outside a repository, UsageError for an unknown revision, UnavailableError while
    another review is made.
    """
    need_repository(root.place.root)
    base, dots, head = query.get("revisions", "").partition("...")
    if not dots:
        base, head = query.get("base", ""), base or query.get("head", "")
        if not head:
            raise UsageError("a review needs a revision", hint="add ?head=BRANCH to the address")
        base = base or root.looked().commit or "HEAD"
    found = recent.review(root, base, head)
    forge, commit = forge_of_root(root), (found.json["head"] or {}).get("revision")
    return View(
        review=found.json,
        headline=headline(found.json, read=found.read, name=str, strong=str),
        powers=tuple(powers(found.json)),
        texts=tuple(map(_text, found.diffs)),
        clocks=found.clocks,
        forge=None if forge is None or commit is None else forge.commit(commit),
    )


def _text(diff: TaskDiff) -> Text:
    parts = tuple(tuple(by_words(hunk)) for hunk in diff.hunks)
    return Text(path=diff.path, jobs=diff.jobs, note=diff.note, parts=parts)
