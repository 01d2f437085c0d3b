"""Gateways that listen, and the upstream behind them: fixtures for every folder whose tests need the data plane."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import uvloop

from proxy.edge.downstream import Connection
from proxy.edge.gateway import Gateway, Perform, perform_nothing
from proxy.edge.listener import Listener
from proxy.edge.options import Bounds, Deadlines, Trust, Upstream
from proxy.edge.sockets import open_socket
from proxy.engine.exchange import Exchange
from proxy.engine.message import Limits
from proxy.engine.ruleset import Rule, Ruleset
from proxy.observe.facts import Facts
from tests.wire import LOOPBACK, PATIENCE, Message, RecordingUpstream, Wire


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on uvloop; a module with `BOTH_LOOPS = True` runs on asyncio's loop too, for where uvloop is missing."""
    module = getattr(item, "module", None)
    if getattr(module, "BOTH_LOOPS", False):
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Proxied:
    """A gateway that listens, and the upstream behind it."""

    gateway: Gateway
    upstream: RecordingUpstream
    port: int
    records: list[tuple[Exchange | None, Facts]]
    listener: Listener[Connection]
    recorded: asyncio.Condition

    def __post_init__(self) -> None:
        self.clients: list[Wire] = []

    async def client(self) -> Wire:
        wire = await Wire.open(self.port)
        self.clients.append(wire)
        return wire

    async def ask(self, *data: bytes, bodyless: bool = False) -> Message:
        """Send bytes on a new connection and read one answer."""
        wire = await self.client()
        await wire.send(*data)
        return await wire.message(bodyless=bodyless)

    async def record(self, count: int = 1) -> Facts:
        """Wait until that many exchanges were recorded; gives the last one's facts."""
        async with self.recorded:
            await asyncio.wait_for(self.recorded.wait_for(lambda: len(self.records) >= count), PATIENCE)
        return self.records[count - 1][1]


Start = Callable[..., Awaitable[Proxied]]


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    recording = RecordingUpstream()
    await recording.start()
    yield recording
    await recording.stop()


@pytest.fixture
async def start(upstream: RecordingUpstream) -> AsyncIterator[Start]:
    """Start gateways: `start(*rules, bounds=…, …)`; what has no name here is an option of the upstream."""
    begun: list[Proxied] = []
    # What the event loop would only log, an exception in a callback, fails the test.
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))

    async def begin(
        *rules: Rule,
        bounds: Bounds | None = None,
        deadlines: Deadlines | None = None,
        trust: Trust | None = None,
        limits: Limits | None = None,
        perform: Perform = perform_nothing,
        dialect: str = "problem",
        most: int = 10_000,
        **more: Any,
    ) -> Proxied:
        for position, rule in enumerate(rules):
            rule.position = position
        loop = asyncio.get_running_loop()
        records: list[tuple[Exchange | None, Facts]] = []
        recorded = asyncio.Condition()
        waking: set[asyncio.Task[None]] = set()

        async def wake() -> None:
            async with recorded:
                recorded.notify_all()

        def record(exchange: Exchange | None, facts: Facts) -> None:
            records.append((exchange, facts))
            task = loop.create_task(wake())
            waking.add(task)
            task.add_done_callback(waking.discard)

        options = {"host": LOOPBACK, "port": upstream.port, "authority": "auth.internal:8443", **more}
        gateway = Gateway(
            Ruleset(rules, dialect=dialect),
            Upstream(**options),
            loop=loop,
            clock=lambda: 1_767_225_600.0,
            entropy=os.urandom,
            record=record,
            perform=perform,
            limits=limits,
            bounds=bounds,
            deadlines=deadlines,
            trust=trust,
        )
        sock = open_socket(f"{LOOPBACK}:0")
        listener = Listener(gateway, sock, most=most)
        proxied = Proxied(gateway, upstream, sock.getsockname()[1], records, listener, recorded)
        begun.append(proxied)
        return proxied

    yield begin
    for proxied in begun:
        for wire in proxied.clients:
            wire.writer.transport.abort()
        proxied.listener.close()
        proxied.gateway.close()
        faults = [facts.error for _, facts in proxied.records if facts.error and "fault of the proxy" in facts.error]
        assert not faults
    assert not noise, noise
