"""External authorization, question by question: what Envoy does not tell is never taken for what is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from envoy.service.auth.v3 import external_auth_pb2 as messages
from grpc import aio

from proxy.adapters import ext_authz
from proxy.edge.sockets import address_of, reserve
from proxy.engine.effects import Effect
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Limits
from tests.adapters.asking import PlainWorker, rules
from tests.wire import LOOPBACK

pytestmark = pytest.mark.asyncio(loop_scope="session")

RULES = rules("""[
  {name: login, match: {path: /login},
   before: [{when: "has(request.body) && request.body.user == 'x'", deny: {reason: Not you.}}]},
  {name: role, match: {path: /cookies},
   before: [{when: "has(request.cookies.role)", deny: {}}, {cookies: {set: {seen: "1"}}}]},
  {name: edits, match: {path: /edits},
   before: [{headers: {set: {x-a: "1"}, add: {x-many: b}, remove: [x-gone]}}, {query: {set: {b: "2"}}}, {method: PUT}]},
  {name: own, match: {path: /own}, before: [{respond: {status: 200, text: hello, headers: {x-own: "1"}}}]},
  {name: tries, match: {path: /tries}, before: [{limit: {key: a, requests: 3, per: 60s}}]},
]""")
Ask = Callable[..., Awaitable[Any]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worker() -> PlainWorker:
    return PlainWorker(RULES, limits=Limits(body=100))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ask(worker: PlainWorker) -> AsyncIterator[Ask]:
    with reserve(f"{LOOPBACK}:0") as held:
        address = address_of(held)
        served = await ext_authz.start(worker, address, most=100)
    try:
        async with aio.insecure_channel(address) as channel:
            method = channel.unary_unary(
                f"/{ext_authz.SERVICE}/Check",
                request_serializer=messages.CheckRequest.SerializeToString,
                response_deserializer=messages.CheckResponse.FromString,
            )

            async def check(
                path: str, *lines: tuple[str, str], verb: str = "GET", body: bytes = b"", joined: bool = False
            ) -> Any:
                """Ask about a request; `joined` tells its headers as a map, one line for each name."""
                question = messages.CheckRequest()
                source = question.attributes.source.address.socket_address
                source.address, source.port_value = "203.0.113.9", 4711
                told = question.attributes.request.http
                told.raw_body = body
                pseudo = ((":method", verb), (":path", path), (":authority", "shop.example"), (":scheme", "https"))
                for name, value in (*pseudo, *lines):
                    if joined:
                        told.headers[name] = f"{told.headers[name]},{value}" if name in told.headers else value
                    else:
                        told.header_map.headers.add(key=name, raw_value=value.encode())
                return await method(question)

            yield check
    finally:
        await served.stop(0)


JSON = ("content-type", "application/json")
WHOLE = ("x-envoy-auth-partial-body", "false")


def set_headers(reply: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in reply.ok_response.headers:
        # Envoy reads `value` here, and would send an empty header for a `raw_value`.
        assert not one.header.raw_value
        found.setdefault(one.header.key, []).append(one.header.value)
    return found


async def test_a_body_that_was_told_whole_is_read(ask: Ask) -> None:
    length = ("content-length", "12")
    reply = await ask("/login", JSON, WHOLE, length, verb="POST", body=b'{"user":"x"}')
    assert reply.denied_response.status.code == 403
    reply = await ask("/login", JSON, WHOLE, length, verb="POST", body=b'{"user":"y"}')
    assert reply.status.code == 0


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([JSON, ("content-length", "12")], 500),
        ([JSON], 500),
        ([JSON, WHOLE], 500),
        ([JSON, ("x-envoy-auth-partial-body", "true")], 413),
        ([JSON, WHOLE, ("x-envoy-auth-partial-body", "true")], 413),
        ([JSON, ("content-length", "101")], 413),
    ],
    ids=["a length and no body", "a type and no body", "none told", "a part", "said twice", "over the limit"],
)
async def test_a_body_that_was_not_told_whole_is_not_taken_for_none(
    lines: list[tuple[str, str]], status: int, ask: Ask
) -> None:
    assert (await ask("/login", *lines, verb="POST")).denied_response.status.code == status


async def test_a_request_without_a_body_has_none(ask: Ask) -> None:
    assert (await ask("/login")).status.code == 0
    assert (await ask("/login", ("content-length", "0"), verb="POST")).status.code == 0


async def test_edits_are_told_by_value_and_several_lines_are_appended(ask: Ask) -> None:
    reply = await ask(
        "/edits?a=1", ("x-gone", "1"), ("x-many", "a"), ("forwarded", "for=1"), ("x-forwarded-for", "::1")
    )
    headers = set_headers(reply)
    assert (headers[":path"], headers[":method"]) == (["/edits?a=1&b=2"], ["PUT"])
    assert (headers["x-a"], headers["x-many"]) == (["1"], ["a", "b"])
    assert sorted(reply.ok_response.headers_to_remove) == ["forwarded", "x-gone"]
    correlation = [one.header.value for one in reply.ok_response.response_headers_to_add]
    assert correlation == headers["x-correlation-id"]


async def test_cookies_that_were_told_joined_are_sent_as_the_rules_saw_them(ask: Ask) -> None:
    lines = ("cookie", "a=1"), ("cookie", "role=admin")
    assert (await ask("/cookies", *lines)).denied_response.status.code == 403
    # Told as one, the second cookie is a part of the first one's value; and so it is for whoever comes next.
    reply = await ask("/", *lines, joined=True)
    assert set_headers(reply)["cookie"] == ["a=1,role=admin"]


async def test_an_answer_of_a_rules_own_is_given_whatever_its_status(ask: Ask) -> None:
    reply = await ask("/own")
    assert reply.status.code == 7
    denied = reply.denied_response
    assert (denied.status.code, denied.body) == (200, "hello")
    assert "x-own" in {one.header.key for one in denied.headers}


async def test_what_is_no_request_is_refused_and_logged(ask: Ask, worker: PlainWorker) -> None:
    reply = await ask("/a//b")
    assert reply.denied_response.status.code == 400
    exchange, facts = worker.records[-1]
    assert (exchange, facts.client, facts.status) == (None, "203.0.113.9", 400)


async def test_a_store_that_goes_away_is_a_503(ask: Ask, worker: PlainWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(effect: Effect, _: Exchange) -> Any:
        raise EffectFailed("the store is away")

    monkeypatch.setattr(worker, "perform", fail)
    reply = await ask("/tries")
    assert reply.denied_response.status.code == 503
