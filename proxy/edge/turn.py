"""Bounds what one turn of the event loop does: what is too much for it waits for the next, in order of arrival.

Without it, hundreds of answers that arrive at once are worked off in one go, in which no timer expires and nobody else
is served. It knows nothing of what it puts off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

# Seconds. What was put off may take this long in a turn, and what arrives in it twice as long.
_MOST = 0.005
# Of what was put off, so much in a turn: the end of a connection costs little here and more in the turn after.
_BATCH = 256


class Turn:
    """Says when the turn of the loop is `over`, and calls what was put off in one of the next.

    No loop tells when its turn began. Whoever asks marks it, every few milliseconds at most, with a callback that the
    next turn begins with: while that is not called, it is the same turn.
    """

    __slots__ = ("_end", "_late", "_marked", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._late: deque[Callable[[], None]] = deque()
        self._end = 0.0
        self._marked = False

    def over(self) -> bool:
        now = monotonic()
        if self._late:
            # Whoever comes while others wait goes behind them.
            return True
        if now < self._end:
            return False
        if self._marked:
            return True
        self._marked = True
        self._end = now + _MOST
        self.loop.call_soon(self._mark)
        return False

    def _mark(self) -> None:
        self._marked = False
        self._end = monotonic() + _MOST

    def put_off(self, go_on: Callable[[], None]) -> None:
        """Call something in one of the next turns."""
        if not self._late:
            self.loop.call_soon(self._catch_up)
        self._late.append(go_on)

    def _catch_up(self) -> None:
        late = self._late
        end = monotonic() + _MOST
        for _ in range(min(len(late), _BATCH)):
            try:
                late[0]()
            except Exception as error:
                # One caller's fault must not cost the others theirs.
                self.loop.call_exception_handler({"message": f"what was put off failed: {type(error).__name__}"})
            late.popleft()
            if monotonic() > end:
                break
        if late:
            self.loop.call_soon(self._catch_up)
