"""Random bytes in blocks: one call of the system for many exchanges."""

from __future__ import annotations

import os

_BLOCK = 4096


class Entropy:
    """Gives n random bytes of the system's generator. Build one after a fork: two processes must not share a block."""

    __slots__ = ("_at", "_block")

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def __call__(self, size: int) -> bytes:
        at = self._at
        end = at + size
        if end > len(self._block):
            self._block = os.urandom(max(_BLOCK, size))
            at, end = 0, size
        self._at = end
        return self._block[at:end]
