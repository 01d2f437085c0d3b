"""Calls of other services, as an author writes them: compiled to a generator that gives the answer as data."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..engine import effects
from ..engine.addresses import with_query
from ..engine.body import is_json
from ..engine.effects import Answer, Effect
from ..engine.errors import EffectFailed, EvaluationError, Unreadable
from ..engine.exchange import Exchange
from ..engine.json_body import JsonBody
from ..engine.message import Headers
from .action import StepEnvironment, Value
from .contents import FORM_TYPE, JSON_TYPE, TEXT_TYPE, Write, compile_form, compile_json, compile_text
from .fields import Duration, HeaderName, Text, is_token
from .names import UNTOUCHABLE, refuse_twins
from .service_addresses import compile_address, compile_operation
from .slots import Slot, fill, header_slot

Run = Callable[[Exchange], Generator[Effect, Any, dict[str, Any]]]

_TYPES = {"json": JSON_TYPE, "form": FORM_TYPE, "body": TEXT_TYPE}
# A shopper's cookie may be what the service asks for; it is sent where the rule names it.
_REFUSED = {name: reason for name, reason in UNTOUCHABLE.items() if name != "cookie"} | {
    "expect": "the proxy sends the whole request at once",
    "set-cookie": "it is a header of answers",
}


def _callable(value: str) -> str:
    if not is_token(value) or value.upper() in ("CONNECT", "TRACE"):
        raise ValueError("this is no method that a service can be called with")
    return value.upper()


class BreakerSettings(BaseModel):
    """When a service is not called for a while, for all lookups of its place and method with these settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)

    window: Annotated[int, Field(ge=1, le=10_000)] = Field(100, description="How many of the last calls count.")
    failures: Annotated[int, Field(ge=0, le=10_000)] = Field(
        50, description="It opens when more than this many of them failed: no answer, or a 5xx."
    )
    open: Duration = Field(60.0, description="For how long no call is made then.")
    probes: Annotated[int, Field(ge=1, le=1000)] = Field(10, description="How many calls decide after that.")
    probe_failures: Annotated[int, Field(ge=0, le=1000)] = Field(
        5, description="It opens again when more than this many of them failed."
    )

    @model_validator(mode="after")
    def _can_open(self) -> BreakerSettings:
        if self.failures >= self.window or self.probe_failures >= self.probes:
            raise ValueError("`failures` is less than `window`, and `probe_failures` less than `probes`")
        return self


class Call(BaseModel):
    """A call of another service. The answer is `{status, headers, body}`, whatever its status."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)

    url: Text | None = Field(
        None,
        description="The address: https, or a path of the auth service itself. Scheme, host and port are written out "
        "or come from `configuration`; each `${…}` in the path is one encoded segment, in the query it is encoded.",
    )
    operation: Text | None = Field(None, description="An operation of a pack, instead of `url`.")
    params: dict[Text, Text] = Field(default_factory=dict, description="The parameters of the operation's path.")
    query: dict[Text, Text] = Field(
        default_factory=dict,
        description="`{name: value}`: parameters of the address; one of that name is replaced.",
    )
    method: Annotated[Text, AfterValidator(_callable)] | None = Field(
        None, description="The method; the operation's, or GET."
    )
    headers: dict[HeaderName, Text] = Field(default_factory=dict, description="`{name: value}`: headers to send.")
    body: Text | None = Field(None, description="The body as text.")
    json_: Any = Field(None, alias="json", description="The body as JSON.")
    form: dict[Text, Text | list[Text]] | None = Field(None, description="The body as a form: `{name: value}`.")
    timeout: Annotated[Duration, Field(gt=0)] = Field(
        3.0, description="How long the call may take; the rule's own time holds too."
    )
    cache: Duration = Field(
        0.0,
        description="For how long an answer is used again for the same method, address, headers and body: 2xx, 404 and "
        "410, unless it has a Set-Cookie or is `private` or `no-store`.",
    )
    breaker: bool | BreakerSettings = Field(
        False, description="`true`, or its settings: a service that keeps failing is not called for a while."
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.url is None) == (self.operation is None):
            raise ValueError("give either `url` or `operation`")
        if self.params and self.operation is None:
            raise ValueError("`params` are those of an `operation`; in `url` write `${…}`")
        if len(self._bodies()) > 1:
            raise ValueError(f"a request has one body, this one has {len(self._bodies())}: {', '.join(self._bodies())}")
        return self

    def _bodies(self) -> list[str]:
        return [name for name in _TYPES if (f"{name}_" if name == "json" else name) in self.model_fields_set]

    def compile_call(self, env: StepEnvironment) -> Run:
        """Build what makes the call; a service that fails, or whose answer cannot be read, is EffectFailed."""
        address = self._address(env)
        query = self._query(env)
        write = self._body(env)
        lines = self._headers(env)
        method = self._method(env)
        timeout, cache, breaker = self.timeout, self.cache, self._breaker()
        depth = env.limits.depth

        def call(x: Exchange) -> Generator[Effect, Any, dict[str, Any]]:
            url = with_query(address.read(x), [(name, value.read(x)) for name, value in query])
            headers = tuple((name, fill(slot, x).decode()) for name, slot in lines)
            body = write(x) if write is not None else None
            answer: Answer = yield effects.Lookup(method, url, headers, body, timeout, cache, breaker)
            return _read(answer, depth)

        return call

    def _address(self, env: StepEnvironment) -> Value[str]:
        if self.operation is not None:
            return compile_operation(env, self.operation, self.params)
        return compile_address(env, self.url or "", "url")

    def _method(self, env: StepEnvironment) -> str:
        if self.method is not None:
            return self.method
        operation = env.operations.get(self.operation) if self.operation is not None else None
        return operation.method if operation is not None else "GET"

    def _query(self, env: StepEnvironment) -> list[tuple[str, Value[str]]]:
        for name in self.query:
            if not name or "${" in name:
                text = "a parameter's name is literal text; names are never templates"
                env.problem("bad-name", text, "query", name, key=True)
        return [(name, env.text(text, "query", name, place="query", secrets=True)) for name, text in self.query.items()]

    def _headers(self, env: StepEnvironment) -> list[tuple[str, Slot]]:
        refuse_twins(env, self.headers, "headers")
        lines: list[tuple[str, Slot]] = []
        for name, value in self.headers.items():
            reason = _REFUSED.get(name.lower())
            if reason is not None:
                env.problem(
                    "bad-setting", f"the header {name} cannot be named here: {reason}", "headers", name, key=True
                )
                continue
            lines.append((name, header_slot(env.text(value, "headers", name, place="header", secrets=True))))
        kind = next(iter(self._bodies()), None)
        if kind is not None and "content-type" not in {name.lower() for name in self.headers}:
            lines.append(("Content-Type", _TYPES[kind].encode()))
        return lines

    def _body(self, env: StepEnvironment) -> Write | None:
        kind = next(iter(self._bodies()), None)
        if kind == "json":
            return compile_json(env, self.json_, "json", secrets=True)
        if kind == "body":
            return compile_text(env, self.body or "", "body", secrets=True)
        return compile_form(env, self.form or {}, "form", secrets=True) if kind == "form" else None

    def _breaker(self) -> effects.Breaker | None:
        given = BreakerSettings() if self.breaker is True else self.breaker
        if not isinstance(given, BreakerSettings):
            return None
        return effects.Breaker(given.window, given.failures, given.open, given.probes, given.probe_failures)


def _read(answer: Answer, depth: int) -> dict[str, Any]:
    """Give an answer as expressions read it; one that cannot be read is EffectFailed."""
    headers: dict[str, str] = {}
    for name, value in answer.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body: Any = None
    if answer.body:
        try:
            if is_json(Headers.of(answer.headers, side="response"), "response"):
                body = JsonBody(answer.body, "response", depth).value()
            else:
                body = answer.body.decode("utf-8")
        except (Unreadable, EvaluationError) as error:
            raise EffectFailed(f"the answer of the service cannot be read: {error.cause}") from None
        except UnicodeDecodeError:
            raise EffectFailed("the answer of the service is neither JSON nor UTF-8 text") from None
    return {"status": answer.status, "headers": headers, "body": body}
