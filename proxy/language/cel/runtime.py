"""What the generated code calls where types are not known at load."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...engine.errors import EvaluationError
from .environment import Function
from .functions.cost import Budget
from .types import LIST, MAP, Type, is_open, with_article
from .values import INT_MAX, INT_MIN, NONE, Maybe, UInt, contains, equal, has_key, no_overload, type_of


def as_bool(value: Any) -> bool:
    """Return a term of a condition; raise EvaluationError for anything but a boolean."""
    if value is True or value is False:
        return bool(value)
    raise EvaluationError(f"a condition is {with_article(type_of(value))}, not a bool")


def checked(value: Any) -> Any:
    """Refuse an int that a document holds but 64 bits do not."""
    if type(value) is int and not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("an integer does not fit into 64 bits")
    return value


def select(value: Any, name: str) -> Any:
    """Return a member of a map; of an optional, an optional."""
    if isinstance(value, Mapping):
        try:
            return checked(value[name])
        except KeyError:
            raise EvaluationError(f"no such key: {name!r}") from None
    if type(value) is Maybe:
        return select_optional(value, name)
    raise EvaluationError(f"{with_article(type_of(value))} has no member {name!r}")


def select_optional(value: Any, name: str) -> Maybe:
    """Return a member of a map or of an optional one, none where it is missing."""
    if type(value) is Maybe:
        if not value.present:
            return NONE
        value = value.value
    if isinstance(value, Mapping):
        return Maybe(checked(value[name])) if name in value else NONE
    raise EvaluationError(f"no such key: {name!r} in {with_article(type_of(value))}")


def has_member(value: Any, name: str) -> bool:
    if isinstance(value, Mapping):
        return name in value
    if type(value) is Maybe:
        return value.present and select_optional(value, name).present
    raise EvaluationError(f"{with_article(type_of(value))} has no member {name!r}")


def _position(index: Any, length: int) -> int | None:
    """Return an index as a position in a list, None when it is out of its bounds."""
    kind = type(index)
    if kind is float:
        if not index.is_integer():
            raise EvaluationError("a list's index is a whole number")
        index = int(index)
    elif kind is not int and kind is not UInt:
        raise EvaluationError(f"a list's index is an int, not {with_article(type_of(index))}")
    return int(index) if 0 <= index < length else None


def index(value: Any, at: Any) -> Any:
    """Return an item of a list or the value of a map's key; of an optional, an optional."""
    if isinstance(value, list):
        position = _position(at, len(value))
        if position is None:
            raise EvaluationError("the index is outside the list")
        return checked(value[position])
    if isinstance(value, Mapping):
        if has_key(value, at):
            return checked(value[at])
        raise EvaluationError(f"no such key in a map (looked up by {with_article(type_of(at))})")
    if type(value) is Maybe:
        return index_optional(value, at)
    raise EvaluationError(f"{with_article(type_of(value))} has no items")


def index_optional(value: Any, at: Any) -> Maybe:
    """Return an item of a list or map or of an optional one, none where it is missing."""
    if type(value) is Maybe:
        if not value.present:
            return NONE
        value = value.value
    if isinstance(value, list):
        position = _position(at, len(value))
        return NONE if position is None else Maybe(checked(value[position]))
    if isinstance(value, Mapping):
        return Maybe(checked(value[at])) if has_key(value, at) else NONE
    raise EvaluationError(f"{with_article(type_of(value))} has no items")


def items(value: Any, budget: Budget, weight: int) -> Iterable[Any]:
    """Return what a macro with one variable walks, and charge for the whole walk."""
    if isinstance(value, list | Mapping):
        budget.take(len(value) * weight + 1)
        return value
    raise EvaluationError(f"a macro walks a list or a map, not {with_article(type_of(value))}")


def pairs(value: Any, budget: Budget, weight: int) -> Iterable[tuple[Any, Any]]:
    """Return what a macro with two variables walks, and charge for the whole walk."""
    if isinstance(value, list):
        budget.take(len(value) * weight + 1)
        return enumerate(value)
    if isinstance(value, Mapping):
        budget.take(len(value) * weight + 1)
        return value.items()
    raise EvaluationError(f"a macro walks a list or a map, not {with_article(type_of(value))}")


def optional(value: Any) -> Maybe:
    """Return an optional; raise EvaluationError for anything else."""
    if type(value) is Maybe:
        return value
    raise EvaluationError(f"an optional is wanted, not {with_article(type_of(value))}")


def failed(error: Exception) -> EvaluationError:
    """Turn an error of Python's own into one of the expression: only its kind is kept, its text could hold a value."""
    return EvaluationError(f"the expression has no value ({type(error).__name__})")


def charged(function: Function, cost: Callable[..., int], *, dynamic: bool) -> Callable[..., Any]:
    """Make a function that is charged for, the budget first; a `dynamic` one looks at its arguments before that."""
    call, gate = function.call, _gate(function) if dynamic else None

    def run(budget: Budget, *args: Any) -> Any:
        if gate is not None:
            gate(args)
        budget.take(cost(*args))
        return call(*args)

    return run


def _weight(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value) >> 8
    return len(value) if isinstance(value, list | Mapping) else 0


def add_charged(budget: Budget, add: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """Add what may grow: texts, bytes and lists."""
    budget.take(1 + _weight(one) + _weight(other))
    return add(one, other)


def equal_charged(budget: Budget, one: Any, other: Any) -> bool:
    budget.take(1 + _count(one))
    return equal(one, other)


def contains_charged(budget: Budget, item: Any, container: Any) -> bool:
    budget.take(1 + (len(container) if isinstance(container, list) else 0) + _count(item))
    return contains(item, container)


def _count(value: Any) -> int:
    """Count what comparing a value may take: every item of it, however deep."""
    if isinstance(value, list):
        return len(value) + sum(_count(item) for item in value)
    if isinstance(value, Mapping):
        return len(value) + sum(_count(item) for item in value.values())
    return _weight(value)


def guarded(function: Function) -> Callable[..., Any]:
    """Make a function that looks at the types of its arguments and takes only those of its overloads."""
    call, gate = function.call, _gate(function)

    def run(*args: Any) -> Any:
        gate(args)
        return call(*args)

    return run


def _gate(function: Function) -> Callable[[tuple[Any, ...]], None]:
    """Make the test that arguments are those of an overload; others raise EvaluationError."""
    accepted: set[tuple[type, ...]] = set()
    name, overloads = function.name, [overload[0] for overload in function.overloads]

    def check(args: tuple[Any, ...]) -> None:
        if tuple(map(type, args)) not in accepted:
            if not any(_takes(parameters, args) for parameters in overloads):
                raise no_overload(name, *args)
            # What lists and maps hold is looked at each time.
            if not any(isinstance(arg, list | Mapping) for arg in args):
                accepted.add(tuple(map(type, args)))

    return check


def _takes(parameters: tuple[Type, ...], args: tuple[Any, ...]) -> bool:
    return len(parameters) == len(args) and all(map(_is, args, parameters))


def _is(value: Any, wanted: Type) -> bool:
    """Say whether a value is of a type, to the depth of the type."""
    if is_open(wanted) or wanted.name.startswith("~"):
        return True
    actual = type_of(value)
    if actual.name != wanted.name:
        return False
    if not wanted.parameters or all(is_open(part) or part.name.startswith("~") for part in wanted.parameters):
        return True
    if actual == LIST:
        return all(_is(item, wanted.parameters[0]) for item in value)
    if actual == MAP:
        key, item = wanted.parameters
        return all(_is(each, key) and _is(value[each], item) for each in value)
    return not value.present or _is(value.value, wanted.parameters[0])


def tester(parents: tuple[Callable[[Any], bool], ...], has: Callable[[Any], bool] | None) -> Callable[[Any], bool]:
    """Make the test of a member: an error where what holds it is not there."""

    def test(x: Any) -> bool:
        for parent in parents:
            if not parent(x):
                raise EvaluationError("has(): what holds this member is not there")
        return has is None or has(x)

    return test


def optional_reader(tests: tuple[Callable[[Any], bool], ...], get: Callable[[Any], Any]) -> Callable[[Any], Maybe]:
    """Make the read of a place that may not be there."""
    if len(tests) == 1:
        test = tests[0]
        return lambda x: Maybe(get(x)) if test(x) else NONE
    return lambda x: Maybe(get(x)) if all(test(x) for test in tests) else NONE


def in_texts(value: Any, texts: frozenset[str]) -> bool:
    """Say whether a value of any type is one of some texts."""
    return type(value) is str and value in texts
