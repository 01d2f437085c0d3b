"""A listening socket: takes connections one by one, and none for which the process has no descriptor.

The event loops' own servers count nothing before TLS stands, and out of descriptors one of them drops clients and the
other logs thousands of times. Here a connection counts from its first moment. For one too many, the one is closed that
has waited longest for a request; where none waits, it is the new one that waits, in the kernel's queue.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Sized
from typing import Generic, Protocol, TypeVar

from .options import Deadlines

# For the log, the store, look-ups, key sets and the admin port.
_SPARE = 64
# Connections beyond the bound, to tell their clients so.
_REFUSED = 64
# Taken in one turn of the loop: each costs most of a millisecond, in which all others wait.
_BATCH = 16
_PAUSE = 0.1
_TURN = 0.01
_Connection = TypeVar("_Connection", bound=asyncio.BaseProtocol)


class Host(Protocol[_Connection]):
    """Who connections are taken for. Those that do not stand yet are in `opening`, and it takes them out itself."""

    loop: asyncio.AbstractEventLoop
    deadlines: Deadlines
    opening: set[_Connection]

    @property
    def connections(self) -> Sized: ...
    def connect(self) -> _Connection: ...
    def make_room(self) -> int: ...


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


class Listener(Generic[_Connection]):
    """Takes connections from a socket for a host until it is closed; with `most` of them the others wait."""

    def __init__(
        self, host: Host[_Connection], sock: socket.socket, *, tls: ssl.SSLContext | None = None, most: int
    ) -> None:
        self._host = host
        self._loop = host.loop
        self._socket = sock
        self._tls = tls
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._crowded = False  # there was no room for who is in the queue
        self._resumed: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._resumed = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._resumed = self._loop.call_later(seconds, self._listen)

    def _make_room(self) -> None:
        """Make room for who is in the queue, when no other worker takes it at once; where there is none, pause."""
        if not self._crowded:
            self._crowded = True
            self._pause(_TURN)
        elif not self._host.make_room():
            self._pause(_PAUSE)

    def _accept(self) -> bool:
        """Take a batch of connections; say whether there may be more."""
        host = self._host
        for _ in range(_BATCH):
            if len(host.connections) + len(host.opening) >= self._most:
                self._make_room()
                return False
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                self._crowded = False
                return False
            except (InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                # Out of descriptors or memory: the client waits in the queue, and the loop is not kept busy with it.
                if error.errno == errno.EMFILE:
                    self._make_room()
                else:
                    self._pause(_PAUSE)
                return False
            sock.setblocking(False)
            connection = host.connect()
            host.opening.add(connection)
            task = self._loop.create_task(self._open(sock, connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    async def _open(self, sock: socket.socket, connection: _Connection) -> None:
        host = self._host
        secure = self._tls is not None
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=host.deadlines.header if secure else None,
                ssl_shutdown_timeout=host.deadlines.linger if secure else None,
            )
        except (OSError, TimeoutError):
            # ssl.SSLError is an OSError: whoever it was, it was no client.
            sock.close()
        finally:
            host.opening.discard(connection)

    def close(self) -> None:
        """Take who is in the queue, whom the end of the socket would reset, and then no more."""
        while not self._closed and self._resumed is None and self._accept():
            continue
        self.stop()

    def stop(self) -> None:
        """Take no more."""
        if self._closed:
            return
        self._closed = True
        if self._resumed is not None:
            self._resumed.cancel()
        else:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
