"""Other servers agree with us on the number, boundary, method, target and host of requests, behind us and before us.

Behind: what we forwarded is read by nginx and Envoy as it was meant. Before: of what they pass on of an attack, we see
the requests that they saw, and no other. (h11 reads everything that is forwarded in `runner.py`.)
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.engine.errors import Unreadable
from proxy.engine.target import canonical
from tests.figures import Figures
from tests.gateways import Start
from tests.wire import Message, RecordingUpstream, Wire, eventually

from .cases import Case, compiled, get
from .fronts import FRONTS, missing, running
from .test_http import CASES

fronts = pytest.mark.parametrize(
    "front",
    [
        pytest.param(name, marks=pytest.mark.skipif(missing(name) is not None, reason=str(missing(name))))
        for name in FRONTS
    ],
)
_END = get("Connection: close", target="/end")


def _told(message: Message) -> tuple[bytes, bytes, bytes | None, bytes]:
    return message.method, message.target, message.get("host"), message.body


async def _forwarded(case: Case, start: Start, upstream: RecordingUpstream) -> tuple[bytes, list[Message]]:
    """Give the bytes that a case becomes, and the requests that they are meant to be."""
    proxied = await start(trust=case.trust)
    if case.rules:
        proxied.gateway.ruleset = compiled(case.rules)
    first, marks = len(upstream.messages), {id(wire): len(wire.seen) for wire in upstream.wires}
    wire = await proxied.client()
    await wire.send(case.data)
    for _ in case.outcome.answers:
        await wire.message(bodyless=case.data.startswith(b"HEAD"))
    await wire.close()
    return b"".join(wire.seen[marks.get(id(wire), 0) :] for wire in upstream.wires), upstream.messages[first:]


@fronts
async def test_a_server_behind_us_reads_what_we_forward_as_it_was_meant(
    front: str, start: Start, upstream: RecordingUpstream, figures: Figures, tmp_path: Path
) -> None:
    behind = RecordingUpstream()
    await behind.start()
    disagreements = []
    cases = [case for case in CASES if case.outcome.sent]
    async with running(front, tmp_path, behind.port) as socket:
        for case in cases:
            data, meant = await _forwarded(case, start, upstream)
            assert len(meant) == len(case.outcome.sent)
            first = len(behind.messages)
            wire = Wire(*await asyncio.open_unix_connection(socket, limit=1 << 24))
            await wire.send(data + _END)
            await wire.rest()
            await wire.close()
            read = [_told(m) for m in behind.messages[first:]]
            if read != [*map(_told, meant), (b"GET", b"/end", b"a", b"")]:
                disagreements.append((str(case), read, [_told(m) for m in meant]))
    await behind.stop()
    figures.add("desync", cases=len(cases), found=len(disagreements))
    assert not disagreements


@fronts
async def test_of_what_a_server_before_us_passes_on_we_see_the_requests_that_it_saw(
    front: str, start: Start, upstream: RecordingUpstream, figures: Figures, tmp_path: Path
) -> None:
    proxied = await start()

    async def deliver(case: Case) -> None:
        wire = Wire(*await asyncio.open_unix_connection(socket, limit=1 << 24))
        try:
            await wire.send(case.data + _END)
            if front == "nginx":
                wire.end()
        except ConnectionError:
            pass
        await wire.rest()
        await wire.close()

    async with running(front, tmp_path, proxied.port) as socket:
        # Many at once: one that waits for more is given up by the server only after a while.
        for at in range(0, len(CASES), 64):
            await asyncio.gather(*map(deliver, CASES[at : at + 64]))
        await eventually(lambda: proxied.gateway.pool.open == proxied.gateway.pool.idle)
    unseen = [message.head for message in upstream.messages if not _seen(message)]
    figures.add("desync", cases=len(CASES), found=len(unseen))
    assert not unseen
    assert len(upstream.messages) > 100


def _seen(message: Message) -> bool:
    """Say whether a request is the one that the server before us took it for."""
    marks = message.all("x-front")
    if len(marks) != 1:
        return False
    method, _, target = marks[0].partition(b" ")
    try:
        path, query = canonical(target)
    except Unreadable:
        return False
    url = path if query is None else f"{path}?{query}"
    return (method, url.encode()) == (message.method, message.target)
