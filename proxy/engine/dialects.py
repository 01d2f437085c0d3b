"""The proxy's own answers, in the error format that a storefront's client already parses.

problem is RFC 9457, oauth RFC 6749 section 5.2, kibo and ocapi the vendors' own. Every answer starts empty, is valid
JSON, is never stored, and carries the correlation id in header and body. What is not given gets a default that tells
nothing about rules, paths or the upstream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from .message import Headers, Limits, Response

DIALECTS = ("problem", "kibo", "ocapi", "oauth")

# The version that the Shop API's bodies name; clients read it as an opaque text.
_OCAPI_VERSION = "23.2"
_KIBO_APPLICATION = "Vestibule"

_JSON = (b"content-type", b"Content-Type", b"application/json")
_PROBLEM = (b"content-type", b"Content-Type", b"application/problem+json")
_NO_STORE = (b"cache-control", b"Cache-Control", b"no-store")
# RFC 9110 section 15.5.2 wants a challenge with every 401, RFC 6750 section 3 a parameter in it.
_CHALLENGE = (b"www-authenticate", b"WWW-Authenticate", b'Bearer realm="auth"')

# What the standard library's names say differently from one Python to the next.
_PHRASES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}

_MESSAGES = {
    400: "The request could not be read.",
    401: "Authentication is required.",
    403: "Access was denied.",
    404: "There is nothing here.",
    405: "This method is not allowed here.",
    408: "The request took too long to arrive.",
    409: "The request conflicts with another one.",
    413: "The request is too large.",
    414: "The address of the request is too long.",
    415: "The request's content is of a type or coding that cannot be read.",
    417: "The request expects what cannot be given.",
    421: "The request went to the wrong server.",
    422: "The request cannot be processed.",
    429: "There were too many requests; try again later.",
    431: "The request's headers are too large.",
    500: "The request could not be completed.",
    501: "The request asks for something that is not supported.",
    502: "The service gave no answer that can be used.",
    503: "The service is not available now; try again later.",
    504: "The service did not answer in time.",
    505: "This version of HTTP is not supported.",
}

# Never INVALID_ACCESS_TOKEN: a storefront's client refreshes its token on it and sends the same request again.
_KIBO_CODES = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "ITEM_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "REQUEST_TOO_LARGE",
    414: "URI_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "TOO_MANY_REQUESTS",
    431: "HEADERS_TOO_LARGE",
    500: "UNEXPECTED_ERROR",
    502: "BAD_GATEWAY",
    503: "SERVICE_UNAVAILABLE",
    504: "GATEWAY_TIMEOUT",
}

_OCAPI_TYPES = {
    400: "BadRequestException",
    401: "AuthenticationFailedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    405: "MethodNotAllowedException",
    408: "RequestTimeoutException",
    409: "ConflictException",
    413: "RequestTooLargeException",
    414: "UriTooLongException",
    415: "UnsupportedMediaTypeException",
    429: "TooManyRequestsException",
    431: "HeadersTooLargeException",
    500: "InternalServerErrorException",
    502: "BadGatewayException",
    503: "ServiceUnavailableException",
    504: "GatewayTimeoutException",
}

_OAUTH_ERRORS = {
    401: "access_denied",
    403: "access_denied",
    429: "temporarily_unavailable",
    503: "temporarily_unavailable",
    504: "temporarily_unavailable",
}

# RFC 6749 keeps quotes, backslashes and controls out of `error` and `error_description`.
_OAUTH_UNQUOTED = str.maketrans({'"': "'", "\\": "/"})
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_SURROGATES = re.compile("[\ud800-\udfff]")

_encode = msgspec.json.Encoder().encode


def correlation_header(dialect: str) -> bytes:
    """Return the name of the header that carries the correlation id."""
    return b"x-vol-correlation" if dialect == "kibo" else b"x-correlation-id"


def phrase(status: int) -> str:
    """Return the reason phrase of a status."""
    known = _PHRASES.get(status)
    if known is not None:
        return known
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def message(status: int) -> str:
    """Return what a client is told when a rule gives no reason."""
    known = _MESSAGES.get(status)
    if known is not None:
        return known
    return "The request was refused." if status < 500 else "The request could not be completed."


def answer(
    dialect: str,
    status: int,
    *,
    correlation: str,
    limits: Limits,
    code: str | None = None,
    reason: str | None = None,
    origin: str = "rule",
    extra: Mapping[str, Any] | None = None,
) -> Response:
    """Build an answer of the proxy's own; `reason` and `code` are shown to the client.

    `extra` holds further members of JSON's types, which stand where the dialect's clients keep them and never in the
    place of a member of the dialect's own.
    """
    text = _SURROGATES.sub("\ufffd", reason) if reason else message(status)
    body = _BODIES[dialect](status, code, text, correlation, extra or {})
    name = correlation_header(dialect)
    lines = [_PROBLEM if dialect == "problem" else _JSON, _NO_STORE, (name, name, correlation.encode())]
    if status == 401:
        lines.append(_CHALLENGE)
    headers = Headers(lines, side="response")
    return Response(status, headers, _encode(body), limits=limits, origin=origin)


def _problem(status: int, code: str | None, text: str, correlation: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    # With the type about:blank the title is the phrase of the status (RFC 9457 section 4.2.1).
    body: dict[str, Any] = {"type": "about:blank", "title": phrase(status), "status": status, "detail": text}
    if code:
        body["code"] = code
    body["correlationId"] = correlation
    return {**extra, **body} if extra else body


def _kibo(status: int, code: str | None, text: str, correlation: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Build an API error; further members stand in additionalErrorData, which clients keep, and beside it."""
    body: dict[str, Any] = {
        "message": text,
        "errorCode": code or _KIBO_CODES.get(status) or ("VALIDATION_ERROR" if status < 500 else "UNEXPECTED_ERROR"),
        "applicationName": _KIBO_APPLICATION,
        "correlationId": correlation,
        "additionalErrorData": [{"name": name, "value": value} for name, value in extra.items()],
        "items": [],
    }
    return {**extra, **body} if extra else body


def _ocapi(status: int, code: str | None, text: str, correlation: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Build a fault; a client is given the fault alone, so further members stand in its arguments too."""
    fault = {
        "type": code or _OCAPI_TYPES.get(status) or _OCAPI_TYPES[400 if status < 500 else 500],
        "message": text,
        "arguments": {**extra, "correlationId": correlation},
    }
    body: dict[str, Any] = {"_v": _OCAPI_VERSION, "fault": fault}
    return {**extra, **body} if extra else body


def _oauth(status: int, code: str | None, text: str, correlation: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Build an error of a token endpoint; text beyond ASCII is kept, as all clients read it and people need it."""
    body: dict[str, Any] = {
        "error": code or _OAUTH_ERRORS.get(status) or ("invalid_request" if status < 500 else "server_error"),
        "error_description": _CONTROLS.sub(" ", text.translate(_OAUTH_UNQUOTED)),
        "correlationId": correlation,
    }
    return {**extra, **body} if extra else body


_BODIES: dict[str, Callable[[int, str | None, str, str, Mapping[str, Any]], dict[str, Any]]] = {
    "problem": _problem,
    "kibo": _kibo,
    "ocapi": _ocapi,
    "oauth": _oauth,
}
