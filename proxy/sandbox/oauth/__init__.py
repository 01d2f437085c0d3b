"""A sandbox of an authorization server: OAuth 2.0 and OpenID Connect, with Auth0's second factor and password reset.

Neither a product nor Auth0: any client id is known, its secret is `sandbox`, the customers are made up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from . import authorize, factors, grants, reset, tokens
from .requests import OAuthError
from .state import STATE, State

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/oauth/token", grants.token),
    ("GET", "/authorize", authorize.show),
    ("POST", "/authorize", authorize.submit),
    ("GET", "/userinfo", tokens.userinfo),
    ("POST", "/userinfo", tokens.userinfo),
    ("POST", "/oauth/revoke", tokens.revoke),
    ("POST", "/introspect", tokens.introspect),
    ("GET", "/mfa/authenticators", factors.authenticators),
    ("POST", "/mfa/challenge", factors.challenge),
    ("POST", "/dbconnections/change_password", reset.ask),
    ("GET", "/u/reset-verify", reset.verify),
    ("POST", "/u/reset-password", reset.change),
    ("GET", "/.well-known/jwks.json", tokens.keys),
]


async def discover(request: web.Request) -> web.Response:
    """Tell what there is, and where (OpenID Connect Discovery, RFC 8414)."""
    origin = tokens.issuer(request)
    methods = ["client_secret_basic", "client_secret_post"]
    return web.json_response(
        {
            "issuer": origin,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/oauth/token",
            "userinfo_endpoint": f"{origin}/userinfo",
            "revocation_endpoint": f"{origin}/oauth/revoke",
            "introspection_endpoint": f"{origin}/introspect",
            "jwks_uri": f"{origin}/.well-known/jwks.json",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": list(grants.GRANTS),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "token_endpoint_auth_methods_supported": [*methods, "none"],
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": [*methods, "none"],
            "code_challenge_methods_supported": ["S256"],
        },
        headers={"Cache-Control": "max-age=3600"},
    )


async def codes(request: web.Request) -> web.Response:
    """Tell the codes, on the sandbox's own port alone: a proxy in front of it says so in `Via`."""
    if "Via" in request.headers:
        raise web.HTTPNotFound
    return web.json_response(request.app[STATE].accounts.codes())


async def index(_: web.Request) -> web.Response:
    return web.json_response(
        {
            "what": "A sandbox of an authorization server in Auth0's manner. Not Auth0, and not for production.",
            "clients": "any client id, with the secret sandbox",
            "accounts": "jane@, maria@ (second factor), locked@ and vip@example.com; passwords correct-horse-1 to -4",
            "operations": [f"{method} {path}" for method, path, _ in _ROUTES],
            "codes": "/sandbox/codes",
            "links": "/sandbox/tickets",
        }
    )


@web.middleware
async def _envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do what holds for every call: errors of RFC 6749, nothing kept by caches, the word sandbox."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except OAuthError as error:
        response = error.response()
    except web.HTTPException as error:
        name = "not_found" if error.status == 404 else "invalid_request"
        response = OAuthError(error.status, name, error.reason).response()
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Pragma"] = "no-cache"
    response.headers["x-sandbox"] = "oauth"
    return response


def application(data: str | None = None) -> web.Application:
    """Build the sandbox; `data` is a SQLite file, None keeps everything in memory."""
    app = web.Application(middlewares=[_envelope])
    app[STATE] = State(data)
    for method, path, handler in _ROUTES:
        app.router.add_route(method, path, handler)
    app.router.add_get("/.well-known/openid-configuration", discover)
    app.router.add_get("/", index)
    app.router.add_get("/sandbox/codes", codes)
    app.router.add_get("/sandbox/tickets", reset.tickets)

    async def close(app: web.Application) -> None:
        app[STATE].close()

    app.on_cleanup.append(close)
    return app
