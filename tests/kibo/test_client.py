"""A storefront logs in through the example rules: by plain calls, and with Kibo's own client where it is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import ROOT, Proxy, running

HERE = Path(__file__).parent
LOGIN = "/api/commerce/customer/authtickets"
SITE = {"x-vol-tenant": "1", "x-vol-site": "2"}
MODULE = HERE / "node_modules" / "@kibocommerce" / "rest-sdk"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running("--upstream", "sandbox:kibo", "--rules", ROOT / "rules" / "kibo") as proxy:
        yield proxy


def login(proxy: Proxy, name: str, password: str, query: str = "") -> Any:
    return proxy.call("POST", LOGIN + query, {"username": name, "password": password}, SITE)


def test_login_refresh_and_anonymous(proxy: Proxy) -> None:
    answer = login(proxy, "jane@example.com", "correct-horse-1")
    assert (answer.status, "refreshToken" in answer.json) == (200, False)
    found = re.match(r"vestibule_refresh=([^;]+); .*HttpOnly", answer.headers["Set-Cookie"])
    assert found is not None
    cookie = {**SITE, "Cookie": f"vestibule_refresh={found[1]}"}
    again = proxy.call("PUT", f"{LOGIN}/refresh", headers=cookie)
    assert (again.status, "refreshToken" in again.json) == (200, False)
    assert again.headers["Authorization"] == f"Bearer {again.json['jwtAccessToken']}"
    assert proxy.call("PUT", f"{LOGIN}/refresh", headers=cookie).status == 401
    assert proxy.call("GET", f"{LOGIN}/anonymousshopper", headers=SITE).json["customerAccount"]["isAnonymous"] is True


def test_a_client_that_limits_the_fields_gets_those_and_the_header(proxy: Proxy) -> None:
    answer = login(proxy, "jane@example.com", "correct-horse-1", "?responseFields=userId,customerAccount(id)")
    assert answer.headers["Authorization"].startswith("Bearer ")
    assert answer.json == {"userId": answer.json["userId"], "customerAccount": {"id": 1001}}


@pytest.mark.parametrize(
    ("name", "password", "status", "code"),
    [
        ("jane@example.com", "test-only-wrong", 401, "INVALID_CREDENTIALS"),
        ("locked@example.com", "correct-horse-3", 401, "ACCOUNT_LOCKED"),
        ("joe@mailinator.com", "test-only", 403, "DISPOSABLE_ADDRESS"),
    ],
)
def test_a_refused_login_says_why(proxy: Proxy, name: str, password: str, status: int, code: str) -> None:
    answer = login(proxy, name, password)
    assert (answer.status, answer.json["errorCode"]) == (status, code)
    assert "exceptionDetail" not in answer.json


def test_a_second_factor_is_told_to_a_program(proxy: Proxy) -> None:
    answer = login(proxy, "maria@example.com", "correct-horse-2")
    assert answer.status == 403
    assert answer.json["redirectUrl"].startswith("/account/second-factor?user=")


@pytest.mark.skipif(
    shutil.which("node") is None or not MODULE.is_dir(),
    reason="Kibo's own client needs node and `npm install` in tests/kibo (make clients does both steps)",
)
def test_kibos_own_client(proxy: Proxy) -> None:
    done = subprocess.run(
        ["node", str(HERE / "sdk.mjs"), proxy.address], capture_output=True, text=True, timeout=60, check=True
    )
    calls = {call["name"]: call for call in map(json.loads, done.stdout.splitlines())}
    for name in ("login", "refresh"):
        assert calls[name]["ok"]
        assert calls[name]["authorization"] == f"Bearer {calls[name]['value']['jwtAccessToken']}"
        assert "refreshToken" not in calls[name]["value"]
    assert calls["anonymous"]["value"]["customerAccount"]["isAnonymous"] is True
    assert set(calls["responseFields"]["value"]) == {"userId", "customerAccount"}
    refused = {name: (call["ok"], call["status"], call["message"]) for name, call in calls.items() if not call["ok"]}
    assert refused["wrong password"] == (False, 401, "The user name or the password is wrong.")
    assert refused["unknown refresh"] == (False, 401, "The refresh token was not found.")
    assert refused["denied"] == (False, 403, "Disposable addresses cannot sign in.")
    assert refused["second factor"][1] == 403
