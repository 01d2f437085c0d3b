"""What happens, told to pages as it does: server-sent events over a stream that ends when the page goes, or the run."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from ..visits import Visit
from .ring import Ring

# Pages that listen at the same time.
MOST = 16
# So many rows are told at once; a page that is behind gets the newest.
_ROWS = 10_000
# A line that says nothing, so that a page that went is noticed.
_QUIET = 15.0


class Feed:
    """The streams of a process."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        return len(self._tasks) >= MOST

    async def serve(self, request: web.Request, after: int) -> web.StreamResponse:
        """Tell of what came after a number, and go on."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        if isinstance(request.protocol, Visit):
            request.protocol.stay()
        await response.prepare(request)
        task = asyncio.ensure_future(self._tell(response, after))
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                await task
        finally:
            task.cancel()
            self._tasks.discard(task)
        return response

    async def _tell(self, response: web.StreamResponse, after: int) -> None:
        ring = self._ring

        async def write(data: bytes) -> None:
            # A page that does not read holds up nobody but itself, and not for ever.
            async with asyncio.timeout(_QUIET):
                await response.write(data)

        if after > ring.last:
            # It counted in another process, which died.
            after = 0
            await write(b"event: restart\ndata: {}\n\n")
        while True:
            rows = b",".join(ring.rows(after, _ROWS))
            after = ring.last
            await write(b'event: rows\ndata: {"first":%d,"last":%d,"rows":[%b]}\n\n' % (ring.first, after, rows))
            try:
                async with asyncio.timeout(_QUIET):
                    await ring.wait(after)
            except TimeoutError:
                await write(b": still here\n\n")
                continue
            # A storm is told a few times a second, not once an exchange.
            await asyncio.sleep(0.1)

    async def close(self, _: web.Application) -> None:
        """End all streams."""
        for task in self._tasks:
            task.cancel()
