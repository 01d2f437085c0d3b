"""The obvious version in Python: `aiohttp.web.Application` with two handlers and one `ClientSession`.

It has no limits and no checks; every body that it edits goes through `json.loads` and `json.dumps`. Run as a program:
port of the upstream, own port, file of the access log, and `uvloop` to run on that.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)
_OWN = {"host", "content-length", "connection", "transfer-encoding"}


def _kept(headers: Any, *more: str) -> dict[str, str]:
    dropped = _OWN.union(more)
    return {name: value for name, value in headers.items() if name.lower() not in dropped}


async def login(request: web.Request) -> web.Response:
    sent = json.loads(await request.read())
    if sent["username"].split("@")[1] in ("mailinator.com", "trash.example"):
        return web.json_response({"message": "Disposable addresses cannot sign in."}, status=403)
    if sent["username"] == "blocked@example.com":
        return web.json_response({"message": "This account cannot sign in."}, status=403)
    headers = _kept(request.headers)
    headers["x-vol-site"] = "21074"
    url = request.app[UPSTREAM] + request.path_qs
    async with request.app[SESSION].request(request.method, url, headers=headers, json=sent) as answer:
        ticket = json.loads(await answer.read())
        kept = _kept(answer.headers, "etag")
    del ticket["refreshToken"], ticket["customerAccount"]["notes"]
    ticket["customerAccount"]["isAnonymous"] = False
    ticket["tier"] = "gold"
    kept["Authorization"] = f"Bearer {ticket['jwtAccessToken']}"
    return web.Response(body=json.dumps(ticket).encode(), status=answer.status, headers=kept)


async def catalog(request: web.Request) -> web.Response:
    url = request.app[UPSTREAM] + request.path_qs
    async with request.app[SESSION].get(url, headers=_kept(request.headers)) as answer:
        items = json.loads(await answer.read())
        kept = _kept(answer.headers, "etag")
    del items["internal"]
    return web.Response(body=json.dumps(items).encode(), status=answer.status, headers=kept)


async def forward(request: web.Request) -> web.Response:
    headers = _kept(request.headers)
    if request.content_length is not None:
        headers["Content-Length"] = str(request.content_length)
    url = request.app[UPSTREAM] + request.path_qs
    async with request.app[SESSION].request(request.method, url, headers=headers, data=request.content) as answer:
        return web.Response(body=await answer.read(), status=answer.status, headers=_kept(answer.headers))


async def _open_session(application: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as application[SESSION]:
        yield


def main() -> None:
    upstream, port, log, *more = sys.argv[1:]
    logging.basicConfig(filename=log, level=logging.INFO)
    if more == ["uvloop"]:
        import uvloop

        uvloop.install()
    application = web.Application()
    application[UPSTREAM] = f"http://127.0.0.1:{upstream}"
    application.cleanup_ctx.append(_open_session)
    application.router.add_post("/api/commerce/customer/authtickets", login)
    application.router.add_get("/api/commerce/catalog", catalog)
    application.router.add_route("*", "/{path:.*}", forward)
    web.run_app(application, host="127.0.0.1", port=int(port), print=None)


if __name__ == "__main__":
    main()
