"""What adapters give to be recorded, and what they count as held: as the proxy does, as far as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from proxy.adapters import forward_auth
from proxy.edge.sockets import address_of, reserve
from proxy.engine.effects import Effect, Lookup
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.observe.record import Body, Record, decode
from proxy.observe.recorder import Key, Recorder, Selection
from tests.adapters.asking import PlainWorker, Stream, memory, processing, rules
from tests.adapters.test_forward_auth import TOLD, question
from tests.wire import LOOPBACK, PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="session")

RULES = """[
  {name: login, match: {path: /login},
   before: [{when: "request.body.user == 'x'", deny: {reason: Not you.}}, {headers: {set: {x-site: a}}},
            {body: {set: {site: a}}}],
   after: [{body: {set: {seen: true}}}, {headers: {set: {x-seen: "1"}}}]},
  {name: looks, match: {path: /looks}, before: [{lookup: {url: "https://users.test/me", into: found}}]},
]"""
JSON: Any = {"content_type": "application/json"}
SECRET = "test-only-canary-77e1"
UNTOLD = "not told by the proxy that asks"
Open = Callable[[], Stream]


class Kept:
    """A writer that keeps."""

    def __init__(self) -> None:
        self.lost = 0
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, line: bytes) -> None:
        assert SECRET.encode() not in line
        self._lines.put_nowait(line)

    def close(self) -> None:
        pass

    async def record(self) -> Record:
        """Wait for the next one."""
        return decode(await asyncio.wait_for(self._lines.get(), PATIENCE))


@pytest_asyncio.fixture(loop_scope="session")
async def worker() -> PlainWorker:
    worker = PlainWorker(rules(RULES))
    worker.memory = memory()
    return worker


@pytest.fixture
def kept(worker: PlainWorker) -> Kept:
    kept = Kept()
    worker.recorder = Recorder(Key(), Selection(), [kept])
    return kept


@pytest_asyncio.fixture(loop_scope="session")
async def open_stream(worker: PlainWorker) -> AsyncIterator[Open]:
    async with processing(worker) as (open_stream, _):
        yield open_stream


async def login(stream: Stream, user: str = "y") -> None:
    await stream.head(f"/login?code={SECRET}", method="POST", ends=False, **JSON)
    await stream.hear()
    await stream.body(f'{{"user":"{user}","password":"{SECRET}"}}'.encode())


async def test_the_four_messages_are_what_the_edits_make_of_them(open_stream: Open, kept: Kept) -> None:
    stream = open_stream()
    await login(stream)
    await stream.hear()
    await stream.answer(201, ends=False, **JSON)
    await stream.hear()
    await stream.body(f'{{"accessToken":"{SECRET}"}}'.encode(), of="response")
    await stream.hear()
    record = await kept.record()
    request, forwarded, upstream, answer = record.request, record.forwarded, record.upstream, record.answer
    assert forwarded is not None
    assert upstream is not None
    assert answer is not None
    assert (record.client, record.scheme, record.host) == ("203.0.113.9", "https", "shop.example")
    assert request.target.startswith("/login?code=redacted-")
    assert (request.method, forwarded.method, forwarded.target) == ("POST", "POST", request.target)
    assert (record.status, record.verdict.by, record.ran) == (201, "upstream", ["login"])
    assert ("x-site", "a") in forwarded.headers
    assert ("x-site", "a") not in request.headers
    assert [("x-seen", "1") in message.headers for message in (upstream, answer)] == [False, True]
    texts = [message.body.text if message.body is not None else None for message in (request, forwarded, upstream)]
    password = str(texts[0]).removeprefix('{"user":"y","password":"').removesuffix('"}')
    token = str(texts[2]).removeprefix('{"accessToken":"').removesuffix('"}')
    assert password.startswith("redacted-")
    assert texts[1] == f'{{"user":"y","password":"{password}","site":"a"}}'
    assert answer.body is not None
    assert answer.body.text == f'{{"accessToken":"{token}","seen":true}}'
    assert not record.hung_up


async def test_a_body_that_passes_by_is_not_taken_for_none(open_stream: Open, kept: Kept) -> None:
    stream = open_stream()
    await stream.head("/", method="POST", ends=False, content_length="7")
    await stream.hear()
    await stream.answer(200, ends=False)
    await stream.hear()
    record = await kept.record()
    assert record.request.body == Body(7, why=UNTOLD)
    assert record.forwarded is not None
    assert record.forwarded.body == Body(7, same=True)
    assert record.upstream is not None
    assert record.upstream.body == Body(0, why=UNTOLD)
    assert record.answer is not None
    assert record.answer.body == Body(0, same=True)


async def test_of_a_request_that_is_denied_there_are_two_messages(open_stream: Open, kept: Kept) -> None:
    stream = open_stream()
    await login(stream, user="x")
    assert (await stream.hear()).HasField("immediate_response")
    record = await kept.record()
    assert (record.forwarded, record.upstream, record.verdict.rule) == (None, None, "login")
    assert record.answer is not None
    assert record.answer.status == record.status == 403
    assert record.answer.body is not None
    assert '"detail":"Not you."' in str(record.answer.body.text)


async def test_an_answer_that_nobody_got_is_not_recorded(open_stream: Open, kept: Kept) -> None:
    stream = open_stream()
    await login(stream)
    await stream.hear()
    stream.cut()
    record = await kept.record()
    assert record.hung_up
    assert record.forwarded is not None
    assert (record.upstream, record.answer, record.status) == (None, None, None)
    # What Envoy answers by itself is its own, and only its status is told.
    stream = open_stream()
    await stream.head("/")
    await stream.hear()
    await stream.answer(403, details="rbac_access_denied")
    await stream.hear()
    record = await kept.record()
    assert (record.answer, record.status, record.error) == (None, 403, "Envoy answered itself")


async def test_what_a_rule_got_from_outside_is_recorded(worker: PlainWorker, open_stream: Open, kept: Kept) -> None:
    async def perform(effect: Effect, _: Exchange) -> Any:
        assert isinstance(effect, Lookup)
        raise EffectFailed("nobody is there")

    worker.perform = perform
    stream = open_stream()
    await stream.head("/looks")
    assert (await stream.hear()).HasField("immediate_response")
    (effect,) = (await kept.record()).effects
    assert (effect.kind, effect.rule, effect.url) == ("lookup", "looks", "https://users.test/me")
    assert effect.failed == "nobody is there"


async def test_what_became_of_a_request_that_went_on_is_not_told_over_forward_auth(
    worker: PlainWorker, kept: Kept
) -> None:
    with reserve(f"{LOOPBACK}:0") as held:
        server = await forward_auth.start(worker, address_of(held), most=10)
        port = held.getsockname()[1]
    try:
        told = {**TOLD, "X-Forwarded-Method": "POST", "Authorization": f"Bearer {SECRET}"}
        assert (await question(port, told.items(), target="/")).status == 200
        record = await kept.record()
        assert record.request.body == Body(0, why=UNTOLD)
        assert record.forwarded is not None
        assert [name for name, _ in record.forwarded.headers if name == "x-correlation-id"] != []
        assert (record.upstream, record.answer, record.status, record.verdict.by) == (None, None, None, None)
        assert not record.hung_up
        told["X-Forwarded-Uri"] = "/login"
        assert (await question(port, told.items(), target="/")).status == 500
        assert (await kept.record()).status == 500
    finally:
        await server.stop(0)


async def test_bodies_count_as_held_until_the_exchange_is_over(worker: PlainWorker, open_stream: Open) -> None:
    stream = open_stream()
    await login(stream)
    await stream.hear()
    request = worker.memory.kept
    assert request == len(f'{{"user":"y","password":"{SECRET}"}}')
    await stream.answer(200, ends=False, **JSON)
    await stream.hear()
    await stream.body(b"{}", of="response")
    await stream.hear()
    await worker.recorded()
    assert worker.memory.kept == 0


async def test_short_of_memory_no_exchange_begins_and_no_body_is_taken(worker: PlainWorker, open_stream: Open) -> None:
    short = memory(1)
    stream, late = open_stream(), open_stream()
    await late.head("/login", method="POST", ends=False, **JSON)
    await late.hear()
    worker.memory = short
    try:
        await stream.head("/")
        refused = (await stream.hear()).immediate_response
        assert (refused.status.code, worker.records[-1][1].error) == (503, "the proxy is short of memory")
        await late.body(b'{"user":"y"}')
        refused = (await late.hear()).immediate_response
        assert refused.status.code == 503
        assert ("Retry-After", "1") in [
            (one.header.key.title(), one.header.raw_value.decode()) for one in refused.headers.set_headers
        ]
        assert (await worker.recorded(2)).error == "the proxy is short of memory"
    finally:
        short.close()
    assert short.kept == 0
