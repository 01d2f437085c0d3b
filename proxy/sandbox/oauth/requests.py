"""What OAuth requests have in common: parameters in a form or in JSON, the client's credentials, errors of RFC 6749."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web

CLIENT_SECRET = "sandbox"
_LONGEST = 4096


class OAuthError(Exception):
    """An error answer of RFC 6749 section 5.2; `extra` holds members beside its own."""

    def __init__(self, status: int, error: str, description: str, **extra: Any) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description
        self.extra = extra
        # The scheme that a 401 asks for.
        self.challenge = f'Bearer realm="sandbox", error="{error}"'

    def response(self) -> web.Response:
        body = {"error": self.error, "error_description": self.description, **self.extra}
        headers = {"WWW-Authenticate": self.challenge} if self.status == 401 else {}
        return web.json_response(body, status=self.status, headers=headers)


def invalid_request(description: str) -> OAuthError:
    return OAuthError(400, "invalid_request", description)


def invalid_grant(description: str) -> OAuthError:
    return OAuthError(400, "invalid_grant", description)


def _invalid_client() -> OAuthError:
    error = OAuthError(401, "invalid_client", "The client is unknown, or its secret is not that of the sandbox.")
    error.challenge = 'Basic realm="sandbox"'
    return error


def unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Make a mapping of parameters: one that is empty counts as left out, one that is sent twice is an error."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise invalid_request("A parameter is sent twice.")
        if value:
            found[name] = _text(value)
    return found


def _text(value: str) -> str:
    # Half a surrogate pair can be written in JSON, and bytes that are no UTF-8 in a form, but neither is text.
    if len(value) > _LONGEST or any("\ud800" <= char <= "\udfff" for char in value):
        raise invalid_request("A parameter is too long or not text.")
    return value


async def read_parameters(request: web.Request) -> dict[str, str]:
    """Read a form, as RFC 6749 has it, or a JSON object of texts, as Auth0's clients send."""
    data = await request.read()
    try:
        if request.content_type == "application/x-www-form-urlencoded":
            return unique(parse_qsl(data.decode(), keep_blank_values=True, errors="surrogateescape"))
        if request.content_type == "application/json":
            body = json.loads(data, object_pairs_hook=list)
            if isinstance(body, list) and all(isinstance(pair, tuple) and isinstance(pair[1], str) for pair in body):
                return unique(body)
    except (ValueError, RecursionError):
        raise invalid_request("The body is malformed.") from None
    raise invalid_request("The body must be a form, or a JSON object of texts.")


def required(parameters: Mapping[str, str], name: str) -> str:
    """Return a parameter that must be there."""
    if name not in parameters:
        raise invalid_request(f"The parameter {name} is missing.")
    return parameters[name]


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls; a public client has no secret."""

    id: str
    public: bool


def authenticate(request: web.Request, parameters: Mapping[str, str], *, public: bool = False) -> Client:
    """Check the client's credentials, in an Authorization header or among the parameters, never in both."""
    header = request.headers.getall("Authorization", [])
    id, secret = parameters.get("client_id"), parameters.get("client_secret")
    if header:
        if secret is not None:
            raise invalid_request("The client authenticates in two ways.")
        named = id
        id, secret = _basic(header)
        if named not in (None, id):
            raise invalid_request("The client names itself in two ways.")
    if id is None or not id.isascii() or not id.isprintable():
        raise _invalid_client()
    if secret is None and public:
        return Client(id, public=True)
    if secret is None or not secrets.compare_digest(secret.encode(), CLIENT_SECRET.encode()):
        raise _invalid_client()
    return Client(id, public=False)


def _basic(lines: list[str]) -> tuple[str, str]:
    """Read Basic credentials, whose halves are form-encoded (RFC 6749 section 2.3.1)."""
    scheme, _, credentials = lines[0].partition(" ")
    if len(lines) != 1 or scheme.lower() != "basic":
        raise _invalid_client()
    try:
        id, colon, secret = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _invalid_client() from None
    if not colon:
        raise _invalid_client()
    return _text(unquote_plus(id)), _text(unquote_plus(secret))


def bearer(request: web.Request, error: str = "invalid_token") -> str:
    """Return the one bearer token of a request."""
    lines = request.headers.getall("Authorization", [])
    scheme, _, token = lines[0].partition(" ") if len(lines) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise OAuthError(401, error, "There is no bearer token.")
    return token.strip()
