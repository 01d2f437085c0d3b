"""Load whose every request is told apart: an upstream that misbehaves, clients that hang up, and a count of both.

Each request has a number of its own, which the upstream says in its body and in a cookie. Bounded, on loopback only.
An answer too many comes late only while nobody has asked again on its connection: after that, nothing in HTTP/1.1 tells
it from the answer to the next request. Where the two cross on their way, that is told apart from a wrong answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field

from tests.wire import LOOPBACK, PATIENCE

RATE = 0.05
# A request that comes so soon after an answer too many, in milliseconds, may have left before that could be seen.
_CROSSING = 3
_RESET = struct.pack("ii", 1, 0)
_POISON = b"HTTP/1.1 200 OK\r\nSet-Cookie: n=poison\r\nContent-Length: 6\r\n\r\nPOISON"


def cut(writer: asyncio.StreamWriter) -> None:
    """Cut a connection with a reset."""
    if not writer.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()


def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, within: int = 0) -> bool:
    """Say whether the next request, or the end, has come in, read or not; or does so within so many milliseconds."""
    if writer.is_closing():
        return True
    watch = select.poll()
    watch.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(reader._buffer or watch.poll(within))  # type: ignore[attr-defined]


@dataclass
class Report:
    """What became of the requests; `misled` got bytes of another's answer, and `crossed` met one on the way."""

    asked: int = 0
    right: int = 0
    failed: int = 0
    hung_up: int = 0
    misled: set[bytes] = field(default_factory=set)
    crossed: set[bytes] = field(default_factory=set)
    delivered: Counter[bytes] = field(default_factory=Counter)

    def forget(self) -> None:
        """Begin to count anew."""
        self.asked = self.right = self.failed = self.hung_up = 0
        self.misled.clear()
        self.crossed.clear()
        self.delivered.clear()

    @property
    def wrong(self) -> int:
        return len(self.misled - self.crossed)

    @property
    def twice(self) -> int:
        return sum(count - 1 for count in self.delivered.values())


class NumberedUpstream:
    """Answers with the number of the request; `rate` of the requests each get a surplus, late, cut or slow answer."""

    def __init__(self, report: Report, seed: int, rate: float = RATE) -> None:
        self._report = report
        self._dice = random.Random(seed)
        self._rate = rate
        self._tasks: set[asyncio.Task[None]] = set()
        self._crossing: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                number = await self._number(head, reader)
                self._report.delivered[number] += 1
                if writer in self._crossing:
                    self._report.crossed.add(number)
                if not await self._answer(number, reader, writer):
                    return
        except (OSError, RuntimeError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._crossing.discard(writer)
            writer.close()

    async def _number(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        if head.startswith(b"GET"):
            return head.split(b" ", 2)[1].rpartition(b"/")[2]
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return (await reader.readexactly(size)).split(b'"')[3]

    async def _answer(self, number: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        body = b'{"user":"%b","token":"t-%b"}' % (number, number)
        kind = b"HTTP/1.1 200 OK\r\nContent-Type: application/json"
        answer = b"%b\r\nSet-Cookie: n=%b\r\nContent-Length: %d\r\n\r\n%b" % (kind, number, len(body), body)
        dice = self._dice.random() / self._rate if self._rate else 9.0
        if dice < 1:
            writer.write(answer + _POISON)
        elif dice < 2:
            writer.write(answer)
            for _ in range(self._dice.randrange(4)):
                await asyncio.sleep(0)
            if not _asked(reader, writer):
                writer.write(_POISON)
                if _asked(reader, writer, _CROSSING):
                    self._crossing.add(writer)
        elif dice < 3:
            for _ in range(self._dice.randrange(3)):
                await asyncio.sleep(0)
            writer.write(answer[: self._dice.choice((0, 0, 20, len(answer) - 5, len(answer)))])
            cut(writer)
            return False
        elif dice < 4:
            await asyncio.sleep(self._dice.uniform(0.005, 0.05))
            writer.write(answer)
        else:
            writer.write(answer)
        await writer.drain()
        return True


class Shopper:
    """A client that asks one request after the other, and hangs up on some of them."""

    def __init__(self, port: int, report: Report, name: str, rate: float) -> None:
        self._port = port
        self._report = report
        self._name = name
        self._dice = random.Random(name)
        self._rate = rate
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def shop(self, count: int) -> None:
        for turn in range(count):
            await self._ask(f"{self._name}-{turn}".encode())
        self._leave()

    def _leave(self) -> None:
        if self._ends is not None:
            cut(self._ends[1])
            self._ends = None

    async def _ask(self, number: bytes) -> None:
        report = self._report
        report.asked += 1
        if self._ends is None:
            self._ends = await asyncio.open_connection(LOOPBACK, self._port)
        reader, writer = self._ends
        if self._dice.random() < 0.5:
            writer.write(b"GET /n/%b HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        else:
            body = b'{"user":"%b"}' % number
            kind = b"Content-Type: application/json"
            writer.write(
                b"POST /login HTTP/1.1\r\nHost: a\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)
            )
        if self._dice.random() < self._rate:
            for _ in range(self._dice.randrange(12)):
                await asyncio.sleep(0)
            report.hung_up += 1
            self._leave()
            return
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            report.failed += 1
            self._leave()
            return
        if head.startswith(b"HTTP/1.1 200 "):
            expected = b'{"user":"%b","token":"t-%b"}' % (number, number)
            mine = b"Set-Cookie: n=%b\r\n" % number in head and body == expected
            report.right += mine
            if not mine:
                report.misled.add(number)
        else:
            report.failed += 1
            if b"n=" in head or not head.startswith((b"HTTP/1.1 502 ", b"HTTP/1.1 504 ")):
                report.misled.add(number)
        if b"\r\nConnection: close\r\n" in head:
            self._leave()


async def load(port: int, report: Report, *, count: int, shoppers: int, seed: int, rate: float = RATE) -> None:
    """Ask `count` requests of the proxy at `port` on `shoppers` connections, and count what becomes of them."""
    each = [count // shoppers + (number < count % shoppers) for number in range(shoppers)]
    async with asyncio.TaskGroup() as group:
        for number, turns in enumerate(each):
            group.create_task(Shopper(port, report, f"s{seed}-{number}", rate).shop(turns))
    with contextlib.suppress(TimeoutError):
        # What a client hung up on may still be under way to the upstream.
        async with asyncio.timeout(0.2):
            await asyncio.Event().wait()
