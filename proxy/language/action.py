"""What an action is, and what it may ask of the rule that it stands in.

An action is a frozen pydantic model: its fields are its settings, its parser, its schema and its page of the
reference. `compile` turns it, once, at load, into the function that runs. Actions never import one another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel

from ..engine.errors import Side
from ..engine.exchange import Exchange
from ..engine.factors import Factor
from ..engine.message import Headers, Limits
from ..engine.ruleset import Operation, Redaction, Run
from .cel import Program, Type
from .paths import FieldPath

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Phase = Literal["before", "after", "continue"]
Place = Literal["header", "cookie", "query", "form", "segment", "address", "text"]

ALL_PHASES: frozenset[str] = frozenset({"before", "after", "continue"})


class Action(BaseModel, ABC):
    """An action with named settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)

    phases: ClassVar[frozenset[str]] = ALL_PHASES

    @abstractmethod
    def compile(self, env: StepEnvironment) -> Run:
        """Build the function that runs the step; report what is wrong to `env.problem` instead of raising."""


class ActionRoot(RootModel[T], ABC, Generic[T]):
    """An action whose setting is one bare value (`end: true`, `select: "a,b"`, `set: {name: value}`)."""

    model_config = ConfigDict(frozen=True, defer_build=True, hide_input_in_errors=True)

    phases: ClassVar[frozenset[str]] = ALL_PHASES

    @abstractmethod
    def compile(self, env: StepEnvironment) -> Run:
        """Build the function that runs the step; report what is wrong to `env.problem` instead of raising."""


@dataclass(frozen=True, slots=True)
class Value(Generic[T_co]):
    """A setting that may hold expressions. `read` gives it for an exchange; a constant one needs none."""

    read: Callable[[Exchange], T_co]
    constant: bool
    type: Type
    programs: tuple[Program, ...] = ()
    secrets: frozenset[str] = frozenset()


class StepEnvironment(Protocol):
    """What a step may ask while it is compiled. `loc` is always relative to the action's own value in the file.

    Everything that is wrong is reported with its position and gets a harmless stand-in, so that compiling goes on and
    all problems of a file come out in one run.
    """

    phase: Phase
    # The message that `headers`, `cookies` and `body` edit: the request's in `before`, else the response's.
    side: Side
    rule_name: str
    # The methods that the rule's match allows (upper case), where they are known.
    methods: frozenset[str] | None
    # The paths of the rule's match that end in `/*`, without that end.
    prefixes: tuple[str, ...]
    # Those that the packs of the rule set name.
    operations: Mapping[str, Operation]
    limits: Limits
    public_origin: str | None
    allow_redirects: tuple[str, ...]
    # Whether there is an upstream that a step may call by a path.
    has_upstream: bool
    # What packs call secret and what earlier steps of the rule remove.
    redaction: Redaction

    def problem(self, code: str, text: str, *loc: str | int, key: bool = False, warning: bool = False,
                suggestion: str | None = None) -> None:  # fmt: skip
        """Report a problem at a setting."""

    def problem_within(self, code: str, text: str, offset: int, length: int, *loc: str | int,
                       suggestion: str | None = None) -> None:  # fmt: skip
        """Report a problem inside a string setting."""

    # Whether the rule has `continue`, so that a redirect in its `after` suspends the exchange.
    suspends: bool

    def expression(self, source: str, *loc: str | int, type: Type | None = None, answered: bool = False) -> Program:
        """Compile a bare CEL expression; `type` is what it must give, where that can be known.

        With `answered` it is evaluated when the answer has arrived, whatever the step's phase.
        """

    def text(self, source: str, *loc: str | int, place: Place, secrets: bool = False) -> Value[str]:
        """Compile a string that may hold `${…}` to text fit for its place, checked there when it is rendered.

        header: no controls; cookie: also no `; , "` and space; segment: each `${…}` is one percent-encoded path
        segment; query, form, text, address: plain text, encoded or checked by whoever writes it. Numbers, booleans and
        timestamps become text as CEL's string(); null, lists, maps and bytes are an EvaluationError. `secrets` allows
        `${secret:…}`.
        """

    def pieces(self, source: str, *loc: str | int, secrets: bool = False) -> tuple[str | Value[Any], ...]:
        """Compile a string that may hold `${…}` piece by piece, for a caller that writes each in its own way."""

    def value(self, data: Any, *loc: str | int, secrets: bool = False, json: bool = True) -> Value[Any]:
        """Compile JSON data of any depth whose strings may hold `${…}`; a string that is exactly one keeps its type.

        With `json` the result can be written to a body (timestamps are text); without it, it stays what CEL made of it.
        """

    def path(self, source: str, *loc: str | int) -> FieldPath:
        """Compile a field path of a body."""

    def secret(self, source: str, *loc: str | int) -> Value[bytes]:
        """Compile a key: a string that is exactly `${secret:NAME}`; a literal key is a problem."""

    def declare(self, name: str, type: Type, *loc: str | int) -> None:
        """Declare a variable that later steps may read; a root, function or reserved word is a problem."""

    def verifies(self) -> None:
        """Say that the step verifies a token, so that later ones may read the context values that come from claims."""

    def reads_body(self, side: Side, path: Iterable[str | int] | None) -> None:
        """Say that the step reads or edits a body: a path of names, or None for the whole (`..`, computed names)."""

    def factor(self, name: str, *loc: str | int) -> Factor | None:
        """Compile a second factor by its name; one that no file has is a problem."""

    def collects(self, side: Side) -> None:
        """Say that the step needs the body of a message whole, whatever it is."""

    def defers(self, apply: Callable[[Headers, tuple[bytes, ...]], None]) -> str:
        """Name an edit that is laid on answers to come, so that it is found again after a suspension."""

    def hides(self, *, header: str | None = None, field: str | None = None) -> None:
        """Say that the step removes a header or body field, so that it is never logged."""
