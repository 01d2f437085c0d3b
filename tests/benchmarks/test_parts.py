"""Single parts of the hot path: `make bench-micro` times them, everybody else only runs them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from proxy.edge import parsers
from proxy.edge.head import read_request, read_response, write_request, write_response
from proxy.edge.options import Bounds, Trust
from proxy.edge.origin import Peer
from proxy.engine import run
from proxy.engine.body import open_body
from proxy.engine.exchange import Exchange
from proxy.engine.json_body import JsonBody
from proxy.engine.json_nodes import encode
from proxy.engine.message import Headers, Limits, Request, Response
from proxy.engine.ruleset import Ruleset
from proxy.language.compile import Options, build
from proxy.language.document import Source
from proxy.language.edits import make_parents, remove
from proxy.language.paths import parse

from .jobs import BIG, EDITED, ORDERS, TICKET, TICKETS, ask, credentials, tight
from .peers.peer import FILES
from .variants import Rule, all_of, one_of, with_conditions

LIMITS = Limits()
JSON = [("Content-Type", "application/json; charset=utf-8")]
SENT = Headers.of([("Host", "shop.example"), ("User-Agent", "bench"), ("Accept", "application/json"), *JSON])
RECEIVED = Headers.of([*JSON, ("ETag", '"ticket"'), ("Content-Length", "3561")], side="response")
REFRESH, NOTES, INTERNAL = parse("refreshToken"), parse("customerAccount.notes"), parse("internal")
GOLD, FALSE = encode("gold"), encode(False)
SPACED = json.dumps(TICKET).encode()


def compiled(text: str) -> Ruleset:
    built = build([Source("rules.yaml", text)], Options(secrets=lambda _: None, packs=lambda _: None))
    assert built.ruleset is not None, [str(problem) for problem in built.problems]
    return built.ruleset


def made(rules: list[Rule]) -> Ruleset:
    return compiled(json.dumps({"version": 1, "rules": rules}))


def begin(ruleset: Ruleset, path: str = TICKETS) -> Exchange:
    request = Request("POST", path, None, SENT.copy(), credentials("jane"), limits=LIMITS)
    exchange = run.begin(ruleset, request, clock=lambda: 1_767_225_600.0, entropy=bytes)
    ruleset.choose(exchange)
    return exchange


def answer(content: bytes) -> Response:
    return Response(200, RECEIVED.copy(), content, limits=LIMITS)


def edit(content: bytes) -> bytes:
    """Do by the body's own operations what the six rules do to a ticket."""
    body = open_body(RECEIVED, content, LIMITS, "response")
    assert isinstance(body, JsonBody)
    body.get(("jwtAccessToken",))
    remove(REFRESH, body)
    remove(NOTES, body)
    make_parents(body, ("customerAccount", "isAnonymous")).put("isAnonymous", FALSE)
    make_parents(body, ("tier",)).put("tier", GOLD)
    return body.dump()


def round_trip(content: bytes) -> bytes:
    """Do the same to the whole body, decoded and encoded by the standard library: what the edits are compared with."""
    data = json.loads(content)
    data["jwtAccessToken"]
    del data["refreshToken"], data["customerAccount"]["notes"]
    data["customerAccount"]["isAnonymous"] = False
    data["tier"] = "gold"
    return json.dumps(data, separators=(",", ":")).encode()


@pytest.mark.parametrize("work", [edit, round_trip])
@pytest.mark.parametrize("content", [tight(TICKET), SPACED], ids=["tight", "spaced"])
def test_edits_of_a_ticket(benchmark: BenchmarkFixture, work: Callable[[bytes], bytes], content: bytes) -> None:
    assert json.loads(benchmark(work, content)) == EDITED


def test_one_edit_of_a_megabyte(benchmark: BenchmarkFixture) -> None:
    content = tight(BIG)

    def work() -> bytes:
        body = open_body(RECEIVED, content, LIMITS, "response")
        assert isinstance(body, JsonBody)
        remove(INTERNAL, body)
        return body.dump()

    assert "internal" not in json.loads(benchmark(work))


@pytest.mark.parametrize("count", [1, 10, 100])
def test_conditions_that_do_not_hold(benchmark: BenchmarkFixture, count: int) -> None:
    ruleset = made(with_conditions(count))
    assert benchmark(lambda: run.before(begin(ruleset, ORDERS))) is None


def test_the_login_through_all_its_rules(benchmark: BenchmarkFixture) -> None:
    ruleset = compiled((FILES / "rules.yaml").read_text())
    content = tight(TICKET)

    def work() -> Response:
        exchange = begin(ruleset)
        assert run.before(exchange) is None
        found = run.after(exchange, answer(content))
        assert isinstance(found, Response)
        found.settle()
        return found

    found = benchmark(work)
    assert json.loads(found.content or b"") == EDITED
    assert found.headers.text(b"authorization") == f"Bearer {TICKET['jwtAccessToken']}"


@pytest.mark.parametrize("count", [1, 1_000])
def test_choosing_one_rule(benchmark: BenchmarkFixture, count: int) -> None:
    ruleset = made(one_of(count))
    exchange = begin(ruleset, ORDERS)
    benchmark(ruleset.choose, exchange)
    assert [chosen.rule.name for chosen in exchange.chosen.rules] == ["marks-0"]


def test_choosing_one_rule_for_a_path_that_was_never_asked_for(benchmark: BenchmarkFixture) -> None:
    ruleset = made(one_of(1_000))
    paths = itertools.count()
    assert benchmark(lambda: ruleset.route("POST", f"/never/{next(paths)}")).operation is None


def test_choosing_a_hundred_rules(benchmark: BenchmarkFixture) -> None:
    ruleset = made(all_of(100))
    exchange = begin(ruleset, ORDERS)
    benchmark(ruleset.choose, exchange)
    assert len(exchange.chosen.rules) == 100


def _parsed(make: Callable[[asyncio.AbstractEventLoop], Any], data: bytes) -> Any:
    loop = asyncio.new_event_loop()
    try:
        messages, _, _ = make(loop).feed_data(data)
        return messages[0][0]
    finally:
        loop.close()


def test_reading_the_head_of_a_request(benchmark: BenchmarkFixture) -> None:
    message = _parsed(lambda loop: parsers.request_parser(loop, Bounds()), ask("POST", TICKETS, credentials("jane")))
    trust = Trust()
    peer = Peer("192.0.2.1", "http", 80, trust)
    assert benchmark(read_request, message, peer, Bounds(), trust).path == TICKETS


def test_reading_the_head_of_an_answer(benchmark: BenchmarkFixture) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: x\r\nContent-Length: 0\r\n\r\n"
    message = _parsed(lambda loop: parsers.response_parser(loop, Bounds(), body=True), head)
    assert benchmark(read_response, message, "POST", Bounds()).status == 200


def test_writing_the_head_of_a_request(benchmark: BenchmarkFixture) -> None:
    request = Request("POST", TICKETS, None, SENT.copy(), b"", limits=LIMITS)
    work = benchmark(
        write_request, request, base="", authority=b"auth.internal", via=b"1.1 vestibule", framing=b"Content-Length: 0"
    )
    assert work.startswith(f"POST {TICKETS} HTTP/1.1\r\n".encode())


def test_writing_the_head_of_an_answer(benchmark: BenchmarkFixture) -> None:
    written = benchmark(write_response, answer(b""), framing=b"Content-Length: 0", connection=b"")
    assert written.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: ")
