"""Opening the store that an operator chose."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..pem import PemFiles
from . import Store, StoreError
from .address import StoreAddress

if TYPE_CHECKING:
    from .redis import RedisStore
    from .sqlite import SqliteStore


def open_store(address: StoreAddress, pepper: bytes, files: PemFiles | None = None) -> Store:
    """Open a store for this process, after any fork; raise StoreError.

    What leaves the process is sealed with `pepper`. What is kept in memory is not: there is nothing to hide it from.
    `files` are read in the place of its files of TLS, by their names in the address.
    """
    if address.kind == "memory":
        from .memory import MemoryStore

        return MemoryStore(time.monotonic)
    from .sealed import SealedStore

    return SealedStore(_sqlite(address) if address.kind == "sqlite" else _redis(address, files), pepper)


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


def _redis(address: StoreAddress, files: PemFiles | None = None) -> RedisStore:
    try:
        from .redis import RedisStore
    except ImportError:
        raise StoreError(f"the store {address} needs more to be installed: pip install 'vestibule[redis]'") from None
    return RedisStore(address, files)
