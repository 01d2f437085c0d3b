"""Optionals: what may be there or not, without an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....engine.errors import EvaluationError
from ..environment import Function
from ..moments import Duration, Timestamp
from ..types import BOOL, A, optional_of
from ..values import NONE, Maybe


def _is_zero(value: Any) -> bool:
    if isinstance(value, Mapping | list | str | bytes):
        return len(value) == 0
    if isinstance(value, Duration | Timestamp):
        return value.nanos == 0
    if type(value) is Maybe:
        return not value.present
    return value is None or value is False or (isinstance(value, int | float) and value == 0)


def of_non_zero(value: Any) -> Maybe:
    return NONE if _is_zero(value) else Maybe(value)


def none() -> Maybe:
    return NONE


def has_value(value: Maybe) -> bool:
    return value.present


def value_of(value: Maybe) -> Any:
    if value.present:
        return value.value
    raise EvaluationError("value() of an optional that is none")


def or_value(value: Maybe, other: Any) -> Any:
    return value.value if value.present else other


def or_other(value: Maybe, other: Maybe) -> Maybe:
    return value if value.present else other


_ANY = optional_of(A)

FUNCTIONS = (
    Function(name="optional.of", overloads=(((A,), _ANY),), call=Maybe),
    Function(name="optional.none", overloads=(((), _ANY),), call=none),
    Function(name="optional.ofNonZeroValue", overloads=(((A,), _ANY),), call=of_non_zero),
    Function(name="hasValue", overloads=(((_ANY,), BOOL),), call=has_value, member=True),
    Function(name="value", overloads=(((_ANY,), A),), call=value_of, member=True),
    Function(name="orValue", overloads=(((_ANY, A), A),), call=or_value, member=True),
    Function(name="or", overloads=(((_ANY, _ANY), _ANY),), call=or_other, member=True),
)
