"""The action `method`: another method for the request."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from ...engine.exchange import Exchange
from ...engine.ruleset import Run
from ..action import ActionRoot, StepEnvironment
from ..fields import Text, is_token

# They ask for a tunnel or for an echo of the request with its credentials.
_REFUSED = ("CONNECT", "TRACE", "TRACK")


def _method(value: str) -> str:
    if not is_token(value):
        raise ValueError("not an HTTP method; a method is never a template")
    if value.upper() in _REFUSED:
        raise ValueError(f"{value.upper()} cannot be forwarded")
    return value.upper()


class Method(ActionRoot[Annotated[Text, AfterValidator(_method), Field(description="The method, in any case.")]]):
    """Forward the request with another method; the client's answer stays that to the method it sent."""

    phases: ClassVar[frozenset[str]] = frozenset({"before"})

    def compile(self, env: StepEnvironment) -> Run:
        method = self.root

        def change(x: Exchange) -> None:
            x.request.method = method

        return change
