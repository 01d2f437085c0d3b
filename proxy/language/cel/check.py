"""Names, functions and types of an expression, checked as far as they are known before it runs.

Every mistake is found in one go: what is wrong counts as dyn, so that nothing follows from it. What the generator needs
to know is written into the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...engine.errors import ABSORBED, EvaluationError
from . import nodes as n
from .environment import Environment, Function, Variable
from .functions import FunctionTable
from .patterns import compile_pattern
from .problems import CelProblem, nearest
from .runtime import guarded
from .types import (
    BOOL,
    DENOTED,
    DYN,
    INT,
    STRING,
    TYPE,
    UINT,
    UNDECIDED,
    Type,
    is_open,
    join,
    list_of,
    map_of,
    match,
    may_equal,
    optional_of,
    substitute,
)

# Operators and functions that have a value for any arguments of their types.
_NEVER_FAIL = frozenset(
    {"==", "!=", "<", "<=", ">", ">=", "!", "in", "size", "startsWith", "endsWith", "contains", "type", "dyn"}
)
# Functions whose literal argument is a mistake when they do not take it.
_LITERAL_CHECKED = frozenset({"timestamp", "duration", "ip", "cidr"})
_KEYS = frozenset({"string", "int", "uint", "bool"})
_SELECTABLE = frozenset({"map", "optional_type"})


@dataclass(frozen=True, slots=True)
class Read:
    """A variable with a footprint that an expression reads, and the static path into it.

    `path` is None when it is read as a whole or by a key that is not known at load. `tested`: it stands only in `has()`
    or after `.?`. `guarded`: the same expression tests this path or one above it.
    """

    footprint: str
    path: tuple[str | int, ...] | None
    tested: bool = False
    guarded: bool = False


@dataclass(slots=True)
class Checked:
    """What the checker learned of an expression."""

    problems: list[CelProblem] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    # Whether it depends on nothing but its source.
    constant: bool = True


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


class _Checker:
    def __init__(self, environment: Environment, functions: FunctionTable) -> None:
        self.environment = environment
        self.functions = functions
        self.found = Checked()
        self.scope: dict[str, list[n.Local]] = {}
        self.locals = 0
        # Literal secrets inside an argument of hmac() cannot leave it.
        self.sealed = 0
        parts = environment.container.split(".") if environment.container else []
        self.prefixes = [".".join(parts[:length]) + "." for length in range(len(parts), 0, -1)] + [""]
        self.visitors: dict[type[n.Node], Callable[[Any], None]] = {
            n.Constant: self.constant,
            n.Name: self.name,
            n.Select: self.select,
            n.Index: self.index,
            n.Call: self.call,
            n.Logic: self.logic,
            n.Conditional: self.conditional,
            n.ListLiteral: self.list_literal,
            n.MapLiteral: self.map_literal,
            n.Comprehension: self.comprehension,
            n.Bind: self.bind,
            n.OptionalMap: self.optional_map,
        }

    def problem(self, code: str, text: str, start: int, end: int, suggestion: str | None = None) -> None:
        self.found.problems.append(CelProblem(code, text, start, end, suggestion))

    # Reading

    def visit(self, node: n.Node) -> None:
        self.visitors[type(node)](node)

    def value(self, node: n.Node) -> Type:
        """Check a node whose value is used as it is, and return its type."""
        self.visit(node)
        self.consume(node)
        return node.type

    def consume(self, node: n.Node) -> None:
        """Note that a node's value is read, where it is one of the environment's."""
        if not isinstance(node, n.Name | n.Select | n.Index) or node.access is None:
            return
        access, variable = node.access, node.access.variable
        if isinstance(node, n.Select) and node.tested:
            return
        if variable.read is None and variable.attribute is None and not (variable.open and access.path):
            names = ", ".join(sorted(variable.members or ()))
            self.problem("not-a-value", f"this is read by a member: {names}", node.start, node.end)
        if variable.footprint:
            self.found.reads.append(Read(variable.footprint, access.path or None, tested=access.optional))
        node.fails = variable.attribute is None or access.optional

    def test(self, variable: Variable, path: tuple[str | int, ...]) -> None:
        if variable.footprint:
            self.found.reads.append(Read(variable.footprint, path, tested=True))

    # Names

    def constant(self, node: n.Constant) -> None:
        node.known = (node.value,)
        node.fails = False

    def lookup(self, name: str) -> n.Local | None:
        found = self.scope.get(name)
        return found[-1] if found else None

    def name(self, node: n.Name) -> None:
        if not node.rooted and (local := self.lookup(node.name)) is not None:
            node.local, node.type, node.fails = local, local.type, False
            return
        if self.global_name(node, node.name, rooted=node.rooted):
            return
        node.type = DYN
        known = [*self.environment.variables, *self.scope]
        suggestion = nearest(node.name, known)
        if (node.name, False) in self.functions:
            text = f"{node.name} is a function: write {node.name}(…)"
        else:
            text = f"there is no variable {node.name!r}"
        self.problem("unknown-name", text, node.start, node.end, suggestion)

    def global_name(self, node: n.Name | n.Select, name: str, *, rooted: bool) -> bool:
        """Take a name as a variable of the environment or a type; say whether it is one."""
        for prefix in [""] if rooted else self.prefixes:
            variable = self.environment.variables.get(prefix + name)
            if variable is not None:
                node.access = n.Access(variable, parents=() if variable.has is None else (variable.has,))
                node.type = variable.type
                self.found.names.add(prefix + name)
                self.found.constant = False
                return True
        denoted = DENOTED.get(name)
        if denoted is None:
            return False
        node.type, node.known, node.fails = TYPE, (denoted,), False
        return True

    def dotted(self, node: n.Node) -> tuple[str, bool] | None:
        """Return a chain of plain selections as a dotted name, and whether it began with a dot."""
        names: list[str] = []
        while isinstance(node, n.Select) and not node.optional and not node.tested:
            names.append(node.name)
            node = node.operand
        if not isinstance(node, n.Name) or (not node.rooted and self.lookup(node.name) is not None):
            return None
        return ".".join([node.name, *reversed(names)]), node.rooted

    # Members and items

    def select(self, node: n.Select) -> None:
        if not node.tested and not node.optional:
            dotted = self.dotted(node)
            if dotted is not None and self.global_name(node, dotted[0], rooted=dotted[1]):
                return
        operand = node.operand
        self.visit(operand)
        access = getattr(operand, "access", None)
        if access is not None and access.variable.members is not None and not access.path:
            self.member(node, access)
        elif access is not None and access.variable.open is not None:
            self.step(node, access, node.name, self.part(node, operand.type))
        else:
            self.consume(operand)
            node.type = self.part(node, operand.type)
            if node.optional and not is_open(node.type) and node.type.name != "optional_type":
                node.type = optional_of(node.type)
            if node.tested:
                node.type = BOOL

    def part(self, node: n.Select, type: Type) -> Type:
        """Return the type of a member of a value of a type."""
        inner = type.parameters[0] if type.name == "optional_type" else type
        if is_open(inner):
            return optional_of(DYN) if node.optional or type is not inner else DYN
        if inner.name != "map":
            start = node.start if node.tested else node.name_start
            self.problem("wrong-type", f"a {inner} has no members, so no {node.name!r}", start, node.end)
            return DYN
        key, value = inner.parameters
        if not may_equal(key, STRING):
            self.problem("wrong-type", f"the keys of this map are of type {key}", node.name_start, node.end)
        return value if type is inner else optional_of(value)

    def member(self, node: n.Select, access: n.Access) -> None:
        """Select a member of a struct."""
        members = access.variable.members or {}
        member = members.get(node.name)
        if member is None:
            end = node.name_start + len(node.name)
            suggestion = nearest(node.name, members)
            text = f"there is no {node.name!r} here"
            self.problem("unknown-member", text, node.name_start, end, suggestion)
            node.type, node.access = (BOOL if node.tested else DYN), None
            return
        optional = access.optional or node.optional
        tests = (*access.tests, member.has) if optional and member.has is not None else access.tests
        parents = access.parents if node.tested or member.has is None else (*access.parents, member.has)
        node.access = n.Access(member, (), tests, optional=optional, parents=parents)
        node.type = optional_of(member.type) if optional else member.type
        if node.tested:
            node.type = BOOL
            node.fails = bool(access.parents) or member.has is not None
            self.test(member, ())
        elif node.optional:
            self.test(member, ())

    def step(self, node: n.Select | n.Index, access: n.Access, key: str | int, type: Type) -> None:
        """Go one step deeper into a document that is opened only where it is read."""
        variable, path = access.variable, (*access.path, key)
        assert variable.open is not None
        try:
            reader = variable.open(path)
        except ABSORBED as error:
            self.problem("wrong-type", error.cause if isinstance(error, EvaluationError) else "no such path", node.start, node.end)
            node.type = DYN
            return
        tested = isinstance(node, n.Select) and node.tested
        optional = access.optional or node.optional
        tests = (*access.tests, reader.has) if optional and not tested else access.tests
        node.access = n.Access(variable, path, tests, optional=optional, parents=access.parents)
        node.type = type
        if optional and type.name != "optional_type":
            node.type = optional_of(type)
        if tested:
            node.type = BOOL
        if tested or node.optional:
            self.test(variable, path)

    def index(self, node: n.Index) -> None:
        operand = node.operand
        self.visit(operand)
        access = getattr(operand, "access", None)
        key = node.index
        if isinstance(key, n.Constant) and access is not None:
            if type(key.value) is str and access.variable.members is not None and not access.path:
                self.member_by_key(node, access, key)
                return
            is_static = type(key.value) is str or (type(key.value) is int and key.value >= 0)
            if is_static and access.variable.open is not None:
                self.constant(key)
                self.step(node, access, key.value, self.item(node, operand.type, key.type))
                return
        self.consume(operand)
        node.type = self.item(node, operand.type, self.value(key))

    def member_by_key(self, node: n.Index, access: n.Access, key: n.Constant) -> None:
        """Take `struct['name']` as `struct.name`."""
        self.constant(key)
        selected = n.Select(
            operand=node.operand, name=key.value, name_start=key.start, optional=node.optional,
            start=node.start, end=node.end,
        )  # fmt: skip
        self.member(selected, access)
        node.access, node.type, node.fails = selected.access, selected.type, selected.fails

    def item(self, node: n.Index, type: Type, key: Type) -> Type:
        """Return the type of an item of a value of a type."""
        inner = type.parameters[0] if type.name == "optional_type" else type
        optional = node.optional or type is not inner
        if is_open(inner):
            return optional_of(DYN) if optional else DYN
        if inner.name == "list":
            if not is_open(key) and key not in (INT, UINT):
                self.problem("wrong-type", f"a list's index is an int, not a {key}", node.index.start, node.index.end)
            found = inner.parameters[0]
        elif inner.name == "map":
            found = inner.parameters[1]
            if not may_equal(key, inner.parameters[0]):
                text = f"the keys of this map are of type {inner.parameters[0]}, not {key}"
                self.problem("wrong-type", text, node.index.start, node.index.end)
        else:
            self.problem("wrong-type", f"a {inner} has no items", node.operand.start, node.operand.end)
            return DYN
        return optional_of(found) if optional else found

    # Calls

    def call(self, node: n.Call) -> None:
        self.find_namespace(node)
        function = self.functions.get((node.name, node.target is not None))
        if function is None:
            self.unknown_function(node)
            return
        node.function = function
        args = node.args if node.target is None else [node.target, *node.args]
        if node.name == "hmac":
            self.sealed += 1
        types = [self.value(arg) for arg in args]
        if node.name == "hmac":
            self.sealed -= 1
        self.literals(node, function, args)
        if node.name in ("==", "!="):
            self.comparison(node, *types)
        if not function.pure or function.exchange:
            self.found.constant = False
        if self.resolve(node, function, types):
            node.fails = any(arg.fails for arg in args) or node.dynamic or not self.is_total(node, types)
            self.fold(node, function, args)

    def find_namespace(self, node: n.Call) -> None:
        """Take `math.abs(x)` as the function of that name and not as a member of a variable."""
        if node.target is None:
            return
        dotted = self.dotted(node.target)
        if dotted is None:
            return
        name = f"{dotted[0]}.{node.name}"
        root = dotted[0].partition(".")[0]
        if (name, False) in self.functions:
            node.name, node.target, node.name_start = name, None, node.target.start
        elif root not in self.environment.variables and any(known.startswith(f"{root}.") for known, _ in self.functions):
            # A namespace without this function: the call as a whole is unknown.
            node.name, node.target, node.name_start = name, None, node.target.start

    def unknown_function(self, node: n.Call) -> None:
        for arg in node.args if node.target is None else [node.target, *node.args]:
            self.value(arg)
        member = node.target is not None
        if (node.name, not member) in self.functions:
            form = f"{node.name}(x)" if member else f"x.{node.name}()"
            text, suggestion = f"{node.name} is called as {form}", None
        elif member and node.name in _MACROS:
            text, suggestion = f"{node.name} is written {_MACROS[node.name]}", None
        else:
            known = [name for name, is_member in self.functions if is_member == member and name[0].isalpha()]
            known += list(_MACROS) if member else ["has"]
            text, suggestion = f"there is no function {node.name!r}", nearest(node.name, known)
        self.problem("unknown-function", text, node.name_start, node.name_start + len(node.name), suggestion)

    def literals(self, node: n.Call, function: Function, args: list[n.Node]) -> None:
        for position in function.literal:
            if position < len(args) and not (isinstance(args[position], n.Constant) and args[position].type == STRING):
                arg = args[position]
                self.problem("not-literal", f"{node.name}() takes a literal text here", arg.start, arg.end)
            elif node.name == "secret" and position < len(args) and not self.sealed:
                self.found.secrets.add(_literal(args[position]))
        if node.name == "matches" and isinstance(args[-1], n.Constant) and args[-1].type == STRING:
            try:
                compile_pattern(_literal(args[-1]))
            except EvaluationError as error:
                self.problem("bad-pattern", error.cause, args[-1].start, args[-1].end)

    def comparison(self, node: n.Call, one: Type, other: Type) -> None:
        if not may_equal(one, other):
            text = f"a {one} and a {other} are never equal"
            self.problem("wrong-type", text, node.start, node.end)

    def resolve(self, node: n.Call, function: Function, types: list[Type]) -> bool:
        """Find the overloads that the arguments may be meant for; set the result's type."""
        results: list[Type] = []
        certain = False
        for parameters, result in function.overloads:
            bound: dict[str, Type] = {}
            if len(parameters) != len(types) or not all(match(*pair, bound) for pair in zip(types, parameters, strict=True)):
                continue
            results.append(substitute(result, bound))
            certain = all(map(_is_certain, types, parameters))
            if certain:
                results = results[-1:]
                break
        if not results:
            self.no_overload(node, function, types)
            return False
        node.dynamic = not certain
        joined = results[0]
        for result in results[1:]:
            joined = joined if joined == result else DYN
        node.type = joined
        return True

    def no_overload(self, node: n.Call, function: Function, types: list[Type]) -> None:
        given = ", ".join(map(str, types[1:] if node.target is not None else types))
        name = node.name.strip("_")
        if not name[0].isalpha():
            text = f"`{name}` does not take {' and '.join(map(str, types))}"
        elif node.target is not None:
            text = f"a {types[0]} has no {name}({given})"
        else:
            text = f"{name} does not take ({given})"
        if name[0].isalpha():
            forms = [_shown(function, parameters) for parameters, _ in function.overloads]
            text += f"; it is {' or '.join(forms[:4])}" + (", …" if len(forms) > 4 else "")
        self.problem("wrong-type", text, node.start, node.end)

    def is_total(self, node: n.Call, types: list[Type]) -> bool:
        """Say whether a call has a value for any arguments of its types."""
        if node.name == "+":
            return node.type.name in ("string", "double", "bytes", "list")
        return node.name in _NEVER_FAIL or (node.name in ("-", "*", "/") and node.type.name == "double")

    def fold(self, node: n.Call, function: Function, args: list[n.Node]) -> None:
        """Evaluate a call of a pure function whose arguments are known."""
        if not function.pure or function.exchange or not all(arg.known is not None for arg in args):
            return
        call = guarded(function) if node.dynamic else function.call
        values = [arg.known[0] for arg in args if arg.known is not None]
        try:
            if function.cost is not None and function.cost(*values) > 1000:
                return
            result = call(*values)
        except ABSORBED as error:
            literal = node.name in _LITERAL_CHECKED and isinstance(args[0], n.Constant)
            if literal and isinstance(error, EvaluationError) and type(values[0]) is str:
                self.problem("bad-literal", error.cause, args[0].start, args[0].end)
            return
        # A list or map could be edited by whoever gets it.
        if type(result) not in (list, dict):
            node.known, node.fails = (result,), False

    # Conditions

    def condition(self, node: n.Node, where: str) -> None:
        type = self.value(node)
        if not is_open(type) and type != BOOL:
            self.problem("wrong-type", f"{where} is a condition, and this is a {type}", node.start, node.end)

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
                text = f"a map's key is a string, int, uint or bool, not a {type}"
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
            self.problem("wrong-type", f"what is marked with `?` is an optional, not a {type}", node.start, node.end)
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
            text = f"{node.kind}() walks a list or a map, not a {range}"
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
                self.problem("wrong-type", f"an optional is wanted, not a {target}", node.target.start, node.target.end)
        node.local = self.declare(node.name, inner)
        body = self.value(node.body)
        self.forget(node.local)
        if node.flat:
            if not is_open(body) and body.name != "optional_type":
                self.problem("wrong-type", f"optFlatMap() gives an optional, not a {body}", node.body.start, node.body.end)
            node.type = body
        else:
            node.type = optional_of(body)


_MACROS = {
    "all": "list.all(x, condition)",
    "exists": "list.exists(x, condition)",
    "exists_one": "list.exists_one(x, condition)",
    "existsOne": "list.existsOne(x, condition)",
    "map": "list.map(x, value) or list.map(x, condition, value)",
    "filter": "list.filter(x, condition)",
    "transformList": "list.transformList(i, x, value)",
    "transformMap": "map.transformMap(k, v, value)",
    "optMap": "optional.optMap(x, value)",
    "optFlatMap": "optional.optFlatMap(x, optional)",
}


def _is_certain(actual: Type, wanted: Type) -> bool:
    """Say whether a value of a type needs no look at run time to be a parameter's."""
    if wanted.name.startswith("~") or is_open(wanted):
        return True
    if is_open(actual):
        return False
    return not wanted.parameters or all(map(_is_certain, actual.parameters, wanted.parameters))


def _holds_dyn(type: Type) -> bool:
    """Say whether walking a value may meet an integer that does not fit."""
    return any(is_open(parameter) for parameter in type.parameters)


def _literal(node: n.Node) -> str:
    assert isinstance(node, n.Constant)
    return str(node.value)


def _shown(function: Function, parameters: tuple[Type, ...]) -> str:
    names = [str(parameter).replace("~", "") for parameter in parameters]
    if function.member:
        return f"{names[0]}.{function.name}({', '.join(names[1:])})"
    return f"{function.name}({', '.join(names)})"
