"""Exchanges through the data plane without a socket, for profilers: every cost is Vestibule's own.

    python -m tests.benchmarks.alone [login|pass] COUNT

    perf record -g python -m tests.benchmarks.alone login 50000
    valgrind --tool=callgrind python -m tests.benchmarks.alone login 2000

Both ends are transports that keep what is written; the log goes to /dev/null. Prints the CPU of an exchange, in
microseconds: warm, so less than a server takes between two waits for its sockets.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from proxy.edge.entropy import Entropy
from proxy.edge.gateway import Gateway
from proxy.edge.options import Upstream
from proxy.edge.server import settle
from proxy.edge.turn import Turn
from proxy.edge.upstream import UpstreamConnection
from proxy.engine.exchange import Exchange
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.observe.facts import Facts
from proxy.observe.log import Log, Sink
from proxy.observe.metrics import Metrics

from .jobs import JOBS, TICKET, tight
from .peers.peer import FILES

_KNOWN = {"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 8080)}


class Nowhere(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__(_KNOWN)
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Endless(Turn):
    """A turn of the loop that goes on, as it would with a loop that turned after each exchange."""

    def over(self) -> bool:
        super().over()
        return False


def play(job: str, count: int) -> float:
    """Play so many exchanges; gives the CPU seconds that they took."""
    rules = Source("rules.yaml", (FILES / "rules.yaml").read_text() if job == "login" else "version: 1\nrules: []\n")
    built = build([rules], Options(secrets=lambda _: None, packs=lambda _: None))
    if built.ruleset is None:
        raise SystemExit("the rules do not compile")
    log, metrics = Log(Sink(os.open(os.devnull, os.O_WRONLY))), Metrics()

    def record(exchange: Exchange | None, facts: Facts) -> None:
        log.exchange(exchange, facts)
        metrics.exchange(exchange, facts)

    loop = asyncio.new_event_loop()
    target = Upstream("127.0.0.1", 1, "auth")
    gateway = Gateway(built.ruleset, target, loop=loop, clock=time.time, entropy=Entropy(), record=record)
    gateway.turn = gateway.pool.turn = Endless(loop)
    client, server = gateway.connect(), UpstreamConnection(gateway.pool)
    near, far = Nowhere(), Nowhere()
    client.connection_made(near)
    server.connection_made(far)
    gateway.pool.release(server)
    body = tight(TICKET)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    asked = JOBS[job].request
    settle()
    begun = time.thread_time()
    for _ in range(count):
        client.data_received(asked)
        server.data_received(answer + body)
        if not (near.written and far.written):
            raise SystemExit("an exchange was not answered")
        near.written.clear()
        far.written.clear()
    spent = time.thread_time() - begun
    log.close()
    loop.close()
    return spent


def main(job: str = "login", count: str = "10000") -> None:
    spent = play(job, int(count))
    print(f"{job}: {spent / int(count) * 1e6:.1f} us")


if __name__ == "__main__":
    main(*sys.argv[1:])
