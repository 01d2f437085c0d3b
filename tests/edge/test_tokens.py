"""Tokens on the wire: a key service of its own, keys that change, and what the log keeps of a token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.engine.effects import Effect, FetchKeys
from proxy.engine.exchange import Exchange
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.services.keys import KeySets
from tests.gateways import Proxied, Start
from tests.wire import ok

NOW = 1_767_225_600
KEYS = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("old", "new")}
RULES = """
version: 1
rules:
  - name: members
    before:
      - verify_token: {keys: {jwks: "%s"}, algorithms: [ES256], into: token}
      - headers: {set: {x-sub: "${token.claims.sub}"}, remove: [authorization]}
"""


class KeyService:
    """A key service: which keys it has, and how often it was asked; no keys at all is an error of its own."""

    def __init__(self) -> None:
        self.kids: list[str] | None = ["old"]
        self.asked = 0
        self.now = 0.0
        self.url = ""

    async def answer(self, _: web.BaseRequest) -> web.Response:
        self.asked += 1
        if self.kids is None:
            return web.Response(status=500)
        jwks = [
            {**jwt.algorithms.ECAlgorithm.to_jwk(KEYS[kid].public_key(), as_dict=True), "kid": kid} for kid in self.kids
        ]
        return web.json_response({"keys": jwks})


@pytest.fixture
async def service() -> AsyncIterator[KeyService]:
    found = KeyService()
    runner = web.ServerRunner(web.Server(found.answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield found
    await runner.cleanup()


Gate = Callable[[], Awaitable[Proxied]]


@pytest.fixture
async def gate(service: KeyService, start: Start) -> AsyncIterator[Gate]:
    """Put a gateway with the rule before the upstream."""
    sets = KeySets(clock=lambda: service.now)

    async def perform(effect: Effect, _: Exchange) -> Any:
        assert isinstance(effect, FetchKeys)
        return await sets.fetch(effect)

    async def begin() -> Proxied:
        options = Options(secrets=lambda _: None, packs=lambda _: None)
        built = build([Source("rules.yaml", RULES % service.url)], options)
        assert built.ruleset is not None, list(built.problems)
        proxied = await start(*built.ruleset.rules, perform=perform)
        proxied.upstream.answer = ok()
        return proxied

    yield begin
    await sets.close()


def token_of(kid: str, **claims: Any) -> str:
    return jwt.encode({"sub": "u1", "exp": NOW + 900, **claims}, KEYS[kid], algorithm="ES256", headers={"kid": kid})


def request(token: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def test_a_token_that_holds_passes_and_its_keys_are_fetched_once(gate: Gate, service: KeyService) -> None:
    proxied = await gate()
    for _ in range(3):
        assert (await proxied.ask(request(token_of("old")))).status == 200
    assert service.asked == 1
    sent = proxied.upstream.messages[-1]
    assert sent.get("x-sub") == b"u1"
    assert sent.get("authorization") is None


async def test_a_key_that_is_new_is_found_without_a_restart(gate: Gate, service: KeyService) -> None:
    proxied = await gate()
    assert (await proxied.ask(request(token_of("old")))).status == 200
    service.kids = ["new"]
    service.now = 60.0
    assert (await proxied.ask(request(token_of("new")))).status == 200
    # And the one that was withdrawn holds no longer.
    assert (await proxied.ask(request(token_of("old")))).status == 401
    assert service.asked == 2


async def test_while_its_service_fails_the_last_good_keys_hold(gate: Gate, service: KeyService) -> None:
    proxied = await gate()
    assert (await proxied.ask(request(token_of("old")))).status == 200
    service.kids = None
    service.now = 3600.0
    assert (await proxied.ask(request(token_of("old")))).status == 200
    assert service.asked == 2


async def test_without_any_keys_nobody_passes(gate: Gate, service: KeyService) -> None:
    service.kids = None
    proxied = await gate()
    assert (await proxied.ask(request(token_of("old")))).status == 503
    assert proxied.upstream.messages == []


async def test_a_flood_of_names_of_keys_asks_the_service_no_more_than_now_and_then(
    gate: Gate, service: KeyService
) -> None:
    proxied = await gate()
    for number in range(20):
        token = jwt.encode({"exp": NOW + 900}, KEYS["old"], algorithm="ES256", headers={"kid": f"k{number}"})
        assert (await proxied.ask(request(token))).status == 401
    assert service.asked <= 2
    assert proxied.upstream.messages == []


@pytest.mark.parametrize("broken", ["{}=", "{}.", "x{}", "{} x", "{}\t", "{}, Bearer {}"])
async def test_a_token_that_does_not_hold_reaches_neither_the_upstream_nor_the_log(
    broken: str, gate: Gate, service: KeyService
) -> None:
    proxied = await gate()
    token = token_of("old")
    assert (await proxied.ask(request(token))).status == 200
    count = len(proxied.upstream.messages)
    answer = await proxied.ask(request(broken.replace("{}", token)))
    # A trailing tab is no part of a header's value (RFC 9110 section 5.5): the token is as it was.
    expected = 200 if broken == "{}\t" else 401
    assert answer.status == expected
    facts = await proxied.record(2)
    exchange = proxied.records[1][0]
    assert exchange is not None
    kept = f"{facts} {exchange.verdict} {exchange.notes}"
    assert not [part for part in token.split(".") if part in kept]
    if expected == 401:
        assert len(proxied.upstream.messages) == count
        assert answer.get("www-authenticate") == b'Bearer error="invalid_token"'
        assert not [part for part in token.split(".") if part.encode() in answer.body]
        assert json.loads(answer.body)["code"] == "invalid_token"
