"""A pack compiled: what a vendor calls its operations, its context values, its errors and its secrets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ..engine.errors import EvaluationError, Unreadable
from ..engine.message import Request
from ..engine.ruleset import Operation, PathPattern, Redaction
from .cel import BOOL, INT, STRING, TIMESTAMP, Timestamp, Type, Variable
from .document import Document
from .match import MatchError, compile_path
from .model import Pack, PackContext
from .problems import Problems
from .validation import explain_validation

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


@dataclass(slots=True)
class Vocabulary:
    """What all packs of a rule set name, together."""

    operations: dict[str, Operation] = field(default_factory=dict)
    context: dict[str, ContextValue] = field(default_factory=dict)
    claims: set[str] = field(default_factory=set)
    schemas: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    dialect: str | None = None
    headers: set[str] = field(default_factory=set)
    query: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)

    def add(self, document: Document, problems: Problems) -> None:
        """Take in one pack; what is wrong with it is reported."""
        try:
            pack = Pack.model_validate(document.data)
        except ValidationError as error:
            explain_validation(error, Pack, document, (), problems)
            return
        if self.dialect is None:
            self.dialect = pack.dialect
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

    def _add_context(self, name: str, value: PackContext) -> None:
        if value.header is None:
            self.claims.add(name)
            return
        type_, parse = _TYPES[value.type]
        self.context[name] = ContextValue(name, value.header.lower().encode(), type_, parse)

    def redaction(self) -> Redaction:
        return Redaction(frozenset(self.headers), frozenset(self.query), frozenset(self.fields))
