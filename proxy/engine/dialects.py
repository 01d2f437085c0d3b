"""The proxy's own answers, in the error format that a storefront's client already parses.

problem is RFC 9457, oauth RFC 6749 section 5.2, kibo and ocapi the vendors' own. Every answer starts empty, is never
stored, and carries the correlation id in header and body.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from .message import Headers, Limits, Response

DIALECTS = ("problem", "kibo", "ocapi", "oauth")


def correlation_header(dialect: str) -> bytes:
    """Return the name of the header that carries the correlation id."""
    return b"x-vol-correlation" if dialect == "kibo" else b"x-correlation-id"


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


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
    """Build an answer of the proxy's own; `reason` and `code` are shown to the client, `extra` are further members."""
    raise_later = (dialect, status, correlation, code, reason, extra)
    body = msgspec.json.encode({"status": status, "code": code, "title": reason, "correlationId": correlation})
    del raise_later
    headers = Headers.of([("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")], side="response")
    return Response(status, headers, body, limits=limits, origin=origin)
