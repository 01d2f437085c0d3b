"""One upstream call for many: within a process, between processes, and when those who take part go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.engine.effects import Lead, Publish, Share
from proxy.engine.errors import EffectFailed
from proxy.services.sharing import Sharing
from proxy.services.store import StoreError
from proxy.services.store.memory import MemoryStore
from tests.services.store.stores import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def sharing(store: MemoryStore) -> AsyncIterator[Sharing]:
    sharing = Sharing(store)
    yield sharing
    await sharing.close()


@pytest.fixture
async def elsewhere(store: MemoryStore) -> AsyncIterator[Sharing]:
    """What another process is: it has the same store, and nothing else in common."""
    sharing = Sharing(store)
    yield sharing
    await sharing.close()


async def lead(sharing: Sharing) -> str:
    found = await sharing.share(Share("k"))
    assert isinstance(found, Lead)
    return found.ticket


async def wait_on(*all_of: Sharing, count: int = 20) -> list[asyncio.Task[Lead | bytes]]:
    """Start to wait, and come back when all do."""
    tasks = [asyncio.create_task(sharing.share(Share("k"))) for sharing in all_of for _ in range(count)]
    for sharing in all_of:
        while sum(watch.waiting for watch in sharing._watches.values()) < count:
            await asyncio.sleep(0)
    return tasks


async def test_one_leads_and_all_get_what_it_published(sharing: Sharing, elsewhere: Sharing) -> None:
    ticket = await lead(sharing)
    waiting = await wait_on(sharing, elsewhere)
    await sharing.publish(Publish("k", ticket, b"answer", 60))
    assert set(await asyncio.gather(*waiting)) == {b"answer"}
    assert await sharing.share(Share("k")) == b"answer"
    assert await elsewhere.share(Share("k")) == b"answer"


async def test_of_two_hundred_at_once_one_leads(sharing: Sharing, elsewhere: Sharing) -> None:
    leads = 0

    async def ask(one: Sharing) -> bytes:
        nonlocal leads
        found = await one.share(Share("k"))
        if isinstance(found, bytes):
            return found
        leads += 1
        await one.publish(Publish("k", found.ticket, b"answer", 60))
        return b"answer"

    assert set(await asyncio.gather(*(ask(one) for one in [sharing, elsewhere] * 100))) == {b"answer"}
    assert leads == 1


async def test_what_was_published_is_over_after_its_time(sharing: Sharing, clock: Clock) -> None:
    await sharing.publish(Publish("k", await lead(sharing), b"answer", 60))
    clock.now += 60
    await lead(sharing)


async def test_without_a_time_only_those_who_waited_get_it(sharing: Sharing, elsewhere: Sharing) -> None:
    ticket = await lead(sharing)
    waiting = await wait_on(sharing, elsewhere)
    await sharing.publish(Publish("k", ticket, b"refused", 0))
    second = await lead(elsewhere)
    assert second != ticket
    assert set(await asyncio.gather(*waiting)) == {b"refused"}


async def test_an_empty_answer_is_an_answer(sharing: Sharing) -> None:
    await sharing.publish(Publish("k", await lead(sharing), b"", 60))
    assert await sharing.share(Share("k")) == b""


async def test_a_failure_is_that_of_all_who_waited_and_of_none_later(sharing: Sharing, elsewhere: Sharing) -> None:
    ticket = await lead(sharing)
    waiting = await wait_on(sharing, elsewhere)
    await sharing.publish(Publish("k", ticket, None, 60))
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in failed} == {EffectFailed}
    await lead(sharing)


async def test_a_leader_that_died_is_followed_by_one_of_those_who_wait(
    sharing: Sharing, elsewhere: Sharing, clock: Clock
) -> None:
    await lead(sharing)
    waiting = await wait_on(sharing, elsewhere)
    clock.now += 60
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    found = done.pop().result()
    assert isinstance(found, Lead)
    await elsewhere.publish(Publish("k", found.ticket, b"answer", 60))
    results = await asyncio.gather(*waiting)
    assert results.count(b"answer") == len(waiting) - 1


async def test_a_leader_that_is_late_does_not_disturb_the_next_one(sharing: Sharing, clock: Clock) -> None:
    late = await lead(sharing)
    clock.now += 60
    ticket = await lead(sharing)
    waiting = await wait_on(sharing)
    await sharing.publish(Publish("k", late, b"late", 60))
    await sharing.publish(Publish("k", late, None, 60))
    await sharing.publish(Publish("k", ticket, b"answer", 60))
    assert set(await asyncio.gather(*waiting)) == {b"answer"}
    assert await sharing.share(Share("k")) == b"answer"


async def test_those_who_wait_may_go_away(sharing: Sharing) -> None:
    ticket = await lead(sharing)
    waiting = await wait_on(sharing)
    for task in waiting[1:]:
        task.cancel()
    await asyncio.wait(waiting[1:])
    assert not waiting[0].done()
    await sharing.publish(Publish("k", ticket, b"answer", 60))
    assert await waiting[0] == b"answer"
    assert sharing._watches == {}


async def test_nothing_is_left_when_all_who_waited_went_away(sharing: Sharing) -> None:
    ticket = await lead(sharing)
    waiting = await wait_on(sharing)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert sharing._watches == {}
    await sharing.publish(Publish("k", ticket, b"answer", 60))
    assert await sharing.share(Share("k")) == b"answer"


class Slow(MemoryStore):
    """A store whose writes wait until they may go on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.reached = asyncio.Event()
        self.may = asyncio.Event()

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        self.reached.set()
        await self.may.wait()
        await super().set(key, value, ttl)


async def test_what_is_being_published_comes_to_its_end_when_the_leader_goes_away(clock: Clock) -> None:
    store = Slow(clock)
    sharing = Sharing(store)
    publishing = asyncio.create_task(sharing.publish(Publish("k", await lead(sharing), b"answer", 60)))
    await store.reached.wait()
    publishing.cancel()
    await asyncio.wait([publishing])
    store.may.set()
    await sharing.close()
    assert await Sharing(store).share(Share("k")) == b"answer"


async def test_an_answer_too_large_for_the_store_frees_the_key(clock: Clock) -> None:
    sharing = Sharing(MemoryStore(clock, most_bytes=2000))
    ticket = await lead(sharing)
    waiting = await wait_on(sharing)
    with pytest.raises(StoreError, match="full"):
        await sharing.publish(Publish("k", ticket, b"v" * 5000, 60))
    assert set(await asyncio.gather(*waiting)) == {b"v" * 5000}
    await lead(sharing)


class Failing(MemoryStore):
    """A store that goes down when it is told to."""

    down = False

    async def get(self, key: str) -> bytes | None:
        if self.down:
            raise StoreError("the store is down")
        return await super().get(key)


async def test_a_store_that_goes_down_is_told_to_all_who_wait(clock: Clock) -> None:
    store = Failing(clock)
    sharing = Sharing(store)
    await lead(sharing)
    waiting = await wait_on(sharing)
    store.down = True
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(error) for error in failed} == {"the store is down"}
    assert len({id(error) for error in failed}) == len(failed)


async def test_those_who_wait_are_sent_away_when_the_proxy_ends(clock: Clock) -> None:
    sharing = Sharing(MemoryStore(clock))
    await lead(sharing)
    waiting = await wait_on(sharing)
    await sharing.close()
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(error) for error in failed} == {EffectFailed}
