"""A sandbox of Salesforce B2C Commerce: the Shop API's customers/auth and the token endpoint of SLAS.

Not Salesforce: what its documents leave open is filled in with the plainest behaviour, so that rules can be tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from ..accounts import Accounts
from . import ocapi, slas
from .shoppers import SITE, Shoppers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def codes(request: web.Request) -> web.Response:
    """Tell the codes, on the sandbox's own port alone: a proxy in front of it says so in `Via`."""
    if "Via" in request.headers:
        raise web.HTTPNotFound
    return web.json_response(request.app[ocapi.SHOPPERS].accounts.codes())


async def index(_: web.Request) -> web.Response:
    operations = [f"{method} {path}" for path, methods in ocapi.ROUTES.items() for method in methods]
    operations += [f"{method} {path}" for path, (method, _) in slas.ROUTES.items()]
    return web.json_response(
        {
            "what": "A sandbox of Salesforce B2C Commerce's customer authentication. Not Salesforce, and not for "
            "production.",
            "site": SITE,
            "clients": "any client id; where a secret is asked for it is `sandbox`",
            "accounts": "jane@, maria@ (second factor), locked@ and vip@example.com; passwords correct-horse-1 to -4",
            "operations": operations,
            "codes": "/sandbox/codes; a login sends its code as c_otp_code beside type",
            "keys": "/.well-known/jwks.json",
        }
    )


def _error(request: web.Request, error: web.HTTPException) -> web.Response:
    if request.path.startswith("/shopper/"):
        return slas.TokenFault(error.status, "invalid_request", error.reason).answer()
    type_ = "NotFoundException" if error.status == 404 else "BadRequestException"
    return ocapi.Fault(error.status, type_, error.reason).answer(ocapi.version_of(request))


@web.middleware
async def _envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do what holds for every call: errors in the format of the API, compression, the word sandbox."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except ocapi.Fault as fault:
        response = fault.answer(ocapi.version_of(request))
    except slas.TokenFault as refused:
        response = refused.answer()
    except web.HTTPException as error:
        response = _error(request, error)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    if isinstance(response, web.Response) and response.body:
        response.enable_compression()
    response.headers["x-sandbox"] = "sfcc"
    return response


def application(data: str | None = None) -> web.Application:
    """Build the sandbox; `data` is a SQLite file, None keeps everything in memory."""
    accounts = Accounts(data)
    app = web.Application(middlewares=[_envelope])
    app[ocapi.SHOPPERS] = Shoppers(accounts)
    app[ocapi.BASKETS] = {}
    for path, methods in ocapi.ROUTES.items():
        app.router.add_route("*", path, ocapi.resource(methods))
    for path, (method, handler) in slas.ROUTES.items():
        app.router.add_route(method, path, handler)
    app.router.add_get("/", index)
    app.router.add_get("/.well-known/jwks.json", slas.jwks)
    app.router.add_get("/sandbox/codes", codes)

    async def close(_: web.Application) -> None:
        accounts.close()

    app.on_cleanup.append(close)
    return app
