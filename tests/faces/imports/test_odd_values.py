"""Whatever a file of a source holds, an import says what is wrong with it and goes on."""

from __future__ import annotations

import copy
import io
import itertools
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.imports.incoming import Gathered
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.settings import Settings
from scheduler.core.values.texts import TextError
from scheduler.service.imports.options import Options
from scheduler.service.imports.source import Reading, files_at, source_of
from tests.faces.conftest import ROOT_FILE
from tests.faces.imports.shown import source

ODD: tuple[Any, ...] = (
    None, 1, 0, -5, 1e30, float("nan"), "x", "", [], {}, True, "\ud800", 10**30, ["a", 1], {"kind": "x"}, "2026-13-01",
    "\x00", [[]], [{}], "0 0 30 2 *", "🚀", "a\nb", "=1", "%",
)  # fmt: skip
LISTS = {
    "claude": "scheduled-tasks/scheduled-tasks.json",
    "hermes": "cron/jobs.json",
    "openclaw": "cron/jobs.json",
    "k8s": "list.json",
}
TEXTS = {
    "claude": "scheduled-tasks/scheduled-tasks.json",
    "codex": "automations/daily-brief/automation.toml",
    "hermes": "cron/jobs.json",
    "k8s": "cronjobs.yaml",
    "openclaw": "cron/jobs-state.json",
    "systemd": "backup.service",
}


def settings() -> Settings:
    found, _ = read_root_file(ROOT_FILE.encode())
    assert found is not None
    return found


def gather(word: str, folder: Path) -> Gathered | None:
    """What a source makes of a folder; None if it refuses it."""
    reading = Reading(
        options=Options(timezone="UTC"),
        settings=settings(),
        environ={},
        now=datetime(2026, 3, 1, tzinfo=UTC),
        folder="jobs/imported",
    )
    found = source_of(word)
    try:
        files = tuple(files_at(str(folder), io.BytesIO(), named=found.named))
        for each in files:
            found.tell(each)
    except (TextError, SchedulerError):
        pass
    try:
        return found.gather(found, reading, tuple(files_at(str(folder), io.BytesIO(), named=found.named)))
    except SchedulerError:
        return None


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in below:
        yield from places(each, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    whole = copy.deepcopy(value)
    target = whole
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = new
    return whole


@pytest.fixture(params=sorted(TEXTS))
def word(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", sorted(LISTS))
def test_no_value_of_any_kind_in_any_place_stops_an_import(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(source(name), tmp_path / "source")
    file = folder / LISTS[name]
    value = json.loads(file.read_text())
    before = gather(name, folder)
    assert before is not None
    odd_values = itertools.cycle(ODD)
    for path, odd in ((path, next(odd_values)) for path in places(value) for _ in range(3)):
        file.write_text(json.dumps(changed(value, path, odd)))
        found = gather(name, folder)
        assert len(path) < 3 or found is None or len(found.jobs) >= len(before.jobs) - 2, (path, odd)


def test_no_file_that_is_cut_off_stops_an_import(word: str, tmp_path: Path) -> None:
    folder = shutil.copytree(source(word), tmp_path / "source")
    file = folder / TEXTS[word]
    data = file.read_bytes()
    for size in range(0, len(data), max(len(data) // 40, 1)):
        file.write_bytes(data[:size])
        gather(word, folder)
