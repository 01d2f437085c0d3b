"""Messages read by the library's parsers and, beside them, by the scanner that says where each part ends.

Heads and bodies have parsers of their own: that of a connection's heads lasts as long as the connection, and never sees
a byte of a body. No parser is given a byte behind the part that the scanner found, and both must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .framing import Chunks, HeadEnd
from .refusal import Refusal

# A parser holds the head that it read last: after one that is larger, another takes its place.
_HELD = 4096


class Heads:
    """The heads of one connection, one after the other. `begun` while a part of one was read."""

    __slots__ = ("_end", "_limit", "_make", "_parser", "begun")

    def __init__(self, make: Callable[[], Any], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._parser: Any = None
        self._end = HeadEnd()
        self.begun = False

    def read(self, data: bytes) -> tuple[Any, bytes]:
        """Read on in a head: gives its message and the bytes behind it, or None while there is more to come.

        Raises Refusal, and what the parser raises, which holds bytes of the message. After that nothing can be read.
        """
        self.begun = True
        scanner = self._end
        end = scanner.find(data)
        parser = self._parser
        if parser is None:
            parser = self._parser = self._make()
        messages, _, _ = parser.feed_data(data if end < 0 or end == len(data) else data[:end])
        if scanner.size > self._limit:
            raise Refusal(431, "the head is too large")
        if len(messages) != (0 if end < 0 else 1):
            raise Refusal(400, "the head is malformed")
        if end < 0:
            return None, b""
        message = messages[0][0]
        if scanner.size > _HELD or message.should_close or message.upgrade:
            self._parser = None
        scanner.size = 0
        self.begun = False
        return message, data[end:]

    def forget(self) -> None:
        """Let go of a head of which no more is to be read."""
        self._parser = None
        self.begun = False


class ChunkedBody:
    """A chunked body: the scanner finds its boundaries, under its limits, and the parser its content."""

    __slots__ = ("_chunks", "_parser", "_payload")

    def __init__(self, parser: Any, payload: Any, limit: int, *, least: int = 0) -> None:
        self._chunks = Chunks(limit, least=least)
        self._parser = parser
        self._payload = payload

    @property
    def done(self) -> bool:
        return self._chunks.done

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """Read on: gives content, and the bytes behind the body; raises Refusal."""
        chunks = self._chunks
        end = chunks.take(data)
        try:
            self._parser.feed_data(data if end == len(data) else data[:end])
        except Exception:
            raise Refusal(400, "the chunks are malformed") from None
        content: bytes = self._payload.read_nowait()
        if self._payload.is_eof() is not chunks.done:
            raise Refusal(400, "the chunks are malformed")
        return content, data[end:]
