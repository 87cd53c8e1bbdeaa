"""Hundreds of commits, good and broken, and a daemon that follows: what it shows is what the history says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers import settle_environment
from tests.histories.world import History

SEED = os.environ.get("HISTORY_SEED")  # to live one of them again


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_environment(monkeypatch, tmp_path / "home")


def lived(tmp_path: Path, seed: int, commits: int) -> History:
    history = History(tmp_path, seed)
    try:
        history.live(commits)
    finally:
        history.close()
    said = (
        f"HISTORY_SEED={seed}: {commits} commits, {len(history.windows)} looks, {history.compared} reviews compared, "
        f"{history.fold.many} states that could be several, {dict(history.did)}"
    )
    print(said)
    assert not history.wrong, "\n".join([said, *history.wrong[:40], history.daemon.stderr[-4000:]])
    return history


@pytest.mark.parametrize("seed", [int(SEED)] if SEED else [41])
def test_a_daemon_that_follows_commits_shows_what_a_fold_over_them_gives(tmp_path: Path, seed: int) -> None:
    lived(tmp_path, seed, 20)


@pytest.mark.long
@pytest.mark.parametrize("seed", [int(SEED)] if SEED else [10, 11])
def test_hundreds_of_commits_mint_no_id_anew_lose_no_run_and_name_what_ran(tmp_path: Path, seed: int) -> None:
    history = lived(tmp_path, seed, 300)
    kinds = (
        "run None",
        "run modified",
        "fire while nothing changed",
        "conflict",
        "revert",
        "break_root",
        "delete_many",
    )
    assert history.compared
    assert [kind for kind in kinds if not history.did[kind]] == []
