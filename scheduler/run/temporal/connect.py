"""A connection to the server, for the control plane's client and for workers; and in words why there is none."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from scheduler.core.values.engines import EngineSettings
from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.run.temporal.codec import NoKeyError, converter
from scheduler.run.temporal.setup import secret

RPC = timedelta(seconds=10)


@functools.cache
def _runtime() -> Runtime:
    """One a process. The library's core writes to the terminal unless its log goes where ours goes."""
    forwarding = LogForwardingConfig(logging.getLogger(__name__))
    chosen = LoggingConfig(TelemetryFilter(core_level="ERROR", other_level="ERROR"), forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=chosen))


async def connect(settings: EngineSettings, environ: Mapping[str, str], *, identity: str | None = None) -> Client:
    """A client whose server and namespace have answered.

    Raises: UnavailableError if the server does not answer; RefusedError if a key or a certificate cannot be read, or
    the server refuses us.
    """
    tls: bool | TLSConfig = False
    if (files := settings.tls) is not None:
        tls = TLSConfig(
            server_root_ca_cert=_content(files.ca),
            client_cert=_content(files.cert),
            client_private_key=_content(files.key),
        )
    key, chosen = secret(settings.api_key, environ), converter(settings.keys, environ)
    try:
        client = await Client.connect(
            settings.address,
            namespace=settings.namespace,
            tls=tls,
            api_key=key,
            data_converter=chosen,
            identity=identity,
            runtime=_runtime(),
        )
        await _ask_namespace(client)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise RefusedError(
                f"temporal.namespace: {settings.address} has no namespace {settings.namespace!r}",
                hint=f"correct it, or create it: temporal operator namespace create --namespace {settings.namespace}"
                f" --retention 168h --address {settings.address}",
            ) from error
        if error.status is RPCStatusCode.UNAUTHENTICATED:
            raise _not_accepted(settings, error.message) from error
        raise _unavailable(settings, error.message) from error
    except (RuntimeError, OSError) as error:
        raise _unavailable(settings, str(error)) from error
    return client


async def _ask_namespace(client: Client) -> None:
    try:
        asked = DescribeNamespaceRequest(namespace=client.namespace)
        await client.workflow_service.describe_namespace(asked, timeout=RPC)
    except RPCError as error:
        if error.status is not RPCStatusCode.PERMISSION_DENIED:  # a key that may only start and run workflows
            raise


def renew_key(client: Client, error: RPCError, settings: EngineSettings, environ: Mapping[str, str]) -> None:
    """Read api_key anew if the server has refused the one in use: it expires, and its file gets another one."""
    if settings.api_key is None or error.status not in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
        return
    with contextlib.suppress(RefusedError):  # not there yet
        client.api_key = secret(settings.api_key, environ)


RENEW = "renew the key, and write it where api_key points"
_CHECK_TLS = "check tls: ca, cert and key"


def _not_accepted(settings: EngineSettings, why: str) -> UnavailableError:
    """It is tried again: a key that has expired is followed by another one."""
    key = "temporal.api_key: " if settings.api_key is not None else ""
    return UnavailableError(f"{key}{settings.address} does not accept us: {why}", hint=RENEW)


def _expired(settings: EngineSettings) -> str | None:
    """Which of our certificates is too old. A server that refuses it may just end the connection."""
    from cryptography.x509 import load_pem_x509_certificate

    for path in filter(None, (settings.tls.cert, settings.tls.ca) if settings.tls is not None else ()):
        with contextlib.suppress(OSError, ValueError):
            end = load_pem_x509_certificate(Path(path).read_bytes()).not_valid_after_utc
            if end < datetime.now(UTC):
                return f"{path} has expired on {end:%Y-%m-%d}"
    return None


def _unavailable(settings: EngineSettings, why: str) -> UnavailableError:
    """Says what an error of the library means: it comes as a dump of its own structures."""
    low, said = why.lower(), _said(why)
    if "unauthenticated" in low or "permissiondenied" in low:
        return _not_accepted(settings, said)
    if (expired := _expired(settings)) is not None:
        return UnavailableError(f"temporal.tls: {expired}; {settings.address}: {said}", hint="renew the certificate")
    if "certificate" in low or "handshake" in low:
        return UnavailableError(f"temporal.tls: {settings.address}: {said}", hint=_CHECK_TLS)
    if settings.tls is not None and (
        "after connection" in low or "transport error" in low
    ):  # as a server ends it that wants another certificate
        return UnavailableError(f"temporal.tls: {settings.address} ends the connection: {said}", hint=_CHECK_TLS)
    if "after connection" in low or "frame" in low:
        return UnavailableError(
            f"{settings.address} answers, but not as a Temporal server does: {said}",
            hint="check host and port (a frontend listens on 7233), and whether it wants tls: true",
        )
    return UnavailableError(
        f"no Temporal server answers at {settings.address}: {said}", hint="start it, or correct temporal.address"
    )


def _said(why: str) -> str:
    told = re.search(r'message: "([^"]+)"', why) or re.search(r"(InvalidCertificate\(\w+)", why)
    return told[1] if told is not None else why[:200]


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}") from error


async def probe(client: Client) -> str:
    """Why this host cannot read what control planes send, by the newest run. Empty if it can, or there is none."""
    try:
        async for each in client.list_workflows("WorkflowType = 'scheduler-run-1'", limit=1):
            try:
                await each.memo()
            except NoKeyError as error:
                return f"the newest run cannot be read: {error}"
            except KeyError:  # of the library, which knows no codec then
                return "the newest run cannot be read: it is encrypted, and this host has no key"
    except RPCError as error:
        raise UnavailableError(f"runs cannot be listed: {error.message}") from error
    return ""
