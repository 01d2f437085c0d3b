"""Second factors: who must prove one, how it is asked for, and what proves it.

What a factor needs to know of the shopper is decided when the exchange is challenged and is kept with the withheld
answer; nothing that a client sends later can change it. Codes are compared in constant time, and each works once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import dialects
from .effects import Effect, StoreAdd, StoreGet, StoreIncrement, StoreSet
from .errors import EvaluationError
from .exchange import Exchange
from .message import Response

Call = Callable[[Exchange], Generator[Effect, Any, Any]]

# How often a code of one challenge is sent anew.
_SENDINGS = 3
# How long a used code is known in seconds: a clock that was an hour ahead and goes back must not let it in again.
_REMEMBERED = 7200.0


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that waits for its proof: what was decided when it was made. `life` is in seconds, from then on."""

    state: str
    digits: int
    life: float


class Factor(Protocol):
    """A kind of proof. `kept` is what `enrol` gave, as plain data."""

    @property
    def name(self) -> str: ...

    def enrol(self, exchange: Exchange) -> Generator[Effect, Any, Any]:
        """Give what must be kept of the shopper; None when this factor is not enrolled."""

    def ask(self, exchange: Exchange, challenge: Challenge, kept: Any) -> Generator[Effect, Any, bool | None]:
        """Ask the shopper for it, or what became of it: True proved, False refused, None goes on waiting."""

    def prove(self, exchange: Exchange, challenge: Challenge, kept: Any, code: str) -> Generator[Effect, Any, bool]:
        """Say whether a code proves it."""


@dataclass(frozen=True, slots=True)
class Totp:
    """A time-based one-time password (RFC 6238): SHA-1, 30 seconds, one step of grace either way."""

    name: str
    secret: Call

    def enrol(self, exchange: Exchange) -> Generator[Effect, Any, Any]:
        secret = yield from self.secret(exchange)
        if secret is None or secret == "":
            return None
        if not isinstance(secret, str):
            raise EvaluationError("the secret of a factor is no text")
        return secret

    def ask(self, exchange: Exchange, challenge: Challenge, kept: Any) -> Generator[Effect, Any, bool | None]:
        yield from ()
        return None

    def prove(self, exchange: Exchange, challenge: Challenge, kept: Any, code: str) -> Generator[Effect, Any, bool]:
        import pyotp

        try:
            totp = pyotp.TOTP(kept, digits=challenge.digits)
            step = int(exchange.clock()) // totp.interval
            found = [at for at in (step - 1, step, step + 1) if _equal(totp.generate_otp(at), code)]
        except (ValueError, TypeError):
            # The shopper's secret is no base32: nothing can prove it.
            return False
        if not found:
            return False
        used = f"totp\0{hashlib.sha256(kept.encode()).hexdigest()}\0{found[0]}"
        first: bool = yield StoreAdd(used, b"1", _REMEMBERED)
        return first


@dataclass(frozen=True, slots=True)
class Sent:
    """A code that is sent to an address of the shopper's, by a service of the operator's."""

    name: str
    to: Call
    send: Call

    def enrol(self, exchange: Exchange) -> Generator[Effect, Any, Any]:
        to = yield from self.to(exchange)
        return to or None

    def ask(self, exchange: Exchange, challenge: Challenge, kept: Any) -> Generator[Effect, Any, bool | None]:
        if (yield StoreIncrement(f"sent\0{challenge.state}\0{self.name}", challenge.life)) > _SENDINGS:
            return None
        number = int.from_bytes(exchange.entropy(16), "big") % 10**challenge.digits
        code = f"{number:0{challenge.digits}d}"
        yield StoreSet(self._key(challenge), _digest(challenge, code), challenge.life)
        yield from _with(exchange, self.send, code=code, to=kept)
        return None

    def prove(self, exchange: Exchange, challenge: Challenge, kept: Any, code: str) -> Generator[Effect, Any, bool]:
        expected = yield StoreGet(self._key(challenge))
        return expected is not None and hmac.compare_digest(expected, _digest(challenge, code))

    def _key(self, challenge: Challenge) -> str:
        return f"code\0{challenge.state}\0{self.name}"


@dataclass(frozen=True, slots=True)
class Push:
    """An approval on a device of the shopper's: a service of the operator's asks for it, another call hears of it."""

    name: str
    to: Call
    send: Call
    poll: Call
    approved: Callable[[Exchange], Any]
    denied: Callable[[Exchange], Any]

    def enrol(self, exchange: Exchange) -> Generator[Effect, Any, Any]:
        to = yield from self.to(exchange)
        return to or None

    def ask(self, exchange: Exchange, challenge: Challenge, kept: Any) -> Generator[Effect, Any, bool | None]:
        code = _digest(challenge, self.name).hex()
        if (yield StoreAdd(f"sent\0{challenge.state}\0{self.name}", b"1", challenge.life)):
            yield from _with(exchange, self.send, code=code, to=kept)
            return None
        answer = yield from _with(exchange, self.poll, code=code, to=kept)
        with reading(exchange, answer=answer, code=code, to=kept):
            approved, denied = self.approved(exchange), self.denied(exchange)
        if approved is not True and approved is not False:
            raise EvaluationError("`approved` did not give a boolean")
        return True if approved and denied is not True else False if denied is True else None

    def prove(self, exchange: Exchange, challenge: Challenge, kept: Any, code: str) -> Generator[Effect, Any, bool]:
        yield from ()
        return False


@dataclass(frozen=True, slots=True)
class Recovery:
    """A code that a service of the operator's knows; it must take each code once."""

    name: str
    to: Call
    verify: Call
    proved: Callable[[Exchange], Any]

    def enrol(self, exchange: Exchange) -> Generator[Effect, Any, Any]:
        to = yield from self.to(exchange)
        return to or None

    def ask(self, exchange: Exchange, challenge: Challenge, kept: Any) -> Generator[Effect, Any, bool | None]:
        yield from ()
        return None

    def prove(self, exchange: Exchange, challenge: Challenge, kept: Any, code: str) -> Generator[Effect, Any, bool]:
        answer = yield from _with(exchange, self.verify, code=code, to=kept)
        with reading(exchange, answer=answer, code=code, to=kept):
            return self.proved(exchange) is True


# What the settings of a factor read beside the exchange: the code, to whom, the answer of a call.

STATE = "factor"


@contextlib.contextmanager
def reading(exchange: Exchange, **values: Any) -> Iterator[None]:
    """Let expressions read what only a factor's settings may."""
    exchange.state[STATE] = values
    try:
        yield
    finally:
        exchange.state.pop(STATE, None)


def _with(exchange: Exchange, call: Call, **values: Any) -> Generator[Effect, Any, Any]:
    with reading(exchange, **values):
        return (yield from call(exchange))


def _digest(challenge: Challenge, code: str) -> bytes:
    return hmac.digest(challenge.state.encode(), code.encode(), "sha256")


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def enrolled(exchange: Exchange, factors: Sequence[Factor]) -> Generator[Effect, Any, list[tuple[Factor, Any]]]:
    """Give the factors that the shopper has and has not proved yet, each with what must be kept."""
    found = []
    for factor in factors:
        if factor.name not in exchange.proved:
            kept = yield from factor.enrol(exchange)
            if kept is not None:
                found.append((factor, kept))
    return found


def tell(
    exchange: Exchange,
    *,
    status: int,
    state: str,
    offered: Sequence[str],
    asked: str | None,
    seconds: float,
    code: str = "mfa_required",
    reason: str = "A second factor is required.",
) -> Response:
    """Tell a client that a factor must be proved: which ones may be, which one was asked for, and with what token."""
    extra: Mapping[str, Any] = {
        "challenge_token": state,
        # The name that clients of the OAuth dialect know.
        **({"mfa_token": state} if exchange.dialect == "oauth" else {}),
        "factors": list(offered),
        **({"factor": asked} if asked is not None else {}),
        "expires_in": max(int(seconds), 0),
    }
    return dialects.answer(
        exchange.dialect,
        status,
        correlation=exchange.correlation,
        limits=exchange.request.limits,
        code=code,
        reason=reason,
        extra=extra,
    )
