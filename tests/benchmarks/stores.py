"""What an operation of each store costs: the stores of the product, one operation after the other, on one core."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median

import uvloop

from proxy.services.store import Store
from proxy.services.store.address import parse_store
from proxy.services.store.opening import open_store

from .processes import cores, on_cores

Found = dict[str, dict[str, dict[str, float]]]
Operation = Callable[[Store, int], Awaitable[object]]
_VALUE = b"v" * 400
_LIMIT = {"most": 5, "per": 900.0, "block": 900.0}


async def _limited(store: Store, n: int) -> None:
    """Do what a rule with `limit` does for a login that fails."""
    key = f"limit-{n % 500}"
    reserved = await store.reserve(key, most=1_000_000, per=900.0, block=None, lease=30.0)
    assert reserved.ticket is not None
    await store.settle(key, reserved.ticket, failed=True, most=1_000_000, per=900.0, block=None)


OPERATIONS: dict[str, Operation] = {
    "set": lambda store, n: store.set(f"key-{n}", _VALUE, 900.0),
    "get": lambda store, n: store.get(f"key-{n}"),
    "take": lambda store, n: store.take(f"key-{n}"),
    "add": lambda store, n: store.add(f"once-{n}", _VALUE, 900.0),
    "increment": lambda store, n: store.increment(f"count-{n % 500}", 900.0),
    "reserve and settle": _limited,
}


def measure(rounds: int, times: int, tell: Callable[[str], None]) -> Found:
    """Give, for each store and operation, the microseconds that it takes and those of CPU time of our process."""
    found: Found = {}
    own, other = cores()
    for kind in ("memory", "sqlite", "redis"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
            try:
                with on_cores(other):
                    address = stack.enter_context(_address(kind, Path(folder)))
            except ImportError as error:
                tell(f"missing: {kind}: {error}")
                continue
            with on_cores(own):
                found[kind] = uvloop.run(_measure(address, rounds, times))
        tell(f"store {kind}")
    return found


@contextlib.contextmanager
def _address(kind: str, folder: Path) -> Iterator[str]:
    if kind == "memory":
        yield "memory"
    elif kind == "sqlite":
        yield f"sqlite:{folder}/store.db"
    else:
        from tests.services.store.valkey import serving

        with serving(folder) as server:
            yield server.url


async def _measure(address: str, rounds: int, times: int) -> dict[str, dict[str, float]]:
    store = open_store(parse_store(address), b"test-only-pepper")
    wall: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    used: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    for turn in range(rounds + 1):
        for name, operation in OPERATIONS.items():
            first = turn * times
            begun, before = time.perf_counter(), time.process_time()
            for n in range(first, first + times):
                await operation(store, n)
            if turn:
                wall[name].append((time.perf_counter() - begun) / times)
                used[name].append((time.process_time() - before) / times)
            await asyncio.sleep(0)
    await store.close()
    return {name: {"time": median(wall[name]), "cpu": median(used[name])} for name in OPERATIONS}
