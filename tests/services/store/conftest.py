"""Every store that there is, for the tests that run on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.services.store import Store
from proxy.services.store.memory import MemoryStore
from proxy.services.store.sealed import SealedStore
from proxy.services.store.sqlite import SqliteStore
from tests.services.store.stores import Clock, Kept

KINDS = ["memory", "sqlite"]


@pytest.fixture(params=[*KINDS, *(f"sealed {kind}" for kind in KINDS)])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    """A store of each kind, empty."""
    how, _, kind = request.param.rpartition(" ")
    clock: Clock | None = None
    store: Store
    if kind == "memory":
        clock = Clock()
        store = MemoryStore(clock)
    else:
        store = SqliteStore(tmp_path / "store.db")
    yield Kept(SealedStore(store, b"test-only-pepper") if how else store, clock)
    await store.close()
