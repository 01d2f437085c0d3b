"""The data plane in a process of its own, so that its memory can be read: `load_process.py UPSTREAM_PORT`.

Prints its port, ends when its input ends. One rule, on /login: the user is read before, a header is written after.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop

from proxy.edge.gateway import Gateway
from proxy.edge.options import Upstream
from proxy.engine.exchange import Exchange
from proxy.engine.ruleset import PathPattern, Rule, Ruleset, Step


def read_user(x: Exchange) -> None:
    x.variables["user"] = x.request.document.get(("user",))


def write_bearer(x: Exchange) -> None:
    response = x.answer()
    if response.document.get(("user",)) != x.variables["user"]:
        raise RuntimeError("another user's answer")
    response.headers.set(b"Authorization", f"Bearer {response.document.get(('token',))}".encode())


LOGIN = Rule(
    "login",
    0,
    paths=(PathPattern(("login",)),),
    before=(Step(read_user, "test", "read"),),
    after=(Step(write_bearer, "test", "write"),),
    needs_request=True,
    needs_response=True,
)


async def serve(upstream: int) -> None:
    loop = asyncio.get_running_loop()
    gateway = Gateway(
        Ruleset([LOGIN]),
        Upstream("127.0.0.1", upstream, "auth"),
        loop=loop,
        clock=lambda: 0.0,
        entropy=os.urandom,
        record=lambda *_: None,
    )
    server = await loop.create_server(gateway.connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    gateway.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
