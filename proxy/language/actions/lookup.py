"""The action `lookup`: a call of another service, whose answer later steps may read."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ...engine.effects import Effect
from ...engine.errors import EffectFailed
from ...engine.exchange import Exchange, Note
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..calls import Call
from ..cel import DYN, STRING, map_of
from ..fields import Text
from ..secrecy import mark_secret


def _only_null(value: Any) -> None:
    if value is not None:
        raise ValueError("write `on_error: null`, which leaves `into` null; otherwise the rule's `on_error` holds")


class Lookup(Call, Action):
    """Call another service. The answer is a variable, `{status, headers, body}`, whatever its status.

    Names in `headers` are in lower case; `body` is data where the answer is JSON, otherwise text, and null when it is
    empty. Nothing of the client's request is sent unless it is named. Redirects are not followed. A service that does
    not answer, or with more than 1 MiB, or with JSON that is none, is an error. What an answer holds is masked in logs.
    """

    into: Text | None = Field(None, description="The variable for the answer.")
    on_error: Annotated[None, BeforeValidator(_only_null)] = Field(
        None, description="Written as `null`: a call that fails leaves `into` null, and the rule goes on."
    )

    def compile(self, env: StepEnvironment) -> Run:
        call = self.compile_call(env)
        forgiving = "on_error" in self.model_fields_set
        into, rule = self.into, env.rule_name
        if into is not None:
            env.declare(into, DYN if forgiving else map_of(STRING, DYN), "into")

        def look(x: Exchange) -> Generator[Effect, Any, None]:
            value = None
            try:
                value = yield from call(x)
            except EffectFailed as error:
                if not forgiving:
                    raise
                x.notes.append(Note("lookup", rule, "warning", error.cause))
            if into is not None:
                x.variables[into] = value
                mark_secret(x, (into,), (into,))

        return look
