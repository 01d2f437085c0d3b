"""What an exchange owes once it is forwarded: tries under limits to settle, one upstream call to share.

They are met when its answer comes, whoever gives it: before the `after` rules see it, and also when the client is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from .effects import Effect, Lead, Publish, Reserve, Settle, Share
from .errors import EffectFailed, EvaluationError
from .exchange import Note
from .message import Headers, Limits, Response

if TYPE_CHECKING:
    from .exchange import Exchange
    from .message import Request
    from .ruleset import Rule

Effects = Generator[Effect, Any, Any]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A try under a limit that has not ended. `failed` says of the answer as it arrived whether the try failed."""

    rule: Rule
    step: str
    reserve: Reserve
    ticket: str
    failed: Callable[[Exchange], Any]
    reads_body: bool

    def settle(self, *, failed: bool) -> Settle:
        asked = self.reserve
        return Settle(asked.key, self.ticket, failed, asked.most, asked.per, asked.block)


@dataclass(frozen=True, slots=True)
class Sharing:
    """That exchanges with one key get one upstream call; `ttl` is how long the answer of a 2xx is given again.

    With `cookies` the Cookie header must be alike too: the key does not say whose the answer is.
    """

    rule: Rule
    step: str
    key: str
    ttl: float
    cookies: bool = True


@dataclass(slots=True)
class Obligations:
    """What one exchange owes."""

    reservations: list[Reservation] = field(default_factory=list)
    sharing: Sharing | None = None
    lead: Lead | None = None

    @property
    def pending(self) -> bool:
        """Say whether something is to be done when the answer comes."""
        return bool(self.reservations) or self.lead is not None

    @property
    def needs_response(self) -> bool:
        """Say whether the body of the upstream's answer must be collected for it."""
        return self.lead is not None or any(one.reads_body for one in self.reservations)


def of(exchange: Exchange) -> Obligations:
    """Return what an exchange owes, to be added to."""
    found = exchange.obligations
    if found is None:
        found = exchange.obligations = Obligations()
    return found


def give_back(exchange: Exchange, rule: Rule) -> Effects:
    """Give back the reservations of a rule that is taken out of the exchange."""
    owed = exchange.obligations
    if owed is None:
        return
    mine = [one for one in owed.reservations if one.rule is rule]
    owed.reservations = [one for one in owed.reservations if one.rule is not rule]
    for one in mine:
        yield from _settle(exchange, one, failed=False)


def meet(exchange: Exchange, response: Response) -> Generator[Effect, Any, tuple[Reservation, Exception] | None]:
    """Meet what is owed, on an answer as it arrived; returns the first limit whose `failed` had no value, and why.

    A try counts as failed when that cannot be told. An answer that is not the upstream's gives every try back.
    """
    owed = exchange.obligations
    exchange.obligations = None
    if owed is None:
        return None
    wrong: tuple[Reservation, Exception] | None = None
    called = response.origin == "upstream"
    for one in owed.reservations:
        failed = False
        if called:
            try:
                found = one.failed(exchange)
                if found is not True and found is not False:
                    raise EvaluationError("`failed` did not give a boolean")
                failed = found
            except Exception as error:
                failed = True
                wrong = wrong or (one, error)
        yield from _settle(exchange, one, failed=failed)
    if owed.lead is not None and owed.sharing is not None:
        shared = owed.sharing
        value = pack(response) if called else None
        ttl = shared.ttl if 200 <= response.status < 300 else 0.0
        try:
            yield Publish(shared.key, owed.lead.ticket, value, ttl)
        except EffectFailed as error:
            exchange.notes.append(Note("not-shared", shared.rule.name, "error", error.cause))
    return wrong


def lose(exchange: Exchange) -> Effects:
    """Meet what is owed where the upstream was called and its answer was not heard: every try counts as failed."""
    owed = exchange.obligations
    exchange.obligations = None
    if owed is None:
        return
    for one in owed.reservations:
        yield from _settle(exchange, one, failed=True)
    if owed.lead is not None and owed.sharing is not None:
        try:
            yield Publish(owed.sharing.key, owed.lead.ticket, None, 0.0)
        except EffectFailed as error:
            exchange.notes.append(Note("not-shared", owed.sharing.rule.name, "error", error.cause))


def _settle(exchange: Exchange, one: Reservation, *, failed: bool) -> Effects:
    try:
        yield one.settle(failed=failed)
    except EffectFailed as error:
        # The answer stands; the reservation is held until its lease ends, so nothing is let through by this.
        exchange.notes.append(Note("not-settled", one.rule.name, "error", f"{one.step}: {error.cause}"))


def share(exchange: Exchange, request: Request) -> Generator[Effect, Any, Response | None]:
    """Ask for the one upstream call of an exchange that is about to be forwarded.

    None: it is this exchange's to make. Otherwise the answer is the upstream's, as it arrived there.
    """
    owed = of(exchange)
    shared = owed.sharing
    if shared is None:
        raise RuntimeError("nothing is shared")
    owed.sharing = shared = replace(shared, key=_extended(shared, request))
    result = yield Share(shared.key)
    if isinstance(result, Lead):
        owed.lead = result
        return None
    owed.sharing = None
    return unpack(result, request.limits)


def _extended(shared: Sharing, request: Request) -> str:
    """Extend a key by what else must be alike for one answer to be right for both."""
    digest = hashlib.sha256()
    parts = (
        shared.rule.name.encode(),
        shared.rule.revision.encode(),
        shared.key.encode(),
        request.method.encode(),
        request.scheme.encode(),
        request.host.encode(),
        request.url.encode(),
        *request.headers.values(b"authorization"),
        b"\0cookies",
        *(request.headers.values(b"cookie") if shared.cookies else ()),
        b"\0body",
        request.content or b"",
    )
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return f"once\0{shared.key}\0{digest.hexdigest()}"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(
    tuple[int, str | None, list[tuple[bytes, bytes, bytes]], bytes | None], strict=True
).decode


def pack(response: Response) -> bytes:
    """Write an upstream's answer as bytes."""
    return _encode((response.status, response.reason, response.headers.lines, response.content))


def unpack(data: bytes, limits: Limits) -> Response:
    """Read what `pack` wrote; anything else is an EffectFailed."""
    try:
        status, reason, lines, content = _decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise EffectFailed("a stored answer cannot be read") from None
    return Response(status, Headers(lines, side="response"), content, limits=limits, reason=reason)
