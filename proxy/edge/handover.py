"""The listening sockets of a run, handed to the one that replaces it.

Both accept from the same queue until the old one closes its end, so no client is refused and none is reset. So it is
with the admin port, where a balancer asks whether the run is ready. The socket over which they are handed is for the
user of the run alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_MOST = 64
_PATIENCE = 5.0
_READY = b"ready"
_CREDENTIALS = struct.Struct("3i")


def name_admin(address: str) -> str:
    """Give the name under which the socket of the admin port is handed over."""
    return f"admin {address}"


class Predecessor:
    """The run that is to be replaced: `sockets` are its listening ones, by the addresses it was given."""

    def __init__(self, connection: socket.socket, sockets: dict[str, socket.socket]) -> None:
        self._connection = connection
        self.sockets = sockets

    def take(self, addresses: Sequence[str]) -> dict[str, socket.socket]:
        """Give the sockets of these addresses; the others are let go, for nobody would accept from them here."""
        for address, sock in self.sockets.items():
            if address not in addresses:
                sock.close()
        return {address: sock for address, sock in self.sockets.items() if address in addresses}

    def release(self) -> None:
        """Let it stop: its sockets are served."""
        with contextlib.suppress(OSError):
            self._connection.sendall(_READY)


def find_predecessor(path: str) -> Predecessor | None:
    """Ask the run that waits at a path for its sockets; None when there is none. Raise OSError for one that is odd."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    if not _is_ours(connection):
        connection.close()
        raise PermissionError(None, "the run there is another user's", path)
    data, descriptors, _, _ = socket.recv_fds(connection, 65_536, _MOST)
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for sock in sockets:
        sock.setblocking(False)
    return Predecessor(connection, dict(zip(json.loads(data), sockets, strict=True)))


class Handover:
    """Waits at a path for a run that replaces this one; `replaced` is called when that one serves."""

    def __init__(
        self,
        path: str,
        sockets: Mapping[str, socket.socket],
        *,
        loop: asyncio.AbstractEventLoop,
        replaced: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._replaced = replaced
        self._listening = _listen(path)
        loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listening.accept()
            if not _is_ours(connection):
                connection.close()
                return
            descriptors = [sock.fileno() for sock in self._sockets.values()]
            socket.send_fds(connection, [json.dumps(list(self._sockets)).encode()], descriptors)
            self._loop.add_reader(connection.fileno(), self._hear, connection)

    def _hear(self, connection: socket.socket) -> None:
        said = b""
        with contextlib.suppress(OSError):
            said = connection.recv(len(_READY))
        self._loop.remove_reader(connection.fileno())
        connection.close()
        # One that went without a word did not come up: this one serves on.
        if said == _READY:
            self._replaced()


def _listen(path: str) -> socket.socket:
    """Listen at a path, in place of whoever did; only this user may connect."""
    aside = f"{path}.{os.getpid()}"
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        sock.bind(aside)
    finally:
        os.umask(before)
    sock.listen(1)
    sock.setblocking(False)
    Path(aside).rename(path)
    return sock


def _is_ours(connection: socket.socket) -> bool:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1] in (os.getuid(), 0)
