"""Envoy's external processing (ext_proc v3): a stream for each exchange, on which Envoy tells of its messages in order.

Heads always come here. A request's body comes, whole, where this module asks for it; that of an answer comes unless it
is said that no rule reads it, for nothing could hold it back any more. Whatever is out of order ends the stream with an
error, for which Envoy answers 500: a stream that ends well lets the message go on, so it ends well only when the last
word was said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

import grpc
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from grpc import aio

from ..edge.origin import Peer
from ..edge.refusal import Refusal
from ..engine.errors import Unreadable
from ..engine.message import Response
from .envoy_messages import Head, check_response, edit_request, edit_response, lines_of, options
from .grpc_server import Calls, GrpcServer, admit, commit
from .grpc_server import start as start_server
from .header_edits import HeaderEdits
from .local_replies import UPSTREAM, failure_of
from .processing import Processing, Worker, unread

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
# What the filter must be told to send; `vestibule export envoy` writes it so.
SOURCE = "source.address"
DETAILS = "response.code_details"
_FILTER = "envoy.filters.http.ext_proc"
# How Envoy's own log names an answer that is made here.
_DETAILS = "vestibule"
_HINTS = {
    "request_headers": "the filter must have request_header_mode: SEND",
    "request_body": "the filter must have allow_mode_override: true",
    "response_headers": "the filter must send heads, skip trailers and have allow_mode_override: true",
    "response_body": "the filter must have response_body_mode: BUFFERED",
}
# Where a request goes whose body was asked for, unless the body comes: a path that no service has. An Envoy that does
# not let the mode be overridden would send it on, and no rule would have seen it.
_HELD = b"/.vestibule/held"
# Steps that may want the body of an answer to an exchange that was forwarded, whatever the `after` rules read.
_OWING = frozenset({"limit", "once"})
_BODYLESS = frozenset({204, 304})
_NONE, _BUFFERED = ProcessingMode.NONE, ProcessingMode.BUFFERED
# By whether the bodies of the request and of the answer are to come.
_MODES = {
    (request, response): ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        response_header_mode=ProcessingMode.SEND,
        request_body_mode=_BUFFERED if request else _NONE,
        response_body_mode=_BUFFERED if response else _NONE,
        request_trailer_mode=ProcessingMode.SKIP,
        response_trailer_mode=ProcessingMode.SKIP,
    )
    for request in (False, True)
    for response in (False, True)
}


async def start(worker: Worker, address: str, *, most: int) -> GrpcServer:
    """Serve the processing of at most so many exchanges at once."""
    calls = Calls()

    async def process(_: Any, context: aio.ServicerContext[Any, Any]) -> None:
        with calls:
            await admit(worker, context)
            await _Stream(worker, context, calls.ending).run()

    handler = grpc.stream_stream_rpc_method_handler(
        process,
        request_deserializer=messages.ProcessingRequest.FromString,
        response_serializer=messages.ProcessingResponse.SerializeToString,
    )
    methods = {"Process": handler}
    return await start_server(address, SERVICE, methods, most=most, longest=worker.limits.body, calls=calls)


class _BrokenError(Exception):
    """Envoy, or how it is set up, does not keep to the protocol; the words are for the operator."""


class _EndedError(Exception):
    """Envoy ended the stream: the client hung up, or Envoy gave the exchange up."""


class _Stream:
    """One exchange."""

    def __init__(self, worker: Worker, context: aio.ServicerContext[Any, Any], ending: set[asyncio.Task[None]]) -> None:
        self._worker = worker
        self._context = context
        self._ending = ending
        self._processing: Processing | None = None
        # Whether anything was said yet, from which on Envoy asks nobody else.
        self._said = False
        # Whether the last word is said; once Envoy has it, it cancels the stream.
        self._over = False
        # Whether the bodies of the request and of the answer come, and whether a rule may read the latter.
        self._modes = (False, False)
        self._reads_answers = False

    async def run(self) -> None:
        """Take the messages of the exchange, and end it in any case."""
        try:
            await self._exchange()
        except _BrokenError as broken:
            await self._break_off(grpc.StatusCode.FAILED_PRECONDITION, str(broken))
        except _EndedError:
            pass
        except Exception as error:
            await self._break_off(grpc.StatusCode.INTERNAL, f"a fault of the proxy: {type(error).__name__}")
        finally:
            if self._processing is not None:
                # A stream that is cut may be so more than once, and what is owed is met all the same.
                closing = asyncio.ensure_future(self._processing.close(hung_up=not self._over))
                self._ending.add(closing)
                closing.add_done_callback(self._ending.discard)
                await asyncio.shield(closing)

    async def _break_off(self, code: grpc.StatusCode, cause: str) -> NoReturn:
        self._worker.tell("error", "envoy-stream-broken", cause=cause)
        if self._processing is not None:
            self._processing.facts.error = cause
        await self._context.abort(code, cause)

    async def _next(self, *wanted: str) -> Any:
        message = await self._context.read()
        if message is aio.EOF:
            raise _EndedError
        kind = message.WhichOneof("request")
        if kind not in wanted:
            what = kind or "a message that is not known"
            raise _BrokenError(f"{what} came where {wanted[0]} was to come: {_HINTS[wanted[0]]}")
        return message

    async def _exchange(self) -> None:
        message = await self._next("request_headers", "response_headers")
        if message.HasField("response_headers"):
            await self._without_request(message)
            return
        source = _attribute(message, SOURCE, "request_attributes")
        self._modes = _modes(message)
        head = Head.of(message.request_headers.headers)
        worker = self._worker
        peer = Peer(source, "http", 0, worker.trust)
        try:
            request = head.original(source).read(worker, upgrades=True)
        except (Refusal, Unreadable) as refused:
            await self._answer(unread(worker, peer.ip, refused.status, refused.cause))
            return
        processing = self._processing = Processing(worker, request, self._commit)
        self._reads_answers = _may_read_answers(processing)
        if self._reads_answers and not self._modes[1]:
            # It would let answers go as they are.
            raise _BrokenError("response_body_mode of the filter must be BUFFERED: a rule reads answers")
        with_body = processing.needs_request and not message.request_headers.end_of_stream
        if with_body:
            if head.length > processing.longest:
                await self._answer(await processing.refuse(413, "the body is over the limit"))
                return
            await self._go_on("request_headers", body=True)
            body = await self._next("request_body", "response_headers")
            if body.HasField("response_headers"):
                await self._too_early(processing, body)
                return
            content = body.request_body.body
            processing.hold(len(content))
            processing.receive(content)
        elif not message.request_headers.end_of_stream:
            processing.miss(head.length)
        received = request.content
        answer = await processing.begin()
        if answer is not None:
            await self._answer(answer)
            return
        try:
            edits, pseudo = edit_request(head, processing.exchange.request, trusted=peer.trusted)
        except Refusal as refusal:
            await self._answer(processing.fault(refusal.status, refusal.cause))
            return
        processing.forward()
        if with_body:
            content = processing.exchange.request.content
            pseudo[b":path"] = processing.exchange.request.url.encode("latin-1")
            reply = messages.ProcessingResponse()
            reply.request_body.response.CopyFrom(_common(edits, pseudo, _changed(received, content)))
            await self._context.write(reply)
        else:
            await self._go_on("request_headers", _common(edits, pseudo))
        await self._response(processing)

    async def _commit(self) -> None:
        if not self._said:
            await commit(self._context)

    async def _go_on(self, what: str, common: messages.CommonResponse | None = None, *, body: bool = False) -> None:
        """Reply to a head, and say whether its body is to come."""
        reply = messages.ProcessingResponse()
        part = getattr(reply, what)
        part.SetInParent()
        if common is not None:
            part.response.CopyFrom(common)
        of_request = what == "request_headers"
        wanted = (body, self._reads_answers) if of_request else (self._modes[0], body)
        if wanted != self._modes:
            self._modes = wanted
            reply.mode_override.CopyFrom(_MODES[wanted])
            if of_request and body:
                part.response.header_mutation.set_headers.extend(options([(b":path", [_HELD])], raw=True))
        self._said = True
        await self._context.write(reply)

    async def _response(self, processing: Processing) -> None:
        message = await self._next("response_headers")
        details = _attribute(message, DETAILS, "response_attributes")
        head = Head.of(message.response_headers.headers)
        if details != UPSTREAM:
            await self._local_reply(processing, head, details)
            return
        worker = self._worker
        try:
            response = head.response(worker.bounds, worker.limits)
        except Refusal as refusal:
            await self._answer(await processing.refuse(refusal.status, refusal.cause))
            return
        ended = message.response_headers.end_of_stream
        status = response.status
        bodyless = processing.exchange.request.method == "HEAD" or status in _BODYLESS or status < 200
        reads = processing.needs_response(status)
        with_body = reads and not (ended or bodyless)
        if with_body:
            if not self._modes[1]:
                raise _BrokenError(f"the body of an answer does not come: {_HINTS['response_body']}")
            if head.length > worker.limits.body:
                await self._answer(await processing.refuse(502, "the answer's body is over the limit"))
                return
            await self._go_on("response_headers", body=True)
            response.content = (await self._next("response_body")).response_body.body
        elif reads and not bodyless:
            response.content = b""
        elif not (ended or bodyless):
            processing.miss(head.length, of_answer=True)
        received = response.content
        answer = await processing.after(response)
        # What replaces a body that passes by can only be said as an answer of its own.
        replaced = answer.content is not None and answer.content != received and not with_body
        if answer.origin != "upstream" or replaced:
            await self._answer(answer)
            return
        try:
            edits, pseudo = edit_response(head, answer)
        except Refusal as refusal:
            await self._answer(processing.fault(refusal.status, refusal.cause))
            return
        self._over = True
        if with_body:
            reply = messages.ProcessingResponse()
            reply.response_body.response.CopyFrom(_common(edits, pseudo, _changed(received, answer.content)))
            await self._context.write(reply)
            return
        if reads and bodyless and head.has_length:
            # An edited answer to a GET would have another length than the one that the upstream told.
            edits.removed.append(b"content-length")
        await self._go_on("response_headers", _common(edits, pseudo))

    async def _without_request(self, message: Any) -> None:
        """Let an answer stand that Envoy gave before any filter saw the request."""
        if _attribute(message, DETAILS, "response_attributes") == UPSTREAM:
            raise _BrokenError(f"an answer came without its request: {_HINTS['request_headers']}")
        self._over = True
        await self._go_on("response_headers")

    async def _too_early(self, processing: Processing, message: Any) -> None:
        """Take an answer that Envoy gave by itself while the body of the request was waited for."""
        details = _attribute(message, DETAILS, "response_attributes")
        if details == UPSTREAM:
            raise _BrokenError(f"an answer came where request_body was to come: {_HINTS['request_body']}")
        await self._local_reply(processing, Head.of(message.response_headers.headers), details)

    async def _local_reply(self, processing: Processing, head: Head, details: str) -> None:
        """Tell a failure of the upstream as the proxy does; any other answer of Envoy's own is left as it is."""
        failure = failure_of(details)
        if failure is not None:
            await self._answer(await processing.refuse(*failure))
            return
        await processing.leave(head.status, "Envoy answered itself")
        self._over = True
        await self._go_on("response_headers")

    async def _answer(self, answer: Response) -> None:
        """Answer in Envoy's place, and with that say the last word."""
        try:
            check_response(answer)
        except Refusal as refusal:
            if self._processing is None:
                raise
            answer = self._processing.fault(refusal.status, refusal.cause)
        content = answer.content or b""
        reply = messages.ProcessingResponse()
        immediate = reply.immediate_response
        immediate.status.code = answer.status
        immediate.body = content
        immediate.details = _DETAILS
        immediate.headers.set_headers.extend(options(lines_of(answer).items(), raw=True))
        if self._processing is not None:
            self._processing.facts.sent = len(content)
        self._over = True
        await self._context.write(reply)


def _may_read_answers(processing: Processing) -> bool:
    """Say whether the body of some answer may be read, as far as can be told before a rule ran."""
    return any(
        chosen.rule.needs_response or any(step.action in _OWING for step in chosen.rule.before)
        for chosen in processing.exchange.chosen.rules
    )


def _attribute(message: Any, name: str, setting: str) -> str:
    fields = message.attributes[_FILTER].fields if _FILTER in message.attributes else {}
    if name not in fields:
        raise _BrokenError(f"Envoy does not tell {name}: it must stand in {setting} of the filter")
    return str(fields[name].string_value)


def _modes(message: Any) -> tuple[bool, bool]:
    """Say whether bodies come unless it is said otherwise; raise for an Envoy that would send them in parts."""
    config = message.protocol_config
    modes = config.request_body_mode, config.response_body_mode
    if not {*modes} <= {_NONE, _BUFFERED}:
        raise _BrokenError("request_body_mode and response_body_mode of the filter must be BUFFERED or NONE")
    return modes[0] == _BUFFERED, modes[1] == _BUFFERED


def _changed(received: bytes | None, content: bytes | None) -> bytes | None:
    return None if content == received else content or b""


def _common(edits: HeaderEdits, pseudo: Mapping[bytes, bytes], content: bytes | None = None) -> messages.CommonResponse:
    common = messages.CommonResponse()
    mutation = common.header_mutation
    mutation.set_headers.extend(options(((name, [value]) for name, value in pseudo.items()), raw=True))
    mutation.set_headers.extend(options(edits.set, raw=True))
    mutation.remove_headers.extend(name.decode("latin-1") for name in edits.removed)
    if content is not None:
        common.body_mutation.body = content
        # With the body of another length Envoy answers 500 unless it is told.
        length = b"%d" % len(content)
        mutation.set_headers.extend(options([(b"content-length", [length])], raw=True))
    return common
