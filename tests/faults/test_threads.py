"""The threads that everyone shares are all busy, with names that no resolver answers or anything else."""

from __future__ import annotations

import asyncio
import threading

from tests.figures import Figures
from tests.gateways import Start

from .stall import Stall

BOTH_LOOPS = True
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_with_no_thread_free_requests_go_on_and_only_a_new_name_waits(
    start: Start, stall: Stall, figures: Figures
) -> None:
    proxied = await start(host="localhost", connect=0.5)
    loop = asyncio.get_running_loop()
    kept = await proxied.client()
    await kept.send(GET)
    assert (await kept.message()).status == 200
    release = threading.Event()
    busy = [loop.run_in_executor(None, release.wait) for _ in range(100)]
    try:
        for _ in range(200):
            await kept.send(GET)
            assert (await kept.message()).status == 200
        # Without a connection that is kept, the name is looked up again; uvloop has threads of its own for that.
        proxied.gateway.pool.abort()
        proxied.gateway.pool.closed = False
        shared = type(loop).__module__.startswith("asyncio")
        assert (await proxied.ask(GET)).status == (504 if shared else 200)
    finally:
        release.set()
        await asyncio.gather(*busy)
    assert (await proxied.ask(GET)).status == 200
    figures.add("faults", cases=203)
