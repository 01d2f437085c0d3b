"""Tokens of the OAuth sandbox: access tokens (RFC 9068), ID tokens, and what is asked about them."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import jwt
from aiohttp import web

from .requests import OAuthError, authenticate, bearer, read_parameters, required
from .state import STATE, Granted

KEY_ID = "sandbox-oauth-1"
ACCESS_SECONDS = 3600
REFRESH_SECONDS = 24 * 3600


def issuer(request: web.Request) -> str:
    """Return the address under which the client knows the sandbox: that of a proxy in front of it, if there is one."""
    host = request.headers.get("X-Forwarded-Host", request.host)
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    return f"{scheme}://{host}"


def _sign(request: web.Request, claims: dict[str, Any], seconds: int, typ: str) -> str:
    now = int(time.time())
    payload = {"iss": issuer(request), **claims, "iat": now, "exp": now + seconds}
    headers = {"kid": KEY_ID, "typ": typ}
    return jwt.encode(payload, request.app[STATE].key, algorithm="RS256", headers=headers)


def respond_with_tokens(
    request: web.Request,
    granted: Granted,
    *,
    scope: str | None = None,
    family: str | None = None,
    nonce: str | None = None,
) -> web.Response:
    """Answer a grant: the scope `openid` gets an ID token, `offline_access` a refresh token.

    `scope` narrows these access and ID tokens alone; the next refresh token reaches as far as the last.
    """
    state = request.app[STATE]
    scope = granted.scope if scope is None else scope
    scopes = scope.split()
    access = {
        "sub": granted.subject,
        "aud": granted.audience or issuer(request),
        "client_id": granted.client,
        "scope": scope,
        "jti": uuid.uuid4().hex,
    }
    body: dict[str, Any] = {
        "access_token": _sign(request, access, ACCESS_SECONDS, "at+jwt"),
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
        "scope": scope,
    }
    if "openid" in scopes:
        claims = {"aud": granted.client, **describe_user(request, granted.subject, scopes)}
        if nonce is not None:
            claims["nonce"] = nonce
        body["id_token"] = _sign(request, claims, ACCESS_SECONDS, "JWT")
    if "offline_access" in granted.scope.split():
        body["refresh_token"] = state.refreshes.issue(granted, REFRESH_SECONDS, family)
    return web.json_response(body)


def describe_user(request: web.Request, subject: str, scopes: list[str]) -> dict[str, Any]:
    """Write the claims of a customer that the scopes allow."""
    account = request.app[STATE].accounts.by_user(subject)
    claims: dict[str, Any] = {"sub": subject}
    if account is not None and "email" in scopes:
        claims |= {"email": account.email, "email_verified": True}
    if account is not None and "profile" in scopes:
        given, family = account.members["firstName"], account.members["lastName"]
        claims |= {"name": f"{given} {family}", "given_name": given, "family_name": family}
    return claims


def _read_access(request: web.Request, token: str) -> dict[str, Any] | None:
    """Return the claims of an access token of the sandbox that holds."""
    state = request.app[STATE]
    try:
        found = jwt.decode_complete(
            token,
            state.key.public_key(),
            algorithms=["RS256"],
            options={"verify_aud": False, "require": ["exp", "jti"]},
        )
    except jwt.InvalidTokenError:
        return None
    claims: dict[str, Any] = found["payload"]
    # An ID token is signed with the same key, and is for the client alone.
    return claims if found["header"]["typ"] == "at+jwt" and claims["jti"] not in state.revoked else None


async def userinfo(request: web.Request) -> web.Response:
    claims = _read_access(request, bearer(request))
    if claims is None:
        raise OAuthError(401, "invalid_token", "The access token does not hold.")
    scopes = claims["scope"].split()
    if "openid" not in scopes:
        raise OAuthError(403, "insufficient_scope", "The access token is not for this.")
    return web.json_response(describe_user(request, claims["sub"], scopes))


async def introspect(request: web.Request) -> web.Response:
    """Tell a client with a secret what a token is (RFC 7662)."""
    parameters = await read_parameters(request)
    authenticate(request, parameters)
    token = required(parameters, "token")
    claims = _read_access(request, token)
    if claims is not None:
        return web.json_response({"active": True, "token_type": "Bearer", **claims})
    refresh = request.app[STATE].refreshes.look(token)
    if refresh is None:
        return web.json_response({"active": False})
    granted, expires = refresh
    found = {"sub": granted.subject, "client_id": granted.client, "scope": granted.scope, "exp": int(expires)}
    return web.json_response({"active": True, **found})


async def revoke(request: web.Request) -> web.Response:
    """Revoke a token of the client's own (RFC 7009); one that is unknown is as good as revoked."""
    parameters = await read_parameters(request)
    client = authenticate(request, parameters, public=True)
    token = required(parameters, "token")
    state = request.app[STATE]
    claims = _read_access(request, token)
    refresh = state.refreshes.look(token)
    owner = claims["client_id"] if claims is not None else refresh[0].client if refresh is not None else client.id
    if owner != client.id:
        raise OAuthError(400, "unauthorized_client", "The token is another client's.")
    if claims is not None:
        now = time.time()
        state.revoked = {jti: end for jti, end in state.revoked.items() if end > now} | {claims["jti"]: claims["exp"]}
    elif refresh is not None:
        state.refreshes.revoke(token)
    return web.Response()


async def keys(request: web.Request) -> web.Response:
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(request.app[STATE].key.public_key()))
    body = {"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]}
    return web.json_response(body, headers={"Cache-Control": "max-age=3600"})
