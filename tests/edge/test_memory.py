"""The cap on memory: what is kept is counted before it is too much, and what is let go before more are refused."""

from __future__ import annotations

import asyncio

from proxy.edge.deadlines import Wheel
from proxy.edge.memory import Memory
from proxy.edge.turn import Turn

MB = 1 << 20


async def test_who_lets_go_of_enough_ends_the_shortage_at_once() -> None:
    wheel = Wheel(Turn(asyncio.get_running_loop()))
    changes: list[bool] = []
    # One that is short has the allocator give back what earlier tests left, so that the next need not count with it.
    short = Memory(wheel, 1, tell=lambda: None, relieve=lambda: None)
    cap = int((short.resident() + 192 * MB) / 0.9)
    short.close()
    memory = Memory(wheel, cap, tell=lambda: changes.append(memory.short), relieve=lambda: None)
    assert not memory.take(1)
    kept = bytearray(b"x" * (128 * MB))
    assert memory.take(len(kept))
    memory.give(1)
    assert memory.short
    size = len(kept)
    del kept
    memory.give(size)
    assert changes == [True, False]
    memory.close()
    wheel.close()
