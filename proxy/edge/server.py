"""One worker: its sockets, its signals, and how it stops.

A stop is a drain: the listening sockets close, idle connections close, every answer closes its own, and after the
allowed time what is left is cut. A second signal cuts at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
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


def open_socket(address: str) -> socket.socket:
    """Listen on `host:port` or `unix:/path`; raise ListenError."""
    try:
        if address.startswith("unix:"):
            return _open_unix(Path(address.removeprefix("unix:")))
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(found[0], socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
        drain: float,
        tell: Callable[..., None],
    ) -> None:
        self.gateway = gateway
        self.sockets = sockets
        self.tls = tls
        self.most = most
        self.drain = drain
        self.tell = tell
        self._stop = asyncio.Event()
        self._now = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop; a second call cuts what still runs."""
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    def stop_with(self, descriptor: int) -> None:
        """Stop when the other end of a pipe is closed: the process that holds it is gone."""

        def read() -> None:
            if not os.read(descriptor, 1):
                self.gateway.loop.remove_reader(descriptor)
                self.stop()

        self.gateway.loop.add_reader(descriptor, read)

    async def serve(self, reload: Callable[[], None]) -> None:
        """Serve until stopped; SIGHUP calls `reload`."""
        loop = self.gateway.loop
        listeners = [Listener(self.gateway, sock, tls=self.tls, most=self.most) for sock in self.sockets]
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, reload)
        self.tell("info", "ready", rules=len(self.gateway.ruleset.rules), revision=self.gateway.ruleset.revision)
        await self._stop.wait()
        for listener in listeners:
            listener.close()
        self.tell("info", "draining", exchanges=self.gateway.busy)
        self.gateway.drain()
        left = await self._drained()
        self.gateway.close()
        self.tell("warning" if left else "info", "stopped", cut=left)

    async def _drained(self) -> int:
        """Wait for the exchanges that run, as long as is allowed; give how many are left."""
        loop = self.gateway.loop
        end = loop.time() + self.drain
        while self.gateway.busy and not self._now.is_set() and loop.time() < end:
            try:
                await asyncio.wait_for(self._now.wait(), 0.02)
            except TimeoutError:
                continue
        return self.gateway.busy
