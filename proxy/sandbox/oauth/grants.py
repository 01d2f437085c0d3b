"""The token endpoint: each grant type checks what it is given, and becomes tokens."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping

from aiohttp import web

from ..accounts import Account
from .factors import PROOFS, require_factor
from .requests import Client, OAuthError, authenticate, invalid_grant, invalid_request, read_parameters, required
from .state import STATE, Granted
from .tokens import respond_with_tokens

DEFAULT_SCOPE = "openid profile email"
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")

Grant = Callable[[web.Request, Client, Mapping[str, str]], web.Response]


async def token(request: web.Request) -> web.Response:
    parameters = await read_parameters(request)
    kind = required(parameters, "grant_type")
    if kind not in GRANTS:
        raise OAuthError(400, "unsupported_grant_type", "There is no such grant type here.")
    client = authenticate(request, parameters, public=kind in _PUBLIC)
    return GRANTS[kind](request, client, parameters)


def read_scope(parameters: Mapping[str, str], default: str) -> str:
    """Return the scope that is asked for; the sandbox grants any."""
    scope = parameters.get("scope", default)
    if scope and not _SCOPE.fullmatch(scope):
        raise OAuthError(400, "invalid_scope", "The scope is malformed.")
    return scope


def log_in(request: web.Request, username: str, password: str) -> Account:
    account = request.app[STATE].accounts.log_in(username, password)
    if account is None:
        raise invalid_grant("The user name or the password is wrong.")
    if account.locked:
        raise invalid_grant("The account is locked after too many failed logins.")
    return account


def _password(request: web.Request, client: Client, parameters: Mapping[str, str]) -> web.Response:
    username, password = required(parameters, "username"), required(parameters, "password")
    scope = read_scope(parameters, DEFAULT_SCOPE)
    account = log_in(request, username, password)
    granted = Granted(client.id, account.user_id, scope, parameters.get("audience"))
    if account.factor:
        raise require_factor(request, account, granted)
    return respond_with_tokens(request, granted)


def _client(request: web.Request, client: Client, parameters: Mapping[str, str]) -> web.Response:
    scope = read_scope(parameters, "")
    if {"openid", "offline_access"} & set(scope.split()):
        raise OAuthError(400, "invalid_scope", "The client acts for no user.")
    granted = Granted(client.id, f"{client.id}@clients", scope, parameters.get("audience"))
    return respond_with_tokens(request, granted)


def _refresh(request: web.Request, client: Client, parameters: Mapping[str, str]) -> web.Response:
    state = request.app[STATE]
    token = required(parameters, "refresh_token")
    known = state.refreshes.look(token)
    if known is not None and client.public and not known[0].public:
        raise OAuthError(401, "invalid_client", "This client has a secret.")
    if known is not None and not set(parameters.get("scope", "").split()) <= set(known[0].scope.split()):
        raise OAuthError(400, "invalid_scope", "The scope is wider than what was granted.")
    found = state.refreshes.take(token, client.id)
    if found is None:
        raise invalid_grant("The refresh token is unknown, or was used before.")
    granted, family = found
    account = state.accounts.by_user(granted.subject)
    if account is None or account.locked:
        raise invalid_grant("The account is locked.")
    return respond_with_tokens(request, granted, scope=parameters.get("scope"), family=family)


def _code(request: web.Request, client: Client, parameters: Mapping[str, str]) -> web.Response:
    code = request.app[STATE].codes.take(required(parameters, "code"))
    if code is None or code.granted.client != client.id:
        raise invalid_grant("The code is unknown, or was used before.")
    if code.redirect_uri != required(parameters, "redirect_uri"):
        raise invalid_grant("The redirect_uri is not that of the code.")
    verifier = parameters.get("code_verifier")
    if code.challenge is None:
        if client.public or verifier is not None:
            raise invalid_request("The code was asked for without a code_challenge.")
    elif verifier is None or not _VERIFIER.fullmatch(verifier) or not _proves(verifier, code.challenge):
        raise invalid_grant("The code_verifier is wrong.")
    return respond_with_tokens(request, dataclasses.replace(code.granted, public=client.public), nonce=code.nonce)


def _proves(verifier: str, challenge: str) -> bool:
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return secrets.compare_digest(digest, challenge.encode())


def _proved(request: web.Request, client: Client, parameters: Mapping[str, str]) -> web.Response:
    return respond_with_tokens(request, PROOFS[parameters["grant_type"]](request, client, parameters))


GRANTS: dict[str, Grant] = {
    "password": _password,
    "http://auth0.com/oauth/grant-type/password-realm": _password,
    "client_credentials": _client,
    "refresh_token": _refresh,
    "authorization_code": _code,
    **dict.fromkeys(PROOFS, _proved),
}
# What a client without a secret may ask for: it proves itself by a code verifier or by the token that it holds.
_PUBLIC = ("authorization_code", "refresh_token")
