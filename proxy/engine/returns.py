"""Somebody comes back to a suspended exchange: to its rule's `continue`, or to prove a second factor.

A shell collects the body of such a request (it is small) and calls `resume` instead of `choose` and `before`. No rule
runs before the state was found; what cannot be resumed gets one identical answer.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from . import run
from .effects import Effect, StoreGet
from .errors import EvaluationError, Unreadable
from .exchange import Exchange
from .run import Errand, Pending, Phase, Result
from .suspension import NotResumable, Suspended, is_bound, is_state, key_of, parameter, thaw

PREFIX = "/.vestibule"
CONTINUE = f"{PREFIX}/continue"
CHALLENGE = f"{PREFIX}/challenge"

# A return has a token and a code, not a document.
LONGEST = 65_536


def is_reserved(path: str) -> bool:
    """Say whether a path is the proxy's own, which is never forwarded."""
    return path.startswith(PREFIX) and path[len(PREFIX) :][:1] in ("", "/")


def resume(exchange: Exchange) -> Result | Pending:
    """Go on with the exchange that a request comes back to; the answer is a Response in the end."""
    request = exchange.request
    if request.path == CONTINUE and request.method in ("GET", "POST"):
        return Errand(exchange, _continue(exchange)).go()
    if request.path in (CONTINUE, CHALLENGE) and request.method != "POST":
        return run.refuse(exchange, 405, "a path of the proxy's own takes other methods")
    return run.refuse(exchange, 404, "the path is reserved")


def find(exchange: Exchange, name: str, then: str) -> Generator[Effect, Any, Suspended]:
    """Make an exchange the suspended one whose state a parameter of the request holds; raises NotResumable."""
    try:
        state = parameter(exchange.request, name)
    except (Unreadable, EvaluationError) as error:
        raise NotResumable(error.cause) from None
    if state is None or not is_state(state):
        raise NotResumable("there is no state")
    data = yield StoreGet(key_of(state))
    if data is None:
        raise NotResumable("the state is not known")
    thaw(exchange, state, data)
    found = exchange.suspended
    if found is None or found.then != then:
        raise NotResumable("the state is for another kind of return")
    return found


def _continue(exchange: Exchange) -> Generator[Effect, Any, Result | Pending]:
    request = exchange.request
    found = yield from find(exchange, "state", "continue")
    if not is_bound(request, found.details):
        raise NotResumable("it comes from another browser")
    exchange.enter("continue")
    return Phase(exchange, exchange.chosen[:1], last=False).go()
