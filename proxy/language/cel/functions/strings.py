"""CEL's strings extension. Positions count characters."""

from __future__ import annotations

from typing import Any

from ....engine.errors import EvaluationError
from ..environment import Function
from ..types import DYN, INT, STRING, Type, list_of
from .cost import of_texts
from .formatting import format_text

# Unicode's White_Space; str.strip() also takes the separators 1C to 1F.
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}
_QUOTED = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)


def _within(position: int, text: str) -> int:
    if 0 <= position <= len(text):
        return position
    raise EvaluationError("the position is outside the text")


def char_at(text: str, position: int) -> str:
    return text[_within(position, text) :][:1]


def index_of(text: str, part: str, start: int = 0) -> int:
    return text.find(part, _within(start, text))


def last_index_of(text: str, part: str, last: int | None = None) -> int:
    return text.rfind(part) if last is None else text.rfind(part, 0, _within(last, text) + len(part))


def substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else _within(end, text)
    if _within(start, text) > stop:
        raise EvaluationError("a substring's end lies before its start")
    return text[start:stop]


def lower_ascii(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_LOWER)


def upper_ascii(text: str) -> str:
    return text.upper() if text.isascii() else text.translate(_UPPER)


def replace(text: str, old: str, new: str, most: int = -1) -> str:
    return text.replace(old, new, max(most, -1))


def _replaced(text: str, old: str, new: str, most: int = -1) -> int:
    """Bound what replacing makes before it is made."""
    count = text.count(old) if most < 0 else min(most, len(text) + 1)
    return 1 + (len(text) + count * len(new)) // 256


def split(text: str, separator: str, most: int = -1) -> list[str]:
    if most == 0:
        return []
    if separator:
        return text.split(separator, -1 if most < 0 else most - 1)
    if most < 0 or most >= len(text):
        return list(text) or [""]
    return [*text[: most - 1], text[most - 1 :]]


def _pieces(text: str, separator: str, _: int = -1) -> int:
    return 1 + len(text) // (64 if separator else 1)


def join(texts: list[str], separator: str = "") -> str:
    return separator.join(texts)


def _joined(texts: list[str], separator: str = "") -> int:
    return 1 + len(texts) + (sum(map(len, texts)) + len(texts) * len(separator)) // 256


def trim(text: str) -> str:
    return text.strip(_SPACES)


def reverse(text: str) -> str:
    return text[::-1]


def quote(text: str) -> str:
    return f'"{text.translate(_QUOTED)}"'


def _formatted(text: str, args: list[Any]) -> int:
    return 1 + len(text) // 64 + sum(map(_size, args))


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value) // 64
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def _member(
    name: str, call: Any, result: Type, *parameters: tuple[Type, ...], cost: Any = of_texts, grows: bool = False
) -> Function:
    overloads = tuple(((STRING, *each), result) for each in parameters)
    return Function(name=name, overloads=overloads, call=call, member=True, cost=cost, grows=grows)


_TEXTS = list_of(STRING)

FUNCTIONS = (
    _member("charAt", char_at, STRING, (INT,)),
    _member("indexOf", index_of, INT, (STRING,), (STRING, INT)),
    _member("lastIndexOf", last_index_of, INT, (STRING,), (STRING, INT)),
    _member("substring", substring, STRING, (INT,), (INT, INT)),
    _member("lowerAscii", lower_ascii, STRING, ()),
    _member("upperAscii", upper_ascii, STRING, ()),
    _member("trim", trim, STRING, ()),
    _member("reverse", reverse, STRING, ()),
    _member("replace", replace, STRING, (STRING, STRING), (STRING, STRING, INT), cost=_replaced, grows=True),
    _member("split", split, _TEXTS, (STRING,), (STRING, INT), cost=_pieces, grows=True),
    _member("format", format_text, STRING, (list_of(DYN),), cost=_formatted, grows=True),
    Function(
        name="join",
        overloads=(((_TEXTS,), STRING), ((_TEXTS, STRING), STRING)),
        call=join,
        member=True,
        cost=_joined,
        grows=True,
    ),
    Function(name="strings.quote", overloads=(((STRING,), STRING),), call=quote, cost=of_texts),
)
