"""A suspended exchange: what is kept of it while the shopper is elsewhere, and who may take it up again.

The state that the shopper carries is the only way to it: the stored bytes are found and opened by it alone. Rules that
changed in between are not run on an answer that was withheld under the old ones: such an exchange is gone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .errors import EvaluationError, Unreadable
from .exchange import Deferred, Exchange
from .message import Headers, Request, Response

if TYPE_CHECKING:
    from .ruleset import Chosen, Rule, Ruleset, Step

_STATE_BYTES = 32
_well_formed = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch

# A rule set without expressions stores plain data only.
_PLAIN_ENCODE = msgspec.msgpack.Encoder().encode
_PLAIN_DECODE = msgspec.msgpack.Decoder().decode


class Codec(Protocol):
    """Writes and reads values of expressions; what cannot be written raises EvaluationError."""

    def encode(self, value: Any) -> bytes: ...
    def decode(self, data: bytes) -> Any: ...


class PlainCodec:
    """Writes and reads JSON-like values and bytes."""

    def encode(self, value: Any) -> bytes:
        return _PLAIN_ENCODE(value)

    def decode(self, data: bytes) -> Any:
        return _PLAIN_DECODE(data)


class NotResumable(Exception):
    """A return that leads nowhere. All causes get one identical answer; `cause` is logged."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Suspend:
    """What a step gives to withhold the response: what the client gets instead, and what a return is checked against.

    `then` is where the exchange goes on: with the rule's `continue`, or with the next step of its list. `details` are
    plain data of the step's own.
    """

    answer: Response
    state: str
    ttl: float
    then: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Suspended:
    """A suspended exchange that somebody came back to.

    What is counted and marked about it is kept for its whole `life`, not for what the clock says is left of that: a
    clock that goes ahead and back must not open anew what was closed.
    """

    state: str
    correlation: str
    expires: float
    life: float
    rule: str
    step: int
    then: str
    rest: tuple[Chosen, ...]
    request: Request
    details: Mapping[str, Any]

    @property
    def issuer(self) -> str:
        return str(self.details.get("issuer", ""))

    @property
    def subject(self) -> str:
        return str(self.details.get("subject", ""))

    @property
    def issued(self) -> frozenset[str]:
        """The ids (`jti`) of the tokens that this proxy issued for the exchange."""
        return frozenset(self.details.get("issued", ()))


def new_state(exchange: Exchange) -> str:
    """Make the state of a suspension: 256 random bits."""
    return base64.urlsafe_b64encode(exchange.entropy(_STATE_BYTES)).rstrip(b"=").decode()


def is_state(text: str) -> bool:
    """Say whether a text could be a state; one has one spelling only."""
    return _well_formed(text) is not None and _canonical(text)


def _canonical(text: str) -> bool:
    return base64.urlsafe_b64encode(base64.urlsafe_b64decode(text + "=")).rstrip(b"=").decode() == text


def key_of(state: str) -> str:
    """Return the key under which a suspended exchange is stored."""
    return f"suspended\0{state}"


# The browser that was sent away is the one that may come back.


def bind(exchange: Exchange, answer: Response, details: dict[str, Any], *, ttl: float, secure: bool) -> None:
    """Set the cookie that a return must bring along (RFC 6265bis: `__Host-` where the connection is secure)."""
    value = base64.urlsafe_b64encode(exchange.entropy(_STATE_BYTES)).rstrip(b"=")
    name = "__Host-vestibule" if secure else "vestibule"
    details["binding"] = [name, hashlib.sha256(value).digest()]
    line = b"%s=%s; Max-Age=%d; Path=/%s; HttpOnly; SameSite=Lax" % (
        name.encode(), value, max(int(ttl), 1), b"; Secure" if secure else b"",
    )  # fmt: skip
    answer.headers.add(b"Set-Cookie", line)


def is_bound(request: Request, details: Mapping[str, Any]) -> bool:
    """Say whether a return comes from the browser that was sent away, where that is asked for."""
    binding = details.get("binding")
    if binding is None:
        return True
    name, digest = binding
    try:
        value = request.cookies.get(name)
    except (EvaluationError, Unreadable):
        # Missing, sent twice or unreadable: not bound.
        return False
    return hmac.compare_digest(hashlib.sha256(value.encode()).digest(), digest)


# Writing and reading

_VERSION = 2


def freeze(exchange: Exchange, rule: Rule, step: int, rest: tuple[Chosen, ...], suspend: Suspend) -> bytes:
    """Write what is needed to go on with an exchange; `rest` are the chosen rules that come after this one."""
    request, response = exchange.request, exchange.answer()
    response.settle()
    record = {
        "version": _VERSION,
        "correlation": exchange.correlation,
        "expires": exchange.clock() + suspend.ttl,
        "life": suspend.ttl,
        "operation": exchange.operation.name if exchange.operation is not None else None,
        "dialect": exchange.dialect,
        "rule": rule.name,
        "revision": rule.revision,
        "params": exchange.params,
        "step": step,
        "then": suspend.then,
        "rest": [(one.rule.name, one.rule.revision, one.params) for one in rest],
        "request": (
            request.method, request.path, request.query, request.headers.lines, request.content, request.scheme,
            request.host, request.ip, list(request.ips), list(request.version),
        ),
        "response": (response.status, response.reason, response.headers.lines, response.content),
        "status": exchange.status,
        "variables": exchange.variables,
        "shadowed": exchange.shadowed,
        "deferred": [(one.rule, one.name, list(one.values)) for one in exchange.deferred],
        "state": exchange.state,
        "ran": exchange.ran,
        "proved": list(exchange.proved),
        "details": dict(suspend.details),
    }  # fmt: skip
    return exchange.ruleset.codec.encode(record)


def thaw(exchange: Exchange, state: str, data: bytes) -> None:
    """Make an exchange the one that was suspended, as it was then; raise NotResumable.

    `exchange.request` stays the return; the original one is in `exchange.suspended`.
    """
    ruleset = exchange.ruleset
    try:
        record = ruleset.codec.decode(data)
        if record["version"] != _VERSION:
            raise NotResumable("it was suspended by another version")
        if record["expires"] <= exchange.clock():
            raise NotResumable("it has expired")
        rule = _rule(ruleset, record["rule"], record["revision"])
        from .ruleset import Choice, Chosen

        rest = tuple(Chosen(_rule(ruleset, name, revision), params) for name, revision, params in record["rest"])
        method, path, query, lines, content, scheme, host, ip, ips, version = record["request"]
        limits = exchange.request.limits
        original = Request(
            method, path, query, Headers(_lines(lines)), content, limits=limits, scheme=scheme, host=host, ip=ip,
            ips=tuple(ips), version=(version[0], version[1]),
        )  # fmt: skip
        status, reason, lines, content = record["response"]
        response = Response(status, Headers(_lines(lines), side="response"), content, limits=limits, reason=reason)
        operations = {operation.name: operation for operation in ruleset.operations}
        exchange.operation = operations.get(record["operation"])
        exchange.deferred = [_deferred(ruleset, *one) for one in record["deferred"]]
        exchange.chosen = Choice((Chosen(rule, record["params"]), *rest))
        exchange.params = record["params"]
        exchange.response = response
        exchange.status = record["status"]
        exchange.variables = record["variables"]
        exchange.shadowed = record["shadowed"]
        exchange.state = record["state"]
        exchange.ran = record["ran"]
        exchange.proved = tuple(record["proved"])
        exchange.dialect = record["dialect"]
        exchange.suspended = Suspended(
            state, record["correlation"], record["expires"], record["life"], rule.name, record["step"], record["then"],
            rest, original, record["details"],
        )  # fmt: skip
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, IndexError):
        raise NotResumable("what was stored cannot be read") from None


def _lines(lines: list[Any]) -> list[tuple[bytes, bytes, bytes]]:
    return [(key, name, value) for key, name, value in lines]


def _rule(ruleset: Ruleset, name: str, revision: str) -> Rule:
    found = ruleset.named.get(name)
    if found is None or found.revision != revision:
        raise NotResumable("a rule that it needs has changed")
    return found


def _deferred(ruleset: Ruleset, rule: str, name: str, values: list[bytes]) -> Deferred:
    found = ruleset.named.get(rule)
    apply = found.deferrals.get(name) if found is not None else None
    if apply is None:
        raise NotResumable("a rule that it needs has changed")
    return Deferred(rule, name, tuple(values), apply)


def parameter(request: Request, name: str) -> str | None:
    """Read a parameter of a return: of its form or JSON body, else of its query; None where it is not, or is no text.

    One that is sent twice, or a body that cannot be read, is Unreadable.
    """
    if request.has_body and request.document.has((name,)):
        value = request.document.get((name,))
        return value if isinstance(value, str) else None
    if request.parameters.has(name):
        return request.parameters.get(name)
    return None


def resuming_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Put the taking of the state behind the step that says who came back."""
    from .ruleset import Step as Compiled

    first, *others = steps
    return (first, Compiled(run=_redeem, action="continue", name="continue"), *others)


def _redeem(exchange: Exchange) -> Any:
    """Take the state: of many who come back with it one goes on."""
    from .effects import StoreTake

    found = exchange.suspended
    if found is None:
        raise Unreadable("request", "nothing is suspended")
    taken = yield StoreTake(key_of(found.state))
    if taken is None:
        raise NotResumable("it was taken up before")
    # From here on this is the exchange that was suspended, and is told by its id.
    exchange.correlation, exchange.continues = found.correlation, exchange.correlation
