"""A store that lets nobody read what is in it.

Names become HMACs of the keys. Values are encrypted with AES-256-GCM under a key of their own, made from the pepper and
the key that the rules know, and bound to their name: who can read the store learns neither, and who can write to it can
move no value to another name. Without a pepper a key that can be guessed, such as an e-mail address, can be found by
trying; one that is random, such as a state, cannot.
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...engine.effects import Reserved
from . import Store, StoreError

_NONCE = 12


class SealedStore:
    """Any store, sealed with a pepper: the operator's secret, or nothing."""

    def __init__(self, store: Store, pepper: bytes) -> None:
        self._store = store
        self._root = HKDF(SHA256(), 64, salt=None, info=b"vestibule store 1").derive(pepper)

    async def get(self, key: str) -> bytes | None:
        name, secret = self._derive(key)
        return _open(secret, name, await self._store.get(name))

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        name, secret = self._derive(key)
        await self._store.set(name, _seal(secret, name, value), ttl)

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        name, secret = self._derive(key)
        return await self._store.add(name, _seal(secret, name, value), ttl)

    async def take(self, key: str) -> bytes | None:
        name, secret = self._derive(key)
        return _open(secret, name, await self._store.take(name))

    async def increment(self, key: str, ttl: float) -> int:
        return await self._store.increment(self._derive(key)[0], ttl)

    async def reserve(self, key: str, *, most: int, per: float, block: float | None, lease: float | None) -> Reserved:
        return await self._store.reserve(self._derive(key)[0], most=most, per=per, block=block, lease=lease)

    async def settle(self, key: str, ticket: str, *, failed: bool, most: int, per: float, block: float | None) -> None:
        name = self._derive(key)[0]
        await self._store.settle(name, ticket, failed=failed, most=most, per=per, block=block)

    async def close(self) -> None:
        await self._store.close()

    def _derive(self, key: str) -> tuple[str, bytes]:
        """Give the name of a key in the store and the secret of its value: neither half tells of the other."""
        both = hmac.digest(self._root, key.encode("utf-8", "surrogatepass"), "sha512")
        return both[:32].hex(), both[32:]


def _seal(secret: bytes, name: str, value: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(secret).encrypt(nonce, value, name.encode())


def _open(secret: bytes, name: str, sealed: bytes | None) -> bytes | None:
    if sealed is None:
        return None
    try:
        return AESGCM(secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
    except (InvalidTag, ValueError):
        raise StoreError("a value in the store was sealed with another `store_key`, or was tampered with") from None
