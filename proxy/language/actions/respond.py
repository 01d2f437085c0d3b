"""The action `respond`: an answer with exactly the body that the rule gives."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ...engine.exchange import Exchange
from ...engine.message import Headers, Line, Response
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..answers import AnswerHeaders, AnswerLines, lay
from ..contents import FORM_TYPE, JSON_TYPE, TEXT_TYPE, Write, compile_form, compile_json, compile_text, nothing
from ..fields import Status, Text
from ..names import OF_A_BODY, OWN

_WITHOUT_BODY = (204, 205, 304)
_BODIES = ("json", "form", "text")
_TYPES = {
    "json": JSON_TYPE.encode(),
    "form": FORM_TYPE.encode(),
    "text": TEXT_TYPE.encode(),
}
# What `respond` may say for itself, as its body is its own.
_FREE = ("content-type", "cache-control", "last-modified", "etag")
_FIXED = {name: reason for name, reason in {**OWN, **OF_A_BODY}.items() if name not in _FREE}
_NO_STORE: Line = (b"cache-control", b"Cache-Control", b"no-store")


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

    def _body(self, env: StepEnvironment, kind: str | None) -> Write:
        if kind == "json":
            return compile_json(env, self.json_, "json")
        if kind == "text":
            return compile_text(env, self.text or "", "text")
        return compile_form(env, self.form, "form") if self.form is not None else nothing
