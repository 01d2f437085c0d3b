"""A link that ails: a relay on loopback between the proxy and its upstream, or between a client and the proxy.

Each direction of a connection has the ailments of `Ailment`; they may be changed while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Self

from tests.wire import LOOPBACK, Wire


@dataclass(slots=True)
class Ailment:
    """What is wrong with a link: seconds before bytes go on, bytes a second, the most bytes in one piece.

    After `limit` bytes towards the client it does what `then` says: `reset` cuts it, `end` ends it, `hang` keeps it
    open and silent, `slow-close` ends it after `latency`.
    """

    latency: float = 0.0
    rate: int = 0
    slice: int = 0
    limit: int | None = None
    then: str = "reset"


class Link:
    """Listens on `port` and relays to another."""

    def __init__(self, target: int, ailment: Ailment | None = None) -> None:
        self._target = target
        self.ailment = ailment or Ailment()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        near = Wire(reader, writer)
        far: Wire | None = None
        try:
            far = await Wire.open(self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(near, far, None))
                group.create_task(self._carry(far, near, self.ailment.limit))
        except* (OSError, RuntimeError, asyncio.CancelledError):
            # A cut transport refuses everything with a RuntimeError.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if far is not None:
                far.writer.close()

    async def _carry(self, source: Wire, sink: Wire, limit: int | None) -> None:
        ailment = self.ailment
        while data := await source.reader.read(ailment.slice or 65_536):
            if ailment.latency:
                await asyncio.sleep(ailment.latency)
            if limit is not None:
                data, limit = data[:limit], limit - len(data)
            await sink.send(data)
            if ailment.rate:
                await asyncio.sleep(len(data) / ailment.rate)
            elif ailment.slice:
                await asyncio.sleep(0)
            if limit is not None and limit <= 0:
                await self._fail(source, sink)
                return
        with contextlib.suppress(OSError):
            sink.end()

    async def _fail(self, source: Wire, sink: Wire) -> None:
        match self.ailment.then:
            case "reset":
                sink.reset()
                source.reset()
            case "slow-close":
                await asyncio.sleep(self.ailment.latency)
                sink.end()
            case "end":
                sink.end()
            case "hang":
                await source.rest()
