"""Upstreams to try rules against. They say plainly that they are sandboxes; nothing of them is for production."""

from __future__ import annotations

from collections.abc import Callable

NAMES = ("kibo", "oauth", "sfcc")


async def serve(
    name: str, *, host: str, port: int, data: str | None, ready: Callable[[str], None] | None = None
) -> None:
    """Serve a sandbox until cancelled; `ready` is called with its address. `data` is a SQLite file, None for memory."""
    import asyncio
    from importlib import import_module

    from aiohttp import web

    if name not in NAMES:
        raise ValueError(f"there is no sandbox {name!r}; there are {', '.join(NAMES)}")
    application: web.Application = import_module(f".{name}", __name__).application(data)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        actual = runner.addresses[0][1]
        if ready is not None:
            ready(f"http://{host}:{actual}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
