"""The types of expressions, and what is assignable to what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Type:
    """A type; `parameters` are those of a list, a map, an optional or an abstract type.

    A name that begins with `~` is a parameter of a function's signature, `?` a type that nothing has decided yet.
    As a value (`type(1)`) a type has no parameters.
    """

    name: str
    parameters: tuple[Type, ...] = ()

    def __str__(self) -> str:
        if self.name == "?":
            return "dyn"
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"


DYN = Type("dyn")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
NULL = Type("null_type")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")
TYPE = Type("type")
IP = Type("net.IP")
CIDR = Type("net.CIDR")
LIST = Type("list")
MAP = Type("map")
OPTIONAL = Type("optional_type")

UNDECIDED = Type("?")
A = Type("~A")
B = Type("~B")

NUMBERS = frozenset({INT, UINT, DOUBLE})

# What a type's name stands for as a value.
DENOTED: dict[str, Type] = {
    **{t.name: t for t in (BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, TYPE, LIST, MAP, OPTIONAL, IP, CIDR)},
    "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION,
}


def with_article(type: Type) -> str:
    return f"{'an' if str(type)[0] in 'aio' else 'a'} {type}"


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def is_open(type: Type) -> bool:
    """Say whether nothing is known of a type before it runs."""
    return type.name in ("dyn", "?")


def is_settled(type: Type) -> bool:
    """Say whether a type is known all the way down."""
    return not is_open(type) and all(is_settled(parameter) for parameter in type.parameters)


def resolve(type: Type) -> Type:
    """Make everything that stayed undecided dyn."""
    if type.name == "?":
        return DYN
    if not type.parameters:
        return type
    return Type(type.name, tuple(resolve(parameter) for parameter in type.parameters))


def join(one: Type, other: Type) -> Type:
    """Return the type of a place where either may stand."""
    if other in (one, UNDECIDED):
        return one
    if one == UNDECIDED:
        return other
    if one.name == other.name and len(one.parameters) == len(other.parameters):
        return Type(one.name, tuple(map(join, one.parameters, other.parameters)))
    for type, null in ((one, other), (other, one)):
        if null == NULL and type.name == "optional_type":
            return type
    return DYN


def may_equal(one: Type, other: Type) -> bool:
    """Say whether values of two types can be equal: numbers compare across their types."""
    if is_open(one) or is_open(other) or (one in NUMBERS and other in NUMBERS):
        return True
    if one.name != other.name or len(one.parameters) != len(other.parameters):
        return False
    # An empty list or map equals another of any type.
    return one.name in ("list", "map") or all(map(may_equal, one.parameters, other.parameters))


def match(actual: Type, wanted: Type, bound: dict[str, Type]) -> bool:
    """Say whether an argument may be of a parameter's type; `bound` collects what the parameters stand for."""
    if wanted.name.startswith("~"):
        known = bound.get(wanted.name, UNDECIDED)
        bound[wanted.name] = join(known, actual)
        return is_open(known) or is_open(actual) or may_equal(known, actual)
    if is_open(wanted) or is_open(actual):
        for parameter in wanted.parameters:
            match(actual if actual == UNDECIDED else DYN, parameter, bound)
        return True
    if actual.name != wanted.name:
        return False
    # `list` without a parameter takes a list of anything.
    if not wanted.parameters:
        return True
    return all(match(have, want, bound) for have, want in zip(actual.parameters, wanted.parameters, strict=True))


def substitute(type: Type, bound: dict[str, Type]) -> Type:
    """Put what was bound in the place of a signature's parameters."""
    if type.name.startswith("~"):
        return bound.get(type.name, UNDECIDED)
    if not type.parameters:
        return type
    return Type(type.name, tuple(substitute(parameter, bound) for parameter in type.parameters))
