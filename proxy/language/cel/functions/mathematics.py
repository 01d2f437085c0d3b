"""CEL's math extension."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ....engine.errors import EvaluationError
from ..environment import Function
from ..types import BOOL, DOUBLE, DYN, INT, UINT, Type, list_of
from ..values import UINT_MAX, UInt, fit_int, greater, less, no_overload

_MOST_ARGUMENTS = 8


def _pick(name: str, better: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def pick(*args: Any) -> Any:
        items = args[0] if len(args) == 1 and isinstance(args[0], list) else args
        if not items:
            raise EvaluationError(f"{name}() of an empty list")
        best = items[0]
        for item in items:
            if type(item) not in (int, UInt, float):
                raise no_overload(name, item)
            if better(item, best):
                best = item
        return best

    return pick


def _whole(convert: Callable[[float], int]) -> Callable[[float], float]:
    def run(value: float) -> float:
        # Copies the sign so that -0.2 becomes -0.0.
        return math.copysign(float(convert(value)), value) if math.isfinite(value) else value

    return run


def _round(value: float) -> int:
    """Round half away from zero."""
    whole = math.floor(abs(value))
    return (whole + (abs(value) - whole >= 0.5)) * (1 if value >= 0 else -1)


def absolute(value: Any) -> Any:
    return fit_int(abs(value)) if type(value) is int else type(value)(abs(value))


def sign(value: Any) -> Any:
    if type(value) is float and math.isnan(value):
        return value
    return type(value)((value > 0) - (value < 0))


def _signed(bits: int) -> int:
    bits &= UINT_MAX
    return bits - (1 << 64) if bits >= 1 << 63 else bits


def _bits(operate: Callable[[int, int], int]) -> Callable[[Any, Any], Any]:
    return lambda one, other: type(one)(operate(int(one), int(other)))


def bit_not(value: Any) -> Any:
    return UInt(~int(value) & UINT_MAX) if type(value) is UInt else ~value


def _shift(shift: Callable[[int, int], int]) -> Callable[[Any, int], Any]:
    def run(value: Any, by: int) -> Any:
        if by < 0:
            raise EvaluationError("a shift by a negative number")
        bits = shift(int(value) & UINT_MAX, by) & UINT_MAX if by < 64 else 0
        return UInt(bits) if type(value) is UInt else _signed(bits)

    return run


def square_root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def _function(name: str, call: Callable[..., Any], *overloads: tuple[tuple[Type, ...], Type]) -> Function:
    return Function(name=f"math.{name}", overloads=overloads, call=call)


def _many(name: str, better: Callable[[Any, Any], bool]) -> Function:
    same = [((type,) * count, type) for type in (INT, UINT, DOUBLE) for count in range(1, _MOST_ARGUMENTS + 1)]
    lists = [((list_of(type),), type) for type in (INT, UINT, DOUBLE)]
    mixed = [((DYN,) * count, DYN) for count in range(1, _MOST_ARGUMENTS + 1)]
    return _function(name, _pick(f"math.{name}", better), *same, *lists, *mixed)


_INTEGERS = (((INT, INT), INT), ((UINT, UINT), UINT))
_SHIFTS = (((INT, INT), INT), ((UINT, INT), UINT))
_SAME = (((INT,), INT), ((UINT,), UINT), ((DOUBLE,), DOUBLE))
_DOUBLE = ((DOUBLE,), DOUBLE)

FUNCTIONS = (
    _many("greatest", greater),
    _many("least", less),
    _function("ceil", _whole(math.ceil), _DOUBLE),
    _function("floor", _whole(math.floor), _DOUBLE),
    _function("round", _whole(_round), _DOUBLE),
    _function("trunc", _whole(math.trunc), _DOUBLE),
    _function("abs", absolute, *_SAME),
    _function("sign", sign, *_SAME),
    _function("sqrt", square_root, *(((type,), DOUBLE) for type in (INT, UINT, DOUBLE))),
    _function("isNaN", math.isnan, ((DOUBLE,), BOOL)),
    _function("isInf", math.isinf, ((DOUBLE,), BOOL)),
    _function("isFinite", math.isfinite, ((DOUBLE,), BOOL)),
    _function("bitAnd", _bits(lambda one, other: one & other), *_INTEGERS),
    _function("bitOr", _bits(lambda one, other: one | other), *_INTEGERS),
    _function("bitXor", _bits(lambda one, other: one ^ other), *_INTEGERS),
    _function("bitNot", bit_not, ((INT,), INT), ((UINT,), UINT)),
    _function("bitShiftLeft", _shift(lambda value, by: value << by), *_SHIFTS),
    _function("bitShiftRight", _shift(lambda value, by: value >> by), *_SHIFTS),
)
