"""A shopper's browser through the example rules: it keeps cookies, and never sees a token too many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.running import ROOT, Proxy, running
from tests.storing import storing

TICKETS = "/api/commerce/customer/authtickets"
SITE = {"x-vol-tenant": "1", "x-vol-site": "2"}


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with (
        storing(request.param, tmp_path_factory.mktemp("store")) as flags,
        running("--upstream", "sandbox:kibo", "--rules", ROOT / "rules" / "kibo", *flags) as proxy,
    ):
        yield proxy


@pytest.fixture
async def browser(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    # Browsers send Secure cookies to the loopback address over http as well.
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[URL(proxy.address)])
    async with aiohttp.ClientSession(proxy.address, cookie_jar=jar, headers=SITE) as session:
        yield session


async def call(browser: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
    async with browser.request(method, TICKETS + path, json=body) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def code(proxy: Proxy, email: str) -> str:
    async with aiohttp.ClientSession(proxy.upstream) as session, session.get("/sandbox/codes") as answer:
        return str((await answer.json())[email])


def assert_kept_behind(proxy: Proxy, ticket: Any, headers: Any) -> None:
    assert "refreshToken" not in ticket
    assert headers["Authorization"] == f"Bearer {ticket['jwtAccessToken']}"
    assert not ticket["customerAccount"]["notes"]


async def test_a_session_is_refreshed_again_and_again_by_its_cookie(
    proxy: Proxy, browser: aiohttp.ClientSession
) -> None:
    body = {"username": "vip@example.com", "password": "correct-horse-4"}
    status, ticket, headers = await call(browser, "POST", "", body)
    assert status == 200
    assert_kept_behind(proxy, ticket, headers)
    seen = {ticket["accessToken"]}
    for _ in range(3):
        status, ticket, headers = await call(browser, "PUT", "/refresh")
        assert status == 200
        assert_kept_behind(proxy, ticket, headers)
        seen.add(ticket["accessToken"])
    assert len(seen) == 4


async def test_a_cookie_that_is_not_known_any_more_is_forgotten(proxy: Proxy, browser: aiohttp.ClientSession) -> None:
    await call(browser, "POST", "", {"username": "jane@example.com", "password": "correct-horse-1"})
    stolen = {cookie.key: cookie.value for cookie in browser.cookie_jar}
    assert (await call(browser, "PUT", "/refresh"))[0] == 200
    browser.cookie_jar.update_cookies(stolen, URL(proxy.address).with_path(TICKETS + "/"))
    assert [cookie["path"] for cookie in browser.cookie_jar] == [TICKETS]
    status, error, _ = await call(browser, "PUT", "/refresh")
    assert (status, error["errorCode"]) == (401, "ITEM_NOT_FOUND")
    assert "exceptionDetail" not in error
    assert not list(browser.cookie_jar)


async def test_a_login_with_a_second_factor_ends_as_any_other(proxy: Proxy, browser: aiohttp.ClientSession) -> None:
    status, told, _ = await call(browser, "POST", "", {"username": "maria@example.com", "password": "correct-horse-2"})
    assert status == 403
    user = URL(told["redirectUrl"]).query["user"]
    proof = {"userId": user, "otpCode": await code(proxy, "maria@example.com")}
    status, ticket, headers = await call(browser, "POST", "/2fa/auth", proof)
    assert (status, ticket["userId"]) == (200, user)
    assert_kept_behind(proxy, ticket, headers)
    assert (await call(browser, "PUT", "/refresh"))[0] == 200


async def test_a_login_by_a_one_time_code_ends_as_any_other(proxy: Proxy, browser: aiohttp.ClientSession) -> None:
    assert (await call(browser, "POST", "/otp/request", {"email": "jane@example.com"}))[0] == 204
    proof = {"email": "jane@example.com", "otpCode": await code(proxy, "jane@example.com")}
    status, ticket, headers = await call(browser, "POST", "/otp/auth", proof)
    assert status == 200
    assert_kept_behind(proxy, ticket, headers)


async def test_the_codes_of_the_sandbox_are_not_told_through_the_proxy(browser: aiohttp.ClientSession) -> None:
    async with browser.get("/sandbox/codes") as answer:
        assert answer.status == 404


async def test_a_browser_that_navigates_is_sent_to_the_second_factor(browser: aiohttp.ClientSession) -> None:
    async with browser.post(
        TICKETS,
        json={"username": "maria@example.com", "password": "correct-horse-2"},
        headers={"Accept": "text/html"},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/account/second-factor?user=")
        assert await answer.read() == b""


async def test_without_a_site_nothing_is_asked(proxy: Proxy) -> None:
    async with aiohttp.ClientSession(proxy.address) as session, session.get(f"{TICKETS}/anonymousshopper") as answer:
        assert (answer.status, (await answer.json())["errorCode"]) == (400, "MISSING_SITE")


def test_nothing_secret_is_in_the_log() -> None:
    with running("--upstream", "sandbox:kibo", "--rules", ROOT / "rules" / "kibo") as proxy:
        login = {"username": "jane@example.com", "password": "correct-horse-1"}
        answer = proxy.call("POST", TICKETS, login, {**SITE, "Authorization": "Bearer test-only-application"})
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        again = proxy.call("PUT", f"{TICKETS}/refresh?refreshToken=test-only-in-the-query", headers={"Cookie": cookie})
        proxy.event("exchange", status=200)
        proxy.event("exchange", status=401)
        proxy.stop()
        log = proxy.rest()
    assert (answer.status, again.status) == (200, 401)
    secrets = ["correct-horse-1", "test-only", cookie.partition("=")[2], answer.json["accessToken"], "eyJ"]
    assert [secret for secret in secrets if secret in log] == []
