"""The operators, as functions that look at their operands' types when they run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ....engine.errors import EvaluationError
from .. import values
from ..environment import Function
from ..moments import Duration, Timestamp
from ..types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    B,
    Type,
    list_of,
    map_of,
)
from ..values import UInt, fit_int, fit_uint, no_overload


def add(one: Any, other: Any) -> Any:
    kind, others = type(one), type(other)
    if kind is others:
        if kind is int:
            return fit_int(one + other)
        if kind in (str, float, bytes, list):
            return one + other
        if kind is UInt:
            return fit_uint(int(one) + int(other))
        if kind is Duration:
            return Duration(one.nanos + other.nanos)
    elif {kind, others} == {Timestamp, Duration}:
        return Timestamp(one.nanos + other.nanos)
    raise no_overload("+", one, other)


def subtract(one: Any, other: Any) -> Any:
    kind, others = type(one), type(other)
    if kind is others:
        if kind is int:
            return fit_int(one - other)
        if kind is float:
            return one - other
        if kind is UInt:
            return fit_uint(int(one) - int(other))
        if kind in (Duration, Timestamp):
            return Duration(one.nanos - other.nanos)
    elif kind is Timestamp and others is Duration:
        return Timestamp(one.nanos - other.nanos)
    raise no_overload("-", one, other)


def multiply(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return fit_int(one * other)
        if kind is float:
            return one * other
        if kind is UInt:
            return fit_uint(int(one) * int(other))
    raise no_overload("*", one, other)


def _whole_divide(one: int, other: int) -> int:
    """Divide integers towards zero."""
    if other == 0:
        raise EvaluationError("division by zero")
    quotient = abs(one) // abs(other)
    return quotient if (one < 0) == (other < 0) else -quotient


def divide(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is type(other):
        if kind is int:
            return fit_int(_whole_divide(one, other))
        if kind is UInt:
            return UInt(_whole_divide(one, other))
        if kind is float:
            if other == 0.0:
                if one == 0.0 or math.isnan(one):
                    return math.nan
                return math.copysign(math.inf, one) * math.copysign(1.0, other)
            return one / other
    raise no_overload("/", one, other)


def remainder(one: Any, other: Any) -> Any:
    kind = type(one)
    if kind is type(other) and kind in (int, UInt):
        if other == 0:
            raise EvaluationError("modulus by zero")
        rest = abs(one) % abs(other)
        return kind(-rest if one < 0 else rest)
    raise no_overload("%", one, other)


def negate(value: Any) -> Any:
    if type(value) is int:
        return fit_int(-value)
    if type(value) is float:
        return -value
    raise no_overload("-", value)


def invert(value: Any) -> bool:
    if type(value) is bool:
        return not value
    raise no_overload("!", value)


def _operator(sign: str, call: Callable[..., Any], *overloads: tuple[tuple[Type, ...], Type]) -> Function:
    return Function(name=sign, overloads=overloads, call=call)


def _same(*types: Type) -> tuple[tuple[tuple[Type, ...], Type], ...]:
    return tuple(((type, type), type) for type in types)


_NUMERIC = _same(INT, UINT, DOUBLE)
_ORDER = tuple(((type, type), BOOL) for type in (INT, UINT, DOUBLE, STRING, BYTES, BOOL, TIMESTAMP, DURATION)) + tuple(
    ((one, other), BOOL) for one in (INT, UINT, DOUBLE) for other in (INT, UINT, DOUBLE) if one != other
)

FUNCTIONS = (
    _operator(
        "+", add, *_NUMERIC, *_same(STRING, BYTES, DURATION), ((list_of(A), list_of(A)), list_of(A)),
        ((TIMESTAMP, DURATION), TIMESTAMP), ((DURATION, TIMESTAMP), TIMESTAMP),
    ),
    _operator(
        "-", subtract, *_NUMERIC, ((DURATION, DURATION), DURATION), ((TIMESTAMP, TIMESTAMP), DURATION),
        ((TIMESTAMP, DURATION), TIMESTAMP),
    ),
    _operator("*", multiply, *_NUMERIC),
    _operator("/", divide, *_NUMERIC),
    _operator("%", remainder, *_same(INT, UINT)),
    _operator("-_", negate, ((INT,), INT), ((DOUBLE,), DOUBLE)),
    _operator("!", invert, ((BOOL,), BOOL)),
    _operator("==", values.equal, ((DYN, DYN), BOOL)),
    _operator("!=", values.unequal, ((DYN, DYN), BOOL)),
    _operator("<", values.less, *_ORDER),
    _operator("<=", values.less_equal, *_ORDER),
    _operator(">", values.greater, *_ORDER),
    _operator(">=", values.greater_equal, *_ORDER),
    _operator("in", values.contains, ((A, list_of(A)), BOOL), ((A, map_of(A, B)), BOOL)),
)  # fmt: skip
