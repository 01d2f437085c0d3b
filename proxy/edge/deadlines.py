"""One coarse timer wheel per worker: thousands of deadlines for one timer of the event loop.

A deadline is moved by writing a number; the wheel looks at it when its slot comes round. Nothing here is exact: a
deadline expires up to two ticks late and never early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from .turn import Turn

TICK = 0.1


def _nothing() -> None:
    pass


class Deadline:
    """A deadline that is set, moved and cleared many times; `expire` is called once each time it is reached."""

    __slots__ = ("_slot", "_wheel", "due", "expire")

    def __init__(self, wheel: Wheel, expire: Callable[[], None]) -> None:
        self._wheel = wheel
        self.expire = expire
        self.due: float | None = None
        # The slot that holds this deadline, if any: a later `due` waits for it, an earlier one takes another.
        self._slot = 0

    def set(self, seconds: float) -> None:
        wheel = self._wheel
        due = self.due = wheel.time() + seconds
        slot = int(due / TICK) + 1
        if not self._slot or slot < self._slot:
            self._slot = slot
            wheel.put(self, slot)

    def clear(self) -> None:
        self.due = None

    def close(self) -> None:
        """Clear for good, and let go of the owner: the wheel may hold this entry for a while yet."""
        self.due = None
        self.expire = _nothing

    def turn(self, slot: int, now: float) -> None:
        """Expire, or move to the slot of a `due` that was moved; called by the wheel."""
        if slot != self._slot:
            return
        self._slot = 0
        if self.due is None:
            return
        if self.due <= now:
            self.due = None
            self.expire()
            return
        self._slot = int(self.due / TICK) + 1
        self._wheel.put(self, self._slot)


class Wheel:
    """The deadlines of one event loop, in slots of a tick each."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._loop = loop = turn.loop
        self.time = loop.time
        self._slots: dict[int, list[Deadline]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._last = int(loop.time() / TICK)

    def put(self, deadline: Deadline, slot: int) -> None:
        held = self._slots.get(slot)
        if held is None:
            self._slots[slot] = [deadline]
        else:
            held.append(deadline)
        if self._handle is None:
            self._last = min(int(self.time() / TICK), slot) - 1
            self._handle = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        current = int(self.time() / TICK)
        slots = self._slots
        if current - self._last > len(slots):
            passed = sorted(slot for slot in slots if slot <= current)
        else:
            passed = [slot for slot in range(self._last + 1, current + 1) if slot in slots]
        self._last = current
        self._handle = self._loop.call_later(TICK, self._tick) if len(slots) > len(passed) else None
        for slot in passed:
            for deadline in slots.pop(slot):
                if self.turn.over():
                    self.turn.put_off(partial(self._look, deadline, slot))
                else:
                    self._look(deadline, slot)

    def _look(self, deadline: Deadline, slot: int) -> None:
        try:
            # Not the time of the tick: a deadline that goes on must not take a slot that has passed meanwhile.
            deadline.turn(slot, self.time())
        except Exception as error:
            # One deadline's fault must not cost the others theirs.
            self._loop.call_exception_handler({"message": f"a deadline failed: {type(error).__name__}"})

    def close(self) -> None:
        """Stop; no deadline expires any more."""
        self._slots.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
