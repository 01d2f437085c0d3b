"""How much memory a worker may take, and whether it is short of it: looked up now and then, never for each request."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

from .deadlines import Deadline, Wheel

_INTERVAL = 0.25
_SHARE = 0.9
_STEP = 4 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
# mallopt(3): from which size memory is mapped by itself, and how much that is free stays with the process.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_MAPPED, _STAYS = 32 << 20, 64 << 20


def keep_freed() -> None:
    """Have the allocator keep what bodies leave for the next ones: to be given a megabyte of pages anew costs more than
    to rewrite it. What stays is given back when memory is short.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MAPPED)
        mallopt(_TRIM_THRESHOLD, _STAYS)


class Memory:
    """The resident memory of this process against a cap; a cap of 0 is none.

    `take` counts the bytes of bodies that are kept, and `give` those that are let go: a body may come to be there
    twice, as it was put together and as it waits to be sent, so what is kept counts beside what is resident. `tell` is
    called whenever `short` changes, `relieve` at every look that finds it so. Raises OSError where the system does not
    say what is resident.
    """

    __slots__ = ("_cap", "_file", "_given", "_kept", "_relieve", "_step", "_tell", "_timer", "_trim", "short")

    def __init__(self, wheel: Wheel, cap: int, *, tell: Callable[[], None], relieve: Callable[[], None]) -> None:
        self._cap = int(cap * _SHARE)
        self._tell = tell
        self._relieve = relieve
        self._step = sys.maxsize
        self._given = self._kept = 0
        self._file = -1
        self._timer = Deadline(wheel, self._look)
        self.short = False
        if cap:
            self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
            # Freed memory stays resident until the allocator is asked to give it back.
            self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            self._look()

    def take(self, size: int) -> bool:
        """Count bytes that are kept; gives whether memory is short now."""
        self._kept += size
        self._step -= size
        if self._step < 0 and not self.short and self._file >= 0:
            self._look()
        return self.short

    def give(self, size: int) -> None:
        """Count bytes that are kept no more."""
        self._kept -= size
        if self.short:
            self._given += size
            if self._given > _STEP:
                self._look()

    @property
    def kept(self) -> int:
        """The bytes of bodies that are kept."""
        return self._kept

    def resident(self) -> int:
        return int(os.pread(self._file, 128, 0).split()[1]) * _PAGE

    def _look(self) -> None:
        self._timer.set(_INTERVAL)
        self._step = _STEP
        self._given = 0
        most = self._cap - self._kept
        full = self.resident() > most
        if full and self._trim is not None:
            self._trim(0)
            full = self.resident() > most
        if self.short is not full:
            self.short = full
            self._tell()
        if full:
            self._relieve()

    def close(self) -> None:
        self._timer.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
