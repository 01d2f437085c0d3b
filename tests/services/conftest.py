"""A service on loopback that answers as a test says, and a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

PATIENCE = 10.0
LOOPBACK = "127.0.0.1"

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Clock:
    """Seconds that go on only when a test says so."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    port: int

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Service:
    """What is called. `answer` makes the answers; `open` is what a slow one waits for, and is set at the end."""

    answer: Answering
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def name(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def says(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answer all further requests like this; `_` in the name of a header is `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers=given)

        self.answer = answer

    def waits(self, status: int = 200, body: bytes = b"") -> None:
        """Answer when `open` is set."""

        async def answer(_: web.BaseRequest) -> web.StreamResponse:
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.gone.set()
                raise
            return web.Response(status=status, body=body)

        self.answer = answer

    async def arrive(self, count: int) -> None:
        """Wait until that many requests have come."""
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.asked) >= count), PATIENCE)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
        asked = Asked(request.method, request.raw_path, list(request.headers.items()), body, peer)
        async with self.came:
            self.asked.append(asked)
            self.came.notify_all()
        return await self.answer(request)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Serve = Callable[..., Awaitable[Service]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start services; `tls` is a server's SSLContext."""
    begun: list[tuple[Service, web.ServerRunner]] = []

    async def begin(tls: Any = None) -> Service:
        async def nothing(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response()

        service = Service(nothing)
        # A client that goes is noticed by what answers it.
        runner = web.ServerRunner(web.Server(service.handle, handler_cancellation=True, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, 0, ssl_context=tls)
        await site.start()
        service.port = runner.addresses[0][1]
        begun.append((service, runner))
        return service

    yield begin
    for service, runner in begun:
        service.open.set()
        await runner.cleanup()


@pytest.fixture
async def service(serve: Serve) -> Service:
    return await serve()
