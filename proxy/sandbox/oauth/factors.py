"""The second factor in the form of Auth0's API: `mfa_required`, authenticators, a challenge, and grants that prove it.

The code of the authenticator app is one that the sandbox makes up at each login and tells at `/sandbox/codes`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from aiohttp import web

from ..accounts import Account
from .requests import (
    Client,
    OAuthError,
    authenticate,
    bearer,
    invalid_grant,
    invalid_request,
    read_parameters,
    required,
)
from .state import STATE, Granted

# Auth0's token for this lives ten minutes; the code lives as long as all codes of the sandboxes.
MFA_SECONDS = 600
OTP = "otp|sandbox-app"
EMAIL = "email|sandbox-mail"


def _send(request: web.Request, account: Account) -> None:
    """Stand in for the authenticator app and for the e-mail with the code."""
    code = request.app[STATE].accounts.issue_code(account.user_id, "2fa")
    print(f"sandbox: the code for {account.email} is {code}", file=sys.stderr, flush=True)


def require_factor(request: web.Request, account: Account, granted: Granted) -> OAuthError:
    """Hold back what is granted until the factor is proved."""
    _send(request, account)
    ticket = request.app[STATE].factors.issue(granted, MFA_SECONDS)
    return OAuthError(403, "mfa_required", "Multifactor authentication required", mfa_token=ticket)


def _pending(request: web.Request, ticket: str, client: Client | None = None) -> tuple[Granted, Account]:
    """Return what a ticket holds back; with a client it must be that client's."""
    state = request.app[STATE]
    granted = state.factors.look(ticket)
    account = state.accounts.by_user(granted.subject) if granted is not None else None
    if granted is None or account is None or (client is not None and granted.client != client.id):
        raise OAuthError(401, "invalid_token", "The mfa_token is unknown or has expired.")
    return granted, account


def _mask(email: str) -> str:
    name, _, domain = email.partition("@")
    return f"{name[0]}***@{domain}"


async def authenticators(request: web.Request) -> web.Response:
    _, account = _pending(request, bearer(request))
    email = {"oob_channel": "email", "oob_channels": ["email"], "name": _mask(account.email)}
    return web.json_response(
        [
            {"id": OTP, "authenticator_type": "otp", "active": True},
            {"id": EMAIL, "authenticator_type": "oob", **email, "active": True},
        ]
    )


async def challenge(request: web.Request) -> web.Response:
    """Send a code by e-mail, or tell that the one of the app is awaited."""
    parameters = await read_parameters(request)
    client = authenticate(request, parameters)
    ticket = required(parameters, "mfa_token")
    _, account = _pending(request, ticket, client)
    chosen = parameters.get("authenticator_id", OTP)
    if chosen not in (OTP, EMAIL):
        raise invalid_request("There is no such authenticator.")
    kind = "oob" if chosen == EMAIL else "otp"
    if kind not in parameters.get("challenge_type", "otp oob").split():
        raise OAuthError(400, "unsupported_challenge_type", "The authenticator takes no challenge of this type.")
    if kind == "otp":
        return web.json_response({"challenge_type": "otp"})
    _send(request, account)
    oob = request.app[STATE].sent.issue(ticket, MFA_SECONDS)
    return web.json_response({"challenge_type": "oob", "oob_code": oob, "binding_method": "prompt"})


def _prove(request: web.Request, client: Client, parameters: Mapping[str, str], name: str) -> Granted:
    ticket = required(parameters, "mfa_token")
    code = required(parameters, name)
    granted, account = _pending(request, ticket, client)
    if account.locked or not request.app[STATE].accounts.take_code(account.user_id, "2fa", code):
        raise invalid_grant(f"The {name} is wrong or has expired.")
    request.app[STATE].factors.take(ticket)
    return granted


def _by_otp(request: web.Request, client: Client, parameters: Mapping[str, str]) -> Granted:
    return _prove(request, client, parameters, "otp")


def _by_mail(request: web.Request, client: Client, parameters: Mapping[str, str]) -> Granted:
    if request.app[STATE].sent.look(required(parameters, "oob_code")) != required(parameters, "mfa_token"):
        raise invalid_grant("The oob_code is unknown or has expired.")
    return _prove(request, client, parameters, "binding_code")


PROOFS: dict[str, Callable[[web.Request, Client, Mapping[str, str]], Granted]] = {
    "http://auth0.com/oauth/grant-type/mfa-otp": _by_otp,
    "http://auth0.com/oauth/grant-type/mfa-oob": _by_mail,
}
