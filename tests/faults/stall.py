"""How long an event loop stands still: a timer that should come every few milliseconds, and how late it came.

A busy machine is no finding: the time in which the thread waited for a processor is taken off. Nor is one that stands
still itself, as virtual ones do: the time that its host took from it is taken off too, and of a thread that never slept
only what it computed counts.
"""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from pathlib import Path

_INTERVAL = 0.005
_MACHINE = Path("/proc/stat")


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

    def _stolen(self) -> float:
        """Give the seconds that the machine's host took from the processor that it took the most from."""
        lines = _MACHINE.read_bytes().splitlines()
        return max(int(line.split()[8]) for line in lines if line.startswith(b"cpu")) / 100 if self._told else 0.0

    def _begin(self) -> None:
        self._due = self._loop.time() + _INTERVAL
        self._before = self._waited()
        self._took = self._stolen()
        self._computed = time.thread_time()
        self._slept = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late = self._loop.time() - self._due - (self._waited() - self._before) - (self._stolen() - self._took)
        if resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw == self._slept:
            late = min(late, time.thread_time() - self._computed)
        self.worst = max(self.worst, late * 1000)
        self.looks += 1
        self._begin()

    def close(self) -> float:
        """Stop; gives the longest stall in milliseconds."""
        self._timer.cancel()
        return self.worst
