"""The action `log`: a line for the operator."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ...engine.exchange import Exchange, Note
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment, Value
from ..fields import Text
from ..secrecy import MASK, Holds, mask, masked, watch

# A message is a sentence; what is longer is cut.
_LONGEST = 4096


class Log(Action):
    """Write a line to the log.

    What a pack calls secret, a `${secret:…}`, a cookie, an Authorization header or a field that a rule removes is a
    load error where it can be seen in the expression, else it is masked.
    """

    message: Text = Field(description="The line's text.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much it matters.")
    fields: dict[str, Any] = Field(
        default_factory=dict, description="`{name: value}`: what is logged beside the message."
    )

    def compile(self, env: StepEnvironment) -> Run:
        message = env.text(self.message, "message", place="text")
        message_secret = watch(env, message, "message")
        fields: list[tuple[str, Value[Any], Holds | None]] = []
        for name, data in self.fields.items():
            value = env.value(data, "fields", name)
            fields.append((name, value, watch(env, value, "fields", name)))
        level, rule = self.level, env.rule_name

        def write(x: Exchange) -> None:
            redact = x.ruleset.redact
            text = masked(message.read(x), message_secret, x)[:_LONGEST]
            found = {name: MASK if holds is not None and holds(x) else value.read(x) for name, value, holds in fields}
            x.notes.append(Note("log", rule, level, text, mask(found, redact)))

        return write
