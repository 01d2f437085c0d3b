"""How a worker shows that it lives: it beats, measures the stalls of its own loop and tells the board of itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..observe.board import Board, WorkerState
from ..observe.metrics import Metrics
from .gateway import Gateway
from .renewal import Renewal

BEAT = 0.05
# Every so many beats the board is told.
_TELL = 5
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Pulse:
    """Beats as long as the worker runs.

    `totals` gives what this process has counted elsewhere, `gauges` how things are now: both by the names of metrics.
    """

    def __init__(
        self,
        gateway: Gateway,
        metrics: Metrics,
        board: Board,
        slot: int,
        *,
        totals: Callable[[], Mapping[str, float]],
        gauges: Callable[[], Mapping[str, float]],
        generation: int,
        renewal: Renewal,
    ) -> None:
        self.gateway = gateway
        self.generation = generation
        self.ready = False
        self._metrics = metrics
        self._board = board
        self._slot = slot
        self._totals = totals
        self._gauges = gauges
        self._renewal = renewal
        self._stall = 0.0
        self._beats = 0
        self._due = gateway.loop.time() + BEAT
        self._handle = gateway.loop.call_at(self._due, self._beat)

    def tell(self) -> None:
        """Tell the board how things are now."""
        gateway, pool = self.gateway, self.gateway.pool
        totals = {
            "connections_taken": gateway.taken,
            "upstream_connections_made": pool.made,
            "upstream_connections_failed": pool.failed,
            "cpu_seconds": time.process_time(),
            **self._totals(),
        }
        for name, total in totals.items():
            self._metrics.advance(name, total)
        self._board.tell_worker(
            self._slot,
            WorkerState(
                pid=os.getpid(),
                ready=self.ready,
                draining=gateway.draining,
                revision=gateway.ruleset.revision,
                rules=len(gateway.ruleset.rules),
                generation=self.generation,
                credentials=self._renewal.used.generation,
                certificates=self._renewal.ends,
                gauges={
                    "connections": len(gateway.connections),
                    "connections_most": gateway.bounds.connections,
                    "exchanges": gateway.busy,
                    "pool_open": pool.open,
                    "pool_idle": pool.idle,
                    "pool_waiting": pool.waiting,
                    "pool_connections_most": pool.options.connections,
                    "pool_waiting_most": pool.options.pending,
                    "memory_resident_bytes": _resident(),
                    "memory_most_bytes": gateway.bounds.memory,
                    "memory_bodies_bytes": gateway.memory.kept,
                    "memory_short": int(gateway.memory.short),
                    "loop_stall_seconds": self._stall,
                    **self._gauges(),
                },
                unreached=pool.unreached,
                services=self._metrics.services,
                series=self._metrics.series,
            ),
        )

    def close(self) -> None:
        """Tell the board a last time."""
        self._handle.cancel()
        self.ready = False
        self.tell()

    def _beat(self) -> None:
        loop = self.gateway.loop
        now = loop.time()
        self._stall = max(self._stall, now - self._due)
        self._board.beat(self._slot, now)
        self._beats += 1
        if self._beats % _TELL == 0:
            self.tell()
        self._due = loop.time() + BEAT
        self._handle = loop.call_at(self._due, self._beat)


def _resident() -> int:
    """Give the resident memory of this process in bytes, 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0
