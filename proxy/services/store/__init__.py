"""The store: what rules keep between exchanges, behind one small interface.

Every operation is atomic, over all processes and machines that share the store. An operation that fails in any way
raises StoreError; one that is cancelled leaves nothing behind that a later one could mistake for its answer.
"""

from __future__ import annotations

from typing import Protocol

from ...engine.effects import Reserved


class StoreError(Exception):
    """A store that is down, slow or full, in words for the operator; no key and no value."""


class Store(Protocol):
    """Where values are kept by key. Times are seconds; a value is gone when its `ttl` is over.

    Values, counts and limits are apart: one key may name one of each.
    """

    async def get(self, key: str) -> bytes | None:
        """Read a value."""

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Store a value, over what is there."""

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Store a value if there is none; say whether it was stored."""

    async def take(self, key: str) -> bytes | None:
        """Read a value and delete it: of many that ask at once, one gets it."""

    async def increment(self, key: str, ttl: float) -> int:
        """Count one more; the count begins anew `ttl` after its first."""

    async def reserve(self, key: str, *, most: int, per: float, block: float | None, lease: float | None) -> Reserved:
        """Ask for a try under a limit (see effects.Reserve); without `lease` it counts at once.

        A reservation that is never settled is forgotten after `lease`.
        """

    async def settle(self, key: str, ticket: str, *, failed: bool, most: int, per: float, block: float | None) -> None:
        """End a reservation (see effects.Settle); a failure counts even when its lease is over, and only once."""

    async def close(self) -> None:
        """Let go of connections and files."""
