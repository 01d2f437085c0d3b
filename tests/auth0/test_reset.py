"""A password reset through the Auth0 example rules: what stands in its way, and where it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.running import ROOT, Proxy, running

AUTH0 = ("--upstream", "sandbox:oauth", "--secrets", ROOT / "tests" / "secrets")
NEW = "test-only-new"
NAVIGATES = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running(*AUTH0, "--rules", ROOT / "rules" / "auth0") as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(proxy.address, cookie_jar=jar) as session:
        yield session


async def link(proxy: Proxy, client: aiohttp.ClientSession, email: str) -> str:
    """Ask for a new password, and give the link of the e-mail."""
    asked = {"client_id": "shop", "connection": "customers", "email": email}
    async with client.post("/dbconnections/change_password", json=asked) as answer:
        assert answer.status == 200
    async with aiohttp.ClientSession(proxy.upstream) as session, session.get("/sandbox/tickets") as answer:
        return str((await answer.json())[email])


async def follow(client: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, Any]:
    async with client.get(URL(path, encoded=True), headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.json()


async def log_in(client: aiohttp.ClientSession, email: str, password: str) -> tuple[int, Any]:
    form = {"grant_type": "password", "client_id": "shop", "client_secret": "sandbox"}
    async with client.post("/oauth/token", data={**form, "username": email, "password": password}) as answer:
        return answer.status, await answer.json()


async def test_a_browser_that_sets_its_password_is_sent_back_to_the_shop(
    proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    _, found = await follow(client, await link(proxy, client, "jane@example.com"))
    form = {"reset_token": found["reset_token"], "new_password": NEW}
    async with client.post("/u/reset-password", data=form, headers=NAVIGATES, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/account/login?reset=done")
    assert (await log_in(client, "jane@example.com", NEW))[0] == 200


async def test_a_password_is_set_once_an_hour_unless_its_owner_came_in(
    proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    _, found = await follow(client, await link(proxy, client, "jane@example.com"))
    async with client.post(
        "/u/reset-password", json={"reset_token": found["reset_token"], "new_password": NEW}
    ) as answer:
        assert answer.status == 200
    status, error = await follow(client, await link(proxy, client, "jane@example.com"))
    assert (status, error["error"], "reset_token" in error) == (403, "access_denied", False)
    _, tokens = await log_in(client, "jane@example.com", NEW)
    async with client.get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"}) as answer:
        assert answer.status == 200
    assert (await follow(client, await link(proxy, client, "jane@example.com")))[0] == 200


async def test_a_program_gets_the_answer_and_the_address(proxy: Proxy, client: aiohttp.ClientSession) -> None:
    _, found = await follow(client, await link(proxy, client, "jane@example.com"))
    form = {"reset_token": found["reset_token"], "new_password": "short"}
    async with client.post("/u/reset-password", json=form) as answer:
        assert (answer.status, "Vestibule-Result-Url" in answer.headers) == (400, False)
    async with client.post("/u/reset-password", json={**form, "new_password": NEW}) as answer:
        assert (answer.status, (await answer.json())["result"]) == (200, "password_changed")
        assert answer.headers["Vestibule-Result-Url"] == "/account/login?reset=done"


async def test_for_an_account_that_somebody_else_manages_no_mail_is_sent(
    proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    asked = {"client_id": "shop", "connection": "customers", "email": "clerk@staff.example"}
    async with client.post("/dbconnections/change_password", json=asked) as answer:
        told = (answer.status, answer.content_type, await answer.text())
    async with client.post("/dbconnections/change_password", json={**asked, "email": "jane@example.com"}) as answer:
        assert (answer.status, answer.content_type, await answer.text()) == told
        assert "x-sandbox" in answer.headers
