"""What stands between us and a server: a network that falls silent, TLS, and a door that lets nobody in."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Door:
    """Accepts connections on `port`, in a thread of its own."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context, self._ends = context, list[asyncio.StreamWriter]()
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        ready.wait()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._context) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await self._over.wait()
            for each in self._ends:
                each.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


class Wire(Door):
    """A network that can fall silent: connections stay open, and nothing passes any more."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        """context: of a server that speaks TLS, before one that does not."""
        self._target = port
        self.open = threading.Event()
        self.open.set()
        super().__init__(context)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source, target = await asyncio.open_connection("127.0.0.1", self._target)
        self._ends += writer, target
        await asyncio.gather(self._pump(reader, target), self._pump(source, writer), return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self.open.is_set():
                target.write(data)
        target.close()


class Refusing(Door):
    """A frontend that answers each call with UNAUTHENTICATED: so much HTTP/2 as that takes."""

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            writer.write(_frame(_SETTINGS))
            while True:
                head = await reader.readexactly(9)
                size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                body = await reader.readexactly(size)
                if kind == _SETTINGS and not flags & _ACK:
                    writer.write(_frame(_SETTINGS, flags=_ACK))
                elif kind == _PING and not flags & _ACK:
                    writer.write(_frame(_PING, body, flags=_ACK))
                elif kind == _HEADERS:
                    writer.write(_frame(_HEADERS, _REFUSED, flags=_ENDS, stream=struct.unpack(">I", head[5:])[0]))


_HEADERS, _SETTINGS, _PING, _ACK, _ENDS = 1, 4, 6, 1, 5


def _frame(kind: int, body: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + body


def _header(name: bytes, value: bytes) -> bytes:
    """As HPACK writes one that it is not to remember."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


_REFUSED = b"\x88" + _header(b"content-type", b"application/grpc") + _header(b"grpc-status", b"16")
_REFUSED += _header(b"grpc-message", b"the key has expired")


class Authority:
    """Makes certificates. Each comes as two files: NAME.pem and NAME.key."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key, self._name = folder, ec.generate_private_key(ec.SECP256R1()), "ca"
        folder.mkdir()
        self.ca = self.issue("ca", authority=True)

    def issue(self, name: str, *, days: int = 1, authority: bool = False) -> Path:
        """days: until it expires, or since it has."""
        key = self._key if authority else ec.generate_private_key(ec.SECP256R1())
        end = datetime.now(UTC) + days * DAY
        made = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named("ca"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - 9 * DAY)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{name}.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        path.with_suffix(".key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
        return path

    def context(self, certificate: Path) -> ssl.SSLContext:
        """Of a server that wants a certificate of its clients, as a cluster does."""
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(certificate, certificate.with_suffix(".key"))
        found.load_verify_locations(self.ca)
        found.verify_mode = ssl.CERT_REQUIRED
        found.set_alpn_protocols(["h2"])
        return found


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
