"""A sealed store: nothing in it can be read, and no value can be moved."""

from __future__ import annotations

import pytest

from proxy.engine.effects import Reserved
from proxy.services.store import StoreError
from proxy.services.store.memory import MemoryStore
from proxy.services.store.sealed import SealedStore

PEPPER = b"test-only-pepper"


class Recorder(MemoryStore):
    """A store that remembers under which names it was asked."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.names: list[str] = []

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        self.names.append(key)
        await super().set(key, value, ttl)

    async def increment(self, key: str, ttl: float) -> int:
        self.names.append(key)
        return await super().increment(key, ttl)

    async def reserve(self, key: str, *, most: int, per: float, block: float | None, lease: float | None) -> Reserved:
        self.names.append(key)
        return await super().reserve(key, most=most, per=per, block=block, lease=lease)


async def test_neither_keys_nor_values_are_in_the_store() -> None:
    inner = Recorder()
    store = SealedStore(inner, PEPPER)
    await store.set("jane@example.com", b"a secret answer", 60)
    await store.increment("jane@example.com", 60)
    await store.reserve("jane@example.com", most=1, per=60, block=None, lease=60)
    assert len(set(inner.names)) == 1
    assert "jane" not in inner.names[0]
    kept = await inner.get(inner.names[0])
    assert kept is not None
    assert b"secret" not in kept
    assert b"jane" not in kept


async def test_the_same_value_never_looks_the_same_twice() -> None:
    inner = Recorder()
    store = SealedStore(inner, PEPPER)
    await store.set("k", b"value", 60)
    first = await inner.get(inner.names[0])
    await store.set("k", b"value", 60)
    assert await inner.get(inner.names[0]) != first


async def test_a_value_opens_under_no_other_name() -> None:
    inner = Recorder()
    store = SealedStore(inner, PEPPER)
    await store.set("mine", b"1", 60)
    await store.set("yours", b"2", 60)
    mine, yours = inner.names
    moved = await inner.get(mine)
    assert moved is not None
    await inner.set(yours, moved, 60)
    with pytest.raises(StoreError, match="tampered"):
        await store.get("yours")
    with pytest.raises(StoreError, match="tampered"):
        await store.take("yours")


@pytest.mark.parametrize("kept", [b"", b"short", b"x" * 100], ids=["empty", "short", "long"])
async def test_what_was_never_sealed_does_not_open(kept: bytes) -> None:
    inner = Recorder()
    store = SealedStore(inner, PEPPER)
    await store.set("k", b"v", 60)
    await inner.set(inner.names[0], kept, 60)
    with pytest.raises(StoreError, match="store_key"):
        await store.get("k")


async def test_another_pepper_finds_nothing() -> None:
    inner = MemoryStore(lambda: 0.0)
    await SealedStore(inner, PEPPER).set("k", b"v", 60)
    assert await SealedStore(inner, b"").get("k") is None
    assert await SealedStore(inner, b"test-only-other").get("k") is None
    assert await SealedStore(inner, PEPPER).get("k") == b"v"
