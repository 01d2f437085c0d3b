"""What the connections of one worker share: the rules of the moment, the pool, the limits, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..engine import dialects
from ..engine.effects import Effect
from ..engine.errors import EffectFailed
from ..engine.exchange import Exchange
from ..engine.message import Limits, Response
from ..engine.ruleset import Ruleset
from ..observe.facts import Facts
from .deadlines import Wheel
from .memory import Memory
from .options import Bounds, Deadlines, Trust, Upstream
from .parsers import prove
from .turn import Turn
from .upstream import Pool

if TYPE_CHECKING:
    from ..observe.recorder import Recorder
    from ..observe.tape import Tape
    from ..observe.trace import Traces
    from .downstream import Connection
    from .passage import Passage


# How many connections that cannot make room are passed over in a search for one that can.
_PASSED_OVER = 8
# While memory is short, each look at it closes so many of the connections that rest, or a share of them.
_ROOM = 64
_ROOM_SHARE = 4
Record = Callable[[Exchange | None, Facts], None]
Tell = Callable[..., None]
Perform = Callable[[Effect, Exchange], Awaitable[Any]]


async def perform_nothing(effect: Effect, _: Exchange) -> Any:
    """Refuse every effect: what a gateway does that was given no services."""
    raise EffectFailed(f"no service performs {type(effect).__name__}")


def tell_nobody(level: str, event: str, **fields: Any) -> None:
    """Tell the operator nothing: what a gateway does that was given no log."""


class Gateway:
    """The data plane of one worker. Give its `connect` to `loop.create_server`.

    A reload assigns `ruleset`; each exchange takes it once. Building one proves the parsers and raises UnsafeParser
    when they are not to be trusted. `record` is called once for each exchange, with None where no request was read;
    `recorder` is given whole exchanges, and without one nothing is kept for it; without `traces` the context that a
    client sent goes on as it came.
    """

    def __init__(
        self,
        ruleset: Ruleset,
        upstream: Upstream,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
        record: Record,
        perform: Perform = perform_nothing,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
        deadlines: Deadlines | None = None,
        trust: Trust | None = None,
        tell: Tell = tell_nobody,
        recorder: Recorder | None = None,
        traces: Traces | None = None,
    ) -> None:
        # The two need each other; and it is not for the first client to wait for what is imported.
        from .downstream import Connection

        prove(loop)
        self._connection = Connection
        self.loop = loop
        self.ruleset = ruleset
        self.clock = clock
        self.entropy = entropy
        self.record = record
        self.recorder = recorder
        self.traces = traces
        self.perform = perform
        self.tell = tell
        self.limits = limits or Limits()
        self.bounds = bounds or Bounds()
        self.deadlines = deadlines or Deadlines()
        self.trust = trust or Trust()
        self.turn = Turn(loop)
        self.wheel = Wheel(self.turn)
        self.pool = Pool(upstream, loop=loop, wheel=self.wheel, bounds=self.bounds)
        self.upstream = upstream
        self.authority = upstream.authority.encode()
        self.via = f"1.1 {self.trust.pseudonym}".encode()
        self.taken = 0  # client connections, since this worker began
        self.connections: set[Connection] = set()
        # Those of them that wait for a request, the one that has waited longest first.
        self.resting: dict[Connection, None] = {}
        # Exchanges whose client is gone, and which owe something to others.
        self.alone: set[Passage] = set()
        # Connections that were taken and do not stand yet: TLS takes a while.
        self.opening: set[Connection] = set()
        self.draining = False  # every answer closes its connection
        self.closing = False  # and every exchange, whatever its answer said
        self.memory = Memory(self.wheel, self.bounds.memory, tell=self._memory_changed, relieve=self._relieve)

    def connect(self) -> Connection:
        """Build the protocol of one client connection."""
        self.taken += 1
        return self._connection(self)

    def end_record(self, tape: Tape, exchange: Exchange, facts: Facts) -> None:
        """Record an exchange that is over, now that its answer is on its way."""
        if self.recorder is not None:
            self.recorder.end(tape, exchange, facts)

    @property
    def busy(self) -> int:
        """Count the connections with an exchange or a part of one under way, or of an answer, and the exchanges without
        one.
        """
        return sum(not connection.idle or connection.writing for connection in self.connections) + len(self.alone)

    @property
    def awaits(self) -> bool:
        """Say whether a connection was just made and its request is yet to come."""
        return any(connection.fresh for connection in self.connections | self.opening)

    def _memory_changed(self) -> None:
        resident = self.memory.resident()
        if self.memory.short:
            self.tell("error", "memory-short", resident=resident, cap=self.bounds.memory)
        else:
            self.tell("info", "memory-enough", resident=resident, cap=self.bounds.memory)

    def _relieve(self) -> None:
        self.make_room(max(_ROOM, len(self.resting) // _ROOM_SHARE))

    def make_room(self, count: int = 1) -> int:
        """Close so many connections that wait for a request, those that have waited longest; gives how many it were."""
        closed = 0
        for connection in list(islice(self.resting, count + _PASSED_OVER)):
            del self.resting[connection]
            if connection.make_room():
                closed += 1
                if closed == count:
                    break
            else:
                self.resting[connection] = None
        return closed

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            connection.close_if_idle()

    def drain(self) -> None:
        """Take no more: idle connections are closed, every answer from now on closes its own.

        With `draining` alone the answers close theirs, and idle connections wait for a last request. Called again, it
        closes those that were too new before.
        """
        self.draining = self.closing = True
        self._close_idle()

    def close(self) -> None:
        """Cut everything that is still open."""
        self.draining = self.closing = True
        for connection in list(self.connections):
            connection.cut("the proxy stopped before the exchange was over")
        for passage in list(self.alone):
            passage.cut("the proxy stopped before the exchange was over")
        self.pool.abort()
        self.memory.close()
        self.wheel.close()

    def refusal(self, status: int, correlation: str) -> Response:
        """Build an answer to something that was no request: in the default dialect, with nothing of it."""
        response = dialects.answer(
            self.ruleset.dialect,
            status,
            correlation=correlation,
            limits=self.limits,
            origin="proxy",
        )
        if status == 405:
            response.headers.add(b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        elif status == 503:
            response.headers.add(b"Retry-After", b"1")
        return response
