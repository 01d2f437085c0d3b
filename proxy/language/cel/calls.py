"""Calls and operators to Python expressions: known types become Python's own operations."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, NoReturn

from . import nodes as n
from . import patterns, runtime, values
from .emission import Emission, attribute, compare, constant, getter, invert, load
from .functions import operators
from .types import BOOL, BYTES, DOUBLE, DURATION, INT, NULL, STRING, TIMESTAMP, UINT, Type

_ORDER: dict[str, tuple[ast.cmpop, Any]] = {
    "<": (ast.Lt(), values.less),
    "<=": (ast.LtE(), values.less_equal),
    ">": (ast.Gt(), values.greater),
    ">=": (ast.GtE(), values.greater_equal),
}
_ARITHMETIC: dict[str, ast.operator] = {"+": ast.Add(), "-": ast.Sub(), "*": ast.Mult()}
# Of the same type, these are compared by Python itself.
_COMPARED = frozenset({BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION})
# No value of another type is ever equal to one of these in Python.
_DISTINCT = frozenset({STRING, BYTES})
_METHODS = {"startsWith": "startswith", "endsWith": "endswith"}


class Calls:
    """Emits the calls of one program."""

    def __init__(self, emission: Emission) -> None:
        self.out = emission
        self.forms: dict[str, Callable[[n.Call], ast.expr | None]] = {
            "==": self.equal,
            "!=": self.equal,
            "+": self.arithmetic,
            "-": self.arithmetic,
            "*": self.arithmetic,
            "-_": self.negate,
            "!": self.invert,
            "in": self.contains,
            "startsWith": self.text_test,
            "endsWith": self.text_test,
            "contains": self.text_test,
            "matches": self.matches,
            "size": self.size,
            "dyn": lambda node: self.out.emit(node.args[0]),
            "string": self.string,
            "orValue": self.or_value,
            "or": self.or_other,
            **dict.fromkeys(_ORDER, self.order),
        }

    def emit(self, node: n.Call) -> ast.expr:
        form = self.forms.get(node.name)
        made = None if form is None else form(node)
        return self.general(node) if made is None else made

    def general(self, node: n.Call) -> ast.expr:
        """Call the function itself: behind a look at types that are not known, charged for where that counts."""
        function = node.function
        assert function is not None
        args = node.args if node.target is None else [node.target, *node.args]
        emitted = [self.out.emit(arg) for arg in args]
        if function.exchange:
            emitted.insert(0, load("x"))
        if function.cost is not None and (function.grows or self.out.multiplies):
            emitted.insert(0, load("budget"))
            return self.out.call(runtime.charged(function, function.cost, dynamic=node.dynamic), *emitted)
        call = runtime.guarded(function) if node.dynamic else function.call
        return self.out.call(call, *emitted)

    def pair(self, node: n.Call) -> tuple[ast.expr, ast.expr]:
        one, other = node.args
        return self.out.emit(one), self.out.emit(other)

    # Operators

    def equal(self, node: n.Call) -> ast.expr:
        one, other = node.args
        types = (one.type, other.type)
        positive = node.name == "=="
        if NULL in types:
            sign: ast.cmpop = ast.Is() if positive else ast.IsNot()
            return compare(*self._first(self.pair(node), sign))
        direct = (types[0] == types[1] and types[0] in _COMPARED) or not _DISTINCT.isdisjoint(types)
        if direct:
            return compare(*self._first(self.pair(node), ast.Eq() if positive else ast.NotEq()))
        if self.out.multiplies:
            made = self.out.call(runtime.equal_charged, load("budget"), *self.pair(node))
            return made if positive else invert(made)
        return self.out.call(values.equal if positive else values.unequal, *self.pair(node))

    @staticmethod
    def _first(pair: tuple[ast.expr, ast.expr], sign: ast.cmpop) -> tuple[ast.expr, ast.cmpop, ast.expr]:
        return pair[0], sign, pair[1]

    def order(self, node: n.Call) -> ast.expr:
        sign, function = _ORDER[node.name]
        one, other = node.args
        if one.type == other.type and one.type in _COMPARED:
            return compare(*self._first(self.pair(node), sign))
        return self.out.call(function, *self.pair(node))

    def arithmetic(self, node: n.Call) -> ast.expr | None:
        one, other = node.args
        same = one.type == other.type
        if node.name == "+" and self.out.multiplies and node.type not in (INT, DOUBLE, UINT):
            add = self.out.constant_name(operators.add)
            return self.out.call(runtime.add_charged, load("budget"), add, *self.pair(node))
        if (same and one.type in (DOUBLE, INT)) or (same and node.name == "+" and one.type in (STRING, BYTES)):
            first, second = self.pair(node)
            made = ast.BinOp(left=first, op=_ARITHMETIC[node.name], right=second)
            return self.out.call(values.fit_int, made) if one.type == INT else made
        return None

    def negate(self, node: n.Call) -> ast.expr | None:
        operand = node.args[0]
        if operand.type not in (INT, DOUBLE):
            return None
        made = ast.UnaryOp(op=ast.USub(), operand=self.out.emit(operand))
        return self.out.call(values.fit_int, made) if operand.type == INT else made

    def invert(self, node: n.Call) -> ast.expr | None:
        return invert(self.out.emit(node.args[0])) if node.args[0].type == BOOL else None

    def contains(self, node: n.Call) -> ast.expr:
        item, container = node.args
        texts = _texts(container)
        if texts is not None:
            known = self.out.constant_name(texts)
            if item.type == STRING:
                return compare(self.out.emit(item), ast.In(), known)
            return self.out.call(runtime.in_texts, self.out.emit(item), known)
        if item.type == STRING and (_is_map_of_texts(container.type) or _is_list_of_texts(container.type)):
            return compare(*self._first(self.pair(node), ast.In()))
        if self.out.multiplies:
            return self.out.call(runtime.contains_charged, load("budget"), *self.pair(node))
        return self.out.call(values.contains, *self.pair(node))

    # Functions

    def guarded_text(self, node: n.Node, name: str, use: Callable[[ast.expr], ast.expr]) -> ast.expr:
        """Use a node as text; when its type is not known, only after a look at it."""
        value = self.out.emit(node)
        if node.type == STRING:
            return use(value)
        first, later = self.out.walrus(value)
        test = compare(ast.Call(func=load("type"), args=[first], keywords=[]), ast.Is(), load("str"))
        refuse = self.out.call(_refuse, constant(name), later)
        return ast.IfExp(test=test, body=use(later), orelse=refuse)

    def text_test(self, node: n.Call) -> ast.expr | None:
        target, (arg,) = node.target, node.args
        # In a loop even these count: `contains` walks a text.
        if target is None or arg.type != STRING or (self.out.multiplies and node.name == "contains"):
            return None
        part = self.out.emit(arg)
        method = _METHODS.get(node.name)

        def use(value: ast.expr) -> ast.expr:
            if method is None:
                return compare(part, ast.In(), value)
            return ast.Call(func=attribute(value, method), args=[part], keywords=[])

        return self.guarded_text(target, node.name, use)

    def matches(self, node: n.Call) -> ast.expr | None:
        text, pattern = (node.args[0], node.args[1]) if node.target is None else (node.target, node.args[0])
        if pattern.known is None or self.out.multiplies:
            return None
        found = patterns.simple(pattern.known[0])

        def use(value: ast.expr) -> ast.expr:
            if found is None:
                return self.out.call(patterns.finder(pattern.known[0] if pattern.known else ""), value)
            kind, wanted = found
            if kind == "among":
                return compare(value, ast.In(), self.out.constant_name(wanted))
            if kind == "equals":
                return compare(value, ast.Eq(), constant(wanted))
            if kind == "contains":
                return compare(constant(wanted), ast.In(), value)
            return ast.Call(func=attribute(value, _METHODS[kind]), args=[constant(wanted)], keywords=[])

        return self.guarded_text(text, "matches", use)

    def size(self, node: n.Call) -> ast.expr | None:
        value = node.args[0] if node.target is None else node.target
        if node.dynamic:
            return None
        return ast.Call(func=load("len"), args=[self.out.emit(value)], keywords=[])

    def string(self, node: n.Call) -> ast.expr | None:
        return self.out.emit(node.args[0]) if node.args[0].type == STRING else None

    def or_value(self, node: n.Call) -> ast.expr | None:
        """Evaluate the other value only when it is needed."""
        target = node.target
        if target is None:
            return None
        if isinstance(target, n.Name | n.Select | n.Index) and target.access is not None and target.access.tests:
            return self.read_or(target.access, node.args[0])
        first, later = self.out.walrus(self.out.call(runtime.optional, self.out.emit(target)))
        return self.out.either(
            attribute(first, "present"), lambda: attribute(later, "value"), lambda: self.out.emit(node.args[0])
        )

    def read_or(self, access: n.Access, other: n.Node) -> ast.expr:
        """Read a place if it is there, without making an optional of it."""
        tests = [self.out.call(test, load("x")) for test in access.tests]
        test = tests[0] if len(tests) == 1 else ast.BoolOp(op=ast.And(), values=tests)
        return self.out.either(test, lambda: self.out.call(getter(access), load("x")), lambda: self.out.emit(other))

    def or_other(self, node: n.Call) -> ast.expr | None:
        if node.target is None:
            return None
        first, later = self.out.walrus(self.out.call(runtime.optional, self.out.emit(node.target)))
        return self.out.either(
            attribute(first, "present"),
            lambda: later,
            lambda: self.out.call(runtime.optional, self.out.emit(node.args[0])),
        )


def _texts(node: n.Node) -> frozenset[str] | None:
    """Return the items of a list of literal texts."""
    if isinstance(node, n.ListLiteral) and not any(node.optional):
        texts = [item.value for item in node.items if isinstance(item, n.Constant) and item.type == STRING]
        if len(texts) == len(node.items):
            return frozenset(texts)
    return None


def _is_map_of_texts(type: Type) -> bool:
    return type.name == "map" and type.parameters[0] == STRING


def _is_list_of_texts(type: Type) -> bool:
    return type.name == "list" and type.parameters[0] == STRING


def _refuse(name: str, value: Any) -> NoReturn:
    raise values.no_overload(name, value)
