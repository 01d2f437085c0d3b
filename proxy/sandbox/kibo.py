"""A sandbox of Kibo's customer authentication tickets: the real paths, fields, tokens and errors, and made-up customers."""

from __future__ import annotations

import datetime
import gzip
import json
import re
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
from .accounts import Account, Accounts

BASE = "/api/commerce/customer/authtickets"
KEY_ID = "sandbox-1"
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


def _stamp(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _audit() -> dict[str, str]:
    return {
        "createBy": "sandbox",
        "createDate": "2024-01-15T09:30:00.000Z",
        "updateBy": "sandbox",
        "updateDate": "2024-06-01T12:00:00.000Z",
    }


def _customer(account: Account) -> dict[str, Any]:
    """Write `customerAccount` with every field that Kibo's schema has."""
    found: dict[str, Any] = {
        "accountType": "B2C",
        "acceptsMarketing": True,
        "attributes": [
            {
                "attributeDefinitionId": 12,
                "auditInfo": _audit(),
                "fullyQualifiedName": "tenant~loyalty-tier",
                "values": ["silver"],
            }
        ],
        "auditInfo": _audit(),
        "commerceSummary": {
            "lastOrderDate": "2024-05-20T18:45:00.000Z",
            "orderCount": 3,
            "totalOrderAmount": {"amount": 149.90, "currencyCode": "USD"},
            "visitsCount": 12,
            "wishlistCount": 1,
        },
        "companyOrOrganization": "",
        "contacts": [],
        "customerSet": "default",
        "customerSinceDate": "2024-01-15T09:30:00.000Z",
        "emailAddress": account.email,
        "externalId": "",
        "firstName": "",
        "hasExternalPassword": False,
        "id": account.id,
        "isActive": True,
        "isAnonymous": False,
        "isLocked": account.locked,
        "last2FaDate": "2024-05-01T08:00:00.000Z",
        "lastName": "",
        "localeCode": "en-US",
        "migrationRequired": False,
        "notes": [],
        "segments": [],
        "taxExempt": False,
        "taxId": "",
        "userId": account.user_id,
        "userName": account.email,
        **account.data,
    }
    for part in (*found["notes"], *found["segments"], *found["contacts"]):
        part.setdefault("auditInfo", _audit())
    return found


def _minutes(body: Mapping[str, Any], name: str, most: int) -> int:
    value = body.get(name)
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise KiboError(400, "VALIDATION_ERROR", f"{name} must be a positive number of minutes.")
    return min(value, most)


def _token(request: web.Request, subject: str, minutes: int, **claims: Any) -> str:
    now = int(time.time())
    payload = {
        "iss": f"{request.scheme}://{request.host}",
        "sub": subject,
        "iat": now,
        "exp": now + minutes * 60,
        "jti": uuid.uuid4().hex,
        "tenant": request.headers.get("x-vol-tenant", "1"),
        **claims,
    }
    return jwt.encode(payload, request.app[_KEY], algorithm="RS256", headers={"kid": KEY_ID})


def _ticket(request: web.Request, account: Account | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """Write a ticket; without an account it is an anonymous shopper's."""
    minutes = _minutes(body, "authTicketTtlMinutes", TICKET_MINUTES)
    refresh = _minutes(body, "refreshTokenTtlMinutes", REFRESH_MINUTES)
    user = account.user_id if account is not None else f"anon{uuid.uuid4().hex[:28]}"
    now = time.time()
    return {
        "accessToken": secrets.token_urlsafe(96),
        "accessTokenExpiration": _stamp(now + minutes * 60),
        "customerAccount": _customer(account) if account is not None else {"isAnonymous": True, "userId": user},
        "jwtAccessToken": _token(request, user, minutes, isAnonymous=account is None),
        "refreshToken": request.app[_ACCOUNTS].issue_refresh(user, refresh * 60),
        "refreshTokenExpiration": _stamp(now + refresh * 60),
        "requires2FA": False,
        "userId": user,
    }


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise KiboError(400, "VALIDATION_ERROR", "The request body is missing or malformed.")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise KiboError(400, "VALIDATION_ERROR", f"{name} is required.")
    return value


async def create_user_ticket(request: web.Request) -> web.Response:
    body = await _body(request)
    accounts = request.app[_ACCOUNTS]
    account = accounts.log_in(_text(body, "username"), _text(body, "password"))
    if account is None:
        raise KiboError(401, "INVALID_CREDENTIALS", "The user name or the password is wrong.")
    if account.locked:
        raise KiboError(401, "ACCOUNT_LOCKED", "The account is locked after too many failed logins.")
    if account.factor:
        _send(request, account)
        # No token before the second factor: the user id is what the next call needs.
        blank = {name: None for name in ("accessToken", "jwtAccessToken", "refreshToken")}
        return _answer(request, {**blank, "requires2FA": True, "userId": account.user_id})
    return _answer(request, _ticket(request, account, body))


async def refresh_user_ticket(request: web.Request) -> web.Response:
    accounts = request.app[_ACCOUNTS]
    user = accounts.take_refresh(request.query.get("refreshToken", ""))
    if user is None:
        raise KiboError(404, "ITEM_NOT_FOUND", "The refresh token was not found.")
    account = accounts.by_user(user)
    if account is not None and account.locked:
        raise KiboError(401, "ACCOUNT_LOCKED", "The account is locked after too many failed logins.")
    return _answer(request, _ticket(request, account, {}))


async def create_anonymous_ticket(request: web.Request) -> web.Response:
    return _answer(request, _ticket(request, None, {}))


def _send(request: web.Request, account: Account) -> None:
    """Stand in for the e-mail with the code."""
    code = request.app[_ACCOUNTS].issue_code(account.user_id)
    print(f"sandbox: the code for {account.email} is {code}", file=sys.stderr, flush=True)


async def generate_2fa(request: web.Request) -> web.Response:
    body = await _body(request)
    account = request.app[_ACCOUNTS].by_user(_text(body, "userId"))
    if account is not None:
        _send(request, account)
    return web.Response(status=204)


async def validate_2fa(request: web.Request) -> web.Response:
    body = await _body(request)
    return _proved(request, request.app[_ACCOUNTS].by_user(_text(body, "userId")), _text(body, "otpCode"), body)


async def generate_otp(request: web.Request) -> web.Response:
    account = request.app[_ACCOUNTS].by_email(_text(await _body(request), "email"))
    if account is not None:
        _send(request, account)
    return web.Response(status=204)


async def validate_otp(request: web.Request) -> web.Response:
    body = await _body(request)
    return _proved(request, request.app[_ACCOUNTS].by_email(_text(body, "email")), _text(body, "otpCode"), body)


def _proved(request: web.Request, account: Account | None, code: str, body: Mapping[str, Any]) -> web.Response:
    if account is None or account.locked or not request.app[_ACCOUNTS].take_code(account.user_id, code):
        raise KiboError(401, "INVALID_CREDENTIALS", "The code is wrong or has expired.")
    return _answer(request, _ticket(request, account, body))


async def application_ticket(request: web.Request) -> web.Response:
    """Give an application its token: any application is taken."""
    body = {
        "access_token": _token(request, "sandbox-application", TICKET_MINUTES, kind="application"),
        "token_type": "bearer",
        "expires_in": TICKET_MINUTES * 60,
        "refresh_token": None,
    }
    body |= {"accessToken": body["access_token"], "refreshToken": None, "accessTokenExpiration": _stamp(time.time() + 3600)}
    return _answer(request, body)


async def jwks(request: web.Request) -> web.Response:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(request.app[_KEY].public_key()))
    return web.json_response({"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]})


async def codes(request: web.Request) -> web.Response:
    return web.json_response(request.app[_ACCOUNTS].codes())


async def index(_: web.Request) -> web.Response:
    return web.json_response(
        {
            "what": "A sandbox of Kibo's customer authentication tickets. Not Kibo, and not for production.",
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
    ("POST", "/api/platform/applications/authtickets", application_ticket),
    ("POST", "/api/platform/applications/authtickets/oauth", application_ticket),
    ("POST", "/api/platform/applications/authtickets/oauth2", application_ticket),
]


def _answer(request: web.Request, ticket: dict[str, Any]) -> web.Response:
    """Answer with JSON, limited to `responseFields`, compressed where the client takes it."""
    data = json.dumps(ticket, separators=(",", ":")).encode()
    wanted = request.query.get("responseFields", "")
    if wanted:
        try:
            body = JsonBody(data, "response", 64)
            projection.apply(projection.parse(wanted), body)
            data = body.dump()
        except projection.ProjectionError:
            raise KiboError(400, "VALIDATION_ERROR", "responseFields cannot be read.") from None
    return _compressed(request, web.Response(body=data, content_type="application/json", charset="utf-8"))


def _compressed(request: web.Request, response: web.Response) -> web.Response:
    accepted = re.split(r"\s*,\s*", request.headers.get("Accept-Encoding", "").lower())
    if any(coding.partition(";")[0] == "gzip" and not coding.endswith("q=0") for coding in accepted):
        assert isinstance(response.body, bytes)
        response.body = gzip.compress(response.body, mtime=0)
        response.headers["Content-Encoding"] = "gzip"
    return response


def _error(status: int, code: str, message: str, correlation: str) -> web.Response:
    body = {
        "message": message,
        "errorCode": code,
        "applicationName": "Customer",
        "correlationId": correlation,
        "additionalErrorData": [],
        "items": [],
        "exceptionDetail": {
            "message": message,
            "source": "Sandbox",
            "stackTrace": "   at Sandbox.Customer.AuthTickets.Invoke(String route) in sandbox.cs:line 1",
            "targetSite": "Invoke",
            "type": "SandboxException",
        },
    }
    return web.json_response(body, status=status)


@web.middleware
async def _envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do what holds for every call: the tenant, the correlation id, errors in Kibo's format, the word sandbox."""
    correlation = request.headers.get("x-vol-correlation") or uuid.uuid4().hex
    try:
        if request.path.startswith(BASE) and not request.headers.get("x-vol-tenant", "1").isdigit():
            raise KiboError(400, "VALIDATION_ERROR", "x-vol-tenant is not a number.")
        response = await handler(request)
    except KiboError as error:
        response = _error(error.status, error.code, error.message, correlation)
    except web.HTTPException as error:
        code = "ITEM_NOT_FOUND" if error.status == 404 else "INVALID_REQUEST"
        response = _error(error.status, code, error.reason, correlation)
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
