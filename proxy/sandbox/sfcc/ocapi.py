"""The Shop API of the SFCC sandbox: customers/auth, sessions, and enough beyond to use a token.

JSON alone: XML, which the platform also speaks, is a 415.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from ..accounts import Account
from .customer import write_customer
from .shoppers import SITE, SITE_HASH, Grant, Shopper, Shoppers, TokenError

BASE = "/s/{site}/dw/shop/{version}"
TYPES = ("guest", "credentials", "session", "refresh")
OVERRIDES = ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

SHOPPERS = web.AppKey("shoppers", Shoppers)
BASKETS: web.AppKey[dict[str, dict[str, Any]]] = web.AppKey("baskets", dict)

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Fault(Exception):
    """An answer in the platform's error format."""

    def __init__(self, status: int, type: str, message: str, **arguments: object) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.message = message
        self.arguments = arguments

    def answer(self, version: str) -> web.Response:
        fault = {"arguments": self.arguments, "type": self.type, "message": self.message}
        return web.json_response({"_v": version, "fault": fault}, status=self.status)


def _failed(message: str) -> Fault:
    return Fault(401, "AuthenticationFailedException", message)


# Reading requests


def version_of(request: web.Request) -> str:
    """Return the version of the API as bodies write it: v23_2 is 23.2."""
    return request.match_info.get("version", "v23_2").removeprefix("v").replace("_", ".")


def _check_address(request: web.Request) -> None:
    if not re.fullmatch(r"v\d+_\d+", request.match_info["version"]):
        raise Fault(400, "InvalidVersionException", "The version of the address is malformed.")
    if request.match_info["site"] != SITE:
        raise Fault(404, "SiteNotFoundException", f"There is no such site; the sandbox has {SITE}.")


def _method(request: web.Request) -> str:
    """Return the method that is meant: a POST may name another one, for networks that let no other pass."""
    named = request.headers.get("x-dw-http-method-override") or request.query.get("method")
    if request.method != "POST" or not named:
        return request.method
    if named not in OVERRIDES:
        raise Fault(400, "IllegalHttpMethodOverrideException", "No such override is allowed.", method=named)
    return named


def _credentials(request: web.Request, scheme: str) -> str | None:
    """Return what follows the scheme in the Authorization header."""
    given, _, rest = request.headers.get("Authorization", "").partition(" ")
    return rest.strip() if given.lower() == scheme and rest.strip() else None


def _basic(request: web.Request) -> tuple[str, str]:
    encoded = _credentials(request, "basic") or ""
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise _failed("Authorization: Basic is missing or malformed.")
    return name, password


def _grant(request: web.Request) -> Grant | None:
    """Return what the bearer token says, if there is one; one that does not hold is refused on every call."""
    token = _credentials(request, "bearer")
    if token is None:
        return None
    try:
        return request.app[SHOPPERS].grant(token)
    except TokenError as error:
        if error.expired:
            raise Fault(401, "ExpiredTokenException", "The token has expired.") from None
        raise Fault(401, "InvalidAccessTokenException", "The token cannot be verified.") from None


def _need_grant(request: web.Request) -> Grant:
    grant = _grant(request)
    if grant is None:
        raise Fault(401, "InvalidAuthorizationHeaderException", "Authorization: Bearer is missing.")
    return grant


def _client(request: web.Request, grant: Grant | None) -> str:
    """Return the client id: the token's before the query's before the header's."""
    found = grant.client if grant else request.query.get("client_id") or request.headers.get("x-dw-client-id")
    if not found:
        raise Fault(400, "MissingClientIdException", "The client id is missing.")
    return found


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Fault(415, "UnsupportedMediaTypeException", "The sandbox reads JSON alone.")
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Fault(400, "BodyDecodingException", "The body is no JSON document.")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    # Half a surrogate pair can be written in JSON, but is no text.
    if not isinstance(value, str) or not value or any("\ud800" <= char <= "\udfff" for char in value):
        raise Fault(400, "PropertyConstraintViolationException", "A property is missing.", path=f"$.{name}")
    return value


# Writing answers


def _customer(request: web.Request, shopper: Shopper) -> dict[str, Any]:
    visit = request.app[SHOPPERS].last_visit(shopper)
    return write_customer(shopper.id, shopper.account, version=version_of(request), visit=visit)


def _tagged(body: Mapping[str, Any]) -> tuple[bytes, str]:
    data = json.dumps(body, separators=(",", ":")).encode()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _document(body: Mapping[str, Any]) -> web.Response:
    """Answer with a document and its ETag; If-Match is checked by who changes it."""
    data, tag = _tagged(body)
    return web.Response(body=data, content_type="application/json", charset="UTF-8", headers={"ETag": tag})


def _token(request: web.Request, client: str, shopper: Shopper) -> web.Response:
    """Answer as every way of authenticating does: the token in a header, the customer in the body."""
    headers = {"Authorization": f"Bearer {request.app[SHOPPERS].issue(client, shopper)}"}
    return web.json_response(_customer(request, shopper), headers=headers)


# Authentication


async def authenticate(request: web.Request) -> web.Response:
    grant = _grant(request)
    client = _client(request, grant)
    body = await _body(request)
    kind = _text(body, "type")
    if kind not in TYPES:
        raise Fault(400, "EnumConstraintViolationException", "There is no such type.", document="auth_request")
    shoppers = request.app[SHOPPERS]
    if kind == "guest":
        return _token(request, client, shoppers.guest())
    if kind == "refresh":
        return _token(request, client, _need_grant(request).shopper)
    if kind == "session":
        return _token(request, client, _of_session(request))
    shopper = _logged_in(request, body)
    shoppers.visit(shopper)
    return _token(request, client, shopper)


def _of_session(request: web.Request) -> Shopper:
    cookies = request.cookies
    session = request.app[SHOPPERS].session(cookies.get("dwsid", ""), cookies.get(f"dwsecuretoken_{SITE_HASH}", ""))
    if session is None:
        raise _failed("The session is not known or has ended.")
    return session.shopper


def _logged_in(request: web.Request, body: Mapping[str, Any]) -> Shopper:
    accounts = request.app[SHOPPERS].accounts
    account = accounts.log_in(*_basic(request))
    if account is None:
        raise _failed("The login or the password is wrong.")
    if account.locked:
        raise _failed("The customer is locked after too many failed logins.")
    if account.factor and not _proved(request, account, body.get("c_otp_code")):
        # As a shop does it: a hook refuses the login, and says with which status.
        raise Fault(
            400,
            "HookStatusException",
            "The login needs the code that was sent, as c_otp_code.",
            extensionPoint="dw.ocapi.shop.auth.beforePOST",
            statusCode="SECOND_FACTOR_REQUIRED",
        )
    return Shopper(account.user_id, account)


def _proved(request: web.Request, account: Account, code: object) -> bool:
    accounts = request.app[SHOPPERS].accounts
    if isinstance(code, str) and code.isascii() and accounts.take_code(account.user_id, "2fa", code):
        return True
    if code is None:
        sent = accounts.issue_code(account.user_id, "2fa")
        print(f"sandbox: the code for {account.email} is {sent}", file=sys.stderr, flush=True)
    return False


async def invalidate(request: web.Request) -> web.Response:
    request.app[SHOPPERS].invalidate(_need_grant(request))
    return web.Response(status=204)


async def authenticate_trusted(request: web.Request) -> web.Response:
    """Give a system that is trusted, by its own token, the token of a customer that it names."""
    token = _credentials(request, "bearer")
    try:
        claims = request.app[SHOPPERS].read(token or "")
    except TokenError:
        claims = {}
    if "client_id" not in claims:
        raise Fault(401, "InvalidAccessTokenException", "The token of the system cannot be verified.")
    body = await _body(request)
    client, account = _text(body, "client_id"), request.app[SHOPPERS].accounts.by_email(_text(body, "login"))
    if claims["client_id"] != client:
        raise Fault(400, "InvalidClientIdException", "The client id is not that of the token.", clientId=client)
    if account is None or account.locked:
        raise _failed("There is no such customer.")
    return _token(request, client, Shopper(account.user_id, account))


async def create_session(request: web.Request) -> web.Response:
    """Turn a token into a session of the storefront: three cookies."""
    session = request.app[SHOPPERS].open_session(_need_grant(request).shopper)
    answer = web.Response(status=204)
    answer.set_cookie("dwsid", session.id, path="/", httponly=True)
    answer.set_cookie(f"dwanonymous_{SITE_HASH}", secrets.token_urlsafe(20), path="/", max_age=15552000)
    answer.set_cookie(f"dwsecuretoken_{SITE_HASH}", session.secure, path="/", secure=True)
    return answer


# What a token is for


async def get_customer(request: web.Request) -> web.Response:
    shopper = _need_grant(request).shopper
    if request.match_info["customer_id"] != shopper.id:
        raise Fault(404, "CustomerNotFoundException", "The token is not that of this customer.")
    return _document(_customer(request, shopper))


async def create_basket(request: web.Request) -> web.Response:
    shopper = _need_grant(request).shopper
    basket: dict[str, Any] = {
        "_v": version_of(request),
        "_type": "basket",
        "basket_id": secrets.token_hex(13),
        "currency": "USD",
        "customer_info": {"_type": "customer_info", "customer_id": shopper.id},
        "product_items": [],
        "product_total": 0.0,
    }
    if shopper.account is not None:
        basket["customer_info"]["email"] = shopper.account.email
    request.app[BASKETS][basket["basket_id"]] = basket
    return _document(basket)


def _basket(request: web.Request) -> dict[str, Any]:
    shopper = _need_grant(request).shopper
    basket = request.app[BASKETS].get(request.match_info["basket_id"])
    if basket is None or basket["customer_info"]["customer_id"] != shopper.id:
        raise Fault(404, "BasketNotFoundException", "The customer has no such basket.")
    wanted = request.headers.get("If-Match")
    if wanted is not None and wanted != _tagged(basket)[1]:
        raise Fault(412, "InvalidIfMatchException", "The basket has changed since.")
    return basket


async def get_basket(request: web.Request) -> web.Response:
    return _document(_basket(request))


async def delete_basket(request: web.Request) -> web.Response:
    del request.app[BASKETS][_basket(request)["basket_id"]]
    return web.Response(status=204)


async def put_basket_customer(request: web.Request) -> web.Response:
    basket = _basket(request)
    basket["customer_info"]["email"] = _text(await _body(request), "email")
    return _document(basket)


# By path, then by the method that is meant. `customers/auth` stands before what would take it for a customer's id.
ROUTES: dict[str, dict[str, Handler]] = {
    f"{BASE}/customers/auth": {"POST": authenticate, "DELETE": invalidate},
    f"{BASE}/customers/auth/trustedsystem": {"POST": authenticate_trusted},
    f"{BASE}/customers/{{customer_id}}": {"GET": get_customer},
    f"{BASE}/sessions": {"POST": create_session},
    f"{BASE}/baskets": {"POST": create_basket},
    f"{BASE}/baskets/{{basket_id}}": {"GET": get_basket, "DELETE": delete_basket},
    f"{BASE}/baskets/{{basket_id}}/customer": {"PUT": put_basket_customer},
}


def resource(methods: Mapping[str, Handler]) -> Handler:
    """Make the handler of a path: it checks the address and looks for the method that is meant."""

    async def handle(request: web.Request) -> web.Response:
        _check_address(request)
        method = _method(request)
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise Fault(405, "MethodNotAllowedException", "The resource does not have this method.")
        return await handler(request)

    return handle
