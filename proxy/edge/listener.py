"""A listening socket: takes connections one by one, and none for which the process has no descriptor.

The event loops' own servers count nothing before TLS stands, and out of descriptors one of them drops clients and the
other logs thousands of times. Here a connection counts from its first moment, and those that are too many wait in the
kernel's queue.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl

from .gateway import Gateway

# For the log, the store, look-ups, key sets and the admin port.
_SPARE = 64
# Connections beyond the bound, to tell their clients so.
_REFUSED = 64
_BATCH = 64
_PAUSE = 0.1


def share_descriptors(clients: int, upstreams: int) -> tuple[int, int]:
    """Give how many connections are taken from clients and made to the upstream, as this process may open descriptors.

    Some more are taken than there may be clients: who is too many hears so, as long as there are descriptors.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return clients + _REFUSED, upstreams
    room = max(allowed - _SPARE, 2)
    upstreams = min(upstreams, room // 2)
    return min(clients + _REFUSED, room - upstreams), upstreams


class Listener:
    """Takes connections from a socket for a gateway until it is closed; with `most` of them the others wait."""

    def __init__(self, gateway: Gateway, sock: socket.socket, *, tls: ssl.SSLContext | None = None, most: int) -> None:
        self._gateway = gateway
        self._loop = gateway.loop
        self._socket = sock
        self._tls = tls
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._resumed: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._resumed = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _pause(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._resumed = self._loop.call_later(_PAUSE, self._listen)

    def _accept(self) -> bool:
        """Take a batch of connections; say whether there may be more."""
        gateway = self._gateway
        for _ in range(_BATCH):
            if len(gateway.connections) + len(self._tasks) >= self._most:
                self._pause()
                return False
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError:
                # Out of descriptors or memory: the client waits in the queue, and the loop is not kept busy with it.
                self._pause()
                return False
            sock.setblocking(False)
            task = self._loop.create_task(self._open(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    async def _open(self, sock: socket.socket) -> None:
        gateway = self._gateway
        secure = self._tls is not None
        connection = gateway.connect()
        gateway.opening.add(connection)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=gateway.deadlines.header if secure else None,
                ssl_shutdown_timeout=gateway.deadlines.linger if secure else None,
            )
        except (OSError, TimeoutError):
            # ssl.SSLError is an OSError: whoever it was, it was no client.
            sock.close()
        finally:
            gateway.opening.discard(connection)

    def close(self) -> None:
        """Take who is in the queue, whom the end of the socket would reset, and then no more."""
        if self._closed:
            return
        self._closed = True
        while self._resumed is None and self._accept():
            continue
        if self._resumed is not None:
            self._resumed.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
