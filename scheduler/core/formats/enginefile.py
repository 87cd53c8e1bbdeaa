"""engine.yaml in the state folder: how this host reaches the server from which workers take runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from scheduler.core.formats import rules
from scheduler.core.formats.base import Duration, Line, Shape, optional_key
from scheduler.core.formats.faults import check, doubt_problems, fault_problem, file_problem, flaw_problems
from scheduler.core.formats.yamlfile import read_yaml
from scheduler.core.values.engines import LOST_AFTER, MAX_OUT, EngineSettings, TlsFiles
from scheduler.core.values.problems import Problem
from scheduler.core.values.texts import TextError, decode


class TlsShape(Shape):
    """The files of TLS, in PEM."""

    ca: Line | None = optional_key("Whom to trust. Default: what the system trusts.", "/etc/ssl/temporal-ca.pem")
    cert: Line | None = optional_key("The certificate of this host.", "/etc/ssl/scheduler.pem")
    key: Line | None = optional_key("Its key.", "/etc/ssl/scheduler.key")


class TemporalShape(Shape):
    """The server."""

    inner: ClassVar[Mapping[str, type[Shape]]] = {"tls": TlsShape}

    address: Annotated[Line, AfterValidator(rules.server_address)] = Field(
        description="HOST:PORT of its frontend.", examples=["temporal.internal:7233"]
    )
    namespace: Line = Field(default="default", description="One for each group of hosts that trust each other.")
    tls: Literal[True] | TlsShape | None = optional_key("true, or the files. Default: no TLS.", True)
    api_key: Line | None = optional_key(
        "The key of a hosted server: ${file:PATH} or ${env:NAME}.", "${file:/run/secrets/temporal}"
    )


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
    max_out: int = Field(default=MAX_OUT, ge=1, le=100_000, description="How many runs are handed over at once.")


def read_engine_file(data: bytes, *, path: str) -> tuple[EngineSettings | None, tuple[Problem, ...]]:
    """What the file says, or None if it has an error; its problems, sorted. Never raises, whatever the bytes."""
    try:
        documents = read_yaml(decode(data))
    except TextError as error:
        return None, (file_problem(path, error),)
    if len(documents) != 1 or not isinstance(documents[0].data, dict):
        message = "the file is no single mapping"
        return None, (Problem(path, 1, 1, "key.missing", message, "write temporal: {address: HOST:PORT}"),)
    (found,) = documents
    shape, faults = check(EngineShape, found.data, raw=found.raw, folder="")
    problems = [*flaw_problems(path, found, None), *doubt_problems(path, found, None)]
    problems += [fault_problem(path, found, each, None) for each in faults]
    if shape is None or any(each.is_error for each in problems):
        return None, tuple(sorted(problems))
    said, tls = shape.temporal, shape.temporal.tls
    files = TlsFiles() if tls is True else None if tls is None else TlsFiles(ca=tls.ca, cert=tls.cert, key=tls.key)
    return EngineSettings(
        address=said.address,
        namespace=said.namespace,
        tls=files,
        api_key=said.api_key,
        root_id=shape.root_id,
        lost_after=shape.lost_after,
        max_out=shape.max_out,
    ), tuple(sorted(problems))
