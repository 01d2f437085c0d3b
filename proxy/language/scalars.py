"""Plain YAML scalars by the core schema of YAML 1.2 (section 10.3), and numbers that remember their spelling."""

from __future__ import annotations

import math
import re
from typing import Any, Self

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Int(int):
    """An integer that remembers how it was written."""

    source: str

    def __new__(cls, value: int, source: str) -> Self:
        made = super().__new__(cls, value)
        made.source = source
        return made


class Float(float):
    """A number that remembers how it was written."""

    source: str

    def __new__(cls, value: float, source: str) -> Self:
        made = super().__new__(cls, value)
        made.source = source
        return made


def plain(data: Any) -> Any:
    """Give the same data with ordinary numbers."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list):
        return [plain(item) for item in data]
    if isinstance(data, Int):
        return int(data)
    if isinstance(data, Float):
        return float(data)
    return data


def resolve(text: str) -> tuple[Any, str | None]:
    """Give a plain scalar its type; the second is what is wrong with it, and then the first stands in for it."""
    if text in _WORDS:
        return _WORDS[text], None
    try:
        if _INT.fullmatch(text):
            return Int(int(text), text), None
        if _BASED.fullmatch(text):
            return Int(int(text, 0), text), None
    except ValueError:
        # Python refuses to read thousands of digits.
        return Int(0, text), "this number is too large"
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return Float(number, text), None
        return Float(0.0, text), "this number is too large"
    if _NOT_FINITE.fullmatch(text):
        return Float(0.0, text), "rule files have no infinite numbers and no NaN"
    return text, None
