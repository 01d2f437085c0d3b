"""Bytes that pass through: the tunnel of an upgraded connection, and how a body is written on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .deadlines import Deadline, Wheel


def chunk(data: bytes) -> bytes:
    """Write bytes as one chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


_FLUSH = 5.0
LAST_CHUNK = b"0\r\n\r\n"


class Tunnel:
    """Two connections that carry each other's bytes, whatever they are, until both have ended or nothing moves."""

    __slots__ = ("_client", "_closed", "_ended", "_idle", "_over", "_seconds", "_upstream", "received", "sent")

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        *,
        wheel: Wheel,
        seconds: float,
        over: Callable[[], None],
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._over = over
        self._ended: set[int] = set()
        self._closed = False
        self._seconds = seconds
        self._idle = Deadline(wheel, self.close)
        self._idle.set(seconds)
        self.received = 0
        self.sent = 0

    def _other(self, transport: asyncio.Transport) -> asyncio.Transport:
        return self._upstream if transport is self._client else self._client

    def forward(self, transport: asyncio.Transport, data: bytes) -> None:
        """Carry bytes that came in on one of the two to the other."""
        if transport is self._client:
            self.received += len(data)
        else:
            self.sent += len(data)
        self._idle.set(self._seconds)
        other = self._other(transport)
        if not other.is_closing():
            other.write(data)

    def full(self, transport: asyncio.Transport) -> None:
        other = self._other(transport)
        if not other.is_closing():
            other.pause_reading()

    def drained(self, transport: asyncio.Transport) -> None:
        other = self._other(transport)
        if not other.is_closing():
            other.resume_reading()

    def ended(self, transport: asyncio.Transport) -> bool:
        """Pass on that one side has nothing more to say; gives whether its connection stays open to be answered."""
        other = self._other(transport)
        self._ended.add(id(transport))
        if len(self._ended) == 2 or other.is_closing() or not other.can_write_eof() or not transport.can_write_eof():
            self.close()
            return False
        other.write_eof()
        return True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._client.close()
        self._upstream.close()
        # What is still buffered is written; a side that takes nothing is not waited for.
        self._idle.expire = self._abort
        self._idle.set(_FLUSH)
        self._over()

    def _abort(self) -> None:
        self._idle.close()
        self._client.abort()
        self._upstream.abort()
