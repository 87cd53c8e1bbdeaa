"""Encrypts all that is sent: the server keeps no text, answer or error that it could read (AES-GCM).

Names stay readable: ids of workflows, queues and hosts, and times and sizes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

from scheduler.core.values.engines import EncryptionKey
from scheduler.core.values.problems import RefusedError
from scheduler.run.temporal.setup import secret

ENCODING = b"binary/encrypted"
_KEY_BYTES, _NONCE_BYTES = 32, 12


class NoKeyError(RuntimeError):
    """A payload for which this host has no key."""


class Codec(PayloadCodec):
    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """keys: by id; the first encrypts."""
        self._first = keys[0][0].encode()
        self._ciphers = {name.encode(): AESGCM(key) for name, key in keys}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypted(each) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypted(each) for each in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        data = nonce + self._ciphers[self._first].encrypt(nonce, payload.SerializeToString(), self._first)
        return Payload(metadata={"encoding": ENCODING, "key-id": self._first}, data=data)

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload  # of a time before there were keys
        name = payload.metadata.get("key-id", b"")
        known = ", ".join(each.decode() for each in self._ciphers)
        if name not in self._ciphers:
            raise NoKeyError(f"it is encrypted with key {name.decode('utf-8', 'replace')!r}; this host has {known}")
        try:
            found = self._ciphers[name].decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], name)
        except InvalidTag:
            raise NoKeyError(f"key {name.decode()!r} of this host is another one than that of the sender") from None
        return Payload.FromString(found)


def marks(keys: Sequence[EncryptionKey], environ: Mapping[str, str]) -> tuple[str, ...]:
    """What tells keys apart and betrays none, in their order: ids alone do not. Raises: RefusedError."""
    return tuple(f"{each.id}-{hashlib.sha256(_key(each, environ)).hexdigest()[:8]}" for each in keys)


def converter(keys: Sequence[EncryptionKey], environ: Mapping[str, str]) -> DataConverter:
    """Raises: RefusedError, without the key."""
    if not keys:
        return DataConverter.default
    return replace(
        DataConverter.default,
        payload_codec=Codec([(each.id, _key(each, environ)) for each in keys]),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def _key(key: EncryptionKey, environ: Mapping[str, str]) -> bytes:
    try:
        found = base64.b64decode(secret(key.key, environ) or "", validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != _KEY_BYTES:
        raise RefusedError(
            f"encryption key {key.id!r} is not {_KEY_BYTES} bytes in base64", hint="make one: openssl rand -base64 32"
        )
    return found
