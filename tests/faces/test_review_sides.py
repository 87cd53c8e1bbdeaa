"""A review reads only what differs between its two sides, and says the same as one that reads every file."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from scheduler.core.formats import jobfile
from scheduler.core.values.settings import Settings
from scheduler.root.place import Place
from scheduler.service.review import sides
from scheduler.service.review.review import review
from scheduler.service.root import Root as ServiceRoot
from tests.faces.conftest import Root


def service_root(root: Root) -> ServiceRoot:
    state = root.path / ".scheduler"
    place = Place(root=root.path, state=state, db=state / "state.db")
    return ServiceRoot(place=place, actor="user:test", environ={}, clock=root.clock)


def shown(root: Root, base: str, head: str) -> dict[str, Any]:
    found = review(service_root(root), base=base, head=head, direct=True, priced=True, drawn=5)
    return {**found.json, "duration_ms": 0, "left": found.left, "diffs": found.diffs, "clocks": found.clocks}


def job(job_id: str, more: str = "task: hi\n", schedule: str = "@daily") -> str:
    return f'id: {job_id}\nschedule: "{schedule}"\n{more}'


class Link(str):
    """The target of a link."""


TWO = f"{job('one')}---\n{job('two')}"
# What each commit changes: the new content of files, old and new text of others; None: it goes.
STEPS: dict[str, dict[str, str | tuple[str, str] | None]] = {
    "more kinds of files": {
        "jobs/two.yaml": TWO,
        "jobs/a-b/x.yaml": job("x"),
        "jobs/a/x.yaml": job("y"),
        "jobs/shared.yaml": job("shared", "task_source_path: prompts/triage.md\n"),
        "jobs/warned.yaml": job("warned", "task: zero\u200bwidth\n"),
        "jobs/bad.yaml": job("bad", "tsak: hi\n"),
        "jobs/lost.yaml": job("lost", "task_source_path: prompts/none.md\n"),
        "jobs/empty.yaml": "# nothing\n",
    },
    "a schedule": {"jobs/a/x.yaml": job("y", schedule="@hourly")},
    "a task of several jobs": {"prompts/triage.md": "Look elsewhere.\n"},
    "the id of another file": {"jobs/again.yaml": job("x")},
    "an id that looks alike": {"jobs/again.yaml": job("tw-o")},
    "a name that looks alike": {"jobs/TWO.yaml": job("upper")},
    "a move": {"jobs/two.yaml": None, "jobs/a/two.yaml": TWO},
    "a repair": {"jobs/bad.yaml": job("bad")},
    "a task that was missing": {"prompts/none.md": "hello\n"},
    "a missing task": {"prompts/triage.md": None},
    "a link to a job file": {"jobs/link.yaml": Link("a/x.yaml")},
    "a link in the place of a job file": {"jobs/a-b/x.yaml": Link("../a/two.yaml")},
    "conversions": {".gitattributes": "*.yaml text eol=crlf\njobs/a/* filter=x\n"},
    "fewer conversions": {".gitattributes": "jobs/a/* filter=x\n"},
    "a limit": {"scheduler.yaml": ("version: 1\n", "version: 1\nlimits: {max_jobs: 6}\n")},
    "one job beyond the limit": {"jobs/zz.yaml": job("zz")},
    "many jobs less": dict.fromkeys(("jobs/a/two.yaml", "jobs/again.yaml", "jobs/a/x.yaml", "jobs/bad.yaml")),
}


def take(root: Root, step: str) -> None:
    for path, change in STEPS[step].items():
        file = root.path / path
        if change is None or isinstance(change, Link):
            file.unlink(missing_ok=True)
        match change:
            case Link():
                file.symlink_to(change)
            case str():
                root.write(path, change)
            case (old, new):
                root.edit(path, old, new)


def commits_of(root: Root) -> list[str]:
    found = [root.git("rev-parse", "HEAD")]
    for step in STEPS:
        take(root, step)
        found.append(root.commit())
    return found


@pytest.mark.parametrize("applied", [0, 1, 5, 10, len(STEPS) - 4, len(STEPS)])
def test_it_says_the_same_as_one_that_reads_every_file(
    root: Root, applied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = commits_of(root)
    root.git("checkout", "-q", commits[applied])
    root.cli("sync")
    root.cli("sync", "--confirm-prune", "none")  # what the index knows after a pass that had nothing to do
    pairs = [*itertools.pairwise(commits), (commits[applied], commits[-1]), (commits[-1], commits[applied])]
    found = [shown(root, *pair) for pair in pairs]
    monkeypatch.setattr(sides, "_alike", lambda *_: sides._Alike())
    for pair, each in zip(pairs, found, strict=True):
        assert each == shown(root, *pair), [
            name for name, at in zip(["first", *STEPS], commits, strict=True) if at in pair
        ]


def read_by(root: Root, monkeypatch: pytest.MonkeyPatch, head: str) -> list[str]:
    read: list[str] = []
    parse = jobfile.read_job_file

    def watched(path: str, data: bytes, settings: Settings) -> jobfile.JobFile:
        read.append(path)
        return parse(path, data, settings)

    with monkeypatch.context() as patch:
        patch.setattr(jobfile, "read_job_file", watched)
        shown(root, "HEAD", head)
    return sorted(set(read))


def test_it_reads_what_differs_and_what_names_the_same_jobs_or_tasks(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(root, "more kinds of files")
    root.delete("jobs/bad.yaml", "jobs/lost.yaml", "jobs/warned.yaml")
    root.commit()
    root.ok("sync")
    root.git("checkout", "-q", "-b", "topic")
    take(root, "a schedule")
    root.commit()
    root.git("checkout", "-q", "main")
    assert read_by(root, monkeypatch, "topic") == ["jobs/a/x.yaml"]
    root.git("checkout", "-q", "topic")
    take(root, "the id of another file")
    take(root, "a task of several jobs")
    root.commit()
    root.git("checkout", "-q", "main")
    assert read_by(root, monkeypatch, "topic") == [
        "jobs/a-b/x.yaml", "jobs/a/x.yaml", "jobs/again.yaml", "jobs/shared.yaml", "jobs/triage.yaml"
    ]  # fmt: skip
