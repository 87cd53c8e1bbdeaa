"""What a control plane sends to a worker, and what comes back. Values only; nothing here knows Temporal.

Both cross a trust boundary: `from_json` checks everything, whoever wrote it. Nothing in a spec is secret: variables of
`env_from` get their values on the worker.
"""

from __future__ import annotations

import json
import re
import uuid
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Literal, Self, TypeVar, get_args

from scheduler.core.values.codec import Stored
from scheduler.core.values.facts import Dirty
from scheduler.core.values.instants import instant, parse_instant
from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.settings import RunnerSpec
from scheduler.core.values.spec import ExpectSpec, JobSpec, Schedule
from scheduler.core.values.usage import AgentResult, Price

WORKFLOW: Final = "scheduler-run-1"  # frozen: a change of the workflow gets another name
OUTPUT_WORKFLOW: Final = "scheduler-output-1"  # on a host queue: (workflow id, start of each stream, wait) -> Pieces
MOST_TASK_BYTES: Final = 1024 * 1024
MOST_OUTCOME_BYTES: Final = 512 * 1024  # of its JSON
HEAD_BYTES: Final = {"stdout": 64 * 1024, "stderr": 32 * 1024}  # and as much of the tail
HEARTBEAT: Final = timedelta(seconds=30)
LOST_AFTER: Final = timedelta(minutes=10)
BACKSTOP: Final = timedelta(seconds=60)  # beyond timeout and grace: a worker that forgets to end a run

CwdKind = Literal["root", "scratch"]
OutcomeStatus = Literal["succeeded", "failed", "timed_out", "cancelled", "interrupted", "unstarted"]

T = TypeVar("T")

RESULT_BYTES = 64 * 1024
_MOST_ERROR = 8 * 1024  # characters
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_ID = re.compile(r"[^/\x00-\x1f\x7f]{1,300}")


class ExchangeError(ValueError):
    """A spec or an outcome that does not hold what it must."""


def workflow_id(root_id: str, job_id: str, slot: datetime | uuid.UUID, attempt: int = 1) -> str:
    """The id under which one try of a slot, or of a manual run, exists at most once. Raises: ExchangeError."""
    for part in (root_id, job_id):
        if not _ID.fullmatch(part):
            raise ExchangeError(f"{part!r} cannot be a part of a workflow id")
    what = f"manual/{slot}" if isinstance(slot, uuid.UUID) else instant(slot)
    return f"run/{root_id}/{job_id}/{what}" + (f"/{attempt}" if attempt > 1 else "")


def host_queue(queue: str, host: str) -> str:
    """The queue that only the worker of one host polls: for questions about its runs."""
    return f"{queue}@{host}"


def worker_identity(host: str, marks: Sequence[str]) -> str:
    """What a worker calls itself at the server. marks: of its encryption keys."""
    return f"worker {' '.join(marks)}@{host}"


def of_identity(identity: str) -> tuple[str, tuple[str, ...]] | None:
    """The host of a worker, and the marks of its keys. None for a stranger."""
    said, _, host = identity.rpartition("@")
    kind, _, marks = said.partition(" ")
    return (host, tuple(marks.split())) if kind == "worker" and host else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Stored):
    """One try of a run: what the text of its task is for. The text itself travels beside it, as bytes."""

    version: int = 1
    run_id: str  # "JOB:N"
    job_id: str
    attempt: int  # 1 for the first
    fire_time: datetime | None  # None for a manual run
    trigger: str
    requested_at: datetime
    revision: str | None  # the commit at which the task was read; None outside a repository
    dirty: Dirty | None
    blob: str | None
    task_sha256: str  # of the bytes that are sent
    source_path: str  # root-relative
    runner: RunnerSpec  # as scheduler.yaml has it; a worker may insist on its own
    tags: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()  # that the job sets
    model: str | None = None
    args: tuple[str, ...] = ()
    workdir: str | None = None
    expect: ExpectSpec | None = None
    budget: Decimal | None = None  # what this try may spend; None: anything
    prices: tuple[Price, ...] = ()
    cwd: CwdKind = "root"  # the folder of the commit, or a new empty one
    timeout: timedelta
    grace: timedelta  # between TERM and KILL
    not_after: datetime  # a later start is none
    lost_after: timedelta = LOST_AFTER
    heartbeat: timedelta = HEARTBEAT
    output_limit: int  # bytes of both streams that the worker keeps
    told: tuple[tuple[str, str], ...] = ()  # more SCHEDULER_* variables for the process, such as tokens

    @property
    def job(self) -> JobSpec:
        """The part of the job's definition that decides what its process is."""
        return JobSpec(
            id=self.job_id,
            name=self.job_id,
            tags=self.tags,
            schedule=Schedule(timezone="UTC", manual=True),
            runner=self.runner.name,
            env=self.env,
            timeout=self.timeout,
            model=self.model,
            args=self.args,
            workdir=self.workdir,
            expect=self.expect,
        )

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Raises: ExchangeError."""
        spec = _read("spec", super(Spec, cls).from_json, found)
        _require(spec.version == 1, f"version {spec.version} of a spec is not known here: update the worker")
        _check_types("spec", spec, _SPEC_TYPES)
        _require(_ID.fullmatch(spec.job_id) is not None, f"{spec.job_id!r} is no job id")
        _require(spec.run_id.startswith(f"{spec.job_id}:"), f"{spec.run_id!r} is no run of {spec.job_id!r}")
        _require(1 <= spec.attempt <= 10_000, f"attempt {spec.attempt} is out of range")
        _require(_SHA256.fullmatch(spec.task_sha256) is not None, "task_sha256 is no sha256")
        for name in ("revision", "blob"):
            value = getattr(spec, name)
            _require(value is None or _COMMIT.fullmatch(value) is not None, f"{name} {value!r} is no id of git")
        _require(spec.dirty is None or spec.dirty in get_args(Dirty), f"dirty {spec.dirty!r} is not known")
        _require(spec.cwd in get_args(CwdKind), f"cwd {spec.cwd!r} is neither root nor scratch")
        _require(spec.not_after.tzinfo is not None, "not_after has no offset")
        for name in ("timeout", "lost_after", "heartbeat"):
            _require(getattr(spec, name) > timedelta(0), f"{name} is not above zero")
        _require(spec.grace >= timedelta(0), "grace is negative")
        _require(spec.output_limit > 0, "output_limit is not above zero")
        _require(all(name.startswith("SCHEDULER_") for name, _ in spec.told), "a variable in told is not SCHEDULER_...")
        texts = (spec.tags, spec.args, spec.runner.command, (part for pair in (*spec.env, *spec.told) for part in pair))
        _require(all(isinstance(each, str) for group in texts for each in group), "a list holds something but text")
        return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What comes home of one output stream. All of it lies on the host that ran the try."""

    total: int = 0  # bytes written, kept anywhere or not
    head: bytes = b""
    tail: bytes = b""  # without what is in `head`

    @property
    def missing(self) -> int:
        """Bytes between head and tail."""
        return self.total - len(self.head) - len(self.tail)

    def to_json(self) -> dict[str, Any]:
        return {"total": self.total, "head": _packed(self.head), "tail": _packed(self.tail)}

    @classmethod
    def from_json(cls, found: Any, most: int) -> Stream:
        """most: bytes of a head, and of a tail. Raises: ExchangeError."""
        _require(isinstance(found, dict) and type(found.get("total")) is int, "a stream has no total")
        stream = cls(
            total=found["total"],
            head=_unpacked(found.get("head", ""), most),
            tail=_unpacked(found.get("tail", ""), most),
        )
        _require(stream.missing >= 0, "a stream is longer than its total")
        return stream

    def halved(self) -> Stream:
        """With half of its head, and half of its tail."""
        return replace(self, head=self.head[: len(self.head) // 2], tail=self.tail[(len(self.tail) + 1) // 2 :])

    @classmethod
    def of(cls, kept: bytes, total: int, most: int) -> Stream:
        """The ends of a stream. kept: what was kept of it, with its own head and tail. most: bytes of each."""
        return cls(total=total, head=kept[:most], tail=kept[max(most, len(kept) - most) :])


_STREAMS = tuple(HEAD_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a try ended. Every ending is a value: a workflow fails only for what nobody foresaw.

    unstarted: no process existed. Its reason is `capacity` (nobody took it in time), or that of a fault, runner_...
    """

    status: OutcomeStatus
    reason: str | None = None  # None if it succeeded
    exit_code: int | None = None
    error: str | None = None
    host: str | None = None  # None: nobody has begun it
    queue: str | None = None
    pid: int | None = None
    spawned_at: datetime | None = None  # by the clock of the host
    finished_at: datetime | None = None
    result: str | None = None
    output_bytes: int | None = None
    truncated: bool = False
    agent: AgentResult | None = None
    account: str | None = None
    stdout: Stream = Stream()
    stderr: Stream = Stream()

    @property
    def ending(self) -> Ending:
        """The same for the ledger. Only of a try whose process has existed, or may have."""
        status = RunStatus.INTERRUPTED if self.status == "unstarted" else RunStatus(self.status)
        return Ending(
            status=status,
            reason=self.reason,
            exit_code=self.exit_code,
            error=self.error,
            result=self.result,
            output_bytes=self.output_bytes,
            truncated=self.truncated,
            agent=self.agent,
            account=self.account,
        )

    @classmethod
    def of(cls, ending: Ending, **more: Any) -> Outcome:
        return cls(
            status=ending.status.value,  # type: ignore[arg-type]  # no ending is queued, claimed, running or skipped
            reason=ending.reason,
            exit_code=ending.exit_code,
            error=ending.error,
            result=ending.result,
            output_bytes=ending.output_bytes,
            truncated=ending.truncated,
            agent=ending.agent,
            account=ending.account,
            **more,
        )

    def to_json(self) -> dict[str, Any]:
        """At most `MOST_OUTCOME_BYTES` as JSON: of what is longer, the streams lose their middle."""
        found, cut = self._as_json(), self
        while len(json.dumps(found)) > MOST_OUTCOME_BYTES and (cut.stdout.head or cut.stderr.head):
            cut = replace(cut, stdout=cut.stdout.halved(), stderr=cut.stderr.halved())
            found = cut._as_json()
        return found

    def _as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"version": 1, "status": self.status}
        for name in ("reason", "exit_code", "host", "queue", "pid", "output_bytes", "account"):
            if (value := getattr(self, name)) is not None:
                found[name] = value
        for name in ("spawned_at", "finished_at"):
            if (at := getattr(self, name)) is not None:
                found[name] = instant(at)
        if self.truncated:
            found["truncated"] = True
        if self.error is not None:
            found["error"] = self.error[:_MOST_ERROR]
        # As JSON, a text of arbitrary bytes would take six times its size.
        if self.result is not None and (self.agent is None or self.result != self.agent.text):
            found["result"] = _packed(self.result.encode("utf-8", "replace")[:RESULT_BYTES])
        if self.agent is not None:
            found["agent"] = _packed(json.dumps(self.agent.to_json(), ensure_ascii=False).encode("utf-8", "replace"))
        for name in _STREAMS:
            stream: Stream = getattr(self, name)
            if stream.total:
                found[name] = stream.to_json()
        return found

    @classmethod
    def from_json(cls, found: Any) -> Outcome:
        """Raises: ExchangeError."""
        _require(isinstance(found, dict), "an outcome is no mapping")
        _require(found.get("version") == 1, f"version {found.get('version')!r} of an outcome is not known here")
        status = found.get("status")
        _require(status in get_args(OutcomeStatus), f"status {status!r} is not known")

        outcome = _read("outcome", cls._read, found)
        _check_types("outcome", outcome, _OUTCOME_TYPES)
        _require((outcome.reason is None) == (status == "succeeded"), f"status {status} with reason {outcome.reason!r}")
        return outcome

    @classmethod
    def _read(cls, found: Mapping[str, Any]) -> Outcome:
        agent = None
        if "agent" in found:
            agent = AgentResult.from_json(json.loads(_unpacked(found["agent"], MOST_OUTCOME_BYTES)))
        result = None if agent is None else agent.text
        if "result" in found:
            result = _unpacked(found["result"], RESULT_BYTES).decode("utf-8", "replace")
        at: dict[str, Any] = {
            name: parse_instant(found[name]) for name in ("spawned_at", "finished_at") if name in found
        }
        streams: dict[str, Any] = {
            name: Stream.from_json(found[name], HEAD_BYTES[name]) for name in _STREAMS if name in found
        }
        plain: dict[str, Any] = {name: found[name] for name in _OUTCOME_TYPES if name in found}
        return cls(**plain, **at, **streams, result=result, agent=agent)


_SPEC_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("run_id", "job_id", "trigger", "task_sha256", "source_path"), (str,)),
    **dict.fromkeys(("revision", "dirty", "blob", "model", "workdir"), (str, NoneType)),
    **dict.fromkeys(("attempt", "output_limit"), (int,)),
}
_OUTCOME_TYPES: Mapping[str, tuple[type, ...]] = {
    "status": (str,),
    **dict.fromkeys(("reason", "error", "host", "queue", "account"), (str, NoneType)),
    **dict.fromkeys(("exit_code", "pid", "output_bytes"), (int, NoneType)),
    "truncated": (bool,),
}


def _check_types(what: str, value: object, types: Mapping[str, tuple[type, ...]]) -> None:
    for name, allowed in types.items():
        kind = type(getattr(value, name))  # a bool is no number here
        _require(kind in allowed, f"{name} of the {what} is {kind.__name__}")


def _read(what: str, read: Callable[[Mapping[str, Any]], T], found: Any) -> T:
    _require(isinstance(found, Mapping), f"the {what} is no mapping")
    try:
        return read(found)
    except ExchangeError:
        raise
    except KeyError as error:
        raise ExchangeError(f"the {what} lacks {error}") from None
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise ExchangeError(f"the {what} is not valid: {error}") from None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ExchangeError(otherwise)


def _packed(data: bytes) -> str:
    return b64encode(zlib.compress(data)).decode() if data else ""


def _unpacked(text: Any, most: int) -> bytes:
    """most: bytes. A few bytes of zlib can stand for any number. Raises: ExchangeError."""
    _require(isinstance(text, str), "packed data is no text")
    if not text:
        return b""
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(b64decode(text, validate=True), most + 1)
    except (ValueError, zlib.error) as error:
        raise ExchangeError(f"packed data cannot be unpacked: {error}") from None
    _require(len(data) <= most and inflate.eof, f"packed data is cut, or has more than {most:,} bytes")
    return data


PIECE_BYTES: Final = 512 * 1024  # of each stream: both must fit into one payload of 2 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of the output that a host keeps."""

    data: bytes
    size: int  # of all that is kept of the stream now, with its marker
    ended: bool  # the run has ended: nothing is added

    def to_json(self) -> dict[str, Any]:
        return {"data": _packed(self.data), "size": self.size, "ended": self.ended}

    @classmethod
    def from_json(cls, found: Any) -> Piece:
        """Raises: ExchangeError."""
        _require(isinstance(found, dict), "a piece of output is no mapping")
        size, ended = found.get("size"), found.get("ended")
        _require(type(size) is int and type(ended) is bool, "a piece of output is not valid")
        return cls(data=_unpacked(found.get("data"), PIECE_BYTES), size=size, ended=ended)
