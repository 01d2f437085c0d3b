"""The load: requests of one job over kept connections, every answer looked at, each one's time taken.

It runs in the caller's process, as cheap as Python lets it be: one loop over epoll and plain sockets. A connection has
one request under way. `full` asks again as soon as an answer is there; `paced` asks at times that were drawn before,
whether answers are there or not, and counts from those times: a server that stalls cannot hide what waited.
"""

from __future__ import annotations

import gc
import random
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from .jobs import Answer, Job

HOST = "127.0.0.1"
# More is allocated by mmap, each time, which costs five times the read.
CHUNK = 1 << 16
PATIENCE = 60.0


class WrongAnswer(Exception):
    """An answer is not what the job says it has to be, or there is none."""


@dataclass(slots=True)
class Load:
    """What a turn of load found: how many answers in how many seconds, and the seconds that each took."""

    answers: int = 0
    seconds: float = 0.0
    times: array[float] = field(default_factory=lambda: array("d"))

    @property
    def rate(self) -> float:
        return self.answers / self.seconds

    def percentile(self, share: float) -> float:
        """Give the time that so large a share of the answers did not exceed."""
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def body_of(data: bytes) -> tuple[int, bytes] | None:
    """Give status and decoded body of an answer, or None while it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        size = int(head[at + 17 :].partition(b"\r")[0])
        if len(data) < end + 4 + size:
            return None
        return int(data[9:12]), data[end + 4 : end + 4 + size]
    if b"\r\ntransfer-encoding: chunked" not in head or not data.endswith(b"0\r\n\r\n"):
        return None
    return int(data[9:12]), _dechunked(data, end + 4)


def _dechunked(data: bytes, at: int) -> bytes:
    found: list[bytes] = []
    while True:
        line = data.index(b"\r\n", at)
        size = int(data[at:line], 16)
        if not size:
            return b"".join(found)
        found.append(data[line + 2 : line + 2 + size])
        at = line + size + 4


def connect(port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def fetch(port: int, request: bytes, repeated: bytes = b"", times: int = 0) -> Answer:
    """Ask once on a connection of its own and give the whole answer."""
    with connect(port) as sock:
        found = converse(sock, request, repeated, times)
    body = body_of(found)
    if body is None:
        raise WrongAnswer(f"no whole answer: {found[:200]!r}")
    lines = found.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(body[0], headers, body[1])


def converse(sock: socket.socket, request: bytes, repeated: bytes = b"", times: int = 0) -> bytes:
    """Ask on a connection, and give what comes until an answer is whole or the connection ends."""
    found = b""
    try:
        sock.sendall(request)
        for _ in range(times):
            sock.sendall(repeated)
        while body_of(found) is None:
            data = sock.recv(CHUNK)
            if not data:
                break
            found += data
    except OSError as error:
        raise WrongAnswer(f"the connection broke: {type(error).__name__}") from error
    return found


def check(port: int, job: Job) -> int:
    """Look at a whole answer, and give the length of its body; raise WrongAnswer."""
    answer = fetch(port, job.request, job.repeated, job.times)
    answers = [answer, *([fetch(port, job.proof, job.repeated, job.times)] if job.proof else [])]
    for one in answers:
        wrong = job.check(one)
        if wrong is not None:
            raise WrongAnswer(f"{job.name}: {wrong}")
    return len(answer.body)


def full(port: int, job: Job, length: int, seconds: float, connections: int | None = None) -> Load:
    """Ask for so many seconds as fast as answers come; every answer has the job's status and a body of `length`."""
    with _collector_off():
        if job.times:
            return _sequential(port, job, length, seconds)
        with _Fleet(port, job, length, connections or job.connections) as fleet:
            return fleet.full(seconds)


def paced(port: int, job: Job, length: int, seconds: float, rate: float, connections: int = 64) -> Load:
    """Ask for so many seconds `rate` times a second, at random times that are the same for every peer."""
    with _collector_off(), _Fleet(port, job, length, connections) as fleet:
        return fleet.paced(seconds, rate)


@contextmanager
def _collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _sequential(port: int, job: Job, length: int, seconds: float) -> Load:
    load = Load()
    with connect(port) as sock:
        begun = before = time.perf_counter()
        while before - begun < seconds:
            found = body_of(converse(sock, job.request, job.repeated, job.times))
            if found is None or found[0] != job.status or len(found[1]) != length:
                raise WrongAnswer(f"{job.name}: {found!r:.200}")
            now = time.perf_counter()
            load.times.append(now - before)
            before = now
    load.answers, load.seconds = len(load.times), before - begun
    return load


class _Fleet:
    """The connections of one turn."""

    def __init__(self, port: int, job: Job, length: int, connections: int) -> None:
        self._job = job
        self._expected = (job.status, length)
        self._begin = f"HTTP/1.1 {job.status} ".encode()
        # How long the last right answer was, its head included: most others are exactly so long.
        self._usual = 0
        self._epoll = select.epoll()
        self._socks = {sock.fileno(): sock for sock in (connect(port) for _ in range(connections))}
        self._parts: dict[int, bytes] = {}
        for sock in self._socks.values():
            sock.setblocking(False)
            self._epoll.register(sock, select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for sock in self._socks.values():
            sock.close()

    def _ask(self, number: int) -> None:
        if self._socks[number].send(self._job.request) != len(self._job.request):
            raise WrongAnswer("the connection takes no whole request")

    def _answered(self, number: int) -> bool:
        """Read what is there; say whether an answer is whole, after a look at it."""
        try:
            data = self._socks[number].recv(CHUNK)
        except OSError as error:
            raise WrongAnswer(f"{self._job.name}: the connection broke: {type(error).__name__}") from error
        if not data:
            raise WrongAnswer(f"{self._job.name}: the connection was closed under load")
        held = self._parts.pop(number, b"")
        if held:
            data = held + data
        if len(data) == self._usual and data.startswith(self._begin):
            return True
        found = body_of(data)
        if found is None:
            self._parts[number] = data
            return False
        status, body = found
        if (status, len(body)) != self._expected:
            raise WrongAnswer(f"{self._job.name}: under load {status} with {len(body)} bytes, not {self._expected}")
        self._usual = len(data)
        return True

    def full(self, seconds: float) -> Load:
        clock = time.perf_counter
        poll, times = self._epoll.poll, array("d")
        asked: dict[int, float] = {}
        begun = now = clock()
        for number in self._socks:
            asked[number] = begun
            self._ask(number)
        until = begun + seconds
        # What was asked is waited for, or its work would be counted and its answer would not.
        while asked:
            events = poll(PATIENCE)
            if not events:
                raise WrongAnswer(f"{self._job.name}: no answer under load")
            for number, _ in events:
                if self._answered(number):
                    now = clock()
                    times.append(now - asked[number])
                    if now < until:
                        asked[number] = now
                        self._ask(number)
                    else:
                        del asked[number]
        return Load(len(times), now - begun, times)

    def paced(self, seconds: float, rate: float) -> Load:
        clock = time.perf_counter
        draw = random.Random(7).expovariate
        times, free = array("d"), deque(self._socks)
        asked: dict[int, float] = {}
        begun = clock()
        due = begun + draw(rate)
        waiting: deque[float] = deque()
        while True:
            now = clock()
            while due <= now and due < begun + seconds:
                waiting.append(due)
                due += draw(rate)
            while waiting and free:
                number = free.popleft()
                asked[number] = waiting.popleft()
                self._ask(number)
            if due >= begun + seconds and not waiting and len(free) == len(self._socks):
                return Load(len(times), clock() - begun, times)
            if now > begun + seconds + PATIENCE:
                raise WrongAnswer(f"{self._job.name}: answers are missing at {rate:.0f} a second")
            # epoll waits in whole milliseconds, select in microseconds.
            pause = max(due - clock(), 0.0) if due < begun + seconds and free else 1.0
            if select.select([self._epoll], [], [], pause)[0]:
                for number, _ in self._epoll.poll(0):
                    if self._answered(number):
                        times.append(clock() - asked[number])
                        free.append(number)
