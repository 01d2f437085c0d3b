"""Answers of other services that may be used again, and what each belongs to. How a call is made is lookup.py's."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from ..engine.effects import Answer, Lookup

# What a second asker would be told too; other answers may be gone a moment later.
_LASTING = frozenset({*range(200, 300), 404, 410})
_UNKEPT = frozenset({"no-store", "private"})


class Answers:
    """Answers for a time, the least recently used dropped first, bounded in count and bytes."""

    def __init__(self, entries: int = 1024, size: int = 16 << 20) -> None:
        self._entries = entries
        self._size = self._room = size
        self._kept: OrderedDict[bytes, tuple[float, Answer, int]] = OrderedDict()

    def get(self, key: bytes, now: float) -> Answer | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if now >= found[0]:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: bytes, answer: Answer, now: float, lifetime: float) -> None:
        """Keep an answer that may be given again."""
        if not _may_be_kept(answer):
            return
        size = len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers) + 256
        if size > self._size:
            return
        if key in self._kept:
            self._drop(key)
        while self._kept and (len(self._kept) >= self._entries or size > self._room):
            self._drop(next(iter(self._kept)))
        self._kept[key] = (now + lifetime, answer, size)
        self._room -= size

    def _drop(self, key: bytes) -> None:
        self._room += self._kept.pop(key)[2]


def key_of(effect: Lookup) -> bytes:
    """Name what an answer belongs to: all of the call; hashed, as headers and bodies hold secrets."""
    return hashlib.sha256(repr((effect.method, effect.url, effect.headers, effect.body)).encode()).digest()


def _may_be_kept(answer: Answer) -> bool:
    if answer.status not in _LASTING:
        return False
    for name, value in answer.headers:
        if name == "set-cookie":
            return False
        if name == "vary" and "*" in value:
            return False
        if name == "cache-control":
            words = {word.partition("=")[0].strip().lower() for word in value.split(",")}
            if not words.isdisjoint(_UNKEPT):
                return False
    return True
