"""Clients that are slow in every way that is known (group M): each holds a connection until it is cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import cycle

from tests.wire import LOOPBACK

_PAUSE = 1.0
_RATE = 1_000  # new ones in a second
_RANGES = ",".join(f"{n}-{n}" for n in range(900)).encode()


@asynccontextmanager
async def _open(port: int, *, room: int = 0) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    sock = socket.socket()
    if room:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _drip(port: int, first: bytes, more: bytes) -> None:
    """Send something, and then the same bytes now and then until the other side ends."""
    async with _open(port) as (reader, writer):
        writer.write(first)
        while True:
            try:
                async with asyncio.timeout(_PAUSE):
                    while await reader.read(1024):
                        pass
                    return
            except TimeoutError:
                writer.write(more)


async def head(port: int) -> None:
    """Send a head a line at a time (slowloris, -H)."""
    await _drip(port, b"GET /slow HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n")


async def body(port: int) -> None:
    """Send a body a byte at a time (-B)."""
    await _drip(port, b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n", b"x")


async def ranges(port: int) -> None:
    """Ask for a great many ranges, and be idle after (-R)."""
    await _drip(port, b"GET /n/slow HTTP/1.1\r\nHost: a\r\nRange: bytes=%b\r\n\r\n" % _RANGES, b"")


async def idle(port: int) -> None:
    """Connect and say nothing."""
    await _drip(port, b"", b"")


async def read(port: int) -> None:
    """Read a large answer a few bytes at a time through a small window (-X)."""
    async with _open(port, room=256) as (reader, writer):
        writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        while await reader.read(512):
            await asyncio.sleep(_PAUSE)


KINDS: tuple[Callable[[int], Awaitable[None]], ...] = (head, body, ranges, idle, read)


async def hold(port: int, count: int) -> list[str]:
    """Hold so many connections, of all kinds in turn, until each is cut; gives the kinds of those that ended."""

    async def one(kind: Callable[[int], Awaitable[None]], place: int) -> str:
        await asyncio.sleep(place / _RATE)
        # A cut transport refuses to be written to with a RuntimeError.
        with contextlib.suppress(OSError, RuntimeError):
            await kind(port)
        return getattr(kind, "__name__", "")

    kinds = cycle(KINDS)
    return await asyncio.gather(*(one(next(kinds), place) for place in range(count)))
