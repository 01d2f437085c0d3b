"""What the data plane gives to be recorded: the four messages as they were on the wire, with no secret in them."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.engine.effects import Answer, Effect, FetchKeys, Lookup, StoreGet, StoreSet
from proxy.engine.exchange import Exchange
from proxy.engine.message import Response
from proxy.engine.ruleset import Outcome, Rule, Step
from proxy.observe.record import Record, decode
from proxy.observe.recorder import Key, Recorder, Selection
from tests.gateways import Proxied, Start
from tests.wire import LOOPBACK, ok

SECRET = "test-only-canary-8c1f"
LOGIN = json.dumps({"username": "jane@example.com", "password": SECRET}).encode()
HEAD = (
    b"POST /login?code="
    + SECRET.encode()
    + b"&a=b HTTP/1.1\r\nHost: a\r\nX-Mixed-CASE: 1\r\ncookie: s=test-only-cookie\r\n"
    b"Authorization: Bearer test-only-bearer\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)


@dataclass
class Kept:
    """A writer that keeps."""

    lines: list[bytes] = field(default_factory=list)
    lost: int = 0

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def close(self) -> None:
        pass

    @property
    def records(self) -> list[Record]:
        return [decode(line) for line in self.lines]


def recorded(proxied: Proxied, **more: Any) -> Kept:
    kept = Kept()
    secrets = more.pop("secrets", ())
    proxied.gateway.recorder = Recorder(Key(), Selection(**more), [kept], secrets=lambda: secrets)
    return kept


def marks(x: Exchange) -> Outcome:
    (x.request if x.response is None else x.response).headers.set(b"X-Marked", b"yes")
    return None


def denies(x: Exchange) -> Outcome:
    answer = Response(403, x.request.headers.copy(), b"", limits=x.request.limits, origin="rule")
    answer.headers.lines = [(b"x-why", b"X-Why", b"because")]
    return answer


def rule(run: Any, *, needs: bool = False) -> Rule:
    steps = (Step(run, "deny" if run is denies else "headers", "one"),)
    return Rule("one", 0, before=steps, after=() if run is denies else steps, needs_request=needs, needs_response=needs)


@pytest.mark.parametrize("needs", [False, True])
async def test_the_four_messages_are_kept_in_order_and_case(needs: bool, start: Start) -> None:
    proxied = await start(rule(marks, needs=needs))
    kept = recorded(proxied)
    proxied.upstream.answer = ok(b'{"accessToken": "' + SECRET.encode() + b'", "userId": "u1"}').replace(
        b"\r\n", b"\r\nContent-Type: application/json\r\nSet-Cookie: s=test-only-cookie; Path=/\r\n", 1
    )
    answer = await proxied.ask(HEAD % len(LOGIN) + LOGIN)
    await proxied.record()
    [record] = kept.records
    assert record.forwarded is not None
    assert record.upstream is not None
    assert record.answer is not None
    assert (record.request.method, record.client, record.host) == ("POST", LOOPBACK, "a")
    assert record.request.target.startswith("/login?code=redacted-")
    names = [name for name, _ in record.request.headers]
    assert names[:5] == ["Host", "X-Mixed-CASE", "cookie", "Authorization", "Content-Type"]
    sent = proxied.upstream.messages[0]
    assert [name for name, _ in record.forwarded.headers] == [name.decode() for name, _ in sent.headers]
    assert ("X-Marked", "yes") in record.forwarded.headers
    assert [name for name, _ in record.answer.headers] == [name.decode() for name, _ in answer.headers]
    assert [name for name, _ in record.upstream.headers][:2] == ["Content-Type", "Set-Cookie"]
    body, returned = record.request.body, record.upstream.body
    assert body is not None
    assert returned is not None
    assert json.loads(body.text or "")["username"] == "jane@example.com"
    assert json.loads(returned.text or "")["userId"] == "u1"
    assert record.forwarded.body is not None
    assert record.forwarded.body.same
    assert record.answer.body is not None
    assert record.answer.body.same
    assert (record.status, record.verdict.by, record.ran) == (200, "upstream", ["one"])
    assert (record.upstream.status, record.answer.status) == (200, 200)
    assert record.upstream_ms is not None
    assert record.own_ms > 0
    for secret in (SECRET, "test-only-bearer", "test-only-cookie"):
        assert secret.encode() not in kept.lines[0]
    # Equal stays equal: the code of the query, the password and the token are one text here.
    code = record.request.target.partition("code=")[2].partition("&")[0]
    assert json.loads(body.text or "")["password"] == code == json.loads(returned.text or "")["accessToken"]


async def test_a_denial_has_no_message_of_the_upstream(start: Start) -> None:
    proxied = await start(rule(denies))
    kept = recorded(proxied)
    assert (await proxied.ask(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")).status == 403
    await proxied.record()
    [record] = kept.records
    assert (record.forwarded, record.upstream) == (None, None)
    assert record.answer is not None
    assert ("X-Why", "because") in record.answer.headers
    assert (record.verdict.by, record.verdict.rule, record.verdict.denied) == ("rule", "one", True)


async def test_a_coded_body_is_read_to_be_redacted(start: Start) -> None:
    proxied = await start()
    kept = recorded(proxied)
    packed = gzip.compress(LOGIN)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    await proxied.ask(head + b"Content-Length: %d\r\n\r\n" % len(packed) + packed)
    await proxied.record()
    body = kept.records[0].request.body
    assert body is not None
    assert (body.size, body.coding) == (len(packed), "gzip")
    assert json.loads(body.text or "")["username"] == "jane@example.com"
    assert SECRET.encode() not in kept.lines[0]


@pytest.mark.parametrize(
    ("kind", "content", "why", "digest"),
    [
        (b"application/json", LOGIN[:-1], "it cannot be read", False),
        (b"application/json", b"\xff" + LOGIN, "it cannot be read", False),
        (b"application/json\r\nContent-Encoding: gzip", LOGIN, "it cannot be read", False),
        (b"application/json\r\nContent-Encoding: odd", LOGIN, "its coding is unknown", False),
        (
            b"application/json",
            json.dumps({"a": SECRET, "b": "x" * 70_000}).encode(),
            "longer than what is recorded",
            False,
        ),
        (b"application/octet-stream", LOGIN, "of a kind that is not recorded", True),
        (b"multipart/form-data; boundary=x", LOGIN, "of a kind that is not recorded", True),
    ],
)
async def test_of_a_body_that_cannot_be_read_only_its_length_is_kept(
    kind: bytes, content: bytes, why: str, digest: bool, start: Start
) -> None:
    proxied = await start()
    kept = recorded(proxied)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: " + kind + b"\r\nContent-Length: %d\r\n\r\n" % len(content)
    await proxied.ask(head + content)
    await proxied.record()
    body = kept.records[0].request.body
    assert body is not None
    assert (body.size, body.text, body.why) == (len(content), None, why)
    assert (body.digest is not None) is digest
    assert SECRET.encode() not in kept.lines[0]


async def test_a_secret_of_the_operators_is_replaced_in_every_message(start: Start) -> None:
    proxied = await start()
    kept = recorded(proxied, secrets=("test-only-service-key",))
    proxied.upstream.answer = ok(b"you have test-only-service-key").replace(
        b"\r\n", b"\r\nContent-Type: text/plain\r\nX-Debug: test-only-service-key\r\n", 1
    )
    await proxied.ask(b"GET /test-only-service-key HTTP/1.1\r\nHost: a\r\n\r\n")
    await proxied.record()
    assert b"service-key" not in kept.lines[0]


async def test_what_other_services_answered_is_kept_without_their_secrets(start: Start) -> None:
    def asks(x: Exchange) -> Generator[Effect, Any, None]:
        yield Lookup("GET", "https://risk.example/score?token=" + SECRET, (("Authorization", SECRET),))
        yield FetchKeys("https://keys.example/jwks")
        yield StoreGet("jane")
        yield StoreSet("jane", SECRET.encode(), 60)

    async def perform(effect: Effect, _: Exchange) -> Any:
        match effect:
            case Lookup():
                content = json.dumps({"score": 5, "access_token": SECRET}).encode()
                return Answer(200, (("content-type", "application/json"),), content)
            case FetchKeys():
                return (
                    {"kty": "RSA", "kid": "k", "n": "public", "e": "AQAB", "d": SECRET},
                    {"kty": "oct", "k": SECRET},
                )
            case _:
                return SECRET.encode()

    proxied = await start(Rule("asks", 0, before=(Step(asks, "test", "asks"),)), perform=perform)
    kept = recorded(proxied)
    await proxied.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await proxied.record()
    looked, keys, stored = kept.records[0].effects
    assert (looked.kind, looked.rule, looked.method, looked.status) == ("lookup", "asks", "GET", 200)
    assert (looked.url or "").startswith("https://risk.example/score?token=redacted-")
    assert json.loads(looked.body or "")["score"] == 5
    assert keys.keys == [{"kty": "RSA", "kid": "k", "n": "public", "e": "AQAB"}, {"kty": "oct"}]
    assert (stored.kind, stored.found) == ("stored", True)
    assert SECRET.encode() not in kept.lines[0]


async def test_only_the_share_that_is_asked_for_is_recorded(start: Start) -> None:
    proxied = await start()
    kept = Kept()
    draws = iter([0.1, 0.9, 0.4])
    proxied.gateway.recorder = Recorder(Key(), Selection(fraction=0.5), [kept], draw=lambda: next(draws))
    for number in range(3):
        await proxied.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        await proxied.record(number + 1)
    assert [record.request.target for record in kept.records] == ["/0", "/2"]


async def test_a_recorder_that_fails_costs_its_record_and_no_answer(start: Start) -> None:
    proxied = await start()
    kept = recorded(proxied)
    assert proxied.gateway.recorder is not None
    proxied.gateway.recorder._secrets = lambda: 1 / 0  # type: ignore[assignment, return-value]
    assert (await proxied.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    await proxied.record()
    assert (kept.lines, proxied.gateway.recorder.lost) == ([], 1)


async def test_a_client_that_hangs_up_is_recorded_without_an_answer(start: Start) -> None:
    proxied = await start()
    kept = recorded(proxied)

    async def silent(wire: Any, _: int) -> None:
        await proxied.upstream.take(wire)
        await asyncio.Event().wait()

    proxied.upstream.answering = silent
    wire = await proxied.client()
    await wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await proxied.upstream.begun()
    wire.reset()
    await proxied.record()
    [record] = kept.records
    assert (record.hung_up, record.answer, record.status, record.verdict.by) == (True, None, None, None)
