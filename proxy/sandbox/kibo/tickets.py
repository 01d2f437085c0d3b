"""Customer authentication tickets of the Kibo sandbox: logins, refreshes, anonymous shoppers, codes."""

from __future__ import annotations

import datetime
import secrets
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from ..accounts import Account, Accounts, Kind
from ..customer import write_anonymous, write_customer
from .wire import TENANT, KiboError, answer, invalid, read_body, read_text

BASE = "/api/commerce/customer/authtickets"
KEY_ID = "sandbox-1"
# The most that a ticket and its refresh token live, in minutes; a request may ask for less.
TICKET_MINUTES = 60
REFRESH_MINUTES = 60 * 24

ACCOUNTS = web.AppKey("accounts", Accounts)
KEY = web.AppKey("key", rsa.RSAPrivateKey)


def _locked() -> KiboError:
    return KiboError(401, "ACCOUNT_LOCKED", "The account is locked after too many failed logins.")


def _minutes(body: Mapping[str, Any], name: str, most: int) -> int:
    value = body.get(name)
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(f"{name} must be a positive number of minutes.")
    return min(value, most)


def _check_account(value: object, account: Account | None) -> None:
    """Refuse a ticket for an account that is not the user's own."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid("accountId must be a number.")
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
    return jwt.encode(payload, request.app[KEY], algorithm="RS256", headers={"kid": KEY_ID})


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
        "refreshToken": request.app[ACCOUNTS].issue_refresh(user, refresh * 60),
        "refreshTokenExpiration": _stamp(now + refresh * 60),
        "requires2FA": False,
        "userId": user,
    }


async def create_user_ticket(request: web.Request) -> web.Response:
    body = await read_body(request)
    account = request.app[ACCOUNTS].log_in(read_text(body, "username"), read_text(body, "password"))
    if account is None:
        raise KiboError(401, "INVALID_CREDENTIALS", "The user name or the password is wrong.")
    if account.locked:
        raise _locked()
    _check_account(body.get("accountId"), account)
    if account.factor:
        _send(request, account, "2fa")
        # No token before the second factor: the user id is what the next call needs.
        blank = dict.fromkeys(("accessToken", "jwtAccessToken", "refreshToken"))
        return answer(request, {**blank, "requires2FA": True, "userId": account.user_id})
    return answer(request, _ticket(request, account, account.user_id, body))


async def refresh_user_ticket(request: web.Request) -> web.Response:
    accounts = request.app[ACCOUNTS]
    wanted = request.query.get("accountId") or None
    if wanted is not None and not (wanted.isascii() and wanted.isdigit()):
        raise invalid("accountId must be a number.")
    user = accounts.take_refresh(request.query.get("refreshToken", ""))
    if user is None:
        raise KiboError(404, "ITEM_NOT_FOUND", "The refresh token was not found.")
    account = accounts.by_user(user)
    if account is not None and account.locked:
        raise _locked()
    _check_account(int(wanted) if wanted else None, account)
    return answer(request, _ticket(request, account, user, {}))


async def create_anonymous_ticket(request: web.Request) -> web.Response:
    return answer(request, _ticket(request, None, f"anon{uuid.uuid4().hex[:28]}", {}))


async def impersonate_cart(request: web.Request) -> web.Response:
    """Give a clerk the ticket of a shopper, named by `userId` or `accountId`."""
    body = await read_body(request)
    read_text(body, "cartId")
    accounts = request.app[ACCOUNTS]
    number = body.get("accountId")
    if body.get("userId") is not None:
        account = accounts.by_user(read_text(body, "userId"))
    else:
        account = accounts.by_id(number) if isinstance(number, int) and abs(number) < 1 << 62 else None
    if account is None:
        raise KiboError(404, "ITEM_NOT_FOUND", "There is no such shopper.")
    _check_account(number, account)
    return answer(request, _ticket(request, account, account.user_id, {}))


# Codes


def _send(request: web.Request, account: Account, kind: Kind) -> None:
    """Stand in for the e-mail with the code."""
    code = request.app[ACCOUNTS].issue_code(account.user_id, kind)
    print(f"sandbox: the code for {account.email} is {code}", file=sys.stderr, flush=True)


async def generate_2fa(request: web.Request) -> web.Response:
    """Send a new code; Kibo's client names nobody, so all who wait for one get one."""
    accounts = request.app[ACCOUNTS]
    waiting = accounts.waiting()
    if await request.read():
        user = read_text(await read_body(request), "userId")
        waiting = [user] if user in waiting else []
    for user_id in waiting:
        if (account := accounts.by_user(user_id)) is not None:
            _send(request, account, "2fa")
    return web.Response(status=204)


async def validate_2fa(request: web.Request) -> web.Response:
    body = await read_body(request)
    account = request.app[ACCOUNTS].by_user(read_text(body, "userId"))
    return _proved(request, account, "2fa", read_text(body, "otpCode"))


async def generate_otp(request: web.Request) -> web.Response:
    """Send a code; the answer does not tell whether the account exists."""
    account = request.app[ACCOUNTS].by_email(read_text(await read_body(request), "email"))
    if account is not None and not account.locked:
        _send(request, account, "otp")
    return web.Response(status=204)


async def validate_otp(request: web.Request) -> web.Response:
    body = await read_body(request)
    account = request.app[ACCOUNTS].by_email(read_text(body, "email"))
    return _proved(request, account, "otp", read_text(body, "otpCode"))


def _proved(request: web.Request, account: Account | None, kind: Kind, code: str) -> web.Response:
    if account is None or account.locked or not request.app[ACCOUNTS].take_code(account.user_id, kind, code):
        raise KiboError(401, "INVALID_CREDENTIALS", "The code is wrong or has expired.")
    return answer(request, _ticket(request, account, account.user_id, {}))


async def application_ticket(request: web.Request) -> web.Response:
    """Give an application its token: any application is taken."""
    claims = {"kind": "application", "appKey": "sandbox.storefront.1.0.0.Release", "isAuthorizedAsAdmin": False}
    token = _token(request, "sandbox-application", TICKET_MINUTES, **claims)
    body = {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": TICKET_MINUTES * 60,
        "refresh_token": None,
        "accessToken": token,
        "accessTokenExpiration": _stamp(time.time() + TICKET_MINUTES * 60),
        "refreshToken": None,
    }
    return answer(request, body)
