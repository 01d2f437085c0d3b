"""A store for a test, and what it takes to wait on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.services.store import Store

PATIENCE = 20.0
STEP = 0.01


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Kept:
    """A store; `clock` is there when its time is ours to move."""

    store: Store
    clock: Clock | None = None

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Let time pass until something holds."""
        end = time.monotonic() + PATIENCE
        while not await condition():
            assert time.monotonic() < end, "waited in vain"
            if self.clock is not None:
                self.clock.now += STEP
            else:
                await asyncio.sleep(STEP)
