"""The tree of an expression. The parser builds it; the checker writes `type` and the other findings into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .environment import Function, Reader, Variable
from .types import DYN, Type


@dataclass(slots=True)
class Local:
    """A variable that a macro binds; `python` is its name in the generated code."""

    name: str
    python: str
    type: Type


@dataclass(frozen=True, slots=True)
class Access:
    """A variable of the environment and the static path into it that a node reads.

    An `optional` one is there when all `tests` hold. `parents` say whether the structs on the way are there.
    """

    variable: Variable
    path: tuple[str | int, ...] = ()
    tests: tuple[Callable[[Any], bool], ...] = ()
    optional: bool = False
    parents: tuple[Callable[[Any], bool], ...] = ()
    reader: Reader | None = None


@dataclass(slots=True, kw_only=True)
class Node:
    """A part of an expression, from offset `start` to `end`."""

    start: int
    end: int
    height: int = 1
    type: Type = DYN
    # Whether evaluating it may end in an error.
    fails: bool = True
    # A value that is known at load is kept as a tuple of one.
    known: tuple[Any] | None = None


@dataclass(slots=True, kw_only=True)
class Constant(Node):
    value: Any


@dataclass(slots=True, kw_only=True)
class Name(Node):
    """An identifier; `rooted` when it was written with a leading dot."""

    name: str
    rooted: bool = False
    local: Local | None = None
    access: Access | None = None


@dataclass(slots=True, kw_only=True)
class Select(Node):
    """`operand.name`, `operand.?name`, or what `has()` tests."""

    operand: Node
    name: str
    name_start: int
    optional: bool = False
    tested: bool = False
    access: Access | None = None


@dataclass(slots=True, kw_only=True)
class Index(Node):
    """`operand[index]` or `operand[?index]`."""

    operand: Node
    index: Node
    optional: bool = False
    access: Access | None = None


@dataclass(slots=True, kw_only=True)
class Call(Node):
    """A function, a member function (with a target) or an operator (its sign is the name)."""

    name: str
    target: Node | None
    args: list[Node]
    name_start: int
    function: Function | None = None
    # The types of the arguments do not decide: they are looked at when it runs.
    dynamic: bool = False


@dataclass(slots=True, kw_only=True)
class Logic(Node):
    """All terms of a chain of `&&` or of `||`."""

    sign: Literal["&&", "||"]
    terms: list[Node]


@dataclass(slots=True, kw_only=True)
class Conditional(Node):
    condition: Node
    then: Node
    other: Node


@dataclass(slots=True, kw_only=True)
class ListLiteral(Node):
    items: list[Node]
    optional: list[bool]


@dataclass(slots=True, kw_only=True)
class MapLiteral(Node):
    entries: list[tuple[Node, Node]]
    optional: list[bool]


Kind = Literal["all", "exists", "exists_one", "map", "filter", "transformMap"]


@dataclass(slots=True, kw_only=True)
class Comprehension(Node):
    """A macro that walks a list or map: one variable (item or key), or two (index or key, and value)."""

    kind: Kind
    range: Node
    names: list[Name]
    condition: Node | None
    result: Node | None
    locals: list[Local] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Bind(Node):
    """`cel.bind(name, value, body)`."""

    name: Name
    value: Node
    body: Node
    local: Local | None = None


@dataclass(slots=True, kw_only=True)
class OptionalMap(Node):
    """`target.optMap(name, body)` and `target.optFlatMap(name, body)`."""

    target: Node
    name: Name
    body: Node
    flat: bool
    local: Local | None = None


def children(node: Node) -> Iterator[Node]:
    """Give the nodes right below a node."""
    match node:
        case Select():
            yield node.operand
        case Index():
            yield from (node.operand, node.index)
        case Call():
            yield from node.args if node.target is None else (node.target, *node.args)
        case Logic():
            yield from node.terms
        case Conditional():
            yield from (node.condition, node.then, node.other)
        case ListLiteral():
            yield from node.items
        case MapLiteral():
            for entry in node.entries:
                yield from entry
        case Comprehension():
            yield from (part for part in (node.range, node.condition, node.result) if part is not None)
        case Bind():
            yield from (node.value, node.body)
        case OptionalMap():
            yield from (node.target, node.body)


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from walk(child)
