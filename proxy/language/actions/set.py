"""The action `set`: variables that later steps and rules of the exchange may read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ...engine.exchange import Exchange
from ...engine.ruleset import Run
from ..action import ActionRoot, StepEnvironment
from ..secrecy import mark_secret, reads_secret

_Values = Annotated[dict[str, Any], Field(min_length=1, description="`{name: value}`; a value may be of any type.")]


class Set(ActionRoot[_Values]):
    """Set variables. They are visible to later steps and rules of the exchange, and after a suspension.

    Names are CEL identifiers. All values are computed before the first variable is set.
    """

    def compile(self, env: StepEnvironment) -> Run:
        values = {name: env.value(data, name, json=False) for name, data in self.root.items()}
        for name, value in values.items():
            env.declare(name, value.type, name)
        reads = tuple((name, value.read) for name, value in values.items())
        tests = tuple((name, reads_secret(value.programs, env)) for name, value in values.items() if value.programs)
        watched = tuple((name, holds) for name, holds in tests if holds is not None)

        def assign(x: Exchange) -> None:
            found = [(name, read(x)) for name, read in reads]
            secret = [name for name, holds in watched if holds(x)]
            x.variables.update(found)
            mark_secret(x, values, secret)

        return assign
