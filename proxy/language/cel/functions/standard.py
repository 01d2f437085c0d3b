"""CEL's standard functions: size, conversions, text tests, type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....engine.errors import EvaluationError
from ..environment import Function
from ..moments import Duration, Timestamp
from ..patterns import search
from ..types import (
    BOOL,
    BYTES,
    CIDR,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    IP,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    A,
    B,
    Type,
    list_of,
    map_of,
)
from ..values import UInt, fit_int, fit_uint, no_overload, to_text, type_of
from .cost import of_texts

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def size(value: Any) -> int:
    if isinstance(value, str | bytes | list | Mapping):
        return len(value)
    raise no_overload("size", value)


def _digits(text: str, *, signed: bool) -> bool:
    bare = text[1:] if signed and text[:1] in ("-", "+") else text
    return bare.isascii() and bare.isdigit() and len(bare) <= 20


def to_int(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is UInt:
        return fit_int(int(value))
    if type(value) is float:
        # Both ends are open: the greatest int has no double of its own.
        if not -(2.0**63) < value < 2.0**63:
            raise EvaluationError("int(): the double is out of range")
        return int(value)
    if type(value) is str:
        if not _digits(value, signed=True):
            raise EvaluationError("int(): the text is no integer")
        return fit_int(int(value))
    if type(value) is Timestamp:
        return value.nanos // 1_000_000_000
    if type(value) is Duration:
        return value.nanos // 1_000_000_000
    raise no_overload("int", value)


def to_uint(value: Any) -> UInt:
    if type(value) is UInt:
        return value
    if type(value) is int:
        return fit_uint(value)
    if type(value) is float:
        if not -1.0 < value < 2.0**64:
            raise EvaluationError("uint(): the double is out of range")
        return fit_uint(int(value))
    if type(value) is str:
        if not _digits(value, signed=False):
            raise EvaluationError("uint(): the text is no unsigned integer")
        return fit_uint(int(value))
    raise no_overload("uint", value)


def to_double(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) in (int, UInt):
        return float(value)
    if type(value) is str:
        # Python reads more than CEL: spaces around, underscores, other digits.
        if "_" in value or not value.isascii() or value != value.strip():
            raise EvaluationError("double(): the text is no number")
        try:
            found = float(value)
        except ValueError:
            raise EvaluationError("double(): the text is no number") from None
        if math.isinf(found) and "inf" not in value.lower():
            raise EvaluationError("double(): the number is out of range")
        return found
    raise no_overload("double", value)


def to_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str:
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise EvaluationError("bool(): the text is neither true nor false")
    raise no_overload("bool", value)


def to_bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if type(value) is str:
        return value.encode()
    raise no_overload("bytes", value)


def to_timestamp(value: Any) -> Timestamp:
    if type(value) is Timestamp:
        return value
    if type(value) is str:
        return Timestamp.parse(value)
    if type(value) is int:
        return Timestamp(value * 1_000_000_000)
    raise no_overload("timestamp", value)


def to_duration(value: Any) -> Duration:
    if type(value) is Duration:
        return value
    if type(value) is str:
        return Duration.parse(value)
    if type(value) is int:
        return Duration(value * 1_000_000_000)
    raise no_overload("duration", value)


def contains(text: Any, part: Any) -> bool:
    return part in text


def starts_with(text: str, part: str) -> bool:
    return text.startswith(part)


def ends_with(text: str, part: str) -> bool:
    return text.endswith(part)


def identity(value: Any) -> Any:
    return value


def as_type(value: Any) -> Type:
    return type_of(value)


def _to(name: str, call: Any, result: Type, *types: Type) -> Function:
    return Function(name=name, overloads=tuple(((type,), result) for type in types), call=call, cost=of_texts)


_SIZED = (STRING, BYTES, list_of(A), map_of(A, B))
_TEXT_TEST = (((STRING, STRING), BOOL),)

FUNCTIONS = (
    Function(name="size", overloads=tuple(((type,), INT) for type in _SIZED), call=size),
    Function(name="size", overloads=tuple(((type,), INT) for type in _SIZED), call=size, member=True),
    _to("int", to_int, INT, INT, UINT, DOUBLE, STRING, TIMESTAMP, DURATION),
    _to("uint", to_uint, UINT, UINT, INT, DOUBLE, STRING),
    _to("double", to_double, DOUBLE, DOUBLE, INT, UINT, STRING),
    _to("bool", to_bool, BOOL, BOOL, STRING),
    _to("string", to_text, STRING, STRING, BOOL, INT, UINT, DOUBLE, BYTES, TIMESTAMP, DURATION, IP, CIDR),
    _to("bytes", to_bytes, BYTES, BYTES, STRING),
    _to("timestamp", to_timestamp, TIMESTAMP, TIMESTAMP, STRING, INT),
    _to("duration", to_duration, DURATION, DURATION, STRING, INT),
    Function(name="dyn", overloads=(((A,), DYN),), call=identity),
    Function(name="type", overloads=(((DYN,), TYPE),), call=as_type),
    Function(name="contains", overloads=_TEXT_TEST, call=contains, member=True, cost=of_texts),
    Function(name="startsWith", overloads=_TEXT_TEST, call=starts_with, member=True),
    Function(name="endsWith", overloads=_TEXT_TEST, call=ends_with, member=True),
    Function(name="matches", overloads=_TEXT_TEST, call=search, member=True, cost=of_texts),
    Function(name="matches", overloads=_TEXT_TEST, call=search, cost=of_texts),
)
