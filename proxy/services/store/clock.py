"""The time of a file that processes share: it goes on evenly, whatever the wall clock does, and never goes back.

It is that of the machine since it was started, and what was added to it when the file was first used since then: so all
processes have the same, and what was kept over a restart of the machine is over when the wall clock says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

_START = Path("/proc/sys/kernel/random/boot_id")


class Epoch(msgspec.Struct, array_like=True):
    """What a file knows of its time: the start of the machine, what is added since it, when it was looked at last."""

    start: str
    added: float
    seen: float

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.added


def this_start() -> str:
    """Give what tells this start of the machine from all others, "" when that is not told."""
    try:
        return _START.read_text("ascii").strip()
    except OSError:
        return ""


def go_on(known: Epoch | None, start: str, *, wall: Callable[[], float] = time.time) -> Epoch:
    """Give the epoch of this start of the machine: the one that is known, or one that follows it."""
    if known is not None and known.start == start != "":
        return known
    now = wall() if known is None else max(wall(), known.seen)
    return Epoch(start, now - time.clock_gettime(time.CLOCK_BOOTTIME), now)
