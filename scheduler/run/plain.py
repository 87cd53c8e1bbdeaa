"""The input of runs for which nothing has changed since the last pass: most runs, and many at one instant.

For them the partial pass of F1 comes down to one read of each file: if its bytes are those that the last pass read, so
is everything that follows from them. Whatever is not plain goes the careful way, `fire.what_shall_run` (ADR 49).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from scheduler.core.values.facts import Fault, Job, RunnerFile, SyncState, Task
from scheduler.core.values.problems import SchedulerError
from scheduler.core.values.runs import Trigger
from scheduler.core.values.settings import RunnerSpec, Settings
from scheduler.core.values.texts import example_line
from scheduler.git.folder import under_way
from scheduler.git.tree import Tree
from scheduler.machine.mounts import may_hang
from scheduler.root.reading import Source
from scheduler.root.settings import read_settings
from scheduler.root.tasks import guessed_text, inline_text, not_committed, not_committed_files
from scheduler.root.unchanged import Unchanged
from scheduler.run.fire import Ready, what_it_names
from scheduler.sync.passes import Passes

_INLINE_BYTES = 16 * 1024 * 1024  # of texts that stand in job files, kept so that a fire parses no YAML


@dataclass(slots=True)
class InlineTexts:
    """Texts that stand in job files, by their sha256."""

    _known: dict[str, bytes] = field(default_factory=dict)
    _bytes: int = 0

    def get(self, sha256: str, find: Callable[[], bytes | Fault]) -> bytes | Fault:
        found = self._known.get(sha256)
        if found is None:
            text = find()
            if isinstance(text, Fault):
                return text
            if self._bytes + len(text) > _INLINE_BYTES:
                self._known, self._bytes = {}, 0
            self._known[sha256] = found = text
            self._bytes += len(text)
        return found


class Look(contextlib.AbstractContextManager["Look"]):
    """One look at the files, for all runs that start together."""

    def __init__(self, passes: Passes, settings: Settings | None, texts: InlineTexts) -> None:
        """settings: as stored. They are in force only if scheduler.yaml still says the same."""
        self.passes = passes
        self._settings = settings
        self._texts = texts
        self._files: Unchanged | None = None
        self._tree: Tree | None = None
        self._named: dict[str, tuple[RunnerFile, ...] | None] = {}

    def __enter__(self) -> Look:
        passes, settings = self.passes, self._settings
        with contextlib.suppress(SchedulerError, OSError):
            self.passes = passes = replace(passes, place=passes.place.now())
            root = str(passes.place.root)
            if settings is None or may_hang(root, *(f"{root}/{path}" for path in _runner_files(settings))):
                return self
            tree = None if passes.commits is None else passes.commits.known(passes.place.root)
            if tree is None or read_settings(passes.place)[0] != settings:
                return self
            # Where no branch is named, an unfinished operation of git is all that can hold a pass (S8).
            named = settings.worktree.branch or passes.place.followed is not None
            if not (passes.held(settings) if named else under_way(passes.place.root)):
                self._tree = tree
                self._files = Unchanged(passes.place.root, passes.place.closed)
        return self

    def __exit__(self, *_: object) -> None:
        if self._files is not None:
            self._files.__exit__()
            self._files = None

    def stands(self) -> bool:
        """False if another branch was checked out while the files were read. Ask after the last `ready`."""
        settings = self._settings
        return settings is None or not settings.worktree.branch or not self.passes.other_branch(settings)

    def ready(self, job: Job, trigger: Trigger) -> Ready | None:
        """What a run of this job gets now. None if it is not plain."""
        facts, spec, settings, tree = job.file, job.file.spec, self._settings, self._tree
        if self._files is None or settings is None or tree is None:
            return None
        runner = settings.runners.get(spec.runner)
        if spec.check is not None:
            return None
        if runner is None or job.archived or facts.sync_state is not SyncState.SYNCED or facts.task_sha256 is None:
            return None
        data, named = self._files.read(facts.path, facts.file_sha256), self._names(runner)
        if data is None or named is None:
            return None
        task = self._task(job, data, settings)
        if task is None or task.sha256 != facts.task_sha256 or example_line(task.source) is not None:
            return None
        source = tree.plain_provenance(task.source_path, task.source)
        if source is None:
            return None
        committed = settings.worktree.dirty != "skip" or trigger is Trigger.MANUAL
        if not committed and (not_committed(task.source_path, tree, source) or not_committed_files(named, tree)):
            return None
        return Ready(
            job=job,
            settings=settings,
            runner=runner,
            task=task,
            provenance=source,
            place=self.passes.place,
            runner_files=named,
        )

    def _task(self, job: Job, data: bytes, settings: Settings) -> Task | None:
        facts, path = job.file, job.file.spec.task_source_path
        assert self._files is not None
        assert facts.task_sha256 is not None
        text: bytes | Fault | None
        if path is None:
            sha256 = facts.task_sha256
            text = self._texts.get(sha256, lambda: self._inline(job.id, facts.path, data, sha256, settings))
            return None if isinstance(text, Fault) else Task(text=text, source_path=facts.path, source=data)
        text = self._files.read(path, facts.task_sha256)
        return None if text is None else Task(text=text, source_path=path, source=text)

    def _inline(self, job_id: str, path: str, data: bytes, sha256: str, settings: Settings) -> bytes | Fault:
        if (guess := guessed_text(data, sha256)) is not None:
            return guess
        return inline_text(job_id, Source(path=path, data=data, real=path), settings, self.passes.parsed)

    def _names(self, runner: RunnerSpec) -> tuple[RunnerFile, ...] | None:
        """The files that a runner names. None if somebody may still be writing one of them."""
        assert self._files is not None
        if runner.name not in self._named:
            quiet = all(self._files.is_quiet(path) for path, _ in runner.files)
            self._named[runner.name] = what_it_names(self.passes, runner) if quiet else None
        return self._named[runner.name]


def _runner_files(settings: Settings) -> list[str]:
    return [path for runner in settings.runners.values() for path, _ in runner.files]
