"""Python's `ast` in short words, and the state of one program that is being written."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .nodes import Node

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

    @abstractmethod
    def emit(self, node: Node) -> ast.expr:
        """Return the expression of a node; what it needs before goes to the block."""

    @abstractmethod
    def either(self, test: ast.expr, then: Any, other: Any) -> ast.expr:
        """Emit two expressions of which only one is evaluated."""

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
