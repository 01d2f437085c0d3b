"""A checked tree to a Python function, through `ast`.

Every node becomes a Python expression; what needs statements (conditions with several terms that may fail, macros) puts
them in front, in the block where the expression stands. Nothing has side effects, so that changes no meaning. What
nests deeper than Python's blocks may becomes a function of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from ...engine.errors import ABSORBED, EvaluationError
from . import nodes as n
from . import runtime, values
from .calls import Calls
from .emission import Emission, assign, attribute, constant, getter, invert, load, may_fail
from .functions.cost import Budget
from .loops import Loops
from .types import STRING

DEEPEST = 6


def generate(node: n.Node) -> Callable[[Any], Any]:
    """Compile a checked tree to a function of the program's one argument."""
    direct = _direct(node)
    return _Generator(node).program(node) if direct is None else direct


def _direct(node: n.Node) -> Callable[[Any], Any] | None:
    """Return the reader of an expression that is nothing but a place in the environment."""
    if isinstance(node, n.Name | n.Select | n.Index) and node.access is not None and not node.access.optional:
        tested = isinstance(node, n.Select) and node.tested
        # Another kind of read goes through the program's guard against foreign errors.
        guarded = node.access.reader is None and node.access.variable.attribute is None
        return None if tested or guarded else getter(node.access)
    return None


def _is_charged(node: n.Node) -> bool:
    return isinstance(node, n.Call) and node.function is not None and node.function.grows


class _Generator(Emission):
    def __init__(self, root: n.Node) -> None:
        nodes = list(n.walk(root))
        multiplies = any(isinstance(node, n.Comprehension | n.Bind | n.OptionalMap) for node in nodes)
        super().__init__(multiplies=multiplies, charges=multiplies or any(map(_is_charged, nodes)))
        self.calls = Calls(self)
        self.loops = Loops(self)
        self.definitions: list[ast.stmt] = []
        self.emitters: dict[type[n.Node], Callable[[Any], ast.expr]] = {
            n.Constant: lambda node: self.literal(node.value),
            n.Name: self.name,
            n.Select: self.select,
            n.Index: self.index,
            n.Call: self.calls.emit,
            n.Logic: self.logic,
            n.Conditional: self.conditional,
            n.ListLiteral: self.list_literal,
            n.MapLiteral: self.map_literal,
            n.Comprehension: self.loops.comprehension,
            n.Bind: self.loops.bind,
            n.OptionalMap: self.loops.optional_map,
        }

    # Functions

    def program(self, node: n.Node) -> Callable[[Any], Any]:
        body = self.body(node)
        if self.charges:
            body.insert(0, assign("budget", self.call(Budget)))
        if node.fails:
            body = [self.guard(body)]
        self.definitions.append(self.definition("run", ["x"], body))
        module = ast.Module(body=self.definitions, type_ignores=[])
        ast.fix_missing_locations(module)
        names: dict[str, Any] = dict(self.names)
        exec(compile(module, "<expression>", "exec"), names)  # noqa: S102  the tree is ours, no text of a rule is in it
        run: Callable[[Any], Any] = names["run"]
        return run

    def definition(self, name: str, parameters: list[str], body: list[ast.stmt]) -> ast.stmt:
        # Filled into one that was parsed: which fields a definition needs differs between versions of Python.
        (made,) = ast.parse(f"def {name}({', '.join(parameters)}): pass").body
        assert isinstance(made, ast.FunctionDef)
        made.body = body
        return made

    def guard(self, body: list[ast.stmt]) -> ast.stmt:
        """Let no error of Python's own out: its text could hold a value."""
        return ast.Try(
            body=body,
            handlers=[
                ast.ExceptHandler(type=self.constant_name(EvaluationError), name=None, body=[ast.Raise()]),
                ast.ExceptHandler(
                    type=self.constant_name(ABSORBED),
                    name="error",
                    body=[ast.Raise(exc=self.call(runtime.failed, load("error")), cause=constant(None))],
                ),
            ],
            orelse=[],
            finalbody=[],
        )

    def body(self, node: n.Node) -> list[ast.stmt]:
        """Make the body of a function that returns a node's value."""
        depth, self.depth = self.depth, 0
        with self.into() as block:
            if isinstance(node, n.Logic) and node.known is None:
                self.logic_returned(node)
            else:
                self.add(ast.Return(self.emit(node)))
        self.depth = depth
        return block

    def outside(self, node: n.Node) -> ast.expr:
        """Put a node into a function of its own and call it."""
        name = self.fresh("part")
        parameters = ["x", *(["budget"] if self.charges else []), *self.live]
        self.definitions.append(self.definition(name, parameters, self.body(node)))
        return ast.Call(func=load(name), args=[load(parameter) for parameter in parameters], keywords=[])

    def emit(self, node: n.Node) -> ast.expr:
        if node.known is not None:
            return self.literal(node.known[0])
        blocks = isinstance(node, n.Logic | n.Conditional | n.Comprehension | n.OptionalMap)
        if blocks and self.depth >= DEEPEST:
            return self.outside(node)
        return self.emitters[type(node)](node)

    # Places

    def name(self, node: n.Name) -> ast.expr:
        return load(node.local.python) if node.local is not None else self.read(node.access)

    def read(self, access: n.Access | None) -> ast.expr:
        """Read a place of the environment."""
        assert access is not None
        if access.optional:
            if not access.tests:
                return self.call(values.Maybe, self.calls_of(getter(access)))
            return self.calls_of(runtime.optional_reader(access.tests, getter(access)))
        if not access.path and access.variable.attribute is not None:
            return attribute(load("x"), *access.variable.attribute.split("."))
        return self.calls_of(getter(access))

    def calls_of(self, read: Callable[[Any], Any]) -> ast.expr:
        return self.call(read, load("x"))

    def select(self, node: n.Select) -> ast.expr:
        if node.access is not None:
            return self.test(node.access) if node.tested else self.read(node.access)
        helper: Callable[..., Any] = runtime.select
        if node.tested:
            helper = runtime.has_member
        elif node.optional:
            helper = runtime.select_optional
        return self.call(helper, self.emit(node.operand), constant(node.name))

    def test(self, access: n.Access) -> ast.expr:
        """Say whether a place of the environment is there."""
        variable = access.variable
        has: Callable[[Any], bool] | None = variable.has
        parents = access.parents
        if access.reader is not None:
            # The reader itself knows what it lies in.
            has, parents = access.reader.has, ()
        if access.tests:
            tests = access.tests if has is None else (*access.tests, has)
            return self.calls_of(lambda x: all(test(x) for test in tests))
        if parents:
            return self.calls_of(runtime.tester(parents, has))
        return constant(True) if has is None else self.calls_of(has)

    def index(self, node: n.Index) -> ast.expr:
        if node.access is not None:
            return self.read(node.access)
        helper = runtime.index_optional if node.optional else runtime.index
        operand = self.emit(node.operand)
        return self.call(helper, operand, self.emit(node.index))

    # Conditions

    def terms(self, node: n.Logic) -> list[tuple[n.Node, list[ast.stmt], ast.expr]]:
        """Emit the terms of a condition, those first that cannot fail: their order changes nothing but the work."""
        terms = []
        for term in sorted(node.terms, key=may_fail):
            with self.into() as block, self.deeper():
                value = self.condition(term)
            terms.append((term, block, value))
        return terms

    def logic(self, node: n.Logic) -> ast.expr:
        terms = self.terms(node)
        if _is_plain(terms):
            return self.operation(node, terms)
        result, error = self.fresh("t"), self.fresh("e")
        stops = node.sign == "||"
        with self.into() as block:
            self.decide(node, terms, error, ast.Break)
            self.add(assign(result, constant(not stops)), ast.Break())
        self.add(
            assign(result, constant(stops)), assign(error, constant(None)),
            ast.While(test=constant(True), body=block, orelse=[]),
        )  # fmt: skip
        return load(result)

    def logic_returned(self, node: n.Logic) -> None:
        terms = self.terms(node)
        if _is_plain(terms):
            self.add(ast.Return(self.operation(node, terms)))
            return
        error = self.fresh("e")
        stops = node.sign == "||"
        self.add(assign(error, constant(None)))
        self.decide(node, terms, error, lambda: ast.Return(constant(stops)))
        self.add(ast.Return(constant(not stops)))

    def operation(self, node: n.Logic, terms: list[tuple[n.Node, list[ast.stmt], ast.expr]]) -> ast.expr:
        self.add(*terms[0][1])
        sign: ast.boolop = ast.And() if node.sign == "&&" else ast.Or()
        return ast.BoolOp(op=sign, values=[value for _, _, value in terms])

    def decide(
        self, node: n.Logic, terms: list[tuple[n.Node, list[ast.stmt], ast.expr]], error: str,
        stop: Callable[[], ast.stmt],
    ) -> None:  # fmt: skip
        """Try the terms one by one: `stop` at one that decides, at the end raise what was kept."""
        for place, (term, block, value) in enumerate(terms):
            decides = value if node.sign == "||" else invert(value)
            attempt: list[ast.stmt] = [*block, ast.If(test=decides, body=[stop()], orelse=[])]
            if may_fail(term) and place < len(terms) - 1:
                self.add(self.attempt(attempt, error))
            else:
                self.add(*attempt)
        self.add(self.kept(error))

    def conditional(self, node: n.Conditional) -> ast.expr:
        return self.either(self.condition(node.condition), lambda: self.emit(node.then), lambda: self.emit(node.other))

    # Literals

    def list_literal(self, node: n.ListLiteral) -> ast.expr:
        parts: list[ast.expr] = []
        for item, optional in zip(node.items, node.optional, strict=True):
            value = self.emit(item)
            if optional:
                # An optional adds its value, or nothing.
                value = ast.Starred(value=self.call(_item, value), ctx=ast.Load())
            parts.append(value)
        return ast.List(elts=parts, ctx=ast.Load())

    def map_literal(self, node: n.MapLiteral) -> ast.expr:
        plain = all(isinstance(key, n.Constant) and key.type == STRING for key, _ in node.entries)
        if plain and not any(node.optional):
            keys: list[ast.expr | None] = [self.emit(key) for key, _ in node.entries]
            return ast.Dict(keys=keys, values=[self.emit(value) for _, value in node.entries])
        parts: list[ast.expr] = []
        for (key, value), optional in zip(node.entries, node.optional, strict=True):
            one, two = self.emit(key), self.emit(value)
            if optional:
                parts.append(ast.Starred(value=self.call(_entry, one, two), ctx=ast.Load()))
            else:
                parts.append(ast.Tuple(elts=[one, two], ctx=ast.Load()))
        return self.call(values.make_map, ast.List(elts=parts, ctx=ast.Load()))


def _is_plain(terms: list[tuple[n.Node, list[ast.stmt], ast.expr]]) -> bool:
    """Say whether Python's own `and` and `or` do.

    They do when at most the last term may fail and none but the first has statements.
    """
    return not any(may_fail(term) for term, _, _ in terms[:-1]) and not any(block for _, block, _ in terms[1:])


def _item(value: Any) -> tuple[Any, ...]:
    made = runtime.optional(value)
    return (made.value,) if made.present else ()


def _entry(key: Any, value: Any) -> tuple[Any, ...]:
    made = runtime.optional(value)
    return ((key, made.value),) if made.present else ()
