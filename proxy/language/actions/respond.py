"""The action `respond`: an answer with exactly the body that the rule gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import Field, model_validator

from ...engine.exchange import Exchange
from ...engine.message import Headers, Line, Response
from ...engine.pairs import encode_form
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..answers import AnswerHeaders, AnswerLines, lay
from ..fields import Status, Text
from ..names import OF_A_BODY, OWN
from ..slots import constant

_WITHOUT_BODY = (204, 205, 304)
_BODIES = ("json", "form", "text")
_TYPES = {
    "json": b"application/json",
    "form": b"application/x-www-form-urlencoded",
    "text": b"text/plain; charset=utf-8",
}
# What `respond` may say for itself, as its body is its own.
_FREE = ("content-type", "cache-control", "last-modified", "etag")
_FIXED = {name: reason for name, reason in {**OWN, **OF_A_BODY}.items() if name not in _FREE}
_NO_STORE: Line = (b"cache-control", b"Cache-Control", b"no-store")

_Body = Callable[[Exchange], bytes]


class Respond(Action):
    """Answer now. In `before` nothing is forwarded; elsewhere the answer replaces the response, of which nothing stays.

    The body is exactly the one given; the correlation id is in the header only.
    """

    status: Status = Field(200, description="The status, 200 to 599.")
    headers: AnswerHeaders = Field(
        default_factory=dict,
        description="`{name: value}`: headers of the answer; a list of values is one line each. "
        "Content-Type and `Cache-Control: no-store` are there unless given.",
    )
    json_: Any = Field(None, alias="json", description="The body as JSON.")
    form: dict[Text, Text | list[Text]] | None = Field(None, description="The body as a form: `{name: value}`.")
    text: Text | None = Field(None, description="The body as text.")

    @model_validator(mode="after")
    def _one_body(self) -> Respond:
        given = self._given()
        if len(given) > 1:
            raise ValueError(f"an answer has one body, this one has {len(given)}: {', '.join(given)}")
        if given and self.status in _WITHOUT_BODY:
            raise ValueError(f"an answer with status {self.status} has no body")
        return self

    def _given(self) -> list[str]:
        return [name for name in _BODIES if (f"{name}_" if name == "json" else name) in self.model_fields_set]

    def compile(self, env: StepEnvironment) -> Run:
        kind = next(iter(self._given()), None)
        lines = AnswerLines(env, self.headers, also=_FIXED)
        self._check_location(env)
        body = self._body(env, kind)
        own = [_NO_STORE]
        if kind is not None:
            own.append((b"content-type", b"Content-Type", _TYPES[kind]))
        status = self.status

        def answer(x: Exchange) -> Response:
            content = body(x)
            given = lines.read(x)
            response = Response(status, Headers(own, side="response"), content, limits=x.request.limits, origin="rule")
            return lay(response, (), given)

        return answer

    def _check_location(self, env: StepEnvironment) -> None:
        """Keep what comes from outside out of a Location that nobody checks."""
        for name, value in self.headers.items():
            if name.lower() == "location" and 300 <= self.status < 400 and "${" in str(value):
                env.problem("bad-setting", "use the action `redirect`, which checks where it leads", "headers", name)

    def _body(self, env: StepEnvironment, kind: str | None) -> _Body:
        if kind is None:
            return lambda _: b""
        if kind == "json":
            value = env.value(self.json_, "json")
            if value.constant:
                return _always(msgspec.json.encode(constant(value)))
            return lambda x: msgspec.json.encode(value.read(x))
        if kind == "text":
            text = env.text(self.text or "", "text", place="text")
            return _always(constant(text).encode()) if text.constant else lambda x: text.read(x).encode()
        return _form(env, self.form or {})


def _always(content: bytes) -> _Body:
    return lambda _: content


def _form(env: StepEnvironment, form: dict[str, str | list[str]]) -> _Body:
    for name in form:
        if "${" in name:
            env.problem("bad-name", "a name is literal text; names are never templates", "form", name, key=True)
    pairs = [
        (encode_form(name), env.text(text, "form", name, *where, place="form"))
        for name, setting in form.items()
        for where, text in (
            [((), setting)] if isinstance(setting, str) else [((i,), one) for i, one in enumerate(setting)]
        )
    ]
    return lambda x: "&".join([f"{name}={encode_form(value.read(x))}" for name, value in pairs]).encode()
