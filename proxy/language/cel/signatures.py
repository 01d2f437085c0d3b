"""Calls: which function a name means, which of its overloads the arguments may be meant for, what is known at load."""

from __future__ import annotations

from ...engine.errors import ABSORBED, EvaluationError
from ..problems import nearest
from . import nodes as n
from .environment import Function
from .findings import Checking
from .patterns import compile_pattern
from .places import Places
from .runtime import guarded
from .types import DYN, STRING, Type, is_open, match, may_equal, substitute, with_article

# Operators and functions that have a value for any arguments of their types.
_NEVER_FAIL = frozenset(
    {"==", "!=", "<", "<=", ">", ">=", "!", "in", "size", "startsWith", "endsWith", "contains", "type", "dyn"}
)
# Functions whose literal argument is a mistake when they do not take it.
_LITERAL_CHECKED = frozenset({"timestamp", "duration", "ip", "cidr"})
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


class Signatures:
    """Checks the calls of one expression."""

    def __init__(self, checking: Checking, places: Places) -> None:
        self.checking = checking
        self.places = places
        # Literal secrets inside an argument of hmac() cannot leave it.
        self.sealed = 0

    # Calls

    def call(self, node: n.Call) -> None:
        self.find_namespace(node)
        function = self.checking.functions.get((node.name, node.target is not None))
        if function is None:
            self.unknown_function(node)
            return
        node.function = function
        args = node.args if node.target is None else [node.target, *node.args]
        if node.name == "hmac":
            self.sealed += 1
        types = [self.checking.value(arg) for arg in args]
        if node.name == "hmac":
            self.sealed -= 1
        self.literals(node, function, args)
        if node.name in ("==", "!="):
            self.comparison(node, *types)
        if not function.pure or function.exchange:
            self.checking.found.constant = False
        if self.resolve(node, function, types):
            node.fails = any(arg.fails for arg in args) or node.dynamic or not _is_total(node)
            self.fold(node, function, args)

    def find_namespace(self, node: n.Call) -> None:
        """Take `math.abs(x)` as the function of that name and not as a member of a variable."""
        target = node.target
        dotted = None if target is None else self.places.dotted(target)
        if target is None or dotted is None:
            return
        name = f"{dotted[0]}.{node.name}"
        root = dotted[0].partition(".")[0]
        if (name, False) in self.checking.functions:
            node.name, node.target, node.name_start = name, None, target.start
        elif root not in self.checking.environment.variables and any(
            known.startswith(f"{root}.") for known, _ in self.checking.functions
        ):
            # A namespace without this function: the call as a whole is unknown.
            node.name, node.target, node.name_start = name, None, target.start

    def unknown_function(self, node: n.Call) -> None:
        member = node.target is not None
        if node.target is not None:
            self.checking.value(node.target)
        # A macro that is written wrongly has names in it that mean nothing yet.
        for arg in [] if member and node.name in _MACROS else node.args:
            self.checking.value(arg)
        if (node.name, not member) in self.checking.functions:
            form = f"{node.name}(x)" if member else f"x.{node.name}()"
            text, suggestion = f"{node.name} is called as {form}", None
        elif member and node.name in _MACROS:
            text, suggestion = f"{node.name} is written {_MACROS[node.name]}", None
        else:
            known = [name for name, is_member in self.checking.functions if is_member == member and name[0].isalpha()]
            known += list(_MACROS) if member else ["has"]
            text, suggestion = f"there is no function {node.name!r}", nearest(node.name, known)
        self.checking.problem("unknown-function", text, node.name_start, node.name_start + len(node.name), suggestion)

    def literals(self, node: n.Call, function: Function, args: list[n.Node]) -> None:
        for position in function.literal:
            if position < len(args) and not (isinstance(args[position], n.Constant) and args[position].type == STRING):
                arg = args[position]
                self.checking.problem("not-literal", f"{node.name}() takes a literal text here", arg.start, arg.end)
            elif node.name == "secret" and position < len(args) and not self.sealed:
                self.checking.found.secrets.add(_literal(args[position]))
        if function.check is not None and args and isinstance(args[0], n.Constant) and args[0].type == STRING:
            wrong = function.check(_literal(args[0]))
            if wrong is not None:
                code, text, suggestion = wrong
                self.checking.problem(code, text, args[0].start, args[0].end, suggestion)
        if node.name == "matches" and isinstance(args[-1], n.Constant) and args[-1].type == STRING:
            try:
                compile_pattern(_literal(args[-1]))
            except EvaluationError as error:
                self.checking.problem("bad-pattern", error.cause, args[-1].start, args[-1].end)

    def comparison(self, node: n.Call, one: Type, other: Type) -> None:
        if not may_equal(one, other):
            text = f"{with_article(one)} and {with_article(other)} are never equal"
            self.checking.problem("wrong-type", text, node.start, node.end)

    def resolve(self, node: n.Call, function: Function, types: list[Type]) -> bool:
        """Find the overloads that the arguments may be meant for; set the result's type."""
        results: list[Type] = []
        certain = False
        for parameters, result in function.overloads:
            bound: dict[str, Type] = {}
            if len(parameters) != len(types) or not all(
                match(*pair, bound) for pair in zip(types, parameters, strict=True)
            ):
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
            text = f"{with_article(types[0])} has no {name}({given})"
        else:
            text = f"{name} does not take ({given})"
        if name[0].isalpha():
            forms = [_shown(function, parameters) for parameters, _ in function.overloads]
            text += f"; it is {' or '.join(forms[:4])}" + (", …" if len(forms) > 4 else "")
        self.checking.problem("wrong-type", text, node.start, node.end)

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
                self.checking.problem("bad-literal", error.cause, args[0].start, args[0].end)
            return
        # A list or map could be edited by whoever gets it.
        if type(result) not in (list, dict):
            node.known, node.fails = (result,), False


def _is_total(node: n.Call) -> bool:
    """Say whether a call has a value for any arguments of its types."""
    if node.name == "+":
        return node.type.name in ("string", "double", "bytes", "list")
    return node.name in _NEVER_FAIL or (node.name in ("-", "*", "/") and node.type.name == "double")


def _is_certain(actual: Type, wanted: Type) -> bool:
    """Say whether a value of a type needs no look at run time to be a parameter's."""
    if wanted.name.startswith("~") or is_open(wanted):
        return True
    if is_open(actual):
        return False
    return not wanted.parameters or all(map(_is_certain, actual.parameters, wanted.parameters))


def _literal(node: n.Node) -> str:
    assert isinstance(node, n.Constant)
    return str(node.value)


def _shown(function: Function, parameters: tuple[Type, ...]) -> str:
    names = [str(parameter).replace("~", "") for parameter in parameters]
    if function.member:
        return f"{names[0]}.{function.name}({', '.join(names[1:])})"
    return f"{function.name}({', '.join(names)})"
