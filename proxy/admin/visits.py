"""The connections of the admin port: one request each, few at once, none for long but a stream of the inspector.

A storm of callers, or of such that say nothing, must not keep a probe from its answer.
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.typedefs import Handler

from ..edge.downstream import FRESH
from ..edge.listener import share_descriptors
from ..edge.options import Deadlines
from ..edge.sockets import unread

_MOST = 128
_SECONDS = 10.0


class Visit(web.RequestHandler):
    """HTTP as aiohttp speaks it, but what could not be read is neither logged nor sent back: it may hold a token."""

    __slots__ = ("_born", "_end", "_visits")

    def __init__(self, visits: Visits) -> None:
        super().__init__(visits.server, loop=visits.loop, access_log=visits.silent, logger=visits.silent)
        self._visits = visits
        self._born = visits.loop.time()
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        visits = self._visits
        visits.opening.discard(self)
        visits.connections.add(self)
        visits.silents[self] = None
        self._end = visits.loop.call_later(_SECONDS, self.cut)

    def connection_lost(self, exc: BaseException | None) -> None:
        visits = self._visits
        visits.connections.discard(self)
        visits.silents.pop(self, None)
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    @property
    def silent(self) -> bool:
        """Say whether nothing has come for a while, also not what the loop has yet to read."""
        transport = self.transport
        if transport is None or self._visits.loop.time() - self._born < FRESH:
            return False
        return not unread(transport.get_extra_info("socket"))

    def answering(self) -> None:
        """Note that a request has come."""
        self._visits.silents.pop(self, None)

    def stay(self) -> None:
        """Keep the connection for as long as its answer takes: whoever answers bounds how many such there are."""
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
        words = "the admin port failed\n" if status >= 500 else "the request is malformed\n"
        response = web.Response(status=status, text=words, headers={"Server": "vestibule"})
        response.force_close()
        return response


class Visits:
    """Who is there; a Listener takes them in."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.deadlines = Deadlines()
        self.silent = logging.getLogger("vestibule.admin")
        self.silent.disabled = True
        self.connections: set[Visit] = set()
        self.opening: set[Visit] = set()
        # Those whose request has not come yet, the oldest first.
        self.silents: dict[Visit, None] = {}
        self.most, _ = share_descriptors(_MOST, 0)

    def connect(self) -> Visit:
        return Visit(self)

    def make_room(self) -> int:
        """Cut who has said nothing for longest; gives how many it were."""
        for visit in self.silents:
            if visit.silent:
                del self.silents[visit]
                visit.cut()
                return 1
        return 0


@web.middleware
async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep the connection of a request until it has its answer."""
    visit = request.protocol
    if isinstance(visit, Visit):
        visit.answering()
    return await handler(request)
