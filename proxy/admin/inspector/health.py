"""How a run is, in one look: what its processes tell of themselves on the board."""

from __future__ import annotations

import time
from typing import Any

from ... import __version__
from ...observe.board import Board, WorkerState
from ...observe.health import ready_workers, reasons_against
from .ring import Ring

# What is added up over workers, and its limit where it has one.
_ADDED: dict[str, str | None] = {
    "connections": "connections_most",
    "exchanges": None,
    "pool_open": "pool_connections_most",
    "pool_waiting": "pool_waiting_most",
    "memory_resident_bytes": "memory_most_bytes",
    "memory_bodies_bytes": None,
}


def health(board: Board, *, reached: bool, ring: Ring) -> dict[str, Any]:
    """Tell how a run is."""
    run, workers = board.run(), board.workers()
    now = time.monotonic()
    alive = ready_workers(run, workers)
    reasons = reasons_against(run, workers, now, reached=reached)
    return {
        "version": __version__,
        "now": time.time(),
        "started": run.started,
        "ready": not reasons,
        "reasons": reasons,
        "reached": reached,
        "workers": [_worker(slot, state) for slot, state in enumerate(workers)],
        "deaths": sum(slot.deaths for slot in run.slots),
        "levels": {
            name: {"now": _sum(alive, name), "most": _sum(alive, most) if most is not None else None}
            for name, most in _ADDED.items()
        },
        "services": {
            name: all(state.services.get(name, True) for state in alive)
            for name in sorted({name for state in alive for name in state.services})
        },
        "key_sets": {name: max((state.gauges.get(name, 0.0) for state in alive), default=0.0) for name in _KEY_SETS},
        "suspended": _count(workers, "requests", 1, "suspended"),
        "returned": _count(workers, "returns"),
        "rules": {
            "reloads": run.reloads,
            "refused": run.failed_reloads,
            "holds": run.holds,
            "taken": run.taken,
        },
        "kept": {"exchanges": len(ring), "most": ring.most, "came": ring.last, "unreadable": ring.bad},
    }


_KEY_SETS = ("key_sets", "key_sets_failing")


def _worker(slot: int, state: WorkerState) -> dict[str, Any]:
    return {
        "slot": slot,
        "pid": state.pid,
        "ready": state.ready,
        "draining": state.draining,
        "revision": state.revision,
        "rules": state.rules,
        "exchanges": state.gauges.get("exchanges", 0.0),
        "connections": state.gauges.get("connections", 0.0),
        "memory": state.gauges.get("memory_resident_bytes", 0.0),
        "stall": state.gauges.get("loop_stall_seconds", 0.0),
    }


def _sum(workers: list[WorkerState], name: str) -> float:
    return sum(state.gauges.get(name, 0.0) for state in workers)


def _count(workers: list[WorkerState], family: str, place: int = 0, value: str | None = None) -> int:
    """Count over all workers what has a value of its labels, or everything."""
    return int(
        sum(
            count
            for state in workers
            for labels, count in state.series.counters.get(family, {}).items()
            if value is None or labels[place] == value
        )
    )
