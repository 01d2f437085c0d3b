"""The exchanges that are kept: the newest so many, in at most so many bytes, and what they say of each rule."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from ...observe.record import Record, decode

BYTES = 128 << 20
# In milliseconds; the last bucket is for what took longer.
BOUNDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 50.0, 100.0, 500.0, 1000.0)


class Row(msgspec.Struct, omit_defaults=True):
    """An exchange as the list shows it. `n` counts the exchanges of this process, from 1."""

    n: int
    id: str
    time: float
    method: str
    target: str
    own: float
    status: int | None = None
    operation: str | None = None
    upstream: float | None = None
    by: str | None = None
    rule: str | None = None
    action: str | None = None
    denied: bool = False
    ran: list[str] = []
    error: str | None = None
    hung_up: bool = False


@dataclass(slots=True)
class Seen:
    """What was seen of a rule: when it ran last, and the own time of the exchanges in which it ran."""

    last: float = 0.0
    last_n: int = 0
    times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def take(self, record: Record, n: int) -> None:
        if record.time >= self.last:
            self.last, self.last_n = record.time, n
        self.times[bisect_left(BOUNDS, record.own_ms)] += 1

    @property
    def p99(self) -> float | None:
        """Give a bound that 99 of 100 stayed under, in milliseconds; None where it is beyond all bounds."""
        wanted, count = 0.99 * sum(self.times), 0
        for bound, times in zip(BOUNDS, self.times, strict=False):
            count += times
            if count >= wanted:
                return bound
        return None


class Ring:
    """Keeps the newest records as the lines they came as; `most` is how many."""

    def __init__(self, most: int, *, size: int = BYTES) -> None:
        self.most = most
        self.rules: dict[str, Seen] = {}
        # How many came, and how many of them could not be read.
        self.last = 0
        self.bad = 0
        self._size = size
        self._held = 0
        self._rows: deque[bytes] = deque()
        self._lines: deque[bytes] = deque()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def first(self) -> int:
        """The number of the oldest that is kept."""
        return self.last - len(self._lines) + 1

    def take(self, line: bytes) -> None:
        """Take a record in, as its line; what is too much is let go of, the oldest first."""
        try:
            record = decode(line)
        except ValueError:
            self.bad += 1
            return
        self.last += 1
        row = msgspec.json.encode(_row(self.last, record))
        self._rows.append(row)
        self._lines.append(line)
        self._held += len(row) + len(line)
        for name in record.ran:
            self.rules.setdefault(name, Seen()).take(record, self.last)
        while len(self._lines) > self.most or self._held > self._size:
            self._held -= len(self._lines.popleft()) + len(self._rows.popleft())
        self._news.set()

    def line(self, n: int) -> bytes | None:
        """Give a record by its number; None when it is not kept any more, or never was."""
        place = n - self.first
        return self._lines[place] if 0 <= place < len(self._lines) else None

    def rows(self, after: int, most: int) -> Iterator[bytes]:
        """Give the rows of what came after a number, at most so many, the newest of them."""
        start = max(after + 1, self.first, self.last - most + 1)
        for place in range(start - self.first, len(self._rows)):
            yield self._rows[place]

    async def wait(self, after: int) -> None:
        """Wait until something came after a number."""
        while self.last <= after:
            self._news.clear()
            await self._news.wait()


def _row(n: int, record: Record) -> Row:
    verdict = record.verdict
    return Row(
        n=n,
        id=record.id,
        time=record.time,
        method=record.request.method,
        target=record.request.target,
        own=record.own_ms,
        status=record.status,
        operation=record.operation,
        upstream=record.upstream_ms,
        by=verdict.by,
        rule=verdict.rule,
        action=verdict.action,
        denied=verdict.denied,
        ran=record.ran,
        error=record.error,
        hung_up=record.hung_up,
    )
