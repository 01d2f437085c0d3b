"""The connections of the admin port: one request each, few at once, none for long but a stream of the inspector.

A storm of callers, or of such that say nothing, must not keep a probe from its answer.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from ..edge.downstream import FRESH
from ..edge.listener import share_descriptors
from ..edge.options import Deadlines
from ..edge.quiet import Quiet
from ..edge.sockets import unread

_MOST = 128
_SECONDS = 10.0


class Visit(Quiet):
    """One connection. Who answers a stream bounds how many of them `stay`."""

    __slots__ = ("_born", "_visits")

    malformed = "the request is malformed\n"
    failed = "the admin port failed\n"

    def __init__(self, visits: Visits) -> None:
        super().__init__(visits)
        self._visits = visits
        self._born = visits.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._visits.silents[self] = None
        self.end_after(_SECONDS)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._visits.silents.pop(self, None)
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


class Visits:
    """Who is there; a Listener takes them in."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.deadlines = Deadlines()
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
