"""A connection that aiohttp's own server answers, for what is no traffic: the admin port, and proxies that ask.

What could not be read is neither logged nor sent back: it may hold a token.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, Protocol

from aiohttp import web

_silent = logging.getLogger("vestibule.quiet")
_silent.disabled = True


class Room(Protocol):
    """Where connections are kept. Those that do not stand yet are in `opening`."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def server(self) -> web.Server: ...
    @property
    def connections(self) -> set[Any]: ...
    @property
    def opening(self) -> set[Any]: ...


class Quiet(web.RequestHandler):
    """One connection, which can be given an end."""

    __slots__ = ("_end", "_room")

    malformed: ClassVar[str]
    failed: ClassVar[str]

    def __init__(self, room: Room, **options: Any) -> None:
        super().__init__(room.server, loop=room.loop, access_log=_silent, logger=_silent, **options)
        self._room = room
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._room.opening.discard(self)
        self._room.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._room.connections.discard(self)
        self.stay()
        super().connection_lost(exc)

    def end_after(self, seconds: float) -> None:
        """Cut the connection after so many seconds, unless it is to stay."""
        self._end = self._room.loop.call_later(seconds, self.cut)

    def stay(self) -> None:
        """Keep the connection for as long as it takes."""
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def cut(self) -> None:
        """Cut the connection, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        words = self.failed if status >= 500 else self.malformed
        response = web.Response(status=status, text=words, headers={"Server": "vestibule"})
        response.force_close()
        return response
