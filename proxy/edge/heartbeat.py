"""Finds the workers whose event loop does not turn any more: alive for the kernel, and of no use to clients.

It has no clock and kills nothing: the supervisor says when it looks, and acts on what is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# How often the beats are looked at, in seconds.
LOOK = 1.0


@dataclass(slots=True)
class _Heard:
    beat: float
    silent: float = 0.0


class Heartbeats:
    """Knows which workers were silent for `most` seconds.

    Only time that was looked through counts: while the supervisor stood still itself, so may have the whole machine.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._heard: dict[int, _Heard] = {}
        self._looked: float | None = None

    def look(self, now: float, beats: Mapping[int, float]) -> list[int]:
        """Give the processes that are to go, and forget them; `beats` are the last ones, by the id of the process."""
        passed = 0.0 if self._looked is None else min(now - self._looked, 2 * LOOK)
        self._looked = now
        hung = []
        known = self._heard
        self._heard = {}
        for pid, beat in beats.items():
            heard = known.get(pid)
            if heard is None or heard.beat != beat:
                self._heard[pid] = _Heard(beat)
                continue
            heard.silent += passed
            if heard.silent < self._most:
                self._heard[pid] = heard
            else:
                hung.append(pid)
        return hung
