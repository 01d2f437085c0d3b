"""One worker: its sockets, its signals, and how it stops.

A stop is a drain: every answer closes its connection, and after `delay`, in which whoever sends clients here may hear
of it, the listening sockets and idle connections close. After the allowed time what is left is cut. A second signal
cuts at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from .gateway import Gateway
from .listener import Listener
from .memory import keep_freed


def settle() -> None:
    """Take what is there out of the garbage collector's sight: it stays, and each look at it would hold up the loop.

    The collector looks at what comes after, also where it was not to look at what was made until now, and the allocator
    keeps what that leaves.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    keep_freed()


class Served(Protocol):
    """What a worker serves beside the proxy itself."""

    async def drain(self) -> None:
        """Have who asks here ask elsewhere, and answer him until he does: a stop has begun."""

    async def stop(self, grace: float) -> None:
        """Take no more at once, let what runs end for so many seconds, and cut the rest; so too when cancelled."""


class Server:
    """A worker that serves until it is told to stop; it takes no more than `most` connections at once."""

    def __init__(
        self,
        gateway: Gateway,
        sockets: Sequence[socket.socket],
        *,
        tls: ssl.SSLContext | None,
        most: int,
        delay: float,
        drain: float,
        tell: Callable[..., None],
        beside: Sequence[Served] = (),
    ) -> None:
        self.gateway = gateway
        self.sockets = sockets
        self.tls = tls
        self.most = most
        self.delay = delay
        self.drain = drain
        self.tell = tell
        self.beside = beside
        self._stop = asyncio.Event()
        self._now = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop; a second call cuts what still runs."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    def renew(self, tls: ssl.SSLContext) -> None:
        """Let connections that come from now on have what is in this context; those that are there keep what they have.

        The context of the start stays, as the workers share the keys of its session tickets: a client that comes back
        to another worker need not shake hands anew.
        """

        # It is called in every handshake, also of a client that names no server; one in which it fails is broken off.
        def choose(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            connection.context = tls

        if self.tls is None:
            raise RuntimeError("a run that began without TLS has none")
        self.tls.sni_callback = choose

    async def serve(self, ready: Callable[[], None], draining: Callable[[], None]) -> None:
        """Serve until stopped; `ready` is called when connections are taken, `draining` when a stop begins."""
        loop = self.gateway.loop
        settle()
        listeners = [Listener(self.gateway, sock, tls=self.tls, most=self.most) for sock in self.sockets]
        ready()
        self.tell("info", "ready", rules=len(self.gateway.ruleset.rules), revision=self.gateway.ruleset.revision)
        await self._stop.wait()
        self.gateway.draining = True
        for one in self.beside:
            await one.drain()
        draining()
        self.tell("info", "draining", exchanges=self.gateway.busy)
        end = loop.time() + self.delay + self.drain
        if self.delay:
            await self._wait(self.delay)
        for listener in listeners:
            listener.close()
        stopping = [loop.create_task(one.stop(max(end - loop.time(), 0.0))) for one in self.beside]
        self.tell("info", "closed")
        self.gateway.drain()
        # What lies unread in a socket is a request that the loop has yet to come to.
        await asyncio.sleep(0.01)
        while self._runs(stopping) and not self._now.is_set() and loop.time() < end:
            await self._wait(0.02)
            self.gateway.drain()
        left = self.gateway.busy
        self.gateway.close()
        if self._now.is_set():
            for task in stopping:
                task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
        self.tell("warning" if left else "info", "stopped", cut=left)

    def _runs(self, stopping: Sequence[asyncio.Task[None]]) -> bool:
        return bool(self.gateway.busy or self.gateway.awaits) or not all(task.done() for task in stopping)

    async def _wait(self, seconds: float) -> None:
        """Wait, but not past a second call of `stop`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._now.wait(), seconds)
