"""The values of expressions that Python has no type for, and what holds for all values: types, equality, order, text.

Python's own `==` and `in` take True for 1; nothing here does. Causes of errors name types, never values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ...engine.errors import EvaluationError
from .moments import Duration, Timestamp
from .types import (
    BOOL,
    BYTES,
    CIDR,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    IP,
    LIST,
    MAP,
    NULL,
    OPTIONAL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    Type,
    with_article,
)

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1


class UInt(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{int(self)}u"


class Maybe:
    """An optional: a value, or none."""

    __slots__ = ("present", "value")

    def __init__(self, value: Any, *, present: bool = True) -> None:
        self.value = value
        self.present = present


NONE = Maybe(None, present=False)


class MixedMap(Mapping[Any, Any]):
    """A map with boolean keys, which a dict would take for 0 and 1."""

    __slots__ = ("_flags", "_others")

    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self._flags: dict[bool, Any] = {}
        self._others: dict[Any, Any] = {}
        for key, value in pairs:
            (self._flags if type(key) is bool else self._others)[key] = value

    def __getitem__(self, key: Any) -> Any:
        return self._flags[key] if type(key) is bool else self._others[key]

    def __iter__(self) -> Iterator[Any]:
        yield from self._others
        yield from self._flags

    def __len__(self) -> int:
        return len(self._others) + len(self._flags)

    def __contains__(self, key: object) -> bool:
        return key in (self._flags if type(key) is bool else self._others)


class Address:
    """An IP address or, with a prefix, a network; text is parsed by functions/network.py."""

    __slots__ = ("bits", "number", "prefix")

    def __init__(self, bits: int, number: int, prefix: int | None = None) -> None:
        self.bits = bits
        self.number = number
        self.prefix = prefix

    def __eq__(self, other: object) -> bool:
        if type(other) is not Address:
            return NotImplemented
        return (self.bits, self.number, self.prefix) == (other.bits, other.number, other.prefix)

    def __hash__(self) -> int:
        return hash((self.bits, self.number, self.prefix))

    def __str__(self) -> str:
        import ipaddress

        made = ipaddress.IPv4Address(self.number) if self.bits == 32 else ipaddress.IPv6Address(self.number)
        return str(made) if self.prefix is None else f"{made}/{self.prefix}"


_TYPES: dict[type, Type] = {
    bool: BOOL,
    int: INT,
    UInt: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    type(None): NULL,
    list: LIST,
    dict: MAP,
    MixedMap: MAP,
    Timestamp: TIMESTAMP,
    Duration: DURATION,
    Maybe: OPTIONAL,
    Type: TYPE,
}
_NUMBERS = frozenset({int, UInt, float})
# Types whose values Python compares as CEL does, among themselves.
_PLAIN = frozenset({bool, int, UInt, float, str, bytes, type(None), Timestamp, Duration, Address, Type})
_ORDERED = _PLAIN - {type(None), Address, Type}


def type_of(value: Any) -> Type:
    """Return the type of a value, without parameters."""
    found = _TYPES.get(type(value))
    if found is not None:
        return found
    if isinstance(value, Address):
        return IP if value.prefix is None else CIDR
    if isinstance(value, list | tuple):
        return LIST
    return MAP if isinstance(value, Mapping) else DYN


def no_overload(name: str, *values: Any) -> EvaluationError:
    """Make the error of a function or operator that takes no such types."""
    return EvaluationError(f"no such overload: {name}({', '.join(str(type_of(value)) for value in values)})")


def equal(one: Any, other: Any) -> bool:
    """Say whether two values of any types are equal: numbers across their types, true never equal to 1."""
    kind, others = type(one), type(other)
    if kind is others and kind in _PLAIN:
        return bool(one == other)
    if kind in _NUMBERS and others in _NUMBERS:
        # Integers against each other exactly, against a double through one.
        return bool(float(one) == float(other)) if kind is float or others is float else int(one) == int(other)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and len(one) == len(other)
            and all(has_key(other, key) and equal(value, other[key]) for key, value in one.items())
        )
    if kind is Maybe and others is Maybe:
        return one.present == other.present and (not one.present or equal(one.value, other.value))
    return False


def unequal(one: Any, other: Any) -> bool:
    return not equal(one, other)


def _comparable(sign: str, one: Any, other: Any) -> tuple[Any, Any]:
    kind, others = type(one), type(other)
    if kind is others and kind in _ORDERED:
        return one, other
    if kind in _NUMBERS and others in _NUMBERS:
        return (float(one), float(other)) if kind is float or others is float else (int(one), int(other))
    raise no_overload(sign, one, other)


def less(one: Any, other: Any) -> bool:
    one, other = _comparable("<", one, other)
    return bool(one < other)


def less_equal(one: Any, other: Any) -> bool:
    one, other = _comparable("<=", one, other)
    return bool(one <= other)


def greater(one: Any, other: Any) -> bool:
    one, other = _comparable(">", one, other)
    return bool(one > other)


def greater_equal(one: Any, other: Any) -> bool:
    one, other = _comparable(">=", one, other)
    return bool(one >= other)


def has_key(map: Mapping[Any, Any], key: Any) -> bool:
    """Say whether a map has a key of any type; a boolean never finds 0 or 1."""
    kind = type(key)
    if kind is bool:
        return isinstance(map, MixedMap) and key in map
    return kind in (str, int, float, UInt) and key in map


def contains(item: Any, container: Any) -> bool:
    """Say whether a list has an item, or a map a key."""
    if isinstance(container, list):
        return any(equal(item, each) for each in container)
    if isinstance(container, Mapping):
        return has_key(container, item)
    raise no_overload("in", item, container)


def make_map(pairs: list[tuple[Any, Any]]) -> Mapping[Any, Any]:
    """Build a map; a key of a wrong type or a repeated one is an error."""
    made: dict[Any, Any] = {}
    flags = 0
    for key, value in pairs:
        if type(key) not in (str, int, UInt, bool):
            raise EvaluationError(f"a map's key is a string, int, uint or bool, not {with_article(type_of(key))}")
        flags += type(key) is bool
        made[key] = value
    if not flags:
        if len(made) != len(pairs):
            raise EvaluationError("a map literal repeats a key")
        return made
    mixed = MixedMap(pairs)
    if len(mixed) != len(pairs):
        raise EvaluationError("a map literal repeats a key")
    return mixed


def fit_int(value: int) -> int:
    """Return an int that fits into 64 bits; raise EvaluationError for another."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("an integer does not fit into 64 bits")


def fit_uint(value: int) -> UInt:
    if 0 <= value <= UINT_MAX:
        return UInt(value)
    raise EvaluationError("an unsigned integer does not fit into 64 bits")


def double_text(value: float) -> str:
    """Write a double as string() does: the shortest text that reads back as it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent}" if e else text


def to_text(value: Any) -> str:
    """Write a value as CEL's string() does; null, lists, maps, optionals and types have no text."""
    writer = _TEXTS.get(type(value))
    if writer is None:
        raise no_overload("string", value)
    return writer(value)


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise EvaluationError("string(): the bytes are not UTF-8") from None


_TEXTS: dict[type, Callable[[Any], str]] = {
    str: str,
    bool: lambda value: "true" if value else "false",
    int: lambda value: str(fit_int(value)),
    UInt: lambda value: str(int(value)),
    float: double_text,
    bytes: _bytes_text,
    Timestamp: str,
    Duration: str,
    Address: str,
}


def to_json(value: Any) -> Any:
    """Turn a value into plain data for JSON: times are text, a uint an int; what JSON cannot hold is an error."""
    kind = type(value)
    if kind in (str, bool, int) or value is None:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise EvaluationError("JSON has no NaN and no infinity")
        return value
    if kind is UInt:
        return int(value)
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {_json_key(key): to_json(item) for key, item in value.items()}
    if kind in (Timestamp, Duration, Address):
        return str(value)
    if kind is Maybe and value.present:
        return to_json(value.value)
    raise EvaluationError(f"{with_article(type_of(value))} cannot be written as JSON")


def _json_key(key: Any) -> str:
    return key if isinstance(key, str) else to_text(key)
