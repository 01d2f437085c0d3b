"""Macros to Python loops, `cel.bind` and `optMap` to assignments."""

from __future__ import annotations

import ast
from collections.abc import Callable

from . import nodes as n
from . import runtime, values
from .emission import Emission, assign, attribute, compare, constant, invert, load, may_fail, store
from .types import is_open


class Loops:
    """Emits the macros of one program."""

    def __init__(self, emission: Emission) -> None:
        self.out = emission

    def comprehension(self, node: n.Comprehension) -> ast.expr:
        two = len(node.locals) == 2
        weight = sum(1 for part in (node.condition, node.result) if part is not None for _ in n.walk(part))
        walked = self.out.call(
            runtime.pairs if two else runtime.items, self.out.emit(node.range), load("budget"), constant(weight)
        )
        result, error = self.out.fresh("t"), self.out.fresh("e")
        with self.out.into() as block, self.out.deeper(), self.out.binding(*node.locals):
            for local in node.locals:
                if is_open(local.type):
                    self.out.add(ast.Expr(self.out.call(runtime.checked, load(local.python))))
            start, end = _STEPS[node.kind](self, node, result, error)
        targets: list[ast.expr] = [store(local.python) for local in node.locals]
        target = ast.Tuple(elts=targets, ctx=ast.Store()) if two else targets[0]
        self.out.add(*start, ast.For(target=target, iter=walked, body=block, orelse=[]), *end)
        if node.kind == "transformMap":
            return self.out.call(values.make_map, load(result))
        return load(result)

    def quantified(self, node: n.Comprehension, result: str, error: str) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """all and exists: one item decides, whatever went wrong with the others."""
        assert node.condition is not None
        found = node.kind == "exists"
        with self.out.into() as block, self.out.deeper():
            value = self.out.condition(node.condition)
            decides = value if found else invert(value)
            self.out.add(ast.If(test=decides, body=[assign(result, constant(found)), ast.Break()], orelse=[]))
        start = [assign(result, constant(not found))]
        if not may_fail(node.condition):
            self.out.add(*block)
            return start, []
        self.out.add(self.out.attempt(block, error))
        undecided = compare(load(result), ast.Is(), constant(not found))
        failed = ast.BoolOp(op=ast.And(), values=[undecided, compare(load(error), ast.IsNot(), constant(None))])
        end = ast.If(test=failed, body=[ast.Raise(exc=load(error), cause=None)], orelse=[])
        return [*start, assign(error, constant(None))], [end]

    def counted(self, node: n.Comprehension, result: str, _: str) -> tuple[list[ast.stmt], list[ast.stmt]]:
        assert node.condition is not None
        value = self.out.condition(node.condition)
        more = ast.AugAssign(target=store(result), op=ast.Add(), value=constant(1))
        self.out.add(ast.If(test=value, body=[more], orelse=[]))
        return [assign(result, constant(0))], [assign(result, compare(load(result), ast.Eq(), constant(1)))]

    def collected(self, node: n.Comprehension, result: str, _: str) -> tuple[list[ast.stmt], list[ast.stmt]]:
        """map, filter, transformList and transformMap."""
        with self.out.into() as block:
            value = load(node.locals[0].python) if node.result is None else self.out.emit(node.result)
            if node.kind == "transformMap":
                value = ast.Tuple(elts=[load(node.locals[0].python), value], ctx=ast.Load())
            append = ast.Call(func=attribute(load(result), "append"), args=[value], keywords=[])
            self.out.add(ast.Expr(append))
        if node.condition is None:
            self.out.add(*block)
        else:
            self.out.add(ast.If(test=self.out.condition(node.condition), body=block, orelse=[]))
        return [assign(result, ast.List(elts=[], ctx=ast.Load()))], []

    def bind(self, node: n.Bind) -> ast.expr:
        assert node.local is not None
        self.out.add(assign(node.local.python, self.out.emit(node.value)))
        with self.out.binding(node.local):
            return self.out.emit(node.body)

    def optional_map(self, node: n.OptionalMap) -> ast.expr:
        local = node.local
        assert local is not None
        target = self.out.fresh("t")
        self.out.add(assign(target, self.out.call(runtime.optional, self.out.emit(node.target))))

        def then() -> ast.expr:
            self.out.add(assign(local.python, attribute(load(target), "value")))
            with self.out.binding(local):
                body = self.out.emit(node.body)
            return self.out.call(runtime.optional if node.flat else values.Maybe, body)

        return self.out.either(attribute(load(target), "present"), then, lambda: self.out.constant_name(values.NONE))


_STEPS: dict[str, Callable[..., tuple[list[ast.stmt], list[ast.stmt]]]] = {
    "all": Loops.quantified,
    "exists": Loops.quantified,
    "exists_one": Loops.counted,
    "map": Loops.collected,
    "filter": Loops.collected,
    "transformMap": Loops.collected,
}
