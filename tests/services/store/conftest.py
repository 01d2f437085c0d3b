"""Every store that there is, for the tests that run on all of them."""

from __future__ import annotations

import pytest

from proxy.services.store.memory import MemoryStore
from tests.services.store.stores import Clock, Kept


@pytest.fixture(params=["memory"])
async def kept(request: pytest.FixtureRequest) -> Kept:
    """A store of each kind, empty."""
    clock = Clock()
    return Kept(MemoryStore(clock), clock)
