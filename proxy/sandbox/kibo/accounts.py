"""Accounts of the Kibo sandbox as rules look them up: the account itself, and how its logins went."""

from __future__ import annotations

from aiohttp import web

from ..accounts import LOCK_AFTER, Account
from ..customer import write_customer
from .tickets import ACCOUNTS
from .wire import KiboError, answer, invalid

BASE = "/api/commerce/customer/accounts"


def _check_application(request: web.Request) -> None:
    """Refuse whoever is no application: any token is taken, but there must be one."""
    if "Authorization" not in request.headers and "x-vol-app-claims" not in request.headers:
        raise KiboError(401, "UNAUTHORIZED", "Accounts are read by applications: send a token.")


async def get_account(request: web.Request) -> web.Response:
    account = _by_number(request)
    return answer(
        request,
        write_customer(account.id, account.email, account.user_id, locked=account.locked, members=account.members),
    )


async def get_login_state(request: web.Request) -> web.Response:
    return _login_state(request, _by_number(request))


async def get_login_state_by_name(request: web.Request) -> web.Response:
    _check_application(request)
    name = request.query.get("userName", "")
    if not name:
        raise invalid("userName is required.")
    account = request.app[ACCOUNTS].by_email(name)
    if account is None:
        raise _not_found()
    return _login_state(request, account)


def _by_number(request: web.Request) -> Account:
    _check_application(request)
    number = request.match_info["number"]
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise invalid("accountId must be a number.")
    account = request.app[ACCOUNTS].by_id(int(number))
    if account is None:
        raise _not_found()
    return account


def _not_found() -> KiboError:
    return KiboError(404, "ITEM_NOT_FOUND", "There is no such account.")


def _login_state(request: web.Request, account: Account) -> web.Response:
    failures = request.app[ACCOUNTS].failures(account.id)
    state = {
        "createdOn": "2024-01-15T09:30:00.000Z",
        "failedLoginAttemptCount": failures,
        "firstFailedLoginAttemptOn": None,
        "isLocked": account.locked,
        "isPasswordChangeRequired": False,
        "lastLockedOn": None,
        "lastLoginOn": None,
        "lastPasswordChangeOn": None,
        "remainingLoginAttempts": 0 if account.locked else LOCK_AFTER - failures,
        "updatedOn": None,
    }
    return answer(request, state)
