"""Job files as they were last parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.core.values.settings import Settings
from scheduler.root.reading import Source

if TYPE_CHECKING:
    from scheduler.core.formats.jobfile import JobFile

MOST_FILES = 4_000  # kept; 4 KB each


class Parsed:
    """Job files as last parsed, for repeated passes and for fires: only changed files are parsed again."""

    def __init__(self, most: int = MOST_FILES) -> None:
        self._most = most
        # With the settings that all definitions depend on. One value, because other threads look things up.
        self._known: tuple[Settings | None, dict[str, tuple[str, JobFile]]] = None, {}

    def read(self, source: Source, sha256: str, settings: Settings) -> JobFile:
        _, files = self._known
        known = files.get(source.path)
        if known is None or known[0] != sha256:
            from scheduler.core.formats.jobfile import read_job_file  # slow to import: if there is anything to parse

            known = sha256, read_job_file(source.path, source.data, settings)
            files.pop(source.path, None)
            if len(files) >= self._most:
                del files[next(iter(files))]  # the one that was parsed first
            files[source.path] = known
        return known[1]

    def look_up(self, source: Source, settings: Settings) -> JobFile | None:
        """The parsed form of exactly these bytes, if it is known. Any thread may ask."""
        at, files = self._known
        known = files.get(source.path)
        return known[1] if known is not None and known[0] == source.sha256 and at == settings else None

    def start(self, settings: Settings) -> None:
        """Forget everything if the settings have changed."""
        if settings != self._known[0]:
            self._known = settings, {}
