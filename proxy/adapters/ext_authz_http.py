"""Envoy's external authorization over HTTP: the question is the request itself, with its body where Envoy is told to.

Only the phase `before` runs. A 200 holds the headers that rules changed, of which Envoy takes those that it was told
to, and names those to be dropped. Any other answer below 500 is the client's; above, Envoy gives one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from ..edge.server import Served
from ..engine.dialects import correlation_header
from ..engine.exchange import Exchange
from ..engine.message import Headers
from .asking import Desk
from .deciding import Manner, decide, plain
from .original import Original
from .processing import Worker
from .telling import hops, joined, keyed, of_request, only

REMOVE = "x-envoy-auth-headers-to-remove"


async def start(worker: Worker, address: str, *, most: int) -> Served:
    """Answer the questions at an address."""
    manner = Manner(read, allow, plain, bodies=True)

    async def answer(question: web.BaseRequest) -> web.Response:
        return await decide(worker, question, manner)

    return Desk(worker, address, answer, most=most)


def read(question: web.BaseRequest) -> Original:
    """Read the request that is asked about; raise Refusal where Envoy does not say whose it is."""
    lines = keyed(question.raw_headers)
    return Original(
        question.method,
        question.raw_path,
        only(lines, b"host").encode("latin-1"),
        only(lines, b"x-forwarded-proto").lower(),
        hops(lines),
        of_request(lines),
    )


def allow(question: web.BaseRequest, exchange: Exchange) -> Iterator[tuple[str, str]]:
    """Give the headers that are to be changed, and the names of those that are not to go on.

    So goes what the client says of itself, which no rule saw.
    """
    correlation = correlation_header(exchange.dialect)
    sent = Headers(keyed(of_request(keyed(question.raw_headers))))
    before = {key: value for key, _, value in joined(sent)}
    for key, name, value in joined(exchange.request.headers):
        # The id is for the answer too.
        if before.pop(key, None) != value or key == correlation:
            yield name.decode("latin-1"), value.decode()
    if before:
        yield REMOVE, ",".join(key.decode("latin-1") for key in before)
