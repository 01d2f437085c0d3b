"""The upstream of the benchmark, as cheap as Python lets it be: one loop over epoll, whole answers made beforehand.

    python -m tests.benchmarks.upstream

It prints its port and serves until its standard input ends. It is no HTTP server: it reads what peers send it and
answers 400 to a login without the header that the rules have to set, so that a peer which forgets it is told.
"""

from __future__ import annotations

import select
import socket
import sys
import zlib

from .jobs import BIG, CATALOG, FILES, ORDERS, SIZED, TICKET, TICKETS, sized, tight

# More is allocated by mmap, each time, which costs five times the read.
CHUNK = 1 << 16


def whole(status: str, body: bytes, etag: str = "") -> bytes:
    """Make an answer."""
    tag = f'ETag: "{etag}"\r\n' if etag else ""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{tag}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


_ANSWERS = {
    TICKETS.encode(): whole("200 OK", tight(TICKET), "ticket"),
    ORDERS.encode(): whole("200 OK", tight(TICKET), "ticket"),
    CATALOG.encode(): whole("200 OK", tight(BIG), "catalog"),
}
_UNMARKED = whole("400 Bad Request", b'{"message":"x-vol-site is missing"}')
_UNKNOWN = whole("404 Not Found", b'{"message":"there is nothing here"}')
_UNSIZED = whole("411 Length Required", b'{"message":"the body has no length"}')


def _sized(path: bytes) -> bytes:
    """Give the answer of the size that a path names, made when it is first asked for."""
    size = path.removeprefix(SIZED.encode())
    if size == path or not size.isdigit():
        return _UNKNOWN
    return _ANSWERS.setdefault(path, whole("200 OK", tight(sized(int(size))), "sized"))


class Client:
    """One connection: what came of a request, and what is left to send of its answer."""

    __slots__ = ("crc", "data", "left", "path", "sending", "size", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        # Bytes of a body that are still to come, and the answer to give then.
        self.left = 0
        self.size = 0
        self.path = b""
        # Of the body, where it is asked for.
        self.crc: int | None = None
        self.sending = memoryview(b"")

    def take(self, data: bytes) -> bytes | None:
        """Take what came; give an answer once the request is whole."""
        if self.left:
            self.left -= len(data)
            if self.crc is not None:
                self.crc = zlib.crc32(data, self.crc)
            return None if self.left else self._answer(b"")
        data = self.data + data if self.data else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.data = data
            return None
        self.data = b""
        head = data[:end].lower()
        at = head.find(b"content-length:")
        self.size = int(head[at + 15 : (head + b"\r").find(b"\r", at)]) if at >= 0 else 0
        if b"transfer-encoding:" in head:
            return _UNSIZED
        self.path, _, query = data[data.find(b" ") + 1 : data.find(b" HTTP/")].partition(b"?")
        self.left = self.size - (len(data) - end - 4)
        self.crc = zlib.crc32(data[end + 4 :]) if query == b"crc" else None
        if self.left:
            if self.path == TICKETS.encode() and b"x-vol-site: 21074" not in head:
                self.path = b"unmarked"
            return None
        return self._answer(head)

    def _answer(self, head: bytes) -> bytes:
        if self.path == FILES.encode():
            crc = b"" if self.crc is None else b',"crc":%d' % self.crc
            return whole("200 OK", b'{"received":%d%b}' % (self.size, crc))
        if (head and self.path == TICKETS.encode() and b"x-vol-site: 21074" not in head) or self.path == b"unmarked":
            return _UNMARKED
        return _ANSWERS.get(self.path) or _sized(self.path)


def serve(listener: socket.socket) -> None:
    """Serve until the standard input ends."""
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    epoll.register(sys.stdin, select.EPOLLIN | select.EPOLLHUP)
    clients: dict[int, Client] = {}
    door, life = listener.fileno(), sys.stdin.fileno()
    while True:
        for number, event in epoll.poll():
            if number == life:
                return
            if number == door:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[sock.fileno()] = Client(sock)
                epoll.register(sock, select.EPOLLIN)
                continue
            client = clients[number]
            try:
                if event & select.EPOLLOUT:
                    _send(epoll, client, client.sending)
                    continue
                data = client.sock.recv(CHUNK)
            except OSError:
                data = b""
            if not data:
                epoll.unregister(client.sock)
                clients.pop(number).sock.close()
                continue
            answer = client.take(data)
            if answer is not None:
                _send(epoll, client, memoryview(answer))


def _send(epoll: select.epoll, client: Client, answer: memoryview) -> None:
    """Send what goes; the rest when the connection takes it."""
    waiting = bool(client.sending)
    try:
        sent = client.sock.send(answer)
    except BlockingIOError:
        sent = 0
    except OSError:
        # Gone; the next event on it says so.
        sent = len(answer)
    client.sending = answer[sent:]
    if bool(client.sending) != waiting:
        epoll.modify(client.sock, select.EPOLLOUT if client.sending else select.EPOLLIN)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=8192)
    print(listener.getsockname()[1], flush=True)
    serve(listener)


if __name__ == "__main__":
    main()
