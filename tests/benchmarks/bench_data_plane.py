"""CPU of a rewritten login: this data plane beside the obvious version of the same job, in one run.

    python tests/benchmarks/bench_data_plane.py [--logins 20000] [--clients 16] [--rounds 5]

The obvious version is `aiohttp.web.Application` with one handler and one `ClientSession`, `json.loads`, the same edits,
`json.dumps`; it has no limits, no checks, no log line. Every answer is looked at. The load, the upstream and each of
the two run in processes of their own, all on loopback; what is compared is the CPU time of a version's process per
login, in rounds that take turns. Differences under 15 % are noise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import uvloop

PATH = "/api/commerce/customer/authtickets"
COMPACT = (",", ":")  # as services write JSON; white space between members takes the slower way through an edit
LOGIN = json.dumps({"username": "jane@example.com", "password": "test-only-password"}, separators=COMPACT).encode()
TICKET = json.dumps(
    {
        "accessToken": "a" * 600,
        "accessTokenExpiration": "2026-01-01T00:00:00.000Z",
        "jwtAccessToken": "test-only." + "j" * 900,
        "refreshToken": "r" * 400,
        "userId": "8f7d2c",
        "customerAccount": {
            "id": 1_021,
            "emailAddress": "jane@example.com",
            "isAnonymous": True,
            "notes": [{"id": n, "content": "n" * 40} for n in range(10)],
            "segments": [{"id": n, "code": f"segment-{n}"} for n in range(12)],
            "attributes": [{"fullyQualifiedName": f"tenant~a{n}", "values": [n, n + 0.5]} for n in range(8)],
        },
    },
    separators=COMPACT,
).encode()


# The upstream: says the same ticket to whatever comes, as cheaply as it can.


class TicketUpstream(asyncio.Protocol):
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: x\r\nContent-Length: %d\r\n\r\n" % len(TICKET)
        + TICKET
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return
        size = int(self.data[:end].lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(self.data) >= end + 4 + size:
            self.data = b""
            self.transport.write(self.answer)


async def serve_upstream(_: int) -> int:
    server = await asyncio.get_running_loop().create_server(TicketUpstream, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


# The two versions.


async def serve_vestibule(upstream: int) -> int:
    from proxy.edge.entropy import Entropy
    from proxy.edge.gateway import Gateway
    from proxy.edge.options import Upstream
    from proxy.engine.message import Limits
    from proxy.language.compile import Options, build
    from proxy.language.document import Source

    file = Path(__file__).with_name("login.yaml")
    options = Options(
        public_origin=None,
        allow_redirects=(),
        limits=Limits(),
        secrets=lambda _: None,
        packs=lambda _: None,
        need_secrets=False,
    )
    built = build([Source(file.name, file.read_text())], options)
    if built.ruleset is None:
        sys.exit(f"{file.name} does not compile: {list(built.problems)}")
    loop = asyncio.get_running_loop()
    gateway = Gateway(
        built.ruleset,
        Upstream("127.0.0.1", upstream, "auth"),
        loop=loop,
        clock=time.time,
        entropy=Entropy(),
        record=lambda *_: None,
    )
    server = await loop.create_server(gateway.connect, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def serve_obvious(upstream: int) -> int:
    import aiohttp
    from aiohttp import web

    async def open_session(application: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as application[session_key]:
            yield

    session_key = web.AppKey("session", aiohttp.ClientSession)

    async def login(request: web.Request) -> web.Response:
        sent = json.loads(await request.read())
        if sent["username"].split("@")[1] in ("mailinator.com", "trash.example"):
            return web.json_response({"message": "Disposable addresses cannot sign in."}, status=403)
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in ("host", "content-length")
        }
        headers["x-vol-site"] = "21074"
        url = f"http://127.0.0.1:{upstream}{request.path_qs}"
        async with request.app[session_key].request(request.method, url, headers=headers, json=sent) as answer:
            ticket = json.loads(await answer.read())
            kept = {
                name: value for name, value in answer.headers.items() if name.lower() not in ("content-length", "etag")
            }
        del ticket["refreshToken"], ticket["customerAccount"]["notes"]
        ticket["customerAccount"]["isAnonymous"] = False
        ticket["tier"] = "gold"
        kept["Authorization"] = f"Bearer {ticket['jwtAccessToken']}"
        return web.Response(body=json.dumps(ticket).encode(), status=answer.status, headers=kept)

    application = web.Application()
    application.cleanup_ctx.append(open_session)
    application.router.add_post(PATH, login)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    CLEANUPS.append(runner.cleanup)
    return int(runner.addresses[0][1])


CLEANUPS: list[Callable[[], Awaitable[None]]] = []
SERVERS = {"upstream": serve_upstream, "vestibule": serve_vestibule, "obvious": serve_obvious}


def serve(name: str, upstream: int) -> None:
    """Serve in this process: print the port, then the CPU seconds used so far for every line of input."""

    async def main() -> None:
        print(await SERVERS[name](upstream), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            used = os.times()
            print(used.user + used.system, flush=True)
        for clean in CLEANUPS:
            await clean()

    uvloop.run(main())


class Child:
    """A server in a process of its own."""

    def __init__(self, name: str, upstream: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, "--upstream", str(upstream)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("a server did not start")
        return line

    def used(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._read())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


# The load.


class Shopper(asyncio.Protocol):
    """Logs in again and again on one connection, and looks at every answer."""

    request = (
        f"POST {PATH} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nx-vol-tenant: 1\r\nContent-Length: {len(LOGIN)}\r\n\r\n"
    ).encode() + LOGIN

    def __init__(self, logins: int, done: asyncio.Future[None]) -> None:
        self.left = logins
        self.done = done
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.data[:end].lower()
        size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(self.data) < end + 4 + size:
            return
        body = self.data[end + 4 :]
        self.data = b""
        if self.left == 1 and not self._right(head, json.loads(body)):
            self.done.set_exception(RuntimeError("a wrong answer"))
            return
        if (
            b" 200 " not in head[:20]
            or b"refreshToken" in body
            or b"gold" not in body
            or b"authorization: bearer" not in head
        ):
            self.done.set_exception(RuntimeError("a wrong answer"))
            return
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.done.set_result(None)

    @staticmethod
    def _right(head: bytes, ticket: Any) -> bool:
        account = ticket["customerAccount"]
        return (
            b"etag" not in head
            and "notes" not in account
            and account["isAnonymous"] is False
            and ticket["userId"] == "8f7d2c"
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("the connection was lost"))


async def load(port: int, logins: int, clients: int) -> None:
    loop = asyncio.get_running_loop()
    ends: list[asyncio.Future[None]] = []
    for _ in range(clients):
        end: asyncio.Future[None] = loop.create_future()
        ends.append(end)
        await loop.create_connection(lambda end=end: Shopper(logins // clients, end), "127.0.0.1", port)  # type: ignore[misc]
    async with asyncio.timeout(300):
        await asyncio.gather(*ends)


def measure(logins: int, clients: int, rounds: int) -> None:
    upstream = Child("upstream")
    versions = {name: Child(name, upstream.port) for name in ("vestibule", "obvious")}
    used: dict[str, list[float]] = {name: [] for name in versions}
    counted = logins // clients * clients
    for turn in range(rounds + 1):
        for name, child in versions.items():
            before = child.used()
            uvloop.run(load(child.port, logins if turn else min(logins, 2_000), clients))
            if turn:
                used[name].append((child.used() - before) / counted * 1e6)
    print(
        f"CPU per rewritten login, {len(LOGIN)} B in, {len(TICKET)} B out, {clients} connections, {rounds} x {counted}"
    )
    for name, values in used.items():
        print(f"  {name:10} {statistics.median(values):7.1f} us   ({min(values):.1f} to {max(values):.1f})")
    ratio = statistics.median(used["obvious"]) / statistics.median(used["vestibule"])
    print(f"  obvious / vestibule = {ratio:.2f}")
    for child in (*versions.values(), upstream):
        child.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--logins", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=sorted(SERVERS), help=argparse.SUPPRESS)
    parser.add_argument("--upstream", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.upstream)
    else:
        measure(asked.logins, asked.clients, asked.rounds)


if __name__ == "__main__":
    main()
