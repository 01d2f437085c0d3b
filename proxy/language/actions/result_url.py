"""The action `result_url`: where the client goes once the exchange has gone well."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from ...engine import results
from ...engine.addresses import AddressError
from ...engine.exchange import Exchange
from ...engine.message import Response
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment
from ..fields import Text
from ..locations import Location, refuse_address


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("the address is empty")
    return value


class ResultUrl(Action):
    """Say where the client goes once the exchange has gone well; the last one wins.

    A browser that navigates gets a 303 there in the place of a 2xx answer, with its cookies; any other client gets the
    answer and the header `Vestibule-Result-Url`. A denial or an error stays what it is.
    Addresses are those of `redirect`.
    """

    phases: ClassVar[frozenset[str]] = frozenset({"after", "continue"})

    url: Annotated[Text, AfterValidator(_not_empty)] = Field(description="The address.")
    query: dict[Text, Text] = Field(
        default_factory=dict,
        description="`{name: value}`: parameters of the address; one of the same name is replaced.",
    )
    allow: list[Text] = Field(
        default_factory=list, description="Places that it may lead to: `host`, `host:port` or `*.host`, https only."
    )

    def compile(self, env: StepEnvironment) -> Run:
        location = Location(env, self.url, self.query, self.allow, key="url")

        def lead(x: Exchange) -> Response | None:
            rendered, items = location.render(x)
            try:
                x.state[results.STATE] = location.finish(rendered, items)
            except AddressError as error:
                return refuse_address(x, error)
            return None

        return lead
