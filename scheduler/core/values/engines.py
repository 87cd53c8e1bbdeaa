"""What the operator says of the engine for workers: a file of the host, never of the repository."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

ENGINE_FILE = "engine.yaml"  # in the state folder
MAX_OUT = 1000
LOST_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of files in PEM. None: what the system trusts, and no certificate of our own."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    address: str  # HOST:PORT
    namespace: str = "default"
    tls: TlsFiles | None = None  # None: no TLS
    api_key: str | None = None  # as written: it may name a file or a variable
    root_id: str | None = None  # None: the id of the database
    lost_after: timedelta = LOST_AFTER
    max_out: int = MAX_OUT  # runs that are handed over at once
