"""Opening the store that an operator chose."""

from __future__ import annotations

import time

from . import Store, StoreError
from .address import StoreAddress
from .memory import MemoryStore
from .sealed import SealedStore


def open_store(address: StoreAddress, pepper: bytes) -> Store:
    """Open a store for this process, after any fork; raise StoreError.

    What leaves the process is sealed with `pepper`. What is kept in memory is not: there is nothing to hide it from.
    """
    if address.kind == "memory":
        return MemoryStore(time.monotonic)
    if address.kind == "sqlite":
        from .sqlite import SqliteStore

        if address.path is None:
            raise StoreError("the store has no file yet")
        return SealedStore(SqliteStore(address.path), pepper)
    try:
        from .redis import RedisStore
    except ImportError:
        raise StoreError(f"the store {address} needs more to be installed: pip install 'vestibule[redis]'") from None
    return SealedStore(RedisStore(address), pepper)
