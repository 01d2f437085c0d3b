"""Forward-auth: a proxy asks with the head of a request whether it may go on, as Traefik, Caddy and nginx do.

Only the phase `before` runs. A 200 holds every header of the request as the rules leave it, a name in one line: the
proxy copies those that it was told to, and a name that is missing is one that it has to drop. Any other answer is the
client's.

nginx passes on no answer but a 401 and a 403, and no body. So a question at NGINX is refused by one of them, and what
the client is to get stands in headers: VESTIBULE_STATUS and VESTIBULE_BODY.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from ..edge.fields import CONNECTION, CONTENT_LENGTH, EXPECT, HOP, HOST, TRANSFER_ENCODING, UPGRADE, classify, known
from ..edge.refusal import Refusal
from ..edge.server import Served
from ..engine.exchange import Exchange
from ..engine.message import Response
from .asking import Desk
from .deciding import Manner, decide, plain
from .original import Original
from .processing import Worker

NGINX = "/nginx"
STATUS = "Vestibule-Status"
BODY = "Vestibule-Body"
_FIELDS = (b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-host", b"x-forwarded-proto")
_FOR = b"x-forwarded-for"
# What is said to the asking proxy, or of its connection to here; no part of the request.
_OURS = frozenset({*_FIELDS, _FOR, b"forwarded", b"host", b"connection", b"upgrade", b"expect", b"transfer-encoding"})
# What frames an answer, and is not copied from it.
_FRAMING = frozenset({HOP, CONNECTION, TRANSFER_ENCODING, UPGRADE, HOST, EXPECT, CONTENT_LENGTH})


async def start(worker: Worker, address: str, *, most: int, bodies: bool = False) -> Served:
    """Answer the questions at an address; with `bodies` they hold those of the requests."""
    passing = Manner(read, allow, plain, bodies)
    told = Manner(read, allow, refuse_nginx, bodies)

    async def answer(question: web.BaseRequest) -> web.Response:
        return await decide(worker, question, told if question.raw_path == NGINX else passing)

    return Desk(worker, address, answer, most=most)


def allow(exchange: Exchange) -> Iterator[tuple[str, str]]:
    """Give the headers of the request as the rules leave it, several lines of a name as one.

    One that is not UTF-8 is left out: no rule made it.
    """
    joined: dict[bytes, tuple[bytes, bytes]] = {}
    for key, name, value in exchange.request.headers.lines:
        if (known.get(name) or classify(name))[1] in _FRAMING:
            continue
        before = joined.get(key)
        between = b"; " if key == b"cookie" else b", "
        joined[key] = (name, value) if before is None else (before[0], before[1] + between + value)
    for name, value in joined.values():
        try:
            yield name.decode("latin-1"), value.decode()
        except UnicodeDecodeError:
            continue


def refuse_nginx(answer: Response) -> web.Response:
    """Write an answer so that nginx can give it to the client: its configuration reads it from two headers."""
    text = (answer.content or b"").decode()
    more = [(STATUS, str(answer.status)), *([(BODY, text)] if text and text.isprintable() else [])]
    return plain(answer, status=401 if answer.status == 401 else 403, more=more)


def read(question: web.BaseRequest) -> Original:
    """Read the request that is asked about; raise Refusal where it is not told, or told twice."""
    lines = [(name.lower(), name, value) for name, value in question.raw_headers]
    method, target, host, scheme = (_only(lines, field) for field in _FIELDS)
    hops = b",".join(value for key, _, value in lines if key == _FOR).decode("latin-1").split(",")
    if not hops[-1].strip():
        raise Refusal(400, "x-forwarded-for is said not at all by the proxy that asks")
    return Original(
        method.decode("latin-1"),
        target.decode("latin-1"),
        host,
        scheme.decode("latin-1").lower(),
        tuple(hop.strip() for hop in hops),
        [(name, value) for key, name, value in lines if key not in _OURS],
    )


def _only(lines: list[tuple[bytes, bytes, bytes]], key: bytes) -> bytes:
    found = [value for name, _, value in lines if name == key]
    if len(found) != 1 or not found[0]:
        what = "more than once" if len(found) > 1 else "not at all"
        raise Refusal(400, f"{key.decode('latin-1')} is said {what} by the proxy that asks")
    return found[0]
