"""The store in memory: its exact times, its bound, and that it never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from proxy.services.store import StoreError
from proxy.services.store.memory import MemoryStore
from tests.services.store.stores import Clock


def done(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end without an event loop, as the runner of test files does."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_waits(clock: Clock) -> None:
    store = MemoryStore(clock)
    done(store.set("k", b"v", 1))
    assert done(store.add("k", b"v", 1)) is False
    assert done(store.get("k")) == b"v"
    assert done(store.take("k")) == b"v"
    assert done(store.increment("k", 1)) == 1
    ticket = done(store.reserve("k", most=1, per=1, block=None, lease=1)).ticket
    assert done(store.settle("k", ticket, failed=False, most=1, per=1, block=None)) is None
    assert done(store.close()) is None


def test_times_are_exact(clock: Clock) -> None:
    store = MemoryStore(clock)
    done(store.set("k", b"v", 10))
    clock.now += 9.5
    assert done(store.get("k")) == b"v"
    clock.now += 0.5
    assert done(store.get("k")) is None


def test_a_count_has_the_time_of_its_first(clock: Clock) -> None:
    store = MemoryStore(clock)
    assert done(store.increment("k", 10)) == 1
    clock.now += 6
    assert done(store.increment("k", 10)) == 2
    clock.now += 4
    assert done(store.increment("k", 10)) == 1


def fail(store: MemoryStore, most: int = 2, per: float = 60, block: float | None = 30) -> float:
    reserved = done(store.reserve("k", most=most, per=per, block=block, lease=10))
    if reserved.ticket is None:
        return float(reserved.retry_after)
    done(store.settle("k", reserved.ticket, failed=True, most=most, per=per, block=block))
    return 0.0


def test_a_refusal_says_what_is_left_of_the_block(clock: Clock) -> None:
    store = MemoryStore(clock)
    assert [fail(store), fail(store), fail(store)] == [0, 0, 30]
    clock.now += 20
    assert fail(store) == 10
    clock.now += 10
    assert [fail(store), fail(store), fail(store)] == [0, 0, 30]


def test_a_failure_ages_out_by_itself(clock: Clock) -> None:
    store = MemoryStore(clock)
    assert fail(store) == 0
    clock.now += 60
    assert [fail(store), fail(store), fail(store)] == [0, 0, 30]


def test_a_counted_try_waits_for_the_oldest(clock: Clock) -> None:
    store = MemoryStore(clock)
    found = []
    for _ in range(3):
        found.append(done(store.reserve("k", most=2, per=60, block=None, lease=None)).retry_after)
        clock.now += 10
    assert found == [0, 0, 40]
    clock.now += 30
    assert done(store.reserve("k", most=2, per=60, block=None, lease=None)).ticket is not None
    assert done(store.reserve("k", most=2, per=60, block=None, lease=None)).retry_after == 10


def test_a_limit_that_was_lowered_waits_until_enough_have_aged(clock: Clock) -> None:
    store = MemoryStore(clock)
    for _ in range(3):
        done(store.reserve("k", most=3, per=60, block=None, lease=None))
        clock.now += 10
    assert done(store.reserve("k", most=1, per=60, block=None, lease=None)).retry_after == 50


def test_a_full_store_refuses_what_is_new_and_keeps_what_is_there(clock: Clock) -> None:
    store = MemoryStore(clock, most_bytes=10_000)
    done(store.set("k", b"v", 60))
    for index in range(22):
        done(store.set(f"k{index}", b"v" * 100, 30))
    with pytest.raises(StoreError, match="full"):
        done(store.set("one more", b"v" * 600, 30))
    assert done(store.get("k")) == b"v"
    done(store.set("k", b"w", 60))
    with pytest.raises(StoreError, match="full"):
        done(store.set("k", b"w" * 1000, 60))
    clock.now += 30
    done(store.set("new", b"v" * 1000, 30))
    assert done(store.get("k")) == b"w"


def test_a_value_over_the_bound_is_refused_at_once(clock: Clock) -> None:
    with pytest.raises(StoreError, match="full"):
        done(MemoryStore(clock, most_bytes=1000).set("k", b"v" * 2000, 1))


def test_what_is_set_again_and_again_takes_no_more_room(clock: Clock) -> None:
    store = MemoryStore(clock, most_bytes=2000)
    for _ in range(10_000):
        clock.now += 0.001
        done(store.set("k", b"v" * 1000, 60))
    assert len(store._ends) < 200
    done(store.take("k"))
    assert store._size == 0


async def test_it_runs_in_a_loop_as_well(clock: Clock) -> None:
    store = MemoryStore(clock)
    await asyncio.gather(*(store.increment("k", 1) for _ in range(10)))
    assert await store.increment("k", 1) == 11
