"""The Shopper Login (SLAS) of the SFCC sandbox: tokens for guests and their refresh, as forms.

Registered shoppers log in through the Shop API; of SLAS only what needs no page of its own is here.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_plus

from aiohttp import web

from .ocapi import SHOPPERS
from .shoppers import SITE, TOKEN_SECONDS

BASE = "/shopper/auth/v1/organizations/{organization}/oauth2"
ACCOUNT_MANAGER = "/dw/oauth2/access_token"
# Every client's.
SECRET = "sandbox"
REFRESH_SECONDS = 30 * 24 * 3600

Handler = Callable[[web.Request], Awaitable[web.Response]]


class TokenFault(Exception):
    """An answer in the error format of RFC 6749."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description

    def answer(self) -> web.Response:
        return web.json_response({"error": self.error, "error_description": self.description}, status=self.status)


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise TokenFault(415, "invalid_request", "The body is a form.")
    given = await request.post()
    form = {name: value for name, value in given.items() if isinstance(value, str)}
    if len(form) != len(given):
        raise TokenFault(400, "invalid_request", "A field was sent more than once.")
    return form


def _client(request: web.Request, form: dict[str, str]) -> tuple[str, bool]:
    """Return the client, and whether it has shown its secret (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name, secret = "", ""
        if not name or not secrets.compare_digest(unquote_plus(secret).encode(), SECRET.encode()):
            raise TokenFault(401, "invalid_client", "The client or its secret is wrong.")
        return unquote_plus(name), True
    if not form.get("client_id"):
        raise TokenFault(400, "invalid_request", "client_id is required.")
    return form["client_id"], False


def _answer(request: web.Request, client: str, customer_id: str) -> web.Response:
    shopper = request.app[SHOPPERS].find(customer_id)
    tenant = request.match_info["organization"].removeprefix("f_ecom_")
    # One shopper keeps one USID through all refreshes.
    usid = str(uuid.uuid5(uuid.NAMESPACE_OID, customer_id))
    name = shopper.account.email if shopper.account else "Guest"
    claims: dict[str, Any] = {
        "aut": "GUID",
        "scp": "sfcc.shopper-myaccount.baskets sfcc.shopper-products",
        "sub": f"cc-slas::{tenant}::scid:{client}::usid:{usid}",
        "ctx": "slas",
        "iss": f"slas/prod/{tenant}",
        "ist": 1,
        "dnt": "0",
        "aud": f"commercecloud/prod/{tenant}",
        "sty": "User",
        "isb": f"uido:ecom::upn:{name}::uidn:::gcid:{customer_id}::chid:{SITE}",
        "jti": uuid.uuid4().hex,
    }
    body = {
        "access_token": request.app[SHOPPERS].sign(claims),
        "id_token": "",
        "refresh_token": request.app[SHOPPERS].accounts.issue_refresh(f"{client} {customer_id}", REFRESH_SECONDS),
        "expires_in": TOKEN_SECONDS,
        "refresh_token_expires_in": REFRESH_SECONDS,
        "token_type": "BEARER",
        "usid": usid,
        "customer_id": customer_id,
        "enc_user_id": "",
        "idp_access_token": None,
    }
    return web.json_response(body, headers={"Cache-Control": "no-store"})


async def token(request: web.Request) -> web.Response:
    """Give a guest a token, or exchange a refresh token, which holds once."""
    form = await _form(request)
    client, known = _client(request, form)
    grant = form.get("grant_type", "")
    if grant not in ("client_credentials", "refresh_token"):
        raise TokenFault(400, "unsupported_grant_type" if grant else "invalid_request", "There is no such grant_type.")
    if form.get("channel_id") != SITE:
        raise TokenFault(400, "invalid_request", f"channel_id is required; the sandbox has {SITE}.")
    shoppers = request.app[SHOPPERS]
    if grant == "client_credentials":
        if not known:
            raise TokenFault(401, "invalid_client", "This grant is for clients with a secret.")
        return _answer(request, client, shoppers.guest().id)
    owner, _, customer_id = (shoppers.accounts.take_refresh(form.get("refresh_token", "")) or "").rpartition(" ")
    if not customer_id or owner != client:
        raise TokenFault(400, "invalid_grant", "The refresh token does not hold.")
    return _answer(request, client, customer_id)


async def system_token(request: web.Request) -> web.Response:
    """Give a system its own token, which trustedsystem asks for, as the account manager does."""
    form = await _form(request)
    client, known = _client(request, form)
    if not known:
        raise TokenFault(401, "invalid_client", "This grant is for clients with a secret.")
    if form.get("grant_type") != "client_credentials":
        raise TokenFault(400, "unsupported_grant_type", "There is no such grant_type.")
    issued = request.app[SHOPPERS].sign({"sub": client, "client_id": client, "jti": uuid.uuid4().hex})
    return web.json_response({"access_token": issued, "scope": "mail", "token_type": "Bearer", "expires_in": 1799})


async def jwks(request: web.Request) -> web.Response:
    return web.json_response(request.app[SHOPPERS].keys())


ROUTES: dict[str, tuple[str, Handler]] = {
    f"{BASE}/token": ("POST", token),
    f"{BASE}/jwks": ("GET", jwks),
    ACCOUNT_MANAGER: ("POST", system_token),
}
