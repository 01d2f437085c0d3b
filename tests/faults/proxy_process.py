"""The data plane in a process of its own, watched; its arguments are the upstream's port, and as JSON bounds, deadlines
and options of the upstream.

Prints its port, and when its input ends how long its loop stood still.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvloop

from proxy.edge.gateway import Gateway
from proxy.edge.listener import Listener
from proxy.edge.options import Bounds, Deadlines, Upstream
from proxy.edge.server import settle
from proxy.edge.sockets import open_socket
from proxy.engine.ruleset import Ruleset
from tests.edge.load_process import LOGIN

from .stall import Stall


async def serve(port: int, bounds: dict[str, Any], deadlines: dict[str, Any], upstream: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    gateway = Gateway(
        Ruleset([LOGIN]),
        Upstream("127.0.0.1", port, "auth", **{"connections": 512, "first_byte": 5.0, "stall": 5.0, **upstream}),
        loop=loop,
        clock=lambda: 0.0,
        entropy=os.urandom,
        record=lambda *_: None,
        bounds=Bounds(**bounds),
        deadlines=Deadlines(**deadlines),
    )
    sock = open_socket("127.0.0.1:0")
    listener = Listener(gateway, sock, most=20_000)
    settle()
    stall = Stall(loop)
    print(sock.getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    worst = stall.close()
    listener.close()
    gateway.close()
    print(json.dumps({"stall": worst, "looks": stall.looks}), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *map(json.loads, sys.argv[2:])))
