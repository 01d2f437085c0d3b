"""Where a message ends, found beside the library's parser and never by trusting it.

The parser is given exactly the bytes of one message, so that nothing can hide behind it: what follows is the next
message, or surplus. A chunked body is read twice, by this scanner for its boundaries and limits and by the parser for
its content, and both must agree.
"""

from __future__ import annotations

import re

from .refusal import Refusal

_EXTENSION = 256
_TRAILER = 4096
_TRAILERS = 32
_FREE = 1000
_size_line = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?").fullmatch


class HeadEnd:
    """The search for the empty line that ends a head, over any cuts of the bytes."""

    __slots__ = ("_tail", "size")

    def __init__(self) -> None:
        self._tail = b""
        self.size = 0

    def find(self, data: bytes) -> int:
        """Return how many of these bytes belong to the head, or -1 when all do and it is not complete."""
        tail = self._tail
        if tail:
            across = (tail + data[:3]).find(b"\r\n\r\n")
            if across >= 0:
                self.size += (end := across + 4 - len(tail))
                return end
        at = data.find(b"\r\n\r\n")
        if at >= 0:
            self.size += at + 4
            return at + 4
        self.size += len(data)
        self._tail = data[-3:] if len(data) >= 3 else (tail + data)[-3:]
        return -1


class Chunks:
    """The boundaries of a chunked body (RFC 9112 section 7.1); trailers are read over, under a limit.

    Chunks are `least` bytes on average once there are many: a byte in a chunk of its own costs a hundred times a byte.
    """

    __slots__ = ("_count", "_least", "_left", "_limit", "_line", "_state", "announced", "done")

    def __init__(self, limit: int, *, least: int = 0) -> None:
        self._limit = limit
        self._least = least
        self._count = 0
        self._line = b""
        self._left = 0
        self._state = 0  # 0 a size line, 1 the bytes of a chunk and their line end, 2 trailers
        self.announced = 0
        self.done = False

    def take(self, data: bytes) -> int:
        """Return how many of these bytes belong to the body; `done` says whether it ended there."""
        at = 0
        size = len(data)
        while at < size:
            if self._state == 1:
                step = min(self._left, size - at)
                at += step
                self._left -= step
                if self._left == 0:
                    self._state = 0
            elif self._state == 0:
                at = self._size(data, at)
            else:
                at = self._trailer(data, at)
                if self.done:
                    return at
        return size

    def _size(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + _EXTENSION + 20)
        if end < 0:
            self._line += data[at : at + _EXTENSION + 20]
            if len(self._line) > _EXTENSION + 18:
                raise Refusal(400, "a chunk's size line is too long")
            return len(data)
        line = self._line + data[at : end + 1]
        self._line = b""
        found = _size_line(line[:-2]) if line.endswith(b"\r\n") and len(line) <= _EXTENSION + 18 else None
        if found is None:
            raise Refusal(400, "a chunk's size line is malformed")
        length = int(found[1], 16)
        self.announced += length
        if self.announced > self._limit:
            raise Refusal(413, "the chunked body is over the limit")
        self._count += 1
        if self._count > _FREE and self.announced < self._count * self._least:
            raise Refusal(400, "the chunks are too small")
        if length:
            self._left = length + 2
            self._state = 1
        else:
            self._state = 2
        return end + 1

    def _trailer(self, data: bytes, at: int) -> int:
        # The line end of the last chunk counts, so that no trailers is the same pattern as some.
        seen = len(self._line)
        text = self._line + data[at : at + _TRAILER + 4]
        if text.startswith(b"\r\n"):
            end = 2
        else:
            end = text.find(b"\r\n\r\n")
            end = end + 4 if end >= 0 else -1
        if end > _TRAILER or (end < 0 and len(text) > _TRAILER) or text.count(b"\n", 0, max(end, 0)) > _TRAILERS:
            raise Refusal(400, "the trailers are too large")
        if end < 0:
            self._line = text
            return len(data)
        self.done = True
        return at + end - seen
