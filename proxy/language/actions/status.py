"""The action `status`: another status or reason phrase for the response."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, model_validator

from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ...engine.message import STALE, Response
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..fields import Status as StatusCode
from ..fields import Text
from ..slots import constant

# What every client reads as a phrase (RFC 9112 section 4, without obs-text).
_phrase = re.compile(r"[\t -~]{0,512}").fullmatch
_NO_PHRASE = "a reason phrase is at most 512 characters of ASCII without controls"

# Their answers have no body (RFC 9110 section 6.4.1).
_WITHOUT_BODY = (204, 304)
_OF_THE_BODY = STALE | {b"content-type", b"content-encoding", b"content-length"}


class Status(Action):
    """Change the response's status; a 204 or 304 loses its body."""

    phases: ClassVar[frozenset[str]] = frozenset({"after", "continue"})

    code: StatusCode | None = Field(None, description="The status, 200 to 599.")
    reason: Text | None = Field(
        None, description="The reason phrase of the status line; the status's own when not given."
    )

    @model_validator(mode="after")
    def _something(self) -> Status:
        if self.code is None and self.reason is None:
            raise ValueError("give `code`, `reason` or both")
        return self

    def compile(self, env: StepEnvironment) -> Run:
        code = self.code
        value = env.text(self.reason, "reason", place="header") if self.reason is not None else None
        if value is not None and value.constant and not _phrase(constant(value)):
            env.problem("bad-text", _NO_PHRASE, "reason")

        def change(x: Exchange) -> None:
            phrase = value.read(x) if value is not None else None
            if phrase is not None and not _phrase(phrase):
                raise EvaluationError(_NO_PHRASE)
            response = x.answer()
            if code in _WITHOUT_BODY:
                response = x.response = _emptied(response)
            if code is not None:
                response.status = code
            response.reason = phrase

        return change


def _emptied(response: Response) -> Response:
    """Take the body from a response, also one that an earlier step opened."""
    headers = response.headers
    headers.discard(_OF_THE_BODY)
    return Response(response.status, headers, b"", limits=response.limits, origin=response.origin)
