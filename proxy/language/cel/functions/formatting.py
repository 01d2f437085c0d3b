"""`'%s is %d'.format([…])`: the clauses of the strings extension."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ....engine.errors import EvaluationError
from ..types import Type
from ..values import UInt, double_text, to_text, type_of

_CLAUSE = re.compile(r"%(?:%|(?:\.(\d{1,3}))?([a-zA-Z]))|%")


def format_text(text: str, args: list[Any]) -> str:
    """Fill the clauses of a text with the items of a list, in their order."""
    rest = iter(args)

    def fill(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        write = _CLAUSES.get(found[2] or "")
        if write is None:
            raise EvaluationError(f"format(): no clause {found[0]!r}")
        try:
            value = next(rest)
        except StopIteration:
            raise EvaluationError("format(): the text has more clauses than the list items") from None
        return write(value, 6 if found[1] is None else int(found[1]))

    return _CLAUSE.sub(fill, text)


def _not_for(clause: str, value: Any) -> EvaluationError:
    return EvaluationError(f"format(): %{clause} takes no {type_of(value)}")


def _unbounded(value: Any) -> str | None:
    """Return the word of a double that has no digits."""
    if type(value) is not float or math.isfinite(value):
        return None
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _string(value: Any, _: int = 0) -> str:
    if value is None:
        return "null"
    if type(value) is float:
        return _unbounded(value) or double_text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_string, value))}]"
    if isinstance(value, Mapping):
        pairs = sorted((_string(key), _string(item)) for key, item in value.items())
        return f"{{{', '.join(f'{key}: {item}' for key, item in pairs)}}}"
    return str(value) if type(value) is Type else to_text(value)


def _decimal(value: Any, _: int) -> str:
    if type(value) in (int, UInt):
        return str(int(value))
    word = _unbounded(value)
    if word is None:
        raise _not_for("d", value)
    return word


def _number(clause: str, value: Any, precision: int) -> str:
    if type(value) not in (int, UInt, float):
        raise _not_for(clause, value)
    return _unbounded(value) or f"{float(value):.{precision}{clause}}"


def _digits(clause: str, value: Any) -> str:
    if type(value) in (int, UInt) or (clause == "b" and type(value) is bool):
        return f"{int(value):{clause}}"
    raise _not_for(clause, value)


def _hex(value: Any, _: int) -> str:
    if type(value) is str:
        return value.encode().hex()
    return value.hex() if type(value) is bytes else _digits("x", value)


_CLAUSES: dict[str, Callable[[Any, int], str]] = {
    "s": _string,
    "d": _decimal,
    "f": lambda value, precision: _number("f", value, precision),
    "e": lambda value, precision: _number("e", value, precision),
    "b": lambda value, _: _digits("b", value),
    "o": lambda value, _: _digits("o", value),
    "x": _hex,
    "X": lambda value, precision: _hex(value, precision).upper(),
}
