"""A sandbox of Kibo's customer authentication: the real paths, fields, tokens and errors, made-up customers.

Not Kibo: what its documents leave open is filled in with the plainest behaviour, so that rules can be tried.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from ..accounts import Accounts
from . import accounts, tickets
from .tickets import ACCOUNTS, BASE, KEY, KEY_ID
from .wire import KiboError, check_context, compress, write_error

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def jwks(request: web.Request) -> web.Response:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(request.app[KEY].public_key()))
    return web.json_response({"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]})


async def codes(request: web.Request) -> web.Response:
    """Tell the codes, on the sandbox's own port alone: a proxy in front of it says so in `Via`."""
    if "Via" in request.headers:
        raise web.HTTPNotFound
    return web.json_response(request.app[ACCOUNTS].codes())


async def index(_: web.Request) -> web.Response:
    return web.json_response(
        {
            "what": "A sandbox of Kibo's customer authentication tickets. Not Kibo, and not for production.",
            "tenant": 1,
            "site": 2,
            "accounts": "jane@, maria@ (second factor), locked@ and vip@example.com; passwords correct-horse-1 to -4",
            "operations": [f"{method} {path}" for method, path, _ in _ROUTES],
            "codes": "/sandbox/codes",
            "keys": "/.well-known/jwks.json",
        }
    )


_ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", BASE, tickets.create_user_ticket),
    ("PUT", f"{BASE}/refresh", tickets.refresh_user_ticket),
    ("GET", f"{BASE}/anonymousshopper", tickets.create_anonymous_ticket),
    ("POST", f"{BASE}/2fa/request", tickets.generate_2fa),
    ("POST", f"{BASE}/2fa/auth", tickets.validate_2fa),
    ("POST", f"{BASE}/otp/request", tickets.generate_otp),
    ("POST", f"{BASE}/otp/auth", tickets.validate_otp),
    ("POST", f"{BASE}/impersonatecart", tickets.impersonate_cart),
    ("GET", f"{accounts.BASE}/{{number}}", accounts.get_account),
    ("GET", f"{accounts.BASE}/{{number}}/loginstate", accounts.get_login_state),
    ("POST", f"{accounts.BASE}/loginstatebyusername", accounts.get_login_state_by_name),
    ("POST", "/api/platform/applications/authtickets", tickets.application_ticket),
    ("POST", "/api/platform/applications/authtickets/oauth", tickets.application_ticket),
    ("POST", "/api/platform/applications/authtickets/oauth2", tickets.application_ticket),
]


@web.middleware
async def _envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do what holds for every call: tenant and site, the correlation id, errors in Kibo's format, the word sandbox."""
    correlation = request.headers.get("x-vol-correlation") or uuid.uuid4().hex
    response: web.StreamResponse
    try:
        if request.path.startswith("/api/"):
            check_context(request)
        response = await handler(request)
    except KiboError as error:
        response = write_error(error, correlation)
    except web.HTTPException as error:
        code = "ITEM_NOT_FOUND" if error.status == 404 else "INVALID_REQUEST"
        response = write_error(KiboError(error.status, code, error.reason), correlation)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    compress(request, response)
    response.headers["x-vol-correlation"] = correlation
    response.headers["x-sandbox"] = "kibo"
    return response


def application(data: str | None = None) -> web.Application:
    """Build the sandbox; `data` is a SQLite file, None keeps everything in memory."""
    app = web.Application(middlewares=[_envelope])
    app[ACCOUNTS] = Accounts(data)
    app[KEY] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for method, path, handler in _ROUTES:
        app.router.add_route(method, path, handler)
        app.router.add_route(method, f"{path}/", handler)
    app.router.add_get("/", index)
    app.router.add_get("/.well-known/jwks.json", jwks)
    app.router.add_get("/sandbox/codes", codes)

    async def close(app: web.Application) -> None:
        app[ACCOUNTS].close()

    app.on_cleanup.append(close)
    return app
