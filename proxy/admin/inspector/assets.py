"""The files of the pages, read once at the start by the names that are there; no path is made of what comes in."""

from __future__ import annotations

from importlib import resources

from aiohttp import web

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
INDEX = "index.html"
# Only what a page needs to show itself; what it shows it asks for with the token.
PREFIX = "/inspect/"


def read_assets() -> dict[str, tuple[str, bytes]]:
    """Read the files, each with its type, by the path under which it is served."""
    found = {}
    for file in (resources.files(__package__).joinpath("..", "static")).iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            found[PREFIX + ("" if file.name == INDEX else file.name)] = (kind, file.read_bytes())
    return found


def add_assets(app: web.Application) -> frozenset[str]:
    """Serve the files; gives their paths, which need no token."""
    assets = read_assets()

    async def serve(request: web.Request) -> web.Response:
        kind, content = assets[request.path]
        return web.Response(body=content, headers={"Content-Type": kind})

    async def lead(_: web.Request) -> web.Response:
        # A browser keeps the fragment, and with it the token.
        raise web.HTTPFound(PREFIX)

    for path in assets:
        app.router.add_get(path, serve)
    app.router.add_get(PREFIX.rstrip("/"), lead)
    return frozenset({*assets, PREFIX.rstrip("/")})
