"""Opening the store that an operator chose."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import Store, StoreError
from .address import StoreAddress

if TYPE_CHECKING:
    from .redis import RedisStore
    from .sqlite import SqliteStore


def open_store(address: StoreAddress, pepper: bytes) -> Store:
    """Open a store for this process, after any fork; raise StoreError.

    What leaves the process is sealed with `pepper`. What is kept in memory is not: there is nothing to hide it from.
    """
    if address.kind == "memory":
        from .memory import MemoryStore

        return MemoryStore(time.monotonic)
    from .sealed import SealedStore

    return SealedStore(_sqlite(address) if address.kind == "sqlite" else _redis(address), pepper)


def check_store(address: StoreAddress) -> None:
    """Raise StoreError for a store that no worker could open. A server may be down: that is for each call to find."""
    if address.kind == "sqlite":
        _sqlite(address).release()
    elif address.kind == "redis":
        _redis(address)


def _sqlite(address: StoreAddress) -> SqliteStore:
    from .sqlite import SqliteStore

    if address.path is None:
        raise StoreError("the store has no file yet")
    return SqliteStore(address.path)


def _redis(address: StoreAddress) -> RedisStore:
    try:
        from .redis import RedisStore
    except ImportError:
        raise StoreError(f"the store {address} needs more to be installed: pip install 'vestibule[redis]'") from None
    for file in filter(None, (address.ca, address.cert, address.key)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise StoreError(f"the store's file for TLS {file} cannot be read: {error.strerror}") from None
    return RedisStore(address)
