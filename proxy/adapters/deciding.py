"""One question over HTTP: its request through the rules of the phase `before`, and the answer as HTTP has it.

A 2xx lets the request go on, so nothing but a request that the rules let through gets one: an answer of a rule's own
that has such a status becomes a 500.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from ..edge.refusal import Refusal
from ..engine.errors import Unreadable
from ..engine.exchange import Exchange
from ..engine.message import Response
from .asking import read_body
from .original import Original
from .processing import Processing, Worker, seems_to_have_body, unread

Lines = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How one kind of proxy asks, and is answered. With `bodies` a question holds the request's body too."""

    read: Callable[[web.BaseRequest], Original]
    allow: Callable[[web.BaseRequest, Exchange], Lines]
    refuse: Callable[[Response], web.Response]
    bodies: bool = False


async def decide(worker: Worker, question: web.BaseRequest, manner: Manner) -> web.Response:
    """Answer a question."""
    try:
        request = manner.read(question).read(worker)
    except (Refusal, Unreadable) as error:
        return manner.refuse(unread(worker, question.remote or "unknown", error.status, error.cause))
    processing = Processing(worker, request)
    try:
        answer = await _begin(worker, question, processing, bodies=manner.bodies)
        if answer is None:
            allowed = _response(200, manner.allow(question, processing.exchange))
            processing.forward(heard=False)
            return allowed
        if answer.status < 300:
            answer = processing.fault(500, "an answer that would let the request go on")
        return manner.refuse(answer)
    finally:
        await processing.close()


async def _begin(worker: Worker, question: web.BaseRequest, processing: Processing, *, bodies: bool) -> Response | None:
    request = processing.exchange.request
    if processing.needs_request:
        if not bodies:
            return await processing.refuse(500, "a rule reads the body, which the proxy that asks does not send")
        try:
            content = await read_body(question, worker, processing)
        except TimeoutError:
            return await processing.refuse(408, "the body did not come in time")
        if content is None and seems_to_have_body(request):
            return await processing.refuse(500, "the proxy that asks did not send the body, which a rule reads")
        processing.receive(content)
    elif question.body_exists or seems_to_have_body(request):
        processing.miss(0)
    return await processing.begin()


def plain(answer: Response, *, status: int | None = None, more: Lines = ()) -> web.Response:
    """Write an answer for the client, that a proxy passes on."""
    lines = [(name.decode("latin-1"), value.decode()) for _, name, value in answer.headers.lines]
    return _response(status or answer.status, [*lines, *more], answer.content)


def _response(status: int, lines: Lines, content: bytes | None = None) -> web.Response:
    return web.Response(status=status, headers=CIMultiDict([("Server", "vestibule"), *lines]), body=content)
