"""Sandboxes for a test: started on a free port, called as any client would, stopped with the test."""

from __future__ import annotations

import asyncio
import base64
import json as json_
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from proxy.sandbox import serve


class Sandbox:
    """A running sandbox, and how to call it."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self.session = session
        self.address = address

    async def call(self, method: str, path: str, json: Any = None, **more: Any) -> tuple[int, Any, Mapping[str, str]]:
        """Give the status, the JSON body, None when there is none, and the headers."""
        async with self.session.request(method, self.address + path, json=json, **more) as answer:
            body = await answer.read()
            return answer.status, json_.loads(body) if body else None, answer.headers

    async def code(self, email: str) -> str:
        _, codes, _ = await self.call("GET", "/sandbox/codes")
        return str(codes[email])


class Running:
    """Starts sandboxes of one name."""

    def __init__(self, session: aiohttp.ClientSession, name: str) -> None:
        self.session = session
        self.name = name
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, data: str | None = None) -> Sandbox:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(self.name, host="127.0.0.1", port=0, data=data, ready=address.set_result))
        self.tasks.append(task)
        waiting: set[asyncio.Future[Any]] = {task, address}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return Sandbox(self.session, await address)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()


@asynccontextmanager
async def serving(name: str) -> AsyncIterator[Running]:
    """Give what starts sandboxes, and stop them all at the end."""
    # Every call stands for itself: nothing is kept in a jar.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        running = Running(session, name)
        yield running
        await running.stop()


def basic(name: str, password: str) -> dict[str, str]:
    """Give the header of a name and a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}
