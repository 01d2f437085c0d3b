"""What a case finds: a sentence, and, where it is about one value, that value and what would make it expected."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ..document import plain

Loc = tuple[str | int, ...]

# How much of a value is shown, and how many differences of one body.
_SHOWN = 160
_MOST = 12


@dataclass(frozen=True, slots=True)
class Fix:
    """What could be written into a test file: a value, and its place below the case."""

    loc: Loc
    value: Any


class Finding(str):
    """A sentence about what differs. With `where`, it reads `where: expected …, got …`; `fix` would make it right."""

    __slots__ = ("expected", "fix", "got", "where")

    where: str | None
    expected: str | None
    got: str | None
    fix: Fix | None

    def __new__(
        cls,
        text: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        fix: Fix | None = None,
    ) -> Self:
        made = super().__new__(cls, text)
        made.where, made.expected, made.got, made.fix = where, expected, got, fix
        return made

    @classmethod
    def differs(cls, where: str, expected: str, got: str, fix: Fix | None = None) -> Finding:
        """Say that a value is another than the one that is expected."""
        return cls(f"{where}: expected {expected}, got {got}", where=where, expected=expected, got=got, fix=fix)

    def of(self, told: str) -> Finding:
        """Say of which exchange it is."""
        where = f"{told}{self.where}" if self.where is not None else None
        return type(self)(f"{told}{self}", where=where, expected=self.expected, got=self.got, fix=self.fix)


def show(loc: Sequence[str | int]) -> str:
    """Write a place in a message as an author does: `response.json.items[0]`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and all(char.isalnum() or char in "_-" for char in part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


_NOTHING = object()


def differences(loc: Loc, wanted: Any, got: Any, fix: Fix) -> Iterator[Finding]:
    """Name each value of a body that differs, by its path; many are counted only."""
    found = list(_differences(loc, plain(wanted), got, fix))
    yield from found[:_MOST]
    if len(found) > _MOST:
        yield Finding(f"{show(loc)}: {len(found) - _MOST} more values differ", fix=fix)


def _differences(loc: Loc, wanted: Any, got: Any, fix: Fix) -> Iterator[Finding]:
    if _same(wanted, got):
        return
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for key in dict.fromkeys((*wanted, *got)):
            yield from _differences((*loc, key), wanted.get(key, _NOTHING), got.get(key, _NOTHING), fix)
    elif isinstance(wanted, list) and isinstance(got, list):
        for left, right in _aligned(wanted, got):
            one = wanted[left] if left is not None else _NOTHING
            other = got[right] if right is not None else _NOTHING
            yield from _differences((*loc, left if left is not None else right or 0), one, other, fix)
    else:
        yield Finding.differs(show(loc), *_shown(wanted, got), fix)


def _aligned(wanted: list[Any], got: list[Any]) -> Iterator[tuple[int | None, int | None]]:
    """Pair the items of two lists, so that one that was put in between does not make all behind it differ."""
    if len(wanted) == len(got):
        yield from ((index, index) for index in range(len(wanted)))
        return
    one, other = ([json.dumps(item, sort_keys=True) for item in items] for items in (wanted, got))
    for _, start, stop, begin, end in difflib.SequenceMatcher(a=one, b=other, autojunk=False).get_opcodes():
        for offset in range(max(stop - start, end - begin)):
            left, right = start + offset, begin + offset
            yield (left if left < stop else None), (right if right < end else None)


def _same(one: Any, other: Any) -> bool:
    return one is other or (_NOTHING not in (one, other) and _typed(one) == _typed(other))


def _typed(value: Any) -> Any:
    """Make 1, 1.0 and true three different values."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value).__name__, value


def _shown(wanted: Any, got: Any) -> tuple[str, str]:
    one, other = ("nothing" if value is _NOTHING else json.dumps(value, ensure_ascii=False) for value in (wanted, got))
    start = 0
    if len(one) > _SHOWN or len(other) > _SHOWN:
        # What they have in common before they differ is not worth a line.
        same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        start = max(same - _SHOWN // 4, 0)
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int) -> str:
    if len(text) <= _SHOWN:
        return text
    end = start + _SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
