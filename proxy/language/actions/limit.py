"""The action `limit`: refuse the try after so many, counted in the store."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from ...engine import dialects, obligations
from ...engine.effects import Effect, Reserve, Reserved
from ...engine.exchange import Exchange
from ...engine.message import Response
from ...engine.obligations import Reservation
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..cel import BOOL
from ..fields import Duration, Status, Text

Most = Annotated[int, Field(ge=1, le=10_000)]


class Limit(Action):
    """Refuse a client that tried too often. Counted are the tries of one `key`: all `requests`, or only `failures`.

    A try is reserved before it is forwarded, so parallel guesses cannot slip past; the answer as it arrived then says
    whether it `failed`. A success gives its own try back and forgives none of the earlier failures; an answer that is
    not the auth service's gives the try back. Keys belong to the rule and are stored hashed.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"before"})

    key: Text = Field(description="Whose tries are counted: a user name, an address.")
    requests: Most | None = Field(None, description="So many tries are allowed within `per`.")
    failures: Most | None = Field(None, description="So many failed tries are allowed within `per`.")
    per: Duration = Field(description="The time in which they are counted, such as `15m`.")
    block: Duration | None = Field(
        None, description="For how long the key is refused then; with `failures` it is `per` when not given."
    )
    status: Status = Field(429, description="The status of the refusal.")
    failed: str | None = Field(
        None, description="Says of the answer as it arrived whether the try failed: `response.status == 401`."
    )
    reason: Text | None = Field(None, description="What the client is told.")
    code: Text | None = Field(None, description="A word for programs, as in `deny`.")

    @model_validator(mode="after")
    def _one_kind(self) -> Limit:
        if (self.requests is None) == (self.failures is None):
            raise ValueError("a limit counts either `requests` or `failures`")
        if self.failed is not None and self.failures is None:
            raise ValueError("`failed` is for a limit that counts `failures`")
        return self

    def compile(self, env: StepEnvironment) -> Run:
        if not self.per > 0 or (self.block is not None and not self.block > 0):
            env.problem("bad-setting", "a limit needs a time: `per` and `block` are more than nothing", "per")
        if self.status < 400:
            env.problem("bad-setting", "a refusal has a status from 400 to 599", "status")
        key = env.text(self.key, "key", place="text").read
        reason = env.text(self.reason, "reason", place="text").read if self.reason is not None else None
        code = env.text(self.code, "code", place="text") if self.code is not None else None
        varies = code is not None and not code.constant
        settles = self.failures is not None
        failed = env.expression(self.failed or "response.status == 401", "failed", type=BOOL, answered=True)
        reads_body = any(read.footprint == "response.body" for read in failed.reads)
        most, per, block, status = self.failures or self.requests or 1, self.per, self.block, self.status
        name = env.rule_name

        def limit(x: Exchange) -> Generator[Effect, Any, Response | None]:
            shadow = x.rule is not None and x.rule.shadow
            told = reason(x) if reason is not None else None
            word = code.read(x) if code is not None else None
            counted = f"limit\0{name}\0{'shadow' if shadow else ''}\0{key(x)}"
            reserve = Reserve(counted, most, per, block, settles)
            found: Reserved = yield reserve
            if found.ticket is None:
                x.verdict.reason, x.verdict.code, x.verdict.cause = told, word, "the limit is reached"
                x.verdict.varies = varies
                answer = dialects.answer(
                    x.dialect, status, correlation=x.correlation, limits=x.request.limits, code=word, reason=told
                )
                answer.headers.set(b"Retry-After", b"%d" % max(-(-found.retry_after // 1), 1))
                return answer
            if settles and x.rule is not None:
                obligations.of(x).reservations.append(
                    Reservation(x.rule, "limit", reserve, found.ticket, failed.run, reads_body)
                )
            return None

        return limit
