"""The action `select`: which fields of the response body go out."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ...engine import projection
from ...engine.errors import EvaluationError
from ...engine.exchange import Exchange
from ...engine.json_body import JsonBody
from ...engine.ruleset import Run
from ..action import ActionRoot, StepEnvironment

_Fields = Annotated[
    str, Field(description="Names, with those below them in parentheses: `accessToken,customerAccount(id)`.")
]


class Select(ActionRoot[_Fields]):
    """Keep only these fields of the response body, in Kibo's `responseFields` grammar; of an array, of each item."""

    phases: ClassVar[frozenset[str]] = frozenset({"after", "continue"})

    def compile(self, env: StepEnvironment) -> Run:
        env.reads_body("response", ())
        wanted: projection.Projection = {}
        try:
            wanted = projection.parse(self.root)
        except projection.ProjectionError as error:
            env.problem_within("bad-path", error.text, error.offset, 1)

        def select(x: Exchange) -> None:
            body = x.answer().document
            if not isinstance(body, JsonBody):
                raise EvaluationError("fields can be selected from JSON only", "response")
            projection.apply(wanted, body)

        return select
