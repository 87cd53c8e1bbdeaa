"""What `init` writes: a root that runs at once on any machine, beside whatever is there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.core.values.settings import ROOT_FILE

JOBS = "jobs"
OTHERS = ("scheduled-jobs", "scheduler-jobs")  # for the job files, where `jobs` holds somebody else's
_SUFFIXES = (".yaml", ".yml", ".md")
_PLAIN = r"(?!(?:true|false|null)$)[A-Za-z][A-Za-z0-9_./-]*"  # YAML takes it as the text that it is
# A sample job, and the file that it runs: neither is written without the other.
_SAMPLES = (("jobs/example-hello.md",), ("prompts/example-review.md", "jobs/example-review.yaml"))


@dataclass(slots=True)
class Scaffold:
    """What became of the files of a new root; all paths root-relative."""

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # there already, and left as they were
    jobs: str = JOBS  # the folder of the job files
    left_out: list[str] = field(default_factory=list)  # not written, because what they belong to was there


def write_scaffold(folder: Path, *, branch: str = "", above: str = "") -> Scaffold:
    """Write the files of a new root; in a folder that is a root already, none.

    No file that is there is overwritten, and none becomes a job or the task of one.
    branch: the one that is checked out there. above: the folder within its repository, with a slash at its end.
    Raises: UnavailableError where the folder cannot be written; RefusedError where no folder is free for job files.
    """
    files = dict(_files(resources.files("scheduler.scaffold").joinpath("files")))
    found = Scaffold()
    if os.path.lexists(folder / ROOT_FILE):
        found.kept.append(ROOT_FILE)
        return found
    try:
        jobs = found.jobs = _job_folder(folder, files)
        for sample in _SAMPLES:
            _write_sample(folder, {path.replace(f"{JOBS}/", f"{jobs}/", 1): files[path] for path in sample}, found)
        text = files[ROOT_FILE].replace(f'"{JOBS}/', f'"{jobs}/').replace("#   /", f"#   /{above}")
        if re.fullmatch(_PLAIN, branch):
            text = text.replace("# branch: main", f"# branch: {branch}")
        # Last: without it nothing is a root, and a second try writes what the first could not.
        _write(folder / ROOT_FILE, text)
        found.written.append(ROOT_FILE)
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    return found


def _job_folder(folder: Path, files: Mapping[str, str]) -> str:
    """The first folder in which no file of somebody else would count as a job file."""
    for name in (JOBS, *OTHERS):
        ours = {str(folder / name / Path(path).name): text for path, text in files.items()}
        if not any(_differs(path, ours) for path in _job_files(folder / name)):
            return name
    raise RefusedError(
        f"{', '.join(f'{name}/' for name in (JOBS, *OTHERS))} hold files already that would become jobs;"
        " nothing was written",
        hint="start the root in a folder of its own: `scheduler init DIR`",
    )


def _job_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES]


def _differs(path: Path, ours: Mapping[str, str]) -> bool:
    return not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != ours.get(str(path))


def _write_sample(folder: Path, files: Mapping[str, str], found: Scaffold) -> None:
    """The files of one sample job, or none of them where one of them is somebody else's."""
    there = [path for path in files if os.path.lexists(folder / path)]
    found.kept += there
    missing = [path for path in files if path not in there]
    if any(_differs(folder / path, {str(folder / path): files[path]}) for path in there):
        found.left_out += missing
        return
    for path in missing:
        _write(folder / path, files[path])
        found.written.append(path)


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("x", encoding="utf-8") as file:  # fails where the file exists: nothing is overwritten
        file.write(text)


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        path = prefix + entry.name
        found += _files(entry, path + "/") if entry.is_dir() else [(path, entry.read_text(encoding="utf-8"))]
    return found
