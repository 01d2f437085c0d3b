"""Python's `ast` in short words, and the state of one program that is being written."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from ...engine.errors import ABSORBED
from . import runtime
from .nodes import Access, Local, Node
from .types import BOOL

# What `ast.Constant` may hold and what `==` tells apart there.
_INLINE = (str, bytes, bool, int, float, type(None))


def load(name: str) -> ast.expr:
    return ast.Name(id=name, ctx=ast.Load())


def store(name: str) -> ast.Name:
    return ast.Name(id=name, ctx=ast.Store())


def constant(value: Any) -> ast.expr:
    return ast.Constant(value=value)


def assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign(targets=[store(name)], value=value)


def attribute(value: ast.expr, *names: str) -> ast.expr:
    for name in names:
        value = ast.Attribute(value=value, attr=name, ctx=ast.Load())
    return value


def compare(one: ast.expr, sign: ast.cmpop, other: ast.expr) -> ast.expr:
    return ast.Compare(left=one, ops=[sign], comparators=[other])


def invert(value: ast.expr) -> ast.expr:
    return ast.UnaryOp(op=ast.Not(), operand=value)


def getter(access: Access) -> Callable[[Any], Any]:
    """Return what reads a place of the environment."""
    variable = access.variable
    if access.reader is not None:
        return access.reader.get
    if variable.attribute is not None:
        return attrgetter(variable.attribute)
    assert variable.read is not None
    return variable.read


def may_fail(term: Node) -> bool:
    """Say whether a term of a condition may end in an error, a wrong type included."""
    return term.fails or term.type != BOOL


class Emission(ABC):
    """The names that a program's code refers to, and the block that statements go to.

    `multiplies`: the source has loops or bindings, so that small work may become much. `charges`: there is a budget.
    """

    def __init__(self, *, multiplies: bool, charges: bool) -> None:
        self.multiplies = multiplies
        self.charges = charges
        self.names: dict[str, Any] = {}
        self.known: dict[int, str] = {}
        self.block: list[ast.stmt] = []
        self.count = 0
        # The macro variables in scope, and how many blocks stand around the block in this function.
        self.live: list[str] = []
        self.depth = 0

    @abstractmethod
    def emit(self, node: Node) -> ast.expr:
        """Return the expression of a node; what it needs before goes to the block."""

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def add(self, *statements: ast.stmt) -> None:
        self.block.extend(statements)

    @contextmanager
    def into(self) -> Iterator[list[ast.stmt]]:
        """Send statements to a block of their own."""
        outer, self.block = self.block, []
        try:
            yield self.block
        finally:
            self.block = outer

    def constant_name(self, value: Any) -> ast.expr:
        """Refer to any Python object."""
        name = self.known.get(id(value))
        if name is None:
            name = self.known[id(value)] = self.fresh("k")
            # The dict keeps the object, so that its id stays its own.
            self.names[name] = value
        return load(name)

    def literal(self, value: Any) -> ast.expr:
        return constant(value) if type(value) in _INLINE else self.constant_name(value)

    def call(self, function: Any, *args: ast.expr) -> ast.expr:
        return ast.Call(func=self.constant_name(function), args=list(args), keywords=[])

    def walrus(self, value: ast.expr) -> tuple[ast.expr, ast.expr]:
        """Evaluate once, use twice: return the expression of the first use and of the later ones."""
        if isinstance(value, ast.Name | ast.Constant):
            return value, value
        name = self.fresh("t")
        return ast.NamedExpr(target=store(name), value=value), load(name)

    @contextmanager
    def deeper(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    @contextmanager
    def binding(self, *locals: Local) -> Iterator[None]:
        self.live += [local.python for local in locals]
        yield
        del self.live[-len(locals) :]

    def condition(self, node: Node) -> ast.expr:
        """Emit a node that must be a boolean."""
        value = self.emit(node)
        return value if node.type == BOOL else self.call(runtime.as_bool, value)

    def either(self, test: ast.expr, then: Callable[[], ast.expr], other: Callable[[], ast.expr]) -> ast.expr:
        """Emit two expressions of which only one is evaluated."""
        with self.deeper():
            with self.into() as first:
                one = then()
            with self.into() as second:
                two = other()
        if not first and not second:
            return ast.IfExp(test=test, body=one, orelse=two)
        result = self.fresh("t")
        self.add(ast.If(test=test, body=[*first, assign(result, one)], orelse=[*second, assign(result, two)]))
        return load(result)

    def attempt(self, body: list[ast.stmt], error: str) -> ast.stmt:
        """Keep an error for later; without its traceback, which would hold the frame that holds it."""
        keep = assign(
            error, ast.Call(func=attribute(load("caught"), "with_traceback"), args=[constant(None)], keywords=[])
        )
        handler = ast.ExceptHandler(type=self.constant_name(ABSORBED), name="caught", body=[keep])
        return ast.Try(body=body, handlers=[handler], orelse=[], finalbody=[])

    def kept(self, error: str) -> ast.stmt:
        test = compare(load(error), ast.IsNot(), constant(None))
        return ast.If(test=test, body=[ast.Raise(exc=load(error), cause=None)], orelse=[])
