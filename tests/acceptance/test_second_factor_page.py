"""A login is withheld while the browser is at a page elsewhere that asks for the second factor."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import redis
import trustme

from tests.running import Answer, Proxy, running
from tests.storing import each_store, storing

from .clients import Browser, ask, at_once, connected, stop, without_id, workers
from .services import Call, Reply, Service, service

LOGIN = "/api/commerce/customer/authtickets"
KEY = "test-only-key-of-the-page-and-the-proxy"
ENV = {"VESTIBULE_SECRET_MFA_HMAC": KEY, "VESTIBULE_SECRET_STORE_KEY": "test-only-store-key"}
MARIA = {"username": "maria@example.com", "password": "test-only-password-of-maria"}
TICKET: dict[str, Any] = {
    "requires2FA": True,
    "userId": "u-maria",
    "jwtAccessToken": "test-only-jwt-access-token",
    "refreshToken": "test-only-refresh-token",
}
SECRETS = [KEY, MARIA["password"], TICKET["jwtAccessToken"], TICKET["refreshToken"], "test-only-upstream-cookie"]

RULES = """
version: 1
packs: [kibo]
rules:
  - name: second-factor
    match: {{operation: createUserAuthTicket, status: 200}}
    after:
      - when: has(response.body.requires2FA) && response.body.requires2FA == true
        redirect:
          to: {page}/mfa
          token: {{secret: "${{secret:mfa_hmac}}", subject: "${{response.body.userId}}"}}
    continue:
      - verify_redirect_token: {{secret: "${{secret:mfa_hmac}}", into: mfa}}
      - when: mfa.claims.outcome != 'passed'
        deny: {{reason: The second factor failed.}}
  - name: ticket-to-bearer
    match: {{operation: createUserAuthTicket, status: 200}}
    after:
      - headers: {{set: {{Authorization: "Bearer ${{response.body.jwtAccessToken}}"}}}}
"""
# Where the platform gives no ticket before it has seen the code, the page sends the code along.
WITHOUT_TICKET = RULES.replace(
    """
      - when: mfa.claims.outcome != 'passed'
        deny: {{reason: The second factor failed.}}
""",
    """
      - lookup:
          operation: validate2FA
          headers: {{x-vol-tenant: "1", x-vol-site: "2"}}
          json: {{userId: "${{response.body.userId}}", otpCode: "${{mfa.claims.code}}"}}
          into: proved
      - when: proved.status != 200
        deny: {{status: 401, reason: The code is wrong., code: WRONG_CODE}}
      - body: {{patch: [{{op: replace, path: "", value: "${{proved.body}}"}}]}}
""",
)


def give_ticket(_: Call) -> Reply:
    return Reply(200, TICKET, {"Set-Cookie": "session=test-only-upstream-cookie; Path=/"})


class Page:
    """The page elsewhere: it trusts the token that the browser brings, and sends it back with one of its own."""

    def __init__(self) -> None:
        self.shop = ""
        self.says: dict[str, str] = {}

    def __call__(self, call: Call) -> Reply:
        claims = jwt.decode(call.query["session_token"], KEY, algorithms=["HS256"], options={"require": ["exp", "jti"]})
        now = int(time.time())
        mine = {
            "iss": claims["iss"],
            "sub": claims["sub"],
            "iat": now,
            "exp": now + 60,
            "state": call.query["state"],
            **self.says,
        }
        back = urlencode({"state": call.query["state"], "session_token": jwt.encode(mine, KEY, "HS256")})
        return Reply(303, None, {"Location": f"{self.shop}/.vestibule/continue?{back}"})


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The page, served over TLS, and how a browser visits it."""

    page: Page
    server: Service
    trust: ssl.SSLContext

    def visit(self, address: str, **says: str) -> str:
        """Navigate to the page and prove the factor there; gives the path that it sends the browser back to."""
        self.page.says = says or {"outcome": "passed"}
        parts = urlsplit(address)
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=self.trust, timeout=20)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            response = connection.getresponse()
            assert response.status == 303
            return response.headers["Location"].removeprefix(self.page.shop)
        finally:
            connection.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    page = Page()
    with service(page, tls) as server:
        yield Elsewhere(page, server, trust)


@contextmanager
def shop(
    upstream: str, elsewhere: Elsewhere, folder: Path, flags: tuple[str, ...], text: str = RULES
) -> Iterator[Proxy]:
    rules = folder / "rules.yaml"
    rules.write_text(text.format(page=elsewhere.server.url))
    with running("--upstream", upstream, "--rules", rules, *flags, env=ENV) as proxy:
        elsewhere.page.shop = proxy.address
        yield proxy


@pytest.fixture
def upstream() -> Iterator[Service]:
    with service(give_ticket) as server:
        yield server


def leave(browser: Browser, proxy: Proxy, worker: int, password: str = MARIA["password"]) -> str:
    """Log in by a script of the storefront, which is told where the browser must go."""
    answer = browser.ask(proxy, worker, "POST", LOGIN, {**MARIA, "password": password}, navigates=False)
    assert answer.status == 403
    assert (answer.json["errorCode"], "jwtAccessToken" in answer.json) == ("redirect_required", False)
    assert [line.partition("=")[0] for line in answer.cookies] == ["vestibule"]
    return str(answer.json["redirectUrl"])


def has_ticket(answer: Answer) -> bool:
    return (answer.status, answer.json, answer.headers.get("Authorization")) == (
        200,
        TICKET,
        f"Bearer {TICKET['jwtAccessToken']}",
    )


def stored(kind: str, folder: Path, flags: tuple[str, ...]) -> bytes:
    """Give all bytes that a store holds."""
    if kind == "memory":
        return b""
    if kind == "sqlite":
        return b"".join(path.read_bytes() for path in sorted(folder.glob("store.db*")))
    found = []
    with redis.Redis.from_url(flags[-1]) as client:
        for key in client.scan_iter():
            value: Any = client.get(key) if client.type(key) == b"string" else client.zrange(key, 0, -1)
            found.append(key + (value if isinstance(value, bytes) else b"".join(value)))
    return b"".join(found)


@each_store
def test_a_login_is_withheld_until_the_browser_is_back_on_another_worker_and_given_once(
    kind: str, tmp_path: Path, elsewhere: Elsewhere, upstream: Service
) -> None:
    with storing(kind, tmp_path) as flags, shop(upstream.url, elsewhere, tmp_path, flags) as proxy:
        first, *_, other = [*workers(proxy, kind)] * 2
        browser = Browser()
        away = leave(browser, proxy, first)
        state = parse_qs(urlsplit(away).query)["state"][0]
        held = stored(kind, tmp_path, flags)
        assert held or kind == "memory"
        back = elsewhere.visit(away)

        refused = [Browser().ask(proxy, first, "GET", back)]
        refused.append(browser.ask(proxy, other, "GET", back.replace("session_token=e", "session_token=x")))
        answer = browser.ask(proxy, other, "GET", back)
        assert has_ticket(answer)
        assert any("test-only-upstream-cookie" in line for line in answer.cookies)
        assert proxy.event("exchange", path="/.vestibule/continue", status=200)["pid"] == other
        refused.append(browser.ask(proxy, first, "GET", back))
        refused.append(browser.ask(proxy, other, "GET", back))
        refused.append(browser.ask(proxy, other, "GET", "/.vestibule/continue?state=garbled"))
        assert [answer.status for answer in refused] == [401] * 5

        back = elsewhere.visit(leave(browser, proxy, other))
        with connected(proxy, first, 50) as some, connected(proxy, other, 50) as more:
            alternating = [one for pair in zip(some, more, strict=True) for one in pair]
            answers = at_once(alternating, "GET", back, headers=browser.headers())
        assert sum(has_ticket(answer) for answer in answers) == 1
        refused += [answer for answer in answers if answer.status == 401]
        assert len(refused) == 5 + 99
        assert len({str(without_id(answer)) for answer in refused}) == 1

        assert len(upstream.calls) == 2
        kept = held + stored(kind, tmp_path, flags) + b"".join(answer.body for answer in refused)
        said = stop(proxy) + str([answer.headers for answer in refused])
        for secret in (*SECRETS, state, *parse_qs(urlsplit(back).query)["session_token"], *browser.cookies.values()):
            assert secret not in said
            assert secret.encode() not in kept


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_restart_while_the_browser_is_away_loses_nothing(
    kind: str, tmp_path: Path, elsewhere: Elsewhere, upstream: Service
) -> None:
    browser = Browser()
    with storing(kind, tmp_path) as flags:
        with shop(upstream.url, elsewhere, tmp_path, flags) as proxy:
            away = leave(browser, proxy, workers(proxy, kind)[0])
            stop(proxy)
        with shop(upstream.url, elsewhere, tmp_path, flags) as proxy:
            back = elsewhere.visit(away)
            assert has_ticket(browser.ask(proxy, workers(proxy, kind)[-1], "GET", back))
            assert browser.ask(proxy, workers(proxy, kind)[0], "GET", back).status == 401
            stop(proxy)
    assert len(upstream.calls) == 1


def test_the_ticket_of_an_account_with_a_second_factor_is_fetched_with_the_code_of_the_page(
    tmp_path: Path, elsewhere: Elsewhere
) -> None:
    with (
        storing("sqlite", tmp_path) as flags,
        shop("sandbox:kibo", elsewhere, tmp_path, flags, WITHOUT_TICKET) as proxy,
    ):
        first, other = workers(proxy, "sqlite")
        browser = Browser()
        wrong = elsewhere.visit(leave(browser, proxy, first, "correct-horse-2"), code="no code")
        answer = browser.ask(proxy, other, "GET", wrong)
        assert (answer.status, answer.json["errorCode"]) == (401, "WRONG_CODE")
        assert browser.ask(proxy, other, "GET", wrong).json["errorCode"] != "WRONG_CODE"

        away = leave(browser, proxy, first, "correct-horse-2")
        back = elsewhere.visit(away, code=mailed(proxy))
        answer = browser.ask(proxy, other, "GET", back)
        assert answer.status == 200
        ticket = answer.json
        assert ticket["customerAccount"]["emailAddress"] == MARIA["username"]
        assert answer.headers["Authorization"] == f"Bearer {ticket['jwtAccessToken']}"
        assert browser.ask(proxy, first, "GET", back).status == 401
        said = stop(proxy)
        for name in ("accessToken", "jwtAccessToken", "refreshToken"):
            assert ticket[name] not in said


def mailed(proxy: Proxy) -> str:
    """Give the code that the sandbox sent to Maria."""
    connection = http.client.HTTPConnection(urlsplit(proxy.upstream).netloc, timeout=20)
    with closing(connection):
        return str(ask(connection, "GET", "/sandbox/codes").json[MARIA["username"]])
