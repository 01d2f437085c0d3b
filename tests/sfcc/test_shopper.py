"""Shoppers through the example rules: a browser, which never sees a token, and SLAS."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from tests.running import ROOT, Proxy, running

SHOP = "/s/RefArch/dw/shop/v23_2"
AUTH = f"{SHOP}/customers/auth"
SLAS = "/shopper/auth/v1/organizations/f_ecom_test_001/oauth2/token"
# Somebody else's.
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
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


def test_a_call_without_a_token_that_holds_does_not_reach_the_platform(proxy: Proxy) -> None:
    guest = proxy.call("POST", AUTH, {"type": "guest"})
    good = guest.headers["Authorization"]
    forged = jwt.encode(jwt.decode(good[7:], options={"verify_signature": False}), KEY, "RS256", {"kid": "sandbox-1"})
    paths = [f"{SHOP}/customers/{guest.json['customer_id']}", f"{SHOP}/baskets/b1", f"{SHOP}/sessions"]
    for path in paths:
        for token in ("", forged, f"{good[7:]}=", good[7:].rpartition(".")[0] + "."):
            answer = proxy.call("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            assert (answer.status, answer.json["fault"]["type"]) == (401, "AuthenticationFailedException")
            assert "x-sandbox" not in answer.headers
    assert proxy.call("GET", paths[0], headers={"Authorization": good}).status == 200


def test_a_token_near_its_end_is_exchanged_on_the_way_of_a_call(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "rules" / "sfcc", tmp_path / "sfcc")
    rule = tmp_path / "sfcc" / "token-refresh.yaml"
    text = rule.read_text("utf-8")
    assert "seconds_left: 300" in text
    # More than a token lives: every token is near its end.
    rule.write_text(text.replace("seconds_left: 300", "seconds_left: 3600"), "utf-8")
    with running("--upstream", "sandbox:sfcc", "--rules", tmp_path / "sfcc") as proxy:
        guest = proxy.call("POST", AUTH, {"type": "guest"})
        path = f"{SHOP}/customers/{guest.json['customer_id']}"
        first = {"Authorization": guest.headers["Authorization"]}
        answers = [proxy.call("GET", path, headers=first) for _ in range(2)]
        second = {"Authorization": answers[0].headers["Authorization"]}
        again = proxy.call("GET", path, headers=second)
    assert [answer.status for answer in (*answers, again)] == [200, 200, 200]
    # Whoever comes with the old token within a minute gets the same new one.
    assert answers[1].headers["Authorization"] == second["Authorization"] != first["Authorization"]
    assert again.json["customer_id"] == guest.json["customer_id"]


async def test_slas_needs_no_channel_of_the_client(proxy: Proxy) -> None:
    async with aiohttp.ClientSession(proxy.address, headers=basic("test-only-client", "sandbox")) as shopper:
        async with shopper.post(SLAS, data={"grant_type": "client_credentials"}) as answer:
            first = await answer.json()
            assert answer.status == 200
        form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        async with shopper.post(SLAS, data=form) as answer:
            assert (answer.status, (await answer.json())["usid"]) == (200, first["usid"])
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
