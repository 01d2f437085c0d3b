"""A browser's client through the OAuth example rules: it keeps cookies, and never holds a refresh token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.running import ROOT, Proxy, running

JANE = {"grant_type": "password", "username": "jane@example.com", "password": "correct-horse-1"}
MARIA = {"grant_type": "password", "username": "maria@example.com", "password": "correct-horse-2"}
CLIENT = {"client_id": "shop", "client_secret": "sandbox"}
LASTING = {"scope": "openid email offline_access"}


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running("--upstream", "sandbox:oauth", "--rules", ROOT / "rules" / "oauth") as proxy:
        yield proxy


@pytest.fixture
async def browser(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    # Browsers send Secure cookies to the loopback address over http as well.
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[URL(proxy.address)])
    async with aiohttp.ClientSession(proxy.address, cookie_jar=jar) as session:
        yield session


async def post(browser: aiohttp.ClientSession, path: str, **form: str) -> tuple[int, Any]:
    async with browser.post(path, data={**CLIENT, **form}) as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else None


async def test_a_session_is_refreshed_again_and_again_by_its_cookie(browser: aiohttp.ClientSession) -> None:
    status, tokens = await post(browser, "/oauth/token", **JANE, **LASTING)
    assert (status, "refresh_token" in tokens) == (200, False)
    seen = {cookie.value for cookie in browser.cookie_jar}
    for _ in range(3):
        status, tokens = await post(browser, "/oauth/token", grant_type="refresh_token")
        assert (status, "refresh_token" in tokens) == (200, False)
        seen |= {cookie.value for cookie in browser.cookie_jar}
    assert len(seen) == 4
    async with browser.get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"}) as answer:
        assert (await answer.json())["email"] == "jane@example.com"


async def test_a_cookie_that_was_used_elsewhere_is_forgotten(proxy: Proxy, browser: aiohttp.ClientSession) -> None:
    await post(browser, "/oauth/token", **JANE, **LASTING)
    (token,) = [cookie.value for cookie in browser.cookie_jar]
    async with aiohttp.ClientSession(proxy.upstream) as thief:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        assert (await post(thief, "/oauth/token", **form))[0] == 200
    status, error = await post(browser, "/oauth/token", grant_type="refresh_token")
    assert (status, error["error"]) == (400, "invalid_grant")
    assert not list(browser.cookie_jar)


async def test_a_log_out_ends_the_token_of_the_cookie(proxy: Proxy, browser: aiohttp.ClientSession) -> None:
    await post(browser, "/oauth/token", **JANE, **LASTING)
    (token,) = [cookie.value for cookie in browser.cookie_jar]
    assert (await post(browser, "/oauth/revoke"))[0] == 200
    assert not list(browser.cookie_jar)
    async with aiohttp.ClientSession(proxy.upstream) as session:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        assert (await post(session, "/oauth/token", **form))[0] == 400


async def test_a_login_with_a_second_factor_gets_its_cookie_with_the_code(
    proxy: Proxy, browser: aiohttp.ClientSession
) -> None:
    status, told = await post(browser, "/oauth/token", **MARIA, **LASTING)
    assert (status, told["error"]) == (403, "mfa_required")
    assert not list(browser.cookie_jar)
    async with aiohttp.ClientSession(proxy.upstream) as session, session.get("/sandbox/codes") as answer:
        code = (await answer.json())["maria@example.com"]
    otp = "http://auth0.com/oauth/grant-type/mfa-otp"
    status, tokens = await post(browser, "/oauth/token", grant_type=otp, mfa_token=told["mfa_token"], otp=code)
    assert (status, "refresh_token" in tokens) == (200, False)
    assert [cookie.key for cookie in browser.cookie_jar] == ["vestibule_refresh_token"]


async def test_another_client_may_not_send_passwords(browser: aiohttp.ClientSession) -> None:
    status, error = await post(browser, "/oauth/token", **{**JANE, "client_id": "other"})
    assert (status, error["error"]) == (400, "unauthorized_client")


async def test_the_addresses_of_discovery_lead_through_the_proxy(proxy: Proxy, browser: aiohttp.ClientSession) -> None:
    async with browser.get("/.well-known/openid-configuration") as answer:
        found = await answer.json()
    assert (found["issuer"], found["token_endpoint"]) == (proxy.address, f"{proxy.address}/oauth/token")


async def test_codes_and_links_of_the_sandbox_are_not_told_through_the_proxy(browser: aiohttp.ClientSession) -> None:
    for path in ("/sandbox/codes", "/sandbox/tickets"):
        async with browser.get(path) as answer:
            assert answer.status == 404


def test_nothing_secret_is_in_the_log() -> None:
    with running("--upstream", "sandbox:oauth", "--rules", ROOT / "rules" / "oauth") as proxy:
        login = proxy.call("POST", "/oauth/token", {**JANE, **CLIENT, **LASTING})
        cookie = login.headers["Set-Cookie"].partition(";")[0]
        query = "/authorize?client_id=shop&redirect_uri=https://shop.example/&response_type=code&code=test-only-code"
        page = proxy.call("GET", query, headers={"Cookie": cookie})
        bearer = {"Authorization": f"Bearer {login.json['access_token']}"}
        user = proxy.call("GET", "/userinfo", headers=bearer)
        for _ in range(3):
            proxy.event("exchange", status=200)
        proxy.stop()
        log = proxy.rest()
    assert (login.status, page.status, user.status) == (200, 200, 200)
    secrets = ["correct-horse-1", "test-only", cookie.partition("=")[2], "eyJ", 'sandbox"']
    assert [secret for secret in secrets if secret in log] == []
