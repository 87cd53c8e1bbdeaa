"""The commits that brought what a pass has applied: asked of git once it is in force (ADR 52)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from scheduler.core.values.facts import Commit, NoCommit
from scheduler.git.folder import git_folder
from scheduler.git.history import LOOKUP_S, Key, look_back
from scheduler.git.run import GitError, GitTimeoutError
from scheduler.ledger.audit import answer_lookups, pending_lookups
from scheduler.ledger.rows import batched
from scheduler.ledger.store import Store
from scheduler.machine.crash import crash_point


def look_up_commits(store: Store, root: Path) -> None:
    """Ask git what was not asked yet, and record its answers.

    As long as git fails, its answers stay pending, and the next call asks again. Raises: UnavailableError.
    """
    asked: dict[str, dict[Key, list[int]]] = {}  # by revision
    for number, each in store.read(pending_lookups).items():
        asked.setdefault(each.revision, {}).setdefault((each.path, each.blob), []).append(number)
    if asked:
        crash_point("before_look_up")
    for revision, numbers in asked.items():
        answers = _ask(root, revision, numbers)
        told = [(number, answer) for key, answer in answers.items() for number in numbers[key]]
        for some in batched(told):  # a claim never waits for more; what a power loss takes back is asked again
            with store.writing(durable=False) as sql:
                answer_lookups(sql, dict(some))


def _ask(root: Path, revision: str, wanted: Mapping[Key, object]) -> dict[Key, Commit | NoCommit]:
    found: dict[Key, Commit | NoCommit] = {}
    try:
        found.update(look_back(root, [revision], wanted, timeout=LOOKUP_S))
    except GitTimeoutError:
        return {key: found.get(key, "unknown") for key in wanted}
    except GitError:
        return found if git_folder(root) is not None else {key: found.get(key, "unknown") for key in wanted}
    # A file that is gone, and that no commit ever had, was deleted before somebody committed it.
    return {key: found.get(key, "uncommitted" if key[1] is None else "unknown") for key in wanted}


def main() -> None:
    """The same in a process of its own, given the database and the root."""
    with Store.open(Path(sys.argv[1]), create=False) as store:
        look_up_commits(store, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
