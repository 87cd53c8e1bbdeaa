"""What a worker has begun and how it ended, on its disk: so that nothing starts twice there, and no end is lost.

A record is three files: `.begun`, created before anything else; `.process`, once there is one; `.end`, with its
outcome. It is removed once its workflow is known to be closed: from then on, nobody asks for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scheduler.machine.processes import Process


def key_of(workflow_id: str) -> str:
    """A name for its files: ids have slashes."""
    return hashlib.sha256(workflow_id.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One try that this host has begun."""

    workflow_id: str
    execution: str  # Temporal's own id of it
    queue: str
    spec: Mapping[str, Any]
    process: Process | None = None
    outcome: Mapping[str, Any] | None = None  # None while it runs, or if its worker died

    @property
    def key(self) -> str:
        return key_of(self.workflow_id)


class Journal:
    def __init__(self, folder: Path) -> None:
        """Raises: OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def begin(self, record: Record) -> bool:
        """Write that it begins. False if it has begun before: it must not begin again. Raises: OSError."""
        known = {"workflow_id": record.workflow_id, "execution": record.execution, "queue": record.queue}
        try:
            file = os.open(self._path(record.key, "begun"), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        with open(file, "wb") as opened:  # noqa: PTH123
            opened.write(json.dumps({**known, "spec": dict(record.spec)}).encode())
            opened.flush()
            os.fsync(opened.fileno())
        self._to_disk()
        return True

    def started(self, key: str, process: Process) -> None:
        """Raises: OSError."""
        self._write(key, "process", asdict(process), durable=False)  # after a power loss there is no process

    def started_at(self, key: str) -> datetime | None:
        with contextlib.suppress(OSError):
            return datetime.fromtimestamp(self._path(key, "process").stat().st_mtime, UTC)
        return None

    def end(self, key: str, outcome: Mapping[str, Any]) -> None:
        """Raises: OSError."""
        self._write(key, "end", outcome, durable=True)

    def forget(self, key: str) -> None:
        for kind in ("process", "end", "begun"):
            with contextlib.suppress(OSError):
                self._path(key, kind).unlink()

    def find(self, key: str) -> Record | None:
        """None also for a record that a power loss has cut: its process is gone, and its workflow asks in vain."""
        begun = self._read(key, "begun")
        if begun is None:
            return None
        try:
            process = self._read(key, "process")
            return Record(
                **begun, process=None if process is None else Process(**process), outcome=self._read(key, "end")
            )
        except TypeError:
            return None

    def __iter__(self) -> Iterator[Record]:
        for path in sorted(self._folder.glob("*.begun")):
            if (found := self.find(path.stem)) is not None:
                yield found
            else:
                self.forget(path.stem)

    def _path(self, key: str, kind: str) -> Path:
        return self._folder / f"{key}.{kind}"

    def _read(self, key: str, kind: str) -> Any:
        try:
            return json.loads(self._path(key, kind).read_bytes())
        except (OSError, ValueError):
            return None

    def _write(self, key: str, kind: str, value: Mapping[str, Any], *, durable: bool) -> None:
        path = self._path(key, kind)
        new = path.with_suffix(f".{kind}-new")
        with new.open("wb") as file:
            file.write(json.dumps(value).encode())
            if durable:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
        if durable:
            self._to_disk()

    def _to_disk(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
