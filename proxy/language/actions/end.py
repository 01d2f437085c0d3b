"""The action `end`: no further step of the phase, the message as it stands."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ...engine.exchange import Exchange
from ...engine.ruleset import Flow, Run
from ..action import ActionRoot, StepEnvironment


class End(ActionRoot[Annotated[Literal[True], Field(description="Always `true`.")]]):
    """End the phase for all rules and keep the message; in `before` the request is then forwarded."""

    def compile(self, env: StepEnvironment) -> Run:
        def end(_: Exchange) -> Flow:
            return Flow.END

        return end
