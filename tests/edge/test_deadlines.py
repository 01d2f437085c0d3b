"""The timer wheel: never early, at most two ticks late, moved without cost."""

from __future__ import annotations

import asyncio

from proxy.edge.deadlines import TICK, Deadline, Wheel
from proxy.edge.turn import Turn

SLACK = 0.5


async def expiry(seconds: float, *moves: float) -> float:
    """Return how long a deadline took that was set and then moved."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(Turn(loop))
    done = asyncio.Event()
    deadline = Deadline(wheel, done.set)
    begun = loop.time()
    deadline.set(seconds)
    for move in moves:
        deadline.set(move)
    async with asyncio.timeout(5):
        await done.wait()
    took = loop.time() - begun
    wheel.close()
    return took


async def test_a_deadline_expires_in_time_and_never_early() -> None:
    took = await asyncio.gather(*(expiry(seconds) for seconds in (0.0, 0.05, 0.2, 0.33)))
    for seconds, real in zip((0.0, 0.05, 0.2, 0.33), took, strict=True):
        assert seconds <= real < seconds + 2 * TICK + SLACK


async def test_a_deadline_can_be_moved_either_way() -> None:
    later, sooner, both = await asyncio.gather(expiry(0.1, 0.4), expiry(3.0, 0.1), expiry(0.3, 0.1, 0.5))
    assert 0.4 <= later < 0.4 + 2 * TICK + SLACK
    assert sooner < 0.1 + 2 * TICK + SLACK
    assert 0.5 <= both < 0.5 + 2 * TICK + SLACK


async def test_a_cleared_deadline_never_expires_and_can_be_set_again() -> None:
    wheel = Wheel(Turn(asyncio.get_running_loop()))
    expired: list[str] = []
    done = asyncio.Event()
    cleared = Deadline(wheel, lambda: expired.append("cleared"))
    closed = Deadline(wheel, lambda: expired.append("closed"))
    again = Deadline(wheel, lambda: expired.append("again"))
    last = Deadline(wheel, done.set)
    for deadline in (cleared, closed, again):
        deadline.set(0.1)
        deadline.clear()
    closed.close()
    again.set(0.1)
    last.set(0.4)
    async with asyncio.timeout(5):
        await done.wait()
    assert expired == ["again"]


async def test_a_deadline_expires_once_each_time_it_is_set() -> None:
    wheel = Wheel(Turn(asyncio.get_running_loop()))
    times = 0
    done = asyncio.Event()

    def expire() -> None:
        nonlocal times
        times += 1
        if times < 3:
            deadline.set(0.0)
        else:
            done.set()

    deadline = Deadline(wheel, expire)
    deadline.set(0.2)
    deadline.set(0.0)
    async with asyncio.timeout(5):
        await done.wait()
    assert times == 3
    assert deadline.due is None
