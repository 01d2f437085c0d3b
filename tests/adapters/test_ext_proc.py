"""External processing, message by message: what is declared comes of what should not happen, and nothing is left."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_network
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages

from proxy.edge.options import Trust
from proxy.engine.effects import Effect, Lead, Publish, Reserve, Reserved, Settle
from proxy.engine.errors import EffectFailed
from proxy.engine.exchange import Exchange
from proxy.engine.message import Limits
from tests.adapters.asking import SOURCE, UPSTREAM, PlainWorker, Stream, attributes, headers_of, processing, rules
from tests.wire import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGIN = """[
  {name: login, match: {path: /login},
   before: [{when: "request.body.user == 'x'", deny: {reason: Not you.}}, {headers: {set: {x-site: a}}}],
   after: [{body: {set: {seen: true}}}]},
  {name: tries, match: {path: /tries}, before: [{limit: {key: a, failures: 3, per: 60s}}]},
]"""
JSON: Any = {"content_type": "application/json"}


async def login(stream: Stream) -> None:
    """Bring a login to where its answer is waited for."""
    await stream.head("/login", method="POST", ends=False, **JSON)
    assert (await stream.hear()).HasField("request_headers")
    await stream.body(b'{"user":"y"}')
    assert (await stream.hear()).HasField("request_body")


async def test_a_body_is_asked_for_and_until_it_comes_the_request_leads_nowhere() -> None:
    async with processing(PlainWorker(rules(LOGIN))) as (open_stream, _):
        stream = open_stream()
        await stream.head("/login", method="POST", ends=False, **JSON)
        asked = await stream.hear()
        assert asked.mode_override.request_body_mode == asked.mode_override.BUFFERED
        assert headers_of(asked.request_headers.response.header_mutation) == {":path": ["/.vestibule/held"]}
        await stream.body(b'{"user":"y"}')
        mutation = (await stream.hear()).request_body.response.header_mutation
        assert headers_of(mutation)[":path"] == ["/login"]
        assert headers_of(mutation)["x-site"] == ["a"]
        stream.cut()


async def test_the_body_of_an_answer_comes_unless_it_is_said_that_no_rule_reads_it() -> None:
    async with processing(PlainWorker(rules(LOGIN))) as (open_stream, _):
        stream = open_stream()
        await stream.head("/", method="POST", ends=False)
        override = (await stream.hear()).mode_override
        assert (override.request_body_mode, override.response_body_mode) == (override.NONE, override.NONE)
        stream.cut()
        stream = open_stream()
        await login(stream)
        await stream.answer(404, ends=False, **JSON)
        assert not (await stream.hear()).HasField("mode_override")
        stream.cut()


async def test_an_envoy_that_does_not_hold_answers_gets_none_that_a_rule_reads() -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.head("/login", method="POST", ends=False, holds_answers=False, **JSON)
        assert await stream.code() is grpc.StatusCode.FAILED_PRECONDITION
        [(level, _, fields)] = worker.told
        assert level == "error"
        assert fields["cause"] == "response_body_mode of the filter must be BUFFERED: a rule reads answers"
        # What no rule reads goes on all the same.
        stream = open_stream()
        await stream.head("/", holds_answers=False)
        assert (await stream.hear()).HasField("request_headers")


async def test_what_envoy_answers_while_the_body_is_waited_for_is_told_as_the_proxy_tells_it() -> None:
    async with processing(PlainWorker(rules(LOGIN))) as (open_stream, _):
        stream = open_stream()
        await stream.head("/login", method="POST", ends=False, **JSON)
        await stream.hear()
        await stream.answer(413, details="request_payload_too_large")
        immediate = (await stream.hear()).immediate_response
        assert immediate.status.code == 413
        assert headers_of(immediate.headers)["content-type"] == ["application/problem+json"]


async def test_the_length_is_told_with_a_body_that_was_edited() -> None:
    async with processing(PlainWorker(rules(LOGIN))) as (open_stream, _):
        stream = open_stream()
        await login(stream)
        await stream.answer(200, ends=False, **JSON)
        assert (await stream.hear()).HasField("response_headers")
        await stream.body(b'{"token":1}', of="response")
        common = (await stream.hear()).response_body.response
        assert common.body_mutation.body == b'{"token":1,"seen":true}'
        assert headers_of(common.header_mutation)["content-length"] == ["23"]
        assert await stream.hear() is None
        assert await stream.code() is grpc.StatusCode.OK


Told = dict[str, Any]
BODY: Told = {"request_body": messages.HttpBody(body=b"{}", end_of_stream=True)}
OUT_OF_ORDER: dict[str, Told] = {
    "a body without a head": BODY,
    "an answer without a request": {
        "response_headers": messages.HttpHeaders(end_of_stream=True),
        "attributes": attributes(UPSTREAM),
    },
    "trailers": {"request_trailers": messages.HttpTrailers()},
    "nothing that is known": {},
}


@pytest.mark.parametrize("message", OUT_OF_ORDER.values(), ids=list(OUT_OF_ORDER))
async def test_a_stream_that_begins_out_of_order_ends_with_an_error(message: Told) -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.say(**message)
        assert await stream.code() is grpc.StatusCode.FAILED_PRECONDITION
        ((level, event, _fields),) = worker.told
        assert (level, event) == ("error", "envoy-stream-broken")


async def test_an_exchange_that_goes_on_out_of_order_ends_with_an_error_and_is_logged() -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        for number, message in enumerate((BODY, {"response_trailers": messages.HttpTrailers()}, {}), 1):
            stream = open_stream()
            await login(stream)
            await stream.say(**message)
            assert await stream.code() is grpc.StatusCode.FAILED_PRECONDITION
            facts = await worker.recorded(number)
            assert facts.hung_up
            assert "where response_headers was to come" in str(facts.error)


async def test_an_envoy_that_does_not_tell_what_is_needed_is_refused_with_what_to_set() -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.say(request_headers=messages.HttpHeaders(end_of_stream=True))
        assert await stream.code() is grpc.StatusCode.FAILED_PRECONDITION
        stream = open_stream()
        await stream.head("/")
        await stream.hear()
        await stream.say(response_headers=messages.HttpHeaders(end_of_stream=True))
        assert await stream.code() is grpc.StatusCode.FAILED_PRECONDITION
        stream = open_stream()
        await stream.say(
            request_headers=messages.HttpHeaders(),
            attributes=attributes(SOURCE),
            protocol_config=messages.ProtocolConfiguration(request_body_mode=1),
        )
        assert await stream.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert [fields["cause"] for _, _, fields in worker.told] == [
            "Envoy does not tell source.address: it must stand in request_attributes of the filter",
            "Envoy does not tell response.code_details: it must stand in response_attributes of the filter",
            "request_body_mode and response_body_mode of the filter must be BUFFERED or NONE",
        ]


async def test_a_body_over_the_limit_is_refused_wherever_it_is_seen() -> None:
    worker = PlainWorker(rules(LOGIN), limits=Limits(body=20))
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.head("/login", method="POST", ends=False, content_length="21", **JSON)
        assert (await stream.hear()).immediate_response.status.code == 413
        stream = open_stream()
        await stream.head("/login", method="POST", ends=False, **JSON)
        await stream.hear()
        await stream.body(b'{"user":"0123456789"}')
        assert (await stream.hear()).immediate_response.status.code == 413
        stream = open_stream()
        await login(stream)
        await stream.answer(200, ends=False, **JSON)
        await stream.hear()
        await stream.body(b'{"token":"0123456789"}', of="response")
        assert (await stream.hear()).immediate_response.status.code == 502
        # What no rule could read is not even taken.
        stream = open_stream()
        await stream.head("/login", method="POST", ends=False, **JSON)
        await stream.hear()
        await stream.body(bytes(2 << 20))
        assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_store_that_goes_away_is_a_503_and_one_that_is_late_a_504() -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        for late, status in ((False, 503), (True, 504)):

            async def fail(effect: Effect, _: Exchange, late: bool = late) -> Any:
                raise EffectFailed("the store is away", late=late)

            worker.perform = fail
            stream = open_stream()
            await stream.head("/tries")
            immediate = (await stream.hear()).immediate_response
            assert immediate.status.code == status
            assert b"store" not in immediate.body


class Tries:
    """A store that lets every try through and keeps how each ended."""

    def __init__(self) -> None:
        self.settled: list[bool] = []

    async def perform(self, effect: Effect, _: Exchange) -> Any:
        if isinstance(effect, Reserve):
            return Reserved("ticket", 0.0)
        assert isinstance(effect, Settle)
        self.settled.append(effect.failed)
        return None


async def test_a_try_whose_answer_nobody_waits_for_counts_as_a_wrong_one() -> None:
    worker, tries = PlainWorker(rules(LOGIN)), Tries()
    worker.perform = tries.perform
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.head("/tries")
        assert (await stream.hear()).HasField("request_headers")
        stream.cut()
        assert (await worker.recorded()).hung_up
        assert tries.settled == [True]


async def test_those_who_share_a_call_whose_caller_hung_up_are_not_left_waiting() -> None:
    worker = PlainWorker(rules("[{name: shared, before: [{once: {key: a, ttl: 5s}}]}]"))
    published: list[Publish] = []

    async def perform(effect: Effect, _: Exchange) -> Any:
        if isinstance(effect, Publish):
            published.append(effect)
            return None
        return Lead("ticket")

    worker.perform = perform
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.head("/")
        await stream.hear()
        stream.cut()
        assert (await worker.recorded()).hung_up
        assert [(one.ticket, one.value) for one in published] == [("ticket", None)]


async def test_a_try_that_never_reached_the_service_is_given_back() -> None:
    worker, tries = PlainWorker(rules(LOGIN)), Tries()
    worker.perform = tries.perform
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.head("/tries")
        await stream.hear()
        await stream.answer(503, details="upstream_reset_before_response_started{connection_failure}")
        assert (await stream.hear()).immediate_response.status.code == 502
        assert tries.settled == [False]


LOCAL = {
    "upstream_reset_before_response_started{connection_failure|delayed}": 502,
    "upstream_reset_before_response_started{remote_connection_failure}": 502,
    "upstream_reset_before_response_started{connection_timeout}": 504,
    "upstream_reset_before_response_started{overflow}": 503,
    "upstream_reset_before_response_started{connection_termination}": 502,
    "response_timeout": 504,
    "no_healthy_upstream": 503,
    "request_payload_too_large": 413,
}


@pytest.mark.parametrize(("details", "status"), LOCAL.items())
async def test_a_failure_of_the_upstream_is_told_as_the_proxy_tells_it(details: str, status: int) -> None:
    async with processing(PlainWorker(rules(LOGIN))) as (open_stream, _):
        stream = open_stream()
        await stream.head("/")
        await stream.hear()
        await stream.answer(503, details=details)
        immediate = (await stream.hear()).immediate_response
        assert immediate.status.code == status
        assert headers_of(immediate.headers)["content-type"] == ["application/problem+json"]


@pytest.mark.parametrize("details", ["ext_authz_denied", "direct_response", "rbac_access_denied"])
async def test_an_answer_of_another_filter_or_of_a_route_stands(details: str) -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.head("/")
        await stream.hear()
        await stream.answer(403, details=details)
        reply = await stream.hear()
        assert reply.response_headers == messages.HeadersResponse()
        assert (await worker.recorded()).status == 403


async def test_an_answer_before_any_filter_saw_the_request_stands() -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await stream.answer(400, details="path_normalization_failed")
        assert (await stream.hear()).response_headers == messages.HeadersResponse()
        assert await stream.code() is grpc.StatusCode.OK
        assert worker.told == []


async def test_an_exchange_keeps_the_rules_that_it_began_with() -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, _):
        stream = open_stream()
        await login(stream)
        worker.ruleset = rules("[{name: closed, before: [{deny: {reason: Closed.}}]}]")
        await stream.answer(200, ends=False, **JSON)
        await stream.hear()
        await stream.body(b"{}", of="response")
        assert (await stream.hear()).response_body.response.body_mutation.body == b'{"seen":true}'
        stream = open_stream()
        await stream.head("/login")
        assert (await stream.hear()).immediate_response.status.code == 403


async def test_a_stop_waits_for_exchanges_that_run_and_takes_no_more() -> None:
    async with processing(PlainWorker(rules(LOGIN))) as (open_stream, stop):
        stream = open_stream()
        await stream.head("/")
        await stream.hear()
        stopping = asyncio.ensure_future(stop(PATIENCE))
        await stream.answer(200)
        assert (await stream.hear()).HasField("response_headers")
        await stopping
        assert await stream.code() is grpc.StatusCode.OK
        assert await open_stream().code() is grpc.StatusCode.UNAVAILABLE


async def test_an_exchange_that_a_stop_cuts_ends_with_an_error_and_not_as_if_it_were_over() -> None:
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker) as (open_stream, stop):
        stream = open_stream()
        await login(stream)
        await stop(0)
        assert await stream.code() is not grpc.StatusCode.OK
        assert (await worker.recorded()).hung_up


async def test_more_exchanges_than_are_allowed_are_refused() -> None:
    async with processing(PlainWorker(rules(LOGIN)), most=2) as (open_stream, _):
        held = [open_stream(), open_stream()]
        for stream in held:
            await stream.head("/")
            await stream.hear()
        assert await open_stream().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for stream in held:
            await stream.answer(200)
            assert (await stream.hear()).HasField("response_headers")


async def test_streams_that_are_cut_anywhere_leave_nothing_behind() -> None:
    worker, tries = PlainWorker(rules(LOGIN)), Tries()
    worker.perform = tries.perform
    async with processing(worker) as (open_stream, _):
        before = len(asyncio.all_tasks())
        begun = 0
        for number in range(120):
            stream = open_stream()
            if number % 4:
                begun += 1
                if number % 4 == 1:
                    await stream.head("/login", method="POST", ends=False, **JSON)
                    await stream.hear()
                elif number % 4 == 2:
                    await login(stream)
                else:
                    await stream.head("/tries")
                    await stream.hear()
            if number % 2:
                stream.cut()
            else:
                await stream.end()
                await stream.code()
        await worker.recorded(begun)
        assert len(worker.records) == begun
        assert all(facts.hung_up for _, facts in worker.records)
        async with asyncio.timeout(PATIENCE):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0)


async def test_nobody_but_this_machine_and_the_trusted_proxies_is_heard() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: it is only seen by which address this machine would.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its own")
        host = probe.getsockname()[0]
    worker = PlainWorker(rules(LOGIN))
    async with processing(worker, host=host) as (open_stream, _):
        assert await open_stream().code() is grpc.StatusCode.PERMISSION_DENIED
        assert worker.told == [
            ("error", "asker-refused", {"peer": host, "cause": "it is not one of trusted_proxies"}),
        ]
        worker.trust = Trust(proxies=(ip_network(host),))
        stream = open_stream()
        await stream.head("/")
        assert (await stream.hear()).HasField("request_headers")
