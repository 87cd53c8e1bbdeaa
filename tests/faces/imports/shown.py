"""What an import of a fixture says and writes, beside golden files; and when its jobs fire."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.faces.conftest import Root, contents
from tests.helpers import REPOSITORY

FOLDER = REPOSITORY / "tests/golden/imports"


def source(name: str) -> Path:
    """The fixture of a source: files in its public shape, written by us."""
    return FOLDER / name / "source"


def compare(path: Path, found: str) -> None:
    """`GOLDEN=write` writes what was found."""
    if os.environ.get("GOLDEN") == "write":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def check_golden(root: Root, name: str, *options: str, place: Path | None = None) -> Any:
    """Import a fixture: the report and the new files are golden, and a second import changes nothing. The JSON of it.

    place: instead of the folder of the fixture.
    """
    place = source(name) if place is None else place
    before = _files(root)
    dry = root.cli("import", name, str(place), *options, "--dry-run")
    assert _files(root) == before
    done = root.cli("import", name, str(place), *options)
    assert done.code == dry.code, done
    report = (done.stdout + done.stderr).replace(str(place), "SOURCE")
    written = {path: data for path, data in _files(root).items() if path not in before}
    files = "".join(f"== {path}\n{data.decode()}" for path, data in sorted(written.items()))
    compare(FOLDER / name / "report.txt", report)
    compare(FOLDER / name / "files.txt", files)
    assert {path: data for path, data in _files(root).items() if path in before} == before
    after, facts = _files(root), root.facts()
    again = root.cli("import", name, str(place), *options, "--json").json
    assert {each["files"] for each in again["jobs"]} == {"unchanged"}
    assert (again["written"], _files(root), root.facts()) == ([], after, facts)
    return again


def _files(root: Root) -> dict[str, bytes]:
    return {path: data for path, data in contents(root.path).items() if not path.startswith((".scheduler/", ".git/"))}


def fires_of(root: Root, job_id: str, start: datetime, n: int = 50) -> list[datetime]:
    """The next `n` slots of a job after `start`."""
    found = root.json("next", job_id, "-n", str(n), "--from", start.isoformat())["fires"]
    return [datetime.fromisoformat(each["fire_time"]) for each in found][:n]


def problems_of(found: Any, job_id: str | None = None) -> list[tuple[str, str]]:
    """Code and severity of each problem, of one job if it is named."""
    told = found["problems"]
    return [(each["code"].removeprefix("import."), each["severity"]) for each in told if _is_of(each, job_id)]


def _is_of(problem: Any, job_id: str | None) -> bool:
    return job_id is None or job_id in problem["message"]
