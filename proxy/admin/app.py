"""The application of the admin port, and the process that serves it: beside the workers, so that it outlives them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from ..edge.listener import Listener
from ..edge.reach import Reach
from ..edge.workers import hear
from ..observe.board import Board
from ..observe.health import reasons_against
from .exposition import OPENMETRICS, TEXT, Exposition, Format, expose, negotiate
from .guard import OPEN, Admission, dress, make_guard
from .visits import Visits, note

if TYPE_CHECKING:
    from .inspector.api import Inspector

BOARD: web.AppKey[Board] = web.AppKey("board", Board)
REACH: web.AppKey[Reach] = web.AppKey("reach", Reach)
NEEDED: web.AppKey[bool] = web.AppKey("needed", bool)
EXPOSITIONS: web.AppKey[dict[Format, Exposition]] = web.AppKey("expositions", dict)


def make_app(
    board: Board,
    reach: Reach,
    admission: Admission,
    *,
    needed: bool,
    loopback: bool,
    inspector: Inspector | None = None,
) -> web.Application:
    """Build the application; `loopback` says that it is reached from this machine alone.

    `needed` says whether a run is ready only while the upstream can be reached.
    """
    # Filled in below: the pages of the inspector show nothing without the token, and ask for it themselves.
    open_to_all = set(OPEN)
    guard = make_guard(admission, loopback=loopback, open_to_all=open_to_all)
    app = web.Application(middlewares=[note, guard], client_max_size=1 << 20)
    app[BOARD] = board
    app[REACH] = reach
    app[NEEDED] = needed
    app[EXPOSITIONS] = {form: _exposition(board, reach, needed, form) for form in (TEXT, OPENMETRICS)}
    app.on_response_prepare.append(dress)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    if inspector is not None:
        from .inspector.assets import add_assets

        open_to_all |= add_assets(app)
        inspector.add_to(app)
    return app


def _exposition(board: Board, reach: Reach, needed: bool, form: Format) -> Exposition:
    return Exposition(
        lambda now: expose(board, now, reached=reach.holds, needed=needed, form=form),
        time.monotonic,
    )


async def _livez(_: web.Request) -> web.Response:
    return web.json_response({"live": True})


async def _readyz(request: web.Request) -> web.Response:
    board, reached = request.app[BOARD], request.app[REACH].holds or not request.app[NEEDED]
    reasons = reasons_against(board.run(), board.workers(), time.monotonic(), reached=reached)
    return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


async def _metrics(request: web.Request) -> web.Response:
    form = negotiate(",".join(request.headers.getall("Accept", ())))
    page = request.app[EXPOSITIONS][form].page()
    return web.Response(body=page, headers={"Content-Type": form.content_type, "Vary": "Accept"})


async def serve(
    app: web.Application,
    sock: socket.socket,
    alive: int,
    tell: Callable[..., None],
    begin: Callable[[asyncio.Event], Awaitable[None]],
    reload: Callable[[], Awaitable[None]],
) -> None:
    """Wait for `begin`, which is given the event of a stop, then serve until SIGTERM or the end of the supervisor.

    `reload` is awaited at the start and at each SIGHUP.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("the admin port has no server")
    reloads: set[asyncio.Task[None]] = set()

    async def reload_or_tell() -> None:
        try:
            await reload()
        except Exception as error:
            tell("error", "reload-failed", cause=type(error).__name__)

    def request() -> None:
        task = loop.create_task(reload_or_tell())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    hear(loop, alive, stop.set, request)
    # A reload may have come before this process, or while it was made.
    await reload()
    watching = loop.create_task(app[REACH].watch())
    await begin(stop)
    if not stop.is_set():
        visits = Visits(runner.server, loop)
        listener = Listener(visits, sock, most=visits.most)
        tell("info", "admin-ready")
        await stop.wait()
        # Who is in the queue is answered by the run that takes the place of this one.
        listener.stop()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await runner.cleanup()
