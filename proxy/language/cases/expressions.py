"""The expressions of a case, `keep` and `holds`: what they may read of an exchange that is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ...engine.effects import Lookup
from ...engine.errors import EvaluationError
from ...engine.message import Request, Response
from ..cel import DYN, STRING, Environment, Program, Variable, compile, list_of, map_of
from ..variables import request, response


@dataclass(frozen=True, slots=True)
class Seen:
    """An exchange that is over: the forwarded request, the answer to the client, the calls that were made."""

    forwarded: Request | None
    response: Response | None
    calls: Sequence[Lookup]

    @property
    def request(self) -> Request:
        if self.forwarded is None:
            raise EvaluationError("the request was not forwarded")
        return self.forwarded

    def answer(self) -> Response:
        if self.response is None:
            raise EvaluationError("there is no answer")
        return self.response


def location(answer: Response) -> tuple[str, dict[str, str]]:
    """Take a Location apart: the address without its query, and the parameters."""
    text = answer.headers.text(b"location")
    if text is None:
        raise EvaluationError(f"the answer has no Location (its status is {answer.status})")
    address, _, query = text.partition("#")[0].partition("?")
    return address, dict(parse_qsl(query, keep_blank_values=True))


def _call(call: Lookup) -> dict[str, Any]:
    body: Any = None
    if call.body is not None:
        try:
            body = msgspec.json.decode(call.body)
        except msgspec.DecodeError:
            body = call.body.decode("utf-8", "replace")
    return {"method": call.method, "url": call.url, "headers": dict(call.headers), "body": body}


_LOCATION = Variable(
    members={
        "url": Variable(type=STRING, read=lambda x: location(x.answer())[0]),
        "query": Variable(type=map_of(STRING, STRING), read=lambda x: location(x.answer())[1]),
    },
    has=lambda x: b"location" in x.answer().headers,
)
_LOOKUPS = Variable(type=list_of(DYN), read=lambda x: [_call(call) for call in x.calls])


@lru_cache(maxsize=1024)
def compiled(source: str) -> Program:
    """Compile an expression of a case; raise CelProblems."""
    names = {"response": response(), "location": _LOCATION, "lookups": _LOOKUPS, "upstream": request()}
    return compile(source, Environment(variables=names))
