"""Somebody comes back to a suspended exchange: to its rule's `continue`, or to prove a second factor.

A shell collects the body of such a request (it is small) and calls `resume` instead of `choose` and `before`. No rule
runs before the state was found; what cannot be resumed gets one identical answer.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from . import dialects, run
from .effects import Effect, Reserve, Reserved, Settle, StoreGet, StoreIncrement, StoreSet, StoreTake
from .errors import EvaluationError, Unreadable
from .exchange import Exchange, Verdict
from .factors import Challenge, Factor, tell
from .faults import fault
from .message import Response
from .phase import Errand, Pending, Phase, Result, arrive
from .suspension import NotResumable, Suspended, is_bound, is_state, key_of, parameter, thaw

PREFIX = "/.vestibule"
CONTINUE = f"{PREFIX}/continue"
CHALLENGE = f"{PREFIX}/challenge"

_METHODS = {CONTINUE: ("GET", "POST"), CHALLENGE: ("POST",)}

# A return has a token and a code, not a document.
LONGEST = 65_536


def is_reserved(path: str) -> bool:
    """Say whether a path is the proxy's own, which is never forwarded."""
    return path.startswith(PREFIX) and path[len(PREFIX) :][:1] in ("", "/")


def resume(exchange: Exchange) -> Result | Pending:
    """Go on with the exchange that a request comes back to; the answer is a Response in the end."""
    request = exchange.request
    taken = _METHODS.get(request.path)
    if taken is None:
        return run.refuse(exchange, 404, "the path is reserved")
    if request.method not in taken:
        answer = fault(exchange, 405, "a path of the proxy's own takes other methods")
        answer.headers.set(b"Allow", ", ".join(taken).encode())
        return arrive(exchange, answer, last=True)
    return Errand(exchange, _continue(exchange) if request.path == CONTINUE else _challenge(exchange)).go()


def _parameter(exchange: Exchange, *names: str) -> str | None:
    """Read a parameter by the first of its names that is there; one that cannot be read raises NotResumable."""
    try:
        return next((value for name in names if (value := parameter(exchange.request, name)) is not None), None)
    except (Unreadable, EvaluationError) as error:
        raise NotResumable(error.cause) from None


def _find(exchange: Exchange, state: str | None, then: str) -> Generator[Effect, Any, Suspended]:
    """Make an exchange the suspended one of a state; raises NotResumable."""
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
    found = yield from _find(exchange, _parameter(exchange, "state"), "continue")
    if not is_bound(request, found.details):
        raise NotResumable("it comes from another browser")
    exchange.enter("continue")
    return Phase(exchange, exchange.chosen.rules[:1], last=False).go()


# A challenge: {challenge_token, factor, code}

# Wrong codes of one subject, over all challenges.
_SUBJECT = (10, 3600.0, 3600.0)


def _challenge(exchange: Exchange) -> Generator[Effect, Any, Result | Pending]:
    token = _parameter(exchange, "challenge_token", "mfa_token")
    name, code = _parameter(exchange, "factor"), _parameter(exchange, "code")
    found = yield from _find(exchange, token, "challenge")
    if (yield StoreGet(_closed(found))) is not None:
        raise NotResumable("its codes are used up")
    rule = exchange.chosen.rules[0].rule
    # What the settings of a factor read is the exchange as it was challenged.
    exchange.request, exchange.rule = found.request, rule
    exchange.enter("after")
    details = found.details
    factors = rule.after[found.step].factors
    name = name or details["offered"][0]
    factor, kept = factors.get(name), details["kept"].get(name)
    challenge = Challenge(found.state, details["digits"], found.life)
    if code is None:
        proved = None
        if factor is not None and kept is not None:
            proved = yield from factor.ask(exchange, challenge, kept)
        if proved is None:
            return _ask_again(exchange, found, name, "mfa_required", "A second factor is required.")
    else:
        proved = yield from _try(exchange, found, challenge, factor, kept, code)
        if isinstance(proved, Response):
            return proved
    if not proved:
        return (yield from _wrong(exchange, found, name, burn=code is None))
    taken = yield StoreTake(key_of(found.state))
    if taken is None:
        raise NotResumable("it was proved before")
    exchange.correlation, exchange.continues = found.correlation, exchange.correlation
    exchange.proved = (*exchange.proved, name)
    exchange.suspended = None
    return Phase(exchange, exchange.chosen.rules, last=False, step=found.step + 1).go()


def _try(
    exchange: Exchange, found: Suspended, challenge: Challenge, factor: Factor | None, kept: Any, code: str
) -> Generator[Effect, Any, bool | Response]:
    """Try a code. It is counted before it is compared, so that guesses at the same time cannot slip past."""
    details = found.details
    tries = yield StoreIncrement(f"tries\0{found.state}", found.life)
    if tries > details["attempts"]:
        raise NotResumable("there were too many codes")
    most, per, block = _SUBJECT
    key = f"subject\0{details['subject']}"
    reserved: Reserved = yield Reserve(key, most, per, block, settles=True)
    if reserved.ticket is None:
        exchange.verdict = Verdict(by="proxy", rule=found.rule, action="challenge", cause="too many wrong codes")
        answer = dialects.answer(
            exchange.dialect, 429, correlation=exchange.correlation, limits=exchange.request.limits, origin="proxy"
        )
        answer.headers.set(b"Retry-After", b"%d" % max(int(reserved.retry_after), 1))
        return answer
    proved = False
    try:
        if factor is not None and kept is not None:
            proved = yield from factor.prove(exchange, challenge, kept, code)
    except Exception:
        # The service that knows could not be asked: nothing is proved, and nothing was guessed.
        yield Settle(key, reserved.ticket, False, most, per, block)
        raise
    yield Settle(key, reserved.ticket, not proved, most, per, block)
    if not proved and tries >= details["attempts"]:
        # The state stays: who tried the right code at the same moment takes it.
        yield StoreSet(_closed(found), b"1", found.life)
        raise NotResumable("the last code was wrong")
    return proved


def _closed(found: Suspended) -> str:
    return f"closed\0{found.state}"


def _wrong(exchange: Exchange, found: Suspended, name: str, *, burn: bool) -> Generator[Effect, Any, Response]:
    """Answer a wrong code; a factor that was refused by the shopper ends the challenge."""
    if burn:
        yield StoreTake(key_of(found.state))
        raise NotResumable("the shopper refused")
    return _ask_again(exchange, found, name, "invalid_code", "The code is wrong.")


def _ask_again(exchange: Exchange, found: Suspended, name: str, code: str, reason: str) -> Response:
    details = found.details
    offered = details["offered"]
    exchange.verdict = Verdict(by="rule", rule=found.rule, action="challenge", code=code)
    response = tell(
        exchange,
        status=details["status"],
        state=found.state,
        offered=offered,
        asked=name if name in offered else None,
        seconds=found.expires - exchange.clock(),
        code=code,
        reason=reason,
    )
    exchange.response = response
    return response
