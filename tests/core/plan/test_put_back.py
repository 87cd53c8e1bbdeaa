"""How files that are gone are put back."""

from __future__ import annotations

import pytest

from scheduler.core.plan.put_back import way_back

LOST = {"jobs/a.yaml", "jobs/team/b.yaml", "more/c d.yaml"}


@pytest.mark.parametrize(
    ("lost", "committed", "there", "said"),
    [
        (set(), LOST, set(), ""),
        (LOST, LOST, {"more"}, "git restore --staged --worktree jobs 'more/c d.yaml'"),
        (LOST, LOST, {"jobs", "more"}, "git restore --staged --worktree jobs/a.yaml jobs/team 'more/c d.yaml'"),
        (LOST, None, {"more"}, "put their files back: jobs, more/c d.yaml"),
        (
            LOST,
            {"jobs/a.yaml"},
            {"jobs", "more"},
            (
                "`git log -1 --diff-filter=D -- jobs/team 'more/c d.yaml'` names the commit that removed them;"
                " `git revert` undoes it"
            ),
        ),
    ],
)
def test_the_way_back_names_whole_folders_where_they_are_gone(
    lost: set[str], committed: set[str] | None, there: set[str], said: str
) -> None:
    assert way_back(lost, committed, there.__contains__) == said
