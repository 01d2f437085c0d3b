"""Records on their way from the workers to a process that shows them: a pair of sockets that is made before the fork.

Each record is one message, so that workers share one end, and one that dies leaves no half of a record. A reader that
is slow, or dead, costs records and no time: what does not fit into the socket waits in a bounded queue, and is dropped
beyond that. The ends outlive the processes: who takes the reader's place reads on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

from .record import decode, shorten

# A message of more than about 200 KB does not fit into what Linux gives a socket.
LONGEST = 100 << 10
WAITING = 2 << 20
_AT_ONCE = 64


def open_pipe() -> tuple[socket.socket, socket.socket]:
    """Make the two ends, to be inherited: the one to read from and the one to write to."""
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading.setblocking(False)
    writing.setblocking(False)
    return reading, writing


class RecordPipe:
    """The writer of one worker."""

    def __init__(self, end: socket.socket, loop: asyncio.AbstractEventLoop, *, waiting: int = WAITING) -> None:
        self._end = end
        self._loop = loop
        self._most = waiting
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._watching = False
        self.lost = 0

    def write(self, line: bytes) -> None:
        """Send a record now or as soon as there is room; dropped when too much waits."""
        if len(line) > LONGEST:
            line = shorten(decode(line), LONGEST)
        if self._waiting + len(line) > self._most or len(line) > LONGEST:
            self.lost += 1
            return
        self._lines.append(line)
        self._waiting += len(line)
        if not self._watching:
            self._send()

    def _send(self) -> None:
        while self._lines:
            try:
                self._end.send(self._lines[0])
            except BlockingIOError:
                self._watch()
                return
            except OSError:
                # Nobody will read any more.
                self.lost += 1
            self._waiting -= len(self._lines.popleft())
        self._rest()

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.add_writer(self._end.fileno(), self._send)

    def _rest(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_writer(self._end.fileno())

    def close(self) -> None:
        """Give up what waits; the socket stays whose it is."""
        self._rest()
        self.lost += len(self._lines)
        self._lines.clear()
        self._waiting = 0


class RecordReader:
    """Reads records in the process that shows them, a few in each turn of the loop; `take` gets each as its line."""

    def __init__(self, end: socket.socket, loop: asyncio.AbstractEventLoop, take: Callable[[bytes], None]) -> None:
        self._end = end
        self._loop = loop
        self._take = take
        loop.add_reader(end.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                line = self._end.recv(2 * LONGEST)
            except BlockingIOError:
                return
            except OSError:
                line = b""
            if not line:
                # There are no writers left.
                self.close()
                return
            self._take(line)

    def close(self) -> None:
        with contextlib.suppress(ValueError):
            self._loop.remove_reader(self._end.fileno())
