"""Whether the upstream can be reached, for who decides where requests go: from what workers meet, and by trying.

Nothing is tried while connections are made: only at the start, when one failed, and until one stands again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace

from ..observe.board import Board
from .deadlines import Wheel
from .head import ResponseHead
from .options import Upstream
from .refusal import Refusal
from .turn import Turn
from .upstream import Pool, UpstreamConnection

# How long until the next look, in seconds.
_PAUSE = 0.5


class _Try:
    """Asks for a connection, only to see whether it can be had."""

    __slots__ = ("_told",)

    def __init__(self, told: asyncio.Future[bool]) -> None:
        self._told = told

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        connection.abort()
        self._told.set_result(True)

    def upstream_failed(self, refusal: Refusal) -> None:
        self._told.set_result(False)

    def upstream_interim(self, head: ResponseHead) -> None: ...
    def upstream_head(self, head: ResponseHead) -> None: ...
    def upstream_data(self, data: bytes) -> None: ...
    def upstream_end(self) -> None: ...
    def upstream_flush(self) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...


class Reach:
    """What is known of the way to the upstream; `holds` is False until a first connection stood.

    `tried` is set when the first try has ended. Without an upstream nothing is tried, and the way there is open.
    """

    def __init__(self, upstream: Upstream | None, board: Board, tell: Callable[..., None]) -> None:
        self.holds = upstream is None
        self.tried = asyncio.Event()
        self._upstream = upstream
        self._board = board
        self._tell = tell

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Take this for tries from now on."""
        if self._upstream is not None:
            self._upstream = replace(self._upstream, tls=tls)

    async def watch(self) -> None:
        """Keep `holds` true to what is, until cancelled."""
        if self._upstream is None:
            self.tried.set()
            return
        loop = asyncio.get_running_loop()
        wheel = Wheel(Turn(loop))
        pool = Pool(self._upstream, loop=loop, wheel=wheel)
        tried = 0.0
        try:
            while True:
                # One failure of a worker is a doubt; it is the try that tells.
                if not self.holds or any(state.unreached > tried for state in self._board.workers()):
                    tried = loop.time()
                    told: asyncio.Future[bool] = loop.create_future()
                    pool.options = self._upstream
                    pool.ask(_Try(told))
                    self._learn(await told)
                    self.tried.set()
                await asyncio.sleep(_PAUSE)
        finally:
            pool.abort()
            wheel.close()

    def _learn(self, holds: bool) -> None:
        if holds is not self.holds:
            self._tell("info" if holds else "error", "upstream-reached" if holds else "upstream-unreachable")
        self.holds = holds
