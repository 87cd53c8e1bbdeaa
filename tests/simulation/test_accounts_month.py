"""A month of fifty jobs with budgets on two accounts with windows.

Nothing is woken while parked, nothing is lost that is owed, and no day costs more than it may.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.simulation import model
from tests.simulation.accounts import AccountWorld, judge_accounts, judge_caught_up, judge_rows, judge_spending, lasts
from tests.simulation.world import fast_folder

CALM = ("ask", "edit", "restart", "run")
CLOCKS = (*CALM, "step", "step")


def lived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, *, days: int, jobs: int, deeds: tuple[str, ...]
) -> None:
    with fast_folder(tmp_path) as folder:
        world = AccountWorld(folder, seed, jobs=jobs, days=days, deeds=deeds, monkeypatch=monkeypatch)
        world.live(world.until, a_day=4)
        with sqlite3.connect(folder / ".scheduler/state.db") as sql:
            found = model.judge_slots(sql, json.loads(json.dumps(world.events)), until=world.clock.now())
            wrong = [*found.wrong, *judge_accounts(world.seen), *judge_rows(sql)]
            wrong += judge_spending(sql, world.files, world.a_day)
            if deeds == CALM:
                wrong += judge_caught_up(sql, world.files)
        sql.close()
    said = f"seed {seed}: {days} days, {lasts(world.seen)}, {dict(found.counts)}"
    assert not wrong, "\n".join([said, f"{len(wrong)} wrong", *wrong[:40]])
    assert min(lasts(world.seen)[kind] for kind in ("quota", "credential", "ok", "task", "ask", "gone")) > 0, said
    assert found.counts["budget"] > 0, said
    print(said)


@pytest.mark.parametrize("deeds", [CALM, CLOCKS], ids=["calm", "clocks"])
def test_days_of_jobs_on_accounts_that_meet_their_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deeds: tuple[str, ...]
) -> None:
    lived(tmp_path, monkeypatch, 1, days=5, jobs=20, deeds=deeds)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("deeds", [CALM, CLOCKS], ids=["calm", "clocks"])
def test_a_month_of_fifty_jobs_on_two_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, deeds: tuple[str, ...]
) -> None:
    lived(tmp_path, monkeypatch, seed, days=30, jobs=50, deeds=deeds)
