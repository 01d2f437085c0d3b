"""A sandbox of Kibo's customer authentication tickets: the real paths, fields, tokens and errors, made-up customers.

Not Kibo: what its documents leave open is filled in with the plainest behaviour, so that rules can be tried.
"""

from __future__ import annotations

import datetime
import gzip
import json
import secrets
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from ..engine import projection
from ..engine.json_body import JsonBody
from .accounts import Account, Accounts, Kind
from .customer import write_anonymous, write_customer

BASE = "/api/commerce/customer/authtickets"
TENANT = "1"
KEY_ID = "sandbox-1"
# The most that a ticket and its refresh token live, in minutes; a request may ask for less.
TICKET_MINUTES = 60
REFRESH_MINUTES = 60 * 24

_ACCOUNTS = web.AppKey("accounts", Accounts)
_KEY = web.AppKey("key", rsa.RSAPrivateKey)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KiboError(Exception):
    """An answer in Kibo's error format."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def _invalid(message: str) -> KiboError:
    return KiboError(400, "VALIDATION_ERROR", message)


def _locked() -> KiboError:
    return KiboError(401, "ACCOUNT_LOCKED", "The account is locked after too many failed logins.")


# Reading requests


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _invalid("The request body is missing or malformed.")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    # Half a surrogate pair can be written in JSON, but is no text.
    if not isinstance(value, str) or not value or any("\ud800" <= char <= "\udfff" for char in value):
        raise _invalid(f"{name} is required.")
    return value


def _minutes(body: Mapping[str, Any], name: str, most: int) -> int:
    value = body.get(name)
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _invalid(f"{name} must be a positive number of minutes.")
    return min(value, most)


def _check_account(value: object, account: Account | None) -> None:
    """Refuse a ticket for an account that is not the user's own."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid("accountId must be a number.")
    if account is None or account.id != value:
        raise KiboError(404, "ITEM_NOT_FOUND", "The user has no such account.")


# Tickets


def _stamp(moment: float) -> str:
    text = datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _token(request: web.Request, subject: str, minutes: int, **claims: Any) -> str:
    now = int(time.time())
    payload = {
        "iss": f"{request.scheme}://{request.host}",
        "sub": subject,
        "iat": now,
        "exp": now + minutes * 60,
        "jti": uuid.uuid4().hex,
        "tenant": TENANT,
        "site": request.headers.get("x-vol-site"),
        **claims,
    }
    return jwt.encode(payload, request.app[_KEY], algorithm="RS256", headers={"kid": KEY_ID})


def _ticket(request: web.Request, account: Account | None, user: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Write a ticket; without an account it is an anonymous shopper's."""
    minutes = _minutes(body, "authTicketTtlMinutes", TICKET_MINUTES)
    refresh = _minutes(body, "refreshTokenTtlMinutes", REFRESH_MINUTES)
    now = time.time()
    if account is None:
        customer = write_anonymous(user)
    else:
        customer = write_customer(account.id, account.email, user, locked=account.locked, members=account.members)
    return {
        "accessToken": secrets.token_urlsafe(96),
        "accessTokenExpiration": _stamp(now + minutes * 60),
        "customerAccount": customer,
        "jwtAccessToken": _token(request, user, minutes, isAnonymous=account is None),
        "refreshToken": request.app[_ACCOUNTS].issue_refresh(user, refresh * 60),
        "refreshTokenExpiration": _stamp(now + refresh * 60),
        "requires2FA": False,
        "userId": user,
    }


async def create_user_ticket(request: web.Request) -> web.Response:
    body = await _body(request)
    account = request.app[_ACCOUNTS].log_in(_text(body, "username"), _text(body, "password"))
    if account is None:
        raise KiboError(401, "INVALID_CREDENTIALS", "The user name or the password is wrong.")
    if account.locked:
        raise _locked()
    _check_account(body.get("accountId"), account)
    if account.factor:
        _send(request, account, "2fa")
        # No token before the second factor: the user id is what the next call needs.
        blank = dict.fromkeys(("accessToken", "jwtAccessToken", "refreshToken"))
        return _answer(request, {**blank, "requires2FA": True, "userId": account.user_id})
    return _answer(request, _ticket(request, account, account.user_id, body))


async def refresh_user_ticket(request: web.Request) -> web.Response:
    accounts = request.app[_ACCOUNTS]
    wanted = request.query.get("accountId") or None
    if wanted is not None and not (wanted.isascii() and wanted.isdigit()):
        raise _invalid("accountId must be a number.")
    user = accounts.take_refresh(request.query.get("refreshToken", ""))
    if user is None:
        raise KiboError(404, "ITEM_NOT_FOUND", "The refresh token was not found.")
    account = accounts.by_user(user)
    if account is not None and account.locked:
        raise _locked()
    _check_account(int(wanted) if wanted else None, account)
    return _answer(request, _ticket(request, account, user, {}))


async def create_anonymous_ticket(request: web.Request) -> web.Response:
    return _answer(request, _ticket(request, None, f"anon{uuid.uuid4().hex[:28]}", {}))


async def impersonate_cart(request: web.Request) -> web.Response:
    """Give a clerk the ticket of a shopper, named by `userId` or `accountId`."""
    body = await _body(request)
    _text(body, "cartId")
    accounts = request.app[_ACCOUNTS]
    number = body.get("accountId")
    if body.get("userId") is not None:
        account = accounts.by_user(_text(body, "userId"))
    else:
        account = accounts.by_id(number) if isinstance(number, int) and abs(number) < 1 << 62 else None
    if account is None:
        raise KiboError(404, "ITEM_NOT_FOUND", "There is no such shopper.")
    _check_account(number, account)
    return _answer(request, _ticket(request, account, account.user_id, {}))


# Codes


def _send(request: web.Request, account: Account, kind: Kind) -> None:
    """Stand in for the e-mail with the code."""
    code = request.app[_ACCOUNTS].issue_code(account.user_id, kind)
    print(f"sandbox: the code for {account.email} is {code}", file=sys.stderr, flush=True)


async def generate_2fa(request: web.Request) -> web.Response:
    """Send a new code; Kibo's client names nobody, so all who wait for one get one."""
    accounts = request.app[_ACCOUNTS]
    waiting = accounts.waiting()
    if await request.read():
        user = _text(await _body(request), "userId")
        waiting = [user] if user in waiting else []
    for user_id in waiting:
        if (account := accounts.by_user(user_id)) is not None:
            _send(request, account, "2fa")
    return web.Response(status=204)


async def validate_2fa(request: web.Request) -> web.Response:
    body = await _body(request)
    account = request.app[_ACCOUNTS].by_user(_text(body, "userId"))
    return _proved(request, account, "2fa", _text(body, "otpCode"))


async def generate_otp(request: web.Request) -> web.Response:
    """Send a code; the answer does not tell whether the account exists."""
    account = request.app[_ACCOUNTS].by_email(_text(await _body(request), "email"))
    if account is not None and not account.locked:
        _send(request, account, "otp")
    return web.Response(status=204)


async def validate_otp(request: web.Request) -> web.Response:
    body = await _body(request)
    account = request.app[_ACCOUNTS].by_email(_text(body, "email"))
    return _proved(request, account, "otp", _text(body, "otpCode"))


def _proved(request: web.Request, account: Account | None, kind: Kind, code: str) -> web.Response:
    if account is None or account.locked or not request.app[_ACCOUNTS].take_code(account.user_id, kind, code):
        raise KiboError(401, "INVALID_CREDENTIALS", "The code is wrong or has expired.")
    return _answer(request, _ticket(request, account, account.user_id, {}))


# What is around tickets


async def application_ticket(request: web.Request) -> web.Response:
    """Give an application its token: any application is taken."""
    token = _token(request, "sandbox-application", TICKET_MINUTES, kind="application")
    body = {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": TICKET_MINUTES * 60,
        "refresh_token": None,
        "accessToken": token,
        "accessTokenExpiration": _stamp(time.time() + TICKET_MINUTES * 60),
        "refreshToken": None,
    }
    return _answer(request, body)


async def jwks(request: web.Request) -> web.Response:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(request.app[_KEY].public_key()))
    return web.json_response({"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]})


async def codes(request: web.Request) -> web.Response:
    """Tell the codes, on the sandbox's own port alone: a proxy in front of it says so in `Via`."""
    if "Via" in request.headers:
        raise web.HTTPNotFound
    return web.json_response(request.app[_ACCOUNTS].codes())


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
    ("POST", BASE, create_user_ticket),
    ("PUT", f"{BASE}/refresh", refresh_user_ticket),
    ("GET", f"{BASE}/anonymousshopper", create_anonymous_ticket),
    ("POST", f"{BASE}/2fa/request", generate_2fa),
    ("POST", f"{BASE}/2fa/auth", validate_2fa),
    ("POST", f"{BASE}/otp/request", generate_otp),
    ("POST", f"{BASE}/otp/auth", validate_otp),
    ("POST", f"{BASE}/impersonatecart", impersonate_cart),
    ("POST", "/api/platform/applications/authtickets", application_ticket),
    ("POST", "/api/platform/applications/authtickets/oauth", application_ticket),
    ("POST", "/api/platform/applications/authtickets/oauth2", application_ticket),
]


# Writing answers


def _answer(request: web.Request, ticket: dict[str, Any]) -> web.Response:
    """Answer with JSON, limited to `responseFields`."""
    data = json.dumps(ticket, separators=(",", ":")).encode()
    wanted = request.query.get("responseFields", "")
    if wanted:
        try:
            body = JsonBody(data, "response", 64)
            projection.apply(projection.parse(wanted), body)
            data = body.dump()
        except projection.ProjectionError:
            raise _invalid("responseFields cannot be read.") from None
    return web.Response(body=data, content_type="application/json", charset="utf-8")


def _takes_gzip(accepted: str) -> bool:
    """Read an Accept-Encoding header (RFC 9110 section 12.5.3)."""
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            try:
                return not weight or float(weight.strip().removeprefix("q=")) > 0
            except ValueError:
                return False
    return False


def _compress(request: web.Request, response: web.StreamResponse) -> None:
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(response, web.Response) and isinstance(body, bytes) and body:
        response.headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("Accept-Encoding", "")):
            response.body = gzip.compress(body, mtime=0)
            response.headers["Content-Encoding"] = "gzip"


def _error(error: KiboError, correlation: str) -> web.Response:
    body = {
        "message": error.message,
        "errorCode": error.code,
        "applicationName": "Customer",
        "correlationId": correlation,
        "additionalErrorData": [],
        "items": [],
        "exceptionDetail": {
            "message": error.message,
            "source": "Sandbox",
            "stackTrace": "   at Sandbox.Customer.AuthTickets.Invoke(String route) in sandbox.cs:line 1",
            "targetSite": "Invoke",
            "type": "SandboxException",
        },
    }
    return web.json_response(body, status=error.status)


def _check_context(request: web.Request) -> None:
    """Check what calls say of tenant and site: what is missing is taken for the sandbox's own, what is wrong is not."""
    tenant, site = (request.headers.getall(name, []) for name in ("x-vol-tenant", "x-vol-site"))
    if tenant not in ([], [TENANT]):
        raise _invalid(f"There is no such tenant; the sandbox is tenant {TENANT}.")
    if site and not (len(site) == 1 and site[0].isascii() and site[0].isdigit()):
        raise _invalid("x-vol-site is not a number.")


@web.middleware
async def _envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do what holds for every call: tenant and site, the correlation id, errors in Kibo's format, the word sandbox."""
    correlation = request.headers.get("x-vol-correlation") or uuid.uuid4().hex
    response: web.StreamResponse
    try:
        if request.path.startswith("/api/"):
            _check_context(request)
        response = await handler(request)
    except KiboError as error:
        response = _error(error, correlation)
    except web.HTTPException as error:
        code = "ITEM_NOT_FOUND" if error.status == 404 else "INVALID_REQUEST"
        response = _error(KiboError(error.status, code, error.reason), correlation)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    _compress(request, response)
    response.headers["x-vol-correlation"] = correlation
    response.headers["x-sandbox"] = "kibo"
    return response


def application(data: str | None = None) -> web.Application:
    """Build the sandbox; `data` is a SQLite file, None keeps everything in memory."""
    app = web.Application(middlewares=[_envelope])
    app[_ACCOUNTS] = Accounts(data)
    app[_KEY] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for method, path, handler in _ROUTES:
        app.router.add_route(method, path, handler)
        app.router.add_route(method, f"{path}/", handler)
    app.router.add_get("/", index)
    app.router.add_get("/.well-known/jwks.json", jwks)
    app.router.add_get("/sandbox/codes", codes)

    async def close(app: web.Application) -> None:
        app[_ACCOUNTS].close()

    app.on_cleanup.append(close)
    return app
