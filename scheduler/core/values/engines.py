"""What the operator says of the engine for workers: a file of the host, never of the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from scheduler.core.values.remote import Remote
from scheduler.core.values.settings import RunnerSpec

ENGINE_FILE = "engine.yaml"  # in the state folder
MAX_OUT = 1000
MAX_RUNNING = 4
OUTPUT_DAYS = 90
LOST_AFTER = timedelta(minutes=10)
HEARTBEAT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of files in PEM. None: what the system trusts, and no certificate of our own."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionKey:
    """A key for what is sent. The first of a list encrypts; all of them decrypt."""

    id: str
    key: str  # as written: it may name a file or a variable. 32 bytes in base64


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    address: str  # HOST:PORT
    namespace: str = "default"
    tls: TlsFiles | None = None  # None: no TLS
    api_key: str | None = None  # as written: it may name a file or a variable
    keys: tuple[EncryptionKey, ...] = ()  # none: the server can read texts and outputs
    root_id: str | None = None  # None: the id of the database
    lost_after: timedelta = LOST_AFTER
    max_out: int = MAX_OUT  # runs that are handed over at once
    heartbeat: timedelta = HEARTBEAT


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """worker.yaml: what a host takes, and from where."""

    server: EngineSettings
    name: str | None = None  # None: the name of the host
    state: str | None = None  # a folder; None: below $XDG_STATE_HOME
    queues: tuple[str, ...]
    max_running: int = MAX_RUNNING  # of all queues together
    # By name: the host's own definition, or None for the one in scheduler.yaml at the run's commit.
    # None: any runner, as it is sent.
    runners: Mapping[str, RunnerSpec | None] | None
    texts: Literal["any", "committed"] = "any"
    root: Remote | None = None
    allowed_signers: str | None = None  # a file; only for a root with `signed`
    output_days: int = OUTPUT_DAYS
