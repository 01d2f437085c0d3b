"""Resetting a password in Auth0's steps: ask for the e-mail, follow its link, set the new password.

The link is the first challenge. Its answer names the user and holds what the new password needs, so a rule after it
stands where Auth0's post-challenge trigger does: it may deny, challenge once more, or send the browser elsewhere first.
"""

from __future__ import annotations

import sys

from aiohttp import web

from .requests import OAuthError, invalid_request, read_parameters, required
from .state import STATE

TICKET_SECONDS = 3600
RESET_SECONDS = 600
_SHORTEST = 8


async def ask(request: web.Request) -> web.Response:
    """Send the e-mail; the answer does not tell who has an account."""
    parameters = await read_parameters(request)
    required(parameters, "client_id")
    required(parameters, "connection")
    state = request.app[STATE]
    account = state.accounts.by_email(required(parameters, "email"))
    if account is not None and not account.locked:
        ticket = state.tickets.issue(account.user_id, TICKET_SECONDS)
        print(f"sandbox: {account.email} resets at /u/reset-verify?ticket={ticket}", file=sys.stderr, flush=True)
    return web.Response(text="We've just sent you an email to reset your password.", content_type="text/html")


async def verify(request: web.Request) -> web.Response:
    """Follow the link of the e-mail, which works until the password is set."""
    state = request.app[STATE]
    ticket = request.query.get("ticket", "")
    user = state.tickets.look(ticket)
    account = state.accounts.by_user(user) if user is not None else None
    if account is None:
        raise OAuthError(400, "invalid_ticket", "The link is not known, was used, or has expired.")
    return web.json_response(
        {
            "user_id": account.user_id,
            "email": account.email,
            "factors": ["otp", "email"] if account.factor else [],
            "reset_token": state.resets.issue(ticket, RESET_SECONDS),
            "expires_in": RESET_SECONDS,
        }
    )


async def change(request: web.Request) -> web.Response:
    """Set the new password; every session of the customer ends."""
    parameters = await read_parameters(request)
    state = request.app[STATE]
    token, password = required(parameters, "reset_token"), required(parameters, "new_password")
    if len(password) < _SHORTEST:
        raise OAuthError(400, "invalid_password", f"The password is shorter than {_SHORTEST} characters.")
    ticket = state.resets.take(token)
    user = state.tickets.take(ticket) if ticket is not None else None
    account = state.accounts.by_user(user) if user is not None else None
    if account is None or account.locked:
        raise invalid_request("The reset_token is not known, was used, or has expired.")
    state.accounts.set_password(account.user_id, password)
    state.refreshes.revoke_all(account.user_id)
    return web.json_response({"result": "password_changed", "user_id": account.user_id, "email": account.email})


async def tickets(request: web.Request) -> web.Response:
    """Tell the links of the e-mails, by address; not through a proxy."""
    if "Via" in request.headers:
        raise web.HTTPNotFound
    state = request.app[STATE]
    found = {}
    for ticket, user in state.tickets.values().items():
        account = state.accounts.by_user(user)
        if account is not None:
            found[account.email] = f"/u/reset-verify?ticket={ticket}"
    return web.json_response(found)
