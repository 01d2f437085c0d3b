"""A store in the memory of this process, for one worker and for test runs.

Nothing here ever waits: each coroutine runs to its end at the first `send(None)`, so no event loop is needed. When it
is full, what is new is refused and what is there stays: else whoever fills it could wipe out a block.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from ...engine.effects import Reserved
from . import StoreError
from .window import Window

# What an entry takes beside its key and value, about.
_ENTRY = 300
_TRY = 64
# A heap with more than twice as many rows as there are entries is built anew, but never one as small as this.
_SMALL = 64


@dataclass(slots=True)
class _Entry:
    # Bytes, a count or a Window: the first letter of its name says which.
    value: Any
    end: float
    size: int


class MemoryStore:
    """A store in memory; `clock` gives seconds, and never goes back."""

    def __init__(self, clock: Callable[[], float], most_bytes: int = 128 << 20) -> None:
        self._clock = clock
        self._most = most_bytes
        self._size = 0
        self._entries: dict[str, _Entry] = {}
        # Rows of overwritten entries stay until their time: an entry is over only by its own `end`.
        self._ends: list[tuple[float, str]] = []
        self._tickets = count(1)

    async def get(self, key: str) -> bytes | None:
        self._forget()
        entry = self._entries.get("v" + key)
        return entry.value if entry is not None else None

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        now = self._forget()
        self._put("v" + key, value, now + ttl, len(value))

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        now = self._forget()
        if "v" + key in self._entries:
            return False
        self._put("v" + key, value, now + ttl, len(value))
        return True

    async def take(self, key: str) -> bytes | None:
        self._forget()
        entry = self._entries.get("v" + key)
        if entry is None:
            return None
        self._drop("v" + key)
        return entry.value  # type: ignore[no-any-return]

    async def increment(self, key: str, ttl: float) -> int:
        now = self._forget()
        entry = self._entries.get("c" + key)
        if entry is None:
            self._put("c" + key, 1, now + ttl, 0)
            return 1
        entry.value += 1
        return entry.value  # type: ignore[no-any-return]

    async def reserve(self, key: str, *, most: int, per: float, block: float | None, lease: float | None) -> Reserved:
        now = self._forget()
        window = self._window("l" + key)
        ticket = str(next(self._tickets))
        wait = window.reserve(now, ticket, most=most, per=per, block=block, lease=lease)
        self._keep("l" + key, window)
        return Reserved(ticket) if not wait else Reserved(None, wait)

    async def settle(self, key: str, ticket: str, *, failed: bool, most: int, per: float, block: float | None) -> None:
        now = self._forget()
        window = self._window("l" + key)
        window.settle(now, ticket, failed=failed, most=most, per=per, block=block)
        self._keep("l" + key, window)

    async def close(self) -> None:
        self._entries.clear()
        self._ends.clear()
        self._size = 0

    def _window(self, name: str) -> Window:
        entry = self._entries.get(name)
        return entry.value if entry is not None else Window()

    def _keep(self, name: str, window: Window) -> None:
        end = window.end()
        if end:
            self._put(name, window, end, _TRY * (len(window.counted) + len(window.open)))
        elif name in self._entries:
            self._drop(name)

    def _put(self, name: str, value: Any, end: float, size: int) -> None:
        size += len(name) + _ENTRY
        old = self._entries.get(name)
        grown = self._size + size - (old.size if old is not None else 0)
        if grown > self._most and (old is None or size > old.size):
            raise StoreError("the store in memory is full")
        self._size = grown
        self._entries[name] = _Entry(value, end, size)
        if old is None or old.end != end:
            heapq.heappush(self._ends, (end, name))
            if len(self._ends) > _SMALL + 2 * len(self._entries):
                self._ends = [(entry.end, name) for name, entry in self._entries.items()]
                heapq.heapify(self._ends)

    def _drop(self, name: str) -> None:
        self._size -= self._entries.pop(name).size

    def _forget(self) -> float:
        """Drop what is over; return the time."""
        now = self._clock()
        ends = self._ends
        while ends and ends[0][0] <= now:
            end, name = heapq.heappop(ends)
            entry = self._entries.get(name)
            if entry is not None and entry.end == end:
                self._drop(name)
        return now
