"""Takes the questions of other proxies over HTTP: who may ask, for how long, and how it ends.

What a question means is the business of who answers it. Nobody but this machine and the trusted proxies is heard; what
could not be read is neither logged nor sent back: it may hold a token.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..edge.listener import Listener
from ..edge.options import Trust
from ..edge.quiet import Quiet
from ..edge.sockets import open_socket
from .processing import Processing, Worker

Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]

# How long who is not heard may keep a connection, in seconds.
_PATIENCE = 5.0


class Asker(Quiet):
    """The connection of one proxy that asks."""

    __slots__ = ("_trust", "heard")

    malformed = "the question is malformed\n"
    failed = "the question could not be answered\n"

    def __init__(self, desk: Desk) -> None:
        bounds = desk.worker.bounds
        super().__init__(
            desk,
            auto_decompress=False,
            max_line_size=bounds.head,
            max_field_size=bounds.head,
            max_headers=2 * bounds.headers,
        )
        self._trust = desk.worker.trust
        self.heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.heard = may_ask(transport.get_extra_info("peername"), self._trust)
        if not self.heard:
            self.end_after(_PATIENCE)


class Desk:
    """Where questions are taken; a Listener lets the askers in."""

    def __init__(self, worker: Worker, address: str, answer: Answer, *, most: int) -> None:
        self.worker = worker
        self.loop = asyncio.get_running_loop()
        self.server = web.Server(self._heed)
        self.deadlines = worker.deadlines
        self.connections: set[Asker] = set()
        self.opening: set[Asker] = set()
        self._answer = answer
        self._draining = False
        self._listener = Listener(self, open_socket(address, shared=True), most=most)

    def connect(self) -> Asker:
        return Asker(self)

    def make_room(self) -> int:
        """Cut who is not heard; who asks keeps connections for the next question."""
        for asker in self.connections:
            if not asker.heard:
                asker.cut()
                return 1
        return 0

    async def _heed(self, request: web.BaseRequest) -> web.StreamResponse:
        asker = request.protocol
        if isinstance(asker, Asker) and asker.heard:
            answer = await self._answer(request)
            if self._draining:
                answer.force_close()
            return answer
        self.worker.tell("error", "asker-refused", peer=request.remote, cause="it is not one of trusted_proxies")
        refused = web.Response(status=403, text="only a trusted proxy may ask\n", headers={"Server": "vestibule"})
        refused.force_close()
        return refused

    async def drain(self) -> None:
        """Close every connection with its next answer: whoever asks then asks on another one, and may be elsewhere."""
        self._draining = True

    async def stop(self, grace: float) -> None:
        """Take no more at once, let what runs end for so many seconds, and cut the rest; so too when cancelled."""
        self._listener.close()
        self.server.pre_shutdown()
        try:
            async with asyncio.timeout(grace):
                await self.server.shutdown(None)
        except TimeoutError:
            pass
        finally:
            for asker in list(self.connections):
                asker.cut()


def may_ask(peer: object, trust: Trust) -> bool:
    """Say whether a peer may say whose request it asks about: this machine, a Unix socket, or a trusted proxy."""
    if not isinstance(peer, tuple):
        return True
    address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or any(address in network for network in trust.proxies)


async def read_body(request: web.BaseRequest, worker: Worker, processing: Processing) -> bytes | None:
    """Read the body that came with a question: None when there is none, no more than shows that it is too long, and no
    more while memory is short.

    Raises TimeoutError for one that does not come in time.
    """
    if not request.body_exists:
        return None
    found = bytearray()
    async with asyncio.timeout(worker.deadlines.body):
        while len(found) <= processing.longest and (part := await request.content.readany()):
            found += part
            if processing.hold(len(part)):
                break
    return bytes(found[: processing.longest + 1])
