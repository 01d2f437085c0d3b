"""What could stand where a case says that something is expected, and not yet what: the answers that came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ...engine.exchange import Exchange
from ...engine.message import Message, Request, Response
from .comparison import decoded, denied_by, without
from .content import Expectation
from .findings import Fix


def fillings(
    expect: Expectation, exchange: Exchange, forwarded: Request | None, answer: Response | None
) -> Iterator[Fix]:
    """Give what would stand in the empty parts of an expectation."""
    written = expect.model_fields_set
    if not written:
        upstream = {} if forwarded is not None else {"upstream": "not called"}
        yield Fix((), upstream if answer is None else {**upstream, "response": _response(answer, exchange)})
        return
    if "response" in written and answer is not None:
        if expect.response is None or not expect.response.model_fields_set:
            yield Fix(("response",), _response(answer, exchange))
        elif "status" in expect.response.model_fields_set and expect.response.status is None:
            yield Fix(("response", "status"), answer.status)
    wanted = expect.upstream
    if "upstream" in written and wanted != "not called" and (wanted is None or not wanted.model_fields_set):
        yield Fix(("upstream",), "not called" if forwarded is None else _request(forwarded))
    if "rules" in written and (expect.rules is None or not expect.rules.model_fields_set):
        yield Fix(("rules",), {"ran": list(exchange.ran), "denied_by": denied_by(exchange)})


def _response(answer: Response, exchange: Exchange) -> dict[str, Any]:
    own = exchange.correlation if answer.origin != "upstream" else None
    return {"status": answer.status, **_body(answer, own)}


def _request(request: Request) -> dict[str, Any]:
    return {"method": request.method, "path": request.path, **_body(request, None)}


def _body(message: Message, correlation: str | None) -> dict[str, Any]:
    content = decoded(message)
    if not content:
        return {}
    try:
        return {"json": without(msgspec.json.decode(content), correlation)}
    except msgspec.DecodeError:
        try:
            return {"text": content.decode("utf-8")}
        except UnicodeDecodeError:
            return {}
