"""Who may use the admin port, and what each of its answers says to browsers and caches.

On a loopback address a page in the operator's browser is the enemy: it may come by a name of its own that leads here
(Host), or by a script (Origin). Elsewhere a token is asked for.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

# What an orchestrator asks, which has no token to give; they say nothing that a client could not find out.
OPEN = frozenset({"/livez", "/readyz"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Admission:
    """The token that callers give, None where none is asked for, and the connections of who was let in with it."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.inside: set[asyncio.Transport] = set()

    def renew(self, token: str | None) -> None:
        """Ask for this token from now on; who is in, as a page of the inspector that listens, has to come again."""
        self.token = token
        for transport in self.inside:
            transport.abort()


def make_guard(admission: Admission, *, loopback: bool, open_to_all: AbstractSet[str] = OPEN) -> Middleware:
    """Build the middleware that every request passes; paths that are `open_to_all` need no token."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if loopback and not _is_local(request.host):
            raise web.HTTPMisdirectedRequest(text="this name is not that of the admin port\n")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="the admin port is not for other pages\n")
        token = admission.token
        if token is None or request.path in open_to_all:
            return await handler(request)
        transport = request.transport
        if not _has(request, token) or transport is None:
            raise web.HTTPUnauthorized(text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"})
        admission.inside.add(transport)
        try:
            return await handler(request)
        finally:
            admission.inside.discard(transport)

    return guard


async def dress(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Lay the headers of every answer on it, take the banner off, and let its connection end with it."""
    response.force_close()
    # The library says so only where it knows before now.
    response.headers["Connection"] = "close"
    response.headers.update(_HEADERS)
    response.headers.pop("Server", None)


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _has(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Both are compared as bytes: text that is not ASCII is refused by compare_digest.
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
