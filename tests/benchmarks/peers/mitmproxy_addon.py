"""The jobs as an addon of mitmproxy, which loads this file into its own process."""

from __future__ import annotations

import json

from mitmproxy import http

TICKETS = "/api/commerce/customer/authtickets"
CATALOG = "/api/commerce/catalog"


def _deny(reason: str, code: str) -> http.Response:
    body = json.dumps({"message": reason, "errorCode": code}).encode()
    return http.Response.make(403, body, {"Content-Type": "application/json", "Cache-Control": "no-store"})


def request(flow: http.HTTPFlow) -> None:
    if flow.request.path != TICKETS:
        return
    username = json.loads(flow.request.content or b"")["username"]
    if username.split("@")[1] in ("mailinator.com", "trash.example"):
        flow.response = _deny("Disposable addresses cannot sign in.", "DISPOSABLE_ADDRESS")
    elif username == "blocked@example.com":
        flow.response = _deny("This account cannot sign in.", "BLOCKED_ACCOUNT")
    else:
        flow.request.headers["x-vol-site"] = "21074"


def response(flow: http.HTTPFlow) -> None:
    answer = flow.response
    if answer is None or answer.status_code != 200 or flow.request.path not in (TICKETS, CATALOG):
        return
    data = json.loads(answer.content or b"")
    if flow.request.path == TICKETS:
        if data.get("jwtAccessToken"):
            answer.headers["Authorization"] = f"Bearer {data['jwtAccessToken']}"
        del data["refreshToken"], data["customerAccount"]["notes"]
        if data["userId"]:
            data["customerAccount"]["isAnonymous"] = False
            data["tier"] = "gold"
    else:
        del data["internal"]
    answer.headers.pop("etag", None)
    answer.content = json.dumps(data).encode()
