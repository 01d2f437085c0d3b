"""What every store does, sealed or not: the same tests on all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from tests.services.store.stores import Kept

LONG = 60.0
SHORT = 0.05


async def test_a_value_is_there_until_it_is_taken(kept: Kept) -> None:
    store = kept.store
    assert await store.get("k") is None
    await store.set("k", b"\x00\xffvalue", LONG)
    assert await store.get("k") == b"\x00\xffvalue"
    await store.set("k", b"", LONG)
    assert await store.get("k") == b""
    assert await store.take("k") == b""
    assert await store.take("k") is None
    assert await store.get("k") is None


async def test_any_text_may_be_a_key(kept: Kept) -> None:
    keys = ["", " ", "a\0b", "ä€😀", "k" * 5000, "k{a}", "k{b}", "v:k", "*"]
    for key in keys:
        await kept.store.set(key, key.encode(), LONG)
    for key in keys:
        assert await kept.store.get(key) == key.encode()


async def test_a_large_value_comes_back_whole(kept: Kept) -> None:
    value = bytes(range(256)) * 4096
    await kept.store.set("k", value, LONG)
    assert await kept.store.get("k") == value


async def test_a_value_is_gone_when_its_time_is_over(kept: Kept) -> None:
    store = kept.store
    await store.set("k", b"v", SHORT)
    await store.set("other", b"v", LONG)
    await kept.until(lambda: is_none(store.get("k")))
    assert await store.take("k") is None
    assert await store.get("other") == b"v"


async def test_a_value_set_again_has_its_new_time(kept: Kept) -> None:
    store = kept.store
    await store.set("k", b"old", SHORT)
    await store.set("k", b"new", LONG)
    await store.set("mark", b"", SHORT * 2)
    await kept.until(lambda: is_none(store.get("mark")))
    assert await store.get("k") == b"new"


async def test_only_the_first_value_is_added(kept: Kept) -> None:
    store = kept.store
    assert await store.add("k", b"first", LONG) is True
    assert await store.add("k", b"second", LONG) is False
    assert await store.get("k") == b"first"


async def test_a_value_can_be_added_when_the_one_before_is_over(kept: Kept) -> None:
    store = kept.store
    await store.add("k", b"first", SHORT)
    await kept.until(lambda: store.add("k", b"second", LONG))
    assert await store.get("k") == b"second"


async def test_of_a_hundred_that_take_at_once_one_gets_it(kept: Kept) -> None:
    await kept.store.set("k", b"v", LONG)
    taken = await asyncio.gather(*(kept.store.take("k") for _ in range(100)))
    assert (taken.count(b"v"), taken.count(None)) == (1, 99)


async def test_of_a_hundred_that_add_at_once_one_does(kept: Kept) -> None:
    added = await asyncio.gather(*(kept.store.add("k", b"%d" % index, LONG) for index in range(100)))
    assert added.count(True) == 1
    assert await kept.store.get("k") == b"%d" % added.index(True)


async def test_a_hundred_that_count_at_once_are_all_counted(kept: Kept) -> None:
    counts = await asyncio.gather(*(kept.store.increment("k", LONG) for _ in range(100)))
    assert sorted(counts) == list(range(1, 101))


async def test_a_count_begins_anew_when_its_time_is_over(kept: Kept) -> None:
    store = kept.store
    await store.increment("k", SHORT)

    async def begins_anew() -> bool:
        return await store.increment("k", SHORT) == 1

    await kept.until(begins_anew)


async def test_values_counts_and_limits_are_apart(kept: Kept) -> None:
    store = kept.store
    await store.set("k", b"v", LONG)
    assert await store.increment("k", LONG) == 1
    assert (await store.reserve("k", most=1, per=LONG, block=None, lease=LONG)).ticket is not None
    assert await store.take("k") == b"v"
    assert await store.increment("k", LONG) == 2


async def test_of_a_hundred_tries_at_once_as_many_pass_as_the_limit_says(kept: Kept) -> None:
    tries = [kept.store.reserve("k", most=5, per=LONG, block=None, lease=LONG) for _ in range(100)]
    reserved = await asyncio.gather(*tries)
    tickets = [found.ticket for found in reserved if found.ticket is not None]
    assert len(tickets) == len(set(tickets)) == 5
    assert {found.retry_after for found in reserved if found.ticket is None} == {1.0}


async def test_of_a_hundred_counted_tries_at_once_as_many_pass_as_the_limit_says(kept: Kept) -> None:
    tries = [kept.store.reserve("k", most=5, per=LONG, block=None, lease=None) for _ in range(100)]
    reserved = await asyncio.gather(*tries)
    assert sum(found.ticket is not None for found in reserved) == 5
    assert all(0 < found.retry_after <= LONG for found in reserved if found.ticket is None)


async def test_failures_block_a_key_and_only_that_one(kept: Kept) -> None:
    store = kept.store
    for _ in range(3):
        ticket = (await store.reserve("k", most=3, per=LONG, block=30.0, lease=LONG)).ticket
        assert ticket is not None
        await store.settle("k", ticket, failed=True, most=3, per=LONG, block=30.0)
    refused = await store.reserve("k", most=3, per=LONG, block=30.0, lease=LONG)
    assert refused.ticket is None
    assert 1 < refused.retry_after <= 30
    assert (await store.reserve("other", most=3, per=LONG, block=30.0, lease=LONG)).ticket is not None


async def test_without_a_block_of_its_own_a_key_is_refused_for_the_whole_window(kept: Kept) -> None:
    store = kept.store
    ticket = (await store.reserve("k", most=1, per=LONG, block=None, lease=LONG)).ticket
    assert ticket is not None
    await store.settle("k", ticket, failed=True, most=1, per=LONG, block=None)
    refused = await store.reserve("k", most=1, per=LONG, block=None, lease=LONG)
    assert refused.ticket is None
    assert 30 < refused.retry_after <= LONG


async def test_failures_begin_anew_after_a_block(kept: Kept) -> None:
    store = kept.store
    for _ in range(2):
        ticket = (await store.reserve("k", most=2, per=LONG, block=SHORT, lease=LONG)).ticket or ""
        await store.settle("k", ticket, failed=True, most=2, per=LONG, block=SHORT)

    async def passes() -> bool:
        return (await store.reserve("k", most=2, per=LONG, block=SHORT, lease=LONG)).ticket is not None

    await kept.until(passes)
    assert await passes()
    assert not await passes()


async def test_a_success_gives_back_its_own_place_and_no_other(kept: Kept) -> None:
    store = kept.store
    failed = (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).ticket or ""
    await store.settle("k", failed, failed=True, most=2, per=LONG, block=None)
    fine = (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).ticket or ""
    assert (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).retry_after == 1.0
    await store.settle("k", fine, failed=False, most=2, per=LONG, block=None)
    again = (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).ticket or ""
    assert again
    await store.settle("k", again, failed=True, most=2, per=LONG, block=None)
    assert (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).retry_after > 1.0


async def test_failures_age_out(kept: Kept) -> None:
    store = kept.store
    ticket = (await store.reserve("k", most=2, per=SHORT, block=LONG, lease=LONG)).ticket or ""
    await store.settle("k", ticket, failed=True, most=2, per=SHORT, block=LONG)
    first = (await store.reserve("k", most=2, per=SHORT, block=LONG, lease=LONG)).ticket or ""

    async def passes() -> bool:
        return (await store.reserve("k", most=2, per=SHORT, block=LONG, lease=LONG)).ticket is not None

    await kept.until(passes)
    await store.settle("k", first, failed=True, most=2, per=LONG, block=LONG)
    assert (await store.reserve("k", most=2, per=SHORT, block=LONG, lease=LONG)).retry_after == 1.0


async def test_a_try_that_never_ended_is_forgotten_after_its_lease(kept: Kept) -> None:
    store = kept.store
    await store.reserve("k", most=1, per=LONG, block=None, lease=SHORT)

    async def passes() -> bool:
        return (await store.reserve("k", most=1, per=LONG, block=None, lease=LONG)).ticket is not None

    await kept.until(passes)


async def test_a_failure_counts_even_when_it_comes_after_its_lease(kept: Kept) -> None:
    store = kept.store
    late = (await store.reserve("k", most=1, per=LONG, block=30.0, lease=SHORT)).ticket or ""

    async def passes() -> bool:
        return (await store.reserve("k", most=1, per=LONG, block=30.0, lease=LONG)).ticket is not None

    await kept.until(passes)
    await store.settle("k", late, failed=True, most=1, per=LONG, block=30.0)
    assert (await store.reserve("k", most=1, per=LONG, block=30.0, lease=LONG)).retry_after > 1.0


async def test_a_failure_told_twice_counts_once(kept: Kept) -> None:
    store = kept.store
    ticket = (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).ticket or ""
    for _ in range(2):
        await store.settle("k", ticket, failed=True, most=2, per=LONG, block=None)
    assert (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).ticket is not None
    assert (await store.reserve("k", most=2, per=LONG, block=None, lease=LONG)).retry_after == 1.0


async def test_a_counted_try_over_the_limit_blocks_where_a_block_is_given(kept: Kept) -> None:
    store = kept.store
    assert (await store.reserve("k", most=1, per=SHORT, block=LONG, lease=None)).ticket is not None

    async def is_blocked() -> bool:
        return (await store.reserve("k", most=1, per=SHORT, block=LONG, lease=None)).retry_after > 1.0

    await kept.until(is_blocked)
    await store.set("mark", b"", SHORT * 2)
    await kept.until(lambda: is_none(store.get("mark")))
    assert (await store.reserve("k", most=1, per=SHORT, block=LONG, lease=None)).ticket is None


async def test_counted_tries_pass_again_when_the_oldest_is_old(kept: Kept) -> None:
    store = kept.store
    await store.reserve("k", most=1, per=SHORT, block=None, lease=None)

    async def passes() -> bool:
        return (await store.reserve("k", most=1, per=SHORT, block=None, lease=None)).ticket is not None

    await kept.until(passes)


async def is_none(reading: Awaitable[bytes | None]) -> bool:
    return await reading is None
