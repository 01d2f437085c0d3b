"""Forward-auth: a proxy asks with the head of a request whether it may go on, as Traefik, Caddy and nginx do.

Only the phase `before` runs. A 200 holds every header of the request as the rules leave it, a name in one line: the
proxy copies those that it was told to, and a name that is missing is one that it has to drop. Any other answer is the
client's.

nginx passes on no answer but a 401 and a 403, and no body. So a question at NGINX is refused by one of them, and what
the client is to get stands in the headers STATUS and BODY.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from ..edge.server import Served
from ..engine.exchange import Exchange
from ..engine.message import Response
from .asking import Desk
from .deciding import Manner, decide, plain
from .original import Original
from .processing import Worker
from .telling import hops, joined, keyed, of_request, only

NGINX = "/nginx"
STATUS = "Vestibule-Status"
BODY = "Vestibule-Body"


async def start(worker: Worker, address: str, *, most: int, bodies: bool = False) -> Served:
    """Answer the questions at an address; with `bodies` they hold those of the requests."""
    passing = Manner(read, allow, plain, bodies)
    told = Manner(read, allow, refuse_nginx, bodies)

    async def answer(question: web.BaseRequest) -> web.Response:
        return await decide(worker, question, told if question.raw_path == NGINX else passing)

    return Desk(worker, address, answer, most=most)


def read(question: web.BaseRequest) -> Original:
    """Read the request that is asked about; raise Refusal where it is not told, or told twice."""
    lines = keyed(question.raw_headers)
    return Original(
        only(lines, b"x-forwarded-method"),
        only(lines, b"x-forwarded-uri"),
        only(lines, b"x-forwarded-host").encode("latin-1"),
        only(lines, b"x-forwarded-proto").lower(),
        hops(lines),
        of_request(lines),
    )


def allow(_question: web.BaseRequest, exchange: Exchange) -> Iterator[tuple[str, str]]:
    """Give the headers of the request as the rules leave it; one that is not UTF-8 is left out: no rule made it."""
    for _, name, value in joined(exchange.request.headers):
        try:
            yield name.decode("latin-1"), value.decode()
        except UnicodeDecodeError:
            continue


def refuse_nginx(answer: Response) -> web.Response:
    """Write an answer so that nginx can give it to the client: its configuration reads it from two headers."""
    text = (answer.content or b"").decode()
    more = [(STATUS, str(answer.status)), *([(BODY, text)] if text and text.isprintable() else [])]
    return plain(answer, status=401 if answer.status == 401 else 403, more=more)
