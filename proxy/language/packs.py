"""A pack compiled: what a vendor calls its operations, its context values, its errors and its secrets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ..engine.errors import EvaluationError, Unreadable
from ..engine.exchange import Exchange
from ..engine.json_body import INT64
from ..engine.message import Request
from ..engine.ruleset import Operation, PathPattern, Redaction
from .cel import BOOL, INT, STRING, TIMESTAMP, Timestamp, Type, Variable
from .document import Document
from .factors import Written, check
from .match import MatchError, compile_path
from .model import Pack, PackContext
from .problems import Problems
from .validation import explain_validation
from .variables import constant

ReadContext = Callable[[Request], Any]


def _int(text: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 19:
        raise ValueError
    return int(text)


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _timestamp(text: str) -> Timestamp:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return Timestamp.from_seconds(moment.timestamp())


_TYPES: Mapping[str, tuple[Type, Callable[[str], Any]]] = {
    "string": (STRING, str),
    "int": (INT, _int),
    "bool": (BOOL, _bool),
    "timestamp": (TIMESTAMP, _timestamp),
}


@dataclass(frozen=True, slots=True)
class ContextValue:
    """A context value that a request header carries."""

    name: str
    key: bytes
    type: Type
    parse: Callable[[str], Any]

    def read(self, request: Request) -> Any:
        """Return the value; a missing one is an EvaluationError, a malformed or repeated one Unreadable."""
        values = request.headers.values(self.key)
        if not values:
            raise EvaluationError(f"context.{self.name} was not sent", "request")
        if len(values) > 1:
            raise Unreadable("request", f"context.{self.name} was sent more than once")
        try:
            return self.parse(values[0].decode("utf-8"))
        except (ValueError, KeyError, OverflowError):
            raise Unreadable("request", f"context.{self.name} is malformed") from None

    def check(self, request: Request) -> None:
        if self.key in request.headers:
            self.read(request)

    def variable(self) -> Variable:
        return Variable(
            type=self.type,
            read=lambda x: self.read(x.request),
            has=lambda x: self.key in x.request.headers,
            footprint=f"context.{self.name}",
        )


# What a verified token said, in the exchange's state.
_CLAIMS = "claims"


def hold_claims(x: Exchange, claims: Mapping[str, Any]) -> None:
    """Keep the claims of a token that was verified, for the context values that come from claims."""
    x.state[_CLAIMS] = claims


def _of_json(value: Any, kind: str) -> Any:
    """Take a claim as a value of a type; a time is a text, or seconds since 1970 (RFC 7519's NumericDate)."""
    match kind, value:
        case ("string", str()) | ("bool", bool()):
            return value
        case "int", int() if type(value) is int and -INT64 <= value < INT64:
            return value
        case "timestamp", str():
            return _timestamp(value)
        case "timestamp", int() | float() if type(value) is not bool:
            return Timestamp.from_seconds(dt.datetime.fromtimestamp(value, dt.UTC).timestamp())
    raise TypeError


@dataclass(frozen=True, slots=True)
class ClaimValue:
    """A context value that a verified token carries."""

    name: str
    claim: str
    kind: str

    def read(self, x: Exchange) -> Any:
        """Return the value; without a verified token, or where it lacks the claim, an EvaluationError."""
        claims = x.state.get(_CLAIMS)
        if claims is None:
            raise EvaluationError(f"context.{self.name}: no token of this exchange was verified")
        if self.claim not in claims:
            raise EvaluationError(f"context.{self.name}: the verified token has no such claim", "request")
        try:
            return _of_json(claims[self.claim], self.kind)
        except (TypeError, ValueError, OverflowError):
            raise EvaluationError(f"context.{self.name}: the claim is no {self.kind}", "request") from None

    def variable(self) -> Variable:
        # Its footprint is no message's: that no token was verified is the rule's fault, not the client's.
        return Variable(
            type=_TYPES[self.kind][0],
            read=self.read,
            has=lambda x: self.claim in x.state.get(_CLAIMS, ()),
            footprint=f"claims.{self.name}",
        )


@dataclass(slots=True)
class Vocabulary:
    """What all packs of a rule set name, together; `verified` says that a step which verifies a token was compiled."""

    operations: dict[str, Operation] = field(default_factory=dict)
    context: dict[str, ContextValue] = field(default_factory=dict)
    claims: dict[str, ClaimValue] = field(default_factory=dict)
    configured: dict[str, str] = field(default_factory=dict)
    exchange: dict[str, Variable] = field(default_factory=dict)
    verified: bool = False
    schemas: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    dialect: str | None = None
    headers: set[str] = field(default_factory=set)
    query: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    factors: dict[str, Written] = field(default_factory=dict)
    _redaction: Redaction | None = None

    def add(self, document: Document, problems: Problems) -> None:
        """Take in one pack; what is wrong with it is reported."""
        try:
            pack = Pack.model_validate(document.data)
        except ValidationError as error:
            explain_validation(error, Pack, document, (), problems)
            return
        if self.dialect is None:
            self.dialect = pack.dialect
        self.add_factors(document, problems)
        for name, operation in pack.operations.items():
            try:
                pattern = compile_path(operation.path)
            except MatchError as wrong:
                mark = document.mark(("operations", name, "path"))
                problems.error("bad-path", str(wrong), document.source.name, mark)
                pattern = PathPattern()
            self.operations[name] = Operation(
                name,
                operation.method,
                pattern,
                operation.dialect or pack.dialect,
                pack.name,
                operation.projection,
            )
            for side, schema in (("request", operation.request), ("response", operation.response)):
                if schema is None:
                    continue
                if schema not in pack.schemas:
                    mark = document.mark(("operations", name, side))
                    problems.error("unknown-schema", f"the pack has no schema {schema!r}", document.source.name, mark)
                else:
                    self.schemas[name, side] = pack.schemas[schema]
        for name, value in pack.context.items():
            self._add_context(name, value)
        self.headers.update(header.lower() for header in pack.secrets.headers)
        self.query.update(name.lower() for name in pack.secrets.query)
        self.fields.update(pack.secrets.fields)
        self._redaction = None

    def add_factors(self, document: Document, problems: Problems) -> None:
        """Take in the second factors of a file; one that another file has already is a problem."""
        for name, written in check(document, problems).items():
            other = self.factors.setdefault(name, written)
            if other is not written:
                text = f"the factor {name!r} is in {other.document.source.name} already"
                mark = document.mark(written.loc, key=True)
                problems.error("duplicate-name", text, document.source.name, mark)

    def _add_context(self, name: str, value: PackContext) -> None:
        if value.claim is not None:
            self.claims[name] = ClaimValue(name, value.claim, value.type)
        elif value.configuration is not None:
            self.configured[name] = value.configuration
        elif value.header is not None:
            type_, parse = _TYPES[value.type]
            self.context[name] = ContextValue(name, value.header.lower().encode(), type_, parse)
        else:
            self.exchange[name] = Variable(type=STRING, attribute="correlation", footprint="correlation")

    def variables(self, configuration: Mapping[str, Any]) -> dict[str, Variable]:
        """Give the context as the expressions of a rule with this configuration may read it here."""
        found = {name: value.variable() for name, value in self.context.items()} | self.exchange
        for name, key in self.configured.items():
            if key in configuration:
                found[name] = constant(configuration[key])
        if self.verified:
            found |= {name: value.variable() for name, value in self.claims.items()}
        return found

    def why_unknown(self, name: str) -> str | None:
        """Say why a context value that a pack names cannot be read here, if it is one."""
        if name in self.claims and not self.verified:
            return "it comes from claims: it can be read only after a `verify_token`"
        if name in self.configured:
            return f"it comes from the configuration: write `configuration: {{{self.configured[name]}: …}}`"
        return None

    def redaction(self) -> Redaction:
        """Give what the packs call secret; every step asks."""
        if self._redaction is None:
            context = frozenset(name for name, value in self.context.items() if value.key.decode() in self.headers)
            self._redaction = Redaction(frozenset(self.headers), frozenset(self.query), frozenset(self.fields), context)
        return self._redaction
