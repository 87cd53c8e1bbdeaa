"""engine.yaml in the state folder: how this host reaches the server from which workers take runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from scheduler.core.formats import rules
from scheduler.core.formats.base import Duration, Line, Shape, optional_key
from scheduler.core.formats.faults import KeyFault, check, doubt_problems, fault_problem, file_problem, flaw_problems
from scheduler.core.formats.shapes import AnyShape
from scheduler.core.formats.yamlfile import read_yaml
from scheduler.core.values.engines import HEARTBEAT, LOST_AFTER, MAX_OUT, EncryptionKey, EngineSettings, TlsFiles
from scheduler.core.values.problems import Problem
from scheduler.core.values.texts import TextError, decode


class TlsShape(Shape):
    """The files of TLS, in PEM."""

    ca: Line | None = optional_key("Whom to trust. Default: what the system trusts.", "/etc/ssl/temporal-ca.pem")
    cert: Line | None = optional_key("The certificate of this host.", "/etc/ssl/scheduler.pem")
    key: Line | None = optional_key("Its key.", "/etc/ssl/scheduler.key")


class KeyShape(Shape):
    """One key."""

    id: Line = Field(description="Its name, which the server can read.", examples=["k1"])
    key: Line = Field(description="32 bytes in base64: ${file:PATH} or ${env:NAME}.", examples=["${file:/run/k1}"])


class EncryptionShape(Shape):
    """The keys that control planes and workers share."""

    inner: ClassVar[Mapping[str, type[Shape]]] = {"keys": KeyShape}

    keys: Annotated[list[KeyShape], AfterValidator(rules.not_empty)] = Field(
        description="The first encrypts, all of them decrypt."
    )


class TemporalShape(Shape):
    """The server."""

    inner: ClassVar[Mapping[str, type[Shape]]] = {"tls": TlsShape, "encryption": EncryptionShape}

    address: Annotated[Line, AfterValidator(rules.server_address)] = Field(
        description="HOST:PORT of its frontend.", examples=["temporal.internal:7233"]
    )
    namespace: Line = Field(default="default", description="One for each group of hosts that trust each other.")
    tls: Literal[True] | TlsShape | None = optional_key("true, or the files. Default: no TLS.", True)
    api_key: Line | None = optional_key(
        "The key of a hosted server: ${file:PATH} or ${env:NAME}.", "${file:/run/secrets/temporal}"
    )
    encryption: EncryptionShape | None = optional_key("Default: the server can read texts and outputs.")


class EngineShape(Shape):
    """engine.yaml."""

    inner: ClassVar[Mapping[str, type[Shape]]] = {"temporal": TemporalShape}

    temporal: TemporalShape
    root_id: Annotated[Line, AfterValidator(rules.root_id)] | None = optional_key(
        "What the runs of this root begin with on the server. Default: the id of the database.", "prompts-prod"
    )
    lost_after: Duration = Field(
        default=LOST_AFTER, description="How long a silent worker is asked for before its run counts as lost."
    )
    heartbeat: Duration = Field(
        default=HEARTBEAT, description="After how long without a sign of life a worker is asked what became of its run."
    )
    max_out: int = Field(default=MAX_OUT, ge=1, le=100_000, description="How many runs are handed over at once.")


def read_engine_file(data: bytes, *, path: str) -> tuple[EngineSettings | None, tuple[Problem, ...]]:
    """What the file says, or None if it has an error; its problems, sorted. Never raises, whatever the bytes."""
    shape, problems = read_host_file(EngineShape, data, path=path)
    if shape is None:
        return None, problems
    server = server_of(shape.temporal)
    found = replace(server, root_id=shape.root_id, lost_after=shape.lost_after, max_out=shape.max_out)
    return replace(found, heartbeat=shape.heartbeat), problems


def server_of(said: TemporalShape) -> EngineSettings:
    tls, encryption = said.tls, said.encryption
    files = TlsFiles() if tls is True else None if tls is None else TlsFiles(ca=tls.ca, cert=tls.cert, key=tls.key)
    return EngineSettings(
        address=said.address,
        namespace=said.namespace,
        tls=files,
        api_key=said.api_key,
        keys=() if encryption is None else tuple(EncryptionKey(id=each.id, key=each.key) for each in encryption.keys),
    )


def read_host_file(wanted: type[AnyShape], data: bytes, *, path: str) -> tuple[AnyShape | None, tuple[Problem, ...]]:
    """The shape of a file of this host, or None if it has an error; its problems, sorted. Never raises."""
    try:
        documents = read_yaml(decode(data))
    except TextError as error:
        return None, (file_problem(path, error),)
    if len(documents) != 1 or not isinstance(documents[0].data, dict):
        message = "the file is no single mapping"
        return None, (Problem(path, 1, 1, "key.missing", message, "write temporal: {address: HOST:PORT}"),)
    (found,) = documents
    shape, faults = check(wanted, found.data, raw=found.raw, folder="")
    problems = [*flaw_problems(path, found, None), *doubt_problems(path, found, None)]
    problems += [fault_problem(path, found, _unsaid(each), None) for each in faults]
    failed = any(each.is_error for each in problems)
    return None if failed else shape, tuple(sorted(problems))


def _unsaid(fault: KeyFault) -> KeyFault:
    """The same without the value, where that may be a secret."""
    name = fault.path[-1] if fault.path else ""
    if name not in ("api_key", "key") or fault.at_key:
        return fault
    return replace(fault, message=f"{name} is not valid", hint="write ${file:PATH} or ${env:NAME}")
