"""How the Kibo sandbox speaks: what it reads of a request, `responseFields`, errors in Kibo's format, gzip."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ...engine import projection
from ...engine.json_body import JsonBody

TENANT = "1"


class KiboError(Exception):
    """An answer in Kibo's error format."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid(message: str) -> KiboError:
    return KiboError(400, "VALIDATION_ERROR", message)


# Reading requests


async def read_body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise invalid("The request body is missing or malformed.")
    return body


def read_text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    # Half a surrogate pair can be written in JSON, but is no text.
    if not isinstance(value, str) or not value or any("\ud800" <= char <= "\udfff" for char in value):
        raise invalid(f"{name} is required.")
    return value


# Writing answers


def answer(request: web.Request, ticket: dict[str, Any]) -> web.Response:
    """Answer with JSON, limited to `responseFields`."""
    data = json.dumps(ticket, separators=(",", ":")).encode()
    wanted = request.query.get("responseFields", "")
    if wanted:
        try:
            body = JsonBody(data, "response", 64)
            projection.apply(projection.parse(wanted), body)
            data = body.dump()
        except projection.ProjectionError:
            raise invalid("responseFields cannot be read.") from None
    return web.Response(body=data, content_type="application/json", charset="utf-8")


def _takes_gzip(accepted: str) -> bool:
    """Read an Accept-Encoding header (RFC 9110 section 12.5.3)."""
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            try:
                return not weight or float(weight.strip().removeprefix("q=")) > 0
            except ValueError:
                return False
    return False


def compress(request: web.Request, response: web.StreamResponse) -> None:
    body = response.body if isinstance(response, web.Response) else None
    if isinstance(response, web.Response) and isinstance(body, bytes) and body:
        response.headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("Accept-Encoding", "")):
            response.body = gzip.compress(body, mtime=0)
            response.headers["Content-Encoding"] = "gzip"


def write_error(error: KiboError, correlation: str) -> web.Response:
    body = {
        "message": error.message,
        "errorCode": error.code,
        "applicationName": "Customer",
        "correlationId": correlation,
        "additionalErrorData": [],
        "items": [],
        "exceptionDetail": {
            "message": error.message,
            "source": "Sandbox",
            "stackTrace": "   at Sandbox.Customer.AuthTickets.Invoke(String route) in sandbox.cs:line 1",
            "targetSite": "Invoke",
            "type": "SandboxException",
        },
    }
    return web.json_response(body, status=error.status)


def check_context(request: web.Request) -> None:
    """Check what calls say of tenant and site: what is missing is taken for the sandbox's own, what is wrong is not."""
    tenant, site = (request.headers.getall(name, []) for name in ("x-vol-tenant", "x-vol-site"))
    if tenant not in ([], [TENANT]):
        raise invalid(f"There is no such tenant; the sandbox is tenant {TENANT}.")
    if site and not (len(site) == 1 and site[0].isascii() and site[0].isdigit()):
        raise invalid("x-vol-site is not a number.")
