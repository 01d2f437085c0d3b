"""The authorization endpoint: a page to log in on, and back to the client with a code."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web
from yarl import URL

from .factors import require_factor
from .grants import DEFAULT_SCOPE, log_in, read_scope
from .requests import OAuthError, invalid_grant, invalid_request, read_parameters, required, unique
from .state import STATE, Code, Granted

CODE_SECONDS = 60
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What a login form carries along.
_KEPT = (
    "response_type", "client_id", "redirect_uri", "scope", "audience", "state", "nonce", "code_challenge",
    "code_challenge_method",
)  # fmt: skip

_PAGE = """<!doctype html>
<html lang="en"><title>Sandbox login</title>
<h1>Sandbox: made-up customers, not for production</h1>
{note}<form method="post" action="/authorize">
{fields}<button>Log in</button>
</form></html>
"""


async def show(request: web.Request) -> web.Response:
    """Show the login page, or send the client its error."""
    parameters = unique(list(request.query.items()))
    target = _redirect_uri(parameters)
    try:
        _check(parameters)
        if parameters.get("prompt") == "none":
            raise OAuthError(400, "login_required", "Nobody is logged in here.")
    except OAuthError as error:
        return _back(target, parameters, error=error.error, error_description=error.description)
    return _page(parameters, ("username", "password"))


async def submit(request: web.Request) -> web.Response:
    """Take the login form, then the code of whoever has a second factor."""
    parameters = await read_parameters(request)
    target = _redirect_uri(parameters)
    _check(parameters)
    state = request.app[STATE]
    try:
        granted = _prove(request, parameters)
    except OAuthError as error:
        if "mfa_token" in error.extra:
            return _page({**parameters, **error.extra}, ("otp",))
        return _page(parameters, ("otp",) if "mfa_token" in parameters else ("username", "password"), str(error), 400)
    code = Code(granted, str(target), parameters.get("code_challenge"), parameters.get("nonce"))
    return _back(target, parameters, code=state.codes.issue(code, CODE_SECONDS))


def _prove(request: web.Request, parameters: Mapping[str, str]) -> Granted:
    state = request.app[STATE]
    if "mfa_token" in parameters:
        held = state.factors.look(parameters["mfa_token"])
        if held is None or held.client != parameters["client_id"]:
            raise invalid_grant("The login has expired.")
        if not state.accounts.take_code(held.subject, "2fa", required(parameters, "otp")):
            raise invalid_grant("The code is wrong or has expired.")
        state.factors.take(parameters["mfa_token"])
        return held
    account = log_in(request, required(parameters, "username"), required(parameters, "password"))
    scope = read_scope(parameters, DEFAULT_SCOPE)
    granted = Granted(parameters["client_id"], account.user_id, scope, parameters.get("audience"))
    if account.factor:
        raise require_factor(request, account, granted)
    return granted


def _redirect_uri(parameters: Mapping[str, str]) -> URL:
    """Return where to send the browser; what is wrong with that is told to the user, never sent there."""
    required(parameters, "client_id")
    text = required(parameters, "redirect_uri")
    try:
        parts = urlsplit(text)
        local = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if (parts.scheme == "https" or local) and parts.hostname and not parts.fragment and "@" not in parts.netloc:
            return URL(text)
    except ValueError:
        pass
    raise invalid_request("The redirect_uri must be https, or http to this machine.")


def _check(parameters: Mapping[str, str]) -> None:
    if required(parameters, "response_type") != "code":
        raise OAuthError(400, "unsupported_response_type", "The response_type must be code.")
    read_scope(parameters, DEFAULT_SCOPE)
    challenge = parameters.get("code_challenge")
    if challenge is None:
        return
    if parameters.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise invalid_request("The code_challenge_method must be S256.")


def _back(target: URL, parameters: Mapping[str, str], **result: str) -> web.Response:
    if "state" in parameters:
        result["state"] = parameters["state"]
    return web.Response(status=303, headers={"Location": str(target.extend_query(result))})


def _page(
    parameters: Mapping[str, str], asked: tuple[str, ...], note: str | None = None, status: int = 200
) -> web.Response:
    kept = [name for name in (*_KEPT, *(("mfa_token",) if "otp" in asked else ())) if name in parameters]
    fields = [f'<input type="hidden" name="{name}" value="{html.escape(parameters[name])}">' for name in kept]
    fields += [
        f'<label>{name} <input name="{name}"{" type=password" if name == "password" else ""}></label>' for name in asked
    ]
    text = _PAGE.format(note=f"<p>{html.escape(note)}</p>\n" if note else "", fields="".join(f"{f}\n" for f in fields))
    headers = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)
