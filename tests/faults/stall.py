"""How long an event loop stands still: a timer that should come every few milliseconds, and how late it came.

The time in which the thread waited for a processor is taken off: a busy machine is no finding.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

_INTERVAL = 0.005


class Stall:
    """Watches a loop from within it until closed; `worst` is in milliseconds, `looks` how often it looked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._file = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._told = self._file.exists()
        self.worst = 0.0
        self.looks = 0
        self._begin()

    def _waited(self) -> float:
        return int(self._file.read_bytes().split()[1]) / 1e9 if self._told else 0.0

    def _begin(self) -> None:
        self._due = self._loop.time() + _INTERVAL
        self._before = self._waited()
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late = self._loop.time() - self._due - (self._waited() - self._before)
        self.worst = max(self.worst, late * 1000)
        self.looks += 1
        self._begin()

    def close(self) -> float:
        """Stop; gives the longest stall in milliseconds."""
        self._timer.cancel()
        return self.worst
