"""What the example rules keep between exchanges, on every store: failed logins, and the one token of a session."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.running import ROOT, Proxy, running
from tests.services.store import valkey

SHOP = "/s/RefArch/dw/shop/v23_2"
AUTH = f"{SHOP}/customers/auth"
SLAS = "/shopper/auth/v1/organizations/f_ecom_test_001/oauth2/token"
MANY = 200


@pytest.fixture(params=["memory", "sqlite", "valkey"], scope="module")
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Give a proxy with a store; where the store can be shared, its two workers share it."""
    folder: Path = tmp_path_factory.mktemp("store")
    with ExitStack() as stack:
        store, workers = "memory", "1"
        if request.param == "sqlite":
            store, workers = f"sqlite:{folder / 'store.db'}", "2"
        elif request.param == "valkey":
            store, workers = stack.enter_context(valkey.serving(folder)).url, "2"
        options = ("--upstream", "sandbox:sfcc", "--rules", ROOT / "rules" / "sfcc")
        yield stack.enter_context(running(*options, "--store", store, "--workers", workers))


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


async def log_in(client: aiohttp.ClientSession, name: str, password: str) -> tuple[int, str | None]:
    async with client.post(AUTH, json={"type": "credentials"}, headers=basic(name, password)) as answer:
        await answer.read()
        return answer.status, answer.headers.get("Retry-After")


async def test_five_wrong_passwords_close_the_door_for_a_name_on_every_worker(proxy: Proxy) -> None:
    # Every call has a connection of its own, so that any worker may get it.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(proxy.address, connector=connector) as client:
        for _ in range(5):
            assert (await log_in(client, "nobody@example.com", "test-only-wrong"))[0] == 401
        for name in ("nobody@example.com", "NOBODY@example.com "):
            for _ in range(4):
                status, retry = await log_in(client, name, "test-only-wrong")
                assert status == 429
                assert retry is not None
                assert 0 < int(retry) <= 900
        assert (await log_in(client, "jane@example.com", "correct-horse-1"))[0] == 200


async def test_guesses_at_once_are_counted_before_they_are_made(proxy: Proxy) -> None:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(proxy.address, connector=connector) as client:
        answers = await asyncio.gather(*(log_in(client, "noone@example.com", "test-only-wrong") for _ in range(40)))
    statuses = [status for status, _ in answers]
    assert statuses.count(401) == 5
    assert statuses.count(429) == 35


async def test_two_hundred_calls_of_one_session_have_one_token(proxy: Proxy) -> None:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(proxy.address, connector=connector, cookie_jar=jar) as client:
        async with client.post(AUTH, json={"type": "guest"}) as guest:
            token, customer = guest.headers["Authorization"], (await guest.json())["customer_id"]
        async with client.post(f"{SHOP}/sessions", headers={"Authorization": token}) as session:
            cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in session.cookies.items())

        async def ask(cookie: str) -> tuple[int, str | None, str | None]:
            async with client.post(AUTH, json={"type": "session"}, headers={"Cookie": cookie}) as answer:
                body = await answer.json()
                return answer.status, answer.headers.get("Authorization"), body.get("customer_id")

        found = set(await asyncio.gather(*(ask(cookie) for _ in range(MANY))))
        # The sandbox makes out another token at each call.
        assert len(found) == 1
        status, shared, owner = found.pop()
        assert (status, owner) == (200, customer)
        assert await ask(cookie) == (status, shared, owner)
        stolen = cookie.partition(";")[0]
        assert stolen.startswith("dwsid=")
        assert (await ask(stolen))[0] == 401


async def test_refreshes_of_slas_at_once_have_one_answer(proxy: Proxy) -> None:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    known = basic("test-only-client", "sandbox")
    async with aiohttp.ClientSession(proxy.address, connector=connector, headers=known) as client:

        async def token(form: dict[str, str]) -> tuple[int, str | None]:
            async with client.post(SLAS, data=form) as answer:
                return answer.status, (await answer.json()).get("refresh_token")

        _, first = await token({"grant_type": "client_credentials"})
        assert first is not None
        form = {"grant_type": "refresh_token", "refresh_token": first}
        found = set(await asyncio.gather(*(token(form) for _ in range(40))))
        # The sandbox takes a refresh token once, and refuses it after that.
        assert len(found) == 1
        status, second = found.pop()
        assert (status, second is not None and second != first) == (200, True)
