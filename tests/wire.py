"""Raw ends of connections: an upstream that records every byte and says what it is told, and a client likewise."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

PATIENCE = 10.0
LOOPBACK = "127.0.0.1"


@dataclass
class Message:
    """A message as it was on the wire: first line, header lines, body with its framing undone."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    head: bytes
    interim: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    @property
    def target(self) -> bytes:
        return self.line.split()[1]

    @property
    def method(self) -> bytes:
        return self.line.split()[0]

    def all(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]

    def get(self, name: str) -> bytes | None:
        found = self.all(name)
        return found[0] if found else None


class _Recorder(asyncio.StreamReader):
    """A reader that keeps every byte, even of a message that nobody could read to its end."""

    def __init__(self) -> None:
        super().__init__(limit=1 << 24)
        self.seen = bytearray()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.seen.extend(data)
        super().feed_data(data)


class Wire:
    """One end of a TCP connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received = b""
        # Every byte as it came in, read or not.
        self.seen = reader.seen if isinstance(reader, _Recorder) else bytearray()
        self.noticed: Callable[[], None] = lambda: None

    def _keep(self, data: bytes) -> bytes:
        self.received += data
        self.noticed()
        return data

    @classmethod
    async def open(cls, port: int, **more: Any) -> Wire:
        return cls(*await asyncio.open_connection(LOOPBACK, port, limit=1 << 24, **more))

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def drip(self, data: bytes) -> None:
        """Send byte by byte, each in a segment of its own as far as the loop allows."""
        for at in range(len(data)):
            if self.writer.is_closing():
                return
            self.writer.write(data[at : at + 1])
            await asyncio.sleep(0)

    async def until(self, mark: bytes) -> bytes:
        data = await asyncio.wait_for(self.reader.readuntil(mark), PATIENCE)
        return self._keep(data)

    async def exactly(self, size: int) -> bytes:
        data = await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)
        return self._keep(data)

    async def rest(self) -> bytes:
        """Read to the end of the connection; a reset counts as the end."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := await asyncio.wait_for(self.reader.read(1 << 20), PATIENCE):
                parts.append(part)
        data = b"".join(parts)
        return self._keep(data)

    async def message(self, *, bodyless: bool = False, interim: bool = False) -> Message:
        """Read one message; `bodyless` for the answer to a HEAD, `interim` to return interim answers like others."""
        skipped: list[bytes] = []
        while True:
            head = await self.until(b"\r\n\r\n")
            line, *lines = head[:-4].split(b"\r\n")
            headers = [(name, value.strip()) for name, _, value in (one.partition(b":") for one in lines)]
            message = Message(line, headers, b"", head, skipped)
            answer = line.startswith(b"HTTP/")
            if answer and message.status < 200 and message.status != 101 and not interim:
                skipped.append(head)
                continue
            break
        if bodyless or (answer and (message.status < 200 or message.status in (204, 304))):
            return message
        if message.get("transfer-encoding") == b"chunked":
            message.body = await self._chunks()
        elif (length := message.get("content-length")) is not None:
            message.body = await self.exactly(int(length))
        elif answer:
            message.body = await self.rest()
        return message

    async def _chunks(self) -> bytes:
        parts = []
        while size := int((await self.until(b"\r\n")).split(b";")[0], 16):
            parts.append(await self.exactly(size))
            assert await self.exactly(2) == b"\r\n"
        while await self.until(b"\r\n") != b"\r\n":
            pass
        return b"".join(parts)

    def end(self) -> None:
        """Send nothing more, go on reading."""
        self.writer.write_eof()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def eventually(condition: Callable[[], object]) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


Answering = Callable[[Wire, int], Awaitable[None]]


def ok(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    """Write an answer with a Content-Length."""
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


class RecordingUpstream:
    """Accepts connections and lets `answering(wire, number)` do what it likes with each; keeps all bytes and messages.

    Without `answering` every request gets `answer`.
    """

    def __init__(self) -> None:
        self.answer = ok()
        self.answering: Answering | None = None
        self.wires: list[Wire] = []
        self.messages: list[Message] = []
        self.faults: list[BaseException] = []
        self.port = 0
        self._arrived = asyncio.Event()
        self._number = itertools.count()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: asyncio.StreamReaderProtocol(_Recorder(), self._accept), LOOPBACK, 0
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = Wire(reader, writer)
        wire.noticed = self._arrived.set
        self.wires.append(wire)
        try:
            if self.answering is not None:
                await self.answering(wire, next(self._number))
            else:
                await self.serve(wire)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as error:
            self.faults.append(error)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def serve(self, wire: Wire) -> None:
        while True:
            message = await self.take(wire)
            await wire.send(
                self.answer if message.method != b"HEAD" else self.answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            )

    async def begun(self) -> Wire:
        """Wait until a request's head has come in; gives its connection."""
        while not any(wire.received for wire in self.wires):
            self._arrived.clear()
            await asyncio.wait_for(self._arrived.wait(), PATIENCE)
        return next(wire for wire in self.wires if wire.received)

    async def take(self, wire: Wire) -> Message:
        """Read one request and keep it."""
        message = await self._patient(wire)
        self.messages.append(message)
        return message

    async def _patient(self, wire: Wire) -> Message:
        # A kept connection may wait for its next request as long as the test runs.
        if wire.reader.at_eof():
            raise ConnectionResetError
        return await wire.message()

    @property
    def open(self) -> int:
        """Count the connections that are not closed."""
        return len(self._tasks)

    @property
    def bytes(self) -> bytes:
        return b"".join(wire.received for wire in self.wires)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.faults, self.faults
