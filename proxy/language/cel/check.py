"""Names, functions and types of an expression, checked as far as they are known before it runs.

Every mistake is found in one go: what is wrong counts as dyn, so that nothing follows from it. What the generator needs
to know is written into the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import nodes as n
from .environment import Environment
from .findings import Checked, Checking, Read
from .functions import FunctionTable
from .places import Places
from .signatures import Signatures
from .types import BOOL, DYN, INT, STRING, UNDECIDED, Type, is_open, join, list_of, map_of, optional_of, with_article

_KEYS = frozenset({"string", "int", "uint", "bool"})


def check(node: n.Node, environment: Environment, functions: FunctionTable) -> Checked:
    """Check a tree and write types and what names mean into it."""
    checker = _Checker(environment, functions)
    checker.value(node)
    tested = {(read.footprint, read.path) for read in checker.found.reads if read.tested}
    checker.found.reads = [
        Read(read.footprint, read.path, read.tested, _is_guarded(read, tested)) for read in checker.found.reads
    ]
    return checker.found


def _is_guarded(read: Read, tested: set[tuple[str, tuple[str | int, ...] | None]]) -> bool:
    path = read.path or ()
    return not read.tested and any((read.footprint, path[:length]) in tested for length in range(len(path) + 1))


class _Checker(Checking):
    def __init__(self, environment: Environment, functions: FunctionTable) -> None:
        super().__init__(environment, functions)
        places = Places(self)
        self.locals = 0
        self.visitors: dict[type[n.Node], Callable[[Any], None]] = {
            n.Constant: self.constant,
            n.Name: places.name,
            n.Select: places.select,
            n.Index: places.index,
            n.Call: Signatures(self, places).call,
            n.Logic: self.logic,
            n.Conditional: self.conditional,
            n.ListLiteral: self.list_literal,
            n.MapLiteral: self.map_literal,
            n.Comprehension: self.comprehension,
            n.Bind: self.bind,
            n.OptionalMap: self.optional_map,
        }

    def visit(self, node: n.Node) -> None:
        self.visitors[type(node)](node)

    def constant(self, node: n.Constant) -> None:
        node.known = (node.value,)
        node.fails = False

    # Conditions

    def condition(self, node: n.Node, where: str) -> None:
        type = self.value(node)
        if not is_open(type) and type != BOOL:
            self.problem(
                "wrong-type", f"{where} is a condition, and this is {with_article(type)}", node.start, node.end
            )

    def logic(self, node: n.Logic) -> None:
        for term in node.terms:
            self.condition(term, f"a term of `{node.sign}`")
        node.type = BOOL
        node.fails = any(term.fails or term.type != BOOL for term in node.terms)

    def conditional(self, node: n.Conditional) -> None:
        self.condition(node.condition, "what stands before `?`")
        node.type = join(self.value(node.then), self.value(node.other))
        node.fails = node.condition.fails or node.condition.type != BOOL or node.then.fails or node.other.fails

    # Literals

    def list_literal(self, node: n.ListLiteral) -> None:
        joined = UNDECIDED
        for item, optional in zip(node.items, node.optional, strict=True):
            joined = join(joined, self.optional_part(item, optional=optional))
        node.type = list_of(joined)
        node.fails = any(item.fails for item in node.items) or any(node.optional)

    def map_literal(self, node: n.MapLiteral) -> None:
        keys = values = UNDECIDED
        seen: set[tuple[bool, Any]] = set()
        for (key, value), optional in zip(node.entries, node.optional, strict=True):
            type = self.value(key)
            if not is_open(type) and type.name not in _KEYS:
                text = f"a map's key is a string, int, uint or bool, not {with_article(type)}"
                self.problem("wrong-type", text, key.start, key.end)
            elif isinstance(key, n.Constant):
                known = (isinstance(key.value, bool), key.value)
                if known in seen:
                    self.problem("repeated-key", "this key stands in the map twice", key.start, key.end)
                seen.add(known)
            keys = join(keys, type)
            values = join(values, self.optional_part(value, optional=optional))
        node.type = map_of(keys, values)
        plain = all(isinstance(key, n.Constant) and key.type == STRING for key, _ in node.entries)
        node.fails = not plain or any(value.fails for _, value in node.entries) or any(node.optional)

    def optional_part(self, node: n.Node, *, optional: bool) -> Type:
        """Check a part of a literal; one marked with `?` is an optional and adds what it holds."""
        type = self.value(node)
        if not optional or is_open(type):
            return type
        if type.name != "optional_type":
            self.problem(
                "wrong-type", f"what is marked with `?` is an optional, not {with_article(type)}", node.start, node.end
            )
            return DYN
        return type.parameters[0]

    # Macros

    def declare(self, name: n.Name, type: Type) -> n.Local:
        self.locals += 1
        local = n.Local(name.name, f"v{self.locals}", type)
        self.scope.setdefault(name.name, []).append(local)
        return local

    def forget(self, *locals: n.Local) -> None:
        for local in reversed(locals):
            self.scope[local.name].pop()
            if not self.scope[local.name]:
                del self.scope[local.name]

    def comprehension(self, node: n.Comprehension) -> None:
        range = self.value(node.range)
        node.locals = [self.declare(*pair) for pair in zip(node.names, self.walked(node, range), strict=True)]
        if node.condition is not None:
            self.condition(node.condition, f"the test of {node.kind}()")
        result = UNDECIDED if node.result is None else self.value(node.result)
        self.forget(*node.locals)
        if node.kind == "map":
            node.type = list_of(result)
        elif node.kind == "transformMap":
            node.type = map_of(node.locals[0].type, result)
        elif node.kind == "filter":
            node.type = list_of(node.locals[0].type)
        else:
            node.type = BOOL
        inner = [part for part in (node.condition, node.result) if part is not None]
        known = range.name in ("list", "map") and (node.condition is None or node.condition.type == BOOL)
        node.fails = node.range.fails or not known or any(part.fails for part in inner) or _holds_dyn(range)

    def walked(self, node: n.Comprehension, range: Type) -> list[Type]:
        """Return the types of a macro's variables."""
        two = len(node.names) == 2
        if range.name == "list":
            return [INT, range.parameters[0]] if two else [range.parameters[0]]
        if range.name == "map":
            return list(range.parameters) if two else [range.parameters[0]]
        if not is_open(range):
            text = f"{node.kind}() walks a list or a map, not {with_article(range)}"
            self.problem("wrong-type", text, node.range.start, node.range.end)
        return [DYN, DYN] if two else [DYN]

    def bind(self, node: n.Bind) -> None:
        node.local = self.declare(node.name, DYN)
        # The name is not known in its own value.
        self.forget(node.local)
        node.local.type = self.value(node.value)
        self.scope.setdefault(node.local.name, []).append(node.local)
        node.type = self.value(node.body)
        self.forget(node.local)
        node.fails = node.value.fails or node.body.fails

    def optional_map(self, node: n.OptionalMap) -> None:
        target = self.value(node.target)
        if target.name == "optional_type":
            inner = target.parameters[0]
        else:
            inner = DYN
            if not is_open(target):
                self.problem(
                    "wrong-type",
                    f"an optional is wanted, not {with_article(target)}",
                    node.target.start,
                    node.target.end,
                )
        node.local = self.declare(node.name, inner)
        body = self.value(node.body)
        self.forget(node.local)
        if node.flat:
            if not is_open(body) and body.name != "optional_type":
                self.problem(
                    "wrong-type",
                    f"optFlatMap() gives an optional, not {with_article(body)}",
                    node.body.start,
                    node.body.end,
                )
            node.type = body
        else:
            node.type = optional_of(body)


def _holds_dyn(type: Type) -> bool:
    """Say whether walking a value may meet an integer that does not fit."""
    return any(is_open(parameter) for parameter in type.parameters)
