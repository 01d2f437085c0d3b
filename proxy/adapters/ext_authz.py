"""Envoy's external authorization (ext_authz v3): whether a request may go on, and with which headers and path.

Only the request is told, so only the phase `before` runs. What a rule reads of a body is the whole body or an error.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
from envoy.service.auth.v3 import external_auth_pb2 as messages
from grpc import aio

from ..edge.origin import Peer
from ..edge.refusal import Refusal
from ..engine import dialects
from ..engine.errors import Unreadable
from ..engine.message import Request, Response
from .envoy_messages import Head, check_response, edit_request, lines_of, options
from .grpc_server import Calls, GrpcServer, admit, commit
from .grpc_server import start as start_server
from .processing import Commit, Processing, Worker, seems_to_have_body, unread

SERVICE = "envoy.service.auth.v3.Authorization"
# Codes of gRPC: Envoy lets the request go on for the first alone.
_OK, _DENIED = 0, 7
# Envoy says by this header whether it told the whole body.
_PARTIAL = b"x-envoy-auth-partial-body"
_NOT_TOLD = "Envoy did not tell the body, which a rule reads: with_request_body of the filter, with pack_as_bytes"


async def start(worker: Worker, address: str, *, most: int) -> GrpcServer:
    """Answer at most so many checks at once."""

    calls = Calls()

    async def check(question: Any, context: aio.ServicerContext[Any, Any]) -> messages.CheckResponse:
        with calls:
            await admit(worker, context)
            return await decide(worker, question, partial(commit, context))

    handler = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=messages.CheckRequest.FromString,
        response_serializer=messages.CheckResponse.SerializeToString,
    )
    methods = {"Check": handler}
    return await start_server(address, SERVICE, methods, most=most, longest=worker.limits.body, calls=calls)


async def decide(worker: Worker, question: Any, commit: Commit | None = None) -> messages.CheckResponse:
    """Answer one check."""
    told = question.attributes.request.http
    head = _head(told)
    source = _source(question)
    peer = Peer(source, "http", 0, worker.trust)
    try:
        request = head.original(source).read(worker, upgrades=True)
    except (Refusal, Unreadable) as refused:
        return _deny(unread(worker, peer.ip, refused.status, refused.cause))
    processing = Processing(worker, request, commit)
    try:
        answer = await _begin(processing, head, told)
        if answer is None:
            try:
                # Where lines are told joined, those of Cookie mean something else than they did: what the rules saw is
                # what is sent.
                held = head if told.HasField("header_map") else head.without(b"cookie")
                return _allow(processing, held, trusted=peer.trusted)
            except Refusal as refusal:
                answer = processing.fault(refusal.status, refusal.cause)
        try:
            check_response(answer)
            return _deny(answer)
        except Refusal as refusal:
            return _deny(processing.fault(refusal.status, refusal.cause))
    finally:
        await processing.close()


def _head(told: Any) -> Head:
    if told.HasField("header_map"):
        return Head.of(told.header_map)
    return Head.of_lines((name, value.encode()) for name, value in told.headers.items())


def _source(question: Any) -> str:
    address = question.attributes.source.address
    return address.socket_address.address or address.pipe.path or "unknown"


async def _begin(processing: Processing, head: Head, told: Any) -> Response | None:
    request = processing.exchange.request
    if processing.needs_request:
        if head.length > processing.longest:
            return await processing.refuse(413, "the body is over the limit")
        content = told.raw_body or told.body.encode()
        partial = request.headers.values(_PARTIAL)
        if any(value != b"false" for value in partial):
            return await processing.refuse(413, "Envoy told a part of the body: it is over max_request_bytes")
        if not content and (partial or _has_body(head, request)):
            return await processing.refuse(500, _NOT_TOLD)
        processing.hold(len(content))
        processing.receive(content or None)
    elif _has_body(head, request):
        processing.miss(head.length)
    return await processing.begin()


def _has_body(head: Head, request: Request) -> bool:
    """Say whether a request has a body, or looks as if it had one."""
    if head.has_length:
        return head.length > 0
    return seems_to_have_body(request)


def _allow(processing: Processing, head: Head, *, trusted: bool) -> messages.CheckResponse:
    exchange = processing.exchange
    edits, pseudo = edit_request(head, exchange.request, trusted=trusted)
    reply = messages.CheckResponse()
    reply.status.code = _OK
    allowed = reply.ok_response
    allowed.headers.extend(options(((name, [value]) for name, value in pseudo.items()), raw=False))
    allowed.headers.extend(options(edits.set, raw=False))
    allowed.headers_to_remove.extend(name.decode("latin-1") for name in edits.removed)
    correlation = dialects.correlation_header(exchange.dialect)
    allowed.response_headers_to_add.extend(options([(correlation, [exchange.correlation.encode()])], raw=False))
    processing.forward(heard=False)
    return reply


def _deny(answer: Response) -> messages.CheckResponse:
    reply = messages.CheckResponse()
    reply.status.code = _DENIED
    denied = reply.denied_response
    denied.status.code = answer.status
    denied.headers.extend(options(lines_of(answer).items(), raw=False))
    try:
        denied.body = (answer.content or b"").decode()
    except UnicodeDecodeError:
        raise Refusal(500, "the body of an answer is not UTF-8, which cannot be told to Envoy") from None
    return reply
