"""A year of mixed jobs with everything that happens to them: each due slot has one row, and each row its reason."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.simulation import model
from tests.simulation.world import BEGIN, CLOCKS, DEEDS, STEPS, World, fast_folder

SEED = os.environ.get("SIMULATION_SEED")  # to live one of them again


def lived(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    *,
    days: int,
    jobs: int,
    a_day: float,
    deeds: tuple[str, ...] = DEEDS + STEPS,
    calm: bool = False,
) -> str:
    """What the world was like, in words. Raises: AssertionError with all that is wrong."""
    with fast_folder(tmp_path) as folder:
        dense = 1 if calm else max(1, jobs // 20)
        world = World(folder, seed, jobs=jobs, dense=dense, deeds=deeds, calm=calm, monkeypatch=monkeypatch)
        gc.freeze()  # what the other tests have left would be gone through again and again
        began = time.monotonic()
        world.live(BEGIN + timedelta(days=days), a_day=a_day)
        took = time.monotonic() - began
        with sqlite3.connect(folder / ".scheduler/state.db") as sql:
            judge = model.judge_slots if deeds == CLOCKS else model.judge
            found = judge(sql, json.loads(json.dumps(world.events)), until=world.clock.now())
        sql.close()
    said = f"seed {seed}: {days} days of {jobs} jobs in {took:.0f} s, {len(world.events)} events, {found.counts}"
    assert not found.wrong, "\n".join([said, *found.wrong[:40]])
    return said


@pytest.mark.parametrize("seed", [int(SEED)] if SEED else range(3))
def test_weeks_of_jobs_have_one_row_for_every_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    print(lived(tmp_path, monkeypatch, seed, days=25, jobs=20, a_day=5))


@pytest.mark.parametrize("seed", [int(SEED)] if SEED else range(2))
def test_a_clock_that_is_set_again_and_again_costs_no_slot_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    print(lived(tmp_path, monkeypatch, seed, days=12, jobs=12, a_day=8, deeds=CLOCKS))


@pytest.mark.long
@pytest.mark.parametrize("seed", [int(SEED)] if SEED else range(100, 103))
def test_a_year_of_five_hundred_jobs_has_one_row_for_every_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    print(lived(tmp_path, monkeypatch, seed, days=365, jobs=500, a_day=0.5, calm=True))
