"""One turn of the loop: what is too much for it comes later, in order, and nothing is lost or mixed up by that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.edge.deadlines import TICK, Deadline, Wheel
from proxy.edge.turn import Turn
from tests.gateways import Proxied, Start
from tests.wire import PATIENCE, Wire, eventually, ok

BOTH_LOOPS = True
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


class Busy(Turn):
    """A turn that is always over."""

    def over(self) -> bool:
        return True


def use_up(turn: Turn) -> None:
    """Work until the turn is over, however fast the machine."""
    while not turn.over():
        pass


async def test_a_turn_is_over_after_some_work_and_the_next_one_is_not() -> None:
    turn = Turn(asyncio.get_running_loop())
    use_up(turn)
    assert turn.over()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not turn.over()


async def test_what_was_put_off_comes_in_order_and_before_whoever_comes_later() -> None:
    turn = Turn(asyncio.get_running_loop())
    done = asyncio.Event()
    called: list[str] = []

    def first() -> None:
        called.append("first")
        assert turn.over()
        turn.put_off(last)

    def last() -> None:
        called.append("last")
        done.set()

    turn.put_off(first)
    turn.put_off(lambda: called.append("second"))
    assert not called
    await done.wait()
    assert called == ["first", "second", "last"]


async def test_one_fault_among_what_was_put_off_costs_the_others_nothing() -> None:
    loop = asyncio.get_running_loop()
    turn = Turn(loop)
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    done = asyncio.Event()

    def fail() -> None:
        raise ValueError("test-only-secret")

    turn.put_off(fail)
    turn.put_off(done.set)
    await done.wait()
    assert [context["message"] for context in told] == ["what was put off failed: ValueError"]


async def test_much_that_was_put_off_leaves_others_their_turn() -> None:
    loop = asyncio.get_running_loop()
    turn = Turn(loop)
    called = 0
    others: list[int] = []
    done = asyncio.Event()

    def work() -> None:
        nonlocal called
        called += 1
        if called == 1_000:
            done.set()

    for _ in range(1_000):
        turn.put_off(work)
    loop.call_soon(lambda: loop.call_soon(lambda: others.append(called)))
    await done.wait()
    assert 0 < others[0] < 1_000


@pytest.fixture
def busy(start: Start) -> Start:
    """Start gateways whose turns are always over: everything that arrives is put off."""

    async def begin(*rules: Any, **options: Any) -> Proxied:
        proxied = await start(*rules, **options)
        gateway = proxied.gateway
        gateway.turn = gateway.wheel.turn = gateway.pool.turn = Busy(gateway.loop)
        return proxied

    return begin


async def test_a_pipeline_that_is_put_off_is_answered_in_order(busy: Start) -> None:
    proxied = await busy()

    def echo(target: bytes) -> bytes:
        return ok(target)

    async def answering(wire: Wire, _: int) -> None:
        while True:
            await wire.send(echo((await proxied.upstream.take(wire)).target))

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(b"".join(GET % number for number in range(50)))
    wire.writer.write_eof()
    assert [(await wire.message()).body for _ in range(50)] == [b"/%d" % number for number in range(50)]
    assert await wire.rest() == b""


@pytest.mark.parametrize("cut", [1, 40, 80, 100])
async def test_a_body_in_pieces_that_are_put_off_arrives_whole(cut: int, busy: Start) -> None:
    proxied = await busy()
    proxied.upstream.answer = ok(b"y" * 100_000)
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    wire = await proxied.client()
    await wire.send(data[:cut])
    await wire.send(data[cut:])
    assert (await wire.message()).body == b"y" * 100_000
    assert proxied.upstream.messages[0].body == b"x" * 100_000


async def test_a_request_that_ends_within_itself_is_refused_after_it_was_put_off(busy: Start) -> None:
    proxied = await busy()
    wire = await proxied.client()
    await wire.send(b"GET / HTTP/1.1\r\nHost:")
    wire.writer.write_eof()
    assert (await wire.message()).status == 400
    assert not proxied.upstream.messages


async def test_a_client_that_resets_leaves_nothing_of_what_was_put_off(busy: Start) -> None:
    proxied = await busy()
    arrived = asyncio.Event()

    async def answering(wire: Wire, _: int) -> None:
        await proxied.upstream.take(wire)
        arrived.set()
        await wire.rest()

    proxied.upstream.answering = answering
    wire = await proxied.client()
    await wire.send(GET % 1)
    await arrived.wait()
    await wire.send(GET % 2)
    wire.reset()
    assert (await proxied.record()).hung_up
    await eventually(lambda: not proxied.gateway.connections and not proxied.gateway.pool.open)
    assert len(proxied.upstream.messages) == 1


async def test_an_answer_too_many_that_comes_late_is_given_to_nobody(busy: Start) -> None:
    proxied = await busy()
    late = asyncio.Event()

    async def answering(wire: Wire, number: int) -> None:
        await proxied.upstream.take(wire)
        await wire.send(ok(b"%d" % number))
        if number == 0:
            await late.wait()
            await wire.send(ok(b"late"))
        await wire.rest()

    proxied.upstream.answering = answering
    client = await proxied.client()
    await client.send(GET % 1)
    first = (await client.message()).body
    late.set()
    await eventually(lambda: not proxied.gateway.pool.idle)
    await client.send(GET % 2)
    assert (first, (await client.message()).body) == (b"0", b"1")


async def test_local_answers_to_a_long_pipeline_leave_others_their_turn(start: Start) -> None:
    proxied = await start()
    count = 400
    wire = await proxied.client()
    turns = 0
    done = False

    def beat() -> None:
        nonlocal turns
        turns += 1
        if not done:
            proxied.gateway.loop.call_soon(beat)

    answered: list[int] = []
    taken: Callable[..., None] = proxied.gateway.record

    def record(*told: Any) -> None:
        answered.append(turns)
        taken(*told)

    proxied.gateway.record = record
    beat()
    # No connection to the upstream: each is answered here, at once.
    proxied.gateway.pool.closed = True
    await wire.send(b"".join(GET % number for number in range(count)))
    assert [(await wire.message()).status for _ in range(count)] == [503] * count
    done = True
    assert len(set(answered)) > 1


async def test_deadlines_that_are_put_off_expire_and_moved_ones_later() -> None:
    loop = asyncio.get_running_loop()
    turn = Turn(loop)
    wheel = Wheel(turn)
    expired: list[str] = []
    done = asyncio.Event()

    def slow() -> None:
        expired.append("slow")
        # The next one waits for another turn, and meanwhile the tick that it was due in passes.
        begun = loop.time()
        while loop.time() - begun < 2 * TICK:
            use_up(turn)

    def moved() -> None:
        expired.append("moved")
        done.set()

    far, first, second, other = (Deadline(wheel, expire) for expire in (slow, slow, slow, moved))
    far.set(600.0)
    first.set(0.0)
    second.set(0.0)
    other.set(0.0)
    other.set(2.5 * TICK)
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert expired == ["slow", "slow", "moved"]
    wheel.close()
