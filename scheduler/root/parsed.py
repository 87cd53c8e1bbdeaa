"""Job files as they were last parsed."""

from __future__ import annotations

from collections.abc import Set

from scheduler.core.formats.jobfile import JobFile, read_job_file
from scheduler.core.values.settings import Settings
from scheduler.root.reading import Source


class Parsed:
    """Job files as they were last parsed, for passes that come again and again: only what differs is parsed anew."""

    def __init__(self) -> None:
        # With the settings that every definition depends on; one value, since other threads look things up.
        self._known: tuple[Settings | None, dict[str, tuple[str, JobFile]]] = None, {}

    def read(self, source: Source, sha256: str, settings: Settings) -> JobFile:
        _, files = self._known
        known = files.get(source.path)
        if known is None or known[0] != sha256:
            known = files[source.path] = sha256, read_job_file(source.path, source.data, settings)
        return known[1]

    def look_up(self, source: Source, settings: Settings) -> JobFile | None:
        """What these very bytes were parsed to, if they were; for any thread."""
        at, files = self._known
        known = files.get(source.path)
        return known[1] if known is not None and known[0] == source.sha256 and at == settings else None

    def start(self, settings: Settings) -> None:
        """Forgets everything where the settings are others."""
        if settings != self._known[0]:
            self._known = settings, {}

    def task_paths(self) -> set[str]:
        """The task files that the job files name, also in documents that are no job for now."""
        documents = [each for _, job_file in list(self._known[1].values()) for each in job_file.documents]
        return {each.task_source_path for each in documents if each.task_source_path is not None}

    def keep(self, paths: Set[str]) -> None:
        settings, files = self._known
        self._known = settings, {path: known for path, known in files.items() if path in paths}
