"""Shoppers through the example rules: a browser, which never sees a token, and SLAS."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.running import ROOT, Proxy, running

SHOP = "/s/RefArch/dw/shop/v23_2"
AUTH = f"{SHOP}/customers/auth"
SLAS = "/shopper/auth/v1/organizations/f_ecom_test_001/oauth2/token"
BROWSER = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running("--upstream", "sandbox:sfcc", "--rules", ROOT / "rules" / "sfcc") as proxy:
        yield proxy


@pytest.fixture
async def browser(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    # Browsers send Secure cookies to the loopback address over http as well.
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[URL(proxy.address)])
    async with aiohttp.ClientSession(proxy.address, cookie_jar=jar, headers=BROWSER) as session:
        yield session


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


async def call(
    browser: aiohttp.ClientSession, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    async with browser.request(method, path, json=body, headers=headers) as answer:
        data = await answer.read()
        return answer.status, json.loads(data) if data else None, answer.headers


async def test_a_browser_is_logged_in_by_a_cookie_and_never_sees_the_token(browser: aiohttp.ClientSession) -> None:
    status, jane, headers = await call(
        browser, "POST", AUTH, {"type": "credentials"}, basic("jane@example.com", "correct-horse-1")
    )
    assert (status, "Authorization" in headers) == (200, False)
    path = f"{SHOP}/customers/{jane['customer_id']}"
    for _ in range(2):
        status, customer, headers = await call(browser, "GET", path)
        assert (status, customer["login"], "Authorization" in headers) == (200, "jane@example.com", False)
        status, again, headers = await call(browser, "POST", AUTH, {"type": "refresh"})
        assert (status, again["customer_id"], "Authorization" in headers) == (200, jane["customer_id"], False)
    assert (await call(browser, "DELETE", AUTH))[0] == 204
    assert not list(browser.cookie_jar)
    assert (await call(browser, "GET", path))[0] == 401


async def test_a_guest_becomes_a_customer_in_one_browser(browser: aiohttp.ClientSession) -> None:
    _, guest, _ = await call(browser, "POST", AUTH, {"type": "guest"})
    _, vip, _ = await call(browser, "POST", AUTH, {"type": "credentials"}, basic("vip@example.com", "correct-horse-4"))
    assert (guest["auth_type"], vip["auth_type"]) == ("guest", "registered")
    assert not {"note", "c_segments"} & set(vip)
    assert (await call(browser, "GET", f"{SHOP}/customers/{vip['customer_id']}"))[0] == 200
    assert (await call(browser, "GET", f"{SHOP}/customers/{guest['customer_id']}"))[0] == 404


async def test_a_cookie_that_holds_no_longer_is_forgotten(proxy: Proxy, browser: aiohttp.ClientSession) -> None:
    _, guest, _ = await call(browser, "POST", AUTH, {"type": "guest"})
    stolen = {cookie.key: cookie.value for cookie in browser.cookie_jar}
    assert (await call(browser, "DELETE", AUTH))[0] == 204
    browser.cookie_jar.update_cookies(stolen, URL(proxy.address).with_path("/s/RefArch/dw/shop/"))
    path = f"{SHOP}/customers/{guest['customer_id']}"
    status, fault, _ = await call(browser, "GET", path)
    assert (status, fault["fault"]["type"]) == (401, "InvalidAccessTokenException")
    assert not list(browser.cookie_jar)


def test_the_cookies_of_a_session_are_kept_from_scripts_and_other_sites(proxy: Proxy) -> None:
    guest = proxy.call("POST", AUTH, {"type": "guest"}, {"x-dw-client-id": "test-only-client"})
    session = proxy.call("POST", f"{SHOP}/sessions", headers={"Authorization": guest.headers["Authorization"]})
    assert session.status == 204
    assert session.cookies
    for line in session.cookies:
        assert all(word in line for word in ("HttpOnly", "Secure", "SameSite=Lax"))


@pytest.mark.parametrize(
    ("name", "password"),
    [("jane@example.com", "test-only-wrong"), ("nobody@example.com", "x"), ("locked@example.com", "correct-horse-3")],
)
def test_a_login_that_fails_does_not_tell_why(proxy: Proxy, name: str, password: str) -> None:
    answer = proxy.call("POST", AUTH, {"type": "credentials"}, basic(name, password))
    fault = {"type": "AuthenticationFailedException", "message": "The login failed.", "arguments": {}}
    assert (answer.status, answer.json["fault"]) == (401, fault)


async def test_slas_needs_no_channel_of_the_client(proxy: Proxy) -> None:
    async with aiohttp.ClientSession(proxy.address, headers=basic("test-only-client", "sandbox")) as shopper:
        async with shopper.post(SLAS, data={"grant_type": "client_credentials"}) as answer:
            first = await answer.json()
            assert answer.status == 200
        form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        async with shopper.post(SLAS, data=form) as answer:
            assert (answer.status, (await answer.json())["usid"]) == (200, first["usid"])
        async with shopper.post(SLAS, data=form) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_grant")
        async with shopper.post(SLAS, data={"grant_type": "password"}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "unsupported_grant_type")


def test_nothing_secret_is_in_the_log() -> None:
    with running("--upstream", "sandbox:sfcc", "--rules", ROOT / "rules" / "sfcc") as proxy:
        login = basic("jane@example.com", "correct-horse-1")
        answer = proxy.call("POST", AUTH, {"type": "credentials"}, login)
        token = {"Authorization": answer.headers["Authorization"]}
        session = proxy.call("POST", f"{SHOP}/sessions", headers=token)
        cookies = {"Cookie": "; ".join(line.partition(";")[0] for line in session.cookies)}
        again = proxy.call("POST", f"{AUTH}?token=test-only-in-the-query", {"type": "session"}, cookies)
        refused = proxy.call("GET", f"{SHOP}/customers/x", headers={"Authorization": "Bearer test-only-bearer"})
        proxy.event("exchange", status=401)
        proxy.stop()
        log = proxy.rest()
    assert [answer.status, session.status, again.status, refused.status] == [200, 204, 200, 401]
    values = [line.partition(";")[0].partition("=")[2] for line in session.cookies]
    secrets = ["correct-horse-1", login["Authorization"][6:], "test-only", "eyJ", *values]
    assert [secret for secret in secrets if secret in log] == []
