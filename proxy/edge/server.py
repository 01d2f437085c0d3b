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
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from .gateway import Gateway
from .listener import Listener

BACKLOG = 4096


class ListenError(Exception):
    """An address that cannot be listened on, in words for the operator."""


def settle() -> None:
    """Take what is there out of the garbage collector's sight: it stays, and each look at it would hold up the loop."""
    gc.collect()
    gc.freeze()


def open_socket(address: str, *, shared: bool = False) -> socket.socket:
    """Listen on `host:port` or `unix:/path`; raise ListenError. Two runs of a user may have one `shared` port."""
    try:
        if address.startswith("unix:"):
            return _open_unix(Path(address.removeprefix("unix:")))
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(found[0], socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if found[0] == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(found[4])
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _open_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket; one that a dead process left is replaced."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(None, "Address already in use")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def name_of(sock: socket.socket, *, tls: bool) -> str:
    """Write a listening address as people use it."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if tls else 'http'}://{host}:{name[1]}"


def server_tls(cert: str, key: str) -> ssl.SSLContext:
    """Build the TLS of listening sockets: 1.2 and up; raise OSError (ssl.SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


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
    ) -> None:
        self.gateway = gateway
        self.sockets = sockets
        self.tls = tls
        self.most = most
        self.delay = delay
        self.drain = drain
        self.tell = tell
        self._stop = asyncio.Event()
        self._now = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop; a second call cuts what still runs."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    async def serve(self, ready: Callable[[], None], draining: Callable[[], None]) -> None:
        """Serve until stopped; `ready` is called when connections are taken, `draining` when a stop begins."""
        loop = self.gateway.loop
        settle()
        listeners = [Listener(self.gateway, sock, tls=self.tls, most=self.most) for sock in self.sockets]
        ready()
        self.tell("info", "ready", rules=len(self.gateway.ruleset.rules), revision=self.gateway.ruleset.revision)
        await self._stop.wait()
        self.gateway.draining = True
        draining()
        self.tell("info", "draining", exchanges=self.gateway.busy)
        end = loop.time() + self.delay + self.drain
        if self.delay:
            await self._wait(self.delay)
        for listener in listeners:
            listener.close()
        self.tell("info", "closed")
        self.gateway.drain()
        # What lies unread in a socket is a request that the loop has yet to come to.
        await asyncio.sleep(0.01)
        while (self.gateway.busy or self.gateway.awaits) and not self._now.is_set() and loop.time() < end:
            await self._wait(0.02)
            self.gateway.drain()
        left = self.gateway.busy
        self.gateway.close()
        self.tell("warning" if left else "info", "stopped", cut=left)

    async def _wait(self, seconds: float) -> None:
        """Wait, but not past a second call of `stop`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._now.wait(), seconds)
