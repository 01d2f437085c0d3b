"""Fields that a rule needs and the client left out: asked for upstream, and trimmed again after the last `after` rule.

Where an API lets a client limit the fields of an answer (`responseFields`), a rule would otherwise fail on what was
left out. A limit that cannot be read is the upstream's business and is left alone.
"""

from __future__ import annotations

from typing import Any

from . import projection
from .body import is_json
from .exchange import Exchange
from .json_body import JsonBody
from .message import Response

# Under this name: what the client asked for, and what the proxy asked for instead (None: everything). Plain data, so
# that it outlives a suspension.
_STATE = "widening"


def widen(exchange: Exchange) -> None:
    """Ask upstream for the fields that the chosen rules need; call it when the request is about to be forwarded."""
    operation, request = exchange.operation, exchange.request
    if operation is None or operation.projection is None or not request.query:
        return
    rules = [chosen.rule for chosen in exchange.chosen.rules if chosen.rule.after and chosen.rule.needs_response]
    pairs = request.parameters
    name = operation.projection
    if not rules or not pairs.has(name) or not pairs.get(name):
        return
    try:
        asked = projection.parse(pairs.get(name))
    except projection.ProjectionError:
        return
    paths: set[tuple[str, ...]] = set()
    for rule in rules:
        if rule.response_fields is None:
            exchange.state[_STATE] = [asked, None]
            edited = pairs.copy()
            edited.remove(name)
            request.set_parameters(edited)
            return
        paths |= rule.response_fields
    missing = sorted(path for path in paths if path and not projection.includes(asked, path))
    if missing:
        widened = projection.widen(asked, missing)
        exchange.state[_STATE] = [asked, widened]
        edited = pairs.copy()
        edited.set(name, projection.write(widened))
        request.set_parameters(edited)


def trim(exchange: Exchange, response: Response) -> None:
    """Take what only the proxy asked for out of an answer of the upstream's; what rules set stays.

    What is no JSON has no fields; JSON that cannot be read is Unreadable.
    """
    found: list[Any] | None = exchange.state.get(_STATE)
    if found is None or response.origin != "upstream" or not response.content:
        return
    if not is_json(response.headers, "response"):
        return
    body = response.document
    if isinstance(body, JsonBody) and body.top is not None:
        projection.trim(body, *found)
