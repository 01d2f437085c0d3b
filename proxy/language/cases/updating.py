"""Writing what came into a test file as what is expected. Every other byte of the file stays.

A value is written where the old one stands; of a map or list with the same members only those that differ. What would
change anything else, as behind an anchor or a `${name}`, is not written, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..document import Source, load, plain
from ..layout import Node, read_tree, write_flow
from ..problems import Problems
from .findings import Fix, Loc, show


@dataclass(frozen=True, slots=True)
class Change:
    """A value that was written, or with `why` was not."""

    line: int
    where: str
    old: str
    new: str
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Updated:
    """A test file with the answers that came."""

    text: str
    changes: tuple[Change, ...]


def update(source: Source, fixes: Iterable[Fix]) -> Updated:
    """Write values into a test file."""
    text, changes = source.text, []
    # From the end of the file on, so that what was written does not move what is to be written.
    for fix, why in sorted(_single(fixes), key=lambda one: _position(source.text, one[0].loc), reverse=True):
        document = load(Source(source.name, text), Problems())
        if document is None:
            raise ValueError("what was written cannot be read")
        old, wanted = plain(document.at(fix.loc)), _with(plain(document.data), fix.loc, fix.value)
        line = document.mark(fix.loc).line
        found = None if why is not None else _write(text, fix, document.at(fix.loc))
        if found is not None and _data(found) != wanted:
            found = None
        if found is None:
            why = why or "it stands behind an alias or an anchor, or has a `${name}` in it"
        text = found if found is not None else text
        changes.append(Change(line, show(fix.loc[2:]), _short(old), _short(fix.value), why))
    return Updated(text, tuple(sorted(changes, key=lambda change: change.line)))


def _single(fixes: Iterable[Fix]) -> Iterator[tuple[Fix, str | None]]:
    """Give one fix for each place, with why it is none where an exchange that is repeated gave several."""
    found: dict[Loc, list[Fix]] = {}
    for fix in fixes:
        same = found.setdefault(fix.loc, [])
        if not any(_equal(one.value, fix.value) for one in same):
            same.append(fix)
    for several in found.values():
        yield several[0], "it is another each time" if len(several) > 1 else None


def _position(text: str, loc: Loc) -> int:
    node = read_tree(text).find(loc)
    return node.start if node is not None else -1


def _data(text: str) -> Any:
    document = load(Source("", text), problems := Problems())
    return None if document is None or problems.errors else plain(document.data)


def _with(data: Any, loc: Sequence[str | int], value: Any) -> Any:
    """Give data with another value at a place."""
    if not loc:
        return value
    head, rest = loc[0], loc[1:]
    if isinstance(data, list) and isinstance(head, int):
        return [_with(item, rest, value) if index == head else item for index, item in enumerate(data)]
    if isinstance(data, dict):
        return {**data, str(head): _with(data.get(str(head)), rest, value)}
    return data


def _write(text: str, fix: Fix, old: Any) -> str | None:
    """Give the text with the value in its place; None where it has none of its own."""
    node = read_tree(text).find(fix.loc)
    if node is None or "${" in text[node.start : node.end]:
        return None
    edits = list(_edits(node, plain(old), fix.value))
    for start, end, written in sorted(edits, reverse=True):
        text = text[:start] + _fitted(text, start, end, written) + text[end:]
    return text


def _edits(node: Node, old: Any, new: Any) -> Iterator[tuple[int, int, Any]]:
    """Give the spans to write over, with what to write there."""
    if _equal(old, new):
        return
    if node.kind == "map" and isinstance(new, dict) and isinstance(old, dict) and old.keys() == new.keys():
        for entry in node.entries:
            if entry.key is not None:
                yield from _edits(entry.value, old[entry.key.value], new[entry.key.value])
    elif node.kind == "list" and isinstance(new, list) and isinstance(old, list) and len(old) == len(new):
        for entry, one, other in zip(node.entries, old, new, strict=True):
            yield from _edits(entry.value, one, other)
    else:
        yield node.start, node.end, new


def _fitted(text: str, start: int, end: int, value: Any) -> str:
    """Write a value on one line; where nothing stood, with a space before it."""
    written = write_flow(value)
    return f" {written}" if start == end and text[start - 1 : start] not in (" ", "\n") else written


def _equal(one: Any, other: Any) -> bool:
    """Tell 1, 1.0 and true apart."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _short(value: Any) -> str:
    text = write_flow(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
