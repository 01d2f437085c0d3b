"""What Kibo's context offers beyond the request and its answer, against the sandbox: accounts, and who calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import ROOT, Proxy, running

TICKETS = "/api/commerce/customer/authtickets"
RULES = """
version: 1
packs: [kibo]
configuration: {baseUrl: https://t1-s2.kibo.example}
rules:
  - name: tries
    match: {operation: createUserAuthTicket}
    before:
      - lookup:
          operation: getLoginStateByUserName
          query: {userName: "${request.body.username}"}
          headers: {Authorization: "${request.headers.authorization}", x-vol-site: "${context.siteId}"}
          into: login
      - when: login.status == 200
        response_headers: {set: {x-left: "${login.body.remainingLoginAttempts}"}}
  - name: account
    match: {operation: createUserAuthTicket, status: 200}
    after:
      - lookup:
          operation: getAccount
          params: {accountId: "${response.body.customerAccount.id}"}
          query: {responseFields: "segments(code)"}
          headers: {Authorization: "${request.headers.authorization}", x-vol-site: "${context.siteId}"}
          into: account
      - headers:
          set:
            x-segments: "${account.status} ${account.body.segments.map(segment, segment.code).join(' ')}"
            x-account: "${context.baseUrl}${url('getAccount', {'accountId': response.body.customerAccount.id})}"
            x-id: "${context.correlationId}"
  - name: who-calls
    match: {path: /who}
    before:
      - verify_token: {from: "${request.bearer}", keys: {jwks: /.well-known/jwks.json}, algorithms: [RS256], into: app}
      - respond: {json: {appKey: "${context.appKey}", admin: "${context.isAuthorizedAsAdmin}"}}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    rules = tmp_path_factory.mktemp("rules") / "context.yaml"
    rules.write_text(RULES, encoding="utf-8")
    with running("--upstream", "sandbox:kibo", "--rules", rules, "--rules", ROOT / "rules" / "kibo") as proxy:
        yield proxy


def application(proxy: Proxy) -> dict[str, str]:
    ticket = proxy.call("POST", "/api/platform/applications/authtickets/oauth", {}).json
    return {"x-vol-tenant": "1", "Authorization": f"Bearer {ticket['access_token']}"}


def login(proxy: Proxy, password: str, headers: dict[str, str]) -> Any:
    return proxy.call("POST", TICKETS, {"username": "vip@example.com", "password": password}, headers)


def test_the_account_of_a_ticket_and_its_login_state_are_looked_up_at_the_platform(proxy: Proxy) -> None:
    headers = {**application(proxy), "x-vol-site": "2", "x-vol-correlation": "0123456789abcdef"}
    wrong = login(proxy, "test-only-wrong", headers)
    assert (wrong.status, wrong.headers["x-left"]) == (401, "5")
    answer = login(proxy, "correct-horse-4", headers)
    assert (answer.status, answer.headers["x-left"]) == (200, "4")
    assert answer.headers["x-segments"] == "200 VIP EARLY"
    assert answer.headers["x-account"] == "https://t1-s2.kibo.example/api/commerce/customer/accounts/1004"
    assert answer.headers["x-id"] == "0123456789abcdef"


def test_a_site_has_rules_of_its_own(proxy: Proxy) -> None:
    with_token = {**application(proxy), "x-vol-site": "3"}
    assert login(proxy, "correct-horse-4", with_token).status == 200
    without = {name: value for name, value in with_token.items() if name != "Authorization"}
    answer = proxy.call("POST", f"{TICKETS}/otp/auth", {"email": "vip@example.com", "otpCode": "000000"}, without)
    assert (answer.status, answer.json["errorCode"]) == (401, "MISSING_TOKEN")


def test_the_key_of_an_application_is_what_its_verified_token_says(proxy: Proxy) -> None:
    headers = application(proxy)
    said = proxy.call("GET", "/who", headers=headers)
    assert said.json == {"appKey": "sandbox.storefront.1.0.0.Release", "admin": False}
    start, _, end = headers["Authorization"].rpartition(".")
    forged = proxy.call("GET", "/who", headers={"Authorization": f"{start}.{end[:-4]}AAAA"})
    assert (forged.status, forged.json["errorCode"]) == (401, "UNAUTHORIZED")
