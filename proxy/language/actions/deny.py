"""The action `deny`: refuse, in the error format of the client."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ...engine import dialects
from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange, Verdict
from ...engine.message import Response
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..answers import AnswerHeaders, AnswerLines, KeepCookies, KeepHeaders, Kept, lay
from ..fields import Status, Text
from ..secrecy import masked, reads_secret, watch
from ..slots import constant

# What every dialect takes as a code: for oauth RFC 6749 leaves out space, quote and backslash.
_code = re.compile(r"[!#-\[\]-~]{1,100}").fullmatch


def _error(value: Any) -> Any:
    if isinstance(value, int) and not 400 <= value <= 599:
        raise ValueError("a denial has a status from 400 to 599")
    return value


class Deny(Action):
    """Refuse. The phase ends, nothing more is forwarded, and the client gets an error in its dialect.

    The answer starts empty: no header, cookie or byte of the response that it replaces, but for what `keep_headers`
    and `keep_cookies` name.
    """

    reason: Text | None = Field(
        None, description="What the client is told; a sentence that fits the status when not given."
    )
    status: Annotated[Status, BeforeValidator(_error)] = Field(403, description="The status, 400 to 599.")
    code: Text | None = Field(
        None,
        description="A word for programs: `errorCode` (kibo), `fault.type` (ocapi), `error` (oauth), `code` (problem).",
    )
    detail: Text | None = Field(None, description="What is logged, and never shown to the client.")
    dialect: Literal["problem", "kibo", "ocapi", "oauth"] | None = Field(
        None, description="The error format; that of the operation's pack when not given."
    )
    headers: AnswerHeaders = Field(default_factory=dict)
    keep_headers: KeepHeaders = Field(default_factory=list)
    keep_cookies: KeepCookies = Field(default_factory=list)

    def compile(self, env: StepEnvironment) -> Run:
        reason = env.text(self.reason, "reason", place="text") if self.reason is not None else None
        detail = env.text(self.detail, "detail", place="text") if self.detail is not None else None
        # The client may be told of what it sent itself; the log never is.
        reason_secret = reads_secret(reason.programs, env) if reason is not None else None
        detail_secret = watch(env, detail, "detail") if detail is not None else None
        code = env.text(self.code, "code", place="text") if self.code is not None else None
        if code is not None and code.constant and not _code(constant(code)):
            env.problem("bad-text", "a code is a word: no space, quote, backslash or control character", "code")
        varies = code is not None and not code.constant
        lines = AnswerLines(env, self.headers)
        keep = Kept(env, self.keep_headers, self.keep_cookies)
        status, dialect = self.status, self.dialect

        def deny(x: Exchange) -> Response:
            told = reason.read(x) if reason is not None else None
            word = code.read(x) if code is not None else None
            if word is not None and not _code(word):
                raise EvaluationError("the code of a denial is not a word")
            logged = masked(detail.read(x), detail_secret, x) if detail is not None else None
            kept, given = keep.read(x), lines.read(x)
            shown = masked(told, reason_secret, x) if told is not None else None
            x.verdict = Verdict(reason=shown, detail=logged, code=word, varies=varies)
            answer = dialects.answer(
                dialect or x.dialect, status, correlation=x.correlation, limits=x.request.limits, code=word, reason=told
            )
            return lay(answer, kept, given)

        return deny
