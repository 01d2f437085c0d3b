"""Every store that there is, for the tests that run on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.services.store import Store
from proxy.services.store.address import parse_store
from proxy.services.store.memory import MemoryStore
from proxy.services.store.redis import RedisStore
from proxy.services.store.sealed import SealedStore
from proxy.services.store.sqlite import SqliteStore
from tests.services.store.stores import Clock, Kept
from tests.services.store.valkey import Server, clustered, serving

_KINDS = [how + kind for how in ("", "sealed ") for kind in ("memory", "sqlite", "redis", "cluster")]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with clustered(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster.servers


@pytest.fixture(params=_KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    """A store of each kind, empty."""
    how, _, kind = request.param.rpartition(" ")
    clock: Clock | None = None
    store: Store
    match kind:
        case "memory":
            clock = Clock()
            store = MemoryStore(clock)
        case "sqlite":
            store = SqliteStore(tmp_path / "store.db")
        case "redis":
            server: Server = request.getfixturevalue("server")
            server.ask("FLUSHALL")
            store = RedisStore(parse_store(server.url))
        case _:
            servers: list[Server] = request.getfixturevalue("cluster")
            for server in servers:
                server.ask("FLUSHALL")
            store = RedisStore(parse_store(f"redis+cluster://127.0.0.1:{servers[0].port}"))
    yield Kept(SealedStore(store, b"test-only-pepper") if how else store, clock)
    await store.close()
