"""Whatever an upstream does, its caller gets what is declared, and nobody gets anything that is not his."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from proxy.edge.options import Deadlines
from tests.figures import Figures
from tests.gateways import Proxied, Start
from tests.wire import LOOPBACK, PATIENCE, Wire, eventually, ok

from .link import Ailment, Link
from .stall import Stall
from .upstream import FAULTS, NEXT, Fault, play

BOTH_LOOPS = True
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
# Where time is the fault it is short, and elsewhere no case may depend on it.
SOON, LATE = 0.15, 8.0


def request(method: str) -> bytes:
    body = b"" if method in ("GET", "HEAD") else b"Content-Length: 1\r\n"
    return f"{method} /cb?code=1 HTTP/1.1\r\nHost: a\r\n".encode() + body + b"\r\n" + (b"x" if body else b"")


def unused(proxied: Proxied) -> bool:
    return proxied.gateway.pool.open == 0


async def taken(wire: Wire, relayed: asyncio.Event, bodyless: bool) -> tuple[int, bytes, bool]:
    """Read an answer however it ends; gives its status, its body, and whether it was cut."""
    head = await wire.until(b"\r\n\r\n")
    status = int(head.split()[1])
    lower = head.lower()
    body = b""
    try:
        if bodyless or status in (204, 304):
            relayed.set()
            return status, b"", False
        if b"content-length:" in lower:
            size = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            while len(body) < size:
                relayed.set()
                part = await asyncio.wait_for(wire.reader.read(size - len(body)), PATIENCE)
                if not part:
                    return status, body, True
                body += part
            relayed.set()
            return status, body, False
        while True:
            relayed.set()
            line = await asyncio.wait_for(wire.reader.readuntil(b"\r\n"), PATIENCE)
            part = await asyncio.wait_for(wire.reader.readexactly(int(line, 16) + 2), PATIENCE)
            if line == b"0\r\n":
                return status, body, False
            body += part[:-2]
    except (ConnectionError, asyncio.IncompleteReadError):
        return status, body, True


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_fault_of_the_upstream_is_answered_as_declared(fault: Fault, start: Start, figures: Figures) -> None:
    methods = (fault.method,) if fault.method else METHODS[:2] if fault.status == 504 or fault.cut else METHODS
    drips = (False,) if fault.cut or fault.status == 504 else (False, True)
    time = SOON if fault.cut or fault.status == 504 else LATE
    for method in methods:
        for drip in drips:
            proxied = await start(first_byte=time, stall=time, deadlines=Deadlines(total=3 * time))
            upstream = proxied.upstream
            upstream._number = iter(range(1 << 30))  # type: ignore[assignment]
            upstream.messages.clear()
            relayed = asyncio.Event()
            upstream.answering = play(upstream, fault, relayed=relayed, drip=drip)
            wire = await proxied.client()
            await wire.send(request(method))
            status, body, cut = await taken(wire, relayed, method == "HEAD")
            assert (status, cut) == (fault.status, fault.cut)
            if fault.body is not None:
                assert body == fault.body
            assert b"POISON" not in body
            if status >= 500:
                assert b"X" not in body
            if fault.case in ("L27", "L28"):
                await eventually(partial(unused, proxied))
            # The next caller, and the same one where its connection lives, get what is theirs.
            for _ in range(2):
                answer = await proxied.ask(request("GET"))
                assert (answer.status, answer.body) == (200, NEXT)
            targets = [message.method for message in upstream.messages]
            assert len(targets) <= 3, "a request was sent again"
            figures.add("faults", cases=1)
            figures.add("wrong-answers", cases=3)
            figures.add("deliveries", cases=3, found=max(len(targets) - 3, 0))
            proxied.gateway.pool.abort()


async def test_an_upstream_that_refuses_is_a_502_and_is_used_once_it_is_back(start: Start, figures: Figures) -> None:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        proxied = await start(port=sock.getsockname()[1])
        for _ in range(3):
            assert (await proxied.ask(request("POST"))).status == 502
        sock.listen()
        wire = await proxied.client()
        await wire.send(request("POST"))
        sock.setblocking(False)
        behind, _ = await asyncio.get_running_loop().sock_accept(sock)
        await asyncio.get_running_loop().sock_recv(behind, 65_536)
        behind.sendall(ok(b"back"))
        assert (await wire.message()).body == b"back"
        behind.close()
    figures.add("faults", cases=4)


async def test_an_early_refusal_is_relayed_while_the_client_uploads(start: Start, figures: Figures) -> None:
    for answer in (ok(b"no", status="403 Forbidden"), ok(b"yes")):
        proxied = await start()

        async def answering(wire: Wire, _: int, answer: bytes = answer) -> None:
            await wire.until(b"\r\n\r\n")
            await wire.send(answer)
            await wire.rest()

        proxied.upstream.answering = answering
        wire = await proxied.client()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n", b"x" * 100_000)
        got = await wire.message()
        assert got.body in answer
        assert got.get("connection") == b"close"
        await wire.rest()
        assert proxied.gateway.pool.open == 0
        figures.add("faults", cases=1)


async def race(start: Start, figures: Figures, rounds: int) -> None:
    """Let the upstream end a connection at the moment that the next request goes out on it; half of the rounds do."""
    proxied = await start()
    seen: Counter[bytes] = Counter()

    async def answering(wire: Wire, _: int) -> None:
        while True:
            message = await wire.message()
            seen[message.target] += 1
            await wire.send(ok(message.target))
            number = int(message.target[1:])
            if number % 2:
                # In the same moment as the client's next request, or a turn of the loop later.
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                if number % 3:
                    wire.reset()
                return

    proxied.upstream.answering = answering
    wire = await proxied.client()
    answered = 0
    for number in range(rounds):
        await wire.send(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" % number)
        answer = await wire.message()
        assert answer.status in (200, 502)
        if answer.status == 200:
            assert answer.body == b"/%d" % number
            answered += 1
    twice = sum(seen.values()) - len(seen)
    figures.add("deliveries", cases=rounds, found=twice)
    figures.add("wrong-answers", cases=rounds)
    assert not twice
    assert answered > rounds // 2


async def test_a_connection_that_the_upstream_drops_between_requests_costs_no_request_twice(
    start: Start, figures: Figures
) -> None:
    await race(start, figures, 400)


@pytest.mark.soak
async def test_nor_does_it_in_a_hundred_thousand_races(
    start: Start, figures: Figures, soaking: Callable[[], bool]
) -> None:
    raced = 0
    while raced < 100_000 and soaking():
        await race(start, figures, 1_000)
        raced += 1_000


@pytest.mark.parametrize("then", ["reset", "end", "hang", "slow-close"])
async def test_a_link_that_fails_within_an_answer_is_a_cut_for_the_client(
    then: str, start: Start, figures: Figures
) -> None:
    async with Link(0) as link:
        proxied = await start(port=link.port, stall=0.15, first_byte=0.15)
        link._target = proxied.upstream.port
        proxied.upstream.answer = ok(b"x" * 10_000)
        for limit in (0, 10, 100, 5_000):
            link.ailment = Ailment(limit=limit, then=then, latency=0.01, slice=37)
            wire = await proxied.client()
            await wire.send(request("POST"))
            status, body, cut = await taken(wire, asyncio.Event(), bodyless=False)
            assert (status, cut) == (200, True) or (status in (502, 504) and not cut)
            assert len(body) < 10_000
        link.ailment = Ailment(slice=100)
        assert (await proxied.ask(request("GET"))).body == b"x" * 10_000
    assert len(proxied.upstream.messages) <= 5
    figures.add("faults", cases=5)


async def test_a_slow_link_is_relayed_as_it_comes(start: Start) -> None:
    async with Link(0) as link:
        proxied = await start(port=link.port)
        link._target = proxied.upstream.port
        link.ailment = Ailment(latency=0.005, rate=2_000_000, slice=3_000)
        proxied.upstream.answer = ok(bytes(range(256)) * 200)
        assert (await proxied.ask(request("GET"))).body == bytes(range(256)) * 200


async def test_a_resolver_that_hangs_holds_up_neither_the_loop_nor_more_than_one_thread(
    start: Start, stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxied = await start(connect=0.2)
    released = asyncio.Event()
    lookups = 0
    loop = asyncio.get_running_loop()

    class Names:
        def __getattr__(self, name: str) -> object:
            return getattr(loop, name)

        async def getaddrinfo(self, *_: object, **__: object) -> list[object]:
            nonlocal lookups
            lookups += 1
            await released.wait()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, proxied.upstream.port))]

    proxied.gateway.pool.loop = Names()  # type: ignore[assignment]
    answers = await asyncio.gather(*(proxied.ask(request("POST")) for _ in range(40)))
    assert {answer.status for answer in answers} == {504}
    assert lookups == 1
    released.set()
    await eventually(lambda: proxied.gateway.pool._lookup is None)
    assert (await proxied.ask(request("POST"))).status == 200
    assert lookups == 2
