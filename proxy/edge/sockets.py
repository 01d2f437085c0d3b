"""Sockets: what is listened on, and how a connection's own is set and broken off."""

from __future__ import annotations

import fcntl
import select
import socket
import stat
import struct
import sys
import termios
from pathlib import Path

BACKLOG = 4096
# What the kernel takes of an answer beyond what is on the wire. Without it a peer that reads slowly is given megabytes
# of the kernel's memory, and copying them for many peers in one turn of the loop holds up all others.
_UNSENT = 131_072
_RESET = struct.pack("ii", 1, 0)


class ListenError(Exception):
    """An address that cannot be listened on, in words for the operator."""


def open_socket(address: str, *, shared: bool = False) -> socket.socket:
    """Listen on `host:port` or `unix:/path`; raise ListenError. A `shared` port is one that other processes share."""
    try:
        if address.startswith("unix:"):
            return _open_unix(Path(address.removeprefix("unix:")))
        sock = _bind(address, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def reserve(address: str, *, taken: bool = False) -> socket.socket:
    """Take `host:port` for the processes that will share it, without listening; raise ListenError.

    `taken` says that another run may share it too: it would get its part of the connections.
    """
    try:
        if not taken:
            # Sharing asks nobody: without it a port that is in use refuses.
            _bind(address, socket.SO_REUSEADDR).close()
        return _bind(address, socket.SO_REUSEPORT)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None


def _bind(address: str, option: int) -> socket.socket:
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(found[0], socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if found[0] == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(found[4])
    except OSError:
        sock.close()
        raise
    return sock


def check_unix(address: str) -> None:
    """See that `unix:/path` can be listened on, and leave nothing there; raise ListenError."""
    open_socket(address).close()
    Path(address.removeprefix("unix:")).unlink()


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
    address = address_of(sock)
    return address if address.startswith("unix:") else f"{'https' if tls else 'http'}://{address}"


def address_of(sock: socket.socket) -> str:
    """Give what a socket is bound to, as the settings write it."""
    name = sock.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"


def prepare(sock: socket.socket | None) -> None:
    """Set up a connection's socket, if it is one of TCP: nothing waits to be sent, and little piles up unsent."""
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def reset(sock: socket.socket | None) -> None:
    """Make the end of a connection, which follows, a reset: nobody can take it for a clean one."""
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def untaken(sock: socket.socket | None) -> int:
    """Count the bytes that were written to a connection's socket and that its peer has not taken; 0 if none can say."""
    try:
        return (
            0 if sock is None else int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        )
    except OSError:
        return 0


def unread(sock: socket.socket | None) -> bool:
    """Say whether bytes lie in a connection's socket that the loop has not come to."""
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return any(event & select.POLLIN and not event & select.POLLRDHUP for _, event in poll.poll(0))
